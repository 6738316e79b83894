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
    monkeypatch.setattr("napari_caked.widgets._pick_saving.show_info", told.append)
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


def crowded(viewer):
    """Picks 6, 6 and 40 pixels (of 2 Å) apart on the first micrograph, a lonely one on the second."""
    data = [(0, 20, 10), (0, 20, 16), (0, 20, 22), (0, 60, 22), (1, 20, 14)]
    features = pd.DataFrame({"score": [0.9, 0.8, 0.7, 0.6, 0.55]})
    metadata = {"micrographs": NAMES, "pixel_size": 2.0}
    return viewer.add_points(data, name="picks", scale=(1, 2, 2), features=features, metadata=metadata, size=8)


def test_picks_too_close_to_better_ones_are_hidden_counted_and_come_back(qtbot, viewer, tmp_path, monkeypatch, grab):
    told = []
    monkeypatch.setattr("napari_caked.widgets._pick_saving.show_info", told.append)
    layer = crowded(viewer)
    panel = dock(viewer).panel
    field = panel.distance.field
    assert field.suffix() == " Å" and field.text() == "as picked" and panel.distance.hides.text() == ""

    def type_in(value):
        field.setFocus()
        field.selectAll()
        qtbot.keyClicks(field, value)
        qtbot.keyClick(field, Qt.Key.Key_Return)

    # The middle one goes, and so it does not drive out the third. One on another micrograph is no neighbour.
    type_in("13")
    assert layer.shown.tolist() == [True, False, True, True, True] and panel.distance.hides.text() == "hides 1"
    assert "<b>3</b> of 4" in panel.counts.text() and "<b>4</b> of 5" in panel.counts.text()
    assert panel.histogram.counts.sum() == 4
    np.testing.assert_allclose(layer.features["score"], [0.9, 0.8, 0.7, 0.6, 0.55])  # nothing is lost
    assert f"about <b>{(0.9 + 0.7 + 0.6 + 0.55) / 4:.0%}</b> right, about <b>100%</b>" in panel.expected.text()
    type_in("30")
    assert layer.shown.tolist() == [True, False, False, True, True] and panel.distance.hides.text() == "hides 2"
    grab(viewer, "apart")
    panel.save(tmp_path / "picks.star")
    qtbot.waitUntil(lambda: len(told) == 1, timeout=10_000)
    assert len(starfile.read(tmp_path / "picks.star")) == 3
    # Compared with labels is what the distance leaves, at every threshold.
    viewer.add_points([(0, 20, 16), (0, 60, 22), (1, 20, 14)], name="truth", scale=(1, 2, 2))
    panel.comparison.start()
    qtbot.waitUntil(lambda: panel.comparison.result is not None, timeout=20_000)
    assert panel.comparison.result.candidates == 3

    # A threshold changes nothing about who is driven out; what is no particle drives nobody out.
    panel.slider.setValue(0.75)
    assert layer.shown.tolist() == [True, False, False, False, False] and panel.distance.hides.text() == "hides 1"
    panel.slider.setValue(0.5)
    panel.rejects = lambda points, names: np.arange(len(points)) == 0
    panel.refilter()
    assert layer.shown.tolist() == [False, True, False, True, True]
    panel.rejects = None
    panel.refilter()

    # One history for distances and deletions.
    viewer.layers.selection.active = layer
    layer.selected_data = {0}
    layer.remove_selected()
    assert layer.shown.tolist() == [True, False, True, True]
    press(qtbot, panel.undo_button)
    assert layer.shown.tolist() == [True, False, False, True, True] and panel.distance.value == 30
    press(qtbot, panel.undo_button)
    assert layer.shown.tolist() == [True, False, True, True, True] and field.text() == "13.0 Å"
    press(qtbot, panel.undo_button)
    assert layer.shown.all() and field.text() == "as picked" and not panel.undo_button.isEnabled()
    # A hand-made pick stays, and is believed.
    type_in("13")
    layer.feature_defaults = {"score": np.nan}
    layer.add((0, 20, 23))
    assert layer.shown.tolist() == [True, False, False, True, True, True]


def test_layers_keep_their_distances_also_in_pixels(qtbot, viewer):
    layer = crowded(viewer)
    inspector = dock(viewer)
    panel = inspector.panel
    panel.distance.field.setValue(13)
    other = viewer.add_points(
        [(0, 5, 5), (0, 5, 15)],
        name="bare",
        features=pd.DataFrame({"score": [0.9, 0.8]}),
        metadata={"micrographs": NAMES},
    )
    inspector.picks.choose(other)
    assert panel.distance.value == 0 and panel.distance.field.suffix() == " px" and other.shown.all()
    panel.distance.field.setValue(10.5)
    assert other.shown.tolist() == [True, False]
    inspector.picks.choose(layer)
    assert panel.distance.field.text() == "13.0 Å" and not panel.undo_button.isEnabled()
    assert layer.shown.tolist() == [True, False, True, True, True]


def test_many_picks_are_compared_in_a_thread_as_one_by_one(qtbot, viewer, monkeypatch):
    from napari_caked.widgets import _spacing

    dice = np.random.default_rng(3)
    points = np.column_stack([dice.integers(0, 7, 3000), dice.uniform(0, 500, (3000, 2))])
    scores = dice.random(3000)
    kept = []
    for i in np.argsort(-scores):  # the rule, word by word
        near = [j for j in kept if points[j, 0] == points[i, 0] and np.hypot(*(points[i] - points[j])[1:]) < 30]
        if not near:
            kept.append(i)
    wanted = ~np.isin(np.arange(3000), kept)
    np.testing.assert_array_equal(_spacing.too_close(points, scores, 30.0), wanted)
    assert 0.2 < wanted.mean() < 0.9

    monkeypatch.setattr(_spacing, "_FAST", 1000)
    layer = viewer.add_points(
        points, features=pd.DataFrame({"score": scores}), metadata={"micrographs": list("abcdefg")}
    )
    panel = dock(viewer).panel
    panel.slider.setValue(0)
    panel.distance.field.setValue(90)
    panel.distance.field.setValue(30)  # the answer to the first question comes too late to count
    assert layer.shown.all()
    qtbot.waitUntil(lambda: not layer.shown.all(), timeout=10_000)
    qtbot.wait(300)
    np.testing.assert_array_equal(layer.shown, ~wanted)
    assert panel.distance.hides.text() == f"hides {wanted.sum():,}"


def test_picks_are_saved_for_other_programs_and_replaced_only_by_a_yes(qtbot, viewer, tmp_path, monkeypatch):
    from napari_empiarreader.coordinates import read_particles

    told, asked = [], []
    monkeypatch.setattr("napari_caked.widgets._pick_saving.show_info", told.append)
    viewer.layers["micrographs"].metadata["micrographs"] = NAMES
    layer = crowded(viewer)
    panel = dock(viewer).panel

    def save(name, kind, files, micrographs=2):
        def ask(parent, title, suggestion, filters, first, options):
            (chosen,) = [text for text in filters.split(";;") if kind in text]
            return str(tmp_path / name), chosen

        monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
        before = len(told)
        press(qtbot, panel.save_button)
        qtbot.waitUntil(lambda: len(told) > before, timeout=10_000)
        assert told[-1].startswith("5 picks written to")
        back = [read_particles(tmp_path / file, shapes=dict.fromkeys(NAMES, (64, 64))) for file in files]
        places = np.concatenate([table.coordinates[:, 1:] for table in back])
        np.testing.assert_allclose(places, layer.data[:, 1:], atol=0.51)

    save("picks.star", ".cs)", ["picks.cs"])
    assert told[-1].endswith(str(tmp_path / "picks.cs"))
    save("picks.csv", ".csv)", ["picks.csv"])
    save("picks", "EMAN .box", ["picks/a.box", "picks/b.box"])
    assert told[-1] == f"5 picks written to 2 files in {tmp_path / 'picks'}"
    assert (tmp_path / "picks" / "b.box").read_text().split()[2] == "8"  # as wide as the circles
    save("c.star", ".cbox)", ["c/a.cbox", "c/b.cbox"])
    save("autopick.star", "RELION index", ["autopick.star"])

    # One file of several is in the way: nothing is lost without a yes.
    (tmp_path / "picks" / "a.box").unlink()
    (tmp_path / "picks" / "b.box").write_text("precious")
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *words: (asked.append(words[-1]), answers.pop(0))[1])
    chosen = (str(tmp_path / "picks"), "EMAN .box, one file per micrograph (*.box)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: chosen)
    press(qtbot, panel.save_button)
    qtbot.waitUntil(lambda: len(asked) == 1, timeout=10_000)
    assert "b.box exists already. Replace?" in asked[0]
    assert (tmp_path / "picks" / "b.box").read_text() == "precious" and not (tmp_path / "picks" / "a.box").exists()
    save("picks", "EMAN .box", ["picks/a.box", "picks/b.box"])
    assert len(asked) == 2
