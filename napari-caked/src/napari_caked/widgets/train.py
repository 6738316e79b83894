"""The trainer: click on some particles, train, look at the picks."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QWidget

from napari_caked.errors import DiameterError, LabelsError
from napari_caked.layers import labels_layer, picks_layer, pixel_size_of, series_from_layer, table_from_points
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.widgets import _messages as messages
from napari_caked.widgets._devices import tell_devices
from napari_caked.widgets._labelling import ClickTool
from napari_caked.widgets._process import Helper
from napari_caked.widgets._saving import ask_for_file, describe
from napari_caked.widgets._train_form import TrainForm
from napari_caked.widgets._work import Work
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.errors import NothingFoundError, PixelSizeError
from napari_empiarreader.files import replaced_when_complete

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Points

__all__ = ["PickerTrainer"]

_LEAST_SCORE = 0.02
"""Candidates below it are surely no particles, and each point of a layer costs time whether it is shown or not."""

_MAKE_AFTER, _PAINT_AFTER, _TRAIN_AFTER = 500, 300, 300
"""Milliseconds from a new labels layer to the layer for picks, from that to its first painting, and from the click on
"Train" to the training, which takes the processor."""


class PickerTrainer(QWidget):
    """Label particles by clicking, train a picker on them, see its picks on all micrographs.

    Parameters
    ----------
    napari_viewer
        Whose layers.

    Attributes
    ----------
    settings
        Defaults of the training; the fields of the form replace diameter, seed and device.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.settings = TrainingSettings(particle_diameter=0.0)
        self.picking = PickSettings()
        self.model: bytes | None = None
        self._work = Work()
        self._helper: Helper | None = None
        self._tool: ClickTool | None = None
        self._labels: Points | None = None
        self._picks: Points | None = None
        self._parts: list[ParticleTable] = []
        self._picks_on: Image | None = None
        self._micrographs = 0
        self._width, self._pixel_size = 0.0, 0.0
        self._docked = False
        self._phase, self._phase_began, self._began = "", 0.0, 0.0
        self._done, self._total, self._device = 0, 0, ""
        self.form = TrainForm(self, napari_viewer, self.settings)
        self._clock = QTimer(self)
        self._clock.setInterval(500)
        self._clock.timeout.connect(self._show_time)
        self._connect()
        self._on_micrographs(self.form.micrographs.layer)
        self._on_labels(self.form.labels.layer)

    def _connect(self) -> None:
        form = self.form
        form.micrographs.chosen.connect(self._on_micrographs)
        form.labels.chosen.connect(self._on_labels)
        form.new_labels.clicked.connect(self.add_labels_layer)
        form.click_tool.toggled.connect(self._switch_tool)
        form.undo.clicked.connect(self._undo)
        form.redo.clicked.connect(self._redo)
        form.diameter.valueChanged.connect(self._on_size)
        form.pixel_size.valueChanged.connect(self._on_size)
        form.train.clicked.connect(self._on_train)
        form.save_model.clicked.connect(self._ask_and_save_model)
        self._viewer.layers.events.removed.connect(self._on_removed)
        # A main window that closes destroys its docks without a ParentChange.
        self.destroyed.connect(self._work.close)

    # ---- the data -----------------------------------------------------------------------------------------------

    def add_labels_layer(self) -> None:
        """Add an empty layer for labels, and switch the click tool on."""
        image = self.form.micrographs.layer
        try:
            if image is None:
                raise NothingFoundError("there are no micrographs to label; open some first")
            diameter, pixel_size = self.form.diameter.value() or None, self.form.pixel_size.value() or None
            layer = Layer.create(*labels_layer(image, diameter, pixel_size))
        except Exception as error:
            self._report(error)
            return
        self._viewer.add_layer(layer)
        self.form.labels.choose(layer)
        self._on_size()
        self.form.click_tool.setChecked(True)
        # What a second layer costs is not felt in the moment in which the user turns from this button to the canvas.
        self._work.soon(_MAKE_AFTER, lambda: self._make_room_for_picks(image))

    def _on_micrographs(self, layer: Image | None) -> None:
        self.form.pixel_size.setValue((pixel_size_of(layer) if layer is not None else None) or 0)
        self._on_size()

    def _on_labels(self, layer: Points | None) -> None:
        if self._labels is not None:
            self._labels.events.data.disconnect(self._count)
        self._labels = layer
        if layer is not None:
            layer.events.data.connect(self._count)
        self.form.click_tool.setEnabled(layer is not None)
        if layer is None:
            self.form.click_tool.setChecked(False)
        self._switch_tool(self.form.click_tool.isChecked())
        self._count()

    def _switch_tool(self, on: bool) -> None:
        if self._tool is not None:
            self._tool.close()
            self._tool = None
        if on and self._labels is not None:
            self._tool = ClickTool(self._viewer, self._labels, lambda: self.form.micrographs.layer)
        for button in (self.form.undo, self.form.redo):
            button.setEnabled(self._tool is not None)

    def _undo(self) -> None:
        if self._tool is not None:
            self._tool.undo()

    def _redo(self) -> None:
        if self._tool is not None:
            self._tool.redo()

    def _on_size(self, _value: float = 0.0) -> None:
        diameter, pixel_size = self.form.diameter.value(), self.form.pixel_size.value()
        pixels = diameter / pixel_size if pixel_size else 0.0
        self.form.pixels.setText(f"= {pixels:.0f} px" if pixels else "= ? px")
        if pixels and self._labels is not None and "score" not in self._labels.features:
            _resize(self._labels, pixels)

    def _count(self, _event: Any = None) -> None:
        if self._labels is None:
            self.form.counts.setText("no labels yet")
            return
        data = np.asarray(self._labels.data)[np.broadcast_to(self._labels.shown, len(self._labels.data))]
        on = len(np.unique(np.rint(data[:, 0]))) if data.shape[1] == 3 else min(len(data), 1)
        particles, micrographs = "particle" + "s" * (len(data) != 1), "micrograph" + "s" * (on != 1)
        self.form.counts.setText(f"<b>{len(data)}</b> {particles} on <b>{on}</b> {micrographs}")

    def _on_removed(self, event: Any) -> None:
        if event.value is self._picks:
            self._picks = self._picks_on = None
            self.form.inspector.set_layer(None)

    # ---- training -----------------------------------------------------------------------------------------------

    @property
    def training(self) -> bool:
        """Whether a training is under way."""
        return self._helper is not None

    def start(self) -> None:
        """Train on what the form says, then pick on all micrographs; everything slow happens elsewhere."""
        if self.training:
            return
        try:
            job, read = self._job()
        except Exception as error:
            self._report(error)
            return
        self._make_room_for_picks(self.form.micrographs.layer)
        self._micrographs, self._parts = len(job.names), []
        self._pixel_size = self.form.pixel_size.value()
        self._width = job.training.particle_diameter / self._pixel_size
        self._began, self._device = time.monotonic(), ""
        self.form.curve.restart(job.training.steps)
        self.form.train.setText("Cancel")
        self._enter("Starting PyTorch", 0)
        self._clock.start()
        self._helper = self._work.converse(
            job, read, heard=self._hear, failed=self._report, ended=self._end, after=_TRAIN_AFTER
        )

    def cancel(self) -> None:
        """End the training; model and picks of an earlier one stay."""
        if self._helper is not None and not self._helper.cancelled:
            self.form.train.setText("Cancelling…")
            self.form.train.setEnabled(False)
            self._helper.cancel()

    def _on_train(self) -> None:
        self.cancel() if self.training else self.start()

    def _job(self) -> tuple[messages.Job, Any]:
        """What the helper must know; labels are copied here, because layers belong to the main thread."""
        image, form = self.form.micrographs.layer, self.form
        if image is None:
            raise NothingFoundError("there are no micrographs to train on; open some first")
        if self._labels is None:
            raise LabelsError("there are no labels; press 'New labels' and click on some particles")
        if form.diameter.value() <= 0:
            raise DiameterError("the particle diameter is missing; type it in Å in the field 'Diameter'")
        if form.pixel_size.value() <= 0:
            raise PixelSizeError("the pixel size is missing; type it in Å in the field 'Pixel size'")
        series = series_from_layer(image, form.pixel_size.value())
        labels = table_from_points(self._labels, series.names, image)
        if not len(labels):
            raise LabelsError("there are no labels; click on some particles first (ten are enough to begin with)")
        settings = replace(
            self.settings,
            particle_diameter=form.diameter.value(),
            seed=form.seed.value(),
            device=form.device.currentData(),
        )
        # Only where and on what: features of the labels are of no use for training.
        labels = ParticleTable(labels.micrographs, labels.coordinates)
        picking = replace(self.picking, device=settings.device)
        about = series.names, series.shape, series.dtype, series.pixel_size, series.source
        return messages.Job(*about, labels, settings, picking, _LEAST_SCORE), series.read

    def _hear(self, message: messages.Message) -> None:
        match message:
            case messages.Prepared():
                self._enter("Preparing micrographs", message.total, message.done)
            case messages.Learned():
                self._device = message.device
                self._enter("Learning", message.steps, message.step)
                self.form.curve.extend(message.losses)
            case messages.Trained():
                self.model = message.model
                self.form.save_model.setEnabled(True)
                self._enter("Picking", self._micrographs)
            case messages.Picked():
                self._parts.append(message.picks)
                self._enter("Picking", message.total, message.done)
                self._show_picks()

    def _end(self) -> None:
        """Say how it went, and offer to train again."""
        cancelled = self._helper is not None and self._helper.cancelled
        finished = self._phase == "Picking" and self._done == self._total > 0
        took = _minutes(time.monotonic() - self._began)
        self._reset()
        if cancelled:
            kept = f"; {self._done} of {self._total} micrographs are picked" if self._parts else ""
            self._say(f"Cancelled after {took}{kept or '; what was there before is kept'}.")
        elif finished:
            self._say(f"Trained and picked {self._total} micrographs in {took} on {self._device}.")

    def _reset(self) -> None:
        self._helper = None
        self._clock.stop()
        self.form.progress.hide()
        self.form.train.setText("Train")
        self.form.train.setEnabled(True)

    # ---- what is seen of it -------------------------------------------------------------------------------------

    def _enter(self, phase: str, total: int, done: int = 0) -> None:
        if phase != self._phase or done == 0:
            self._phase, self._phase_began = phase, time.monotonic()
        self._done, self._total = done, total
        self._show_time()

    def _show_time(self) -> None:
        bar, now = self.form.progress, time.monotonic()
        # Qt repaints the whole window at each new value, unless it may not; then it does so when it has time.
        bar.setUpdatesEnabled(False)
        bar.setRange(0, self._total)
        bar.setValue(self._done)
        bar.setFormat(f"{self._phase}: {self._done} of {self._total}")
        bar.setUpdatesEnabled(True)
        bar.show()
        words = [f"{self._phase} on {self._device}" if self._device else self._phase]
        words.append(f"{_minutes(now - self._began)} elapsed")
        if 0 < self._done < self._total:
            left = (now - self._phase_began) / self._done * (self._total - self._done)
            words.append(f"about {_minutes(left)} left")
        self._say(" · ".join(words))

    def _make_room_for_picks(self, image: Image) -> None:
        """Have a layer for picks that lies on ``image``; neither the selection nor the view changes.

        A new layer costs napari 0.2 s: half for its controls, half for its first painting, when vispy builds its
        shaders. Made early and empty, and painted a moment later, it does not make the window stick while training.
        """
        layers = self._viewer.layers
        if image not in layers or (self._picks is not None and self._picks_on is image):
            return
        import pandas as pd

        columns = pd.DataFrame({"score": [], "logit": [], "diameter": []}, dtype=float)
        nothing = ParticleTable(series_from_layer(image).names, np.empty((0, 3)), columns)
        layer = Layer.create(*picks_layer(nothing, image))
        layer.visible = False
        selected, active = set(layers.selection), layers.selection.active
        layers.append(layer)
        layers.selection = selected
        layers.selection.active = active
        self._picks, self._picks_on = layer, image
        self._work.soon(_PAINT_AFTER, self._first_painting)

    def _first_painting(self) -> None:
        if self._picks is not None:
            self._picks.visible = True

    def _show_picks(self) -> None:
        """Show everything picked so far."""
        import pandas as pd

        if self._picks is None:  # removed by the user meanwhile
            return
        table = replace(
            self._parts[-1],
            coordinates=np.concatenate([part.coordinates for part in self._parts]),
            features=pd.concat([part.features for part in self._parts], ignore_index=True),
        )
        self._picks.metadata.update(table.metadata, pixel_size=self._pixel_size)
        if len(self._parts) == 1:
            _resize(self._picks, self._width)
        self.form.inspector.replace_picks(self._picks, table)

    def _report(self, error: Exception) -> None:
        self._say(describe(error))

    def _say(self, text: str) -> None:
        self.form.status.setText(text)

    # ---- saving -------------------------------------------------------------------------------------------------

    def save_model(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the trained picker as ``.safetensors``."""
        try:
            if self.model is None:
                raise LabelsError("there is no model yet; train one first")
            with replaced_when_complete(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(self.model)
        except Exception as error:
            self._report(error)
            return
        self._say(f"Model written to {path}")
        show_info(f"Model written to {path}")

    def _ask_and_save_model(self) -> None:
        path = ask_for_file(self, "Save model", "picker.safetensors", "Picker model")
        if path is not None:
            self.save_model(path, overwrite=True)

    # ---- beginning and end --------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Look for devices when the widget is first seen."""
        super().showEvent(event)
        QTimer.singleShot(0, self.form.fit)
        if self.form.devices_unknown:
            self.form.devices_unknown = False
            tell_devices(self._work, self.form.set_devices)

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: napari only takes the widget out of it, and does not destroy it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            docked = self.parent() is not None
            if docked != self._docked:
                self._docked = docked
                self._open() if docked else self._close()
        return super().event(event)

    def _open(self) -> None:
        self.form.follow(True)

    def _close(self) -> None:
        self._work.close()
        self._reset()
        self.form.click_tool.setChecked(False)
        self.form.follow(False)


def _resize(layer: Points, pixels: float) -> None:
    """Draw circles of this width, also for points to come."""
    # napari gives a new size to what is selected, and trips over selected points that are gone.
    layer.selected_data = set()
    layer.current_size = pixels
    if len(layer.data):
        layer.size = pixels


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
