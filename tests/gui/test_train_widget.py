"""The trainer, used as a person does: click on particles, train, look, save; and close it in the middle."""

import threading
import time
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import starfile
from qtpy.QtCore import QPoint, Qt
from superqt.utils._qthreading import WorkerBase

pytestmark = pytest.mark.gui

SIDE, WIDTH, PIXEL_SIZE = 300, 24, 2.0
NAMES = ["a.mrc", "b.mrc", "c.mrc"]


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
    monkeypatch.setattr("napari_caked.widgets.train.show_info", told.append)
    monkeypatch.setattr("napari_caked.widgets.inspect.show_info", told.append)
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
    trainer.settings = replace(trainer.settings, steps=12)
    viewer.window.add_dock_widget(trainer, name="Train particle picker")
    return trainer


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
    qtbot.waitUntil(lambda: not trainer.training, timeout=60_000)


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


def test_train_pick_filter_and_save(qtbot, viewer, trainer, told, specimen, grab, tmp_path):
    from napari_caked import load_model

    label_all_of_the_first(trainer, specimen[1])
    active, camera = viewer.layers.selection.active, camera_of(viewer).center
    press(qtbot, trainer.form.train)
    assert trainer.training and trainer.form.train.text() == "Cancel"
    qtbot.waitUntil(lambda: bool(trainer.form.curve.values), timeout=30_000)
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
    trainer.save_model(tmp_path / "picker.safetensors")
    assert load_model(tmp_path / "picker.safetensors").particle_diameter == WIDTH * PIXEL_SIZE

    # A second training, cancelled: model and picks of the first stay, and their layer may go in the meantime.
    model, number = trainer.model, len(picks.data)
    trainer.settings = replace(trainer.settings, steps=5000)
    press(qtbot, trainer.form.train)
    qtbot.waitUntil(lambda: len(trainer.form.curve.values) > 0, timeout=30_000)
    press(qtbot, trainer.form.train)
    assert trainer.form.train.text() == "Cancelling…" and not trainer.form.train.isEnabled()
    qtbot.waitUntil(lambda: not trainer.training, timeout=5_000)
    assert "Cancelled" in trainer.form.status.text() and trainer.form.train.text() == "Train"
    assert trainer.model is model and len(viewer.layers["picks"].data) == number
    viewer.layers.remove(picks)
    viewer.layers.clear()
    assert inspector.layer is None and trainer.form.labels.layer is None
    no_worker_is_left(qtbot, 5_000)


def test_the_layer_for_picks_is_there_before_training(qtbot, viewer, trainer):
    press(qtbot, trainer.form.new_labels)
    labels = viewer.layers["labels"]
    assert viewer.layers.selection.active is labels
    qtbot.waitUntil(lambda: "picks" in viewer.layers and viewer.layers["picks"].visible, timeout=5_000)
    assert not len(viewer.layers["picks"].data) and viewer.layers["picks"].metadata["micrographs"] == NAMES
    assert viewer.layers.selection.active is labels and trainer.form.labels.layer is labels
    # Another layer of labels: the same picks.
    press(qtbot, trainer.form.new_labels)
    qtbot.wait(700)
    assert len(viewer.layers) == 4


def test_no_layer_for_picks_after_the_dock_is_closed(qtbot, viewer, trainer):
    press(qtbot, trainer.form.new_labels)
    viewer.window.remove_dock_widget(trainer)
    qtbot.wait(700)
    assert "picks" not in viewer.layers


def test_what_is_wrong_is_said_in_words(qtbot, viewer, trainer, told, specimen):
    form = trainer.form

    def train_and_hear(words):
        before = len(told)
        press(qtbot, form.train)
        qtbot.waitUntil(lambda: len(told) > before, timeout=30_000)
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
    trainer._job = lambda original=trainer._job: (original()[0], broken)
    train_and_hear("the disk is gone")


def test_closing_the_dock_ends_training(qtbot, viewer, trainer, specimen):
    label_all_of_the_first(trainer, specimen[1])
    trainer.settings = replace(trainer.settings, steps=5000)
    press(qtbot, trainer.form.train)
    qtbot.waitUntil(lambda: bool(trainer.form.curve.values), timeout=30_000)
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
    qtbot.waitUntil(lambda: _devices._found is not None, timeout=30_000)
    offered = [trainer.form.device.itemData(i) for i in range(trainer.form.device.count())]
    assert offered == ["auto", "cpu", *(name for name, _ in _devices._found)]

    label_all_of_the_first(trainer, specimen[1])
    press(qtbot, trainer.form.train)
    qtbot.waitUntil(lambda: trainer._helper._process is not None, timeout=10_000)
    process = trainer._helper._process
    viewer.close()
    closed = time.monotonic()
    no_worker_is_left(qtbot, 5_000)
    print(f"the training ended {time.monotonic() - closed:.2f} s after the window")
    assert process.poll() is not None
