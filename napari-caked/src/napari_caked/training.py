"""Training a picker from a few labels.

Way of the data: labelled micrographs are read once and become small working images; the labels become a template, its
likenesses become places with probabilities (:mod:`napari_caked.teaching`), and a network learns from them; at last its
logits are calibrated against those of its own decoys. :mod:`napari_caked.lessons` does these steps; here they become
events, one after the other, and may be stopped between any two.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_caked.checkpoint import PickerModel
from napari_caked.devices import choose_device, device_in_words
from napari_caked.errors import DeviceError, TrainingError
from napari_caked.lessons import Lesson, Material, begin, gather
from napari_caked.preprocess import WorkingStore
from napari_caked.said import readable_labels
from napari_caked.settings import TrainingSettings
from napari_caked.training_state import Best, Reached, load_state, save_state
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = [
    "Finished",
    "Prepared",
    "Preview",
    "Step",
    "TrainingControl",
    "TrainingEvent",
    "TrainingSettings",
    "Validated",
    "Warned",
    "train",
    "training_events",
]

_log = logging.getLogger(__name__)

#: Steps between two looks at the loss where looking makes the device wait.
_LOOK_EVERY = 10
#: Bytes of working images in memory; further ones are mapped from files.
_IMAGE_MEMORY = 1 << 30
#: Seconds between two savings of the state.
_SAVE_EVERY = 10.0


@dataclass(frozen=True)
class Prepared:
    """A micrograph was read and prepared: ``done`` of ``total``."""

    done: int
    total: int
    message: str


@dataclass(frozen=True)
class Step:
    """Batches were learned from, up to ``step``.

    Attributes
    ----------
    step, steps
        Counted from 1.
    loss
        Value of the objective.
    device
        Where it ran, in words.
    """

    step: int
    steps: int
    loss: float
    device: str


@dataclass(frozen=True)
class Validated:
    """How good the picker of ``step`` is on the micrographs held out; ``best``: better than all before."""

    step: int
    average_precision: float
    best: bool


@dataclass(frozen=True)
class Preview:
    """A copy of the picker as it is after ``step``, roughly calibrated."""

    step: int
    model: PickerModel


@dataclass(frozen=True)
class Warned:
    """Something is odd about the data, in words."""

    message: str


@dataclass(frozen=True)
class Finished:
    """Training is over; ``model`` is None where it was cancelled before there was one."""

    model: PickerModel | None
    expected_particles: float


TrainingEvent = Prepared | Step | Validated | Preview | Warned | Finished


class TrainingControl:
    """Steers a training from any thread."""

    def __init__(self) -> None:
        self._cancelled, self._enough, self._going = threading.Event(), threading.Event(), threading.Event()
        self._going.set()

    def cancel(self) -> None:
        """End at the next batch, without a model."""
        self._cancelled.set()
        self._going.set()

    def finish(self) -> None:
        """Learn no more, and make a model of what was learned."""
        self._enough.set()
        self._going.set()

    def pause(self) -> None:
        """Learn nothing until :meth:`resume`."""
        self._going.clear()

    def resume(self) -> None:
        """Learn on."""
        self._going.set()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled.is_set()

    @property
    def ended(self) -> bool:
        """Whether no more is to be learned."""
        return self._cancelled.is_set() or self._enough.is_set()

    def wait(self) -> float:
        """Sleep while there is a pause; the seconds it took."""
        began = time.monotonic()
        self._going.wait()
        return time.monotonic() - began


def train(
    series: MicrographSeries,
    labels: ParticleTable,
    settings: TrainingSettings,
    *,
    negatives: ParticleTable | None = None,
    validation: ParticleTable | None = None,
    start: PickerModel | None = None,
    prior: PickerModel | None = None,
    state: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> PickerModel:
    """Train a picker; see :func:`training_events` for the parameters and errors. Warnings are logged."""
    for event in training_events(
        series, labels, settings, negatives=negatives, validation=validation, start=start, prior=prior, state=state
    ):
        match event:
            case Prepared():
                progress(event.done, event.total, event.message)
            case Step():
                progress(event.step, event.steps, f"training on {event.device}, loss {event.loss:.3f}")
            case Warned():
                _log.warning("%s", event.message)
            case Finished(model=model) if model is not None:
                return model
    raise TrainingError("training ended without a model")


def training_events(
    series: MicrographSeries,
    labels: ParticleTable,
    settings: TrainingSettings,
    *,
    negatives: ParticleTable | None = None,
    validation: ParticleTable | None = None,
    start: PickerModel | None = None,
    prior: PickerModel | None = None,
    state: str | os.PathLike[str] | None = None,
    control: TrainingControl | None = None,
    preview_every: float | None = None,
) -> Iterator[TrainingEvent]:
    """Train a picker, saying how far it is.

    Parameters
    ----------
    series
        Micrographs with a pixel size; only those that somebody has said something about are read.
    labels
        Particle centres, matched to the micrographs by name.
    settings
        Diameter and the rest.
    negatives
        Places that are no particle; ``metadata["empty_micrographs"]`` names micrographs without any.
    validation
        Labels to choose the best state by; nothing is learned from their micrographs. Without them,
        ``settings.hold_out`` labelled micrographs are held out.
    start
        A picker to improve, with ``settings.improving_steps``; its template, scale and network stay.
    prior
        A picker of the default network whose weights a new training starts from, and whose opinion is asked, in place
        of the general one; it gets a template of the labels.
    state
        File to keep the state of the training in while it runs. Where there is one of the same training, learning goes
        on from there, exactly, in what is left of its time budget; it is removed when the training is over.
    control
        Cancels, pauses, or ends the training from another thread.
    preview_every
        Seconds between two previews; None gives none.

    Yields
    ------
    Prepared, Warned, Step, Validated, Preview, Finished
        ``Finished`` is the last and carries the model.

    Raises
    ------
    LabelsError, CoordinatesError, PixelSizeError, DiameterError, MicrographError, DeviceError, SettingsError
        What is wrong with the data, before any time is spent on training.
    CheckpointError
        ``state`` is the state of another training, or damaged.
    TrainingError
        PyTorch failed.
    """
    control = control or TrainingControl()
    device = choose_device(settings.device)
    try:
        said = readable_labels(series, labels, negatives, validation, settings)
        material = Material(series, settings, device)
        if control.cancelled:
            yield Finished(None, 0.0)
            return
        with WorkingStore(_IMAGE_MEMORY) as store:
            for done, name in enumerate(gather(said, material), start=1):
                store.put_away(material.workings)
                yield Prepared(done, said.total, f"prepared {name}")
                if control.cancelled:
                    yield Finished(None, 0.0)
                    return
            lesson = begin(said, material, start, prior)
            yield from (Warned(warning) for warning in lesson.warnings)
            yield from _learn(lesson, control, Path(state) if state is not None else None, preview_every)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"the {settings.device} device ran out of memory; use device 'cpu' or a smaller batch size than "
            f"{settings.batch_size}"
        ) from error
    except RuntimeError as error:
        raise TrainingError(f"PyTorch failed during training: {error}") from error


def _learn(
    lesson: Lesson, control: TrainingControl, state: Path | None, preview_every: float | None
) -> Iterator[TrainingEvent]:
    """Learn until the end, or until somebody or something says that it is enough."""
    settings, steps = lesson.settings, lesson.steps
    words, waits = device_in_words(lesson.device), lesson.device.type != "cpu"
    best = Best(settings.patience)
    reached = load_state(state, lesson, best) if state is not None else Reached()
    step = reached.step
    if step:
        _log.info("learning goes on after step %d and %.0f s", step, reached.seconds)
    shown = saved = time.monotonic()
    began = shown - reached.seconds  # what was spent before an interruption is spent
    look = settings.validate_every or max(steps // 10, 1)
    while step < steps and not best.given_up:
        began += control.wait()  # a pause is no part of the time to learn in
        if control.ended:
            break
        spent = (time.monotonic() - began) / settings.time_budget if settings.time_budget else 0.0
        if spent >= 1:
            if not step:
                raise TrainingError(
                    f"the time budget of {settings.time_budget:g} s ended before the first step; give more"
                )
            break
        loss = lesson.learner_step(max(step / steps, spent))
        step += 1
        if not waits or step % _LOOK_EVERY == 0 or step == steps:
            yield Step(step, steps, _finite(loss, step), words)
        if lesson.validates and (step % look == 0 or step == steps):
            precision = lesson.average_precision()
            yield Validated(step, precision, best.take(precision, lesson.network))
        if preview_every is not None and time.monotonic() - shown >= preview_every and step < steps:
            yield Preview(step, lesson.preview())
            shown = time.monotonic()
        if state is not None and time.monotonic() - saved >= _SAVE_EVERY:
            saved = time.monotonic()
            save_state(state, lesson, best, Reached(step, saved - began))
    if control.cancelled:
        if state is not None and step:
            save_state(state, lesson, best, Reached(step, time.monotonic() - began))
        yield Finished(None, lesson.expected)
        return
    if best.weights is not None:
        lesson.network.load_state_dict(best.weights)
    model = lesson.finished(step)
    # Before the last event, after which nobody need ask for more.
    if state is not None:
        state.unlink(missing_ok=True)
    yield Finished(model, lesson.expected)


def _finite(loss: torch.Tensor, step: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise TrainingError(f"the loss is {value} at step {step}; use a smaller learning rate")
    return value
