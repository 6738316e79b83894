"""Long series: opening 5,000 files, one slider step, and the memory that stepping through large micrographs takes.

    python tests/benchmarks/series.py [--files N] [--large N]

Prints a table; asserts nothing. The large micrographs are sparse files: they take room in memory and none on the disk.
"""

from __future__ import annotations

import argparse
import os
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.micrographs import MicrographSeries, MovieSeries, open_images, open_micrographs, write_mrc
from napari_empiarreader.micrographs.cache import shared_cache


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--files", type=int, default=5000, help="files in the long series")
    parser.add_argument("--large", type=int, default=500, help="micrographs of 64 MB")
    arguments = parser.parse_args()
    import dask.array  # noqa: F401  (its import is no part of opening)

    with tempfile.TemporaryDirectory(prefix="series-") as folder:
        for line in [
            *_long_series(Path(folder) / "long", arguments.files),
            *_movies(Path(folder) / "movies", arguments.files),
            *_large_micrographs(Path(folder) / "large", arguments.large),
        ]:
            print(line, flush=True)


def _long_series(folder: Path, count: int) -> Iterator[str]:
    write_mrc(folder / "m.mrc", np.zeros((64, 64), np.float32), 1.5)
    data = (folder / "m.mrc").read_bytes()
    (folder / "m.mrc").unlink()
    for i in range(count):
        (folder / f"m{i:05d}.mrc").write_bytes(data)
    for opener in (open_micrographs, open_images):
        with _timed() as seconds:
            opener(folder)
        yield f"{opener.__name__}: {count:,} local files, all headers read: {seconds[0]:.2f} s"
    with LoopbackArchive() as server:
        server.add_entry(99001, folder)
        archive = server.archive
        with _timed() as seconds:
            listed = archive.list(99001, "data")
        yield f"listing of {len(listed):,} files: {seconds[0]:.2f} s"
        server.reset_counts()
        with _timed() as seconds:
            (series,) = open_images("empiar://99001/data", archive=archive)
        yield f"open_images: {len(series):,} files of the archive after listing: {seconds[0]:.2f} s, {_asked(server)}"
        yield _steps("one slider step, reading left out", _without_reading(series), len(series))
    (folder / "m00000.mrc").write_bytes(data)


def _movies(folder: Path, count: int) -> Iterator[str]:
    frame = np.zeros((64, 64), np.uint8)
    series = MovieSeries(
        tuple(f"v{i}.mrcs" for i in range(count)), (40, 64, 64), frame.dtype, 1.5, lambda index, at: frame
    )
    with _timed() as seconds:
        lazy = series.to_dask()
    yield f"lazy array of {count:,} movies of 40 frames: {1000 * seconds[0]:.1f} ms"
    yield _steps("one step through movies", lambda i: np.asarray(lazy[i, i % 40]), count)


def _large_micrographs(folder: Path, count: int) -> Iterator[str]:
    folder.mkdir()
    for i in range(count):
        with (folder / f"m{i:03d}.mrc").open("wb") as file:
            header = bytearray(1024)
            struct.pack_into("<10i6f", header, 0, 4096, 4096, 1, 2, 0, 0, 0, 4096, 4096, 1, 4096, 4096, 1, 90, 90, 90)
            header[208:216] = b"MAP DD\0\0"
            file.write(header)
            file.truncate(1024 + 4 * 4096**2)
    (series,) = open_images(folder)
    lazy = series.to_dask()
    before = _now()
    highest = before
    with _timed() as seconds:
        for i in range(len(series)):
            lazy[i].compute()
            highest = max(highest, _now())
    yield (
        f"stepping through {len(series)} micrographs of 64 MB: {1000 * seconds[0] / len(series):.0f} ms each, "
        f"{highest >> 20} MB in memory at most ({before >> 20} MB before, {_peak() >> 20} MB at the highest), "
        f"{shared_cache().bytes_held >> 20} MB of it kept images"
    )


def _without_reading(series: MicrographSeries) -> Callable[[int], np.ndarray]:
    """A step through the same lazy array with the pixels at hand."""
    image = np.zeros(series.shape, series.dtype)
    at_hand = MicrographSeries(series.names, series.shape, series.dtype, series.pixel_size, lambda index: image)
    lazy = at_hand.to_dask()
    return lambda i: np.asarray(lazy[i])


def _steps(what: str, step: Callable[[int], np.ndarray], count: int) -> str:
    step(0)
    taken = []
    for i in range(0, count, max(count // 300, 1)):
        with _timed() as seconds:
            step(i)
        taken.append(1000 * seconds[0])
    return f"{what}: median {np.median(taken):.2f} ms, 95 % below {np.percentile(taken, 95):.2f} ms"


@contextmanager
def _timed() -> Iterator[list[float]]:
    seconds: list[float] = []
    start = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - start)


def _asked(server: LoopbackArchive) -> str:
    return f"{len(server.requests)} requests, {server.bytes_sent:,} bytes"


def _now() -> int:
    """Bytes of this process in memory."""
    if not Path("/proc/self/statm").exists():
        return _peak()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if sys.platform == "darwin" else kibibytes * 1024


if __name__ == "__main__":
    main()
