"""Looking at micrographs: from one to the next, contrast, a low-pass, the sum of a movie, the power spectrum."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Layer
from qtpy.QtCore import QStringListModel, Qt
from qtpy.QtWidgets import (
    QCompleter,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
)

from napari_empiarreader.errors import UserError
from napari_empiarreader.layers import LayerData, summed_layer
from napari_empiarreader.micrographs.gain import OrientationGuess
from napari_empiarreader.widgets._contrast_box import ContrastBox
from napari_empiarreader.widgets._docked import DockedWidget, scrolling
from napari_empiarreader.widgets._shown import (
    as_image,
    go_to,
    is_micrographs,
    layer_attributes,
    micrograph_names,
    shown_index,
)
from napari_empiarreader.widgets._spectrum_box import SpectrumBox
from napari_empiarreader.widgets._summing import GainRequest, SumForm, best_orientations
from napari_empiarreader.widgets._telling import WrappedLabel, report
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["MicrographView"]


class MicrographView(DockedWidget):
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
        self._keys: dict[Any, tuple[Callable[..., None], Any]] = {}
        self._movies: WeakKeyDictionary[Image, Image] = WeakKeyDictionary()  # by the sums that stand in their place
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

        self.contrast = ContrastBox(self._viewer, self._tasks, self._report)
        self.spectrum = SpectrumBox(self._viewer, self._tasks, self._report)
        self.sums = SumForm()
        self.frames = QPushButton("Show frames")
        self.frames.setToolTip("The movie again, in the place of its sums")
        self.busy = QLabel()
        self.status = WrappedLabel()

        steps = QHBoxLayout()
        steps.addWidget(self.back)
        steps.addWidget(self.place, stretch=1)
        steps.addWidget(self.next)
        top = QFormLayout()
        top.addRow("Layer", self.choice)
        top.addRow("Go to", self.name)
        self.setMinimumWidth(300)
        layout = scrolling(self)
        layout.addLayout(top)
        layout.addLayout(steps)
        for widget in (self.contrast, self.sums, self.frames, self.spectrum, self.busy, self.status):
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
        self.sums.button.clicked.connect(self.sum_frames)
        self.frames.clicked.connect(self.show_frames)
        self.sums.propose.clicked.connect(self.propose_orientation)

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
        self.contrast.on_step()
        self.spectrum.on_step()

    def _on_layer(self, layer: Image | None) -> None:
        self.name.setEnabled(layer is not None)
        self._names.setStringList([] if layer is None else micrograph_names(layer))
        self.sums.setVisible(layer is not None and layer.ndim >= 4)
        self.frames.setVisible(layer is not None and layer in self._movies)
        self.contrast.set_layer(layer)
        self.spectrum.set_layer(layer)
        self._show_place()

    def _on_selection(self, _event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and is_micrographs(active):
            self.choice.choose(active)

    # ---- sums of movies ---------------------------------------------------------------------------------------------

    def sum_frames(self) -> None:
        """Put the sums of a movie layer's frames in its place; each is computed when it is shown."""
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
            layer_attributes(movie),
            request,
            shown_index(self._viewer, movie),
            done=lambda made: self._show_sums(movie, made),
            failed=self._report,
            title="Summing frames",
        )

    def _show_sums(self, movie: Image, made: LayerData) -> None:
        """Exchange a movie for its sums.

        Side by side the slider of the movie's frames would move the sums: napari lays the last axes over each other.
        """
        index = shown_index(self._viewer, movie)
        layer = Layer.create(made[0], {**made[1], "visible": False}, made[2])
        self._movies[layer] = movie
        self._exchange(movie, layer, index)
        self.status.setText("Each sum is computed when it is shown. 'Show frames' brings the movie back.")

    def show_frames(self) -> None:
        """Put the movie back in the place of its sums."""
        sums = self.layer
        if sums is None or sums not in self._movies:
            return
        self._exchange(sums, self._movies.pop(sums), shown_index(self._viewer, sums))
        self.status.setText("")

    def _exchange(self, out: Layer, into: Layer, index: int) -> None:
        """One layer in the place of another, at the same micrograph."""
        layers = self._viewer.layers
        if out not in layers:  # the user has removed it meanwhile
            return
        place = layers.index(out)
        layers.remove(out)
        into.visible = False
        layers.insert(place, into)
        self.choice.choose(into)
        go_to(self._viewer, into, index)
        into.visible = True

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

    def _show_proposal(self, guesses: list[OrientationGuess]) -> None:
        self.status.setText(self.sums.show_proposal(guesses))

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _report(self, error: Exception) -> None:
        self.status.setText(report(error))

    def show_work(self) -> None:
        """Say what is under way."""
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

    def follow(self, on: bool) -> None:
        """Follow the viewer, and have its keys; or stop doing so."""
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
        else:
            self.contrast.stop()
            self.spectrum.stop()


def _summed(data: Any, attributes: dict[str, Any], request: GainRequest, index: int) -> LayerData:
    made = summed_layer(data, attributes, gain=request.open())
    levels = made[0][0] if isinstance(made[0], list | tuple) else made[0]
    as_image(levels[index])  # napari would read it in the main thread
    return made
