"""The window of data sets: listed, looked at, tried, built, stopped and gone on with, by a real helper process."""

from __future__ import annotations

import json
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_caked.datasets.store import open_store
from napari_empiarreader.micrographs.mrc import write_mrc

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("warm_helpers")]

SIDE, PIXEL_SIZE, BOX = 256, 4.0, 32
NAMES = ["a.mrc", "b.mrc", "c.mrc"]
SOON = 120_000


@pytest.fixture(scope="module")
def stack():
    return np.random.default_rng(1).normal(size=(3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture
def told(monkeypatch):
    told = []
    monkeypatch.setattr("napari_caked.widgets._saving.show_error", told.append)
    return told


@pytest.fixture
def viewer(make_napari_viewer, stack):
    viewer = make_napari_viewer(show=True)
    scale = (1, PIXEL_SIZE, PIXEL_SIZE)
    about = {"micrographs": NAMES, "pixel_size": PIXEL_SIZE}
    viewer.add_image(da.from_array(stack, chunks=(1, SIDE, SIDE)), name="micrographs", scale=scale, metadata=about)
    dice = np.random.default_rng(2)
    for name, count in (("particles", 18), ("junk", 12)):
        places = np.column_stack([np.arange(count) % 3, dice.uniform(40, SIDE - 40, (count, 2))])
        features = {"kind": np.where(np.arange(count) % 2, "even", "odd")}
        viewer.add_points(places, name=name, scale=scale, features=features, metadata={"micrographs": NAMES}, size=12)
    return viewer


@pytest.fixture
def builder(viewer, told):
    from napari_caked.widgets.dataset import DatasetBuilder

    builder = DatasetBuilder(viewer)
    viewer.window.add_dock_widget(builder, name="Build data set")
    viewer.window.resize(1300, 900)
    return builder


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def list_items(qtbot, builder):
    press(qtbot, builder.form.show_items)
    assert builder.listing and not builder.form.show_items.isEnabled()
    qtbot.waitUntil(lambda: not builder.listing, timeout=SOON)


def list_layers(qtbot, viewer, builder, *names):
    for name in names:
        builder.form.layers.tick(viewer.layers[name])
    builder.form.box.setValue(BOX * PIXEL_SIZE)
    list_items(qtbot, builder)
    assert builder.choice is not None, builder.form.status.text()


def test_points_are_listed_looked_at_tried_built_and_sent_to_training(qtbot, viewer, builder, stack, told, tmp_path):
    form = builder.form
    assert form.pixel_size.value() == PIXEL_SIZE and form.box.suffix() == " Å" and not form.build.isEnabled()
    list_layers(qtbot, viewer, builder, "particles", "junk")
    assert told == [] and "30 items of 3 groups" in form.status.text()
    assert [(form.classes.item(i, 0).text(), form.classes.item(i, 1).text()) for i in range(2)] == [
        ("junk", "12"),
        ("particles", "18"),
    ]
    assert form.about.text() == f"{BOX} × {BOX} pixels of 4 Å" and len(form.sheet.order) == 30

    # One is left out by a click, another one becomes a particle; both are on the sheet.
    press_at = form.sheet.rect_of(0).center()
    qtbot.mouseClick(form.sheet.viewport(), Qt.MouseButton.LeftButton, pos=press_at)
    assert form.classes.item(0, 1).text() == "11"
    form.sheet.menu_of(1).actions()[1].trigger()
    assert [form.classes.item(i, 1).text() for i in range(2)] == ["10", "19"]

    # A recipe is tried on the item that was clicked: what is seen is what the steps make of it.
    qtbot.waitUntil(lambda: form.recipe.add.isEnabled(), timeout=SOON)
    form.recipe.append("ZScore")
    form.recipe.append("GaussianNoise", {"deviation": [1.0, 1.0]})
    qtbot.waitUntil(lambda: form.strip.titles == ("before", "ZScore", "GaussianNoise"), timeout=SOON)
    qtbot.waitUntil(lambda: builder.trying.shown == builder.trying.asked, timeout=SOON)
    assert form.strip.captions[1].startswith(f"{BOX} × {BOX}, 4 Å") and form.strip.captions[1].endswith("± 1")
    shown = builder.trying.shown
    press(qtbot, form.another)
    qtbot.waitUntil(lambda: builder.trying.shown > shown, timeout=SOON)

    form.split.setText("")
    form.share.setValue(34)
    qtbot.waitUntil(lambda: "nothing is on both sides" in form.split.text(), timeout=SOON)
    assert "of 2 groups" in form.split.text() and "of 1 groups" in form.split.text()

    path = tmp_path / "made.dataset.zarr"
    form.path.setText(str(path))
    press(qtbot, form.build)
    qtbot.waitUntil(lambda: not builder.building.running, timeout=SOON)
    assert told == [] and "29 items: junk 10, particles 19" in form.status.text()
    store = open_store(path)
    assert store.classes == ("junk", "particles") and np.bincount(store.labels).tolist() == [10, 19]
    for index in range(len(store)):
        np.testing.assert_allclose([store[index].image.mean(), store[index].image.std()], [0, 1], atol=1e-4)
    split = json.loads((path / "split.json").read_text())
    groups = {part: {name.split("#")[0] for name in names} for part, names in split.items()}
    assert sum(map(len, split.values())) == 29 and not groups["train"] & groups["val"] and (path / "card.png").exists()

    assert form.particle.currentText() == "particles"
    press(qtbot, form.train)
    labels, negatives = viewer.layers[-2], viewer.layers[-1]
    assert len(labels.data) == 19 and len(negatives.data) == 10 and negatives.name.startswith("not particles")
    known = {tuple(np.round(place, 3)) for place in viewer.layers["particles"].data}
    assert len(known & {tuple(np.round(place, 3)) for place in labels.data}) == 18
    press(qtbot, form.open_store)
    qtbot.waitUntil(lambda: "made" in viewer.layers, timeout=SOON)
    assert viewer.layers["made"].data.shape == (29, BOX, BOX)


def test_classes_of_a_feature_of_painted_and_of_drawn_regions(qtbot, viewer, builder, told):
    painted = np.zeros((3, SIDE, SIDE), np.uint8)
    painted[1, 50:70, 50:70] = 3
    scale = (1, PIXEL_SIZE, PIXEL_SIZE)
    viewer.add_labels(painted, name="painted", scale=scale)
    viewer.add_shapes([[[2, 60, 60], [2, 60, 80], [2, 80, 80], [2, 80, 60]]], name="carbon", scale=scale)
    list_layers(qtbot, viewer, builder, "particles", "painted", "carbon")
    assert builder.choice.listed.classes == ("particles", "3", "carbon") and told == []
    assert builder.choice.counts() == {0: 18, 1: 1, 2: 1}
    for name in ("painted", "carbon"):
        builder.form.layers.tick(viewer.layers[name], False)
    builder.form.feature.setCurrentText("kind")
    list_items(qtbot, builder)
    assert builder.choice.listed.classes == ("even", "odd") and builder.choice.counts() == {0: 9, 1: 9}


def test_a_folder_with_an_example_and_a_step_that_cannot_be_done(qtbot, builder, told, tmp_path):
    form, dice = builder.form, np.random.default_rng(3)
    for name in ("ribosome_1", "ribosome_2", "ferritin_1"):
        write_mrc(tmp_path / f"{name}.mrc", dice.normal(size=(24, 24)).astype(np.float32), 3.0)
    form.kind.setCurrentIndex(1)
    form.folder.setText(str(tmp_path))
    qtbot.waitUntil(lambda: "ribosome_1.mrc → ribosome" in form.example.text(), timeout=5000)
    form.rule.setCurrentIndex(form.rule.findData("pattern"))
    form.said.setText("(?P<class>[a-z]+")
    qtbot.waitUntil(lambda: "is no regular expression" in form.example.text(), timeout=5000)
    list_items(qtbot, builder)
    assert builder.choice is None and "is no regular expression" in told.pop()
    form.said.setText("(?P<class>[a-z]+)")
    list_items(qtbot, builder)
    assert builder.choice.listed.classes == ("ferritin", "ribosome") and told == []
    qtbot.waitUntil(lambda: form.recipe.add.isEnabled(), timeout=SOON)
    form.recipe.append("LowPass", {"resolution": -1.0})
    qtbot.waitUntil(lambda: "LowPass: resolution is -1.0" in form.latency.text(), timeout=SOON)
    assert not form.train.isEnabled()  # there are no micrographs to train on


def test_a_build_that_was_cancelled_goes_on(qtbot, viewer, builder, told, tmp_path):
    form, path = builder.form, tmp_path / "cut.dataset.zarr"
    list_layers(qtbot, viewer, builder, "particles", "junk")
    press(qtbot, form.build)
    assert "has no place" in told.pop()
    form.path.setText(str(path))
    press(qtbot, form.build)
    press(qtbot, form.cancel)
    qtbot.waitUntil(lambda: not builder.building.running, timeout=SOON)
    assert "stopped with" in form.status.text() and "goes on from there" in form.status.text() and told == []
    press(qtbot, form.build)
    qtbot.waitUntil(lambda: not builder.building.running, timeout=SOON)
    assert "30 items" in form.status.text() and len(open_store(path)) == 30
    form.classes.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    press(qtbot, form.build)
    qtbot.waitUntil(lambda: not builder.building.running, timeout=SOON)
    assert "choose another name, or overwrite it" in told.pop()
    form.overwrite.setChecked(True)
    press(qtbot, form.build)
    qtbot.waitUntil(lambda: not builder.building.running, timeout=SOON)
    assert open_store(path).classes == ("particles",) and len(open_store(path)) == 18


def test_nothing_ticked_and_a_closed_dock(qtbot, viewer, builder, told):
    press(qtbot, builder.form.show_items)
    assert "tick the layers" in told.pop() and not builder.listing
    list_layers(qtbot, viewer, builder, "junk")
    helper = builder._session
    viewer.window.remove_dock_widget(builder)
    assert helper.cancelled and builder.choice is None


def test_the_images_of_a_table_are_a_source(qtbot, builder, told, tmp_path):
    form, images = builder.form, np.random.default_rng(3).normal(size=(6, 24, 24)).astype(np.float32)
    write_mrc(tmp_path / "s.mrcs", images, 2.0)
    rows = [f"{i + 1}@s.mrcs m{i % 3}.mrc {1 + i % 2} {9000 + i}" for i in range(6)]
    columns = ("rlnImageName", "rlnMicrographName", "rlnClassNumber", "rlnDefocusU")
    head = "".join(f"_{name}\n" for name in columns)
    (tmp_path / "p.star").write_text(f"data_\nloop_\n{head}" + "\n".join(rows) + "\n")
    form.kind.setCurrentIndex(2)
    press(qtbot, form.show_items)
    assert "there is no table of particle images" in told.pop()
    form.table.setText(str(tmp_path / "p.star"))
    form.class_column.setText("rlnClassNumber")
    list_items(qtbot, builder)
    assert "6 items of 3 groups" in form.status.text() and told == []
    form.path.setText(str(tmp_path / "p.dataset.zarr"))
    press(qtbot, form.build)
    qtbot.waitUntil(lambda: not builder.building.running, timeout=SOON)
    store = open_store(tmp_path / "p.dataset.zarr")
    assert store.classes == ("1", "2") and sorted(r.origin["defocus_u"] for r in store.records) == [*range(9000, 9006)]
    np.testing.assert_array_equal(np.sort(store.images(range(6)).ravel()), np.sort(images.ravel()))


#: Lists a folder, previews a step, closes the viewer and ends, as a script does that never runs an event loop.
SCRIPT = """
import sys, time
import napari_caked
import napari
from napari_caked.widgets.dataset import DatasetBuilder
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer()
builder = DatasetBuilder(viewer)
viewer.window.add_dock_widget(builder)
builder.form.kind.setCurrentIndex(1)
builder.form.folder.setText(sys.argv[1])
builder.show_items()

def wait(done):
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, builder.form.status.text()
        QApplication.processEvents()
        time.sleep(0.01)

wait(lambda: builder.form.recipe.add.isEnabled())
builder.form.recipe.append("GaussianNoise")
wait(lambda: builder.trying.shown > 0)
builder.form.seed.setValue(7)
viewer.close()
print("closed")
"""


def test_a_script_that_closes_the_viewer_during_a_preview_ends_in_peace(tmp_path):
    for i in range(4):
        np.save(tmp_path / f"{'ab'[i % 2]}_{i}.npy", np.random.default_rng(i).normal(size=(24, 24)).astype(np.float32))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "closed", done.stderr[-2000:]
    assert "deleted" not in done.stderr
