"""The command ``train``: micrographs and labels in, a model out."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_caked._cli_options import (
    Device,
    Diameter,
    Empty,
    Negatives,
    Overwrite,
    PixelSize,
    particles_on,
    refuse_existing,
    require_picture,
    say,
    with_empty,
)
from napari_caked.errors import SettingsError, TrainingError
from napari_caked.settings import TrainingSettings
from napari_empiarreader import console
from napari_empiarreader.errors import FormatError

if TYPE_CHECKING:
    from napari_caked.checkpoint import PickerModel
    from napari_caked.training import TrainingControl, TrainingEvent
    from napari_empiarreader.coordinates import ParticleTable
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["train"]

_HIDDEN: dict[str, Any] = {"show_default": False}


def train(
    diameter: Diameter,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model to write (.safetensors).", **_HIDDEN)],
    micrographs: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, patterns or empiar:// addresses.", **_HIDDEN)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="STAR file of labelled particles; without it, learns from the surest picks of the general picker.",
            **_HIDDEN,
        ),
    ] = None,
    simulate: Annotated[
        Path | None,
        typer.Option(
            metavar="MAP",
            help="Density (MRC or CCP4, volts): learn first from micrographs simulated of it; needs no labels.",
            **_HIDDEN,
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(help="With --simulate: real micrographs to simulate in the likeness of.", **_HIDDEN),
    ] = None,
    dose: Annotated[
        float | None,
        typer.Option(help="With --simulate: electrons per Å², where the contrast cannot be measured.", **_HIDDEN),
    ] = None,
    mass: Annotated[
        float | None,
        typer.Option(help="With --simulate: kDa of the particle, for a map in arbitrary units.", **_HIDDEN),
    ] = None,
    pixel_size: PixelSize = None,
    negatives: Negatives = None,
    empty: Empty = None,
    expected: Annotated[
        float | None, typer.Option(help="Expected particles per micrograph; estimated if left out.", **_HIDDEN)
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help=f"{TrainingSettings.network}, the default, or a network of Bepler et al. 2019: conv31, conv63, "
            "conv127, resnet8, resnet16.",
            **_HIDDEN,
        ),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="Of those networks: ge-binomial, ge-kl, nnpu or pn.", **_HIDDEN)
    ] = TrainingSettings.objective,
    slack: Annotated[
        float | None, typer.Option(help="Weight of the expectation in ge-binomial and ge-kl.", **_HIDDEN)
    ] = TrainingSettings.slack,
    autoencoder: Annotated[
        float, typer.Option(min=0, help="Weight of the reconstruction error, for those networks.")
    ] = TrainingSettings.autoencoder,
    steps: Annotated[
        int | None,
        typer.Option(min=2, help="Batches to learn from; the network's own number if left out.", **_HIDDEN),
    ] = TrainingSettings.steps,
    general: Annotated[
        bool, typer.Option("--general/--from-nothing", help="Start from the general weights, or from random ones.")
    ] = TrainingSettings.general,
    reviews: Annotated[
        int, typer.Option(min=0, help=f"How often {TrainingSettings.network} looks again and learns from its opinion.")
    ] = TrainingSettings.reviews,
    time_budget: Annotated[
        float | None, typer.Option(help="Seconds after which learning ends.", **_HIDDEN)
    ] = TrainingSettings.time_budget,
    device: Device = TrainingSettings.device,
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, float16, or auto: the fastest the device has itself.")
    ] = TrainingSettings.precision,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = TrainingSettings.seed,
    validation: Annotated[
        Path | None,
        typer.Option(help="STAR file of labels to choose the best state by, on micrographs of their own.", **_HIDDEN),
    ] = None,
    hold_out: Annotated[
        int, typer.Option(min=0, help="Labelled micrographs to choose the best state by, instead.")
    ] = TrainingSettings.hold_out,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Looks at those without progress after which learning ends.", **_HIDDEN)
    ] = TrainingSettings.patience,
    start: Annotated[Path | None, typer.Option(help="Model to improve, instead of a new one.", **_HIDDEN)] = None,
    state: Annotated[
        Path | None, typer.Option(help="File to keep the state in; if it exists, training goes on from it.", **_HIDDEN)
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validate with so many folds first, and print a table.", **_HIDDEN)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of the training to write (.svg, .png, .pdf).", **_HIDDEN)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a picker from labelled particles, or without any.

    Without labels, the surest picks of the general picker take their place; --diameter is all that it needs.

    With --simulate, they are those of a picker that has learned from simulated micrographs of a density.

    Ctrl-C ends a training; with --state the same command goes on where it ended.
    """
    if output.suffix.lower() != ".safetensors":
        raise FormatError(f"{output}: models are written as safetensors; name a file that ends in .safetensors")
    if state == output:
        raise SettingsError(f"{output} cannot hold both the model and the state of its training; name another file")
    every = [*(like or []), *(micrographs or [])]
    if not every:
        raise SettingsError("name some micrographs to train on")
    if simulate is None and (like or dose or mass):
        raise SettingsError("--like, --dose and --mass belong to --simulate MAP")
    if labels is None and (start is not None or folds is not None or validation is not None or hold_out):
        raise SettingsError("--start, --folds, --validation and --hold-out need --labels")
    if start is not None and simulate is not None:
        raise SettingsError("--start improves one picker, and --simulate begins another; choose one of the two")
    if start is not None and folds is not None:
        raise SettingsError("--folds judges pickers that begin anew, and --start improves one; choose one of the two")
    if plot is not None:
        require_picture(plot)
    for path in (output, plot):
        if path is not None:
            refuse_existing(path, overwrite)
    from napari_caked.checkpoint import load_model, save_model
    from napari_empiarreader import open_micrographs

    began = time.monotonic()
    old = load_model(start) if start is not None else None
    chosen = network or (old.network.name if old is not None else TrainingSettings.network)
    settings = TrainingSettings(
        diameter,
        expected_particles=expected,
        network=chosen,
        objective=objective,
        slack=slack,
        autoencoder=autoencoder,
        steps=steps,
        improving_steps=steps or TrainingSettings.improving_steps,
        general=general,
        reviews=reviews,
        time_budget=time_budget,
        device=device,
        precision=precision,
        seed=seed,
        hold_out=hold_out,
        patience=patience,
    )
    series = open_micrographs(every, pixel_size=pixel_size)
    files = {"labels": labels, "negatives": negatives, "validation labels": validation}
    tables = {what: particles_on(file, series.names, what) for what, file in files.items() if file}
    said_not = with_empty(tables.get("negatives"), empty, series.names)
    tables |= {"negatives": said_not} if said_not is not None else {}
    prior = None
    if simulate is not None:
        prior = _simulated(simulate, series, settings, dose, mass)
    if labels is None:
        tables["labels"] = _own_picks(series, settings, prior)
    if folds is not None:
        _cross_validate(series, tables, settings, folds)
    log = _learn(series, tables, settings, old, prior, state)
    assert log.model is not None
    save_model(output, log.model, overwrite=overwrite)
    if plot is not None:
        from napari_caked.figures import draw_learning

        draw_learning(plot, log.losses, log.precisions)
        typer.echo(f"picture: {plot}", err=True)
    typer.echo(f"{_summary(log, own=labels is None)}, in {time.monotonic() - began:.0f} s: {output}")


@dataclass
class _Log:
    """What a training said: (step, loss), (step, average precision), and the model."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    precisions: list[tuple[int, float]] = field(default_factory=list)
    model: PickerModel | None = None

    def note(self, event: TrainingEvent) -> None:
        """Keep an event, and show it."""
        from napari_caked.training import Finished, Prepared, Step, Validated, Warned

        match event:
            case Prepared():
                console.progress_line(event.done, event.total, event.message)
            case Warned():
                say(f"warning: {event.message}")
            case Step():
                self.losses.append((event.step, event.loss))
                reached = f", average precision {self.precisions[-1][1]:.3f}" if self.precisions else ""
                console.progress_line(
                    event.step, event.steps, f"training on {event.device}, loss {event.loss:.3f}{reached}"
                )
            case Validated():
                self.precisions.append((event.step, event.average_precision))
            case Finished():
                self.model = event.model


def _simulated(
    density: Path, series: MicrographSeries, settings: TrainingSettings, dose: float | None, mass: float | None
) -> PickerModel:
    """A picker that knows the density, and has seen no real micrograph."""
    from napari_caked.simulate.project import density_in_volts
    from napari_caked.simulated_training import simulated_picker, size_in_words

    volume = density_in_volts(density, mass=mass)
    if oddity := size_in_words(volume, settings.particle_diameter):
        say(f"warning: {oddity}")
    say(f"learning from micrographs of {density.name}, simulated in the likeness of these")
    return simulated_picker(volume, series, settings, dose=dose, progress=console.progress_line)


def _own_picks(series: MicrographSeries, settings: TrainingSettings, prior: PickerModel | None) -> ParticleTable:
    """What stands for labels where there are none."""
    from napari_caked.general import general_picker
    from napari_caked.zero_clicks import adapted, some_of, sure_picks

    device, images = settings.device, list(some_of(series, progress=console.progress_line))
    picker = adapted(prior or general_picker(settings.particle_diameter), images, device=device)
    table = sure_picks(picker, series, images, device=device)
    whose = "the picker trained on simulated micrographs" if prior is not None else "the general picker"
    say(f"no labels: learning from the {len(table)} surest picks of {whose} on {len(images)} micrographs")
    return table


def _learn(
    series: MicrographSeries,
    tables: dict[str, ParticleTable],
    settings: TrainingSettings,
    old: PickerModel | None,
    prior: PickerModel | None,
    state: Path | None,
) -> _Log:
    from napari_caked.training import TrainingControl, training_events

    log, control = _Log(), TrainingControl()
    with _cancelled_by_keyboard(control):
        for event in training_events(
            series,
            tables["labels"],
            settings,
            negatives=tables.get("negatives"),
            validation=tables.get("validation labels"),
            start=old,
            prior=prior,
            state=state,
            control=control,
        ):
            log.note(event)
    if control.cancelled:
        kept = state is not None and state.exists()
        say(
            f"the state of the training is kept in {state}: the same command goes on from there"
            if kept
            else "nothing was kept; with --state FILE a training can be gone on with"
        )
        raise KeyboardInterrupt
    if log.model is None:
        raise TrainingError("training ended without a model")
    return log


@contextmanager
def _cancelled_by_keyboard(control: TrainingControl) -> Iterator[None]:
    """Let Ctrl-C end a training between two batches, when its state can be kept; pressed again, at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of Ctrl-C
        return
    before = signal.getsignal(signal.SIGINT)

    def cancel(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        control.cancel()

    signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cross_validate(
    series: MicrographSeries, tables: dict[str, ParticleTable], settings: TrainingSettings, folds: int
) -> None:
    from napari_caked.cross_validation import cross_validate

    result = cross_validate(
        series,
        tables["labels"],
        settings,
        folds,
        negatives=tables.get("negatives"),
        progress=console.progress_line,
    )
    typer.echo(result.table())
    typer.echo("where not all particles are labelled, precision and what is made of it are lower bounds")


def _summary(log: _Log, *, own: bool) -> str:
    assert log.model is not None
    record = log.model.provenance
    counts = {
        "pick of its own" if own else "label": "labels",
        "negative": "negatives",
        "empty micrograph": "empty_micrographs",
    }
    learned = " and ".join(
        f"{n} {_plural(what) if n > 1 else what}" for what, key in counts.items() if (n := record[key])
    )
    best = max((precision for _, precision in log.precisions), default=None)
    reached = "" if best is None else f", average precision {best:.3f} on {len(record['held_out'])} held out"
    return (
        f"trained on {record['device']} from {learned}, "
        f"{record['expected_particles']:.0f} particles expected per micrograph{reached}"
    )


def _plural(what: str) -> str:
    first, *rest = what.split(" of ")
    return " of ".join([f"{first}s", *rest])
