"""What a threshold will give, from calibrated scores alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """What to expect of the picks at a threshold.

    Attributes
    ----------
    kept
        Picks.
    precision
        Share of them that are particles; NaN without picks.
    recall
        Share of all particles among the candidates that are kept; NaN without candidates.
    """

    kept: int
    precision: float
    recall: float


def estimate(scores: np.ndarray, kept: np.ndarray) -> Estimate:
    """Expectation over independent candidates that are particles with their scores as probabilities.

    Of the kept ones ``sum(p)`` are expected to be particles, so the precision is their mean; the recall is that sum
    over the sum of all.

    Parameters
    ----------
    scores
        ``(n,)`` calibrated probabilities; those that are not finite are left out.
    kept
        ``(n,)`` bool.
    """
    known = np.isfinite(scores)
    above = scores[kept & known]
    total = float(scores[known].sum())
    return Estimate(
        int(kept.sum()),
        float(above.mean()) if len(above) else float("nan"),
        float(above.sum()) / total if total else float("nan"),
    )
