"""Make the picture of one run's picks in the hands of three programs: the same particles in every frame.

python docs/make_frames_of_picks.py

A picker is trained from ten labels on simulated micrographs; the picks of one that it has not seen are written as a
STAR file, a ``.cs`` file and ``.box`` files. Each panel reads its file without our readers and draws the micrograph and
the numbers by that program's own rule. Needs matplotlib and starfile.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import starfile
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from scipy.ndimage import gaussian_filter

from napari_caked import TrainingSettings, pick, train
from napari_empiarreader import write_particles
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.samples import SimulationSettings, sample_series

TARGET = Path(__file__).parent / "images" / "picks_in_frames.jpg"

SETTINGS = SimulationSettings(shape=(600, 840), particles=70, phase=0.09)
BOX = 90
#: The surest picks get their rank beside them, the same particle the same number in every panel.
NUMBERED = 9


def main() -> None:
    """Train, pick, write three files, and draw each by its program's rule."""
    series, truth = sample_series(3, SETTINGS)
    first = truth.where(truth.micrograph_index < 2)
    labels = first.where(np.sort(np.random.default_rng(0).choice(len(first), 10, replace=False)))
    picks = pick(series, train(series, labels, TrainingSettings(SETTINGS.particle_diameter)))
    picks = picks.where(picks.micrograph_index == 2)
    picks = picks.where(np.argsort(-picks.features["score"].to_numpy(), kind="stable"))
    image = series.read(2)
    figure, axes = plt.subplots(3, 1, figsize=(8.4, 18.6), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        for axis, draw in zip(axes, (_relion, _cryosparc, _eman), strict=True):
            draw(axis, image, picks, Path(folder))
    TARGET.parent.mkdir(exist_ok=True)
    figure.savefig(TARGET, dpi=75, pil_kwargs={"quality": 80})
    print(TARGET, f"{len(picks)} picks")


def _relion(axis: Axes, image: np.ndarray, picks: ParticleTable, folder: Path) -> None:
    """Centres, pixels, rows from the array's first, which is drawn on top."""
    write_particles(folder / "picks.star", picks)
    table = starfile.read(folder / "picks.star", always_dict=True)
    table = table["particles"] if "particles" in table else next(iter(table.values()))
    _show(axis, image, "upper", "picks.star by starfile, as RELION counts: centre, from the top")
    _mark(axis, table["rlnCoordinateX"], table["rlnCoordinateY"])


def _cryosparc(axis: Axes, image: np.ndarray, picks: ParticleTable, folder: Path) -> None:
    """Fractions of width and height from the lower left corner."""
    write_particles(folder / "picks.cs", picks, shapes=image.shape, pixel_size=SETTINGS.pixel_size)
    table = np.load(folder / "picks.cs", allow_pickle=False)
    height, width = table["location/micrograph_shape"][0]
    # The picture from below: as it is, with its axis counting upwards.
    _show(axis, image[::-1], "lower", "picks.cs by numpy, as cryoSPARC counts: fraction, from the bottom")
    # A fraction counts from the outer edge, and the middle of the lowest row is drawn at 0.
    _mark(axis, table["location/center_x_frac"] * width, table["location/center_y_frac"] * height - 1)


def _eman(axis: Axes, image: np.ndarray, picks: ParticleTable, folder: Path) -> None:
    """Corners of boxes with the smallest x and y; the array's first row is drawn lowest."""
    (path,) = write_particles(folder / "picks.box", picks, format="box", box_size=BOX)
    x, y, width, height = np.loadtxt(path, ndmin=2)[:, :4].T
    _show(axis, image, "lower", "picks.box, as EMAN draws: first row lowest, corner of the box")
    for corner_x, corner_y, w, h in zip(x, y, width, height, strict=True):
        axis.add_patch(Rectangle((corner_x, corner_y), w, h, fill=False, edgecolor="tab:cyan", lw=1))
    _mark(axis, x + width / 2, y + height / 2)


def _show(axis: Axes, image: np.ndarray, origin: str, title: str) -> None:
    # Smoothed for the eye.
    image = gaussian_filter(image, 2.5)
    low, high = np.percentile(image, (0.5, 99.5))
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin=origin)
    axis.set_title(title, fontsize=13)
    axis.set_autoscale_on(False)


def _mark(axis: Axes, x: np.ndarray, y: np.ndarray) -> None:
    radius = SETTINGS.particle_diameter / SETTINGS.pixel_size / 2
    for rank, place in enumerate(zip(x, y, strict=True), 1):
        axis.add_patch(Circle(place, radius, fill=False, edgecolor="tab:orange", lw=1.5))
        if rank <= NUMBERED:
            axis.annotate(str(rank), place, color="gold", fontsize=15, weight="bold", ha="center", va="center")


if __name__ == "__main__":
    main()
