"""From napari's layers to items: labels that somebody clicked, painted or drawn on micrographs.

Layers belong to the main thread; the sources that are returned hold copies and may go to any other. To find what is
painted on many micrographs takes a while: :func:`.painted.painted` does it on an array, in any thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_caked.datasets.classes import class_text
from napari_caked.datasets.sources.painted import Region, drawn, painted
from napari_caked.datasets.sources.particles import (
    ParticleSource,
    column_of,
    particle_source,
    pixels_of_box,
    united_tables,
)
from napari_caked.errors import DatasetError
from napari_caked.layers import series_from_layer, table_from_points

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Points, Shapes

__all__ = [
    "class_names_of",
    "items_from_labels",
    "items_from_points",
    "items_from_shapes",
    "regions_of",
    "require_same_pixels",
]

Unit = Literal["pixel", "Å"]


def items_from_points(
    micrographs: Image,
    layers: Sequence[Points],
    box: float,
    *,
    unit: Unit = "pixel",
    classes: str | None = None,
    only: Sequence[str] | None = None,
    pixel_size: float | None = None,
    neighbours: bool = False,
) -> ParticleSource:
    """Items around the points of one layer or several.

    Parameters
    ----------
    micrographs
        Layer of the micrographs.
    layers
        Points on them.
    box, unit, only, neighbours
        As of :func:`.particle_source`.
    classes
        Feature that holds the class; without it the name of a layer is the class of its points.
    pixel_size
        Å; overrides what the layer of the micrographs says.

    Raises
    ------
    DatasetError
        There are no points, two layers have one name, no such feature, or as of :func:`.particle_source`.
    """
    series = series_from_layer(micrographs, pixel_size)
    tables = {layer.name: table_from_points(layer, series.names, micrographs) for layer in layers}
    if len(tables) < len(layers):
        raise DatasetError("two layers of points have the same name; rename one of them")
    if not any(map(len, tables.values())):
        named = ", ".join(f"'{name}'" for name in tables) or "none was chosen"
        raise DatasetError(f"there are no points in the layers ({named}); click some, or choose other layers")
    for name, table in tables.items():
        if classes is not None and len(table):
            column_of(table.features, classes, f"the layer '{name}'")
    return particle_source(
        series,
        united_tables(tables, series.names),
        box,
        unit=unit,
        classes=classes or "class_name",
        only=only,
        neighbours=neighbours,
    )


def items_from_labels(
    micrographs: Image,
    labels: Labels,
    box: float,
    *,
    unit: Unit = "pixel",
    classes: str | Mapping[int, str] | None = None,
    only: Sequence[str] | None = None,
    pixel_size: float | None = None,
) -> ParticleSource:
    """Items with masks where a Labels layer is painted: each painted area is covered by boxes of its class.

    Parameters
    ----------
    micrographs
        Layer of the micrographs.
    labels
        Layer painted on them, pixel for pixel.
    box, unit, only
        As of :func:`.particle_source`.
    classes
        Name of the class of each label; or the feature of the layer that holds it (with ``index``, which says of what
        label a row is); by default the label itself, as text.
    pixel_size
        Å; overrides what the layer of the micrographs says.

    Raises
    ------
    DatasetError
        Nothing is painted, a label stands for no class, the layers do not lie on each other, or as of
        :func:`.particle_source`.
    """
    series = series_from_layer(micrographs, pixel_size)
    data = labels.data[0] if labels.multiscale else labels.data
    require_same_pixels(micrographs, labels, data.shape, (len(series), *series.shape))
    named = class_names_of(labels, classes) if isinstance(classes, str) else classes
    table, masks = painted(data, series.names, pixels_of_box(series, box, unit), named)
    return particle_source(series, table, box, unit=unit, classes="class_name", only=only, masks=masks)


def items_from_shapes(
    micrographs: Image,
    shapes: Shapes,
    box: float,
    *,
    unit: Unit = "pixel",
    classes: str | None = None,
    only: Sequence[str] | None = None,
    pixel_size: float | None = None,
) -> ParticleSource:
    """Items with masks where regions are drawn: each is covered by boxes of its class.

    Parameters
    ----------
    micrographs
        Layer of the micrographs.
    shapes
        Rectangles, polygons and ellipses on them.
    box, unit, only
        As of :func:`.particle_source`.
    classes
        Feature that holds the class; without it the name of the layer is the class of all.
    pixel_size
        Å; overrides what the layer of the micrographs says.

    Raises
    ------
    DatasetError
        There are no regions, one is a line, lies outside or has no class, no such feature, or as of
        :func:`.particle_source`.
    """
    series = series_from_layer(micrographs, pixel_size)
    regions = list(regions_of(micrographs, shapes, classes))
    table, masks = drawn(regions, series.names, series.shape, pixels_of_box(series, box, unit))
    return particle_source(series, table, box, unit=unit, classes="class_name", only=only, masks=masks)


def require_same_pixels(micrographs: Image, labels: Labels, shape: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuse a Labels layer whose pixels are not those of the micrographs.

    Parameters
    ----------
    micrographs, labels
        The layers.
    shape
        Of the labels' data.
    wanted
        ``(micrograph, y, x)``.

    Raises
    ------
    DatasetError
        It has another size, scale or place.
    """
    own = tuple(shape) if len(shape) == 3 else (1, *shape)
    apart = [np.abs(a - b).max() for a, b in zip(_frame(micrographs), _frame(labels), strict=True)]
    if own != tuple(wanted) or max(apart) > 1e-6 * _frame(micrographs)[0].max():
        raise DatasetError(
            f"the layer '{labels.name}' has {own} pixels, the micrographs '{micrographs.name}' have "
            f"{tuple(wanted)}, and they must lie on each other; paint on a layer of the micrographs' size and scale"
        )


def class_names_of(labels: Labels, feature: str) -> dict[int, str]:
    """Class of each label of a layer by a feature of it; ``index`` says of what label a row is.

    Raises
    ------
    DatasetError
        There are no such features.
    """
    features = labels.features
    names = column_of(features, feature, f"the layer '{labels.name}'")
    numbers = column_of(features, "index", f"the layer '{labels.name}'")
    return {
        int(number): name
        for number, name in zip(numbers, names, strict=True)
        if number is not None and name is not None
    }


def regions_of(micrographs: Image, shapes: Shapes, feature: str | None) -> Iterator[Region]:
    """Regions that are drawn, in pixels of the micrographs, with their classes.

    Parameters
    ----------
    micrographs, shapes
        The layers.
    feature
        That holds the class; without it the name of the layer is the class of all.

    Raises
    ------
    DatasetError
        No such feature; a shape is a line or has no class.
    """
    where = f"the layer '{shapes.name}'"
    names = [shapes.name] * len(shapes.data) if feature is None else column_of(shapes.features, feature, where)
    (own, start), (theirs, origin) = _frame(shapes), _frame(micrographs)
    kinds = list(shapes.shape_type)
    for number, (vertices, kind, name) in enumerate(zip(shapes.data, kinds, names, strict=True), 1):
        if kind in ("line", "path"):
            raise DatasetError(f"{where}: shape {number} is a {kind}, which holds no pixels; draw a region instead")
        if class_text(name) is None:
            raise DatasetError(f"{where}: shape {number} has no class in the feature '{feature}'; give it one")
        plane = np.asarray(vertices, np.float64)
        micrograph = round(float(plane[0, 0])) if plane.shape[1] == 3 else 0
        corners = (plane[:, -2:] * own + start - origin) / theirs
        yield Region(micrograph, corners, str(name), "ellipse" if kind == "ellipse" else "polygon")


def _frame(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scale and translation of the axes y and x."""
    return np.asarray(layer.scale, np.float64)[-2:], np.asarray(layer.translate, np.float64)[-2:]
