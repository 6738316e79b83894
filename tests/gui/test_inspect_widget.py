"""The pick inspector: the threshold hides picks at once, and only what is shown is saved."""

import numpy as np
import pandas as pd
import pytest
import starfile
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

pytestmark = pytest.mark.gui

NAMES = ["a.mrc", "b.mrc"]


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((2, 64, 64), np.float32), scale=(1, 2, 2), name="micrographs")
    viewer.dims.set_current_step(0, 0)
    return viewer


def add_picks(viewer, count=10, name="picks"):
    """Half on each micrograph, scores 0.05, 0.15, ... 0.95."""
    scores = (np.arange(count) + 0.5) / count
    data = np.column_stack([np.arange(count) % 2, np.linspace(5, 60, count), np.linspace(60, 5, count)])
    return viewer.add_points(
        data, name=name, scale=(1, 2, 2), features=pd.DataFrame({"score": scores}), metadata={"micrographs": NAMES}
    )


def dock(viewer):
    from napari_caked.widgets.inspect import PickInspector

    inspector = PickInspector(viewer)
    viewer.window.add_dock_widget(inspector, name="Inspect picks")
    viewer.window.resize(1200, 1000)  # all of it is in view
    return inspector


def press(qtbot, button):
    """Click on a button as soon as all of it can be seen."""

    def in_view():
        return button.visibleRegion().boundingRect() == button.rect()

    qtbot.waitUntil(in_view, timeout=10_000)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_the_threshold_filters_what_is_shown_counted_and_saved(qtbot, viewer, drag, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("napari_caked.widgets.inspect.show_info", told.append)
    inspector = dock(viewer)
    panel = inspector.panel
    assert panel.layer is None and not panel.isEnabled()
    viewer.add_points(np.zeros((1, 3)), name="no scores")
    assert panel.layer is None

    layer = add_picks(viewer)
    assert panel.layer is layer and panel.isEnabled()
    assert layer.shown.sum() == 5  # the default threshold is 0.5
    assert "<b>2</b> of 5" in panel.counts.text() and "<b>5</b> of 10" in panel.counts.text()
    viewer.dims.set_current_step(0, 1)
    assert "<b>3</b> of 5" in panel.counts.text()

    # The slider, then the line in the histogram.
    panel.slider.setValue(0.8)
    np.testing.assert_array_equal(layer.shown, layer.features["score"] >= 0.8)
    qtbot.wait(100)  # until everything has its place
    frame = panel.histogram.frame()

    def at(threshold):
        return QPoint(round(frame.left() + threshold * frame.width()), round(frame.center().y()))

    drag(panel.histogram, at(0.8), at(0.3))
    assert panel.slider.value() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(layer.shown, layer.features["score"] >= 0.3)
    qtbot.mouseClick(panel.histogram, Qt.MouseButton.LeftButton, pos=at(0.6))
    assert panel.threshold == pytest.approx(0.6, abs=0.02)
    assert layer.shown.sum() == 4

    # A pick deleted by hand is gone from the counts, the file and the histogram.
    viewer.layers.selection.active = layer
    layer.selected_data = {9}
    layer.remove_selected()
    assert "<b>3</b> of 9" in panel.counts.text() and panel.histogram.counts.sum() == 9

    # Saved is what is shown; an existing file is replaced only by a yes.
    path = tmp_path / "picks.star"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(tmp_path / "picks"), ""))
    qtbot.mouseClick(panel.save_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(told) == 1, timeout=10_000)
    assert told == [f"3 picks written to {path}"] and panel.status.text() == told[0]
    table = starfile.read(path)
    assert sorted(table["rlnAutopickFigureOfMerit"]) == pytest.approx([0.65, 0.75, 0.85])
    assert set(table["rlnMicrographName"]) == set(NAMES)
    np.testing.assert_allclose(table["rlnCoordinateX"], layer.data[layer.shown, 2])

    panel.slider.setValue(0.0)
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *a, **k: answers.pop(0))
    panel.ask_and_save()
    assert len(told) == 1 and len(starfile.read(path)) == 3
    panel.ask_and_save()
    qtbot.waitUntil(lambda: len(told) == 2, timeout=10_000)
    assert len(starfile.read(path)) == 9


def test_the_threshold_tells_what_to_expect_and_each_micrograph_its_count(qtbot, viewer, grab):
    layer = add_picks(viewer)
    panel = dock(viewer).panel
    # 0.55 ... 0.95 are kept: on the mean 3/4 of them right, 3.75 of 5 expected particles.
    assert "<b>5</b> picks kept, about <b>75%</b> right, about <b>75%</b> of the particles" in panel.expected.text()
    panel.slider.setValue(0.9)
    assert "<b>1</b> pick kept, about <b>95%</b> right, about <b>19%</b>" in panel.expected.text()
    panel.slider.setValue(0.5)
    # The colour of a bar is the precision above it.
    np.testing.assert_allclose(panel.histogram.precision[[0, 26, 47]], [0.5, 0.75, 0.95])
    assert np.isnan(panel.histogram.precision[49])

    assert not panel.table.isVisible()
    panel.by_micrograph.expand(animate=False)
    assert panel.table.row_texts(0) == ["a.mrc", "2", "5", "2"]
    assert panel.table.row_texts(1) == ["b.mrc", "3", "5", "2"]
    panel.table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    assert panel.table.row_texts(0)[0] == "b.mrc"
    panel.slider.setValue(0.3)
    assert panel.table.row_texts(0) == ["b.mrc", "4", "5", "3"]
    grab(viewer, "inspector")
    model = panel.table.model()
    qtbot.mouseClick(
        panel.table.viewport(),
        Qt.MouseButton.LeftButton,
        pos=panel.table.visualRect(model.index(0, 0)).center(),
    )
    assert viewer.dims.current_step[0] == 1 and panel.place.text() == "2 of 2: b.mrc"
    press(qtbot, panel.previous)
    assert viewer.dims.current_step[0] == 0 and panel.place.text() == "1 of 2: a.mrc"
    press(qtbot, panel.next)
    press(qtbot, panel.next)
    assert viewer.dims.current_step[0] == 1

    # Deletions come back one by one, with their scores.
    before = layer.features["score"].to_numpy().copy()
    assert not panel.undo_button.isEnabled()
    for chosen in ({8, 9}, {0}):
        layer.selected_data = chosen
        layer.remove_selected()
    assert len(layer.data) == 7
    press(qtbot, panel.undo_button)
    np.testing.assert_allclose(layer.features["score"], before[:8])
    press(qtbot, panel.undo_button)
    np.testing.assert_allclose(layer.features["score"], before)
    assert not panel.undo_button.isEnabled() and layer.shown.sum() == 7


def test_picks_are_compared_with_labels(qtbot, viewer, monkeypatch, grab):
    told = []
    monkeypatch.setattr("napari_caked.widgets._saving.show_error", told.append)
    layer = add_picks(viewer)
    layer.size = 6
    panel = dock(viewer).panel
    compare = panel.comparison
    panel.against_labels.expand(animate=False)
    press(qtbot, compare.compare)
    assert "no labels to compare with" in compare.text.text()
    # The truth: the four best picks, a pixel off, and one particle that was not found.
    truth = np.concatenate([layer.data[6:] + (0, 1, 0), [(1, 60, 60)]])
    viewer.add_points(truth, name="truth", scale=(1, 2, 2), metadata={"micrographs": NAMES})
    compare.start()
    qtbot.waitUntil(lambda: compare.result is not None, timeout=20_000)
    result = compare.result
    assert (result.labels, result.candidates) == (5, 10)
    assert result.average_precision == pytest.approx(4 / 5) and result.best_f1 == pytest.approx(2 * 4 / 9)
    assert "average precision <b>0.800</b>" in compare.text.text() and "recall <b>0.800</b>" in compare.text.text()
    assert "precision <b>0.800</b>" in compare.text.text()  # five picks at 0.5, four of them right
    press(qtbot, compare.best)
    grab(viewer, "compared")
    assert panel.threshold == pytest.approx(0.65) and layer.shown.sum() == 4
    assert "precision <b>1.000</b>" in compare.text.text()
    assert told == ["there are no labels to compare with; open or click some"]


def test_what_cannot_be_saved_is_said(qtbot, viewer, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("napari_caked.widgets._saving.show_error", told.append)
    layer = add_picks(viewer)
    panel = dock(viewer).panel
    panel.slider.setValue(1.0)
    panel.save(tmp_path / "none.star")
    assert "no picks are shown" in told[-1] and panel.status.text() == told[-1]

    panel.slider.setValue(0.0)
    (tmp_path / "there.star").write_text("precious")
    panel.save(tmp_path / "there.star")
    qtbot.waitUntil(lambda: "exists already" in told[-1], timeout=10_000)
    (tmp_path / "file").write_text("")
    panel.save(tmp_path / "file" / "picks.star")
    qtbot.waitUntil(lambda: len(told) == 3, timeout=10_000)
    assert (tmp_path / "there.star").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "there.star"]
    assert len(layer.data) == 10


def test_layers_keep_their_thresholds_and_may_go(qtbot, viewer):
    first = add_picks(viewer, name="first")
    inspector = dock(viewer)
    inspector.panel.slider.setValue(0.2)
    second = add_picks(viewer, name="second")
    inspector.picks.choose(second)
    assert inspector.panel.slider.value() == pytest.approx(0.5)
    inspector.picks.choose(first)
    assert inspector.panel.slider.value() == pytest.approx(0.2) and first.shown.sum() == 8
    viewer.layers.remove(first)
    assert inspector.panel.layer is second and second.shown.sum() == 5
    viewer.layers.clear()
    assert inspector.panel.layer is None and "no picks" in inspector.panel.counts.text()

    # A closed dock listens no more; docked again, it does.
    viewer.window.remove_dock_widget(inspector)
    third = add_picks(viewer, name="third")
    assert inspector.panel.layer is None and third.shown.all()
    viewer.window.add_dock_widget(inspector)
    assert inspector.panel.layer is third and third.shown.sum() == 5
