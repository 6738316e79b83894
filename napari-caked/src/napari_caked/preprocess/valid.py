"""Which pixels of a micrograph show specimen, and what to put where they do not.

Looked for: values that are not finite; patches of one value (padding, areas blanked by other programs); columns and
rows of the camera that are dead, stuck or far off their neighbours; frames of repeated edge lines. How large a patch
must be to be no chance follows from how often neighbouring pixels are equal, which is often for counted electrons and
never for floats.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from napari_caked.preprocess.rescale import Rescaling

__all__ = ["fill_invalid", "invalid_pixels", "outlier_bounds", "valid_on"]

#: Chance constant patches or runs that are accepted per micrograph.
_CHANCE = 1e-3
#: A line of a frame differs from its neighbour by less than this share of what lines usually differ by.
_REPEATED = 0.2
#: So many lines outside of those that are alike belong to a frame.
_RIM = 8
#: Lines of the camera are judged in pieces of so many pixels, so that a half-dead column is found too.
_PIECE = 512


def outlier_bounds(micrograph: np.ndarray, deviations: float = 8.0) -> tuple[float, float]:
    """Least and greatest value that a specimen may have: mean +- so many standard deviations.

    Worked out on every n-th row, repeatedly, because outliers widen the deviation at first.
    """
    step = max(1, micrograph.size // 1_000_000)
    values = micrograph[::step].astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    low, high = -math.inf, math.inf
    for _ in range(10):
        centre, reach = float(values.mean()), deviations * float(values.std())
        low, high = centre - reach, centre + reach
        if values.min() >= centre - 1.01 * reach and values.max() <= centre + 1.01 * reach:
            break
        values = values.clip(low, high)
    return low, high


def invalid_pixels(micrograph: np.ndarray, bounds: tuple[float, float]) -> np.ndarray | None:
    """``(y, x)`` bool of pixels that show no specimen, or None where all do.

    Parameters
    ----------
    micrograph
        ``(y, x)`` in any real type.
    bounds
        From :func:`outlier_bounds`; one hot pixel must not condemn its column.
    """
    found = np.zeros(micrograph.shape, bool)
    # NaN is the least and the greatest value of whatever it is in.
    if not (np.isfinite(micrograph.min()) and np.isfinite(micrograph.max())):
        found |= ~np.isfinite(micrograph)
    _mark_constant(micrograph, found)
    _mark_frame(micrograph, found)
    _mark_frame(micrograph.T, found.T)
    _mark_bad_columns(micrograph, found, bounds)
    _mark_bad_columns(micrograph.T, found.T, bounds)
    return found if found.any() else None


# ---- constant patches and runs -------------------------------------------------------------------------------


def _mark_constant(micrograph: np.ndarray, found: np.ndarray) -> None:
    """Mark square patches and straight runs of one value that are too large for chance."""
    across = micrograph[:, 1:] == micrograph[:, :-1]
    down = micrograph[1:] == micrograph[:-1]
    equal = max(np.count_nonzero(across), np.count_nonzero(down)) / micrograph.size
    if not equal:
        return
    # Neighbours are equal with probability sum(p²) >= max(p)², and so n independent pixels with at most equal^(n / 2).
    pixels = 2 * math.log(micrograph.size / _CHANCE) / -math.log(min(equal, 0.99))
    side = max(4, math.ceil(math.sqrt(pixels)))
    length = max(64, 2 * math.ceil(pixels))
    for runs, axis in ((_runs(across, length - 1, 1), 1), (_runs(down, length - 1, 0), 0)):
        if runs.any():
            found |= _grown(runs, length, axis)
    # A patch: side rows, each constant, whose first pixels are equal.
    rows = _runs(across, side - 1, 1)
    if rows.any():
        corners = _runs(rows, side, 0) & _runs(down, side - 1, 0)[:, : rows.shape[1]]
        if corners.any():
            found |= _grown(_grown(corners, side, 0), side, 1)


def _runs(flags: np.ndarray, length: int, axis: int) -> np.ndarray:
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


def _grown(starts: np.ndarray, length: int, axis: int) -> np.ndarray:
    """The pixels of runs of ``length`` pixels from where they begin: the inverse of :func:`_runs`."""
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


# ---- frames --------------------------------------------------------------------------------------------------


def _mark_frame(micrograph: np.ndarray, found: np.ndarray) -> None:
    """Mark rows that repeat their neighbours: frames from the edge on, and bands of four or more inside.

    Padding by repeated edge lines is often filtered afterwards, so lines need only be alike, not equal; and the filter
    may have wrapped some of the opposite edge around, so the outermost few lines need not be alike at all.
    """
    height, width = micrograph.shape
    if height < 32:
        return
    strips = [micrograph[:, x : x + 64] for x in range(0, width, max(64, width // 8))]
    sample = np.concatenate(strips, axis=1).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        step = np.nan_to_num(np.abs(np.diff(sample, axis=0)).mean(axis=1), nan=np.inf)
    usual = float(np.median(step))
    alike = step < _REPEATED * usual
    for flags, steps, rows in ((alike, step, found), (alike[::-1], step[::-1], found[::-1])):
        pairs = np.flatnonzero(flags[:_RIM] & flags[1 : _RIM + 1])
        if len(pairs):
            last = int(pairs[0]) + int(np.argmin(np.append(flags[pairs[0] :], False)))  # the first row like no other
            while last < height // 8 and steps[last] < 0.75 * usual:
                last += 1  # the filter's transition
            rows[: last + 1] = True
    # Three steps that are alike: four rows.
    found[_grown(_runs(alike, 3, 0), 4, 0)[:height]] = True


# ---- columns of the camera -----------------------------------------------------------------------------------


def _mark_bad_columns(micrograph: np.ndarray, found: np.ndarray, bounds: tuple[float, float]) -> None:
    """Mark columns, in pieces, that are much brighter or darker, louder or quieter than those on both sides."""
    height, width = micrograph.shape
    if height < 64 or width < 32:
        return
    pieces = max(1, height // _PIECE)
    for rows, marked in zip(np.array_split(micrograph, pieces), np.array_split(found, pieces), strict=True):
        # In a few rows of counted electrons a column may be empty by chance: such suspicions are looked at in full.
        few = slice(None, None, max(1, len(rows) // 128))
        if _bad_columns(rows[few], marked[few], bounds).any():
            marked[:, _bad_columns(rows, marked, bounds)] = True


def _bad_columns(rows: np.ndarray, known: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Columns whose mean is a pixel's deviation off, or whose deviation is three times or a quarter, both sides'.

    Both sides, because the edge of carbon or of a blank area is no defect of the columns beside it. Pixels ``known``
    to be invalid do not count, nor do columns of hardly any others.
    """
    weight = ~known
    count = weight.sum(axis=0)
    sample = np.where(known, 0, rows.astype(np.float32).clip(*bounds))
    mean = np.where(count >= 32, sample.sum(axis=0) / np.maximum(count, 1), np.nan).astype(np.float32)
    residual = np.where(known, 0, sample - mean)
    deviation = np.sqrt((residual**2).sum(axis=0) / np.maximum(count, 1))
    if not np.isfinite(mean).any():
        return np.zeros(len(mean), bool)
    low, high = _sides(mean)
    off = np.fmax(mean - high, low - mean)
    typical = 1.4826 * float(np.nanmedian(np.abs(mean - (low + high) / 2)))
    quiet, loud = _sides(deviation)
    is_off = off > max(float(np.nanmedian(deviation)), 8 * typical)
    return np.asarray(is_off | (deviation > 3 * loud) | (deviation < 0.25 * quiet))


def _sides(values: np.ndarray, reach: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The lesser and the greater of the medians of so many values before and after each."""
    padded = np.pad(values, reach, mode="reflect")
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, reach), axis=1)
    before, after = medians[: len(values)], medians[reach + 1 :]
    return np.fmin(before, after), np.fmax(before, after)


# ---- what to put there ---------------------------------------------------------------------------------------


def fill_invalid(micrograph: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """A float32 copy whose invalid pixels have the mean of the valid ones nearby.

    Means over ever larger squares, until every pixel has one: what is filled in has no step at its edge that a Fourier
    crop would let ring.
    """
    filled = micrograph.astype(np.float32)
    filled[invalid] = 0
    weight = torch.from_numpy((~invalid).astype(np.float32))[None, None]
    total = torch.from_numpy(filled)[None, None]
    levels = []
    while True:
        levels.append((total, weight))
        if max(total.shape[-2:]) == 1 or bool((weight > 0).all()):
            break
        total, weight = (F.avg_pool2d(part, 2, ceil_mode=True) for part in (total, weight))
    coarse = levels[-1][0] / levels[-1][1].clamp(min=1e-12)
    for total, weight in reversed(levels[:-1]):
        near = F.interpolate(coarse, scale_factor=2.0, mode="nearest")[..., : total.shape[-2], : total.shape[-1]]
        coarse = torch.where(weight > 0, total / weight.clamp(min=1e-12), near)
    return coarse[0, 0].numpy()


def valid_on(plan: Rescaling, invalid: np.ndarray) -> np.ndarray:
    """``plan.shape`` bool: rescaled pixels of which at least half of 4 x 4 places in their area show specimen."""
    within = (np.arange(4) - 1.5) / 4
    rows, columns = (
        np.clip(np.rint((np.arange(n)[:, None] + within) * factor).astype(np.intp), 0, last - 1).ravel()
        for n, factor, last in zip(plan.shape, plan.factor, invalid.shape, strict=True)
    )
    places = invalid[rows][:, columns].reshape(plan.shape[0], 4, plan.shape[1], 4)
    return np.asarray(places.sum(axis=(1, 3), dtype=np.uint8) <= 8)
