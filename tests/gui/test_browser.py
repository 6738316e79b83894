"""The EMPIAR browser, used as a person does: type, press Enter, click, look; the server counts what that moves."""

import json
import time
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtGui import QGuiApplication

from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.catalogue import Catalogue
from napari_empiarreader.archive.faults import Delay, FailWith
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.micrographs.cache import shared_cache

pytestmark = pytest.mark.gui

COUNT, SIDE, PIXEL_SIZE = 200, 64, 1.34
FILE_BYTES = 1024 + 4 * SIDE * SIDE
EMDB = {
    "structure_determination_list": {
        "structure_determination": [
            {"microscopy_list": {"microscopy": [{"acceleration_voltage": {"valueOf_": "300", "units": "kV"}}]}}
        ]
    }
}


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """Micrographs of another test must not save this one its requests."""
    shared_cache().forget()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "archive" / "10017" / "data" / "micrographs"
    folder.mkdir(parents=True)
    image = np.random.default_rng(3).normal(size=(SIDE, SIDE)).astype("float32")
    with mrcfile.new(folder / "m000.mrc") as mrc:
        mrc.set_data(image)
        mrc.voxel_size = PIXEL_SIZE
    first = (folder / "m000.mrc").read_bytes()
    for i in range(1, COUNT):
        (folder / f"m{i:03d}.mrc").write_bytes(first[:1024] + (image + i).tobytes())
    (folder / "gain.txt").write_text("1")
    (tmp_path / "archive" / "10017" / "data" / "empty").mkdir()
    entry = {
        "title": "Beta-galactosidase <b>& friends</b>",
        "dataset_size": "2.3 TB",
        "cross_references": ["EMD-2824"],
        "imagesets": [{"name": "Falcon", "directory": "/data/micrographs", "pixel_width": "1.77"}],
    }
    (tmp_path / "archive" / "10017" / "entry.json").write_text(json.dumps(entry))
    with LoopbackArchive(tmp_path / "archive", emdb={"EMD-2824": EMDB}) as server:
        yield server


@pytest.fixture
def notified(monkeypatch):
    """What the user was told by napari's notifications."""
    told = []
    for kind in ("show_error", "show_warning"):
        monkeypatch.setattr(f"napari_empiarreader.widgets._telling.{kind}", told.append)
    return told


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def browser(qtbot, server, viewer, notified, tmp_path):
    from napari_empiarreader.widgets.browser import ArchiveBrowser

    archive = Archive(replace(server.settings, timeout=2.0, retries=1, backoff=0.01))
    browser = ArchiveBrowser(viewer, archive=archive, catalogue=Catalogue(tmp_path / "catalogue.sqlite"))
    viewer.window.add_dock_widget(browser, name="EMPIAR browser")
    qtbot.waitUntil(lambda: browser.form.search.state is not None, timeout=10_000)
    return browser


def open_entry(qtbot, browser, number="10017"):
    browser.form.entry_edit.clear()
    qtbot.keyClicks(browser.form.entry_edit, number)
    qtbot.keyClick(browser.form.entry_edit, Qt.Key.Key_Return)


def click_row(qtbot, browser, path, modifier=Qt.KeyboardModifier.NoModifier):
    """Click on a row of the tree, as soon as it is there."""
    tree = browser.form.tree
    qtbot.waitUntil(lambda: path in tree._nodes, timeout=10_000)
    row = tree._nodes[path]
    tree.scrollToItem(row)
    place = tree.visualItemRect(row).center()
    place.setX(tree.visualItemRect(row).left() + 5)
    qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, modifier, place)
    qtbot.waitUntil(lambda: row.isSelected(), timeout=2_000)


def names_shown(browser):
    tree = browser.form.tree
    return [
        item.name
        for item in (tree._nodes[p].data(0, Qt.ItemDataRole.UserRole) for p in tree._nodes)
        if not tree._nodes[item.path].isHidden()
    ]


def wait_idle(qtbot, browser):
    qtbot.waitUntil(lambda: not browser._tasks.running, timeout=10_000)


def test_from_a_number_to_a_picture_moving_only_what_is_looked_at(qtbot, server, viewer, browser, notified):
    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")  # the only folder, data, has opened by itself
    assert "Beta-galactosidase &lt;b&gt;" in browser.form.card.text()
    assert "1.77 Å/px" in browser.form.card.text()
    wait_idle(qtbot, browser)
    assert [r.path.split("/")[-2:] for r in server.requests] == [["10017", ""], ["10017", ""], ["data", ""]]

    server.reset_counts()
    qtbot.mouseClick(browser.form.lazy_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1 and viewer.layers[0].visible, timeout=20_000)
    wait_idle(qtbot, browser)

    # Seen: one lazy layer of all micrographs, in Å, at its first micrograph.
    (layer,) = viewer.layers
    assert layer.name == "EMPIAR-10017 micrographs"
    assert layer.data.shape == (COUNT, SIDE, SIDE)
    np.testing.assert_allclose(layer.scale, (1, PIXEL_SIZE, PIXEL_SIZE), rtol=1e-5)
    assert layer.metadata["micrographs"][1] == "m001.mrc"
    assert viewer.dims.current_step[0] == 0
    # The header's pixel size differs from the entry's: said, not hidden.
    assert len(notified) == 1 and "1.34" in notified[0] and "1.77" in notified[0]

    # Moved: one listing, the first header, and the first micrograph once. Of the 199 others nothing.
    files = [r for r in server.requests if r.path.endswith(".mrc")]
    assert {r.path.rsplit("/", 1)[-1] for r in files} == {"m000.mrc"}
    assert sum(r.method == "HEAD" for r in server.requests) == 0
    assert len(files) <= 2
    assert server.bytes_sent < FILE_BYTES + 1024 + 60_000  # the listing of 200 files is 40 kB

    # Another micrograph is one file, once.
    server.reset_counts()
    viewer.dims.set_current_step(0, 7)
    qtbot.waitUntil(lambda: bool(server.requests), timeout=5_000)
    assert [r.path.rsplit("/", 1)[-1] for r in server.requests] == ["m007.mrc"]
    assert server.bytes_sent == FILE_BYTES

    # Looking at both again moves nothing.
    server.reset_counts()
    for step in (0, 7, 0):
        viewer.dims.set_current_step(0, step)
    assert server.requests == []
    shown = np.asarray(layer.data[7])
    np.testing.assert_array_equal(shown - np.asarray(layer.data[0]) > 6.9, True)


def test_from_words_to_a_picture_by_keys_and_clicks(qtbot, server, viewer, browser, notified):
    server.add_metadata(10028, {"title": "80S ribosome of Plasmodium", "imagesets": [{"data_format": "MRCS"}]})
    search = browser.form.search
    assert server.requests == []  # nothing is asked of the archive unless the user wants it
    assert "fetched once" in search.index_label.text()

    qtbot.mouseClick(search.index_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "2 entries, fetched just now" in search.index_label.text(), timeout=20_000)
    assert search.index_button.text() == "Refresh"
    qtbot.waitUntil(lambda: {entry.number for entry in search.results.entries()} == {10028, 10017}, timeout=10_000)
    server.reset_counts()

    # Searching, as far as the word is typed, needs no network.
    qtbot.keyClicks(browser.form.entry_edit, "galactosid")
    qtbot.waitUntil(lambda: [e.number for e in search.results.entries()] == [10017], timeout=10_000)
    assert search.found.text() == "1 fits"
    assert server.requests == []

    results = search.results
    place = results.visualItemRect(results.item(0)).center()
    qtbot.mouseClick(results.viewport(), Qt.MouseButton.LeftButton, pos=place)
    click_row(qtbot, browser, "data/micrographs")
    qtbot.mouseClick(browser.form.lazy_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1 and viewer.layers[0].visible, timeout=20_000)
    wait_idle(qtbot, browser)
    assert viewer.screenshot(canvas_only=True, flash=False)[..., :3].std() > 5

    # Back among the results, a filter and Enter lead to the other one.
    qtbot.mouseClick(browser.form.back_button, Qt.MouseButton.LeftButton)
    assert search.results.isVisible()
    browser.form.entry_edit.selectAll()
    qtbot.keyClick(browser.form.entry_edit, Qt.Key.Key_Delete)
    search.filters_button.click()
    search.format.setCurrentIndex(search.format.findData("MRCS"))
    qtbot.waitUntil(lambda: [e.number for e in search.results.entries()] == [10028], timeout=10_000)
    qtbot.keyClicks(browser.form.entry_edit, "ribosome")
    qtbot.keyClick(browser.form.entry_edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: browser.entry is not None and browser.entry.number == 10028, timeout=10_000)


def test_an_index_that_is_cancelled_or_fails_can_be_completed(qtbot, server, browser, notified):
    search = browser.form.search
    server.inject(Delay(1.0), pattern="*/entry/*", times=1)
    qtbot.mouseClick(search.index_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: search.index_button.text() == "Cancel", timeout=5_000)
    qtbot.waitUntil(lambda: bool(server.requests), timeout=5_000)
    qtbot.mouseClick(search.index_button, Qt.MouseButton.LeftButton)
    assert "Cancelled" in search.index_label.text()
    qtbot.waitUntil(lambda: search._tasks.threads == 0, timeout=10_000)
    assert notified == []

    server.inject(FailWith(503), times=None)
    qtbot.waitUntil(lambda: search.index_button.text() != "Cancel", timeout=10_000)
    qtbot.mouseClick(search.index_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(notified) == 1, timeout=10_000)
    server.faults.clear()
    qtbot.waitUntil(lambda: not search.updating, timeout=10_000)
    qtbot.mouseClick(search.index_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "1 entry, fetched just now" in search.index_label.text(), timeout=20_000)


def test_the_microscope_is_asked_for_by_a_click_only(qtbot, server, browser):
    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")
    wait_idle(qtbot, browser)
    assert not any("emdb" in r.path for r in server.requests)
    browser.form.card.linkActivated.emit("ask:microscope")
    qtbot.waitUntil(lambda: "300 kV" in browser.form.card.text(), timeout=10_000)
    assert sum("EMD-2824" in r.path for r in server.requests) == 1


def test_entries_that_belong_together_are_one_click_apart(qtbot, server, browser):
    server.add_metadata(10028, {"title": "second", "empiar_references": [{"name": "EMPIAR-10017"}, {"name": "<b>"}]})
    open_entry(qtbot, browser, "10028")
    qtbot.waitUntil(lambda: 'href="entry:EMPIAR-10017"' in browser.form.card.text(), timeout=10_000)
    assert "&lt;b&gt;" in browser.form.card.text()
    browser.form.card.linkActivated.emit("entry:EMPIAR-10017")
    qtbot.waitUntil(lambda: browser.entry is not None and browser.entry.number == 10017, timeout=10_000)


def test_a_folder_can_be_listed_again(qtbot, server, browser, tmp_path):
    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")
    browser.form.tree._nodes["data/micrographs"].setExpanded(True)
    click_row(qtbot, browser, "data/micrographs/m003.mrc")
    folder = tmp_path / "archive" / "10017" / "data" / "micrographs"
    (folder / "new.mrc").write_bytes((folder / "m000.mrc").read_bytes())
    click_row(qtbot, browser, "data/micrographs")
    menu = {action.text(): action for action in browser.menu_for(browser.form.tree.selected()).actions()}
    assert not menu["Exact size"].isEnabled()
    menu["List again"].trigger()
    qtbot.waitUntil(lambda: "data/micrographs/new.mrc" in browser.form.tree._nodes, timeout=10_000)


def test_an_entry_can_be_looked_at_while_the_index_is_fetched(qtbot, server, browser):
    server.inject(Delay(1.0), pattern="*/entry/", times=2)
    qtbot.mouseClick(browser.form.search.index_button, Qt.MouseButton.LeftButton)
    open_entry(qtbot, browser)
    qtbot.waitUntil(lambda: browser.entry is not None, timeout=10_000)
    assert browser.form.search.updating
    qtbot.waitUntil(lambda: "fetched just now" in browser.form.search.index_label.text(), timeout=20_000)


def test_a_preview_reads_one_file_once_and_only_while_it_is_on(qtbot, server, viewer, browser):
    def requested():
        return [r.path.rsplit("/", 1)[-1] for r in server.requests if r.path.endswith(".mrc")]

    def image_of(name):
        return browser.form.tree._nodes[f"data/micrographs/{name}"].icon(0).cacheKey()

    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")
    browser.form.tree._nodes["data/micrographs"].setExpanded(True)
    click_row(qtbot, browser, "data/micrographs/m003.mrc")
    wait_idle(qtbot, browser)
    assert requested() == [] and not browser.form.preview.isVisible()

    before = image_of("m003.mrc")
    qtbot.mouseClick(browser.form.preview_toggle, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    qtbot.waitUntil(lambda: "m003.mrc: 64 × 64 px, 1.34 Å/px" in browser.form.preview.caption.text(), timeout=10_000)
    assert set(requested()) == {"m003.mrc"} and len(requested()) <= 2
    assert browser.form.preview.image.picture is not None and browser.form.preview.spectrum.picture is not None
    assert image_of("m003.mrc") != before

    # Of two selections the later one counts, though the first answers last.
    server.inject(Delay(1.0), pattern="*m004.mrc", times=1)
    click_row(qtbot, browser, "data/micrographs/m004.mrc")
    qtbot.waitUntil(lambda: "m004.mrc" in requested(), timeout=5_000)
    click_row(qtbot, browser, "data/micrographs/m005.mrc")
    qtbot.waitUntil(lambda: "m005.mrc" in browser.form.preview.caption.text(), timeout=10_000)
    qtbot.waitUntil(lambda: browser._tasks.threads == 0, timeout=10_000)
    assert "m005.mrc" in browser.form.preview.caption.text()

    # What was seen once is there.
    server.reset_counts()
    click_row(qtbot, browser, "data/micrographs/m003.mrc")
    qtbot.waitUntil(lambda: "m003.mrc" in browser.form.preview.caption.text(), timeout=5_000)
    assert requested() == []


def test_addresses_and_exact_sizes_of_what_is_selected(qtbot, server, browser):
    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")
    browser.form.tree._nodes["data/micrographs"].setExpanded(True)
    click_row(qtbot, browser, "data/micrographs/m003.mrc")
    click_row(qtbot, browser, "data/micrographs/m004.mrc", Qt.KeyboardModifier.ControlModifier)
    wait_idle(qtbot, browser)
    server.reset_counts()
    menu = browser.menu_for(browser.form.tree.selected())
    actions = {action.text(): action for action in menu.actions()}

    actions["Copy address"].trigger()
    files = ["data/micrographs/m003.mrc", "data/micrographs/m004.mrc"]
    assert QGuiApplication.clipboard().text().split("\n") == [f"empiar://10017/{file}" for file in files]
    actions["Copy web address"].trigger()
    assert QGuiApplication.clipboard().text().startswith(server.settings.archive_url + "/10017/data/")
    actions["Exact size"].trigger()
    qtbot.waitUntil(lambda: f"{2 * FILE_BYTES:,} bytes" in browser.form.status.text(), timeout=10_000)
    assert browser.form.tree._nodes[files[0]].toolTip(1) == f"{FILE_BYTES:,} bytes"
    assert [r.method for r in server.requests] == ["HEAD", "HEAD"]


def test_micrographs_open_with_the_particles_that_were_deposited(qtbot, server, viewer, browser, notified, tmp_path):
    rows = [("m001.mrc", 10, 20), ("m001.mrc", 30, 40), ("m007.mrc", 5, 6), ("m007.mrc", 500, 6), ("x.mrc", 1, 2)]
    star = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
    folder = tmp_path / "archive" / "10017" / "data" / "coordinates"
    folder.mkdir()
    (folder / "picks.star").write_text(star + "".join(f"{name} {x} {y}\n" for name, x, y in rows))
    (folder / "few.star").write_text(star + "m001.mrc 10 20\n")
    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")
    qtbot.mouseClick(browser.form.particles_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
    wait_idle(qtbot, browser)

    micrographs, particles = viewer.layers
    assert micrographs.data.shape == (COUNT, SIDE, SIDE)
    np.testing.assert_allclose(particles.data, [(1, 20, 10), (1, 40, 30), (7, 6, 5), (7, 6, 500)])
    np.testing.assert_allclose(particles.scale, micrographs.scale)
    assert "4 of 5 particles in picks.star lie on these micrographs, 1 of them outside" in browser.form.status.text()
    assert "Not opened: few.star." in browser.form.status.text()
    files = {r.path.rsplit("/", 1)[-1] for r in server.requests if "." in r.path.rsplit("/", 1)[-1]}
    assert files <= {"m000.mrc", "picks.star", "few.star"}


def test_the_download_is_planned_for_what_is_selected_and_closes_with_the_browser(qtbot, viewer, browser, tmp_path):
    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")
    browser.form.filter_edit.setText("m00*.mrc")
    qtbot.mouseClick(browser.form.download_button, Qt.MouseButton.LeftButton)
    dialog = browser.dialog
    qtbot.waitUntil(lambda: dialog.plan is not None, timeout=10_000)
    assert dialog.plan.total_bytes == 10 * FILE_BYTES and dialog.plan.is_exact
    assert "10 files" in dialog.about.text()
    viewer.window.remove_dock_widget(browser)
    assert not dialog.isVisible() and dialog._tasks.closed


def test_the_filter_hides_files_and_chosen_files_make_one_layer(qtbot, server, viewer, browser):
    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")
    browser.form.tree._nodes["data/micrographs"].setExpanded(True)
    qtbot.waitUntil(lambda: "data/micrographs/gain.txt" in browser.form.tree._nodes, timeout=10_000)
    assert "gain.txt" not in names_shown(browser)

    browser.form.kinds.setCurrentText("All files")
    assert "gain.txt" in names_shown(browser)
    qtbot.keyClicks(browser.form.filter_edit, "m00*.mrc")
    assert [name for name in names_shown(browser) if "." in name and name != "entry.json"] == [
        f"m00{i}.mrc" for i in range(10)
    ]

    click_row(qtbot, browser, "data/micrographs/m003.mrc")
    click_row(qtbot, browser, "data/micrographs/m005.mrc", Qt.KeyboardModifier.ControlModifier)
    browser.form.pixel_size.setValue(2.5)
    qtbot.mouseClick(browser.form.lazy_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=20_000)

    assert list(viewer.layers[0].metadata["micrographs"]) == ["m003.mrc", "m005.mrc"]
    np.testing.assert_allclose(viewer.layers[0].scale[1:], 2.5)


def test_what_cannot_be_had_is_said_in_words_and_leaves_no_layer(qtbot, server, viewer, browser, notified):
    open_entry(qtbot, browser, "99999")
    qtbot.waitUntil(lambda: len(notified) == 1, timeout=10_000)
    assert "EMPIAR-99999: the archive has no such entry" in notified[0]
    assert browser.form.status.text() == notified[0]
    assert not browser.form.lazy_button.isEnabled()

    open_entry(qtbot, browser, "apoferritin")
    qtbot.waitUntil(lambda: len(notified) == 2, timeout=10_000)
    assert "build the index first" in notified[1]

    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/empty")
    qtbot.mouseClick(browser.form.lazy_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(notified) == 3, timeout=10_000)
    assert "data/empty" in notified[2]

    server.inject(FailWith(503), times=None)
    browser.form.tree._nodes["data/micrographs"].setExpanded(True)
    qtbot.waitUntil(lambda: len(notified) == 4, timeout=10_000)
    assert "503" in notified[3]
    assert not browser.form.tree._nodes["data/micrographs"].isExpanded()

    # When the server is back, opening the folder asks again.
    server.faults.clear()
    browser.form.tree._nodes["data/micrographs"].setExpanded(True)
    qtbot.waitUntil(lambda: "data/micrographs/m000.mrc" in browser.form.tree._nodes, timeout=10_000)
    assert len(viewer.layers) == 0


def test_the_answer_for_an_earlier_entry_is_dropped(qtbot, server, browser, tmp_path):
    (tmp_path / "other").mkdir()
    server.add_entry(20002, tmp_path / "other")
    server.inject(Delay(0.8), pattern="*/entry/10017/", times=1)
    open_entry(qtbot, browser)
    open_entry(qtbot, browser, "20002")
    qtbot.waitUntil(lambda: browser.entry is not None, timeout=10_000)
    wait_idle(qtbot, browser)

    assert sum("/entry/" in r.path for r in server.requests) == 2
    assert browser.entry.number == 20002
    assert "EMPIAR-20002" in browser.form.card.text()


def test_the_window_stays_free_while_the_archive_is_slow(qtbot, server, browser):
    server.inject(Delay(1.0), times=None)
    beats = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start(10)
    open_entry(qtbot, browser)
    qtbot.waitUntil(lambda: "data" in browser.form.tree._nodes, timeout=10_000)  # two answers, 2 s
    timer.stop()

    assert beats[-1] - beats[0] > 1.5
    assert np.diff(beats).max() < 0.9  # a window that waits for an answer stands still for a whole second
    assert browser.form.busy.isVisible()  # the folder data is still on its way
    wait_idle(qtbot, browser)


def test_closing_the_dock_drops_what_was_under_way(qtbot, server, viewer, browser):
    open_entry(qtbot, browser)
    click_row(qtbot, browser, "data/micrographs")
    wait_idle(qtbot, browser)
    server.reset_counts()
    server.inject(Delay(0.5), times=None)
    qtbot.mouseClick(browser.form.lazy_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(server.requests), timeout=5_000)
    viewer.window.remove_dock_widget(browser)
    qtbot.waitUntil(lambda: browser._tasks.threads == 0, timeout=20_000)

    assert len(viewer.layers) == 0
    asked = len(server.requests)
    browser.open_entry(10017)
    assert browser._tasks.threads == 0 and len(server.requests) == asked


def test_background_loading_is_naparis_preference_and_only_the_user_switches_it(qtbot, browser):
    from napari.settings import get_settings

    experimental = get_settings().experimental
    assert browser.form.background.isChecked() == experimental.async_
    before = experimental.async_
    try:
        browser.form.background.click()
        assert experimental.async_ is (not before)
        experimental.async_ = before  # changed in napari's own preferences
        assert browser.form.background.isChecked() is before
        assert "window stays free" in browser.form.background.toolTip()
    finally:
        experimental.async_ = before


def test_closing_the_window_while_the_archive_is_slow_harms_nothing(qtbot, server, viewer, browser):
    server.inject(Delay(1.0), pattern="*/entry/*", times=None)
    open_entry(qtbot, browser)
    tasks = browser._tasks
    qtbot.waitUntil(lambda: bool(server.requests), timeout=5_000)
    viewer.close()
    qtbot.waitUntil(lambda: tasks.threads == 0, timeout=10_000)
    assert tasks.closed
    assert not any("/data/" in r.path for r in server.requests)
