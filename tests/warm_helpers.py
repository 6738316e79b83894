"""Helper processes that start at once, for tests of windows that are about what a helper answers, not how it starts.

A helper needs two seconds of processor time to load PyTorch, SciPy and pandas. Here one process loads them and is
forked for each helper: every helper is still a process of its own, which reads its pipes, can be killed and has last
words. Only its start differs, which the tests that do not ask for the fixture ``warm_helpers`` go through.

Run as a program, this module is the process that is forked.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

_NUMBER = struct.Struct("i")
_HELPER = ["-P", "-m", "napari_caked.widgets._helper"]


class Forge:
    """The process that is forked, loaded with the first helper that is asked for."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: socket.socket | None = None
        self._asking = threading.Lock()

    def start(self, command: list[str], *, stdin: int, stdout: int, stderr: IO[bytes], creationflags: int) -> Helper:
        """Stands for ``subprocess.Popen`` of a helper."""
        assert command[1:] == _HELPER and stdin == stdout == subprocess.PIPE and creationflags == 0
        reading, to_helper = os.pipe()
        from_helper, writing = os.pipe()
        status, telling = os.pipe()
        theirs = [reading, writing, stderr.fileno(), telling]
        with self._asking:
            request = json.dumps({"folder": str(Path.cwd()), "environment": dict(os.environ)}).encode()
            socket.send_fds(self._socket(), [request], theirs)
        for descriptor in (reading, writing, telling):
            os.close(descriptor)
        return Helper(os.fdopen(to_helper, "wb"), os.fdopen(from_helper, "rb"), status)

    def _socket(self) -> socket.socket:
        if self._ours is None:
            # Messages with bounds: a request is read as a whole.
            self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
            theirs.close()
        return self._ours

    def close(self) -> None:
        """End it, when all helpers have ended."""
        if self._ours is not None and self._process is not None:
            self._ours.close()
            self._process.wait(60)


class Helper:
    """What of ``subprocess.Popen`` windows and their tests use."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes], status: int) -> None:
        self.stdin, self.stdout, self._status = stdin, stdout, status
        self.returncode: int | None = None
        self._reading = threading.Lock()
        self.pid = _NUMBER.unpack(os.read(status, _NUMBER.size))[0]

    def poll(self) -> int | None:
        """Exit code, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit code."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(_HELPER, timeout or 0.0)
            with self._reading:
                if self.returncode is None:
                    self.returncode = _NUMBER.unpack(os.read(self._status, _NUMBER.size))[0]
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stdout.close()
        with suppress(OSError):
            self.stdin.close()
        self.wait()
        os.close(self._status)  # not sooner: another thread may wait for it


# ---- the process that is forked --------------------------------------------------------------------------------------


def _serve(theirs: socket.socket) -> None:
    _load()
    while True:
        request, descriptors, *_ = socket.recv_fds(theirs, 1 << 20, 4)
        if not request:
            break
        if os.fork() == 0:
            theirs.close()
            _watch(json.loads(request), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _load() -> None:
    """Import what most helpers do, and compute nothing: threads would not survive a fork."""
    import gc

    import pandas  # noqa: F401
    import scipy.cluster.vq  # noqa: F401
    import scipy.fft  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import scipy.optimize  # noqa: F401

    import napari_caked.picking
    import napari_caked.simulate.micrograph
    import napari_caked.training
    import napari_caked.widgets._helper  # noqa: F401

    gc.collect()
    gc.freeze()


def _watch(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Be the parent of a helper, and tell its number and how it ended."""
    *streams, status = descriptors
    try:
        helper = os.fork()
        if helper == 0:
            os.close(status)
            _help(request, streams)
        for stream in streams:
            os.close(stream)
        os.write(status, _NUMBER.pack(helper))
        os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])))
    except BrokenPipeError:  # nobody wants to know any more
        pass
    finally:
        os._exit(0)


def _help(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Be a helper."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        from napari_caked.widgets import _helper

        _helper.main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
