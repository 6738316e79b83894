"""Another voxel size, by cropping or padding the Fourier transform: nothing folds, and nothing is smoothed.

Voxel n // 2 stays where it is, as everywhere in these rooms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from napari_caked.datasets.cropping import CropPad, for_each_axis, resized
from napari_caked.datasets.sample import Canvas
from napari_caked.datasets.steps import Transform, register, require
from napari_caked.errors import DatasetError

__all__ = ["Fit", "Rescale", "resampled"]

#: Share by which a voxel size may miss the one asked for before the image is padded to come closer.
_TOLERANCE = 1e-4


@register
@dataclass(frozen=True)
class Rescale(Transform):
    """Bring an image to a voxel size; points and mask follow, and voxels that are not cubes become so.

    The number of voxels times their size is a length, and only some voxel sizes divide it. So the image is mirrored at
    its edges by up to a quarter, until the size asked for is met within 0.01 %, or as well as can be (within 0.3 % for
    40 voxels, 0.2 % for 64). The record tells the size that was reached.

    Attributes
    ----------
    voxel_size
        Å, one number for all axes or one for each.
    """

    voxel_size: float | tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = self.voxel_size if isinstance(self.voxel_size, tuple) else (self.voxel_size,)
        good = bool(sizes) and all(0 < size < math.inf for size in sizes)
        require(good, self, "voxel_size", "give Å, more than 0, one number or one for each axis")

    def work(self, canvas: Canvas) -> None:
        """Work on the canvas."""
        wanted = for_each_axis(self.voxel_size, canvas)
        before, sizes = canvas.shape, canvas.voxel_size
        factors = [old / new for old, new in zip(sizes, wanted, strict=True)]
        after = tuple(max(round(n * factor), 1) for n, factor in zip(before, factors, strict=True))
        if min(after) < 2 <= min(before):
            raise DatasetError(
                f"{canvas.record.name}: of {before} voxels of {sizes} Å only {after} are left at {wanted} Å; give a "
                "smaller voxel size"
            )
        pairs = [_best_sizes(n, factor) for n, factor in zip(before, factors, strict=True)]
        padded, grid = (tuple(sides) for sides in zip(*pairs, strict=True))
        for picture in canvas.pictures:
            larger = resized(picture.pixels, padded, 0.0, mirror=True) if padded != before else picture.pixels
            picture.pixels = resized(resampled(larger, grid), after, 0.0, mirror=True)
        _follow(canvas, before, after, [n / m for n, m in pairs])


@register
@dataclass(frozen=True)
class Fit(Transform):
    """Give the longest axis a number of voxels, all axes by the same factor; then pad to a square or cube.

    Nothing is squeezed: (10, 20, 40) voxels fit into 16 as (4, 8, 16), and the rest is the mean.

    Attributes
    ----------
    size
        Voxels of the longest axis.
    pad
        Whether the others are padded to as many.
    """

    size: int
    pad: bool = True

    def __post_init__(self) -> None:
        require(self.size >= 2, self, "size", "give voxels, 2 or more")

    def work(self, canvas: Canvas) -> None:
        """Work on the canvas."""
        before = canvas.shape
        factor = self.size / max(before)
        after = tuple(max(round(n * factor), 1) for n in before)
        if after != before:
            for picture in canvas.pictures:
                picture.pixels = resampled(picture.pixels, after)
            _follow(canvas, before, after, [n / m for n, m in zip(before, after, strict=True)])
        if self.pad:
            CropPad(self.size).work(canvas)


def resampled(pixels: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The same field on another number of pixels: values stay, and pixel n // 2 becomes pixel m // 2.

    Each axis is cropped as soon as it is transformed, and padded just before it is transformed back, so that no
    transform is longer than it has to be.
    """
    axes = [axis for axis in range(pixels.ndim) if pixels.shape[axis] != shape[axis]]
    if not axes:
        return pixels
    last = axes[-1]
    waves = torch.fft.rfft(pixels, dim=last, norm="forward")
    waves = _half_cropped(_moved(waves, last, pixels.shape[last], shape[last]), last, pixels.shape[last], shape[last])
    for axis in axes[:-1]:
        waves = torch.fft.fft(waves, dim=axis, norm="forward")
        waves = _cropped(_moved(waves, axis, pixels.shape[axis], shape[axis]), axis, shape[axis])
    for axis in axes[:-1]:
        waves = torch.fft.ifft(_padded(waves, axis, shape[axis]), dim=axis, norm="forward")
    return torch.fft.irfft(waves, n=shape[last], dim=last, norm="forward")


def _best_sizes(size: int, factor: float) -> tuple[int, int]:
    """Sizes before and after resampling whose ratio is nearest to a factor, the first not less than ``size``."""
    best = (size, max(round(size * factor), 1))

    def error(sizes: tuple[int, int]) -> float:
        return abs(sizes[1] / (sizes[0] * factor) - 1)

    for padded in range(size, size + size // 4 + 1):
        sizes = (padded, max(round(padded * factor), 1))
        if error(sizes) < error(best):
            best = sizes
        if error(best) <= _TOLERANCE:
            break
    return best


def _follow(canvas: Canvas, before: Sequence[int], after: Sequence[int], steps: Sequence[float]) -> None:
    """Mask, points and record follow the pictures; ``steps`` are old voxels per new one."""
    if canvas.mask is not None:
        for axis, (n, m, step) in enumerate(zip(before, after, steps, strict=True)):
            index = ((torch.arange(m, device=canvas.device) - m // 2) * step + n // 2).round().long()
            canvas.mask = canvas.mask.index_select(axis, index.clamp_(0, n - 1))
    sizes = canvas.record.voxel_size
    canvas.resize(None if sizes is None else tuple(size * step for size, step in zip(sizes, steps, strict=True)))
    if canvas.points is not None:
        old, new, step = (
            torch.tensor(one, dtype=torch.float32, device=canvas.device)
            for one in ([n // 2 for n in before], [m // 2 for m in after], steps)
        )
        canvas.place((canvas.points - old) / step + new)


def _moved(waves: torch.Tensor, axis: int, before: int, after: int) -> torch.Tensor:
    """Waves of an image whose pixel n // 2 lies where the new one's pixel m // 2 will be."""
    move = before // 2 - (after // 2) * before / after
    if move == 0:
        return waves
    # Half of them, where the axis was transformed as real.
    count = waves.shape[axis]
    turns = torch.arange(count) / before if count != before or before == 1 else torch.fft.fftfreq(before)
    phase = torch.polar(torch.ones(count), (2 * math.pi * move * turns).float()).to(waves.device)
    return waves * phase.reshape([-1 if i == axis else 1 for i in range(waves.ndim)])


def _half_cropped(waves: torch.Tensor, axis: int, before: int, after: int) -> torch.Tensor:
    """Of a half spectrum what fits a new size; ``irfft`` pads by itself, but for sharing Nyquist between two signs."""
    waves = waves.narrow(axis, 0, min(after // 2 + 1, waves.shape[axis])).clone()
    least = min(before, after)
    if least % 2 == 0:
        nyquist = waves.narrow(axis, least // 2, 1)
        # Cropped: the sum of the two signs, which are conjugates. Padded: half for either sign.
        nyquist.copy_(2 * nyquist.real if after < before else nyquist / 2)
    return waves


def _cropped(waves: torch.Tensor, axis: int, after: int) -> torch.Tensor:
    before = waves.shape[axis]
    if after >= before:
        return waves
    positive, negative = (after + 1) // 2, after // 2
    parts = [waves.narrow(axis, 0, positive), waves.narrow(axis, before - negative, negative)]
    cropped = torch.cat(parts, dim=axis)
    if after % 2 == 0:
        nyquist = cropped.narrow(axis, after // 2, 1)
        nyquist.copy_(nyquist + waves.narrow(axis, after // 2, 1))
    return cropped


def _padded(waves: torch.Tensor, axis: int, after: int) -> torch.Tensor:
    before = waves.shape[axis]
    if after <= before:
        return waves
    padded = waves.new_zeros([after if i == axis else n for i, n in enumerate(waves.shape)])
    positive, negative = (before + 1) // 2, before // 2
    padded.narrow(axis, 0, positive).copy_(waves.narrow(axis, 0, positive))
    padded.narrow(axis, after - negative, negative).copy_(waves.narrow(axis, positive, negative))
    if before % 2 == 0:
        half = waves.narrow(axis, before // 2, 1) / 2
        padded.narrow(axis, before // 2, 1).copy_(half)
        padded.narrow(axis, after - before // 2, 1).copy_(half)
    return padded
