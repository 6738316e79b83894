"""napari writers of particle stacks and of data sets."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_empiarreader.coordinates import ParticleTable
    from napari_empiarreader.layers import LayerData
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["write_dataset", "write_stack"]


def write_stack(path: str, layers: list[LayerData]) -> list[str]:
    """Cut the shown points out of the micrographs: a stack (``.mrcs``) and a STAR file beside it.

    A box is one and a half times as wide as the circles of the Points layer.
    """
    from napari_caked.datasets.extraction import write_particle_stack

    series, table, box, _ = _particles_of(layers)
    stack = write_particle_stack(path, series, table, box, overwrite=True)
    if stack.left_out:
        # napari shows warnings as notifications.
        warnings.warn(
            f"{stack.written} particles written, {stack.left_out} left out: too near an edge for a whole box",
            stacklevel=2,
        )
    return [str(stack.images), str(stack.star)]


def write_dataset(path: str, layers: list[LayerData]) -> list[str]:
    """Cut the shown points out of the micrographs, as a labelled data set (``.dataset.zarr``).

    The class of a point is its feature ``class``; without this feature all are of a class named like the layer. A box
    is one and a half times as wide as the circles of the Points layer.
    """
    from napari_caked.datasets.building import build
    from napari_caked.datasets.sources import particle_source

    series, table, box, name = _particles_of(layers)
    column = "class" if "class" in table.features else None
    source = particle_source(series, table, box, classes=column, class_name=name)
    for sentence in source.warnings:
        warnings.warn(sentence, stacklevel=2)
    return [str(build(source, path, overwrite=True, made={"layer": name, "source": series.source}).path)]


def _particles_of(layers: list[LayerData]) -> tuple[MicrographSeries, ParticleTable, int, str]:
    """Micrographs, the shown points on them, the side of a box in pixels, and the name of the points."""
    import numpy as np

    from napari_empiarreader.layers import layer_pixel_size, particles_from_layer
    from napari_empiarreader.micrographs import MicrographSeries

    data, attributes = next((data, attributes) for data, attributes, kind in layers if kind == "image")
    points, circles = next((data, attributes) for data, attributes, kind in layers if kind == "points")
    names = (attributes.get("metadata") or {}).get("micrographs")
    series = MicrographSeries.from_array(data, names, layer_pixel_size(attributes))
    table = particles_from_layer(points, circles, micrographs=series.names)
    width = float(np.median(np.atleast_1d(circles.get("size", 64))))
    return series, table, 2 * round(0.75 * width), str(circles.get("name") or "particle")
