"""Particles from files, in the frame that the pictures confirm, and back into files; by clicks in a real window."""

import csv

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_empiarreader.coordinates import ParticleTable, read_particles, write_particles
from napari_empiarreader.layers import micrograph_layer, particles_layer
from napari_empiarreader.micrographs import MicrographSeries

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
NAMES = ("a.mrc", "b.mrc", "c.mrc")
SHAPE = (240, 320)
PIXEL_SIZE = 2.0


@pytest.fixture
def particles():
    random = np.random.default_rng(5)
    index = np.repeat(np.arange(3), 40)
    places = random.uniform((12, 12), (SHAPE[0] - 12, SHAPE[1] - 12), (120, 2))
    return np.column_stack([index, places])


@pytest.fixture
def images(particles):
    images = np.random.default_rng(6).normal(0, 1, (3, *SHAPE)).astype(np.float32)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for m, py, px in particles:
        images[int(m)][(y - py) ** 2 + (x - px) ** 2 < 36] -= 1.5
    return images


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def micrographs(viewer, images):
    data, attributes, _ = micrograph_layer(MicrographSeries.from_array(images, NAMES, PIXEL_SIZE), "micrographs")
    layer = viewer.add_image(data, **attributes)
    viewer.dims.set_current_step(0, 0)
    return layer


@pytest.fixture
def told(monkeypatch):
    told = []
    monkeypatch.setattr("napari_empiarreader.widgets._telling.show_error", told.append)
    monkeypatch.setattr("napari_empiarreader.widgets.export.show_info", lambda text: None)
    return told


@pytest.fixture
def importer(viewer, micrographs, told):
    from napari_empiarreader.widgets.particles import ParticleImporter

    importer = ParticleImporter(viewer)
    viewer.window.add_dock_widget(importer, name="Import particles")
    return importer


def write_csv(path, rows, head=("image", "east", "north", "quality")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def test_a_table_with_flipped_rows_is_recognised_shown_and_added_when_confirmed(
    qtbot, viewer, importer, particles, tmp_path, told
):
    # Given a table of unusual columns whose rows count from the bottom, with particles on a micrograph not opened
    rows = [(NAMES[int(m)], round(x, 3), round(SHAPE[0] - 1 - y, 3), i) for i, (m, y, x) in enumerate(particles)]
    file = write_csv(tmp_path / "picks.csv", [*rows, ("elsewhere.mrc", 5, 5, 0)])

    # When it is read without a word about its columns, the widget says what is missing
    importer.path.setFocus()
    qtbot.keyClicks(importer.path, str(file))
    importer.format.setCurrentIndex(importer.format.findData("csv"))
    qtbot.mouseClick(importer.read_button, LEFT)
    qtbot.waitUntil(lambda: bool(told), timeout=10_000)
    assert "east" in told[0] and importer.status.text() == told[0]
    assert not importer.add_button.isVisible()

    # and with it, the frame that fits the pictures is preselected and shown
    for role, column in zip(("micrograph", "x", "y", "score"), ("image", "east", "north", "quality"), strict=True):
        importer.columns[role].setCurrentText(column)
    importer.diameter.setValue(12 * PIXEL_SIZE)
    qtbot.mouseClick(importer.read_button, LEFT)
    qtbot.waitUntil(importer.add_button.isVisible, timeout=20_000)
    assert importer.guess().name == "y flipped"
    assert "'y flipped'" in importer.verdict.text()
    assert "120 particles on 3 micrographs" in importer.summary.text() and "1 lie on" in importer.summary.text()
    preview = viewer.layers[-1]
    assert preview.name == "preview of picks.csv"
    np.testing.assert_allclose(preview.data, particles, atol=1e-3)

    # Another frame can be looked at,
    as_is = next(i for i, guess in enumerate(importer.imported.guesses) if guess.name == "as is")
    if as_is < importer.frames.topLevelItemCount():
        importer.frames.setCurrentItem(importer.frames.topLevelItem(as_is))
        assert np.abs(preview.data[:, 1] - particles[:, 1]).max() > 10
        importer.frames.setCurrentItem(importer.frames.topLevelItem(0))

    # and the confirmed one is a layer as the house has them, nothing lost.
    qtbot.mouseClick(importer.add_button, LEFT)
    assert [layer.name for layer in viewer.layers] == ["micrographs", "picks"]
    layer = viewer.layers["picks"]
    np.testing.assert_allclose(layer.data, particles, atol=1e-3)
    np.testing.assert_allclose(layer.scale, viewer.layers["micrographs"].scale)
    np.testing.assert_allclose(layer.size, 12)
    np.testing.assert_array_equal(layer.features["score"], np.arange(120))
    assert layer.metadata["frame"] == "y flipped"


def test_a_folder_of_boxes_is_read_and_closing_takes_the_preview_away(
    qtbot, viewer, importer, particles, tmp_path, monkeypatch, told
):
    folder = tmp_path / "boxes"
    folder.mkdir()
    write_particles(folder, ParticleTable(NAMES, particles), format="box", box_size=20)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    qtbot.mouseClick(importer.folder_button, LEFT)
    qtbot.waitUntil(importer.add_button.isVisible, timeout=20_000)
    assert importer.summary.text().startswith("EMAN .box: 120 particles")
    assert importer.guess().name == "as is"
    assert len(viewer.layers) == 2

    viewer.window.remove_dock_widget(importer)
    assert len(viewer.layers) == 1
    importer.read()
    assert importer._tasks.threads == 0


def test_reading_can_be_cancelled(qtbot, viewer, importer, particles, tmp_path, monkeypatch, told):
    import threading

    from napari_empiarreader.widgets import _importing

    released, reading = threading.Event(), threading.Event()
    guess = _importing.guess_frames

    def slowly(*arguments, **named):
        reading.set()
        assert released.wait(20)
        return guess(*arguments, **named)

    monkeypatch.setattr(_importing, "guess_frames", slowly)
    rows = [(NAMES[int(m)], x, y) for m, y, x in particles]
    importer.path.setText(str(write_csv(tmp_path / "picks.csv", rows, ("micrograph", "x", "y"))))
    qtbot.mouseClick(importer.read_button, LEFT)
    qtbot.waitUntil(reading.is_set, timeout=10_000)
    assert "cancel" in importer.read_button.text()
    qtbot.mouseClick(importer.read_button, LEFT)
    assert importer.status.text() == "Cancelled."
    released.set()
    qtbot.waitUntil(lambda: importer._tasks.threads == 0, timeout=10_000)
    assert importer.imported is None and len(viewer.layers) == 1 and told == []
    assert "cancel" not in importer.read_button.text()


def test_a_wrong_file_is_a_sentence(qtbot, viewer, importer, tmp_path, told):
    (tmp_path / "notes.star").write_text("this is no table")
    importer.path.setText(str(tmp_path / "notes.star"))
    qtbot.mouseClick(importer.read_button, LEFT)
    qtbot.waitUntil(lambda: len(told) == 1, timeout=10_000)
    assert "notes.star" in importer.status.text() and importer.read_button.isEnabled()
    importer.path.setText(str(tmp_path / "missing.box"))
    qtbot.mouseClick(importer.read_button, LEFT)
    qtbot.waitUntil(lambda: len(told) == 2, timeout=10_000)
    assert "missing.box" in told[1]
    assert len(viewer.layers) == 1


@pytest.fixture
def points(viewer, micrographs, particles):
    import pandas as pd

    table = ParticleTable(NAMES, particles, pd.DataFrame({"score": np.linspace(0, 1, 120), "mood": ["good"] * 120}))
    data, attributes, _ = particles_layer(table, name="picks", pixel_size=PIXEL_SIZE, diameter=24)
    layer = viewer.add_points(data, **attributes)
    layer.shown = layer.features["score"] > 0.5
    return layer


def test_what_is_shown_is_saved_in_any_format_and_what_cannot_be_kept_is_said(
    qtbot, viewer, points, told, tmp_path, monkeypatch
):
    from napari_empiarreader.widgets.export import ParticleExporter

    exporter = ParticleExporter(viewer)
    viewer.window.add_dock_widget(exporter, name="Export particles")
    assert exporter.choice.layer is points
    qtbot.waitUntil(lambda: "60 of 120 points are shown" in exporter.count.text(), timeout=10_000)

    def save(name, answer=QMessageBox.StandardButton.No):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(tmp_path / name), ""))
        monkeypatch.setattr(QMessageBox, "question", lambda *_: answer)
        exporter.status.setText("")
        qtbot.mouseClick(exporter.save_button, LEFT)
        qtbot.waitUntil(lambda: not exporter.status.text().startswith("Writing"), timeout=10_000)
        return exporter.status.text()

    exporter.format.setCurrentIndex(exporter.format.findData("star"))
    qtbot.waitUntil(lambda: exporter._tasks.threads == 0, timeout=10_000)
    assert exporter.lost.text() == ""
    assert "Saved 60 particles" in save("picks")  # the suffix is added
    table = read_particles(tmp_path / "picks.star")
    expected = points.data[np.asarray(points.shown)]
    np.testing.assert_allclose(table.coordinates[:, 1:], expected[:, 1:], atol=1e-3)

    # A file that exists is replaced only after a yes.
    points.shown = points.features["score"] > 0.9
    before = (tmp_path / "picks.star").read_bytes()
    assert "exists" in save("picks.star")
    assert (tmp_path / "picks.star").read_bytes() == before
    assert "Saved 12 particles" in save("picks.star", QMessageBox.StandardButton.Yes)

    # A format that holds less says so before, and asks for what it needs.
    exporter.format.setCurrentIndex(exporter.format.findData("box"))
    qtbot.waitUntil(lambda: "'mood'" in exporter.lost.text(), timeout=10_000)
    assert exporter.form.isRowVisible(exporter.box_size) and not exporter.form.isRowVisible(exporter.scale)
    assert "box" in save("boxes.box")  # no size was given
    exporter.box_size.setValue(30)
    assert "Saved 12 particles" in save("boxes.box")
    told_of_size = [text for text in told if "size" in text]
    assert told_of_size
