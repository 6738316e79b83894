"""How fast training and picking are beside Topaz: the same images, the same number of threads, ratios of one run.

    CRYO_TEST_DATA=FOLDER python tests/benchmarks/picker_speed.py --topaz TOPAZ/bin [--specimen barrels] ...

Three tables. *Data*: patches of 31 x 31 pixels cut for training per CPU second, and steps of the same network
(conv31, batches of 256) per CPU second; Topaz's cutting is measured with a network of one feature map, and its start is
taken off by the difference of two runs. *Training*: the commands of both programs from ten labels on all training
micrographs, from files to a model. *Picking*: the commands from files to a table of picks, on the specimen's own
micrographs and on mosaics of 4096 x 4096 pixels in float32; CPU seconds per micrograph are those of each further one,
with the start beside them. Seconds of CPU and memory are what the system counted for the programs (wait4). Needs a
system that has it: no Windows. ``_topaz.py`` says how Topaz is installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from _cost import Cost, run_measured
from _specimens import Specimen, draw_labels, load, score, write_micrographs
from _topaz import Topaz, downsampling

from napari_caked.preprocess import prepare
from napari_empiarreader import read_particles, write_particles
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

LABELS = 10
#: Updates of the two short runs of Topaz whose difference is measured.
SHORT, LONG = 10, 50
SIDE = 4096

PARTS = ("data", "training", "picking")


def main() -> None:
    """Measure, and print a table after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topaz", type=Path, required=True, help="folder of Topaz's programs")
    parser.add_argument("--specimen", default="apoferritin_hard", help="or apoferritin, barrels")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--updates", type=int, default=1500, help="that Topaz trains for")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--mosaics", type=int, default=4, help="micrographs of 4096 x 4096")
    arguments = parser.parse_args()
    specimen = load(arguments.specimen)
    labels = draw_labels(specimen, LABELS, 0)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_micrographs(specimen.train, work / "train")
        for threads in arguments.threads:
            topaz = Topaz(arguments.topaz.absolute(), threads, arguments.updates)
            if "data" in arguments.parts:
                _print(f"Data, threads: {threads}", _data(specimen, labels, topaz, work))
            # Picking needs the models of training.
            if "training" in arguments.parts or "picking" in arguments.parts:
                _print(f"Training from {LABELS} labels, threads: {threads}", _training(specimen, labels, topaz, work))
            if "picking" in arguments.parts:
                small = sorted((work / "train").glob("*.mrc"))
                _print(f"Picking {_size(specimen)}, threads: {threads}", _picking(specimen, topaz, work, small))
                large = _mosaic(specimen, arguments.mosaics)
                _print(f"Picking {_size(large)}, threads: {threads}", _picking(large, topaz, work, []))


def _print(title: str, lines: Iterator[str]) -> None:
    print(f"\n{title}\n", flush=True)
    for line in lines:
        print(line, flush=True)


def _data(specimen: Specimen, labels: ParticleTable, topaz: Topaz, work: Path) -> Iterator[str]:
    patches, steps = _our_rates(specimen, labels, topaz.threads)
    yield "| per CPU second | ours | Topaz | ratio |"
    yield "|---|---|---|---|"
    theirs = 256 * _topaz_rate(specimen, labels, replace(topaz, units=1), work)
    yield f"| patches of 31 x 31, no network | {patches:,.0f} | {theirs:,.0f} | {patches / theirs:.1f} |"
    theirs = _topaz_rate(specimen, labels, topaz, work)
    yield f"| steps of conv31, 256 patches | {steps:.1f} | {theirs:.1f} | {steps / theirs:.1f} |"


def _our_rates(specimen: Specimen, labels: ParticleTable, threads: int) -> tuple[float, float]:
    """Patches cut, and steps of conv31, per CPU second."""
    import torch

    from napari_caked.datasets.patches import PatchSource
    from napari_caked.models.registry import build_network
    from napari_caked.patch_learning import PatchLearner

    torch.set_num_threads(threads)
    series, size = specimen.train, specimen.train.require_pixel_size()
    workings = [prepare(series.read(i), name, specimen.particle_diameter, size) for i, name in enumerate(series.names)]
    source = PatchSource(
        [working.image for working in workings],
        [working.valid for working in workings],
        [working.rescaling.to_rescaled(labels.on(i)) for i, working in enumerate(workings)],
        width=31,
        radius=3,
        expected_particles=len(specimen.train_labels) / len(series),
    )
    patches = 256 * _rate(lambda: source.draw(16, 240), 300)
    learner = PatchLearner(build_network("conv31"), source)  # type: ignore[arg-type]
    return patches, _rate(learner.step, 30)


def _rate(step: Callable[[], object], count: int) -> float:
    """Steps per second of CPU, all threads counted, after the first three."""
    for _ in range(3):
        step()
    began = time.process_time()
    for _ in range(count):
        step()
    return count / (time.process_time() - began)


def _topaz_rate(specimen: Specimen, labels: ParticleTable, topaz: Topaz, work: Path) -> float:
    """Updates per CPU second, from the difference of two runs: what the program needs to start is in both."""
    factor = downsampling(specimen)
    images, _ = topaz.prepare(sorted((work / "train").glob("*.mrc")), factor, work / "train_in")
    costs = []
    for updates in (SHORT, LONG):
        target = work / f"rate-{updates}-{topaz.units}"
        target.mkdir(exist_ok=True)
        costs.append(replace(topaz, updates=updates).train(specimen, labels, images, factor, target).cpu)
    return (LONG - SHORT) / (costs[1] - costs[0])


def _training(specimen: Specimen, labels: ParticleTable, topaz: Topaz, work: Path) -> Iterator[str]:
    yield "| picker | s | CPU s | memory, MB |"
    yield "|---|---|---|---|"
    write_particles(work / "labels.star", labels, overwrite=True)
    ours, _ = _caked(
        *("train", work / "train", "--labels", work / "labels.star", "--diameter", specimen.particle_diameter),
        *("--overwrite", "-o", work / "ours.safetensors"),
        threads=topaz.threads,
    )
    yield _cost_row("ours", ours)
    factor = downsampling(specimen)
    images, prepared = topaz.prepare(sorted((work / "train").glob("*.mrc")), factor, work / "train_in")
    theirs = prepared + topaz.train(specimen, labels, images, factor, work)
    yield _cost_row(f"Topaz {topaz.version}, {topaz.updates} updates", theirs)
    yield f"| ratio | {theirs.wall / ours.wall:.1f} | {theirs.cpu / ours.cpu:.1f} | {theirs.peak / ours.peak:.1f} |"


def _cost_row(name: str, cost: Cost) -> str:
    return f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.peak:.0f} |"


def _size(specimen: Specimen) -> str:
    height, width = specimen.dev.shape
    return f"{width} x {height} of float32"


def _picking(specimen: Specimen, topaz: Topaz, work: Path, more: list[Path]) -> Iterator[str]:
    """Pick ``dev``, which is scored, and ``more`` files, so that one micrograph more or less is told from the start."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        files = write_micrographs(specimen.dev, Path(folder) / "dev") + more
        yield f"| {len(files)} micrographs | CPU s per further one | of the first | s for all | memory, MB | AP |"
        yield "|---|---|---|---|---|---|"
        ours = [_our_picks(specimen, files[:count], topaz.threads, work) for count in (1, len(files))]
        theirs = [_topaz_picks(specimen, files[:count], topaz, work, Path(folder)) for count in (1, len(files))]
        further = []
        for name, (first, every) in (("ours", ours), (f"Topaz {topaz.version}", theirs)):
            further.append((every[1].cpu - first[1].cpu) / (len(files) - 1))
            found = score(specimen, every[0]).average_precision
            yield (
                f"| {name} | {further[-1]:.2f} | {first[1].cpu:.1f} | {every[1].wall:.1f} | "
                f"{every[1].peak:.0f} | {found:.3f} |"
            )
        yield f"| ratio | {further[1] / further[0]:.1f} | {theirs[0][1].cpu / ours[0][1].cpu:.1f} | | | |"


def _our_picks(specimen: Specimen, files: list[Path], threads: int, work: Path) -> tuple[ParticleTable, Cost]:
    target = work / "ours.star"
    model = ("--model", work / "ours.safetensors")
    options = ("--threshold", 0, "--workers", threads, "--overwrite", "-o", target)
    cost, _ = _caked("pick", *files, *model, *options, threads=threads)
    return read_particles(target).only_on(specimen.dev.names), cost


def _topaz_picks(
    specimen: Specimen, files: list[Path], topaz: Topaz, work: Path, folder: Path
) -> tuple[ParticleTable, Cost]:
    factor = downsampling(specimen)
    images, prepared = topaz.prepare(files, factor, folder / f"in-{len(files)}")
    picks, extracted = topaz.extract(specimen, images, factor, topaz.model(work), folder / "picks.txt")
    return picks, prepared + extracted


def _caked(*words: object, threads: int) -> tuple[Cost, str]:
    program = Path(sys.executable).parent / "napari-caked"
    return run_measured([program, *map(str, words)], threads=threads)


def _mosaic(specimen: Specimen, count: int) -> Specimen:
    """The specimen with large micrographs in the place of its ``dev``: tiles of those, cut off at the edges."""
    # A side that Topaz can shrink by its whole factor, so that its places are exact.
    factor = downsampling(specimen)
    side = SIDE // factor * factor
    height, width = specimen.dev.shape
    down, across = -(-side // height), -(-side // width)
    number = np.fromfunction(lambda r, c: r * across + c, (down, across), dtype=int)
    tiles = [(number + i) % len(specimen.dev) for i in range(count)]

    def read(index: int) -> np.ndarray:
        rows = [[np.asarray(specimen.dev.read(int(n)), np.float32) for n in row] for row in tiles[index]]
        return np.block(rows)[:side, :side]

    names = tuple(f"mosaic_{i + 1}.mrc" for i in range(count))
    places = [
        np.column_stack([np.full(len(yx), i), yx + [r * height, c * width]])
        for i in range(count)
        for (r, c), n in np.ndenumerate(tiles[i])
        for yx in [specimen.dev_labels.on(int(n))]
    ]
    rows = np.concatenate(places)
    rows = rows[(rows[:, 1:] <= side - 1).all(axis=1)]
    series = MicrographSeries(names, (side, side), np.dtype(np.float32), specimen.dev.pixel_size, read, "mosaic")
    return replace(specimen, dev=series, dev_labels=ParticleTable(names, rows))


if __name__ == "__main__":
    main()
