"""What an image says about places in it: blank borders, and how much a disc differs from the ring around it.

Blurring to the size of the particle happens on a binned picture, so that a micrograph of any size costs the same.
"""

from __future__ import annotations

import numpy as np

__all__ = ["Evidence", "blank_margins", "evidence_of"]

#: Diameter of the particle in pixels of the binned picture.
_BINNED_DIAMETER = 12.0

#: Deviations beyond which a place counts no more: carbon and ice are darker than any particle.
_MOST = 4.0


class Evidence:
    """Contrast of every place of one micrograph, in robust standard deviations of all its places.

    Parameters
    ----------
    contrast
        ``(y, x)``: mean of the disc minus mean of the ring, on the binned picture.
    binning
        Pixels of the micrograph per pixel of ``contrast``.
    shape
        ``(y, x)`` of the micrograph.
    margins
        Blank rows at the top and bottom, blank columns at the left and right.
    diameter
        Of the particle, in pixels of the micrograph.
    """

    def __init__(
        self,
        contrast: np.ndarray,
        binning: int,
        shape: tuple[int, int],
        margins: tuple[int, int, int, int],
        diameter: float,
    ) -> None:
        self.contrast, self.binning, self.shape, self.margins = contrast, binning, shape, margins
        self.diameter = diameter

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Outside, blank, and deviations (0 where there is no picture) of ``(n, 2)`` points of (y, x)."""
        y, x = points[:, 0], points[:, 1]
        outside = (y < -0.5) | (x < -0.5) | (y > self.shape[0] - 0.5) | (x > self.shape[1] - 0.5)
        top, bottom, left, right = self.margins
        height, width = self.shape[0] - 0.5, self.shape[1] - 0.5
        blank = (y < top - 0.5) | (x < left - 0.5) | (y > height - bottom) | (x > width - right)
        rows = np.clip((y + 0.5) // self.binning, 0, self.contrast.shape[0] - 1).astype(int)
        columns = np.clip((x + 0.5) // self.binning, 0, self.contrast.shape[1] - 1).astype(int)
        deviations = np.where(outside | blank, 0.0, self.contrast[rows, columns])
        return outside, blank & ~outside, deviations


def evidence_of(image: np.ndarray, diameter: float) -> Evidence:
    """Evidence of one micrograph ``(y, x)`` for particles of ``diameter`` pixels."""
    shape = (int(image.shape[0]), int(image.shape[1]))
    binning = max(1, int(diameter / _BINNED_DIAMETER))
    binned = _binned(image, binning)
    finite = np.isfinite(binned)
    middle = float(np.median(binned[finite])) if finite.any() else 0.0
    binned = np.where(finite, binned, middle)
    # One hot pixel must not outweigh a particle.
    spread = 1.4826 * float(np.median(np.abs(binned - middle))) or float(binned.std()) or 1.0
    contrast = _disc_minus_ring(np.clip((binned - middle) / spread, -5, 5), diameter / binning)
    margins = blank_margins(image)
    top, bottom, left, right = (-(-margin // binning) for margin in margins)
    inner = contrast[top : contrast.shape[0] - bottom, left : contrast.shape[1] - right]
    inner = inner if inner.size else contrast
    middle = float(np.median(inner))
    spread = 1.4826 * float(np.median(np.abs(inner - middle))) or float(inner.std()) or 1.0
    return Evidence(np.clip((contrast - middle) / spread, -_MOST, _MOST), binning, shape, margins, diameter)


def _binned(image: np.ndarray, binning: int) -> np.ndarray:
    rows, columns = max(1, image.shape[0] // binning), max(1, image.shape[1] // binning)
    binning = min(binning, *image.shape)
    part = np.asarray(image[: rows * binning, : columns * binning], np.float32)
    mean: np.ndarray = part.reshape(rows, binning, columns, binning).mean(axis=(1, 3))
    return mean.astype(np.float64)


def _disc_minus_ring(image: np.ndarray, diameter: float) -> np.ndarray:
    """Mean inside a disc minus the mean of the ring around it that reaches 1.6 radii, at every pixel."""
    from scipy.signal import fftconvolve

    radius = diameter / 2
    reach = int(np.ceil(1.6 * radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(y, x)
    disc, ring = distance <= 0.8 * radius, (distance > radius) & (distance <= 1.6 * radius)
    if not ring.any():
        ring = distance > 0
    kernel = disc / disc.sum() - ring / ring.sum()
    padded = np.pad(image, reach, mode="reflect" if min(image.shape) > reach else "edge")
    result: np.ndarray = fftconvolve(padded, kernel, mode="valid")
    return result


def blank_margins(image: np.ndarray) -> tuple[int, int, int, int]:
    """Blank rows at the top and bottom and blank columns at the left and right of an image ``(y, x)``.

    A row is blank where it is constant, or where it repeats the next one towards the middle: padding.
    """
    return (*_ends(image), *_ends(image.T))


def _ends(image: np.ndarray) -> tuple[int, int]:
    # The middle half of each row: the ends may lie on the borders at the sides.
    quarter = image.shape[1] // 4
    image = np.asarray(image[:, quarter : image.shape[1] - quarter : max(1, image.shape[1] // 512)], np.float32)
    if len(image) < 4:
        return 0, 0
    steps = np.abs(np.diff(image, axis=0)).mean(axis=1)
    spreads = image.std(axis=1)
    still = steps < 0.05 * float(np.median(steps))
    flat = spreads < 0.05 * float(np.median(spreads))
    top = _first(~(flat[:-1] | still))
    bottom = _first(~(flat[1:] | still)[::-1])
    return (0, 0) if top + bottom >= len(image) // 2 else (top, bottom)


def _first(good: np.ndarray) -> int:
    return int(np.argmax(good)) if good.any() else 0
