"""The trainer without a single label: the general picker adapted, its own picks to learn from, and what goes wrong."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt

from napari_caked import load_model
from napari_caked.errors import LabelsError
from napari_caked.settings import PickSettings, PreprocessSettings, TrainingSettings
from napari_caked.widgets import _messages as messages
from napari_caked.widgets._label_free import adapted_to, own_labels
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

SIDE, WIDTH, PIXEL_SIZE = 300, 24, 2.0
DIAMETER = WIDTH * PIXEL_SIZE
NAMES = ("a.mrc", "b.mrc", "c.mrc")
SOON = 120_000
"""Milliseconds in which a helper process has loaded PyTorch, also on a busy machine."""


def micrographs(particles: int) -> tuple[np.ndarray, np.ndarray]:
    """Three noisy micrographs with so many dark rings each, and where the rings are."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE]
    stack = rng.normal(size=(3, SIDE, SIDE)).astype(np.float32)
    truth = []
    for i in range(3):
        for cell in rng.choice(36, particles, replace=False):
            centre = np.array(divmod(int(cell), 6)) * 46 + 35 + rng.uniform(-5, 5, 2)
            distance = np.hypot(y - centre[0], x - centre[1])
            stack[i] -= 2.5 * np.exp(-(((distance - 8) / 3) ** 2))
            truth.append((i, *centre))
    return stack, np.array(truth).reshape(-1, 3)


@pytest.fixture(scope="module")
def specimen():
    return micrographs(15)


def series_of(stack: np.ndarray) -> MicrographSeries:
    return MicrographSeries.from_array(stack, NAMES, pixel_size=PIXEL_SIZE)


def found(truth: np.ndarray, picks: np.ndarray) -> float:
    """Share of the particles with a pick nearer than a third of their width."""
    away = np.linalg.norm((truth[:, None] - picks[None]) * (1000, 1, 1), axis=-1).min(axis=1)
    return float((away < WIDTH / 3).mean())


# ---- the helper's side ---------------------------------------------------------------------------------------------


def job_without_labels(stack: np.ndarray, negatives: ParticleTable | None) -> messages.Job:
    about = NAMES, stack.shape[1:], stack.dtype, PIXEL_SIZE, ""
    training = TrainingSettings(DIAMETER, device="cpu")
    return messages.Job(*about, None, training, PickSettings(device="cpu"), 0.02, negatives=negatives)


def test_its_own_labels_are_particles_and_never_where_the_user_says_there_are_none(specimen):
    stack, truth = specimen
    said: list[object] = []
    all_of_them = own_labels(series_of(stack), job_without_labels(stack, None), said.append)
    assert said[:3] == [messages.Looked(done, 3) for done in (1, 2, 3)]
    assert said[3] == messages.OwnLabels(len(all_of_them), 3)
    # About a tenth is wrong.
    assert found(truth, all_of_them.coordinates) > 0.9 and found(all_of_them.coordinates, truth) > 0.8

    # A click beside the middle of a particle rejects it, and so does the word that a micrograph is empty.
    rejected = all_of_them.coordinates[all_of_them.coordinates[:, 0] == 0][:1]
    metadata = {"empty_micrographs": ["c.mrc"]}
    negatives = ParticleTable(NAMES, rejected + (0, 0, WIDTH / 3), metadata=metadata)
    fewer = own_labels(series_of(stack), job_without_labels(stack, negatives), said.append)
    rows = {tuple(row) for row in all_of_them.coordinates}
    gone = rows - {tuple(row) for row in fewer.coordinates}
    assert gone == {tuple(rejected[0]), *(row for row in rows if row[0] == 2)}

    nowhere = ParticleTable(NAMES, np.empty((0, 3)), metadata={"empty_micrographs": list(NAMES)})
    with pytest.raises(LabelsError, match="you have rejected all"):
        own_labels(series_of(stack), job_without_labels(stack, nowhere), said.append)


def test_on_micrographs_without_particles_the_general_picker_stays_as_it_is():
    stack, _ = micrographs(0)
    model, looked_at, changed = adapted_to(series_of(stack), DIAMETER, "cpu", lambda _: None)
    assert (model.particle_diameter, looked_at, changed) == (DIAMETER, 3, False)
    with pytest.raises(LabelsError, match="surely a particle of 48 Å.*check diameter"):
        own_labels(series_of(stack), job_without_labels(stack, None), lambda _: None)
    stack, _ = micrographs(15)
    assert adapted_to(series_of(stack), DIAMETER, "cpu", lambda _: None)[1:] == (3, True)


# ---- the window ----------------------------------------------------------------------------------------------------


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
def image(viewer, specimen):
    layer = viewer.add_image(
        da.from_array(specimen[0], chunks=(1, SIDE, SIDE)),
        name="micrographs",
        scale=(1, PIXEL_SIZE, PIXEL_SIZE),
        metadata={"micrographs": list(NAMES), "pixel_size": PIXEL_SIZE},
    )
    viewer.dims.set_current_step(0, 1)
    return layer


@pytest.fixture
def trainer(viewer, image, told, monkeypatch, tmp_path):
    from napari_caked.widgets import _devices, train

    monkeypatch.setenv("CAKED_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(_devices, "_found", [])
    trainer = train.PickerTrainer(viewer)
    viewer.window.add_dock_widget(trainer, name="Train particle picker")
    return trainer


class Puppet:
    """Stands for the helper process: says what the test wants, and remembers what it was told."""

    def __init__(self):
        self.job, self.told, self.cancelled = None, [], False

    def converse(self, job, read=None, *, heard, failed, ended, after=0):
        self.job, self.read, self.cancelled = job, read, False
        self.say, self.fail, self.end = heard, failed, ended
        return self

    def tell(self, command):
        self.told.append(command)

    def cancel(self):
        self.cancelled = True
        self.end()


@pytest.fixture
def puppet(trainer):
    puppet = Puppet()
    trainer._work.converse = puppet.converse
    return puppet


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def picks_at(*rows):
    features = pd.DataFrame({"score": 0.9, "logit": 2.2, "diameter": DIAMETER}, index=range(len(rows)))
    return ParticleTable(NAMES, np.array(rows, float), features)


def adapted(changed: bool = True) -> messages.Adapted:
    return messages.Adapted(b"general", "matched", PreprocessSettings(), 3, changed)


@pytest.mark.gui
@pytest.mark.usefixtures("warm_helpers")
def test_picks_and_then_a_training_without_one_label(qtbot, viewer, trainer, told, specimen, tmp_path):
    form = trainer.form
    assert form.pick_unlabelled.isEnabled() and form.picker.text() == "none yet" and not form.pick.isEnabled()
    form.diameter.setValue(DIAMETER)
    press(qtbot, form.pick_unlabelled)
    assert form.train.text() == "Cancel" and form.pause.isHidden()
    assert not form.pick_unlabelled.isEnabled() and not form.train_unlabelled.isEnabled()
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    assert told == [] and form.warnings.text() == ""
    assert form.picker.text() == "the general picker, adapted to 3 of 3 micrographs without labels"
    assert form.status.text().startswith("Picked 3 micrographs in ") and form.picker.text() in form.status.text()
    picks = viewer.layers["picks"]
    assert found(specimen[1], picks.data[picks.shown]) > 0.6  # how good the picker is, is measured elsewhere
    for button in (form.pick, form.improve, form.save_model, form.pick_unlabelled):
        assert button.isEnabled()

    # It is a picker as any other: saved, and picked with.
    trainer.files.save(tmp_path / "general.safetensors")
    assert load_model(tmp_path / "general.safetensors").particle_diameter == DIAMETER
    told.clear()

    # It learns from its own picks, and not where the user says that there are none.
    press(qtbot, form.new_labels)
    qtbot.waitUntil(lambda: "not particles" in viewer.layers, timeout=5_000)
    viewer.layers["not particles"].add(specimen[1][:1])
    trainer.settings = replace(trainer.settings, steps=12)
    press(qtbot, form.train_unlabelled)
    qtbot.waitUntil(lambda: form.warnings.text() != "" or not trainer.training, timeout=SOON)
    assert form.warnings.text().startswith("No labels: learning from the ")
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    assert told == [] and "Trained and picked 3" in form.status.text()
    assert form.picker.text().startswith("trained without labels, from ")
    trainer.files.save(tmp_path / "own.safetensors")
    record = load_model(tmp_path / "own.safetensors").provenance
    assert f"from {record['labels']} picks" in form.picker.text() and record["negatives"] == 1
    assert found(specimen[1][1:], picks.data[picks.shown]) > 0.9


@pytest.mark.gui
def test_labels_after_it_are_learned_from_as_ever(qtbot, trainer, puppet):
    form = trainer.form
    form.diameter.setValue(DIAMETER)
    press(qtbot, form.pick_unlabelled)
    assert puppet.job == messages.GeneralJob(
        NAMES, (SIDE, SIDE), np.dtype(np.float32), PIXEL_SIZE, puppet.job.source, DIAMETER,
        PickSettings(device="auto"), 0.02, messages.Look(1, False),
    )  # fmt: skip
    puppet.say(adapted())
    puppet.say(messages.Picked(3, 3, picks_at((0, 60, 60)), "CPU"))
    puppet.end()
    press(qtbot, form.new_labels)
    form.labels.layer.add([(0, 60, 60), (1, 40, 40)])
    press(qtbot, form.improve)
    assert puppet.job.start == b"general" and len(puppet.job.labels) == 2
    puppet.cancel()
    assert form.picker.text().startswith("the general picker")
    press(qtbot, form.train)
    assert puppet.job.start is None and len(puppet.job.labels) == 2 and puppet.job.training.general
    puppet.say(messages.Trained(b"trained", 2.0))
    puppet.end()
    assert form.picker.text() == "trained from 2 labels" and trainer.model == b"trained"


@pytest.mark.gui
def test_what_is_looked_at_is_picked_before_its_turn(qtbot, viewer, trainer, puppet):
    form = trainer.form
    form.diameter.setValue(DIAMETER)
    press(qtbot, form.pick_unlabelled)
    puppet.say(messages.Looked(1, 3))
    assert "Looking at micrographs" in form.status.text() and (form.progress.value(), form.progress.maximum()) == (1, 3)
    puppet.say(messages.Looked(3, 3))
    assert "Adapting the picker" in form.status.text() and form.progress.maximum() == 0
    puppet.say(adapted())
    viewer.dims.set_current_step(0, 2)
    assert puppet.told == [messages.Look(2, False)]
    picks = viewer.layers["picks"]
    puppet.say(messages.Previewed(0, 2, picks_at((2, 50, 50)), None))
    np.testing.assert_allclose(picks.data, [(2, 50, 50)])
    puppet.say(messages.Picked(1, 3, picks_at((0, 30, 30)), "CPU"))
    np.testing.assert_allclose(picks.data, [(0, 30, 30), (2, 50, 50)])
    puppet.say(messages.Picked(3, 3, picks_at((1, 40, 40), (2, 51, 51)), "CPU"))
    np.testing.assert_allclose(picks.data, [(0, 30, 30), (1, 40, 40), (2, 51, 51)])
    puppet.end()
    assert len(picks.data) == 3

    # One that is cancelled after the adapting leaves a picker and what was picked; before it, what was there.
    press(qtbot, form.pick_unlabelled)
    puppet.say(messages.Looked(1, 3))
    press(qtbot, form.train)
    assert form.status.text().startswith("Cancelled after ") and "what was there before is kept" in form.status.text()
    assert len(picks.data) == 3 and not trainer.training and form.pick_unlabelled.isEnabled()
    press(qtbot, form.pick_unlabelled)
    puppet.say(replace(adapted(), model=b"other"))
    puppet.say(messages.Previewed(0, 2, picks_at((2, 50, 50)), None))
    puppet.say(messages.Picked(1, 3, picks_at((0, 30, 30)), "CPU"))
    press(qtbot, form.train)
    assert "1 of 3 micrographs are picked" in form.status.text() and trainer.model == b"other"
    assert form.pick.isEnabled()


@pytest.mark.gui
def test_what_is_missing_or_odd_is_said_in_words(qtbot, viewer, trainer, puppet, told, image):
    form = trainer.form

    def refused(button, *words):
        told.clear()
        press(qtbot, button)
        assert puppet.job is None and not trainer.training
        assert told == [form.status.text()] and all(word in form.status.text() for word in words)

    for button in (form.pick_unlabelled, form.train_unlabelled):
        refused(button, "diameter is missing")
    form.diameter.setValue(DIAMETER)
    form.pixel_size.setValue(0)
    for button in (form.pick_unlabelled, form.train_unlabelled):
        refused(button, "pixel size is missing")
    form.pixel_size.setValue(PIXEL_SIZE)
    # Never silently: "Train" wants labels, and names the button that does without.
    refused(form.train, "no labels", "press 'Train without labels'")
    press(qtbot, form.new_labels)
    refused(form.train, "no labels", "press 'Train without labels'")
    # Nor does the other ignore labels that there are.
    form.labels.layer.add([(0, 60, 60)])
    refused(form.train_unlabelled, "there is a label", "press 'Train'")

    press(qtbot, form.pick_unlabelled)
    puppet.say(adapted(changed=False))
    puppet.say(messages.Picked(3, 3, picks_at(), "CPU"))
    puppet.end()
    assert "surely a particle of 48 Å" in form.warnings.text() and not form.warnings.isHidden()
    assert form.picker.text() == "the general picker as it is shipped, not adapted, without labels"

    puppet.job = None
    viewer.layers.remove(image)
    for button in (form.pick_unlabelled, form.train_unlabelled):
        refused(button, "no micrographs")


@pytest.mark.gui
def test_layers_may_go_meanwhile(qtbot, viewer, trainer, puppet, told, image):
    form = trainer.form
    form.diameter.setValue(DIAMETER)
    press(qtbot, form.pick_unlabelled)
    puppet.say(adapted())
    puppet.say(messages.Previewed(0, 1, picks_at((1, 50, 50)), None))
    viewer.layers.remove(viewer.layers["picks"])
    puppet.say(messages.Previewed(0, 1, picks_at((1, 50, 50)), None))
    puppet.say(messages.Picked(3, 3, picks_at((0, 30, 30)), "CPU"))
    puppet.end()
    assert "the layer of picks was removed meanwhile" in form.status.text() and "'Pick'" in form.status.text()
    assert told == [] and "picks" not in viewer.layers
    press(qtbot, form.pick)
    puppet.say(messages.Picked(3, 3, picks_at((0, 30, 30)), "CPU"))
    puppet.end()
    assert len(viewer.layers["picks"].data) == 1

    # The micrographs are still read, and their picks shown, after their layer has gone.
    press(qtbot, form.pick_unlabelled)
    viewer.layers.remove(image)
    assert puppet.read(2).shape == (SIDE, SIDE)
    puppet.say(adapted())
    puppet.say(messages.Picked(3, 3, picks_at((0, 30, 30), (2, 40, 40)), "CPU"))
    puppet.end()
    assert len(viewer.layers["picks"].data) == 2 and told == []


@pytest.mark.gui
def test_answers_without_a_layer_for_them_say_so(qtbot, viewer, trainer, puppet):
    form = trainer.form
    form.diameter.setValue(DIAMETER)
    press(qtbot, form.pick_unlabelled)
    puppet.say(adapted())
    puppet.say(messages.Picked(3, 3, picks_at((1, 30, 30)), "CPU"))
    puppet.end()
    for answer in (trainer.labelling.accept, trainer.labelling.reject, trainer.labelling.accept_shown):
        form.hint.setText("")
        answer()
        assert "press 'New labels'" in form.hint.text()
    press(qtbot, form.new_labels)
    qtbot.waitUntil(lambda: viewer.layers["picks"].visible, timeout=5_000)
    press(qtbot, form.accept_shown)
    np.testing.assert_allclose(form.labels.layer.data, [(1, 30, 30)])
