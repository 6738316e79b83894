"""Downloading from the browser: plan, start, stop, resume, and what is said about it; by clicks."""

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_empiarreader.archive import Archive, Entry, Item
from napari_empiarreader.archive.faults import Delay, FailWith
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.micrographs import write_mrc

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
COUNT = 12
FOLDER = Item("micrographs", "data/micrographs", is_folder=True)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "archive" / "10017" / "data" / "micrographs"
    folder.mkdir(parents=True)
    for i in range(COUNT):
        image = np.random.default_rng(i).normal(size=(64, 64)).astype(np.float32)
        write_mrc(folder / f"m{i:02d}.mrc", image, pixel_size=1.5)
    (folder / "particles.star").write_text("data_\n")
    (tmp_path / "archive" / "10017" / "entry.json").write_text('{"title": "t"}')
    with LoopbackArchive(tmp_path / "archive") as server:
        yield server


@pytest.fixture
def told(monkeypatch):
    told = []
    monkeypatch.setattr("napari_empiarreader.widgets._telling.show_error", told.append)
    return told


@pytest.fixture
def dialog(qtbot, server, tmp_path, told):
    return make_dialog(qtbot, server, tmp_path, [FOLDER])


def make_dialog(qtbot, server, tmp_path, selected, pattern=""):
    from napari_empiarreader.widgets._download_dialog import DownloadDialog

    archive = Archive(replace(server.settings, timeout=5.0, retries=1, backoff=0.01, connections=2))
    dialog = DownloadDialog(None, archive, Entry(10017), selected, pattern)
    qtbot.addWidget(dialog)
    dialog.folder.setText(str(tmp_path / "copies"))
    dialog.show()
    wait_plan(qtbot, dialog)
    return dialog


def wait_plan(qtbot, dialog):
    qtbot.waitUntil(
        lambda: not dialog._settled.isActive() and dialog._planning not in dialog._tasks.running, timeout=10_000
    )


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def total(server, pattern="*"):
    return sum(f.stat().st_size for f in (server.root / "10017" / "data" / "micrographs").glob(pattern))


def test_the_plan_says_exactly_how_much_it_is_and_the_files_arrive(qtbot, server, dialog, tmp_path, told):
    assert dialog.plan.is_exact and dialog.plan.total_bytes == total(server)
    assert f"{COUNT + 1} files" in dialog.about.text() and "Free there" in dialog.about.text()
    assert not (tmp_path / "copies").exists()

    qtbot.mouseClick(dialog.start_button, LEFT)
    qtbot.waitUntil(lambda: dialog.outcome is not None, timeout=20_000)
    assert dialog.outcome.is_complete
    folder = tmp_path / "copies" / "10017" / "data" / "micrographs"
    for file in folder.iterdir():
        assert file.read_bytes() == (server.root / "10017" / "data" / "micrographs" / file.name).read_bytes()
    assert len(files_in(folder)) == COUNT + 1
    assert "13 files fetched" in dialog.rate.text() and "done" in dialog.details.toPlainText()
    assert told == []


def test_a_download_that_is_cancelled_goes_on_where_it_was(qtbot, server, dialog, tmp_path, told):
    server.inject(Delay(0.15), pattern="*.mrc", times=None)
    qtbot.mouseClick(dialog.start_button, LEFT)
    assert not dialog.folder.isEnabled()
    qtbot.waitUntil(lambda: dialog._state is not None and dialog._state.files_done >= 2, timeout=20_000)
    qtbot.mouseClick(dialog.cancel_button, LEFT)
    qtbot.waitUntil(lambda: dialog.outcome is not None, timeout=20_000)

    first = dialog.outcome
    assert first.was_stopped and first.left and "Stopped" in dialog.rate.text()
    assert dialog.start_button.text() == "Resume"
    wait_plan(qtbot, dialog)
    qtbot.waitUntil(lambda: dialog._tasks.threads == 0, timeout=10_000)
    server.faults.clear()
    server.reset_counts()
    dialog.outcome = None
    qtbot.mouseClick(dialog.start_button, LEFT)
    qtbot.waitUntil(lambda: dialog.outcome is not None, timeout=20_000)

    assert dialog.outcome.is_complete and dialog.start_button.text() == "Download"
    assert len(first.done) + len(dialog.outcome.done) == COUNT + 1
    folder = tmp_path / "copies" / "10017" / "data" / "micrographs"
    assert sum(f.stat().st_size for f in folder.iterdir()) == total(server)
    moved = [r for r in server.requests if r.method == "GET" and r.path.endswith((".mrc", ".star"))]
    assert len(moved) <= COUNT + 1 - len(first.done) + 2


def test_what_fails_is_named_and_the_rest_arrives(qtbot, server, dialog, tmp_path, told):
    server.inject(FailWith(404), pattern="*m03.mrc", times=None)
    qtbot.mouseClick(dialog.start_button, LEFT)
    qtbot.waitUntil(lambda: dialog.outcome is not None, timeout=20_000)
    assert "1 failed" in dialog.rate.text()
    assert "FAILED" in dialog.details.toPlainText() and "m03.mrc" in dialog.details.toPlainText()
    assert len(files_in(tmp_path / "copies" / "10017" / "data" / "micrographs")) == COUNT


def test_only_what_is_wanted_is_planned(qtbot, server, dialog, told, tmp_path):
    dialog.only_metadata.click()
    wait_plan(qtbot, dialog)
    assert [each.file.name for each in dialog.plan.files] == ["particles.star"]
    dialog.only_metadata.click()
    dialog.budget.setDecimals(9)  # these files are smaller than anybody's budget
    dialog.budget.setValue(total(server, "m00.mrc") * 3.5 / 1e9)
    wait_plan(qtbot, dialog)
    assert dialog.plan.total_bytes <= total(server, "m00.mrc") * 3.5
    assert "left out by the budget" in dialog.about.text()

    filtered = make_dialog(qtbot, server, tmp_path, [FOLDER], "m0*.mrc *.star")
    assert len(filtered.plan.files) == 11


def test_more_than_the_archive_wants_over_https_comes_with_commands(qtbot, server, dialog, monkeypatch, told):
    monkeypatch.setattr("napari_empiarreader.archive._planning.HTTPS_BUDGET_BYTES", 1000)
    dialog.make_plan()
    wait_plan(qtbot, dialog)
    assert "Globus or Aspera" in dialog.about.text()
    assert dialog.commands.isVisible() and "globus" in dialog.commands.toPlainText()
    qtbot.mouseClick(dialog.copy_button, LEFT)
    from qtpy.QtGui import QGuiApplication

    assert "ascp" in QGuiApplication.clipboard().text()


def test_closing_the_dialog_ends_the_download(qtbot, server, dialog, told):
    server.inject(Delay(0.3), pattern="*.mrc", times=None)
    qtbot.mouseClick(dialog.start_button, LEFT)
    qtbot.waitUntil(lambda: dialog._state is not None, timeout=20_000)
    tasks = dialog._tasks
    dialog.close()
    qtbot.waitUntil(lambda: tasks.threads == 0, timeout=10_000)
    asked = len(server.requests)
    assert asked < 3 * COUNT and dialog.outcome is None and told == []


def test_a_server_that_is_down_is_said_in_the_dialog(qtbot, server, tmp_path, told):
    server.inject(FailWith(503), times=None)
    dialog = make_dialog(qtbot, server, tmp_path, [FOLDER])
    qtbot.waitUntil(lambda: bool(told), timeout=10_000)
    assert "503" in dialog.about.text() and not dialog.start_button.isEnabled()
