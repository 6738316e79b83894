"""Two opinions on where particles are, made one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Opinion", "fused"]

#: What somebody who sees nothing at a place is taken to say of it: this quantile of the log-odds of what they see.
_UNSEEN = 0.1
#: Log-odds beyond this are no longer told apart.
_SUREST = 9.0


@dataclass(frozen=True)
class Opinion:
    """How likely places of one micrograph are particles.

    Attributes
    ----------
    places
        ``(n, 2)`` (y, x) in working pixels.
    probabilities
        ``(n,)``.
    share
        Share of the micrograph's particles that are labelled.
    """

    places: np.ndarray
    probabilities: np.ndarray
    share: float


def fused(first: Opinion, second: Opinion, same: float) -> Opinion:
    """The mean of two log-odds at every place that either of them names.

    Parameters
    ----------
    first
        Where both name a place, it is where this one says; and the share is this one's.
    second
        The other.
    same
        Places nearer to each other than this, in working pixels, are the same.
    """
    from scipy.spatial import cKDTree
    from scipy.special import expit

    if not len(first.places) or not len(second.places):
        return first if len(first.places) else Opinion(second.places, second.probabilities, first.share)
    ours, theirs = _log_odds(first.probabilities), _log_odds(second.probabilities)
    away, nearest = map(np.asarray, cKDTree(second.places).query(first.places))
    both = away < same
    also = np.where(both, theirs[nearest], np.quantile(theirs, _UNSEEN))
    rest = np.ones(len(theirs), bool)
    rest[nearest[both]] = False
    odds = np.concatenate([(ours + also) / 2, (theirs[rest] + np.quantile(ours, _UNSEEN)) / 2])
    return Opinion(np.concatenate([first.places, second.places[rest]]), expit(odds), first.share)


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    from scipy.special import logit

    return np.asarray(np.clip(logit(probabilities), -_SUREST, _SUREST))
