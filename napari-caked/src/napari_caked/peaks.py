"""From a score map to particle centres: local maxima, suppression by true distance, sub-pixel places."""

from __future__ import annotations

import numpy as np

__all__ = ["find_peaks", "suppress_neighbours"]


def find_peaks(score_map: np.ndarray, radius: float, minimum: float = -np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of a map, none closer to a higher one than ``radius``.

    Parameters
    ----------
    score_map
        ``(y, x)`` float; NaN and -inf are never picked.
    radius
        Smallest distance between two peaks, in pixels of the map.
    minimum
        Only peaks higher than this.

    Returns
    -------
    yx : numpy.ndarray
        ``(n, 2)`` centres, highest first, refined by a parabola through the neighbours on each axis.
    scores : numpy.ndarray
        ``(n,)`` values of the map at the peaks' pixels.
    """
    from scipy.ndimage import maximum_filter

    clean = np.where(np.isfinite(score_map), score_map, -np.inf)
    # A small window: a wide one would lose peaks that stand beside a higher one which is itself suppressed.
    peaks = (clean == maximum_filter(clean, size=3, mode="constant", cval=-np.inf)) & (clean > minimum)
    pixels = np.argwhere(peaks)
    scores = clean[peaks]
    # Among equals the first in reading order wins, whatever the sort.
    order = np.lexsort((pixels[:, 1], pixels[:, 0], -scores))
    pixels, scores = pixels[order], scores[order]
    yx = pixels + _parabola_offsets(clean, pixels)
    keep = suppress_neighbours(yx, radius)
    return yx[keep], scores[keep]


def suppress_neighbours(yx: np.ndarray, radius: float) -> np.ndarray:
    """Greedy suppression: walk from first to last, drop everything closer than ``radius`` to one that stays.

    Parameters
    ----------
    yx
        ``(n, 2)``, best first.
    radius
        In the units of ``yx``.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` bool: which stay.
    """
    from scipy.spatial import cKDTree

    keep = np.ones(len(yx), bool)
    if len(yx) < 2:
        return keep
    pairs = cKDTree(yx).query_pairs(radius, output_type="ndarray")
    # Strictly closer only: query_pairs includes the distance itself.
    pairs = pairs[np.linalg.norm(yx[pairs[:, 0]] - yx[pairs[:, 1]], axis=1) < radius]
    pairs = np.sort(pairs, axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    for better, worse in pairs:
        if keep[better]:
            keep[worse] = False
    return keep


def _parabola_offsets(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Where the top of the parabola through a peak and its neighbours lies, on each axis, at most half a pixel off."""
    offsets = np.zeros(pixels.shape, np.float64)
    for axis in (0, 1):
        inside = (pixels[:, axis] > 0) & (pixels[:, axis] < values.shape[axis] - 1)
        step = np.eye(2, dtype=int)[axis]
        centre = values[tuple(pixels[inside].T)]
        before = values[tuple((pixels[inside] - step).T)]
        after = values[tuple((pixels[inside] + step).T)]
        curvature = before - 2 * centre + after
        with np.errstate(invalid="ignore", divide="ignore"):
            shift = 0.5 * (before - after) / curvature
        offsets[inside, axis] = np.where(np.isfinite(shift) & (curvature < 0), np.clip(shift, -0.5, 0.5), 0.0)
    return offsets
