"""Made-up particles of many shapes and symmetries, to learn from what particles have in common.

None of them is a real protein, and none is meant to look like one in particular: globes, shells, barrels, rods, discs,
and complexes of a few domains with the point groups that proteins have.
"""

from __future__ import annotations

import numpy as np

from napari_caked.simulate.project import PROTEIN_OVER_ICE, Density

__all__ = ["KINDS", "hollow_shell", "lobes", "random_specimen"]

#: Kinds of particles, and how often each is drawn.
KINDS = {"complex": 0.5, "globe": 0.1, "shell": 0.15, "barrel": 0.12, "rod": 0.08, "disc": 0.05}
#: Point groups of complexes, and how often each is drawn.
_GROUPS = {
    "C1": 0.3, "C2": 0.1, "C3": 0.08, "C4": 0.08, "C5": 0.04, "C6": 0.05, "C7": 0.03, "D2": 0.1, "D3": 0.05,
    "D4": 0.05, "D6": 0.02, "D7": 0.03, "T": 0.03, "O": 0.04,
}  # fmt: skip
#: Voxels across the particle, and voxels of the cube.
_ACROSS, _SIDE = 40, 72
_POINTS = 6000


def random_specimen(rng: np.random.Generator, diameter: float) -> Density:
    """A made-up particle.

    Parameters
    ----------
    rng
        Source of all chance.
    diameter
        Of the smallest sphere around it, Å (:attr:`.Density.diameter`).

    Returns
    -------
    Density
        In volts over ice, its middle of mass at the origin; the name says what it is.
    """
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    points = _SHAPES[kind](rng)
    blur = rng.uniform(0.6, 1.6)
    # Protein is about equally dense everywhere, but for what is flexible or a detergent.
    fullness = rng.uniform(0.7, 2.5)
    return _density(points, blur, fullness, diameter, f"made-up {kind}")


def hollow_shell(diameter: float, thickness: float, *, bumps: bool = True) -> Density:
    """A spherical shell of protein, as apoferritin's (120 Å wide, 22 Å thick).

    Parameters
    ----------
    diameter
        Outer, Å.
    thickness
        Of its wall, Å.
    bumps
        Whether its density varies by a fifth with octahedral symmetry.

    Returns
    -------
    Density
        In volts over ice, 2 Å per voxel.
    """
    voxel = 2.0
    half = int(np.ceil(diameter / 2 / voxel)) + 4
    z, y, x = (axis * voxel for axis in np.ogrid[-half:half, -half:half, -half:half])
    radius = np.sqrt(z**2 + y**2 + x**2)
    from scipy.special import expit

    inside = expit((diameter / 2 - radius) / 1.5) * expit((radius - diameter / 2 + thickness) / 1.5)
    # The lowest spherical harmonic of the octahedral group that is not constant.
    fourth = (x**4 + y**4 + z**4) / np.maximum(radius, voxel) ** 4 - 0.6
    volume = PROTEIN_OVER_ICE * inside * (1 + (0.5 * fourth if bumps else 0))
    return Density(volume.astype(np.float32), voxel, f"shell of {diameter:g} Å")


def lobes(length: float, width: float, spread: float) -> Density:
    """Four ellipsoids around a centre with three axes of symmetry (D2), about as beta-galactosidase's subunits lie.

    Parameters
    ----------
    length
        Of the whole along its longest axis, Å.
    width
        Of each lobe, Å.
    spread
        Distance of the lobes' middles from the longest axis, Å.

    Returns
    -------
    Density
        In volts over ice, 3 Å per voxel.
    """
    from scipy.special import expit

    voxel = 3.0
    half = int(np.ceil(length / 2 / voxel)) + 4
    z, y, x = (axis * voxel for axis in np.ogrid[-half:half, -half:half, -half:half])
    middle = length / 2 - 0.7 * width
    volume = np.zeros((2 * half,) * 3)
    for along, up, out in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        away = ((z - along * middle) / (0.7 * width)) ** 2 + ((y - up * spread * 0.8) / (0.5 * width)) ** 2
        away = np.sqrt(away + ((x - out * spread * 0.6) / (0.5 * width)) ** 2)
        volume = np.maximum(volume, expit((1 - away) * width / 6))
    return Density((PROTEIN_OVER_ICE * volume).astype(np.float32), voxel, f"lobes of {length:g} Å")


def _density(points: np.ndarray, blur: float, fullness: float, diameter: float, name: str) -> Density:
    """Protein where points ``(n, 3)`` are."""
    from dataclasses import replace

    from scipy.ndimage import center_of_mass, gaussian_filter

    points = points - points.mean(axis=0)
    points = points / np.quantile(np.linalg.norm(points, axis=1), 0.99) * (_ACROSS / 2 - blur)
    edges = [np.arange(_SIDE + 1) - _SIDE / 2 - 0.5] * 3
    # Where many points are, there is no more matter than protein has: so its middle is not that of the points.
    for _ in range(3):
        count = gaussian_filter(np.histogramdd(points, edges)[0], blur)
        usual = np.quantile(count[count > 0.05 * count.max()], 0.5)
        volume = (PROTEIN_OVER_ICE * -np.expm1(-fullness * count / usual)).astype(np.float32)
        points = points - (np.array(center_of_mass(volume)) - _SIDE // 2)
    density = Density(volume, 1.0, name)
    return replace(density, voxel_size=diameter / density.diameter)


def _ball(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points ``(count, 3)`` uniform in the unit ball."""
    away = rng.standard_normal((count, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(away * rng.random((count, 1)) ** (1 / 3))


def _turned(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_quat(rng.standard_normal(4)).apply(points))


def _domain(rng: np.random.Generator, count: int) -> np.ndarray:
    """An ellipsoid about the origin, its longest half axis about 1."""
    return _turned(rng, _ball(rng, count) * rng.uniform(0.45, 1.0, 3))


def _globe(rng: np.random.Generator) -> np.ndarray:
    return _domain(rng, _POINTS)


def _complex(rng: np.random.Generator) -> np.ndarray:
    """One to four domains that touch, and their copies by a point group."""
    from scipy.spatial.transform import Rotation

    group = str(rng.choice(list(_GROUPS), p=np.array(list(_GROUPS.values())) / sum(_GROUPS.values())))
    copies = Rotation.create_group(group)  # type: ignore[arg-type]  # scipy's stubs know letters only
    parts = int(rng.integers(1, 5)) + (group == "C1")
    count = max(_POINTS // (parts * len(copies)), 60)
    middles = [np.zeros(3)]
    pieces = [_domain(rng, count)]
    for _ in range(parts - 1):
        towards = rng.standard_normal(3)
        middles.append(middles[rng.integers(len(middles))] + towards / np.linalg.norm(towards) * rng.uniform(0.7, 1.5))
        pieces.append(middles[-1] + rng.uniform(0.5, 1.0) * _domain(rng, count))
    unit = np.concatenate(pieces)
    if len(copies) == 1:
        return unit
    unit = unit - unit.mean(axis=0)
    away = rng.standard_normal(3)
    # So far off the axes that copies touch without covering each other.
    nearest = np.sort(np.linalg.norm(copies.apply(away) - away, axis=1))[1]
    extent = np.sqrt((unit**2).sum(axis=1).mean())
    unit = unit + away * min(rng.uniform(1.1, 2.0) * extent / nearest, 5 * extent / np.linalg.norm(away))
    return np.concatenate([copy.apply(unit) for copy in copies])


def _shell(rng: np.random.Generator) -> np.ndarray:
    points = _ball(rng, _POINTS)
    radius = np.linalg.norm(points, axis=1, keepdims=True)
    inner = rng.uniform(0.4, 0.85)
    shell = points / radius * (inner**3 + (1 - inner**3) * radius**3) ** (1 / 3)
    # Some are full: viruses, and ferritin with iron.
    filled = rng.random() < 0.2
    return np.concatenate([shell, inner * _ball(rng, int(_POINTS * inner**3))]) if filled else shell


def _cylinder(rng: np.random.Generator, length: float, inner: float) -> np.ndarray:
    """A cylinder of radius 1 along z with a bore."""
    radius = np.sqrt(inner**2 + (1 - inner**2) * rng.random(_POINTS))
    angle = rng.uniform(0, 2 * np.pi, _POINTS)
    height = rng.uniform(-length / 2, length / 2, _POINTS)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), height])


def _barrel(rng: np.random.Generator) -> np.ndarray:
    points = _cylinder(rng, rng.uniform(1.0, 3.6), rng.uniform(0.0, 0.75))
    # Rings of subunits.
    rings = int(rng.integers(1, 5))
    waist = 1 + 0.15 * np.cos(2 * np.pi * rings * (points[:, 2] / np.ptp(points[:, 2])))
    points[:, :2] *= waist[:, None]
    return points


def _rod(rng: np.random.Generator) -> np.ndarray:
    points = _cylinder(rng, rng.uniform(3.5, 7.0), 0.0)
    # Bent, by up to a radian over its length.
    points[:, 0] += rng.uniform(0, 0.07) * points[:, 2] ** 2
    return points


def _disc(rng: np.random.Generator) -> np.ndarray:
    """A protein in a disc of lipids or detergent."""
    disc = _cylinder(rng, rng.uniform(0.5, 0.9), 0.0)
    protein = _ball(rng, _POINTS) * np.array([0.5, 0.5, rng.uniform(0.5, 1.2)]) + [0, 0, rng.uniform(0, 0.8)]
    return np.concatenate([disc, protein])


_SHAPES = {"complex": _complex, "globe": _globe, "shell": _shell, "barrel": _barrel, "rod": _rod, "disc": _disc}
