"""The simulator: a density in; a live preview, stacks of micrographs with their truth, and folders of them out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from napari.settings import get_settings
from qtpy.QtCore import QEvent, QTimer, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_caked.layers import pixel_size_of, series_from_layer
from napari_caked.simulate.settings import MeasuredNoise, SimulationSettings
from napari_caked.widgets import _sim_messages as messages
from napari_caked.widgets._label_set import add_quietly
from napari_caked.widgets._messages import Stop
from napari_caked.widgets._process import Helper
from napari_caked.widgets._saving import describe
from napari_caked.widgets._sim_density import DensityChoice
from napari_caked.widgets._sim_form import SimulatorForm
from napari_caked.widgets._sim_layers import bring_into_view, may_be_density
from napari_caked.widgets._sim_making import MadeStack, made_stack, opened_micrographs
from napari_caked.widgets._sim_preview import LivePreview
from napari_caked.widgets._sim_stack import Stack
from napari_caked.widgets._work import Work
from napari_empiarreader.errors import NothingFoundError
from napari_empiarreader.layers import LayerData

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["MicrographSimulator"]

_NEXT = "To train on them, choose both layers in 'Train particle picker'."
_PREVIEW_AFTER = 15
"""Milliseconds in which several changes count as one."""


class MicrographSimulator(QWidget):
    """Simulate micrographs of a density, in the likeness of real ones if there are any.

    Parameters
    ----------
    napari_viewer
        Whose layers.

    Attributes
    ----------
    noise
        Background of the real micrographs that were matched; None before.
    """

    advanced = Signal(object)
    """Something that runs in a thread is this far."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._work = Work()
        self._docked = False
        self._helper: Helper | None = None
        self._stacks: list[MadeStack] = []
        self._making: Stack | None = None
        self.noise: MeasuredNoise | None = None
        self.form = SimulatorForm(self, napari_viewer, SimulationSettings())
        self.preview = LivePreview(
            napari_viewer,
            self._work,
            measured=self._on_measured,
            said=self.form.latency.setText,
            ended=self._on_preview_ended,
        )
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PREVIEW_AFTER)
        self._soon.timeout.connect(self._ask)
        self.density = DensityChoice(self.form, self._work, self._on_density)
        self._connect()
        self._on_background_changed()

    def _connect(self) -> None:
        form = self.form
        form.open_map.clicked.connect(self._choose_map)
        form.open_real.clicked.connect(self._choose_real)
        form.match.clicked.connect(self.match)
        form.live.toggled.connect(self._on_live)
        form.make.clicked.connect(self.make)
        form.save.clicked.connect(self._choose_folder)
        form.cancel.clicked.connect(self.cancel)
        form.background.toggled.connect(self._set_background)
        form.real.chosen.connect(lambda _layer: self._soon.start())
        form.when_changed(self._soon.start)
        self.advanced.connect(self._hear)
        get_settings().experimental.events.async_.connect(self._on_background_changed)
        self._viewer.dims.events.current_step.connect(self._look_ahead)
        # A main window that closes destroys its docks without a ParentChange.
        self.destroyed.connect(self._work.close)

    # ---- the density ------------------------------------------------------------------------------------------------

    def use_density(self, layer: Image) -> None:
        """Take a density from a layer and preview micrographs of it.

        Parameters
        ----------
        layer
            ``(z, y, x)`` in volts, its scale the voxel size in Å.
        """
        if not may_be_density(layer):
            self._report(NothingFoundError(f"the layer '{layer.name}' is no volume (z, y, x) with equal voxels"))
            return
        self.density.take_layer(layer)
        self.form.live.setChecked(True)

    def open_map(self, path: str | Path) -> None:
        """Take a density from an MRC or CCP4 file and preview micrographs of it."""
        self.density.take_file(Path(path))
        self.form.live.setChecked(True)

    def _choose_map(self) -> None:
        if (path := self.density.ask_for_file(self)) is not None:
            self.open_map(path)

    def _on_density(self) -> None:
        if not self.density.given:
            self.form.live.setChecked(False)
        self._restart_preview()

    # ---- the preview ------------------------------------------------------------------------------------------------

    def _on_live(self, on: bool) -> None:
        self._restart_preview()
        if not on:
            self.form.latency.setText("")

    def _restart_preview(self) -> None:
        self.preview.stop()
        if self.form.live.isChecked():
            self.density.read(self._begin_preview, self._on_preview_ended)

    def _begin_preview(self, specimen: messages.Specimen) -> None:
        if self.form.live.isChecked():
            self.preview.start(specimen)
            self._ask()

    def _ask(self) -> None:
        """Want what the form says now."""
        if not self.preview.running:
            return
        self.preview.real, self.preview.beside = self.form.real.layer, self.form.beside.isChecked()
        try:
            settings = self.form.preview_settings(self.noise)
        except Exception as error:
            self._report(error)
            return
        self.preview.ask(settings, self.form.number.value() - 1)

    def _on_measured(self, diameter: float) -> None:
        self.form.diameter.setSpecialValueText(f"{diameter:.0f} Å, measured")

    def _on_preview_ended(self, error: Exception | None) -> None:
        self.form.live.setChecked(False)
        if error is not None:
            self._report(error)

    # ---- the real ---------------------------------------------------------------------------------------------------

    def open_real(self, paths: list[str | Path]) -> None:
        """Open real micrographs as a layer, to compare with and to match."""
        self._work.run(opened_micrographs(paths), done=self._add_real, failed=self._failed)

    def _choose_real(self) -> None:
        chosen, _ = QFileDialog.getOpenFileNames(self, "Open real micrographs")
        if chosen:
            self.open_real(list(chosen))

    def _add_real(self, layer_data: LayerData) -> None:
        layer = Layer.create(*layer_data)
        self._viewer.add_layer(layer)
        bring_into_view(self._viewer, layer)
        self.form.real.choose(layer)

    def match(self) -> None:
        """Measure the real micrographs, and set the form so that simulated ones look like them."""
        layer = self.form.real.layer
        try:
            if layer is None:
                raise NothingFoundError("there are no real micrographs; open some, or choose their layer")
            settings = self.form.settings(None)
            series = series_from_layer(layer, pixel_size_of(layer) or settings.pixel_size)
        except Exception as error:
            self._report(error)
            return
        dose = self.form.dose.value() if self.form.by_dose.isChecked() else None
        about = series.names, series.shape, series.dtype, series.pixel_size, series.source

        def begin(specimen: messages.Specimen) -> None:
            self._converse(messages.MatchJob(specimen, settings, dose, *about), series.read)

        self._begin(begin)

    # ---- stacks and folders -----------------------------------------------------------------------------------------

    def make(self) -> None:
        """Add layers of micrographs, simulated when they are looked at, and of the truth about them."""
        try:
            settings = self.form.settings(self.noise)
        except Exception as error:
            self._report(error)
            return
        count, looked_at = self.form.count.value(), self._in_view()

        def begin(specimen: messages.Specimen) -> None:
            self._making = stack = Stack(messages.StackJob(specimen, settings, count))
            self._work.run(
                lambda: made_stack(stack, settings, count, specimen.name, looked_at, self._tell),
                done=self._add_stack,
                failed=self._failed,
            )

        self._begin(begin)

    def _tell(self, message: object) -> None:
        """From a thread, to the main one."""
        with suppress(RuntimeError):  # the widget may be gone
            self.advanced.emit(message)

    def _add_stack(self, made: MadeStack) -> None:
        self._making = None
        self._end()
        made.layers.extend(Layer.create(*layer) for layer in made.layer_data)
        for layer in made.layers:
            add_quietly(self._viewer, layer)
        if self.preview.image is not None:
            self.form.live.setChecked(False)
            for layer in (self.preview.image, self.preview.points):
                if layer is not None:
                    layer.visible = False
        self._stacks = [old for old in self._stacks if old.layers[0] in self._viewer.layers] + [made]
        made.end_with_layer(self._viewer.layers)
        words = f"{len(made.series)} micrographs, {len(made.layers[1].data)} particles. {_NEXT}"
        deep = [layer.name for layer in self._viewer.layers if layer.ndim >= 3 and layer not in made.layers]
        self._say(words + (f" '{deep[0]}' shares their slider; remove it to step from one to the next." * bool(deep)))
        bring_into_view(self._viewer, made.layers[0])
        self._viewer.reset_view()
        self._look_ahead()

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write micrographs and truth to a folder, as ``napari-caked simulate`` does."""
        try:
            settings = self.form.settings(self.noise)
        except Exception as error:
            self._report(error)
            return
        count = self.form.count.value()

        def begin(specimen: messages.Specimen) -> None:
            self._converse(messages.SaveJob(specimen, settings, count, str(folder), overwrite))

        self._begin(begin)

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder for micrographs and truth")
        if not chosen:
            return
        there = (Path(chosen) / "particles.star").exists()
        if there:
            question = f"{Path(chosen).name} holds simulated micrographs already. Replace them?"
            if QMessageBox.question(self, "Save", question) != QMessageBox.StandardButton.Yes:
                return
        self.save(chosen, overwrite=there)

    def _look_ahead(self, _event: Any = None) -> None:
        """Simulate the neighbours of the micrograph in view, so that the next step finds them ready."""
        for made in self._stacks:
            if made.stack.awake:
                self._work.run(made.ahead(self._in_view()), done=_nothing, failed=_nothing)

    def _in_view(self) -> int:
        """Number of the micrograph that the slider is at; layers with depth may give it another range."""
        point = self._viewer.dims.point
        return max(round(point[-3]), 0) if len(point) >= 3 else 0

    # ---- one job after the other ------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a job other than the preview is under way."""
        return self.form.cancel.isVisibleTo(self)

    def cancel(self) -> None:
        """End the job; what was saved is kept, with its truth."""
        self.form.cancel.setEnabled(False)
        if self._making is not None:
            self._making.rest()
        elif self._helper is not None:
            self._helper.tell(Stop()) if self._saving else self._helper.cancel()

    def _begin(self, then: Callable[[messages.Specimen], None]) -> None:
        if self.busy:
            return
        self._said = self._saving = False
        self.form.set_busy(True)
        self.form.advance("Reading the density", 0, 0)
        self.density.read(then, self._failed)

    def _converse(self, job: Any, read: Any = None) -> None:
        self._saving = isinstance(job, messages.SaveJob)
        self._helper = self._work.converse(job, read, heard=self._hear, failed=self._failed, ended=self._end_talk)

    def _hear(self, message: Any) -> None:
        match message:
            case messages.Advanced():
                self.form.advance(message.what, message.done, message.total)
            case messages.Matched():
                self.noise = message.settings.noise
                self.form.take(message.settings)
                self._say(f"In the likeness of {message.words}.")
            case messages.Saved():
                wanted = self.form.progress.maximum()
                words = f"{message.count} micrographs" + (f" of {wanted}" if message.count < wanted else "")
                self._say(f"Saved {words} and their truth in {Path(message.files[0]).parent}.")

    def _end_talk(self) -> None:
        if not self._said:
            self._say("Cancelled.")
        self._end()

    def _end(self) -> None:
        self._helper = None
        self.form.set_busy(False)

    def _failed(self, error: Exception) -> None:
        cancelled = self._making is not None and not self.form.cancel.isEnabled()
        self._making = None
        self._end()
        if cancelled:
            self._say("Cancelled.")
        else:
            self._report(error)

    def _report(self, error: Exception) -> None:
        self._say(describe(error))

    def _say(self, text: str) -> None:
        self._said = True
        self.form.status.setText(text)

    # ---- background loading: napari's own preference, only ever switched by the user --------------------------------

    def _set_background(self, on: bool) -> None:
        get_settings().experimental.async_ = on

    def _on_background_changed(self, _event: Any = None) -> None:
        with suppress(RuntimeError):  # the widget may be gone
            self.form.background.setChecked(bool(get_settings().experimental.async_))

    # ---- beginning and end ------------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Make room for the form when it is first seen."""
        super().showEvent(event)
        QTimer.singleShot(0, self.form.fit)

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: napari only takes the widget out of it, and does not destroy it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            docked = self.parent() is not None
            if docked != self._docked:
                self._docked = docked
                with suppress(RuntimeError):  # the window may be half gone
                    self.form.follow(docked)
                    if not docked:
                        self._close()
        return super().event(event)

    def _close(self) -> None:
        """End all that runs, but what fills the layers of stacks: they live on without this widget."""
        self._work.close()
        self.form.live.setChecked(False)
        self.preview.stop()
        if self._making is not None:
            self._making.rest()
            self._making = None
        self._end()


def _nothing(_answer: object) -> None:
    """What is simulated ahead is in the cache; an error comes again when it is looked at."""
