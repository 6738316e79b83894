"""``napari-profet cleave``: a process of its own for the whole way, this one for the rest."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from napari_profet import cli, read_structure

S: Any = runpy.run_path(str(Path(__file__).with_name("specimens.py")))
TARGET = "MKLLQRSADEFGHIKNPTVW"


@pytest.fixture
def environment(databank: Any, tmp_path: Path) -> dict[str, str]:
    addresses = {f"PROFET_{name.upper()}": value for name, value in databank.addresses.items() if name != "emdb_urls"}
    return {**addresses, "PROFET_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def profet(environment: dict[str, str], run_here: Any, tmp_path: Path) -> Any:
    return lambda *arguments: run_here(cli.main, "cleave", *arguments, environment=environment, cwd=tmp_path)


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Any:
    """Run it in a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from napari_profet.cli import main; main()", "cleave", *map(str, arguments)]
        surroundings = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=tmp_path, timeout=60)

    return run


def structure_text(name: str = "TEST") -> str:
    """Chain A the target, chain B something else, numbered alike; a water."""
    specimen = S["Specimen"](
        [
            S["Polymer"]("A", S["protein"](TARGET)),
            S["Polymer"]("B", S["protein"](TARGET[::-1]), entity="2"),
            S["Loose"]("A", "HOH", 101, [("O", "O")], "3"),
        ],
        S["reference"](("1", "P12345", "A", 1, 20, 1, 20)),
        name=name,
    )
    return str(S["text_of"](S["gemmi_specimen"](specimen), specimen.categories))


def features(folder: Path) -> Path:
    signal = {"type": "Signal", "location": {"start": {"value": 1}, "end": {"value": 4}}}
    path = folder / "P12345.json"
    path.write_text(json.dumps({"primaryAccession": "P12345", "features": [signal]}))
    return path


def test_a_plan_is_shown_and_then_done(profet: Any, tmp_path: Path) -> None:
    (tmp_path / "test.cif").write_text(structure_text())
    what = ("test.cif", "--signal", "--waters", "--uniprot", features(tmp_path))
    looked = profet(*what, "--dry-run")
    assert (looked.returncode, looked.stderr) == (0, "")
    lines = looked.stdout.splitlines()
    assert lines[0] == "TEST: 9 of 81 atoms go"
    said = "signal peptide A:1..4 4 residues 8 atoms P12345 Signal 1-4 by struct_ref_seq"
    assert " ".join(lines[1].split()) == said
    assert lines[2].split() == ["water", "A", "1", "residues", "1", "atoms"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P12345.json", "test.cif"]

    done = profet(*what, "-o", "out/cut.cif.gz", "--fasta")
    assert done.returncode == 0 and done.stderr == looked.stdout
    assert done.stdout.split() == ["out/cut.cif.gz", "out/cut.cleaved.json", "out/cut.fasta"]
    assert read_structure(tmp_path / "out/cut.cif.gz").atoms["residue_number"].value_counts()[1] == 2
    assert (tmp_path / "out/cut.fasta").read_text().splitlines()[:2] == [">TEST|A residues 5-20", TARGET[4:]]

    again = profet(*what, "-o", "out/cut.cif.gz")
    assert again.returncode == 1 and "out/cut.cif.gz exists already" in again.stderr


def test_many_structures_go_on_where_they_ended(process: Any, tmp_path: Path) -> None:
    for name in ("one", "two", "bad"):
        (tmp_path / f"{name}.cif").write_text(structure_text(name) if name != "bad" else "<html></html>")
    what = ("one.cif", "bad.cif", "two.cif", "--range", "A:1-4", "--chains", "A", "-o", "out", "--format", "pdb")
    first = process(*what)
    assert first.returncode == 1
    assert first.stdout.split() == [
        f"out/{name}_cleaved.{suffix}" for name in ("one", "two") for suffix in ("pdb", "cleaved.json")
    ]
    assert "error: bad.cif: " in first.stderr and "1 of 3 structures failed" in first.stderr
    (tmp_path / "bad.cif").write_text(structure_text("bad"))
    second = process(*what)
    assert second.returncode == 0
    assert second.stdout.split() == ["out/bad_cleaved.pdb", "out/bad_cleaved.cleaved.json"]
    assert second.stderr.count("left as it is") == 2


def test_an_entry_is_fetched_with_the_features_it_names(profet: Any, databank: Any, tmp_path: Path) -> None:
    signal = {"type": "Signal", "location": {"start": {"value": 1}, "end": {"value": 4}}}
    databank.add_prediction("P12345", structure_text().encode())
    databank.add_protein("P12345", "TEST_HUMAN", features=[signal], sequence={"value": TARGET})
    done = profet("P12345", "--signal", "-o", "cut.cif")
    assert (done.returncode, done.stdout.split()) == (0, ["cut.cif", "cut.cleaved.json"]), done.stderr
    result = read_structure(tmp_path / "cut.cif")
    assert result.atoms["residue_number"][result.atoms["chain"] == "A"].min() == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("test.cif", "--waters"), "say where to write"),
        (("test.cif", "-o", "x.cif"), "nothing is to go"),
        (("test.cif", "--waters", "-o", "x.txt"), "let the name end in"),
        (("test.cif", "a.cif", "--waters", "-o", "x.cif"), "one file for 2 structures"),
        (("test.cif", "--range", "25", "-o", "x.cif"), "no residue range"),
        (("test.cif", "--drop-chains", "Z", "-o", "x.cif"), "TEST has no chain Z"),
        (("test.cif", "--plddt", "70", "-o", "x.cif"), "TEST is no prediction"),
        (("none.cif", "--waters", "-o", "x.cif"), "none.cif: no such file"),
    ],
)
def test_a_mistake_is_one_line(profet: Any, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    (tmp_path / "test.cif").write_text(structure_text())
    result = profet(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and words in result.stderr
    assert not list(tmp_path.glob("x.*"))
