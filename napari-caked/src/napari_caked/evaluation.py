"""How good picks are, against true or hand-made labels.

A pick is right if a label lies within the match radius; each label answers for one pick only, and better scored picks
choose first (the rule of object detection; Everingham et al., IJCV 88, 303 (2010)).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_caked.errors import LabelsError
from napari_empiarreader.coordinates import ParticleTable, match_names

__all__ = ["Evaluation", "evaluate", "match", "micrographs_beside"]


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
    localisation_error
        Root mean square distance of right picks from their labels, in pixels.
    curve
        ``(n, 3)``: score, recall, precision, for every distinct score from the highest down.
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
    localisation_error: float
    curve: np.ndarray


def match(picks: np.ndarray, labels: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Which label each pick finds, on one micrograph.

    Parameters
    ----------
    picks
        ``(n, 2)`` (y, x), best first.
    labels
        ``(m, 2)`` (y, x).
    radius
        Largest distance of a match, in pixels.

    Returns
    -------
    index : numpy.ndarray
        ``(n,)`` int: the label of each pick, -1 where none is left within the radius.
    distance : numpy.ndarray
        ``(n,)`` float: its distance, infinite where there is none.
    """
    index = np.full(len(picks), -1)
    distance = np.full(len(picks), np.inf)
    if not len(picks) or not len(labels):
        return index, distance
    from scipy.spatial import cKDTree

    free = np.ones(len(labels), bool)
    for i, near in enumerate(cKDTree(labels).query_ball_point(picks, radius)):
        candidates = [j for j in near if free[j]]
        if candidates:
            away = np.linalg.norm(labels[candidates] - picks[i], axis=1)
            best = int(np.argmin(away))
            index[i], distance[i] = candidates[best], away[best]
            free[candidates[best]] = False
    return index, distance


def evaluate(
    picks: ParticleTable,
    labels: ParticleTable,
    *,
    radius: float,
    threshold: float = 0.5,
    border: float = 0.0,
    shape: tuple[int, int] | None = None,
) -> Evaluation:
    """Compare picks with labels on all micrographs that have labels.

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

    Raises
    ------
    LabelsError
        There are no labels to compare with, no common micrograph, or a border without a shape.
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
    scores = _scores(picks)
    right, kept_scores, errors, total = [], [], [], 0
    for i in range(len(labelled)):
        here = picks.micrograph_index == i
        order = np.argsort(-scores[here], kind="stable")
        yx, score = picks.coordinates[here, 1:][order], scores[here][order]
        truth = labels.on(i)
        index, distance = match(yx, truth, radius)
        in_pick, in_truth = _inside(yx, border, shape), _inside(truth, border, shape)
        # A pick that found a label counts where the label lies, any other where it lies itself.
        counted = in_pick.copy()
        counted[index >= 0] = in_truth[index[index >= 0]]
        right.append((index >= 0)[counted])
        kept_scores.append(score[counted])
        errors.append(distance[(index >= 0) & counted])
        total += int(in_truth.sum())
    return _summary(np.concatenate(right), np.concatenate(kept_scores), np.concatenate(errors), total, threshold)


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


def _summary(right: np.ndarray, scores: np.ndarray, errors: np.ndarray, total: int, threshold: float) -> Evaluation:
    if not total:
        raise LabelsError("all labels lie in the border that is left out; choose a narrower border")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    ordered = scores[order]
    # One point per distinct score: picks that share a score cannot be told apart by any threshold.
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True)) if len(ordered) else np.array([], int)
    recall, precision = hits[last] / total, hits[last] / (last + 1)
    gain = np.diff(recall, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    above = int((scores >= threshold).sum())
    found = int(right[scores >= threshold].sum())
    best = int(np.argmax(f1)) if len(f1) else -1
    return Evaluation(
        candidates=len(scores),
        labels=total,
        picks=above,
        threshold=threshold,
        precision=found / above if above else 0.0,
        recall=found / total,
        f1=2 * found / (above + total),
        average_precision=float(precision @ gain),
        best_f1=float(f1[best]) if len(f1) else 0.0,
        best_threshold=float(ordered[last][best]) if len(f1) else float("nan"),
        localisation_error=float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan"),
        curve=np.column_stack([ordered[last], recall, precision]),
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
