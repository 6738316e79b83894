"""Contrast, gain, erasing, and mixing with other pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from napari_caked.datasets.items import UNLABELLED
from napari_caked.datasets.sample import Canvas, Picture, Sample
from napari_caked.datasets.steps import Augmentation, Dice, Range, register, require, require_range
from napari_caked.errors import DatasetError

__all__ = ["Contrast", "Erase", "Gain", "MixBackground", "Mixup"]


@register
@dataclass(frozen=True)
class Contrast(Augmentation):
    """Stretch the values about their mean, and lift or lower them all.

    Attributes
    ----------
    factor
        Range of the stretch; drawn evenly in its logarithm, so that doubling is as likely as halving.
    brightness
        Range of what is added, in standard deviations of the image.
    """

    factor: Range = (0.8, 1.25)
    brightness: Range = (-0.1, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "factor", 1e-3, 1e3, "factors")
        require_range(self, "brightness", -math.inf, math.inf, "standard deviations of the image")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        factor = math.exp(dice.uniform(*(math.log(one) for one in self.factor)))
        brightness = dice.uniform(*self.brightness)
        for picture in canvas.seen:
            pixels, deviation = picture.pixels, picture.deviation()
            mean = float(pixels.mean())
            picture.pixels = (pixels - mean).mul_(factor).add_(mean + brightness * deviation)


@register
@dataclass(frozen=True)
class Gain(Augmentation):
    """Multiply with a smooth field, as uneven illumination or ice of uneven thickness does.

    The field is ``1 + strength * w``, with a sum w of cosines of up to one period across each axis, scaled to 1 at its
    extreme.

    Attributes
    ----------
    strength
        Range of the largest relative change.
    """

    strength: Range = (0.0, 0.2)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "strength", 0.0, 1.0, "shares")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        strength = dice.uniform(*self.strength)
        waves = torch.zeros(canvas.shape, device=canvas.device)
        for _ in range(4):
            angle = torch.tensor(dice.uniform(0, 2 * math.pi), device=canvas.device)
            for axis, n in enumerate(canvas.shape):
                along = torch.arange(n, device=canvas.device) * (2 * math.pi * dice.uniform(-1, 1) / n)
                angle = angle + along.reshape([-1 if i == axis else 1 for i in range(len(canvas.shape))])
            waves += angle.cos()
        field = 1 + strength * waves / waves.abs().max()
        for picture in canvas.seen:
            picture.pixels = picture.pixels * field


@register
@dataclass(frozen=True)
class Erase(Augmentation):
    """Replace a box somewhere in the image by noise of the image's own mean and deviation.

    Its place in the mask becomes 0, and points in it are dropped: what cannot be seen is not asked for.

    Attributes
    ----------
    side
        Range of the box's sides, as a share of the image's; each axis draws its own.
    """

    side: Range = (0.1, 0.3)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "side", 0.0, 1.0, "shares of the image")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        sides = [max(round(n * dice.uniform(*self.side)), 1) for n in canvas.shape]
        first = [dice.integer(n - side + 1) for n, side in zip(canvas.shape, sides, strict=True)]
        box = tuple(slice(a, a + side) for a, side in zip(first, sides, strict=True))
        for picture in canvas.seen:
            pixels, deviation = picture.pixels.clone(), picture.deviation()
            noise = dice.normal(sides, picture.device)
            pixels[box] = noise.mul_(deviation).add_(pixels.mean())
            picture.pixels = pixels
        if canvas.mask is not None:
            canvas.mask = canvas.mask.clone()
            canvas.mask[box] = 0
        if canvas.points is not None:
            low = torch.tensor(first, device=canvas.device) - 0.5
            high = low + torch.tensor(sides, device=canvas.device)
            canvas.points = canvas.points[~((canvas.points >= low) & (canvas.points < high)).all(dim=1)]


@register
@dataclass(frozen=True)
class MixBackground(Augmentation):
    """Add a part of a picture without particles, less its mean: real ice, carbon edges, detector noise.

    Attributes
    ----------
    deviation
        Range of the background's standard deviation, as a share of the image's own.
    """

    deviation: Range = (0.2, 0.6)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "deviation", 0.0, math.inf, "standard deviations of the image")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        backgrounds = canvas.pool.backgrounds
        if not len(backgrounds):
            raise DatasetError(f"{canvas.record.name}: MixBackground needs backgrounds; give a Pool that has some")
        deviation = dice.uniform(*self.deviation)
        for picture in canvas.seen:
            background = backgrounds[dice.integer(len(backgrounds))]
            part = Picture(_part(background, canvas, dice))
            spread = part.deviation()
            if spread == 0:
                raise DatasetError(f"{background.name}: a part of it is constant, and no background; leave it out")
            added = (part.pixels - part.pixels.mean()).mul_(deviation * picture.deviation() / spread)
            picture.pixels = picture.pixels + added.to(picture.device)


@register
@dataclass(frozen=True)
class Mixup(Augmentation):
    """Blend with another sample, and keep its label beside the own one (Zhang et al., arXiv:1710.09412).

    The share of the other one is the smaller half of a Beta distribution. Blending averages noise; so the image is
    scaled about its mean by ``1 / sqrt(s^2 + (1 - s)^2)``, after which white noise is as strong as before. Only for
    class labels: masks and points cannot be blended, and are an error.

    Attributes
    ----------
    alpha
        Both parameters of the Beta distribution: small for mostly small shares.
    """

    alpha: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.alpha < math.inf, self, "alpha", "give more than 0")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        name, others = canvas.record.name, canvas.pool.others
        if not len(others):
            raise DatasetError(f"{name}: Mixup needs other samples; give a Pool that has some")
        if canvas.mask is not None or canvas.points is not None:
            raise DatasetError(f"{name}: masks and points cannot be blended; use Mixup with class labels alone")
        other = others[dice.integer(len(others))]
        images = [one for one in (other.image, other.partner) if one is not None]
        if tuple(other.image.shape) != canvas.shape or len(images) != len(canvas.pictures):
            raise DatasetError(
                f"{name} {canvas.shape} and {other.name} {tuple(other.image.shape)} cannot be blended; bring all "
                "samples to one shape, and give all or none a partner"
            )
        share = _half_beta(self.alpha, dice)
        back = 1 / math.hypot(share, 1 - share)
        for picture, image in zip(canvas.pictures, images, strict=True):
            blended = torch.lerp(picture.pixels, image.to(picture.device), share)
            mean = float(blended.mean())
            picture.pixels = (blended - mean).mul_(back).add_(mean)
        label = other.record.label
        canvas.other_label, canvas.other_share = (label, share) if label != UNLABELLED else (UNLABELLED, 0.0)


def _part(background: Sample, canvas: Canvas, dice: Dice) -> torch.Tensor:
    """A part of a background as large as the canvas."""
    image, shape = background.image, canvas.shape
    if image.ndim != len(shape) or any(n < m for n, m in zip(image.shape, shape, strict=True)):
        raise DatasetError(
            f"{background.name}: a background of {tuple(image.shape)} is too small for {canvas.record.name} of {shape}"
        )
    first = [dice.integer(n - m + 1) for n, m in zip(image.shape, shape, strict=True)]
    return image[tuple(slice(a, a + m) for a, m in zip(first, shape, strict=True))]


def _half_beta(alpha: float, dice: Dice) -> float:
    """The smaller of x and 1 - x, where x is of the Beta distribution; Johnk's way, with nothing but even numbers."""
    while True:
        # In logarithms: powers of 1 / alpha of small numbers are zero.
        first, second = (math.log(max(dice.uniform(), 1e-300)) / alpha for _ in range(2))
        largest = max(first, second)
        total = largest + math.log(math.exp(first - largest) + math.exp(second - largest))
        if total <= 0:
            x = math.exp(first - total)
            return min(x, 1 - x)
