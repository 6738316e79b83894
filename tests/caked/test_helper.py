"""The helper's side of a training: what it hears while it learns, and what it shows of it."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from napari_caked.widgets import _preview
from napari_caked.widgets._inbox import Inbox
from napari_caked.widgets._messages import Look, Pause, Read, Resume, Stop
from napari_caked.widgets._wire import send


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
