"""How long a user waits before anything happens: import of each package, and the help of its command line.

    python tests/benchmarks/startup.py [PACKAGE ...]

Prints one line per package, best of three. Needs only the Python that has the packages. The machine is rarely idle,
so these figures are for reading and are asserted nowhere.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

PACKAGES = ("napari-profet", "napari-empiarreader", "napari-caked")
REPEATS = 3
# numpy is there in any session with napari; what counts is what our package adds to it.
IMPORT = """
import importlib, sys, time
import numpy
start = time.perf_counter()
importlib.import_module(sys.argv[1])
print(time.perf_counter() - start)
"""


def import_time(package: str) -> float:
    """Seconds that importing a package takes beyond numpy, in a fresh interpreter."""
    command = [sys.executable, "-c", IMPORT, package.replace("-", "_")]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def help_time(package: str) -> float:
    """Seconds from typing ``PACKAGE --help`` to its end."""
    command = [str(Path(sys.executable).parent / package), "--help"]
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - start


def main(packages: list[str]) -> None:
    """Print the table."""
    print(f"{'package':<22}{'import beyond numpy':>22}{'--help':>12}   (best of {REPEATS})")
    for package in packages or PACKAGES:
        imported = min(import_time(package) for _ in range(REPEATS))
        helped = min(help_time(package) for _ in range(REPEATS))
        print(f"{package:<22}{imported:>20.3f} s{helped:>10.2f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
