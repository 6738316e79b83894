"""A large read on a slow line: seconds, requests and bytes, with and without splitting it over several connections.

    python tests/benchmarks/slow_line.py [--mebibytes N] [--rate BYTES_PER_SECOND] [--latency SECONDS]

A loopback archive sends no connection more than 1.5 MB a second, as the archive does, and answers after 20 ms. The
same file is read whole by one request, and as the settings have it; then once more on a line without that bound, where
a second request would be waste. Nothing is kept in a cache. The exit code is 1 if a byte was wrong, if more than 1.1
times the bytes were moved, or if the fast line was asked more than once.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.faults import Delay, Throttle
from napari_empiarreader.archive.server import LoopbackArchive


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mebibytes", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.5e6, help="bytes per second of each connection")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before each answer")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), arguments)


def run(folder: Path, arguments: argparse.Namespace) -> int:
    """Make the file and read it in each way; returns the exit code."""
    contents = random.Random(1).randbytes(arguments.mebibytes << 20)
    data = folder / "10017" / "data"
    data.mkdir(parents=True)
    (data / "a.mrc").write_bytes(contents)
    wrong = 0
    with LoopbackArchive(folder) as server:
        print(f"{arguments.mebibytes} MiB{'':22}{'seconds':>9}{'requests':>10}{'bytes':>8}")
        for line, split in (("slow", False), ("slow", True), ("fast", True)):
            server.faults.clear()
            server.inject(Delay(arguments.latency), times=None)
            if line == "slow":
                server.inject(Throttle(arguments.rate), times=None)
            server.reset_counts()
            file = Archive(replace(server.settings, cache_bytes=0, split_slow_reads=split)).file(10017, "data/a.mrc")
            began = time.perf_counter()
            is_right = file.read(0, len(contents)) == contents
            seconds = time.perf_counter() - began
            time.sleep(0.1)  # until the server notices which connections were given up
            share = server.bytes_sent / len(contents)
            how = f"{line} line, {'as it is' if split else 'never split'}"
            print(f"{how:28}{seconds:9.2f}{len(server.requests):10}{share:7.3f}x{'' if is_right else '  WRONG'}")
            wrong += not is_right or share > 1.1 or (line == "fast" and len(server.requests) > 1)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
