"""From an id to files on this machine: structures, sequences, confidences, maps, and tables of what there is."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from napari_profet.databases import alphafold, archive, tables, uniprot
from napari_profet.databases.alphafold import Prediction
from napari_profet.databases.archive import Format
from napari_profet.databases.cache import Download
from napari_profet.databases.content import check_fasta, check_pae, check_plddt
from napari_profet.databases.identifiers import Database, Identifier, parse_identifier
from napari_profet.databases.obtain import Item, Way, obtain
from napari_profet.databases.settings import DatabaseSettings
from napari_profet.databases.tables import Entry, StructureTable
from napari_profet.databases.uniprot import Protein
from napari_profet.databases.web import Answer
from napari_profet.errors import (
    IdentifierError,
    OfflineError,
    ServerUnreachableError,
    UnknownIdError,
    UnusableAnswerError,
)
from napari_profet.progress import Progress, silent
from napari_profet.sequence import SequenceRecord, format_fasta, read_fasta, sequences_of

if TYPE_CHECKING:
    from napari_profet.pae import AlignedError

__all__ = [
    "What",
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
]

_log = logging.getLogger(__name__)
_KEYS = {Format.CIF: "cifUrl", Format.PDB: "pdbUrl", Format.BCIF: "bcifUrl"}


class What(StrEnum):
    """What can be fetched of an entry."""

    STRUCTURE = "structure"
    SEQUENCE = "sequence"
    PAE = "pae"
    PLDDT = "plddt"
    MSA = "msa"
    MAP = "map"
    FEATURES = "features"


def fetch(
    identifiers: str | Iterable[str],
    what: What | str = What.STRUCTURE,
    *,
    format: Format | str = Format.CIF,
    assembly: int = 0,
    database: Database | str = Database.AUTO,
    settings: DatabaseSettings | None = None,
    refresh: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Iterator[Download]:
    """Files of one entry or of many, one after the other as they arrive.

    All ids are read before the first is fetched. What was fetched stays when a later one fails, and is not asked for
    again.

    Parameters
    ----------
    identifiers
        One id or several, in any form that :func:`parse_identifier` takes; see :func:`read_identifiers` for files.
    what, format, assembly, database, settings, refresh, progress, stop
        As in :func:`fetch_file`.

    Yields
    ------
    Download
        One for each id.

    Raises
    ------
    IdentifierError, UnknownIdError, ServerUnreachableError, UnusableAnswerError, OfflineError, CancelledError
        See :mod:`napari_profet.errors`.
    """
    chosen = [identifiers] if isinstance(identifiers, str) else list(identifiers)
    for text in chosen:
        parse_identifier(text, database)

    def files() -> Iterator[Download]:
        for text in chosen:
            yield fetch_file(
                text,
                what,
                format=format,
                assembly=assembly,
                database=database,
                settings=settings,
                refresh=refresh,
                progress=progress,
                stop=stop,
            )

    return files()


def fetch_file(
    identifier: str,
    what: What | str = What.STRUCTURE,
    *,
    format: Format | str = Format.CIF,
    assembly: int = 0,
    database: Database | str = Database.AUTO,
    settings: DatabaseSettings | None = None,
    refresh: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Download:
    """One file of an entry, fetched once and then kept.

    Parameters
    ----------
    identifier
        Any id that :func:`parse_identifier` takes. Entry names and genes are looked up in UniProt, exactly.
    what
        Structure, sequence; of AlphaFold DB also pae, plddt and msa; of EMDB the map; of UniProt the features.
    format
        Of a structure: cif, pdb, bcif, or sifts (mmCIF with the UniProt number of each residue).
    assembly
        Number of the biological assembly, from 1; 0 is the structure as deposited.
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

    Raises
    ------
    IdentifierError
        The id is none, or of a database that has no such thing.
    FormatError
        The database has no such format.
    UnknownIdError, AmbiguousIdError, ServerUnreachableError, UnusableAnswerError, OfflineError, CancelledError
        See :mod:`napari_profet.errors`. What is not what it should be is never kept.
    """
    way = Way(settings or DatabaseSettings(), refresh, progress, stop)
    entry = uniprot.resolved(parse_identifier(identifier, database), way)
    what, form = What(what), Format(format)
    if what is not What.STRUCTURE and (assembly or form is not Format.CIF):
        raise IdentifierError(f"{entry}: a format or an assembly goes with a structure, not with its {what}")
    return _FETCHERS[what](entry, form, assembly, way)


def fetch_structure(
    identifier: str,
    database: Database | str = Database.AUTO,
    *,
    format: Format | str = Format.CIF,
    assembly: int = 0,
    settings: DatabaseSettings | None = None,
    refresh: bool = False,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Download:
    """Structure file of an entry, fetched once and then kept; the parameters are those of :func:`fetch_file`.

    Its ``path`` is for :func:`napari_profet.read_structure`. A kept file is returned without any request.
    """
    return fetch_file(
        identifier,
        What.STRUCTURE,
        format=format,
        assembly=assembly,
        database=database,
        settings=settings,
        refresh=refresh,
        progress=progress,
        stop=stop,
    )


def fetch_sequence(
    identifier: str, *, settings: DatabaseSettings | None = None, refresh: bool = False
) -> list[SequenceRecord]:
    """Sequences of an entry: one of a UniProt accession, one for each polymer of a PDB entry."""
    return read_fasta(fetch_file(identifier, What.SEQUENCE, settings=settings, refresh=refresh).path)


def fetch_pae(identifier: str, *, settings: DatabaseSettings | None = None, refresh: bool = False) -> AlignedError:
    """Predicted aligned errors of a model of AlphaFold DB, (n, n) in Å."""
    from napari_profet.pae import read_aligned_error

    return read_aligned_error(fetch_file(identifier, What.PAE, settings=settings, refresh=refresh).path)


def fetch_plddt(
    identifier: str, *, settings: DatabaseSettings | None = None, refresh: bool = False
) -> dict[int, float]:
    """Confidence (pLDDT, 0 to 100) of each residue of a model of AlphaFold DB, by residue number."""
    kept = fetch_file(identifier, What.PLDDT, settings=settings, refresh=refresh)
    with kept.path.open("rb") as body:
        return alphafold.read_plddt(body, kept.url)


def fetch_protein(
    identifier: str,
    *,
    settings: DatabaseSettings | None = None,
    refresh: bool = False,
    stop: threading.Event | None = None,
) -> Protein:
    """What UniProt says of a protein, with its features."""
    way = Way(settings or DatabaseSettings(), refresh, stop=stop)
    return uniprot.protein_of(_accession(identifier, way), way)


def find_predictions(
    identifier: str,
    *,
    settings: DatabaseSettings | None = None,
    refresh: bool = False,
    stop: threading.Event | None = None,
) -> tuple[Prediction, ...]:
    """Models of a protein in AlphaFold DB: canonical sequence, isoforms, fragments, complexes."""
    way = Way(settings or DatabaseSettings(), refresh, stop=stop)
    return alphafold.predictions_of(_accession(identifier, way), way)


def find_structures(
    identifier: str,
    *,
    settings: DatabaseSettings | None = None,
    refresh: bool = False,
    stop: threading.Event | None = None,
) -> StructureTable:
    """Structures of a protein in the PDB as a ranked table, for the user to choose from.

    Parameters
    ----------
    identifier
        UniProt accession, entry name, or gene with its organism.
    settings, refresh, stop
        As in :func:`fetch_file`.
    """
    way = Way(settings or DatabaseSettings(), refresh, stop=stop)
    return tables.structures_of(_accession(identifier, way).split("-")[0], way)


def describe_entry(identifier: str, *, settings: DatabaseSettings | None = None, refresh: bool = False) -> Entry:
    """Facts about an entry of the PDB: title, method, resolution, polymers with their UniProt accessions, maps."""
    way = Way(settings or DatabaseSettings(), refresh)
    return tables.entry_of(parse_identifier(identifier, Database.PDB), way)


def _accession(identifier: str, way: Way) -> str:
    """The UniProt accession that an id means."""
    entry = uniprot.resolved(parse_identifier(identifier, Database.ALPHAFOLD), way)
    return entry.accession


# ---- one function for each thing -----------------------------------------------------------------------------


def _structure(entry: Identifier, form: Format, assembly: int, way: Way) -> Download:
    item = archive.structure_item(entry, form, assembly)
    if entry.database is Database.PDB:
        return obtain(item, archive.structure_remotes(entry, form, assembly, way.settings), way)
    if entry.database is not Database.ALPHAFOLD:
        raise IdentifierError(f"{entry}: {entry.database} has no structures; give a PDB id or a UniProt accession")
    if assembly or form not in _KEYS:
        kind = f"assembly {assembly}" if assembly else f"{form} file"
        raise IdentifierError(f"{entry}: a prediction has no {kind}; its residues are numbered as in UniProt")
    return _of_model(item, _KEYS[form], way)


def _sequence(entry: Identifier, form: Format, assembly: int, way: Way) -> Download:
    item = archive.fasta_item(entry)
    if entry.database is not Database.PDB:
        _insist(entry, (Database.ALPHAFOLD, Database.UNIPROT), "sequence")
        return obtain(item, uniprot.sequence_remotes(entry.accession, way), way)
    try:
        return obtain(item, archive.fasta_remotes(entry, way.settings), way)
    except (OfflineError, ServerUnreachableError, UnknownIdError, UnusableAnswerError) as error:
        # The structure file has the sequences too, and more mirrors have that.
        structure = _structure(entry, Format.CIF, 0, way)
        _log.warning("%s: sequences taken from the structure file, because %s", entry, error)
    from napari_profet.structure import read_structure

    body = io.BytesIO(format_fasta(sequences_of(read_structure(structure.path))).encode())
    check_fasta(body, structure.url, entry)
    return way.cache.store(entry, item.name, item.file, Answer(body, structure.url))


def _pae(entry: Identifier, form: Format, assembly: int, way: Way) -> Download:
    _insist(entry, (Database.ALPHAFOLD,), "predicted errors (pae)")
    return _of_model(Item(entry, "pae", f"{entry}-pae.json", check_pae), "paeDocUrl", way)


def _plddt(entry: Identifier, form: Format, assembly: int, way: Way) -> Download:
    _insist(entry, (Database.ALPHAFOLD,), "confidences (plddt)")
    return _of_model(Item(entry, "plddt", f"{entry}-plddt.json", check_plddt), "plddtDocUrl", way)


def _msa(entry: Identifier, form: Format, assembly: int, way: Way) -> Download:
    _insist(entry, (Database.ALPHAFOLD,), "alignment (msa)")
    return _of_model(Item(entry, "msa", f"{entry}-msa.a3m", check_fasta), "msaUrl", way)


def _map(entry: Identifier, form: Format, assembly: int, way: Way) -> Download:
    _insist(entry, (Database.EMDB,), "map")
    return obtain(archive.map_item(entry), archive.map_remotes(entry, way.settings), way)


def _features(entry: Identifier, form: Format, assembly: int, way: Way) -> Download:
    _insist(entry, (Database.ALPHAFOLD, Database.UNIPROT), "features")
    return obtain(*uniprot.entry_source(entry.accession, way), way)


def _of_model(item: Item, key: str, way: Way) -> Download:
    """A file of a model; if it has moved since the address was kept, the database is asked anew."""
    if kept := way.kept(item):
        return kept
    remote = alphafold.remote_of(item.identifier, key, way)
    try:
        return obtain(item, [remote], way)
    except (UnknownIdError, UnusableAnswerError):
        fresh = alphafold.remote_of(item.identifier, key, Way(way.settings, True, way.progress, way.stop))
        if fresh.url == remote.url:
            raise
        return obtain(item, [fresh], way)


def _insist(entry: Identifier, databases: tuple[Database, ...], thing: str) -> None:
    if entry.database not in databases:
        names = " or ".join(database.value for database in databases)
        raise IdentifierError(f"{entry}: {entry.database} has no {thing}; give an id of {names}")


_FETCHERS: dict[What, Callable[[Identifier, Format, int, Way], Download]] = {
    What.STRUCTURE: _structure,
    What.SEQUENCE: _sequence,
    What.PAE: _pae,
    What.PLDDT: _plddt,
    What.MSA: _msa,
    What.MAP: _map,
    What.FEATURES: _features,
}
