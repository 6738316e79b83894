"""Given the docked widget, when the user types, clicks and closes, then layers appear, errors show, nothing hangs."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFileDialog

from napari_profet import Density, helix_bundle, write_density, write_structure

pytestmark = pytest.mark.gui


@pytest.fixture
def bank(reachable: Any, tmp_path: Path) -> Any:
    """One entry to find, 1ABC."""
    reachable.address = reachable.add_pdb(
        "1ABC", write_structure(tmp_path / "bundle.cif", helix_bundle(8)).read_bytes()
    )
    return reachable


def click(qtbot: Any, button: Any) -> None:
    assert button.isEnabled() and button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def type_and_fetch(qtbot: Any, widget: Any, identifier: str) -> None:
    widget.fetching.identifier.clear()
    qtbot.keyClicks(widget.fetching.identifier, identifier)
    click(qtbot, widget.fetching.fetch_button)


def downloads_under_way() -> bool:
    return any(thread.name == "profet-download" for thread in threading.enumerate())


def test_fetch_errors_and_files(
    docked: tuple[Any, Any, Any], qtbot: Any, bank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, _, widget = docked
    assert not widget.jobs.cancel_button.isVisible() and not widget.jobs.bar.isVisible()

    # An id that no database has.
    seen = len(notification_manager.records)
    type_and_fetch(qtbot, widget, "9xyz")
    assert widget.jobs.bar.isVisible() and not widget.fetching.fetch_button.isEnabled()
    qtbot.waitUntil(lambda: "check the id" in widget.jobs.status.text(), timeout=10_000)
    assert [record.message for record in list(notification_manager.records)[seen:]] == [widget.jobs.status.text()]
    assert len(viewer.layers) == 0 and widget.fetching.fetch_button.isEnabled() and not widget.jobs.bar.isVisible()

    # What is no id at all, and nothing.
    type_and_fetch(qtbot, widget, "what?")
    qtbot.waitUntil(lambda: "neither a PDB id" in widget.jobs.status.text(), timeout=10_000)
    type_and_fetch(qtbot, widget, " ")
    assert "Type an id" in widget.jobs.status.text()

    # A server that sends a page, and no mirror has it: nothing of it becomes a structure.
    bank.faults[bank.address] = "page"
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: widget.jobs.job is None, timeout=30_000)
    assert "1ABC" in widget.jobs.status.text() and len(viewer.layers) == 0
    del bank.faults[bank.address]
    bank.requests.clear()

    # A good id, coloured by chain.
    qtbot.keyClicks(widget.fetching.colour_by, "Chain")
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)
    layer = viewer.layers[0]
    assert layer.name == "helix-bundle" and len(layer.data) == 120 and viewer.dims.ndisplay == 3
    assert len(np.unique(layer.face_color, axis=0)) == 3
    assert "Ideal bundle" in widget.jobs.status.text() and "120 atoms" in widget.jobs.status.text()
    assert bank.requests.count(bank.address) == 1

    # A file, through the dialog; the view stays as the user left it.
    viewer.dims.ndisplay = 2
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "bundle.cif"), ""))
    click(qtbot, widget.fetching.open_button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=10_000)
    assert viewer.dims.ndisplay == 2
    (tmp_path / "page.cif").write_text("<html></html>")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "page.cif"), ""))
    click(qtbot, widget.fetching.open_button)
    qtbot.waitUntil(lambda: "page.cif: this is a web page" in widget.jobs.status.text(), timeout=10_000)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    click(qtbot, widget.fetching.open_button)
    assert len(viewer.layers) == 2 and widget.fetching.fetch_button.isEnabled()


def test_cancel_while_the_server_is_silent(docked: tuple[Any, Any, Any], qtbot: Any, bank: Any) -> None:
    viewer, _, widget = docked
    bank.faults[bank.address] = "hang"
    ticks: list[float] = []
    clock = QTimer()
    clock.timeout.connect(lambda: ticks.append(time.monotonic()))
    clock.start(10)
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: bank.address in bank.requests, timeout=10_000)
    first = len(ticks)
    qtbot.waitUntil(lambda: len(ticks) > first + 20, timeout=10_000)
    click(qtbot, widget.jobs.cancel_button)
    qtbot.waitUntil(lambda: widget.jobs.status.text() == "Cancelled.", timeout=2_000)
    clock.stop()
    assert len(viewer.layers) == 0

    # The widget is not spoilt by it.
    bank.faults.clear()
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)


@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closing_while_fetching(closed: str, docked: tuple[Any, Any, Any], qtbot: Any, bank: Any) -> None:
    from superqt.utils._qthreading import WorkerBase

    viewer, dock, widget = docked
    bank.faults[bank.address] = "hang"
    type_and_fetch(qtbot, widget, "1abc")
    qtbot.waitUntil(lambda: bank.address in bank.requests, timeout=10_000)
    if closed == "dock":
        dock.destroyOnClose()
    else:
        viewer.close()
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=3_000)
    if closed == "dock":
        assert len(viewer.layers) == 0 and widget.jobs.status.text() == "Cancelled."
    # Who hangs is let go.
    bank.closing.set()
    qtbot.waitUntil(lambda: not downloads_under_way(), timeout=5_000)


def test_a_protein_becomes_a_table_to_choose_from(docked: tuple[Any, Any, Any], qtbot: Any, bank: Any) -> None:
    viewer, _, widget = docked
    bank.add_protein("P01308", "INS_HUMAN")
    bank.add_prediction("P01308", write_structure_of(helix_bundle(8)))
    ranking = {"pdb_id": "1abc", "chain_id": "B", "experimental_method": "X-ray diffraction", "resolution": 1.8}
    ranking |= {"unp_start": 11, "unp_end": 30, "coverage": 0.5}
    bank.files["/pdbe/api/mappings/best_structures/P01308"] = json.dumps({"P01308": [ranking]}).encode()
    bank.files["/search"] = b""
    table = widget.fetching.table
    type_and_fetch(qtbot, widget, "INS@human")
    qtbot.waitUntil(lambda: table.isVisible() and table.rowCount() > 0, timeout=10_000)
    cells = [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount())]
    assert ["1ABC B", "X-ray", "1.80"] in cells and cells[0] == ["AF-F1", "pLDDT 83", ""]
    row = cells.index(["1ABC B", "X-ray", "1.80"])
    assert table.item(row, 3).toolTip() == "residues 11 to 30 of 40"
    assert (
        "double-click" in widget.jobs.status.text()
        and "INS_HUMAN: Insulin (Homo sapiens)" in widget.fetching.about.text()
    )
    assert len(viewer.layers) == 0, "nothing is chosen for the user"

    # The bar is painted where the residues are: from a quarter to three quarters.
    place = table.visualItemRect(table.item(row, 3))
    qtbot.wait(50)
    picture = table.viewport().grab(place).toImage()
    colours = [picture.pixelColor(round(x * picture.width()), picture.height() // 2).name() for x in (0.12, 0.5, 0.88)]
    assert colours[1] == "#56b4e9" and "#56b4e9" not in (colours[0], colours[2])

    first = table.visualItemRect(table.item(row, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=first)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=first)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)
    assert len(viewer.layers[0].data) == 120 and bank.address in bank.requests

    # The same with a server that is dead: a note, and what the other one has.
    bank.faults["/pdbe/api/mappings/best_structures/P01308"] = 500
    bank.faults["/api/prediction/P01308"] = "page"
    for file in Path(os.environ["PROFET_CACHE"]).rglob("*P01308*"):
        file.unlink()
    type_and_fetch(qtbot, widget, "P01308")
    qtbot.waitUntil(lambda: "AlphaFold DB was not asked" in widget.jobs.status.text(), timeout=20_000)
    assert "incomplete" in widget.jobs.status.text() and table.rowCount() == 0


def test_a_map_of_emdb_is_a_density(docked: tuple[Any, Any, Any], qtbot: Any, bank: Any, tmp_path: Path) -> None:
    viewer, _, widget = docked
    values = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    path = write_density(tmp_path / "emd_1234.map.gz", Density(values, 1.7, (1.0, 2.0, 3.0)))
    bank.files["/emdb/EMD-1234/map/emd_1234.map.gz"] = path.read_bytes()
    type_and_fetch(qtbot, widget, "EMD-1234")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)
    layer = viewer.layers[0]
    assert np.array_equal(layer.data, values) and layer.scale == pytest.approx((1.7,) * 3)
    assert layer.metadata["density"]["unit"] == "", "the units of such maps are arbitrary"
    assert "4 x 5 x 6 voxels of 1.7 Å" in widget.jobs.status.text()
    assert widget.density.density.layer == layer and widget.density.send_button.isEnabled()


def write_structure_of(structure: Any) -> bytes:
    """The text of its file."""
    from napari_profet import mmcif

    return mmcif.compose(structure.name, structure.positions, structure.atoms, structure.header).encode()
