"""Surfaces of densities, by marching cubes (Lewiner et al. 2003, J. Graph. Tools 8, 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_profet.density import Density
from napari_profet.errors import DensityError

__all__ = ["Mesh", "isosurface", "usual_level"]

_LARGEST = 200


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles.

    Attributes
    ----------
    vertices
        (n, 3) z, y, x in voxels.
    faces
        (m, 3) indices of vertices, counter-clockwise from outside.
    level
        Where in the density it lies, in the density's unit.
    """

    vertices: np.ndarray
    faces: np.ndarray
    level: float


def usual_level(density: Density) -> float:
    """2.5 standard deviations above the mean: a first guess that shows most molecules."""
    return float(density.data.mean(dtype=float) + 2.5 * density.data.std(dtype=float))


def isosurface(density: Density, level: float | None = None) -> Mesh:
    """Surface where a density has a value.

    Parameters
    ----------
    density
        The volume. Of more than 200 voxels along an axis only every second, third, ... is looked at.
    level
        In the unit of the density; :func:`usual_level` unless given.

    Raises
    ------
    DensityError
        The level is not between the smallest and the largest value.
    """
    from skimage.measure import marching_cubes

    data = density.data.copy()  # scikit-image takes no read-only array.
    level = usual_level(density) if level is None else float(level)
    low, high = float(data.min()), float(data.max())
    if not low < level < high:
        raise DensityError(f"{density.name}: a surface at {level:g} needs a level between {low:g} and {high:g}")
    step = -(-max(data.shape) // _LARGEST)
    vertices, faces, _, _ = marching_cubes(data, level, step_size=step)
    return Mesh(vertices, faces, level)
