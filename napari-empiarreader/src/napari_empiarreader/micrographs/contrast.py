"""How bright a micrograph should be shown, told from a sample of its pixels; and a smoother look at it."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from napari_empiarreader.errors import FormatError

__all__ = ["ContrastPreset", "contrast_limits", "low_pass", "percentile_limits"]

ContrastPreset = Literal["sigma", "percentile", "full"]
"""How limits are told from a sample: by its spread around the median, by its percentiles, or by its extremes."""


def contrast_limits(
    image: np.ndarray, deviations: float = 3.0, step: int = 4, *, preset: ContrastPreset = "sigma"
) -> tuple[float, float]:
    """Lowest and highest value to show, from every ``step``-th pixel along both axes.

    Parameters
    ----------
    deviations
        Of the preset "sigma", the usual look of a micrograph: so many robust standard deviations (1.4826 times the
        median absolute deviation) below and above the median.
    preset
        "percentile" leaves the darkest and brightest half percent out, "full" nothing.

    Raises
    ------
    FormatError
        There is no such preset.
    """
    if preset == "percentile":
        return percentile_limits(image, step=step)
    if preset == "full":
        return percentile_limits(image, 0, 100, step=step)
    if preset != "sigma":
        raise FormatError(
            f"no way to choose contrast is called {preset!r}; there are {', '.join(get_args(ContrastPreset))}"
        )
    sample = _sample(image, step)
    middle = float(np.median(sample)) if sample.size else 0.0
    spread = 1.4826 * float(np.median(np.abs(sample - middle))) if sample.size else 0.0
    if spread == 0 and sample.size:
        spread = float(sample.std())
    spread = spread or 1.0
    return middle - deviations * spread, middle + deviations * spread


def percentile_limits(image: np.ndarray, low: float = 0.5, high: float = 99.5, step: int = 4) -> tuple[float, float]:
    """Values below which ``low`` and ``high`` percent of every fourth pixel lie."""
    sample = _sample(image, step)
    if not sample.size:
        return 0.0, 1.0
    bottom, top = (float(value) for value in np.percentile(sample, (low, high)))
    return (bottom, top) if top > bottom else contrast_limits(image, step=step)


def low_pass(image: np.ndarray, cutoff: float, pixel_size: float) -> np.ndarray:
    """Image ``(y, x)`` without its fine detail, float32: a Gaussian in Fourier space, one half at ``cutoff``.

    Amplitudes at the spatial frequency f are multiplied by ``exp(-ln 2 (f cutoff)²)``. The image is mirrored at its
    edges, so that no edge bleeds into the one opposite.

    Parameters
    ----------
    cutoff
        Resolution in Å.
    pixel_size
        Å per pixel.

    Raises
    ------
    FormatError
        The cutoff or the pixel size is not a positive number.
    """
    from scipy import fft

    if not all(math.isfinite(value) and value > 0 for value in (cutoff, pixel_size)):
        raise FormatError(
            f"a low-pass at {cutoff} Å with pixels of {pixel_size} Å is impossible; give positive numbers"
        )
    values = np.asarray(image, np.float32)
    missing = ~np.isfinite(values)
    if missing.any():
        values = np.where(
            missing, np.float32(np.mean(values[~missing])) if not missing.all() else np.float32(0), values
        )
    # The cosine transform is the Fourier transform of the image and its mirror images; its k-th frequency along a side
    # of n pixels is k / (2 n).
    frequencies = [np.arange(length, dtype=np.float32) / (2 * length * pixel_size) for length in values.shape]
    rows, columns = (np.exp(-math.log(2) * (f * cutoff) ** 2).astype(np.float32) for f in frequencies)
    smooth: np.ndarray = fft.idctn(fft.dctn(values) * rows[:, None] * columns)
    return smooth


def _sample(image: np.ndarray, step: int) -> np.ndarray:
    sample = np.asarray(image[::step, ::step], np.float64)
    return sample[np.isfinite(sample)]
