"""Precision and recall over all thresholds, from picks that are known to be right or wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["PrecisionRecall", "precision_recall"]


@dataclass(frozen=True)
class PrecisionRecall:
    """One point per distinct score, from the highest down: picks that share a score no threshold can tell apart.

    Attributes
    ----------
    threshold
        ``(n,)`` the score: a pick counts if its own is at least as high.
    picks, hits
        ``(n,)`` how many picks count, and how many of these are right.
    labels
        Particles there are.
    """

    threshold: np.ndarray
    picks: np.ndarray
    hits: np.ndarray
    labels: int

    @property
    def precision(self) -> np.ndarray:
        """``(n,)`` share of right picks."""
        return self.hits / self.picks

    @property
    def recall(self) -> np.ndarray:
        """``(n,)`` share of the particles that is found; NaN where there are none."""
        return self.hits / self.labels if self.labels else np.full(len(self.hits), np.nan)

    @property
    def f1(self) -> np.ndarray:
        """``(n,)`` harmonic mean of precision and recall."""
        return 2 * self.hits / (self.picks + self.labels)

    @property
    def average_precision(self) -> float:
        """Sum over the points of precision times gain in recall; NaN where there are no particles."""
        if not self.labels:
            return float("nan")
        return float(self.precision @ np.diff(self.hits, prepend=0)) / self.labels

    @property
    def best(self) -> tuple[float, float]:
        """Highest F1 of any threshold, and that threshold (NaN without picks)."""
        if not len(self.threshold) or not self.labels:
            return (0.0 if self.labels else float("nan")), float("nan")
        best = int(np.argmax(self.f1))
        return float(self.f1[best]), float(self.threshold[best])

    def recall_at(self, precision: float) -> float:
        """Highest recall of any threshold with at least this precision; 0 where none has it."""
        if not self.labels:
            return float("nan")
        return float(self.recall[self.precision >= precision].max(initial=0.0))

    def at(self, threshold: float) -> tuple[int, int]:
        """How many picks reach a threshold, and how many of these are right."""
        reached = int(np.searchsorted(-self.threshold, -threshold, side="right"))
        return (int(self.picks[reached - 1]), int(self.hits[reached - 1])) if reached else (0, 0)


def precision_recall(scores: np.ndarray, right: np.ndarray, labels: int) -> PrecisionRecall:
    """Precision and recall of picks that have been matched.

    Parameters
    ----------
    scores
        ``(n,)``.
    right
        ``(n,)`` bool.
    labels
        Particles there are.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True)) if len(ordered) else np.array([], int)
    return PrecisionRecall(threshold=ordered[last], picks=last + 1, hits=hits[last].astype(int), labels=labels)
