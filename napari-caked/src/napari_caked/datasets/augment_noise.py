"""Noise: white, of a measured spectrum, and of counted electrons."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch

from napari_caked.datasets.frequencies import multiplicity, shell_means, shells
from napari_caked.datasets.sample import Canvas, Sample
from napari_caked.datasets.steps import Augmentation, Dice, Range, register, require, require_range
from napari_caked.errors import DatasetError

__all__ = ["ColouredNoise", "GaussianNoise", "PoissonNoise", "measured_spectrum"]


@register
@dataclass(frozen=True)
class GaussianNoise(Augmentation):
    """Add white noise.

    It is drawn in Fourier space, where it costs no transform among other steps that work there.

    Attributes
    ----------
    deviation
        Range of its standard deviation, as a share of the image's own.
    """

    deviation: Range = (0.1, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "deviation", 0.0, math.inf, "standard deviations of the image")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        deviation = dice.uniform(*self.deviation)
        for picture in canvas.seen:
            noise = white_waves(picture.shape, dice, picture.device, deviation * picture.deviation())
            picture.waves = noise.add_(picture.waves)


@register
@dataclass(frozen=True)
class ColouredNoise(Augmentation):
    """Add noise with the spectrum of a measurement.

    Attributes
    ----------
    spectrum
        Power at equal steps of the frequency from 0 to Nyquist, in any unit: :func:`measured_spectrum`. Between them it
        is interpolated; beyond Nyquist, in the corners, the last value goes on.
    deviation
        Range of the noise's standard deviation, as a share of the image's own.
    """

    spectrum: tuple[float, ...]
    deviation: Range = (0.1, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        good = len(self.spectrum) > 1 and all(0 <= one < math.inf for one in self.spectrum) and max(self.spectrum) > 0
        require(good, self, "spectrum", "give two or more powers, not negative and not all zero")
        require_range(self, "deviation", 0.0, math.inf, "standard deviations of the image")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        deviation = dice.uniform(*self.deviation)
        amplitude = _amplitude(self.spectrum, canvas.shape, canvas.device)
        for picture in canvas.seen:
            noise = white_waves(picture.shape, dice, picture.device).mul_(amplitude)
            picture.waves = torch.add(picture.waves, noise, alpha=deviation * picture.deviation())


@register
@dataclass(frozen=True)
class PoissonNoise(Augmentation):
    """Expose the image anew: electrons are counted, as many in each pixel as its contrast lets arrive.

    With z the image less its mean, over its deviation, ``electrons * (1 + contrast * z)`` are expected in a pixel. The
    counts, less their mean and over ``electrons * contrast``, are the new image: z with noise of variance
    ``1 / (electrons * contrast^2)``, scaled back to the image's own units.

    Attributes
    ----------
    electrons
        Range of the mean number in a pixel.
    contrast
        Standard deviation of the expected number, as a share of its mean.
    """

    electrons: Range = (20.0, 100.0)
    contrast: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "electrons", 0.0, math.inf, "electrons per pixel")
        require(self.electrons[0] > 0, self, "electrons", "give more than 0")
        require(0 < self.contrast <= 1, self, "contrast", "give a share, more than 0 and up to 1")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        electrons = dice.uniform(*self.electrons)
        for picture in canvas.seen:
            pixels = picture.pixels
            mean, deviation = float(pixels.mean()), picture.deviation()
            if deviation == 0:
                raise DatasetError(f"{canvas.record.name}: it is constant, and no contrast can be exposed")
            expected = (pixels - mean).mul_(self.contrast / deviation).add_(1).clamp_(min=0).mul_(electrons)
            # On the CPU, where the dice are.
            counts = torch.poisson(expected.cpu(), generator=dice.generator).to(picture.device)
            picture.pixels = counts.div_(electrons).sub_(1).mul_(deviation / self.contrast).add_(mean)


def measured_spectrum(samples: Iterable[Sample], count: int = 32) -> tuple[float, ...]:
    """Mean power of images in ``count`` shells from 0 to Nyquist, for :class:`ColouredNoise`.

    Parameters
    ----------
    samples
        Pictures of noise: parts of micrographs without particles, or the corners of particle boxes.
    """
    total = torch.zeros(count, dtype=torch.float64)
    number = 0
    for sample in samples:
        pixels = sample.image - sample.image.mean()
        if count > min(pixels.shape) // 2 + 1:
            raise DatasetError(
                f"{sample.name}: {count} shells are more than {tuple(pixels.shape)} pixels have; give fewer, or larger "
                "pictures"
            )
        power = torch.fft.rfftn(pixels).abs().square() / pixels.numel()
        total += shell_means(power, tuple(pixels.shape), count).cpu().double()
        number += 1
    if not number:
        raise DatasetError("there are no pictures to measure a spectrum of")
    means = total / number
    means[0] = means[1]  # the mean was taken away, and a picture of noise has no power of its own there
    return tuple(means.tolist())


def white_waves(shape: tuple[int, ...], dice: Dice, device: torch.device, deviation: float = 1.0) -> torch.Tensor:
    """What ``rfftn`` makes of white noise of a deviation."""
    half = (*shape[:-1], shape[-1] // 2 + 1)
    waves = dice.normal(half, device, complex_=True).mul_(deviation * math.sqrt(math.prod(shape)))
    # In these planes each frequency stands beside its own negative, whose value is its conjugate.
    for plane in {0, half[-1] - 1} if shape[-1] % 2 == 0 else {0}:
        there = waves[..., plane]
        back = there
        for axis in range(there.ndim):
            back = torch.roll(back.flip(axis), 1, axis)
        waves[..., plane] = (there + back.conj()) * math.sqrt(0.5)
    return waves


@lru_cache(maxsize=4)
def _amplitude(spectrum: tuple[float, ...], shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Root of the power on the grid of ``rfftn``, with a mean power of 1 over all frequencies."""
    values = torch.tensor(spectrum, dtype=torch.float32, device=device)
    place = shells(shape, len(spectrum), device)
    below = place.floor().long().clamp_(max=len(spectrum) - 2)
    power = torch.lerp(values[below], values[below + 1], place - below)
    return (power / ((power * multiplicity(shape[-1], device)).sum() / math.prod(shape))).sqrt_()
