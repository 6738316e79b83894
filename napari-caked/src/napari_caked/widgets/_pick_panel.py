"""Histogram, threshold, minimum distance, counts and saving: what is shown on the canvas is what is saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget
from superqt import QCollapsible, QLabeledDoubleSlider

from napari_caked.calibration import expected_precision, expected_recall
from napari_caked.errors import LabelsError
from napari_caked.settings import PickSettings
from napari_caked.widgets._comparison import Comparison
from napari_caked.widgets._history import History
from napari_caked.widgets._in_view import go_to_micrograph, micrograph_in_view
from napari_caked.widgets._micrograph_table import MicrographTable
from napari_caked.widgets._pick_saving import PickFile, PickSaving, ask_for_pick_file
from napari_caked.widgets._plots import Histogram
from napari_caked.widgets._saving import describe
from napari_caked.widgets._spacing import LeftOut, MinimumDistance
from napari_caked.widgets._work import Work
from napari_empiarreader.coordinates import ParticleTable

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["PickPanel", "section"]


_BY_HAND = {"score": 1.0, "logit": 20.0}
"""Of picks that a person adds to the layer; napari would give them those of the last pick, the least sure of all."""


class PickPanel(QWidget):
    """Histogram, threshold, counts, comparison and saving for one Points layer at a time.

    Parameters
    ----------
    viewer
        Tells which micrograph is on the screen.

    Attributes
    ----------
    rejects
        Tells which of some points ``(n, 3)``, on micrographs with some names, are known to be no particles: they are
        neither shown nor saved, whatever their score.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._work = Work()
        self.layer: Points | None = None
        self.rejects: Callable[[np.ndarray, Sequence[str]], np.ndarray] | None = None
        self._replacing = False
        self.distance = MinimumDistance()
        self._left_out = LeftOut(self._work, self.distance, self._on_compared, self._say)
        self._saving = PickSaving(self, self._work, self._say)
        self._history = History(
            depth=50, more=lambda: self.distance.value, restore=self._take_distance, changed=self._on_history
        )
        self.histogram = Histogram()
        self.slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 1)
        self.slider.setDecimals(2)
        self.slider.setValue(PickSettings().threshold)
        self.slider.setToolTip("Least score (probability) of the picks that are shown and saved")
        self.counts, self.expected = QLabel(), QLabel()
        self.expected.setToolTip("Estimated from the scores, which are probabilities; see the comparison for the truth")
        self.previous, self.place, self.next = QPushButton("◀"), QLabel(), QPushButton("▶")
        self.place.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.undo_button = QPushButton("Undo")
        self.undo_button.setToolTip("Bring back the picks that were deleted last, or the minimum distance before")
        self.save_button = QPushButton("Save picks…")
        self.save_button.setToolTip("Write the shown picks for RELION, cryoSPARC, EMAN, crYOLO and others")
        self.status = QLabel()
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.hide()
        self.table = MicrographTable()
        self.comparison = Comparison(
            viewer, self._work, lambda: self.layer, lambda: self._left_out.close, self.set_threshold
        )
        self._lay_out()

        self.slider.valueChanged.connect(self.set_threshold)
        self.histogram.threshold_moved.connect(self.set_threshold)
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.distance.changed.connect(self._on_distance)
        self.table.wanted.connect(self.go_to)
        self.undo_button.clicked.connect(self._history.undo)
        self.save_button.clicked.connect(self.ask_and_save)
        self.destroyed.connect(self._work.close)
        self.follow(True)
        self.set_layer(None)

    def _lay_out(self) -> None:
        for label in (self.counts, self.expected, self.status):
            label.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.histogram)
        form = QFormLayout()
        form.addRow("Threshold", self.slider)
        form.addRow("Minimum distance", self.distance)
        layout.addLayout(form)
        layout.addWidget(self.expected)
        layout.addWidget(self.counts)
        where = QHBoxLayout()
        for button in (self.previous, self.next):
            button.setMaximumWidth(36)
        where.addWidget(self.previous)
        where.addWidget(self.place, 1)
        where.addWidget(self.next)
        layout.addLayout(where)
        self.by_micrograph = section("Counts of each micrograph", self.table)
        self.by_micrograph.toggled.connect(self._fill_table)
        layout.addWidget(self.by_micrograph)
        self.against_labels = section("Compare with labels", self.comparison)
        layout.addWidget(self.against_labels)
        buttons = QHBoxLayout()
        buttons.addWidget(self.undo_button)
        buttons.addWidget(self.save_button)
        layout.addLayout(buttons)
        layout.addWidget(self.status)

    @property
    def threshold(self) -> float:
        """Least score shown."""
        return self.histogram.threshold

    def follow(self, on: bool) -> None:
        """Follow the micrograph on the screen and the layer's changes, or stop doing so."""
        step = self._viewer.dims.events.current_step
        step.disconnect(self._count)
        self.comparison.labels.follow(on)
        if on:
            step.connect(self._count)
        else:
            self._work.close()
            self.set_layer(None)

    def step(self, by: int) -> None:
        """Go to the next micrograph, or the one before."""
        here = self._micrograph
        self.go_to(0 if here is None else here + by)

    def go_to(self, index: int) -> None:
        """Show a micrograph; numbers beyond the first and the last show those."""
        go_to_micrograph(self._viewer.dims, self.layer, index)

    def set_layer(self, layer: Points | None) -> None:
        """Show a layer's picks, at the threshold it was left with."""
        if self.layer is not None:
            for event in (self.layer.events.data, self.layer.events.features):
                event.disconnect(self._on_data)
        another, self.layer = layer is not self.layer, layer
        if another:
            self.comparison.forget()
            if layer is not None:
                self.distance.recall(layer)
        self._history.watch(layer)
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
        self.comparison.set_threshold(self.threshold)
        self._show()

    def replace_picks(self, layer: Points, picks: ParticleTable) -> None:
        """Put other picks into a layer and show it, in one go; threshold and minimum distance stay."""
        layer.metadata["threshold"] = self.threshold
        self.distance.remember(layer)
        self._replacing = True
        try:
            with self._history.unnoticed():
                layer.selected_data = set()
                layer.data = picks.coordinates
                layer.features = picks.features
                by_hand = {name: value for name, value in _BY_HAND.items() if name in picks.features}
                layer.feature_defaults = layer.feature_defaults.assign(**by_hand)
        finally:
            self._replacing = False
        self.comparison.forget()
        if layer is self.layer:
            self.refresh()
        else:
            self.set_layer(layer)

    def refresh(self) -> None:
        """Read the layer's scores anew."""
        self._judge()
        self._on_compared()

    def refilter(self) -> None:
        """Show what is left by threshold, minimum distance, and what is known of the places."""
        self._judge()
        self._show()

    def save(self, path: Path, *, format: str | None = None, overwrite: bool = False, ask: bool = False) -> None:
        """Write what is shown, in the background; then say how many picks that were.

        Parameters
        ----------
        path
            File to make; in formats of one micrograph, see :func:`napari_empiarreader.coordinates.write_particles`.
        format
            Its name there; None takes that of the suffix.
        overwrite, ask
            Whether files in the way are replaced, and whether the user is asked, else they stay.
        """
        try:
            if self.layer is None or not np.any(self.layer.shown):
                raise LabelsError("no picks are shown, so there is nothing to save; lower the threshold")
            file = PickFile(self.layer, self._viewer.layers)
        except Exception as error:
            self._say(describe(error))
            return

        self._saving.save(file, path, format=format, overwrite=overwrite, ask=ask)

    def ask_and_save(self) -> None:
        """Ask where to and in which format, then save."""
        chosen = ask_for_pick_file(self, "picks.star")
        if chosen is not None:
            self.save(chosen[0], format=chosen[1], ask=True)

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

    def _rejected(self) -> np.ndarray:
        """``(n,)`` bool: picks that are known to be no particles."""
        assert self.layer is not None
        if self.rejects is None or self.layer.ndim != 3:
            return np.zeros(len(self.layer.data), bool)
        return self.rejects(np.asarray(self.layer.data), self.layer.metadata.get("micrographs") or ())

    def _judge(self) -> None:
        """Find out which picks no threshold shows."""
        points = np.asarray(self.layer.data) if self.layer is not None else np.empty((0, 3))
        rejected = self._rejected() if self.layer is not None else np.empty(0, bool)
        self._left_out.judge(points, self._scores(), rejected)

    def _on_compared(self) -> None:
        """Many picks were compared with each other meanwhile."""
        self._show()
        self.histogram.set_scores(self._scores()[~self._left_out.all])

    def _show(self) -> None:
        """Show what reaches the threshold and is not out."""
        if self.layer is not None:
            # A pick without a score (a hand-made one) is hidden only where it is rejected.
            scores, out = self._scores(), self._left_out
            reach = ~(scores < self.threshold)
            if len(reach) == len(self.layer.data) == len(out.all):
                shown = reach & ~out.all
                if not np.array_equal(shown, self.layer.shown):
                    self.layer.shown = shown
                self.distance.show_hidden(int((reach & out.close).sum()))
        self._count()

    def _on_distance(self) -> None:
        """The user wants another minimum distance."""
        if self.layer is not None:
            self.distance.remember(self.layer)
            self._history.note()
            self.comparison.forget()
            self.refresh()

    def _take_distance(self, value: float) -> None:
        """Go back to an earlier minimum distance."""
        self.distance.set_value(value)
        if self.layer is not None:
            self.distance.remember(self.layer)
            self.comparison.forget()
            self.refresh()

    @property
    def _micrograph(self) -> int | None:
        """Number of the micrograph in view; None where the slider stands beyond them all."""
        return micrograph_in_view(self._viewer.dims, self.layer)

    def _count(self, _event: Any = None) -> None:
        names = list(self.layer.metadata.get("micrographs") or ()) if self.layer is not None else []
        place = self._micrograph
        words = f"{place + 1} of {len(names)}: {names[place]}" if place is not None and place < len(names) else ""
        self.place.setText(words)
        if self.layer is None:
            self.counts.setText("no picks yet")
            self.expected.setText("")
            return
        shown = np.broadcast_to(self.layer.shown, len(self.layer.data))
        here = np.ones(len(shown), bool)
        if self.layer.ndim == 3 and self._viewer.dims.ndim >= 3:
            here = np.rint(self.layer.data[:, 0]) == place
        self.counts.setText(
            f"this micrograph: <b>{shown[here].sum():,}</b> of {here.sum():,} · "
            f"all: <b>{shown.sum():,}</b> of {len(shown):,}"
        )
        scores = self._scores()
        # napari may move its slider, and so call this, after a layer got other data and before we hear of it.
        if len(scores) == len(shown) == len(self._left_out.all):
            known = scores[np.isfinite(scores) & ~self._left_out.all]
            self.expected.setText(_in_words(known, self.threshold, int(shown.sum())))
            self._fill_table()

    def _fill_table(self, _open: bool = False) -> None:
        if self.layer is None or self.layer.ndim != 3 or not self.by_micrograph.isExpanded():
            return
        scores, names = self._scores(), self.layer.metadata.get("micrographs")
        if names and len(scores) == len(self.layer.data):
            micrograph = np.rint(self.layer.data[:, 0]).astype(int)
            shown = np.broadcast_to(self.layer.shown, len(micrograph))
            self.table.show_counts(names, micrograph, scores, shown)

    def _on_history(self) -> None:
        self.undo_button.setEnabled(self._history.can_undo)

    def _on_data(self, event: Any = None) -> None:
        # The features of added points come a moment after their data.
        if self.layer is not None and not self._replacing and len(self._scores()) == len(self.layer.data):
            self.refresh()

    def _say(self, text: str) -> None:
        self.status.setText(text)
        self.status.setVisible(bool(text))


def section(title: str, inside: QWidget) -> QCollapsible:
    """Something that is folded away until it is wanted."""
    section = QCollapsible(title)
    section.setDuration(0)
    section.addWidget(inside)
    section.collapse(animate=False)
    return section


def _in_words(scores: np.ndarray, threshold: float, kept: int) -> str:
    """What a threshold is expected to give."""
    words = f"<b>{kept:,}</b> pick{'s' * (kept != 1)} kept"
    precision = float(expected_precision(scores, [threshold])[0])
    recall = float(expected_recall(scores, [threshold])[0])
    if not np.isfinite(precision) or not np.isfinite(recall):
        return words
    return f"{words}, about <b>{precision:.0%}</b> right, about <b>{recall:.0%}</b> of the particles"
