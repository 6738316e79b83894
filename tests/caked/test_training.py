"""Training: learns rings from ten clicks, always the same way, and names what is wrong."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from napari_caked import dense_learning
from napari_caked.checkpoint import load_model, save_model
from napari_caked.errors import (
    DeviceError,
    DiameterError,
    LabelsError,
    MicrographError,
    SettingsError,
    TrainingError,
)
from napari_caked.evaluation import evaluate
from napari_caked.picking import PickSettings, pick
from napari_caked.training import Finished, Prepared, Step, TrainingSettings, Warned, train, training_events
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.errors import CoordinatesError, PixelSizeError
from napari_empiarreader.micrographs import MicrographSeries

QUICK = TrainingSettings(
    particle_diameter=120.0,
    steps=4,
    batch_size=2,
    crop_size=65,
    channels=8,
    device="cpu",
    precision="float32",
    reviews=0,
)
LEARNING = replace(QUICK, steps=40, batch_size=4)
ALL = PickSettings(threshold=0, device="cpu")


@pytest.fixture(scope="module")
def data(ring_data):
    """Three small micrographs with nine rings each, and where those are."""
    return ring_data(3, size=164)


@pytest.fixture(scope="module")
def ten(data):
    """Ten labels, five on each of two micrographs."""
    _, truth = data
    return truth.where(np.concatenate([np.flatnonzero(truth.micrograph_index == i)[::2] for i in (0, 1)]))


@pytest.fixture(scope="module")
def quick(data, ten):
    """A short training: its events, and the micrographs that it read."""
    read = []
    watched = replace(data[0], reader=lambda i: read.append(i) or data[0].read(i))
    return list(training_events(watched, ten, QUICK)), read


@pytest.fixture(scope="module")
def first(data, quick):
    """The picker of that training, and its picks."""
    model = quick[0][-1].model
    return model, pick(data[0], model, ALL)


@pytest.fixture(scope="module")
def told(data, ten):
    """The last event of a short training with another seed and a number of particles to expect."""
    *_, last = training_events(data[0], ten, replace(QUICK, seed=7, expected_particles=6.0))
    return last


def kinds(events):
    return [type(event) for event in events]


def without_warnings(events):
    """Rings this close together look larger than they are to the check of the labels' size."""
    return [event for event in events if not isinstance(event, Warned)]


def scores_at(picks, table):
    """``(n,)`` score of the pick within 8 pixels of each place; 0 where there is none."""
    found = []
    for index, *yx in table.coordinates:
        here = picks.micrograph_index == index
        away = np.hypot(*(picks.coordinates[here, 1:] - yx).T)
        found.append(picks.features["score"].to_numpy()[here][away < 8].max(initial=0))
    return np.array(found)


def test_rings_are_learned_from_ten_labels(ring_data):
    series, truth = ring_data(3)
    ten = truth.where(np.concatenate([np.flatnonzero(truth.micrograph_index == i)[::5] for i in (0, 1)]))
    assert len(ten) == 10
    picks = pick(series, train(series, ten, replace(LEARNING, channels=16)), ALL)
    result = evaluate(picks, truth, radius=8)
    assert result.average_precision > 0.9
    assert result.localisation_error < 2
    # Scores are probabilities: over the labelled micrographs they add up to about the particles there are.
    here = picks.micrograph_index < 2
    assert picks.features["score"][here].sum() == pytest.approx((truth.micrograph_index < 2).sum(), rel=0.25)
    assert picks.features["score"].between(0, 1).all()


def test_events_tell_how_far_it_is(quick):
    events = without_warnings(quick[0])
    assert kinds(events) == [Prepared, Prepared, *[Step] * 4, Finished]
    assert [(event.done, event.total) for event in events[:2]] == [(1, 2), (2, 2)]
    assert [(event.step, event.steps) for event in events[2:-1]] == [(i, 4) for i in range(1, 5)]
    assert {event.device for event in events[2:-1]} == {"CPU"}
    assert all(np.isfinite(event.loss) for event in events[2:-1])
    assert events[-1].model is not None
    assert events[-1].expected_particles == pytest.approx(9, rel=0.4)


def test_only_labelled_micrographs_are_read(quick):
    assert quick[1] == [0, 1]


def test_the_same_seed_gives_the_same_picks_and_another_seed_others(data, ten, first):
    series, one = data[0], first[1]
    same, other = (pick(series, train(series, ten, replace(QUICK, seed=seed)), ALL) for seed in (0, 1))
    np.testing.assert_array_equal(one.coordinates, same.coordinates)
    np.testing.assert_array_equal(one.features["score"], same.features["score"])
    assert len(other) != len(one) or (other.features["logit"] != one.features["logit"]).any()


def test_neither_the_order_of_files_and_clicks_nor_the_callers_random_numbers_change_the_picks(data, ten, first):
    """Nor does the training change what the caller draws next."""
    series, one = data[0], first[1]
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    turned = replace(series, names=series.names[::-1], reader=lambda i: series.read(2 - i))
    model = train(turned, ten.where(np.arange(10)[::-1]), QUICK)
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002
    same = pick(series, model, ALL)
    np.testing.assert_array_equal(one.coordinates, same.coordinates)
    np.testing.assert_array_equal(one.features["score"], same.features["score"])


def test_the_model_remembers_where_it_comes_from(told):
    model = told.model
    assert model.provenance["labels"] == 10
    assert model.provenance["settings"]["seed"] == 7
    assert model.provenance["device"] == "CPU"
    assert model.particle_diameter == 120.0


# ---- more than labels ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_kinds(ring_data):
    """Micrographs with rings, and with smaller rings between them that are to be learned as something else."""
    series, truth = ring_data(2, size=164, seed=4)
    images = np.stack([series.read(i) for i in range(2)])
    rows, columns = np.mgrid[:164, :164]
    places = [(i, y, x) for i in range(2) for y, x in ((50, 50), (50, 94), (94, 50), (94, 94))]
    for i, y, x in places:
        images[i] += 1.4 * np.exp(-(((np.hypot(rows - y, columns - x) - 7) / 2.5) ** 2))
    series = MicrographSeries.from_array(images, series.names, 5.0)
    others = ParticleTable(series.names, np.array(places, float))
    return series, truth, others


@pytest.fixture(scope="module")
def unaware(two_kinds):
    """A picker that learned of the rings only, and its picks."""
    series, truth, _ = two_kinds
    model = train(series, truth.where(np.arange(18) % 2 == 0), LEARNING)
    return model, pick(series, model, ALL)


def test_a_false_pick_marked_as_such_is_gone_after_an_improvement(two_kinds, unaware):
    (series, truth, others), (first, before) = two_kinds, unaware
    false = others.where(scores_at(before, others) >= 0.5)
    assert len(false), "nothing is to be improved"
    second = train(
        series,
        truth.where(np.arange(18) % 2 == 0),
        replace(LEARNING, improving_steps=40),
        negatives=false,
        start=first,
    )
    after = pick(series, second, ALL)
    assert scores_at(after, false).max() < 0.5
    assert np.median(scores_at(after, truth)) > 0.5
    assert second.provenance["negatives"] == len(false)
    assert second.provenance["steps"] == 40
    # What was improved is a copy.
    again = pick(series, first, ALL)
    np.testing.assert_array_equal(again.features["score"], before.features["score"])


def test_negatives_count_in_a_training_from_the_beginning(two_kinds, unaware):
    (series, truth, others), (_, without) = two_kinds, unaware
    told = pick(series, train(series, truth.where(np.arange(18) % 2 == 0), LEARNING, negatives=others), ALL)
    assert scores_at(told, others).sum() < scores_at(without, others).sum()


def test_a_micrograph_marked_as_empty_is_read_and_taught_as_such(data, ten):
    """Given the third micrograph, full of unlabelled rings, when it is marked as empty, then rings there score less."""
    series, truth = data
    empty = ParticleTable(series.names, np.empty((0, 3)), metadata={"empty_micrographs": ["m2.mrc"]})
    events = without_warnings(training_events(series, ten, LEARNING, negatives=empty))
    assert kinds(events)[:4] == [Prepared] * 3 + [Step]
    assert events[-1].model.provenance["empty_micrographs"] == 1
    there = truth.where(truth.micrograph_index == 2)
    without, told = (pick(series, model, ALL) for model in (train(series, ten, LEARNING), events[-1].model))
    assert scores_at(told, there).mean() < scores_at(without, there).mean() - 0.1


def test_an_empty_micrograph_with_labels_is_an_error(data, ten):
    empty = ParticleTable(data[0].names, np.empty((0, 3)), metadata={"empty_micrographs": ["m1.mrc"]})
    with pytest.raises(LabelsError, match=r"m1\.mrc is marked as empty and has labels"):
        train(data[0], ten, QUICK, negatives=empty)
    unknown = replace(empty, metadata={"empty_micrographs": ["x.mrc"]})
    with pytest.raises(LabelsError, match=r"x\.mrc is marked as empty, but is none"):
        train(data[0], ten, QUICK, negatives=unknown)


def test_a_place_that_is_marked_as_both_is_an_error(data, ten):
    with pytest.raises(LabelsError, match=r"1 place is marked both as a particle and as none: on m0\.mrc"):
        train(data[0], ten, QUICK, negatives=ten.where([0]))


def test_a_picker_of_another_particle_or_network_is_not_improved(data, ten, first):
    model = first[0]
    with pytest.raises(SettingsError, match="trained for particles of 120 Å"):
        train(data[0], ten, replace(QUICK, particle_diameter=100.0), start=model)
    with pytest.raises(SettingsError, match="network of the kind matched, not conv31"):
        train(data[0], ten, replace(QUICK, network="conv31"), start=model)


def twice(table, rows):
    return replace(table, coordinates=table.coordinates[[*range(len(table)), *rows]], features=pd.DataFrame())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ten: ten.where(ten.micrograph_index == 0), "all 5 labels are on one micrograph"),
        (lambda ten: ten.where([3]), "only one label"),
        (lambda ten: twice(ten, [0, 1]), "2 labels are on a particle that has another label"),
    ],
    ids=["one micrograph", "one label", "duplicates"],
)
def test_odd_labels_are_learned_from_with_a_warning(data, ten, change, words):
    events = list(training_events(data[0], change(ten), QUICK))
    assert any(words in event.message for event in events if isinstance(event, Warned))
    assert events[-1].model is not None


def test_a_wrong_pixel_size_is_learned_from_with_a_warning():
    """Given balls of 8 pixels and a pixel size that makes 24 of the diameter, then somebody says so."""
    dice, (rows, columns) = np.random.default_rng(1), np.mgrid[:164, :164]
    image = dice.normal(scale=0.3, size=(164, 164))
    places = np.array([(y, x) for y in range(25, 150, 57) for x in range(25, 150, 57)]) + dice.uniform(-9, 9, (9, 2))
    for y, x in places:
        image += 2 * (np.hypot(rows - y, columns - x) < 4)
    series = MicrographSeries.from_array(image.astype(np.float32), pixel_size=5.0)
    labels = ParticleTable(series.names, np.column_stack([np.zeros(9), places]))
    warnings = [event.message for event in training_events(series, labels, QUICK) if isinstance(event, Warned)]
    assert any("120 Å at 5 Å per pixel: check both" in message for message in warnings)


def test_the_expected_number_that_is_given_is_believed(told):
    assert told.expected_particles == 6.0
    assert told.model.provenance["expected_particles"] == 6.0


def test_what_is_learned_can_be_saved_and_read_again(data, first, tmp_path):
    model, one = first
    save_model(tmp_path / "m.safetensors", model)
    same = pick(data[0], load_model(tmp_path / "m.safetensors"), ALL)
    np.testing.assert_array_equal(one.features["score"], same.features["score"])


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


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf], ids=["constant", "nan", "infinite"])
def test_a_micrograph_that_shows_nothing_is_an_error_with_its_name(data, ten, first, value):
    series = data[0]
    blank = np.full(series.shape, value, np.float32)
    broken = replace(series, reader=lambda i: blank if i == 1 else series.read(i))
    with pytest.raises(MicrographError, match=r"m1\.mrc"):
        train(broken, ten, QUICK)
    with pytest.raises(MicrographError, match=r"m1\.mrc"):
        pick(broken, first[0], ALL)


def test_an_unknown_device_is_an_error(data, ten):
    with pytest.raises(DeviceError, match="no device called 'gpu'"):
        train(data[0], ten, replace(QUICK, device="gpu"))


def test_too_many_expected_particles_are_an_error(data, ten):
    with pytest.raises(LabelsError, match="1e\\+06 particles of 120 Å are expected on a micrograph, but no more than"):
        train(data[0], ten, replace(QUICK, expected_particles=1e6))


def test_an_error_inside_pytorch_leaves_as_one_of_ours(data, ten, monkeypatch):
    def fail(*_):
        raise RuntimeError("convolution went wrong")

    monkeypatch.setattr(dense_learning, "_cross_entropy", fail)
    with pytest.raises(TrainingError, match="convolution went wrong") as caught:
        train(data[0], ten, QUICK)
    assert not isinstance(caught.value, RuntimeError)


def test_a_loss_that_is_no_number_is_an_error_with_its_step(data, ten, monkeypatch):
    honest = dense_learning._cross_entropy
    monkeypatch.setattr(dense_learning, "_cross_entropy", lambda *arguments: honest(*arguments) * float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan at step 1"):
        train(data[0], ten, QUICK)


def test_a_device_out_of_memory_is_an_error_that_says_what_to_do(data, ten, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(dense_learning, "_cross_entropy", fail)
    with pytest.raises(DeviceError, match="smaller batch size than 2"):
        train(data[0], ten, QUICK)


def test_weights_that_are_no_numbers_never_become_a_model(data, ten, monkeypatch):
    """Given a network that is ruined after the last loss was looked at, then there is an error and no model."""
    honest = dense_learning.DenseLearner.step

    def ruin(self, progress):
        loss = honest(self, progress)
        if self.steps == 4:
            self.network.head.bias.data.fill_(float("nan"))
        return loss

    monkeypatch.setattr(dense_learning.DenseLearner, "step", ruin)
    with pytest.raises(TrainingError, match="finds nothing on the labelled micrographs"):
        train(data[0], ten, QUICK)
