"""Which pick finds which particle, on one micrograph: one to one, within a match radius.

Two rules. *Greedy* (the rule of object detection; Everingham et al., IJCV 88, 303 (2010)): better scored picks choose
first, each the nearest label that is left. Whether a pick is right then depends on no pick below it, so the precision
at a threshold is that of the picks a person gets at this threshold; it is the default. *Assignment* (the rule by which
Topaz reports; Bepler et al., Nature Methods 16, 1153 (2019)): the pairing of all candidates, whatever their score, with
the least sum of ``min(d² - r², 0)``. A candidate nobody would keep may there take a label from a good pick next to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

__all__ = ["MatchRule", "match", "match_by_assignment", "match_greedily"]

MatchRule = Literal["greedy", "assignment"]


def match(
    picks: np.ndarray, labels: np.ndarray, radius: float, rule: MatchRule = "greedy"
) -> tuple[np.ndarray, np.ndarray]:
    """Which label each pick finds, on one micrograph.

    Parameters
    ----------
    picks
        ``(n, 2)`` (y, x), best first.
    labels
        ``(m, 2)`` (y, x).
    radius
        Largest distance of a match, in pixels.
    rule
        ``"greedy"`` or ``"assignment"``.

    Returns
    -------
    index : numpy.ndarray
        ``(n,)`` int: the label of each pick, -1 where none is left within the radius.
    distance : numpy.ndarray
        ``(n,)`` float: its distance, infinite where there is none.

    Raises
    ------
    ValueError
        A rule of another name.
    """
    if rule not in _RULES:
        raise ValueError(f"there is no match rule {rule!r}; use one of {', '.join(_RULES)}")
    return _RULES[rule](np.asarray(picks, float).reshape(-1, 2), np.asarray(labels, float).reshape(-1, 2), radius)


def match_greedily(picks: np.ndarray, labels: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """:func:`match` by the greedy rule."""
    index, distance = _none(len(picks))
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


def match_by_assignment(picks: np.ndarray, labels: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """:func:`match` by the assignment rule; the order of the picks plays no part."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    index, distance = _none(len(picks))
    away = cdist(picks, labels)
    gain = np.minimum(away**2 - radius**2, 0)
    rows, columns = linear_sum_assignment(gain)
    right = gain[rows, columns] < 0
    rows, columns = rows[right], columns[right]
    index[rows], distance[rows] = columns, away[rows, columns]
    return index, distance


def _none(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(count, -1), np.full(count, np.inf)


_RULES: dict[str, Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]] = {
    "greedy": match_greedily,
    "assignment": match_by_assignment,
}
