"""How many particles there are: estimated from the correlation maps, without ground truth.

A maximum of the correlation map is a particle or a chance likeness. Chance makes the map's negative just as peaky, so
the maxima of the negated map say how many chance maxima to expect above any height (target-decoy counting; Elias and
Gygi, Nature Methods 4, 207 (2007)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_caked.peaks import find_peaks

__all__ = ["ParticleCount", "count_particles"]


@dataclass(frozen=True)
class ParticleCount:
    """Particles found by counting maxima against decoys.

    Attributes
    ----------
    per_micrograph
        Estimated particles per micrograph.
    peaks
        For each map ``(n, 2)`` (y, x) of its maxima, highest first.
    heights
        For each map ``(n,)`` the correlation at its maxima.
    """

    per_micrograph: float
    peaks: tuple[np.ndarray, ...]
    heights: tuple[np.ndarray, ...]


def count_particles(maps: Sequence[np.ndarray], radius: float) -> ParticleCount:
    """Count particles in correlation maps.

    Parameters
    ----------
    maps
        ``(y, x)`` correlation maps.
    radius
        Smallest distance between two particles, in pixels of the maps.
    """
    found = [find_peaks(one, radius) for one in maps]
    heights = np.sort(np.concatenate([h for _, h in found]))[::-1]
    decoys = np.sort(np.concatenate([find_peaks(-one, radius)[1] for one in maps]))
    chance = len(decoys) - np.searchsorted(decoys, heights, side="left")
    surplus = np.arange(1, len(heights) + 1) - chance
    return ParticleCount(
        per_micrograph=max(float(surplus.max(initial=1)), 1.0) / len(maps),
        peaks=tuple(peaks for peaks, _ in found),
        heights=tuple(h for _, h in found),
    )
