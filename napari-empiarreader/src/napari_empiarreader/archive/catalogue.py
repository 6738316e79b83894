"""All entries of the archive in one index on disk: built on demand, refreshed in part, searched without a network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_empiarreader.archive._catalogue_store import WEIGHTS, CatalogueEntry, Store
from napari_empiarreader.archive._catalogue_update import CatalogueUpdate, Walk
from napari_empiarreader.archive._catalogue_words import match_expression
from napari_empiarreader.archive.entry import Entry, parse_entry
from napari_empiarreader.archive.settings import CACHE_VARIABLE, ArchiveSettings
from napari_empiarreader.errors import CatalogueError
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_empiarreader.archive.client import Archive

__all__ = ["Catalogue", "CatalogueEntry", "CatalogueUpdate"]

MAX_AGE = timedelta(days=30)
"""After which entries are asked for again, because some change after their release."""


class Catalogue:
    """The index of all entries.

    Parameters
    ----------
    path
        The file that holds it, by default one in the folder of ``EMPIAR_CACHE``, else in the user's cache folder. It
        need not exist: :meth:`update` makes it. Threads and processes may share it.

    Examples
    --------
    >>> catalogue = Catalogue()
    >>> catalogue.update(Archive())                                             # doctest: +SKIP
    >>> catalogue.search("beta gal", method="EMDB", data_format="TIFF")         # doctest: +SKIP
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = _default_path(ArchiveSettings.from_environment()) if path is None else Path(path)
        self._store = Store(self.path)

    @classmethod
    def of(cls, archive: Archive) -> Catalogue:
        """The catalogue of this archive in its cache folder; another address has another file."""
        return cls(_default_path(archive.settings))

    def __len__(self) -> int:
        return self._store.count()

    def __bool__(self) -> bool:
        return True  # an empty catalogue is still one

    def __repr__(self) -> str:
        return f"Catalogue({str(self.path)!r})"

    @property
    def age(self) -> timedelta | None:
        """Time since the last update that came to its end; None when there was none."""
        updated = self._store.about("updated")
        return None if updated is None else timedelta(seconds=max(0.0, time.time() - float(updated)))

    def update(
        self, archive: Archive, progress: Progress = silent, full: bool = False, max_age: timedelta = MAX_AGE
    ) -> CatalogueUpdate:
        """Fetch what is new, and what was last asked for more than ``max_age`` ago.

        What came is kept at once: an update that is cancelled (``progress`` raises), killed or cut off leaves a usable
        catalogue, and the next one goes on from there.

        Parameters
        ----------
        archive
            Where to ask.
        progress
            Told how many entries are done; the number to do is not known in advance.
        full
            Ask for every entry again and keep none unread, also when the catalogue is another archive's.
        max_age
            An entry asked for again is read anew only when the archive's date of its last change is another one.

        Raises
        ------
        CatalogueError
            The file cannot be written, is not ours, or holds another archive's entries.
        ServerUnreachableError, ArchiveError
            No answer, or none that can be used.
        """
        source = self._store.about("source")
        if source not in (None, archive.settings.api_url) and len(self):
            if not full:
                raise CatalogueError(
                    f"{self.path}: holds the entries of {source}, not of {archive.settings.api_url}; "
                    "give that archive a file of its own, or replace everything with full=True"
                )
            self._store.clear()
        self._store.set_about(source=archive.settings.api_url)
        report = Walk(self._store, archive.settings, progress, full).run(time.time() - max_age.total_seconds())
        self._store.set_about(updated=repr(time.time()))
        return report

    def search(
        self,
        text: str = "",
        *,
        method: str | None = None,
        category: str | None = None,
        data_format: str | None = None,
        least_size: int | None = None,
        most_size: int | None = None,
        least_pixel_size: float | None = None,
        most_pixel_size: float | None = None,
        released_since: str | None = None,
        limit: int = 50,
    ) -> list[CatalogueEntry]:
        """Entries that have every word of ``text`` and pass every filter: the best first, or without text the newest.

        Parameters
        ----------
        text
            Words of titles, names, citations and details, and numbers of entries (EMPIAR, EMDB, PDB), each as far as
            it is typed. Letters' case and accents do not matter, Greek letters equal their names.
        method
            The archive's experiment type, ``EMDB`` or ``FIB-SEM``.
        category, data_format, least_pixel_size, most_pixel_size
            Of one image set of the entry: all of them fit the same one. Pixel sizes in Å.
        least_size, most_size
            Bytes of the whole entry.
        released_since
            ``YYYY-MM-DD``.
        limit
            Most entries returned.

        Raises
        ------
        CatalogueError
            Nothing was ever fetched, or the file cannot be read.
        """
        entry_filters: dict[str, object] = {
            "entries.method = ? COLLATE NOCASE": method,
            "entries.size_bytes >= ?": least_size,
            "entries.size_bytes <= ?": most_size,
            "entries.released >= ?": released_since,
        }
        image_filters: dict[str, object] = {
            "category = ? COLLATE NOCASE": category,
            "data_format = ? COLLATE NOCASE": data_format,
            "pixel_size >= ?": least_pixel_size,
            "pixel_size <= ?": most_pixel_size,
        }
        where, values = _conditions(entry_filters)
        inner, inner_values = _conditions(image_filters)
        if inner:
            where.append(f"EXISTS (SELECT 1 FROM imagesets WHERE number = entries.number AND {' AND '.join(inner)})")
            values += inner_values
        table, order = "entries", "entries.released DESC, entries.number DESC"
        if expression := match_expression(text):
            table = "words JOIN entries ON entries.number = words.rowid"
            where.insert(0, "words MATCH ?")
            values.insert(0, expression)
            order = f"entries.number = ? DESC, bm25(words, {', '.join(map(str, WEIGHTS))}), entries.number DESC"
            values.append(_number_in(text))
        elif text.strip():
            return []  # signs alone: nothing can have them
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        rows = self._store.select(
            f"SELECT entries.card FROM {table} {condition} ORDER BY {order} LIMIT ?", [*values, _within(max(0, limit))]
        )
        return [_card(card) for (card,) in rows]

    def choices(self, of: Literal["method", "category", "data_format"]) -> dict[str, int]:
        """Values to filter by, each with its number of entries, the commonest first.

        Raises
        ------
        CatalogueError
            Nothing was ever fetched, or the file cannot be read.
        """
        table = "entries" if of == "method" else "imagesets"
        if of not in ("method", "category", "data_format"):
            raise ValueError(f"there are no choices of {of!r}; ask for method, category or data_format")
        return dict(
            self._store.select(
                f"SELECT {of}, count(DISTINCT number) FROM {table} WHERE {of} != '' GROUP BY {of} ORDER BY 2 DESC, 1",
                (),
            )
        )

    def entry(self, number: int) -> Entry | None:
        """All the archive said about an entry, or None where the catalogue does not have it.

        Raises
        ------
        CatalogueError
            The file cannot be read.
        """
        record = self._store.record(number) if 0 < number < 2**63 else None
        return None if record is None else parse_entry({f"EMPIAR-{number}": record}, number)


def _default_path(settings: ArchiveSettings) -> Path:
    """The file for the catalogue of a service, beside the cache of ranges; EMPIAR's own has the plain name."""
    from platformdirs import user_cache_path

    named = os.environ.get(CACHE_VARIABLE)
    folder = settings.cache_folder or (Path(named).expanduser().absolute() if named else None)
    own = settings.api_url == ArchiveSettings.api_url
    tail = "" if own else "-" + hashlib.sha256(settings.api_url.encode()).hexdigest()[:12]
    return (folder or user_cache_path("napari-empiarreader")) / f"catalogue{tail}.sqlite"


def _conditions(filters: dict[str, object]) -> tuple[list[str], list[object]]:
    given = {condition: value for condition, value in filters.items() if value is not None and value != ""}
    return list(given), [_within(value) for value in given.values()]


def _within(value: object) -> object:
    """A value that the database can hold; a number beyond 64 bits compares like the largest of them."""
    return max(-(2**63), min(2**63 - 1, value)) if isinstance(value, int) else value


def _number_in(text: str) -> int:
    match = re.fullmatch(r"\s*(?:EMPIAR[-: ]?)?(\d{1,9})\s*", text, re.IGNORECASE | re.ASCII)
    return int(match[1]) if match else -1


def _card(card: str) -> CatalogueEntry:
    facts: dict[str, Any] = json.loads(card)
    lists = {name: tuple(value) for name, value in facts.items() if isinstance(value, list)}
    return CatalogueEntry(**{**facts, **lists})
