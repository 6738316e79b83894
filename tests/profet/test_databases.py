"""Given a databank with its faults, when a structure is fetched, then it is complete, or the error says what to do."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_profet import Database, DatabaseSettings, Structure, fetch_structure, read_structure
from napari_profet.databases import parse_identifier
from napari_profet.errors import (
    CancelledError,
    IdentifierError,
    ServerUnreachableError,
    UnknownIdError,
    UnusableAnswerError,
)


def files_in(folder: Path) -> list[str]:
    """Structures, whole or in part; neither the manifest nor the list of models where to find one is one."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [name for name in names if not name.endswith(("manifest.sqlite", "P12345-predictions.json"))]


@pytest.mark.parametrize(
    ("text", "database", "accession"),
    [
        ("1abc", Database.PDB, "1ABC"),
        (" 4HHB ", Database.PDB, "4HHB"),
        ("pdb_00001abc", Database.PDB, "1ABC"),
        ("PDB_1000ABCD", Database.PDB, "pdb_1000abcd"),
        ("P12345", Database.ALPHAFOLD, "P12345"),
        ("a0a023gpi8", Database.ALPHAFOLD, "A0A023GPI8"),
        ("P12345-2", Database.ALPHAFOLD, "P12345-2"),
        ("AF-P12345-F1", Database.ALPHAFOLD, "P12345"),
    ],
)
def test_an_id_tells_its_database(text: str, database: Database, accession: str) -> None:
    entry = parse_identifier(text)
    assert (entry.database, entry.accession) == (database, accession)
    assert parse_identifier(text, database) == entry


@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("", "auto"),
        ("abcd", "auto"),
        ("../1abc", "auto"),
        ("1abc\n2abc", "auto"),
        ("P12345", "pdb"),
        ("1abc", "alphafold"),
    ],
)
def test_what_is_no_id_is_refused_before_any_request(
    text: str, database: str, databank: Any, settings: DatabaseSettings
) -> None:
    with pytest.raises(IdentifierError, match="check the id"):
        fetch_structure(text, database, settings=settings)
    assert databank.requests == []


@pytest.mark.parametrize("text", ["1abc", "pdb_00001abc"])
def test_a_pdb_entry_is_fetched_once(
    text: str, databank: Any, settings: DatabaseSettings, bundle: Structure, bundle_file: Path
) -> None:
    address = databank.add_pdb("1ABC", bundle_file.read_bytes())
    seen: list[tuple[int, int]] = []

    first = fetch_structure(
        text, settings=settings, progress=lambda done, total, message="": seen.append((done, total))
    )
    again = fetch_structure("1ABC", "pdb", settings=settings)

    assert databank.requests == [address]
    assert (first.from_cache, again.from_cache) == (False, True)
    assert first.path == again.path and first.url == databank.url + address and first.sha256 == again.sha256
    assert len(read_structure(first.path)) == len(bundle)
    size = len(databank.files[address])
    assert seen[-1] == (size, size)


def test_a_prediction_comes_from_the_address_the_database_names(
    databank: Any, settings: DatabaseSettings, bundle_file: Path
) -> None:
    record = databank.add_prediction("P12345", bundle_file.read_bytes())

    first = fetch_structure("P12345", settings=settings)
    fetch_structure("AF-P12345-F1", settings=settings)

    assert databank.requests == [record, "/moved/v99/P12345.cif"]
    assert first.version == "99"
    assert first.path.read_bytes() == bundle_file.read_bytes()


def test_refresh_and_a_spoilt_file_fetch_anew(databank: Any, settings: DatabaseSettings, bundle_file: Path) -> None:
    databank.add_pdb("1ABC", bundle_file.read_bytes())
    kept = fetch_structure("1abc", settings=settings)
    assert not fetch_structure("1abc", settings=settings, refresh=True).from_cache
    kept.path.write_bytes(kept.path.read_bytes()[:-100])
    assert not fetch_structure("1abc", settings=settings).from_cache
    assert len(databank.requests) == 3, "one for each"
    assert len(read_structure(kept.path))


def test_a_server_that_is_busy_once_is_asked_again(
    databank: Any, settings: DatabaseSettings, bundle_file: Path
) -> None:
    address = databank.add_pdb("1ABC", bundle_file.read_bytes())
    databank.faults[address] = "busy once"
    assert fetch_structure("1abc", settings=settings).path.is_file()
    assert databank.requests == [address, address]


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (404, UnknownIdError, "check the id"),
        (500, ServerUnreachableError, "HTTP 500"),
        (403, UnusableAnswerError, "HTTP 403"),
        ("page", UnusableAnswerError, "web page"),
        ("empty", UnusableAnswerError, "empty"),
        ("half", UnusableAnswerError, "broke off"),
        ("hang", ServerUnreachableError, "no answer in time"),
    ],
)
@pytest.mark.parametrize("text", ["1abc", "P12345"])
def test_a_bad_answer_is_named_and_never_kept(
    text: str,
    fault: int | str,
    error: type[Exception],
    words: str,
    databank: Any,
    settings: DatabaseSettings,
    bundle_file: Path,
) -> None:
    databank.add_pdb("1ABC", bundle_file.read_bytes())
    databank.add_prediction("P12345", bundle_file.read_bytes())
    databank.faults = {"/download/1ABC.cif.gz": fault, "/moved/v99/P12345.cif": fault}
    with pytest.raises(error, match=words):
        fetch_structure(text, settings=settings)
    assert files_in(settings.cache_folder) == []
    # The error is not remembered: once the server is well, so is the fetch.
    databank.faults.clear()
    assert fetch_structure(text, settings=settings).path.is_file()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"[]", UnknownIdError, "no prediction for P12345"),
        (b"{}", UnusableAnswerError, "not a list"),
        (b"soon back", UnusableAnswerError, "not JSON"),
        (b'[{"modelEntityId": "AF-P12345-F1"}]', UnusableAnswerError, "cifUrl"),
        (b'[{"modelEntityId": "AF-P12345-F1", "cifUrl": "file:///etc/passwd"}]', UnusableAnswerError, "no web address"),
        (b'[{"modelEntityId": "AF-Q99999-F1", "cifUrl": "http://127.0.0.1/x"}]', UnknownIdError, "no prediction"),
    ],
)
def test_an_odd_answer_of_alphafold_is_named(
    answer: bytes, error: type[Exception], words: str, databank: Any, settings: DatabaseSettings
) -> None:
    databank.files["/api/prediction/P12345"] = answer
    with pytest.raises(error, match=words):
        fetch_structure("P12345", settings=settings)
    assert files_in(settings.cache_folder) == []


@pytest.mark.parametrize("content", [b"ID,count\n1,2\n", b"data_x\n_entry.id x\n", b"<Error>NoSuchKey</Error>"])
def test_an_answer_that_is_no_structure_is_never_kept(
    content: bytes, databank: Any, settings: DatabaseSettings
) -> None:
    databank.add_pdb("1ABC", content)
    with pytest.raises(UnusableAnswerError, match="not a structure|XML"):
        fetch_structure("1abc", settings=settings)
    assert files_in(settings.cache_folder) == []


def test_a_failed_refresh_leaves_the_kept_file(databank: Any, settings: DatabaseSettings, bundle_file: Path) -> None:
    address = databank.add_pdb("1ABC", bundle_file.read_bytes())
    kept = fetch_structure("1abc", settings=settings)
    databank.faults[address] = "page"
    with pytest.raises(UnusableAnswerError):
        fetch_structure("1abc", settings=settings, refresh=True)
    assert fetch_structure("1abc", settings=settings) == replace(kept, from_cache=True)


def test_no_server_at_all(settings: DatabaseSettings) -> None:
    nowhere = replace(settings, rcsb_url="http://127.0.0.1:9/download", retries=0)
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:9: no connection"):
        fetch_structure("1abc", settings=nowhere)


def test_stop_ends_the_wait_for_a_silent_server(databank: Any, settings: DatabaseSettings, bundle_file: Path) -> None:
    databank.faults[databank.add_pdb("1ABC", bundle_file.read_bytes())] = "hang"
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(CancelledError):
        fetch_structure("1abc", settings=replace(settings, timeout=20), stop=stop)
    assert time.monotonic() - begin < 5
    assert files_in(settings.cache_folder) == []


def test_settings_come_from_the_environment_and_arguments_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROFET_RCSB_URL", "http://mirror.invalid/pdb")
    monkeypatch.setenv("PROFET_ALPHAFOLD_URL", "http://mirror.invalid/af")
    monkeypatch.setenv("PROFET_CACHE", str(tmp_path))
    assert DatabaseSettings() == DatabaseSettings(
        rcsb_url="http://mirror.invalid/pdb", alphafold_url="http://mirror.invalid/af", cache_folder=tmp_path
    )
    assert DatabaseSettings(rcsb_url="http://other.invalid").rcsb_url == "http://other.invalid"
