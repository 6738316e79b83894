"""Given fetched files, when they are asked for again, then they are whole and nobody is asked; the limit holds."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from napari_profet import Cache, Database, DatabaseSettings, fetch_structure
from napari_profet.databases import CacheError, Identifier
from napari_profet.databases.web import Answer


def entry(name: str) -> Identifier:
    return Identifier(Database.PDB, name)


def keep(cache: Cache, name: str, content: bytes = b"data_x\n", item: str = "cif") -> Any:
    return cache.store(entry(name), item, f"{name}.{item}", Answer(io.BytesIO(content), f"http://x/{name}"), "7")


def test_a_kept_file_says_where_it_came_from(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "not" / "yet")
    assert cache.find(entry("1ABC"), "cif") is None and cache.entries() == []
    stored = keep(cache, "1ABC", b"content")
    found = cache.find(entry("1ABC"), "cif")
    assert found is not None and found.path.read_bytes() == b"content"
    assert (found.url, found.version, found.item, found.size) == ("http://x/1ABC", "7", "cif", 7)
    assert found.sha256 == hashlib.sha256(b"content").hexdigest() == stored.sha256
    assert (stored.from_cache, found.from_cache) == (False, True)
    assert found.fetched.endswith("+00:00")
    assert cache.entries() == [found] and cache.size == 7


def test_items_of_one_entry_do_not_mix(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    keep(cache, "1ABC", b"one", "cif")
    keep(cache, "1ABC", b"two", "pdb")
    assert [cache.find(entry("1ABC"), item).path.read_bytes() for item in ("cif", "pdb")] == [b"one", b"two"]


def test_a_newer_file_replaces_the_older_also_when_it_is_packed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    old = keep(cache, "1ABC", b"plain").path
    new = keep(cache, "1ABC", b"\x1f\x8bpacked").path
    assert new.name == "1ABC.cif.gz" and not old.exists()
    assert len(cache.entries()) == 1


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"datA_x\n"), Path.unlink])
def test_a_spoilt_or_missing_file_is_not_a_hit(spoil: Any, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    path = keep(cache, "1ABC").path
    spoil(path)
    assert cache.find(entry("1ABC"), "cif") is None
    keep(cache, "1ABC")
    assert cache.find(entry("1ABC"), "cif") is not None


def test_the_limit_drops_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=25)
    for name in ("1AAA", "1BBB"):
        keep(cache, name, b"0123456789")
    assert cache.find(entry("1AAA"), "cif")
    keep(cache, "1CCC", b"0123456789")
    assert [kept.identifier.accession for kept in cache.entries()] == ["1CCC", "1AAA"]
    assert sorted(path.name for path in (tmp_path / "pdb").iterdir()) == ["1AAA.cif", "1CCC.cif"]
    # One that is larger than all is kept: the user has just asked for it.
    assert keep(cache, "1DDD", b"x" * 100).path.is_file()
    assert [kept.identifier.accession for kept in cache.entries()] == ["1DDD"]


def test_purge(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("1AAA", "1BBB", "1CCC"):
        keep(cache, name)
    assert cache.purge(older_than=timedelta(days=1)) == []
    assert [kept.identifier.accession for kept in cache.purge([entry("1BBB")])] == ["1BBB"]
    assert cache.find(entry("1BBB"), "cif") is None and cache.find(entry("1AAA"), "cif")
    assert len(cache.purge()) == 2 and cache.entries() == []
    assert list((tmp_path / "pdb").iterdir()) == []


def test_answers_that_change_grow_old(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    keep(cache, "1ABC")
    with sqlite3.connect(tmp_path / "manifest.sqlite") as manifest:
        manifest.execute("UPDATE files SET fetched='2020-01-01T00:00:00+00:00'")
    assert cache.find(entry("1ABC"), "cif", max_days=7) is None
    assert cache.find(entry("1ABC"), "cif") is not None
    assert len(cache.purge(older_than=timedelta(days=30))) == 1


def test_a_damaged_manifest_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path)
    keep(cache, "1ABC")
    (tmp_path / "manifest.sqlite").write_bytes(b"no database " * 100)
    assert cache.find(entry("1ABC"), "cif") is None
    assert "damaged" in caplog.text and len(list(tmp_path.glob("manifest-damaged-*"))) == 1
    keep(cache, "1ABC")
    assert cache.find(entry("1ABC"), "cif") is not None


def test_processes_share_the_manifest(tmp_path: Path) -> None:
    """Four processes write forty files each into one folder: none is lost, none is half."""
    script = """
import io, sys
from pathlib import Path
from napari_profet.databases import Cache, Database, Identifier
from napari_profet.databases.web import Answer
cache, mine = Cache(Path(sys.argv[1])), sys.argv[2]
for number in range(40):
    for name in (f"own-{mine}-{number}", f"shared-{number}"):
        body = io.BytesIO((f"{name} by {mine} " * 500).encode())
        cache.store(Identifier(Database.PDB, name), "cif", f"{name}.cif", Answer(body, "http://x"))
"""
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(who)]) for who in range(4)]
    assert [process.wait(120) for process in running] == [0, 0, 0, 0]
    cache = Cache(tmp_path)
    kept = cache.entries()
    assert len(kept) == 4 * 40 + 40
    assert all(cache.find(file.identifier, "cif") for file in kept), "each file has the checksum of its note"


def test_a_manifest_that_can_only_be_read_still_hits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    keep(cache, "1ABC")
    before = (tmp_path / "manifest.sqlite").read_bytes()
    monkeypatch.setattr("napari_profet.databases.cache._may_write", lambda path: False)
    assert cache.find(entry("1ABC"), "cif") is not None
    assert (tmp_path / "manifest.sqlite").read_bytes() == before
    with pytest.raises(CacheError, match="readonly"):
        keep(cache, "1XYZ")


def test_a_manifest_that_stays_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    keep(cache, "1ABC")
    monkeypatch.setattr("napari_profet.databases.cache._PATIENCE", 0.05)
    with contextlib.closing(sqlite3.connect(tmp_path / "manifest.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheError, match=r"manifest.sqlite: database is locked; .*PROFET_CACHE"):
            cache.find(entry("1ABC"), "cif")
    assert cache.find(entry("1ABC"), "cif") is not None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match=r"cannot keep 1ABC.cif there.*PROFET_CACHE"):
        keep(Cache(tmp_path / "file"), "1ABC")


def test_hits_make_no_request_even_after_the_server_is_gone(
    databank: Any, settings: DatabaseSettings, bundle_file: Path
) -> None:
    databank.add_pdb("1ABC", bundle_file.read_bytes())
    databank.add_prediction("P12345", bundle_file.read_bytes())
    for text in ("1abc", "P12345"):
        fetch_structure(text, settings=settings)
    asked = len(databank.requests)
    databank.files.clear()
    for text in ("1ABC", "pdb_00001abc", "P12345", "AF-P12345-F1", "AF_AFP12345F1"):
        assert fetch_structure(text, settings=settings).from_cache
    assert len(databank.requests) == asked
