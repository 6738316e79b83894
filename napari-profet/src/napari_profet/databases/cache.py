"""Fetched files on this machine: each complete, and each with a note of where it came from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from napari_profet.databases.identifiers import Identifier
from napari_profet.files import replaced_when_complete

__all__ = ["Download", "Remote", "find", "store"]


@dataclass(frozen=True)
class Remote:
    """Where a database keeps the file of an entry.

    Attributes
    ----------
    url
        Address of the file.
    version
        Version of the entry, where the database tells.
    """

    url: str
    version: str = ""


@dataclass(frozen=True)
class Download:
    """A structure file of a database, on this machine.

    Attributes
    ----------
    identifier
        The entry.
    path
        The file.
    url
        Where it was fetched.
    version
        Version of the entry, where the database tells.
    fetched
        When, in ISO format, UTC.
    sha256
        Checksum of the file.
    from_cache
        Whether it was here already, so that nothing was asked of any server.
    """

    identifier: Identifier
    path: Path
    url: str
    version: str
    fetched: str
    sha256: str
    from_cache: bool


def find(folder: Path, identifier: Identifier) -> Download | None:
    """The file of an entry, if it is here and whole."""
    note_path = _note_path(folder, identifier)
    try:
        note = json.loads(note_path.read_text(encoding="utf-8"))
        path = note_path.with_name(note["file"])
        # Milliseconds, against a file that a full disk or another program has spoilt since.
        if hashlib.sha256(path.read_bytes()).hexdigest() != note["sha256"]:
            return None
        return Download(identifier, path, note["url"], note["version"], note["fetched"], note["sha256"], True)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # What is missing or damaged is fetched again.
        return None


def store(folder: Path, identifier: Identifier, remote: Remote, content: bytes) -> Download:
    """Keep the content of a file; an older one is replaced.

    The note is written last: where there is a note, the file is complete.
    """
    note_path = _note_path(folder, identifier)
    packed = content.startswith(b"\x1f\x8b")
    path = note_path.with_suffix(".cif.gz" if packed else ".cif")
    with replaced_when_complete(path, overwrite=True) as temporary:
        temporary.write_bytes(content)
    note = {
        "file": path.name,
        "url": remote.url,
        "version": remote.version,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    with replaced_when_complete(note_path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(note, indent=1), encoding="utf-8")
    return Download(identifier, path, note["url"], note["version"], note["fetched"], note["sha256"], False)


def _note_path(folder: Path, identifier: Identifier) -> Path:
    return folder / identifier.database.value / f"{identifier.accession}.json"
