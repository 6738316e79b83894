"""Given a prediction and its aligned errors, when the mouse points at a pair of residues, then both are marked."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Layer
from npe2 import PluginManifest
from qtpy.QtCore import QPoint, Qt

from napari_profet import Structure, helix_bundle
from napari_profet._reader import get_reader
from napari_profet.layers_pairs import PAIR_COLOURS, link_pairs, residue_rows
from napari_profet.layers_sequence import sequence_layer
from napari_profet.mmcif import compose
from napari_profet.sequence import SequenceRecord

COUNT = 12
ERRORS = (np.arange(COUNT**2).reshape(COUNT, COUNT) % 31).astype(float)


def prediction() -> Structure:
    helix = helix_bundle(COUNT, helices=1)
    header = helix.header.replace("helix-bundle", "AF-P01308-F1") + "_ma_qa_metric.name pLDDT\n"
    return Structure("AF-P01308-F1", helix.positions, helix.atoms.assign(b_factor=91.0), header)


def canvas_point(viewer: Any, canvas: Any, layer: Any, place: tuple[float, float]) -> QPoint:
    """Where a pixel of a layer of two dimensions is painted, seen straight along z as in the first view."""
    camera = getattr(viewer, "scene", viewer).camera
    y, x = (np.array(layer.data_to_world(place)) - camera.center[-2:]) * camera.zoom
    return QPoint(round(canvas.width() / 2 + x), round(canvas.height() / 2 + y))


def marked(structure: Any) -> dict[int, list[int]]:
    """Rows in the colour of the first and of the second residue of a pair."""
    rows = {n: np.flatnonzero((structure.face_color == colour).all(axis=1)) for n, colour in enumerate(PAIR_COLOURS)}
    return {n: found.tolist() for n, found in rows.items() if len(found)}


def overlaid(viewer: Any) -> str | None:
    """Text over the canvas, if it is seen."""
    overlay = viewer.canvas.overlays.text if hasattr(viewer, "canvas") else viewer.text_overlay
    return overlay.text if overlay.visible else None


@pytest.mark.gui
def test_pointing_at_a_pair_marks_it(
    docked: tuple[Any, Any, Any], reachable: Any, qtbot: Any, canvas_widget: Any
) -> None:
    viewer, _, widget = docked
    model = prediction()
    reachable.add_prediction("P01308", compose(model.name, model.positions, model.atoms, model.header).encode())
    told = [{"predicted_aligned_error": ERRORS.tolist(), "max_predicted_aligned_error": 31.75}]
    reachable.files["/moved/v99/P01308-pae.json"] = json.dumps(told).encode()
    qtbot.keyClicks(widget.fetching.identifier, "AF-P01308-F1")
    qtbot.mouseClick(widget.fetching.fetch_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.jobs.job is None and len(viewer.layers) == 1, timeout=30_000)
    button = widget.cleaving.errors_button
    assert button.isVisibleTo(widget) and widget.cleaving.plddt.isVisibleTo(widget)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.jobs.job is None and len(viewer.layers) == 2, timeout=30_000)
    structure, errors = viewer.layers
    colours, sizes = structure.face_color.copy(), structure.size.copy()
    # Beside the structure, not on it.
    assert errors.extent.world[0][-1] > structure.extent.world[1][-1]
    assert errors.metadata["residues"][4] == {"chain": "A", "number": 5, "name": "ALA"}

    viewer.reset_view()
    canvas = canvas_widget(viewer)
    qtbot.wait(100)
    place = canvas_point(viewer, canvas, errors, (4, 9))
    qtbot.mouseMove(canvas, place)
    qtbot.waitUntil(lambda: marked(structure) != {}, timeout=5_000)
    assert marked(structure) == {0: list(range(20, 25)), 1: list(range(45, 50))}
    assert structure.size[20] > 1.5 * sizes[20] and structure.size[0] == sizes[0]
    assert widget.jobs.status.text() == f"seen from ALA A 5, ALA A 10 may be {ERRORS[4, 9]:.1f} Å off"
    # A click keeps them; the next one lets go.
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseMove(canvas, QPoint(5, 5))
    qtbot.wait(50)
    assert len(marked(structure)) == 2
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseMove(canvas, QPoint(9, 9))
    qtbot.waitUntil(lambda: marked(structure) == {}, timeout=5_000)
    assert np.array_equal(structure.face_color, colours) and np.array_equal(structure.size, sizes)

    # The link does not end with the dock, but with the layers.
    before = widget.jobs.status.text()
    viewer.window.remove_dock_widget("all")
    qtbot.waitUntil(lambda: canvas.width() > 0, timeout=1_000)
    qtbot.wait(100)
    place = canvas_point(viewer, canvas, errors, (4, 9))
    qtbot.mouseMove(canvas, place)
    qtbot.waitUntil(lambda: marked(structure) == {0: list(range(20, 25)), 1: list(range(45, 50))}, timeout=5_000)
    assert (
        viewer.text_overlay.visible
        and viewer.text_overlay.text == f"seen from ALA A 5, ALA A 10 may be {ERRORS[4, 9]:.1f} Å off"
    )
    assert widget.jobs.status.text() in (before, "Cancelled."), "a closed widget is told nothing"
    viewer.layers.remove(errors)
    qtbot.mouseMove(canvas, QPoint(9, 9))
    qtbot.waitUntil(lambda: marked(structure) == {}, timeout=5_000)
    assert overlaid(viewer) is None


@pytest.mark.gui
@pytest.mark.parametrize("first", ["structure", "errors"])
def test_files_alone_are_linked_without_a_widget(
    first: str, make_napari_viewer: Any, qtbot: Any, canvas_widget: Any, tmp_path: Path
) -> None:
    model = prediction()
    files = {"structure": tmp_path / "AF-P01308-F1.cif", "errors": tmp_path / "P01308-pae.json"}
    files["structure"].write_text(compose(model.name, model.positions, model.atoms, model.header))
    files["errors"].write_text(
        json.dumps({"predicted_aligned_error": ERRORS.tolist(), "max_predicted_aligned_error": 31.75})
    )
    viewer = make_napari_viewer(show=True)
    for what in (first, *(set(files) - {first})):
        viewer.open(files[what], plugin="napari-profet")
    structure, errors = sorted(viewer.layers, key=lambda layer: isinstance(layer, Image))
    if first == "structure":
        assert errors.extent.world[0][-1] > structure.extent.world[1][-1], "beside the structure, not on it"
    else:
        errors.translate = (0, structure.extent.world[1][-1] + 5)
    assert link_pairs(viewer) is link_pairs(viewer)
    assert len(viewer.mouse_move_callbacks) == 1

    viewer.reset_view()
    canvas = canvas_widget(viewer)
    qtbot.wait(100)
    place = canvas_point(viewer, canvas, errors, (2, 7))
    qtbot.mouseMove(canvas, place)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: marked(structure) == {0: list(range(10, 15)), 1: list(range(35, 40))}, timeout=5_000)
    assert (
        viewer.text_overlay.visible
        and viewer.text_overlay.text == f"seen from ALA A 3, ALA A 8 may be {ERRORS[2, 7]:.1f} Å off"
    )
    # A click keeps them, also while the mouse is elsewhere.
    qtbot.mouseMove(canvas, QPoint(5, 5))
    qtbot.wait(50)
    assert len(marked(structure)) == 2
    viewer.layers.remove(structure)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseMove(canvas, place + QPoint(1, 1))
    qtbot.wait(50)
    assert len(viewer.layers) == 1


def test_residues_are_those_of_the_first_model_without_water() -> None:
    helix = helix_bundle(4, helices=1)
    twice = np.concatenate([np.arange(20), np.arange(20), [0]])
    atoms = helix.atoms.iloc[twice].reset_index(drop=True)
    atoms["model"] = [1] * 20 + [2] * 20 + [1]
    atoms.loc[40, ["chain", "entity_type"]] = ["W", "water"]
    layer = Layer.create(np.zeros((41, 3)), {"features": atoms}, "points")
    found = [rows.tolist() for rows in residue_rows(layer)]
    assert found == [list(range(first, first + 5)) for first in range(0, 20, 5)]


def test_sequences_are_read_like_a_text(tmp_path: Path) -> None:
    path = tmp_path / "two.fasta"
    path.write_text(f">sp|P1|ONE first\n{'A' * 60}KX\n>two\nDE\n")
    reader = get_reader(str(path))
    assert reader is not None
    layer = Layer.create(*reader(str(path))[0])
    assert layer.name == "two" and len(layer.data) == 64
    assert layer.data[[0, 59, 60, 61, 62, 63]].tolist() == [[0, 0], [0, 59], [1, 0], [1, 1], [3, 0], [3, 1]]
    last = layer.features.iloc[[60, 61, 63]].to_dict("list")
    assert last == {
        "sequence": ["sp|P1|ONE", "sp|P1|ONE", "two"],
        "position": [61, 62, 2],
        "residue": ["K", "X", "E"],
        "class": ["basic", "unknown", "acidic"],
    }
    assert list(layer.text.values[[60, 63]]) == ["K", "E"]
    assert layer.metadata["sequences"][0] == {"name": "sp|P1|ONE", "description": "first", "length": 62}
    assert len(np.unique(layer.face_color[[0, 60, 61, 63]], axis=0)) == 4
    assert sequence_layer([SequenceRecord("x", "AC")])[2] == "points"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("AF-P01308-F1-predicted_aligned_error_v6.json", True),
        ("P01308-pae.json.gz", True),
        ("1abc.bcif.gz", True),
        ("seqs.FA", True),
        ("picks.json", False),
        ("paella.json", False),
        ("table.csv", False),
    ],
)
def test_only_our_files_are_claimed(name: str, ours: bool) -> None:
    patterns = PluginManifest.from_distribution("napari-profet").contributions.readers[0].filename_patterns
    assert (get_reader(name) is not None) is ours
    assert any(fnmatch(name.lower(), pattern) for pattern in patterns) is ours


def test_aligned_errors_open_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "P01308-pae.json"
    path.write_text(json.dumps({"predicted_aligned_error": ERRORS.tolist(), "max_predicted_aligned_error": 31.75}))
    ((data, attributes, kind),) = get_reader(str(path))(str(path))
    assert kind == "image" and np.array_equal(data, ERRORS) and attributes["name"] == "P01308-pae"
