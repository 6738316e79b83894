"""A micrograph in small, for a list, a panel, or a screen smaller than it, and its power spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.errors import FormatError
from napari_empiarreader.micrographs.cache import shared_cache
from napari_empiarreader.micrographs.contrast import contrast_limits, percentile_limits
from napari_empiarreader.micrographs.movies import MovieSeries
from napari_empiarreader.micrographs.series import MicrographSeries

if TYPE_CHECKING:
    import dask.array

__all__ = ["as_grey", "binned", "power_spectrum", "pyramid", "thumbnail"]

#: Pixels a side that screens and graphics cards take without help.
_LARGE = 4096
#: A level with this many pixels a side needs no smaller one.
_SMALL = 1024


def binned(image: np.ndarray, factor: int) -> np.ndarray:
    """Image ``(y, x)`` averaged over blocks of ``factor`` by ``factor`` pixels, float32.

    Rows and columns that fill no block at the lower and right edge are left out, so that pixel ``(i, j)`` lies at
    ``(i, j) * factor + (factor - 1) / 2`` of the image.
    """
    if not 1 <= factor <= min(image.shape):
        raise FormatError(f"an image of {image.shape[1]} x {image.shape[0]} pixels cannot be binned by {factor}")
    if factor == 1:
        return np.asarray(image, np.float32)
    rows, columns = (length // factor for length in image.shape)
    # A block's rows at once, then one column of all blocks after the other: far faster than a mean over two axes.
    bands = image[: rows * factor].reshape(rows, factor, image.shape[1]).sum(axis=1, dtype=np.float32)
    small: np.ndarray = bands[:, : columns * factor : factor].copy()
    for column in range(1, factor):
        small += bands[:, column : columns * factor : factor]
    small /= factor * factor
    return small


def pyramid(series: MicrographSeries | MovieSeries, large: int = _LARGE) -> list[dask.array.Array]:
    """Lazy arrays of the same micrographs in full and binned by 2, 4 and 8, for viewers that show the level they need.

    A level is made from the full micrograph, which is read once and kept in the shared cache, as the level is.

    Parameters
    ----------
    large
        Micrographs up to this many pixels a side stay alone.

    Returns
    -------
    list of dask.array.Array
        ``(micrograph, y, x)`` or ``(movie, frame, y, x)``, one chunk per image; binned values keep the type, rounded
        where it has no fractions. Level ``k`` is scaled by ``2**k`` and shifted by ``(2**k - 1) / 2`` pixels.
    """
    levels = [series.to_dask()]
    factor = 2
    while max(series.shape[-2:]) > large and factor <= 8 and max(series.shape[-2:]) * 2 // factor > _SMALL:
        if min(series.shape[-2:]) < factor:
            break
        levels.append(_level(series, factor))
        factor *= 2
    return levels


def _level(series: MicrographSeries | MovieSeries, factor: int) -> dask.array.Array:
    import uuid

    import dask.array as da

    token = object()
    *frames, height, width = series.shape

    def block(block_id: tuple[int, ...]) -> np.ndarray:
        index = block_id[: 1 + len(frames)]
        small = shared_cache().get((token, *index), lambda: _typed(binned(series.reader(*index), factor), series.dtype))
        return small[(None,) * len(index)]

    counts = (len(series), *frames)
    return da.map_blocks(
        block,
        chunks=(*((1,) * count for count in counts), (height // factor,), (width // factor,)),
        dtype=series.dtype,
        meta=np.empty((0,) * (len(counts) + 2), series.dtype),
        name=f"binned-{uuid.uuid4().hex}",
    )


def _typed(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (np.rint(image) if dtype.kind in "iu" else image).astype(dtype, copy=False)


def thumbnail(image: np.ndarray, side: int = 256) -> np.ndarray:
    """Image ``(y, x)`` as uint8 of at most ``side`` pixels along its longer side, black to white by its contrast.

    Pixels are averaged over blocks, which shows particles where single pixels show noise.
    """
    block = max(1, -(-max(image.shape) // max(side, 1)))
    rows, columns = (max(length // block, 1) for length in image.shape)
    high, wide = min(block, image.shape[0]), min(block, image.shape[1])
    blocks = np.asarray(image[: rows * high, : columns * wide]).reshape(rows, high, columns, wide)
    small = blocks.mean(axis=(1, 3), dtype=np.float64)
    return as_grey(small, contrast_limits(small, step=1))


def power_spectrum(
    image: np.ndarray, side: int = 512, *, pixel_size: float | None = None, finest: float | None = None
) -> np.ndarray:
    """Logarithm of the power of an image ``(y, x)``, averaged over its tiles.

    The mean over tiles t, half a tile apart, of ``|FFT(w (t - mean t))|² / sum(w²)``, w the Hann window: Welch's
    method (Welch, IEEE Trans. Audio Electroacoust. 15, 70, 1967), by which programs that fit the contrast transfer
    function average (for example Zhu et al., J. Struct. Biol. 118, 197, 1997). Averaging over tiles is what lets Thon
    rings stand out of the noise; white noise of variance s² has the power s² everywhere.

    Parameters
    ----------
    side
        Pixels along a side of the result; of an image that is smaller it is the image's shorter side.
    pixel_size, finest
        Å per pixel, and the resolution in Å that the edge of the result stands for; both or none. Without them the
        edge is the Nyquist frequency. Coarser than that, tiles are larger by as much, and rings farther apart.

    Returns
    -------
    numpy.ndarray
        ``(side, side)`` float32, the zero frequency (left out: the mean of its neighbours) at ``[side // 2, side //
        2]``. Neighbours are ``1 / (tile * pixel size)`` apart, with a tile of ``side``, or of ``side * finest / (2 *
        pixel size)`` to the nearest whole number.
    """
    tile = side
    if pixel_size is not None and finest is not None:
        if not (pixel_size > 0 and finest >= 2 * pixel_size):
            raise FormatError(f"a spectrum down to {finest} Å cannot be had from pixels of {pixel_size} Å")
        tile = round(side * finest / (2 * pixel_size))
    shortest = min(image.shape)
    if tile > shortest:
        side, tile = max(round(side * shortest / tile), 2), shortest
    if shortest < 2:
        raise FormatError(f"an image of {image.shape[1]} x {image.shape[0]} pixels has no power spectrum")
    line = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(tile) / tile)
    window = np.outer(line, line).astype(np.float32)
    total, count = np.zeros((tile, tile // 2 + 1)), 0
    for top in _starts(image.shape[0], tile):
        for left in _starts(image.shape[1], tile):
            part = np.asarray(image[top : top + tile, left : left + tile], np.float32)
            part = np.where(np.isfinite(part), part, np.nan)
            part = np.nan_to_num(part - np.nanmean(part)) if np.isfinite(part).any() else np.zeros_like(part)
            total += np.abs(np.fft.rfft2(part * window)) ** 2
            count += 1
    half = total / (count * float((window.astype(np.float64) ** 2).sum()))
    power = np.empty((tile, tile))
    power[:, : tile // 2 + 1] = half
    # The other half is the same rotated by 180 degrees, because the image is real.
    columns = np.arange(tile // 2 + 1, tile)
    power[:, columns] = half[(-np.arange(tile)) % tile][:, tile - columns]
    begin = tile // 2 - side // 2
    power = np.fft.fftshift(power)[begin : begin + side, begin : begin + side]
    power = np.log(power + np.finfo(np.float32).tiny)
    middle = side // 2
    around = power[max(middle - 1, 0) : middle + 2, max(middle - 1, 0) : middle + 2]
    power[middle, middle] = (around.sum() - power[middle, middle]) / (around.size - 1)
    return power.astype(np.float32)


def _starts(length: int, tile: int) -> range:
    """Where tiles begin: half a tile apart, as far as they fit."""
    return range(0, length - tile + 1, max(tile // 2, 1))


def as_grey(image: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """``(y, x)`` uint8: black at the lower limit, white at the upper; by default the 0.5th and 99.5th percentiles."""
    low, high = limits or percentile_limits(image, step=1)
    scaled = (np.nan_to_num(np.asarray(image, np.float64), nan=low) - low) / (high - low or 1.0)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
