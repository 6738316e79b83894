"""Given the helper process, when it is asked for a density or a surface, then it makes what the functions make."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_profet import DensitySettings, Structure, density_from_structure
from napari_profet._helper import load_density, load_structure, save_density, save_structure
from napari_profet.mesh import isosurface


def asked(request: dict[str, Any]) -> list[dict[str, Any]]:
    """All that the process says."""
    command = [sys.executable, "-m", "napari_profet._helper"]
    result = subprocess.run(command, input=json.dumps(request) + "\n", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_density_and_its_surface(bundle: Structure, tmp_path: Path) -> None:
    settings = {"voxel_size": 2.0, "b_factor": 30.0, "resolution": 6.0}
    save_structure(tmp_path / "in.npz", bundle)
    request = {"task": "density", "input": str(tmp_path / "in.npz"), "output": str(tmp_path / "out.npz")}
    messages = asked(request | {"settings": settings})
    assert [message["message"] for message in messages[:-1]] == [
        "atoms",
        "hydrogens",
        "potential of the atoms",
        "displaced ice",
    ]
    assert messages[-1] == {"done": True}
    density, expected = load_density(tmp_path / "out.npz"), density_from_structure(bundle, DensitySettings(**settings))
    assert np.array_equal(density.data, expected.data)
    assert (density.origin, density.unit, density.name) == (expected.origin, "V", bundle.name)

    request = {
        "task": "surface",
        "input": str(tmp_path / "out.npz"),
        "output": str(tmp_path / "mesh.npz"),
        "level": 2.0,
    }
    assert asked(request) == [{"done": True}]
    mesh, made = isosurface(density, 2.0), np.load(tmp_path / "mesh.npz")
    assert np.array_equal(made["vertices"], mesh.vertices) and np.array_equal(made["faces"], mesh.faces)
    assert made["level"] == 2.0
    assert "between" in asked(request | {"level": 1e6})[0]["error"]


def test_structures_and_densities_are_handed_over_whole(bundle: Structure, tmp_path: Path) -> None:
    save_structure(tmp_path / "in.npz", bundle)
    again = load_structure(tmp_path / "in.npz")
    assert np.array_equal(again.positions, bundle.positions) and again.atoms.equals(bundle.atoms)
    assert (again.name, again.header, again.source) == (bundle.name, bundle.header, bundle.source)
    density = density_from_structure(bundle, DensitySettings(3.0, b_factor=30.0))
    save_density(tmp_path / "map.npz", density)
    kept = load_density(tmp_path / "map.npz")
    assert np.array_equal(kept.data, density.data) and kept.voxel_size == density.voxel_size
    # Nothing is unpickled, whatever a file holds.
    np.savez(tmp_path / "evil.npz", data=np.array([{}], dtype=object), place=np.zeros(4), told=np.array(["", "", ""]))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_density(tmp_path / "evil.npz")
