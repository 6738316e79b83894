"""The grain of a detector: noise whose values lean to one side, because every electron leaves a puff of charge.

Noise of a given spectrum need not be Gaussian. Few electrons, each of them a puff some part of a pixel wide, make noise
with a skew that blurring lets fall more slowly than it would the skew of independent pixels; by how much more says how
wide a puff is.
"""

from __future__ import annotations

import numpy as np

__all__ = ["grain_of", "skewed_noise"]

#: Widths of a puff that are tried, in pixels.
_WIDTHS = np.array([0.0, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0])
#: Of the puffs themselves; more than this no sum of electrons has.
_MOST_SKEW = 3.0
#: Skew below which noise is Gaussian for all that matters.
_LEAST_SKEW = 0.01


def grain_of(image: np.ndarray) -> tuple[float, float]:
    """Skew of what every electron adds, and the width of its puff in pixels (of a Gaussian, one deviation).

    The detail that tells is one or two pixels wide, smaller than particles; its power is taken to be white.
    """
    fine, coarse = (_skew(detail) for detail in _details(image))
    if abs(fine) < _LEAST_SKEW:
        return 0.0, 0.0
    expected = np.array([_expected(width) for width in _WIDTHS])
    ratio = expected[:, 1] / expected[:, 0]
    width = float(np.interp(coarse / fine, ratio, _WIDTHS))
    skew = fine / float(np.interp(width, _WIDTHS, expected[:, 0]))
    return float(np.clip(skew, -_MOST_SKEW, _MOST_SKEW)), width


def skewed_noise(rng: np.random.Generator, shape: tuple[int, int], skew: float, width: float) -> np.ndarray:
    """White noise of deviation 1, ``(y, x)`` float32: puffs ``width`` pixels wide of independent skewed values."""
    gaussian = rng.standard_normal(shape, np.float32)
    if not skew:
        return gaussian
    events = 4 / skew**2  # a gamma distribution of this shape has this skew
    values = (rng.standard_gamma(events, shape, np.float32) - events) / np.sqrt(events) * np.sign(skew)
    left = _puff(shape, width)
    mixed = np.fft.rfft2(values) * left + np.fft.rfft2(gaussian) * np.sqrt(1 - left**2)
    return np.fft.irfft2(mixed, s=shape).astype(np.float32)


def _puff(shape: tuple[int, ...], width: float) -> np.ndarray:
    """What blurring leaves of amplitudes, on the grid of ``rfft2``."""
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    left: np.ndarray = np.exp(-2 * np.pi**2 * width**2 * (rows[:, None] ** 2 + columns**2))
    return left


def _details(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.ndimage import gaussian_filter

    return image - gaussian_filter(image, 1.0), gaussian_filter(image, 0.7) - gaussian_filter(image, 1.4)


def _skew(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


def _expected(width: float) -> tuple[float, ...]:
    """Skew of both details of white noise from puffs of skew 1: sums of third powers of what a single one becomes."""
    shape = (48, 48)
    single = np.zeros(shape)
    single[24, 24] = 1.0
    puff = np.fft.irfft2(np.fft.rfft2(single) * _puff(shape, width), s=shape)
    return tuple(
        float((seen**3).sum() / (alone**2).sum() ** 1.5)
        for seen, alone in zip(_details(puff), _details(single), strict=True)
    )
