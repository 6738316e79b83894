"""A box to choose one of the viewer's layers, which follows as layers come, go and change their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["LayerChoice"]


class LayerChoice(QComboBox):
    """Layers of a viewer that fit; the chosen one stays chosen while others come and go.

    Parameters
    ----------
    viewer
        Whose layers.
    fits
        Which of them to offer.
    nothing
        Shown where none fits.
    """

    chosen = Signal(object)
    """The layer now chosen, or None; only when it is another one."""

    def __init__(self, viewer: napari.viewer.Viewer, fits: Callable[[Layer], bool], nothing: str) -> None:
        super().__init__()
        self._viewer, self._fits = viewer, fits
        self._offered: list[Layer] = []
        self._layer: Layer | None = None
        self.setPlaceholderText(nothing)
        self.setMinimumContentsLength(12)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.currentIndexChanged.connect(self._on_index)
        self.follow(True)

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self._layer

    def choose(self, layer: Layer | None) -> None:
        """Choose a layer of the viewer."""
        self.refresh()
        self.setCurrentIndex(self._offered.index(layer) if layer in self._offered else -1)

    def follow(self, on: bool) -> None:
        """Follow the viewer's layers, or stop doing so."""
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            event.disconnect(self.refresh)
            if on:
                event.connect(self.refresh)
        if on:
            self.refresh()

    def refresh(self, _event: Any = None) -> None:
        """Offer what fits now."""
        self._offered = [layer for layer in reversed(self._viewer.layers) if self._fits(layer)]
        kept = self._layer if self._layer in self._offered else (self._offered[0] if self._offered else None)
        blocked = self.blockSignals(True)
        self.clear()
        self.addItems([layer.name for layer in self._offered])
        self.setCurrentIndex(self._offered.index(kept) if kept is not None else -1)
        self.blockSignals(blocked)
        self._on_index(self.currentIndex())

    def _on_index(self, index: int) -> None:
        layer = self._offered[index] if 0 <= index < len(self._offered) else None
        if layer is not self._layer:
            self._layer = layer
            self.chosen.emit(layer)
