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

from napari_caked.preprocess.constant import equal_neighbours, grown, mark_among_few, mark_among_many, runs_of
from napari_caked.preprocess.rescale import Rescaling

__all__ = ["fill_invalid", "invalid_pixels", "outlier_bounds", "valid_on"]

#: Chance constant patches or runs that are accepted per micrograph.
_CHANCE = 1e-3
#: Pixels that tell the deviation of all to a part in five hundred.
_ENOUGH = 250_000
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
    step = max(1, micrograph.size // _ENOUGH)
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
    few = equal_neighbours(micrograph)
    if few is None:
        across, down = micrograph[:, 1:] == micrograph[:, :-1], micrograph[1:] == micrograph[:-1]
        equal = max(np.count_nonzero(across), np.count_nonzero(down)) / micrograph.size
        mark_among_many(across, down, *_beyond_chance(equal, micrograph.size), found)
    elif equal := max(len(places) for places in few) / micrograph.size:
        mark_among_few(*few, *_beyond_chance(equal, micrograph.size), found)


def _beyond_chance(equal: float, size: int) -> tuple[int, int]:
    """Side of a patch and length of a run that are no chance where such a share of all neighbours are equal."""
    # Neighbours are equal with probability sum(p²) >= max(p)², and so n independent pixels with at most equal^(n / 2).
    pixels = 2 * math.log(size / _CHANCE) / -math.log(min(equal, 0.99))
    return max(4, math.ceil(math.sqrt(pixels))), max(64, 2 * math.ceil(pixels))


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
    sample = np.concatenate(strips, axis=1).astype(np.float32, copy=False)
    with np.errstate(invalid="ignore", over="ignore"):
        change = np.diff(sample, axis=0)
        step = np.nan_to_num(np.abs(change, out=change).mean(axis=1), nan=np.inf)
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
    found[grown(runs_of(alike, 3, 0), 4, 0)[:height]] = True


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
    some = bool(known.any())
    count = (~known).sum(axis=0) if some else np.full(rows.shape[1], len(rows))
    sample = rows.astype(np.float32)
    sample.clip(*bounds, out=sample)
    if some:
        np.copyto(sample, 0, where=known)
    mean = np.where(count >= 32, sample.sum(axis=0) / np.maximum(count, 1), np.nan).astype(np.float32)
    sample -= mean
    if some:
        np.copyto(sample, 0, where=known)
    deviation = np.sqrt(np.einsum("ij,ij->j", sample, sample) / np.maximum(count, 1))
    if not np.isfinite(mean).any():
        return np.zeros(len(mean), bool)
    before, after = _sides(mean)
    low, high = np.fmin(before, after), np.fmax(before, after)
    off = np.fmax(mean - high, low - mean)
    typical = 1.4826 * float(np.nanmedian(np.abs(mean - (low + high) / 2)))
    is_off = off > max(float(np.nanmedian(deviation)), 8 * typical)
    # The lesser of the two in the middle: two more loud columns beside one do not hide it.
    is_loud = deviation > 3 * np.fmax(*_sides(deviation, 1.0))
    # Only between two sides: beside loud columns and the end of the micrograph every other column seems quiet.
    is_quiet = deviation < 0.25 * np.minimum(*_sides(deviation))
    return np.asarray(is_off | is_loud | is_quiet)


def _sides(values: np.ndarray, lesser: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """What stands for the four values before and for the four after each, NaN where there are no four.

    That is the weighted mean of the two in their middle, the lesser one with the weight ``lesser``: else the median.
    """
    padded = np.pad(values.astype(np.float32), 4, constant_values=np.nan)
    a, b, c, d = (padded[i : len(padded) - 3 + i] for i in range(4))
    least, most = np.minimum(a, b), np.maximum(a, b)
    inner = np.maximum(least, np.minimum(c, d)), np.minimum(most, np.maximum(c, d))
    middle = lesser * np.minimum(*inner) + (1 - lesser) * np.maximum(*inner)
    return middle[: len(values)], middle[5:]


# ---- what to put there ---------------------------------------------------------------------------------------


def fill_invalid(micrograph: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """A float32 copy whose invalid pixels have the mean of the valid ones nearby.

    Means over ever larger squares, until every pixel has one: what is filled in has no step at its edge that a Fourier
    crop would let ring.
    """
    filled = micrograph.astype(np.float32)
    rows, columns = np.divmod(np.flatnonzero(invalid), invalid.shape[1])
    filled[rows, columns] = 0
    total, weight = _halved(filled), _halved(~invalid)
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
    filled[rows, columns] = coarse[0, 0].numpy()[rows // 2, columns // 2]
    return filled


def _halved(image: np.ndarray) -> torch.Tensor:
    """Means ``(1, 1, ceil(y / 2), ceil(x / 2))`` of 2 x 2 pixels, at the last odd row or column of those there are."""
    height, width = image.shape
    rows: np.ndarray = image[::2].astype(np.uint8 if image.dtype == bool else np.float32)
    rows[: height // 2] += image[1::2]
    means: np.ndarray = rows[:, ::2].astype(np.float32)
    means[:, : width // 2] += rows[:, 1::2]
    means[: height // 2] /= 2
    means[:, : width // 2] /= 2
    return torch.from_numpy(means)[None, None]


def valid_on(plan: Rescaling, invalid: np.ndarray) -> np.ndarray:
    """``plan.shape`` bool: rescaled pixels of which at least half of 4 x 4 places in their area show specimen."""
    within = (np.arange(4) - 1.5) / 4
    rows, columns = (
        np.clip(np.rint((np.arange(n)[:, None] + within) * factor).astype(np.intp), 0, last - 1).ravel()
        for n, factor, last in zip(plan.shape, plan.factor, invalid.shape, strict=True)
    )
    # Rows are copied many times as fast as columns are gathered.
    by_row = invalid.view(np.uint8)[rows].reshape(plan.shape[0], 4, -1).sum(axis=1, dtype=np.uint8)
    places = np.ascontiguousarray(by_row.T)[columns].reshape(plan.shape[1], 4, -1).sum(axis=1, dtype=np.uint8)
    return np.ascontiguousarray((places <= 8).T)
