"""A matched filter made from the labels, and a small dense network that learns from it and goes beyond it.

Ten labels are a template before they are a training set: their rotational average, correlated with the image, is a
detector already. The network sees that correlation beside the image, and learns what the template cannot know (the
particle's views, its neighbours, ice, carbon).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from napari_caked.models.protocol import PickerNetwork

__all__ = ["RARE", "MatchedFilter", "MatchedFilterNetwork"]


#: Values of a working image beyond so many deviations are cut off there before they are correlated.
RARE = 4.0


class MatchedFilter(nn.Module):
    """Correlation with a rotationally symmetric template, in units of the noise.

    It is not normalised by the contrast of each place: a faint blob of the right shape would then be as good as a
    particle. But rare values, as of ice or gold, count no more than :data:`RARE` deviations.

    Parameters
    ----------
    profile
        ``(radius + 1,)``: the template at 0, 1, ... ``radius`` pixels from its centre.
    """

    profile: torch.Tensor

    def __init__(self, profile: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("profile", profile.float())

    @classmethod
    def from_labels(cls, images: Sequence[torch.Tensor], centres: Sequence[np.ndarray], radius: int) -> MatchedFilter:
        """Filter from the rotational average of labelled patches.

        Parameters
        ----------
        images
            Working images ``(y, x)``.
        centres
            For each image ``(n, 2)`` (y, x) of labels.
        radius
            Of the template, in pixels.
        """
        offsets = torch.arange(-radius, radius + 1)
        ring = torch.hypot(offsets[:, None].float(), offsets[None, :].float()).round().long()
        inside = ring <= radius
        total, count = torch.zeros(radius + 1), torch.zeros(radius + 1)
        for image, points in zip(images, centres, strict=True):
            padded = F.pad(image.float().cpu()[None, None], (radius,) * 4, mode="replicate")[0, 0]
            # A label on the last pixels of a micrograph may lie half a working pixel beyond the working image.
            for y, x in np.rint(points).astype(int).clip(0, np.array(image.shape) - 1):
                patch = padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
                total.index_add_(0, ring[inside], patch[inside])
                count.index_add_(0, ring[inside], torch.ones_like(patch[inside]))
        return cls(total / count.clamp(min=1))

    def kernel(self, radius: int | None = None) -> torch.Tensor:
        """The template, or its part within ``radius``, as an image ``(2 r + 1, 2 r + 1)`` of zero mean.

        Its norm is one over the root of the number of pixels on its disc, as in a normalised correlation.
        """
        profile = self.profile if radius is None else self.profile[: radius + 1]
        radius = len(profile) - 1
        offsets = torch.arange(-radius, radius + 1, device=profile.device, dtype=torch.float32)
        distance = torch.hypot(offsets[:, None], offsets[None, :])
        disc = (distance <= radius).float()
        below = distance.floor().long().clamp(max=radius - 1)
        share = distance - below
        template = (1 - share) * profile[below] + share * profile[below + 1]
        template = (template - (template * disc).sum() / disc.sum()) * disc
        return template / (template.norm().clamp(min=1e-6) * disc.sum().sqrt())

    def forward(self, images: torch.Tensor, radius: int | None = None, stride: int = 1) -> torch.Tensor:
        """Correlation of ``(batch, 1, y, x)`` working images, whose noise has a deviation of 1; about -1 to 1.

        Parameters
        ----------
        images
            Whose surroundings are their mirror image.
        radius
            Uses the template up to there only.
        stride
            Computes every so many pixels, ``(batch, 1, (y - 1) // stride + 1, (x - 1) // stride + 1)``.
        """
        kernel = self.kernel(radius)
        reach = len(kernel) // 2
        mode = "reflect" if min(images.shape[-2:]) > reach else "replicate"
        padded = F.pad(images.clamp(-RARE, RARE), (reach,) * 4, mode=mode)
        return F.conv2d(padded, kernel[None, None], stride=stride)


class MatchedFilterNetwork(PickerNetwork):
    """Logits on every second pixel, from the image and from its correlation with a template of two radii.

    Parameters
    ----------
    profile
        Template of the :class:`MatchedFilter`, or its number of values, to be loaded.
    inner
        The smaller radius of the two, in working pixels; the larger is that of the whole profile.
    channels
        Feature maps at half resolution; twice as many at a quarter.
    """

    name = "matched"
    stride = 2
    alignment = 4

    def __init__(self, profile: torch.Tensor | int, inner: int = 14, channels: int = 24) -> None:
        super().__init__()
        if not (isinstance(inner, int) and inner >= 1):
            raise ValueError(f"the inner radius is {inner}, but must be 1 or more working pixels")
        self.channels, self.inner = channels, inner
        self.filter = MatchedFilter(torch.zeros(profile) if isinstance(profile, int) else profile)
        self.stem = _layer(1, channels, kernel=5, stride=2)
        self.fine = _layer(channels + 2, channels)
        self.coarse = nn.Sequential(
            _layer(channels, 2 * channels, stride=2),
            _layer(2 * channels, 2 * channels, dilation=2),
            _layer(2 * channels, 2 * channels, dilation=2),
            _layer(2 * channels, 2 * channels),
        )
        self.merge = nn.Sequential(_layer(3 * channels, channels), _layer(channels, channels))
        self.head = nn.Conv2d(channels, 1, 1)
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]  # most pixels are no particle

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Working pixels to each side that a logit depends on: those of the template, and those of the layers."""
        return len(self.filter.profile) - 1 + 36

    @property
    def configuration(self) -> dict[str, Any]:
        """The size of the template and of the layers."""
        return {"profile": len(self.filter.profile), "inner": self.inner, "channels": self.channels}

    def correlations(self, images: torch.Tensor) -> torch.Tensor:
        """``(batch, 2, y // 2 + 1, x // 2 + 1)``: what the network sees beside images ``(batch, 1, y, x)``."""
        inner = min(self.inner, len(self.filter.profile) - 1)
        # In single precision whatever surrounds it: the differences of sums are small.
        with torch.autocast(images.device.type, enabled=False):
            maps = [self.filter(images.float(), radius, self.stride) for radius in (inner, None)]
        # About as large as the image's own values.
        return 4 * torch.cat(maps, dim=1)

    def forward(self, images: torch.Tensor, correlations: torch.Tensor | None = None) -> torch.Tensor:
        """Logits ``(batch, y // 2 + 1, x // 2 + 1)`` of images ``(batch, 1, y, x)``, where y and x are 4 k + 1.

        Those sizes let the two resolutions share pixel centres, so that nothing is shifted by upsampling. Correlations
        that are known already are not computed again.
        """
        if correlations is None:
            correlations = self.correlations(images)
        fine = self.fine(torch.cat([self.stem(images), correlations], dim=1))
        coarse = F.interpolate(self.coarse(fine), size=fine.shape[-2:], mode="bilinear", align_corners=True)
        merged = self.merge(torch.cat([fine, coarse], dim=1))
        # A logit in half precision would be one of few values, and peaks would tie.
        with torch.autocast(images.device.type, enabled=False):
            return self.head(merged.float())[:, 0]


def _layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
