"""The commands ``info`` and ``cache``: what a file holds, what the databases know of an id, what is kept here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_profet._cli_fetch import Offline, settings_of
from napari_profet.databases.identifiers import Database, parse_identifier
from napari_profet.errors import NothingFoundError

if TYPE_CHECKING:
    from napari_profet.databases import DatabaseSettings, StructureTable

__all__ = ["cache", "info"]

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


def info(
    subject: Annotated[str, typer.Argument(metavar="ID|FILE", help="Any id, or a structure file.")],
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask anew what is kept on this machine.")] = False,
    offline: Offline = False,
    rows: Annotated[int, typer.Option(min=1, help="Structures to list at most.")] = 25,
    as_json: Json = False,
) -> None:
    """Say what is in a structure file, or what is known about an id.

    Of a protein: its features, its predictions, and its structures in the PDB, the best first.
    """
    if Path(subject).is_file():
        return _print(_file(Path(subject)), as_json)
    if "/" in subject or subject.lower().removesuffix(".gz").endswith((".cif", ".mmcif", ".pdb", ".ent")):
        raise NothingFoundError(f"{subject}: no such file")
    entry, settings = parse_identifier(subject), settings_of(offline)
    if entry.database is Database.PDB:
        return _print(_entry(subject, settings, refresh), as_json)
    if entry.database is Database.EMDB:
        return _print(_kept(entry.accession, settings), as_json)
    return _protein(subject, settings, refresh, rows, as_json)


def cache(
    purge: Annotated[bool, typer.Option("--purge", help="Remove kept files.")] = False,
    identifiers: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Of these entries only.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Only what is older than so many days.")] = None,
) -> None:
    """List the files kept on this machine, or remove them."""
    from napari_profet.databases import Cache

    settings = settings_of(offline=True)
    kept = Cache(settings.cache_folder, settings.cache_limit)
    chosen = {parse_identifier(text) for text in identifiers or ()}
    # An accession stands for what UniProt and AlphaFold DB have of it.
    chosen |= {dataclasses.replace(entry, database=Database.UNIPROT) for entry in chosen}
    if purge:
        older = None if days is None else timedelta(days=days)
        gone = kept.purge(chosen or None, older_than=older)
        print(f"{len(gone)} files removed, {sum(file.size for file in gone) / 1e6:.1f} MB")
        return
    files = [file for file in kept.entries() if not chosen or file.identifier in chosen]
    _table(
        ("entry", "item", "MB", "fetched", "origin"),
        [(str(file.identifier), file.item, f"{file.size / 1e6:.2f}", file.fetched[:10], file.url) for file in files],
    )
    print(f"{settings.cache_folder}: {len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB")


def _file(path: Path) -> dict[str, str]:
    """What is in a structure file."""
    from napari_profet.structure import read_structure

    structure = read_structure(path)
    atoms = structure.atoms
    low, high = structure.positions.min(axis=0), structure.positions.max(axis=0)
    kinds = atoms["entity_type"].value_counts(sort=False)
    residues = atoms[["model", "chain", "residue_number", "insertion_code", "residue_name"]].drop_duplicates()
    return {
        "name": structure.name,
        "title": structure.title,
        "method": structure.method,
        "models": str(atoms["model"].nunique()),
        "chains": " ".join(structure.chains),
        "residues": f"{len(residues):,}",
        "atoms": f"{len(structure):,} ({', '.join(f'{count:,} {kind}' for kind, count in kinds.items())})",
        "pLDDT" if structure.predicted else "B factor": f"{atoms['b_factor'].mean():.1f} on average",
        "size": " x ".join(f"{length:.1f}" for length in (high - low)[::-1]) + " Å (x, y, z)",
    }


def _entry(identifier: str, settings: DatabaseSettings, refresh: bool) -> dict[str, str]:
    """Facts about an entry of the PDB."""
    from napari_profet.databases import describe_entry

    entry = describe_entry(identifier, settings=settings, refresh=refresh)
    facts = {
        "entry": entry.pdb_id,
        "title": entry.title,
        "method": entry.method + (f", {entry.resolution:.2f} Å" if entry.resolution else ""),
        "released": entry.released,
        "atoms": f"{entry.atoms:,}",
        "assemblies": str(entry.assemblies),
        "maps": " ".join(entry.maps),
    }
    for entity in entry.entities:
        names = " ".join(entity.accessions) or "no UniProt entry"
        facts[f"polymer {entity.number}"] = (
            f"{entity.description} ({entity.length} residues, chains {' '.join(entity.chains)}, {names})"
        )
    return facts | _kept(entry.pdb_id, settings)


def _kept(accession: str, settings: DatabaseSettings) -> dict[str, str]:
    """Which files of an entry are on this machine."""
    from napari_profet.databases import Cache

    files = [file for file in Cache(settings.cache_folder).entries() if file.identifier.accession == accession]
    return {"kept here": ", ".join(sorted(f"{file.item} ({file.path})" for file in files if file.item in _ITEMS))}


_ITEMS = ("cif", "pdb", "bcif", "sifts", "sequence", "pae", "plddt", "msa", "map", "entry")


def _protein(identifier: str, settings: DatabaseSettings, refresh: bool, rows: int, as_json: bool) -> None:
    from napari_profet.databases import fetch_protein, find_predictions, find_structures

    protein = fetch_protein(identifier, settings=settings, refresh=refresh)
    length = len(protein.about.sequence)
    models = find_predictions(protein.accession, settings=settings, refresh=refresh)
    table = find_structures(protein.accession, settings=settings, refresh=refresh)
    if as_json:
        about = {field.name: getattr(protein, field.name) for field in dataclasses.fields(protein)}
        about["sequence"] = about.pop("about").sequence
        about["features"] = [
            {"kind": part.kind, "start": part.start.value, "end": part.end.value, "description": part.description}
            for part in protein.about.features
        ]
        about["predictions"] = [dataclasses.asdict(model) for model in models]
        about["structures"] = [dataclasses.asdict(hit) for hit in table.hits]
        print(json.dumps({**about, "notes": table.notes}, indent=1, ensure_ascii=False))
        return
    _print(
        {
            "accession": f"{protein.accession} ({protein.name})",
            "protein": protein.description,
            "genes": " ".join(protein.genes),
            "organism": f"{protein.organism} ({protein.taxon})",
            "length": f"{length}, {'reviewed' if protein.reviewed else 'not reviewed'}",
            **_kept(protein.accession, settings),
        },
        False,
    )
    print("\nfeatures")
    features = [(part.kind, f"{part.start}-{part.end}", part.description) for part in protein.about.features]
    _table(("kind", "residues", "description"), features)
    print("\npredictions")
    _table(
        ("model", "residues", "pLDDT", "version"),
        [(model.model, f"{model.first}-{model.last}", f"{model.plddt:.1f}", model.version) for model in models],
    )
    print(f"\nstructures ({len(table)})")
    _structures(table, length, rows)


def _structures(table: StructureTable, length: int, rows: int) -> None:
    from napari_profet.databases import coverage_bar

    cells = []
    for hit in table.hits[:rows]:
        share = "?" if hit.coverage is None else f"{hit.coverage:.0%}"
        resolution = f"{hit.resolution:.2f} Å" if hit.resolution else "-"
        residues = f"{hit.first}-{hit.last}" if hit.first else "?"
        bar = coverage_bar(hit.first, hit.last, length)
        cells.append((str(hit.rank), hit.pdb_id, hit.chain or "?", hit.method, resolution, residues, share, bar))
    _table(("#", "id", "chain", "method", "resolution", "residues", "covers", ""), cells)
    if len(table) > rows:
        print(f"... {len(table) - rows} more; --rows {len(table)} shows all")
    for note in table.notes:
        print(f"note: {note}")


def _print(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    for label, value in facts.items():
        print(f"{label:<11} {value or '-'}")


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns, each as wide as its widest cell."""
    lines = [tuple(names), *rows]
    if len(lines) == 1:
        print("  none")
        return
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line in lines:
        print(("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))).rstrip())
