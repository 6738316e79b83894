"""The command ``pick``: micrographs and a model in, a STAR file of particles out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from napari_caked._cli_options import Device, Micrographs, Overwrite, PixelSize, refuse_existing
from napari_caked.settings import PickSettings
from napari_empiarreader import console

__all__ = ["pick"]


def pick(
    micrographs: Micrographs,
    model: Annotated[Path, typer.Option(help="Model from 'train' (.safetensors).", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picks to write (.star).", show_default=False)],
    pixel_size: PixelSize = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Least probability of a pick; 0 writes every candidate.")
    ] = PickSettings.threshold,
    device: Device = PickSettings.device,
    overwrite: Overwrite = False,
) -> None:
    """Pick particles with a trained model."""
    refuse_existing(output, overwrite)
    from napari_caked.checkpoint import load_model
    from napari_caked.picking import pick as pick_particles
    from napari_empiarreader import open_micrographs, write_particles

    began = time.monotonic()
    picker = load_model(model)
    series = open_micrographs(micrographs, pixel_size=pixel_size)
    settings = PickSettings(threshold=threshold, device=device)
    table = pick_particles(series, picker, settings, progress=console.progress_line)
    write_particles(output, table, overwrite=overwrite)
    typer.echo(f"{len(table)} picks on {len(series)} micrographs in {time.monotonic() - began:.0f} s: {output}")
