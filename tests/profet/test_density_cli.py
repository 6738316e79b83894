"""``napari-profet density``: the map that the function makes in a file, a mistake as one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_profet import read_structure
from napari_profet.cli import app
from napari_profet.density_files import read_density
from napari_profet.errors import UserError
from napari_profet.potential import DensitySettings, density_from_structure


@pytest.fixture
def density(databank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command in this process; a user's mistake is the result's exception."""
    for name, value in databank.addresses.items():
        if name != "emdb_urls":
            monkeypatch.setenv(f"PROFET_{name.upper()}", value)
    monkeypatch.setenv("PROFET_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["density", *map(str, arguments)])


def test_a_file_becomes_the_map_that_the_function_makes(density: Any, bundle_file: Path, tmp_path: Path) -> None:
    said = density(bundle_file, "-o", "a.mrc", "--voxel-size", 2, "--box", 30, "--b-factor", 25, "--chains", "A, C")
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.startswith("a.mrc  30³ voxels of 2 Å, ")
    structure = read_structure(bundle_file)
    chosen = structure.select(structure.atoms["chain"].isin(["A", "C"]))
    expected = density_from_structure(chosen, DensitySettings(2.0, box=30, b_factor=25.0))
    made = read_density(tmp_path / "a.mrc")
    assert np.array_equal(made.data, expected.data)
    assert made.origin == pytest.approx(expected.origin, abs=1e-5)

    options = ("--no-solvent", "--no-hydrogens", "--resolution", 8, "--overwrite", "--voxel-size", 2, "--box", 30)
    assert density(bundle_file, "-o", "a.mrc", *options).exit_code == 0
    settings = DensitySettings(2.0, box=30, resolution=8.0, hydrogens=False, solvent_potential=0.0)
    assert np.array_equal(read_density(tmp_path / "a.mrc").data, density_from_structure(structure, settings).data)


def test_an_id_is_fetched_first(density: Any, databank: Any, bundle_file: Path, tmp_path: Path) -> None:
    databank.add_pdb("1ABC", bundle_file.read_bytes())
    said = density("1abc", "-o", "map.mrc.gz", "--voxel-size", 3)
    assert (said.exit_code, said.stderr) == (0, "")
    assert read_density(tmp_path / "map.mrc.gz").unit == "V"


def test_a_mistake_is_one_line(density: Any, bundle_file: Path, tmp_path: Path) -> None:
    (tmp_path / "there.mrc").write_bytes(b"")
    for arguments, words in [
        (("none.cif", "-o", "a.mrc"), "none.cif: no such file"),
        ((bundle_file, "-o", "there.mrc"), "exists already"),
        ((bundle_file, "-o", "a.tif"), "let the name end in .mrc"),
        ((bundle_file, "-o", "a.mrc", "--chains", "A,Z"), "no chain Z; choose among A, B, C"),
        ((bundle_file, "-o", "a.mrc", "--box", 8), "cuts the structure"),
        ((bundle_file, "-o", "a.mrc", "--resolution", 2), "hold nothing finer than 3.0 Å"),
    ]:
        said = density(*arguments)
        assert isinstance(said.exception, UserError) and words in str(said.exception), arguments
        assert said.stdout == ""
    assert not (tmp_path / "a.mrc").exists()


def test_the_command_is_there_in_a_process_of_its_own(bundle_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from napari_profet.cli import main; main()", "density", str(bundle_file)]
    said = subprocess.run([*command, "-o", "a.mrc", "--box", "8"], capture_output=True, text=True, cwd=tmp_path)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("error: helix-bundle: a box of 8 voxels") and len(said.stderr.splitlines()) == 1
