"""Between napari's layers and our values: micrographs, labels and picks.

The contract of the two kinds of layers stands in :mod:`napari_empiarreader.layers`. Here they are read from live
layers and made to lie on one: labels and picks take the frame of their micrograph layer, whatever its scale says.
Layers belong to the main thread; what these functions return may go to any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.errors import FormatError
from napari_empiarreader.layers import LayerData, layer_pixel_size, particles_from_layer, particles_layer
from napari_empiarreader.micrographs import MicrographSeries

if TYPE_CHECKING:
    from napari.layers import Image, Points

__all__ = ["labels_layer", "picks_layer", "pixel_size_of", "series_from_layer", "table_from_points"]


def pixel_size_of(layer: Image) -> float | None:
    """Pixel size in Å that a micrograph layer tells, or None; a scale of 1 is what napari gives to any image."""
    size = layer_pixel_size({"metadata": layer.metadata, "units": layer.units, "scale": layer.scale})
    return None if size == 1.0 and not layer.metadata.get("pixel_size") else size


def series_from_layer(layer: Image, pixel_size: float | None = None) -> MicrographSeries:
    """Micrographs of an Image layer, read one at a time through its own (lazy) array.

    Parameters
    ----------
    layer
        ``(micrograph, y, x)`` or ``(y, x)``; of a multiscale layer the full resolution is used.
    pixel_size
        Å; overrides what the layer says.

    Raises
    ------
    FormatError
        A colour picture, a movie, or names that do not fit the stack.
    PixelSizeError
        An impossible pixel size.
    """
    if layer.rgb:
        raise FormatError(f"the layer '{layer.name}' is a colour picture; choose the layer of the micrographs")
    data = layer.data[0] if layer.multiscale else layer.data
    if data.ndim not in (2, 3):
        raise FormatError(
            f"the layer '{layer.name}' has {data.ndim} axes instead of (micrograph, y, x); of movies use the sums "
            "('Sum frames' in the widget 'Micrograph view')"
        )
    names = layer.metadata.get("micrographs")
    size = pixel_size if pixel_size is not None else pixel_size_of(layer)
    series = MicrographSeries.from_array(data, names, size)
    return replace(series, source=str(layer.metadata.get("source") or layer.name))


def table_from_points(layer: Points, names: Sequence[str], micrographs: Image | None = None) -> ParticleTable:
    """Particles that a Points layer shows.

    Parameters
    ----------
    layer
        Labels or picks.
    names
        Of the micrographs, where the layer itself has none.
    micrographs
        Layer in whose pixels the coordinates shall be; by default the points' own.

    Raises
    ------
    CoordinatesError
        A point lies on no micrograph.
    """
    attributes = {
        "name": layer.name,
        "features": layer.features,
        "shown": layer.shown,
        "metadata": layer.metadata,
    }
    data = np.array(layer.data, np.float64)
    if micrographs is not None and len(data):
        own, theirs = _frame(layer), _frame(micrographs)
        data[:, -2:] = (data[:, -2:] * own[0] + own[1] - theirs[1]) / theirs[0]
    return particles_from_layer(data, attributes, names)


def labels_layer(micrographs: Image, diameter: float | None = None, pixel_size: float | None = None) -> LayerData:
    """Empty Points layer for labels on ``micrographs``: circles of ``diameter`` (Å)."""
    series = series_from_layer(micrographs, pixel_size)
    nothing = ParticleTable(series.names, np.empty((0, 3)))
    return _lying_on(micrographs, nothing, "labels", "yellow", diameter, series.pixel_size)


def picks_layer(
    table: ParticleTable, micrographs: Image, diameter: float | None = None, pixel_size: float | None = None
) -> LayerData:
    """Points layer of picks on ``micrographs``, with scores in its features and provenance in its metadata."""
    size = pixel_size if pixel_size is not None else pixel_size_of(micrographs)
    return _lying_on(micrographs, table, "picks", "cyan", diameter, size)


def _lying_on(
    micrographs: Image, table: ParticleTable, name: str, color: str, diameter: float | None, pixel_size: float | None
) -> LayerData:
    """Points layer whose circles lie on an image, also where the user's pixel size is not the layer's scale."""
    known = diameter if pixel_size else None
    data, attributes, kind = particles_layer(
        table, name=name, pixel_size=pixel_size, diameter=known or None, border_color=color
    )
    missing = 3 - micrographs.ndim
    attributes["scale"] = (1.0,) * missing + tuple(float(s) for s in micrographs.scale)
    attributes["translate"] = (0.0,) * missing + tuple(float(t) for t in micrographs.translate)
    attributes["units"] = ("pixel",) * missing + tuple(str(unit) for unit in micrographs.units)
    return data, attributes, kind


def _frame(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scale and translation of the axes y and x."""
    return np.asarray(layer.scale, np.float64)[-2:], np.asarray(layer.translate, np.float64)[-2:]
