"""Layers that a data set is made of, and layers that are made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QListWidget, QListWidgetItem

from napari_caked.layers import negatives_layer
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.layers import LayerData

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer

__all__ = ["LayerTicks", "offer_features", "training_layers"]


class LayerTicks(QListWidget):
    """Layers of a viewer with a tick each; those ticked stay so while others come and go.

    Parameters
    ----------
    viewer
        Whose layers.
    fits
        Which of them to offer.
    """

    changed = Signal()
    """Other layers are ticked, or there are others."""

    def __init__(self, viewer: napari.viewer.Viewer, fits: Callable[[Layer], bool]) -> None:
        super().__init__()
        self._viewer, self._fits = viewer, fits
        self._offered: list[Layer] = []
        self.setMaximumHeight(84)
        self.itemChanged.connect(lambda _item: self.changed.emit())
        self.follow(True)

    @property
    def layers(self) -> list[Layer]:
        """Those that are ticked."""
        return [layer for row, layer in enumerate(self._offered) if self._is_ticked(row)]

    def tick(self, layer: Layer, on: bool = True) -> None:
        """Tick a layer."""
        item = self.item(self._offered.index(layer))
        if item is not None:
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

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
        ticked = self.layers
        self._offered = [layer for layer in reversed(self._viewer.layers) if self._fits(layer)]
        blocked = self.blockSignals(True)
        self.clear()
        for layer in self._offered:
            item = QListWidgetItem(f"{layer.name}  ({layer._type_string})")
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if layer in ticked else Qt.CheckState.Unchecked)
            self.addItem(item)
        self.blockSignals(blocked)
        self.changed.emit()

    def _is_ticked(self, row: int) -> bool:
        item = self.item(row)
        return item is not None and item.checkState() == Qt.CheckState.Checked


def offer_features(box: QComboBox, first: str, layers: Sequence[Layer]) -> None:
    """Offer the features that all of the layers have, after a first entry; what is chosen stays, if it can."""
    tables = [list(map(str, getattr(layer, "features", ()))) for layer in layers]
    common = [name for name in tables[0] if all(name in table for table in tables[1:])] if tables else []
    names, chosen = [first, *common], box.currentText()
    if names != [box.itemText(i) for i in range(box.count())]:
        box.clear()
        box.addItems(names)
        box.setCurrentText(chosen if chosen in names else first)


def training_layers(
    micrographs: Image, names: Sequence[str], good: np.ndarray, bad: np.ndarray, diameter: float | None
) -> list[LayerData]:
    """What the trainer learns from: labels, and what is no particle.

    Parameters
    ----------
    micrographs
        Their layer.
    names
        Of the micrographs.
    good, bad
        ``(n, 3)`` (micrograph, y, x) in pixels; without any of ``bad`` there is no second layer.
    diameter
        Of the circles, Å; None where the pixel size is unknown.
    """

    def layer(places: np.ndarray, **changes: Any) -> LayerData:
        table = ParticleTable(tuple(names), np.asarray(places, float))
        data, attributes, kind = negatives_layer(micrographs, table, diameter)
        return data, attributes | changes, kind

    labels = layer(good, name="labels of the data set", border_color="yellow")
    return [labels, layer(bad)] if len(bad) else [labels]
