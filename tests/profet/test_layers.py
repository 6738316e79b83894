"""Given a structure in a layer, when the user moves, hides or deletes atoms, then the file has what is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import npe2
import numpy as np
import pandas as pd
import pytest
from napari.layers import Layer, Points

from napari_profet import Structure, helix_bundle, read_structure, structure_from_layer, structure_layer
from napari_profet._reader import get_reader
from napari_profet._writer import write_atoms
from napari_profet.errors import LayerError


@pytest.fixture(autouse=True, scope="module")
def _discovered() -> None:
    """Outside a viewer nobody discovers plugins."""
    npe2.PluginManager.instance().discover()


@pytest.fixture
def layer(bundle: Structure) -> Points:
    made = Layer.create(*structure_layer(bundle))
    assert isinstance(made, Points)
    return made


def saved(layer: Points, path: Path) -> Structure:
    """The file that napari's save dialog would make of a layer, read again."""
    (written,) = npe2.write(str(path), [layer.as_layer_data_tuple()], plugin_name="napari-profet")
    return read_structure(written)


def test_a_layer_holds_positions_and_features(layer: Points, bundle: Structure) -> None:
    assert layer.name == "helix-bundle"
    assert np.array_equal(layer.data, bundle.positions)
    assert [str(unit) for unit in layer.units] == ["angstrom"] * 3 and layer.scale.tolist() == [1, 1, 1]
    assert layer.axis_labels == ("z", "y", "x")
    pd.testing.assert_frame_equal(pd.DataFrame(layer.features), bundle.atoms)
    about = layer.metadata["structure"]
    assert (about["id"], about["source"], about["origin"]) == ("helix-bundle", "made by napari-profet", (0, 0, 0))
    # Van der Waals radii by Bondi, Å: C 1.70, N 1.55, O 1.52.
    radii = {"C": 1.70, "N": 1.55, "O": 1.52}
    assert np.allclose(layer.size, 0.6 * bundle.atoms["element"].map(radii), atol=0.02)


def test_colours(bundle: Structure) -> None:
    def of(colour_by: str, structure: Structure = bundle) -> np.ndarray:
        return structure_layer(structure, colour_by)[1]["face_color"]

    elements, chains = bundle.atoms["element"], bundle.atoms["chain"]
    assert of("element").shape == (len(bundle), 4)
    assert np.allclose(of("element")[elements == "O"], [1, 0x0D / 255, 0x0D / 255, 1])
    groups = [np.unique(of("chain")[chains == chain], axis=0) for chain in "ABC"]
    assert [len(group) for group in groups] == [1, 1, 1] and len(np.unique(np.concatenate(groups), axis=0)) == 3

    factors = np.linspace(0, 100, len(bundle))
    graded = Structure("x", bundle.positions, bundle.atoms.assign(b_factor=factors))
    red, _, blue, _ = of("b_factor", graded).T
    assert blue[0] > red[0] and red[-1] > blue[-1]
    predicted = Structure("x", bundle.positions, graded.atoms, header="data_x\n_ma_qa_metric.name pLDDT\n")
    assert len(np.unique(of("b_factor", predicted), axis=0)) == 4
    assert np.allclose(of("b_factor", predicted)[factors > 90], [0, 0x53 / 255, 0xD6 / 255, 1])


def test_what_the_reader_opened_the_writer_writes(bundle_file: Path, bundle: Structure, tmp_path: Path) -> None:
    ((data, attributes, kind),) = npe2.read([str(bundle_file)], stack=False, plugin_name="napari-profet")
    again = saved(Layer.create(data, attributes, kind), tmp_path / "again.cif")
    assert np.array_equal(again.positions, bundle.positions)
    pd.testing.assert_frame_equal(again.atoms, bundle.atoms)
    assert again.title == bundle.title and "_entity_poly_seq.mon_id" in again.header


def test_hidden_and_deleted_atoms_are_not_in_the_file(layer: Points, bundle: Structure, tmp_path: Path) -> None:
    chains = bundle.atoms["chain"].to_numpy()
    layer.shown = chains != "B"
    layer.selected_data = set(np.flatnonzero(chains == "C").tolist())
    layer.remove_selected()
    written = saved(layer, tmp_path / "a.cif")
    assert written.chains == ["A"]
    assert np.array_equal(written.positions, bundle.positions[chains == "A"])
    everything = structure_from_layer(*layer.as_layer_data_tuple()[:2], only_shown=False)
    assert everything.chains == ["A", "B"]


def test_a_moved_turned_and_scaled_layer_is_written_where_it_is_seen(layer: Points, tmp_path: Path) -> None:
    layer.translate = (10, 20, 30)
    layer.rotate = (90, 0, 0)
    layer.scale = (1, 1, 2)
    layer.affine = np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 5
    expected = [layer.data_to_world(point) for point in layer.data[:20]]
    assert np.allclose(saved(layer, tmp_path / "moved.cif").positions[:20], expected)


def test_units_are_converted(layer: Points, tmp_path: Path) -> None:
    layer.units = ("nm",) * 3
    assert np.allclose(saved(layer, tmp_path / "nm.cif").positions, layer.data * 10)
    layer.units = ("second",) * 3
    with pytest.raises(LayerError, match="second is no length"):
        write_atoms(str(tmp_path / "s.cif"), *layer.as_layer_data_tuple()[:2])


def test_an_added_atom_gets_a_number_of_its_own(layer: Points, tmp_path: Path) -> None:
    layer.add([[1.0, 2.0, 3.0]])
    written = saved(layer, tmp_path / "more.cif")
    assert written.positions[-1].tolist() == [1, 2, 3]
    assert written.atoms["serial"].is_unique


def test_a_column_somebody_added_does_no_harm(layer: Points, bundle: Structure, tmp_path: Path) -> None:
    layer.features = layer.features.assign(score=0.5)
    assert len(saved(layer, tmp_path / "score.cif")) == len(bundle)


def test_layers_that_are_no_structures_are_refused(layer: Points, tmp_path: Path) -> None:
    path = tmp_path / "no.cif"
    for points, words in [
        (Points(np.zeros((3, 3)), name="picks"), "'picks' does not hold a structure: the atom table lacks"),
        (Points(np.zeros((3, 2))), "have 3 coordinates, these 2"),
        (Points(np.zeros((0, 3))), "shows no atom"),
    ]:
        with pytest.raises(LayerError, match=words):
            write_atoms(str(path), *points.as_layer_data_tuple()[:2])
    layer.shown = False
    with pytest.raises(LayerError, match="shows no atom"):
        write_atoms(str(path), *layer.as_layer_data_tuple()[:2])
    assert not path.exists()


def test_a_layer_survives_being_pickled(layer: Points) -> None:
    import pickle

    data, attributes, _ = pickle.loads(pickle.dumps(layer.as_layer_data_tuple()))
    assert len(structure_from_layer(data, attributes)) == len(layer.data)


@pytest.mark.parametrize("name", ["a.cif", "A.PDB", "x.ent.gz", "b.mmcif", "c.cif.gz"])
def test_names_the_reader_takes(name: str) -> None:
    assert get_reader(name) is not None and get_reader([name, name]) is not None
    assert any(
        reader.command == "napari-profet.get_reader"
        for reader in npe2.PluginManager.instance().iter_compatible_readers([name.lower()])
    )


@pytest.mark.parametrize("name", ["a.mrc", "a.star", "a.gz", "cif", []])
def test_names_the_reader_leaves_alone(name: str) -> None:
    assert get_reader(name) is None


def test_the_sample_opens_with_a_colour_per_chain() -> None:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    (layer,) = viewer.open_sample("napari-profet", "helix_bundle")
    assert len(layer.data) == len(helix_bundle()) and len(np.unique(layer.face_color, axis=0)) == 3


def test_a_script_reads_and_writes_without_qt(bundle_file: Path, tmp_path: Path) -> None:
    """A fresh interpreter, because this one may have Qt loaded by other tests."""
    script = """
import json, sys
import npe2
npe2.PluginManager.instance().discover()
(layer,) = npe2.read([sys.argv[1]], stack=False, plugin_name="napari-profet")
npe2.write(sys.argv[2], [layer], plugin_name="napari-profet")
print(json.dumps([name for name in ("qtpy", "PyQt6", "PySide6") if name in sys.modules]))
"""
    command = [sys.executable, "-c", script, str(bundle_file), str(tmp_path / "out.cif")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == []
    assert len(read_structure(tmp_path / "out.cif")) == len(read_structure(bundle_file))
