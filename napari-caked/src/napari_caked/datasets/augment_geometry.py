"""Turning by any angle, scaling and moving: image, partner, mask and points together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from napari_caked.datasets.affine import pulled, pulled_labels, pulled_points, sheared, whitening
from napari_caked.datasets.cropping import for_each_axis
from napari_caked.datasets.sample import Canvas
from napari_caked.datasets.steps import Augmentation, Dice, Range, register, require, require_range
from napari_caked.errors import DatasetError

__all__ = ["Rotate", "Scale", "Shift"]


@register
@dataclass(frozen=True)
class Rotate(Augmentation):
    """Turn about voxel n // 2, and scale in the same interpolation; noise keeps its spectrum.

    In three dimensions all orientations are as likely (SO(3)), unless ``largest`` or ``about`` say otherwise. Beyond
    the edge the image is mirrored, so that corners have noise as well; points that leave are dropped. Voxels that are
    not cubes are taken into account.

    Attributes
    ----------
    largest
        Degrees by which it turns at most, in either direction; 180 for any angle.
    about
        ``"any"`` axis, or ``"z"``, the first one: of a tomogram, that of the beam. In two dimensions both are the same.
    scale
        Range of magnifications.
    """

    largest: float = 180.0
    about: str = "any"
    scale: Range = (1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.largest <= 180, self, "largest", "give degrees, more than 0 and up to 180")
        require(self.about in ("any", "z"), self, "about", 'give "any" or "z"')
        require_range(self, "scale", 0.25, 4.0, "magnification")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        scale = dice.uniform(*self.scale)
        angle = math.radians(dice.uniform(-self.largest, self.largest))
        spacing = canvas.spacing
        if len(spacing) == 2:
            turn = _turn_in_plane(angle)
            if scale == 1 and spacing[0] == spacing[1]:
                _turn_square(canvas, angle, turn)
                return
        elif self.about == "z":
            turn = torch.eye(3, dtype=torch.float64)
            turn[1:, 1:] = _turn_in_plane(angle)
        else:
            turn = _any_turn(dice) if self.largest == 180 else _turn_about(_direction(dice), angle)
        _pull(canvas, turn / scale)


@register
@dataclass(frozen=True)
class Scale(Augmentation):
    """Magnify about voxel n // 2; the voxel size is taken to stay, as if the specimen were larger or smaller.

    Attributes
    ----------
    scale
        Range of magnifications.
    """

    scale: Range = (0.9, 1.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "scale", 0.25, 4.0, "magnification")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        _pull(canvas, torch.eye(len(canvas.shape), dtype=torch.float64) / dice.uniform(*self.scale))


@register
@dataclass(frozen=True)
class Shift(Augmentation):
    """Move along each axis, by parts of a pixel as well; what leaves on one side enters on the other.

    A phase in Fourier space: nothing is interpolated, and noise keeps its variance.

    Attributes
    ----------
    largest
        Pixels, in either direction; one number for all axes, or one for each.
    """

    largest: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        reach = self.largest if isinstance(self.largest, tuple) else (self.largest,)
        require(bool(reach) and all(0 <= one < math.inf for one in reach), self, "largest", "give pixels, 0 or more")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        reach = for_each_axis(self.largest, canvas)
        moves = [dice.uniform(-one, one) for one in reach]
        phase = _moving(canvas.shape, moves, canvas.device)
        for picture in canvas.pictures:
            picture.filter(phase)
        if canvas.mask is not None:
            whole = [math.floor(move + 0.5) for move in moves]
            canvas.mask = torch.roll(canvas.mask, whole, list(range(len(whole))))
        if canvas.points is not None:
            size = torch.tensor(canvas.shape, device=canvas.device)
            moved = canvas.points + torch.tensor(moves, dtype=canvas.points.dtype, device=canvas.device)
            # From the middle of the last pixel to that of the first is half a pixel of each.
            canvas.points = (moved + 0.5).remainder(size) - 0.5


def _pull(canvas: Canvas, turn: torch.Tensor) -> None:
    """Pull all that is on the canvas through a map in Å."""
    shape = canvas.shape
    if min(shape) < 8:
        raise DatasetError(f"{canvas.record.name}: its shape {shape} is too small to turn or scale; give 8 or more")
    spacing = torch.tensor(canvas.spacing, dtype=torch.float64)
    matrix = turn * spacing[None, :] / spacing[:, None]
    images = pulled([picture.pixels for picture in canvas.pictures], matrix)
    factor = whitening(shape, matrix, canvas.device)
    for picture, pixels in zip(canvas.pictures, images, strict=True):
        picture.pixels = pixels
        picture.filter(factor)
    _follow(canvas, matrix)


def _turn_square(canvas: Canvas, angle: float, matrix: torch.Tensor) -> None:
    images = sheared([picture.pixels for picture in canvas.pictures], angle)
    for picture, pixels in zip(canvas.pictures, images, strict=True):
        picture.pixels = pixels
    _follow(canvas, matrix)


def _follow(canvas: Canvas, matrix: torch.Tensor) -> None:
    """Mask and points go where the pictures went."""
    if canvas.mask is not None:
        canvas.mask = pulled_labels(canvas.mask, matrix)
    if canvas.points is not None:
        canvas.place(pulled_points(canvas.points, matrix, canvas.shape))


def _turn_in_plane(angle: float) -> torch.Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


def _any_turn(dice: Dice) -> torch.Tensor:
    """A rotation from the uniform distribution: four normal deviates are a quaternion of any direction."""
    return _from_quaternion(*torch.randn(4, generator=dice.generator, dtype=torch.float64).tolist())


def _direction(dice: Dice) -> list[float]:
    return torch.randn(3, generator=dice.generator, dtype=torch.float64).tolist()


def _turn_about(axis: list[float], angle: float) -> torch.Tensor:
    sine = math.sin(angle / 2) / math.hypot(*axis)
    return _from_quaternion(math.cos(angle / 2), *(sine * one for one in axis))


def _from_quaternion(w: float, x: float, y: float, z: float) -> torch.Tensor:
    """Rotation matrix of a quaternion of any length; axes in the order of the quaternion."""
    s = 2 / (w * w + x * x + y * y + z * z)
    rows = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _moving(shape: tuple[int, ...], moves: list[float], device: torch.device) -> torch.Tensor:
    """Factor on the grid of ``rfftn`` that moves an image by so many pixels."""
    factor = torch.ones((1,) * len(shape), dtype=torch.complex64, device=device)
    for axis, (n, move) in enumerate(zip(shape, moves, strict=True)):
        last = axis == len(shape) - 1
        turns = torch.fft.rfftfreq(n, device=device) if last else torch.fft.fftfreq(n, device=device)
        phase = torch.polar(torch.ones_like(turns), -2 * math.pi * move * turns)
        if n % 2 == 0:
            # Nyquist is its own negative, and can only change its sign; halved, it would lose variance.
            phase[n // 2] = 1.0 if math.cos(math.pi * move) >= 0 else -1.0
        factor = factor * phase.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return factor
