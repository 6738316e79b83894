"""The command ``fetch``: files of many entries, one after the other, and what to do when one fails."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_profet import console
from napari_profet.databases.archive import Format
from napari_profet.databases.fetch import What, fetch_file
from napari_profet.databases.identifiers import Database, parse_identifier
from napari_profet.databases.lists import read_identifiers
from napari_profet.databases.settings import DatabaseSettings
from napari_profet.errors import FileExistsAlreadyError, IdentifierError, UserError
from napari_profet.files import replaced_when_complete

if TYPE_CHECKING:
    from napari_profet.databases.cache import Download

__all__ = ["Offline", "fetch", "settings_of"]

Offline = Annotated[bool, typer.Option("--offline", help="Use kept files only; ask no server.")]
_WHAT = "What of an entry: structure, sequence, features; pae, plddt, msa (AlphaFold DB); map (EMDB)"


def fetch(
    identifiers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID...]", help="1abc, P12345, AF-P12345-F1, INS_HUMAN, INS@human, EMD-1234."),
    ] = None,
    listed: Annotated[
        list[Path] | None,
        typer.Option("--list", metavar="FILE", help="Ids of a text file, a CSV table or FASTA headers; repeatable."),
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the table given by --list.")] = None,
    what: Annotated[What, typer.Option(help=_WHAT)] = What.STRUCTURE,
    form: Annotated[Format, typer.Option("--format", help="Of a structure; sifts: with UniProt numbers.")] = Format.CIF,
    assembly: Annotated[int, typer.Option(min=0, help="Biological assembly, from 1; 0: as deposited.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Copy the files there.")
    ] = None,
    database: Annotated[Database, typer.Option(help="Where to look; auto: told by the id.")] = Database.AUTO,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch anew what is kept on this machine.")] = False,
    offline: Offline = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Fetch structures, sequences, confidences or maps; print where the files are.

    What was fetched is kept: the same command again continues where it ended.
    """
    chosen = _all_ids(identifiers or [], listed or [], column, database)
    settings = settings_of(offline)

    def one(identifier: str, place: str) -> Path:
        def progress(done: int, total: int, message: str = "") -> None:
            console.progress_line(done, total, place)

        download = fetch_file(
            identifier,
            what,
            format=form,
            assembly=assembly,
            database=database,
            settings=settings,
            refresh=refresh,
            progress=progress,
        )
        return _copied(download, output, overwrite) if output else download.path

    failures = []
    for number, identifier in enumerate(chosen, 1):
        try:
            print(one(identifier, f"{identifier}  {number} of {len(chosen)}"), flush=True)
        except UserError as error:
            if len(chosen) == 1:
                raise
            # The others may be well: a batch of a night does not end at its third id.
            failures.append(identifier)
            print(f"error: {identifier}: {error}", file=sys.stderr, flush=True)
    if failures:
        raise UserError(f"{len(failures)} of {len(chosen)} failed: {' '.join(failures)}; run the same command again")


def settings_of(offline: bool) -> DatabaseSettings:
    """Settings of the environment, and what the command line says."""
    settings = DatabaseSettings()
    return replace(settings, offline=True) if offline else settings


def _all_ids(identifiers: Sequence[str], lists: Sequence[Path], column: str | None, database: Database) -> list[str]:
    """Ids of the command line and of files, each once; all are read before the first is fetched."""
    found = [*identifiers, *(text for path in lists for text in read_identifiers(path, column))]
    if not found:
        raise IdentifierError("no ids: give some, or --list FILE")
    for text in found:
        parse_identifier(text, database)
    return list(dict.fromkeys(found))


def _copied(download: Download, folder: Path, overwrite: bool) -> Path:
    """The file in a folder of the user's; one that is there already and the same is left alone."""
    target = folder / download.path.name
    if target.is_file() and not overwrite:
        with target.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == download.sha256:
                return target
        raise FileExistsAlreadyError(
            f"{target} exists already, with other content; choose another folder or give --overwrite"
        )
    with replaced_when_complete(target, overwrite=overwrite) as temporary:
        shutil.copyfile(download.path, temporary)
    return target
