"""A matched filter made from the labels, and a small dense network that improves on it.

Ten labels are a template before they are a training set: their rotational average, correlated with the image, is a
detector already. The network gets that correlation as a second channel and as a starting point, and learns what the
template cannot know (the particle's views, its neighbours, ice, carbon).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["MatchedFilter", "MatchedFilterNetwork"]


class MatchedFilter(nn.Module):
    """Normalised cross-correlation with a rotationally symmetric template.

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
        total, count = torch.zeros(radius + 1), torch.zeros(radius + 1)
        for image, points in zip(images, centres, strict=True):
            padded = F.pad(image.cpu()[None, None], (radius,) * 4, mode="replicate")[0, 0]
            # A label on the last pixels of a micrograph may lie half a working pixel beyond the working image.
            for y, x in np.rint(points).astype(int).clip(0, np.array(image.shape) - 1):
                patch = padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
                inside = ring <= radius
                total.index_add_(0, ring[inside], patch[inside])
                count.index_add_(0, ring[inside], torch.ones_like(patch[inside]))
        return cls(total / count.clamp(min=1))

    def kernels(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Template of zero mean and unit norm, and its disc, each ``(size, size)``."""
        radius = len(self.profile) - 1
        offsets = torch.arange(-radius, radius + 1, device=self.profile.device, dtype=torch.float32)
        distance = torch.hypot(offsets[:, None], offsets[None, :])
        disc = (distance <= radius).float()
        below = distance.floor().long().clamp(max=radius - 1)
        share = distance - below
        template = (1 - share) * self.profile[below] + share * self.profile[below + 1]
        template = (template - (template * disc).sum() / disc.sum()) * disc
        return template / template.norm().clamp(min=1e-6), disc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Correlation, -1 to 1, of ``(batch, 1, y, x)`` images; same shape."""
        template, disc = self.kernels()
        radius, n = len(self.profile) - 1, disc.sum()
        padded = F.pad(images, (radius,) * 4, mode="reflect")
        overlap = F.conv2d(padded, template[None, None])
        # Sums over the disc, as convolutions; the image is near zero mean, so no precision is lost in the difference.
        mean = F.conv2d(padded, disc[None, None]) / n
        square = F.conv2d(padded**2, disc[None, None]) / n
        return overlap / (n * (square - mean**2).clamp(min=1e-2)).sqrt()


class MatchedFilterNetwork(nn.Module):
    """``logit = slope * correlation + offset + correction(image, correlation)``, on every second pixel.

    The correction starts at zero, so an untrained network is the matched filter. Output pixel ``j`` lies at working
    pixel ``2 j``.

    Parameters
    ----------
    profile
        Template of the :class:`MatchedFilter`.
    channels
        Feature maps at half resolution; twice as many at a quarter.
    """

    name = "matched"
    #: Working pixels per output pixel.
    stride = 2
    alignment = 4

    def __init__(self, profile: torch.Tensor, channels: int = 32) -> None:
        super().__init__()
        self.channels = channels
        self.filter = MatchedFilter(profile)
        self.stem = _layer(2, channels, kernel=5, stride=2)
        self.fine = _layer(channels, channels)
        self.coarse = nn.Sequential(
            _layer(channels, 2 * channels, stride=2),
            _layer(2 * channels, 2 * channels, dilation=2),
            _layer(2 * channels, 2 * channels, dilation=2),
        )
        self.merge = _layer(3 * channels, channels)
        self.head = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.slope = nn.Parameter(torch.tensor(12.0))
        self.offset = nn.Parameter(torch.tensor(-5.0))

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Working pixels to each side that a logit depends on: those of the template, and 26 of the correction."""
        return len(self.filter.profile) - 1 + 26

    def with_correlation(self, images: torch.Tensor) -> torch.Tensor:
        """Images ``(batch, 1, y, x)`` with their correlation as second channel."""
        return torch.cat([images, self.filter(images)], dim=1)

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, y // 2 + 1, x // 2 + 1)`` of ``(batch, 2, y, x)``, where y and x are 4 k + 1.

        Those sizes let the two resolutions share pixel centres, so that nothing is shifted by upsampling. Of images
        without their correlation, ``(batch, 1, y, x)``, it is computed.
        """
        if channels.shape[1] == 1:
            channels = self.with_correlation(channels)
        fine = self.fine(self.stem(channels))
        coarse = F.interpolate(self.coarse(fine), size=fine.shape[-2:], mode="bilinear", align_corners=True)
        correction = self.head(self.merge(torch.cat([fine, coarse], dim=1)))
        correlation = F.avg_pool2d(F.pad(channels[:, 1:2], (1, 1, 1, 1), mode="replicate"), 3, self.stride)
        return (self.slope * correlation + self.offset + correction)[:, 0]


def _layer(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
