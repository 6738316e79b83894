"""How good picks are, against true or hand-made labels: on each micrograph, and on all together.

A pick is right if a label lies within the match radius; each label answers for one pick only
(:mod:`napari_caked.matching`). Arrays for plots and for the widget stand in the results; nothing here draws.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_caked.curves import precision_recall
from napari_caked.errors import LabelsError
from napari_caked.matching import MatchRule, match
from napari_empiarreader.coordinates import ParticleTable, match_names

__all__ = [
    "Evaluation",
    "EvaluationReport",
    "MicrographEvaluation",
    "evaluate",
    "evaluate_micrographs",
    "match",
    "micrographs_beside",
]

#: The precision at which people compare recalls.
HIGH_PRECISION = 0.9


@dataclass(frozen=True)
class Evaluation:
    """Precision and recall of scored picks.

    Attributes
    ----------
    candidates, labels
        How many of each were counted, the border left out; candidates are picks of whatever score.
    picks
        Candidates that reach ``threshold``.
    threshold
        Score at and above which a pick counts for ``precision``, ``recall`` and ``f1``.
    precision, recall, f1
        At that threshold.
    average_precision
        Area under the precision-recall curve, as the sum over picks of precision times gain in recall.
    best_f1, best_threshold
        The highest F1 any threshold reaches, and where.
    recall_at_high_precision
        The highest recall of any threshold with a precision of 0.9 or more; 0 where none has it.
    localisation_error, localisation_median
        Root mean square and median distance of right picks from their labels, in pixels; NaN without any.
    pixel_size
        Å; None where nobody said it.
    curve
        ``(n, 3)``: score, recall, precision, for every distinct score from the highest down.
    scores, right
        ``(candidates,)`` the score of each candidate, highest first, and whether it found a label.
    """

    candidates: int
    labels: int
    picks: int
    threshold: float
    precision: float
    recall: float
    f1: float
    average_precision: float
    best_f1: float
    best_threshold: float
    recall_at_high_precision: float
    localisation_error: float
    localisation_median: float
    pixel_size: float | None
    curve: np.ndarray
    scores: np.ndarray
    right: np.ndarray

    def in_angstrom(self, pixels: float) -> float | None:
        """A distance in Å; None where the pixel size is not known."""
        return None if self.pixel_size is None else pixels * self.pixel_size


@dataclass(frozen=True)
class MicrographEvaluation:
    """The :class:`Evaluation` of one micrograph; NaN stands where it has no labels to find."""

    name: str
    evaluation: Evaluation


@dataclass(frozen=True)
class EvaluationReport:
    """Picks against labels, together and one by one.

    Attributes
    ----------
    together
        All micrographs as one.
    micrographs
        Each that has labels, in the order of the table of labels.
    radius, border
        The match radius and the border that was left out, in pixels.
    rule
        Of matching.
    """

    together: Evaluation
    micrographs: tuple[MicrographEvaluation, ...]
    radius: float
    border: float
    rule: MatchRule


@dataclass(frozen=True)
class _Matched:
    """Candidates of one micrograph, the border left out: score, right or not, distance of the right ones."""

    scores: np.ndarray
    right: np.ndarray
    distances: np.ndarray
    labels: int


def evaluate(
    picks: ParticleTable,
    labels: ParticleTable,
    *,
    radius: float,
    threshold: float = 0.5,
    border: float = 0.0,
    shape: tuple[int, int] | None = None,
    rule: MatchRule = "greedy",
    pixel_size: float | None = None,
) -> Evaluation:
    """Compare picks with labels on all micrographs that have labels, together.

    See :func:`evaluate_micrographs` for the parameters and errors.
    """
    return evaluate_micrographs(
        picks,
        labels,
        radius=radius,
        threshold=threshold,
        border=border,
        shape=shape,
        rule=rule,
        pixel_size=pixel_size,
    ).together


def evaluate_micrographs(
    picks: ParticleTable,
    labels: ParticleTable,
    *,
    radius: float,
    threshold: float = 0.5,
    border: float = 0.0,
    shape: tuple[int, int] | None = None,
    rule: MatchRule = "greedy",
    pixel_size: float | None = None,
) -> EvaluationReport:
    """Compare picks with labels on each micrograph that has labels, and on all together.

    Parameters
    ----------
    picks
        With a ``score``; without one all count alike.
    labels
        Counted into micrographs that the picks are matched to by name. Micrographs without labels are not scored.
    radius
        Match radius in pixels.
    threshold
        Score for ``precision``, ``recall`` and ``f1``.
    border
        Picks and labels nearer than this many pixels to an edge count neither for nor against; needs ``shape``.
    shape
        ``(y, x)`` of the micrographs.
    rule
        Of matching: ``"greedy"`` or ``"assignment"`` (:mod:`napari_caked.matching`).
    pixel_size
        Å, for localisation errors in Å.

    Raises
    ------
    LabelsError
        There are no labels to compare with, no common micrograph, a border without a shape, or no label inside it.
    """
    if border and shape is None:
        raise LabelsError("a border can only be left out when the size of the micrographs is known; name them too")
    if not len(labels):
        raise LabelsError("there are no labels to score against")
    labelled = [labels.micrographs[i] for i in np.unique(labels.micrograph_index)]
    if len(picks) and not any(match is not None for match in match_names(labelled, picks.micrographs)):
        raise LabelsError(
            f"no micrograph has both picks and labels: the picks lie on micrographs called like "
            f"{picks.micrographs[0]}, the labels on ones called like {labelled[0]}; name files that belong together"
        )
    picks, labels = picks.only_on(labelled), labels.renamed_to(labelled)
    matched = list(_matched(picks, labels, radius, border, shape, rule))
    together = _Matched(
        scores=np.concatenate([one.scores for one in matched]),
        right=np.concatenate([one.right for one in matched]),
        distances=np.concatenate([one.distances for one in matched]),
        labels=sum(one.labels for one in matched),
    )
    if not together.labels:
        raise LabelsError("all labels lie in the border that is left out; choose a narrower border")
    return EvaluationReport(
        together=_summary(together, threshold, pixel_size),
        micrographs=tuple(
            MicrographEvaluation(name, _summary(one, threshold, pixel_size))
            for name, one in zip(labelled, matched, strict=True)
        ),
        radius=radius,
        border=border,
        rule=rule,
    )


def _matched(
    picks: ParticleTable,
    labels: ParticleTable,
    radius: float,
    border: float,
    shape: tuple[int, int] | None,
    rule: MatchRule,
) -> Iterator[_Matched]:
    scores = _scores(picks)
    for i in range(len(labels.micrographs)):
        here = picks.micrograph_index == i
        order = np.argsort(-scores[here], kind="stable")
        yx, score = picks.coordinates[here, 1:][order], scores[here][order]
        truth = labels.on(i)
        index, distance = match(yx, truth, radius, rule)
        in_pick, in_truth = _inside(yx, border, shape), _inside(truth, border, shape)
        # A pick that found a label counts where the label lies, any other where it lies itself.
        counted = in_pick.copy()
        counted[index >= 0] = in_truth[index[index >= 0]]
        right = index >= 0
        yield _Matched(score[counted], right[counted], distance[right & counted], int(in_truth.sum()))


def _scores(picks: ParticleTable) -> np.ndarray:
    """Scores of picks; equal ones where nobody gave any, and a missing one below all others."""
    scores = picks.features["score"].to_numpy(float) if "score" in picks.features else np.ones(len(picks))
    missing = np.isnan(scores)
    if missing.all():
        return np.ones(len(picks))
    return np.where(missing, scores[~missing].min() - 1, scores)


def _inside(yx: np.ndarray, border: float, shape: tuple[int, int] | None) -> np.ndarray:
    if not border or shape is None:
        return np.ones(len(yx), bool)
    inside = (yx >= border) & (yx <= np.array(shape) - 1 - border)
    return inside[:, 0] & inside[:, 1]


def _summary(matched: _Matched, threshold: float, pixel_size: float | None) -> Evaluation:
    curve = precision_recall(matched.scores, matched.right, matched.labels)
    (above, found), (best_f1, best_threshold) = curve.at(threshold), curve.best
    order, errors = np.argsort(-matched.scores, kind="stable"), matched.distances
    return Evaluation(
        candidates=len(matched.scores),
        labels=matched.labels,
        picks=above,
        threshold=threshold,
        precision=found / above if above else 0.0,
        recall=found / matched.labels if matched.labels else float("nan"),
        f1=2 * found / (above + matched.labels) if matched.labels else float("nan"),
        average_precision=curve.average_precision,
        best_f1=best_f1,
        best_threshold=best_threshold,
        recall_at_high_precision=curve.recall_at(HIGH_PRECISION),
        localisation_error=float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan"),
        localisation_median=float(np.median(errors)) if len(errors) else float("nan"),
        pixel_size=pixel_size,
        curve=np.column_stack([curve.threshold, curve.recall, curve.precision]),
        scores=matched.scores[order],
        right=matched.right[order],
    )


def micrographs_beside(labels: ParticleTable, files: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Micrographs of a table, found where people keep them: beside a coordinate file, or in a folder there.

    Parameters
    ----------
    labels
        Names the micrographs.
    files
        Coordinate files whose folders are looked through, and ``micrographs/`` in and beside each.

    Raises
    ------
    LabelsError
        The first micrograph lies in none of these places.
    """
    folders = []
    for file in files:
        here = Path(file).absolute().parent
        folders += [here, here / "micrographs", here.parent / "micrographs"]
    # One is enough: all micrographs of a series have one size.
    name = labels.micrographs[0]
    for folder in folders:
        for candidate in (folder / name, folder / Path(name).name, folder / f"{Path(name).stem}.mrc"):
            if candidate.is_file():
                return [str(candidate)]
    raise LabelsError(f"the size of {name} is needed, and it does not lie beside the STAR files; give --micrographs")
