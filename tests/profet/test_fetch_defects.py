"""Every defect of profet 1.0.6 about fetching and keeping files, each as a test of what happens here instead.

The numbers are those of docs/reference/profet.md.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gemmi
import pytest

from napari_profet import Cache, DatabaseSettings, fetch_file, fetch_structure, find_structures, read_structure
from napari_profet.errors import ServerUnreachableError, UnknownIdError, UnusableAnswerError


@pytest.fixture
def mmcif(bundle_file: Path) -> bytes:
    return bundle_file.read_bytes()


def named(mmcif: bytes, entry: str) -> bytes:
    """The same atoms as the entry of another id."""
    return mmcif.replace(b"_entry.id helix-bundle", f"_entry.id {entry}".encode())


def files_of(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.sqlite")


def test_defect_1_a_kept_file_makes_no_request_in_any_format_of_any_database(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    pdb = gemmi.read_structure_string(mmcif.decode(), format=gemmi.CoorFormat.Mmcif).make_pdb_string().encode()
    databank.add_pdb("1ABC", mmcif)
    databank.add_prediction("P12345", mmcif)
    databank.files |= {"/download/1ABC.pdb.gz": gzip.compress(pdb), "/moved/v99/P12345.pdb": pdb}
    wanted = [(text, form) for text in ("1abc", "P12345") for form in ("cif", "pdb")]
    first = [fetch_structure(text, format=form, settings=settings) for text, form in wanted]
    databank.requests.clear()
    again = [fetch_structure(text, format=form, settings=settings) for text, form in wanted]
    assert databank.requests == []
    assert again == [replace(download, from_cache=True) for download in first]


def test_defect_1_everything_works_offline_once_it_is_kept(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.add_pdb("1ABC", mmcif)
    fetch_structure("1abc", settings=settings)
    databank.close()
    nowhere = replace(settings, offline=True, **dict.fromkeys(("rcsb_url", "pdbe_url"), "http://127.0.0.1:9"))
    assert len(read_structure(fetch_structure("1abc", settings=nowhere).path)) == 120


def test_defect_4_an_unknown_id_never_gets_the_file_of_the_one_before(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.add_pdb("1ABC", named(mmcif, "1ABC"))
    fetch_structure("1abc", settings=settings)
    with pytest.raises(UnknownIdError):
        fetch_structure("2abc", settings=settings)
    assert [path.name for path in files_of(settings.cache_folder)] == ["1ABC.cif.gz"]


def test_defect_4_a_file_of_another_entry_is_refused(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.add_pdb("2ABC", named(mmcif, "1ABC"))
    with pytest.raises(UnusableAnswerError, match="not a structure of 2ABC, but of 1ABC"):
        fetch_structure("2abc", settings=settings)
    databank.add_pdb("3ABC", named(mmcif, "pdb_00003abc"))
    assert fetch_structure("3abc", settings=settings).path.is_file(), "the extended form is the same entry"


@pytest.mark.parametrize(("text", "server"), [("P12345", "/api/"), ("1abc", "/download/")])
def test_defect_5_only_the_chosen_database_is_asked(
    text: str, server: str, databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.add_pdb("1ABC", mmcif)
    databank.add_prediction("P12345", mmcif)
    database = "alphafold" if text == "P12345" else "pdb"
    assert fetch_structure(text, database, settings=settings).identifier.database == database
    assert databank.requests[0].startswith(server)
    assert not {"/api/", "/download/"} - {server} & {address[: len(server)] for address in databank.requests[1:]}
    others = [address for address in databank.requests if not address.startswith((server, "/moved/"))]
    assert others == []


def test_defect_6_a_fallback_is_noted_with_its_true_origin(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.files = {"/pdbe/entry-files/download/1abc.cif": mmcif}
    databank.faults = {"/download/1ABC.cif.gz": 500}
    fetch_structure("1abc", settings=settings)
    (kept,) = Cache(settings.cache_folder).entries()
    assert kept.url == f"{databank.url}/pdbe/entry-files/download/1abc.cif"


def test_defect_6_missing_folders_are_made(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.add_pdb("1ABC", mmcif)
    deep = replace(settings, cache_folder=settings.cache_folder / "a" / "b")
    assert fetch_structure("1abc", settings=deep).path.is_file()


@pytest.mark.parametrize("where", ["record", "file"])
@pytest.mark.parametrize("fault", [500, 503, "page", "xml", "empty", "half", "cut"])
def test_defect_7_an_error_of_alphafold_is_never_a_structure(
    fault: int | str, where: str, databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    record = databank.add_prediction("P12345", mmcif)
    databank.faults = {record if where == "record" else "/moved/v99/P12345.cif": fault}
    with pytest.raises((ServerUnreachableError, UnusableAnswerError)):
        fetch_structure("P12345", settings=settings)
    assert not [path for path in files_of(settings.cache_folder) if path.suffix in (".cif", ".pdb", ".gz")]


@pytest.mark.parametrize("fault", ["cut", "half"])
def test_a_truncated_gzip_is_never_kept(fault: str, databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.faults = {databank.add_pdb("1ABC", mmcif): fault}
    with pytest.raises(UnusableAnswerError, match="damaged|broke off"):
        fetch_structure("1abc", settings=settings)
    assert list(files_of(settings.cache_folder)) == []


def test_no_address_of_a_prediction_is_made_up(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.add_prediction("P12345", mmcif, latestVersion=41)
    assert fetch_structure("P12345", settings=settings).version == "41"
    assert databank.requests == ["/api/prediction/P12345", "/moved/v99/P12345.cif"]
    source = Path(sys.modules["napari_profet.databases.alphafold"].__file__ or "").read_text()
    assert "/files/" not in source and "model_v" not in source


def test_a_silent_server_is_given_up(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    record = databank.add_prediction("P12345", mmcif)
    databank.faults = {record: "hang"}
    with pytest.raises(ServerUnreachableError, match="no answer in time"):
        fetch_structure("P12345", settings=settings)


def test_an_id_is_learnt_without_any_download(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    """profet downloads two files to learn what an id is."""
    address = databank.add_pdb("1ABC", mmcif)
    fetch_structure("1abc", settings=settings)
    assert databank.requests == [address]


def test_no_first_hit_of_a_search_is_the_structure(databank: Any, settings: DatabaseSettings) -> None:
    hits = [{"identifier": name, "score": 1.0} for name in ("9ZZZ", "1ABC")]
    databank.files["/search"] = json.dumps({"result_set": hits}).encode()
    databank.files["/graphql"] = b'{"data": {"entries": []}}'
    table = find_structures("P12345", settings=settings)
    assert [hit.pdb_id for hit in table.hits] == ["1ABC", "9ZZZ"], "a table to choose from, not one of them"
    with pytest.raises(ValueError, match="is not a PDB id"):
        fetch_structure("P12345", "pdb", settings=settings)


def test_no_temporary_file_is_left(
    databank: Any, settings: DatabaseSettings, mmcif: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    # Large bodies go to a file at once, as they do from 64 MB on.
    monkeypatch.setattr("napari_profet.databases.web._IN_MEMORY", 1)
    address = databank.add_pdb("1ABC", mmcif)
    fetch_structure("1abc", settings=settings)
    databank.faults = {address: "half"}
    with pytest.raises(UnusableAnswerError):
        fetch_structure("1abc", settings=settings, refresh=True)
    assert list(folder.iterdir()) == []
    assert [path.name for path in files_of(settings.cache_folder)] == ["1ABC.cif.gz"]


def test_importing_and_parsing_need_no_network_and_no_browser() -> None:
    script = """
import socket, sys
def refuse(*arguments, **more):
    raise AssertionError("a connection at import")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import napari_profet.databases, napari_profet.cli
napari_profet.parse_identifier("1abc")
print([name for name in ("requests_html", "pyppeteer", "selenium", "rcsbapi") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


@pytest.mark.parametrize("what", ["pae", "plddt", "msa"])
def test_what_else_there_is_of_a_prediction_is_within_reach(
    what: str, databank: Any, settings: DatabaseSettings
) -> None:
    databank.add_prediction("P12345", b"")
    content = {
        "pae": b'[{"predicted_aligned_error": [[0, 1], [1, 0]], "max_predicted_aligned_error": 31}]',
        "plddt": b'{"residueNumber": [1], "confidenceScore": [99.0]}',
        "msa": b">a\nMK\n",
    }[what]
    records = json.loads(databank.files["/api/prediction/P12345"])
    key = {"pae": "paeDocUrl", "plddt": "plddtDocUrl", "msa": "msaUrl"}[what]
    databank.files[records[1][key].removeprefix(databank.url)] = content
    assert fetch_file("P12345", what, settings=settings).path.read_bytes() == content
