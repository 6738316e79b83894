"""Grey values of micrographs and how unevenly they vary, and what gives simulated ones those of real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_caked.simulate.likeness_spectrum import band, parts_of, sound
from napari_caked.simulate.micrograph import slow_share
from napari_caked.simulate.optics import frequencies
from napari_caked.simulate.settings import MeasuredNoise

__all__ = ["grey_curve", "greys_of", "level", "sound_pixels", "uneven_by", "unevenness"]

#: Deviations from the mean at whose shares of pixels grey values are compared.
_GREYS = np.linspace(-4.75, 4.75, 39)
#: How often the change of grey values is corrected for what a filter takes of it, and beyond how many deviations by no
#: more than there: values of a handful of pixels are chance.
_ROUNDS, _BULK = 3, 3.25
#: Share of the surroundings that must show specimen.
_MOSTLY = 0.9
#: Largest deviation of the logarithm of the factor that makes a micrograph uneven.
_MOST_UNEVEN = 0.4


def grey_curve(
    made: Callable[[MeasuredNoise], np.ndarray], noise: MeasuredNoise, index: int, wanted: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Grey values, and those in their place that give look number ``index`` the wanted ones.

    A filter takes a part of what is changed: by what is missing, more is changed.
    """
    before, after = made(noise), wanted
    for _ in range(_ROUNDS if noise.transfer else 0):
        greys = (tuple(before.tolist()), tuple(after.tolist()))
        missing = wanted - made(noise.with_look(index, greys=greys))
        after = _rising(after + np.interp(np.clip(_GREYS, -_BULK, _BULK), _GREYS, missing))
    return tuple(before.tolist()), tuple(after.tolist())


def sound_pixels(image: np.ndarray, pixel_size: float, diameter: float) -> np.ndarray:
    """Pixels, less the slow background, of the parts without contamination and where specimen is shown."""
    width = diameter / pixel_size
    flat = level(image, pixel_size, diameter)
    parts = sound(band(image, width), parts_of(image.shape, width))
    values: np.ndarray = np.concatenate([flat[part][image[part] != 0] for part in parts])
    return values


def level(image: np.ndarray, pixel_size: float, width: float) -> np.ndarray:
    """The image less its slow background."""
    import torch

    wave = torch.fft.rfft2(torch.from_numpy(np.asarray(image, np.float32)))
    slow = slow_share(frequencies((image.shape[0], image.shape[1]), pixel_size), width)
    flat: np.ndarray = torch.fft.irfft2(wave * (1 - slow), s=image.shape).numpy()
    return flat


def unevenness(image: np.ndarray, pixel_size: float, diameter: float) -> float:
    """Variance of the logarithm of the local variance, in surroundings as wide as a particle.

    By quartiles, so that a few lumps of contamination have no say; pixels that are 0 show no specimen.
    """
    from scipy.ndimage import gaussian_filter

    width = diameter / pixel_size
    shown = gaussian_filter((image != 0).astype(np.float32), width)
    energy = gaussian_filter(level(image, pixel_size, diameter) ** 2 * (image != 0), width)
    usual = shown > _MOSTLY * shown.max()
    low, high = np.quantile(np.log(np.maximum(energy[usual] / shown[usual], 1e-12)), (0.25, 0.75))
    return float(((high - low) / 1.349) ** 2)


def uneven_by(missing: float) -> float:
    """Deviation of the logarithm of amplitudes that adds so much to the variance of that of the local variance.

    A variance is the square of an amplitude, whose logarithm is twice as large; and to look at surroundings as wide as
    the factor's own averages half of its variance away.
    """
    return float(np.clip(np.sqrt(2 * max(missing, 0)) / 2, 0, _MOST_UNEVEN))


def greys_of(image: np.ndarray) -> np.ndarray:
    """Values of which the shares of a Gaussian at -4 to 4 deviations are less; strictly rising."""
    from scipy.special import ndtr

    return _rising(np.quantile(image, ndtr(_GREYS)))


def _rising(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum.accumulate(values) + 1e-9 * np.arange(len(values)))
