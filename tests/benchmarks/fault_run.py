"""Reads through an archive that fails in every way it can: is every array right, and every failure said?

    python tests/benchmarks/fault_run.py [--reads N] [--share PERCENT] [--seed N] [--threads N]

A loopback archive fails a fifth of all requests, each in a way drawn at random: bursts of 503, hangs, resets before an
answer and inside it, bodies cut, stalled or short, lengths and ranges that are wrong, ranges ignored, redirects right
and circular, web pages, files called missing, lengths that change. One file is really replaced again and again while
it is read. Eight threads read random ranges of files of several sizes. Then each array is held against the file, the
cache is verified entry by entry against the files, and all that was read is read once more with no archive to ask.

The exit code is 1 if a byte was wrong, or an error was none of ours. Flipped bits on the way are not among the faults:
without checksums from the archive nobody can notice them.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.cache import cache_for
from napari_empiarreader.archive.faults import (
    AnswerHtml,
    CutBody,
    Delay,
    FailWith,
    Fault,
    Hang,
    IgnoreRanges,
    OtherRange,
    OtherSize,
    Redirect,
    Reset,
    ShortBody,
    StallBody,
    WrongLength,
)
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import UserError

SIZES = [1_500, 40_000, 700_000, 1 << 20, 5_000_000]
COPIES = 6
CHANGING = "changing.mrc"
TIMEOUT = 0.5
BURST = 3


class Misfortune:
    """Draws the faults, and counts them."""

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        self.counts: Counter[str] = Counter()
        self.requests = 0
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._burst: Counter[str] = Counter()

    def take(self, path: str) -> list[Fault]:
        """Faults of one request, in the place of :meth:`FaultPlan.take`."""
        with self._lock:
            self.requests += 1
            latency = Delay(self._dice.expovariate(1 / 0.004))
            if self._burst[path]:
                self._burst[path] -= 1
                return self._counted("503 in a burst", FailWith(503), latency)
            if self._dice.random() >= self.share:
                return [latency]
            name, fault = self._draw(path)
            return self._counted(name, fault, latency)

    def _counted(self, name: str, *faults: Fault) -> list[Fault]:
        self.counts[name] += 1
        return list(faults)

    def _draw(self, path: str) -> tuple[str, Fault]:
        dice = self._dice
        after = int(10 ** dice.uniform(0, 6.5))
        off = dice.choice([-1000, -1, 1, 1000])
        ways: dict[str, Fault] = {
            "503 in a burst": FailWith(503),
            "429 with Retry-After": FailWith(429, retry_after="1"),
            "404 once": FailWith(404),
            "hang": Hang(2 * TIMEOUT),
            "reset before the answer": Reset(),
            "reset in the body": Reset(after),
            "cut body": CutBody(after),
            "stalled body": StallBody(after, 2 * TIMEOUT),
            "short body": ShortBody(abs(off)),
            "wrong Content-Length": WrongLength(off),
            "wrong Content-Range": OtherRange(off),
            "another total length": OtherSize(off),
            "range ignored": IgnoreRanges(),
            "redirect": Redirect(path.replace("/data/", "//data/")),
            "redirect in a circle": Redirect(),
            "web page": AnswerHtml(),
        }
        name = dice.choice(sorted(ways))
        if name == "503 in a burst":
            self._burst[path] = dice.randrange(BURST)
        return name, ways[name]


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=500)
    parser.add_argument("--share", type=float, default=20, help="per cent of the requests that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), arguments)


def run(folder: Path, arguments: argparse.Namespace) -> int:
    """Make the files, read them, check all; returns the exit code."""
    dice = random.Random(arguments.seed)
    contents = {f"{size}-{i}.mrc": [dice.randbytes(size)] for size in SIZES for i in range(COPIES)}
    contents[CHANGING] = [dice.randbytes(800_000), dice.randbytes(800_123)]
    data = folder / "archive" / "10017" / "data"
    data.mkdir(parents=True)
    for name, versions in contents.items():
        (data / name).write_bytes(versions[0])
        os.utime(data / name, (1e9, 1e9))
    plan = [_random_read(dice, contents) for _ in range(arguments.reads)]
    misfortune = Misfortune(arguments.share / 100, arguments.seed)
    with LoopbackArchive(folder / "archive") as server:
        server.faults.take = misfortune.take  # type: ignore[method-assign]
        settings = replace(server.settings, timeout=TIMEOUT, backoff=0.01, retries=5, cache_folder=folder / "cache")
        archive = Archive(settings)
        began = time.perf_counter()
        with (
            _replaced_again_and_again(data / CHANGING, contents[CHANGING]),
            ThreadPoolExecutor(arguments.threads) as pool,
        ):
            answers = list(pool.map(lambda read: _answer(archive, *read), plan))
        seconds = time.perf_counter() - began
        moved = server.bytes_sent
        requests = misfortune.requests
        server.faults.take = lambda path: []  # type: ignore[method-assign]
        server.reset_counts()
        offline = Archive(replace(settings, offline=True))
        again = [_answer(offline, *read) for read in plan]
        asked_again = len(server.requests)
    cache = cache_for(settings)
    assert cache is not None
    report = cache.verify()
    wrong_entries = sum(not _entry_is_right(entry, contents) for entry in cache.entries())

    right, wrong, errors = _judged(plan, answers, contents)
    right_again, wrong_again, errors_again = _judged(plan, again, contents)
    strange = [text for text in errors if text.startswith("!")]
    streamed = sum(
        len(a) for read, a in zip(plan, answers, strict=True) if read[0] == "stream" and isinstance(a, bytes)
    )
    needed = report.bytes + streamed  # what is read twice comes out of the cache, what is streamed does not

    print(f"{arguments.reads} reads, {requests} requests, {sum(misfortune.counts.values())} of them failed:")
    for name, count in sorted(misfortune.counts.items()):
        print(f"  {name:28}{count:6}")
    print(f"{'read right':30}{right:6}")
    print(f"{'read wrong':30}{wrong:6}")
    for name, count in sorted(errors.items()):
        print(f"  {name:28}{count:6}")
    print(f"{'bytes sent / bytes needed':30}{moved / max(needed, 1):9.2f}   ({moved:,} / {needed:,})")
    print(f"{'seconds':30}{seconds:9.2f}")
    print(f"{'cache entries verified':30}{report.entries:6}")
    print(f"{'  damaged':30}{len(report.damaged):6}")
    print(f"{'  not as in the file':30}{wrong_entries:6}")
    print(f"{'read again offline: right':30}{right_again:6}")
    print(f"{'  wrong':30}{wrong_again:6}")
    print(f"{'  not in the cache':30}{sum(errors_again.values()):6}")
    print(f"{'  requests':30}{asked_again:6}")
    bad = wrong + wrong_again + wrong_entries + len(report.damaged) + asked_again + len(strange)
    print("all right" if not bad else "WRONG")
    return 1 if bad else 0


def _random_read(dice: random.Random, contents: dict[str, list[bytes]]) -> tuple[str, str, int, int]:
    name = dice.choice(sorted(contents))
    size = len(contents[name][0])
    start, stop = sorted(dice.sample(range(size + 1), 2))
    if dice.random() < 0.2:
        start, stop = 0, min(1024, size)
    return dice.choice(["read", "read", "read", "stream"]), name, start, stop


def _answer(archive: Archive, how: str, name: str, start: int, stop: int) -> bytes | Exception:
    file = archive.file(10017, f"data/{name}")
    try:
        return file.read(start, stop) if how == "read" else b"".join(file.stream(start, stop))
    except Exception as error:  # noqa: BLE001  (judged below)
        return error


def _judged(
    plan: list[tuple[str, str, int, int]], answers: list[bytes | Exception], contents: dict[str, list[bytes]]
) -> tuple[int, int, Counter[str]]:
    """Right and wrong arrays, and errors by class; one that is none of ours begins with an exclamation mark."""
    right = wrong = 0
    errors: Counter[str] = Counter()
    for (_, name, start, stop), answer in zip(plan, answers, strict=True):
        if isinstance(answer, Exception):
            errors[("" if isinstance(answer, UserError) else "!") + type(answer).__name__] += 1
            continue
        array = np.frombuffer(answer, np.uint8)
        truths = [np.frombuffer(version[start:stop], np.uint8) for version in contents[name]]
        if any(np.array_equal(array, truth) for truth in truths):
            right += 1
        else:
            wrong += 1
    return right, wrong, errors


def _entry_is_right(entry: object, contents: dict[str, list[bytes]]) -> bool:
    from napari_empiarreader.archive._entry_file import read_part
    from napari_empiarreader.archive.cache import CacheEntry

    assert isinstance(entry, CacheEntry)
    data = read_part(entry.path, entry.start, entry.stop)[1]
    return any(data == version[entry.start : entry.stop] for version in contents[entry.url.rsplit("/", 1)[1]])


class _replaced_again_and_again:
    """While it lasts, the file is now one version and now another, each time whole."""

    def __init__(self, path: Path, versions: list[bytes]) -> None:
        self._path = path
        self._versions = versions
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._replace)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _replace(self) -> None:
        turn = 0
        while not self._stop.wait(0.15):
            turn += 1
            beside = self._path.parent / ".beside"
            beside.write_bytes(self._versions[turn % len(self._versions)])
            beside.replace(self._path)


if __name__ == "__main__":
    sys.exit(main())
