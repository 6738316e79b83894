"""The trainer, used as a person does: click on particles, train, look, save; and close it in the middle.

Where it matters what the window does and not how well the picker learns, a puppet stands for the helper process.
"""

import gc
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import starfile
from qtpy.QtCore import QPoint, Qt
from superqt.utils._qthreading import WorkerBase

from napari_caked.widgets import _messages as messages
from napari_empiarreader.coordinates import ParticleTable

pytestmark = pytest.mark.gui

SIDE, WIDTH, PIXEL_SIZE = 300, 24, 2.0
NAMES = ["a.mrc", "b.mrc", "c.mrc"]
SOON = 120_000
"""Milliseconds in which a helper process has loaded PyTorch, also on a busy machine."""


@pytest.fixture(scope="module")
def specimen():
    """Three noisy micrographs of dark rings, and where the rings are."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE]
    stack = rng.normal(size=(3, SIDE, SIDE)).astype(np.float32)
    truth = []
    for i in range(3):
        for cell in rng.choice(36, 15, replace=False):
            centre = np.array(divmod(int(cell), 6)) * 46 + 35 + rng.uniform(-5, 5, 2)
            distance = np.hypot(y - centre[0], x - centre[1])
            stack[i] -= 2.5 * np.exp(-(((distance - 8) / 3) ** 2))
            truth.append((i, *centre))
    return stack, np.array(truth)


@pytest.fixture
def told(monkeypatch):
    """What the user was told by napari's notifications."""
    told = []
    monkeypatch.setattr("napari_caked.widgets._saving.show_error", told.append)
    monkeypatch.setattr("napari_caked.widgets._model_files.show_info", told.append)
    monkeypatch.setattr("napari_caked.widgets._pick_saving.show_info", told.append)
    return told


@pytest.fixture
def viewer(make_napari_viewer, specimen):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(
        da.from_array(specimen[0], chunks=(1, SIDE, SIDE)),
        name="micrographs",
        scale=(1, PIXEL_SIZE, PIXEL_SIZE),
        units=("pixel", "angstrom", "angstrom"),
        metadata={"micrographs": NAMES, "pixel_size": PIXEL_SIZE},
    )
    viewer.dims.set_current_step(0, 0)
    return viewer


@pytest.fixture
def trainer(viewer, told, monkeypatch):
    from napari_caked.widgets import _devices, train

    # Looking for devices loads PyTorch in a process of its own; one test does that.
    monkeypatch.setattr(_devices, "_found", [])
    trainer = train.PickerTrainer(viewer)
    trainer.settings = replace(trainer.settings, steps=12, improving_steps=12)
    viewer.window.add_dock_widget(trainer, name="Train particle picker")
    return trainer


class Puppet:
    """Stands for the helper process: says what the test wants, and remembers what it was told."""

    def __init__(self):
        self.job, self.told, self.cancelled = None, [], False

    def converse(self, job, read=None, *, heard, failed, ended, after=0):
        self.job, self.told, self.cancelled = job, [], False
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


def picks_at(rows, scores):
    """Picks as the helper sends them."""
    scores = np.asarray(scores, float)
    features = pd.DataFrame({"score": scores, "logit": np.log(scores / (1 - scores)), "diameter": WIDTH * PIXEL_SIZE})
    return ParticleTable(tuple(NAMES), np.array(rows, float), features)


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def camera_of(viewer):
    """The camera, which has moved in napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def on_canvas(viewer, canvas, yx):
    """Where a pixel of the micrographs is on the canvas."""
    camera = camera_of(viewer)
    offset = (np.array(yx) * PIXEL_SIZE - np.array(camera.center[-2:])) * camera.zoom
    return QPoint(round(canvas.width() / 2 + offset[1]), round(canvas.height() / 2 + offset[0]))


def label_all_of_the_first(trainer, truth):
    """Labels without clicks."""
    trainer.form.diameter.setValue(WIDTH * PIXEL_SIZE)
    trainer.form.new_labels.click()
    trainer.form.labels.layer.add(truth[truth[:, 0] == 0])


def wait_until_over(qtbot, trainer):
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)


def no_worker_is_left(qtbot, within):
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=within)
    assert not [t for t in threading.enumerate() if "napari_caked" in t.name]


def test_clicks_make_labels_and_undo_takes_them_back(qtbot, viewer, trainer, canvas_widget, drag, specimen):
    form, canvas = trainer.form, canvas_widget(viewer)
    assert form.pixel_size.value() == PIXEL_SIZE
    assert not form.click_tool.isEnabled() and "no labels" in form.counts.text()
    form.diameter.setValue(WIDTH * PIXEL_SIZE)
    assert form.pixels.text() == "= 24 px"
    press(qtbot, form.new_labels)
    labels = form.labels.layer
    assert form.click_tool.isChecked() and labels.metadata["micrographs"] == NAMES
    qtbot.wait(300)  # the first frame, and with it the place of the camera

    def click(yx, button=Qt.MouseButton.LeftButton):
        place = on_canvas(viewer, canvas, yx)
        qtbot.mouseMove(canvas, place)
        qtbot.mouseClick(canvas, button, pos=place)

    # The label layer need not be the active one.
    viewer.layers.selection.active = viewer.layers["micrographs"]
    click((100, 80))
    click((200, 150))
    np.testing.assert_allclose(labels.data, [(0, 100, 80), (0, 200, 150)], atol=2)
    np.testing.assert_allclose(labels.size, WIDTH)
    viewer.dims.set_current_step(0, 1)
    click((50, 50))
    assert labels.data[2, 0] == 1
    assert "<b>3</b> particles on <b>2</b> micrographs" in form.counts.text()

    # A click on a label of another micrograph is a new label; on one of this, its end. The right button only removes.
    click((101, 81))
    assert len(labels.data) == 4
    click((52, 48))
    click((101, 81), Qt.MouseButton.RightButton)
    click((250, 250), Qt.MouseButton.RightButton)
    click((-20, 50))
    assert len(labels.data) == 2

    # Dragging moves the picture.
    before = np.array(camera_of(viewer).center)
    drag(canvas, on_canvas(viewer, canvas, (150, 150)), on_canvas(viewer, canvas, (200, 200)))
    assert len(labels.data) == 2 and np.abs(np.array(camera_of(viewer).center) - before).max() > 5

    canvas.setFocus()
    control = Qt.KeyboardModifier.ControlModifier
    qtbot.keyClick(canvas, Qt.Key.Key_Z, control)
    assert len(labels.data) == 3
    press(qtbot, form.undo)
    assert len(labels.data) == 4
    qtbot.keyClick(canvas, Qt.Key.Key_Z, control | Qt.KeyboardModifier.ShiftModifier)
    press(qtbot, form.redo)
    assert len(labels.data) == 2

    # Another diameter, other circles; the tool off, clicks are napari's again.
    form.diameter.setValue(2 * WIDTH * PIXEL_SIZE)
    np.testing.assert_allclose(labels.size, 2 * WIDTH)
    assert not viewer.mouse_double_click_callbacks
    press(qtbot, form.click_tool)
    click((150, 20))
    assert len(labels.data) == 2 and viewer.mouse_double_click_callbacks


@pytest.fixture
def hands(qtbot, viewer, canvas_widget):
    """Click, move to and press keys on the canvas, in pixels of the micrographs."""

    class Hands:
        canvas = canvas_widget(viewer)

        def move(self, yx):
            qtbot.mouseMove(self.canvas, on_canvas(viewer, self.canvas, yx))
            qtbot.wait(20)

        def click(self, yx, button=Qt.MouseButton.LeftButton, modifier=Qt.KeyboardModifier.NoModifier):
            self.move(yx)
            qtbot.mouseClick(self.canvas, button, modifier, pos=on_canvas(viewer, self.canvas, yx))

        def key(self, key, modifier=Qt.KeyboardModifier.NoModifier):
            self.canvas.setFocus()
            qtbot.keyClick(self.canvas, key, modifier)

    return Hands()


CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def test_what_is_no_particle_is_said_by_click_and_by_key(qtbot, viewer, trainer, puppet, hands):
    form = trainer.form
    form.diameter.setValue(WIDTH * PIXEL_SIZE)
    press(qtbot, form.new_labels)
    labels = form.labels.layer
    qtbot.waitUntil(lambda: "not particles" in viewer.layers, timeout=5_000)
    negatives = viewer.layers["not particles"]
    qtbot.wait(300)
    # It is offered neither as labels nor as picks, and its circles are as wide.
    assert form.labels.layer is labels and negatives.current_size == WIDTH
    assert viewer.layers.selection.active is labels
    assert viewer.cursor.style == "circle" and viewer.cursor.size == pytest.approx(WIDTH * PIXEL_SIZE)

    hands.click((100, 80))
    hands.click((200, 150), modifier=SHIFT)
    np.testing.assert_allclose(negatives.data, [(0, 200, 150)], atol=2)
    assert len(labels.data) == 1 and "<b>1</b> not" in form.counts.text()
    press(qtbot, form.not_this)
    hands.click((60, 200))
    hands.click((250, 60), modifier=SHIFT)
    assert len(negatives.data) == 2 and len(labels.data) == 2
    # A click on either kind removes it.
    hands.click((200, 150))
    hands.click((100, 80), Qt.MouseButton.RightButton)
    assert len(negatives.data) == 1 and len(labels.data) == 1
    press(qtbot, form.not_this)

    # Keys: next and previous micrograph, empty, hide; each micrograph has its own "empty".
    hands.key(Qt.Key.Key_N)
    hands.key(Qt.Key.Key_E)
    assert viewer.dims.current_step[0] == 1 and form.empty.isChecked()
    assert labels.metadata["empty_micrographs"] == ["b.mrc"] and "<b>1</b> empty" in form.counts.text()
    hands.key(Qt.Key.Key_N)
    hands.key(Qt.Key.Key_N)
    assert viewer.dims.current_step[0] == 2 and not form.empty.isChecked()
    hands.key(Qt.Key.Key_B)
    assert viewer.dims.current_step[0] == 1 and form.empty.isChecked()
    hands.key(Qt.Key.Key_H)
    assert not labels.visible and not negatives.visible and form.hide_marks.isChecked()
    hands.key(Qt.Key.Key_H)
    assert labels.visible and negatives.visible

    # One history for all of it.
    hands.key(Qt.Key.Key_Z, CONTROL)
    assert labels.metadata["empty_micrographs"] == [] and not form.empty.isChecked()
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.key(Qt.Key.Key_Z, CONTROL)
    assert len(labels.data) == 2 and len(negatives.data) == 2
    for _ in range(3):
        hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert labels.metadata["empty_micrographs"] == ["b.mrc"] and len(negatives.data) == 1
    assert not form.redo.isEnabled() and form.undo.isEnabled()

    # All of it goes into training.
    press(qtbot, form.train)
    assert len(puppet.job.labels) == 1 and len(puppet.job.negatives) == 1
    assert puppet.job.negatives.metadata["empty_micrographs"] == ["b.mrc"]
    np.testing.assert_allclose(puppet.job.negatives.coordinates, [(0, 60, 200)], atol=2)
    puppet.cancel()


def test_picks_are_corrected_by_key(qtbot, viewer, trainer, puppet, hands, told, tmp_path):
    form = trainer.form
    label_all_of_the_first(trainer, np.array([(0, 20, 20), (0, 280, 280)]))
    press(qtbot, form.train)
    assert puppet.job.negatives is None
    rows = [(0, 60, 60), (0, 150, 150), (0, 60, 220), (1, 150, 150), (0, 220, 60)]
    puppet.say(messages.Trained(b"a model", 20.0))
    puppet.say(messages.Picked(3, 3, picks_at(rows, [0.9, 0.8, 0.7, 0.9, 0.3])))
    puppet.end()
    picks, labels = viewer.layers["picks"], form.labels.layer
    assert picks.shown.tolist() == [True, True, True, True, False]
    assert viewer.layers.index(picks) < viewer.layers.index(labels)  # labels are painted over the picks
    qtbot.wait(500)

    hands.move((150, 150))
    hands.key(Qt.Key.Key_A)
    np.testing.assert_allclose(labels.data[-1], (0, 150, 150))
    hands.key(Qt.Key.Key_A)  # it is a label already
    assert len(labels.data) == 3
    hands.move((60, 62))
    hands.key(Qt.Key.Key_X)
    negatives = viewer.layers["not particles"]
    np.testing.assert_allclose(negatives.data, [(0, 60, 60)])
    assert picks.shown.tolist() == [False, True, True, True, False] and len(picks.data) == 5
    assert "<b>2</b> of 4" in form.inspector.counts.text()
    # Nothing under the mouse, or something that is hidden: nothing happens, and it is said.
    hands.key(Qt.Key.Key_X)
    hands.move((220, 60))
    hands.key(Qt.Key.Key_A)
    assert len(labels.data) == 3 and len(negatives.data) == 1 and "no pick under the mouse" in form.hint.text()

    # Selected ones, with napari's own keys for points; the threshold does not bring them back.
    viewer.layers.selection.active = picks
    picks.selected_data = {1, 2}
    hands.key(Qt.Key.Key_Delete)
    assert len(negatives.data) == 3 and len(labels.data) == 2  # no label stays where "not this" was said
    form.inspector.set_threshold(0.1)
    assert picks.shown.tolist() == [False, False, False, True, True] and len(picks.data) == 5
    form.inspector.save(tmp_path / "picks.star")
    qtbot.waitUntil(lambda: len(told) == 1, timeout=10_000)
    assert len(starfile.read(tmp_path / "picks.star")) == 2

    # One step back for both, another for the first; an empty micrograph has no picks.
    hands.key(Qt.Key.Key_Z, CONTROL)
    assert picks.shown.tolist() == [False, True, True, True, True] and len(labels.data) == 3
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.key(Qt.Key.Key_Z, CONTROL)
    assert picks.shown.all() and len(labels.data) == 2
    hands.key(Qt.Key.Key_E)
    assert picks.shown.tolist() == [False, False, False, True, False]
    hands.key(Qt.Key.Key_E)
    hands.move((60, 60))
    hands.key(Qt.Key.Key_X)

    # Learning from it begins with the model there is.
    press(qtbot, form.improve)
    assert puppet.job.start == b"a model" and len(puppet.job.negatives) == 1
    puppet.cancel()


def test_learning_is_seen_as_it_goes_and_leaves_no_trace_when_cancelled(qtbot, viewer, trainer, puppet):
    form = trainer.form
    label_all_of_the_first(trainer, np.array([(0, 20, 20)]))
    assert form.pause.isHidden() and form.finish.isHidden() and not form.improve.isEnabled()
    press(qtbot, form.train)
    puppet.say(messages.Trained(b"first", 2.0))
    puppet.say(messages.Picked(3, 3, picks_at([(0, 50, 50), (2, 60, 60)], [0.9, 0.3])))
    puppet.end()
    picks, before = viewer.layers["picks"], viewer.layers["picks"].data.copy()
    assert form.improve.isEnabled() and "Trained and picked 3" in form.status.text()
    form.inspector.set_threshold(0.4)

    press(qtbot, form.train)
    assert puppet.job.start is None and puppet.job.look == messages.Look(0, False)
    assert form.improve.isHidden() and not form.pause.isHidden() and not form.finish.isEnabled()
    active, camera = viewer.layers.selection.active, camera_of(viewer).center
    puppet.say(messages.Warned("the labels look smaller than 48 Å"))
    puppet.say(messages.Warned("the labels look smaller than 48 Å"))
    puppet.say(messages.Learned(10, 100, (0.5,) * 10, "CPU"))
    puppet.say(messages.Memory(400_000_000, 2_000_000_000))
    puppet.say(messages.Validated(10, 0.7, True))
    puppet.say(messages.Validated(20, 0.6, False))
    assert form.warnings.text() == "the labels look smaller than 48 Å"
    assert "400 MB of memory, 2000 MB on the GPU" in form.memory.text()
    assert form.validation.best == (10, 0.7) and len(form.validation.points) == 2 and not form.validation.isHidden()
    puppet.say(messages.Previewed(10, 0, picks_at([(0, 30, 30)], [0.8]), None))
    np.testing.assert_allclose(picks.data, [(0, 30, 30)])
    puppet.say(messages.Previewed(20, 1, picks_at([(1, 40, 40)], [0.8]), None))
    puppet.say(messages.Previewed(30, 0, picks_at([(0, 31, 31), (0, 90, 90)], [0.8, 0.2]), None))
    assert {tuple(row) for row in picks.data} == {(0, 31, 31), (1, 40, 40), (0, 90, 90)}
    assert picks.shown.sum() == 2 and form.inspector.threshold == 0.4

    # What is looked at is what the helper is asked for.
    viewer.dims.set_current_step(0, 2)
    form.score_map.click()
    assert puppet.told[-2:] == [messages.Look(2, False), messages.Look(2, True)]
    plane = messages.ScorePlane(np.full((30, 20), 0.5, np.float16), (10.0, 15.0))
    puppet.say(messages.Previewed(40, 2, picks_at([(2, 40, 40)], [0.8]), plane))
    layer = viewer.layers["score map"]
    qtbot.waitUntil(lambda: layer.data.shape == (1, 30, 20), timeout=5_000)
    assert viewer.layers.index(layer) == 1
    np.testing.assert_allclose(layer.scale, (1, 10 * PIXEL_SIZE, 15 * PIXEL_SIZE))
    np.testing.assert_allclose(layer.translate, (2, 0, 0))
    assert form.micrographs.layer is viewer.layers["micrographs"]
    assert viewer.layers.selection.active is active and camera_of(viewer).center == camera
    assert viewer.dims.nsteps[0] == 3 and viewer.dims.current_step[0] == 2
    form.score_map.click()
    assert "score map" not in viewer.layers

    press(qtbot, form.pause)
    assert puppet.told[-1] == messages.Pause() and form.pause.text() == "Resume" and "paused" in form.status.text()
    press(qtbot, form.pause)
    assert puppet.told[-1] == messages.Resume() and "paused" not in form.status.text()

    press(qtbot, form.train)
    assert not trainer.training and trainer.model == b"first" and "Cancelled" in form.status.text()
    np.testing.assert_allclose(picks.data, before)
    assert picks.shown.tolist() == [True, False] and not form.pause.isVisible()

    # A failure keeps what there was, too; "use the best so far" does not.
    press(qtbot, form.train)
    puppet.say(messages.Previewed(10, 0, picks_at([(0, 30, 30)], [0.8]), None))
    puppet.fail(ValueError("nothing works"))
    puppet.end()
    np.testing.assert_allclose(picks.data, before)
    assert trainer.model == b"first" and "nothing works" in form.status.text()
    press(qtbot, form.train)
    puppet.say(messages.Learned(10, 100, (0.5,) * 10, "CPU"))
    puppet.say(messages.Validated(10, 0.7, True))
    press(qtbot, form.finish)
    assert puppet.told[-1] == messages.Stop() and not form.finish.isEnabled()
    puppet.say(messages.Trained(b"second", 2.0))
    puppet.say(messages.Picked(3, 3, picks_at([(1, 5, 5)], [0.9])))
    puppet.end()
    assert trainer.model == b"second" and len(picks.data) == 1
    assert viewer.layers.selection.active is active


def test_five_places_are_suggested_and_answered_by_key(qtbot, viewer, trainer, puppet, hands):
    form = trainer.form
    assert not form.suggest.isEnabled()
    label_all_of_the_first(trainer, np.array([(0, 20, 20)]))
    labels = form.labels.layer
    press(qtbot, form.train)
    puppet.say(messages.Trained(b"a model", 20.0))
    rows = [(i, y, x) for i in range(3) for y in (50, 150, 250) for x in (50, 150, 250)] + [(0, 21, 21)]
    scores = [0.99, 0.5, 0.99] * 9 + [0.5]
    puppet.say(messages.Picked(3, 3, picks_at(rows, scores)))
    puppet.end()
    qtbot.wait(300)
    active = viewer.layers.selection.active
    press(qtbot, form.suggest)
    qtbot.waitUntil(lambda: "suggestions" in viewer.layers, timeout=20_000)
    places = viewer.layers["suggestions"].data.copy()
    # The doubtful ones, spread over the micrographs, none that is labelled; the first is in the middle of the view.
    assert len(places) == 5 and set(places[:, 2]) == {150} and set(places[:, 0]) == {0, 1, 2}
    assert "Suggestion 1 of 5" in form.hint.text() and form.labels.layer is labels
    assert viewer.layers.selection.active is active

    def in_the_middle(place):
        assert viewer.dims.current_step[0] == place[0]
        np.testing.assert_allclose(np.array(camera_of(viewer).center[-2:]) / PIXEL_SIZE, place[1:], atol=0.1)

    in_the_middle(places[0])
    hands.key(Qt.Key.Key_A)
    in_the_middle(places[1])
    hands.key(Qt.Key.Key_X)
    hands.key(Qt.Key.Key_Space)
    in_the_middle(places[3])
    np.testing.assert_allclose(labels.data[-1], places[0])
    np.testing.assert_allclose(viewer.layers["not particles"].data, places[1:2])
    hands.key(Qt.Key.Key_Z, CONTROL)
    assert not len(viewer.layers["not particles"].data) and len(labels.data) == 2
    hands.key(Qt.Key.Key_A)
    hands.key(Qt.Key.Key_A)
    assert "suggestions" not in viewer.layers and len(labels.data) == 4 and "Improve" in form.hint.text()

    # The keys are free again, and the next five are others than the answered ones.
    hands.move((5, 5))
    hands.key(Qt.Key.Key_X)
    assert "no pick under the mouse" in form.hint.text()
    press(qtbot, form.suggest)
    qtbot.waitUntil(lambda: "suggestions" in viewer.layers, timeout=20_000)
    again = {tuple(place) for place in viewer.layers["suggestions"].data}
    assert not again & {tuple(place) for place in labels.data}
    hands.key(Qt.Key.Key_Escape)
    assert "suggestions" not in viewer.layers


@pytest.mark.usefixtures("warm_helpers")
def test_train_pick_filter_and_save(qtbot, viewer, trainer, told, specimen, grab, tmp_path):
    from napari_caked import load_model

    label_all_of_the_first(trainer, specimen[1])
    active, camera = viewer.layers.selection.active, camera_of(viewer).center
    press(qtbot, trainer.form.train)
    assert trainer.training and trainer.form.train.text() == "Cancel"
    qtbot.waitUntil(lambda: bool(trainer.form.curve.values), timeout=SOON)
    assert "Learning on CPU" in trainer.form.status.text() and trainer.form.progress.isVisible()
    wait_until_over(qtbot, trainer)
    qtbot.wait(50)

    # Seen: picks on all micrographs, one frame with them; neither selection nor view has moved; no error was told.
    assert told == [] and "Trained and picked 3 micrographs" in trainer.form.status.text()
    picks = viewer.layers["picks"]
    assert picks.visible and set(np.unique(picks.data[:, 0])) == {0, 1, 2}
    np.testing.assert_allclose(picks.scale, viewer.layers["micrographs"].scale)
    np.testing.assert_allclose(picks.size, WIDTH)
    assert {"score", "logit", "diameter"} <= set(picks.features)
    assert picks.metadata["micrographs"] == NAMES
    assert picks.metadata["provenance"]["model"]["settings"]["steps"] == 12
    assert viewer.layers.selection.active is active and camera_of(viewer).center == camera
    assert len(trainer.form.curve.values) == 12
    shown = picks.data[picks.shown]
    distance = np.linalg.norm(specimen[1][:, None] * (1000, 1, 1) - shown[None] * (1000, 1, 1), axis=-1).min(axis=1)
    assert (distance < WIDTH / 3).mean() > 0.8
    grab(viewer, "trained")

    inspector = trainer.form.inspector
    best = float(np.sort(picks.features["score"])[-5])
    inspector.set_threshold(best)
    assert picks.shown.sum() == 5
    inspector.save(tmp_path / "picks.star")
    qtbot.waitUntil(lambda: len(told) == 1, timeout=10_000)
    assert told[0].startswith("5 picks written") and len(starfile.read(tmp_path / "picks.star")) == 5
    trainer.files.save(tmp_path / "picker.safetensors")
    assert load_model(tmp_path / "picker.safetensors").particle_diameter == WIDTH * PIXEL_SIZE

    # Improved, with a micrograph held out to see how good it gets, and the memory that it takes.
    first = trainer.model
    labels = trainer.form.labels.layer
    labels.add(specimen[1][specimen[1][:, 0] == 1])
    trainer.form.hold_out.setValue(1)
    press(qtbot, trainer.form.improve)
    qtbot.waitUntil(lambda: trainer.form.memory.isVisible(), timeout=SOON)
    assert "MB of memory" in trainer.form.memory.text()
    wait_until_over(qtbot, trainer)
    assert told[2:] == [] and trainer.model != first
    assert trainer.form.validation.best is not None and trainer.form.validation.best[1] > 0.5
    trainer.form.hold_out.setValue(0)

    # Another training, cancelled: model and picks of the last stay, and their layer may go in the meantime.
    model, number = trainer.model, len(picks.data)
    trainer.settings = replace(trainer.settings, steps=5000)
    press(qtbot, trainer.form.train)
    qtbot.waitUntil(lambda: len(trainer.form.curve.values) > 0, timeout=SOON)
    press(qtbot, trainer.form.train)
    assert trainer.form.train.text() == "Cancelling…" and not trainer.form.train.isEnabled()
    qtbot.waitUntil(lambda: not trainer.training, timeout=5_000)
    assert "Cancelled" in trainer.form.status.text() and trainer.form.train.text() == "Train"
    assert trainer.model is model and len(viewer.layers["picks"].data) == number
    viewer.layers.remove(picks)
    viewer.layers.clear()
    assert inspector.layer is None and trainer.form.labels.layer is None
    no_worker_is_left(qtbot, 5_000)


def test_what_is_set_is_what_is_trained_with(qtbot, trainer, puppet, monkeypatch):
    form, clock = trainer.form, [1000.0]
    monkeypatch.setattr("napari_caked.widgets._progress.time", SimpleNamespace(monotonic=lambda: clock[0]))
    trainer.settings = replace(trainer.settings, steps=None)
    label_all_of_the_first(trainer, np.array([(0, 20, 20)]))
    press(qtbot, form.train)
    first = puppet.job.training
    assert (first.steps, first.batch_size, first.expected_particles, first.device) == (None, 8, None, "auto")
    puppet.cancel()
    for field, value in ((form.steps, 300), (form.batch_size, 4), (form.expected, 55), (form.seed, 7)):
        field.setValue(value)
    # Devices that are not there can be seen, but not chosen.
    form.set_devices([])
    absent = form.device.model().item(form.device.findData("cuda"))
    assert "no GPU found" in absent.text() and not absent.isEnabled()
    form.set_devices([("cuda:0", "A GPU")])
    assert form.device.findData("cuda") < 0 and form.device.itemText(2) == "cuda:0 (A GPU)"
    form.device.setCurrentIndex(2)
    press(qtbot, form.train)
    job = puppet.job
    settings = job.training
    assert (settings.steps, settings.batch_size, settings.expected_particles, settings.seed) == (300, 4, 55, 7)
    assert settings.device == job.picking.device == "cuda:0"

    # One bar for the part under way, another for all parts.
    assert form.overall.text() == "Part 1 of 4" and form.overall.value() == 0
    puppet.say(messages.Prepared(1, 2))
    assert form.progress.text() == "Preparing micrographs: 1 of 2" and form.overall.text() == "Part 2 of 4"
    # The first word of a part says nothing yet of how long it takes.
    puppet.say(messages.Learned(100, 300, (0.5,) * 10, "A GPU"))
    assert "left" not in form.status.text()
    clock[0] += 10
    puppet.say(messages.Learned(150, 300, (0.5,) * 10, "A GPU"))
    assert "about 0:30 left" in form.status.text()
    assert form.progress.text() == "Learning: 150 of 300" and form.overall.text() == "Part 3 of 4"
    assert form.overall.value() / form.overall.maximum() == pytest.approx(2.5 / 4)
    puppet.cancel()
    assert form.overall.isHidden() and form.progress.isHidden()


def test_all_picks_of_a_micrograph_become_labels_with_one_click(qtbot, viewer, trainer, puppet):
    form = trainer.form
    label_all_of_the_first(trainer, np.array([(0, 21, 20), (0, 280, 280)]))
    assert not form.accept_shown.isEnabled()
    press(qtbot, form.train)
    puppet.say(messages.Trained(b"a model", 20.0))
    rows = [(0, 20, 20), (0, 150, 150), (0, 60, 220), (1, 150, 150), (0, 220, 60)]
    puppet.say(messages.Picked(3, 3, picks_at(rows, [0.9, 0.8, 0.7, 0.9, 0.3])))
    puppet.end()
    labels = form.labels.layer
    qtbot.wait(500)  # picks are painted a moment after their layer is made
    press(qtbot, form.accept_shown)
    # Not what is a label already, nor what is hidden, nor what is on other micrographs.
    np.testing.assert_allclose(labels.data[2:], [(0, 150, 150), (0, 60, 220)])
    assert "2 picks are labels now" in form.hint.text() and "<b>4</b> particles" in form.counts.text()
    press(qtbot, form.accept_shown)
    assert len(labels.data) == 4 and "No pick is shown here" in form.hint.text()
    press(qtbot, form.undo)
    assert len(labels.data) == 2
    viewer.dims.set_current_step(0, 1)
    press(qtbot, form.accept_shown)
    np.testing.assert_allclose(labels.data[2:], [(1, 150, 150)])
    viewer.layers.remove(labels)
    viewer.layers.remove(viewer.layers["picks"])
    press(qtbot, form.accept_shown)
    assert "press 'New labels'" in form.hint.text()


def test_layers_may_go_while_the_picker_learns(qtbot, viewer, trainer, puppet, told):
    form = trainer.form
    label_all_of_the_first(trainer, np.array([(0, 20, 20)]))
    form.score_map.click()
    press(qtbot, form.train)
    puppet.say(messages.Learned(10, 100, (0.5,) * 10, "CPU"))
    plane = messages.ScorePlane(np.full((30, 20), 0.5, np.float16), (10.0, 15.0))
    puppet.say(messages.Previewed(10, 0, picks_at([(0, 30, 30)], [0.8]), plane))
    for name in ("labels", "score map", "not particles", "micrographs"):
        if name in viewer.layers:
            viewer.layers.remove(name)
        puppet.say(messages.Previewed(20, 0, picks_at([(0, 31, 31)] * 3, [0.8] * 3), plane))
        qtbot.wait(200)
    # With nothing else left, the picks decide what napari's sliders reach, and where they stand.
    dice = np.random.default_rng(0)
    for i, count in enumerate((40, 7, 90)):
        rows = np.column_stack([np.full(count, i), dice.uniform(0, 100 * (i + 1), (count, 2))])
        puppet.say(messages.Previewed(30 + i, i, picks_at(rows, np.full(count, 0.8)), None))
        qtbot.wait(50)
    assert form.labels.layer is None and "no labels" in form.counts.text() and not form.click_tool.isEnabled()
    puppet.say(messages.Trained(b"a model", 2.0))
    puppet.say(messages.Picked(3, 3, picks_at([(0, 50, 50), (2, 60, 60)], [0.9, 0.3])))
    puppet.end()
    assert told == [] and trainer.model == b"a model" and not trainer.training
    np.testing.assert_allclose(viewer.layers["picks"].data, [(0, 50, 50), (2, 60, 60)])
    press(qtbot, form.improve)
    assert "no micrographs to train on" in form.status.text() and not trainer.training


def test_a_pick_added_by_hand_is_believed(qtbot, viewer, trainer, puppet, tmp_path, told):
    form = trainer.form
    label_all_of_the_first(trainer, np.array([(0, 20, 20)]))
    press(qtbot, form.train)
    puppet.say(messages.Trained(b"a model", 2.0))
    puppet.say(messages.Picked(3, 3, picks_at([(0, 50, 50), (0, 90, 90), (0, 120, 30)], [0.9, 0.7, 0.03])))
    puppet.end()
    picks = viewer.layers["picks"]
    picks.add((0, 200, 200))
    assert picks.shown.tolist() == [True, True, False, True]
    assert picks.features["score"].iloc[-1] == 1 and np.isfinite(picks.features["logit"]).all()
    form.inspector.save(tmp_path / "picks.star")
    qtbot.waitUntil(lambda: len(told) == 1, timeout=10_000)
    assert "nan" not in (tmp_path / "picks.star").read_text().lower()


def test_the_layer_for_picks_is_there_before_training(qtbot, viewer, trainer):
    press(qtbot, trainer.form.new_labels)
    labels = viewer.layers["labels"]
    assert viewer.layers.selection.active is labels
    qtbot.waitUntil(lambda: "picks" in viewer.layers and viewer.layers["picks"].visible, timeout=5_000)
    assert not len(viewer.layers["picks"].data) and viewer.layers["picks"].metadata["micrographs"] == NAMES
    assert viewer.layers.selection.active is labels and trainer.form.labels.layer is labels
    # Another layer of labels: the same picks, the same layer of what is no particle.
    qtbot.waitUntil(lambda: "not particles" in viewer.layers, timeout=5_000)
    press(qtbot, trainer.form.new_labels)
    qtbot.wait(1200)
    assert sorted(layer.name for layer in viewer.layers) == [
        "labels",
        "labels [1]",
        "micrographs",
        "not particles",
        "picks",
    ]


def test_the_long_search_for_garbage_is_over_when_the_dock_is_open(qtbot, viewer, monkeypatch):
    """Given a new process, then Python has searched all objects once the dock is seen, and not again at the next."""
    from napari_caked.widgets import _devices, _garbage, train

    monkeypatch.setattr(_devices, "_found", [])
    _garbage.clear_up.cache_clear()
    trainers = [train.PickerTrainer(viewer) for _ in range(2)]
    gc.disable()
    try:
        before = _searches()
        for trainer in trainers:
            viewer.window.add_dock_widget(trainer)
            qtbot.waitUntil(trainer.isVisible, timeout=10_000)
            assert _searches() - before == 1
    finally:
        gc.enable()


def _searches():
    """How often Python has searched all objects."""
    return gc.get_stats()[2]["collections"]


def test_no_layer_for_picks_after_the_dock_is_closed(qtbot, viewer, trainer):
    press(qtbot, trainer.form.new_labels)
    viewer.window.remove_dock_widget(trainer)
    qtbot.wait(1200)
    assert "picks" not in viewer.layers and "not particles" not in viewer.layers


@pytest.mark.usefixtures("warm_helpers")
def test_what_is_wrong_is_said_in_words(qtbot, viewer, trainer, told, specimen, monkeypatch):
    from napari_caked.widgets import train
    from napari_caked.widgets._job_making import training_job

    form = trainer.form

    def train_and_hear(words):
        before = len(told)
        press(qtbot, form.train)
        qtbot.waitUntil(lambda: len(told) > before, timeout=SOON)
        wait_until_over(qtbot, trainer)
        qtbot.wait(20)
        assert words in told[-1] and form.status.text() == told[-1]
        assert form.train.text() == "Train" and form.train.isEnabled() and not form.progress.isVisible()
        assert trainer.model is None and not any(len(layer.data) for layer in viewer.layers if layer.name == "picks")

    train_and_hear("no labels; press 'New labels'")
    press(qtbot, form.new_labels)
    train_and_hear("diameter is missing")
    form.diameter.setValue(48)
    train_and_hear("no labels; click")
    labels = form.labels.layer
    labels.add([[0, 50, 50], [0, 50, SIDE + 40]])
    train_and_hear("1 of 2 particles lie outside")
    labels.data = labels.data[:1]
    form.pixel_size.setValue(0)
    train_and_hear("pixel size is missing")
    form.pixel_size.setValue(PIXEL_SIZE)
    form.diameter.setValue(SIDE * PIXEL_SIZE)
    train_and_hear("more than half the micrograph")

    # A defect in reading, of the kind that napari's workers swallow.
    def broken(block):
        raise RuntimeError("the disk is gone")

    form.diameter.setValue(48)
    monkeypatch.setattr(train, "training_job", lambda *form, **how: (training_job(*form, **how)[0], broken))
    train_and_hear("the disk is gone")


def test_closing_the_dock_ends_training(qtbot, viewer, trainer, specimen):
    label_all_of_the_first(trainer, specimen[1])
    trainer.settings = replace(trainer.settings, steps=5000)
    press(qtbot, trainer.form.train)
    qtbot.waitUntil(lambda: bool(trainer.form.curve.values), timeout=SOON)
    process = trainer._helper._process
    callbacks = len(viewer.mouse_drag_callbacks)
    viewer.window.remove_dock_widget(trainer)
    no_worker_is_left(qtbot, 5_000)
    assert process.poll() is not None and not trainer.training
    assert len(viewer.mouse_drag_callbacks) == callbacks - 1

    # It can be docked again and goes on where it was.
    viewer.window.add_dock_widget(trainer)
    assert trainer.form.labels.layer is viewer.layers["labels"] and trainer.form.train.isEnabled()


def test_closing_the_window_ends_training_and_devices_are_found(qtbot, viewer, trainer, specimen, monkeypatch):
    from napari_caked.widgets import _devices

    monkeypatch.setattr(_devices, "_found", None)
    _devices.tell_devices(trainer._work, trainer.form.set_devices)
    qtbot.waitUntil(lambda: _devices._found is not None, timeout=SOON)
    offered = [trainer.form.device.itemData(i) for i in range(trainer.form.device.count())]
    assert offered == ["auto", "cpu", *([name for name, _ in _devices._found] or ["cuda"])]

    label_all_of_the_first(trainer, specimen[1])
    press(qtbot, trainer.form.train)
    qtbot.waitUntil(lambda: trainer._helper._process is not None, timeout=10_000)
    process = trainer._helper._process
    viewer.close()
    closed = time.monotonic()
    no_worker_is_left(qtbot, 5_000)
    print(f"the training ended {time.monotonic() - closed:.2f} s after the window")
    assert process.poll() is not None
