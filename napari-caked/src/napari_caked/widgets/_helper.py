"""The helper process: PyTorch runs here, so that napari's window never waits for it.

In a thread, loading PyTorch and its first batch hold Python's global lock for up to a second at a time. A process also
gives all GPU memory back when it ends, and may run out of memory without taking napari along.

    python -m napari_caked.widgets._helper

One request comes in on standard input, :mod:`._messages` go out on standard output.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_caked.widgets._messages import (
    Devices,
    Done,
    Failed,
    Job,
    Learned,
    ListDevices,
    Message,
    Picked,
    Prepared,
    Read,
    Trained,
)
from napari_caked.widgets._wire import receive, send
from napari_empiarreader.errors import UserError
from napari_empiarreader.micrographs import MicrographSeries

_LOSSES_EVERY = 0.1
_PICKS_EVERY = 1.0
"""Seconds between messages: what a window can usefully show."""


def main() -> None:
    """Answer one request."""
    incoming, outgoing = sys.stdin.buffer, _claim_stdout()
    # The window comes first; training takes the processor time that it leaves.
    with contextlib.suppress(AttributeError, OSError):
        os.nice(5)

    def say(message: object) -> None:
        send(outgoing, message)

    def read(index: int) -> np.ndarray:
        say(Read(index))
        return np.asarray(receive(incoming))

    try:
        request = receive(incoming)
        messages = _devices() if isinstance(request, ListDevices) else _train_and_pick(request, read)
        for message in messages:
            say(message)
        say(Done())
    except (BrokenPipeError, EOFError):  # the window is gone, and with it the reason to go on
        pass
    except UserError as error:
        say(Failed(str(error), ""))
    except Exception as error:
        say(Failed(f"{type(error).__name__}: {error}", traceback.format_exc()))


def _claim_stdout() -> BinaryIO:
    """The real standard output; whatever libraries print goes to standard error from now on."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


def _devices() -> Iterator[Message]:
    import torch

    from napari_caked.devices import device_in_words

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    names += ["mps"] if torch.backends.mps.is_available() else []
    yield Devices(tuple((name, device_in_words(torch.device(name))) for name in names))


def _train_and_pick(job: Job, read: Callable[[int], np.ndarray]) -> Iterator[Message]:
    from napari_caked import training
    from napari_caked.checkpoint import PickerModel, save_model

    series = MicrographSeries(job.names, job.shape, job.dtype, job.pixel_size, read, job.source)
    model: PickerModel | None = None
    losses: list[float] = []
    sent = 0.0
    for event in training.training_events(series, job.labels, job.training):
        if isinstance(event, training.Prepared):
            yield Prepared(event.done, event.total)
        elif isinstance(event, training.Step):
            losses.append(event.loss)
            if time.monotonic() - sent > _LOSSES_EVERY or event.step == event.steps:
                yield Learned(event.step, event.steps, tuple(losses), event.device)
                losses, sent = [], time.monotonic()
        elif event.model is not None:
            model = event.model
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.safetensors"
                save_model(file, model)
                yield Trained(file.read_bytes(), event.expected_particles)
    if model is not None:
        yield from _pick(series, model, job)


def _pick(series: MicrographSeries, model: Any, job: Job) -> Iterator[Message]:
    from napari_caked.errors import TrainingError
    from napari_caked.picking import picks_by_micrograph, picks_table

    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    sent = time.monotonic()
    try:
        for done, part in enumerate(picks_by_micrograph(series, model, job.picking), start=1):
            parts.append(part)
            if time.monotonic() - sent > _PICKS_EVERY or done == len(series):
                table = picks_table(series.names, parts, model, job.picking)
                keep = table.features["score"].to_numpy() >= job.least_score
                yield Picked(done, len(series), table.where(keep))
                parts, sent = [], time.monotonic()
    except RuntimeError as error:
        raise TrainingError(f"PyTorch failed during picking: {error}") from error


if __name__ == "__main__":
    main()
