"""Steering a training: pause, enough, cancel, a time to end, held-out micrographs, previews, going on later."""

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from napari_caked import lessons, training
from napari_caked.errors import CheckpointError, LabelsError, SettingsError
from napari_caked.evaluation import evaluate
from napari_caked.picking import PickSettings, pick
from napari_caked.settings import TrainingSettings
from napari_caked.training import (
    Finished,
    Prepared,
    Preview,
    Step,
    TrainingControl,
    Validated,
    Warned,
    train,
    training_events,
)
from napari_empiarreader.coordinates import ParticleTable

QUICK = TrainingSettings(
    particle_diameter=120.0,
    steps=6,
    batch_size=2,
    crop_size=65,
    channels=8,
    device="cpu",
    precision="float32",
    reviews=0,
)
PATCHES = replace(QUICK, network="conv31", steps=4)
ALL = PickSettings(threshold=0, device="cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    """Sums that are divided among threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(ring_data):
    """Three small micrographs with nine rings each, all labelled."""
    return ring_data(3, size=164)


def labels_on(data, *indices):
    return data[1].where(np.isin(data[1].micrograph_index, indices))


def weights(model):
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


# ---- from another thread -------------------------------------------------------------------------------------


def test_a_cancelled_training_ends_at_once_without_a_model(data):
    control, events = TrainingControl(), []
    for event in training_events(data[0], labels_on(data, 0, 1), QUICK, control=control):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            control.cancel()
    assert [event.step for event in of(Step, events)] == [1, 2, 3]
    assert isinstance(events[-1], Finished) and events[-1].model is None


def test_a_training_cancelled_before_it_began_reads_nothing(data):
    def never(index):
        raise AssertionError("read")

    control = TrainingControl()
    control.cancel()
    (event,) = training_events(replace(data[0], reader=never), labels_on(data, 0), QUICK, control=control)
    assert event == Finished(None, 0.0)


def test_a_training_cancelled_between_two_micrographs_reads_no_more(data):
    control, events = TrainingControl(), []
    for event in training_events(data[0], labels_on(data, 0, 1), QUICK, control=control):
        events.append(event)
        control.cancel()
    assert [type(event) for event in events] == [Prepared, Finished]


def test_enough_is_enough_and_makes_a_model_of_what_was_learned(data):
    control, events = TrainingControl(), []
    for event in training_events(data[0], labels_on(data, 0), QUICK, control=control):
        events.append(event)
        if isinstance(event, Step) and event.step == 2:
            control.finish()
    assert len(of(Step, events)) == 2
    assert events[-1].model.provenance["steps"] == 2


@pytest.mark.parametrize("then", ["resume", "finish", "cancel"])
def test_a_pause_sleeps_until_another_thread_ends_it(data, then):
    """Given a pause after the second step, then no processor time is spent until somebody says how to go on."""
    control, events, spent = TrainingControl(), [], []
    paused = threading.Event()

    def follow():
        for event in training_events(data[0], labels_on(data, 0), QUICK, control=control):
            events.append(event)
            if isinstance(event, Step) and event.step == 2 and not paused.is_set():
                control.pause()
                spent.append(time.thread_time())
                paused.set()
            elif paused.is_set() and len(spent) == 1:
                spent.append(time.thread_time())

    thread = threading.Thread(target=follow)
    thread.start()
    assert paused.wait(60)
    time.sleep(0.4)
    assert thread.is_alive() and len(of(Step, events)) == 2
    getattr(control, then)()
    thread.join(60)
    assert not thread.is_alive()
    steps, model = len(of(Step, events)), events[-1].model
    assert (steps, model is None) == {"resume": (6, False), "finish": (2, False), "cancel": (2, True)}[then]


def test_waiting_costs_no_processor_time():
    control, spent = TrainingControl(), []
    control.pause()

    def wait():
        began = time.thread_time()
        spent.append((control.wait(), time.thread_time() - began))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    control.resume()
    thread.join(10)
    ((waited, worked),) = spent
    assert waited > 0.4 and worked < 0.1
    assert control.wait() < 0.1


class Clock:
    """Time that goes on by ``pace`` seconds for each look at the clock."""

    def __init__(self, pace):
        self.now, self.pace = 0.0, pace

    def monotonic(self):
        self.now += self.pace
        return self.now


def test_a_time_budget_ends_with_a_model_at_the_rates_of_the_end(data, monkeypatch):
    progresses, honest = [], lessons.Lesson.learner_step
    monkeypatch.setattr(lessons.Lesson, "learner_step", lambda self, p: progresses.append(p) or honest(self, p))
    monkeypatch.setattr(training, "time", Clock(1.0))
    settings = replace(QUICK, steps=1000, time_budget=16.0)
    model = train(data[0], labels_on(data, 0), settings)
    assert 2 < model.provenance["steps"] == len(progresses) < 16
    assert progresses == sorted(progresses) and progresses[0] < 0.2 and progresses[-1] > 0.7
    assert all(np.isfinite(tensor).all() for tensor in map(torch.Tensor.numpy, weights(model).values()))


def test_a_pause_is_no_part_of_the_time_budget(data, monkeypatch):
    clock, control = Clock(0.0), TrainingControl()
    monkeypatch.setattr(training, "time", clock)
    honest = control._going.wait

    def pause():
        clock.now += 1000.0
        return honest()

    monkeypatch.setattr(control._going, "wait", pause)
    events = list(
        training_events(data[0], labels_on(data, 0), replace(QUICK, time_budget=10.0, steps=3), control=control)
    )
    assert len(of(Step, events)) == 3


# ---- looks at micrographs that are held out ------------------------------------------------------------------


def test_the_best_state_is_kept_and_reported(data, monkeypatch):
    """Given looks that get better and then worse, then the model is that of the best look, its network as it was."""
    seen, precisions = [], iter([0.2, 0.6, 0.4])

    def look(self):
        seen.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
        return next(precisions)

    monkeypatch.setattr(lessons.Lesson, "average_precision", look)
    events = list(training_events(data[0], labels_on(data, 0, 1, 2), replace(QUICK, hold_out=1, validate_every=2)))
    assert of(Validated, events) == [Validated(2, 0.2, True), Validated(4, 0.6, True), Validated(6, 0.4, False)]
    assert same(weights(events[-1].model), seen[1])
    assert not same(seen[1], seen[2])
    assert len(events[-1].model.provenance["held_out"]) == 1


def test_patience_ends_early(data, monkeypatch):
    precisions = iter([0.5, 0.4, 0.3, 0.9])
    monkeypatch.setattr(lessons.Lesson, "average_precision", lambda self: next(precisions))
    settings = replace(QUICK, hold_out=1, validate_every=1, patience=2)
    events = list(training_events(data[0], labels_on(data, 0, 1), settings))
    assert [event.step for event in of(Validated, events)] == [1, 2, 3]
    assert events[-1].model is not None


def test_what_is_validated_is_the_picker_on_the_micrographs_of_the_validation(data):
    """Given labels of their own for validation, then the last look is what anybody would measure with that picker."""
    series, checking = data[0], labels_on(data, 2)
    read = []
    watched = replace(series, reader=lambda i: read.append(i) or series.read(i))
    settings = replace(QUICK, validate_every=6, hold_out=2)
    events = list(training_events(watched, labels_on(data, 0, 1), settings, validation=checking))
    assert read == [0, 1, 2]
    assert events[-1].model.provenance["held_out"] == ["m2.mrc"]  # not those of hold_out
    assert events[-1].model.provenance["labels"] == 18
    (look,) = of(Validated, events)
    picks = pick(series, events[-1].model, ALL)
    assert look.average_precision == pytest.approx(evaluate(picks, checking, radius=12).average_precision, abs=1e-6)


def test_labels_on_micrographs_of_the_validation_are_not_learned_from(data):
    events = list(training_events(data[0], labels_on(data, 0, 2), QUICK, validation=labels_on(data, 2)))
    assert events[-1].model.provenance["labels"] == 9
    with pytest.raises(LabelsError, match="none is left to learn from"):
        train(data[0], labels_on(data, 2), QUICK, validation=labels_on(data, 2))
    with pytest.raises(LabelsError, match="2 micrographs cannot be held out of 2"):
        train(data[0], labels_on(data, 0, 1), replace(QUICK, hold_out=2))
    with pytest.raises(SettingsError, match="patience needs micrographs to look at"):
        train(data[0], labels_on(data, 0, 1), replace(QUICK, patience=1))


def test_looks_and_previews_change_nothing(data):
    """Given the same labels, with previews after each step or without, then the weights have the same bits."""
    plain = train(data[0], labels_on(data, 0, 1), QUICK)
    *events, last = training_events(data[0], labels_on(data, 0, 1), QUICK, preview_every=0.0)
    assert len(of(Preview, events)) == 5
    assert same(weights(last.model), weights(plain))


@pytest.mark.parametrize("settings", [QUICK, PATCHES], ids=["matched", "conv31"])
def test_a_preview_is_a_working_picker_that_later_steps_leave_alone(data, settings):
    previews = []
    for event in training_events(data[0], labels_on(data, 0, 1), settings, preview_every=0.0):
        if isinstance(event, Preview):
            previews.append((event, weights(event.model)))
    event, before = previews[0]
    assert event.step == 1 and same(weights(event.model), before)
    assert not event.model.network.training
    assert not same(before, previews[-1][1])
    picks = pick(data[0], event.model, ALL)
    assert len(picks) and picks.features["score"].between(0, 1).all() and picks.features["logit"].notna().all()
    assert event.model.calibration.share is not None


# ---- going on later ------------------------------------------------------------------------------------------


def interrupted(data, path, settings, after, **options):
    control = TrainingControl()
    for event in training_events(data[0], labels_on(data, 0, 1), settings, state=path, control=control, **options):
        if isinstance(event, Step) and event.step == after:
            control.cancel()
    assert path.exists()


@pytest.mark.parametrize(
    ("settings", "after"),
    [
        (QUICK, 2),
        (replace(QUICK, steps=8, reviews=2), 4),  # just before the first review
        (replace(QUICK, steps=8, reviews=2), 5),  # and just after it
        (PATCHES, 2),
        (replace(PATCHES, autoencoder=0.1), 3),
    ],
    ids=["matched", "before a review", "after a review", "conv31", "autoencoder"],
)
def test_a_training_that_goes_on_has_the_same_bits_as_one_that_never_stopped(data, tmp_path, settings, after):
    path = tmp_path / "state"
    whole = list(training_events(data[0], labels_on(data, 0, 1), settings))
    interrupted(data, path, settings, after)
    rest = list(training_events(data[0], labels_on(data, 0, 1), settings, state=path))
    assert [event.step for event in of(Step, rest)] == list(range(after + 1, settings.all_steps + 1))
    assert of(Step, rest) == of(Step, whole)[after:]
    assert same(weights(rest[-1].model), weights(whole[-1].model))
    assert rest[-1].model.calibration == whole[-1].model.calibration
    assert list(tmp_path.iterdir()) == []


def test_an_improvement_goes_on_too(data, tmp_path):
    start, settings = train(data[0], labels_on(data, 0, 1), QUICK), replace(QUICK, improving_steps=4)
    whole = train(data[0], labels_on(data, 0, 1), settings, start=start)
    interrupted(data, tmp_path / "state", settings, 2, start=start)
    rest = train(data[0], labels_on(data, 0, 1), settings, start=start, state=tmp_path / "state")
    assert same(weights(rest), weights(whole))
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
def test_the_state_of_another_training_is_refused(data, tmp_path, change):
    path = tmp_path / "state"
    interrupted(data, path, QUICK, 1)
    before = path.read_bytes()
    other = {"labels": labels_on(data, 0, 1), "settings": QUICK, "pixel_size": 5.0, "negatives": None}
    other |= change(labels_on(data, 0, 1))
    series = replace(data[0], pixel_size=other["pixel_size"])
    with pytest.raises(CheckpointError, match="state: the state of another training.*remove it"):
        train(series, other["labels"], other["settings"], negatives=other["negatives"], state=path)
    assert path.read_bytes() == before


def test_a_training_that_goes_on_has_only_what_is_left_of_its_time(data, tmp_path, monkeypatch):
    """Given half a budget spent before an interruption, and an hour away, then the other half is learned in."""
    progresses, honest, clock = [], lessons.Lesson.learner_step, Clock(1.0)
    monkeypatch.setattr(lessons.Lesson, "learner_step", lambda self, p: progresses.append(p) or honest(self, p))
    monkeypatch.setattr(training, "time", clock)
    settings = replace(QUICK, steps=1000, time_budget=60.0)
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


def test_a_damaged_state_is_refused(data, tmp_path):
    path = tmp_path / "state"
    interrupted(data, path, QUICK, 1)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118

    def refused(match):
        with pytest.raises(CheckpointError, match=match):
            train(data[0], labels_on(data, 0, 1), QUICK, state=path)

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
