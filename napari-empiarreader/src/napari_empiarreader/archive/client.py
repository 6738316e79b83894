"""The archive as one object: ask it for an entry, a listing or a file."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

from napari_empiarreader.archive.bulk import sizes_of
from napari_empiarreader.archive.cache import cache_for
from napari_empiarreader.archive.emdb import MicroscopeFacts, first_known, parse_emdb_entry
from napari_empiarreader.archive.entry import Entry, parse_entry
from napari_empiarreader.archive.entry_xml import parse_entry_xml
from napari_empiarreader.archive.listing import Item, parse_listing
from napari_empiarreader.archive.remote import RemoteFile
from napari_empiarreader.archive.settings import ArchiveSettings
from napari_empiarreader.archive.uri import parse_number
from napari_empiarreader.archive.web import get_bytes, read_json
from napari_empiarreader.errors import ArchiveError, EntryNotFoundError, UserError

__all__ = ["Archive"]

DEEPEST = 12
"""Folders below which :meth:`Archive.walk` goes no further; deeper trees than any entry's are loops."""

Parsed = TypeVar("Parsed")
Items = list[Item]  # Archive.list hides the built-in inside the class


@dataclass(frozen=True)
class Archive:
    """EMPIAR, a mirror of it, or a stand-in on this machine.

    Parameters
    ----------
    settings
        Where it is; by default the addresses of ``EMPIAR_API_URL`` and ``EMPIAR_ARCHIVE_URL``, else EMPIAR itself.

    Examples
    --------
    >>> archive = Archive()
    >>> archive.entry("EMPIAR-10017").title                   # doctest: +SKIP
    >>> archive.file(10017, "data/a.mrc").read(0, 1024)       # doctest: +SKIP
    """

    settings: ArchiveSettings = field(default_factory=ArchiveSettings.from_environment)

    def __post_init__(self) -> None:
        if self.settings is None:
            object.__setattr__(self, "settings", ArchiveSettings.from_environment())

    def entry(self, entry: int | str, *, refresh: bool = False) -> Entry:
        """Metadata of an entry, given as 10017, ``"10017"`` or ``"EMPIAR-10017"``.

        An answer is kept in the cache for ``settings.listing_age``; ``refresh`` asks anew.

        Raises
        ------
        EntryNotFoundError
            The archive has no such entry.
        ServerUnreachableError, ArchiveError
            No answer, or none that can be used.
        """
        number = parse_number(entry)
        url = f"{self.settings.api_url}/entry/{number}/"
        what = f"EMPIAR-{number}"
        try:
            return self._kept(url, what, lambda page: parse_entry(read_json(page, url, what), number), refresh)
        except EntryNotFoundError as error:
            raise EntryNotFoundError(
                f"EMPIAR-{number}: the archive has no such entry; check the number at {self.settings.api_url}"
            ) from error

    def entry_from_xml(self, entry: int | str, *, refresh: bool = False) -> Entry:
        """Metadata of an entry out of the XML file beside its data: also there where the metadata service is not.

        Raises
        ------
        EntryNotFoundError
            There is no such file.
        ServerUnreachableError, ArchiveError
            No answer, or none that can be used.
        """
        number = parse_number(entry)
        url = f"{self.settings.archive_url}/{number}/{number}.xml"
        return self._kept(url, f"EMPIAR-{number}", lambda page: parse_entry_xml(page, number), refresh)

    def microscope(self, entry: Entry, *, refresh: bool = False) -> MicroscopeFacts | None:
        """What EMDB knows of the microscope behind an entry: of the first map linked to it; None where none is.

        An answer is kept in the cache for ``settings.listing_age``; ``refresh`` asks anew.

        Raises
        ------
        ServerUnreachableError, ArchiveError
            No answer from EMDB, or none that can be used.
        """

        def ask(emdb_id: str) -> MicroscopeFacts:
            url = f"{self.settings.emdb_url}/entry/{emdb_id}"
            return self._kept(
                url, emdb_id, lambda page: parse_emdb_entry(read_json(page, url, emdb_id), emdb_id), refresh
            )

        return first_known(entry.cross_references, ask)

    def list(self, number: int, folder: str = "", *, refresh: bool = False) -> Items:
        """Files and folders in a folder of an entry: folders first, each kind sorted by name.

        A listing is kept in the cache for ``settings.listing_age``; ``refresh`` asks anew.

        Raises
        ------
        EntryNotFoundError
            There is no such folder.
        ServerUnreachableError, ArchiveError
            No answer, or none that can be used.
        """
        folder = folder.strip("/")
        url = f"{self.settings.archive_url}/{number}/" + (quote(folder) + "/" if folder else "")
        what = f"empiar://{number}/{folder}"
        return self._kept(url, what, lambda page: parse_listing(page.decode("utf-8", "replace"), folder), refresh)

    def walk(self, number: int, folder: str = "", *, depth: int = DEEPEST, refresh: bool = False) -> Iterator[Item]:
        """Every item below a folder, a folder before what it holds; ``depth`` 1 stays in the folder itself.

        Raises
        ------
        ArchiveError
            Folders go on below ``depth``: nothing is left out in silence.
        """
        for item in self.list(number, folder, refresh=refresh):
            yield item
            if item.is_folder:
                if depth <= 1:
                    raise ArchiveError(
                        f"empiar://{number}/{item.path}: folders go deeper than allowed; choose a subfolder"
                    )
                yield from self.walk(number, item.path, depth=depth - 1, refresh=refresh)

    def glob(self, number: int, pattern: str, *, refresh: bool = False) -> Iterator[Item]:
        """Files and folders that fit a pattern; ``*``, ``?`` and ``[]`` stay within a name, ``**`` crosses folders.

        A path without wildcards costs one listing: the one that tells whether it is a file or a folder. A file
        that the listing leaves out is believed to be there, because the archive's listings are known to forget;
        reading it will tell. ``refresh`` asks for the listings anew.
        """
        parts = [part for part in pattern.split("/") if part]
        literal = next((i for i, part in enumerate(parts[:-1]) if _has_wildcards(part)), max(len(parts) - 1, 0))
        folder, rest = "/".join(parts[:literal]), parts[literal:]
        if not rest:
            return
        if "**" in rest:
            for item in self.walk(number, folder, refresh=refresh):
                if _fits(item.path.split("/")[literal:], rest):
                    yield item
        else:
            yield from self._match(number, folder, rest, refresh)

    def file(self, number: int, path: str, size_hint_bytes: int | None = None) -> RemoteFile:
        """A file of an entry, to be read in pieces; nothing is asked of the archive yet.

        Parameters
        ----------
        size_hint_bytes
            The rounded length that a listing gave, :attr:`Item.size_hint_bytes`.
        """
        return RemoteFile(self.settings, number, path, size_hint_bytes=size_hint_bytes)

    def head_sizes(
        self, number: int, items: Iterable[Item], *, connections: int | None = None
    ) -> Sequence[int | UserError]:
        """Exact lengths in bytes of listed files, in their order: one request without a body each, several at a time.

        Where a file has none to give, its error stands in its place. Folders are an error of the caller.
        """
        files = [self.file(number, item.path, item.size_hint_bytes) for item in _files_only(items)]
        return [*sizes_of(files, connections=connections)]

    def _kept(self, url: str, what: str, parse: Callable[[bytes], Parsed], refresh: bool) -> Parsed:
        """A page out of the cache, or of the archive; only one that could be parsed is kept."""
        cache = cache_for(self.settings)
        if cache is not None and not refresh:
            page = cache.page(url, math.inf if self.settings.offline else self.settings.listing_age)
            if page is not None:
                with suppress(ArchiveError):  # else it was stored by a version that read more, or less
                    return parse(page)
        page = get_bytes(url, self.settings, what)
        parsed = parse(page)
        if cache is not None:
            cache.put_page(url, page)
        return parsed

    def _match(self, number: int, folder: str, parts: Sequence[str], refresh: bool) -> Iterator[Item]:
        found = [item for item in self.list(number, folder, refresh=refresh) if _fits([item.name], parts[:1])]
        if not found and len(parts) == 1 and not _has_wildcards(parts[0]):
            found = [Item(parts[0], f"{folder}/{parts[0]}".strip("/"), is_folder=False)]
        for item in found:
            if len(parts) == 1:
                yield item
            elif item.is_folder:
                yield from self._match(number, item.path, parts[1:], refresh)


def _files_only(items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if item.is_folder:
            raise ValueError(f"{item.path} is a folder and has no length")
        yield item


def _has_wildcards(part: str) -> bool:
    return bool(re.search(r"[*?\[]", part))


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a path, name by name, fits a pattern, part by part."""
    if not parts:
        return not names
    if parts[0] == "**":
        return _fits(names, parts[1:]) or (bool(names) and _fits(names[1:], parts))
    if not names or not (names[0] == parts[0] or fnmatch.fnmatchcase(names[0], parts[0])):
        return False
    return _fits(names[1:], parts[1:])
