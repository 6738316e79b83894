"""Between our values and napari's layers: what an Image layer of micrographs and a Points layer of particles hold.

Nothing here needs napari; a layer is the tuple ``(data, attributes, type)`` that readers return and writers get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.errors import CoordinatesError, FormatError
from napari_empiarreader.micrographs import MicrographSeries, contrast_limits
from napari_empiarreader.micrographs.movies import MovieSeries
from napari_empiarreader.micrographs.preview import power_spectrum

if TYPE_CHECKING:
    from napari_empiarreader.micrographs.gain import GainReference

__all__ = [
    "LayerData",
    "layer_frame",
    "layer_pixel_size",
    "micrograph_layer",
    "movie_layer",
    "particles_from_layer",
    "particles_layer",
    "power_spectrum_layer",
    "summed_layer",
    "volume_layer",
]

LayerData = tuple[Any, dict[str, Any], str]

AXIS_LABELS = ("micrograph", "y", "x")

_PYRAMID_SIDE = 4096
"""Micrographs with a longer side get levels for the screen: an 8k picture would be moved to the graphics card whole."""


def layer_frame(pixel_size: float | None, axis_labels: Sequence[str] = AXIS_LABELS) -> dict[str, Any]:
    """Scale, units and axis labels that all layers of one series share; in pixels where the size is unknown.

    The last two axes are lengths; of the others only ``z`` is one.
    """
    known, size = pixel_size is not None, 1.0 if pixel_size is None else pixel_size
    lengths = [label in ("z", "y", "x") for label in axis_labels]
    return {
        "scale": tuple(size if is_length else 1.0 for is_length in lengths),
        "units": tuple("angstrom" if is_length and known else "pixel" for is_length in lengths),
        "axis_labels": tuple(axis_labels),
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

    Returns
    -------
    tuple
        Micrographs of more than 4,096 pixels along a side come with coarser levels: napari moves no more pixels to
        the graphics card than the screen can show.
    """
    attributes = layer_frame(series.pixel_size) | _look(series, name, series.read(0))
    if max(series.shape) > _PYRAMID_SIDE:
        from napari_empiarreader.micrographs.preview import pyramid

        return pyramid(series), attributes | {"multiscale": True}, "image"
    return series.to_dask(), attributes, "image"


def movie_layer(series: MovieSeries, name: str | None = None) -> LayerData:
    """Image layer ``(micrograph, frame, y, x)`` of movies: lazy, one chunk per frame.

    The first frame is read here, for the contrast limits. On counted frames these show the few electrons there are;
    a sum looks like a micrograph (:func:`summed_layer`).
    """
    second = "frame" if series.sections == "frames" else "section"
    attributes = layer_frame(series.pixel_size, ("micrograph", second, "y", "x"))
    return series.to_dask(), attributes | _look(series, name, series.read(0, 0)), "image"


def volume_layer(series: MovieSeries, name: str | None = None) -> LayerData:
    """Image layer ``(z, y, x)`` of one volume, ``(volume, z, y, x)`` of several; lazy, one chunk per section.

    The middle section is read here, for the contrast limits.
    """
    look = _look(series, name, series.read(0, series.shape[0] // 2))
    look["metadata"]["volumes"] = look["metadata"].pop("micrographs")
    if len(series) == 1:
        return series.to_dask()[0], layer_frame(series.pixel_size, ("z", "y", "x")) | look, "image"
    return series.to_dask(), layer_frame(series.pixel_size, ("volume", "z", "y", "x")) | look, "image"


def summed_layer(data: Any, attributes: Mapping[str, Any], gain: GainReference | None = None) -> LayerData:
    """Image layer ``(micrograph, y, x)`` of the sums of a movie layer's frames; lazy, float32.

    Parameters
    ----------
    data
        ``(micrograph, frame, y, x)``.
    attributes
        Of the movie layer: ``name``, ``metadata``, ``scale``, ``units``.
    gain
        Correction applied to each frame before it is added.

    Raises
    ------
    FormatError
        The layer is no movie, or the gain reference does not fit its frames.
    """
    if data.ndim != 4:
        raise FormatError(
            f"the layer '{attributes.get('name', 'image')}' has the axes {data.shape}, a movie has "
            "(micrograph, frame, y, x)"
        )
    metadata = dict(attributes.get("metadata") or {})
    pixel_size = layer_pixel_size(attributes)
    series = MovieSeries.from_array(data, metadata.get("micrographs"), pixel_size)
    summed = replace(series.summed(gain), source=str(metadata.get("source", "")))
    return micrograph_layer(summed, f"{attributes.get('name', 'movies')} summed")


def power_spectrum_layer(image: np.ndarray, attributes: Mapping[str, Any], name: str) -> LayerData:
    """Image layer ``(y, x)`` of the power spectrum of one micrograph, in 1/Å, centred on the origin.

    Parameters
    ----------
    image
        ``(y, x)``.
    attributes
        Of its layer, for the pixel size.
    name
        Of the new layer.
    """
    pixel_size = layer_pixel_size(attributes)
    spectrum = power_spectrum(image)
    side = spectrum.shape[0]
    step = 1 / (side * (pixel_size or 1.0))
    settings = {
        "name": name,
        "scale": (step, step),
        "translate": (-(side // 2) * step,) * 2,
        "axis_labels": ("y", "x"),
        "units": ("1/angstrom",) * 2 if pixel_size else ("1/pixel",) * 2,
        "contrast_limits": contrast_limits(spectrum),
        "colormap": "gray",
        "metadata": {"power_spectrum_of": attributes.get("name", ""), "pixel_size": pixel_size},
    }
    return spectrum, settings, "image"


def _look(series: MicrographSeries | MovieSeries, name: str | None, sample: np.ndarray) -> dict[str, Any]:
    """What all image layers share but their frame."""
    return {
        "name": name or _short(series.source) or series.names[0],
        "contrast_limits": contrast_limits(sample),
        "colormap": "gray",
        "metadata": {
            "micrographs": list(series.names),
            "pixel_size": series.pixel_size,
            "source": series.source,
        },
        # The series has a cache of its own, bounded in bytes and shared with training; dask's would hold a copy.
        "cache": False,
    }


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
