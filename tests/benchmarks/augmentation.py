"""What a prepared and augmented item costs, and how faithful rescaling is, beside CAKED 0.1.7 where it is given.

python tests/benchmarks/augmentation.py [--caked PYTHON] [--items 40]

PYTHON is an interpreter of an environment with `caked==0.1.7`, `torch`, `scipy` and `mrcfile`. Volumes of 64³ float32
are written to a temporary folder; both sides read them from there, one thread each, within the same run. Times are
milliseconds of CPU an item, the least and the median: other programs on the machine make them longer, never shorter.

Fidelity: the volume's own Fourier series, without what the coarser grid cannot hold, is evaluated at the very places
that each side's voxels stand for (CAKED aligns the first and the last voxel, we voxel n // 2), and the Fourier shell
correlation with that is told. Prints markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np

import napari_caked  # noqa: F401  (before torch: it says how threads wait)

# isort: split
import torch

from napari_caked.datasets.augment_fourier import MissingWedge
from napari_caked.datasets.augment_geometry import Rotate
from napari_caked.datasets.augment_noise import GaussianNoise
from napari_caked.datasets.normalising import MinMax, ZScore
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.resampling import Rescale
from napari_caked.datasets.sample import Sample
from napari_caked.datasets.sources import folder_source

SIZE = 64
#: Å per voxel of the files, and of the volumes rescaled to 32 and 96 voxels.
VOXEL, HALF, FINER = 3.0, 6.0, 2.0
AUGMENTED = Recipe((), (Rotate(), GaussianNoise(), MissingWedge(), ZScore()))


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        folder, output = Path(root, "maps"), Path(root, "rescaled")
        folder.mkdir()
        output.mkdir()
        volumes = _write_volumes(folder, options.items)
        theirs = _caked(options.caked, folder, output) if options.caked else {}
        ours = _ours(folder)
        print("| 64³ item, CPU ms | ours, least | median | CAKED, least | median | CAKED / ours |")
        print("|---|---|---|---|---|---|")
        for case, (least, median) in ours.items():
            other = theirs.get(case)
            beside = f"{other[0]:.2f} | {other[1]:.2f} | {other[0] / least:.1f}" if other else "- | - | -"
            print(f"| {case} | {least:.2f} | {median:.2f} | {beside} |")
        print("\n| FSC with the band-limited original | half of Nyquist | 0.9 of Nyquist | least below Nyquist |")
        print("|---|---|---|---|")
        for size, voxel in ((32, HALF), (96, FINER)):
            done = Rescale(voxel)(Sample.from_array(volumes[0], VOXEL)).image.numpy()
            places = (np.arange(size) - size // 2) * SIZE / size + SIZE // 2
            _print_fsc(f"ours, to {size}", done, _series_at(volumes[0], places, size), size)
            if theirs:
                found = np.load(output / f"rescale {size}.npy")
                places = np.arange(size) * (SIZE - 1) / (size - 1)
                _print_fsc(f"CAKED, to {size}", found, _series_at(volumes[0], places, size), size)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--caked", type=Path, help="interpreter that has caked==0.1.7")
    parser.add_argument("--items", type=int, default=40)
    return parser.parse_args()


def _write_volumes(folder: Path, count: int) -> list[np.ndarray]:
    """Volumes with a falling spectrum and power up to Nyquist, as maps have."""
    dice = np.random.default_rng(0)
    frequencies = np.meshgrid(*[np.fft.fftfreq(SIZE)] * 3, indexing="ij")
    amplitude = np.exp(-8 * sum(k**2 for k in frequencies))
    volumes = []
    for index in range(count):
        waves = np.fft.fftn(dice.normal(size=(SIZE,) * 3)) * amplitude
        volumes.append(np.fft.ifftn(waves).real.astype(np.float32))
        with mrcfile.new(folder / f"map_{index:03d}.mrc") as file:
            file.set_data(volumes[-1])
            file.voxel_size = VOXEL
    return volumes


def _caked(python: Path, folder: Path, output: Path) -> dict[str, list[float]]:
    command = [str(python), str(Path(__file__).with_name("_caked_rates.py")), str(folder), str(output)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{python} could not run CAKED:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def _ours(folder: Path) -> dict[str, tuple[float, float]]:
    source = folder_source(folder)
    samples = [Sample.of(item) for _, item in source.items(range(len(source)))]
    count = len(samples)

    def read(index: int) -> Sample:
        return Sample.of(source[index % count])

    def augmented(index: int) -> Sample:
        return AUGMENTED.apply(samples[index % count], seed=0, epoch=0, index=index)

    grid = torch.nn.functional.affine_grid(torch.eye(3, 4)[None], [1, 1, *[SIZE] * 3], align_corners=True)
    volume = samples[0].image[None, None]

    def sampled(index: int) -> torch.Tensor:
        return torch.nn.functional.grid_sample(volume, grid, align_corners=True)

    return {
        "plain": _taken(read, count),
        "min-max": _taken(lambda i: MinMax()(read(i)), count),
        "rescale 32": _taken(lambda i: Rescale(HALF)(read(i)), count),
        "rescale 96": _taken(lambda i: Rescale(FINER)(read(i)), count),
        "SO(3) + noise + wedge + z-score, in memory": _taken(augmented, 3 * count),
        "torch's grid_sample alone, for comparison": _taken(sampled, count),
    }


def _taken(work: Callable[[int], object], count: int) -> tuple[float, float]:
    """Least and median milliseconds of CPU."""
    work(0)
    times = []
    for index in range(count):
        began = time.process_time()
        work(index)
        times.append(1e3 * (time.process_time() - began))
    return min(times), float(np.median(times))


def _series_at(volume: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """The volume's Fourier series, without frequencies that ``size`` voxels cannot hold, at places on each axis."""
    cycles = np.fft.fftfreq(SIZE) * SIZE
    kept = np.abs(cycles) < min(size, SIZE) / 2
    basis = np.exp(2j * np.pi * np.outer(places, cycles[kept]) / SIZE)
    waves = np.fft.fftn(volume)[np.ix_(kept, kept, kept)] / SIZE**3
    for _ in range(3):
        waves = np.tensordot(waves, basis, axes=([0], [1]))
    return waves.real


def _print_fsc(name: str, found: np.ndarray, expected: np.ndarray, size: int) -> None:
    one, two = np.fft.fftn(found.astype(float)), np.fft.fftn(expected)
    radius = np.sqrt(sum(k**2 for k in np.meshgrid(*[np.fft.fftfreq(size) * size] * 3, indexing="ij")))
    shells = np.rint(radius).astype(int).ravel()
    sums = [np.bincount(shells, values.ravel()) for values in ((one * two.conj()).real, abs(one) ** 2, abs(two) ** 2)]
    # Nyquist of the coarser of the two grids: nothing is beyond it.
    nyquist = min(size, SIZE) // 2
    fsc = (sums[0] / np.sqrt(sums[1] * sums[2] + 1e-30))[1:nyquist]
    print(f"| {name} | {fsc[nyquist // 2 - 1]:.4f} | {fsc[round(0.9 * nyquist) - 1]:.4f} | {fsc.min():.4f} |")


if __name__ == "__main__":
    main()
