"""The pruner's window: judged by a real helper process, looked at, marked, learned from, saved."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_caked.widgets._gallery import Mark, Order
from napari_empiarreader.coordinates import read_particles

pytestmark = pytest.mark.gui

SIDE, WIDTH, PIXEL_SIZE = 320, 24, 4.0
NAMES = ["a.mrc", "b.mrc"]
SOON = 120_000


@pytest.fixture(scope="module")
def specimen():
    """Two noisy micrographs of dark discs; picks on the discs, and as many on nothing between them."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE]
    stack = rng.normal(size=(2, SIDE, SIDE)).astype(np.float32)
    right, wrong = [], []
    for i in range(2):
        cells = rng.permutation(36)
        for k, cell in enumerate(cells[:24]):
            centre = np.array(divmod(int(cell), 6)) * 50 + 35 + rng.uniform(-4, 4, 2)
            if k < 12:
                stack[i] -= 3 / (1 + np.exp(np.hypot(y - centre[0], x - centre[1]) - WIDTH / 2))
            (right if k < 12 else wrong).append((i, *centre))
    return stack, np.array(right), np.array(wrong)


@pytest.fixture
def told(monkeypatch):
    told = []
    monkeypatch.setattr("napari_caked.widgets._saving.show_error", told.append)
    monkeypatch.setattr("napari_caked.widgets._pick_saving.show_info", told.append)
    return told


@pytest.fixture
def viewer(make_napari_viewer, specimen):
    viewer = make_napari_viewer(show=True)
    stack, right, wrong = specimen
    scale = (1, PIXEL_SIZE, PIXEL_SIZE)
    viewer.add_image(
        da.from_array(stack, chunks=(1, SIDE, SIDE)),
        name="micrographs",
        scale=scale,
        metadata={"micrographs": NAMES, "pixel_size": PIXEL_SIZE},
    )
    picks = np.concatenate([right, wrong])
    features = {"diameter": np.full(len(picks), WIDTH * PIXEL_SIZE)}
    viewer.add_points(picks, name="picks", scale=scale, features=features, metadata={"micrographs": NAMES}, size=WIDTH)
    return viewer


@pytest.fixture
def pruner(viewer, told):
    from napari_caked.widgets.prune import PickPruner

    pruner = PickPruner(viewer)
    viewer.window.add_dock_widget(pruner, name="Prune picks")
    viewer.window.resize(1300, 900)
    return pruner


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_judged_marked_learned_from_hidden_and_saved(qtbot, viewer, pruner, specimen, told, tmp_path):
    form, layer = pruner.form, viewer.layers["picks"]
    count = len(layer.data)
    assert form.diameter.value() == WIDTH * PIXEL_SIZE and form.pixel_size.value() == PIXEL_SIZE
    assert not form.learn.isEnabled() and not form.save.isEnabled() and not form.cancel.isEnabled()
    press(qtbot, form.judge)
    assert pruner.judging and form.cancel.isEnabled() and not form.judge.isEnabled()
    qtbot.waitUntil(lambda: not pruner.judging, timeout=SOON)
    assert told == [] and f"Judged {count} picks" in form.status.text()
    assert {"probability", "kind"} <= set(layer.features) and len(form.gallery.order) == count
    assert form.counts.text() == f"{layer.shown.sum()} picks stay, {count - layer.shown.sum()} are hidden"

    # The wall leads to the canvas, and marks are taken back.
    form.order.setCurrentIndex(int(Order.WORST))
    last = int(form.gallery.order[0])
    qtbot.mouseClick(form.gallery.viewport(), Qt.MouseButton.RightButton, pos=form.gallery.rect_of(last).center())
    assert pruner.marks.which(Mark.BAD).tolist() == [last] and form.marks.text() == "0 good, 1 bad"
    assert viewer.dims.current_step[0] == round(layer.data[last, 0]) and set(layer.selected_data) == {last}
    press(qtbot, form.undo)
    assert form.marks.text() == "" and form.redo.isEnabled() and not form.undo.isEnabled()

    # Learned from eight marks: all picks are right now.
    half = count // 2
    pruner.marks.mark(np.arange(4), Mark.GOOD)
    pruner.marks.mark(half + np.arange(4), Mark.BAD)
    press(qtbot, form.learn)
    qtbot.waitUntil(lambda: not pruner.judging, timeout=SOON)
    assert told == [] and "Learned and judged" in form.status.text()
    probability = pruner.verdicts["probability"].to_numpy()
    assert (probability[:half] > 0.5).mean() > 0.9 and (probability[half:] < 0.5).mean() > 0.9
    np.testing.assert_array_equal(layer.shown, probability >= 0.5)
    assert pruner.marks.values.sum() == 4 * Mark.GOOD + 4 * Mark.BAD  # still there

    form.slider.setValue(0.0)
    assert layer.shown.all()
    form.slider.setValue(0.5)
    pruner.save(tmp_path / "clean.star")
    qtbot.waitUntil(lambda: len(told) == 2, timeout=10_000)
    kept, removed = (
        read_particles(tmp_path / name).features["probability"].astype(float)
        for name in ("clean.star", "clean_removed.star")
    )
    assert len(kept) == layer.shown.sum() and len(kept) + len(removed) == count
    assert kept.min() >= 0.5 > removed.max()

    # Junk: a coarse layer of labels; picks on it are flagged, and hidden only where that is wanted.
    press(qtbot, form.map_junk)
    qtbot.waitUntil(lambda: not pruner.judging, timeout=SOON)
    junk = viewer.layers["junk"]
    assert "picks lie on some" in form.status.text() and junk.data.shape[0] == 2
    low, high = junk.extent.world[:, 1:]
    assert (low <= 2 * WIDTH * PIXEL_SIZE).all() and (high >= (SIDE - 2 * WIDTH) * PIXEL_SIZE).all()
    np.testing.assert_array_equal(layer.features["junk"], pruner.junk)
    pruner.junk = np.where(np.arange(count) == int(np.flatnonzero(layer.shown)[0]), 1.0, 0.0)
    before = int(layer.shown.sum())
    press(qtbot, form.hide_junk)
    assert layer.shown.sum() == before - 1

    # Other picks are other picks.
    layer.data = layer.data[1:]
    assert pruner.verdicts is None and "judge them again" in form.status.text() and not form.save.isEnabled()


def test_what_is_missing_is_said(qtbot, viewer, pruner, told):
    form = pruner.form
    form.diameter.setValue(0)
    press(qtbot, form.judge)
    assert "diameter" in form.status.text() and not pruner.judging
    form.diameter.setValue(100)
    form.pixel_size.setValue(0)
    press(qtbot, form.judge)
    assert "pixel size" in form.status.text() and not pruner.judging
    form.pixel_size.setValue(PIXEL_SIZE)
    viewer.layers["picks"].data = np.array([[0, 5000.0, 10.0]])
    press(qtbot, form.judge)
    assert "outside" in form.status.text() and not pruner.judging
    viewer.layers.remove("picks")
    press(qtbot, form.judge)
    assert "no picks" in form.status.text() and not pruner.judging


@pytest.mark.usefixtures("warm_helpers")
def test_cancelled_and_closed_it_leaves_nothing_behind(qtbot, viewer, pruner, told):
    form, layer = pruner.form, viewer.layers["picks"]
    press(qtbot, form.judge)
    press(qtbot, form.cancel)
    qtbot.waitUntil(lambda: not pruner.judging, timeout=20_000)
    assert "Cancelled" in form.status.text() and layer.shown.all() and "probability" not in layer.features
    assert form.judge.isEnabled()
    press(qtbot, form.judge)
    folder = pruner._patches.path
    viewer.window.remove_dock_widget(pruner.parent())
    assert not pruner.judging and pruner._patches.path is None
    qtbot.waitUntil(lambda: not Path(folder).exists(), timeout=10_000)
