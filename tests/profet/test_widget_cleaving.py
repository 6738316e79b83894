"""Given a structure in the window, when parts are ticked, then they are painted and counted, and go when asked to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.layers import Layer
from napari.utils.notifications import notification_manager
from npe2 import PluginManager
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import QFileDialog
from superqt.utils._qthreading import WorkerBase

from napari_profet import DensitySettings, Structure, density_from_structure, helix_bundle, read_structure
from napari_profet.cleave_plan import Reason
from napari_profet.density import Density
from napari_profet.layers_density import density_layer
from napari_profet.mmcif import compose
from napari_profet.palette import REASON_COLOURS, STAYS

pytestmark = pytest.mark.gui

# Two helices of 16 alanines with 5 atoms each: both are P12345, whose signal peptide is 1-4, though only of A the file
# says so; the last 3 of B are a tag; 7 waters.
SIGNAL, TAG, WATERS, ATOMS = 2 * 4 * 5, 3 * 5, 7, 2 * 16 * 5 + 7
REFERENCES = """
_struct_ref.id 1
_struct_ref.entity_id 1
_struct_ref.db_name UNP
_struct_ref.db_code MADE_UP
_struct_ref.pdbx_db_accession P12345
_struct_ref_seq.align_id 1
_struct_ref_seq.ref_id 1
_struct_ref_seq.pdbx_strand_id A
_struct_ref_seq.pdbx_db_accession P12345
_struct_ref_seq.seq_align_beg 1
_struct_ref_seq.seq_align_end 16
_struct_ref_seq.db_align_beg 1
_struct_ref_seq.db_align_end 16
loop_
_struct_ref_seq_dif.align_id
_struct_ref_seq_dif.pdbx_pdb_strand_id
_struct_ref_seq_dif.seq_num
_struct_ref_seq_dif.mon_id
_struct_ref_seq_dif.details
1 B 14 ALA 'expression tag'
2 B 15 ALA 'expression tag'
3 B 16 ALA 'expression tag'
"""


def specimen() -> Structure:
    bundle = helix_bundle(16, helices=2)
    water = pd.DataFrame(
        {"record": "HETATM", "element": ["O"] * WATERS, "atom_name": "O", "residue_name": "HOH", "label_chain": "W"}
    ).assign(chain="W", entity="2", entity_type="water", residue_number=range(1, WATERS + 1), b_factor=20.0)
    positions = np.concatenate([bundle.positions, np.arange(WATERS)[:, None] * (4.0, 0, 0) + (-12, 0, 9)])
    atoms = pd.concat([bundle.atoms.assign(b_factor=20.0), water], ignore_index=True)
    atoms["serial"] = np.arange(1, len(atoms) + 1)
    return Structure("1ABC", positions, atoms, bundle.header.replace("helix-bundle", "1ABC") + REFERENCES)


@pytest.fixture
def fetched(docked: tuple[Any, Any, Any], reachable: Any, qtbot: Any) -> tuple[Any, Any, Any]:
    """The viewer, the widget with 1ABC in it, and the databank; one click."""
    viewer, _, widget = docked
    made = specimen()
    reachable.add_pdb("1ABC", compose(made.name, made.positions, made.atoms, made.header).encode())
    signal = {"type": "Signal", "location": {"start": {"value": 1}, "end": {"value": 4}}}
    reachable.add_protein("P12345", "MADE_UP", features=[signal], sequence={"value": "A" * 16})
    qtbot.keyClicks(widget.fetching.identifier, "1abc")
    click(qtbot, widget.fetching.fetch_button)
    settled(qtbot, widget, lambda: len(viewer.layers) == 1)
    return viewer, widget, reachable


def click(qtbot: Any, button: Any) -> None:
    assert button.isEnabled(), button.text()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def tick(qtbot: Any, widget: Any, label: str) -> None:
    """Click the box before a line of the tree."""
    tree = widget.cleaving.tree
    item = tree.item_of(label)
    tree.scrollToItem(item)
    place = tree.visualItemRect(item)
    before = item.checkState(0)
    qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(place.left() + 8, place.center().y()))
    assert item.checkState(0) != before


def settled(qtbot: Any, widget: Any, seen: Any) -> None:
    """Wait until something is seen and no job runs any more."""
    qtbot.waitUntil(lambda: widget.jobs.job is None and seen(), timeout=60_000)


def colours_of(layer: Any) -> list[str]:
    return ["#" + "".join(f"{round(255 * share):02x}" for share in row[:3]) for row in layer.face_color]


def test_from_an_id_to_a_density_within_ten_clicks(fetched: tuple[Any, Any, Any], qtbot: Any) -> None:
    viewer, widget, bank = fetched
    layer, cleaving = viewer.layers[0], widget.cleaving
    own = layer.face_color.copy()
    assert cleaving.accessions.text() == "P12345" and "SIFTS" in widget.jobs.status.text()

    # Clicks 2 to 4: what goes is painted and counted; no atom is touched.
    for label in ("Signal peptide", "Expression tag", "Waters"):
        tick(qtbot, widget, label)
    qtbot.waitUntil(lambda: "water" in cleaving.legend.text(), timeout=20_000)
    told = cleaving.legend.text()
    for line in (
        f"signal peptide: 8 residues, {SIGNAL} atoms",
        f"expression tag: 3 residues, {TAG} atoms",
        f"water: 7 residues, {WATERS} atoms",
        f"stays: {ATOMS - SIGNAL - TAG - WATERS} atoms",
    ):
        assert line in told, told
    painted = colours_of(layer)
    expected = [STAYS] * ATOMS
    expected[:20] = expected[80:100] = [REASON_COLOURS[Reason.SIGNAL]] * 20
    expected[160 - TAG : 160] = [REASON_COLOURS[Reason.TAG]] * TAG
    expected[160:] = [REASON_COLOURS[Reason.WATER]] * WATERS
    assert painted == expected
    assert len(layer.data) == ATOMS

    # A tick taken back.
    tick(qtbot, widget, "Expression tag")
    qtbot.waitUntil(lambda: "expression" not in cleaving.legend.text(), timeout=20_000)
    assert colours_of(layer)[160 - TAG : 160] == [STAYS] * TAG
    tick(qtbot, widget, "Expression tag")

    # Click 7: a new layer; the one before it is hidden, whole, and in its own colours.
    click(qtbot, cleaving.cleave_button)
    settled(qtbot, widget, lambda: len(viewer.layers) == 2)
    new = viewer.layers[1]
    left = np.flatnonzero([colour == STAYS for colour in expected])
    assert new.name == "1ABC cleaved" and np.allclose(new.data, layer.data[left])
    assert list(new.features["label_residue_number"][:1]) == [1], "the sequence is shorter, too"
    assert not layer.visible and len(layer.data) == ATOMS and np.array_equal(layer.face_color, own)
    assert cleaving.structure.layer == new
    assert f"1ABC cleaved: {ATOMS - len(left)} of the {ATOMS} atoms of 1ABC are gone" in widget.jobs.status.text()

    # Click 8: the density, in volts, in its place.
    widget.density.voxel_size.setValue(2.0)
    click(qtbot, widget.density.make_button)
    settled(qtbot, widget, lambda: len(viewer.layers) == 3)
    image = viewer.layers[2]
    assert image.name == "1ABC cleaved density" and image.metadata["density"]["unit"] == "V"
    assert tuple(image.scale) == (2.0, 2.0, 2.0) and image.units[0] == "angstrom"
    made = specimen().select(np.isin(np.arange(ATOMS), left))
    alike = density_from_structure(made, DensitySettings(2.0))
    assert np.allclose(image.data, alike.data, atol=1e-4)
    assert image.translate == pytest.approx(alike.origin)

    # Clicks 9 and 10: its surface, and the trace.
    click(qtbot, widget.density.surface_button)
    settled(qtbot, widget, lambda: len(viewer.layers) == 4)
    click(qtbot, widget.density.trace_button)
    settled(qtbot, widget, lambda: len(viewer.layers) == 5)
    surface, trace = viewer.layers[3], viewer.layers[4]
    assert type(surface).__name__ == "Surface" and type(trace).__name__ == "Vectors"
    assert len(trace.data) == (12 - 1) + (9 - 1)
    # Another level takes the place of the surface.
    widget.density.level.setValue(widget.density.level.value() + 1)
    click(qtbot, widget.density.surface_button)
    settled(qtbot, widget, lambda: "triangles" in widget.jobs.status.text() and len(viewer.layers) == 5)
    assert surface not in viewer.layers

    # Back.
    click(qtbot, cleaving.undo_button)
    assert new not in viewer.layers and layer.visible and cleaving.structure.layer == layer


def test_what_is_typed_in_and_what_is_wrong_with_it(fetched: tuple[Any, Any, Any], qtbot: Any) -> None:
    viewer, widget, bank = fetched
    cleaving = widget.cleaving
    qtbot.keyClicks(cleaving.ranges, "B:1-")
    assert "'B:1-' is no residue range" in cleaving.notes.text()
    qtbot.keyClicks(cleaving.ranges, "2")
    qtbot.waitUntil(lambda: "residue range: 2 residues, 10 atoms" in cleaving.legend.text(), timeout=20_000)
    qtbot.keyClicks(cleaving.selection, "nonsense[[")
    qtbot.waitUntil(lambda: "is not understood" in cleaving.notes.text(), timeout=20_000)
    assert not cleaving.legend.text() and STAYS not in colours_of(viewer.layers[0])
    cleaving.selection.clear()
    cleaving.ranges.clear()
    assert not cleaving.notes.text()

    # Nothing ticked; everything ticked.
    click(qtbot, cleaving.cleave_button)
    assert "tick what shall go" in widget.jobs.status.text()
    for label in ("A: polymer", "B: polymer", "W: HOH"):
        tick(qtbot, widget, label)
    click(qtbot, cleaving.cleave_button)
    settled(qtbot, widget, lambda: "all its 167 atoms would go" in widget.jobs.status.text())
    assert len(viewer.layers) == 1

    # UniProt does not know one, and its server is dead for the other.
    bank.faults["/uniprot/uniprotkb/P12346.json"] = "page"
    cleaving.accessions.setText("P12345, Q99999, P12346")
    click(qtbot, cleaving.features_button)
    settled(qtbot, widget, lambda: widget.jobs.status.text() == "UniProt has P12345.")
    assert "no features of Q99999" in cleaving.notes.text() and "no features of P12346" in cleaving.notes.text()


def test_a_file_is_looked_into_without_asking_anybody(
    docked: tuple[Any, Any, Any], reachable: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, _, widget = docked
    made = specimen()
    path = tmp_path / "made.cif"
    path.write_text(compose(made.name, made.positions, made.atoms, made.header))
    # By napari, past the widget.
    viewer.open(path, plugin="napari-profet")
    qtbot.waitUntil(lambda: widget.cleaving.accessions.text() == "P12345", timeout=20_000)
    assert widget.cleaving.tree.item_of("Expression tag").text(2) == str(TAG)
    with pytest.raises(KeyError):
        widget.cleaving.tree.item_of("Signal peptide")
    assert reachable.requests == []

    # Hidden atoms are not there: not counted, not painted, not written.
    layer = viewer.layers[0]
    shown = np.ones(ATOMS, dtype=bool)
    shown[:5] = False
    layer.shown = shown
    tick(qtbot, widget, "A: polymer")
    qtbot.waitUntil(lambda: "chain: 16 residues, 75 atoms" in widget.cleaving.legend.text(), timeout=20_000)
    assert colours_of(layer)[5:80] == [REASON_COLOURS[Reason.CHAIN]] * 75
    for name in ("out.cif", "out.pdb"):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, name=name: (str(tmp_path / name), ""))
        click(qtbot, widget.cleaving.save_button)
        settled(qtbot, widget, lambda name=name: widget.jobs.status.text() == f"{tmp_path / name} is written.")
        assert len(read_structure(tmp_path / name)) == ATOMS - 5
    # What a preview painted is gone with the widget's dock.
    own = layer.face_color.copy()
    viewer.window.remove_dock_widget("all")
    assert STAYS in colours_of_array(own) and STAYS not in colours_of(layer)


def colours_of_array(colours: np.ndarray) -> list[str]:
    return ["#" + "".join(f"{round(255 * share):02x}" for share in row[:3]) for row in colours]


def test_a_density_is_cancelled_and_the_window_stays_awake(fetched: tuple[Any, Any, Any], qtbot: Any) -> None:
    viewer, widget, _ = fetched
    section = widget.density
    section.voxel_size.setValue(0.25)
    ticks: list[float] = []
    clock = QTimer()
    clock.timeout.connect(lambda: ticks.append(time.monotonic()))
    clock.start(10)
    click(qtbot, section.make_button)
    assert not section.make_button.isEnabled() and not widget.cleaving.cleave_button.isEnabled()
    qtbot.waitUntil(lambda: "potential of the atoms" in widget.jobs.status.text(), timeout=60_000)
    first = len(ticks)
    qtbot.waitUntil(lambda: len(ticks) > first + 20, timeout=10_000)
    click(qtbot, widget.jobs.cancel_button)
    settled(qtbot, widget, lambda: widget.jobs.status.text() == "Cancelled.")
    clock.stop()
    assert len(viewer.layers) == 1 and section.make_button.isEnabled()

    # What cannot be made says why, and what to do.
    seen = len(notification_manager.records)
    section.resolution.setValue(0.3)
    click(qtbot, section.make_button)
    assert "needs voxels of at most 0.15" in widget.jobs.status.text()
    section.resolution.setValue(0)
    section.voxel_size.setValue(0.2)
    viewer.layers[0].data = viewer.layers[0].data * 10
    click(qtbot, section.make_button)
    settled(qtbot, widget, lambda: "too many (512)" in widget.jobs.status.text())
    assert len(notification_manager.records) == seen + 2


def test_a_density_goes_to_the_simulator_or_the_way_there_is_told(
    docked: tuple[Any, Any, Any], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, _, widget = docked
    widget.density.send()
    assert "Make or open a density first" in widget.jobs.status.text()
    axis = np.arange(32) - 16
    ball = (6.0 - np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)).clip(0).astype(np.float32)
    made = Density(ball, 3.0, (0.0, 0.0, 0.0), "V", "ball")
    # A stack of micrographs is no density.
    viewer.add_image(np.zeros((3, 8, 8), dtype=np.float32), scale=(1, 2, 2), metadata={"micrographs": ["a", "b", "c"]})
    viewer.add_image(np.zeros((4, 8, 8), dtype=np.float32), scale=(1, 2, 2))
    assert widget.density.density.layer is None and not widget.density.send_button.isEnabled()
    layer = viewer.add_layer(Layer.create(*density_layer(made)))

    # As if napari-caked were not there, or one of before it had a simulator.
    with monkeypatch.context() as without:
        promised = PluginManager.instance().get_manifest("napari-caked").contributions
        without.setattr(promised, "widgets", [])
        click(qtbot, widget.density.send_button)
    assert "pip install --upgrade napari-caked" in widget.jobs.status.text()

    click(qtbot, widget.density.send_button)
    assert widget.jobs.status.text() == "ball is in the simulator."
    _, simulator = viewer.window.add_plugin_dock_widget("napari-caked", "Simulate micrographs")
    assert simulator.form.density.layer == layer
    # A second time it is the same window.
    docks = len(viewer.window.dock_widgets)
    click(qtbot, widget.density.send_button)
    assert len(viewer.window.dock_widgets) == docks


@pytest.mark.parametrize("closed", ["dock", "viewer"])
def test_closing_ends_the_computation(closed: str, fetched: tuple[Any, Any, Any], qtbot: Any) -> None:
    viewer, widget, _ = fetched
    layer = viewer.layers[0]
    own = layer.face_color.copy()
    tick(qtbot, widget, "Waters")
    qtbot.waitUntil(lambda: "water" in widget.cleaving.legend.text(), timeout=20_000)
    widget.density.voxel_size.setValue(0.25)
    click(qtbot, widget.density.make_button)
    qtbot.waitUntil(lambda: "potential of the atoms" in widget.jobs.status.text(), timeout=60_000)
    if closed == "dock":
        viewer.window.remove_dock_widget("all")
    else:
        viewer.close()
    # The worker waits for the process, so both are gone.
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=10_000)
    if closed == "dock":
        assert np.array_equal(layer.face_color, own) and len(viewer.layers) == 1
        # What happens to layers afterwards concerns the widget no more.
        viewer.layers.clear()
