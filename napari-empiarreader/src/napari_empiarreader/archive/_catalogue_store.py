"""The file behind the catalogue: one SQLite database with a full-text index, safe under threads and processes.

Every operation opens a connection of its own, so that nothing is shared between threads or carried across a fork, and
writes are short transactions in WAL mode: readers never wait for a writer, and a kill at any moment leaves the last
whole transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_empiarreader.archive._catalogue_words import spoken
from napari_empiarreader.archive.entry import Entry, parse_entry
from napari_empiarreader.errors import ArchiveError, CatalogueError

__all__ = ["WEIGHTS", "CatalogueEntry", "Store", "StoredState"]

_VERSION = 1
"""Of the tables; a file with another one is built anew."""
_APPLICATION = 0x454D5049  # "EMPI", so that no other program's database is taken for ours
_PATIENCE = 30.0
"""Seconds to wait for another process's write."""

_TABLES = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE ranges (start INTEGER PRIMARY KEY, checked REAL NOT NULL)",
    """CREATE TABLE entries (
        number INTEGER PRIMARY KEY, released TEXT NOT NULL, updated TEXT NOT NULL, method TEXT NOT NULL,
        size_bytes INTEGER, complete INTEGER NOT NULL, card TEXT NOT NULL, record BLOB NOT NULL)""",
    "CREATE INDEX entries_released ON entries (released DESC, number DESC)",
    """CREATE TABLE imagesets (
        number INTEGER NOT NULL, category TEXT NOT NULL, data_format TEXT NOT NULL, pixel_size REAL)""",
    "CREATE INDEX imagesets_number ON imagesets (number)",
    """CREATE VIRTUAL TABLE words USING fts5 (
        title, ids, names, citation, details, tokenize = "unicode61 remove_diacritics 2", prefix = '1 2 3')""",
)
WEIGHTS = (10.0, 10.0, 5.0, 4.0, 1.0)
"""Of a word in each column of ``words``, for the ranking."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One entry in a list of results; :meth:`Catalogue.entry` has the rest.

    Parameters
    ----------
    dataset_size, size_bytes
        As the archive words it, and in bytes.
    method
        The archive's ``experiment_type``.
    categories, data_formats
        Of the image sets, each once.
    pixel_sizes
        Of the image sets in Å, each once, the smallest first.
    cross_references, pdb_references
        Linked EMDB and PDB entries.
    citation
        Title, journal and year of the first publication.
    """

    number: int
    title: str = ""
    authors: tuple[str, ...] = ()
    release_date: str = ""
    dataset_size: str = ""
    size_bytes: int | None = None
    method: str = ""
    categories: tuple[str, ...] = ()
    data_formats: tuple[str, ...] = ()
    pixel_sizes: tuple[float, ...] = ()
    cross_references: tuple[str, ...] = ()
    pdb_references: tuple[str, ...] = ()
    citation: str = ""

    @property
    def accession(self) -> str:
        """The name of the entry in full, ``EMPIAR-10017``."""
        return f"EMPIAR-{self.number}"


@dataclass(frozen=True)
class StoredState:
    """What is known of an entry already: the archive's date of its last change, and whether all of it was fetched."""

    updated: str
    complete: bool


class Store:
    """The database at ``path``; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # ---- connections -----------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection to the tables, or None where there are none of this version yet."""
        if not self.path.is_file():
            yield None
            return
        with self._errors_in_words(), closing(self._connect()) as connection:
            yield connection if self._version(connection) == _VERSION else None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one transaction, which is undone if anything raises; makes the tables if need be."""
        with self._errors_in_words():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection:
                _use_write_ahead_log(connection)
                connection.execute("BEGIN IMMEDIATE")
                try:
                    if self._version(connection) != _VERSION:
                        _rebuild(connection)
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _version(self, connection: sqlite3.Connection) -> int:
        """Version of the tables; 0 for an empty file."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != _APPLICATION and tables:
            raise CatalogueError(f"{self.path}: this is another program's database; give the catalogue its own file")
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if "fts5" in str(error):
                raise CatalogueError(
                    f"{self.path}: this Python's SQLite {sqlite3.sqlite_version} was built without FTS5, which the "
                    "search needs; use a Python from python.org, conda or a distribution, all of which have it"
                ) from error
            if "locked" in str(error) or "busy" in str(error):
                raise CatalogueError(
                    f"{self.path}: another process has been writing for {_PATIENCE:g} s; try again when it is done"
                ) from error
            raise CatalogueError(
                f"{self.path}: the catalogue cannot be used ({error}); check the disk, or delete the file and update"
            ) from error
        except CatalogueError:
            raise
        except OSError as error:
            if error.filename is None:  # not about this file: the network, or the caller's own
                raise
            raise CatalogueError(f"{self.path}: the catalogue cannot be written ({error.strerror})") from error

    # ---- what is known ---------------------------------------------------------------------------------------

    def about(self, name: str) -> str | None:
        """A fact about the whole catalogue, or None."""
        with self.reading() as connection:
            if connection is None:
                return None
            row = connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
            return row and row[0]

    def count(self) -> int:
        """Number of entries."""
        with self.reading() as connection:
            return 0 if connection is None else connection.execute("SELECT count(*) FROM entries").fetchone()[0]

    def largest(self) -> int | None:
        """The highest number of an entry."""
        with self.reading() as connection:
            return None if connection is None else connection.execute("SELECT max(number) FROM entries").fetchone()[0]

    def checked(self) -> dict[int, float]:
        """When each range was last asked for, in seconds since 1970, by its first number."""
        with self.reading() as connection:
            return {} if connection is None else dict(connection.execute("SELECT start, checked FROM ranges"))

    def states(self, first: int, last: int) -> dict[int, StoredState]:
        """What is known of the entries ``first`` to ``last``, by number."""
        with self.reading() as connection:
            if connection is None:
                return {}
            query = "SELECT number, updated, complete FROM entries WHERE number BETWEEN ? AND ?"
            rows = connection.execute(query, (first, last))
            return {number: StoredState(updated, bool(complete)) for number, updated, complete in rows}

    def record(self, number: int) -> dict[str, Any] | None:
        """Everything the archive said about an entry, or None."""
        with self.reading() as connection:
            if connection is None:
                return None
            row = connection.execute("SELECT record FROM entries WHERE number = ?", (number,)).fetchone()
            return None if row is None else _unpacked(row[0], self.path)

    def select(self, sql: str, values: Sequence[object]) -> list[Any]:
        """Rows of a query; CatalogueError where nothing was ever fetched, because nothing found would mislead."""
        with self.reading() as connection:
            if connection is None or not connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone():
                raise CatalogueError(f"{self.path}: the catalogue is empty; update it once while online")
            return connection.execute(sql, values).fetchall()

    # ---- changes ---------------------------------------------------------------------------------------------

    def set_about(self, **facts: str) -> None:
        """Keep facts about the whole catalogue."""
        with self.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", facts.items())

    def clear(self) -> None:
        """Forget everything."""
        with self.writing() as connection:
            _rebuild(connection)

    def put(self, records: Mapping[int, tuple[dict[str, Any], bool]], *, checked: int | None = None) -> None:
        """Keep entries, each with whether it is complete; ``checked`` is the range that was asked for with it."""
        with self.writing() as connection:
            for number, (record, complete) in records.items():
                _put(connection, number, record, complete)
            if checked is not None:
                connection.execute("INSERT OR REPLACE INTO ranges VALUES (?, ?)", (checked, time.time()))

    def mark_incomplete(self, numbers: Sequence[int]) -> None:
        """Remember that these have changed and must be fetched again; what is known of them stays until then."""
        with self.writing() as connection:
            connection.executemany("UPDATE entries SET complete = 0 WHERE number = ?", [(n,) for n in numbers])

    def remove(self, number: int) -> None:
        """Forget an entry."""
        with self.writing() as connection:
            _remove(connection, number)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # Two processes that make the file at the same moment meet here, and this one statement does not wait by itself.
    for attempt in range(100):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if attempt == 99 or "locked" not in str(error):
                raise
            time.sleep(0.02)
        else:
            return


def _rebuild(connection: sqlite3.Connection) -> None:
    """Empty tables of this version in place of whatever was there."""
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'").fetchall():
        connection.execute(f'DROP TABLE "{name}"')  # its shadow tables go with it
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        connection.execute(f'DROP TABLE IF EXISTS "{name}"')
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")


def _remove(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM entries WHERE number = ?", (number,))
    connection.execute("DELETE FROM imagesets WHERE number = ?", (number,))
    connection.execute("DELETE FROM words WHERE rowid = ?", (number,))


def _put(connection: sqlite3.Connection, number: int, record: dict[str, Any], complete: bool) -> None:
    entry = parse_entry({f"EMPIAR-{number}": record}, number)
    _remove(connection, number)
    card = _card(entry)
    row = (entry.release_date, entry.update_date, entry.experiment_type, entry.size_bytes, complete)
    try:
        packed = zlib.compress(json.dumps(record).encode())
    except RecursionError as error:
        raise ArchiveError(f"EMPIAR-{number}: the archive's answer is nested without end; try again later") from error
    connection.execute(
        "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (number, *row, json.dumps(asdict(card)), packed)
    )
    connection.executemany(
        "INSERT INTO imagesets VALUES (?, ?, ?, ?)",
        [(number, each.category, each.data_format, each.pixel_size) for each in entry.imagesets],
    )
    columns = (spoken(" ".join(words)) for words in _words(entry))
    connection.execute(
        "INSERT INTO words (rowid, title, ids, names, citation, details) VALUES (?, ?, ?, ?, ?, ?)", (number, *columns)
    )


def _card(entry: Entry) -> CatalogueEntry:
    return CatalogueEntry(
        number=entry.number,
        title=entry.title,
        authors=entry.authors,
        release_date=entry.release_date,
        dataset_size=entry.dataset_size,
        size_bytes=entry.size_bytes,
        method=entry.experiment_type,
        categories=tuple(dict.fromkeys(each.category for each in entry.imagesets if each.category)),
        data_formats=tuple(dict.fromkeys(each.data_format for each in entry.imagesets if each.data_format)),
        pixel_sizes=tuple(sorted({each.pixel_size for each in entry.imagesets if each.pixel_size})),
        cross_references=entry.cross_references,
        pdb_references=entry.pdb_references,
        citation=", ".join(filter(None, (entry.citation_title, entry.citation_journal, entry.citation_year))),
    )


def _words(entry: Entry) -> tuple[list[str], ...]:
    """What can be searched for, in the order of the columns: title, ids, names, citation, details."""
    people = [entry.corresponding_author, *entry.principal_investigators]
    names = [*entry.authors, *(person.name for person in people if person)]
    names += [author for citation in entry.citations for author in citation.authors]
    references = [*entry.cross_references, *entry.pdb_references, *entry.empiar_references]
    dois = [entry.entry_doi, *(citation.doi for citation in entry.citations)]
    ids = [entry.accession, *references, *(reference.rpartition("-")[2] for reference in references), *dois]
    citations = [
        text
        for citation in entry.citations
        for text in (citation.title, citation.journal, citation.journal_abbreviation, citation.year, citation.pubmed_id)
    ]
    details = [entry.experiment_type, entry.scale]
    for each in entry.imagesets:
        details += [each.name, each.details, each.category, each.data_format, each.directory]
    return [entry.title], ids, list(dict.fromkeys(names)), citations, details


def _unpacked(packed: bytes, path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(zlib.decompress(packed))
    except (zlib.error, ValueError) as error:
        raise CatalogueError(f"{path}: a stored entry is damaged ({error}); update with full=True") from error
    return record
