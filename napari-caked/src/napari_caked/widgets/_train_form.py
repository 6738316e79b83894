"""The looks of the trainer: its fields, buttons and plots, without what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Points
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_caked.layers import is_negatives, is_ours
from napari_caked.settings import TrainingSettings
from napari_caked.widgets._keeping import kept_folder
from napari_caked.widgets._pick_panel import PickPanel, section
from napari_caked.widgets._plots import LinePlot, ProgressPlot
from napari_caked.widgets._train_density import DensityFields
from napari_empiarreader.widgets.layer_choice import LayerChoice
from napari_empiarreader.widgets.progress_bar import CalmProgressBar

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["KEYS_IN_WORDS", "TrainForm"]

KEYS_IN_WORDS = (
    "Click: label · Shift-click: not this · A / X: accept / reject the pick under the mouse · "
    "N / B: next / previous micrograph · E: empty · H: hide marks"
)


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
        column.addWidget(self._without_labels(viewer))
        column.addWidget(self._labelling())
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
        box, form = _box("Data")
        form.addRow("Micrographs", self.micrographs)
        form.addRow("Labels", _row((self.labels, 1), (self.new_labels, 0)))
        form.addRow("Diameter", _row((self.diameter, 1), (self.pixels, 0)))
        form.addRow("Pixel size", _row((self.pixel_size, 1), (QLabel("per pixel"), 0)))
        return box

    def _without_labels(self, viewer: napari.viewer.Viewer) -> QWidget:
        self.pick_unlabelled = QPushButton("Pick without labels")
        self.pick_unlabelled.setToolTip(
            "Pick with the general picker, which knows many made-up particles: in seconds it learns from eight of the "
            "micrographs how yours look, by their diameter alone, and then picks all of them. Nothing else is needed"
        )
        self.train_unlabelled = QPushButton("Train without labels")
        self.train_unlabelled.setToolTip(
            "Train a new picker from the surest picks of the general one, of which about a tenth is wrong, instead of "
            "from labels; then pick all micrographs. What you have marked as no particle is learned from, too"
        )
        self.density = DensityFields(viewer)
        box, form = _box("Without labels")
        form.addRow(_row((self.pick_unlabelled, 1), (self.train_unlabelled, 1)))
        form.addRow(self.density)
        return box

    def _labelling(self) -> QWidget:
        self.click_tool = _toggle("Label by clicking")
        self.click_tool.setToolTip(
            "Left click: add a label, or remove the one clicked on. Shift and left click: not this. Right click: "
            "remove. Drag: move the picture."
        )
        self.not_this = _toggle("Not this")
        self.not_this.setToolTip("Let plain clicks mark what is no particle; Shift and click then adds a label")
        self.undo, self.redo = QPushButton("Undo"), QPushButton("Redo")
        self.undo.setToolTip("Ctrl-Z on the canvas")
        self.redo.setToolTip("Ctrl-Shift-Z on the canvas")
        self.previous, self.next = QPushButton("◀"), QPushButton("▶")
        self.previous.setToolTip("Previous micrograph (B on the canvas)")
        self.next.setToolTip("Next micrograph (N on the canvas)")
        for button in (self.previous, self.next):
            button.setMaximumWidth(36)
        self.empty = _toggle("Empty micrograph")
        self.empty.setToolTip("Say that the micrograph in view has no particles (E on the canvas)")
        self.hide_marks = _toggle("Hide marks")
        self.hide_marks.setToolTip("See the micrograph alone (H on the canvas)")
        self.accept_shown = QPushButton("Accept all picks here")
        self.accept_shown.setToolTip(
            "Make labels of all picks that are shown on this micrograph; reject the wrong ones first"
        )
        self.accept_shown.setEnabled(False)
        self.suggest = QPushButton("Suggest five places to label")
        self.suggest.setToolTip("Go to places that the picker is unsure of, and that are unlike each other")
        self.suggest.setEnabled(False)
        self.counts = QLabel()
        self.hint = QLabel(KEYS_IN_WORDS)
        self.hint.setWordWrap(True)
        box, form = _box("Labelling")
        form.addRow(_row((self.click_tool, 1), (self.not_this, 0), (self.undo, 0), (self.redo, 0)))
        form.addRow(_row((self.previous, 0), (self.empty, 1), (self.hide_marks, 0), (self.next, 0)))
        form.addRow(_row((self.suggest, 1), (self.accept_shown, 0)))
        form.addRow(self.counts)
        form.addRow(self.hint)
        return box

    def _training(self) -> QWidget:
        self.device = QComboBox()
        self.device.setToolTip("Where to train; auto takes a GPU if there is one")
        self.set_devices(None)
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setValue(self._defaults.seed)
        self.seed.setToolTip("The same seed and data give the same picks")
        self.hold_out = QSpinBox()
        self.hold_out.setRange(0, 999)
        self.hold_out.setValue(self._defaults.hold_out)
        self.hold_out.setSuffix(" of the labelled micrographs")
        self.hold_out.setSpecialValueText("no micrograph")
        self.hold_out.setToolTip(
            "Labelled micrographs to learn nothing from: they tell the average precision while the picker learns, and "
            "its best state is kept. Worth it where their particles are all labelled"
        )
        self.train, self.improve = QPushButton("Train"), QPushButton("Improve")
        self.train.setToolTip("Train a new picker from the labels, and pick on all micrographs")
        self.improve.setToolTip("Train the present picker on from the labels and corrections there are now")
        self.pause, self.finish = QPushButton("Pause"), QPushButton("Use best so far")
        self.finish.setToolTip("Learn no more, keep the best picker so far, and pick with it")
        for button in (self.train, self.improve):
            button.setMinimumHeight(30)
        self.improve.setEnabled(False)
        self.pause.hide()
        self.finish.hide()
        self.progress, self.overall = CalmProgressBar(), CalmProgressBar()
        for bar in (self.progress, self.overall):
            bar.setMinimumHeight(18)
            bar.hide()
        self.curve = LinePlot("loss")
        self.validation = ProgressPlot("average precision")
        self.validation.hide()
        self.status = _text("Pick without labels; or label about ten particles, then train.")
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)  # it may name a file
        self.warnings = _text("")
        self.warnings.setStyleSheet("color: #ff9d2f")
        self.warnings.hide()
        self.memory = QLabel()
        self.memory.hide()
        self.score_map = QCheckBox("Show score map")
        self.score_map.setToolTip("Lay the scores over the micrograph in view while the picker learns")
        box, form = _box("Training")
        form.addRow("Device", _row((self.device, 1), (QLabel("Seed"), 0), (self.seed, 0)))
        form.addRow("Hold out", self.hold_out)
        form.addRow(self._further_settings())
        form.addRow(_row((self.train, 1), (self.improve, 1), (self.pause, 1), (self.finish, 1)))
        for widget in (self.progress, self.overall, self.status, self.warnings, self.curve, self.validation):
            form.addRow(widget)
        form.addRow(_row((self.score_map, 1), (self.memory, 0)))
        return box

    def _further_settings(self) -> QWidget:
        """What seldom needs to be set; values of 0 leave it to the picker."""
        self.steps, self.batch_size = QSpinBox(), QSpinBox()
        self.steps.setRange(0, 1_000_000)
        self.steps.setSingleStep(100)
        self.steps.setSpecialValueText(f"automatic ({self._defaults.all_steps})")
        self.steps.setToolTip("Batches that 'Train' learns from; 'Improve' takes fewer")
        self.batch_size.setRange(2, 1024)
        self.batch_size.setValue(self._defaults.batch_size)
        self.batch_size.setSuffix(" crops")
        self.batch_size.setToolTip("Crops of micrographs per batch; fewer need less memory")
        self.expected = QDoubleSpinBox()
        self.expected.setRange(0, 1_000_000)
        self.expected.setDecimals(0)
        self.expected.setSingleStep(10)
        self.expected.setSpecialValueText("estimated")
        self.expected.setToolTip("Particles on a micrograph, on the mean, where you know better than the estimate")
        inside = QWidget()
        form = QFormLayout(inside)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Steps", self.steps)
        form.addRow("Batch", self.batch_size)
        form.addRow("Particles per micrograph", self.expected)
        return section("More settings", inside)

    def _picks(self) -> QWidget:
        self.save_model = QPushButton("Save model…")
        self.save_model.setToolTip("Write the trained picker, to pick with it elsewhere or later")
        self.open_model, self.pick = QPushButton("Open model…"), QPushButton("Pick")
        self.open_model.setToolTip(
            "Take a picker that was saved, to pick with it or to improve it. The last ones trained in napari, "
            f"also those that nobody saved, are in {kept_folder()}"
        )
        self.pick.setToolTip("Pick on all micrographs with the present picker, without learning")
        for button in (self.save_model, self.pick):
            button.setEnabled(False)
        box, form = _box("Picks")
        self.picker = _text("none yet")
        self.picker.setToolTip("What 'Pick' picks with, 'Improve' trains on, and 'Save model…' writes")
        form.addRow("Picker", self.picker)
        form.addRow(self.inspector)
        form.addRow(_row((self.open_model, 1), (self.pick, 1), (self.save_model, 1)))
        return box

    def show_picker(self, origin: str) -> None:
        """Say what the present picker is."""
        self.picker.setText(origin)

    def set_busy(self, on: bool, *, learning: bool = False, has_model: bool) -> None:
        """Offer what can be done while a job is under way, one that is ``learning`` or not, or while none is."""
        self.train.setText("Cancel" if on else "Train")
        self.train.setEnabled(True)
        self.improve.setVisible(not on)
        self.improve.setEnabled(has_model)
        self.pause.setText("Pause")
        self.finish.setEnabled(False)
        for button in (self.pause, self.finish):
            button.setVisible(on and learning)
        self.pause.setEnabled(on)
        for button in (self.open_model, self.pick_unlabelled, self.train_unlabelled):
            button.setEnabled(not on)
        self.pick.setEnabled(has_model and not on)
        self.save_model.setEnabled(has_model)

    def set_opening(self, on: bool, *, has_model: bool) -> None:
        """Offer nothing that would come between while a file is opened."""
        for button in (self.train, self.open_model, self.pick_unlabelled, self.train_unlabelled):
            button.setEnabled(not on)
        for button in (self.improve, self.pick):
            button.setEnabled(has_model and not on)
        self.save_model.setEnabled(has_model)

    def warn(self, text: str) -> None:
        """Show a warning under those that are shown; no text takes all of them away."""
        shown = self.warnings.text().splitlines() if text else []
        lines = [*shown, text] if text and text not in shown else shown
        self.warnings.setText("\n".join(lines))
        self.warnings.setVisible(bool(lines))

    def set_devices(self, found: list[tuple[str, str]] | None) -> None:
        """Offer ``auto``, ``cpu`` and what was found, keeping the choice; None: nobody has looked yet."""
        chosen = self.device.currentData() or self._defaults.device
        self.device.clear()
        for name, words in [("auto", ""), ("cpu", ""), *(found or [])]:
            self.device.addItem(f"{name} ({words})" if words else name, name)
        if found == []:
            self.device.addItem("cuda (no GPU found)", "cuda")
            absent = self.device.model().item(self.device.count() - 1)  # type: ignore[union-attr]
            absent.setEnabled(False)
            chosen = "auto" if chosen == "cuda" else chosen
        self.device.setCurrentIndex(max(self.device.findData(chosen), 0))

    def follow(self, on: bool) -> None:
        """Follow the viewer, or stop doing so."""
        self.micrographs.follow(on)
        self.labels.follow(on)
        self.density.follow(on)
        self.inspector.follow(on)


def _is_image(layer: Layer) -> bool:
    """Images that may be micrographs; a density that says so is none, whatever came first."""
    return isinstance(layer, Image) and layer.ndim >= 2 and not is_ours(layer) and "density" not in layer.metadata


def _may_be_labels(layer: Layer) -> bool:
    """Points of one's own; picks have log-odds, and what is no particle has its name."""
    points = isinstance(layer, Points) and "logit" not in layer.features
    return points and not is_negatives(layer) and not is_ours(layer)


def _length(nothing: str, decimals: int) -> QDoubleSpinBox:
    """Field for a length in Å; zero is shown as ``nothing``."""
    box = QDoubleSpinBox()
    box.setRange(0, 100_000)
    box.setDecimals(decimals)
    box.setSuffix(" Å")
    box.setSpecialValueText(nothing)
    return box


def _toggle(text: str) -> QPushButton:
    button = QPushButton(text)
    button.setCheckable(True)
    return button


def _text(text: str) -> QLabel:
    """Words that may hold anything, over several lines."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    # As wide as its row: at its preferred width a field of two lines gets the height of one.
    policy = label.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Expanding)
    label.setSizePolicy(policy)
    return label


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
