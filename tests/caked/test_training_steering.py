"""Steering a training: pause, enough, cancel, a time to end, held-out micrographs, previews."""

import functools
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_caked import lessons, training
from napari_caked.errors import LabelsError, SettingsError
from napari_caked.evaluation import evaluate
from napari_caked.picking import PickSettings, pick
from napari_caked.training import (
    Finished,
    Prepared,
    Preview,
    Step,
    TrainingControl,
    Validated,
    train,
    training_events,
)

sys.path.insert(0, str(Path(__file__).parent))
from short_trainings import PATCHES, QUICK, Clock, labels_on, of, same, weights  # noqa: E402

SHORT = replace(QUICK, steps=4)
ALL = PickSettings(threshold=0, device="cpu")


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


@pytest.fixture(scope="module")
def previewed(data):
    """Give events of a training with previews after each step, and the weights of these as they came."""

    def run(settings):
        events, seen = [], []
        for event in training_events(data[0], labels_on(data, 0, 1), settings, preview_every=0.0):
            events.append(event)
            if isinstance(event, Preview):
                seen.append(weights(event.model))
        return events, seen

    return functools.cache(run)


def test_looks_and_previews_change_nothing(data, previewed):
    """Given the same labels, with previews after each step or without, then the weights have the same bits."""
    plain = train(data[0], labels_on(data, 0, 1), SHORT)
    *events, last = previewed(SHORT)[0]
    assert len(of(Preview, events)) == 3
    assert same(weights(last.model), weights(plain))


@pytest.mark.parametrize("settings", [SHORT, PATCHES], ids=["matched", "conv31"])
def test_a_preview_is_a_working_picker_that_later_steps_leave_alone(data, previewed, settings):
    events, seen = previewed(settings)
    event = of(Preview, events)[0]
    assert event.step == 1 and same(weights(event.model), seen[0])
    assert not same(seen[0], seen[-1])
    assert not event.model.network.training
    picks = pick(data[0], event.model, ALL)
    assert len(picks) and picks.features["score"].between(0, 1).all() and picks.features["logit"].notna().all()
    assert event.model.calibration.share is not None
