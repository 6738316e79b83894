"""Pictures of results, as files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.files import replaced_when_complete
from napari_empiarreader.micrographs import MicrographSeries, contrast_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_caked.calibration import Reliability
    from napari_caked.evaluation import Evaluation, EvaluationReport

__all__ = ["draw_evaluation", "draw_learning", "draw_picks", "draw_reliability", "draw_training", "has_probabilities"]

#: More micrographs than this are drawn as a curve of their sorted F1, not as bars.
_MOST_BARS = 40


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
    _losses(left, np.arange(1, len(losses) + 1), np.asarray(losses))
    _, recall, precision = evaluation.curve.T
    right.plot(recall, precision, color="tab:blue")
    right.plot(evaluation.recall, evaluation.precision, "o", color="tab:orange", label=f"p >= {evaluation.threshold}")
    right.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    right.set_title(f"Held-out micrographs: average precision {evaluation.average_precision:.3f}")
    right.legend(loc="lower left")
    _save(figure, path)


def draw_learning(
    path: str | os.PathLike[str], losses: Sequence[tuple[int, float]], precisions: Sequence[tuple[int, float]] = ()
) -> None:
    """Draw how a training went; an existing file is replaced.

    Parameters
    ----------
    path
        PNG or SVG to write, by its suffix.
    losses
        (step, loss).
    precisions
        (step, average precision on micrographs held out); empty where none were.
    """
    figure, axes = _figure(9 if precisions else 5, 4, columns=2 if precisions else 1)
    left, *others = np.atleast_1d(axes)
    steps, values = np.array(losses, float).reshape(-1, 2).T
    _losses(left, steps, values)
    for right in others:
        steps, values = np.array(precisions, float).T
        best = int(np.argmax(values))
        right.plot(steps, values, "o-", color="tab:blue", markersize=3)
        right.plot(steps[best], values[best], "o", color="tab:orange", label=f"best: {values[best]:.3f}")
        right.set(ylim=(0, 1.02), xlabel="training step", ylabel="average precision")
        right.set_title("Held-out micrographs")
        right.legend(loc="lower right")
    _save(figure, path)


def _losses(axes: Axes, steps: np.ndarray, losses: np.ndarray) -> None:
    """The loss of every step, and its running mean."""
    axes.plot(steps, losses, color="tab:gray", linewidth=0.7, label="each step")
    width = max(1, len(losses) // 20)
    if len(losses) >= width:
        mean = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(steps[width - 1 :], mean, color="tab:orange", label=f"mean of {width}")
    axes.set(xlabel="training step", ylabel="loss", title="Training")
    axes.legend()


def draw_evaluation(path: str | os.PathLike[str], report: EvaluationReport) -> None:
    """Draw precision over recall, every micrograph's F1 and counts, and how reliable the scores are.

    Parameters
    ----------
    path
        PNG or SVG to write, by its suffix; an existing one is replaced.
    report
        From :func:`napari_caked.evaluation.evaluate_micrographs`.
    """
    figure, (curve, bars, scores) = _figure(14, 4.4, columns=3)
    _precision_recall(curve, report)
    _bars(bars, report)
    if has_probabilities(report.together):
        from napari_caked.calibration import reliability

        _reliability(scores, reliability(report.together.scores, report.together.right))
        scores.set_title("Do the scores come true?", fontsize=10)
    else:
        scores.set_axis_off()
        scores.text(0.5, 0.5, "scores are no probabilities", ha="center", transform=scores.transAxes)
    _save(figure, path)


def draw_reliability(path: str | os.PathLike[str], results: Mapping[str, Reliability]) -> None:
    """Draw reliability diagrams side by side; an existing file is replaced.

    Parameters
    ----------
    path
        PNG or SVG.
    results
        By the title of each.
    """
    figure, axes = _figure(4.4 * len(results), 4.4, columns=len(results))
    for one, (title, result) in zip(np.atleast_1d(axes), results.items(), strict=True):
        _reliability(one, result)
        one.set_title(title, fontsize=10)
    _save(figure, path)


def has_probabilities(evaluation: Evaluation) -> bool:
    """Whether the scores of picks can be probabilities: between 0 and 1, and not all alike."""
    scores = evaluation.scores
    return len(scores) > 1 and scores.min() >= 0 and scores.max() <= 1 and scores.min() < scores.max()


def _precision_recall(axes: Axes, report: EvaluationReport) -> None:
    for i, one in enumerate(report.micrographs if len(report.micrographs) > 1 else ()):
        _, recall, precision = one.evaluation.curve.T
        axes.plot(recall, precision, color="0.8", linewidth=0.7, label="each micrograph" if i == 0 else None)
    together = report.together
    _, recall, precision = together.curve.T
    axes.plot(recall, precision, color="tab:blue", label=f"all, average precision {together.average_precision:.3f}")
    axes.plot(
        together.recall,
        together.precision,
        "o",
        color="tab:orange",
        label=f"at {together.threshold:g}: F1 {together.f1:.3f}",
    )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(
        f"{together.labels} labels, best F1 {together.best_f1:.3f} at {together.best_threshold:.2g}", fontsize=10
    )
    axes.legend(loc="lower left", fontsize=8)


def _bars(axes: Axes, report: EvaluationReport) -> None:
    """F1 of each micrograph, and how many picks and labels it has, on an axis of their own."""
    results = [one.evaluation for one in report.micrographs]
    where, f1 = np.arange(len(results)), np.array([result.f1 for result in results])
    counts = axes.twinx()
    if len(results) <= _MOST_BARS:
        axes.bar(where, f1, color="tab:blue", alpha=0.35, label="F1")
        axes.set_xticks(where, [_short(one.name) for one in report.micrographs], rotation=60, ha="right", fontsize=6)
    else:
        order = np.argsort(f1)
        results, f1 = [results[i] for i in order], f1[order]
        axes.fill_between(where, f1, color="tab:blue", alpha=0.35, label="F1")
        axes.set_xlabel("micrographs, by F1")
    counts.plot(where, [result.labels for result in results], "_", color="black", markersize=9, label="labels")
    counts.plot(where, [result.picks for result in results], ".", color="tab:orange", label="picks")
    axes.set(ylim=(0, 1.02), ylabel="F1")
    counts.set_ylim(bottom=0)
    counts.set_ylabel("particles")
    axes.set_title(f"Each micrograph, at {report.together.threshold:g}", fontsize=10)
    handles = [*axes.get_legend_handles_labels()[0], *counts.get_legend_handles_labels()[0]]
    counts.legend(handles, ["F1", "labels", "picks"], loc="lower left", fontsize=8)


def _short(name: str, most: int = 18) -> str:
    stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return stem if len(stem) <= most else f"…{stem[1 - most :]}"


def _reliability(axes: Axes, result: Reliability) -> None:
    """Share of right picks over promised score, with 95 % intervals, and how many candidates there are."""
    filled = result.count > 0
    share, promised = result.share[filled], result.mean_score[filled]
    # An interval of Wilson's need not be centred at the share, but contains it.
    reach = np.maximum([share - result.low[filled], result.high[filled] - share], 0)
    width = np.diff(result.edges)
    axes.bar(
        result.edges[:-1], result.count / max(result.count.max(), 1) * 0.25, width, align="edge", color="0.85", zorder=0
    )
    axes.plot([0, 1], [0, 1], ":", color="0.5")
    axes.errorbar(promised, share, reach, fmt="o-", color="tab:blue", capsize=2, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score", ylabel="share of right picks")
    axes.text(0.04, 0.93, f"mean error {result.error:.3f}\n{result.count.sum()} candidates", fontsize=8, va="top")


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    # Without pyplot: no global state and no window, from any thread.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with replaced_when_complete(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120)
