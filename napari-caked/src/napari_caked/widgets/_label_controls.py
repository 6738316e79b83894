"""Everything about labelling that has a button or a key: clicks, corrections, suggestions, empty micrographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker

from napari_caked.layers import series_from_layer
from napari_caked.suggest import suggest_places
from napari_caked.widgets._correcting import Corrector
from napari_caked.widgets._in_view import go_to_micrograph, micrograph_in_view
from napari_caked.widgets._keys import Keys
from napari_caked.widgets._label_set import LabelSet
from napari_caked.widgets._labelling import ClickTool
from napari_caked.widgets._live import LiveLayers, resize
from napari_caked.widgets._saving import describe
from napari_caked.widgets._suggesting import SuggestionWalk
from napari_caked.widgets._train_form import KEYS_IN_WORDS, TrainForm
from napari_caked.widgets._work import Work
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.errors import NothingFoundError

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Points

__all__ = ["LabelControls"]


class LabelControls:
    """Connects buttons and keys with what they do to the labels.

    Parameters
    ----------
    viewer, form, live, work
        Of the trainer.
    """

    def __init__(self, viewer: napari.viewer.Viewer, form: TrainForm, live: LiveLayers, work: Work) -> None:
        self._viewer, self._form, self._live, self._work = viewer, form, live, work
        self._tool: ClickTool | None = None
        self._hidden: list[Any] = []
        self.label_set = LabelSet(viewer, lambda: form.micrographs.layer, self._on_change)
        self.corrector = Corrector(viewer, self.label_set, lambda: live.picks)
        self.walk = SuggestionWalk(viewer, self.label_set, self.corrector, self._hint)
        self._keys = Keys(
            viewer,
            {
                "N": lambda: self.step(1),
                "B": lambda: self.step(-1),
                "E": form.empty.click,
                "H": form.hide_marks.click,
                "A": self.accept,
                "X": self.reject,
                "Control-Z": self.undo,
                "Control-Shift-Z": self.redo,
            },
        )
        form.inspector.rejects = self.label_set.rejects
        form.click_tool.toggled.connect(self._switch_tool)
        form.not_this.toggled.connect(self._on_not_this)
        form.undo.clicked.connect(self.undo)
        form.redo.clicked.connect(self.redo)
        form.previous.clicked.connect(lambda: self.step(-1))
        form.next.clicked.connect(lambda: self.step(1))
        form.empty.clicked.connect(self._on_empty)
        form.hide_marks.toggled.connect(self._on_hide)
        form.accept_shown.clicked.connect(self.accept_shown)
        form.suggest.clicked.connect(self.suggest)

    def hold(self, on: bool) -> None:
        """Follow the viewer and hold its keys, or let go of both."""
        step = self._viewer.dims.events.current_step
        step.disconnect(self._on_micrograph)
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._on_layers)
        layers.removed.disconnect(self._on_layers)
        self._keys.hold(on)
        if on:
            step.connect(self._on_micrograph)
            layers.inserted.connect(self._on_layers)
            layers.removed.connect(self._on_layers)
            self._on_layers()
        else:
            self.walk.stop()
            self._form.click_tool.setChecked(False)
            self._form.hide_marks.setChecked(False)

    @property
    def micrograph(self) -> int | None:
        """Number of the micrograph in view; None where the slider stands beyond them all."""
        return micrograph_in_view(self._viewer.dims, self._form.micrographs.layer)

    def in_view(self) -> int:
        """The same, the first micrograph brought into view where none is: a density may have taken the slider along."""
        if self.micrograph is None:
            self.step(0)
        return self.micrograph or 0

    # ---- which labels -------------------------------------------------------------------------------------------

    def choose(self, labels: Points | None) -> None:
        """Work on this layer of labels."""
        self.label_set.choose(labels)
        self._form.click_tool.setEnabled(labels is not None)
        if labels is None:
            self._form.click_tool.setChecked(False)
        elif self._tool is not None:
            self._tool.show_cursor()
        self._claim_keys()
        self._on_micrograph()

    def resize(self, pixels: float) -> None:
        """Draw marks as wide as a particle of this many pixels."""
        for layer in (self.label_set.labels, self.label_set.negatives):
            if layer is not None and "score" not in layer.features:
                resize(layer, pixels)
        if self._tool is not None:
            self._tool.show_cursor()

    def _on_layers(self, _event: Any = None) -> None:
        """Layers came or went, perhaps that of what is no particle, or that of picks."""
        self.label_set.choose(self.label_set.labels if self.label_set.labels in self._viewer.layers else None)
        self._claim_keys()

    def _claim_keys(self) -> None:
        """On points napari itself selects all with A, and deletes with Delete; here they answer."""
        for layer in (self.label_set.labels, self.label_set.negatives, self._live.picks, self.walk.layer):
            if layer is not None:
                self._keys.claim(layer, "A")
        if self._live.picks is not None:
            for key in ("Delete", "Backspace"):
                self._live.picks.bind_key(key, lambda _layer: self.reject(), overwrite=True)

    # ---- what is done -------------------------------------------------------------------------------------------

    def step(self, by: int) -> None:
        """Go to the next micrograph, or the one before."""
        here = self.micrograph
        go_to_micrograph(self._viewer.dims, self._form.micrographs.layer, 0 if here is None else here + by)

    def undo(self) -> None:
        """Take the last change of the labels back."""
        self.label_set.history.undo()

    def redo(self) -> None:
        """Do it again."""
        self.label_set.history.redo()

    def accept(self) -> None:
        """Say "a particle" of the suggestion, or of the selected picks, or of the one under the mouse."""
        self._answer(negative=False)

    def accept_shown(self) -> None:
        """Make labels of all picks shown on the micrograph in view."""
        if not self._has_labels():
            return
        here = self.micrograph
        said = self.corrector.accept_shown(here) if here is not None else 0
        picks = "One pick is a label" if said == 1 else f"{said} picks are labels"
        self._hint(f"{picks} now. <b>Ctrl-Z</b> takes it back." if said else "No pick is shown here that is no label.")

    def reject(self) -> None:
        """Say "not this" of the suggestion, or of the selected picks, or of the one under the mouse."""
        self._answer(negative=True)

    def _answer(self, *, negative: bool) -> None:
        if self.walk.under_way:
            self.walk.answer(negative=negative)
            return
        if not self._has_labels():
            return
        said = self.corrector.reject() if negative else self.corrector.accept()
        if not said:
            self._hint("There is no pick under the mouse, and none is selected.")
        else:
            what = {True: "no particle", False: "a label"} if said == 1 else {True: "no particles", False: "labels"}
            picks = "The pick is" if said == 1 else f"{said} picks are"
            self._hint(f"{picks} {what[negative]} now. <b>Ctrl-Z</b> takes it back, <b>Improve</b> learns from it.")

    def _has_labels(self) -> bool:
        """Whether there is a layer for answers; else it is said."""
        if self.label_set.labels is None:
            self._hint("There is no layer for the answers; press 'New labels'.")
        return self.label_set.labels is not None

    def suggest(self) -> None:
        """Look for places whose labels would teach most, in a thread, and walk through them."""
        image, picks = self._form.micrographs.layer, self._live.picks
        try:
            if image is None or picks is None or not len(picks.data):
                raise NothingFoundError("suggestions need picks; train a picker first")
            if self.label_set.labels is None:
                raise NothingFoundError("there is no layer for the answers; press 'New labels'")
            series = series_from_layer(image, self._form.pixel_size.value() or None)
            labels, negatives = self.label_set.tables(series.names, image)
            # Of all candidates, also those that the threshold hides; layers belong to this thread.
            candidates = ParticleTable(series.names, np.array(picks.data, float), picks.features.copy())
            diameter = self._form.diameter.value()
            pixels = diameter / series.require_pixel_size()
        except Exception as error:
            self._hint(describe(error))
            return
        self._form.suggest.setEnabled(False)

        def look() -> ParticleTable:
            return suggest_places(series, candidates, labels, negatives, particle_diameter=diameter)

        def done(places: ParticleTable) -> None:
            self._form.suggest.setEnabled(True)
            self.walk.start(places, image, diameter, pixels)
            self._claim_keys()

        def failed(error: Exception) -> None:
            self._form.suggest.setEnabled(True)
            self._hint(describe(error))

        self._work.run(look, done=done, failed=failed)

    # ---- what follows from it -----------------------------------------------------------------------------------

    def _switch_tool(self, on: bool) -> None:
        if self._tool is not None:
            self._tool.close()
            self._tool = None
        if on and self.label_set.labels is not None:
            self._tool = ClickTool(self._viewer, self.label_set, lambda: self._form.micrographs.layer)
            self._tool.negative = self._form.not_this.isChecked()

    def _on_not_this(self, on: bool) -> None:
        if self._tool is not None:
            self._tool.negative = on
        elif on:
            self._form.click_tool.setChecked(True)

    def _on_empty(self, on: bool) -> None:
        image = self._form.micrographs.layer
        if image is None or self.label_set.labels is None:
            self._form.empty.setChecked(False)
            self._hint("There are no labels; press 'New labels' first.")
            return
        names = series_from_layer(image).names
        if (here := self.micrograph) is not None:
            self.label_set.set_empty(names[here], on)

    def _on_hide(self, hide: bool) -> None:
        if hide:
            marks = (self.label_set.labels, self.label_set.negatives, self._live.picks, self.walk.layer)
            self._hidden = [layer for layer in marks if layer is not None and layer.visible]
        for layer in self._hidden:
            layer.visible = not hide

    def _on_change(self) -> None:
        """The labels have changed."""
        form, history = self._form, self.label_set.history
        form.counts.setText(self.label_set.in_words())
        form.undo.setEnabled(history.can_undo)
        form.redo.setEnabled(history.can_redo)
        form.inspector.refilter()
        self._on_micrograph()

    def _on_micrograph(self, _event: Any = None) -> None:
        image = self._form.micrographs.layer
        names = image.metadata.get("micrographs") if image is not None else None
        blocker = QSignalBlocker(self._form.empty)
        here = self.micrograph
        name = names[here] if names and here is not None and here < len(names) else None
        self._form.empty.setChecked(name is not None and name in self.label_set.empty)
        blocker.unblock()

    def _hint(self, text: str) -> None:
        self._form.hint.setText(text or KEYS_IN_WORDS)
