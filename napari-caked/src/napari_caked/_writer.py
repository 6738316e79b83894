"""napari writer of particle stacks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_empiarreader.layers import LayerData

__all__ = ["write_stack"]


def write_stack(path: str, layers: list[LayerData]) -> list[str]:
    """Cut the shown points out of the micrographs: a stack (``.mrcs``) and a STAR file beside it.

    A box is one and a half times as wide as the circles of the Points layer.
    """
    import numpy as np

    from napari_caked.datasets.extraction import write_particle_stack
    from napari_empiarreader.layers import layer_pixel_size, particles_from_layer
    from napari_empiarreader.micrographs import MicrographSeries

    data, attributes = next((data, attributes) for data, attributes, kind in layers if kind == "image")
    points, circles = next((data, attributes) for data, attributes, kind in layers if kind == "points")
    names = (attributes.get("metadata") or {}).get("micrographs")
    series = MicrographSeries.from_array(data, names, layer_pixel_size(attributes))
    table = particles_from_layer(points, circles, micrographs=series.names)
    width = float(np.median(np.atleast_1d(circles.get("size", 64))))
    stack = write_particle_stack(path, series, table, 2 * round(0.75 * width), overwrite=True)
    if stack.left_out:
        # napari shows warnings as notifications.
        warnings.warn(
            f"{stack.written} particles written, {stack.left_out} left out: too near an edge for a whole box",
            stacklevel=2,
        )
    return [str(stack.images), str(stack.star)]
