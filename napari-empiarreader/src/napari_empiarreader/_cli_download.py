"""The commands ``download`` and ``get``: files out of the archive, or the commands that fetch them by other means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_empiarreader import console
from napari_empiarreader.errors import UserError

if TYPE_CHECKING:
    from napari_empiarreader.archive import Archive
    from napari_empiarreader.archive.download import DownloadPlan, DownloadReport

__all__ = ["AddressesFile", "Budget", "Commands", "Only", "Output", "Overwrite", "fetch"]

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; the entry's folders are kept.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of another length.")]
Only = Annotated[
    Literal["metadata"] | None,
    typer.Option("--only", help="metadata: coordinates, segmentations and descriptions, no images."),
]
Budget = Annotated[str | None, typer.Option("--budget", help="Most bytes to fetch, such as 4GB; refuses beyond.")]
AddressesFile = Annotated[
    Path | None, typer.Option("--from", help="File with one address in each line, as 'list --addresses' prints them.")
]
Commands = Annotated[
    bool, typer.Option("--commands", help="Download nothing: print the Globus and Aspera commands for the same files.")
]


def fetch(
    archive: Archive,
    addresses: Sequence[str],
    output: Path,
    *,
    addresses_file: Path | None = None,
    only: Literal["metadata"] | None = None,
    budget: int | None = None,
    overwrite: bool = False,
    fail_fast: bool = False,
    commands: bool = False,
    as_json: bool = False,
) -> None:
    """Download, print what is there now, and end with exit code 1 where something is missing."""
    from napari_empiarreader.archive.download import download, plan

    chosen = [*addresses, *_listed(addresses_file)]
    if not chosen:
        raise UserError("nothing to download: give addresses such as empiar://10017/data/*.mrc, or --from FILE")
    made = plan(archive, chosen, output, only=only, budget_bytes=budget, progress=console.progress_line)
    if commands:
        typer.echo(made.commands(), nl=False)
        return
    if made.is_large:
        typer.echo(f"{made}: EMPIAR asks to fetch so much by Globus or Aspera; see --commands", err=True)
    report = download(made, overwrite=overwrite, fail_fast=fail_fast, progress=console.progress_line)
    _tell(made, report, as_json)
    if not report.is_complete:
        raise typer.Exit(1)


def _listed(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as a list of addresses ({error})") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _tell(plan: DownloadPlan, report: DownloadReport, as_json: bool) -> None:
    if as_json:
        facts = asdict(report) | {
            "failed": {uri: str(error) for uri, error in report.failed.items()},
            "suspicious": {str(path): why for path, why in report.suspicious.items()},
            "folder": plan.folder,
        }
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False, default=str))
        return
    for path in report.paths:
        typer.echo(path)
    for path, why in report.suspicious.items():
        typer.echo(f"looks damaged: {path}: {why}", err=True)
    for error in report.failed.values():
        typer.echo(f"error: {error}", err=True)
    typer.echo(str(report), err=True)
