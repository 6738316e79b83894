"""Random damage to one small valid file of each format, through every reader: what comes of it?

    python tests/benchmarks/header_mutations.py [--mutations N] [--seed N] [FORMAT...]

A damaged file may be read, or refused by an error that a user can act on. Everything else (another exception, more than
two seconds, more than 200 MB) is a violation: it is printed with the number that brings it back, and the exit status
is 1. Bytes are flipped and overwritten, numbers set to extremes, pieces cut out, doubled and appended; three times out
of four within the first two kilobytes, where headers are.
"""

from __future__ import annotations

import argparse
import bz2
import faulthandler
import gzip
import io
import logging
import lzma
import random
import signal
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.coordinates.files import read_particles, write_particles
from napari_empiarreader.coordinates.formats import FORMATS
from napari_empiarreader.errors import TruncatedFileError, UserError
from napari_empiarreader.micrographs import open_image, write_mrc
from napari_empiarreader.micrographs.cache import shared_cache

sys.path.insert(0, str(Path(__file__).parents[1] / "empiarreader"))
import detector_files

SECONDS, BYTES = 2.0, 200 << 20

Reader = Callable[[bytes], object]


class Hang(BaseException):
    """More than two seconds; no Exception, so that no reader takes it for one of its own."""


@dataclass
class Tally:
    """What came of the mutations of one format."""

    name: str
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    most_bytes: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.name:<22}{self.read + self.refused + len(self.violations):>9,}{self.read:>9,}{self.refused:>9,}"
            f"{len(self.violations):>11,}{1000 * self.slowest:>9.0f} ms{self.most_bytes / 2**20:>8.1f} MB"
        )


class Damaged:
    """Bytes in memory as a file, as careful as one on the disk."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.uri = data, name, f"damaged:{name}"

    def read(self, start: int, stop: int, *, at_most: bool = False) -> bytes:
        if not 0 <= start <= stop:
            raise ValueError(f"bytes {start} to {stop} are no range")
        if stop > len(self.data) and not at_most:
            raise TruncatedFileError(f"{self.uri}: ends at byte {len(self.data)}, not {stop}")
        return self.data[start:stop]

    def size(self) -> int:
        return len(self.data)


def formats(folder: Path) -> dict[str, tuple[bytes, Reader]]:
    """A small valid file of each format, and the function that reads one."""
    images = {name: (data, _image_reader(name)) for name, data in _images(folder).items()}
    return {**images, **_coordinates(folder)}


def examine(name: str, data: bytes, read: Reader, count: int, seed: int) -> Tally:
    """Read so many damaged copies of a file."""
    tally = Tally(name)
    read(data)  # the file itself is sound, and imports are no part of the time
    for number in range(count):
        damaged = mutated(data, random.Random(f"{name} {seed} {number}"))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        start = time.perf_counter()
        try:
            with _watched():
                read(damaged)
            tally.read += 1
        except UserError:
            tally.refused += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            tally.violations.append(f"{name} --seed {seed}, number {number}: {type(error).__name__}: {error}"[:300])
        seconds, most = time.perf_counter() - start, tracemalloc.get_traced_memory()[1] - before
        tally.slowest, tally.most_bytes = max(tally.slowest, seconds), max(tally.most_bytes, most)
        if most > BYTES:
            tally.violations.append(f"{name} --seed {seed}, number {number}: {most >> 20} MB of memory")
    shared_cache().forget()
    return tally


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes after one to four accidents."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice((_flip, _flip, _overwrite, _overwrite, _overwrite, _cut, _splice, _append, _blank))(
            damaged, chance
        )
    return bytes(damaged)


def _place(data: bytearray, chance: random.Random) -> int:
    reach = min(len(data), chance.choice((64, 256, 2048, len(data))))
    return chance.randrange(max(reach, 1))


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: random.Random) -> None:
    """A number of an extreme value, at a place where a number may begin."""
    kind = chance.choice("bhiqfd")
    order = chance.choice("<>")
    if kind in "fd":
        value: float = chance.choice((0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), -float("inf")))
    else:
        bits = 8 * struct.calcsize(f"={kind}")
        value = chance.choice((0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), chance.getrandbits(bits - 1)))
    packed = struct.pack(order + kind, value)
    at = _place(data, chance) // 2 * 2
    data[at : at + len(packed)] = packed


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _splice(data: bytearray, chance: random.Random) -> None:
    """A piece taken out, or in twice."""
    start = _place(data, chance)
    piece = data[start : start + chance.randrange(1, 64)]
    data[start : start + (len(piece) if chance.random() < 0.5 else 0)] = b"" if chance.random() < 0.5 else piece


def _append(data: bytearray, chance: random.Random) -> None:
    data += chance.choice((data[:4096], chance.randbytes(chance.randrange(1, 4096)), bytes(4096)))


def _blank(data: bytearray, chance: random.Random) -> None:
    start, length = _place(data, chance), chance.randrange(1, 200)
    data[start : start + length] = chance.choice((b"\0", b"\xff", b"9", b"-", b"\n")) * length


# ---- one file of each format ---------------------------------------------------------------------------------


def _images(folder: Path) -> dict[str, bytes]:
    import tifffile

    rng = np.random.default_rng(0)
    movie = rng.integers(0, 15, (3, 24, 32)).astype(np.uint8)
    write_mrc(folder / "a.mrc", rng.normal(size=(24, 32)).astype(np.float32), 1.5)
    write_mrc(folder / "a.mrcs", movie.astype(np.int16), 1.5)
    mrc, stack = (folder / "a.mrc").read_bytes(), bytearray((folder / "a.mrcs").read_bytes())
    struct.pack_into("<i", stack, 92, 6)
    struct.pack_into("<2h", stack, 128, 2, 1)
    tilted = bytes(stack[:1024]) + struct.pack("<3h", -6000, 0, 6000) + bytes(stack[1024:])
    packed = bytearray(mrc[:1024]) + bytes(24 * 16)
    struct.pack_into("<i", packed, 12, 101)
    tiffs = {}
    for name, settings in {
        "plain.tif": {},
        "lzw.tif": {"compression": "lzw", "predictor": True},
        "deflate.tif": {"compression": "zlib", "tile": (16, 16)},
        "big_zstd.tif": {"compression": "zstd", "bigtiff": True, "rowsperstrip": 7},
    }.items():
        file = io.BytesIO()
        tifffile.imwrite(file, movie, photometric="minisblack", **settings)
        tiffs[name] = file.getvalue()
    shape = (16, 16)
    events = [detector_files.eer_events([(3, 5), (100, 0), (200, 15)], 256) for _ in range(4)]
    found = {
        "float.mrc": mrc,
        "tilts.st": tilted,
        "packed.mrc": bytes(packed),
        **tiffs,
        "movie.eer": detector_files.eer_bytes(events, shape),
        "mrc.mrc.gz": gzip.compress(mrc),
        "mrc.mrc.bz2": bz2.compress(mrc),
        "mrc.mrc.xz": lzma.compress(mrc),
        "tiff.tif.gz": gzip.compress(tiffs["lzw.tif"]),
    }
    for version in (3, 4):
        image = detector_files.dm_image(movie.astype(np.uint16), scale=0.15)
        found[f"movie.dm{version}"] = detector_files.dm_bytes(detector_files.dm_tree(image), version=version)
    return found


def _image_reader(name: str) -> Reader:
    def read(data: bytes) -> object:
        image = open_image(Damaged(data, name))
        return image.frame(0), image.frame(image.info.shape[0] - 1)

    return read


def _coordinates(folder: Path) -> dict[str, tuple[bytes, Reader]]:
    rng = np.random.default_rng(1)
    names = ("a.mrc",)
    points = np.column_stack([np.zeros(8), rng.uniform(10, 500, 8), rng.uniform(10, 500, 8)])
    features = pd.DataFrame({"score": rng.uniform(size=8), "diameter": np.full(8, 100.0)})
    table = ParticleTable(names, points, features)
    found: dict[str, tuple[bytes, Reader]] = {}
    for name, form in FORMATS.items():
        try:
            (path,) = write_particles(
                folder / f"{name}{form.suffixes[0]}", table, format=name, shapes=(512, 512), pixel_size=1.5, box_size=64
            )
        except (UserError, ValueError):
            continue  # made of more than one file, or of helices
        found[f"{name} ({path.suffix})"] = path.read_bytes(), _coordinate_reader(path, name)
    return found


def _coordinate_reader(path: Path, name: str) -> Reader:
    target = path.with_name(f"damaged{path.suffix}")

    def read(data: bytes) -> object:
        target.write_bytes(data)
        return read_particles(target, micrographs=("a.mrc",), shapes=(512, 512), pixel_size=1.5, box_size=64)

    return read


@contextmanager
def _watched() -> Iterator[None]:
    """Stop what takes more than two seconds; where Python itself is stuck, print where and give up."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise Hang(f"more than {SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    faulthandler.dump_traceback_later(20 * SECONDS, exit=True)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def main() -> int:
    """Examine every format; 1 if there was a violation."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--mutations", type=int, default=100_000, help="of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("only", nargs="*", help="formats to examine, by a part of their names")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    tracemalloc.start()
    violations: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        chosen = {
            name: sound
            for name, sound in formats(Path(folder)).items()
            if not arguments.only or any(part in name for part in arguments.only)
        }
        print(f"{'format':<22}{'damaged':>9}{'read':>9}{'refused':>9}{'violations':>11}{'slowest':>12}{'memory':>11}")
        for name, (data, read) in chosen.items():
            tally = examine(name, data, read, -(-arguments.mutations // len(chosen)), arguments.seed)
            print(tally, flush=True)
            violations += tally.violations
    for violation in violations[:40]:
        print(violation)
    print(f"{len(violations)} violations" if violations else "no violation")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
