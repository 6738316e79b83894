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
    from napari.layers import Image, Layer, Points

__all__ = [
    "SHOWN_ONLY",
    "is_negatives",
    "is_ours",
    "labels_layer",
    "negatives_layer",
    "picks_layer",
    "pixel_size_of",
    "score_layer",
    "series_from_layer",
    "suggestions_layer",
    "table_from_points",
]

_NEGATIVES = "not particles"
SHOWN_ONLY = "napari-caked: shown only"


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


def table_from_points(
    layer: Points, names: Sequence[str], micrographs: Image | None = None, *, hidden: bool = False
) -> ParticleTable:
    """Particles that a Points layer shows.

    Parameters
    ----------
    layer
        Labels or picks.
    names
        Of the micrographs, where the layer itself has none.
    micrographs
        Layer in whose pixels the coordinates shall be; by default the points' own.
    hidden
        Also those that it holds and does not show.

    Raises
    ------
    CoordinatesError
        A point lies on no micrograph.
    """
    attributes = {
        "name": layer.name,
        "features": layer.features,
        "shown": True if hidden else layer.shown,
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


def negatives_layer(micrographs: Image, table: ParticleTable | None = None, diameter: float | None = None) -> LayerData:
    """Points layer of what is no particle: empty, or the places of ``table``."""
    series = series_from_layer(micrographs)
    table = table if table is not None else ParticleTable(series.names, np.empty((0, 3)))
    return _lying_on(micrographs, table, _NEGATIVES, "#ff5fa2", diameter, series.pixel_size)


def is_negatives(layer: Layer) -> bool:
    """Whether a layer holds what is no particle; its name says so, so that any Points layer can be made one."""
    return layer._type_string == "points" and layer.name.lower().startswith((_NEGATIVES, "negatives"))


def is_ours(layer: Layer) -> bool:
    """Whether a layer is there to be looked at only: suggestions, a score map."""
    return bool(layer.metadata.get(SHOWN_ONLY))


def suggestions_layer(table: ParticleTable, micrographs: Image, diameter: float) -> LayerData:
    """Points layer of places to look at: wide white rings, so that the particle stays free to see."""
    data, attributes, kind = _lying_on(
        micrographs, table, "suggestions", "white", 1.6 * diameter, pixel_size_of(micrographs)
    )
    attributes["border_width"] = 0.03
    attributes["metadata"] |= {SHOWN_ONLY: True}
    return data, attributes, kind


def score_layer(micrographs: Image, index: int, scores: np.ndarray, spacing: tuple[float, float]) -> LayerData:
    """Image layer of the scores of one micrograph, which is seen on that micrograph only.

    Parameters
    ----------
    micrographs
        Layer that it lies on.
    index
        Of the micrograph.
    scores
        ``(y, x)`` probabilities; transparent where they are 0.
    spacing
        Pixels of the micrograph from one score to the next, on ``(y, x)``; the first lies at pixel 0.
    """
    scale, origin = _frame(micrographs)
    attributes = {
        "name": "score map",
        "scale": (1.0, *(scale * spacing)),
        "translate": (float(index), *origin),
        "units": ("pixel", *(str(unit) for unit in micrographs.units[-2:])),
        "contrast_limits": (0.0, 1.0),
        "colormap": {
            "name": "score",
            "colors": [[0.1, 0.6, 0.75, 0.0], [0.2, 0.75, 0.85, 0.35], [1.0, 0.85, 0.3, 0.75]],
            "controls": [0.0, 0.4, 1.0],
        },
        "blending": "translucent",
        "interpolation2d": "linear",
        "metadata": {"micrograph": index, SHOWN_ONLY: True},
    }
    return np.asarray(scores, np.float32)[None], attributes, "image"


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
