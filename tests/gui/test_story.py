"""The whole story in one window, by menu, mouse and keyboard.

Entry, lazy layer, ten clicks, training, picks while it learns, enough of it, two corrections by key, training on, STAR
file.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import starfile
from qtpy.QtCore import QPoint, Qt

from napari_caked import evaluate
from napari_empiarreader import read_particles
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.micrographs.cache import shared_cache
from napari_empiarreader.samples import SAMPLE_ENTRY, SimulationSettings, make_sample_entry

pytestmark = pytest.mark.gui

SOON = 120_000
"""Milliseconds, also on a busy machine."""

SETTINGS = SimulationSettings(shape=(512, 512), particles=60, phase=0.1)


@pytest.fixture
def server(tmp_path, monkeypatch):
    shared_cache().forget()
    with LoopbackArchive(make_sample_entry(tmp_path / "archive", count=3, settings=SETTINGS)) as server:
        monkeypatch.setenv("EMPIAR_API_URL", server.settings.api_url)
        monkeypatch.setenv("EMPIAR_ARCHIVE_URL", server.settings.archive_url)
        yield server


def choose_from_plugins_menu(viewer, title):
    """Trigger *Plugins ▸ ... ▸ title* and give the docked widget."""
    menus = [action.menu() for action in viewer.window._qt_window.menuBar().actions() if action.menu()]
    plugins = next(menu for menu in menus if "plugins" in menu.title().replace("&", "").lower())
    open_menus, actions = [plugins], []
    while open_menus:
        menu = open_menus.pop()
        menu.aboutToShow.emit()
        actions += menu.actions()
        open_menus += [action.menu() for action in menu.actions() if action.menu()]
    (action,) = [action for action in actions if title in action.text().replace("&", "")]
    before = set(viewer.window.dock_widgets)
    action.trigger()
    (name,) = set(viewer.window.dock_widgets) - before
    return viewer.window.dock_widgets[name]


def test_from_a_number_to_a_star_file(qtbot, server, make_napari_viewer, canvas_widget, monkeypatch, tmp_path):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1500, 950)

    browser = choose_from_plugins_menu(viewer, "EMPIAR browser")
    qtbot.keyClicks(browser.form.entry_edit, str(SAMPLE_ENTRY))
    qtbot.keyClick(browser.form.entry_edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "data/micrographs" in browser.form.tree._nodes, timeout=10_000)
    row = browser.form.tree._nodes["data/micrographs"]
    at = browser.form.tree.visualItemRect(row).center()
    qtbot.mouseClick(browser.form.tree.viewport(), Qt.MouseButton.LeftButton, pos=at)
    server.reset_counts()
    qtbot.mouseClick(browser.form.lazy_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1 and viewer.layers[0].visible, timeout=20_000)
    assert {r.path.rsplit("/", 1)[-1] for r in server.requests if r.path.endswith(".mrc")} == {"simulated_001.mrc"}

    trainer = choose_from_plugins_menu(viewer, "Train particle picker")
    trainer.settings = replace(trainer.settings, steps=2000, improving_steps=20)
    assert trainer.form.pixel_size.value() == SETTINGS.pixel_size
    trainer.form.diameter.setValue(SETTINGS.particle_diameter)
    qtbot.mouseClick(trainer.form.new_labels, Qt.MouseButton.LeftButton)
    qtbot.wait(500)
    viewer.reset_view()
    qtbot.wait(200)
    truth = read_particles(tmp_path / "archive" / str(SAMPLE_ENTRY) / "data/particles.star")
    canvas = canvas_widget(viewer)

    def place_of(y, x):
        camera = getattr(viewer, "scene", viewer).camera
        offset = (np.array([y, x]) * SETTINGS.pixel_size - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(canvas.width() / 2 + offset[1]), round(canvas.height() / 2 + offset[0]))

    for y, x in truth.on(0)[:10]:
        qtbot.mouseMove(canvas, place_of(y, x))
        qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place_of(y, x))
    labels = trainer.form.labels.layer
    np.testing.assert_allclose(labels.data[:, 1:], truth.on(0)[:10], atol=2)

    # Picks of the micrograph in view are there before the training is over.
    qtbot.mouseClick(trainer.form.train, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "picks" in viewer.layers and len(viewer.layers["picks"].data) > 0, timeout=SOON)
    assert trainer.training and trainer.progress.phase == "Learning"
    assert set(viewer.layers["picks"].data[:, 0]) == {0}
    qtbot.waitUntil(lambda: trainer.progress.done >= 40, timeout=SOON)
    qtbot.mouseClick(trainer.form.finish, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    assert "Trained and picked 3 micrographs" in trainer.form.status.text()

    # Two corrections: the surest pick that is no label yet is one, the least sure one that is shown is none.
    picks = viewer.layers["picks"]
    here = np.flatnonzero(picks.shown & (picks.data[:, 0] == 0))
    away = np.linalg.norm(picks.data[here, None, 1:] - labels.data[None, :, 1:], axis=-1).min(axis=1)
    new = here[away > SETTINGS.particle_diameter / SETTINGS.pixel_size / 2]
    scores = picks.features["score"].to_numpy()
    canvas.setFocus()
    for key, pick in ((Qt.Key.Key_A, new[scores[new].argmax()]), (Qt.Key.Key_X, new[scores[new].argmin()])):
        qtbot.mouseMove(canvas, place_of(*picks.data[pick, 1:]))
        qtbot.wait(50)
        qtbot.keyClick(canvas, key)
    negatives = viewer.layers["not particles"]
    assert len(labels.data) == 11 and len(negatives.data) == 1
    place = negatives.data[0].copy()

    first = trainer.model
    qtbot.mouseClick(trainer.form.improve, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: trainer.training, timeout=5_000)
    qtbot.waitUntil(lambda: not trainer.training, timeout=SOON)
    assert trainer.model is not None and trainer.model != first
    shown = picks.data[picks.shown]
    assert not (np.linalg.norm(shown - place, axis=1) < 5).any()

    trainer.form.inspector.slider.setValue(0.4)
    assert 0 < picks.shown.sum() < len(picks.data)
    monkeypatch.setattr(
        "napari_caked.widgets._pick_panel.ask_for_pick_file", lambda *_: (tmp_path / "picks.star", "star")
    )
    qtbot.mouseClick(trainer.form.inspector.save_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil((tmp_path / "picks.star").exists, timeout=10_000)
    saved = starfile.read(tmp_path / "picks.star")
    assert len(saved) == picks.shown.sum()
    assert set(saved["rlnMicrographName"]) == {f"simulated_{i:03d}.mrc" for i in (1, 2, 3)}
    result = evaluate(read_particles(tmp_path / "picks.star"), truth, radius=SETTINGS.particle_diameter / 4)
    assert result.average_precision > 0.8
