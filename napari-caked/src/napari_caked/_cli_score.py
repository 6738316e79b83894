"""The command ``score``: picks against labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_caked._cli_options import Diameter, PixelSize
from napari_caked.settings import PickSettings

if TYPE_CHECKING:
    from napari_caked.evaluation import Evaluation

__all__ = ["score"]


def score(
    picks: Annotated[Path, typer.Argument(help="STAR file of picks.", show_default=False)],
    truth: Annotated[Path, typer.Argument(help="STAR file of labels to score against.", show_default=False)],
    diameter: Diameter,
    radius: Annotated[
        float | None, typer.Option(help="Match radius in pixels; half the diameter if left out.", show_default=False)
    ] = None,
    border: Annotated[float, typer.Option(help="Pixels along the edges where nothing counts.")] = 0.0,
    threshold: Annotated[float, typer.Option(help="Score for precision and recall.")] = PickSettings.threshold,
    micrographs: Annotated[
        list[str] | None,
        typer.Option(help="The micrographs, where they do not lie beside the STAR files.", show_default=False),
    ] = None,
    pixel_size: PixelSize = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Score picks against labels: precision, recall, F1, average precision."""
    from napari_caked.errors import LabelsError
    from napari_caked.evaluation import evaluate, micrographs_beside
    from napari_empiarreader import open_micrographs, read_particles

    found, labels = read_particles(picks), read_particles(truth)
    shape = None
    if border or (radius is None and pixel_size is None):
        series = open_micrographs(micrographs or micrographs_beside(labels, [truth, picks]))
        shape, pixel_size = series.shape, pixel_size or series.pixel_size
    if radius is None:
        if pixel_size is None:
            raise LabelsError("the match radius needs the pixel size; give --pixel-size in Å or --radius in pixels")
        radius = diameter / 2 / pixel_size
    result = evaluate(found, labels, radius=radius, threshold=threshold, border=border, shape=shape)
    typer.echo(_as_json(result, radius) if as_json else _as_text(result, radius))


def _summary(result: Evaluation, radius: float) -> dict[str, Any]:
    return {
        "labels": result.labels,
        "candidates": result.candidates,
        "picks": result.picks,
        "match_radius_px": radius,
        "average_precision": result.average_precision,
        "best_f1": result.best_f1,
        "best_threshold": result.best_threshold,
        "threshold": result.threshold,
        "precision": result.precision,
        "recall": result.recall,
        "f1": result.f1,
        "localisation_error_px": result.localisation_error,
    }


def _as_json(result: Evaluation, radius: float) -> str:
    # JSON knows no NaN.
    return json.dumps({name: None if value != value else value for name, value in _summary(result, radius).items()})


def _as_text(result: Evaluation, radius: float) -> str:
    lines = []
    for name, value in _summary(result, radius).items():
        lines.append(f"{name.replace('_', ' '):<24}{value:.4g}" if isinstance(value, float) else f"{name:<24}{value}")
    return "\n".join(lines)
