"""The helper's side of a training: what it hears while it learns, and what it shows of it."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from napari_caked.calibration import estimate_calibration
from napari_caked.checkpoint import PickerModel
from napari_caked.models import MatchedFilter
from napari_caked.models.protocol import PickerNetwork
from napari_caked.picking import candidates_and_decoys, picks_by_micrograph, picks_table, prepare_alone
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.widgets import _preview
from napari_caked.widgets._inbox import Inbox
from napari_caked.widgets._messages import Job, Look, Pause, Read, Resume, Stop
from napari_caked.widgets._wire import send
from napari_empiarreader.micrographs import MicrographSeries


@pytest.fixture
def pipes():
    """(inbox, what the window sends with, what the inbox has said)."""
    read_end, write_end = os.pipe()
    reading, writing = os.fdopen(read_end, "rb"), os.fdopen(write_end, "wb")
    said = []
    inbox = Inbox(reading, said.append)
    yield inbox, writing, said
    writing.close()
    deadline = time.monotonic() + 5
    while any(t.name == "napari_caked inbox" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    reading.close()
    assert not any(t.name == "napari_caked inbox" for t in threading.enumerate())


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def test_commands_are_heard_between_requests_and_images(pipes):
    inbox, window, said = pipes
    stopped = threading.Event()
    inbox.when_stopped(stopped.set)
    send(window, Look(4, True))
    send(window, "the request")
    assert inbox.request() == "the request" and inbox.look == Look(4, True)
    send(window, Pause())
    wait_for(lambda: inbox.paused)
    image = np.arange(6.0).reshape(2, 3)
    send(window, image)
    np.testing.assert_array_equal(inbox.read(7), image)
    assert said == [Read(7)] and inbox.paused
    send(window, Resume())
    wait_for(lambda: not inbox.paused)
    assert not stopped.is_set()
    send(window, Pause())
    send(window, Stop())
    assert stopped.wait(10) and inbox.stopped and not inbox.paused
    # One who asks after the stop hears of it as well.
    late = []
    inbox.when_stopped(lambda: late.append(True))
    assert late == [True]


def test_threads_that_read_at_once_each_get_their_own_image(pipes):
    inbox, window, said = pipes
    answered = threading.Event()

    def answer():
        for _ in range(20):
            wait_for(lambda: bool(said))
            index = said.pop(0).index
            time.sleep(0.001)
            send(window, np.full((2, 2), index))
        answered.set()

    threading.Thread(target=answer).start()
    wrong = []

    def read(first):
        for i in range(first, first + 10):
            if inbox.read(i)[0, 0] != i:
                wrong.append(i)

    readers = [threading.Thread(target=read, args=(first,)) for first in (0, 100)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert answered.wait(10) and not wrong


def test_a_window_that_is_gone_stops_the_learning(pipes):
    inbox, window, _ = pipes
    stopped = threading.Event()
    inbox.when_stopped(stopped.set)
    window.close()
    assert stopped.wait(10)
    with pytest.raises(EOFError, match="window is gone"):
        inbox.request()


def test_the_micrograph_in_view_is_previewed_but_not_too_often(pipes, monkeypatch):
    inbox, _, _ = pipes
    clock = [100.0]
    monkeypatch.setattr(_preview.time, "monotonic", lambda: clock[0])
    previewer = _preview.Previewer(None, None, inbox)
    made = []

    def preview(model, index, with_scores):
        made.append((model, index, with_scores))
        clock[0] += 0.5  # what it costs
        return made[-1]

    monkeypatch.setattr(previewer, "_preview", preview)

    def messages(after=0.0):
        clock[0] += after
        return list(previewer.messages())

    previewer.take("first", 1)
    assert messages() == []  # nobody looks
    inbox.look = Look(3)
    assert messages() == [("first", 3, False)]
    assert messages(60) == []  # nothing new to see
    previewer.take("second", 2)
    assert messages() == [("second", 3, False)]
    previewer.take("third", 3)
    assert messages(3) == [] and messages(1.5) == []  # half a second each: no more than a tenth of the time
    assert messages(0.6) == [("third", 3, False)]
    # Another micrograph is shown at once, with the model there is.
    inbox.look = Look(5, True)
    assert messages(0.4) == [("third", 5, True)]
    inbox.look = Look(None)
    assert messages(10) == []


class Filter(PickerNetwork):
    """A matched filter as a network: its answer is known without training."""

    name, stride, alignment, reach = "filter", 2, 4, 14
    configuration: ClassVar[dict] = {}

    def __init__(self):
        super().__init__()
        self.filter = MatchedFilter(torch.exp(-(((torch.arange(15.0) - 8) / 2.1) ** 2)))

    def forward(self, images):
        return 12 * self.filter(images)[:, 0, ::2, ::2] - 5


def test_what_is_seen_live_is_what_picking_gives(ring_data):
    series, _ = ring_data(2)
    noise = np.random.default_rng(5).normal(size=series.shape).astype(np.float32)
    series = MicrographSeries.from_array(
        np.stack([series.read(0), noise]), ["rings.mrc", "empty.mrc"], pixel_size=series.pixel_size
    )
    settings = PickSettings(device="cpu")
    model = PickerModel(Filter().eval(), 120.0)
    rings = prepare_alone(series.read(0), "rings.mrc", 5.0, model)
    (_, found), decoys = candidates_and_decoys(model, rings, settings)
    model = replace(model, calibration=estimate_calibration(found, found[:25], decoys=decoys))
    job = Job(
        series.names, series.shape, series.dtype, series.pixel_size, "", None, TrainingSettings(120.0), settings, 0.0
    )
    previewer = _preview.Previewer(series, job, None)
    parts = list(picks_by_micrograph(series, model, settings))
    final = picks_table(series.names, parts, model, settings)
    # Without a look at its decoys, noise would be picked.
    (_, noisy), _ = candidates_and_decoys(model, prepare_alone(noise, "empty.mrc", 5.0, model), settings)
    on = final.micrograph_index
    assert model.calibration.scores(noisy).sum() > 1 > 0.3 > final.features["score"][on == 1].sum()
    assert (final.features["score"][on == 0] > 0.5).sum() > 15
    for index in (0, 1):
        seen = previewer._preview(model, index, True)
        wanted = final.where(on == index)
        # Only the number of threads may differ.
        np.testing.assert_allclose(seen.picks.coordinates, wanted.coordinates, atol=0.01)
        np.testing.assert_allclose(seen.picks.features["score"], wanted.features["score"], rtol=1e-3)
        # The map agrees with the picks on it.
        best = seen.picks.coordinates[0, 1:] / seen.scores.spacing
        y, x = np.rint(best).astype(int)
        near = seen.scores.scores[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].astype(float)
        assert near.max() == pytest.approx(seen.picks.features["score"].iloc[0], abs=2e-3)
