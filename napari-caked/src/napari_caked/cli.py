"""The command line: train, pick, prune, mask, score, suggest, simulate, and a demonstration."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_caked._cli_dataset import dataset
from napari_caked._cli_mask import mask
from napari_caked._cli_options import Device, PixelSize
from napari_caked._cli_pick import join, pick
from napari_caked._cli_prune import prune
from napari_caked._cli_score import score
from napari_caked._cli_simulate import simulate
from napari_caked._cli_suggest import suggest
from napari_caked._cli_train import train
from napari_caked.errors import SettingsError
from napari_caked.settings import TrainingSettings
from napari_empiarreader import console

__all__ = ["app", "main"]

app = typer.Typer(
    help="Pick cryo-EM particles from a few labels. MICROGRAPHS are files, folders, patterns or empiar:// addresses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# The defaults stand in the settings and nowhere else.
_SEED, _DEVICE = TrainingSettings.seed, TrainingSettings.device


def main() -> None:
    """Run the command line; a user's mistake becomes one line on standard error and exit code 1."""
    console.run(app)


app.command()(train)
app.command()(pick)
app.command()(join)
app.command()(prune)
app.command()(mask)
app.command()(score)
app.command()(suggest)
app.command()(simulate)
app.add_typer(dataset, name="dataset")


@app.command()
def demo(
    entry: Annotated[
        int | None, typer.Option(help="EMPIAR entry; the built-in one if left out.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo-output"),
    gui: Annotated[bool, typer.Option("--gui", help="Open napari with the layers and the training widget.")] = False,
    diameter: Annotated[
        float | None, typer.Option(help="Particle diameter in Å; known for the built-in entry.", show_default=False)
    ] = None,
    pixel_size: PixelSize = None,
    labels: Annotated[
        str | None,
        typer.Option(help="STAR file of particles; that of the entry if left out.", show_default=False),
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="Folder of the entry's micrographs; found if left out.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=2, help="Micrographs to use.")] = 6,
    clicks: Annotated[int, typer.Option(min=1, help="Labelled particles to train from.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the choice of labels and of the training.")] = _SEED,
    device: Device = _DEVICE,
) -> None:
    """Run the main job once: archive entry, lazy micrographs, ten labels, training, picks, score."""
    from contextlib import ExitStack

    from napari_caked.walkthrough import Job, report, run, served_sample

    if gui:
        _require_screen()
    with ExitStack() as stack:
        archive = None
        if entry is None:
            typer.echo("serving the built-in entry from this machine")
            entry, archive, diameter = stack.enter_context(served_sample(console.progress_line))
        job = Job(
            entry=entry,
            particle_diameter=diameter,
            pixel_size=pixel_size,
            labels=labels,
            folder=folder,
            limit=limit,
            clicks=clicks,
            seed=seed,
            device=device,
        )
        result = run(job, archive, progress=console.progress_line)
        files = report(result, output)
        typer.echo(result.table())
        for what, path in files.items():
            typer.echo(f"{what:<16} {path}")
        if gui:
            from napari_caked.widgets.window import show

            show(result)


def _require_screen() -> None:
    """Say that there is no screen before the work; Qt would say it after, by ending the program."""
    known = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in known):
        raise SettingsError("--gui needs a screen, and there is none (DISPLAY is not set); run it without --gui")
