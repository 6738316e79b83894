"""Particles from the files of any program, in a frame that the pictures confirm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
)

from napari_empiarreader.coordinates.formats import FORMATS, SUFFIXES
from napari_empiarreader.coordinates.frames import FrameGuess, verdict
from napari_empiarreader.errors import UserError
from napari_empiarreader.layers import particles_layer
from napari_empiarreader.widgets._docked import DockedWidget, scrolling
from napari_empiarreader.widgets._importing import Imported, ImportRequest, import_particles, pictures_of
from napari_empiarreader.widgets._shown import is_micrographs
from napari_empiarreader.widgets._tasks import Task
from napari_empiarreader.widgets._telling import WrappedLabel, report
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Points

__all__ = ["ParticleImporter"]

_READ = "Read and compare with the pictures"
_SHOWN_FRAMES = 8
_ROLES = ("x", "y", "micrograph", "score")
_ROWS = {"as the format says": None, "from the top": False, "from the bottom": True}


class ParticleImporter(DockedWidget):
    """Reads a coordinate file, shows where its particles lie in the likeliest frames, and adds them once confirmed.

    Parameters
    ----------
    napari_viewer
        Whose layers.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.imported: Imported | None = None
        self._reading: Task | None = None
        self._preview: Points | None = None
        self._build()
        self._connect()
        self._on_format()
        self.forget()

    # ---- the parts of the window ------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.choice = LayerChoice(self._viewer, _holds_micrographs, "open micrographs first")
        self.choice.setToolTip("The micrographs that the particles belong to")
        self.path = QLineEdit()
        self.path.setPlaceholderText("coordinate file or folder")
        self.file_button = QPushButton("File…")
        self.folder_button = QPushButton("Folder…")
        self.folder_button.setToolTip("A folder with one file for each micrograph")
        self.format = QComboBox()
        self.format.addItem("detect it", None)
        for form in FORMATS.values():
            self.format.addItem(form.title, form.name)
            self.format.setItemData(self.format.count() - 1, form.frame, Qt.ItemDataRole.ToolTipRole)
        self.format.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.format.setMinimumContentsLength(14)
        self.diameter = _number(" Å", "not known", "Particle diameter: it makes the comparison with the pictures surer")
        self.box_size = _number(" px", "as in the file", "Side of the boxes, where the file holds corners")
        self.scale = _number("", "1", "Pixels of the micrograph per pixel of the file: 4 for four-fold binned ones")
        self.rows = QComboBox()
        for words, value in _ROWS.items():
            self.rows.addItem(words, value)
        self.columns = {role: _column(role) for role in _ROLES}
        self.read_button = QPushButton(_READ)
        self.summary = WrappedLabel()
        self.verdict = WrappedLabel()
        self.frames = _frame_table()
        self.add_button = QPushButton("Add as a layer")
        self.status = WrappedLabel()

        buttons = QHBoxLayout()
        buttons.addWidget(self.file_button)
        buttons.addWidget(self.folder_button)
        form = QFormLayout()
        form.addRow("Micrographs", self.choice)
        form.addRow("From", self.path)
        form.addRow("", buttons)
        form.addRow("Format", self.format)
        form.addRow("Diameter", self.diameter)
        self.more = QGroupBox("What the file does not say")
        details = QFormLayout(self.more)
        details.addRow("Box size", self.box_size)
        details.addRow("Scale", self.scale)
        details.addRow("Rows count", self.rows)
        self.columns_box = QGroupBox("Columns of the table")
        roles = QFormLayout(self.columns_box)
        for role, box in self.columns.items():
            roles.addRow(role, box)
        layout = scrolling(self)
        layout.addLayout(form)
        for widget in (self.more, self.columns_box, self.read_button, self.summary, self.verdict, self.frames):
            layout.addWidget(widget)
        layout.addWidget(self.add_button)
        layout.addWidget(self.status)
        layout.addStretch(1)
        self.setMinimumWidth(320)

    def _connect(self) -> None:
        self.choice.chosen.connect(lambda _layer: self.forget())
        self.path.returnPressed.connect(self.read)
        self.path.textChanged.connect(lambda _text: self.forget())
        self.file_button.clicked.connect(self._choose_file)
        self.folder_button.clicked.connect(self._choose_folder)
        self.format.currentIndexChanged.connect(self._on_format)
        self.read_button.clicked.connect(self._read_or_cancel)
        self.frames.itemSelectionChanged.connect(self._show_preview)
        self.add_button.clicked.connect(self.add_layer)

    def _choose_file(self) -> None:
        patterns = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Particle coordinates", self.path.text(), f"Coordinates ({patterns});;All files (*)"
        )
        self._read_chosen(chosen)

    def _choose_folder(self) -> None:
        self._read_chosen(QFileDialog.getExistingDirectory(self, "Folder of coordinate files", self.path.text()))

    def _read_chosen(self, chosen: str) -> None:
        if chosen:
            self.path.setText(chosen)
            self.read()

    def _on_format(self, _index: int = 0) -> None:
        self.forget()
        self.columns_box.setVisible(self.format.currentData() == "csv")

    # ---- reading and comparing --------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop what was read: it no longer is what the form says."""
        if self._reading is not None:
            self._reading.cancel()
        self.imported = None
        self._remove_preview()
        with QSignalBlocker(self.frames):
            self.frames.clear()
        for widget in (self.frames, self.add_button):
            widget.hide()
        for label in (self.summary, self.verdict):
            label.setText("")

    def _read_or_cancel(self) -> None:
        if self._is_reading():
            self.forget()
            self.status.setText("Cancelled.")
            self.show_work()
        else:
            self.read()

    def _is_reading(self) -> bool:
        return self._reading is not None and not self._reading.cancelled and self._reading in self._tasks.running

    def read(self) -> None:
        """Read the file in the background, and compare its frames with the pictures."""
        layer, text = self.choice.layer, self.path.text().strip()
        self.forget()
        if layer is None or not text:
            self._report(UserError("choose the micrographs and a coordinate file first"))
            return
        size = _pixel_size(layer) or 1.0
        columns = {role: box.currentText().strip() for role, box in self.columns.items() if box.currentText().strip()}
        request = ImportRequest(
            Path(text).expanduser(),
            self.format.currentData(),
            diameter=self.diameter.value() / size or None,
            box_size=self.box_size.value() or None,
            columns=columns if columns and self.format.currentData() == "csv" else None,
            scale=self.scale.value() or None,
            y_up=self.rows.currentData(),
        )
        self.status.setText("")
        self._reading = self._tasks.run(
            import_particles,
            request,
            pictures_of(layer),
            done=self._show_imported,
            failed=self._report,
            title=f"Particles of {request.path.name}",
        )
        self.show_work()

    def _show_imported(self, imported: Imported) -> None:
        self.imported = imported
        detected = FORMATS[str(imported.table.metadata["format"])]
        self.summary.setText(f"{detected.title}: {imported.words}")
        self.verdict.setText(verdict(imported.guesses)[1])
        self._offer_columns(imported.table.metadata.get("csv", {}).get("head", []), detected.name)
        with QSignalBlocker(self.frames):
            for guess in imported.guesses[:_SHOWN_FRAMES]:
                self.frames.addTopLevelItem(_frame_row(guess))
        self.frames.show()
        self.add_button.show()
        self.frames.setCurrentItem(self.frames.topLevelItem(0))

    def _offer_columns(self, head: list[str], detected: str) -> None:
        self.columns_box.setVisible(detected == "csv")
        for box in self.columns.values():
            typed = box.currentText()
            box.clear()
            box.addItems(["", *head])
            box.setCurrentText(typed)

    def guess(self) -> FrameGuess | None:
        """The frame that is chosen, or None."""
        row = self.frames.indexOfTopLevelItem(self.frames.currentItem())
        return None if self.imported is None or row < 0 else self.imported.guesses[row]

    # ---- the layer --------------------------------------------------------------------------------------------------

    def _show_preview(self) -> None:
        """Show the particles in the chosen frame, on the micrographs."""
        guess, micrographs = self.guess(), self.choice.layer
        if guess is None or micrographs is None:
            return
        if self._preview is not None and self._preview in self._viewer.layers:
            self._preview.data = _coordinates(guess, micrographs)
            return
        active = self._viewer.layers.selection.active
        self._preview = self._add(guess, f"preview of {Path(self.path.text()).name}", "yellow")
        self._preview.editable = False
        if active is not None:
            self._viewer.layers.selection.active = active
        _show_first(self._viewer, guess, micrographs)

    def add_layer(self) -> None:
        """Put the particles in the chosen frame into a layer of their own."""
        guess = self.guess()
        if guess is None:
            return
        self._remove_preview()
        layer = self._add(guess, Path(self.path.text()).stem, "cyan")
        layer.metadata["frame"] = guess.name
        self.forget()
        self.status.setText(f"Added '{layer.name}' with {len(layer.data):,} particles, {guess.name}.")

    def _add(self, guess: FrameGuess, name: str, colour: str) -> Points:
        micrographs = self.choice.layer
        data, attributes, kind = particles_layer(
            guess.table,
            name=name,
            pixel_size=_pixel_size(micrographs),
            diameter=self.diameter.value() or None,
            border_color=colour,
        )
        if micrographs.ndim == 2:
            data = data[:, 1:]
            attributes |= {key: attributes[key][1:] for key in ("scale", "units", "axis_labels")} | {"ndim": 2}
        return self._viewer.add_layer(Layer.create(data, attributes, kind))

    def _remove_preview(self) -> None:
        if self._preview is not None and self._preview in self._viewer.layers:
            self._viewer.layers.remove(self._preview)
        self._preview = None

    # ---- telling and ending -----------------------------------------------------------------------------------------

    def _report(self, error: Exception) -> None:
        self.status.setText(report(error))

    def show_work(self) -> None:
        """Offer to cancel while the file is being read."""
        self.read_button.setText("Reading… (cancel)" if self._is_reading() else _READ)

    def follow(self, on: bool) -> None:
        """Follow the viewer's layers, or stop doing so and take the preview away."""
        self.choice.follow(on)
        if not on:
            self.forget()


def _holds_micrographs(layer: Layer) -> bool:
    return is_micrographs(layer) and layer.ndim in (2, 3)


def _pixel_size(layer: Any) -> float | None:
    known = layer.metadata.get("pixel_size")
    return float(known) if known else None


def _coordinates(guess: FrameGuess, micrographs: Any) -> np.ndarray:
    return guess.table.coordinates if micrographs.ndim > 2 else guess.table.coordinates[:, 1:]


def _show_first(viewer: napari.viewer.Viewer, guess: FrameGuess, micrographs: Any) -> None:
    """Go to a micrograph that has particles, where the one on the screen has none."""
    from napari_empiarreader.widgets._shown import go_to, shown_index

    used = np.unique(guess.table.micrograph_index)
    if micrographs.ndim > 2 and len(used) and shown_index(viewer, micrographs) not in used:
        go_to(viewer, micrographs, int(used[0]))


def _frame_table() -> QTreeWidget:
    table = QTreeWidget()
    table.setHeaderLabels(["Frame", "Contrast", "Outside", "Border"])
    table.setRootIsDecorated(False)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setMinimumHeight(190)
    table.setToolTip(
        "Contrast: by how many standard errors the particles stand out of random places in this frame; below 3 is "
        "chance. Outside, border: shares of the points that lie outside the image and on its blank borders."
    )
    header = table.header()
    assert header is not None
    header.setStretchLastSection(False)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    for column in (1, 2, 3):
        header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
    return table


def _frame_row(guess: FrameGuess) -> QTreeWidgetItem:
    shares = (f"{guess.outside_share:.0%}", f"{guess.border_share:.0%}")
    row = QTreeWidgetItem([guess.name, f"{abs(guess.deviations):.1f}", *shares])
    row.setToolTip(0, guess.name)
    for column in (1, 2, 3):
        row.setTextAlignment(column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return row


def _number(suffix: str, nothing: str, tooltip: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(0, 100_000)
    spin.setDecimals(3 if not suffix else 1)
    spin.setSuffix(suffix)
    spin.setSpecialValueText(nothing)
    spin.setToolTip(tooltip)
    return spin


def _column(role: str) -> QComboBox:
    box = QComboBox()
    box.setEditable(True)
    box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
    box.setToolTip(f"Column that holds {role}; empty for its usual names")
    line = box.lineEdit()
    assert line is not None
    line.setPlaceholderText("by its usual names")
    return box
