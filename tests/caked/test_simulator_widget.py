"""The simulator in a napari window: a density in, a live preview, stacks that the trainer takes, folders."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_caked.layers import is_negatives, series_from_layer
from napari_caked.widgets import _sim_messages as messages
from napari_empiarreader import open_micrographs, read_particles
from napari_empiarreader.micrographs.mrc import write_mrc

sys.path.insert(0, str(Path(__file__).parent))
from simulated import blobs  # noqa: E402

pytestmark = pytest.mark.gui

SOON = 120_000
"""Milliseconds in which a helper process has loaded PyTorch, also on a busy machine."""
VOXEL = 2.5


@pytest.fixture
def told(monkeypatch):
    """What the user was told by napari's notifications."""
    told: list[str] = []
    monkeypatch.setattr("napari_caked.widgets._saving.show_error", told.append)
    return told


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def density(viewer):
    return viewer.add_image(blobs().volume, name="blobs", scale=(VOXEL,) * 3, units=("angstrom",) * 3)


@pytest.fixture
def simulator(viewer, told):
    from napari_caked.widgets.simulate import MicrographSimulator

    simulator = MicrographSimulator(viewer)
    viewer.window.add_dock_widget(simulator, name="Simulate micrographs")
    form = simulator.form
    for field, value in (
        (form.height, 192),
        (form.width, 224),
        (form.views, 8),
        (form.count, 3),
        (form.side, 128),
        (form.particles, 16),
        (form.pixel_size, VOXEL),
        (form.dose, 80.0),
    ):
        field.setValue(value)
    yield simulator
    simulator._close()
    for made in simulator._stacks:
        made.stack.rest()


def up_to_date(simulator):
    """Whether the preview that was asked for last is shown."""
    preview = simulator.preview
    return preview.image is not None and preview._shown == preview._ticket and not simulator._soon.isActive()


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def seen(ticket, value=0.0):
    """A preview as the helper sends it."""
    particles = np.zeros((2, 8))
    particles[:, :2] = [(3.0, 4.0), (9.0, 5.0)]
    return messages.Seen(ticket, np.full((64, 80), value, np.float32), (0.0, 5.0), particles, np.empty((0, 4)), 90.0, 1)


class Puppet:
    """Stands for the helper process: remembers what it was told."""

    def __init__(self):
        self.jobs, self.told, self.cancelled = [], [], False

    def converse(self, job, read=None, *, heard, failed, ended, after=0):
        self.jobs.append(job)
        self.say, self.fail, self.end, self.cancelled = heard, failed, ended, False
        return self

    def tell(self, command):
        self.told.append(command)

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def puppet(simulator):
    puppet = Puppet()
    simulator._work.converse = puppet.converse
    return puppet


@pytest.fixture
def previewing(qtbot, viewer, density, simulator, puppet):
    """A simulator whose preview shows what the puppet says."""
    simulator.use_density(density)
    qtbot.waitUntil(lambda: bool(puppet.told), timeout=SOON)
    puppet.say(messages.Measured(90.0))
    puppet.say(seen(puppet.told[-1].ticket))
    return simulator


# ---- the preview -----------------------------------------------------------------------------------------------------


def test_sliders_are_previewed_with_their_truth_on_top(qtbot, viewer, density, simulator):
    simulator.use_density(density)
    qtbot.waitUntil(lambda: up_to_date(simulator), timeout=SOON)
    image, points = viewer.layers["simulator preview"], viewer.layers["simulator truth"]
    assert image.data.shape == (128, 128) and image.scale == pytest.approx((VOXEL, VOXEL))
    assert viewer.layers.index(points) > viewer.layers.index(image)
    few = len(points.data)
    assert few == round(16 * 128 * 128 / (192 * 224)) and set(points.features["kind"]) == {"particle"}
    before = image.data.copy()
    simulator.form.dose.slider.setValue(100)
    qtbot.waitUntil(lambda: not np.array_equal(image.data, before), timeout=SOON)
    assert np.array_equal(image.data.shape, before.shape) and image.data.mean() < 0.5 * before.mean()
    simulator.form.particles.setValue(48)
    simulator.form.spacing.setValue(0)
    simulator.form.decoys["gold"].setValue(2)
    qtbot.waitUntil(lambda: up_to_date(simulator), timeout=SOON)
    assert len(points.data) == round(48 * 128 * 128 / (192 * 224)) + 2
    gold = (points.features["kind"] == "gold").to_numpy()
    assert gold.sum() == 2 and len(np.unique(points.border_color, axis=0)) == 2
    at = np.rint(np.asarray(points.data)[gold][0]).astype(int)
    assert image.data[tuple(np.clip(at, 0, 127))] < 0.6 * np.median(image.data)
    assert "ms" in simulator.form.latency.text()
    viewer.layers.remove("blobs")
    assert not simulator.form.live.isChecked() and not simulator.preview.running


def test_many_changes_are_one_request_and_old_answers_are_dropped(qtbot, previewing, puppet):
    asked = len(puppet.told)
    for dose in range(10, 60):
        previewing.form.dose.setValue(dose)
    qtbot.waitUntil(lambda: len(puppet.told) > asked, timeout=SOON)
    assert len(puppet.told) == asked + 1 and puppet.told[-1].settings.camera.dose == 59
    last = puppet.told[-1].ticket
    puppet.say(seen(last, 2.0))
    puppet.say(seen(last - 1, 1.0))
    assert previewing.preview.image.data[0, 0] == 2.0


def test_a_refused_preview_says_why_and_the_next_is_shown(qtbot, previewing, puppet):
    puppet.say(messages.Refused(puppet.told[-1].ticket, "pixel_size: give fewer Å"))
    assert previewing.form.latency.text() == "pixel_size: give fewer Å"
    previewing.form.ice.setValue(333)
    qtbot.waitUntil(lambda: puppet.told[-1].settings.scene.ice_thickness == 333, timeout=SOON)
    puppet.say(seen(puppet.told[-1].ticket, 4.0))
    assert previewing.preview.image.data[0, 0] == 4.0


def test_whoever_removes_the_preview_wants_none(viewer, previewing, puppet):
    viewer.layers.remove("simulator preview")
    assert puppet.cancelled and not previewing.form.live.isChecked() and not previewing.preview.running
    puppet.say(seen(puppet.told[-1].ticket))
    assert "simulator preview" not in viewer.layers


def test_a_density_that_was_removed_is_no_longer_simulated(viewer, previewing, puppet, told):
    viewer.layers.remove("blobs")
    assert puppet.cancelled and not previewing.form.live.isChecked()
    previewing.make()
    assert not previewing.busy and "choose a layer of a volume" in previewing.form.status.text()


def test_the_window_lives_while_a_slow_density_is_read(qtbot, viewer, simulator):
    arrived, reader = threading.Event(), []

    def slow(block):
        if block.size:
            reader.append(threading.current_thread())
            assert arrived.wait(60)
        return block

    volume = da.from_array(blobs().volume, chunks=-1)
    layer = viewer.add_image(blobs().volume, name="slow", scale=(VOXEL,) * 3, units=("angstrom",) * 3)
    layer._data = volume.map_blocks(slow, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    simulator._work.converse = Puppet().converse
    simulator.use_density(layer)
    qtbot.waitUntil(lambda: bool(reader), timeout=SOON)
    assert not simulator.preview.running  # and yet this line is reached
    assert reader[0] is not threading.main_thread()
    arrived.set()
    qtbot.waitUntil(lambda: simulator.preview.running, timeout=SOON)


def test_the_preview_lies_beside_the_real_one_or_on_it(qtbot, viewer, previewing, puppet):
    stack = np.random.default_rng(0).normal(size=(2, 100, 120)).astype(np.float32)
    real = viewer.add_image(
        stack,
        name="real",
        scale=(1, 2.0, 2.0),
        units=("pixel", "angstrom", "angstrom"),
        metadata={"micrographs": ["a", "b"], "pixel_size": 2.0},
    )
    viewer.dims.set_point(0, 40)  # the depth of the density
    assert previewing.form.real.layer is real and previewing.form.density.layer.name == "blobs"
    for beside, left in ((True, 120 * 1.04 * 2.0), (False, 0.0)):
        previewing.form.beside.setChecked(beside)
        qtbot.wait(50)
        puppet.say(seen(puppet.told[-1].ticket))
        assert previewing.preview.image.translate == pytest.approx((0, left))


def test_what_is_no_volume_is_refused(viewer, simulator, told):
    flat = viewer.add_image(np.zeros((64, 64)), name="flat")
    simulator.use_density(flat)
    assert "'flat' is no volume" in simulator.form.status.text() and told
    simulator.form.live.setChecked(True)
    assert not simulator.form.live.isChecked() and "open a map" in simulator.form.status.text()


def test_a_wrong_file_says_what_is_wrong_and_a_right_one_is_taken(qtbot, tmp_path, simulator, told):
    wrong, right = tmp_path / "wrong.mrc", tmp_path / "right.mrc"
    wrong.write_bytes(b"no map at all")
    write_mrc(right, blobs().volume, VOXEL)
    simulator.open_map(wrong)
    qtbot.waitUntil(lambda: bool(told), timeout=SOON)
    assert "wrong.mrc" in told[0] and not simulator.form.live.isChecked()
    puppet = Puppet()
    simulator._work.converse = puppet.converse
    simulator.open_map(right)
    qtbot.waitUntil(lambda: simulator.preview.running, timeout=SOON)
    assert puppet.jobs[0].specimen.voxel_size == simulator.form.voxel_size.value() == VOXEL
    assert simulator.form.file.text() == "right.mrc"


def test_settings_that_cannot_be_are_told(density, simulator, told):
    simulator.form.mass.setValue(0)
    simulator.form.voltage.field.setRange(0, 5000)
    simulator.form.voltage.setValue(5000)
    simulator.make()
    assert not simulator.busy and "voltage: 5000" in simulator.form.status.text()


def test_closing_the_dock_ends_the_preview(viewer, previewing, puppet):
    viewer.window.remove_dock_widget(previewing)
    assert puppet.cancelled and not previewing.preview.running


# ---- the real --------------------------------------------------------------------------------------------------------


def test_matching_sets_the_form_and_brings_the_noise(qtbot, viewer, density, simulator, puppet):
    from napari_caked.simulate.settings import MeasuredNoise

    stack = np.random.default_rng(0).normal(size=(2, 100, 120)).astype(np.float32)
    viewer.add_image(stack, name="real", scale=(1, 2.0, 2.0), metadata={"micrographs": ["a", "b"], "pixel_size": 2.0})
    press(qtbot, simulator.form.match)
    qtbot.waitUntil(lambda: bool(puppet.jobs), timeout=SOON)
    job = puppet.jobs[-1]
    assert isinstance(job, messages.MatchJob) and job.shape == (100, 120) and job.pixel_size == 2.0
    noise = MeasuredNoise(5.0, 2.0, 8.0, (0.0, 0.2), (1.0, 1.0))
    scene, optics = replace(job.settings.scene, shape=(100, 120)), replace(job.settings.optics, defocus=(1.25, 1.5))
    matched = replace(job.settings, scene=scene, optics=optics, pixel_size=2.0, noise=noise)
    puppet.say(messages.Matched(matched, "2 micrographs, defocus 1.25 to 1.50 µm"))
    puppet.end()
    form = simulator.form
    assert not simulator.busy and "1.25 to 1.50 µm" in form.status.text()
    assert form.settings(simulator.noise) == matched
    form.contrast.setValue(1.5)
    assert form.settings(simulator.noise).noise.strength == 12.0
    form.measured.setChecked(False)
    assert form.settings(simulator.noise).noise is None


def test_nothing_is_matched_without_real_micrographs(density, simulator, puppet):
    simulator.match()
    assert "no real micrographs" in simulator.form.status.text() and not puppet.jobs


# ---- stacks and folders ----------------------------------------------------------------------------------------------


@pytest.fixture
def stack(qtbot, viewer, density, simulator, warm_helpers):
    """A stack of three, and the simulator that made it."""
    simulator.form.decoys["gold"].setValue(1)
    press(qtbot, simulator.form.make)
    assert simulator.busy
    qtbot.waitUntil(lambda: not simulator.busy, timeout=SOON)
    return simulator._stacks[0].layers


def test_a_stack_is_simulated_when_it_is_looked_at_and_the_trainer_takes_it(
    qtbot, viewer, simulator, stack, monkeypatch, tmp_path
):
    from napari_caked.simulate import bank_of, lazy_micrographs
    from napari_caked.widgets import _devices
    from napari_caked.widgets.train import PickerTrainer

    images, particles, decoys = stack
    settings = simulator.form.settings(None)
    bank = bank_of(blobs(), settings.views, settings.pixel_size, seed=settings.seed)
    lazy = lazy_micrographs(bank, settings, 3)
    assert images.data.shape == (3, 192, 224) and isinstance(images.data, da.Array)
    # Transforms of another number of threads differ in the last place.
    assert np.asarray(images.data[2]) == pytest.approx(lazy.series.read(2), abs=2)
    assert np.array_equal(particles.data, lazy.particles.coordinates) and len(decoys.data) == 3
    assert {"rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnDefocusU", "diameter"} <= set(particles.features)
    assert images.metadata["pixel_size"] == VOXEL and list(images.metadata["micrographs"]) == list(lazy.series.names)
    assert is_negatives(decoys)

    # The layers live on without the widget, and the trainer learns from them.
    viewer.window.remove_dock_widget(simulator)
    viewer.layers.remove("blobs")
    monkeypatch.setenv("CAKED_STATE", str(tmp_path))
    monkeypatch.setattr(_devices, "_found", [])
    trainer = PickerTrainer(viewer)
    trainer.settings = replace(trainer.settings, steps=12)
    viewer.window.add_dock_widget(trainer, name="Train particle picker")
    trainer.form.micrographs.choose(images)
    trainer.form.labels.choose(particles)
    assert trainer.form.labels.layer is particles and trainer.labelling.label_set.negatives is decoys
    trainer.form.diameter.setValue(90.0)
    trainer.start()
    qtbot.waitUntil(lambda: not trainer.training, timeout=3 * SOON)
    assert "Trained and picked 3 micrographs" in trainer.form.status.text()
    assert len(viewer.layers["picks"].data) > 0


def test_neighbours_are_simulated_before_somebody_looks_at_them(qtbot, viewer, simulator, stack):
    from napari_empiarreader.micrographs.cache import shared_cache

    cache, first = shared_cache(), simulator._stacks[0].series.read(0)
    key = next(key for key in list(cache._images) if cache.peek(key) is first)[0]
    viewer.dims.set_point(0, 0)
    qtbot.waitUntil(lambda: all(cache.peek((key, index)) is not None for index in range(3)), timeout=SOON)


def test_a_removed_stack_ends_its_process(viewer, simulator, stack):
    making = simulator._stacks[0].stack
    assert making.awake
    viewer.layers.remove(stack[0])
    assert not making.awake
    assert series_from_layer(stack[0]).read(0).shape == (192, 224)  # still in the cache


@pytest.mark.usefixtures("warm_helpers")
def test_making_can_be_cancelled(qtbot, viewer, density, simulator):
    before = list(viewer.layers)
    simulator.form.count.setValue(50_000)
    press(qtbot, simulator.form.make)
    qtbot.waitUntil(lambda: simulator.form.progress.format().startswith("Placing"), timeout=SOON)
    press(qtbot, simulator.form.cancel)
    qtbot.waitUntil(lambda: not simulator.busy, timeout=SOON)
    assert simulator.form.status.text() == "Cancelled." and list(viewer.layers) == before


@pytest.mark.usefixtures("warm_helpers")
def test_a_folder_is_saved_with_its_truth_and_cancelling_keeps_what_is_there(qtbot, density, simulator, tmp_path):
    simulator.form.count.setValue(5000)
    simulator.save(tmp_path / "out")
    # What is written says how far it is, and the click comes in the middle of it.
    qtbot.waitUntil(lambda: simulator.form.progress.value() >= 2, timeout=SOON)
    press(qtbot, simulator.form.cancel)
    qtbot.waitUntil(lambda: not simulator.busy, timeout=SOON)
    made = open_micrographs([tmp_path / "out" / "micrographs"])
    assert 2 <= len(made) < 5000 and f"Saved {len(made)} micrographs of 5000" in simulator.form.status.text()
    truth = read_particles(tmp_path / "out" / "particles.star")
    assert truth.micrographs == tuple(f"micrographs/{name}" for name in made.names)
    assert len(truth) > 10
