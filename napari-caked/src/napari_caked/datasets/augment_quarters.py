"""Turning by quarters and mirroring: pixels change places, and nothing is interpolated."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import torch

from napari_caked.datasets.sample import Canvas
from napari_caked.datasets.steps import Augmentation, Dice, register

__all__ = ["TurnQuarters"]


@register
@dataclass(frozen=True)
class TurnQuarters(Augmentation):
    """Turn by quarters about the middle of the box, each way as likely; four ways in 2-D, 24 in 3-D.

    Only axes of the same length and voxel size change places, so that shape and voxel size stay. The middle is
    (n - 1) / 2: in a box of even size, voxel n // 2 moves to n // 2 - 1 where an axis is turned round.

    Attributes
    ----------
    mirror
        Whether mirror images are made as well. A projection seen from behind is one; a volume's mirror image has the
        other hand, and is no volume that nature makes.
    """

    mirror: bool = False

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        sides = tuple(zip(canvas.shape, canvas.spacing, strict=True))
        ways = quarter_turns(sides, self.mirror)
        axes, flipped = ways[dice.integer(len(ways))]

        def turn(pixels: torch.Tensor) -> torch.Tensor:
            return pixels.permute(axes).flip(flipped) if flipped else pixels.permute(axes).contiguous()

        for picture in canvas.pictures:
            picture.pixels = turn(picture.pixels)
        canvas.mask = None if canvas.mask is None else turn(canvas.mask)
        if canvas.points is not None:
            points = canvas.points[:, list(axes)]
            for axis in flipped:
                points[:, axis] = canvas.shape[axis] - 1 - points[:, axis]
            canvas.points = points


@lru_cache(maxsize=32)
def quarter_turns(
    sides: tuple[tuple[int, float], ...], mirror: bool
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """All ways, as the old axis of each new one and the axes that are then reversed, that keep shape and voxels.

    Parameters
    ----------
    sides
        Length and voxel size of each axis.
    mirror
        Whether those that change the hand belong to them.
    """
    found = []
    every = range(len(sides))
    for axes in itertools.permutations(every):
        if any(sides[new] != sides[old] for new, old in enumerate(axes)):
            continue
        crossings = sum(axes[i] > axes[j] for i in every for j in range(i + 1, len(sides)))
        for count in range(len(sides) + 1):
            for flipped in itertools.combinations(every, count):
                if mirror or (crossings + count) % 2 == 0:
                    found.append((axes, flipped))
    return tuple(found)
