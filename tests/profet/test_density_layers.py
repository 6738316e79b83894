"""Given densities, structures and aligned errors, then napari's layers show them, in the same place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Layer

from napari_profet import Structure, helix_bundle
from napari_profet.density import Density
from napari_profet.errors import DensityError, FormatError, LayerError
from napari_profet.layers_density import (
    aligned_error_layer,
    density_from_layer,
    density_layer,
    surface_layer,
    trace_layer,
)
from napari_profet.pae import AlignedError, parse_aligned_error, read_aligned_error
from napari_profet.potential import DensitySettings, density_from_structure


def ball(radius: float, voxel_size: float = 1.0, size: int = 40) -> Density:
    """Make a cone-like ball about voxel n // 2 that falls through 0 at the radius (Å)."""
    axis = (np.arange(size) - size // 2) * voxel_size
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return Density(radius - distance, voxel_size, (10.0, 20.0, 30.0), "V", "ball", "a test")


def test_a_density_lies_on_its_structure_and_comes_back() -> None:
    bundle = helix_bundle(8)
    moved = Structure("moved", bundle.positions + (5, -40, 12), bundle.atoms)
    density = density_from_structure(moved, DensitySettings(1.5, b_factor=30.0))
    layer = Layer.create(*density_layer(density))
    heavy = layer.data - layer.data.min()
    weighted = [np.average(np.indices(heavy.shape)[axis], weights=layer.data.clip(4) - 4) for axis in range(3)]
    assert layer.data_to_world(weighted) == pytest.approx(moved.positions.mean(axis=0), abs=0.5)
    assert [str(unit) for unit in layer.units] == ["angstrom"] * 3
    again = density_from_layer(*layer.as_layer_data_tuple()[:2])
    assert np.array_equal(again.data, density.data)
    assert (again.voxel_size, again.origin, again.unit) == (density.voxel_size, density.origin, "V")


def test_layers_that_are_no_density_are_refused() -> None:
    with pytest.raises(LayerError, match="'flat': a density has 3 dimensions, this has 2"):
        density_from_layer(np.zeros((3, 3)), {"name": "flat"})
    with pytest.raises(LayerError, match="no cubes"):
        density_from_layer(np.zeros((3, 3, 3)), {"name": "long", "scale": (1, 1, 2)})


def test_a_surface_encloses_the_ball_where_it_is() -> None:
    layer = Layer.create(*surface_layer(ball(12.0, 1.5), 0.0))
    vertices, faces = layer.data[:2]
    world = np.array([layer.data_to_world(vertex) for vertex in vertices])
    middle = ball(12.0, 1.5).centre
    assert np.linalg.norm(world - middle, axis=1) == pytest.approx(12.0, abs=0.1)
    # The divergence theorem: outward faces, taken in x, y, z, enclose a positive volume.
    a, b, c = (world[faces[:, corner]][:, ::-1] - middle[::-1] for corner in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)
    with pytest.raises(DensityError, match="between"):
        surface_layer(ball(12.0), 100.0)


def test_a_trace_joins_neighbours_and_bridges_no_gap() -> None:
    bundle = helix_bundle(8)
    layer = Layer.create(*trace_layer(bundle))
    assert layer.data.shape == (3 * 7, 2, 3)
    assert np.linalg.norm(layer.data[:, 1], axis=1) == pytest.approx(3.8, abs=0.1)
    assert list(layer.features["chain"].unique()) == ["A", "B", "C"]
    colours = {chain: {tuple(row) for row in layer.edge_color[layer.features["chain"] == chain]} for chain in "ABC"}
    assert all(len(found) == 1 for found in colours.values()) and len(set.union(*colours.values())) == 3
    gap = bundle.select((bundle.atoms["residue_number"] != 4).to_numpy())
    data, attributes, _ = trace_layer(gap)
    assert len(data) == 3 * 5
    assert not ((attributes["features"]["residue_number"] == 3).any())


def test_a_trace_takes_one_place_of_one_model_and_no_calcium() -> None:
    helix = helix_bundle(5, helices=1)
    twice = np.concatenate([np.arange(25), np.arange(25), [1, 1]])
    atoms = helix.atoms.iloc[twice].reset_index(drop=True)
    atoms["model"] = [1] * 25 + [2] * 25 + [1, 1]
    atoms.loc[50, "altloc"] = "B"
    atoms.loc[51, ["element", "residue_number", "entity_type"]] = ["CA", 99, "non-polymer"]
    assert len(trace_layer(Structure("mixed", helix.positions[twice], atoms))[0]) == 4
    with pytest.raises(LayerError, match="no two residues"):
        trace_layer(helix.select((helix.atoms["residue_number"] == 1).to_numpy()))


def test_errors_are_shown_by_residue() -> None:
    bundle = helix_bundle(8, helices=1)
    errors = AlignedError(np.arange(64).reshape(8, 8) / 3, 31.75)
    layer = Layer.create(*aligned_error_layer(errors, bundle))
    assert layer.axis_labels == ("aligned residue", "scored residue")
    assert layer.data_to_world((0, 7)) == pytest.approx((1, 8)), "world coordinates are residue numbers"
    assert layer.metadata["residues"][7] == {"chain": "A", "number": 8, "name": "ALA"}
    assert tuple(layer.contrast_limits) == pytest.approx((0.0, 31.75), abs=0.01) and layer.contrast_limits[0] < 0
    assert layer.colormap.colors[0] == pytest.approx((0.0, 0.27, 0.11, 1.0))
    with pytest.raises(LayerError, match="has 24 residues, its aligned errors are of 8"):
        aligned_error_layer(errors, helix_bundle(8))


def both_forms(errors: np.ndarray, order: np.ndarray) -> tuple[bytes, bytes]:
    """The two JSON forms of AlphaFold DB; the pairs of the older one in any order."""
    size = len(errors)
    rows, columns = (np.indices((size, size))[axis].ravel()[order] for axis in range(2))
    pairs = {
        "residue1": (rows + 1).tolist(),
        "residue2": (columns + 1).tolist(),
        "distance": errors[rows, columns].tolist(),
        "max_predicted_aligned_error": 31.75,
    }
    matrix = {"predicted_aligned_error": errors.tolist(), "max_predicted_aligned_error": 31.75}
    return json.dumps([matrix]).encode(), json.dumps([pairs]).encode()


@given(size=st.integers(1, 6), seed=st.integers(0, 99))
def test_both_forms_say_the_same(size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    errors = random.uniform(0, 31.75, (size, size)).round(2)
    for content in both_forms(errors, random.permutation(size**2)):
        for packed in (content, gzip.compress(content)):
            read = parse_aligned_error(packed, "AF-P12345-F1-predicted_aligned_error_v6.json")
            assert np.allclose(read.errors, errors, atol=1e-5)
            assert (read.maximum, read.name) == (31.75, "AF-P12345-F1-predicted_aligned_error_v6")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("<html>", "not a readable JSON"),
        ([], "one object"),
        ({"pLDDT": [1]}, "no 'max_predicted_aligned_error'"),
        ({"max_predicted_aligned_error": 31}, "no 'residue1'"),
        ({"max_predicted_aligned_error": 31, "predicted_aligned_error": [[1, 2]]}, "square"),
        ({"max_predicted_aligned_error": 31, "predicted_aligned_error": [[1, 2], [3]]}, "not readable"),
        ({"max_predicted_aligned_error": 31, "predicted_aligned_error": [[-1]]}, "at least 0"),
        ({"max_predicted_aligned_error": 31, "predicted_aligned_error": [["x"]]}, "not readable"),
        ({"max_predicted_aligned_error": 31, "predicted_aligned_error": [[40]]}, "above the maximum 31"),
        ({"max_predicted_aligned_error": 31, "predicted_aligned_error": []}, "square"),
        ({"max_predicted_aligned_error": 9, "residue1": [1, 1], "residue2": [1], "distance": [1]}, "2, 1, 1 entries"),
        ({"max_predicted_aligned_error": 9, "residue1": [2], "residue2": [1], "distance": [1]}, "from 1 to 1"),
        ({"max_predicted_aligned_error": 9, "residue1": [1.5], "residue2": [1], "distance": [1]}, "whole numbers"),
        (
            {"max_predicted_aligned_error": 9, "residue1": [1] * 4, "residue2": [1, 1, 2, 2], "distance": [1] * 4},
            "each once",
        ),
    ],
)
def test_what_holds_no_errors_is_named(tmp_path: Path, told: object, message: str) -> None:
    path = tmp_path / "pae.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    with pytest.raises(FormatError, match=message) as caught:
        read_aligned_error(path)
    assert str(path) in str(caught.value)
