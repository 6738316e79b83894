"""Fetched files on this machine: each complete, and each with a note of where it came from.

The notes are one SQLite file, so that several processes may read and write it at once; SQLite does the locking.
A file counts as kept only while its content has the checksum in its note.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from napari_profet.databases.identifiers import Database, Identifier
from napari_profet.databases.web import Answer
from napari_profet.errors import UserError
from napari_profet.files import replaced_when_complete

__all__ = ["Cache", "CacheError", "Download"]

_log = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    database TEXT, entry TEXT, item TEXT, path TEXT, url TEXT, version TEXT, fetched TEXT, sha256 TEXT,
    bytes INTEGER, used REAL, PRIMARY KEY (database, entry, item))
"""
_COLUMNS = "database, entry, item, path, url, version, fetched, sha256, bytes"
_PATIENCE = 30.0
T = TypeVar("T")


class CacheError(UserError, OSError):
    """The folder of kept files cannot be used."""


@dataclass(frozen=True)
class Download:
    """A file of a database, on this machine.

    Attributes
    ----------
    identifier
        The entry.
    path
        The file.
    url
        Where it was fetched, after all redirections.
    version
        Version of the entry, where the database tells.
    fetched
        When, in ISO format, UTC.
    sha256
        Checksum of the file.
    from_cache
        Whether it was here already, so that nothing was asked of any server.
    item
        Which file of the entry it is: ``cif``, ``cif-assembly1``, ``pae`` ...
    size
        Bytes.
    """

    identifier: Identifier
    path: Path
    url: str
    version: str
    fetched: str
    sha256: str
    from_cache: bool
    item: str = "cif"
    size: int = 0


@dataclass(frozen=True)
class Cache:
    """A folder of kept files.

    Attributes
    ----------
    folder
        The folder; made with the first file.
    limit
        Bytes to keep; beyond it those files go that were not used for longest.
    """

    folder: Path
    limit: int = 20 * 1024**3

    def find(self, identifier: Identifier, item: str, *, max_days: float | None = None) -> Download | None:
        """A file of an entry, if it is here, whole, and no older than ``max_days``."""
        if not self._manifest.is_file():
            return None
        where = (identifier.database.value, str(identifier), item)

        def look(manifest: sqlite3.Connection) -> Download | None:
            row = manifest.execute(
                f"SELECT {_COLUMNS} FROM files WHERE database=? AND entry=? AND item=?", where
            ).fetchone()
            return self._download(row, identifier) if row else None

        kept = self._with_manifest(look)
        if kept is None or (max_days is not None and _age(kept) > timedelta(days=max_days)):
            return None
        # Against a file that a full disk or another program has spoilt since.
        if not kept.path.is_file() or _sha256(kept.path) != kept.sha256:
            return None
        self._mark_used(where)
        return kept

    def store(self, identifier: Identifier, item: str, name: str, answer: Answer, version: str = "") -> Download:
        """Keep an answer; an older file of the same item is replaced.

        Parameters
        ----------
        identifier, item
            Of which entry it is what.
        name
            File name; .gz is added to it where the content is compressed.
        answer
            Content that has been checked.
        version
            Version of the entry, where the database tells.

        Raises
        ------
        CacheError
            The folder cannot be written.
        """
        answer.body.seek(0)
        packed = answer.body.read(2) == b"\x1f\x8b"
        path = self.folder / identifier.database.value / (f"{name}.gz" if packed else name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return self._with_manifest(lambda manifest: self._keep(manifest, identifier, item, path, answer, version))
        except CacheError:
            raise
        except OSError as error:
            raise CacheError(
                f"{self.folder}: cannot keep {path.name} there ({error}); free space or set PROFET_CACHE"
            ) from error

    def entries(self) -> list[Download]:
        """All kept files, those used last first."""
        if not self._manifest.is_file():
            return []
        rows = self._with_manifest(
            lambda manifest: manifest.execute(f"SELECT {_COLUMNS} FROM files ORDER BY used DESC, rowid").fetchall()
        )
        return [self._download(row, Identifier.of_key(Database(row[0]), row[1])) for row in rows]

    @property
    def size(self) -> int:
        """Bytes of all kept files."""
        return sum(download.size for download in self.entries())

    def purge(
        self, identifiers: Iterable[Identifier] | None = None, *, older_than: timedelta | None = None
    ) -> list[Download]:
        """Remove kept files; return what went.

        Parameters
        ----------
        identifiers
            Of these entries only; of all by default.
        older_than
            Only what was fetched longer ago than this.
        """
        chosen = None if identifiers is None else set(identifiers)
        gone = [
            kept
            for kept in self.entries()
            if (chosen is None or kept.identifier in chosen) and (older_than is None or _age(kept) > older_than)
        ]
        if gone:
            self._with_manifest(lambda manifest: _remove(manifest, *gone))
        return gone

    # ---- the manifest ----------------------------------------------------------------------------------------

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.sqlite"

    def _with_manifest(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Result of ``work`` on the manifest; a damaged one is set aside, and what it listed is fetched again."""
        try:
            with self._opened() as manifest:
                return work(manifest)
        except sqlite3.OperationalError as error:
            raise CacheError(f"{self._manifest}: {error}; close what locks it, or set PROFET_CACHE") from error
        except sqlite3.DatabaseError as error:
            aside = self._manifest.with_name(f"manifest-damaged-{int(time.time())}.sqlite")
            self._manifest.replace(aside)
            _log.warning("%s is damaged (%s); set aside as %s, files are fetched again", self._manifest, error, aside)
            with self._opened() as manifest:
                return work(manifest)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The manifest in one transaction; other processes wait for its end, at most half a minute."""
        writable = not self._manifest.exists() or _may_write(self._manifest)
        address = self._manifest.resolve().as_uri() + ("" if writable else "?mode=ro")
        with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE, isolation_level=None)) as manifest:
            if writable:
                manifest.execute("BEGIN IMMEDIATE")
                manifest.execute(_SCHEMA)
            else:
                manifest.execute("BEGIN")
            try:
                yield manifest
            except BaseException:
                manifest.rollback()
                raise
            manifest.commit()

    def _keep(
        self,
        manifest: sqlite3.Connection,
        identifier: Identifier,
        item: str,
        path: Path,
        answer: Answer,
        version: str,
    ) -> Download:
        """Write the file and its note under one lock, so that nobody sees the one without the other."""
        where = (identifier.database.value, str(identifier), item)
        old = manifest.execute("SELECT path FROM files WHERE database=? AND entry=? AND item=?", where).fetchone()
        with replaced_when_complete(path, overwrite=True) as temporary, temporary.open("wb") as file:
            answer.body.seek(0)
            shutil.copyfileobj(answer.body, file, 1 << 20)
        if old and self.folder / old[0] != path:
            (self.folder / old[0]).unlink(missing_ok=True)
        fetched = datetime.now(UTC).isoformat(timespec="seconds")
        row = (*where, path.relative_to(self.folder).as_posix(), answer.url, version, fetched, _sha256(path))
        manifest.execute(
            f"INSERT OR REPLACE INTO files ({_COLUMNS}, used) VALUES (?,?,?,?,?,?,?,?,?,?)",
            (*row, path.stat().st_size, time.time()),
        )
        self._evict(manifest, path)
        return Download(identifier, path, answer.url, version, fetched, row[-1], False, item, path.stat().st_size)

    def _evict(self, manifest: sqlite3.Connection, newest: Path) -> None:
        """Remove what was not used for longest until the limit holds; never the newest file."""
        rows = manifest.execute(f"SELECT {_COLUMNS} FROM files ORDER BY used, rowid").fetchall()
        excess = sum(row[-1] for row in rows) - self.limit
        for row in rows:
            kept = self._download(row, Identifier.of_key(Database(row[0]), row[1]))
            if excess <= 0:
                break
            if kept.path != newest:
                _remove(manifest, kept)
                excess -= kept.size
                _log.info("%s removed: the kept files exceed %d bytes", kept.path, self.limit)

    def _mark_used(self, where: tuple[str, str, str]) -> None:
        if not _may_write(self._manifest):
            return
        self._with_manifest(
            lambda manifest: manifest.execute(
                "UPDATE files SET used=? WHERE database=? AND entry=? AND item=?", (time.time(), *where)
            )
        )

    def _download(self, row: tuple, identifier: Identifier) -> Download:
        _, _, item, path, url, version, fetched, sha256, size = row
        return Download(identifier, self.folder / path, url, version, fetched, sha256, True, item, size)


def _remove(manifest: sqlite3.Connection, *gone: Download) -> None:
    for kept in gone:
        kept.path.unlink(missing_ok=True)
        where = (kept.identifier.database.value, str(kept.identifier), kept.item)
        manifest.execute("DELETE FROM files WHERE database=? AND entry=? AND item=?", where)


def _age(kept: Download) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(kept.fetched)


def _may_write(path: Path) -> bool:
    # SQLite needs a journal beside the file.
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
