"""Particles of a layer into the files of any program: what is shown is what is saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QMessageBox,
    QPushButton,
)

from napari_empiarreader.coordinates import ParticleTable, write_particles
from napari_empiarreader.coordinates.formats import FORMATS, CoordinateFormat, lost_in
from napari_empiarreader.errors import UserError
from napari_empiarreader.layers import particles_from_layer
from napari_empiarreader.widgets._docked import DockedWidget, scrolling
from napari_empiarreader.widgets._shown import is_micrographs
from napari_empiarreader.widgets._tasks import Task
from napari_empiarreader.widgets._telling import WrappedLabel, report
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["ParticleExporter"]


@dataclass(frozen=True)
class _Request:
    """A layer as it was when asked about, and what the user said about the file."""

    data: np.ndarray
    attributes: dict[str, Any]
    micrographs: list[str] | None
    shape: tuple[int, int] | None
    format: str
    box_size: float | None
    pixel_size: float | None
    scale: float | None

    def table(self) -> ParticleTable:
        """The points that are shown."""
        return particles_from_layer(self.data, self.attributes, self.micrographs)


class ParticleExporter(DockedWidget):
    """Writes the shown points of a layer, and says before what the format cannot hold.

    Parameters
    ----------
    napari_viewer
        Whose layers.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._watched: Any = None
        self._asking: Task | None = None
        self._build()
        self.choice.chosen.connect(self._on_layer)
        self.micrographs.chosen.connect(self._on_changed)
        self.format.currentIndexChanged.connect(self._on_changed)
        self.save_button.clicked.connect(self.ask_and_save)
        self._on_layer(self.choice.layer)

    def _build(self) -> None:
        self.choice = LayerChoice(self._viewer, lambda layer: isinstance(layer, Points), "no points layer")
        self.micrographs = LayerChoice(self._viewer, is_micrographs, "none")
        self.micrographs.setToolTip("Gives sizes and names of micrographs, where the format or the points need them")
        self.format = QComboBox()
        for form in FORMATS.values():
            self.format.addItem(form.title, form.name)
            self.format.setItemData(self.format.count() - 1, form.frame, Qt.ItemDataRole.ToolTipRole)
        self.format.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.format.setMinimumContentsLength(14)
        self.box_size = _number(" px", "as imported")
        self.pixel_size = _number(" Å", "not known")
        self.scale = _number("", "1")
        self.scale.setToolTip("Pixels of the micrograph per pixel of the file")
        self.frame = WrappedLabel()
        self.count = WrappedLabel()
        self.lost = WrappedLabel()
        self.save_button = QPushButton("Save…")
        self.status = WrappedLabel()
        self.form = QFormLayout()
        self.form.addRow("Particles", self.choice)
        self.form.addRow("Micrographs", self.micrographs)
        self.form.addRow("Format", self.format)
        self.form.addRow("Box size", self.box_size)
        self.form.addRow("Pixel size", self.pixel_size)
        self.form.addRow("Scale", self.scale)
        layout = scrolling(self)
        layout.addLayout(self.form)
        for widget in (self.frame, self.count, self.lost, self.save_button, self.status):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.setMinimumWidth(320)

    # ---- what would be written --------------------------------------------------------------------------------------

    @property
    def chosen_format(self) -> CoordinateFormat:
        """The format to write."""
        return FORMATS[self.format.currentData()]

    def _on_layer(self, layer: Layer | None) -> None:
        self._watch(layer)
        self.save_button.setEnabled(layer is not None)
        if layer is not None:
            self.pixel_size.setValue(float(layer.metadata.get("pixel_size") or 0))
            own = self.format.findData(layer.metadata.get("format"))
            if own >= 0:
                self.format.setCurrentIndex(own)
        self._on_changed()

    def _watch(self, layer: Any) -> None:
        for watched, act in ((self._watched, "disconnect"), (layer, "connect")):
            if watched is not None:
                for event in (watched.events.data, watched.events.features):
                    getattr(event, act)(self._on_changed)
        self._watched = layer

    def _on_changed(self, _value: Any = None) -> None:
        """Say what would be written, and what would be lost."""
        form = self.chosen_format
        for spin, need in ((self.box_size, "box_size"), (self.pixel_size, "pixel_size"), (self.scale, "scale")):
            self.form.setRowVisible(spin, need in form.write_needs)
        self.frame.setText(f"In the file: {form.frame}.")
        self.lost.setText("")
        layer = self.choice.layer
        if layer is None:
            self.count.setText("")
            return
        shown = int(np.broadcast_to(np.asarray(layer.shown, bool), len(layer.data)).sum())
        self.count.setText(f"{shown:,} of {len(layer.data):,} points are shown, and will be saved.")
        if self._asking is not None:
            self._asking.drop()
        self._asking = self._tasks.run(_lost, self.request(), done=self._show_lost, failed=self._show_problem)

    def _show_lost(self, lost: list[str]) -> None:
        self.lost.setText(f"This format cannot hold {', '.join(lost)}." if lost else "")

    def _show_problem(self, error: Exception) -> None:
        # Nobody has asked to save yet, so the widget says it and napari does not.
        self.lost.setText(str(error) if isinstance(error, UserError) else report(error))

    def request(self) -> _Request:
        """What the form and the layers say now."""
        layer, micrographs = self.choice.layer, self.micrographs.layer
        names = None if micrographs is None else micrographs.metadata.get("micrographs") or [micrographs.name]
        shape = None
        if micrographs is not None:
            data = micrographs.data[0] if micrographs.multiscale else micrographs.data
            shape = int(data.shape[-2]), int(data.shape[-1])
        attributes = {
            "name": layer.name,
            "features": layer.features.copy(),
            "shown": np.array(layer.shown),
            "metadata": dict(layer.metadata),
        }
        needs = self.chosen_format.write_needs
        return _Request(
            np.array(layer.data),
            attributes,
            names,
            shape,
            self.chosen_format.name,
            self.box_size.value() or None if "box_size" in needs else None,
            self.pixel_size.value() or None if "pixel_size" in needs else None,
            self.scale.value() or None if "scale" in needs else None,
        )

    # ---- writing ----------------------------------------------------------------------------------------------------

    def ask_and_save(self) -> None:
        """Ask for the file, and for leave to replace one; then write it."""
        if self.choice.layer is None:
            return
        form = self.chosen_format
        suffix = form.suffixes[0]
        # Qt would ask about the name as typed; what counts is the name with its suffix.
        option = QFileDialog.Option.DontConfirmOverwrite
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save particles", f"{self.choice.layer.name}{suffix}", f"{form.title} (*{suffix})", options=option
        )
        if chosen:
            path = Path(chosen)
            self.save(path if path.suffix.lower() in form.suffixes else path.with_name(path.name + suffix))

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Write the shown points to ``path`` in the background."""
        self.status.setText(f"Writing {path.name} …")

        def failed(error: Exception) -> None:
            if isinstance(error, FileExistsError) and not overwrite and self._may_replace(str(error)):
                self.save(path, overwrite=True)
            else:
                self.status.setText(report(error))

        self._tasks.run(
            _write, self.request(), path, overwrite, done=self._on_saved, failed=failed, title=f"Saving {path.name}"
        )

    def _may_replace(self, what: str) -> bool:
        answer = QMessageBox.question(self, "Save particles", f"{what.split('; ')[0]}. Replace?")
        return answer == QMessageBox.StandardButton.Yes

    def _on_saved(self, outcome: tuple[int, list[Path]]) -> None:
        count, files = outcome
        where = str(files[0]) if len(files) == 1 else f"{len(files)} files in {files[0].parent}"
        self.status.setText(f"Saved {count:,} particles to {where}.")
        show_info(self.status.text())

    # ---- docked and undocked ----------------------------------------------------------------------------------------

    def follow(self, on: bool) -> None:
        """Follow the viewer's layers, or stop doing so."""
        self.choice.follow(on)
        self.micrographs.follow(on)
        self._watch(self.choice.layer if on else None)
        if on:
            self._on_changed()


def _lost(request: _Request) -> list[str]:
    return lost_in(request.table(), request.format)


def _write(request: _Request, path: Path, overwrite: bool) -> tuple[int, list[Path]]:
    table = request.table()
    files = write_particles(
        path,
        table,
        format=request.format,
        overwrite=overwrite,
        shapes=request.shape,
        pixel_size=request.pixel_size,
        box_size=request.box_size,
        scale=request.scale,
    )
    return len(table), files


def _number(suffix: str, nothing: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(0, 100_000)
    spin.setDecimals(3)
    spin.setSuffix(suffix)
    spin.setSpecialValueText(nothing)
    return spin
