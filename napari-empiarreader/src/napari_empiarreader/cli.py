"""The command line: what is in an entry, and getting files out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_empiarreader import console
from napari_empiarreader._cli_convert import convert
from napari_empiarreader._cli_download import AddressesFile, Budget, Commands, Only, Output, Overwrite, fetch
from napari_empiarreader.errors import UserError

if TYPE_CHECKING:
    from napari_empiarreader.archive import Archive, Entry, Item

__all__ = ["app", "main"]

app = typer.Typer(
    help="Look into EMPIAR entries and get files out of them. An address is written empiar://10017/data/*.mrc.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(convert)

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
    entry: EntryArgument,
    microscope: Annotated[
        bool, typer.Option("--microscope", help="Also ask EMDB for voltage, Cs, dose and detector.")
    ] = False,
    as_json: JsonOption = False,
    api_url: ApiUrl = None,
    archive_url: ArchiveUrl = None,
) -> None:
    """Show what the archive says about an entry."""
    archive = _archive(api_url, archive_url)
    described = archive.entry(entry)
    facts = archive.microscope(described) if microscope else None
    if as_json:
        asked = {"microscope": facts and asdict(facts)} if microscope else {}
        _print_json({"accession": described.accession, **asdict(described), **asked})
        return
    typer.echo(_entry_text(described))
    if microscope:
        said = [] if facts is None else [f"{name}: {value}" for name, value in asdict(facts).items() if value]
        typer.echo("\n".join(["  microscope, from EMDB", *(f"    {line}" for line in said or ["nothing is linked"])]))


@app.command()
def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Words of titles, authors, citations; numbers of entries. All of them must fit."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Experiment type, such as EMDB or FIB-SEM.")] = None,
    category: Annotated[str | None, typer.Option(help="Such as 'micrographs - multiframe'.")] = None,
    data_format: Annotated[str | None, typer.Option("--format", help="Such as TIFF, MRC or EER.")] = None,
    least_size: Annotated[str | None, typer.Option(help="Of the entry, such as 100GB.")] = None,
    most_size: Annotated[str | None, typer.Option(help="Of the entry, such as 2TB.")] = None,
    least_pixel_size: Annotated[float | None, typer.Option(help="In Å.")] = None,
    most_pixel_size: Annotated[float | None, typer.Option(help="In Å.")] = None,
    released_since: Annotated[str | None, typer.Option(help="YYYY-MM-DD.")] = None,
    limit: Annotated[int, typer.Option(help="Most entries shown.")] = 20,
    update: Annotated[
        bool, typer.Option("--update", help="First fetch what is new; the first time, the index of all entries.")
    ] = False,
    as_json: JsonOption = False,
    api_url: ApiUrl = None,
    archive_url: ArchiveUrl = None,
) -> None:
    """Search all entries in an index on this disk; only --update uses the network."""
    from napari_empiarreader.archive.catalogue import Catalogue

    archive = _archive(api_url, archive_url)
    catalogue = Catalogue.of(archive)
    if update:
        catalogue.update(archive, console.progress_line)
    found = catalogue.search(
        " ".join(words or []),
        method=method,
        category=category,
        data_format=data_format,
        least_size=bytes_in(least_size),
        most_size=bytes_in(most_size),
        least_pixel_size=least_pixel_size,
        most_pixel_size=most_pixel_size,
        released_since=released_since,
        limit=limit,
    )
    if as_json:
        _print_json([asdict(entry) for entry in found])
    elif not found:
        typer.echo(f"no entry of {len(catalogue)} fits; search for fewer words, or --update the index", err=True)
    for entry in [] if as_json else found:
        formats = "/".join(entry.data_formats[:2])
        pixel = f"{entry.pixel_sizes[0]:g} Å/px" if entry.pixel_sizes else ""
        typer.echo(f"EMPIAR-{entry.number}  {entry.dataset_size:>9}  {formats:<10} {pixel:>11}  {entry.title}")


@app.command("list")
def list_folder(
    entry: EntryArgument,
    folder: Annotated[str, typer.Argument(help="Folder inside the entry, such as data/micrographs.")] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Everything below the folder.")] = False,
    match: Annotated[str | None, typer.Option(help="Only names that fit a pattern, such as 'FoilHole*.mrc'.")] = None,
    regex: Annotated[str | None, typer.Option(help="Only paths in which this regular expression is found.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Exact sizes, by one request for each file.")] = False,
    addresses: Annotated[
        bool, typer.Option("--addresses", help="Print addresses of files only, for 'download --from'.")
    ] = False,
    as_json: JsonOption = False,
    api_url: ApiUrl = None,
    archive_url: ArchiveUrl = None,
) -> None:
    """List the files and folders in a folder of an entry. Sizes are rounded by the archive, unless --exact."""
    from napari_empiarreader.archive import format_uri, parse_number

    archive, number = _archive(api_url, archive_url), parse_number(entry)
    fits = _name_filter(match, regex)
    items = [item for item in (archive.walk if recursive else archive.list)(number, folder) if fits(item)]
    files = [item for item in items if not item.is_folder]
    sizes: dict[str, int | str] = {}
    if exact:
        found = archive.head_sizes(number, files)
        sizes = {
            item.path: size if isinstance(size, int) else str(size) for item, size in zip(files, found, strict=True)
        }
    if as_json:
        _print_json([asdict(item) | ({"size_bytes": sizes.get(item.path)} if exact else {}) for item in items])
    elif addresses:
        for item in files:
            typer.echo(format_uri(number, item.path))
    else:
        for item in items:
            typer.echo(_item_text(item, sizes.get(item.path), item.path if recursive else item.name))


@app.command()
def preview(
    locations: Annotated[
        list[str], typer.Argument(help="Files, folders, patterns or empiar:// addresses.", metavar="MICROGRAPHS...")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture (.png, .jpg), or a folder for several.")],
    side: Annotated[int, typer.Option(help="Pixels of the longer side.")] = 768,
    frames: Annotated[int, typer.Option(help="Frames of a movie that are summed.")] = 8,
    spectrum: Annotated[bool, typer.Option(help="The power spectrum beside the micrograph.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    as_json: JsonOption = False,
    api_url: ApiUrl = None,
    archive_url: ArchiveUrl = None,
) -> None:
    """Make small pictures of micrographs and movies, reading no more than each needs."""
    from napari_empiarreader.micrographs.formats import IMAGE_SUFFIXES, open_image
    from napari_empiarreader.micrographs.locations import find_files
    from napari_empiarreader.micrographs.pictures import first_look, preview_picture, save_picture

    archive = _archive(api_url, archive_url)
    files = [file for location in locations for file in find_files(location, suffixes=IMAGE_SUFFIXES, archive=archive)]
    several, written = len(files) > 1, []
    for i, file in enumerate(files):
        console.progress_line(i, len(files), file.name)
        picture = preview_picture(first_look(open_image(file), frames), side, spectrum=spectrum)
        target = output / f"{file.name}.png" if several or output.is_dir() else output
        written.append(save_picture(target, picture, overwrite=overwrite))
    console.print_paths(written, as_json)


@app.command("download")
def download_files(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(help="empiar://NUMBER/PATH; wildcards * ? [] ** are allowed, a folder means all below it."),
    ] = None,
    output: Output = Path(),
    addresses_file: AddressesFile = None,
    only: Only = None,
    budget: Budget = None,
    overwrite: Overwrite = False,
    commands: Commands = False,
    as_json: JsonOption = False,
    api_url: ApiUrl = None,
    archive_url: ArchiveUrl = None,
) -> None:
    """Download many files: continues where an earlier run ended, and goes on past files that fail."""
    fetch(
        _archive(api_url, archive_url),
        addresses or [],
        output,
        addresses_file=addresses_file,
        only=only,
        budget=bytes_in(budget),
        overwrite=overwrite,
        commands=commands,
        as_json=as_json,
    )


@app.command()
def get(
    addresses: Annotated[
        list[str],
        typer.Argument(help="empiar://NUMBER/PATH; wildcards * ? [] ** are allowed, a folder means all below it."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; the entry's folders are kept.")],
    overwrite: Overwrite = False,
    as_json: JsonOption = False,
    api_url: ApiUrl = None,
    archive_url: ArchiveUrl = None,
) -> None:
    """Download a few files, and stop at the first that fails. Each appears only when it is complete."""
    fetch(_archive(api_url, archive_url), addresses, output, overwrite=overwrite, fail_fast=True, as_json=as_json)


def bytes_in(text: str | None) -> int | None:
    """Bytes in ``4GB``, ``1.5 TB`` or ``1000000``; None for None.

    Raises
    ------
    UserError
        The text is no size.
    """
    from napari_empiarreader.archive.entry import parse_size

    if text is None:
        return None
    size = int(text) if text.isascii() and text.isdigit() else parse_size(text)
    if size is None:
        raise UserError(f"'{text}' is no size; write it like 4GB, 1.5TB or a number of bytes")
    return size


def _archive(api_url: str | None, archive_url: str | None) -> Archive:
    """The archive of the environment, with the addresses of the options."""
    from napari_empiarreader.archive import Archive, ArchiveSettings

    settings = ArchiveSettings.from_environment()
    return Archive(
        replace(settings, api_url=api_url or settings.api_url, archive_url=archive_url or settings.archive_url)
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


def _item_text(item: Item, exact: int | str | None, name: str) -> str:
    modified = "" if item.modified is None else f"{item.modified:%Y-%m-%d %H:%M}"
    size = item.rounded_size if exact is None else f"{exact:,}" if isinstance(exact, int) else "?"
    return f"{size:>{8 if exact is None else 17}}  {modified:16}  {name}{'/' if item.is_folder else ''}"


def _name_filter(match: str | None, regex: str | None) -> Callable[[Item], bool]:
    import fnmatch
    import re

    try:
        expression = re.compile(regex or "")
    except re.error as error:
        raise UserError(f"--regex {regex}: no regular expression ({error})") from error

    def fits(item: Item) -> bool:
        chosen = (match is None or fnmatch.fnmatchcase(item.name, match)) and bool(expression.search(item.path))
        return chosen and not (item.is_folder and (match or regex))

    return fits
