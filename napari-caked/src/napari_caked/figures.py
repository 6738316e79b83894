"""Pictures of results, as files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.files import replaced_when_complete
from napari_empiarreader.micrographs import MicrographSeries, contrast_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_caked.evaluation import Evaluation

__all__ = ["draw_picks", "draw_training"]


def draw_picks(
    path: str | os.PathLike[str],
    series: MicrographSeries,
    index: int,
    picks: ParticleTable,
    truth: ParticleTable | None,
    particle_diameter: float,
) -> None:
    """Draw one micrograph with its picks (circles) and, where known, the true particles (dots).

    Parameters
    ----------
    path
        PNG or SVG to write; an existing one is replaced.
    series, index
        Which micrograph.
    picks, truth
        Counted into ``series``.
    particle_diameter
        Å.
    """
    from matplotlib.collections import EllipseCollection

    image = np.asarray(series.read(index), np.float32)
    # Twice binned, a micrograph looks as people are used to see it.
    rows, columns = (length - length % 2 for length in image.shape)
    binned = image[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    low, high = contrast_limits(binned)
    figure, axes = _figure(8, 8 * rows / columns)
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    axes.imshow(binned, cmap="gray", vmin=low, vmax=high, extent=extent)
    diameter = particle_diameter / series.require_pixel_size()
    yx = picks.on(index)
    sizes = np.full(len(yx), diameter)
    circles = EllipseCollection(
        sizes,
        sizes,
        np.zeros(len(yx)),
        units="xy",
        offsets=yx[:, ::-1],
        transOffset=axes.transData,
        facecolors="none",
        edgecolors="lime",
        linewidths=1.5,
        label=f"{len(yx)} picks",
    )
    axes.add_collection(circles)
    if truth is not None:
        true = truth.on(index)
        axes.plot(true[:, 1], true[:, 0], ".", color="orange", markersize=4, label=f"{len(true)} true particles")
    axes.set_title(f"{series.names[index]}: picks (circles) and true particles (dots)", fontsize=10)
    axes.set_axis_off()
    _save(figure, path)


def draw_training(path: str | os.PathLike[str], losses: Sequence[float], evaluation: Evaluation) -> None:
    """Draw the loss of every training step beside the precision-recall curve; an existing file is replaced."""
    figure, (left, right) = _figure(9, 4, columns=2)
    steps = np.arange(1, len(losses) + 1)
    left.plot(steps, losses, color="tab:gray", linewidth=0.7, label="each step")
    width = max(1, len(losses) // 20)
    if len(losses) >= width:
        mean = np.convolve(losses, np.ones(width) / width, mode="valid")
        left.plot(steps[width - 1 :], mean, color="tab:orange", label=f"mean of {width}")
    left.set(xlabel="training step", ylabel="loss", title="Training")
    left.legend()
    _, recall, precision = evaluation.curve.T
    right.plot(recall, precision, color="tab:blue")
    right.plot(evaluation.recall, evaluation.precision, "o", color="tab:orange", label=f"p >= {evaluation.threshold}")
    right.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    right.set_title(f"Held-out micrographs: average precision {evaluation.average_precision:.3f}")
    right.legend(loc="lower left")
    _save(figure, path)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    # Without pyplot: no global state and no window, from any thread.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with replaced_when_complete(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120)
