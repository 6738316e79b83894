"""Addresses inside the archive, ``empiar://10017/data/*.mrc``: plain text, nothing percent-encoded."""

from __future__ import annotations

import re

from napari_empiarreader.errors import ArchiveError

__all__ = ["format_uri", "is_uri", "parse_number", "parse_uri"]

# One slash is forgiven, because a path library in between makes one of two.
_URI = re.compile(r"empiar:/{1,2}(?:EMPIAR-)?(?P<number>\d+)(?:/(?P<path>.*))?", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"\s*(?:EMPIAR[-: ]?)?(?P<number>\d{1,9})\s*", re.IGNORECASE | re.ASCII)


def is_uri(text: object) -> bool:
    """Whether ``text`` is meant as an address in the archive."""
    return isinstance(text, str) and text.lower().startswith("empiar:/")


def parse_number(entry: int | str) -> int:
    """Accession number out of 10017, ``"10017"`` or ``"EMPIAR-10017"``.

    Raises
    ------
    ArchiveError
        The text holds no accession number.
    """
    match = _NUMBER.fullmatch(str(entry))
    if match is None or int(match["number"]) == 0:
        raise ArchiveError(f"{str(entry)!r} is no EMPIAR entry; write its number, such as 10017 or EMPIAR-10017")
    return int(match["number"])


def parse_uri(uri: str) -> tuple[int, str]:
    """Accession number and path inside the entry; the path may hold wildcards, and is empty for the entry itself.

    Raises
    ------
    ArchiveError
        The text is no such address, or its path leaves the entry.

    Examples
    --------
    >>> parse_uri("empiar://EMPIAR-10017/data/x/*.mrc")
    (10017, 'data/x/*.mrc')
    """
    match = _URI.fullmatch(uri) if uri.isprintable() else None
    if match is None:
        raise ArchiveError(f"{uri!r} is no archive address; write it like empiar://10017/data/micrographs/*.mrc")
    path = (match["path"] or "").strip("/")
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") for part in parts) or "\\" in path:
        raise ArchiveError(f"{uri!r}: the path must go straight down from the entry, without '.', '..', '//' or '\\'")
    return parse_number(match["number"]), path


def format_uri(number: int, path: str = "") -> str:
    """The address of ``path`` in entry ``number``; the inverse of :func:`parse_uri`."""
    return f"empiar://{number}/{path.strip('/')}"
