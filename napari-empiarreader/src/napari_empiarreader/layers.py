"""Between our values and napari's layers: what an Image layer of micrographs and a Points layer of particles hold.

Nothing here needs napari; a layer is the tuple ``(data, attributes, type)`` that readers return and writers get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.errors import CoordinatesError
from napari_empiarreader.micrographs import MicrographSeries, contrast_limits

__all__ = [
    "LayerData",
    "layer_frame",
    "layer_pixel_size",
    "micrograph_layer",
    "particles_from_layer",
    "particles_layer",
]

LayerData = tuple[Any, dict[str, Any], str]

AXIS_LABELS = ("micrograph", "y", "x")


def layer_frame(pixel_size: float | None) -> dict[str, Any]:
    """Scale, units and axis labels that all layers of one series share; in pixels where the size is unknown."""
    known = pixel_size is not None
    size = pixel_size if pixel_size is not None else 1.0
    return {
        "scale": (1.0, size, size),
        "units": ("pixel", "angstrom", "angstrom") if known else ("pixel", "pixel", "pixel"),
        "axis_labels": AXIS_LABELS,
    }


def layer_pixel_size(attributes: Mapping[str, Any]) -> float | None:
    """Pixel size in Å that a layer's attributes tell, or None.

    ``metadata["pixel_size"]`` decides; else the scale of the last axis, where its unit is the ångström.
    """
    known = (attributes.get("metadata") or {}).get("pixel_size")
    if known:
        return float(known)
    units = attributes.get("units")
    if units is not None and str(units[-1]) in ("angstrom", "Å", "Å"):
        return float(np.atleast_1d(attributes["scale"])[-1])
    return None


def micrograph_layer(series: MicrographSeries, name: str | None = None) -> LayerData:
    """Image layer of a series: lazy, one chunk per micrograph.

    Parameters
    ----------
    series
        The micrographs. The first is read here, for the contrast limits (napari reads it next anyway, then from the
        cache).
    name
        Of the layer; by default the folder or file they came from.
    """
    attributes = layer_frame(series.pixel_size) | {
        "name": name or _short(series.source) or series.names[0],
        "contrast_limits": contrast_limits(series.read(0)),
        "colormap": "gray",
        "metadata": {
            "micrographs": list(series.names),
            "pixel_size": series.pixel_size,
            "source": series.source,
        },
        # The series has a cache of its own, bounded in bytes and shared with training; dask's would hold a copy.
        "cache": False,
    }
    return series.to_dask(), attributes, "image"


def particles_layer(
    table: ParticleTable,
    *,
    name: str = "particles",
    pixel_size: float | None = None,
    diameter: float | None = None,
    border_color: str = "cyan",
) -> LayerData:
    """Points layer of particles: open circles as wide as the particle.

    Parameters
    ----------
    table
        The particles.
    name, border_color
        Of the layer.
    pixel_size
        Å per pixel of the micrographs.
    diameter
        Å; by default that of the table's first particle, else circles are 40 pixels wide.
    """
    if diameter is None and "diameter" in table.features and len(table):
        diameter = float(table.features["diameter"].iloc[0])
    pixels = diameter / (pixel_size or 1.0) if diameter else 40.0
    attributes = layer_frame(pixel_size) | {
        "name": name,
        "features": table.features,
        "symbol": "disc",
        "size": pixels,
        "face_color": "transparent",
        "border_color": border_color,
        "border_width": 0.06,
        "ndim": 3,
        "metadata": dict(table.metadata) | {"micrographs": list(table.micrographs), "pixel_size": pixel_size},
    }
    return table.coordinates, attributes, "points"


def particles_from_layer(
    data: np.ndarray, attributes: Mapping[str, Any], micrographs: Sequence[str] | None = None
) -> ParticleTable:
    """Table of the points of a layer that are shown.

    Parameters
    ----------
    data
        ``(n, 3)`` (micrograph, y, x), or ``(n, 2)`` (y, x) on a single micrograph.
    attributes
        Of the layer: ``features``, ``shown``, ``metadata``.
    micrographs
        Names, where the layer itself has none.

    Raises
    ------
    CoordinatesError
        Nobody says what the micrographs are called, or a point lies on none of them.
    """
    import pandas as pd

    data = np.asarray(data, np.float64)
    metadata = dict(attributes.get("metadata") or {})
    names = metadata.pop("micrographs", None) or micrographs
    if data.ndim == 2 and data.shape[1] == 2:
        data = np.column_stack([np.zeros(len(data)), data])
    if names is None:
        raise CoordinatesError(
            f"the layer '{attributes.get('name', 'points')}' does not say which micrographs its points lie on; select "
            "the layer of the micrographs together with it, or make it with 'New labels'"
        )
    if data.size and data.shape[1] != 3:
        raise CoordinatesError(f"particles have the axes (micrograph, y, x), not {data.shape[1]} axes")
    features = attributes.get("features")
    features = pd.DataFrame(index=range(len(data))) if features is None else pd.DataFrame(features)
    shown = np.broadcast_to(np.asarray(attributes.get("shown", True), bool), len(data))
    # A click can put a point between two micrographs of the slider only through rounding.
    data = data.reshape(-1, 3)
    coordinates = np.column_stack([np.rint(data[:, 0]), data[:, 1:]])
    return ParticleTable(tuple(names), coordinates, features.reset_index(drop=True), metadata).where(shown)


def _short(source: str) -> str:
    """Last folder or file of an address; a pattern says less than the folder it was used in."""
    parts = [part for part in source.replace("\\", "/").split("/") if part and not set(part) & set("*?[")]
    return parts[-1] if parts else ""
