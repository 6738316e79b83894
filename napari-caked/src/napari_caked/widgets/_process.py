"""The window's side of the helper process: start it, serve it micrographs, pass commands on, hand on what it says."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from napari_caked.errors import TrainingError
from napari_caked.widgets._messages import Command, Done, Failed, Job, ListDevices, Message, Read
from napari_caked.widgets._wire import receive, send
from napari_empiarreader.errors import UserError

__all__ = ["Helper"]

_LOG = logging.getLogger(__name__)


class Helper:
    """One helper process and its way to an end.

    :meth:`messages` belongs to a worker thread, :meth:`cancel` and :meth:`tell` may be called from any and never wait.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = threading.Event()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @property
    def cancelled(self) -> bool:
        """Whether somebody has called :meth:`cancel`."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the process at once; :meth:`messages` then stops without an error."""
        self._cancelled.set()
        if self._process is not None:
            self._process.kill()

    def tell(self, command: Command) -> None:
        """Send a command; one that comes too late is lost."""
        self._outbox.put(command)

    def messages(
        self, request: Job | ListDevices, read: Callable[[int], np.ndarray] | None = None
    ) -> Iterator[Message]:
        """Start the helper with ``request`` and yield what it says; ``read`` gives it micrographs.

        Raises
        ------
        UserError
            What is wrong with the data.
        TrainingError
            Anything else. Never a RuntimeError: a napari worker would swallow it.
        """
        try:
            yield from self._messages(request, read)
        except UserError:
            raise
        except Exception as error:
            if not self.cancelled:
                _LOG.exception("the helper process failed")
                message = f"unexpected {type(error).__name__}: {error}; see Help > Show logs"
                raise TrainingError(message) from error

    def _messages(self, request: Job | ListDevices, read: Callable[[int], np.ndarray] | None) -> Iterator[Message]:
        if self.cancelled:
            return
        with tempfile.TemporaryFile() as errors:
            # -P: a file called torch.py in the current folder is not meant.
            command = [sys.executable, "-P", "-m", "napari_caked.widgets._helper"]
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # On Windows the helper of a windowed program would open a console.
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            ) as process:
                self._process = process
                writer = threading.Thread(
                    target=self._write, args=(process, request), name="napari_caked outbox", daemon=True
                )
                writer.start()
                try:
                    if not self.cancelled:
                        yield from self._conversation(process, read)
                except (EOFError, OSError) as error:
                    if not self.cancelled and isinstance(error, EOFError | BrokenPipeError):
                        raise TrainingError(_last_words(process, errors)) from error
                    if not self.cancelled:
                        raise
                finally:
                    process.kill()
                    self._outbox.put(None)
                    writer.join(timeout=5)
                    _close(process)

    def _write(self, process: subprocess.Popen[bytes], request: Job | ListDevices) -> None:
        """Send a request, then what is in the outbox until it says None: nobody else waits for a pipe that is full."""
        assert process.stdin is not None
        message: Any = request
        try:
            while message is not None:
                send(process.stdin, message)
                message = self._outbox.get()
        except OSError:  # the process is gone, and its last words say why
            pass
        except Exception:
            _LOG.exception("a message to the helper process could not be sent")
            process.kill()

    def _conversation(
        self, process: subprocess.Popen[bytes], read: Callable[[int], np.ndarray] | None
    ) -> Iterator[Message]:
        assert process.stdout is not None
        while not self.cancelled:
            message = receive(process.stdout)
            if isinstance(message, Done):
                return
            if isinstance(message, Failed):
                if message.traceback:
                    _LOG.error("the helper process failed:\n%s", message.traceback)
                    raise TrainingError(f"unexpected {message.message}; see Help > Show logs")
                raise TrainingError(message.message)
            if isinstance(message, Read) and read is not None:
                self._outbox.put(np.ascontiguousarray(read(message.index)))
            else:
                yield message


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a dead process; what it has not read is of no interest."""
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:
            pass


def _last_words(process: subprocess.Popen[bytes], errors: IO[bytes]) -> str:
    """Why the helper may have died."""
    code = process.wait(timeout=5)
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    if lines:
        _LOG.error("the helper process wrote:\n%s", "\n".join(lines[-40:]))
    reason = f": {lines[-1]}" if lines else "; it may have run out of memory"
    return f"the helper process ended early (exit code {code}){reason}"
