"""Looking at micrographs: from one to the next, contrast, a low-pass, the sum of a movie, the power spectrum."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QEvent, QSignalBlocker, QStringListModel, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QCompleter,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_empiarreader.errors import UserError
from napari_empiarreader.layers import LayerData, power_spectrum_layer, summed_layer
from napari_empiarreader.micrographs.contrast import contrast_limits, percentile_limits
from napari_empiarreader.micrographs.lowpass import (
    gaussian_kernel,
    kernel_deviation,
    smoothed_sample,
    widest_resolution,
)
from napari_empiarreader.micrographs.preview import as_grey
from napari_empiarreader.widgets._layer_choice import LayerChoice
from napari_empiarreader.widgets._picture import SpectrumPicture
from napari_empiarreader.widgets._shown import (
    as_image,
    go_to,
    is_micrographs,
    micrograph_names,
    plane,
    shown_index,
)
from napari_empiarreader.widgets._summing import GainRequest, SumForm, best_orientations
from napari_empiarreader.widgets._tasks import Task, Tasks
from napari_empiarreader.widgets._telling import WrappedLabel, report

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["MicrographView"]

_SETTLED = 150
"""Milliseconds without another change after which a contrast is worth computing."""

_POINT_AT_IT = "point at a ring to read its resolution"

_LOW_PASS = "low_pass"
"""Where a layer's metadata keep the resolution (Å, or pixels where the pixel size is unknown) of its low-pass."""


class MicrographView(QWidget):
    """Steps through the micrographs of a layer and sets how they look.

    While it is docked, the keys N and B show the next micrograph and the one before.

    Parameters
    ----------
    napari_viewer
        Whose layers.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._docked = False
        self._keys: dict[Any, tuple[Callable[..., None], Any]] = {}
        self._preset: Callable[..., tuple[float, float]] = contrast_limits
        self._contrast: Task | None = None
        self._contrast_wanted = False
        self._spectrum: Task | None = None
        self._in_angstrom = True
        self._followed: Image | None = None
        self._level = 0
        self._tasks = Tasks(self._show_busy)
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLED)
        self._build()
        self._connect()
        self._on_layer(self.choice.layer)

    # ---- the parts of the window ------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.choice = LayerChoice(self._viewer, is_micrographs, "no micrographs are open")
        self.choice.setToolTip("The layer that everything here is about")
        self.back = QPushButton("◀ B")
        self.back.setToolTip("The micrograph before (key B)")
        self.next = QPushButton("N ▶")
        self.next.setToolTip("The next micrograph (key N)")
        self.name = QLineEdit()
        self.name.setPlaceholderText("part of a name, or a number")
        self.name.setToolTip("Type a name, a part of it, or a number, and press Enter to go there")
        self._names = QStringListModel(self)
        completer = QCompleter(self._names, self)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.name.setCompleter(completer)
        self.place = QLabel()
        self.place.setAlignment(Qt.AlignmentFlag.AlignCenter)

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
        self.low_pass_label = QLabel("Low-pass (Å)")
        self.spectrum = QPushButton("Power spectrum")
        self.spectrum.setCheckable(True)
        self.spectrum.setToolTip("Show the power spectrum of the micrograph on the screen, and follow it")
        self.spectrum_picture = SpectrumPicture()
        self.frequency = QLabel(_POINT_AT_IT)
        self.frequency.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.spectrum_box = QWidget()
        below = QVBoxLayout(self.spectrum_box)
        below.setContentsMargins(0, 0, 0, 0)
        below.addWidget(self.spectrum_picture, stretch=1)
        below.addWidget(self.frequency)
        self.spectrum_box.hide()
        self.sums = SumForm()
        self.busy = QLabel()
        self.status = WrappedLabel()

        steps = QHBoxLayout()
        steps.addWidget(self.back)
        steps.addWidget(self.place, stretch=1)
        steps.addWidget(self.next)
        presets = QHBoxLayout()
        presets.addWidget(self.sigma)
        presets.addWidget(self.percentile)
        contrast = QGroupBox("Contrast")
        inside = QVBoxLayout(contrast)
        inside.addLayout(presets)
        inside.addWidget(self.each)
        form = QFormLayout()
        form.addRow(self.low_pass_label, self.low_pass)
        inside.addLayout(form)
        top = QFormLayout()
        top.addRow("Layer", self.choice)
        top.addRow("Go to", self.name)
        self.setMinimumWidth(300)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addLayout(steps)
        for widget in (contrast, self.sums, self.spectrum, self.spectrum_box, self.busy, self.status):
            layout.addWidget(widget)
        layout.addStretch(1)

    def _connect(self) -> None:
        self.choice.chosen.connect(self._on_layer)
        self.back.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.name.returnPressed.connect(self._go_to_typed)
        completer = self.name.completer()
        assert completer is not None
        completer.activated.connect(self._go_to_typed)
        self.sigma.clicked.connect(lambda: self._use(contrast_limits))
        self.percentile.clicked.connect(lambda: self._use(percentile_limits))
        self.each.toggled.connect(self._on_each)
        self.low_pass.valueChanged.connect(self._on_low_pass)
        self.spectrum.toggled.connect(self._on_spectrum)
        self.spectrum_picture.pointed.connect(self._on_pointed)
        self.sums.button.clicked.connect(self.sum_frames)
        self.sums.propose.clicked.connect(self.propose_orientation)
        self._settled.timeout.connect(self._on_settled)
        # A main window that closes destroys its docks without a ParentChange.
        self.destroyed.connect(self._tasks.close)

    # ---- which micrograph -------------------------------------------------------------------------------------------

    @property
    def layer(self) -> Image | None:
        """The layer that everything is about."""
        return self.choice.layer

    def step(self, by: int) -> None:
        """Show the micrograph ``by`` places further on."""
        if self.layer is not None:
            go_to(self._viewer, self.layer, shown_index(self._viewer, self.layer) + by)

    def _go_to_typed(self, _chosen: str = "") -> None:
        if self.layer is None:
            return
        text, names = self.name.text().strip(), micrograph_names(self.layer)
        fits = [i for i, name in enumerate(names) if name == text]
        fits = fits or [i for i, name in enumerate(names) if text.lower() in name.lower()]
        if text.isdigit() and not fits:
            fits = [int(text) - 1] if 1 <= int(text) <= self._count() else []
        if not fits:
            self._report(UserError(f"no micrograph of '{self.layer.name}' is called like '{text}'"))
            return
        self.status.setText("" if len(fits) == 1 else f"{len(fits)} names fit; this is the first.")
        go_to(self._viewer, self.layer, fits[0])
        self.name.clearFocus()
        self._show_place()

    def _count(self) -> int:
        layer = self.layer
        if layer is None or layer.ndim < 3:
            return 1
        return int((layer.data[0] if layer.multiscale else layer.data).shape[0])

    def _show_place(self) -> None:
        layer, count = self.layer, self._count()
        self.back.setEnabled(layer is not None and count > 1)
        self.next.setEnabled(layer is not None and count > 1)
        if layer is None:
            self.place.clear()
            return
        self.place.setText(f"{shown_index(self._viewer, layer) + 1} of {count}")
        if not self.name.hasFocus():
            self.name.setText(self._shown_name())
            self.name.setCursorPosition(0)

    def _shown_name(self) -> str:
        """Name of the micrograph on the screen, or nothing."""
        if self.layer is None:
            return ""
        index, names = shown_index(self._viewer, self.layer), micrograph_names(self.layer)
        return names[index] if index < len(names) else ""

    def _on_step(self, _event: Any = None) -> None:
        self._show_place()
        self._contrast_wanted = self._contrast_wanted or self.each.isChecked()
        if self._contrast_wanted or self.spectrum.isChecked():
            self._settled.start()

    def _on_settled(self) -> None:
        if self._contrast_wanted:
            self.set_contrast()
        self._contrast_wanted = False
        self.show_spectrum()

    def _on_layer(self, layer: Image | None) -> None:
        self._drop_contrast()
        self._contrast_wanted = False
        if self._followed is not None:
            self._followed.events.set_data.disconnect(self._on_drawn)
        self._followed = layer
        if layer is not None:
            layer.events.set_data.connect(self._on_drawn)
        for widget in (self.name, self.sigma, self.percentile, self.each, self.low_pass, self.spectrum):
            widget.setEnabled(layer is not None)
        self._names.setStringList([] if layer is None else micrograph_names(layer))
        self.sums.setVisible(layer is not None and layer.ndim >= 4)
        size = self._pixel_size()
        self.low_pass_label.setText("Low-pass (Å)" if size else "Low-pass (pixels)")
        with QSignalBlocker(self.low_pass):
            self.low_pass.setRange(0, round(widest_resolution(size or 1.0), 1))
            self.low_pass.setValue(0 if layer is None else float(layer.metadata.get(_LOW_PASS, 0)))
        self._show_place()
        self.show_spectrum()

    def _on_selection(self, _event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and is_micrographs(active):
            self.choice.choose(active)

    def _pixel_size(self) -> float | None:
        known = None if self.layer is None else self.layer.metadata.get("pixel_size")
        return float(known) if known else None

    # ---- contrast and low-pass --------------------------------------------------------------------------------------

    def _use(self, preset: Callable[..., tuple[float, float]]) -> None:
        self._preset = preset
        self.set_contrast()

    def _on_each(self, on: bool) -> None:
        if on:
            self.set_contrast()

    def set_contrast(self) -> None:
        """Compute the contrast of the micrograph on the screen in the background, and set it if it is still there."""
        layer = self.layer
        if layer is None:
            return
        self._drop_contrast()
        index = shown_index(self._viewer, layer)

        def done(limits: tuple[float, float]) -> None:
            if layer in self._viewer.layers and shown_index(self._viewer, layer) == index:
                low, high = layer.contrast_limits_range
                layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
                layer.contrast_limits = limits

        self._contrast = self._tasks.run(
            _limits, plane(self._viewer, layer), self._preset, self._deviation(), done=done, failed=self._report
        )

    def _drop_contrast(self) -> None:
        self._settled.stop()
        if self._contrast is not None:
            self._contrast.cancel()

    def _deviation(self) -> float:
        """Of the low-pass kernel, in pixels of the full image; 0 is none."""
        return kernel_deviation(self.low_pass.value(), self._pixel_size() or 1.0)

    def _on_low_pass(self, resolution: float) -> None:
        if self.layer is None:
            return
        self.layer.metadata[_LOW_PASS] = resolution
        self._smooth(self.layer)
        self._contrast_wanted = True
        self._settled.start()

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

    def _on_drawn(self, _event: Any = None) -> None:
        """Zooming draws another level of a pyramid, whose pixels have another size."""
        layer = self._followed
        if layer is not None and layer.data_level != self._level and self.low_pass.value():
            self._smooth(layer)

    # ---- other pictures of it ---------------------------------------------------------------------------------------

    def show_spectrum(self) -> None:
        """Show the power spectrum of the micrograph on the screen, once it is computed, if that is still there."""
        self._drop_spectrum()
        layer = self.layer
        if layer is None or not self.spectrum.isChecked():
            return
        if not self.spectrum_picture.picture:
            self.spectrum_picture.show_picture(None, "computing …")
        self._spectrum = self._tasks.run(
            _spectrum,
            plane(self._viewer, layer),
            _attributes(layer),
            done=self._show_spectrum,
            failed=self._report,
            title="Power spectrum",
        )

    def _show_spectrum(self, made: LayerData) -> None:
        power, attributes, _ = made
        self._in_angstrom = "angstrom" in str(attributes["units"][-1])
        self.spectrum_picture.show_spectrum(as_grey(power), float(attributes["scale"][-1]))

    def _drop_spectrum(self) -> None:
        if self._spectrum is not None:
            self._spectrum.cancel()

    def _on_spectrum(self, on: bool) -> None:
        self.spectrum_box.setVisible(on)
        if not on:
            self._drop_spectrum()
            self.spectrum_picture.show_picture(None)
        self.show_spectrum()

    def _on_pointed(self, frequency: float) -> None:
        unit = "Å" if self._in_angstrom else "pixels"
        self.frequency.setText(f"{1 / frequency:.1f} {unit}" if frequency > 0 else _POINT_AT_IT)

    def sum_frames(self) -> None:
        """Add the sums of a movie layer's frames as a layer; each is computed when it is shown."""
        if self.layer is None:
            return
        data = self.layer.data[0] if self.layer.multiscale else self.layer.data
        try:
            request = self.sums.request(self._shown_name())
        except UserError as error:
            self._report(error)
            return
        movie = self.layer
        self._tasks.run(
            _summed,
            data,
            _attributes(movie),
            request,
            shown_index(self._viewer, movie),
            done=lambda made: self._add_sum(movie, made),
            failed=self._report,
            title="Summing frames",
        )

    def _add_sum(self, movie: Image, made: LayerData) -> None:
        index = shown_index(self._viewer, movie)
        layer = Layer.create(made[0], {**made[1], "visible": False}, made[2])
        movie.visible = False
        self._viewer.add_layer(layer)
        go_to(self._viewer, layer, index)
        layer.visible = True
        self.status.setText(f"Added '{layer.name}'; each sum is computed when it is shown.")

    def propose_orientation(self) -> None:
        """Find the flip and rotation of the gain reference that leave the flattest sum."""
        if self.layer is None:
            return
        try:
            request = self.sums.request(self._shown_name(), gain_needed=True)
        except UserError as error:
            self._report(error)
            return
        data = self.layer.data[0] if self.layer.multiscale else self.layer.data
        self._tasks.run(
            best_orientations,
            data[shown_index(self._viewer, self.layer)],
            request,
            done=self._show_proposal,
            failed=self._report,
            title="Comparing orientations",
        )

    def _show_proposal(self, proposal: Any) -> None:
        self.status.setText(self.sums.show_proposal(proposal))

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _report(self, error: Exception) -> None:
        self.status.setText(report(error))

    def _show_busy(self) -> None:
        titles = [task.title for task in self._tasks.running if task.title]
        self.busy.setText(f"{titles[0]} …" if titles else "")

    # ---- docked and undocked ----------------------------------------------------------------------------------------

    def _take_keys(self) -> None:
        """Bind N and B, and remember what they did before."""
        for key, by in (("N", 1), ("B", -1)):
            before = dict(self._viewer.keymap)

            def act(_viewer: Any, by: int = by) -> None:
                self.step(by)

            self._viewer.bind_key(key, act, overwrite=True)
            for bound, function in self._viewer.keymap.items():
                if function is act:
                    self._keys[bound] = (act, before.get(bound))

    def _give_keys_back(self) -> None:
        for bound, (ours, before) in self._keys.items():
            if self._viewer.keymap.get(bound) is ours:
                del self._viewer.keymap[bound]
                if before is not None:
                    self._viewer.keymap[bound] = before
        self._keys.clear()

    def _follow(self, on: bool) -> None:
        self.choice.follow(on)
        pairs = (
            (self._viewer.dims.events.current_step, self._on_step),
            (self._viewer.layers.selection.events.active, self._on_selection),
        )
        for event, react in pairs:
            event.disconnect(react)
            if on:
                event.connect(react)
        self._give_keys_back()
        if on:
            self._take_keys()
            self._on_selection()

    def event(self, event: QEvent | None) -> bool:
        """Follow the viewer while docked: napari only takes a closed widget out of its dock."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None and not self._docked:
                self._docked = True
                self._tasks.reopen()
                self._follow(True)
            elif self.parent() is None and self._docked:
                self._docked = False
                self._tasks.close()
                self._settled.stop()
                self._follow(False)
        return super().event(event)


def _limits(lazy: Any, preset: Callable[..., tuple[float, float]], deviation: float) -> tuple[float, float]:
    image = as_image(lazy)
    sample = smoothed_sample(image, deviation)
    return preset(image) if sample is image else preset(sample, step=1)


def _attributes(layer: Image) -> dict[str, Any]:
    """What our layers keep in their attributes, of a layer that may be anybody's."""
    return {
        "name": layer.name,
        "scale": tuple(np.asarray(layer.scale)),
        "units": tuple(str(unit) for unit in layer.units),
        "axis_labels": tuple(layer.axis_labels),
        "colormap": "gray",
        "contrast_limits": tuple(layer.contrast_limits),
        "metadata": dict(layer.metadata),
    }


def _spectrum(lazy: Any, attributes: dict[str, Any]) -> LayerData:
    return power_spectrum_layer(as_image(lazy), attributes, "power spectrum")


def _summed(data: Any, attributes: dict[str, Any], request: GainRequest, index: int) -> LayerData:
    made = summed_layer(data, attributes, gain=request.open())
    levels = made[0][0] if isinstance(made[0], list | tuple) else made[0]
    as_image(levels[index])  # napari would read it in the main thread
    return made
