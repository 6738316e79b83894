"""The grain of a detector: noise whose values lean to one side, because every electron leaves a puff of charge.

Noise of a given spectrum need not be Gaussian. Few electrons, each of them a puff some part of a pixel wide, make noise
with a skew that blurring lets fall more slowly than it would the skew of independent pixels; by how much more says how
wide a puff is. Counting detectors lose electrons that fall close to another (Li et al., Nature Methods 10, 584 (2013)),
which takes from the coarse detail of the puffs: each has a shallow trough around it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["grain_of", "skewed_noise"]

#: Widths of a puff that are tried, in pixels, and depths of its trough; how wide the trough is.
_WIDTHS, _TROUGHS, _TROUGH_WIDTH = (
    (0.0, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0),
    (0.0, 0.2, 0.4, 0.6),
    1.5,
)
#: Of the puffs themselves; more than this no sum of electrons has.
_MOST_SKEW = 3.0
#: Skew below which noise is Gaussian for all that matters.
_LEAST_SKEW = 0.01


def grain_of(image: np.ndarray) -> tuple[float, float, float]:
    """Skew of what every electron adds, the width of its puff in pixels (one deviation), and the depth of its trough.

    The detail that tells is one to four pixels wide; its power is taken to be white.
    """
    seen = np.array([_skew(detail) for detail in _details(image)])
    if abs(seen[0]) < _LEAST_SKEW:
        return 0.0, 0.0, 0.0
    best = (np.inf, 0.0, 0.0, 0.0)
    for width in _WIDTHS:
        for trough in _TROUGHS:
            expected = _expected(width, trough)
            skew = float(np.clip(expected @ seen / (expected @ expected), -_MOST_SKEW, _MOST_SKEW))
            best = min(best, (float(((seen - skew * expected) ** 2).sum()), skew, width, trough))
    return best[1:]


def skewed_noise(
    rng: np.random.Generator, shape: tuple[int, int], skew: float, width: float = 0.0, trough: float = 0.0
) -> np.ndarray:
    """White noise of deviation 1, ``(y, x)`` float32: puffs ``width`` pixels wide of independent skewed values."""
    gaussian = rng.standard_normal(shape, np.float32)
    if not skew:
        return gaussian
    events = 1 / skew**2  # per pixel: a Poisson distribution of this mean has this skew
    values = (rng.poisson(events, shape).astype(np.float32) - events) / np.sqrt(events) * np.sign(skew)
    left = _puff(shape, width, trough)
    mixed = np.fft.rfft2(values) * left + np.fft.rfft2(gaussian) * np.sqrt(1 - left**2)
    return np.fft.irfft2(mixed, s=shape).astype(np.float32)


def _puff(shape: tuple[int, ...], width: float, trough: float) -> np.ndarray:
    """What of amplitudes is in puffs, on the grid of ``rfft2``."""
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    square = 2 * np.pi**2 * (rows[:, None] ** 2 + columns**2)
    left: np.ndarray = np.exp(-(width**2) * square) * (1 - trough * np.exp(-(_TROUGH_WIDTH**2) * square))
    return left


def _details(image: np.ndarray) -> tuple[np.ndarray, ...]:
    from scipy.ndimage import gaussian_filter

    blurred = [gaussian_filter(image, width) for width in (0.7, 1.0, 1.4, 2.8)]
    return image - blurred[1], blurred[0] - blurred[2], blurred[2] - blurred[3]


def _skew(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


@cache
def _expected(width: float, trough: float) -> np.ndarray:
    """Skews of details of white noise from puffs of skew 1: sums of third powers of what a single one becomes."""
    shape = (48, 48)
    single = np.zeros(shape)
    single[24, 24] = 1.0
    puff = np.fft.irfft2(np.fft.rfft2(single) * _puff(shape, width, trough), s=shape)
    pairs = zip(_details(puff), _details(single), strict=True)
    return np.array([(seen**3).sum() / (alone**2).sum() ** 1.5 for seen, alone in pairs])
