"""The Protein Data Bank, as served by RCSB."""

from __future__ import annotations

from napari_profet.databases.cache import Remote
from napari_profet.databases.settings import DatabaseSettings

__all__ = ["locate"]


def locate(accession: str, settings: DatabaseSettings) -> Remote:
    """Where the file of a PDB entry is. No request is made.

    Compressed mmCIF: large entries exist in no other format.
    """
    return Remote(f"{settings.rcsb_url.rstrip('/')}/{accession}.cif.gz")
