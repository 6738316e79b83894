"""The commands fetch, info and cache against the databank, as their entry point runs them."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_profet.cli import main


@pytest.fixture
def profet(databank: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in databank.addresses.items():
        if name != "emdb_urls":
            monkeypatch.setenv(f"PROFET_{name.upper()}", value)
    monkeypatch.setenv("PROFET_EMDB_URL", " ".join(databank.addresses["emdb_urls"]))
    monkeypatch.setenv("PROFET_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["napari-profet", *map(str, arguments)])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())

    return run


def test_a_batch_goes_on_after_a_failure_and_continues_where_it_ended(
    profet: Any, databank: Any, bundle_file: Path, tmp_path: Path
) -> None:
    for name in ("1ABC", "3ABC"):
        databank.add_pdb(name, bundle_file.read_bytes())
    (tmp_path / "ids.csv").write_text("pdb,note\n1abc,one\n2abc,two\n3abc,three\n")

    first = profet("fetch", "--list", "ids.csv", "-o", "out")
    assert first.returncode == 1
    assert first.stdout.split() == ["out/1ABC.cif.gz", "out/3ABC.cif.gz"]
    assert "error: 2abc: 2ABC: there is no such entry" in first.stderr
    assert "1 of 3 failed: 2abc; run the same command again" in first.stderr

    databank.add_pdb("2ABC", bundle_file.read_bytes())
    databank.requests.clear()
    second = profet("fetch", "--list", "ids.csv", "-o", "out")
    assert (second.returncode, second.stderr) == (0, "")
    assert len(second.stdout.split()) == 3
    assert databank.requests == ["/download/2ABC.cif.gz"], "only what was missing is asked for"


def test_a_mistake_in_the_list_stops_before_the_first_request(profet: Any, databank: Any, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1abc\nwhat?\n")
    for arguments, words in [
        (("--list", "ids.txt"), "line 2"),
        ((), "no ids"),
        (("1abc", "what?"), "neither a PDB id"),
        (("1abc", "--what", "pae"), "pdb has no predicted errors"),
        (("P12345", "--assembly", "1"), "a prediction has no assembly 1"),
    ]:
        result = profet("fetch", *arguments)
        assert (result.returncode, result.stdout) == (1, "") and words in result.stderr, result.stderr
    assert databank.requests == []


def test_assemblies_sequences_and_offline(profet: Any, databank: Any, bundle_file: Path, tmp_path: Path) -> None:
    databank.files["/download/1ABC-assembly1.cif.gz"] = gzip.compress(bundle_file.read_bytes())
    databank.files["/uniprot/uniprotkb/P12345.fasta"] = b">sp|P12345|X_Y\nMKV\n"
    assembly = profet("fetch", "1abc", "--assembly", "1", "-o", "out")
    assert assembly.stdout.strip() == "out/1ABC-assembly1.cif.gz", assembly.stderr
    assert profet("fetch", "P12345", "--what", "sequence", "-o", "out").returncode == 0
    assert (tmp_path / "out/P12345.fasta").read_text().endswith("MKV\n")
    databank.requests.clear()
    assert profet("fetch", "1abc", "--assembly", "1", "--offline").returncode == 0
    refused = profet("fetch", "1abc", "--offline")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1) and "offline, and not kept" in refused.stderr
    assert databank.requests == []


def test_info_about_a_protein(profet: Any, databank: Any) -> None:
    databank.add_protein("P01308", "INS_HUMAN")
    databank.add_prediction("P01308", b"")
    row = {"pdb_id": "1zeh", "chain_id": "B", "coverage": 0.5, "resolution": 1.5, "unp_start": 21, "unp_end": 40}
    databank.files["/pdbe/api/mappings/best_structures/P01308"] = json.dumps(
        {"P01308": [{**row, "experimental_method": "X-ray diffraction"}]}
    ).encode()
    databank.files["/search"] = b""

    said = profet("info", "P01308")
    assert said.returncode == 0, said.stderr
    for words in (
        "P01308 (INS_HUMAN)",
        "Insulin",
        "Homo sapiens (9606)",
        "Signal      1-24",
        "AF-P01308-F1    1-40      83.1   99",
        "1ZEH",
        "1.50 Å",
        "50%",
        "░" * 12 + "█" * 12,
    ):
        assert words in said.stdout, said.stdout

    told = json.loads(profet("info", "INS_HUMAN", "--json").stdout)
    assert told["accession"] == "P01308" and told["features"][0]["kind"] == "Signal"
    assert told["structures"][0]["pdb_id"] == "1ZEH" and told["notes"] == []


def test_info_about_an_entry(profet: Any, databank: Any, bundle_file: Path) -> None:
    databank.add_pdb("1ZEH", bundle_file.read_bytes())
    record = {"rcsb_id": "1ZEH", "struct": {"title": "Insulin"}, "exptl": [{"method": "X-RAY DIFFRACTION"}]}
    record["rcsb_entry_info"] = {"resolution_combined": [1.5]}
    databank.files["/graphql"] = json.dumps({"data": {"entry": record}}).encode()
    profet("fetch", "1zeh")
    said = profet("info", "1zeh").stdout
    assert "Insulin" in said and "X-ray diffraction, 1.50 Å" in said and "1ZEH.cif.gz" in said


def test_the_kept_files_are_listed_and_removed(profet: Any, databank: Any, bundle_file: Path, tmp_path: Path) -> None:
    for name in ("1ABC", "2ABC"):
        databank.add_pdb(name, bundle_file.read_bytes())
    profet("fetch", "1abc", "2abc")
    listed = profet("cache").stdout
    assert "1ABC" in listed and f"{databank.url}/download/2ABC.cif.gz" in listed and "2 files" in listed
    assert profet("cache", "1abc", "--purge").stdout.startswith("1 files removed")
    assert [path.name for path in (tmp_path / "cache/pdb").iterdir()] == ["2ABC.cif.gz"]
    assert profet("cache", "--purge", "--days", "1").stdout.startswith("0 files removed")
    assert profet("cache", "--purge").stdout.startswith("1 files removed")
    assert list((tmp_path / "cache/pdb").iterdir()) == []
