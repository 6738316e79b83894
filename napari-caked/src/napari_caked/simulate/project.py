"""From a density to a bank of its projections.

A density is an array ``(z, y, x)`` in volts: the electrostatic potential of the particle less that of the ice it
displaces. Its origin is voxel ``n // 2``. A projection is in V Å, ``(y, x)``, with the origin at pixel ``n // 2``.

Euler angles are RELION's (``rlnAngleRot``, ``Tilt``, ``Psi``; Heymann, Chagoyen & Belnap, J. Struct. Biol. 151, 196
(2005)): the matrix A = Z(psi) Y(tilt) Z(rot) takes a place in the map, as (x, y, z), into the frame of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import SettingsError
from napari_caked.simulate.settings import ViewSettings

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

__all__ = [
    "Bank",
    "Density",
    "bank_of",
    "density_in_volts",
    "draw_rotations",
    "eulers_of",
    "looks_like_volts",
    "project",
    "read_density",
    "scaled_to_volts",
    "support_of",
]

#: Mean potential of protein less that of the ice it displaces (6.1 V with hydrogens, and 3.6 V).
PROTEIN_OVER_ICE = 2.5
#: Å³ that a dalton of protein fills, at 1.35 g/cm³.
VOLUME_PER_DALTON = 1.23
#: Share of the whole, and so of the greatest, projected potential from which on a pixel belongs to the particle.
_SUPPORT = 0.1
#: Pixels along a side from which on a volume can be projected.
_LEAST_SIDE = 10


@dataclass(frozen=True)
class Density:
    """A particle's potential.

    Attributes
    ----------
    volume
        ``(z, y, x)`` float32, volts over ice; the origin at voxel ``n // 2``.
    voxel_size
        Å.
    name
        For people and for provenance.
    """

    volume: np.ndarray
    voxel_size: float
    name: str = "density"

    def __post_init__(self) -> None:
        if self.volume.ndim != 3 or min(self.volume.shape) < 4:
            raise SettingsError(f"{self.name}: a density is (z, y, x), not of shape {self.volume.shape}")
        if not np.isfinite(self.volume).all() or not self.volume.any():
            raise SettingsError(f"{self.name}: the density is empty or holds values that are not finite")
        if not 0 < self.voxel_size < math.inf:
            raise SettingsError(f"{self.name}: a voxel size of {self.voxel_size} Å is impossible; say how many Å")

    @property
    def diameter(self) -> float:
        """Å; of the smallest sphere around the middle of mass with 99 % of what is above a tenth of the highest."""
        weight = np.where(self.volume > 0.1 * self.volume.max(), self.volume, 0.0)
        places = np.stack(np.nonzero(weight), axis=1).astype(np.float64)
        mass = weight[weight > 0].astype(np.float64)
        away = np.linalg.norm(places - np.average(places, axis=0, weights=mass), axis=1)
        order = np.argsort(away)
        enough = np.searchsorted(np.cumsum(mass[order]), 0.99 * mass.sum())
        return float(2 * away[order][enough]) * self.voxel_size


@dataclass(frozen=True)
class Bank:
    """Projections of one density.

    Attributes
    ----------
    images
        ``(view, y, x)`` float32, V Å, the origin at pixel ``n // 2``.
    broken
        The same of particles of which a part is missing; possibly none.
    eulers
        ``(view, 3)`` rot, tilt, psi of ``images`` in degrees.
    pixel_size
        Å.
    diameter
        Of the particle, Å.
    name
        Of the density.
    """

    images: np.ndarray
    broken: np.ndarray
    eulers: np.ndarray
    pixel_size: float
    diameter: float
    name: str

    @property
    def box(self) -> int:
        """Side of a projection in pixels."""
        return int(self.images.shape[-1])


def read_density(path: str | Path, voxel_size: float | None = None) -> Density:
    """Density of an MRC or CCP4 map file.

    Parameters
    ----------
    path
        The file; its values are taken for volts.
    voxel_size
        Å; overrides the header.

    Raises
    ------
    SettingsError
        The file has no voxel size, or is no map.
    FormatError, NothingFoundError
        It cannot be read.
    """
    from napari_empiarreader.files import LocalFile
    from napari_empiarreader.micrographs.mrc import read_mrc

    header, sections = read_mrc(LocalFile(Path(path)))
    size = voxel_size if voxel_size is not None else header.pixel_size
    if size is None:
        raise SettingsError(f"{path}: the header holds no voxel size; give it with --voxel-size")
    return Density(np.asarray(sections, np.float32), float(size), Path(path).name)


def density_in_volts(path: str | Path, voxel_size: float | None = None, mass: float | None = None) -> Density:
    """Density of a map file, in volts.

    Parameters
    ----------
    path, voxel_size
        As of :func:`read_density`.
    mass
        Of the particle in kDa, to scale a map in arbitrary units.

    Raises
    ------
    SettingsError
        The values are no volts, and nobody said the mass.
    FormatError, NothingFoundError
        It cannot be read.
    """
    density = read_density(path, voxel_size)
    if mass is not None:
        return scaled_to_volts(density, mass)
    if not looks_like_volts(density):
        raise SettingsError(
            f"{path}: values up to {density.volume.max():.3g} are no potential in volts; "
            "give the particle's --mass in kDa to scale a map in arbitrary units"
        )
    return density


def looks_like_volts(density: Density) -> bool:
    """Whether the mean of the particle is anywhere near that of matter over ice, and the rest near 0."""
    volume = density.volume
    inside = volume > 0.2 * volume.max()
    return bool(0.5 < volume[inside].mean() < 40 and abs(float(np.median(volume))) < 0.5)


def scaled_to_volts(density: Density, mass: float) -> Density:
    """A map in arbitrary units, as reconstructions are, scaled to volts.

    The highest voxels that together fill the volume of so much protein are the particle; their mean above that of the
    rest becomes what protein has over ice.

    Parameters
    ----------
    density
        The map.
    mass
        Of the particle, kDa.
    """
    voxels = int(round(mass * 1e3 * VOLUME_PER_DALTON / density.voxel_size**3))
    if not 1 <= voxels <= density.volume.size // 2:
        raise SettingsError(
            f"{density.name}: {mass:g} kDa of protein fill {voxels} of {density.volume.size} voxels of "
            f"{density.voxel_size:g} Å; check the mass (kDa) and the voxel size"
        )
    contour = np.partition(density.volume.ravel(), -voxels)[-voxels]
    inside = density.volume >= contour
    outside = float(density.volume[~inside].mean())
    height = float(density.volume[inside].mean()) - outside
    volts = (density.volume - outside) * np.float32(PROTEIN_OVER_ICE / height)
    return Density(volts.astype(np.float32), density.voxel_size, density.name)


def bank_of(
    density: Density,
    settings: ViewSettings,
    pixel_size: float,
    *,
    seed: int = 1,
    diameter: float | None = None,
    broken: int = 0,
) -> Bank:
    """Projections of a density from all sides, or from those it prefers.

    Parameters
    ----------
    density
        In volts.
    settings
        How many views, and of which sides.
    pixel_size
        Å of the projections.
    seed
        Of the views.
    diameter
        Particle diameter in Å; None measures it.
    broken
        How many projections of broken particles to make.

    Raises
    ------
    SettingsError
        The density is but a few of these pixels wide.
    """
    rng = np.random.default_rng((seed, 0xBA27))
    rotations = draw_rotations(settings, rng)
    volume = _resampled(density, pixel_size)
    if len(volume) < _LEAST_SIDE:
        raise SettingsError(
            f"pixel_size: {pixel_size:g} Å per pixel leave {density.name} {len(volume)} pixels wide; give fewer Å"
        )
    images = project(volume, rotations) * np.float32(pixel_size)
    # Each break is seen from four sides: a projection costs little, another volume much.
    parts = [project(_cut(volume, rng), _anyhow(4, rng)) for _ in range(-(-broken // 4))]
    pieces = np.concatenate(parts) * np.float32(pixel_size) if parts else np.empty((0, *images.shape[1:]), np.float32)
    size = diameter if diameter is not None else density.diameter
    return Bank(images, pieces, eulers_of(rotations), pixel_size, size, density.name)


def project(volume: np.ndarray, rotations: Rotation) -> np.ndarray:
    """Sums ``(n, y, x)`` along the beam of a cube ``(z, y, x)``, float32.

    ``rotations`` take places in the image's frame back to places in the map: they are the inverse of RELION's A.
    """
    import torch
    from torch_fourier_slice import project_3d_to_2d

    matrices = torch.as_tensor(np.atleast_3d(rotations.as_matrix()).reshape(-1, 3, 3), dtype=torch.float32)
    sums = project_3d_to_2d(torch.as_tensor(np.ascontiguousarray(volume, np.float32)), matrices)
    return np.asarray(sums.numpy(), np.float32)


def eulers_of(rotations: Rotation) -> np.ndarray:
    """``(n, 3)`` rot, tilt, psi in degrees."""
    # scipy's intrinsic ZYZ matrix of (rot, tilt, psi) is the inverse of RELION's A, which is what slicing wants.
    return rotations.as_euler("ZYZ", degrees=True).reshape(-1, 3)


def draw_rotations(settings: ViewSettings, rng: np.random.Generator) -> Rotation:
    """Orientations of ``settings.views`` particles, the in-plane angle always anyhow."""
    from scipy.spatial.transform import Rotation

    if not settings.preferred:
        return _anyhow(settings.views, rng)
    lying = rng.random(settings.views) < settings.preference
    directions = np.array(settings.preferred, np.float64)[rng.integers(len(settings.preferred), size=settings.views)]
    # Away from the direction by two normal angles: small rotations about two axes across it.
    away = np.radians(rng.normal(0, settings.spread, (settings.views, 2)))
    wobble = Rotation.from_rotvec(np.column_stack([away, np.zeros(settings.views)]))
    turn = rng.uniform(0, 360, settings.views)
    base = Rotation.from_euler("ZY", directions, degrees=True)
    liked = base * wobble * Rotation.from_euler("Z", turn[:, None], degrees=True)
    others = _anyhow(settings.views, rng)
    return Rotation.from_matrix(np.where(lying[:, None, None], liked.as_matrix(), others.as_matrix()))


def support_of(projection: np.ndarray) -> np.ndarray:
    """``(y, x)`` bool: where the particle is."""
    return projection > _SUPPORT * projection.max()


def _anyhow(count: int, rng: np.random.Generator) -> Rotation:
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(rng.standard_normal((count, 4)))  # a normalised Gaussian quaternion is uniform


def _cut(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What is left of a particle on one side of a plane near its middle, the break two voxels wide."""
    from scipy.special import expit

    normal = rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    axes = np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in volume.shape)]
    height = sum(part * axis for part, axis in zip(normal, axes, strict=True))
    heavy = np.abs(volume) > 0.1 * volume.max()
    low, high = np.quantile(height[heavy], (0.35, 0.65))
    return volume * expit(rng.uniform(low, high) - height)


def _resampled(density: Density, pixel_size: float) -> np.ndarray:
    """Cube of an even number of pixels, by cropping or padding in Fourier space; the origin stays at ``n // 2``."""
    volume = _trimmed(density.volume)
    ratio = density.voxel_size / pixel_size
    least = len(volume)
    # A padded side whose length is an even number of the new pixels, to a part in a thousand: half a voxel at the rim
    # of a particle of 1,000 of them.
    sides = np.arange(least, 2 * least + 50, 2)
    news = 2 * np.maximum(np.rint(sides * ratio / 2), 1)
    error = np.abs(sides * ratio / news - 1)
    best = int(np.argmax(error < 1e-3)) if (error < 1e-3).any() else int(np.argmin(error))
    side, new = int(sides[best]), int(news[best])
    cube = _centred(volume, side)
    return cube if new == side else _fourier_resized(cube, new)


def _trimmed(volume: np.ndarray) -> np.ndarray:
    """Cube around voxel ``n // 2`` with all that matters of the volume, and a tenth more for what is faint."""
    heavy = np.abs(volume) > 0.02 * np.abs(volume).max()
    reach = 0
    for axis, length in enumerate(volume.shape):
        along = np.flatnonzero(heavy.any(axis=tuple(other for other in range(3) if other != axis))) - length // 2
        reach = max(reach, int(np.abs(along).max()))
    return _centred(volume, 2 * (math.ceil(1.1 * reach) + 4))


def _centred(volume: np.ndarray, side: int) -> np.ndarray:
    """Cube of an even ``side`` with voxel ``n // 2`` of the volume at its own, cut or filled with zeros."""
    cube = np.zeros((side,) * 3, np.float32)
    into, out = [], []
    for length in volume.shape:
        shift = side // 2 - length // 2
        into.append(slice(max(shift, 0), min(shift + length, side)))
        out.append(slice(max(-shift, 0), min(side - shift, length)))
    cube[tuple(into)] = volume[tuple(out)]
    return cube


def _fourier_resized(cube: np.ndarray, new: int) -> np.ndarray:
    import torch

    side, common = len(cube), min(len(cube), new)
    spectrum = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(torch.from_numpy(cube))))
    old_part = (slice(side // 2 - common // 2, side // 2 + common // 2),) * 3
    new_part = (slice(new // 2 - common // 2, new // 2 + common // 2),) * 3
    resized = torch.zeros((new,) * 3, dtype=spectrum.dtype)
    resized[new_part] = spectrum[old_part]
    back = torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(resized)).real)
    return (back * (new / side) ** 3).numpy().astype(np.float32)
