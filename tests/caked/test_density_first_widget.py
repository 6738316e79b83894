"""The trainer with a density and no label: it learns from micrographs simulated of it, and then from the real ones."""

from __future__ import annotations

import io
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_caked import load_model
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.simulate import bank_of
from napari_caked.simulate.lazy import lazy_micrographs
from napari_caked.simulate.settings import (
    CameraSettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
)
from napari_caked.simulate.specimens import hollow_shell
from napari_caked.widgets import _messages as messages
from napari_caked.widgets import _phases as phases
from napari_caked.widgets._label_free import simulated_first
from napari_caked.widgets._sim_messages import Advanced, Specimen
from napari_caked.widgets._wire import receive, send
from napari_empiarreader.micrographs import MicrographSeries

DIAMETER, PIXEL_SIZE, SIDE, COUNT = 120.0, 6.0, 320, 3
DOSE = 6.0
SOON = 240_000
"""Milliseconds in which a helper process has simulated and learned, also on a busy machine."""

SHELL = hollow_shell(DIAMETER, 22.0)


@pytest.fixture(scope="module")
def shells():
    """``(micrograph, y, x)`` of shells, their names, and where they are."""
    settings = SimulationSettings(
        pixel_size=PIXEL_SIZE,
        diameter=DIAMETER,
        seed=11,
        views=ViewSettings(views=30),
        scene=SceneSettings(shape=(SIDE, SIDE), particles=60, ice_thickness=300.0),
        optics=OpticsSettings(defocus=(1.5, 2.0)),
        camera=CameraSettings(dose=DOSE, mtf=0.9),
    )
    lazy = lazy_micrographs(bank_of(SHELL, settings.views, PIXEL_SIZE, seed=11, diameter=DIAMETER), settings, COUNT)
    return np.stack([lazy.series.read(i) for i in range(COUNT)]), list(lazy.series.names), lazy.particles.coordinates


def found(truth: np.ndarray, picks: np.ndarray) -> float:
    """Share of the particles with a pick nearer than a third of their width."""
    away = np.linalg.norm((truth[:, None] - picks[None]) * (1000, 1, 1), axis=-1).min(axis=1)
    return float((away < DIAMETER / PIXEL_SIZE / 3).mean())


# ---- the helper's side -----------------------------------------------------------------------------------------------


class Window:
    """Stands for the window: hears what is said, pauses at once, and goes away when told to."""

    def __init__(self, pauses: int = 0, goes: bool = False):
        self.said, self.waited, self.alone = [], 0, goes
        self._pauses = pauses

    def say(self, message):
        self.said.append(message)

    @property
    def paused(self):
        return self.waited < self._pauses

    def wait(self, seconds):
        self.waited += 1


def job(stack, names, density, **changes) -> messages.Job:
    about = tuple(names), stack.shape[1:], stack.dtype, PIXEL_SIZE, ""
    training = TrainingSettings(DIAMETER, steps=4, batch_size=2, crop_size=65, reviews=0, device="cpu")
    return messages.Job(*about, None, training, PickSettings(device="cpu"), 0.02, density=density, **changes)


def test_it_says_how_far_it_is_and_waits_where_the_window_wants_it(shells):
    stack, names, _ = shells
    series = MicrographSeries.from_array(stack, names, PIXEL_SIZE)
    specimen = Specimen(SHELL.volume, SHELL.voxel_size, "shell")
    window = Window(pauses=3)
    model = simulated_first(series, job(stack, names, specimen, dose=DOSE), window)
    assert model.particle_diameter == DIAMETER and window.waited == 3
    assert {message.what for message in window.said} == {phases.MEASURING, phases.REHEARSING}
    assert window.said[-1] == Advanced(phases.REHEARSING, 4, 4)
    assert simulated_first(series, job(stack, names, None), window) is None
    with pytest.raises(EOFError):
        simulated_first(series, job(stack, names, specimen, dose=DOSE), Window(goes=True))


def test_a_density_of_another_size_is_told_before_anything_is_simulated(shells):
    stack, names, _ = shells
    window = Window(goes=True)
    narrow = Specimen(SHELL.volume, SHELL.voxel_size / 2, "shell")
    with pytest.raises(EOFError):
        simulated_first(MicrographSeries.from_array(stack, names, PIXEL_SIZE), job(stack, names, narrow), window)
    assert isinstance(window.said[0], messages.Warned)
    assert window.said[0].message.startswith("shell is about 6") and "says 120 Å" in window.said[0].message


def test_a_density_travels_to_the_helper(shells):
    stack, names, _ = shells
    pipe = io.BytesIO()
    send(pipe, job(stack, names, Specimen(SHELL.volume, SHELL.voxel_size, "shell", 480.0), dose=3.0))
    pipe.seek(0)
    arrived = receive(pipe)
    assert (arrived.dose, arrived.density.mass, arrived.density.name) == (3.0, 480.0, "shell")
    np.testing.assert_array_equal(arrived.density.volume, SHELL.volume)
    assert phases.phases_of(arrived)[1:3] == (phases.MEASURING, phases.REHEARSING)
    assert phases.MEASURING not in phases.phases_of(replace(arrived, density=None))


# ---- the window ------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch):
    """What the user was told by napari's notifications."""
    told: list[str] = []
    monkeypatch.setattr("napari_caked.widgets._saving.show_error", told.append)
    monkeypatch.setattr("napari_caked.widgets._model_files.show_info", told.append)
    return told


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def trainer(viewer, shells, told, monkeypatch, tmp_path):
    """The trainer beside the micrographs, with a density as napari-profet makes one, which came first."""
    from napari_caked.widgets import _devices, train

    monkeypatch.setenv("CAKED_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(_devices, "_found", [])
    about = {"density": {"unit": "V"}, "pixel_size": SHELL.voxel_size}
    corner = tuple(-SHELL.voxel_size * (n // 2) for n in SHELL.volume.shape)
    viewer.add_image(SHELL.volume, name="ferritin", scale=(SHELL.voxel_size,) * 3, translate=corner, metadata=about)
    trainer = train.PickerTrainer(viewer)
    viewer.window.add_dock_widget(trainer, name="Train particle picker")
    viewer.add_image(
        shells[0],
        name="micrographs",
        scale=(1, PIXEL_SIZE, PIXEL_SIZE),
        metadata={"micrographs": shells[1], "pixel_size": PIXEL_SIZE},
    )
    trainer.form.diameter.setValue(DIAMETER)
    trainer.form.density.dose.setValue(DOSE)
    return trainer


def press(qtbot, button):
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def tick(trainer):
    trainer.form.density.wanted.setChecked(True)


@pytest.mark.gui
@pytest.mark.usefixtures("warm_helpers")
def test_a_density_trains_a_picker_and_it_is_named(qtbot, viewer, trainer, told, shells, tmp_path):
    form = trainer.form
    assert form.micrographs.layer.name == "micrographs"  # the density is none
    assert not form.density.density.isVisible()
    tick(trainer)
    assert form.density.density.isVisible() and form.density.density.layer.name == "ferritin"
    assert form.density.voxel_size.value() == pytest.approx(SHELL.voxel_size)
    trainer.settings = replace(trainer.settings, steps=12)
    parts, jobs = [], []
    hear, converse = trainer._hear, trainer._work.converse
    trainer._work.converse = lambda job, read, **how: (
        jobs.append(job)
        or converse(
            job, read, **{**how, "heard": lambda message: (hear(message), parts.append(trainer.progress.phase))}
        )
    )
    press(qtbot, form.train_unlabelled)
    assert not form.train_unlabelled.isEnabled()  # the density is read, beside the window
    qtbot.waitUntil(lambda: trainer.training, timeout=10_000)
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    assert told == [] and "Trained and picked 3" in form.status.text()
    assert list(dict.fromkeys(parts)) == list(phases.phases_of(jobs[0]))[1:]
    assert "surest picks of the picker trained on simulated micrographs of ferritin on 3" in form.warnings.text()
    assert form.picker.text().startswith("trained without labels, from simulated micrographs of ferritin and ")
    picks = viewer.layers["picks"]
    assert found(shells[2], picks.data[picks.shown]) > 0.8
    trainer.files.save(tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").particle_diameter == DIAMETER


@pytest.mark.gui
@pytest.mark.usefixtures("warm_helpers")
def test_cancelled_while_it_learns_from_simulated_micrographs_nothing_is_changed(qtbot, viewer, trainer, told):
    form = trainer.form
    tick(trainer)
    press(qtbot, form.train_unlabelled)
    qtbot.waitUntil(lambda: phases.REHEARSING in form.status.text(), timeout=SOON)
    press(qtbot, form.train)
    qtbot.waitUntil(lambda: not trainer.training, timeout=5_000)
    assert "Cancelled after" in form.status.text() and "what was there before is kept" in form.status.text()
    assert told == [] and form.picker.text() == "none yet" and form.train_unlabelled.isEnabled()


class Puppet:
    """Stands for the helper process: remembers what it is asked."""

    def __init__(self):
        self.job, self.cancelled = None, False

    def converse(self, job, read=None, *, heard, failed, ended, after=0):
        self.job, self.end, self.fail = job, ended, failed
        return self

    def tell(self, command):
        pass

    def cancel(self):
        self.cancelled = True
        self.end()


@pytest.fixture
def puppet(trainer):
    puppet = Puppet()
    trainer._work.converse = puppet.converse
    return puppet


@pytest.mark.gui
def test_a_map_file_takes_the_layers_place(qtbot, trainer, puppet, told, tmp_path, monkeypatch):
    path = tmp_path / "shell.mrc"
    with mrcfile.new(path) as file:
        file.set_data(SHELL.volume)
        file.voxel_size = SHELL.voxel_size
    monkeypatch.setattr("napari_caked.widgets._sim_density.QFileDialog.getOpenFileName", lambda *_: (str(path), ""))
    form = trainer.form
    tick(trainer)
    press(qtbot, form.density.open_map)
    assert form.density.file.text() == "shell.mrc" and not form.density.density.isVisible()
    form.density.mass.setValue(480)
    press(qtbot, form.train_unlabelled)
    qtbot.waitUntil(lambda: puppet.job is not None, timeout=10_000)
    given = puppet.job.density
    assert (given.name, given.mass, given.voxel_size) == ("shell.mrc", 480.0, pytest.approx(SHELL.voxel_size))
    np.testing.assert_array_equal(given.volume, SHELL.volume)
    assert puppet.job.labels is None and puppet.job.dose == DOSE
    puppet.cancel()
    # The layer again; its map is read anew, also where another training began with the file.
    press(qtbot, form.density.drop_file)
    puppet.job = None
    press(qtbot, form.train_unlabelled)
    qtbot.waitUntil(lambda: puppet.job is not None, timeout=10_000)
    assert puppet.job.density.name == "ferritin"
    puppet.cancel()
    # Unticked, the general picker's picks are learned from, as ever; with labels nothing is simulated.
    form.density.wanted.setChecked(False)
    press(qtbot, form.train_unlabelled)
    assert puppet.job.density is None and puppet.job.labels is None and told == []


@pytest.mark.gui
def test_what_is_no_density_is_said_and_the_buttons_come_back(qtbot, viewer, trainer, puppet, told, tmp_path):
    form = trainer.form
    tick(trainer)

    def refused(words):
        told.clear()
        press(qtbot, form.train_unlabelled)
        qtbot.waitUntil(lambda: told != [], timeout=10_000)
        assert words in told[0] and puppet.job is None and not trainer.training
        assert form.train_unlabelled.isEnabled() and form.pick_unlabelled.isEnabled() and form.train.isEnabled()

    (tmp_path / "page.mrc").write_bytes(b"<html>" * 300)
    trainer.density.choice.take_file(tmp_path / "page.mrc")
    refused("page.mrc")
    trainer.density.choice.take_file(None)
    form.density.voxel_size.setValue(0)
    refused("type it in Å in the field 'Voxel size'")
    viewer.layers.remove("ferritin")
    refused("there is no density; choose a layer of a volume, or open a map")
    form.diameter.setValue(0)
    refused("diameter is missing")


@pytest.mark.gui
def test_a_density_takes_the_slider_along_and_micrographs_keep_their_numbers(qtbot, viewer, trainer, puppet):
    form, labelling = trainer.form, trainer.labelling
    viewer.dims.set_point(0, 40.0)  # a section of the density, beyond the micrographs
    assert labelling.micrograph is None
    labelling.step(1)
    assert labelling.micrograph == 0 and viewer.dims.point[0] == pytest.approx(0)
    for by, number in ((1, 1), (5, 2), (-1, 1)):
        labelling.step(by)
        assert labelling.micrograph == number and viewer.dims.point[0] == pytest.approx(number)
    assert viewer.dims.current_step[0] != 1  # which counts from the density's first section
    # A training brings the micrographs into view, where they were not, and is asked for the one that is seen.
    viewer.dims.set_point(0, 40.0)
    press(qtbot, form.pick_unlabelled)
    assert labelling.micrograph == 0 and puppet.job.look.index == 0
    puppet.cancel()
