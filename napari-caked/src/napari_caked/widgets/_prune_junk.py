"""The Labels layer of junk: coarse, as it was found, and laid over the micrographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_caked.widgets._prune_messages import JunkFound

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Labels

__all__ = ["JunkLayer"]

_NAME = "junk"
#: Colour of junk: transparent enough to see what it is.
_OPACITY = 0.35


class JunkLayer:
    """Gathers the junk of micrographs in a layer, which is there from the first of them on.

    Parameters
    ----------
    viewer
        Gets the layer.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None

    def begin(self) -> None:
        """Begin anew; a layer from before is replaced."""
        self._layer = None

    def take(self, found: JunkFound, micrographs: Image | None) -> None:
        """Show the junk of one more micrograph, and nothing where the micrographs or the layer are gone."""
        if micrographs is None:
            return
        plane = (found.probability >= 0.5).astype(np.uint8)
        if self._layer is None:
            self._layer = self._new(found, plane.shape, micrographs)
        elif self._layer not in self._viewer.layers:
            return
        data = self._layer.data
        if data.ndim == 3:
            data[found.index] = plane
        else:
            data[:] = plane
        self._layer.refresh()

    def _new(self, found: JunkFound, shape: tuple[int, ...], micrographs: Image) -> Labels:
        from napari.layers import Labels

        stack = micrographs.ndim == 3
        scale, translate = np.array(micrographs.scale), np.array(micrographs.translate)
        place = translate.copy()
        place[-2:] += found.origin * scale[-2:]
        scale[-2:] *= found.spacing
        selected = self._viewer.layers.selection.active
        if _NAME in self._viewer.layers:
            self._viewer.layers.remove(_NAME)
        layer = Labels(
            np.zeros((found.total, *shape) if stack else shape, np.uint8),
            name=_NAME,
            scale=scale,
            translate=place,
            opacity=_OPACITY,
            units=micrographs.units,
            axis_labels=micrographs.axis_labels,
            metadata={"micrographs": micrographs.metadata.get("micrographs")},
        )
        self._viewer.layers.insert(self._viewer.layers.index(micrographs) + 1, layer)
        self._viewer.layers.selection.active = selected
        return layer
