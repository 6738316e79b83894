"""Painted and drawn regions as items: where boxes are cut to show them.

A region that fits into a box gives one, around its middle. A larger one is divided by a grid of boxes; each part of it
gives one box, around the painted pixel nearest to the part's middle. Boxes are moved as far as it takes for them to lie
on the micrograph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_caked.errors import DatasetError
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["Region", "boxes_of", "drawn", "painted"]

#: A part of a region with fewer pixels than this share of its fullest part is no item of its own.
_LEAST = 1 / 16


@dataclass(frozen=True)
class Region:
    """A drawn area with a class.

    Attributes
    ----------
    micrograph
        Its index.
    corners
        ``(n, 2)`` (y, x) in pixels: of a polygon, or the four around an ellipse.
    name
        Of its class.
    form
        What the corners are of.
    """

    micrograph: int
    corners: np.ndarray
    name: str
    form: Literal["polygon", "ellipse"] = "polygon"

    def inside(self, shape: tuple[int, int]) -> np.ndarray:
        """``shape`` bool: pixels whose centre lies in the region."""
        from matplotlib.path import Path as Outline

        mask = np.zeros(shape, bool)
        low = np.clip(np.floor(self.corners.min(axis=0)).astype(int), 0, shape)
        high = np.clip(np.ceil(self.corners.max(axis=0)).astype(int) + 1, 0, shape)
        y, x = np.mgrid[low[0] : high[0], low[1] : high[1]]
        places = np.column_stack([y.ravel(), x.ravel()])
        if self.form == "ellipse":
            found = _in_ellipse(self.corners, places)
        else:
            found = Outline(self.corners).contains_points(places)
        mask[low[0] : high[0], low[1] : high[1]] = found.reshape(y.shape)
        return mask


def boxes_of(
    region: np.ndarray, box: int, corner: tuple[int, int] = (0, 0), shape: tuple[int, int] | None = None
) -> np.ndarray:
    """``(n, 2)`` (y, x) middles of boxes, as :func:`.particle_source` counts, on what is painted.

    Parameters
    ----------
    region
        ``(y, x)`` bool, one connected area or several that are one to the user.
    box
        Side of a box in pixels.
    corner, shape
        Where the first pixel of ``region`` lies on the micrograph, and the size of that; ``region`` is all of it by
        default.
    """
    painted = np.argwhere(region) + corner
    if not len(painted):
        return np.empty((0, 2))
    low, high = painted.min(axis=0), painted.max(axis=0)
    if (high - low < box).all():
        middles = [(low + high + 1) // 2]
    else:
        cell = (painted - low) // box
        _, of, counts = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
        parts = (painted[of.ravel() == k] for k in np.flatnonzero(counts >= _LEAST * counts.max()))
        middles = [part[np.argmin(((part - part.mean(axis=0)) ** 2).sum(axis=1))] for part in parts]
    first = box // 2
    return np.clip(np.array(middles, float), first, np.array(shape or region.shape) - box + first)


def painted(
    labels: Any, names: Sequence[str], box: int, classes: Mapping[int, str] | None = None
) -> tuple[ParticleTable, MicrographSeries]:
    """Places of boxes on what is painted, and masks to cut from.

    Parameters
    ----------
    labels
        ``(micrograph, y, x)`` or ``(y, x)`` of whole numbers, lazy or not; 0 is unpainted. Copied where painted.
    names
        Of the micrographs.
    box
        Side of a box in pixels.
    classes
        Name of the class that a number stands for; the number itself by default.

    Returns
    -------
    table, masks
        ``class_name`` of the table is the class; the masks hold the numbers as they are painted.

    Raises
    ------
    DatasetError
        Nothing is painted, or a number that stands for no class.
    """
    stack = labels if labels.ndim == 3 else labels[None]
    if len(stack) != len(names):
        raise DatasetError(f"{len(stack)} painted pictures for {len(names)} micrographs; paint on the same layer")
    rows: list[tuple[float, float, float]] = []
    found: list[str] = []
    kept: dict[int, np.ndarray] = {}
    for index in range(len(stack)):
        picture = np.asarray(stack[index])
        numbers = np.unique(picture[picture != 0])
        if len(numbers):
            kept[index] = picture.astype(np.int32)
        unknown = [int(n) for n in numbers if classes is not None and int(n) not in classes]
        if classes is not None and unknown:
            raise DatasetError(
                f"{names[index]}: the label {unknown[0]} is painted, and stands for no class; known are "
                f"{', '.join(f'{n} ({name})' for n, name in classes.items())}"
            )
        for number, corner, region in _areas(picture, numbers):
            boxes = boxes_of(region, box, corner, picture.shape)
            rows += [(index, y, x) for y, x in boxes]
            found += [str(number) if classes is None else classes[number]] * len(boxes)
    if not rows:
        raise DatasetError("nothing is painted; paint some areas, with one label for each class")
    shape = (int(stack.shape[1]), int(stack.shape[2]))
    return _table(names, rows, found), _masks(names, shape, kept)


def drawn(
    regions: Iterable[Region], names: Sequence[str], shape: tuple[int, int], box: int
) -> tuple[ParticleTable, MicrographSeries]:
    """Places of boxes on drawn regions, and masks to cut from.

    Parameters
    ----------
    regions
        The regions.
    names, shape
        Of the micrographs, ``(y, x)`` in pixels.
    box
        Side of a box in pixels.

    Returns
    -------
    table, masks
        ``class_name`` of the table is the class; the masks hold 1 for the first class in the order of their names,
        2 for the second, and so on, of the region drawn last where several overlap.

    Raises
    ------
    DatasetError
        There is no region, or one lies outside its micrograph.
    """
    every = list(regions)
    order = sorted({region.name for region in every})
    rows: list[tuple[float, float, float]] = []
    found: list[str] = []
    kept: dict[int, np.ndarray] = {}
    for number, region in enumerate(every, 1):
        if not 0 <= region.micrograph < len(names):
            raise DatasetError(f"region {number} ({region.name}) lies on no micrograph; remove it")
        inside = region.inside(shape)
        if not inside.any():
            raise DatasetError(
                f"region {number} ({region.name}) on {names[region.micrograph]} holds no pixel of the micrograph; "
                "remove it, or draw it again"
            )
        mask = kept.setdefault(region.micrograph, np.zeros(shape, np.int32))
        mask[inside] = order.index(region.name) + 1
        boxes = boxes_of(inside, box)
        rows += [(region.micrograph, y, x) for y, x in boxes]
        found += [region.name] * len(boxes)
    if not rows:
        raise DatasetError("no region is drawn; draw some, and give them a class")
    return _table(names, rows, found), _masks(names, shape, kept)


def _areas(picture: np.ndarray, numbers: np.ndarray) -> Iterator[tuple[int, tuple[int, int], np.ndarray]]:
    """Of each connected area its number, first (y, x), and ``(y, x)`` bool around it."""
    from scipy.ndimage import find_objects, label

    compact = np.zeros(picture.shape, np.int32)
    compact[picture != 0] = np.searchsorted(numbers, picture[picture != 0]) + 1
    for number, outer in zip(numbers, find_objects(compact), strict=True):
        areas, _ = label(picture[outer] == number, np.ones((3, 3)))
        for area, (rows, columns) in enumerate(find_objects(areas), 1):
            corner = outer[0].start + rows.start, outer[1].start + columns.start
            yield int(number), corner, areas[rows, columns] == area


def _table(names: Sequence[str], rows: Sequence[tuple[float, float, float]], classes: Sequence[str]) -> ParticleTable:
    import pandas as pd

    return ParticleTable(tuple(names), np.array(rows), pd.DataFrame({"class_name": list(classes)}))


def _masks(names: Sequence[str], shape: tuple[int, int], kept: Mapping[int, np.ndarray]) -> MicrographSeries:
    def read(index: int) -> np.ndarray:
        return kept[index] if index in kept else np.zeros(shape, np.int32)

    return MicrographSeries(tuple(names), shape, np.dtype(np.int32), None, read, "painted")


def _in_ellipse(corners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``(n,)`` bool: which places lie in the ellipse that touches the sides of a rectangle, turned or not."""
    axes = np.stack([corners[1] - corners[0], corners[3] - corners[0]]) / 2
    if abs(np.linalg.det(axes)) < 1e-9:
        return np.zeros(len(places), bool)
    along = (places - corners.mean(axis=0)) @ np.linalg.inv(axes)
    return np.asarray((along**2).sum(axis=1) <= 1)
