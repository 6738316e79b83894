"""The command line: results on standard output, a mistake as one line and exit code 1; the whole way in processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from napari_profet import cli, read_structure


@pytest.fixture
def environment(databank: Any, tmp_path: Path) -> dict[str, str]:
    return {
        **{f"PROFET_{name.upper()}": value for name, value in databank.addresses.items() if name != "emdb_urls"},
        "PROFET_EMDB_URL": " ".join(databank.addresses["emdb_urls"]),
        "PROFET_CACHE": str(tmp_path / "cache"),
    }


@pytest.fixture
def profet(environment: dict[str, str], run_here: Any, tmp_path: Path) -> Any:
    return lambda *arguments: run_here(cli.main, *arguments, environment=environment, cwd=tmp_path)


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Any:
    """Run it in a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from napari_profet.cli import main; main()", *map(str, arguments)]
        surroundings = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=tmp_path, timeout=60)

    return run


def test_fetch_info_convert(process: Any, databank: Any, bundle_file: Path, tmp_path: Path) -> None:
    databank.add_pdb("1ABC", bundle_file.read_bytes())
    databank.add_prediction("P12345", bundle_file.read_bytes())

    fetched = process("fetch", "1abc", "P12345", "-o", "structures")
    assert (fetched.returncode, fetched.stderr) == (0, "")
    assert fetched.stdout.split() == ["structures/1ABC.cif.gz", "structures/P12345.cif"]

    said = process("info", "structures/1ABC.cif.gz")
    assert said.returncode == 0
    assert "120 (120 polymer)" in said.stdout and "A B C" in said.stdout and "Ideal bundle" in said.stdout

    converted = process("convert", "structures/1ABC.cif.gz", "-o", "out.cif")
    assert converted.stdout.strip() == "out.cif"
    assert len(read_structure(tmp_path / "out.cif")) == 120

    same = process("fetch", "P12345", "-o", "structures")
    assert (same.returncode, same.stdout.strip()) == (0, "structures/P12345.cif"), "what is the same is left alone"
    (tmp_path / "structures/P12345.cif").write_text("data_mine\n")
    again = process("fetch", "P12345", "-o", "structures")
    assert (again.returncode, again.stdout) == (1, "")
    assert "structures/P12345.cif exists already" in again.stderr
    assert process("fetch", "P12345", "-o", "structures", "--overwrite").returncode == 0
    assert len(databank.requests) == 3, "kept files are not asked for again"


def test_a_mistake_is_one_line(profet: Any, tmp_path: Path) -> None:
    (tmp_path / "page.cif").write_text("<html></html>")
    for arguments, words in [
        (("fetch", "9xyz"), "there is no such entry; check the id"),
        (("fetch", "what?"), "neither a PDB id"),
        (("info", "none.cif"), "no such file"),
        (("info", "page.cif"), "web page"),
        (("convert", "page.cif", "-o", "x.cif"), "web page"),
    ]:
        result = profet(*arguments)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and words in result.stderr
    assert not (tmp_path / "x.cif").exists()


def test_help_loads_nothing_heavy(profet: Any) -> None:
    script = """
import sys
from napari_profet.cli import app
try:
    app(["--help"])
finally:
    print([name for name in ("napari", "pandas", "gemmi", "requests", "qtpy") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "fetch" in result.stdout and result.stdout.splitlines()[-1] == "[]"
