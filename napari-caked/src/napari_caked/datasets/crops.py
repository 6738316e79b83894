"""Crops of working images for a dense network, cut on the device: all of a batch by one indexing operation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

__all__ = ["CropSource"]


class CropSource:
    """Cuts crops anywhere, and planes at half resolution along with them, all turned and mirrored alike.

    Quarter turns only: interpolation would change the noise, which a network notices. Everything is kept in half
    precision, on the device, with a rim of its mirror image.

    Parameters
    ----------
    images
        Working images ``(y, x)``, all of one shape.
    planes
        For each of them ``(k, (y - 1) // 2 + 1, (x - 1) // 2 + 1)``; element ``j`` lies at working pixel ``2 j``. The
        last one is taken for a weight, and is zero in the rim.
    size
        Side of a crop, 4 k + 1.
    device
        Where the crops are cut.
    seed
        Of all draws, which are made on the CPU, so that every device cuts the same crops.
    """

    def __init__(
        self,
        images: Sequence[torch.Tensor],
        planes: Sequence[torch.Tensor],
        size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        rim = size // 2  # even, so that the planes keep their place
        height, width = images[0].shape
        # An odd side has a plane's pixel on its last one, about which both are mirrored.
        odd = (0, (width + 1) % 2, 0, (height + 1) % 2)
        whole = torch.stack([_padded(image.to(device).half()[None], odd) for image in images])
        self._images = _padded(whole[:, 0], (rim,) * 4)
        rows, columns = whole.shape[-2] // 2 + 1, whole.shape[-1] // 2 + 1
        self._rim, self._rows, self._columns = rim // 2, rows, columns
        self._planes = self._rimmed(planes)
        self._places = (rows + rim - size // 2, columns + rim - size // 2)

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """``count`` crops ``(count, 1, size, size)`` and their planes ``(count, k, size // 2 + 1, size // 2 + 1)``."""
        which, tops, lefts = (self._integers(below, count) for below in (len(self._images), *self._places))
        turn = int(self._integers(8, 1))
        side = self.size // 2 + 1
        images = _cut(self._images[:, None], which, 2 * tops, 2 * lefts, self.size)
        planes = _cut(self._planes, which, tops, lefts, side)
        return _turned(images, turn), _turned(planes, turn)

    def planes(self, first: int) -> torch.Tensor:
        """``(micrograph, k - first, y // 2 + 1, x // 2 + 1)``: the planes from number ``first`` on, without rim."""
        rows, columns = slice(self._rim, self._rim + self._rows), slice(self._rim, self._rim + self._columns)
        return self._planes[:, first:, rows, columns]

    def replace_planes(self, first: int, planes: Sequence[torch.Tensor]) -> None:
        """Put other planes in the place of those from number ``first`` on.

        Raises
        ------
        ValueError
            They are too many, too few, or of another shape.
        """
        rimmed = self._rimmed(planes)
        if rimmed.shape != self._planes[:, first:].shape:
            raise ValueError(f"planes of shape {tuple(rimmed.shape)}, not {tuple(self._planes[:, first:].shape)}")
        self._planes = torch.cat([self._planes[:, :first], rimmed], dim=1)

    def _rimmed(self, planes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Planes with their mirrored rim, that of the last one zero."""
        device, rows, columns = self._images.device, self._rows, self._columns
        fitting = torch.stack([plane.to(device).half()[:, :rows, :columns] for plane in planes])
        # The pixel that made an even side odd mirrors the one before the last, where the planes' last element lies.
        more = (0, columns - fitting.shape[-1], 0, rows - fitting.shape[-2])
        shown, weight = F.pad(fitting[:, :-1].float(), more, mode="replicate").half(), F.pad(fitting[:, -1:], more)
        half = (self._rim,) * 4
        return torch.cat([_padded(shown, half), F.pad(weight, half)], dim=1)

    def _integers(self, below: int, count: int) -> torch.Tensor:
        return torch.randint(below, (count,), generator=self.generator)


def _cut(stack: torch.Tensor, which: torch.Tensor, tops: torch.Tensor, lefts: torch.Tensor, side: int) -> torch.Tensor:
    """``(batch, channel, side, side)`` float32 of ``(micrograph, channel, y, x)``."""
    device, reach = stack.device, torch.arange(side)
    rows = (tops[:, None] + reach)[:, :, None].to(device, non_blocking=True)
    columns = (lefts[:, None] + reach)[:, None, :].to(device, non_blocking=True)
    chosen = which[:, None, None].to(device, non_blocking=True)
    return stack.permute(0, 2, 3, 1)[chosen, rows, columns].permute(0, 3, 1, 2).float()


def _padded(stack: torch.Tensor, pad: tuple[int, ...]) -> torch.Tensor:
    """Mirrored beyond the edges, but never by more than there is to mirror."""
    fits = max(pad[:2]) < stack.shape[-1] and max(pad[2:]) < stack.shape[-2]
    return F.pad(stack.float(), pad, mode="reflect" if fits else "replicate").half()


def _turned(part: torch.Tensor, turn: int) -> torch.Tensor:
    turned = torch.rot90(part, turn % 4, (-2, -1))
    return turned.flip(-1) if turn >= 4 else turned
