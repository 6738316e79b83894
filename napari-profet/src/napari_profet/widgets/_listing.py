"""Many ids at once, as functions for a worker thread: each is fetched, and then one of a table to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_profet.databases import Database, What, fetch_file, parse_identifier, read_identifiers
from napari_profet.errors import CancelledError, UserError
from napari_profet.widgets._finding import FoundTable, Row, Wish, structure_file
from napari_profet.widgets._jobs import Job

__all__ = ["fetch_list", "fetch_listed_in"]

_NAMES = {Database.PDB: "PDB", Database.ALPHAFOLD: "AlphaFold", Database.EMDB: "EMDB map"}


def fetch_listed_in(path: str | Path, wish: Wish, job: Job) -> FoundTable:
    """Fetch what a file lists: lines of text, a CSV table, or the headers of a FASTA file.

    Parameters
    ----------
    path
        The file.
    wish
        What a person has filled in; its id is left out.
    job
        Told how far it is.

    Raises
    ------
    FormatError, NothingFoundError, IdentifierError
        The file holds something that is no id, or an id of another database than the one asked for.
    """
    identifiers = read_identifiers(path)
    for text in identifiers:
        parse_identifier(text, wish.database)
    return fetch_list(identifiers, wish, job, f" of {Path(path).name}")


def fetch_list(identifiers: Sequence[str], wish: Wish, job: Job, source: str = "") -> FoundTable:
    """Fetch structures, predictions of proteins, and maps, one after the other; what fails is a note.

    Whoever cancels loses nothing: what was fetched is kept, and not asked for again.

    Parameters
    ----------
    identifiers
        Ids of the database that is wished for, each once.
    wish
        What a person has filled in; its id is left out.
    job
        Told how far it is.
    source
        Where the ids come from, for people, behind their number.

    Raises
    ------
    CancelledError
        The job was cancelled.
    UserError
        None of them could be fetched.
    """
    rows: list[Row] = []
    failures: list[str] = []
    for number, identifier in enumerate(identifiers):
        job.check()
        job.progress(number, len(identifiers), f"{number + 1} of {len(identifiers)}: {identifier}")
        try:
            rows.append(_fetched(identifier, wish, job))
        except CancelledError:
            raise
        except UserError as error:
            # The others may be well.
            failures.append(f"{identifier}: {error}")
    if not rows:
        raise UserError("\n".join([f"None of {len(identifiers)} ids could be fetched.", *failures]))
    title = f"{len(rows)} of {len(identifiers)} ids{source}"
    said = f"{len(rows)} of {len(identifiers)} are fetched: double-click the one to open."
    return FoundTable(title, 0, tuple(rows), tuple(failures), said)


def _fetched(identifier: str, wish: Wish, job: Job) -> Row:
    """Fetch one, so that it opens at once; of a protein its prediction."""
    entry = parse_identifier(identifier, wish.database)
    database = entry.database if entry.database in _NAMES else Database.ALPHAFOLD
    if database is Database.EMDB:
        fetch_file(identifier, What.MAP, stop=job.stop)
    else:
        # Predictions have no assemblies.
        assembly = wish.assembly if database is Database.PDB else 0
        structure_file(Wish(identifier, database, assembly), database, job.stop)
    return Row(identifier, database, identifier, _NAMES[database], "", 0, 0)
