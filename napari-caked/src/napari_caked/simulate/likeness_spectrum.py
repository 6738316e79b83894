"""Power spectra of micrographs: by frequency, by direction, and of the parts that are as usual."""

from __future__ import annotations

import numpy as np

__all__ = ["band", "directions_of", "parts_of", "radial_power", "sound", "typical_power"]

#: Rings of the rotational average, to the Nyquist frequency.
_RINGS = 256
#: Rows and columns of the grid of directions.
_GRID = (49, 25)
#: Side, in particle widths, of the parts that are judged by themselves, and how many times the usual variance at the
#: size of the particle says that a part shows contamination or carbon.
_PART, _UNUSUAL = 3.0, 3.0
#: Share of a micrograph that must be left to judge its spectrum by.
_LEAST_COVER = 0.05


def radial_power(image: np.ndarray, pixel_size: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotational average of the power spectrum.

    Returns
    -------
    frequency, power
        ``(256,)`` in 1/Å up to the Nyquist frequency, and the power; that of white noise of deviation 1 is 1.
    """
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    spectrum = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2 / (window**2).sum()
    rows, columns = np.fft.fftfreq(image.shape[0], pixel_size), np.fft.rfftfreq(image.shape[1], pixel_size)
    step = 0.5 / pixel_size / _RINGS
    ring = (np.hypot(rows[:, None], columns) / step).astype(int).ravel()
    kept = ring < _RINGS
    counts = np.bincount(ring[kept], minlength=_RINGS)
    sums = np.bincount(ring[kept], spectrum.ravel()[kept], minlength=_RINGS)
    frequency = (np.arange(_RINGS) + 0.5) * step
    filled = counts > 0  # in small images some rings hold no point of the spectrum
    return frequency, np.interp(frequency, frequency[filled], sums[filled] / counts[filled])


def directions_of(image: np.ndarray, pixel_size: float) -> np.ndarray:
    """By what the power differs from that of its ring, on a coarse grid.

    Drift, astigmatism, detectors and image processing make spectra that are not round.

    Returns
    -------
    numpy.ndarray
        ``(49, 25)``: rows from minus to plus the Nyquist frequency, columns from 0 to it.
    """
    from scipy.ndimage import gaussian_filter

    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    spectrum = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2 / (window**2).sum()
    rows, columns = np.fft.fftfreq(image.shape[0], pixel_size), np.fft.rfftfreq(image.shape[1], pixel_size)
    length = np.hypot(rows[:, None], columns)
    frequency, power = radial_power(image, pixel_size)
    # Beyond the last ring are the corners, each a ring of its own kind: what they have, they have over the last ring.
    expected = np.interp(length, frequency, power)
    row = np.rint((rows * pixel_size + 0.5) * (_GRID[0] - 1)).astype(int)
    column = np.rint(2 * columns * pixel_size * (_GRID[1] - 1)).astype(int)
    cell = (row[:, None] * _GRID[1] + column).ravel()
    size = _GRID[0] * _GRID[1]
    # Sums over sums, not means of quotients: rare strong points count for what they are.
    seen, usual = (np.bincount(cell, v.ravel(), minlength=size).reshape(_GRID) for v in (spectrum, expected))
    filled = usual > 0
    ratio = np.where(filled, seen, 1.0) / np.where(filled, usual, 1.0)
    middle = _GRID[0] // 2
    ratio[middle - 1 : middle + 2, :2] = 1.0  # a few points of the background
    smooth: np.ndarray = np.exp(gaussian_filter(np.log(np.maximum(ratio, 1e-6)), 0.6, mode="nearest"))
    return smooth


def band(image: np.ndarray, width: float) -> np.ndarray:
    """Difference of Gaussians that suits particles so many pixels wide."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, 0.18 * width) - gaussian_filter(image, 0.36 * width)


def parts_of(shape: tuple[int, ...], width: float) -> list[tuple[slice, slice]]:
    """Equal square parts that cover an image, overlapping as they must."""
    side = min(int(np.clip(_PART * width, 64, None)), *shape)
    starts = [np.unique(np.linspace(0, n - side, -(-n // side)).astype(int)) for n in shape]
    return [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]


def sound(image: np.ndarray, parts: list[tuple[slice, slice]]) -> list[tuple[slice, slice]]:
    """Parts that vary no more than is usual."""
    variances = np.array([image[part].var() for part in parts])
    limit = _UNUSUAL * np.median(variances)
    return [part for part, variance in zip(parts, variances, strict=True) if variance <= limit] or parts


def typical_power(image: np.ndarray, pixel_size: float, diameter: float) -> np.ndarray:
    """Rotational average of the power spectrum of the sound parts, pixels that are 0 (no specimen) left out.

    Taken of all of these parts at once, under a weight that falls smoothly to 0 at their edges: small parts by
    themselves would smear what filters have made steep, and a sharp edge has fine detail of its own.
    """
    weight = _weight(image, diameter / pixel_size)
    square = np.hanning(image.shape[0])[:, None] ** 2 * np.hanning(image.shape[1]) ** 2
    typical = image - (image * weight).sum() / weight.sum()
    power = radial_power(typical * weight, pixel_size)[1]
    return np.asarray(power * square.sum() / (square * weight**2).sum())


def _weight(image: np.ndarray, width: float) -> np.ndarray:
    """Smooth weights ``(y, x)``: 0 in parts with contamination and where no specimen is shown, 1 well away of both."""
    from scipy.ndimage import gaussian_filter

    parts = parts_of(image.shape, width)
    good = sound(band(image, width), parts)
    unusable = (image == 0).astype(np.float64)
    for part in parts:
        if part not in good:
            unusable[part] = 1
    away = np.clip(1 - 2 * gaussian_filter(unusable, width / 4), 0, 1)
    weight: np.ndarray = away**2 * (3 - 2 * away)
    return weight if weight.mean() > _LEAST_COVER else np.ones(image.shape)
