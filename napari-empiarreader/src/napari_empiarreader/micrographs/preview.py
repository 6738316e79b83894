"""A micrograph in small, for a list or a panel, and its power spectrum."""

from __future__ import annotations

import numpy as np

from napari_empiarreader.micrographs.contrast import contrast_limits, percentile_limits

__all__ = ["as_grey", "power_spectrum", "thumbnail"]


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


def power_spectrum(image: np.ndarray, side: int = 512) -> np.ndarray:
    """Logarithm of the power of an image ``(y, x)``, averaged over its tiles.

    Bartlett's method with a Hann window: the mean over tiles of ``side`` pixels of the squared Fourier amplitudes.
    Averaging over tiles is what lets Thon rings stand out of the noise.

    Parameters
    ----------
    side
        Pixels along a tile; an image that is smaller is one tile.

    Returns
    -------
    numpy.ndarray
        ``(side, side)`` float32, the zero frequency (left out: the mean of its neighbours) at ``[side // 2, side //
        2]``, neighbours 1 / (side × pixel size) apart.
    """
    side = max(min(side, *image.shape), 2)
    window = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    total, count = np.zeros((side, side // 2 + 1)), 0
    for top in range(0, image.shape[0] - side + 1, side):
        for left in range(0, image.shape[1] - side + 1, side):
            tile = np.asarray(image[top : top + side, left : left + side], np.float32)
            tile = np.nan_to_num(tile - np.float32(np.nanmean(tile)), posinf=0.0, neginf=0.0)
            total += np.abs(np.fft.rfft2(tile * window)) ** 2
            count += 1
    power = np.zeros((side, side))
    half = total / max(count, 1)
    power[:, : side // 2 + 1] = half
    # The other half is the same rotated by 180 degrees, because the image is real.
    rows = (-np.arange(side)) % side
    columns = np.arange(side // 2 + 1, side)
    power[:, columns] = half[rows][:, side - columns]
    power = np.log(np.fft.fftshift(power) + np.finfo(np.float32).tiny)
    middle = side // 2
    around = power[middle - 1 : middle + 2, middle - 1 : middle + 2]
    power[middle, middle] = (around.sum() - power[middle, middle]) / (around.size - 1)
    return power.astype(np.float32)


def as_grey(image: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """``(y, x)`` uint8: black at the lower limit, white at the upper; by default the 0.5th and 99.5th percentiles."""
    low, high = limits or percentile_limits(image, step=1)
    scaled = (np.nan_to_num(np.asarray(image, np.float64), nan=low) - low) / (high - low or 1.0)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
