"""How bright and how smooth the micrograph on the screen looks: presets, and a low-pass on the graphics card."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QFormLayout, QGroupBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout
from superqt import QLabeledDoubleSlider

from napari_empiarreader.micrographs.contrast import contrast_limits, percentile_limits
from napari_empiarreader.micrographs.lowpass import (
    gaussian_kernel,
    kernel_deviation,
    smoothed_sample,
    widest_resolution,
)
from napari_empiarreader.widgets._shown import as_image, plane, shown_index
from napari_empiarreader.widgets._tasks import Task, Tasks

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["SETTLED", "ContrastBox"]

SETTLED = 150
"""Milliseconds without another change after which something is worth computing."""

_LOW_PASS = "low_pass"
"""Where a layer's metadata keep the resolution (Å, or pixels where the pixel size is unknown) of its low-pass."""


class ContrastBox(QGroupBox):
    """Contrast and low-pass of one layer at a time.

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
        super().__init__("Contrast")
        self._viewer, self._tasks, self._failed = viewer, tasks, failed
        self._layer: Image | None = None
        self._level = 0
        self._preset: Callable[..., tuple[float, float]] = contrast_limits
        self._task: Task | None = None
        self.settled = QTimer(self)
        self.settled.setSingleShot(True)
        self.settled.setInterval(SETTLED)
        self.settled.timeout.connect(self.set_contrast)
        self._build()

    def _build(self) -> None:
        self.sigma = QPushButton("3 sigma")
        self.sigma.setToolTip("Median ± three robust standard deviations of this micrograph")
        self.percentile = QPushButton("Percentiles")
        self.percentile.setToolTip("From the 0.5th to the 99.5th percentile of this micrograph")
        self.each = QCheckBox("Set anew for each micrograph")
        self.each.setToolTip("Once a micrograph is shown, its own contrast is computed in the background")
        self.low_pass = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.low_pass.setDecimals(1)
        self.low_pass.setToolTip(
            "Smooths what is shown, on the graphics card; the data stay as they are. Amplitudes at this resolution are "
            "halved; 0 is off. The contrast is set anew with it."
        )
        self._low_pass_label = QLabel("Low-pass (Å)")
        presets = QHBoxLayout()
        presets.addWidget(self.sigma)
        presets.addWidget(self.percentile)
        form = QFormLayout()
        form.addRow(self._low_pass_label, self.low_pass)
        layout = QVBoxLayout(self)
        layout.addLayout(presets)
        layout.addWidget(self.each)
        layout.addLayout(form)
        self.sigma.clicked.connect(lambda: self._use(contrast_limits))
        self.percentile.clicked.connect(lambda: self._use(percentile_limits))
        self.each.toggled.connect(self._on_each)
        self.low_pass.valueChanged.connect(self._on_low_pass)

    def set_layer(self, layer: Image | None) -> None:
        """Be about another layer."""
        self.stop()
        if self._layer is not None:
            self._layer.events.set_data.disconnect(self._on_drawn)
        self._layer = layer
        if layer is not None:
            layer.events.set_data.connect(self._on_drawn)
        self.setEnabled(layer is not None)
        size = self._pixel_size()
        self._low_pass_label.setText("Low-pass (Å)" if size else "Low-pass (pixels)")
        with QSignalBlocker(self.low_pass):
            self.low_pass.setRange(0, round(widest_resolution(size or 1.0), 1))
            self.low_pass.setValue(0 if layer is None else float(layer.metadata.get(_LOW_PASS, 0)))

    def on_step(self) -> None:
        """React to another micrograph on the screen."""
        if self.each.isChecked():
            self.settled.start()

    def stop(self) -> None:
        """Want no answer any more."""
        self.settled.stop()
        if self._task is not None:
            self._task.cancel()

    def set_contrast(self) -> None:
        """Compute the contrast of the micrograph on the screen in the background, and set it if it is still there."""
        layer = self._layer
        self.stop()
        if layer is None:
            return
        index = shown_index(self._viewer, layer)

        def done(limits: tuple[float, float]) -> None:
            if layer in self._viewer.layers and shown_index(self._viewer, layer) == index:
                low, high = layer.contrast_limits_range
                layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
                layer.contrast_limits = limits

        self._task = self._tasks.run(
            _limits, plane(self._viewer, layer), self._preset, self._deviation(), done=done, failed=self._failed
        )

    def _use(self, preset: Callable[..., tuple[float, float]]) -> None:
        self._preset = preset
        self.set_contrast()

    def _on_each(self, on: bool) -> None:
        if on:
            self.set_contrast()

    # ---- the low-pass -----------------------------------------------------------------------------------------------

    def _pixel_size(self) -> float | None:
        known = None if self._layer is None else self._layer.metadata.get("pixel_size")
        return float(known) if known else None

    def _deviation(self) -> float:
        """Of the low-pass kernel, in pixels of the full image; 0 is none."""
        return kernel_deviation(self.low_pass.value(), self._pixel_size() or 1.0)

    def _on_low_pass(self, resolution: float) -> None:
        if self._layer is not None:
            self._layer.metadata[_LOW_PASS] = resolution
            self._smooth(self._layer)
            self.settled.start()

    def _on_drawn(self, _event: Any = None) -> None:
        """Zooming draws another level of a pyramid, whose pixels have another size."""
        layer = self._layer
        if layer is not None and layer.data_level != self._level and self.low_pass.value():
            self._smooth(layer)

    def _smooth(self, layer: Image) -> None:
        """Put the kernel for the level that is drawn in place; a coarser level has larger pixels."""
        self._level = layer.data_level
        factor = float(layer.downsample_factors[layer.data_level][-1]) if layer.multiscale else 1.0
        deviation = self._deviation() / factor
        if deviation * 3 < 1:  # narrower than a pixel
            layer.interpolation2d = "nearest"
            return
        layer.custom_interpolation_kernel_2d = gaussian_kernel(deviation)
        layer.interpolation2d = "custom"


def _limits(lazy: Any, preset: Callable[..., tuple[float, float]], deviation: float) -> tuple[float, float]:
    image = as_image(lazy)
    sample = smoothed_sample(image, deviation)
    return preset(image) if sample is image else preset(sample, step=1)
