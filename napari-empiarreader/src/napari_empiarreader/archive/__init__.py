"""The archive: entries, listings, and files read by byte ranges. Neither napari nor Qt is needed here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_empiarreader.archive.client import Archive
from napari_empiarreader.archive.emdb import MicroscopeFacts
from napari_empiarreader.archive.entry import Entry, ImageSet, parse_entry
from napari_empiarreader.archive.layout import FileKind, best_imageset, guess_kind, only_metadata
from napari_empiarreader.archive.listing import Item, parse_listing
from napari_empiarreader.archive.remote import RemoteFile
from napari_empiarreader.archive.settings import ArchiveSettings
from napari_empiarreader.archive.uri import format_uri, is_uri, parse_number, parse_uri

if TYPE_CHECKING:
    from napari_empiarreader.archive.catalogue import Catalogue, CatalogueEntry

__all__ = [
    "Archive",
    "ArchiveSettings",
    "Catalogue",
    "CatalogueEntry",
    "Entry",
    "FileKind",
    "ImageSet",
    "Item",
    "MicroscopeFacts",
    "RemoteFile",
    "best_imageset",
    "format_uri",
    "guess_kind",
    "is_uri",
    "only_metadata",
    "parse_entry",
    "parse_listing",
    "parse_number",
    "parse_uri",
]


def __getattr__(name: str) -> Any:
    """Import the catalogue, and with it the database, when it is asked for."""
    if name not in ("Catalogue", "CatalogueEntry"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_empiarreader.archive import catalogue

    return getattr(catalogue, name)
