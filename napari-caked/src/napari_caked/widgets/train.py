"""The trainer: click on some particles, train, look at the picks, correct them, train again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QWidget

from napari_caked.layers import labels_layer, pixel_size_of
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.widgets import _messages as messages
from napari_caked.widgets import _origins as origins
from napari_caked.widgets import _phases as phases
from napari_caked.widgets._devices import tell_devices
from napari_caked.widgets._garbage import clear_up
from napari_caked.widgets._job_making import Reading, general_job, picking_job, training_job
from napari_caked.widgets._label_controls import LabelControls
from napari_caked.widgets._live import LiveLayers
from napari_caked.widgets._model_files import ModelFiles, Picker
from napari_caked.widgets._process import Helper
from napari_caked.widgets._progress import Progress, in_bytes
from napari_caked.widgets._saving import describe
from napari_caked.widgets._train_density import DensityStart
from napari_caked.widgets._train_form import TrainForm
from napari_caked.widgets._work import Work
from napari_empiarreader.errors import NothingFoundError

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["PickerTrainer"]

_MAKE_AFTER, _TRAIN_AFTER, _SCORES_AFTER = 500, 300, 100
"""Milliseconds from a new labels layer to the layers beside it, from the click on "Train" to the training, which takes
the processor, and from the picks of a preview to its scores."""


class PickerTrainer(QWidget):
    """Label particles by clicking, train a picker on them, see its picks on all micrographs, correct them.

    Parameters
    ----------
    napari_viewer
        Whose layers.

    Attributes
    ----------
    settings
        Defaults of the training; what the fields of the form say replaces them.
    files
        The present picker, and how it is opened and saved.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.settings = TrainingSettings(particle_diameter=0.0)
        self.picking = PickSettings()
        self._work = Work()
        self._helper: Helper | None = None
        self._job_now: phases.TrainerJob | None = None
        self._own_labels: messages.OwnLabels | None = None
        self._finished = self._failed = self._docked = False
        self.form = TrainForm(self, napari_viewer, self.settings)
        self.progress = Progress(self, self.form.progress, self.form.overall, self._say)
        self.live = LiveLayers(napari_viewer, self.form.inspector, self._work)
        self.labelling = LabelControls(napari_viewer, self.form, self.live, self._work)
        self.files = ModelFiles(self, self.form, self._work, self._say)
        self.density = DensityStart(self, self.form, self._work)
        self._connect()
        self._on_micrographs(self.form.micrographs.layer)
        self.labelling.choose(self.form.labels.layer)

    def _connect(self) -> None:
        form = self.form
        form.micrographs.chosen.connect(self._on_micrographs)
        form.labels.chosen.connect(self.labelling.choose)
        form.new_labels.clicked.connect(self.add_labels_layer)
        form.diameter.valueChanged.connect(self._on_size)
        form.pixel_size.valueChanged.connect(self._on_size)
        form.pick_unlabelled.clicked.connect(self.pick_without_labels)
        form.train_unlabelled.clicked.connect(lambda: self.start(without_labels=True))
        form.train.clicked.connect(self._on_train)
        form.improve.clicked.connect(self.improve)
        form.pause.clicked.connect(self._on_pause)
        form.finish.clicked.connect(self.finish)
        form.score_map.toggled.connect(self._on_score_map)
        form.pick.clicked.connect(self.pick)
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
        # What further layers cost is not felt in the moment in which the user turns from this button to the canvas.
        self._work.soon(_MAKE_AFTER, lambda: self.live.make_room(image, layer))
        self._work.soon(2 * _MAKE_AFTER, self.labelling.label_set.require_negatives)

    def _on_micrographs(self, layer: Image | None) -> None:
        self.form.pixel_size.setValue((pixel_size_of(layer) if layer is not None else None) or 0)
        self._on_size()

    def _on_size(self, _value: float = 0.0) -> None:
        diameter, pixel_size = self.form.diameter.value(), self.form.pixel_size.value()
        pixels = diameter / pixel_size if pixel_size else 0.0
        self.form.pixels.setText(f"= {pixels:.0f} px" if pixels else "= ? px")
        if pixels:
            self.labelling.resize(pixels)

    # ---- training -----------------------------------------------------------------------------------------------

    @property
    def training(self) -> bool:
        """Whether a training is under way."""
        return self._helper is not None

    @property
    def model(self) -> bytes | None:
        """Content of the model file of the present picker; None before the first."""
        return self.files.picker.model if self.files.picker is not None else None

    def start(self, improve: Picker | None = None, *, without_labels: bool = False) -> None:
        """Train on what the form says, then pick on all micrographs; everything slow happens elsewhere.

        Parameters
        ----------
        improve
            The picker to begin with; None begins anew.
        without_labels
            Learn from the surest picks of the general picker, where there are no labels; or of one that learns from
            simulated micrographs first, where the form says of which density.
        """
        if self.training:
            return
        try:
            job, read = training_job(
                self.form, self.labelling, self.settings, self.picking, without_labels=without_labels
            )
            if improve is not None:
                job = replace(job, training=improve.improving(job.training), start=improve.model)
        except Exception as error:
            self._report(error)
            return
        job = replace(job, keep=self.files.to_keep_in())
        if without_labels and self.form.density.wanted.isChecked():
            self._say("Reading the density…")
            self.density.give_to(
                job, lambda job: self._learn(job, read), self._report, has_model=self.model is not None
            )
        else:
            self._learn(job, read)

    def _learn(self, job: messages.Job, read: Reading) -> None:
        self.form.curve.restart()
        self.form.validation.restart()
        self.form.validation.hide()
        self._begin(job, read, job.training.particle_diameter)

    def pick_without_labels(self) -> None:
        """Adapt the general picker to the micrographs, make it the present one, and pick on all of them."""
        if self.training:
            return
        try:
            job, read = general_job(self.form, self.labelling, self.picking)
        except Exception as error:
            self._report(error)
            return
        self._begin(job, read, job.particle_diameter)

    def pick(self) -> None:
        """Pick on all micrographs with the present picker."""
        picker = self.files.picker
        if self.training or picker is None:
            return
        try:
            job, read = picking_job(self.form, picker.model, self.picking)
        except Exception as error:
            self._report(error)
            return
        self._begin(job, read, picker.particle_diameter)

    def _begin(self, job: phases.TrainerJob, read: Reading, diameter: float) -> None:
        self.live.make_room(self.form.micrographs.layer, self.labelling.label_set.labels)
        self._job_now, self._own_labels, self._finished, self._failed = job, None, False, False
        pixel_size = self.form.pixel_size.value()
        learning = isinstance(job, messages.Job)
        self.live.begin(diameter / pixel_size, pixel_size, learning=learning)
        self.form.warn("")
        self.form.set_busy(True, learning=learning, has_model=self.model is not None)
        self.progress.begin(phases.phases_of(job))
        if not isinstance(job, messages.PickJob):
            self._viewer.dims.events.current_step.connect(self._look)
        self._helper = self._work.converse(
            job, read, heard=self._hear, failed=self._fail, ended=self._end, after=_TRAIN_AFTER
        )

    def improve(self) -> None:
        """Train the present picker on, from the labels and corrections there are now."""
        if self.files.picker is not None:
            self.start(self.files.picker)

    def cancel(self) -> None:
        """End the training; model and picks of an earlier one stay."""
        if self._helper is not None and not self._helper.cancelled:
            self.form.train.setText("Cancelling…")
            for button in (self.form.train, self.form.pause, self.form.finish):
                button.setEnabled(False)
            self._helper.cancel()

    def finish(self) -> None:
        """Learn no more, keep the best picker so far, and pick with it."""
        if self._helper is not None:
            self.form.finish.setEnabled(False)
            self.progress.pause(False)
            self._helper.tell(messages.Stop())

    def pause(self, on: bool) -> None:
        """Learn nothing for a while, or go on."""
        if self._helper is not None:
            self._helper.tell(messages.Pause() if on else messages.Resume())
            self.progress.pause(on)
            self.form.pause.setText("Resume" if on else "Pause")

    def _on_train(self) -> None:
        self.cancel() if self.training else self.start()

    def _on_pause(self) -> None:
        self.pause(not self.progress.paused)

    def _on_score_map(self, on: bool) -> None:
        self.live.show_scores(on, self.form.micrographs.layer)
        self._look()

    def _look(self, _event: Any = None) -> None:
        """Tell the helper what is looked at."""
        if self._helper is not None:
            self._helper.tell(messages.Look(self.labelling.micrograph, self.form.score_map.isChecked()))

    def _hear(self, message: messages.Message) -> None:
        form, progress = self.form, self.progress
        match message:
            case messages.Advanced():
                progress.enter(message.what, message.total, message.done)
            case messages.Looked():
                progress.enter(phases.LOOKING, message.total, message.done)
                if message.done == message.total:
                    progress.enter(phases.ADAPTING, 0)
            case messages.Adapted() if isinstance(self._job_now, messages.GeneralJob):
                self._take_general(message, self._job_now)
            case messages.OwnLabels():
                self._own_labels = message
                if isinstance(self._job_now, messages.Job):
                    form.warn(origins.without_labels(message, self._job_now))
            case messages.Prepared():
                progress.enter(phases.PREPARING, message.total, message.done)
            case messages.Learned():
                progress.device = message.device
                progress.enter(phases.LEARNING, message.steps, message.step)
                form.curve.extend(message.losses, message.step, message.steps)
                form.validation.steps = form.curve.steps
            case messages.Validated():
                form.validation.add(message.step, message.average_precision, message.best)
                form.validation.show()
                form.finish.setEnabled(True)
            case messages.Previewed():
                self.live.preview(message.index, message.picks)
                # A moment later: two short stalls are not felt, a long one is.
                if (plane := message.scores) is not None:
                    self._work.soon(_SCORES_AFTER, lambda: self.live.scores(message.index, plane))
                form.finish.setEnabled(True)
            case messages.Warned():
                form.warn(message.message)
            case messages.Memory():
                form.memory.setText(in_bytes(message))
                form.memory.show()
            case messages.Kept():
                self.files.kept = Path(message.path)
            case messages.Trained() if isinstance(self._job_now, messages.Job):
                training = self._job_now.training
                origin = origins.of_training(self._job_now, self._own_labels)
                self.files.take(
                    Picker(message.model, training.particle_diameter, training.network, training.preprocess, origin)
                )
                form.save_model.setEnabled(True)
                for button in (form.pause, form.finish):
                    button.setEnabled(False)
                progress.enter(phases.PICKING, len(self._job_now.names))
            case messages.Picked():
                progress.device = message.device or progress.device
                progress.enter(phases.PICKING, message.total, message.done)
                self.live.add(message.picks)
                self._finished = message.done == message.total
                for button in (form.suggest, form.accept_shown):
                    button.setEnabled(True)

    def _take_general(self, answer: messages.Adapted, job: messages.GeneralJob) -> None:
        """The general picker has adapted itself, as far as it can."""
        origin = origins.of_general(answer, len(job.names))
        self.files.take(Picker(answer.model, job.particle_diameter, answer.network, answer.preprocess, origin))
        if not answer.changed:
            self.form.warn(origins.ten_too_few(answer, job.particle_diameter))
        self.form.save_model.setEnabled(True)
        self.progress.enter(phases.PICKING, len(job.names))

    def _end(self) -> None:
        """Say how it went, and offer to train again."""
        cancelled = self._helper is not None and self._helper.cancelled
        progress, took = self.progress, self.progress.elapsed
        picking, learned = progress.phase == phases.PICKING, isinstance(self._job_now, messages.Job)
        self._reset()
        if self._failed:  # which is said already
            return
        if self._finished and self.live.picks is None:
            self._say("All micrographs are picked, but the layer of picks was removed meanwhile: 'Pick' makes it anew.")
        elif self._finished:
            what = "Trained and picked" if learned else "Picked"
            general = isinstance(self._job_now, messages.GeneralJob)
            by = f" with {self.form.picker.text()}" if general else ""
            self._say(f"{what} {progress.total} micrographs in {took} on {progress.device}{by}.")
        elif cancelled and picking and progress.done:
            self._say(f"Cancelled after {took}; {progress.done} of {progress.total} micrographs are picked.")
        elif cancelled:
            self._say(f"Cancelled after {took}; what was there before is kept.")
        elif progress.phase == phases.LEARNING:
            self._say(f"Stopped after {took}, before there was a picker; what was there before is kept.")
        if cancelled and learned and not picking:
            self.files.put_back()

    def _reset(self) -> None:
        self._helper = None
        self._viewer.dims.events.current_step.disconnect(self._look)
        self.progress.end()
        self.live.end()
        self.form.memory.hide()
        self.form.set_busy(False, has_model=self.model is not None)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        self.progress.end()  # else its clock may write over the message until the process has ended
        self._say(describe(error, self.files.what_is_left() if isinstance(self._job_now, messages.Job) else ""))

    def _report(self, error: Exception) -> None:
        self._say(describe(error))

    def _say(self, text: str) -> None:
        self.form.status.setText(text)

    # ---- beginning and end --------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Look for devices when the widget is first seen."""
        super().showEvent(event)
        clear_up()
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
        self.labelling.hold(True)

    def _close(self) -> None:
        self._work.close()
        self.files.release()
        self._reset()
        self.labelling.hold(False)
        self.form.follow(False)
