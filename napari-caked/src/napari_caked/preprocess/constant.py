"""Patches and runs of one value in a micrograph, however many equal neighbours there are by chance.

In floats and in wide integers few neighbours are equal, and their places are looked at one by one; among counted
electrons many are, and all pixels are looked at together. Both ways mark the same pixels.
"""

from __future__ import annotations

import numpy as np

__all__ = ["equal_neighbours", "grown", "mark_among_few", "mark_among_many", "runs_of"]

#: Share of equal neighbours up to which it is faster to look at them one by one.
_FEW = 0.03
#: Few enough to stay in the processor's cache while they are compared.
_ROWS_AT_ONCE = 32


def equal_neighbours(micrograph: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Places, counted along the flat image, of pixels that equal their right and their lower neighbour; None for many.

    Both rise: those of equal right neighbours along the rows, those of equal lower neighbours along the rows, too.
    """
    height, width = micrograph.shape
    across, down = [], []
    left = _FEW * micrograph.size
    for top in range(0, height, _ROWS_AT_ONCE):
        rows = micrograph[top : top + _ROWS_AT_ONCE + 1]
        places = np.flatnonzero(rows[:_ROWS_AT_ONCE, 1:] == rows[:_ROWS_AT_ONCE, :-1])
        across.append(places + places // max(width - 1, 1) + top * width)
        down.append(np.flatnonzero(rows[1:] == rows[:-1]) + top * width)
        left -= max(len(across[-1]), len(down[-1]))
        if left < 0:
            return None
    return np.concatenate(across), np.concatenate(down)


def mark_among_few(across: np.ndarray, down: np.ndarray, side: int, length: int, found: np.ndarray) -> None:
    """Mark patches of ``side`` x ``side`` and runs of ``length`` pixels.

    Parameters
    ----------
    across, down
        Places, rising, of pixels that equal their right and their lower neighbour.
    side, length
        In pixels.
    found
        ``(y, x)`` bool, contiguous; what is found becomes true.
    """
    height, width = found.shape
    flat = found.reshape(-1)
    # Along columns the places are consecutive in the image's transpose.
    below = np.sort(down % width * height + down // width)
    along = across[_in_runs(across, length - 1)]
    flat[along] = flat[along + 1] = True
    along = below[_in_runs(below, length - 1)]
    along = along % height * width + along // height
    flat[along] = flat[along + width] = True
    # A patch: side rows, each constant, whose first pixels are equal.
    rows = across[_begins(across, side - 1)]
    rows = np.sort(rows % width * height + rows // width)
    corners = np.intersect1d(rows[_begins(rows, side)], below[_begins(below, side - 1)], assume_unique=True)
    corners = corners % height * width + corners // height
    for row in range(side):
        for column in range(side):
            flat[corners + (row * width + column)] = True


def _begins(places: np.ndarray, count: int) -> np.ndarray:
    """Indices of those of rising places with which ``count`` consecutive ones begin."""
    last = places[count - 1 :]
    return np.flatnonzero(last - places[: len(last)] == count - 1)


def _in_runs(places: np.ndarray, count: int) -> np.ndarray:
    """``(n,)`` bool: which of rising places are among ``count`` or more consecutive ones."""
    begins = _begins(places, count)
    change = np.zeros(len(places) + 1, np.int64)
    change[begins] += 1
    change[begins + count] -= 1
    return np.cumsum(change[:-1]) > 0


def mark_among_many(across: np.ndarray, down: np.ndarray, side: int, length: int, found: np.ndarray) -> None:
    """As :func:`mark_among_few`, by flags ``(y, x - 1)`` and ``(y - 1, x)`` in the place of places."""
    for runs, axis in ((runs_of(across, length - 1, 1), 1), (runs_of(down, length - 1, 0), 0)):
        if runs.any():
            found |= grown(runs, length, axis)
    rows = runs_of(across, side - 1, 1)
    if rows.any():
        corners = runs_of(rows, side, 0) & runs_of(down, side - 1, 0)[:, : rows.shape[1]]
        if corners.any():
            found |= grown(grown(corners, side, 0), side, 1)


def runs_of(flags: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Where ``length`` True in a row begin along an axis, which becomes ``length - 1`` shorter (or empty)."""
    size = flags.shape[axis] - length + 1
    if size < 1:
        return flags[:0] if axis == 0 else flags[:, :0]
    covered, runs = 1, flags
    while covered < length:
        step = min(covered, length - covered)
        runs = _part(runs, axis, 0, -step) & _part(runs, axis, step, None)
        covered += step
        if not runs.any():
            return np.zeros([size if i == axis else n for i, n in enumerate(flags.shape)], bool)
    return runs


def grown(starts: np.ndarray, length: int, axis: int) -> np.ndarray:
    """The pixels of runs of ``length`` pixels from where they begin: the inverse of :func:`runs_of`."""
    pixels = np.pad(starts, [(0, length - 1 if i == axis else 0) for i in range(starts.ndim)])
    covered = 1
    while covered < length:
        step = min(covered, length - covered)
        shifted = _part(pixels, axis, 0, -step).copy()
        _part(pixels, axis, step, None)[...] |= shifted
        covered += step
    return pixels


def _part(array: np.ndarray, axis: int, start: int, stop: int | None) -> np.ndarray:
    return array[start:stop] if axis == 0 else array[:, start:stop]
