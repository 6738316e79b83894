"""The command line: train, pick, score, and the demonstration of all three."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_caked._cli_options import Device, Diameter, Micrographs, Overwrite, PixelSize, refuse_existing
from napari_caked._cli_pick import join, pick
from napari_caked._cli_score import score
from napari_caked.errors import SettingsError
from napari_caked.settings import TrainingSettings
from napari_empiarreader import console

if TYPE_CHECKING:
    from napari_empiarreader.coordinates import ParticleTable

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


@app.command()
def train(
    micrographs: Micrographs,
    labels: Annotated[Path, typer.Option(help="STAR file of labelled particles.", show_default=False)],
    diameter: Diameter,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model to write (.safetensors).", show_default=False)],
    pixel_size: PixelSize = None,
    expected: Annotated[
        float | None, typer.Option(help="Expected particles per micrograph; estimated if left out.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = _SEED,
    device: Device = _DEVICE,
    overwrite: Overwrite = False,
) -> None:
    """Train a picker from labelled particles."""
    refuse_existing(output, overwrite)
    from napari_caked.checkpoint import save_model
    from napari_caked.training import train as train_picker
    from napari_empiarreader import open_micrographs, read_particles

    began = time.monotonic()
    series = open_micrographs(micrographs, pixel_size=pixel_size)
    table = _on_these(read_particles(labels), series.names)
    settings = TrainingSettings(diameter, expected_particles=expected, seed=seed, device=device)
    model = train_picker(series, table, settings, progress=console.progress_line)
    save_model(output, model, overwrite=overwrite)
    record = model.provenance
    typer.echo(
        f"trained on {record['device']} from {record['labels']} labels, {record['expected_particles']:.0f} particles "
        f"expected per micrograph, in {time.monotonic() - began:.0f} s: {output}"
    )


app.command()(pick)
app.command()(join)
app.command()(score)


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


def _on_these(labels: ParticleTable, names: tuple[str, ...]) -> ParticleTable:
    """Labels on the named micrographs; a table may know of more of them, and says so, but not of none of them."""
    kept = labels.only_on(names)
    if not len(kept):
        return labels.renamed_to(names)  # says what is wrong
    if len(kept) < len(labels):
        typer.echo(f"{len(labels) - len(kept)} of {len(labels)} labels lie on other micrographs: not used", err=True)
    return kept
