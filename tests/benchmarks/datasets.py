"""Data sets: what reading and building a store costs, and a plain loader beside that of CAKED.

    python tests/benchmarks/datasets.py [--caked PYTHON] [--folder FOLDER] [--particles N] [--micrographs N]

Patches of 64 x 64 pixels are read from a store in random order, in batches of 64, as whole items and as parts of images
of 1,024 x 1,024. Particles are cut from micrographs into a store; how often each micrograph is read is counted. Plain
volumes of 64 x 64 x 64 are loaded in batches of 8 from MRC files and from a store; ``--caked`` names the Python of an
environment with CAKED 0.1.7, which loads the same files in turn with ours. Everything runs on one thread, files are in
the memory of the system, and times are seconds of CPU, the best of some rounds. The exit code is 1 if a patch costs
more than 0.2 ms, a micrograph is read twice, or CAKED is faster.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mrcfile
import numpy as np

import napari_caked  # noqa: F401  before torch
from napari_caked.datasets.building import build
from napari_caked.datasets.classes import OneClass
from napari_caked.datasets.loading import Dataset
from napari_caked.datasets.sources import folder_source, particle_source
from napari_caked.datasets.store import open_store
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries, open_micrographs

_SIDE, _BATCH, _ROUNDS = 64, 64, 5
_CAKED = """
import sys, time, types
try:
    import torchvision
except (ImportError, RuntimeError):
    # Its one use there is a blur, which is not asked for.
    torchvision = types.ModuleType("torchvision")
    torchvision.transforms = types.ModuleType("torchvision.transforms")
    sys.modules.update({"torchvision": torchvision, "torchvision.transforms": torchvision.transforms})
import torch
from caked.dataloader import DiskDataLoader
torch.set_num_threads(1)
best = float("inf")
for _ in range(int(sys.argv[2])):
    loader = DiskDataLoader(training=False)
    loader.load(datapath=sys.argv[1], datatype="mrc")
    batches = loader.get_loader(batch_size=8)
    began, count = time.process_time(), 0
    for images, labels in batches:
        count += len(images)
    best = min(best, (time.process_time() - began) / count)
print(best)
"""


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caked", help="Python of an environment with CAKED 0.1.7")
    parser.add_argument("--folder", type=Path, help="where files are made; some gigabytes; by default a temporary one")
    parser.add_argument("--particles", type=int, default=10_000)
    parser.add_argument("--micrographs", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        there = Path(folder)
        wrong = particles(there, arguments.particles, arguments.micrographs)
        wrong += patches(there)
        return int(wrong + volumes(there, arguments.caked) > 0)


def particles(folder: Path, count: int, micrographs: int) -> int:
    """Cut particles from micrographs into a store; how many bars are missed."""
    dice = np.random.default_rng(0)
    (folder / "micrographs").mkdir()
    for i in range(micrographs):
        with mrcfile.new(folder / "micrographs" / f"m{i:03d}.mrc") as file:
            file.set_data(dice.normal(size=(1024, 1024)).astype(np.float32))
            file.voxel_size = 2.0
    series = open_micrographs(folder / "micrographs")
    places = np.column_stack([dice.integers(0, micrographs, count), dice.uniform(40, 980, (count, 2))])
    source = particle_source(series, ParticleTable(series.names, places), _SIDE)
    reads: Counter[int] = Counter()
    read = MicrographSeries.read

    def counting(self: MicrographSeries, index: int) -> np.ndarray:
        reads[index] += 1
        return read(self, index)

    MicrographSeries.read = counting  # type: ignore[method-assign]
    began, clock = time.process_time(), time.perf_counter()
    store = build(source, folder / "particles.dataset.zarr")
    seconds, clock = time.process_time() - began, time.perf_counter() - clock
    MicrographSeries.read = read  # type: ignore[method-assign]
    most = max(reads.values())
    print(f"{len(store)} particles of {len(reads)} micrographs of 1,024 x 1,024 into a store:")
    print(f"  each micrograph read {most} time{'s' if most > 1 else ''}; {seconds:.1f} s of CPU, {clock:.1f} s")
    print(f"  {len(store) / seconds:.0f} particles per second of CPU")
    return int(most > 1)


def patches(folder: Path) -> int:
    """Read random patches; how many bars are missed."""
    store, dice = open_store(folder / "particles.dataset.zarr"), np.random.default_rng(0)
    batches = dice.permutation(len(store) // _BATCH * _BATCH).reshape(-1, _BATCH)
    data = Dataset(store)

    def whole() -> None:
        for rows in batches:
            store.images(rows)

    def loaded() -> None:
        for _ in data.loader(_BATCH):
            pass

    large = build(folder_source(folder / "micrographs", OneClass("micrograph")), folder / "large.dataset.zarr")
    corners = dice.integers(0, 1024 - _SIDE, (len(batches), _BATCH, 2))
    of = dice.integers(0, len(large), (len(batches), _BATCH))

    def parts() -> None:
        for rows, corner in zip(of, corners, strict=True):
            large.crops(rows, corner, (_SIDE, _SIDE))

    print(f"random patches of {_SIDE} x {_SIDE}, batches of {_BATCH}:")
    missed = 0
    ways = {"items of a store": whole, "the same as batches for PyTorch": loaded, "parts of images": parts}
    for what, work in ways.items():
        each = _best(work) / batches.size * 1e3
        missed += each > 0.2
        print(f"  {what:34}{each:8.4f} ms")
    return missed


def volumes(folder: Path, caked: str | None) -> int:
    """Load plain volumes; how many bars are missed."""
    (folder / "volumes").mkdir()
    dice = np.random.default_rng(0)
    for i in range(200):
        with mrcfile.new(folder / "volumes" / f"{'ab'[i % 2]}_{i}.mrc") as file:
            file.set_data(dice.normal(size=(64, 64, 64)).astype(np.float32))
    data = Dataset.from_folder(folder / "volumes")
    build(data.source, folder / "volumes.dataset.zarr")
    stored = Dataset.from_store(folder / "volumes.dataset.zarr")

    def load(data: Dataset) -> Callable[[], None]:
        def work() -> None:
            for _ in data.loader(8, pin_memory=False):
                pass

        return work

    ours, ours_stored, theirs = [], [], []
    for _ in range(3):
        ours.append(_best(load(data), 2) / 200 * 1e3)
        ours_stored.append(_best(load(stored), 2) / 200 * 1e3)
        if caked:
            theirs.append(_caked(caked, folder / "volumes") * 1e3)
    print("plain volumes of 64 x 64 x 64, batches of 8:")
    print(f"  {'MRC files':34}{min(ours):8.3f} ms")
    print(f"  {'a store':34}{min(ours_stored):8.3f} ms")
    if theirs:
        print(f"  {'MRC files, CAKED':34}{min(theirs):8.3f} ms")
        ratios = [min(theirs) / min(times) for times in (ours, ours_stored)]
        print(f"  rate, times that of CAKED: MRC files {ratios[0]:.2f}, store {ratios[1]:.2f}")
    return int(bool(theirs) and min(ours) > min(theirs))


def _caked(python: str, folder: Path) -> float:
    done = subprocess.run([python, "-c", _CAKED, str(folder), "2"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"CAKED failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def _best(work: Callable[[], None], rounds: int = _ROUNDS) -> float:
    """Least seconds of CPU of some rounds, after one that warms up."""
    work()
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


if __name__ == "__main__":
    sys.exit(main())
