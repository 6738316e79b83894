"""The command ``prune``: picks of any program in, the same picks with their probabilities out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_caked._cli_options import (
    Device,
    Diameter,
    Overwrite,
    PixelSize,
    particles_on,
    refuse_existing,
    say,
)
from napari_caked.errors import LabelsError
from napari_caked.pruning.settings import CLASSES, PICKERS, PruneSettings
from napari_empiarreader import console
from napari_empiarreader.errors import FormatError

if TYPE_CHECKING:
    from napari_empiarreader.coordinates import ParticleTable

__all__ = ["prune"]

_HIDDEN: dict[str, Any] = {"show_default": False}


def prune(
    picks: Annotated[Path, typer.Argument(help="Picks of any program, in any format that is known.", **_HIDDEN)],
    micrographs: Annotated[
        list[str],
        typer.Option(
            help="Micrographs of the picks: files, folders, patterns or empiar:// addresses, one or several.", **_HIDDEN
        ),
    ],
    diameter: Diameter,
    output: Annotated[Path, typer.Option("--output", "-o", help="Picks to write (.star).", **_HIDDEN)],
    more: Annotated[list[str] | None, typer.Argument(metavar="[MICROGRAPHS]...", hidden=True)] = None,
    good: Annotated[Path | None, typer.Option(help="Some particles, to learn from.", **_HIDDEN)] = None,
    bad: Annotated[Path | None, typer.Option(help="Some places that are no particle.", **_HIDDEN)] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Places with a column of their class, to learn from.", **_HIDDEN)
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out picks that are less probable.", **_HIDDEN)
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Pruner to start from (.safetensors); the shipped one if left out.", **_HIDDEN)
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Pruner to write, with what it has learned (.safetensors).", **_HIDDEN)
    ] = None,
    pixel_size: PixelSize = None,
    flips: Annotated[int, typer.Option(help="Views of each pick that are averaged: 1, 4 or 8.")] = PruneSettings.flips,
    picker: Annotated[
        str, typer.Option(help=f"Whose opinion is asked besides, of a picker: {', '.join(PICKERS)}.")
    ] = PruneSettings.picker,
    seed: Annotated[int, typer.Option(min=0, help="Of learning.")] = PruneSettings.seed,
    device: Device = PruneSettings.device,
    overwrite: Overwrite = False,
) -> None:
    """Tell which picks are particles; every pick is kept unless --threshold is given.

    The file has all columns of the picks, their probability, and the number and name of their class.

    With --good and --bad, 20 of each, pickers are trained on them for half a minute, and their opinion counts, too.
    """
    if output.suffix.lower() != ".star":
        raise FormatError(f"{output}: picks are written as STAR; name a file that ends in .star")
    if (good is None) != (bad is None):
        raise LabelsError("give both --good and --bad, or neither: learning needs some of each")
    if save is not None and good is None and labels is None:
        raise LabelsError(f"--save {save}: nothing is learned without --good and --bad, or --labels")
    settings = PruneSettings(flips=flips, picker=picker, seed=seed, device=device)
    for path in (output, save):
        if path is not None:
            refuse_existing(path, overwrite)
    from napari_caked.pruning.checkpoint import general_pruner, load_pruner, save_pruner
    from napari_caked.pruning.classify import advised, judged, learned, with_verdicts
    from napari_empiarreader import open_micrographs, write_particles

    began = time.monotonic()
    pruner = general_pruner() if model is None else load_pruner(model)
    series = open_micrographs([*micrographs, *(more or [])], pixel_size=pixel_size)
    series.require_pixel_size()
    found = particles_on(picks, series.names, "picks").require_inside(series.shape)
    told = {
        name: particles_on(file, series.names, f"{name} labels")
        for name, file in (("good", good), ("bad", bad), ("labels", labels))
        if file is not None
    }
    if told:
        pruner = learned(
            series,
            diameter,
            good=told.get("good"),
            bad=told.get("bad"),
            labels=told.get("labels"),
            pruner=pruner,
            settings=settings,
            progress=console.progress_line,
        )
    pruner = advised(pruner, series, diameter, settings, progress=console.progress_line)
    logits = judged(series, found, diameter, pruner, settings, progress=console.progress_line)
    table = with_verdicts(found, logits, pruner)
    if save is not None:
        save_pruner(save, pruner, overwrite=overwrite)
    kept = table if threshold is None else table.where(table.features["probability"].to_numpy() >= threshold)
    write_particles(output, kept, overwrite=overwrite)
    if "labels" not in pruner.provenance:
        say("judged without labels of these micrographs; 20 each by --good and --bad make it surer")
    typer.echo(_summary(table, len(kept), output, time.monotonic() - began))


def _summary(table: ParticleTable, kept: int, output: Path, seconds: float) -> str:
    """How many of each class, how many are left, and how fast it was."""
    counts = table.features["kind"].value_counts()
    classes = ", ".join(f"{counts.get(name, 0)} {name}" for name in CLASSES)
    left = f"{kept} of {len(table)} picks are kept" if kept < len(table) else f"all {kept} picks are kept"
    return f"{classes}; {left}, in {seconds:.0f} s: {output}"
