"""What the window asks of databases and files, as functions for a worker thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_profet.cleave import uniprot_accessions
from napari_profet.contents import Contents, contents_of
from napari_profet.databases import (
    Database,
    Format,
    Prediction,
    StructureHit,
    What,
    fetch_file,
    fetch_protein,
    fetch_structure,
    find_predictions,
    find_structures,
    parse_identifier,
)
from napari_profet.errors import CancelledError, IdentifierError, UserError
from napari_profet.features import ProteinFeatures
from napari_profet.layers import ColourBy, structure_layer
from napari_profet.progress import Progress, silent
from napari_profet.residues import category, header_block
from napari_profet.structure import Structure, read_structure
from napari_profet.widgets._jobs import Job

__all__ = [
    "FoundLayer",
    "FoundTable",
    "Known",
    "Row",
    "Wish",
    "fetch_wish",
    "find_errors",
    "find_features",
    "found_structure",
    "open_structure",
    "structure_file",
]

LayerTuple = tuple[Any, dict[str, Any], str]


@dataclass(frozen=True)
class Wish:
    """What a person has filled in: an id, where to look, which assembly (0 as deposited), and colours."""

    identifier: str
    database: Database = Database.AUTO
    assembly: int = 0
    colour_by: ColourBy = ColourBy.ELEMENT


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a structure: what is in it, and the UniProt entries of its proteins."""

    contents: Contents
    proteins: tuple[ProteinFeatures, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FoundLayer:
    """A layer to show, what to say of it, and, of a structure, what is known of it."""

    layer: LayerTuple
    message: str
    known: Known | None = None


@dataclass(frozen=True)
class Row:
    """A structure that can be chosen.

    Attributes
    ----------
    identifier, database
        What to fetch.
    name, method, resolution
        To show.
    first, last
        Residues of the protein in it; 0 where nobody says.
    """

    identifier: str
    database: Database
    name: str
    method: str
    resolution: str
    first: int
    last: int


@dataclass(frozen=True)
class FoundTable:
    """Structures for a person to choose from.

    Attributes
    ----------
    title
        What they are of.
    length
        Residues of the protein whose structures they are; 0 where they are of no one protein.
    rows, notes
        Structures, and what there is to say of them.
    said
        How many there are, and what to do.
    """

    title: str
    length: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    said: str


def fetch_wish(wish: Wish, job: Job) -> FoundLayer | FoundTable:
    """A structure; of a protein the table of its structures; of an EMDB id the map."""
    entry = parse_identifier(wish.identifier, wish.database)
    if entry.database is Database.EMDB:
        return _map(wish, job)
    # Whoever writes AF-P12345-F1, or asks for AlphaFold DB, wants the model and no table.
    is_model = wish.identifier.strip().upper().startswith("AF")
    if entry.database is not Database.PDB and wish.database is not Database.ALPHAFOLD and not is_model:
        return _table(wish.identifier, job)
    path, notes = structure_file(wish, entry.database, job.stop, job.progress)
    job.progress(0, 0, "")
    structure = read_structure(path)
    return found_structure(structure, wish.colour_by, job, with_features=True, notes=notes)


def open_structure(path: str | Path, colour_by: ColourBy, job: Job) -> FoundLayer:
    """A structure from a file; no server is asked."""
    return found_structure(read_structure(path), colour_by, job)


def found_structure(
    structure: Structure,
    colour_by: ColourBy,
    job: Job,
    *,
    with_features: bool = False,
    proteins: tuple[ProteinFeatures, ...] = (),
    notes: Iterable[str] = (),
) -> FoundLayer:
    """Layer of a structure and what is in it; ``with_features`` asks UniProt for the proteins it names."""
    notes = tuple(notes)
    if with_features:
        known = find_features(structure, uniprot_accessions(structure), job, notes)
    else:
        known = Known(contents_of(structure, proteins), proteins, notes)
    layer = structure_layer(structure, colour_by)
    message = f"{structure.title or structure.name} ({len(structure):,} atoms)"
    return FoundLayer(layer, "\n".join([message, *_assemblies(structure), *known.notes]), known)


def find_features(structure: Structure, accessions: Iterable[str], job: Job, notes: Iterable[str] = ()) -> Known:
    """What is in a structure, with UniProt's features; an entry that cannot be had is a note."""
    proteins: list[ProteinFeatures] = []
    said = list(notes)
    for accession in accessions:
        job.check()
        try:
            proteins.append(fetch_protein(accession, stop=job.stop).about)
        except CancelledError:
            raise
        except UserError as error:
            said.append(f"no features of {accession}: {error}")
    return Known(contents_of(structure, proteins), tuple(proteins), tuple(said))


def _assemblies(structure: Structure) -> list[str]:
    """Which biological assemblies there are, for those who did not know."""
    rows = category(header_block(structure), "_pdbx_struct_assembly.")
    names = [f"{row['id']} {row.get('oligomeric_details', '')}".strip() for row in rows if row.get("id", "").isdigit()]
    return [f"Assemblies of it: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}."] if names else []


def find_errors(identifier: str, structure: Structure, job: Job) -> LayerTuple:
    """Layer of the predicted aligned errors of a model of AlphaFold DB; ``structure`` is the model."""
    from napari_profet.layers_density import aligned_error_layer
    from napari_profet.pae import read_aligned_error

    parse_identifier(identifier, Database.ALPHAFOLD)
    kept = fetch_file(identifier, What.PAE, progress=job.progress, stop=job.stop)
    return aligned_error_layer(read_aligned_error(kept.path), structure)


def structure_file(
    wish: Wish, database: Database, stop: threading.Event, progress: Progress = silent
) -> tuple[Path, list[str]]:
    """File of a structure; of the PDB the one with UniProt's numbers, else, and then it says so, the deposited one."""
    notes = []
    if database is Database.PDB and not wish.assembly:
        try:
            kept = fetch_structure(wish.identifier, format=Format.SIFTS, progress=progress, stop=stop)
            return kept.path, []
        except (CancelledError, IdentifierError):
            raise
        except UserError:
            notes = ["Without SIFTS' numbers: this is the deposited file."]
    kept = fetch_structure(wish.identifier, wish.database, assembly=wish.assembly, progress=progress, stop=stop)
    return kept.path, notes


def _map(wish: Wish, job: Job) -> FoundLayer:
    from napari_profet.density_files import read_density
    from napari_profet.layers_density import density_layer

    kept = fetch_file(wish.identifier, What.MAP, progress=job.progress, stop=job.stop)
    density = read_density(kept.path)
    shape = " x ".join(map(str, density.data.shape))
    return FoundLayer(density_layer(density), f"{shape} voxels of {density.voxel_size:.3g} Å")


def _table(identifier: str, job: Job) -> FoundTable:
    protein = fetch_protein(identifier, stop=job.stop)
    job.check()
    notes: list[str] = []
    try:
        models = find_predictions(protein.accession, stop=job.stop)
    except CancelledError:
        raise
    except UserError as error:
        models = ()
        notes.append(f"AlphaFold DB was not asked: {error}")
    job.check()
    found = find_structures(protein.accession, stop=job.stop)
    # The canonical sequence before its isoforms.
    single = sorted((model for model in models if not model.is_complex), key=lambda model: len(model.model))
    rows = [*map(_model_row, single), *map(_row, found.hits)]
    title = f"{protein.accession} {protein.name}: {protein.description} ({protein.organism})"
    choose = "double-click the one to open" if rows else "try its sequence's relatives in UniProt"
    said = f"{len(rows)} structures: {choose}."
    return FoundTable(title, len(protein.about.sequence), tuple(rows), (*notes, *found.notes), said)


def _model_row(model: Prediction) -> Row:
    # The protein stands above the table, so its accession need not be in each line: there is a bar to paint.
    name = model.model.replace(f"-{model.accession.split('-')[0]}", "", 1)
    return Row(model.model, Database.ALPHAFOLD, name, f"pLDDT {model.plddt:.0f}", "", model.first, model.last)


def _row(hit: StructureHit) -> Row:
    resolution = f"{hit.resolution:.2f}" if hit.resolution else ""
    name = f"{hit.pdb_id} {hit.chain}".strip()
    return Row(hit.pdb_id, Database.PDB, name, _short(hit.method), resolution, hit.first, hit.last)


def _short(method: str) -> str:
    """A method in few letters: the column is narrow."""
    known = {"x-ray": "X-ray", "electron microscopy": "EM", "solution nmr": "NMR", "solid-state nmr": "ssNMR"}
    known |= {"neutron": "neutrons", "electron crystallography": "ED", "fiber": "fibre"}
    return next((short for words, short in known.items() if method.lower().startswith(words)), method)
