"""The archive: entries, listings, and files read by byte ranges. Neither napari nor Qt is needed here."""

from __future__ import annotations

from napari_empiarreader.archive.client import Archive
from napari_empiarreader.archive.entry import Entry, ImageSet, parse_entry
from napari_empiarreader.archive.listing import Item, parse_listing
from napari_empiarreader.archive.remote import RemoteFile
from napari_empiarreader.archive.settings import ArchiveSettings
from napari_empiarreader.archive.uri import format_uri, is_uri, parse_number, parse_uri

__all__ = [
    "Archive",
    "ArchiveSettings",
    "Entry",
    "ImageSet",
    "Item",
    "RemoteFile",
    "format_uri",
    "is_uri",
    "parse_entry",
    "parse_listing",
    "parse_number",
    "parse_uri",
]
