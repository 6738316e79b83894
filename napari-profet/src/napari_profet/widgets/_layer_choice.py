"""A box to choose one of the viewer's layers of a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_profet.layers_pairs import is_aligned_error, is_structure

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["LayerChoice", "is_aligned_error", "is_density", "is_structure"]


def is_density(layer: Layer) -> bool:
    """Whether a layer is a volume, with the same scale along its axes: a stack of micrographs is none."""
    if not isinstance(layer, Image) or layer.ndim != 3 or layer.rgb or "micrographs" in layer.metadata:
        return False
    return float(np.ptp(np.abs(layer.scale))) <= 1e-3 * float(np.abs(layer.scale).mean())


class LayerChoice(QComboBox):
    """Layers of one kind, the newest first; ``chosen`` tells which, or None.

    napari hands plugins a new wrapper of a layer each time: they are equal, never identical.

    Parameters
    ----------
    viewer
        Whose layers.
    wanted
        Which of them.
    nothing
        What to show where there is none.
    """

    chosen = Signal(object)

    def __init__(self, viewer: Viewer, wanted: Callable[[Layer], bool], nothing: str) -> None:
        super().__init__()
        self._viewer, self._wanted, self._nothing = viewer, wanted, nothing
        self._last: Layer | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        events = viewer.layers.events
        emitters = (events.inserted, events.removed)
        callback = self._refill
        for emitter in emitters:
            emitter.connect(callback)
        self.destroyed.connect(lambda: [emitter.disconnect(callback) for emitter in emitters])
        self.currentIndexChanged.connect(self._tell)
        self._refill()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.currentData()

    def choose(self, layer: Layer) -> None:
        """Choose a layer, if it is of the kind."""
        for index in range(self.count()):
            if self.itemData(index) == layer:
                self.setCurrentIndex(index)

    def showPopup(self) -> None:
        """Show the list, with the names that the layers have now."""
        for index in range(self.count()):
            if self.itemData(index) is not None:
                self.setItemText(index, self.itemData(index).name)
        super().showPopup()

    def _refill(self, event: Any = None) -> None:
        layers = [layer for layer in reversed(self._viewer.layers) if self._wanted(layer)]
        before = self.layer
        self.blockSignals(True)
        self.clear()
        for layer in layers:
            self.addItem(layer.name, layer)
        if not layers:
            self.addItem(self._nothing, None)
        new = event is not None and event.type == "inserted" and event.value in layers
        wanted = event.value if new else before
        self.setCurrentIndex(layers.index(wanted) if wanted in layers else 0)
        self.blockSignals(False)
        self.setEnabled(bool(layers))
        self._tell()

    def _tell(self) -> None:
        if self.layer != self._last:
            self._last = self.layer
            self.chosen.emit(self.layer)
