"""Structures and what belongs to them by their ids, from the databases of the world or mirrors of them.

Nothing is fetched unasked, and what is kept is not asked for again.
"""

from napari_profet.databases.alphafold import Prediction
from napari_profet.databases.archive import Format
from napari_profet.databases.cache import Cache, CacheError, Download
from napari_profet.databases.fetch import (
    What,
    describe_entry,
    fetch,
    fetch_file,
    fetch_pae,
    fetch_plddt,
    fetch_protein,
    fetch_sequence,
    fetch_structure,
    find_predictions,
    find_structures,
)
from napari_profet.databases.identifiers import Database, Identifier, parse_identifier
from napari_profet.databases.lists import identifier_of_header, read_identifiers, split_identifiers
from napari_profet.databases.settings import DatabaseSettings, SettingsError
from napari_profet.databases.tables import Entity, Entry, StructureHit, StructureTable, coverage_bar
from napari_profet.databases.uniprot import Protein

__all__ = [
    "Cache",
    "CacheError",
    "Database",
    "DatabaseSettings",
    "Download",
    "Entity",
    "Entry",
    "Format",
    "Identifier",
    "Prediction",
    "Protein",
    "SettingsError",
    "StructureHit",
    "StructureTable",
    "What",
    "coverage_bar",
    "describe_entry",
    "fetch",
    "fetch_file",
    "fetch_pae",
    "fetch_plddt",
    "fetch_protein",
    "fetch_sequence",
    "fetch_structure",
    "find_predictions",
    "find_structures",
    "identifier_of_header",
    "parse_identifier",
    "read_identifiers",
    "split_identifiers",
]
