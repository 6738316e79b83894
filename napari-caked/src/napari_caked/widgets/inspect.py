"""Looking at picks: a threshold on their scores, at once on the canvas; what is shown is what is saved."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from napari.utils.notifications import show_info
from qtpy.QtCore import QEvent, QSignalBlocker, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider

from napari_caked.errors import LabelsError
from napari_caked.layers import table_from_points
from napari_caked.settings import PickSettings
from napari_caked.widgets._plots import Histogram
from napari_caked.widgets._saving import ask_for_file, describe
from napari_caked.widgets._work import Work
from napari_empiarreader.coordinates import ParticleTable, write_star
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["PickInspector", "PickPanel"]


def has_scores(layer: Layer) -> bool:
    """Whether a layer holds picks."""
    return isinstance(layer, Points) and "score" in layer.features


class PickPanel(QWidget):
    """Histogram, threshold, counts and saving for one Points layer at a time.

    Parameters
    ----------
    viewer
        Tells which micrograph is on the screen.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._work = Work()
        self.layer: Points | None = None
        self._replacing = False
        self.histogram = Histogram()
        self.slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 1)
        self.slider.setDecimals(2)
        self.slider.setValue(PickSettings().threshold)
        self.slider.setToolTip("Least score (probability) of the picks that are shown and saved")
        self.counts = QLabel()
        self.counts.setWordWrap(True)
        self.save_button = QPushButton("Save picks…")
        self.save_button.setToolTip("Write the shown picks as a RELION STAR file")
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.hide()

        form = QFormLayout()
        form.addRow("Threshold", self.slider)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.histogram)
        layout.addLayout(form)
        layout.addWidget(self.counts)
        self.buttons = QHBoxLayout()
        self.buttons.addWidget(self.save_button)
        layout.addLayout(self.buttons)
        layout.addWidget(self.status)

        self.slider.valueChanged.connect(self.set_threshold)
        self.histogram.threshold_moved.connect(self.set_threshold)
        self.save_button.clicked.connect(self.ask_and_save)
        self.destroyed.connect(self._work.close)
        self.follow(True)
        self.set_layer(None)

    @property
    def threshold(self) -> float:
        """Least score shown."""
        return self.histogram.threshold

    def follow(self, on: bool) -> None:
        """Follow the micrograph on the screen and the layer's changes, or stop doing so."""
        step = self._viewer.dims.events.current_step
        step.disconnect(self._count)
        if on:
            step.connect(self._count)
        else:
            self._work.close()
            self.set_layer(None)

    def set_layer(self, layer: Points | None) -> None:
        """Show a layer's picks, at the threshold it was left with."""
        if self.layer is not None:
            for event in (self.layer.events.data, self.layer.events.features):
                event.disconnect(self._on_data)
        self.layer = layer
        self.setEnabled(layer is not None)
        if layer is not None:
            for event in (layer.events.data, layer.events.features):
                event.connect(self._on_data)
            self._show_threshold(float(layer.metadata.get("threshold", PickSettings().threshold)))
        self.refresh()

    def set_threshold(self, threshold: float) -> None:
        """Show picks with at least this score, and hide the others."""
        self._show_threshold(threshold)
        if self.layer is not None:
            self.layer.metadata["threshold"] = self.threshold
        self._filter()

    def replace_picks(self, layer: Points, picks: ParticleTable) -> None:
        """Put other picks into a layer and show it, in one go; the threshold stays."""
        layer.metadata["threshold"] = self.threshold
        self._replacing = True
        try:
            layer.selected_data = set()
            layer.data = picks.coordinates
            layer.features = picks.features
        finally:
            self._replacing = False
        if layer is self.layer:
            self.refresh()
        else:
            self.set_layer(layer)

    def refresh(self) -> None:
        """Read the layer's scores anew."""
        self.histogram.set_scores(self._scores())
        self._filter()

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write what is shown as a STAR file, in the background; then say how many picks that were."""
        try:
            if self.layer is None or not np.any(self.layer.shown):
                raise LabelsError("no picks are shown, so there is nothing to save; lower the threshold")
            table = table_from_points(self.layer, ["micrograph_0000"])
        except Exception as error:
            self._say(describe(error))
            return

        def done(_nothing: None) -> None:
            message = f"{len(table)} picks written to {path}"
            self._say(message)
            show_info(message)

        def write() -> None:
            write_star(path, table, overwrite=overwrite)

        self._work.run(write, done=done, failed=lambda error: self._say(describe(error)))

    def ask_and_save(self) -> None:
        """Ask where to, then save."""
        path = ask_for_file(self, "Save picks", "picks.star", "RELION STAR")
        if path is not None:
            self.save(path, overwrite=True)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _scores(self) -> np.ndarray:
        if self.layer is None or "score" not in self.layer.features:
            return np.empty(0)
        return np.asarray(self.layer.features["score"], float)

    def _show_threshold(self, threshold: float) -> None:
        self.histogram.set_threshold(threshold)
        blocker = QSignalBlocker(self.slider)
        self.slider.setValue(self.histogram.threshold)
        blocker.unblock()

    def _filter(self) -> None:
        if self.layer is not None:
            # A pick without a score (a hand-made one) is never hidden.
            shown = ~(self._scores() < self.threshold)
            if len(shown) == len(self.layer.data) and not np.array_equal(shown, self.layer.shown):
                self.layer.shown = shown
        self._count()

    def _count(self, _event: Any = None) -> None:
        if self.layer is None:
            self.counts.setText("no picks yet")
            return
        shown = np.broadcast_to(self.layer.shown, len(self.layer.data))
        here = np.ones(len(shown), bool)
        if self.layer.ndim == 3 and self._viewer.dims.ndim >= 3:
            here = np.rint(self.layer.data[:, 0]) == self._viewer.dims.current_step[-3]
        self.counts.setText(
            f"this micrograph: <b>{shown[here].sum():,}</b> of {here.sum():,} · "
            f"all: <b>{shown.sum():,}</b> of {len(shown):,}"
        )

    def _on_data(self, event: Any = None) -> None:
        # The features of added points come a moment after their data.
        if self.layer is not None and not self._replacing and len(self._scores()) == len(self.layer.data):
            self.refresh()

    def _say(self, text: str) -> None:
        self.status.setText(text)
        self.status.setVisible(bool(text))


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
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.panel)
        layout.addStretch()
        self.setMinimumWidth(320)
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
