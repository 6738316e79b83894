"""Training: learns rings from ten clicks, always the same way, stops when told, and names what is wrong."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_caked import training
from napari_caked.errors import DeviceError, DiameterError, LabelsError, MicrographError, TrainingError
from napari_caked.evaluation import evaluate
from napari_caked.picking import PickSettings, pick
from napari_caked.training import Finished, Prepared, Step, TrainingSettings, train, training_events
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.errors import CoordinatesError, PixelSizeError
from napari_empiarreader.micrographs import MicrographSeries

QUICK = TrainingSettings(particle_diameter=120.0, steps=8, batch_size=4, channels=8, device="cpu")
ALL = PickSettings(threshold=0, device="cpu")


@pytest.fixture(scope="module")
def data(ring_data):
    return ring_data(3)


@pytest.fixture(scope="module")
def ten(data):
    """Ten labels, five on each of two micrographs."""
    _, truth = data
    return truth.where(np.concatenate([np.flatnonzero(truth.micrograph_index == i)[::5] for i in (0, 1)]))


def kinds(events):
    return [type(event) for event in events]


def test_rings_are_learned_from_ten_labels(data, ten):
    series, truth = data
    assert len(ten) == 10
    model = train(series, ten, replace(QUICK, steps=30, channels=16))
    picks = pick(series, model, ALL)
    result = evaluate(picks, truth, radius=8)
    assert result.average_precision > 0.9
    assert result.localisation_error < 2
    # Scores are probabilities: over the labelled micrographs they add up to about the particles there are.
    here = picks.micrograph_index < 2
    assert picks.features["score"][here].sum() == pytest.approx((truth.micrograph_index < 2).sum(), rel=0.25)
    assert picks.features["score"].between(0, 1).all()


def test_events_tell_how_far_it_is(data, ten):
    events = list(training_events(data[0], ten, QUICK))
    assert kinds(events) == [Prepared, Prepared, *[Step] * 8, Finished]
    assert [(event.done, event.total) for event in events[:2]] == [(1, 2), (2, 2)]
    assert [(event.step, event.steps) for event in events[2:-1]] == [(i, 8) for i in range(1, 9)]
    assert {event.device for event in events[2:-1]} == {"CPU"}
    assert events[-1].model is not None
    assert events[-1].expected_particles == pytest.approx(25, rel=0.3)


def test_only_labelled_micrographs_are_read(data, ten):
    series, read = data[0], []
    watched = replace(series, reader=lambda i: read.append(i) or series.read(i))
    train(watched, ten, replace(QUICK, steps=2))
    assert read == [0, 1]


def test_the_same_seed_gives_the_same_picks_and_another_seed_others(data, ten):
    series = data[0]
    one, same = (pick(series, train(series, ten, QUICK), ALL) for _ in range(2))
    np.testing.assert_array_equal(one.coordinates, same.coordinates)
    np.testing.assert_array_equal(one.features["score"], same.features["score"])
    other = pick(series, train(series, ten, replace(QUICK, seed=1)), ALL)
    assert len(other) != len(one) or (other.features["logit"] != one.features["logit"]).any()


def test_the_order_of_files_and_clicks_does_not_change_the_picks(data, ten):
    series = data[0]
    turned = replace(series, names=series.names[::-1], reader=lambda i: series.read(2 - i))
    one = pick(series, train(series, ten, QUICK), ALL)
    same = pick(series, train(turned, ten.where(np.arange(10)[::-1]), QUICK), ALL)
    np.testing.assert_array_equal(one.coordinates, same.coordinates)
    np.testing.assert_array_equal(one.features["score"], same.features["score"])


def test_random_numbers_of_the_caller_are_left_alone(data, ten):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    train(data[0], ten, replace(QUICK, steps=2))
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_the_model_remembers_where_it_comes_from(data, ten):
    model = train(data[0], ten, replace(QUICK, steps=2, seed=7))
    assert model.provenance["labels"] == 10
    assert model.provenance["settings"]["seed"] == 7
    assert model.provenance["device"] == "CPU"
    assert model.particle_diameter == 120.0


# ---- stopping ------------------------------------------------------------------------------------------------


def test_a_cancelled_training_ends_at_once_without_a_model(data, ten):
    stop, events = threading.Event(), []
    for event in training_events(data[0], ten, QUICK, stop):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            stop.set()
    assert kinds(events) == [Prepared, Prepared, Step, Step, Step, Finished]
    assert events[-1].model is None


def test_a_training_cancelled_before_it_began_reads_nothing(data, ten):
    stop = threading.Event()
    stop.set()
    (event,) = training_events(data[0], ten, QUICK, stop)
    assert event == Finished(None, 0.0)


# ---- what is wrong -------------------------------------------------------------------------------------------


def test_no_labels_are_an_error_that_says_how_many_will_do(data):
    with pytest.raises(LabelsError, match="no labels.*ten are enough"):
        train(data[0], ParticleTable(data[0].names, np.empty((0, 3))), QUICK)


def test_labels_outside_are_an_error_before_anything_is_read(data):
    def never(index):
        raise AssertionError("read")

    outside = ParticleTable(data[0].names, np.array([[0, 10, 10], [0, 300, 10]]))
    with pytest.raises(CoordinatesError, match="1 of 2 particles lie outside"):
        train(replace(data[0], reader=never), outside, QUICK)


def test_labels_of_other_micrographs_are_an_error(data):
    with pytest.raises(CoordinatesError, match=r"other\.mrc"):
        train(data[0], ParticleTable(("other.mrc",), np.array([[0, 10, 10]])), QUICK)


def test_a_missing_pixel_size_is_an_error(data, ten):
    with pytest.raises(PixelSizeError, match="--pixel-size"):
        train(replace(data[0], pixel_size=None), ten, QUICK)


@pytest.mark.parametrize("diameter", [5000.0, 1.0, float("nan")])
def test_a_diameter_that_does_not_fit_is_an_error_with_the_micrograph(data, ten, diameter):
    with pytest.raises(DiameterError, match=r"m0\.mrc"):
        train(data[0], ten, replace(QUICK, particle_diameter=diameter))


def test_a_constant_micrograph_is_an_error_with_its_name(data, ten):
    blank = MicrographSeries.from_array(np.zeros((3, 256, 256), np.float32), data[0].names, 5.0)
    with pytest.raises(MicrographError, match=r"m0\.mrc"):
        train(blank, ten, QUICK)


def test_an_unknown_device_is_an_error(data, ten):
    with pytest.raises(DeviceError, match="no device called 'gpu'"):
        train(data[0], ten, replace(QUICK, device="gpu"))


def test_too_many_expected_particles_are_an_error(data, ten):
    with pytest.raises(LabelsError, match="more than half"):
        train(data[0], ten, replace(QUICK, expected_particles=1e6))


def test_an_error_inside_pytorch_leaves_as_one_of_ours(data, ten, monkeypatch):
    def fail(*_):
        raise RuntimeError("convolution went wrong")

    monkeypatch.setattr(training, "ge_binomial", fail)
    with pytest.raises(TrainingError, match="convolution went wrong") as caught:
        train(data[0], ten, QUICK)
    assert not isinstance(caught.value, RuntimeError)


def test_a_loss_that_is_no_number_is_an_error_with_its_step(data, ten, monkeypatch):
    honest = training.ge_binomial
    monkeypatch.setattr(training, "ge_binomial", lambda *arguments: honest(*arguments) * float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan at step 1"):
        train(data[0], ten, QUICK)


def test_a_device_out_of_memory_is_an_error_that_says_what_to_do(data, ten, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "ge_binomial", fail)
    with pytest.raises(DeviceError, match="smaller batch size than 4"):
        train(data[0], ten, QUICK)
