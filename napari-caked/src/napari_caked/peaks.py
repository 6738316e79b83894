"""From a score map to particle centres: local maxima, sub-pixel places, suppression by true distance.

The rule, in full. A candidate is a pixel with a finite value that no finite neighbour of the eight exceeds; each pixel
of a plateau is one. Its place is the top of the paraboloid fitted to the 3 x 3 pixels around it. Candidates are visited
from the highest to the lowest, equals in reading order; each stays unless its place is closer than the radius to the
place of one that stays already. So every pick is a local maximum: no flank of a higher peak is picked, as happens where
every remaining pixel is a candidate (Topaz). And no peak is lost for standing beside a higher one that is suppressed
itself, as happens where peaks are sought with a window as wide as the radius.
"""

from __future__ import annotations

import math
import sys

import numpy as np

__all__ = ["find_peaks", "suppress_neighbours"]

#: Rounds that decide many points at once; what is left after them (a slope of candidates) is decided one by one.
_ROUNDS = 24
#: Few enough to stay in the processor's cache while tops are worked out.
_AT_ONCE = 8192
#: So many cells cost next to nothing, even where there are fewer points.
_FEWEST_CELLS = 16384


def find_peaks(score_map: np.ndarray, radius: float, minimum: float = -np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima of a map, none closer to a higher one than ``radius``.

    Parameters
    ----------
    score_map
        ``(y, x)`` float; NaN and infinite values are never picked.
    radius
        Smallest distance between two peaks, in pixels of the map.
    minimum
        Only peaks higher than this; those above it are the same whatever it is.

    Returns
    -------
    yx : numpy.ndarray
        ``(n, 2)`` centres, highest first, refined to fractions of a pixel.
    scores : numpy.ndarray
        ``(n,)`` values of the map at the peaks' pixels.
    """
    height, width = score_map.shape
    # A frame of -inf around the map, so that every pixel has eight neighbours.
    framed = np.full((height + 2, width + 2), -np.inf, score_map.dtype if score_map.dtype.kind == "f" else np.float64)
    framed[1:-1, 1:-1] = score_map
    if not np.isfinite(score_map).all():
        framed[~np.isfinite(framed)] = -np.inf
    peaks = framed[1:-1, 1:-1] >= _highest_of_nine(framed)
    peaks &= framed[1:-1, 1:-1] > minimum  # minus infinity is not higher than anything
    rows, columns = np.divmod(np.flatnonzero(peaks), max(width, 1))
    at = (rows + 1) * (width + 2) + columns + 1
    scores = framed.reshape(-1)[at]
    y, x = np.empty((2, len(at)))
    for start in range(0, len(at), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        y[part], x[part] = _tops(framed, at[part])
    order = _falling(scores)
    yx, scores = np.column_stack([rows + y, columns + x])[order], scores[order]
    keep = suppress_neighbours(yx, radius)
    return yx[keep], scores[keep]


def suppress_neighbours(yx: np.ndarray, radius: float) -> np.ndarray:
    """Greedy suppression: walk from first to last, drop everything closer than ``radius`` to one that stays.

    Points are sorted into cells as wide as the radius. In each round all points stay that are better than every
    undecided point in the 3 x 3 cells around them: nothing can suppress those any more, so they are what the walk
    would keep; what they suppress is dropped.

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
    yx = np.asarray(yx, np.float64)
    if len(yx) < 2 or not radius > 0:
        return np.ones(len(yx), bool)
    keep, left, rounds = np.zeros(len(yx), bool), np.arange(len(yx)), 0
    while len(left) and rounds < _ROUNDS:
        # Sorted anew whenever half of them are decided, which nobody needs to be compared with.
        cells, undecided = _Cells(yx[left], radius), np.ones(len(left), bool)
        these = np.arange(len(left))
        while 2 * len(these) > len(left) and rounds < _ROUNDS:
            staying = cells.leaders(these)
            keep[left[staying]] = True
            undecided[cells.closer_than_radius(staying)] = False
            these = these[undecided[these]]
            rounds += 1
        left = left[these]
    if len(left):
        keep[left[_one_by_one(yx[left], radius)]] = True
    return keep


def _one_by_one(yx: np.ndarray, radius: float) -> np.ndarray:
    """The same walk, step by step: ``(n,)`` bool."""
    keep, undecided, cells = np.zeros(len(yx), bool), np.ones(len(yx), bool), _Cells(yx, radius)
    for one in range(len(yx)):
        if undecided[one]:
            keep[one] = True
            undecided[cells.closer_than_radius(np.array([one]))] = False
    return keep


class _Cells:
    """Points sorted into square cells that are at least as wide as the radius; a rim of empty cells lies around."""

    def __init__(self, yx: np.ndarray, radius: float) -> None:
        y, x = np.ascontiguousarray(yx.T)
        height, width = float(np.ptp(y)), float(np.ptp(x))
        # Not too many more cells than points; and a touch wider, so that rounding puts no neighbour two cells away.
        most = max(len(yx), _FEWEST_CELLS)
        side = max(radius * (1 + 1e-9), height / 4096, width / 4096, math.sqrt(height * width / most))
        self._shape = int(height / side) + 3, int(width / side) + 3
        self._radius_squared = max(radius * radius, sys.float_info.min)  # the square of a tiny radius is 0
        cell = ((y - y.min()) / side).astype(np.int64) * self._shape[1] + ((x - x.min()) / side).astype(np.int64)
        cell += self._shape[1] + 1
        count = self._shape[0] * self._shape[1]
        # Integers of 16 bits are sorted in linear time.
        by_cell = np.argsort(cell.astype(np.uint16) if count < 2**16 else cell, kind="stable")
        self._by_cell = by_cell.astype(np.int32)
        self._first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=count))]).astype(np.int32)
        self._cell, self._y, self._x = cell, y, x
        self._y_by_cell, self._x_by_cell = y[by_cell], x[by_cell]

    def leaders(self, left: np.ndarray) -> np.ndarray:
        """Those of the points ``left`` (rising) that are better than all others of them in the 3 x 3 cells around."""
        none = len(self._cell)
        best = np.full(self._shape[0] * self._shape[1], none, np.int64)
        best[self._cell[left[::-1]]] = left[::-1]  # of several the last, which is the best, remains
        grid = best.reshape(self._shape)
        rows = grid.copy()
        np.minimum(rows[1:], grid[:-1], out=rows[1:])
        np.minimum(rows[:-1], grid[1:], out=rows[:-1])
        around = rows.copy()
        np.minimum(around[:, 1:], rows[:, :-1], out=around[:, 1:])
        np.minimum(around[:, :-1], rows[:, 1:], out=around[:, :-1])
        return best[(grid == around).reshape(-1) & (best < none)]

    def closer_than_radius(self, points: np.ndarray) -> np.ndarray:
        """All that are closer than the radius to one of ``points``, which are so themselves; some may come twice."""
        # Of three neighbouring cells in a row the members lie one after the other.
        cell = self._cell[points][:, None] + self._shape[1] * np.array([-1, 0, 1])
        first = self._first[cell - 1]
        counts = self._first[cell + 2] - first
        ends = np.cumsum(counts, dtype=np.int32).reshape(counts.shape)
        slots = np.repeat((first - ends + counts).reshape(-1), counts.reshape(-1))
        slots += np.arange(len(slots), dtype=np.int32)
        each = counts.sum(axis=1)
        dy = self._y_by_cell[slots] - np.repeat(self._y[points], each)
        dx = self._x_by_cell[slots] - np.repeat(self._x[points], each)
        return self._by_cell[slots[dy * dy + dx * dx < self._radius_squared]]


def _highest_of_nine(framed: np.ndarray) -> np.ndarray:
    """Maximum of the 3 x 3 pixels around each pixel inside a frame one pixel wide."""
    columns = np.maximum(framed[:-2], framed[1:-1])
    np.maximum(columns, framed[2:], out=columns)
    highest = np.maximum(columns[:, :-2], columns[:, 1:-1])
    return np.maximum(highest, columns[:, 2:], out=highest)


def _falling(scores: np.ndarray) -> np.ndarray:
    """Order from the highest to the lowest of ``(n,)`` scores without NaN, equals as they come."""
    if scores.dtype != np.float32:
        return np.argsort(-scores, kind="stable")
    # Eight times as fast, by two halves of 16 bits, which are sorted in linear time. Read as integers, positive floats
    # are in order already, and negative ones are in the reverse order.
    bits = (0.0 - scores).view(np.uint32)  # 0 - 0 is +0, which -0 is not
    bits ^= np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    by_lower = np.argsort(bits.astype(np.uint16), kind="stable")
    return by_lower[np.argsort((bits >> 16).astype(np.uint16)[by_lower], kind="stable")]


def _tops(framed: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From pixels, counted along the flat map, to the tops of the surfaces around them, on y and on x.

    No top is taken to be more than half a pixel away.

    The surface is the least-squares paraboloid through the 3 x 3 pixels (gradient ``g`` and Hessian ``H`` by the
    Savitzky-Golay filters of second order; the top is at ``-H^-1 g``). On elongated peaks that lie askew it errs by a
    fifth of what parabolas along the two axes err, on round ones by less than those, too. Where it has no top, and at
    the edges of the map, each axis takes its own parabola, or no shift.
    """
    flat, width = framed.reshape(-1), framed.shape[1]
    # Above the centre: on a plateau nothing is left but zeros, whatever its height.
    centre, corner = flat[at].astype(np.float64), at - width - 1
    (nw, n, ne), (w, c, e), (sw, s, se) = (
        [flat[dy * width + dx :].take(corner) - centre for dx in (0, 1, 2)] for dy in (0, 1, 2)
    )
    with np.errstate(all="ignore"):
        north, middle, south = nw + n + ne, w + c + e, sw + s + se
        west, between, east = nw + w + sw, n + c + s, ne + e + se
        gy, gx = (south - north) / 6, (east - west) / 6
        hyy, hxx, hxy = (north - 2 * middle + south) / 3, (west - 2 * between + east) / 3, (nw - ne - sw + se) / 4
        determinant = hyy * hxx - hxy * hxy
        y, x = (hxy * gx - hxx * gy) / determinant, (hxy * gy - hyy * gx) / determinant
        # A ridge, a thousand times as curved across as along, has no top worth the name.
        rounded = (determinant > 1e-3 * (hyy + hxx) ** 2) & (hyy < 0) & np.isfinite(y) & np.isfinite(x)
    flattened = np.flatnonzero(~rounded)
    y[flattened] = _parabola(n[flattened], c[flattened], s[flattened])
    x[flattened] = _parabola(w[flattened], c[flattened], e[flattened])
    return np.clip(y, -0.5, 0.5), np.clip(x, -0.5, 0.5)


def _parabola(before: np.ndarray, centre: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the top of the parabola through three neighbours lies; 0 where it has none."""
    with np.errstate(all="ignore"):
        curvature = before - 2 * centre + after
        top = 0.5 * (before - after) / curvature
    return np.where(np.isfinite(top) & (curvature < 0), top, 0.0)
