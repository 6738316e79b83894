"""The helper process: PyTorch runs here, so that napari's window never waits for it.

In a thread, loading PyTorch and its first batch hold Python's global lock for up to a second at a time. A process also
gives all GPU memory back when it ends, and may run out of memory without taking napari along.

    python -m napari_caked.widgets._helper

One request comes in on standard input, and commands after it; :mod:`._messages` go out on standard output. If the
window is killed, the helper learns no more, keeps its picker (:mod:`._keeping`) and ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_caked.widgets import _messages as messages
from napari_caked.widgets._dataset_answers import answers as dataset_answers
from napari_caked.widgets._dataset_messages import BuildJob, LookJob
from napari_caked.widgets._inbox import Inbox
from napari_caked.widgets._keeping import Keeper
from napari_caked.widgets._label_free import adapted_to, own_labels, simulated_first
from napari_caked.widgets._messages import GeneralJob, Job, Message, PickJob
from napari_caked.widgets._preview import Previewer
from napari_caked.widgets._prune_answers import answers as pruning_answers
from napari_caked.widgets._prune_messages import JunkJob, PruneJob
from napari_caked.widgets._sim_answers import answers as simulation_answers
from napari_caked.widgets._sim_messages import MatchJob, PreviewJob, SaveJob, StackJob
from napari_caked.widgets._wire import send
from napari_empiarreader.errors import UserError
from napari_empiarreader.micrographs import MicrographSeries

_LOSSES_EVERY = 0.1
_PICKS_EVERY = 1.0
_MEMORY_EVERY = 1.0
_PREVIEWS_EVERY = 2.0
_PREVIEW_EVERY = 2.0
"""Seconds between messages: what a window can usefully show."""


def main() -> None:
    """Answer one request."""
    outgoing, speaking = _claim_stdout(), threading.Lock()

    def say(message: object) -> None:
        with speaking:
            send(outgoing, message)

    inbox = Inbox(sys.stdin.buffer, say)
    try:
        request = inbox.request()
        # The window comes first; training takes the processor time that it leaves. A preview is waited for.
        if not isinstance(request, PreviewJob | LookJob):
            with contextlib.suppress(AttributeError, OSError):
                os.nice(5)
        for message in _answers(request, inbox):
            # Nobody listens once the window is gone; the next image that is asked of it ends the helper.
            with contextlib.suppress(BrokenPipeError):
                say(message)
        say(messages.Done())
    except (BrokenPipeError, EOFError):  # the window is gone, and with it the reason to go on
        pass
    except UserError as error:
        say(messages.Failed(str(error), ""))
    except Exception as error:
        say(messages.Failed(f"{type(error).__name__}: {error}", traceback.format_exc()))


def _claim_stdout() -> BinaryIO:
    """The real standard output; whatever libraries print goes to standard error from now on."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


def _answers(request: Any, inbox: Inbox) -> Iterator[Message]:
    match request:
        case messages.ListDevices():
            return _devices()
        case messages.OpenPicker():
            return _opened(Path(request.path))
        case PickJob():
            return _pick(_series(request, inbox), _model_in(request.model), request)
        case GeneralJob():
            return _adapt_and_pick(request, inbox)
        case Job():
            return _train_and_pick(request, inbox)
        case PruneJob() | JunkJob():
            return pruning_answers(request, inbox)
        case LookJob() | BuildJob():
            return dataset_answers(request, inbox)
        case PreviewJob() | MatchJob() | StackJob() | SaveJob():
            return simulation_answers(request, inbox)
    raise TypeError(f"the helper cannot answer a {type(request).__name__}")


def _devices() -> Iterator[Message]:
    import torch

    from napari_caked.devices import device_in_words

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    names += ["mps"] if torch.backends.mps.is_available() else []
    yield messages.Devices(tuple((name, device_in_words(torch.device(name))) for name in names))


def _opened(path: Path) -> Iterator[Message]:
    from napari_caked.checkpoint import load_model

    model = load_model(path)
    yield messages.Opened(path.read_bytes(), model.particle_diameter, model.network.name, model.preprocess)


def _series(job: Job | GeneralJob | PickJob, inbox: Inbox) -> MicrographSeries:
    return MicrographSeries(job.names, job.shape, job.dtype, job.pixel_size, inbox.read, job.source)


def _adapt_and_pick(job: GeneralJob, inbox: Inbox) -> Iterator[Message]:
    """Make the general picker one of these micrographs; then pick the one in view, and after it all of them."""
    series = _series(job, inbox)
    if job.look.index is not None:
        inbox.look = job.look
    model, looked_at, changed = adapted_to(series, job.particle_diameter, job.picking.device, inbox.say)
    yield messages.Adapted(_as_bytes(model), model.network.name, model.preprocess, looked_at, changed)
    preview = Previewer(series, job, inbox)
    preview.take(model, 0)
    yield from preview.messages()
    yield from _pick(series, model, job, preview)


def _train_and_pick(job: Job, inbox: Inbox) -> Iterator[Message]:
    series = _series(job, inbox)
    if job.look.index is not None:
        inbox.look = job.look
    model = yield from _train(series, job, inbox)
    if model is not None:
        yield from _pick(series, model, job)


def _train(series: MicrographSeries, job: Job, inbox: Inbox) -> Generator[Message, None, Any]:
    """Train, saying how far it is; returns the model, or None where it was stopped before there was one."""
    from napari_caked import training

    control = training.TrainingControl()
    inbox.when_stopped(control.finish)
    preview, keeper, losses, memory = Previewer(series, job, inbox), Keeper(job.keep), _Losses(), _Memory()
    model: Any = None
    prior = simulated_first(series, job, inbox)
    labels = own_labels(series, job, inbox.say, prior) if job.labels is None else job.labels
    for event in training.training_events(
        series,
        labels,
        job.training,
        negatives=job.negatives,
        start=_model_in(job.start),
        prior=prior,
        control=control,
        preview_every=_PREVIEW_EVERY,
    ):
        match event:
            case training.Prepared():
                yield messages.Prepared(event.done, event.total)
            case training.Step():
                yield from losses.add(event)
            case training.Validated():
                keeper.validated(event.best)
                yield messages.Validated(event.step, event.average_precision, event.best)
            case training.Warned():
                yield messages.Warned(event.message)
            case training.Preview():
                preview.take(event.model, event.step)
                yield from keeper.offer(event.model, event.step)
            case training.Finished(model=trained) if trained is not None:
                model = trained
                yield from keeper.write(trained)
                yield messages.Trained(_as_bytes(trained), event.expected_particles)
        if model is None and not inbox.alone:
            # Of a window that goes just now no image comes; what was learned is to be kept all the same.
            with contextlib.suppress(BrokenPipeError, EOFError):
                yield from preview.messages()
            yield from memory.messages()
            # Nothing runs between two events, so that not asking for the next one is a pause; but one who looks at
            # other micrographs meanwhile is shown them.
            while inbox.paused:
                inbox.wait(0.2)
                yield from preview.messages()
    return model


class _Losses:
    """Gathers losses into messages."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._sent = 0.0

    def add(self, event: Any) -> Iterator[Message]:
        """Take a training step."""
        self._losses.append(event.loss)
        if time.monotonic() - self._sent > _LOSSES_EVERY or event.step == event.steps:
            yield messages.Learned(event.step, event.steps, tuple(self._losses), event.device)
            self._losses, self._sent = [], time.monotonic()


class _Memory:
    """Says now and then how much memory is held."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._sent = 0.0

    def messages(self) -> Iterator[Message]:
        """The figures, if it is time."""
        import torch

        if time.monotonic() - self._sent > _MEMORY_EVERY:
            self._sent = time.monotonic()
            device = torch.cuda.memory_reserved() if torch.cuda.is_initialized() else None
            yield messages.Memory(self._process.memory_info().rss, device)


def _as_bytes(model: Any) -> bytes:
    from napari_caked.checkpoint import save_model

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_model(file, model)
        return file.read_bytes()


def _model_in(content: bytes | None) -> Any:
    from napari_caked.checkpoint import load_model

    if content is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        file.write_bytes(content)
        return load_model(file)


def _pick(
    series: MicrographSeries, model: Any, job: Job | GeneralJob | PickJob, preview: Previewer | None = None
) -> Iterator[Message]:
    """Pick on all micrographs; with ``preview``, also what is looked at meanwhile, before its turn."""
    from napari_caked.devices import choose_device, device_in_words
    from napari_caked.errors import TrainingError
    from napari_caked.picking import picks_by_micrograph, picks_table

    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    sent = time.monotonic()
    device = device_in_words(choose_device(job.picking.device))
    try:
        for done, part in enumerate(picks_by_micrograph(series, model, job.picking), start=1):
            parts.append(part)
            if time.monotonic() - sent > _PICKS_EVERY or done == len(series):
                table = picks_table(series.names, parts, model, job.picking)
                keep = table.features["score"].to_numpy() >= job.least_score
                yield messages.Picked(done, len(series), table.where(keep), device)
                parts, sent = [], time.monotonic()
            if preview is not None and preview.wanted >= done:
                yield from preview.messages()
    except RuntimeError as error:
        raise TrainingError(f"PyTorch failed during picking: {error}") from error


if __name__ == "__main__":
    main()
