"""The power spectrum of the micrograph on the screen, beside the canvas: its axes are 1/Å, those of the canvas Å."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_empiarreader.layers import LayerData, power_spectrum_layer
from napari_empiarreader.micrographs.preview import as_grey
from napari_empiarreader.widgets._contrast_box import SETTLED
from napari_empiarreader.widgets._picture import SpectrumPicture
from napari_empiarreader.widgets._shown import as_image, layer_attributes, plane
from napari_empiarreader.widgets._tasks import Task, Tasks

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["SpectrumBox"]

_POINT_AT_IT = "point at a ring to read its resolution"


class SpectrumBox(QWidget):
    """A button that shows the power spectrum, which then follows the micrograph.

    Parameters
    ----------
    viewer
        Tells which micrograph is on the screen.
    tasks
        Run the computations.
    failed
        Told what went wrong.
    """

    def __init__(self, viewer: napari.viewer.Viewer, tasks: Tasks, failed: Callable[[Exception], None]) -> None:
        super().__init__()
        self._viewer, self._tasks, self._failed = viewer, tasks, failed
        self._layer: Image | None = None
        self._task: Task | None = None
        self._unit = "Å"
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLED)
        self._settled.timeout.connect(self.compute)
        self.button = QPushButton("Power spectrum")
        self.button.setCheckable(True)
        self.button.setToolTip("Show the power spectrum of the micrograph on the screen, and follow it")
        self.picture = SpectrumPicture()
        self.frequency = QLabel(_POINT_AT_IT)
        self.frequency.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(self.picture, stretch=1)
        layout.addWidget(self.frequency)
        self.button.toggled.connect(self._on_toggled)
        self.picture.pointed.connect(self._on_pointed)
        self._on_toggled(False)

    def set_layer(self, layer: Image | None) -> None:
        """Be about another layer."""
        self._layer = layer
        self.button.setEnabled(layer is not None)
        self.picture.show_picture(None)
        self.compute()

    def on_step(self) -> None:
        """React to another micrograph on the screen."""
        if self.button.isChecked():
            self._settled.start()

    def stop(self) -> None:
        """Want no answer any more."""
        self._settled.stop()
        if self._task is not None:
            self._task.cancel()

    def compute(self) -> None:
        """Compute the spectrum of the micrograph on the screen in the background."""
        self.stop()
        layer = self._layer
        if layer is None or not self.button.isChecked():
            return
        if self.picture.picture is None:
            self.picture.show_picture(None, "computing …")
        self._task = self._tasks.run(
            _spectrum,
            plane(self._viewer, layer),
            layer_attributes(layer),
            done=self._show,
            failed=self._failed,
            title="Power spectrum",
        )

    def _show(self, made: LayerData) -> None:
        power, attributes, _ = made
        self._unit = "Å" if "angstrom" in str(attributes["units"][-1]) else "pixels"
        self.picture.show_spectrum(as_grey(power), float(attributes["scale"][-1]))

    def _on_toggled(self, on: bool) -> None:
        self.picture.setVisible(on)
        self.frequency.setVisible(on)
        if not on:
            self.picture.show_picture(None)
        self.compute()

    def _on_pointed(self, frequency: float) -> None:
        self.frequency.setText(f"{1 / frequency:.1f} {self._unit}" if frequency > 0 else _POINT_AT_IT)


def _spectrum(lazy: Any, attributes: dict[str, Any]) -> LayerData:
    return power_spectrum_layer(as_image(lazy), attributes, "power spectrum")
