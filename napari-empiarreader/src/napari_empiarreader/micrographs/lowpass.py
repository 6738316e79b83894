"""A Gaussian low-pass: the kernel that a graphics card smooths with, and what it leaves of the contrast.

The filter's amplitude is exp(-f² / (2 s²)) with s = 1 / (d sqrt(2 ln 2)), one half at the resolution d. Its kernel in
real space is a Gaussian of the standard deviation 1 / (2 pi s).
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["gaussian_kernel", "kernel_deviation", "smoothed_sample", "widest_resolution"]

_WIDEST = 10.0
"""Standard deviation in pixels of the widest kernel: the cost of a pixel on the screen grows with its square."""


def kernel_deviation(resolution: float, pixel_size: float) -> float:
    """Standard deviation in pixels of the kernel that halves amplitudes at ``resolution`` (both in Å)."""
    return resolution * math.sqrt(2 * math.log(2)) / (2 * math.pi) / pixel_size


def widest_resolution(pixel_size: float) -> float:
    """Resolution in Å of the widest kernel that a screen still draws fluently, for pixels of ``pixel_size`` Å."""
    return _WIDEST / kernel_deviation(1.0, pixel_size)


def gaussian_kernel(deviation: float) -> np.ndarray:
    """``(n, n)`` float32 of sum 1 and odd ``n``; a deviation (pixels) beyond the widest is taken as the widest."""
    deviation = min(max(deviation, 0.0), _WIDEST)
    reach = math.ceil(2.5 * deviation)
    offsets = np.arange(-reach, reach + 1)
    line = np.exp(-0.5 * (offsets / deviation) ** 2) if deviation > 0 else np.ones(1)
    kernel = np.outer(line, line)
    return (kernel / kernel.sum()).astype(np.float32)


def smoothed_sample(image: np.ndarray, deviation: float) -> np.ndarray:
    """Image ``(y, x)`` averaged over blocks that quieten white noise as a Gaussian of ``deviation`` pixels does.

    A Gaussian averages over 4 pi deviation² pixels in effect, so blocks of that area have the values that
    the smoothed image has, at a small part of its cost.
    """
    side = min(round(math.sqrt(4 * math.pi) * deviation), *image.shape)
    if side <= 1:
        return image
    rows, columns = (length // side for length in image.shape)
    blocks = np.asarray(image[: rows * side, : columns * side], np.float32).reshape(rows, side, columns, side)
    mean: np.ndarray = blocks.mean(axis=(1, 3))
    return mean
