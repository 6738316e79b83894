"""What the picker's benchmarks share: specimens with their labels, and how labels are drawn.

Everything real is found through ``CRYO_TEST_DATA``; the barrels are simulated.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _barrels import BARREL_LENGTH, barrels

from napari_caked import evaluate
from napari_caked.evaluation import Evaluation
from napari_empiarreader import open_micrographs, read_particles
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries, write_mrc

__all__ = ["SPECIMENS", "Specimen", "draw_labels", "load", "particle_free", "picks_table", "score", "write_micrographs"]

SPECIMENS = ("apoferritin_hard", "apoferritin", "beta_galactosidase", "barrels")

#: Folders of ``micrograph_quality`` that show no particle.
PARTICLE_FREE = ("3Empty_no_ice", "4Crystalline_ice", "5Empty_ice_no_particles_but_vitreous_ice")
#: Å per pixel taken for those pictures, which do not say: 4k micrographs at about 1 Å, shrunk to 512 pixels.
PICTURE_PIXEL_SIZE = 7.5


@dataclass(frozen=True)
class Specimen:
    """Micrographs to learn from and others to be scored on.

    Attributes
    ----------
    name
        One of :data:`SPECIMENS`.
    train, train_labels
        Labels are drawn from these.
    dev, dev_labels
        Scored on these; no picker sees the labels.
    particle_diameter
        Å.
    match_radius, border
        Largest distance of a match, and the frame that is left out of the score, in pixels.
    """

    name: str
    train: MicrographSeries
    train_labels: ParticleTable
    dev: MicrographSeries
    dev_labels: ParticleTable
    particle_diameter: float
    match_radius: float = 20.0
    border: float = 32.0


def load(name: str, seed: int = 0) -> Specimen:
    """A specimen; ``seed`` chooses which micrographs are trained on where the specimen has no fixed parts."""
    if name == "barrels":
        return Specimen(name, *barrels("train"), *barrels("dev"), BARREL_LENGTH)
    if name == "beta_galactosidase":
        return _beta_galactosidase(seed)
    parts = (_part(data_folder() / name / part) for part in ("train", "dev"))
    (train, train_labels), (dev, dev_labels) = parts
    return Specimen(name, train, train_labels, dev, dev_labels, 120.0)


def data_folder() -> Path:
    """Where the real micrographs are; ends the program with a reason where nobody said."""
    folder = os.environ.get("CRYO_TEST_DATA") or sys.exit("set CRYO_TEST_DATA to the folder of the real micrographs")
    return Path(folder)


def draw_labels(specimen: Specimen, count: int | None, seed: int) -> ParticleTable:
    """``count`` of the specimen's training labels at random; all of them for None."""
    labels = specimen.train_labels
    if count is None:
        return labels
    return labels.where(np.sort(np.random.default_rng(seed).choice(len(labels), count, replace=False)))


def score(specimen: Specimen, picks: ParticleTable, threshold: float = 0.5) -> Evaluation:
    """Picks on ``dev`` against its labels, by the specimen's radius and border."""
    return evaluate(
        picks,
        specimen.dev_labels,
        radius=specimen.match_radius,
        border=specimen.border,
        shape=specimen.dev.shape,
        threshold=threshold,
    )


def particle_free() -> list[MicrographSeries]:
    """The pictures of ``micrograph_quality`` without particles, each a series of its own; needs Pillow."""
    from PIL import Image

    folder = data_folder() / "micrograph_quality"
    files = [file for kind in PARTICLE_FREE for file in sorted((folder / kind).glob("*.png"))]
    pictures = [np.asarray(Image.open(file).convert("L"), np.float32) for file in files]
    return [
        MicrographSeries.from_array(picture, [file.name], PICTURE_PIXEL_SIZE)
        for file, picture in zip(files, pictures, strict=True)
    ]


def picks_table(names: Sequence[str], yx: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> ParticleTable:
    """Picks of another program, or of a baseline, as a table."""
    import pandas as pd

    rows = [np.column_stack([np.full(len(points), i), points]) for i, points in enumerate(yx)]
    return ParticleTable(tuple(names), np.concatenate(rows), pd.DataFrame({"score": np.concatenate(list(scores))}))


def write_micrographs(series: MicrographSeries, folder: Path) -> list[Path]:
    """The micrographs as MRC files of float32, for programs that read files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, name in enumerate(series.names):
        paths.append(folder / f"{Path(name).stem}.mrc")
        write_mrc(paths[-1], np.asarray(series.read(i), np.float32), series.pixel_size, overwrite=True)
    return paths


def _part(folder: Path) -> tuple[MicrographSeries, ParticleTable]:
    series = open_micrographs(folder / "micrographs")
    return series, read_particles(folder / "particles.star").renamed_to(series.names)


def _beta_galactosidase(seed: int) -> Specimen:
    """Two of the eight micrographs, by the seed, to train on; the other six to score. Their outer 20 px are padding."""
    series, labels = _part(data_folder() / "beta_galactosidase")
    chosen = np.sort(np.random.default_rng(seed).choice(len(series), 2, replace=False))
    train, dev = (_some(series, labels, rows) for rows in (chosen, np.setdiff1d(np.arange(len(series)), chosen)))
    return Specimen("beta_galactosidase", *train, *dev, 190.0, match_radius=13.0, border=20.0)


def _some(series: MicrographSeries, labels: ParticleTable, rows: np.ndarray) -> tuple[MicrographSeries, ParticleTable]:
    names = tuple(series.names[i] for i in rows)
    some = MicrographSeries(
        names, series.shape, series.dtype, series.pixel_size, lambda i: series.read(int(rows[i])), series.source
    )
    return some, labels.only_on(names)
