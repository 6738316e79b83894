"""Cropping and padding about voxel n // 2, which stays the voxel that rotations turn about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch

from napari_caked.datasets.sample import Canvas
from napari_caked.datasets.steps import Transform, register, require
from napari_caked.errors import DatasetError

__all__ = ["CropPad", "mirrored_index", "resized"]

_Number = TypeVar("_Number", int, float)
_FILLS = ("mean", "mirror", "zero")


@register
@dataclass(frozen=True)
class CropPad(Transform):
    """Crop or pad each axis to a size; points outside are dropped.

    Attributes
    ----------
    shape
        Pixels along each axis, or one number for all.
    fill
        What is padded: the image's ``"mean"``, the image mirrored at its edge (``"mirror"``: noise goes on), or
        ``"zero"``. A mask is mirrored with its image, and 0 otherwise.
    """

    shape: int | tuple[int, ...]
    fill: str = "mean"

    def __post_init__(self) -> None:
        sizes = self.shape if isinstance(self.shape, tuple) else (self.shape,)
        good = bool(sizes) and all(isinstance(size, int) and size > 0 for size in sizes)
        require(good, self, "shape", "give pixels, one whole number or one for each axis")
        require(self.fill in _FILLS, self, "fill", f"give one of {', '.join(_FILLS)}")

    def work(self, canvas: Canvas) -> None:
        """Work on the canvas."""
        before, after = canvas.shape, for_each_axis(self.shape, canvas)
        for picture in canvas.pictures:
            pixels = picture.pixels
            value = float(pixels.mean()) if self.fill == "mean" else 0.0
            picture.pixels = resized(pixels, after, value, mirror=self.fill == "mirror")
        if canvas.mask is not None:
            canvas.mask = resized(canvas.mask, after, 0, mirror=self.fill == "mirror")
        canvas.resize(canvas.record.voxel_size)
        if canvas.points is not None:
            move = [m // 2 - n // 2 for n, m in zip(before, after, strict=True)]
            canvas.place(canvas.points + torch.tensor(move, device=canvas.device))


def for_each_axis(shape: _Number | tuple[_Number, ...], canvas: Canvas) -> tuple[_Number, ...]:
    """A size for each axis of the canvas.

    Raises
    ------
    DatasetError
        There are more or fewer sizes than axes.
    """
    axes = len(canvas.shape)
    sizes = shape if isinstance(shape, tuple) else (shape,) * axes
    if len(sizes) != axes:
        raise DatasetError(f"{canvas.record.name}: its shape {canvas.shape} cannot become {sizes}; give {axes} sizes")
    return sizes


def resized(pixels: torch.Tensor, shape: tuple[int, ...], value: float, *, mirror: bool) -> torch.Tensor:
    """Pixels cropped or padded about n // 2, with a value or mirrored."""
    for axis, (n, m) in enumerate(zip(pixels.shape, shape, strict=True)):
        first = n // 2 - m // 2
        if m <= n:
            pixels = pixels.narrow(axis, first, m)
        elif mirror:
            index = torch.arange(first, first + m, device=pixels.device)
            pixels = pixels.index_select(axis, mirrored_index(index, n))
        else:
            padded = pixels.new_full((*pixels.shape[:axis], m, *pixels.shape[axis + 1 :]), value)
            padded.narrow(axis, -first, n).copy_(pixels)
            pixels = padded
    return pixels.clone(memory_format=torch.contiguous_format)


def mirrored_index(index: torch.Tensor, size: int) -> torch.Tensor:
    """Indices outside of 0 … size - 1 reflected at the centres of the first and the last pixel, however far."""
    if size == 1:
        return torch.zeros_like(index)
    folded = index.remainder(2 * size - 2)
    return torch.minimum(folded, 2 * size - 2 - folded)
