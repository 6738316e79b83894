"""How many particles there are: estimated from the correlation maps, without ground truth.

A maximum of the correlation map is a particle or a chance likeness. With labels, the heights of all maxima are taken
for a mixture of the two, whose parts are known from the heights at the labels and from the negated map
(:mod:`napari_caked.mixture`). Without any, the maxima of the negated map say how many chance maxima to expect above
any height (target-decoy counting; Elias and Gygi, Nature Methods 4, 207 (2007)): where particles stand close together
that count is far too low, because they leave no room for chance maxima, but the negated map has them everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_caked.mixture import TwoComponents, fit_two_components
from napari_caked.peaks import find_peaks

__all__ = ["ParticleCount", "count_particles", "values_at_labels"]

#: A maximum belongs to a label if it lies within this share of the smallest distance between two particles.
_NEAR = 0.5
#: Labels with a maximum that stand for the belief that nearly every particle has one.
_TRUST = 4.0


@dataclass(frozen=True)
class ParticleCount:
    """Particles found by looking at the heights of maxima.

    Attributes
    ----------
    per_micrograph
        Estimated particles per micrograph.
    peaks
        For each map ``(n, 2)`` (y, x) of its maxima, highest first.
    heights
        For each map ``(n,)`` the correlation at its maxima.
    probabilities
        For each map ``(n,)`` the probability that a maximum is a particle; empty where nothing was labelled.
    mixture
        Of the heights; None where nothing was labelled.
    """

    per_micrograph: float
    peaks: tuple[np.ndarray, ...]
    heights: tuple[np.ndarray, ...]
    probabilities: tuple[np.ndarray, ...] = ()
    mixture: TwoComponents | None = None


def count_particles(
    maps: Sequence[np.ndarray], radius: float, labelled: Sequence[np.ndarray] | None = None
) -> ParticleCount:
    """Count particles in correlation maps.

    Parameters
    ----------
    maps
        ``(y, x)`` correlation maps.
    radius
        Smallest distance between two particles, in pixels of the maps.
    labelled
        For each map ``(n, 2)`` (y, x) of labelled particles, in its pixels.
    """
    found = [find_peaks(one, radius) for one in maps]
    peaks, heights = tuple(yx for yx, _ in found), tuple(height for _, height in found)
    decoys = np.concatenate([find_peaks(-one, radius)[1] for one in maps])
    together = np.concatenate(heights)
    known, reach = values_at_labels(found, labelled or [], _NEAR * radius)
    if not len(known) or len(together) < 2:
        return ParticleCount(_surplus(together, decoys) / len(maps), peaks, heights)
    mixture = fit_two_components(together, known, decoys)
    return ParticleCount(
        per_micrograph=max(mixture.share * len(together) / reach, 1.0) / len(maps),
        peaks=peaks,
        heights=heights,
        probabilities=tuple(mixture.posterior(one) for one in heights),
        mixture=mixture,
    )


def values_at_labels(
    found: Sequence[tuple[np.ndarray, np.ndarray]], labelled: Sequence[np.ndarray], near: float
) -> tuple[np.ndarray, float]:
    """Values of the maxima at labels, and the share of particles that have a maximum at all.

    Parameters
    ----------
    found
        For each map its maxima ``(n, 2)`` (y, x) and their values ``(n,)``: heights, or candidates' logits.
    labelled
        For each map ``(m, 2)`` (y, x) of labels, in the same pixels.
    near
        Largest distance of a maximum from its label.

    Returns
    -------
    values : numpy.ndarray
        ``(k,)``; empty where no label has a maximum near it.
    reach : float
        Above 0, at most 1; drawn towards 1 where labels are few.
    """
    from scipy.spatial import cKDTree

    known, total = [], 0
    for (yx, heights), points in zip(found, labelled, strict=False):
        total += len(points)
        if len(points) and len(yx):
            away, nearest = cKDTree(yx).query(points)
            near_enough = np.asarray(nearest, np.intp)[np.asarray(away) <= near]
            known.append(heights[np.unique(near_enough)])
    together = np.concatenate(known) if known else np.empty(0)
    return together, (len(together) + _TRUST) / (max(total, len(together)) + _TRUST)


def _surplus(heights: np.ndarray, decoys: np.ndarray) -> float:
    """Surplus of maxima over decoys above the height where it is surest, at least 1.

    Surest is where the surplus less twice its own uncertainty is largest; the largest surplus itself would always be
    one of the lucky ones.
    """
    heights, decoys = np.sort(heights)[::-1], np.sort(decoys)
    chance = len(decoys) - np.searchsorted(decoys, heights, side="left")
    found = np.arange(1, len(heights) + 1)
    sure = found - chance - 2 * np.sqrt(found + chance)
    if not len(sure) or sure.max() <= 0:
        return 1.0
    best = int(np.argmax(sure))
    return float(found[best] - chance[best])
