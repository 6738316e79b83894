"""The helper's side of the simulator: what it answers, and that only the newest preview counts."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_caked.errors import SettingsError
from napari_caked.simulate import (
    DecoySettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
    lazy_micrographs,
    simulate_micrograph,
)
from napari_caked.simulate.settings import MeasuredNoise
from napari_caked.widgets import _sim_messages as messages
from napari_caked.widgets._inbox import Inbox
from napari_caked.widgets._messages import Read, Stop
from napari_caked.widgets._sim_answers import _bank, answers, density_of
from napari_caked.widgets._wire import receive, send
from napari_empiarreader import open_micrographs, read_particles

sys.path.insert(0, str(Path(__file__).parent))
from simulated import blobs  # noqa: E402

SETTINGS = SimulationSettings(
    2.5,
    seed=3,
    views=ViewSettings(views=10),
    scene=SceneSettings(shape=(96, 128), particles=6),
    decoys=DecoySettings(gold=1),
)
SPECIMEN = messages.Specimen(blobs().volume, 2.5, "six blobs")


@pytest.fixture
def window() -> Iterator[tuple[Inbox, Any, list[Any]]]:
    """(the helper's inbox, what the window sends with, what the helper said of itself)."""
    read_end, write_end = os.pipe()
    reading, writing = os.fdopen(read_end, "rb"), os.fdopen(write_end, "wb")
    said: list[Any] = []
    inbox = Inbox(reading, said.append)
    yield inbox, writing, said
    writing.close()
    deadline = time.monotonic() + 5
    while any(t.name == "napari_caked inbox" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    reading.close()


def until(condition: Any) -> None:
    """Wait for another thread."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def next_but_progress(said: Iterator[Any]) -> Any:
    return next(message for message in said if not isinstance(message, messages.Advanced))


def test_of_previews_that_wait_only_the_newest_is_made(window) -> None:
    inbox, to_helper, _ = window
    said = answers(messages.PreviewJob(SPECIMEN), inbox)
    assert next(said) == messages.Measured(blobs().diameter)
    for ticket in range(1, 6):
        send(to_helper, messages.Preview(ticket, replace(SETTINGS, seed=ticket)))
    until(lambda: inbox._answers.qsize() == 5)
    seen = next_but_progress(said)
    assert seen.ticket == 5
    bank = _bank(density_of(SPECIMEN), replace(SETTINGS, seed=5))
    expected = simulate_micrograph(bank, replace(SETTINGS, seed=5))
    assert np.array_equal(seen.image, expected.image)
    assert np.array_equal(seen.particles[:, :2], expected.scene.centres) and len(seen.decoys) == 1
    send(to_helper, messages.Preview(6, SETTINGS))
    assert next_but_progress(said).ticket == 6 and not inbox.waiting


def test_what_cannot_be_previewed_is_refused_and_the_next_is_made(window) -> None:
    inbox, to_helper, _ = window
    said = answers(messages.PreviewJob(SPECIMEN), inbox)
    next(said)
    send(to_helper, messages.Preview(1, replace(SETTINGS, pixel_size=200.0)))
    refused = next_but_progress(said)
    assert isinstance(refused, messages.Refused) and "give fewer Å" in refused.message
    send(to_helper, messages.Preview(2, SETTINGS))
    assert next_but_progress(said).ticket == 2


def test_values_that_are_no_volts_need_a_mass() -> None:
    wrong = replace(SPECIMEN, volume=SPECIMEN.volume * 1e-4)
    with pytest.raises(SettingsError, match="six blobs.*field 'Mass'"):
        density_of(wrong)
    volts = density_of(replace(wrong, mass=60.0)).volume
    assert 0.5 < volts[volts > 0.2 * volts.max()].mean() < 40


def test_a_stack_answers_with_its_truth_and_then_with_its_images(window) -> None:
    inbox, to_helper, said_aside = window
    said = answers(messages.StackJob(SPECIMEN, SETTINGS, 3), inbox)
    laid = next_but_progress(said)
    lazy = lazy_micrographs(_bank(density_of(SPECIMEN), SETTINGS), SETTINGS, 3)
    assert np.array_equal(laid.particles.coordinates, lazy.particles.coordinates)
    assert [message.done for message in said_aside] == [1, 2, 3]
    send(to_helper, messages.Render(2))
    rendered = next(said)
    assert rendered.index == 2 and np.array_equal(rendered.image, lazy.series.read(2))


def test_a_folder_is_saved_as_far_as_it_is_wanted(window, tmp_path: Path) -> None:
    inbox, to_helper, said_aside = window
    said = answers(messages.SaveJob(SPECIMEN, SETTINGS, 50, str(tmp_path), False), inbox)
    next(said)
    stop = inbox.say

    def stop_after_two(message: Any) -> None:
        stop(message)
        if message.done == 2:
            send(to_helper, Stop())
            until(lambda: inbox.stopped)

    inbox.say = stop_after_two  # type: ignore[method-assign]
    saved = next_but_progress(said)
    assert saved.count == 2 and str(tmp_path / "particles.star") in saved.files
    assert len(open_micrographs([tmp_path / "micrographs"])) == 2
    assert len(read_particles(tmp_path / "particles.star").micrographs) == 2


def test_micrographs_to_match_are_read_from_the_window(window) -> None:
    inbox, to_helper, said_aside = window
    noise = MeasuredNoise(500.0, 40.0, 16.0, (0.0, 0.02, 0.1, 0.25), (6.0, 2.0, 1.0, 0.7))
    scene = SceneSettings(shape=(320, 352), particles=50)
    true = replace(SETTINGS, scene=scene, decoys=DecoySettings(), noise=noise, optics=OpticsSettings(defocus=(2, 2)))
    bank = _bank(density_of(SPECIMEN), true)
    images = [simulate_micrograph(bank, true, index).image for index in range(2)]

    def serve() -> None:
        served = 0
        while served < 2:
            asked = [message for message in said_aside if isinstance(message, Read)]
            if len(asked) > served:
                send(to_helper, images[asked[served].index])
                served += 1
            time.sleep(0.005)

    threading.Thread(target=serve, daemon=True).start()
    start = replace(true, noise=None, scene=replace(scene, shape=(64, 64)), pixel_size=1.0)
    about = ("a", "b"), (320, 352), np.dtype(np.float32), 2.5, "real"
    matched = next_but_progress(answers(messages.MatchJob(SPECIMEN, start, None, *about), inbox))
    assert matched.settings.scene.shape == (320, 352) and matched.settings.pixel_size == 2.5
    assert matched.settings.noise.mean == pytest.approx(np.mean(images), rel=0.01)
    assert "2 micrographs" in matched.words


def test_settings_and_words_travel_as_they_are(tmp_path: Path) -> None:
    lazy = lazy_micrographs(_bank(density_of(SPECIMEN), SETTINGS), SETTINGS, 2)
    noise = MeasuredNoise(1.0, 2.0, 3.0, (0.0, 0.1), (1.0, 2.0))
    views = ViewSettings(preferred=((10.0, 20.0),))
    for message in (
        messages.Preview(4, replace(SETTINGS, noise=noise, views=views), 2),
        messages.Laid(lazy.particles, lazy.decoys, 90.0),
    ):
        with (tmp_path / "pipe").open("wb") as out:
            send(out, message)
        with (tmp_path / "pipe").open("rb") as back:
            arrived = receive(back)
        if isinstance(message, messages.Preview):
            assert arrived == message
        else:
            assert arrived.decoys.features["kind"].tolist() == lazy.decoys.features["kind"].tolist()
            optics = arrived.particles.metadata["star_blocks"]["optics"]
            assert optics.equals(lazy.particles.metadata["star_blocks"]["optics"])
