"""Many large micrographs from file to STAR: seconds each, by one process and by two, and the memory it takes.

    python tests/benchmarks/picking_scale.py [--count N] [--side PIXELS] [--diameter PX] [--model FILE] [--precision P]

Makes N micrographs of noise with discs in it, float32, as MRC files in a temporary folder; picks them with the command
itself; and prints wall and processor seconds for each micrograph, and the highest memory of any process. The start of
the processes is measured with no micrographs to speak of and taken off. Without --model an untrained network of the
default kind picks: it takes as long as a trained one.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import napari_caked  # noqa: F401  (before torch)
from napari_empiarreader.micrographs import write_mrc

PIXEL_SIZE = 1.25


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=12, help="micrographs")
    parser.add_argument("--side", type=int, default=4096, help="pixels of each side of a micrograph")
    parser.add_argument("--diameter", type=float, default=150.0, help="of a particle, in pixels")
    parser.add_argument("--model", type=Path, help="a trained model; its diameter is taken")
    parser.add_argument("--precision", default="auto", help="see 'napari-caked pick --help'")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="picking-scale-") as name:
        folder = Path(name)
        model = arguments.model or _untrained(folder / "model.safetensors", arguments.diameter * PIXEL_SIZE)
        _micrographs(folder, arguments.count, arguments.side, arguments.diameter)
        options = ["--model", str(model), "--precision", arguments.precision, "--device", "cpu", "--overwrite"]
        files = [str(path) for path in sorted(folder.glob("m*.mrc"))]
        size = f"{arguments.side} x {arguments.side}"
        print(f"{arguments.count} micrographs of {size}, float32, {os.cpu_count()} processors")
        for workers in (1, 2):
            runs = [_run(files[:n], folder, [*options, "--workers", str(workers)]) for n in (workers, len(files))]
            (wall, cpu), count = np.subtract(runs[1][:2], runs[0][:2]), len(files) - workers
            print(
                f"workers {workers}: {wall / count:.2f} s and {cpu / count:.2f} processor seconds each "
                f"(start {runs[0][0]:.1f} s), {runs[1][2]:.0f} MB in the largest process",
                flush=True,
            )


def _run(files: list[str], folder: Path, options: list[str]) -> tuple[float, float, float]:
    """Wall and processor seconds, and MB of the largest process, of picking files."""
    command = [sys.executable, "-c", _COMMAND, "pick", *files, "-o", str(folder / "picks.star"), *options]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, float(done.stderr.strip().splitlines()[-1])


_COMMAND = """
import atexit, resource, sys
from napari_caked.cli import main

def peak():
    unit = 2**20 if sys.platform == "darwin" else 2**10
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    print(max(resource.getrusage(one).ru_maxrss for one in who) / unit, file=sys.stderr)

atexit.register(peak)
main()
"""


def _micrographs(folder: Path, count: int, side: int, diameter: float) -> None:
    dice = np.random.default_rng(0)
    rows, columns = np.ogrid[: int(diameter), : int(diameter)]
    disc = (np.hypot(rows - diameter / 2, columns - diameter / 2) < diameter / 2).astype(np.float32)
    for i in range(count):
        image = dice.standard_normal((side, side), np.float32)
        for y, x in dice.integers(0, side - int(diameter), (200, 2)):
            image[y : y + disc.shape[0], x : x + disc.shape[1]] -= 0.3 * disc
        write_mrc(folder / f"m{i:04d}.mrc", image, PIXEL_SIZE)


def _untrained(path: Path, diameter: float) -> Path:
    import torch

    from napari_caked.checkpoint import PickerModel, save_model
    from napari_caked.models import MatchedFilterNetwork

    profile = -torch.sigmoid(10.0 - torch.arange(15.0))
    save_model(path, PickerModel(MatchedFilterNetwork(profile).eval(), diameter))
    return path


if __name__ == "__main__":
    main()
