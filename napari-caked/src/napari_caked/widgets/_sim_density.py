"""Which density is simulated: that of a layer, or that of a map file in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QPushButton, QWidget

from napari_caked.widgets._sim_layers import voxel_size_of
from napari_caked.widgets._sim_making import file_specimen, layer_specimen
from napari_caked.widgets._sim_messages import Specimen
from napari_caked.widgets._work import Work
from napari_empiarreader.errors import NothingFoundError
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["DensityChoice", "DensityForm"]

_MAPS = "Densities (*.mrc *.map *.ccp4 *.mrc.gz *.map.gz);;All files (*)"


class DensityForm(Protocol):
    """The fields about a density."""

    density: LayerChoice
    drop_file: QPushButton
    voxel_size: QDoubleSpinBox
    mass: QDoubleSpinBox

    def show_file(self, name: str | None) -> None:
        """Show a map file in place of the layers, or the layers again."""


class DensityChoice:
    """Follows the form's fields about the density, and reads it when it is wanted.

    Parameters
    ----------
    form
        Whose fields.
    work
        Reads in threads.
    changed
        Called when another density, voxel size or mass is chosen.
    """

    def __init__(self, form: DensityForm, work: Work, changed: Callable[[], None]) -> None:
        self._form, self._work, self._changed = form, work, changed
        self.file: Path | None = None
        form.density.chosen.connect(self._on_layer)
        form.drop_file.clicked.connect(lambda: self.take_file(None))
        for field in (form.voxel_size, form.mass):
            field.editingFinished.connect(changed)
        self._show_size(form.density.layer)

    @property
    def given(self) -> bool:
        """Whether there is a density."""
        return self.file is not None or self._form.density.layer is not None

    def ask_for_file(self, parent: QWidget) -> Path | None:
        """A map file of the user's choice."""
        chosen, _ = QFileDialog.getOpenFileName(parent, "Open map", "", _MAPS)
        return Path(chosen) if chosen else None

    def take_layer(self, layer: Image) -> None:
        """Take the density of a layer."""
        self.take_file(None)
        self._form.density.choose(layer)

    def take_file(self, path: Path | None) -> None:
        """Take the density of a file, or that of a layer again."""
        if path == self.file:
            return
        self.file = path
        self._form.show_file(path.name if path is not None else None)
        if path is None:
            self._on_layer(self._form.density.layer)
        else:
            self._form.voxel_size.setValue(0)  # what was right for another density is not right for this one
            self._changed()

    def read(self, then: Callable[[Specimen], None], failed: Callable[[Exception], None]) -> None:
        """Read the density in a thread, then go on with it in the main thread."""
        layer = self._form.density.layer
        mass, size = self._form.mass.value() or None, self._form.voxel_size.value() or None
        if self.file is not None:
            read: Callable[[], Specimen] = file_specimen(self.file, size, mass)
        elif layer is not None:
            read = layer_specimen(layer.data, layer.name, size, mass)
        else:
            failed(NothingFoundError("there is no density; choose a layer of a volume, or open a map"))
            return

        def show_size(specimen: Specimen) -> None:
            self._form.voxel_size.setValue(specimen.voxel_size)
            then(specimen)

        self._work.run(read, done=show_size, failed=failed)

    def _on_layer(self, layer: Image | None) -> None:
        if self.file is None:
            self._show_size(layer)
            self._changed()

    def _show_size(self, layer: Image | None) -> None:
        self._form.voxel_size.setValue((voxel_size_of(layer) if layer is not None else None) or 0)
