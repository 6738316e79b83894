"""The third section: the structure's potential in volts, its surface, its trace, and the way to the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer, Surface
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
)

from napari_profet.errors import UserError
from napari_profet.layers_density import density_from_layer, density_layer, surface_layer, trace_layer
from napari_profet.mesh import usual_level
from napari_profet.potential import ICE_POTENTIAL, DensitySettings
from napari_profet.widgets._cleave_section import Snapshot
from napari_profet.widgets._helping import helped_density, helped_surface
from napari_profet.widgets._jobs import Job, JobBar
from napari_profet.widgets._layer_choice import LayerChoice, is_density

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_profet.density import Density

__all__ = ["DensitySection"]

Made = tuple[tuple[Any, dict[str, Any], str], str]
"""A layer, and what to say of it."""

_SIMULATOR = ("napari-caked", "Simulate micrographs")
_NO_SIMULATOR = (
    "The simulator comes with napari-caked, which is missing here or too old: pip install --upgrade napari-caked. Or "
    "save the density as MRC and simulate elsewhere."
)


class DensitySection(QGroupBox):
    """Makes densities of structures, shows them, and hands them on.

    ``made`` tells of a new layer, as napari's tuple.

    Parameters
    ----------
    viewer
        Where the layers are.
    jobs
        Where the work is shown.
    structure
        Where the structure is chosen.
    """

    made = Signal(object)

    def __init__(self, viewer: Viewer, jobs: JobBar, structure: LayerChoice) -> None:
        super().__init__("3  Density")
        self._viewer, self._jobs, self._structure = viewer, jobs, structure
        self._build()
        self._lay_out()
        self._connect()
        self._enable()

    def _build(self) -> None:
        usual = DensitySettings()
        self.voxel_size = _number(
            0.2, 20.0, usual.voxel_size, "Å", "Pixel size of the map and of what is simulated of it"
        )
        self.resolution = _number(0.0, 100.0, usual.resolution or 0.0, "Å", "Smooth the map to 1/e at this resolution")
        self.resolution.setSpecialValueText("as fine as the pixels")
        self.b_factor = _number(-1.0, 1000.0, -1.0, "Å²", "One B factor for all atoms; else each has its own")
        self.b_factor.setDecimals(0)
        self.b_factor.setSpecialValueText("of the structure")
        self.solvent = QCheckBox("subtract the displaced ice")
        self.solvent.setChecked(usual.solvent_potential > 0)
        self.solvent.setToolTip("A molecule in ice is seen by its difference to the ice whose place it takes")
        self.hydrogens = QCheckBox("add unseen hydrogens")
        self.hydrogens.setChecked(usual.hydrogens)
        self.hydrogens.setToolTip("Few structures show hydrogens, but electrons see them")
        self.make_button = QPushButton("Make density")
        self.make_button.setToolTip("Electrostatic potential of the chosen structure, in volts, as an Image layer")
        self.trace_button = QPushButton("Show trace")
        self.trace_button.setToolTip("Lines from each alpha carbon or phosphorus to the next, as a Vectors layer")
        self.density = LayerChoice(self._viewer, is_density, "no density yet")
        self.level = _number(-1e6, 1e6, 0.0, "", "Where the surface lies, in the unit of the density (V)")
        self.level.setDecimals(2)
        self.surface_button = QPushButton("Show surface")
        self.surface_button.setToolTip("Surface where the density has this value, as a Surface layer")
        self.save_button = QPushButton("Save density…")
        self.send_button = QPushButton("Send to simulator")
        self.send_button.setToolTip("Open napari-caked's simulator of micrographs with this density")

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Pixel size", self.voxel_size)
        form.addRow("Resolution", self.resolution)
        form.addRow("B factor", self.b_factor)
        form.addRow("", self.solvent)
        form.addRow("", self.hydrogens)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(_row(self.make_button, self.trace_button))
        below = QFormLayout()
        below.addRow("Density", self.density)
        below.addRow("Surface at", _row(self.level, self.surface_button))
        layout.addLayout(below)
        layout.addLayout(_row(self.send_button, self.save_button))

    def _connect(self) -> None:
        self.make_button.clicked.connect(self.make)
        self.trace_button.clicked.connect(self.show_trace)
        self.surface_button.clicked.connect(self.show_surface)
        self.save_button.clicked.connect(self._choose_target)
        self.send_button.clicked.connect(self.send)
        self._jobs.busy.connect(lambda busy: self._enable())
        self._structure.chosen.connect(lambda layer: self._enable())
        self.density.chosen.connect(self._show_level)

    # ---- what the user can do --------------------------------------------------------------------------------

    def make(self) -> None:
        """Make the density of the chosen structure."""
        layer = self._structure.layer
        try:
            settings = self._settings()
        except UserError as error:
            self._jobs.fail(str(error))
            return
        if layer is None:
            self._jobs.fail("Fetch or open a structure first.")
            return
        snapshot, name = Snapshot.of(layer), layer.name

        def work(job: Job) -> Made:
            job.progress(0, 3, "starting")
            density = helped_density(snapshot.structure(), settings, job)
            # All that looks at every voxel is done here.
            data, attributes, kind = density_layer(density)
            attributes["name"] = f"{name} density"
            attributes["metadata"]["level"] = usual_level(density)
            box = " x ".join(map(str, data.shape))
            told = f"{box} voxels of {density.voxel_size:.3g} Å, {data.min():.1f} to {data.max():.1f} V"
            return (data, attributes, kind), f"{name} density: {told}"

        def arrived(made: Made) -> None:
            layer, message = made
            self.made.emit(layer)
            self._jobs.say(message)

        self._jobs.start(f"Density of {name}", work, arrived)

    def show_surface(self) -> None:
        """Show the surface of the chosen density; one that was shown of it before goes."""
        layer = self.density.layer
        if layer is None:
            self._jobs.fail("Make or open a density first.")
            return
        level, told = self.level.value(), layer.as_layer_data_tuple()

        def work(job: Job) -> tuple[Density, Any]:
            density = density_from_layer(*told[:2])
            return density, helped_surface(density, level, job)

        def arrived(result: tuple[Density, Any]) -> None:
            density, mesh = result
            data, attributes, kind = surface_layer(density, mesh=mesh)
            attributes["metadata"]["surface_of"] = density.name
            for old in [one for one in self._viewer.layers if _is_surface_of(one, density.name)]:
                self._viewer.layers.remove(old)
            self.made.emit((data, attributes, kind))
            self._jobs.say(f"{attributes['name']}: {len(mesh.faces):,} triangles")

        self._jobs.start(f"Surface of {layer.name}", work, arrived)

    def show_trace(self) -> None:
        """Show the trace of the chosen structure's chains."""
        snapshot, name = Snapshot.of(self._structure.layer), self._structure.layer.name

        def arrived(layer: Any) -> None:
            layer[1]["name"] = f"{name} trace"
            self.made.emit(layer)
            self._jobs.say(f"{name} trace: {len(layer[0]):,} steps")

        self._jobs.start(f"Trace of {name}", lambda job: trace_layer(snapshot.structure()), arrived)

    def send(self) -> None:
        """Open the simulator of napari-caked with the chosen density."""
        layer = self.density.layer
        if layer is None:
            self._jobs.fail("Make or open a density first.")
            return
        try:
            _, simulator = self._viewer.window.add_plugin_dock_widget(*_SIMULATOR)
        except (KeyError, ValueError):
            self._jobs.fail(_NO_SIMULATOR)
            return
        simulator.use_density(layer)
        self._jobs.say(f"{layer.name} is in the simulator.")

    def save(self, path: str) -> None:
        """Write the chosen density as MRC."""
        from napari_profet.density_files import write_density

        told = self.density.layer.as_layer_data_tuple()

        def work(job: Job) -> Any:
            # The dialog has asked already whether an existing file may be replaced.
            return write_density(path, density_from_layer(*told[:2]), overwrite=True)

        self._jobs.start(f"Writing {path}", work, lambda target: self._jobs.say(f"{target} is written."))

    def _choose_target(self) -> None:
        start = f"{self.density.layer.name.replace(' ', '_')}.mrc"
        path, _ = QFileDialog.getSaveFileName(self, "Save the density", start, "MRC (*.mrc *.map *.mrc.gz)")
        if path:
            self.save(path)

    # ---- what it shows ---------------------------------------------------------------------------------------

    def _settings(self) -> DensitySettings:
        return DensitySettings(
            voxel_size=self.voxel_size.value(),
            resolution=self.resolution.value() or None,
            b_factor=None if self.b_factor.value() < 0 else self.b_factor.value(),
            hydrogens=self.hydrogens.isChecked(),
            solvent_potential=ICE_POTENTIAL if self.solvent.isChecked() else 0.0,
        )

    def _show_level(self, layer: Image | None) -> None:
        if layer is not None and "level" in layer.metadata:
            self.level.setValue(layer.metadata["level"])
        elif layer is not None:
            low, high = layer.contrast_limits
            self.level.setValue(low + (high - low) / 3)
        self._enable()

    def _enable(self) -> None:
        idle = self._jobs.job is None
        for button in (self.make_button, self.trace_button):
            button.setEnabled(idle and self._structure.layer is not None)
        for button in (self.surface_button, self.save_button, self.send_button):
            button.setEnabled(idle and self.density.layer is not None)


def _is_surface_of(layer: Layer, name: str) -> bool:
    return isinstance(layer, Surface) and layer.metadata.get("surface_of") == name


def _number(low: float, high: float, value: float, unit: str, tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setSingleStep(0.1 if high <= 20 else 1.0)
    if unit:
        box.setSuffix(f" {unit}")
    box.setToolTip(tip)
    return box


def _row(*widgets: Any) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
