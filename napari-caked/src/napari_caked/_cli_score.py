"""The command ``score``: picks against labels."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_caked._cli_options import Diameter, Overwrite, PixelSize, refuse_existing, require_picture
from napari_caked.errors import LabelsError, SettingsError
from napari_caked.settings import PickSettings

__all__ = ["score"]


class Match(StrEnum):
    """Rules of matching, as :mod:`napari_caked.matching` explains them."""

    greedy = "greedy"
    assignment = "assignment"


def score(
    picks: Annotated[Path, typer.Argument(help="STAR file of picks.", show_default=False)],
    truth: Annotated[Path, typer.Argument(help="STAR file of labels to score against.", show_default=False)],
    diameter: Diameter,
    radius: Annotated[
        float | None, typer.Option(help="Match radius in pixels; half the diameter if left out.", show_default=False)
    ] = None,
    border: Annotated[float, typer.Option(min=0, help="Pixels along the edges where nothing counts.")] = 0.0,
    threshold: Annotated[float, typer.Option(help="Score for precision and recall.")] = PickSettings.threshold,
    micrographs: Annotated[
        list[str] | None,
        typer.Option(help="The micrographs, where they do not lie beside the STAR files.", show_default=False),
    ] = None,
    pixel_size: PixelSize = None,
    match: Annotated[
        Match,
        typer.Option(help="One pick per label: better scores choose first, or the best assignment of all (as Topaz)."),
    ] = Match.greedy,
    per_micrograph: Annotated[bool, typer.Option("--per-micrograph", help="A row for every micrograph, too.")] = False,
    table: Annotated[
        Path | None,
        typer.Option(help="Table to write (.csv, .md, .json or .txt), a row per micrograph.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture to write (.svg, .png, .pdf): curve, micrographs, reliability.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Score picks against labels: precision, recall, F1, average precision; as text, table and picture."""
    if radius is not None and not 0 < radius < math.inf:
        raise SettingsError(f"--radius {radius:g}: a match radius is positive; give it in pixels")
    if plot is not None:
        require_picture(plot)
    from napari_caked.evaluation import evaluate_micrographs, micrographs_beside
    from napari_caked.evaluation_tables import format_of, report_as
    from napari_empiarreader import open_micrographs, read_particles
    from napari_empiarreader.files import replaced_when_complete

    form = format_of(table) if table is not None else None
    for path in (table, plot):
        if path is not None:
            refuse_existing(path, overwrite)
    found, labels = read_particles(picks), read_particles(truth)
    shape = None
    if border or (radius is None and pixel_size is None):
        series = open_micrographs(micrographs or micrographs_beside(labels, [truth, picks]))
        shape, pixel_size = series.shape, pixel_size or series.pixel_size
    if radius is None:
        if pixel_size is None:
            raise LabelsError("the match radius needs the pixel size; give --pixel-size in Å or --radius in pixels")
        radius = diameter / 2 / pixel_size
    report = evaluate_micrographs(
        found,
        labels,
        radius=radius,
        threshold=threshold,
        border=border,
        shape=shape,
        rule=match.value,
        pixel_size=pixel_size,
    )
    typer.echo(report_as(report, "json" if as_json else "text", per_micrograph=per_micrograph))
    if table is not None and form is not None:
        with replaced_when_complete(table, overwrite=overwrite) as temporary:
            temporary.write_text(report_as(report, form) + "\n", encoding="utf-8")
        typer.echo(f"table: {table}", err=True)
    if plot is not None:
        from napari_caked.figures import draw_evaluation

        draw_evaluation(plot, report)
        typer.echo(f"picture: {plot}", err=True)
