"""Structures by their id, from the databases of the world or a mirror of them. Nothing is fetched unasked."""

from napari_profet.databases.cache import Download
from napari_profet.databases.fetch import fetch_structure
from napari_profet.databases.identifiers import Database, Identifier, parse_identifier
from napari_profet.databases.settings import DatabaseSettings

__all__ = ["Database", "DatabaseSettings", "Download", "Identifier", "fetch_structure", "parse_identifier"]
