"""The form of the pruner's window: what there is to choose, press and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Points
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_caked.widgets._gallery import Gallery
from napari_caked.widgets._plots import Histogram
from napari_empiarreader.widgets.layer_choice import LayerChoice
from napari_empiarreader.widgets.progress_bar import CalmProgressBar

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["ORDERS", "PruneForm"]

ORDERS = ("best first", "worst first", "most doubtful first")
"""In words, in the order of :class:`._gallery.Order`."""

_HELP = (
    "Click a picture: good · right click: bad · again: neither · Shift: all since the last click · "
    "arrows, G and B: the same by key · Ctrl and wheel: size"
)


def _is_stack(layer: Layer) -> bool:
    return isinstance(layer, Image) and layer.ndim in (2, 3) and not layer.rgb


def _is_picks(layer: Layer) -> bool:
    return isinstance(layer, Points) and layer.ndim in (2, 3)


class PruneForm:
    """Lays the window out in ``parent`` and keeps its parts under their names.

    Parameters
    ----------
    parent
        Gets the layout.
    viewer
        Whose layers are offered.
    """

    def __init__(self, parent: QWidget, viewer: napari.viewer.Viewer) -> None:
        column = QVBoxLayout(parent)
        column.setContentsMargins(6, 6, 6, 6)
        column.addLayout(self._data(viewer))
        column.addLayout(self._jobs())
        self.train_picker = QCheckBox("Train a picker on the marks, too")
        self.train_picker.setChecked(True)
        self.train_picker.setToolTip(
            "From ten good marks on: better verdicts, half a minute and a look at all micrographs later"
        )
        column.addWidget(self.train_picker)
        self.progress, self.overall = CalmProgressBar(), CalmProgressBar()
        self.overall.setMaximumHeight(14)
        for bar in (self.progress, self.overall):
            bar.hide()
            column.addWidget(bar)
        self.status = _words("Choose picks of any program and their micrographs, then judge them.")
        column.addWidget(self.status)
        self.histogram = Histogram()
        self.histogram.setToolTip("How many picks have which probability of being particles; drag the line")
        column.addWidget(self.histogram)
        column.addLayout(self._threshold())
        self.counts = _words("")
        column.addWidget(self.counts)
        column.addLayout(self._order())
        self.gallery = Gallery()
        self.gallery.setToolTip(_HELP)
        column.addWidget(self.gallery, 1)
        self.marks = _words("")
        column.addWidget(self.marks)
        column.addLayout(self._keeping())

    def _data(self, viewer: napari.viewer.Viewer) -> QFormLayout:
        self.picks = LayerChoice(viewer, _is_picks, "a Points layer")
        self.micrographs = LayerChoice(viewer, _is_stack, "an Image layer")
        self.diameter, self.pixel_size = QDoubleSpinBox(), QDoubleSpinBox()
        for box, most, decimals in ((self.diameter, 10_000.0, 1), (self.pixel_size, 100.0, 4)):
            box.setRange(0, most)
            box.setDecimals(decimals)
            box.setSuffix(" Å")
            box.setSpecialValueText("?")
        self.diameter.setToolTip("Diameter of the particle")
        self.pixel_size.setToolTip("Of the micrographs; headers lie, so it can be changed")
        form = QFormLayout()
        form.addRow("Picks", self.picks)
        form.addRow("Micrographs", self.micrographs)
        form.addRow("Diameter", self.diameter)
        form.addRow("Pixel size", self.pixel_size)
        return form

    def _jobs(self) -> QHBoxLayout:
        self.judge, self.learn = QPushButton("Judge"), QPushButton("Learn from marks")
        self.map_junk, self.cancel = QPushButton("Map junk"), QPushButton("Cancel")
        self.map_junk.setToolTip("Mark ice, carbon, gold and dirt in a Labels layer, and flag the picks that lie there")
        self.judge.setToolTip("Give each pick the probability that it is a particle; nothing is removed")
        self.learn.setToolTip("Learn from the pictures marked as good and as bad, then judge all picks again")
        return _row(self.judge, self.learn, self.map_junk, self.cancel)

    def _threshold(self) -> QFormLayout:
        self.slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 1)
        self.slider.setDecimals(2)
        self.slider.setToolTip("Least probability of the picks that are shown; the others are hidden, not lost")
        form = QFormLayout()
        self.hide_junk = QCheckBox("Hide picks on junk, too")
        self.hide_junk.setEnabled(False)
        form.addRow("Threshold", self.slider)
        form.addRow("", self.hide_junk)
        return form

    def _order(self) -> QHBoxLayout:
        self.order = QComboBox()
        self.order.addItems(ORDERS)
        return _row(QLabel("Pictures"), self.order)

    def _keeping(self) -> QHBoxLayout:
        self.undo, self.redo, self.save = QPushButton("Undo"), QPushButton("Redo"), QPushButton("Save both…")
        self.undo.setToolTip("Take the last mark back")
        self.save.setToolTip("Write the picks that stay, and beside them those that do not, with their probabilities")
        return _row(self.undo, self.redo, self.save)

    def set_busy(self, on: bool, *, judged: bool, learnable: bool) -> None:
        """Offer what can be done while a job is under way, or while none is."""
        self.cancel.setEnabled(on)
        for widget in (
            self.picks,
            self.micrographs,
            self.diameter,
            self.pixel_size,
            self.judge,
            self.map_junk,
            self.train_picker,
        ):
            widget.setEnabled(not on)
        self.learn.setEnabled(not on and learnable)
        for part in (self.histogram, self.slider, self.save):
            part.setEnabled(judged)


def _words(text: str) -> QLabel:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    return label


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, 0 if isinstance(widget, QLabel) else 1)
    return row
