"""Pickers from files in the trainer: opened, picked with, improved; and what is left when the helper is killed."""

import json

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog
from safetensors import safe_open

from napari_caked import TrainingSettings, load_model, save_model, train
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("warm_helpers")]

SIDE, WIDTH, PIXEL_SIZE = 300, 24, 2.0
NAMES = ["a.mrc", "b.mrc"]
SOON = 120_000
"""Milliseconds in which a helper process has loaded PyTorch, also on a busy machine."""


@pytest.fixture(scope="module")
def specimen():
    """Two noisy micrographs of dark rings, and where the rings are."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE]
    stack = rng.normal(size=(2, SIDE, SIDE)).astype(np.float32)
    truth = []
    for i in range(2):
        for cell in rng.choice(36, 15, replace=False):
            centre = np.array(divmod(int(cell), 6)) * 46 + 35 + rng.uniform(-5, 5, 2)
            distance = np.hypot(y - centre[0], x - centre[1])
            stack[i] -= 2.5 * np.exp(-(((distance - 8) / 3) ** 2))
            truth.append((i, *centre))
    return stack, np.array(truth)


@pytest.fixture(scope="module")
def picker_file(specimen, tmp_path_factory):
    """A picker that was trained somewhere else."""
    stack, truth = specimen
    series = MicrographSeries.from_array(stack, NAMES, pixel_size=PIXEL_SIZE)
    settings = TrainingSettings(WIDTH * PIXEL_SIZE, steps=12, device="cpu")
    file = tmp_path_factory.mktemp("models") / "rings.safetensors"
    save_model(file, train(series, ParticleTable(tuple(NAMES), truth), settings))
    return file


@pytest.fixture
def told(monkeypatch):
    """What the user was told by napari's notifications."""
    told = []
    monkeypatch.setattr("napari_caked.widgets._saving.show_error", told.append)
    return told


@pytest.fixture
def viewer(make_napari_viewer, specimen):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(
        da.from_array(specimen[0], chunks=(1, SIDE, SIDE)),
        name="micrographs",
        scale=(1, PIXEL_SIZE, PIXEL_SIZE),
        metadata={"micrographs": NAMES, "pixel_size": PIXEL_SIZE},
    )
    return viewer


@pytest.fixture
def trainer(viewer, told, monkeypatch):
    from napari_caked.widgets import _devices, train

    monkeypatch.setattr(_devices, "_found", [])
    trainer = train.PickerTrainer(viewer)
    viewer.window.add_dock_widget(trainer, name="Train particle picker")
    return trainer


@pytest.fixture
def open_file(qtbot, trainer, monkeypatch):
    """Open a model by the button, and wait until that is over."""

    def open_file(path):
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
        press(qtbot, trainer.form.open_model)
        assert not trainer.form.train.isEnabled() and not trainer.form.open_model.isEnabled()
        qtbot.waitUntil(trainer.form.open_model.isEnabled, timeout=SOON)
        assert trainer.form.train.isEnabled()

    return open_file


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def label_all(trainer, truth):
    trainer.form.new_labels.click()
    trainer.form.labels.layer.add(truth)


def test_a_picker_from_a_file_picks_and_learns_on(qtbot, viewer, trainer, told, specimen, picker_file, open_file):
    form = trainer.form
    assert not form.pick.isEnabled() and not form.improve.isEnabled() and not form.save_model.isEnabled()
    open_file(picker_file)
    assert told == [] and trainer.model == picker_file.read_bytes()
    assert form.diameter.value() == WIDTH * PIXEL_SIZE and "rings.safetensors is open" in form.status.text()
    assert form.pick.isEnabled() and form.improve.isEnabled() and form.save_model.isEnabled()

    press(qtbot, form.pick)
    assert form.train.text() == "Cancel" and form.pause.isHidden() and not form.open_model.isEnabled()
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    assert told == [] and form.status.text().startswith("Picked 2 micrographs in ") and "CPU" in form.status.text()
    picks = viewer.layers["picks"]
    shown = picks.data[picks.shown]
    away = np.linalg.norm((specimen[1][:, None] - shown[None]) * (1000, 1, 1), axis=-1).min(axis=1)
    assert (away < WIDTH / 3).mean() > 0.8
    np.testing.assert_allclose(picks.size, WIDTH)

    trainer.settings = trainer.settings.__class__(particle_diameter=0.0, improving_steps=12)
    label_all(trainer, specimen[1])
    press(qtbot, form.improve)
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    assert told == [] and "Trained and picked 2" in form.status.text() and trainer.model != picker_file.read_bytes()
    # Nobody has saved it, and it is on disk.
    with safe_open(trainer.files.kept, framework="np") as kept:
        description = json.loads(kept.metadata()["picker"])
    assert trainer.files.kept.stat().st_size == len(trainer.model)
    assert description["provenance"]["steps"] == 12


def test_a_file_that_is_no_picker_is_refused_in_words(trainer, told, picker_file, open_file, tmp_path):
    form = trainer.form
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(picker_file.read_bytes()[:-1000])
    open_file(damaged)
    assert f"{damaged}: no readable safetensors file" in form.status.text() and told == [form.status.text()]
    assert trainer.model is None and not form.pick.isEnabled() and form.diameter.value() == 0
    open_file(picker_file)
    open_file(tmp_path / "none.safetensors")
    assert "no such model file" in form.status.text()
    assert trainer.model == picker_file.read_bytes() and form.pick.isEnabled() and form.improve.isEnabled()


def test_what_was_learned_survives_a_helper_that_is_killed(qtbot, trainer, told, specimen, kept_pickers, open_file):
    form = trainer.form
    form.diameter.setValue(WIDTH * PIXEL_SIZE)
    form.steps.setValue(100_000)
    label_all(trainer, specimen[1])
    press(qtbot, form.train)
    qtbot.waitUntil(lambda: trainer.files.kept is not None, timeout=SOON)
    trainer._helper._process.kill()
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    (file,) = kept_pickers.iterdir()
    assert f"kept in {file}" in form.status.text() and "ended early" in form.status.text()
    assert told == [form.status.text()] and trainer.model is None
    assert load_model(file).particle_diameter == WIDTH * PIXEL_SIZE
    form.diameter.setValue(0)
    open_file(file)
    assert trainer.model == file.read_bytes() and form.diameter.value() == WIDTH * PIXEL_SIZE
    press(qtbot, form.pick)
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    assert form.status.text().startswith("Picked 2 micrographs")
