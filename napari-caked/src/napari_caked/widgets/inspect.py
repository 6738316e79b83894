"""Looking at picks of any layer: a threshold on their scores, at once on the canvas; what is shown is what is saved."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari.layers import Points
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFormLayout, QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_caked.widgets._pick_panel import PickPanel
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["PickInspector"]


def has_scores(layer: Layer) -> bool:
    """Whether a layer holds picks."""
    return isinstance(layer, Points) and "score" in layer.features


class PickInspector(QWidget):
    """Choose a layer of picks, look at its scores, set the threshold, save.

    Parameters
    ----------
    napari_viewer
        Whose layers.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._docked = False
        self.picks = LayerChoice(napari_viewer, has_scores, "a Points layer with scores")
        self.panel = PickPanel(napari_viewer)
        form = QFormLayout()
        form.addRow("Picks", self.picks)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.addLayout(form)
        column.addWidget(self.panel)
        column.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self.setMinimumWidth(340)
        self.picks.chosen.connect(self.panel.set_layer)
        self.panel.set_layer(self.picks.layer)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Look for layers that got their scores meanwhile."""
        super().showEvent(event)
        self.picks.refresh()

    def event(self, event: QEvent | None) -> bool:
        """Let go of the viewer when the dock is closed: napari only takes the widget out of it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            docked = self.parent() is not None
            if docked != self._docked:
                self._docked = docked
                with suppress(RuntimeError):  # the window may be half gone
                    self.picks.follow(docked)
                    self.panel.follow(docked)
                    if docked:
                        self.panel.set_layer(self.picks.layer)
        return super().event(event)
