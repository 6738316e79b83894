"""The command ``suggest``: micrographs and a model in, the places to label next out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_caked._cli_options import (
    Device,
    Empty,
    Micrographs,
    Negatives,
    Overwrite,
    PixelSize,
    particles_on,
    refuse_existing,
    say,
    with_empty,
)
from napari_caked.settings import PickSettings
from napari_empiarreader import console
from napari_empiarreader.errors import FormatError

if TYPE_CHECKING:
    from napari_empiarreader.coordinates import ParticleTable

__all__ = ["suggest"]

_HIDDEN: dict[str, Any] = {"show_default": False}


def suggest(
    micrographs: Micrographs,
    model: Annotated[Path, typer.Option(help="Model from 'train' (.safetensors).", **_HIDDEN)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Suggestions to write (.star).", **_HIDDEN)],
    labels: Annotated[
        Path | None, typer.Option(help="STAR file of the labels so far: nothing is asked about them again.", **_HIDDEN)
    ] = None,
    negatives: Negatives = None,
    empty: Empty = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many places to suggest.")] = 5,
    pixel_size: PixelSize = None,
    device: Device = PickSettings.device,
    overwrite: Overwrite = False,
) -> None:
    """Suggest the places whose labels would teach most: those the model is unsure of, and unlike each other.

    The file holds the most useful place first.

    Label those that are particles, mark the others as negatives, and train on with 'train --start'.
    """
    if output.suffix.lower() != ".star":
        raise FormatError(f"{output}: suggestions are written as STAR; name a file that ends in .star")
    refuse_existing(output, overwrite)
    from napari_caked.checkpoint import load_model
    from napari_caked.picking import pick
    from napari_caked.suggest import suggest_places
    from napari_empiarreader import open_micrographs, write_particles

    picker = load_model(model)
    series = open_micrographs(micrographs, pixel_size=pixel_size)
    known, said_not = (
        # What is known may lie on other micrographs: suggestions are just as well wanted on new ones.
        particles_on(file, series.names, what, required=False) if file is not None else _nothing(series.names)
        for file, what in ((labels, "labels"), (negatives, "negatives"))
    )
    said_not = with_empty(said_not, empty, series.names)
    # Every candidate: what the model is unsure of lies on both sides of any threshold.
    settings = PickSettings(threshold=0.0, device=device)
    candidates = pick(series, picker, settings, progress=console.progress_line)
    places = suggest_places(
        series, candidates, known, said_not, particle_diameter=picker.particle_diameter, count=number
    )
    write_particles(output, places, overwrite=overwrite)
    if len(places) < number:
        say(f"only {len(places)} places could be suggested: there are no more candidates")
    typer.echo(_table(places))
    typer.echo(f"{len(places)} places to label next, the most useful first: {output}")


def _nothing(names: tuple[str, ...]) -> ParticleTable:
    import numpy as np

    from napari_empiarreader.coordinates import ParticleTable

    return ParticleTable(names, np.empty((0, 3)))


def _table(places: ParticleTable) -> str:
    """A line for each place: micrograph, x and y in pixels, probability."""
    names = [places.micrographs[i] for i in places.micrograph_index]
    width = max(len("micrograph"), *map(len, names))
    rows = zip(names, places.coordinates[:, 1:], places.features["score"], strict=True)
    lines = [f"{'micrograph':<{width}}  {'x':>8}  {'y':>8}  score"]
    return "\n".join([*lines, *(f"{name:<{width}}  {x:8.1f}  {y:8.1f}  {score:5.2f}" for name, (y, x), score in rows)])
