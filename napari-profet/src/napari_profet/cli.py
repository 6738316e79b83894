"""The command line: ``napari-profet fetch``, ``info`` and ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_profet import console
from napari_profet.databases.identifiers import Database

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


@app.callback()
def _about() -> None:
    """Structures from PDB and AlphaFold DB."""


@app.command()
def fetch(
    identifiers: Annotated[list[str], typer.Argument(metavar="ID...", help="PDB ids or UniProt accessions.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Copy the files there.")
    ] = None,
    database: Annotated[Database, typer.Option(help="Where to look; auto: told by the id.")] = Database.AUTO,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch anew what is kept on this machine.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Fetch structures; print where the files are."""
    from napari_profet.databases import fetch_structure, parse_identifier
    from napari_profet.files import refuse_existing, replaced_when_complete

    # All ids are looked at before the first is fetched.
    for identifier in identifiers:
        entry = parse_identifier(identifier, database)
        if output and not overwrite:
            for suffix in (".cif", ".cif.gz"):
                refuse_existing(output / f"{entry}{suffix}")
    for identifier in identifiers:
        download = fetch_structure(identifier, database, refresh=refresh, progress=console.progress_line)
        path = download.path
        if output:
            path = output / download.path.name
            with replaced_when_complete(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(download.path.read_bytes())
        print(path)


@app.command()
def info(file: Annotated[Path, typer.Argument(metavar="FILE", help="mmCIF or PDB, plain or .gz.")]) -> None:
    """Say what is in a structure file."""
    from napari_profet.structure import read_structure

    structure = read_structure(file)
    atoms = structure.atoms
    low, high = structure.positions.min(axis=0), structure.positions.max(axis=0)
    kinds = atoms["entity_type"].value_counts(sort=False)
    residues = atoms[["model", "chain", "residue_number", "insertion_code", "residue_name"]].drop_duplicates()
    rows = {
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
    for label, value in rows.items():
        print(f"{label:<10}{value or '-'}")


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="mmCIF or PDB, plain or .gz.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUTPUT", help="Ends in .cif or .cif.gz.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a structure file as mmCIF."""
    from napari_profet.structure import read_structure, write_structure

    print(write_structure(output, read_structure(file), overwrite=overwrite))


def main() -> None:
    """Entry point of the command ``napari-profet``."""
    console.run(app)
