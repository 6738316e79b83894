"""Requests and bytes for opening a remote movie and for one frame of it, ours beside tifffile over fsspec.

    python tests/benchmarks/movie_frames.py [--frames N] [--side PIXELS]

Movies of counted electrons are served on this machine with 20 ms before every answer. Requests and bytes are the
server's own counts; bytes are multiples of what the frame takes in the file. tifffile reads over fsspec's HTTP files as
anyone would first try; fsspec and aiohttp must be installed for it (pip install fsspec aiohttp).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NUMBER, LATENCY, INDEX = 99001, 0.02, 13


def write_movies(folder: Path, frames: int, side: int) -> dict[str, int]:
    """Movies in several formats; bytes of the frame that is read, as stored."""
    import mrcfile
    import tifffile

    movie = np.random.default_rng(1).poisson(0.7, (frames, side, side)).astype(np.uint8)
    with mrcfile.new(folder / "movie.mrc") as mrc:
        mrc.set_data(movie.astype(np.int8))
        mrc.set_image_stack()
    stored = {"movie.mrc": movie[0].nbytes}
    for name, settings in (
        ("lzw.tif", {"compression": "lzw"}),
        ("zstd.tif", {"compression": "zstd"}),
        ("rows.tif", {"compression": "lzw", "rowsperstrip": 1}),
    ):
        # Page after page with its tags, as cameras write, rather than all at once.
        with tifffile.TiffWriter(folder / name, bigtiff=False) as tif:
            for frame in movie:
                tif.write(frame, photometric="minisblack", metadata=None, **({"rowsperstrip": 128} | settings))
        with tifffile.TiffFile(folder / name) as tif:
            stored[name] = sum(tif.pages[INDEX].databytecounts)
    np.save(folder / "truth.npy", movie[INDEX])
    return stored


def ours(url: str, source: object) -> Callable[[], np.ndarray]:
    """Open a movie; what reads the frame."""
    from napari_empiarreader.micrographs.formats import open_image

    image = open_image(source)
    assert image.info.shape[0] > INDEX
    return lambda: image.frame(INDEX)


def tifffile_over_fsspec(url: str, source: object) -> Callable[[], np.ndarray]:
    """The same by tifffile, its directory listed when it is opened."""
    import fsspec
    import tifffile

    file = tifffile.TiffFile(fsspec.open(url).open())
    assert len(file.pages) > INDEX
    return lambda: file.pages[INDEX].asarray()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--side", type=int, default=2048)
    arguments = parser.parse_args()

    from napari_empiarreader.archive.faults import Delay
    from napari_empiarreader.archive.server import LoopbackArchive

    print(f"{arguments.frames} frames of {arguments.side} x {arguments.side}; latency {LATENCY * 1e3:.0f} ms")
    print(f"{'movie':<11}{'reader':<10}{'open: requests':>15}{'frames':>8}{'s':>7}", end="")
    print(f"{'frame: requests':>17}{'frames':>8}{'s':>7}  right")
    with tempfile.TemporaryDirectory() as folder, LoopbackArchive() as server:
        stored = write_movies(Path(folder), arguments.frames, arguments.side)
        truth = np.load(Path(folder) / "truth.npy")
        server.add_entry(NUMBER, folder)
        server.inject(Delay(LATENCY), times=None)
        for name, frame_bytes in stored.items():
            for reader, opens in (("ours", ours), ("tifffile", tifffile_over_fsspec)):
                if name.endswith(".mrc") and reader != "ours":
                    continue
                url = f"{server.settings.archive_url}/{NUMBER}/data/{name}"
                row = []
                step: Callable[..., object] = opens
                for given in ((url, server.archive.file(NUMBER, f"data/{name}")), ()):
                    server.reset_counts()
                    began = time.perf_counter()
                    try:
                        step = seen = step(*given)
                    except Exception as error:
                        seen = error
                        break
                    finally:
                        took = time.perf_counter() - began
                        row += [len(server.requests), server.bytes_sent / frame_bytes, took]
                right = isinstance(seen, np.ndarray) and np.array_equal(seen, truth)
                row += [0, 0.0, 0.0] * (6 - len(row) > 0)
                print(f"{name:<11}{reader:<10}{row[0]:>15}{row[1]:>8.2f}{row[2]:>7.2f}", end="")
                print(f"{row[3]:>17}{row[4]:>8.2f}{row[5]:>7.2f}  {'yes' if right else f'no: {seen}'[:60]}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
