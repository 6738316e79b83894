"""The looks of the trainer: its fields, buttons and plots, without what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Points
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_caked.settings import TrainingSettings
from napari_caked.widgets._plots import LinePlot
from napari_caked.widgets.inspect import PickPanel
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["TrainForm"]


class TrainForm:
    """Lays the trainer out in ``parent`` and keeps its parts under their names.

    Parameters
    ----------
    parent
        Gets the layout.
    viewer
        Whose layers are offered.
    defaults
        What seed and device begin with.
    """

    def __init__(self, parent: QWidget, viewer: napari.viewer.Viewer, defaults: TrainingSettings) -> None:
        self._defaults = defaults
        self.devices_unknown = True
        self.inspector = PickPanel(viewer)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(8)
        column.addWidget(self._data(viewer))
        column.addWidget(self._training())
        column.addWidget(self._picks())
        column.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        layout = QVBoxLayout(parent)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self._parent, self._inner, self._area = parent, inner, area

    def fit(self) -> None:
        """Make room, so that nothing is cut off at the right; napari's style is known only once it is shown."""
        bar = self._area.verticalScrollBar()
        beside = bar.sizeHint().width() if bar is not None else 0
        self._parent.setMinimumWidth(self._inner.minimumSizeHint().width() + beside)

    def _data(self, viewer: napari.viewer.Viewer) -> QWidget:
        self.micrographs = LayerChoice(viewer, _is_image, "an Image layer")
        self.labels = LayerChoice(viewer, _may_be_labels, "press 'New labels'")
        self.new_labels = QPushButton("New labels")
        self.new_labels.setToolTip("Add an empty layer for labels, and label by clicking")
        self.diameter = _length("not set", decimals=1)
        self.diameter.setToolTip("Diameter of the particle in Å, its long axis; the circles are this wide")
        self.pixels = QLabel("= ? px")
        self.pixel_size = _length("unknown", decimals=4)
        self.pixel_size.setSingleStep(0.1)
        self.pixel_size.setToolTip("Å per pixel, from the layer; correct it here where the header is wrong")
        self.click_tool = QPushButton("Label by clicking")
        self.click_tool.setCheckable(True)
        self.click_tool.setToolTip(
            "Left click: add a label, or remove the one clicked on. Right click: remove. Drag: move the picture."
        )
        self.undo, self.redo = QPushButton("Undo"), QPushButton("Redo")
        self.undo.setToolTip("Ctrl-Z on the canvas")
        self.redo.setToolTip("Ctrl-Shift-Z on the canvas")
        self.counts = QLabel()
        box, form = _box("Data")
        form.addRow("Micrographs", self.micrographs)
        form.addRow("Labels", _row((self.labels, 1), (self.new_labels, 0)))
        form.addRow("Diameter", _row((self.diameter, 1), (self.pixels, 0)))
        form.addRow("Pixel size", _row((self.pixel_size, 1), (QLabel("per pixel"), 0)))
        form.addRow(_row((self.click_tool, 1), (self.undo, 0), (self.redo, 0)))
        form.addRow(self.counts)
        return box

    def _training(self) -> QWidget:
        self.device = QComboBox()
        self.device.setToolTip("Where to train; auto takes a GPU if there is one")
        self.set_devices([])
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setValue(self._defaults.seed)
        self.seed.setToolTip("The same seed and data give the same picks")
        self.train = QPushButton("Train")
        self.train.setMinimumHeight(30)
        self.progress = QProgressBar()
        self.progress.setMinimumHeight(18)
        self.progress.hide()
        self.curve = LinePlot("loss")
        self.status = QLabel("Label about ten particles, then train.")
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.setWordWrap(True)
        box, form = _box("Training")
        form.addRow("Device", _row((self.device, 1), (QLabel("Seed"), 0), (self.seed, 0)))
        for widget in (self.train, self.progress, self.status, self.curve):
            form.addRow(widget)
        return box

    def _picks(self) -> QWidget:
        self.save_model = QPushButton("Save model…")
        self.save_model.setToolTip("Write the trained picker, to pick with it elsewhere or later")
        self.save_model.setEnabled(False)
        box, form = _box("Picks")
        form.addRow(self.inspector)
        form.addRow(self.save_model)
        return box

    def set_devices(self, found: list[tuple[str, str]]) -> None:
        """Offer ``auto``, ``cpu`` and what was found, keeping the choice."""
        chosen = self.device.currentData() or self._defaults.device
        self.device.clear()
        for name, words in [("auto", ""), ("cpu", ""), *found]:
            self.device.addItem(f"{name} ({words})" if words else name, name)
        self.device.setCurrentIndex(max(self.device.findData(chosen), 0))

    def follow(self, on: bool) -> None:
        """Follow the viewer, or stop doing so."""
        self.micrographs.follow(on)
        self.labels.follow(on)
        self.inspector.follow(on)


def _is_image(layer: Layer) -> bool:
    return isinstance(layer, Image) and layer.ndim >= 2


def _may_be_labels(layer: Layer) -> bool:
    """Points of one's own; picks have scores."""
    return isinstance(layer, Points) and "logit" not in layer.features


def _length(nothing: str, decimals: int) -> QDoubleSpinBox:
    """Field for a length in Å; zero is shown as ``nothing``."""
    box = QDoubleSpinBox()
    box.setRange(0, 100_000)
    box.setDecimals(decimals)
    box.setSuffix(" Å")
    box.setSpecialValueText(nothing)
    return box


def _box(title: str) -> tuple[QGroupBox, QFormLayout]:
    box = QGroupBox(title)
    form = QFormLayout(box)
    form.setContentsMargins(8, 8, 8, 8)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return box, form


def _row(*parts: tuple[QWidget, int]) -> QWidget:
    """Widgets beside each other, with how much each stretches."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget, stretch in parts:
        layout.addWidget(widget, stretch)
    return row
