"""The command ``convert``: particle coordinates, and images to MRC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_empiarreader import console
from napari_empiarreader.errors import UserError

__all__ = ["convert"]


def convert(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="IN OUT", help="What to convert, and the file or folder to make.", show_default=False),
    ],
    micrographs: Annotated[
        list[str] | None,
        typer.Option(
            "--micrographs",
            help="Files, folders or patterns, after IN and OUT: their names, and the sizes that some formats need.",
        ),
    ] = None,
    pixel_size: Annotated[float | None, typer.Option(help="In Å.")] = None,
    box_size: Annotated[float | None, typer.Option(help="Side of the boxes in pixels.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Pixels of the micrograph per pixel of IN, such as 4 for binned coordinates.")
    ] = None,
    y_up: Annotated[
        bool | None, typer.Option("--y-up/--y-down", help="Where the rows of IN begin, if not as usual in its format.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of a CSV file, such as x=X-Coord,y=Y-Coord,micrograph=File.")
    ] = None,
    source_format: Annotated[
        str | None, typer.Option("--from", help="Format of IN, if its suffix is not enough.")
    ] = None,
    target_format: Annotated[
        str | None, typer.Option("--to", help="Format of OUT, if its suffix is not enough.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Convert particle coordinates between formats, or images of any format to MRC. Prints the files made."""
    if len(paths) < 2 or (len(paths) > 2 and not micrographs):
        raise UserError("name one IN and one OUT: convert IN OUT [--micrographs FILES...]")
    source, target, *more = paths
    if _is_image(source):
        _convert_image(source, Path(target), pixel_size, overwrite)
        return
    from napari_empiarreader.coordinates import read_particles, write_particles

    names, shapes = _names_and_shapes([*(micrographs or ()), *more])
    table = read_particles(
        source,
        format=source_format,
        micrographs=names,
        shapes=shapes,
        pixel_size=pixel_size,
        columns=_roles(columns),
        scale=scale,
        y_up=y_up,
    )
    if not len(table):
        raise UserError(f"{source}: holds no particles, so there is nothing to convert")
    written = write_particles(
        target,
        table,
        format=target_format,
        overwrite=overwrite,
        shapes=shapes,
        pixel_size=pixel_size,
        box_size=box_size,
    )
    for path in written:
        typer.echo(path)


def _is_image(location: str) -> bool:
    from napari_empiarreader.micrographs.formats import IMAGE_SUFFIXES

    return location.lower().endswith(IMAGE_SUFFIXES)


def _convert_image(source: str, target: Path, pixel_size: float | None, overwrite: bool) -> None:
    from napari_empiarreader.micrographs import write_mrc
    from napari_empiarreader.micrographs.movies import MovieSeries
    from napari_empiarreader.micrographs.opening import open_images

    if target.suffix.lower() not in (".mrc", ".mrcs"):
        raise UserError(f"{target}: images are converted to .mrc or .mrcs; give OUT such a name")
    opened = open_images(source, pixel_size=pixel_size, progress=console.progress_line)
    if len(opened) > 1 or (isinstance(opened[0], MovieSeries) and len(opened[0]) > 1):
        raise UserError(f"{source}: several files or sizes; convert one file at a time")
    data: Any = opened[0].to_dask()
    write_mrc(target, data[0] if data.ndim == 4 or len(data) == 1 else data, opened[0].pixel_size, overwrite=overwrite)
    for sentence in opened.warnings:
        typer.echo(sentence, err=True)
    typer.echo(target)


def _names_and_shapes(locations: Sequence[str]) -> tuple[list[str] | None, dict[str, tuple[int, int]] | None]:
    """Names of micrographs, and their sizes ``(y, x)`` by name; None and None of none."""
    from napari_empiarreader.micrographs.opening import open_images

    if not locations:
        return None, None
    shapes = {
        name: (series.shape[-2], series.shape[-1])
        for series in open_images(list(locations), progress=console.progress_line)
        for name in series.names
    }
    return list(shapes), shapes


def _roles(columns: str | None) -> dict[str, str] | None:
    if columns is None:
        return None
    pairs = [part.partition("=") for part in columns.split(",")]
    if not all(role and name for role, _, name in pairs):
        raise UserError(f"--columns {columns}: write it like x=X-Coord,y=Y-Coord")
    return {role.strip(): name.strip() for role, _, name in pairs}
