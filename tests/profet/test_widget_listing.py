"""Given several ids in the fetch line or in a file, then all are fetched, with progress, and one can be chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_profet import Density, helix_bundle, mmcif, write_density
from napari_profet.databases import read_identifiers, split_identifiers


def content(size: int) -> bytes:
    """Text of a structure of three helices, ``size`` residues each."""
    structure = helix_bundle(size)
    return mmcif.compose(structure.name, structure.positions, structure.atoms, structure.header).encode()


@pytest.fixture
def bank(reachable: Any, tmp_path: Path) -> Any:
    """Two entries of the PDB, a prediction, and a map."""
    reachable.addresses_of = {name: reachable.add_pdb(name, content(size)) for name, size in (("1ABC", 8), ("2ABC", 6))}
    reachable.add_prediction("P01308", content(4))
    path = write_density(tmp_path / "emd_1234.map.gz", Density(np.ones((4, 5, 6), np.float32), 1.7, (0.0, 0.0, 0.0)))
    reachable.files["/emdb/EMD-1234/map/emd_1234.map.gz"] = path.read_bytes()
    return reachable


def rows(table: Any) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(2)] for row in range(table.rowCount())]


def fetch(qtbot: Any, widget: Any) -> None:
    qtbot.mouseClick(widget.fetching.fetch_button, Qt.MouseButton.LeftButton)


def open_row(qtbot: Any, table: Any, row: int) -> None:
    place = table.visualItemRect(table.item(row, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)


@pytest.mark.gui
def test_several_ids_are_fetched_and_each_can_be_chosen(docked: tuple[Any, Any, Any], qtbot: Any, bank: Any) -> None:
    viewer, _, widget = docked
    table = widget.fetching.table
    # Pasted from a column of a table.
    QApplication.clipboard().setText("1abc, P01308\nEMD-1234 9xyz;1abc")
    widget.fetching.identifier.paste()
    fetch(qtbot, widget)
    assert widget.jobs.cancel_button.isVisible() and not widget.fetching.fetch_button.isEnabled()
    qtbot.waitUntil(lambda: table.isVisible() and widget.jobs.job is None, timeout=20_000)
    assert rows(table) == [["1abc", "PDB"], ["P01308", "AlphaFold"], ["EMD-1234", "EMDB map"]]
    assert widget.fetching.about.text() == "3 of 4 ids"
    said = widget.jobs.status.text().splitlines()
    assert said[0] == "3 of 4 are fetched: double-click the one to open."
    assert said[1].startswith("9xyz: ") and len(viewer.layers) == 0

    # They are here: each opens without another request for its file.
    files = [address for address in bank.requests if "P01308" in address or address.endswith(".gz")]
    bank.requests.clear()
    for row, count in ((1, 60), (2, 0), (0, 120)):
        before = len(viewer.layers)
        open_row(qtbot, table, row)
        qtbot.waitUntil(lambda more=before: len(viewer.layers) > more and widget.jobs.job is None, timeout=20_000)
        layer = viewer.layers[-1]
        assert len(layer.data) == count if count else layer.data.shape == (4, 5, 6)
    again = set(bank.requests) & {bank.addresses_of["1ABC"], "/emdb/EMD-1234/map/emd_1234.map.gz"}
    assert files and not again


@pytest.mark.gui
def test_a_list_tells_how_far_it_is_and_can_be_cancelled(docked: tuple[Any, Any, Any], qtbot: Any, bank: Any) -> None:
    viewer, _, widget = docked
    bank.faults[bank.addresses_of["2ABC"]] = "hang"
    widget.fetching.identifier.setText("1abc 2abc")
    fetch(qtbot, widget)
    qtbot.waitUntil(lambda: widget.jobs.status.text() == "Fetching… 2 of 2: 2abc", timeout=10_000)
    assert (widget.jobs.bar.value(), widget.jobs.bar.maximum()) == (1, 2)
    qtbot.mouseClick(widget.jobs.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.jobs.status.text() == "Cancelled.", timeout=3_000)
    assert not widget.fetching.table.isVisible() and len(viewer.layers) == 0

    # What was fetched is kept.
    bank.faults.clear()
    bank.requests.clear()
    fetch(qtbot, widget)
    qtbot.waitUntil(lambda: widget.fetching.table.rowCount() == 2, timeout=20_000)
    assert bank.addresses_of["1ABC"] not in bank.requests and bank.addresses_of["2ABC"] in bank.requests


@pytest.mark.gui
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids.txt", "1abc 2abc # mine\nP01308\n"),
        ("ids.csv", "number,pdb\n1,1abc\n2,2abc\n3,P01308\n"),
        ("seqs.fasta", ">1ABC_1|Chain A\nMK\n>2abc_A\nMK\n>sp|P01308|INS_HUMAN insulin\nMALW\n"),
    ],
)
def test_a_file_of_ids(
    name: str, text: str, docked: tuple[Any, Any, Any], qtbot: Any, bank: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _, _, widget = docked
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / name), ""))
    qtbot.mouseClick(widget.fetching.list_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.fetching.table.rowCount() == 3, timeout=20_000)
    assert [row[1] for row in rows(widget.fetching.table)] == ["PDB", "PDB", "AlphaFold"]
    assert widget.fetching.about.text() == f"3 of 3 ids of {name}"


@pytest.mark.gui
def test_what_is_wrong_with_a_list_is_said_before_or_after(
    docked: tuple[Any, Any, Any], qtbot: Any, bank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, widget = docked

    def failed(words: str) -> None:
        seen = len(notification_manager.records)
        qtbot.waitUntil(lambda: words in widget.jobs.status.text() and widget.jobs.job is None, timeout=20_000)
        assert len(notification_manager.records) >= seen and not widget.fetching.table.isVisible()

    bank.requests.clear()
    widget.fetching.identifier.setText("1abc, what?, 2abc")
    fetch(qtbot, widget)
    failed("'what?' is neither a PDB id")
    (tmp_path / "ids.txt").write_text("1abc\nwhat?\n")
    widget.fetching.fetch_list(tmp_path / "ids.txt")
    failed("ids.txt: line 2")
    (tmp_path / "ids.txt").write_text("1abc\nP01308\n")
    qtbot.keyClicks(widget.fetching.database, "PDB")
    widget.fetching.fetch_list(tmp_path / "ids.txt")
    failed("'P01308' is not a PDB id")
    assert bank.requests == []
    widget.fetching.identifier.setText("8abc 9abc")
    fetch(qtbot, widget)
    failed("None of 2 ids could be fetched.")
    assert "9abc: " in widget.jobs.status.text()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1abc", ["1abc"]),
        (" 1abc,2abc;\n3abc\t1abc ", ["1abc", "2abc", "3abc"]),
        ("INS@Homo sapiens, 1abc", ["INS@Homo sapiens", "1abc"]),
        ("1abc\u20282abc", ["1abc", "2abc"]),
        (" , ", []),
    ],
)
def test_ids_between_commas_spaces_and_lines(text: str, found: list[str], tmp_path: Path) -> None:
    assert split_identifiers(text) == found
    (tmp_path / "ids.txt").write_text(text, encoding="utf-8")
    if found:
        assert read_identifiers(tmp_path / "ids.txt") == found
