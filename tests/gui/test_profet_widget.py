"""Given the docked widget, when the user types, clicks and closes, then layers appear, errors show, nothing hangs."""

from __future__ import annotations

import runpy
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog

from napari_profet import helix_bundle, write_structure

pytestmark = pytest.mark.gui

Databank = runpy.run_path(str(Path(__file__).parents[1] / "profet" / "databank.py"))["Databank"]


@pytest.fixture
def databank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """One entry to find, 1ABC; the widget asks no other server."""
    bank = Databank()
    for name, value in bank.addresses.items():
        if name != "emdb_urls":
            monkeypatch.setenv(f"PROFET_{name.upper()}", value)
    monkeypatch.setenv("PROFET_EMDB_URL", " ".join(bank.addresses["emdb_urls"]))
    monkeypatch.setenv("PROFET_CACHE", str(tmp_path / "cache"))
    bank.address = bank.add_pdb("1ABC", write_structure(tmp_path / "bundle.cif", helix_bundle(8)).read_bytes())
    yield bank
    bank.close()


@pytest.fixture
def docked(make_napari_viewer: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """The viewer, the dock and the widget, as the menu would open them."""
    viewer = make_napari_viewer(show=True)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-profet", "Fetch structure")
    return viewer, dock, widget


def click(qtbot: Any, button: Any) -> None:
    assert button.isEnabled() and button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def type_and_fetch(qtbot: Any, widget: Any, identifier: str) -> None:
    widget.identifier.clear()
    qtbot.keyClicks(widget.identifier, identifier)
    click(qtbot, widget.fetch_button)


def downloads_under_way() -> bool:
    return any(thread.name == "profet-download" for thread in threading.enumerate())


def test_fetch_errors_and_files(
    docked: tuple[Any, Any, Any], qtbot: Any, databank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, _, widget = docked
    assert not widget.cancel_button.isEnabled() and not widget.bar.isVisible()

    # An id that no database has.
    seen = len(notification_manager.records)
    type_and_fetch(qtbot, widget, "9xyz")
    assert widget.bar.isVisible() and not widget.fetch_button.isEnabled()
    qtbot.waitUntil(lambda: "check the id" in widget.status.text(), timeout=10_000)
    assert [record.message for record in list(notification_manager.records)[seen:]] == [widget.status.text()]
    assert len(viewer.layers) == 0 and widget.fetch_button.isEnabled() and not widget.bar.isVisible()

    # What is no id at all, and nothing.
    type_and_fetch(qtbot, widget, "what?")
    qtbot.waitUntil(lambda: "neither a PDB id" in widget.status.text(), timeout=10_000)
    type_and_fetch(qtbot, widget, " ")
    assert "Type an id" in widget.status.text()

    # A good id, coloured by chain.
    qtbot.keyClicks(widget.colour_by, "Chain")
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)
    layer = viewer.layers[0]
    assert layer.name == "helix-bundle" and len(layer.data) == 120 and viewer.dims.ndisplay == 3
    assert len(np.unique(layer.face_color, axis=0)) == 3
    assert "Ideal bundle" in widget.status.text() and "120 atoms" in widget.status.text()
    assert databank.requests.count(databank.address) == 1

    # A file, through the dialog; the view stays as the user left it.
    viewer.dims.ndisplay = 2
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "bundle.cif"), ""))
    click(qtbot, widget.open_button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=10_000)
    assert viewer.dims.ndisplay == 2
    (tmp_path / "page.cif").write_text("<html></html>")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "page.cif"), ""))
    click(qtbot, widget.open_button)
    qtbot.waitUntil(lambda: "page.cif: this is a web page" in widget.status.text(), timeout=10_000)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    click(qtbot, widget.open_button)
    assert len(viewer.layers) == 2 and widget.fetch_button.isEnabled()


def test_cancel_while_the_server_is_silent(docked: tuple[Any, Any, Any], qtbot: Any, databank: Any) -> None:
    viewer, _, widget = docked
    databank.faults[databank.address] = "hang"
    ticks: list[float] = []
    clock = QTimer()
    clock.timeout.connect(lambda: ticks.append(time.monotonic()))
    clock.start(10)
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: databank.address in databank.requests, timeout=10_000)
    first = len(ticks)
    qtbot.waitUntil(lambda: len(ticks) > first + 20, timeout=10_000)
    click(qtbot, widget.cancel_button)
    qtbot.waitUntil(lambda: widget.status.text() == "Cancelled.", timeout=2_000)
    clock.stop()
    assert len(viewer.layers) == 0

    # The widget is not spoilt by it.
    databank.faults.clear()
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)


@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closing_while_fetching(closed: str, docked: tuple[Any, Any, Any], qtbot: Any, databank: Any) -> None:
    from superqt.utils._qthreading import WorkerBase

    viewer, dock, widget = docked
    databank.faults[databank.address] = "hang"
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: databank.address in databank.requests, timeout=10_000)
    if closed == "dock":
        dock.destroyOnClose()
    else:
        viewer.close()
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=3_000)
    if closed == "dock":
        assert len(viewer.layers) == 0 and widget.status.text() == "Cancelled."
    databank.close()
    qtbot.waitUntil(lambda: not downloads_under_way(), timeout=5_000)
