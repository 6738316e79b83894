"""The networks of the paper through the same training: every objective, the autoencoder, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from napari_caked.checkpoint import load_model, save_model
from napari_caked.errors import LabelsError, SettingsError
from napari_caked.models.registry import NETWORKS
from napari_caked.objectives import OBJECTIVES
from napari_caked.patch_learning import PatchLearner
from napari_caked.picking import PickSettings, pick
from napari_caked.settings import PreprocessSettings, TrainingSettings
from napari_caked.training import Finished, Step, train, training_events
from napari_empiarreader.coordinates import ParticleTable

# Particles of 12 pixels: these networks look at every pixel, and particles of 20 take three times as long.
CONV31 = TrainingSettings(
    particle_diameter=120.0,
    network="conv31",
    steps=3,
    device="cpu",
    precision="float32",
    preprocess=PreprocessSettings(particle_width=12.0),
)
ALL = PickSettings(threshold=0, device="cpu")


@pytest.fixture(scope="module")
def data(ring_data):
    """One small micrograph with nine rings, and six of them as labels."""
    series, truth = ring_data(2, size=140)
    return series, truth.where(truth.micrograph_index == 0).where(np.arange(6))


@pytest.fixture(scope="module")
def first(data):
    """A picker from the labels alone."""
    return train(*data, CONV31)


@pytest.mark.parametrize("autoencoder", [0.0, 0.5])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_a_picker(data, tmp_path, objective, autoencoder):
    series, labels = data
    negatives = ParticleTable(series.names, np.array([[0.0, 50, 50]]))
    settings = replace(CONV31, objective=objective, autoencoder=autoencoder)
    *events, last = training_events(series, labels, settings, negatives=negatives)
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert len(losses) == 3 and np.isfinite(losses).all()
    assert isinstance(last, Finished)
    save_model(tmp_path / "m.safetensors", last.model)
    read = load_model(tmp_path / "m.safetensors")
    assert read.network.name == "conv31"
    assert read.provenance["settings"]["objective"] == objective
    picks = pick(series, read, ALL)
    assert len(picks) and picks.features["score"].between(0, 1).all()


def test_settings_reach_the_learner(data, monkeypatch):
    """Given an objective, a slack and a rate, then those are what is learned by."""
    seen, honest = [], PatchLearner.step
    monkeypatch.setattr(PatchLearner, "step", lambda self: seen.append(self._settings) or honest(self))
    train(*data, replace(CONV31, steps=2, objective="ge-kl", slack=3.0, learning_rate=1e-3, autoencoder=0.25, seed=6))
    assert (seen[0].objective, seen[0].slack, seen[0].learning_rate) == ("ge-kl", 3.0, 1e-3)
    assert (seen[0].autoencoder, seen[0].seed, seen[0].precision) == (0.25, 6, "float32")


def test_the_same_seed_gives_the_same_picks(data, first):
    again, another = (train(*data, replace(CONV31, seed=seed)) for seed in (0, 1))
    one, same, other = (pick(data[0], model, ALL) for model in (first, again, another))
    np.testing.assert_array_equal(one.coordinates, same.coordinates)
    np.testing.assert_array_equal(one.features["logit"], same.features["logit"])
    assert len(one) != len(other) or (one.features["logit"] != other.features["logit"]).any()


def test_a_picker_of_patches_can_be_improved(data, first):
    second = train(*data, replace(CONV31, improving_steps=2), start=first)
    assert second.network.name == "conv31" and second.provenance["steps"] == 2


def test_an_empty_micrograph_is_all_negatives(data):
    series, labels = data
    empty = ParticleTable(series.names, np.empty((0, 3)), metadata={"empty_micrographs": ["m1.mrc"]})
    assert train(series, labels, CONV31, negatives=empty).provenance["empty_micrographs"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "matched", "objective": "ge-kl"}, "objective is ge-kl"),
        ({"network": "matched", "autoencoder": 1.0}, "autoencoder is 1"),
        ({"network": "conv31", "objective": "likeness"}, "objective is likeness"),
        ({"network": "conv31", "autoencoder": -1.0}, "autoencoder is -1"),
        ({"network": "conv31", "precision": "int8"}, "precision is 'int8'"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    with pytest.raises(SettingsError, match=message):
        TrainingSettings(120.0, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "unet"}, "there is no network called 'unet'; use one of matched, conv31"),
        ({"objective": "bce"}, "there is no objective called 'bce'; use one of ge-binomial"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_read(data, change, message):
    def never(index):
        raise AssertionError("read")

    with pytest.raises(SettingsError, match=message):
        train(replace(data[0], reader=never), data[1], replace(CONV31, **change))


def test_discs_that_cover_half_of_a_micrograph_are_an_error(data):
    with pytest.raises(LabelsError, match="more than half"):
        train(*data, replace(CONV31, label_radius=0.5, expected_particles=36.0))


def test_the_registry_and_the_settings_agree_on_what_learns_from_patches():
    for name, entry in NETWORKS.items():
        if entry.patches:
            TrainingSettings(120.0, network=name, objective="nnpu", autoencoder=1.0)
        else:
            assert name == TrainingSettings.network
