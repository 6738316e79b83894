"""How near particles of a specimen come to each other, learned from the surest of them.

A compact particle keeps its neighbours a diameter away, a long one seen from its side does not. Which it is, the surest
candidates tell by their pair correlation ``g(d)``: how many pairs stand at a distance ``d``, beside as many as there
would be if places were chance. Where such pairs are rare, one of two candidates that near to each other is hardly a
particle. In a pairwise interaction process (Illian et al., Statistical Analysis and Modelling of Spatial Point
Patterns, Wiley 2008, chapter 3) the odds of a candidate are multiplied by ``g(d)`` of each neighbour that is there; of
a neighbour with probability p the mean factor is ``1 - p (1 - g(d))``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Spacing", "estimate_spacing"]

#: Distances, in particle widths, between which ``g`` is one number.
_EDGES = np.round(np.arange(0.4, 1.21, 0.1), 2)
#: Pairs that stand for the belief that nothing is known: with few particles ``g`` stays near 1.
_DOUBT = 1.0
#: Share of the expected particles that are the surest.
_SUREST = 0.5
#: Pairs that are more frequent than this, beside chance, are nothing to doubt: the surest candidates are often those
#: with room around them, so that ``g`` of all particles is higher than theirs.
_RARE = 1 / 3
#: Log-odds of a candidate that says nothing about its neighbours.
_NEVER = -10.0


@dataclass(frozen=True)
class Spacing:
    """Pair correlation of a specimen's particles, where it is below 1.

    Attributes
    ----------
    edges
        ``n + 1`` distances in particle widths, increasing.
    factors
        ``n`` values of g between them, above 0, at most 1; without any, particles may stand anywhere.
    """

    edges: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would make probabilities of no meaning."""
        edges, factors = np.array(self.edges, float), np.array(self.factors, float)
        if len(edges) != (len(factors) + 1 if len(factors) else 0) or (np.diff(edges) <= 0).any():
            raise ValueError(f"the spacing has {len(factors)} factors between the distances {self.edges}")
        if not ((factors > 0) & (factors <= 1)).all():
            raise ValueError(f"the spacing's factors {self.factors} must lie above 0 and not above 1")

    def adjusted(self, yx: np.ndarray, odds: np.ndarray, width: float) -> np.ndarray:
        """Log-odds ``(n,)`` of candidates, given those that are surer and near.

        Parameters
        ----------
        yx
            ``(n, 2)``.
        odds
            ``(n,)`` log-odds of each if it were alone.
        width
            Of a particle, in the units of ``yx``.
        """
        from scipy.spatial import cKDTree

        adjusted = np.array(odds, np.float64)
        if not self.factors or len(adjusted) < 2:
            return adjusted
        order = np.lexsort((yx[:, 1], yx[:, 0], -adjusted))
        rank = np.empty(len(order), np.intp)
        rank[order] = np.arange(len(order))
        pairs = cKDTree(yx).query_pairs(self.edges[-1] * width, output_type="ndarray")
        surer = np.where(rank[pairs[:, 0]] < rank[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
        other = pairs.sum(axis=1) - surer
        away = np.hypot(*(yx[surer] - yx[other]).T) / width
        near = away < self.edges[-1]
        # A pair nearer than the nearest that was looked at is as rare as those.
        place = np.maximum(np.searchsorted(self.edges, away[near], side="right") - 1, 0)
        missing = 1 - np.array(self.factors)[place]
        surer, other = surer[near], other[near]
        # From the surest on, so that whoever lowers another has been lowered itself; numbers, for they are many.
        in_turn = np.lexsort((rank[surer], rank[other]))
        value = adjusted.tolist()
        turns = zip(surer[in_turn].tolist(), other[in_turn].tolist(), missing[in_turn].tolist(), strict=True)
        for one, lowered, less in turns:
            if value[one] > _NEVER:
                value[lowered] += math.log1p(-less / (1 + math.exp(-value[one])))
        return np.array(value)


def estimate_spacing(found: Sequence[tuple[np.ndarray, np.ndarray]], areas: Sequence[float], width: float) -> Spacing:
    """Learn how near particles come to each other.

    Parameters
    ----------
    found
        For each micrograph candidates ``(n, 2)`` and their log-odds ``(n,)``.
    areas
        Of each micrograph where it shows specimen, in the units of the candidates, squared.
    width
        Of a particle, in the same units.
    """
    from scipy.optimize import isotonic_regression
    from scipy.spatial import cKDTree
    from scipy.special import expit

    odds = np.sort(np.concatenate([o for _, o in found]))[::-1] if found else np.empty(0)
    surest = round(_SUREST * float(expit(odds).sum()))
    if surest < 2:
        return Spacing()
    seen, chance = np.zeros(len(_EDGES) - 1), np.zeros(len(_EDGES) - 1)
    rings = np.pi * np.diff(_EDGES**2) * width**2
    for (yx, own), area in zip(found, areas, strict=True):
        points = yx[own >= odds[surest - 1]]
        if len(points) < 2:
            continue
        pairs = cKDTree(points).query_pairs(_EDGES[-1] * width, output_type="ndarray")
        away = np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T) / width
        seen += np.histogram(away, _EDGES)[0]
        chance += len(points) ** 2 / 2 * rings / area
    rough = (seen + _DOUBT) / (chance + _DOUBT)
    factors = isotonic_regression(np.minimum(rough, 1.0), weights=chance + _DOUBT).x
    last = int(np.searchsorted(factors, _RARE))
    return Spacing(tuple(map(float, _EDGES[: last + 1])), tuple(map(float, factors[:last]))) if last else Spacing()
