"""From an id to a file on this machine."""

from __future__ import annotations

import threading
from functools import partial

from napari_profet.databases import alphafold, cache, rcsb
from napari_profet.databases.cache import Download
from napari_profet.databases.identifiers import Database, parse_identifier
from napari_profet.databases.settings import DatabaseSettings
from napari_profet.databases.web import download
from napari_profet.errors import CancelledError, FormatError, UnusableAnswerError
from napari_profet.progress import Progress, silent
from napari_profet.structure import parse_structure

__all__ = ["fetch_structure"]


def fetch_structure(
    identifier: str,
    database: Database | str = Database.AUTO,
    *,
    settings: DatabaseSettings | None = None,
    refresh: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Download:
    """Structure file of an entry, fetched once and then kept.

    Parameters
    ----------
    identifier
        A PDB id (1abc or pdb_00001abc) or a UniProt accession (P12345), which means its prediction in AlphaFold DB.
    database
        Where to look; by default told from the id.
    settings
        Addresses, patience and the folder of kept files; by default those of the environment.
    refresh
        Fetch anew, even if the file is kept here.
    progress
        Told the bytes so far and in all.
    stop
        Set it from another thread to stop.

    Returns
    -------
    Download
        Its ``path`` is for :func:`napari_profet.read_structure`. A kept file is returned without any request.

    Raises
    ------
    IdentifierError, UnknownIdError, ServerUnreachableError, UnusableAnswerError, CancelledError
        See :mod:`napari_profet.errors`. What is not a structure is never kept.
    """
    entry = parse_identifier(identifier, database)
    settings = settings or DatabaseSettings()
    if not refresh and (kept := cache.find(settings.cache_folder, entry)):
        return kept
    if entry.database is Database.PDB:
        remote = rcsb.locate(entry.accession, settings)
    else:
        remote = alphafold.locate(entry.accession, settings, stop=stop)
    content = download(remote.url, settings, progress=partial(progress, message=str(entry)), stop=stop)
    try:
        parse_structure(content, remote.url)
    except FormatError as error:
        raise UnusableAnswerError(f"the server's answer for {entry} is not a structure: {error}") from error
    if stop and stop.is_set():
        raise CancelledError("stopped")
    return cache.store(settings.cache_folder, entry, remote, content)
