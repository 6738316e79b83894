"""What a program costs: seconds on the clock, seconds of CPU in it and all it starts, and its highest memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cost", "run_measured"]


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of CPU, and the highest memory in MB."""

    wall: float
    cpu: float
    peak: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak))


def run_measured(command: Sequence[str | Path], *, threads: int = 1, **environment: str) -> tuple[Cost, str]:
    """Run a program to its end; returns its cost and what it said.

    Raises
    ------
    RuntimeError
        It failed; the message has the end of what it said.
    """
    surroundings = os.environ | _threads(threads) | environment
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        # Not text of a pipe: only wait4 gives what this child and its own children used, and no others.
        process = subprocess.Popen([str(word) for word in command], stdout=said, stderr=said, env=surroundings)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command[:3]))} ended with {process.returncode}:\n{text[-2000:]}")
    kibibytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return Cost(wall, usage.ru_utime + usage.ru_stime, kibibytes / 1024), text


def _threads(count: int) -> Mapping[str, str]:
    return {name: str(count) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
