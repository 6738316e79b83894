"""Grey values of micrographs, and what gives simulated ones those of real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from napari_caked.simulate.likeness_spectrum import band, parts_of, sound
from napari_caked.simulate.micrograph import slow_share
from napari_caked.simulate.optics import frequencies
from napari_caked.simulate.settings import MeasuredNoise

__all__ = ["grey_curve", "greys_of", "level", "sound_pixels"]

#: Deviations from the mean at whose shares of pixels grey values are compared.
_GREYS = np.linspace(-4.75, 4.75, 39)
#: How often the change of grey values is corrected for what a filter takes of it, and beyond how many deviations by no
#: more than there: values of a handful of pixels are chance.
_ROUNDS, _BULK = 3, 3.25


def grey_curve(
    made: Callable[[MeasuredNoise], np.ndarray], noise: MeasuredNoise, index: int, wanted: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Grey values, and those in their place that give look number ``index`` the wanted ones.

    A filter takes a part of what is changed: by what is missing, more is changed.
    """
    before, after = made(noise), wanted
    for _ in range(_ROUNDS if noise.transfer else 0):
        look = replace(noise.look(index), greys=(tuple(before.tolist()), tuple(after.tolist())))
        looks = (*noise.looks[:index], look, *noise.looks[index + 1 :])
        missing = wanted - made(replace(noise, looks=looks))
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


def greys_of(image: np.ndarray) -> np.ndarray:
    """Values of which the shares of a Gaussian at -4 to 4 deviations are less; strictly rising."""
    from scipy.special import ndtr

    return _rising(np.quantile(image, ndtr(_GREYS)))


def _rising(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum.accumulate(values) + 1e-9 * np.arange(len(values)))
