"""A training that was interrupted goes on where it stopped, with the same bits; states that do not fit are refused."""

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from napari_caked import lessons, training
from napari_caked.errors import CheckpointError
from napari_caked.training import Finished, Step, TrainingControl, Validated, Warned, train, training_events
from napari_empiarreader.coordinates import ParticleTable

sys.path.insert(0, str(Path(__file__).parent))
from short_trainings import PATCHES, QUICK, Clock, labels_on, of, same, weights  # noqa: E402

REVIEWED = replace(QUICK, steps=8, reviews=2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Sums that are divided among threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(ring_data):
    """Three small micrographs with nine rings each, all labelled."""
    return ring_data(3, size=140)


@pytest.fixture(scope="module")
def whole(data):
    """Give the events of a training that never stopped, one for each settings."""
    return functools.cache(lambda settings: list(training_events(data[0], labels_on(data, 0, 1), settings)))


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """The state of a training that was stopped after its first step, from labels on one micrograph."""
    path = tmp_path_factory.mktemp("stopped") / "state"
    interrupted(data, path, QUICK, 1, on=(0,))
    return path.read_bytes()


def interrupted(data, path, settings, after, on=(0, 1), **options):
    control = TrainingControl()
    for event in training_events(data[0], labels_on(data, *on), settings, state=path, control=control, **options):
        if isinstance(event, Step) and event.step == after:
            control.cancel()
    assert path.exists()


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        (QUICK, 2),
        (REVIEWED, 4),  # just before the first review
        (REVIEWED, 5),  # and just after it
        (PATCHES, 1),
        (replace(PATCHES, autoencoder=0.1), 2),
    ],
    ids=["matched", "before a review", "after a review", "conv31", "autoencoder"],
)
def test_a_training_that_goes_on_has_the_same_bits_as_one_that_never_stopped(data, whole, tmp_path, settings, after):
    path = tmp_path / "state"
    interrupted(data, path, settings, after)
    rest = list(training_events(data[0], labels_on(data, 0, 1), settings, state=path))
    assert [event.step for event in of(Step, rest)] == list(range(after + 1, settings.all_steps + 1))
    assert of(Step, rest) == of(Step, whole(settings))[after:]
    last = whole(settings)[-1].model
    assert same(weights(rest[-1].model), weights(last))
    assert rest[-1].model.calibration == last.calibration
    assert list(tmp_path.iterdir()) == []


def test_an_improvement_goes_on_too(data, whole, tmp_path):
    start, settings = whole(QUICK)[-1].model, replace(QUICK, improving_steps=4)
    at_once = train(data[0], labels_on(data, 0, 1), settings, start=start)
    interrupted(data, tmp_path / "state", settings, 2, start=start)
    rest = train(data[0], labels_on(data, 0, 1), settings, start=start, state=tmp_path / "state")
    assert same(weights(rest), weights(at_once))
    assert not (tmp_path / "state").exists()


def test_the_best_so_far_outlives_an_interruption(data, tmp_path, monkeypatch):
    """Given that the best look was before the interruption, then its state is what comes out after it."""
    first, second = {1: 0.9, 2: 0.3, 3: 0.2, 4: 0.1, 5: 0.0, 6: 0.0}, []

    def look(self):
        second.append(self.learner.steps)
        return first[self.learner.steps]

    monkeypatch.setattr(lessons.Lesson, "average_precision", look)
    settings = replace(QUICK, hold_out=1, validate_every=1)
    whole = train(data[0], labels_on(data, 0, 1), settings)
    interrupted(data, tmp_path / "state", settings, 3)
    rest = list(training_events(data[0], labels_on(data, 0, 1), settings, state=tmp_path / "state"))
    assert [event.best for event in of(Validated, rest)] == [False] * len(of(Validated, rest))
    assert same(weights(rest[-1].model), weights(whole))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {"settings": replace(QUICK, seed=1)},
        lambda t: {"labels": t.where(np.arange(len(t)) > 0)},
        lambda t: {"negatives": ParticleTable(t.micrographs, np.array([[0.0, 50, 50]]))},
        lambda t: {"negatives": ParticleTable(t.micrographs, np.empty((0, 3)), metadata={"empty_micrographs": ["m2"]})},
        lambda t: {"pixel_size": 5.1},
    ],
    ids=["seed", "labels", "negatives", "empty micrograph", "pixel size"],
)
def test_the_state_of_another_training_is_refused(data, stopped, tmp_path, change):
    path = tmp_path / "state"
    path.write_bytes(stopped)
    other = {"labels": labels_on(data, 0), "settings": QUICK, "pixel_size": 5.0, "negatives": None}
    other |= change(labels_on(data, 0))
    series = replace(data[0], pixel_size=other["pixel_size"])
    with pytest.raises(CheckpointError, match="state: the state of another training.*remove it"):
        train(series, other["labels"], other["settings"], negatives=other["negatives"], state=path)
    assert path.read_bytes() == stopped


def test_a_training_that_goes_on_has_only_what_is_left_of_its_time(data, tmp_path, monkeypatch):
    """Given half a budget spent before an interruption, and an hour away, then the other half is learned in."""
    progresses, honest, clock = [], lessons.Lesson.learner_step, Clock(1.0)
    monkeypatch.setattr(lessons.Lesson, "learner_step", lambda self, p: progresses.append(p) or honest(self, p))
    monkeypatch.setattr(training, "time", clock)
    settings = replace(QUICK, steps=1000, time_budget=24.0)
    whole = train(data[0], labels_on(data, 0, 1), settings, state=tmp_path / "whole").provenance["steps"]
    progresses.clear()
    interrupted(data, tmp_path / "state", settings, whole // 2)
    clock.now += 3600.0
    rest = train(data[0], labels_on(data, 0, 1), settings, state=tmp_path / "state")
    assert len(progresses) == rest.provenance["steps"]
    assert abs(rest.provenance["steps"] - whole) <= 2
    assert progresses == sorted(progresses)


def test_a_training_whose_time_is_over_learns_no_more_and_is_finished(data, tmp_path, monkeypatch):
    """Given a cancellation in the last step that the budget allows, then going on makes the model at once."""
    clock = Clock(1.0)
    monkeypatch.setattr(training, "time", clock)
    settings = replace(QUICK, steps=1000, time_budget=20.0)
    control = TrainingControl()
    for event in training_events(data[0], labels_on(data, 0, 1), settings, state=tmp_path / "s", control=control):
        if isinstance(event, Step) and event.step == 3:
            clock.now += 20.0
            control.cancel()
    events = list(training_events(data[0], labels_on(data, 0, 1), settings, state=tmp_path / "s"))
    assert not of(Step, events)
    assert events[-1].model.provenance["steps"] == 3
    assert not (tmp_path / "s").exists()


def test_a_damaged_state_is_refused(data, stopped, tmp_path):
    path = tmp_path / "state"
    path.write_bytes(stopped)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118

    def refused(match):
        with pytest.raises(CheckpointError, match=match):
            train(data[0], labels_on(data, 0), QUICK, state=path)

    path.write_bytes(path.read_bytes()[:5000])
    refused("state: the state of the training is damaged")
    path.write_bytes(b"")
    refused("state: the state of the training is damaged")
    save_file(tensors, path, metadata | {"training": "{"})
    refused("state: the state of the training is damaged")
    for seconds in (-1.0, float("nan"), float("inf"), None, "soon"):
        told = json.dumps(json.loads(metadata["training"]) | {"seconds": seconds})
        save_file(tensors, path, metadata | {"training": told})
        refused("state: the state of the training is damaged")
    save_file(tensors, path, {"format": "napari-caked picker"})
    refused("state: not the state of a training")
    for missing in ("network.head.weight", "jitter", "optimiser.0.exp_avg", "steps"):
        save_file({name: tensor for name, tensor in tensors.items() if name != missing}, path, metadata)
        refused("state: the state of the training is damaged")
    save_file(tensors | {"network.head.weight": torch.ones(3)}, path, metadata)
    refused("state: the state of the training is damaged")


def test_the_state_is_kept_while_it_runs_and_gone_with_the_last_event(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_SAVE_EVERY", 0.0)
    there = []
    for event in training_events(data[0], labels_on(data, 0, 1), QUICK, state=tmp_path / "state"):
        if not isinstance(event, Warned):
            there.append((type(event), (tmp_path / "state").exists()))
    # Saved after each step, which is before the next one is told.
    assert [kept for kind, kept in there if kind is Step] == [False] + [True] * 5
    assert there[-1] == (Finished, False)
