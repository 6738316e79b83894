"""The command ``convert``: particle coordinates between formats, and images to MRC or OME-Zarr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from napari_empiarreader import console
from napari_empiarreader.errors import UserError

if TYPE_CHECKING:
    from napari_empiarreader.micrographs.gain import GainReference, Rotation

__all__ = ["convert"]

Flip = Literal["none", "upside-down", "left-right"]


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
    sum_frames: Annotated[bool, typer.Option("--sum", help="Of a movie the sum of its frames.")] = False,
    gain: Annotated[
        str | None, typer.Option("--gain", help="Gain reference that corrects each frame before the sum.")
    ] = None,
    gain_rotate: Annotated[int, typer.Option(help="Turns the gain reference clockwise: 0, 90, 180 or 270.")] = 0,
    gain_flip: Annotated[
        Flip, typer.Option(help="Turns it over afterwards: none, upside-down or left-right.")
    ] = "none",
    dose_per_frame: Annotated[
        float | None, typer.Option(help="e/Å² in each frame of an EER movie; by default about forty frames.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Convert particle coordinates between formats, or images of any format to MRC or OME-Zarr.

    Prints the files made.
    """
    if len(paths) < 2 or (len(paths) > 2 and not micrographs):
        raise UserError("name one IN and one OUT: convert IN OUT [--micrographs FILES...]")
    source, target, *more = paths
    if _is_image(source):
        movie = _Movie(sum_frames or gain is not None, gain, gain_rotate, gain_flip, dose_per_frame)
        _convert_image(source, Path(target), pixel_size, movie, overwrite)
        console.print_paths([Path(target)], as_json)
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
    console.print_paths(written, as_json)


@dataclass(frozen=True)
class _Movie:
    """What becomes of a movie's frames."""

    summed: bool
    gain: str | None
    rotate: int
    flip: Flip
    dose_per_frame: float | None

    def reference(self, movie: str) -> GainReference | None:
        """The gain reference, or None where none is wanted."""
        from napari_empiarreader.micrographs.gain import open_gain
        from napari_empiarreader.micrographs.locations import find_files

        if self.rotate not in (0, 90, 180, 270):
            raise UserError(f"--gain-rotate {self.rotate}: a gain reference turns by 0, 90, 180 or 270 degrees")
        if self.gain is None:
            return None
        return open_gain(find_files(self.gain)[0], flip=self.flip, rotate=cast("Rotation", self.rotate), movie=movie)


def _is_image(location: str) -> bool:
    from napari_empiarreader.micrographs.formats import IMAGE_SUFFIXES

    return location.lower().endswith(IMAGE_SUFFIXES)


def _convert_image(source: str, target: Path, pixel_size: float | None, movie: _Movie, overwrite: bool) -> None:
    from napari_empiarreader.micrographs import EerSettings, open_images, write_mrc
    from napari_empiarreader.micrographs.movies import MovieSeries
    from napari_empiarreader.micrographs.ome_zarr import write_ome_zarr

    if target.suffix.lower() not in (".mrc", ".mrcs", ".zarr"):
        raise UserError(f"{target}: images are converted to .mrc, .mrcs or .zarr; give OUT such a name")
    eer = EerSettings(dose_per_frame=movie.dose_per_frame)
    opened = open_images(source, pixel_size=pixel_size, progress=console.progress_line, eer=eer)
    series = opened[0]
    if len(opened) > 1 or (isinstance(series, MovieSeries) and len(series) > 1):
        raise UserError(f"{source}: several files or sizes; convert one file at a time")
    if movie.summed:
        if not isinstance(series, MovieSeries):
            raise UserError(f"{source}: is no movie, so there are no frames to sum")
        series = series.summed(movie.reference(series.names[0]))
    data: Any = series.to_dask()
    data = data[0] if data.ndim == 4 or len(data) == 1 else data
    if target.suffix.lower() == ".zarr":
        second = "frame" if isinstance(series, MovieSeries) else "micrograph"
        axes = (second, "y", "x") if data.ndim == 3 else ("y", "x")
        write_ome_zarr(
            target, data, pixel_size=series.pixel_size, axis_labels=axes, source=series.source, overwrite=overwrite
        )
    else:
        write_mrc(target, data, series.pixel_size, overwrite=overwrite)
    for sentence in opened.warnings:
        typer.echo(sentence, err=True)


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
