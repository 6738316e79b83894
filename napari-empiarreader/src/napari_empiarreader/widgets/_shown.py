"""Which micrograph of a layer is on the screen: between the viewer's sliders and the layer's own axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = [
    "as_image",
    "go_to",
    "is_micrographs",
    "layer_attributes",
    "micrograph_axis",
    "micrograph_names",
    "plane",
    "shown_index",
]


def is_micrographs(layer: Layer) -> bool:
    """Whether a layer is an image that can be looked at as a micrograph."""
    return isinstance(layer, Image) and not layer.rgb and layer.ndim >= 2


def micrograph_names(layer: Layer) -> list[str]:
    """Names of the layer's micrographs; empty where it has none."""
    return [str(name) for name in layer.metadata.get("micrographs") or ()]


def micrograph_axis(viewer: napari.viewer.Viewer, layer: Layer) -> int | None:
    """The viewer's axis that counts the layer's micrographs: napari lays the last axes of layers over each other."""
    return viewer.dims.ndim - layer.ndim if layer.ndim > 2 else None


def shown_index(viewer: napari.viewer.Viewer, layer: Layer) -> int:
    """Number of the layer's micrograph at the slider's place."""
    axis = micrograph_axis(viewer, layer)
    return 0 if axis is None else _clipped(viewer, layer, 0)


def go_to(viewer: napari.viewer.Viewer, layer: Layer, index: int) -> None:
    """Move the slider to a micrograph of the layer; before the first and behind the last nothing moves."""
    axis = micrograph_axis(viewer, layer)
    if axis is not None and 0 <= index < _shape(layer)[0]:
        viewer.dims.set_current_step(axis, index)


def plane(viewer: napari.viewer.Viewer, layer: Image) -> Any:
    """The image ``(y, x)`` of the layer that the sliders point at, still lazy, at full size."""
    data = layer.data[0] if layer.multiscale else layer.data
    return data[tuple(_clipped(viewer, layer, i) for i in range(layer.ndim - 2))]


def as_image(lazy: Any) -> np.ndarray:
    """Pixels of what :func:`plane` gave; for a worker thread."""
    return np.asarray(lazy)


def layer_attributes(layer: Image) -> dict[str, Any]:
    """What our layers keep in their attributes, of a layer that may be anybody's."""
    return {
        "name": layer.name,
        "scale": tuple(np.asarray(layer.scale)),
        "units": tuple(str(unit) for unit in layer.units),
        "axis_labels": tuple(layer.axis_labels),
        "colormap": "gray",
        "contrast_limits": tuple(layer.contrast_limits),
        "metadata": dict(layer.metadata),
    }


def _shape(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.data[0].shape if getattr(layer, "multiscale", False) else layer.data.shape)


def _clipped(viewer: napari.viewer.Viewer, layer: Layer, axis: int) -> int:
    step = viewer.dims.current_step[viewer.dims.ndim - layer.ndim + axis]
    return int(min(max(step, 0), _shape(layer)[axis] - 1))
