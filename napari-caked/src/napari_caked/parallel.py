"""Picking by several processes of this machine.

What travels between processes is JSON (:mod:`.jobs`): a setup once, the location of each micrograph, and its picks.
Nothing is unpickled. A worker is this module run as a program:

    python -m napari_caked.parallel

Each computes in one thread (see :mod:`napari_caked.scoring`), reads the next micrograph while it computes, and answers
after each. So a worker that is killed loses only what it was at; that is done again by another.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import IO

from napari_caked.errors import PickingError
from napari_caked.jobs import Micrograph, Outcome, Picker, Setup
from napari_empiarreader.errors import UserError

__all__ = ["pick_on_processes"]

_log = logging.getLogger(__name__)

#: Micrographs a worker has been told of: the one it computes, the one it reads, and the next.
_AHEAD = 3
#: Workers that may die at one micrograph before it is given up.
_ATTEMPTS = 3
_PROGRAM = [sys.executable, "-m", "napari_caked.parallel"]


def pick_on_processes(micrographs: Sequence[Micrograph], setup: Setup, workers: int) -> Generator[Outcome]:
    """Outcomes of micrographs picked by several processes, in the order in which they are ready.

    Each micrograph has one outcome, whatever becomes of the workers.

    Raises
    ------
    PickingError
        Workers do not start.
    """
    waiting, attempts = deque(micrographs), dict[str, int]()
    messages: queue.Queue[tuple[_Worker, str | None]] = queue.Queue()
    running: list[_Worker] = []
    started, stillborn = False, 0
    try:
        running += [_Worker(setup, messages) for _ in range(min(workers, len(micrographs)))]
        while running:
            worker, line = messages.get()
            if line is None:
                running.remove(worker)
                lost = worker.ended()
                if not worker.ready:
                    # One that was killed while it loaded says nothing about the others; several do.
                    stillborn += 1
                    if not started or stillborn >= _ATTEMPTS:
                        raise PickingError(f"a picking process ended before it was ready ({worker.last_words()})")
                    _log.warning("a worker ended before it was ready (%s)", worker.last_words())
                waiting.extendleft(reversed(lost))
                if lost:
                    first = lost[0]
                    attempts[first.name] = attempts.get(first.name, 0) + 1
                    _log.warning("a worker ended while it picked %s; another does it again", first.name)
                    if attempts[first.name] >= _ATTEMPTS:
                        waiting.remove(first)
                        yield Outcome(first.name, error=_killer(first, worker))
                if sum(not one.closed for one in running) < min(workers, len(waiting)):
                    running.append(_Worker(setup, messages))
            else:
                outcome = worker.understood(line)
                started = True
                if outcome is not None:
                    yield outcome
            for worker in running:
                worker.top_up(waiting)
    finally:
        for worker in running:
            worker.kill()


def _killer(micrograph: Micrograph, worker: _Worker) -> str:
    return (
        f"{micrograph.location}: {_ATTEMPTS} workers ended while they picked it ({worker.last_words()}); if memory is "
        "short, use fewer workers"
    )


class _Worker:
    """A process that picks, and the micrographs it has been given.

    Attributes
    ----------
    ready
        It has loaded its model.
    closed
        It has been told that there is no more to do.
    """

    def __init__(self, setup: Setup, messages: queue.Queue[tuple[_Worker, str | None]]) -> None:
        # One thread each, also in the libraries that are loaded before anybody can tell them.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(
            _PROGRAM,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        self._given: deque[Micrograph] = deque()
        self.ready = self.closed = False
        self._say(setup.as_json())
        threading.Thread(target=self._listen, args=(messages,), daemon=True).start()

    def understood(self, line: str) -> Outcome | None:
        """The outcome that a message holds, if it is one."""
        values = json.loads(line)
        if "refused" in values:
            raise PickingError(values["refused"])
        if "ready" in values:
            self.ready = True
            return None
        outcome = Outcome.from_json(line)
        self._given = deque(one for one in self._given if one.name != outcome.name)
        return outcome

    def top_up(self, waiting: deque[Micrograph]) -> None:
        """Give it more to do, or tell it that there is no more."""
        while self.ready and not self.closed and waiting and len(self._given) < _AHEAD:
            self._given.append(waiting.popleft())
            self._say(json.dumps(asdict(self._given[-1])))
        if self.ready and not waiting and not self._given:
            self._close()

    def ended(self) -> list[Micrograph]:
        """What it was given and has not answered, the one it was at first; it has ended."""
        self._process.wait()
        self._close()
        return list(self._given)

    def last_words(self) -> str:
        """How it ended."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1]}" if lines else ""
        return f"exit code {self._process.returncode}{said}"

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended; the thread that listens says so
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _close(self) -> None:
        self.closed = True
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def _listen(self, messages: queue.Queue[tuple[_Worker, str | None]]) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream:
            for line in stream:
                # Half a line is what a worker was writing when it was killed.
                if line.endswith("\n"):
                    messages.put((self, line))
        messages.put((self, None))


def main() -> None:
    """Be a worker: one setup, then micrographs, come in as lines on standard input; outcomes go out as lines."""
    import signal

    # An interrupt from the keyboard goes to everybody; what is to end is for the process that started this one to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    incoming, outgoing = sys.stdin, _claimed_stdout()
    try:
        picker = Picker(Setup.from_json(incoming.readline()))
    except UserError as error:
        print(json.dumps({"refused": str(error)}), file=outgoing, flush=True)
        return
    print(json.dumps({"ready": picker.device}), file=outgoing, flush=True)
    try:
        for outcome in picker.outcomes(Micrograph(**json.loads(line)) for line in incoming):
            print(outcome.as_json(), file=outgoing, flush=True)
    except BrokenPipeError:  # nobody listens any more
        os._exit(0)


def _claimed_stdout() -> IO[str]:
    """The real standard output; whatever libraries print goes to standard error from now on."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


if __name__ == "__main__":
    main()
