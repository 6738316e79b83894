"""The command ``mask``: where micrographs show ice, carbon, gold or dirt, and which picks lie there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from napari_caked._cli_options import Device, Diameter, Overwrite, PixelSize, particles_on, refuse_existing
from napari_caked.pruning.settings import PruneSettings
from napari_empiarreader import console

__all__ = ["mask"]

_HIDDEN: dict[str, Any] = {"show_default": False}
_PICKS = "picks.star"


def mask(
    micrographs: Annotated[
        list[str], typer.Argument(help="Files, folders, patterns or empiar:// addresses.", **_HIDDEN)
    ],
    diameter: Diameter,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks, one MRC each.", **_HIDDEN)],
    picks: Annotated[
        Path | None,
        typer.Option(help=f"Picks to flag: written to {_PICKS} in the folder, with a column 'junk'.", **_HIDDEN),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Pruner to ask (.safetensors); the shipped one if left out.", **_HIDDEN)
    ] = None,
    pixel_size: PixelSize = None,
    device: Device = PruneSettings.device,
    overwrite: Overwrite = False,
) -> None:
    """Map what is neither particles nor clean ice on each micrograph.

    A mask is as large as its micrograph: 0 is good, 1 is junk. Picks are flagged, and none is left out.
    """
    settings = PruneSettings(flips=1, device=device)
    from napari_caked.pruning.checkpoint import general_pruner, load_pruner
    from napari_caked.pruning.junk import flagged, junk_maps
    from napari_empiarreader import open_micrographs, write_particles
    from napari_empiarreader.micrographs import write_mrc

    began = time.monotonic()
    pruner = general_pruner() if model is None else load_pruner(model)
    series = open_micrographs(micrographs, pixel_size=pixel_size)
    series.require_pixel_size()
    targets = [output / f"{Path(name).stem}_junk.mrc" for name in series.names]
    for target in (*targets, output / _PICKS) if picks is not None else targets:
        refuse_existing(target, overwrite)
    table = None if picks is None else particles_on(picks, series.names, "picks").require_inside(series.shape)
    output.mkdir(parents=True, exist_ok=True)
    maps, shares = {}, []
    for index, found in junk_maps(series, diameter, pruner, settings):
        full = found.full()
        write_mrc(targets[index], full, series.pixel_size, overwrite=overwrite)
        shares.append(float((full >= 0.5).mean()))
        maps[index] = found
        console.progress_line(index + 1, len(series), f"masked {series.names[index]}")
    said = f"{len(series)} micrographs, {np.mean(shares):.1%} of them junk"
    if table is not None:
        table = flagged(table, maps)
        write_particles(output / _PICKS, table, overwrite=overwrite)
        said += f"; {int((table.features['junk'] >= 0.5).sum())} of {len(table)} picks lie on some"
    typer.echo(f"{said}, in {time.monotonic() - began:.0f} s: {output}")
