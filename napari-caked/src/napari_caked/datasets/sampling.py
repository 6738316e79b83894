"""Crops for training, cut on the device in one indexing operation per batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

__all__ = ["CropBatch", "CropSampler"]


@dataclass(frozen=True)
class CropBatch:
    """One batch.

    Attributes
    ----------
    images
        ``(batch, channel, size, size)``.
    labelled
        ``(batch, size, size)`` bool: labelled pixels.
    inside
        ``(batch, size, size)`` bool: pixels of the micrograph rather than of its mirrored surroundings.
    around_labels
        How many crops, from the first on, were cut around labels; the rest lie anywhere.
    """

    images: torch.Tensor
    labelled: torch.Tensor
    inside: torch.Tensor
    around_labels: int


class CropSampler:
    """Cuts batches: half around labels, half anywhere, all turned and mirrored alike by a random quarter turn.

    Quarter turns only: interpolation would change the noise, which a network notices.

    Parameters
    ----------
    images
        ``(micrograph, channel, y, x)``.
    labelled
        ``(micrograph, y, x)`` bool.
    centres
        ``(n, 3)`` (micrograph, y, x) of the labels.
    size
        Side of a crop.
    generator
        Source of all randomness, on the CPU, so that every device draws the same crops.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labelled: torch.Tensor,
        centres: torch.Tensor,
        size: int,
        generator: torch.Generator,
    ) -> None:
        self.size = size
        self._generator = generator
        self._height, self._width = images.shape[-2:]
        self._half = size // 2
        # Mirrored, but never by more than there is to mirror.
        pad = (self._half + 1,) * 4
        mode = "reflect" if min(self._height, self._width) > self._half + 1 else "replicate"
        self._images = F.pad(images, pad, mode=mode)
        self._labelled = F.pad(labelled, pad)
        self._inside = F.pad(torch.ones_like(labelled[:1]), pad)[0]
        self._centres = centres

    def draw(self, count: int) -> CropBatch:
        """A batch of ``count`` crops."""
        around = count // 2
        which = self._integers(len(self._centres), around)
        jitter = torch.randint(-self._half // 2, self._half // 2 + 1, (around, 2), generator=self._generator)
        chosen = self._centres[which].round().long()
        index = torch.cat([chosen[:, 0], self._integers(len(self._images), count - around)])
        y = torch.cat([chosen[:, 1] + jitter[:, 0], self._integers(self._height, count - around)])
        x = torch.cat([chosen[:, 2] + jitter[:, 1], self._integers(self._width, count - around)])
        # In padded coordinates a crop centred on pixel y starts at y + 1.
        reach = torch.arange(self.size) + 1
        rows = (y.clamp(0, self._height - 1)[:, None] + reach)[:, :, None].to(self._images.device)
        columns = (x.clamp(0, self._width - 1)[:, None] + reach)[:, None, :].to(self._images.device)
        index = index[:, None, None].to(self._images.device)
        images = self._images.permute(0, 2, 3, 1)[index, rows, columns].permute(0, 3, 1, 2)
        labelled, inside = self._labelled[index, rows, columns], self._inside[rows, columns]
        turns, mirror = self._integers(4, 1).item(), bool(self._integers(2, 1).item())
        images, labelled, inside = (_turned(part, int(turns), mirror) for part in (images, labelled, inside))
        return CropBatch(images, labelled, inside, around)

    def _integers(self, below: int, count: int) -> torch.Tensor:
        return torch.randint(below, (count,), generator=self._generator)


def _turned(part: torch.Tensor, quarters: int, mirror: bool) -> torch.Tensor:
    turned = torch.rot90(part, quarters, (-2, -1))
    return turned.flip(-1) if mirror else turned
