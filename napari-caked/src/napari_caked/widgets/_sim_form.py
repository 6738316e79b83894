"""The looks of the simulator: its sliders, fields and buttons, and the settings that they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_caked.simulate.settings import (
    CameraSettings,
    DecoySettings,
    MeasuredNoise,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
)
from napari_caked.widgets._sim_controls import Dial, box, folded, length, row, whole
from napari_caked.widgets._sim_layers import is_real, may_be_density
from napari_empiarreader.widgets.layer_choice import LayerChoice
from napari_empiarreader.widgets.progress_bar import CalmProgressBar

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["SimulatorForm"]

_DECOYS = {
    "broken": ("Broken particles", 40),
    "aggregates": ("Aggregates", 20),
    "ice_crystals": ("Ice crystals", 20),
    "ice_lumps": ("Ice contamination", 20),
    "gold": ("Gold beads", 40),
}
_CARBON = {"No carbon": "none", "Edge of the hole": "edge", "Film under all": "film"}


class SimulatorForm:
    """Lays the simulator out in ``parent`` and keeps its parts under their names.

    Parameters
    ----------
    parent
        Gets the layout.
    viewer
        Whose layers are offered.
    defaults
        What the fields begin with.
    """

    def __init__(self, parent: QWidget, viewer: napari.viewer.Viewer, defaults: SimulationSettings) -> None:
        self._defaults = defaults
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(8)
        for group in (
            self._specimen(viewer),
            self._likeness(viewer),
            self._preview(),
            self._ice(),
            self._microscope(),
            self._negatives(),
            self._output(),
        ):
            column.addWidget(group)
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

    # ---- the groups -------------------------------------------------------------------------------------------------

    def _specimen(self, viewer: napari.viewer.Viewer) -> QWidget:
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
        self.diameter = length("measured")
        self.diameter.setToolTip("Diameter of the particle; measured on the density unless given")
        self.chosen_file = row((self.file, 1), (self.drop_file, 0))
        self.chosen_file.hide()
        group, form = box("Specimen")
        form.addRow("Density", row((self.density, 1), (self.chosen_file, 1), (self.open_map, 0)))
        form.addRow("Voxel size", row((self.voxel_size, 1)))
        form.addRow("Mass", row((self.mass, 1)))
        form.addRow("Diameter", row((self.diameter, 1)))
        return group

    def _likeness(self, viewer: napari.viewer.Viewer) -> QWidget:
        self.real = LayerChoice(viewer, is_real, "none")
        self.open_real = QPushButton("Open…")
        self.open_real.setToolTip("Open real micrographs as a layer; no labels are needed")
        self.match = QPushButton("Match the real")
        self.match.setToolTip(
            "Measure size, pixel size, noise, contrast and defocus of the real micrographs, and simulate like them. "
            "The number of particles is yours: say about as many as they show"
        )
        self.by_dose = QCheckBox("Contrast from the dose")
        self.by_dose.setToolTip("Do not measure how strong the particles are, but take the dose below for it")
        self.measured = QCheckBox("Their noise")
        self.measured.setToolTip("Noise as it was measured on the real micrographs, in place of that of theory")
        self.measured.setEnabled(False)
        self.contrast = Dial(0.2, 3.0, 1.0, "×", most=20)
        self.contrast.setToolTip("How much stronger the particles are than was measured")
        self.contrast.setEnabled(False)
        group, form = box("Like real micrographs")
        form.addRow("Real", row((self.real, 1), (self.open_real, 0)))
        form.addRow(row((self.match, 1), (self.by_dose, 0)))
        form.addRow(self.measured, self.contrast)
        return group

    def _preview(self) -> QWidget:
        self.live = QPushButton("Live preview")
        self.live.setCheckable(True)
        self.live.setToolTip("Simulate a part of one micrograph anew whenever something is changed here")
        self.number = whole(1, 100_000, 1)
        self.number.setToolTip("Which micrograph of the series")
        self.side = whole(64, 2048, 512, "px")
        self.side.setSingleStep(128)
        self.side.setToolTip("Side of the part that is shown")
        self.beside = QCheckBox("Beside the real one")
        self.beside.setChecked(True)
        self.beside.setToolTip("At the right of the real micrograph, rather than on top of it")
        self.latency = QLabel()
        group, form = box("Preview")
        form.addRow(row((self.live, 1), (QLabel("Micrograph"), 0), (self.number, 0)))
        form.addRow(row((self.beside, 1), (QLabel("Side"), 0), (self.side, 0)))
        form.addRow(self.latency)
        return group

    def _ice(self) -> QWidget:
        scene, views = self._defaults.scene, self._defaults.views
        self.particles = Dial(0, 500, scene.particles, decimals=0, most=20_000)
        self.particles.setToolTip("Particles in a micrograph; where fewer fit, as many as fit")
        self.spacing = Dial(0, 2, scene.spacing, "⌀", most=20)
        self.spacing.setToolTip("Least distance of two particles in diameters; below 0.9 they overlap, at 0 anyhow")
        self.clumped = Dial(0, 100, 100 * scene.clumped, "%", decimals=0)
        self.clumped.setToolTip("Particles that touch or overlap a neighbour, whatever the distance says")
        self.at_edges = QCheckBox("Also across the edges")
        self.at_edges.setChecked(scene.at_edges)
        self.ice = Dial(50, 2000, scene.ice_thickness, "Å", decimals=0, most=10_000)
        self.variation = Dial(0, 45, 100 * scene.thickness_variation, "%", decimals=0)
        self.variation.setToolTip("By how much the thickness of the ice varies across the field")
        self.gradient = Dial(0, 95, 100 * scene.gradient, "%", decimals=0)
        self.gradient.setToolTip("Largest change of the thickness from one side to the other")
        self.prefer = QCheckBox("Preferred orientation")
        self.prefer.setToolTip("Most particles lie with one side up; in the plane they turn anyhow")
        self.tilt, self.rot = Dial(0, 180, 0, "°", decimals=0), Dial(-180, 180, 0, "°", decimals=0)
        self.preference = Dial(0, 100, 100 * views.preference, "%", decimals=0)
        self.spread = Dial(0, 45, views.spread, "°", decimals=0)
        orientations = folded(
            "Orientations",
            ("", self.prefer),
            ("Tilt", self.tilt),
            ("Rot", self.rot),
            ("Share", self.preference),
            ("Spread", self.spread),
        )
        group, form = box("Particles and ice")
        form.addRow("Particles", self.particles)
        form.addRow("Distance", self.spacing)
        form.addRow("In clumps", self.clumped)
        form.addRow("", self.at_edges)
        form.addRow("Ice thickness", self.ice)
        form.addRow("Hills", self.variation)
        form.addRow("Gradient", self.gradient)
        form.addRow(orientations)
        return group

    def _microscope(self) -> QWidget:
        optics, camera = self._defaults.optics, self._defaults.camera
        self.least_defocus = Dial(0.2, 5, optics.defocus[0], "µm", most=20)
        self.most_defocus = Dial(0.2, 5, optics.defocus[1], "µm", most=20)
        self.dose = Dial(1, 100, camera.dose, "e⁻/Å²", decimals=1, most=1000)
        self.astigmatism = Dial(0, 1, optics.astigmatism, "µm", most=5)
        self.b_factor = Dial(0, 500, optics.b_factor, "Å²", decimals=0, most=5000)
        self.voltage = Dial(80, 300, optics.voltage, "kV", decimals=0, most=1000)
        self.aberration = Dial(0, 5, optics.spherical_aberration, "mm", most=20)
        self.amplitude = Dial(0, 30, 100 * optics.amplitude_contrast, "%", decimals=0)
        self.phase_plate = Dial(0, 180, optics.phase_plate, "°", decimals=0)
        self.mtf = Dial(5, 100, 100 * camera.mtf, "%", decimals=0)
        self.mtf.setToolTip("What the detector transfers at its Nyquist frequency")
        self.solvent = Dial(0, 5, camera.solvent, "×", most=100)
        self.solvent.setToolTip("Strength of the structure of the ice, over that of theory")
        more = folded(
            "More",
            ("Astigmatism", self.astigmatism),
            ("B-factor", self.b_factor),
            ("Voltage", self.voltage),
            ("Cs", self.aberration),
            ("Amplitude contrast", self.amplitude),
            ("Phase plate", self.phase_plate),
            ("MTF at Nyquist", self.mtf),
            ("Ice structure", self.solvent),
        )
        group, form = box("Microscope")
        form.addRow("Defocus from", self.least_defocus)
        form.addRow("to", self.most_defocus)
        form.addRow("Dose", self.dose)
        form.addRow(more)
        return group

    def _negatives(self) -> QWidget:
        decoys = self._defaults.decoys
        self.decoys = {
            name: Dial(0, most, getattr(decoys, name), decimals=0, most=1000) for name, (_, most) in _DECOYS.items()
        }
        self.carbon = QComboBox()
        for words, name in _CARBON.items():
            self.carbon.addItem(words, name)
        self.carbon.setCurrentIndex(self.carbon.findData(decoys.carbon))
        group, form = box("What is no particle")
        for name, (words, _) in _DECOYS.items():
            form.addRow(words, self.decoys[name])
        form.addRow("Carbon", self.carbon)
        return group

    def _output(self) -> QWidget:
        defaults = self._defaults
        self.height = whole(64, 16384, defaults.scene.shape[0], "px")
        self.width = whole(64, 16384, defaults.scene.shape[1], "px")
        self.pixel_size = length("?", decimals=4)
        self.pixel_size.setRange(0.05, 100)
        self.pixel_size.setSingleStep(0.1)
        self.pixel_size.setValue(defaults.pixel_size)
        self.seed = whole(0, 2**31 - 1, defaults.seed)
        self.seed.setToolTip("The same seed makes the same micrographs")
        self.views = whole(1, 20_000, defaults.views.views)
        self.views.setToolTip("Projections to choose from; previews use at most 100")
        self.count = whole(1, 100_000, 20)
        self.make, self.save = QPushButton("Make micrographs"), QPushButton("Save…")
        self.make.setToolTip("A layer of so many micrographs, each simulated when it is looked at, and their truth")
        self.save.setToolTip("Write so many micrographs, with the truth as STAR files and masks, to a folder")
        self.cancel = QPushButton("Cancel")
        self.cancel.hide()
        self.background = QCheckBox("Load in the background")
        self.background.setToolTip(
            "napari's own preference: show micrographs once they are simulated, rather than wait for them"
        )
        self.progress = CalmProgressBar()
        self.progress.setMinimumHeight(18)
        self.progress.hide()
        self.status = QLabel("Choose a density, then switch the live preview on.")
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        group, form = box("Micrographs")
        form.addRow("Size", row((self.height, 1), (QLabel("×"), 0), (self.width, 1)))
        form.addRow("Pixel size", row((self.pixel_size, 1)))
        form.addRow("Seed", row((self.seed, 1), (QLabel("Views"), 0), (self.views, 1)))
        form.addRow("How many", row((self.count, 1)))
        form.addRow(row((self.make, 1), (self.save, 1), (self.cancel, 1)))
        for widget in (self.background, self.progress, self.status):
            form.addRow(widget)
        return group

    # ---- what it says -----------------------------------------------------------------------------------------------

    def settings(self, noise: MeasuredNoise | None) -> SimulationSettings:
        """Settings as the form says them, with the noise of real micrographs if that is wanted.

        Raises
        ------
        SettingsError
            Something cannot be simulated.
        """
        if noise is not None:
            noise = replace(noise, strength=noise.strength * self.contrast.value())
        share, defocus = 0.01, (self.least_defocus.value(), self.most_defocus.value())
        return SimulationSettings(
            pixel_size=self.pixel_size.value(),
            diameter=self.diameter.value() or None,
            seed=self.seed.value(),
            views=ViewSettings(
                views=self.views.value(),
                preferred=((self.rot.value(), self.tilt.value()),) if self.prefer.isChecked() else (),
                preference=share * self.preference.value(),
                spread=self.spread.value(),
            ),
            scene=SceneSettings(
                shape=(self.height.value(), self.width.value()),
                particles=round(self.particles.value()),
                spacing=self.spacing.value(),
                clumped=share * self.clumped.value(),
                at_edges=self.at_edges.isChecked(),
                ice_thickness=self.ice.value(),
                thickness_variation=share * self.variation.value(),
                gradient=share * self.gradient.value(),
            ),
            decoys=DecoySettings(
                **{name: round(dial.value()) for name, dial in self.decoys.items()}, carbon=self.carbon.currentData()
            ),
            optics=OpticsSettings(
                voltage=self.voltage.value(),
                spherical_aberration=self.aberration.value(),
                amplitude_contrast=share * self.amplitude.value(),
                defocus=(min(defocus), max(defocus)),
                astigmatism=self.astigmatism.value(),
                phase_plate=self.phase_plate.value(),
                b_factor=self.b_factor.value(),
            ),
            camera=CameraSettings(dose=self.dose.value(), mtf=share * self.mtf.value(), solvent=self.solvent.value()),
            noise=noise if self.measured.isChecked() else None,
        )

    def preview_settings(self, noise: MeasuredNoise | None) -> SimulationSettings:
        """The same of a part of a micrograph: as many particles per area as on the whole."""
        settings = self.settings(noise)
        height, width = settings.scene.shape
        shape = min(height, self.side.value()), min(width, self.side.value())
        particles = round(settings.scene.particles * shape[0] * shape[1] / (height * width))
        return replace(settings, scene=replace(settings.scene, shape=shape, particles=particles))

    def take(self, settings: SimulationSettings) -> None:
        """Show what was measured on real micrographs."""
        self.height.setValue(settings.scene.shape[0])
        self.width.setValue(settings.scene.shape[1])
        self.pixel_size.setValue(settings.pixel_size)
        self.least_defocus.setValue(settings.optics.defocus[0])
        self.most_defocus.setValue(settings.optics.defocus[1])
        self.contrast.setValue(1.0)
        for widget in (self.measured, self.contrast):
            widget.setEnabled(settings.noise is not None)
        self.measured.setChecked(settings.noise is not None)

    def when_changed(self, act: Callable[[], None]) -> None:
        """Call ``act`` whenever something is changed that shows in a micrograph."""
        dials = [part for part in vars(self).values() if isinstance(part, Dial)]
        for dial in (*dials, *self.decoys.values()):
            dial.changed.connect(act)
        for field in (self.number, self.side, self.height, self.width, self.seed, self.views):
            field.valueChanged.connect(lambda _value: act())
        for field in (self.pixel_size, self.diameter):
            field.valueChanged.connect(lambda _value: act())
        for toggle in (self.at_edges, self.prefer, self.measured, self.beside):
            toggle.toggled.connect(lambda _on: act())
        self.carbon.currentIndexChanged.connect(lambda _index: act())

    def show_file(self, name: str | None) -> None:
        """Show a map file in place of the layers, or the layers again."""
        self.file.setText(name or "")
        self.chosen_file.setVisible(name is not None)
        self.density.setVisible(name is None)

    def set_busy(self, on: bool) -> None:
        """Offer what can be done while a job is under way, or while none is."""
        for button in (self.match, self.make, self.save):
            button.setEnabled(not on)
        self.cancel.setVisible(on)
        self.cancel.setEnabled(on)
        if not on:
            self.progress.hide()

    def advance(self, what: str, done: int, total: int) -> None:
        """Show how far a job is."""
        # Qt repaints the whole window at each new value, unless it may not; then it does so when it has time.
        self.progress.setUpdatesEnabled(False)
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.progress.setFormat(f"{what}: {done} of {total}" if total else what)
        self.progress.setUpdatesEnabled(True)
        self.progress.show()

    def follow(self, on: bool) -> None:
        """Follow the viewer, or stop doing so."""
        self.density.follow(on)
        self.real.follow(on)
