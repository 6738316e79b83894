"""Densities: volumes on a grid in the frame of a structure, and how to change their grid.

Frame: data are (z, y, x). The voxel (k, j, i) has its centre at ``origin + voxel_size * (k, j, i)`` in the coordinates
of the structure, z, y, x in Å. A density made from a structure has the structure's middle at the voxel ``n // 2``,
the place that projections and Fourier transforms turn about. How it is made is in ``potential.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from napari_profet.errors import DensityError
from napari_profet.fourier import filtered, resampled

__all__ = ["Density", "boxed", "rescaled"]

_CLOSE_ENOUGH = 1e-3
"""Relative error of the voxel size that rescaling accepts before it looks for a better box."""


@dataclass(frozen=True, eq=False)
class Density:
    """A volume with its place in space.

    Attributes
    ----------
    data
        (z, y, x) float32; read-only.
    voxel_size
        Å, the same along all axes.
    origin
        Position of the centre of voxel (0, 0, 0), z, y, x in Å.
    unit
        "V" for an electrostatic potential in volts; "" for the arbitrary units of most maps in files.
    name
        Short name.
    source
        Path, or what it was made from.
    """

    data: np.ndarray
    voxel_size: float
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    unit: Literal["V", ""] = ""
    name: str = "density"
    source: str = ""

    def __post_init__(self) -> None:
        data = np.ascontiguousarray(self.data, dtype=np.float32).view()
        if data.ndim != 3 or not data.size or not np.isfinite(data).all():
            raise DensityError(f"{self.name}: a density is a volume of finite numbers, not one of shape {data.shape}")
        if not (np.isfinite(self.voxel_size) and self.voxel_size > 0):
            raise DensityError(f"{self.name}: the voxel size must be above 0 Å, not {self.voxel_size}")
        data.setflags(write=False)
        z, y, x = map(float, self.origin)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "voxel_size", float(self.voxel_size))
        object.__setattr__(self, "origin", (z, y, x))

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.data.shape))
        return f"<Density {self.name}: {shape} voxels of {self.voxel_size:.4g} Å{', in volts' if self.unit else ''}>"

    @property
    def centre(self) -> tuple[float, float, float]:
        """Position of the voxel n // 2, z, y, x in Å."""
        z, y, x = (at + size // 2 * self.voxel_size for at, size in zip(self.origin, self.data.shape, strict=True))
        return z, y, x

    @property
    def integral(self) -> float:
        """Sum of the data times the volume of a voxel; V Å³ for a potential."""
        return float(self.data.sum(dtype=float)) * self.voxel_size**3

    def low_passed(self, resolution: float) -> Density:
        """Smoothed so that its Fourier transform falls to 1/e at 1 / ``resolution`` (Å)."""
        if not resolution > 0:
            raise DensityError(f"{self.name}: the resolution must be above 0 Å, not {resolution}")
        smooth = filtered(self.data, self.voxel_size, lambda squared: np.exp(-squared * np.float32(resolution**2)))
        return replace(self, data=smooth)


def boxed(density: Density, box: int) -> Density:
    """Cubic density of another size: cropped, or padded with zeros, about the voxel n // 2.

    Parameters
    ----------
    density
        Any shape.
    box
        Voxels along each axis.
    """
    if box < 1:
        raise DensityError(f"{density.name}: a box has at least 1 voxel, not {box}")
    data = np.zeros((box,) * 3, dtype=np.float32)
    source, target, origin = [], [], []
    for size, at in zip(density.data.shape, density.origin, strict=True):
        # Voxel i of the new box is voxel i + first of the old one.
        first = size // 2 - box // 2
        low, high = max(first, 0), min(first + box, size)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
        origin.append(at + first * density.voxel_size)
    data[tuple(target)] = density.data[tuple(source)]
    z, y, x = origin
    return replace(density, data=data, origin=(z, y, x))


def rescaled(density: Density, voxel_size: float) -> Density:
    """Cubic density with another voxel size, by cropping or padding its Fourier transform.

    The box is first padded with zeros until a whole and even number of new voxels fits it, to 1 part in 1000 if
    there is such a box within a quarter more voxels, or 64; the voxel size of the result says what was attained.
    The voxel n // 2 stays where it is.

    Parameters
    ----------
    density
        Any shape.
    voxel_size
        Wanted, Å.
    """
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise DensityError(f"{density.name}: the voxel size must be above 0 Å, not {voxel_size}")
    ratio = voxel_size / density.voxel_size
    if abs(ratio - 1) < 1e-6 and len(set(density.data.shape)) == 1:
        return density
    old, new = _matching_boxes(max(density.data.shape), ratio)
    if max(old, new) > 2048:
        raise DensityError(
            f"{density.name}: {new} voxels of {voxel_size} Å along each axis are too many (2048); take larger voxels"
        )
    padded = boxed(density, old)
    attained = padded.voxel_size * old / new
    return replace(padded, data=resampled(padded.data, (new,) * 3), voxel_size=attained)


def _matching_boxes(size: int, ratio: float) -> tuple[int, int]:
    """Even numbers of voxels, old and new, whose quotient is nearly ``ratio``; the first at least ``size``."""
    first = size + size % 2
    olds = np.arange(first, first + max(first // 4, 64), 2)
    news = np.maximum(2 * np.round(olds / ratio / 2).astype(int), 2)
    errors = np.abs(olds / news / ratio - 1)
    good = errors <= max(_CLOSE_ENOUGH, errors.min())
    best = int(good.argmax())
    return int(olds[best]), int(news[best])
