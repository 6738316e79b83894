"""The trainer's fields for a density, of which micrographs are simulated before anybody has labelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_caked.widgets._sim_controls import folded, length, row
from napari_caked.widgets._sim_density import DensityChoice
from napari_caked.widgets._sim_layers import may_be_density
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    import napari.viewer

    from napari_caked.widgets._messages import Job
    from napari_caked.widgets._sim_messages import Specimen
    from napari_caked.widgets._train_form import TrainForm
    from napari_caked.widgets._work import Work

__all__ = ["DensityFields", "DensityStart"]


class DensityFields(QWidget):
    """Which density 'Train without labels' begins with, if with one: that of a layer, or of a map file.

    Parameters
    ----------
    viewer
        Whose layers are offered.

    Attributes
    ----------
    wanted
        Whether there is a density to begin with.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.wanted = QCheckBox("From a density")
        self.wanted.setToolTip(
            "Let 'Train without labels' learn first from micrographs simulated of your particle's density in the "
            "likeness of yours, and then from the surest picks on yours. It takes about twice as long"
        )
        self.density = LayerChoice(viewer, may_be_density, "a volume, or open a map")
        self.open_map = QPushButton("Open map…")
        self.open_map.setToolTip("An MRC or CCP4 file in place of a layer")
        self.file, self.drop_file = QLabel(), QPushButton("×")
        self.file.setTextFormat(Qt.TextFormat.PlainText)
        self.drop_file.setMaximumWidth(28)
        self.drop_file.setToolTip("Take a layer again")
        self.voxel_size = length("unknown", decimals=4)
        self.voxel_size.setToolTip("Å per voxel, from the layer or the file; correct it here where they are wrong")
        self.mass = length("in volts", "kDa")
        self.mass.setToolTip("Mass of the particle: scales a map in arbitrary units; not needed for one in volts")
        self.dose = length("measured", "e⁻/Å²")
        self.dose.setToolTip("Electrons per Å²: sets the contrast where particles are too faint to measure it")
        self._chosen_file = row((self.file, 1), (self.drop_file, 0))
        self._chosen_file.hide()
        self._choice = row((self.density, 1), (self._chosen_file, 1), (self.open_map, 0))
        self._details = folded(
            "Of the density", ("Voxel size", self.voxel_size), ("Mass", self.mass), ("Dose", self.dose)
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(row((self.wanted, 0), (self._choice, 1)))
        column.addWidget(self._details)
        self.wanted.toggled.connect(self._offer)
        self._offer(False)

    def show_file(self, name: str | None) -> None:
        """Show a map file in place of the layers, or the layers again."""
        self.file.setText(name or "")
        self._chosen_file.setVisible(name is not None)
        self.density.setVisible(name is None)

    def follow(self, on: bool) -> None:
        """Follow the viewer, or stop doing so."""
        self.density.follow(on)

    def _offer(self, on: bool) -> None:
        self._choice.setVisible(on)
        self._details.setVisible(on)


class DensityStart:
    """Gives the chosen density to a training without labels.

    Parameters
    ----------
    parent
        Of the dialog that asks for a map file.
    form
        Of the trainer.
    work
        Reads in threads.
    """

    def __init__(self, parent: QWidget, form: TrainForm, work: Work) -> None:
        self._parent, self._form = parent, form
        self.choice = DensityChoice(form.density, work, lambda: None)
        form.density.open_map.clicked.connect(self._open_map)

    def give_to(
        self, job: Job, then: Callable[[Job], None], failed: Callable[[Exception], None], *, has_model: bool
    ) -> None:
        """Read the density in a thread; then go on in the main thread, with the job that has it."""
        dose = self._form.density.dose.value() or None
        self._form.set_opening(True, has_model=has_model)

        def go_on(density: Specimen) -> None:
            self._form.set_opening(False, has_model=has_model)
            then(replace(job, density=density, dose=dose))

        def give_up(error: Exception) -> None:
            self._form.set_opening(False, has_model=has_model)
            failed(error)

        self.choice.read(go_on, give_up)

    def _open_map(self) -> None:
        path = self.choice.ask_for_file(self._parent)
        if path is not None:
            self.choice.take_file(path)
