"""Folders of the archive: the pages that Apache writes for them, read as lists of items.

A page has one of two shapes, a ``<table>`` or a ``<pre>`` block; in both, a link is followed by a date and a rounded
size, so one parser reads both. Only names that stay inside the listed folder are believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser
from urllib.parse import unquote

from napari_empiarreader.errors import ArchiveError

__all__ = ["Item", "parse_listing"]


@dataclass(frozen=True)
class Item:
    """One file or folder of an entry.

    Parameters
    ----------
    name
        Without folders.
    path
        Inside the entry, ``data/micrographs/a.mrc``.
    size_hint_bytes
        Rounded to two or three digits by the archive; None for folders.
    modified
        In the archive's own time zone.
    """

    name: str
    path: str
    is_folder: bool
    size_hint_bytes: int | None = None
    modified: datetime | None = None

    @property
    def rounded_size(self) -> str:
        """The size with no more digits than the archive tells, ``2.8 MiB``; empty when it tells none."""
        if self.size_hint_bytes is None:
            return ""
        value, units = float(self.size_hint_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
        while value >= 1000 and len(units) > 1:
            value /= 1024
            units.pop(0)
        return f"{value:.1f} {units[0]}" if value < 9.95 and units[0] != "B" else f"{value:.0f} {units[0]}"


def parse_listing(page: str, folder: str = "") -> list[Item]:
    """Items of an Apache index page: folders first, each kind sorted by name.

    Parameters
    ----------
    page
        The HTML.
    folder
        The listed folder inside the entry, put before each name in :attr:`Item.path`.

    Raises
    ------
    ArchiveError
        The page is no index page.
    """
    parser = _IndexParser()
    parser.feed(page)
    parser.close()
    if not parser.is_index:
        raise ArchiveError(f"{folder or 'folder'}: the archive answered with a web page that is no file listing")
    prefix = folder.strip("/")
    items: dict[str, Item] = {}
    for href, text in parser.links:
        name = _plain_name(href)
        if name is None or name in items:
            continue
        is_folder = href.endswith("/")
        modified, size = _date_and_size(text)
        path = f"{prefix}/{name}" if prefix else name
        items[name] = Item(name, path, is_folder, None if is_folder else size, modified)
    return sorted(items.values(), key=lambda item: (not item.is_folder, item.name))


class _IndexParser(HTMLParser):
    """Collects every link with the text between it and the next one."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[tuple[str, str]] = []
        self.is_index = False
        self._in_heading = False
        self._in_link = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_heading = tag in ("title", "h1")
        if tag != "a":
            self._add(" ")  # two table cells are two words
            return
        self._in_link = True
        href = dict(attrs).get("href")
        if href is not None:
            self.is_index |= bool(re.match(r"\?C=[NMSD]\b", href))
            self.links.append((href, ""))

    def handle_endtag(self, tag: str) -> None:
        self._in_heading = False
        if tag == "a":
            self._in_link = False

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.is_index |= data.strip().startswith("Index of ")
        if not self._in_link:  # the shown name may look like a date, and is cut when long
            self._add(data)

    def _add(self, text: str) -> None:
        if self.links:
            href, before = self.links[-1]
            self.links[-1] = (href, before + text)


def _plain_name(href: str) -> str | None:
    """The name a relative link stands for; None for anything that is not simply a name in this folder."""
    if re.search(r"[?#]", href) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", href):
        return None  # sort links, anchors, other sites
    name = unquote(href.removeprefix("./").removesuffix("/"), errors="surrogateescape")
    if name in ("", ".", "..") or unquote(name) in (".", ".."):
        return None
    if re.search(r"[/\\\x00-\x1f\x7f\ud800-\udfff]", name):
        return None  # parents, absolute paths, and names no file of the archive has
    return name


_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[KMGTP]?)(?![\w.])")
_DATE = re.compile(r"(?P<date>\d{4}-\d\d-\d\d|\d\d-[A-Z][a-z]{2}-\d{4}) (?P<time>\d\d:\d\d)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _date_and_size(text: str) -> tuple[datetime | None, int | None]:
    """Date and size out of ``2021-12-31 10:00  4.0K`` (or Apache 2.2's ``31-Dec-2021 10:00``)."""
    modified = None
    if date := _DATE.search(text):
        text = text[date.end() :]
        try:
            modified = datetime.fromisoformat(f"{_iso(date['date'])} {date['time']}")
        except ValueError:
            modified = None
    size = _SIZE.search(text)
    if size is None:
        return modified, None
    return modified, round(float(size["number"]) * 1024 ** (" KMGTP".index(size["unit"] or " ")))


def _iso(date: str) -> str:
    if date[2] != "-":
        return date
    day, month, year = date.split("-")
    return f"{year}-{_MONTHS.index(month) + 1 if month in _MONTHS else 0:02d}-{day}"
