"""The command line: what is in an entry, and getting files out of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_empiarreader import console

if TYPE_CHECKING:
    from napari_empiarreader.archive import Archive, Entry, Item

__all__ = ["app", "main"]

app = typer.Typer(
    help="Look into EMPIAR entries and get files out of them. An address is written empiar://10017/data/*.mrc.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EntryArgument = Annotated[str, typer.Argument(help="Entry number: 10017 or EMPIAR-10017.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ApiUrl = Annotated[
    str | None,
    typer.Option("--api-url", envvar="EMPIAR_API_URL", help="Address of the metadata service.", show_default=False),
]
ArchiveUrl = Annotated[
    str | None,
    typer.Option("--archive-url", envvar="EMPIAR_ARCHIVE_URL", help="Address of the files.", show_default=False),
]


def main() -> None:
    """Run the command line; a user's mistake becomes one line on standard error and exit code 1."""
    console.run(app)


@app.command()
def info(
    entry: EntryArgument, as_json: JsonOption = False, api_url: ApiUrl = None, archive_url: ArchiveUrl = None
) -> None:
    """Show what the archive says about an entry."""
    described = _archive(api_url, archive_url).entry(entry)
    if as_json:
        _print_json({"accession": described.accession, **asdict(described)})
    else:
        typer.echo(_entry_text(described))


@app.command("list")
def list_folder(
    entry: EntryArgument,
    folder: Annotated[str, typer.Argument(help="Folder inside the entry, such as data/micrographs.")] = "",
    as_json: JsonOption = False,
    api_url: ApiUrl = None,
    archive_url: ArchiveUrl = None,
) -> None:
    """List the files and folders in a folder of an entry. Sizes are rounded by the archive."""
    from napari_empiarreader.archive import parse_number

    items = _archive(api_url, archive_url).list(parse_number(entry), folder)
    if as_json:
        _print_json([asdict(item) for item in items])
    for item in [] if as_json else items:
        typer.echo(_item_text(item))


@app.command()
def get(
    addresses: Annotated[
        list[str],
        typer.Argument(help="empiar://NUMBER/PATH; wildcards * ? [] ** are allowed, a folder means all below it."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; the entry's folders are kept.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    api_url: ApiUrl = None,
    archive_url: ArchiveUrl = None,
) -> None:
    """Download files. Each appears under its name only when it is complete."""
    from napari_empiarreader.archive.download import download, find_files

    files = find_files(_archive(api_url, archive_url), addresses)
    for path in download(files, output, overwrite=overwrite, progress=console.progress_line):
        typer.echo(path)


def _archive(api_url: str | None, archive_url: str | None) -> Archive:
    from napari_empiarreader.archive import Archive, ArchiveSettings

    return Archive(
        ArchiveSettings(
            api_url=api_url or ArchiveSettings.api_url, archive_url=archive_url or ArchiveSettings.archive_url
        )
    )


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _entry_text(entry: Entry) -> str:
    citation = ", ".join(filter(None, (entry.citation_title, entry.citation_journal, entry.citation_year)))
    facts = {
        "released": entry.release_date,
        "size": entry.dataset_size,
        "authors": ", ".join(entry.authors),
        "citation": citation,
        "citation DOI": entry.citation_doi,
        "entry DOI": entry.entry_doi,
        "EMDB": ", ".join(entry.cross_references),
    }
    lines = [f"{entry.accession}  {entry.title}"]
    lines += [f"  {name + ':':<14}{value}" for name, value in facts.items() if value]
    for imageset in entry.imagesets:
        size = f"{imageset.image_width} x {imageset.image_height} px" if imageset.image_width else ""
        pixel = f"{imageset.pixel_size:g} Å/px" if imageset.pixel_size else ""
        images = f"{imageset.num_images} images" if imageset.num_images else ""
        frames = f"{imageset.frames_per_image} frames" if (imageset.frames_per_image or 1) > 1 else ""
        said = ", ".join(filter(None, (imageset.category, imageset.data_format, images, frames, size, pixel)))
        lines += [f"  {imageset.directory or '(no folder named)'}  {imageset.name}", f"    {said}"]
    return "\n".join(lines)


def _item_text(item: Item) -> str:
    modified = "" if item.modified is None else f"{item.modified:%Y-%m-%d %H:%M}"
    return f"{item.rounded_size:>8}  {modified:16}  {item.name}{'/' if item.is_folder else ''}"
