"""Which micrograph of a layer is in view, where other layers may reach further than the micrographs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Layer

__all__ = ["go_to_micrograph", "micrograph_in_view"]


def micrograph_in_view(dims: Dims, layer: Layer | None) -> int | None:
    """Number of the micrograph of ``layer`` at which the slider stands; None where it stands beyond all of them.

    Parameters
    ----------
    dims
        Of the viewer. Its steps count from the first of all layers: with a density there, from its own first section.
    layer
        Images or points ``(micrograph, y, x)``; of a single micrograph, or of none, the number is 0.
    """
    if layer is None or layer.ndim < 3 or dims.ndim < 3:
        return 0
    index = round(float(layer.world_to_data(_padded(dims.point, layer.ndim))[-3]))
    count = _count(layer)
    return index if index >= 0 and (count is None or index < count) else None


def go_to_micrograph(dims: Dims, layer: Layer | None, index: int) -> None:
    """Move the slider to a micrograph of ``layer``, or to the first or last for a number that there is not."""
    if layer is None or layer.ndim < 3 or dims.ndim < 3:
        return
    place = list(layer.world_to_data(_padded(dims.point, layer.ndim)))
    count = _count(layer)
    place[-3] = float(max(index if count is None else min(index, count - 1), 0))
    dims.set_point(dims.ndim - 3, float(layer.data_to_world(place)[-3]))


def _padded(point: tuple[float, ...], ndim: int) -> np.ndarray:
    """Last ``ndim`` coordinates of a place in the viewer, zeros before it where it has fewer."""
    return np.concatenate([np.zeros(max(ndim - len(point), 0)), np.asarray(point, float)])[-ndim:]


def _count(layer: Layer) -> int | None:
    """Micrographs that a layer shows; None where nobody says."""
    if isinstance(layer, Image):
        return int((layer.data[0] if layer.multiscale else layer.data).shape[-3])
    return len(layer.metadata.get("micrographs") or ()) or None
