"""Settings that cannot work are refused where they are made; those that can, change something."""

from __future__ import annotations

import numpy as np
import pytest

from napari_caked.errors import MicrographError, SettingsError
from napari_caked.preprocess import PreprocessSettings, prepare
from napari_caked.settings import TrainingSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 1),
        ("batch_size", 1),
        ("crop_size", 96),
        ("crop_size", 29),
        ("improving_steps", 1),
        ("learning_rate", 0.0),
        ("expected_particles", -3.0),
        ("time_budget", 0.0),
        ("time_budget", float("nan")),
        ("hold_out", -1),
        ("validate_every", 0),
        ("patience", 0),
        ("channels", 0),
        ("autoencoder", 0.5),
        ("autoencoder", -0.5),
        ("objective", "nnpu"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=f"{name} is {value}"):
        TrainingSettings(120.0, **{name: value})


@pytest.mark.parametrize("network", ["conv31", "resnet16"])
def test_networks_of_patches_take_other_objectives_and_more_steps(network):
    settings = TrainingSettings(120.0, network=network, objective="nnpu", autoencoder=0.5)
    assert settings.all_steps == 1500 > TrainingSettings(120.0).all_steps
    assert TrainingSettings(120.0, network=network, steps=7).all_steps == 7
    with pytest.raises(SettingsError, match="objective is likeness"):
        TrainingSettings(120.0, network=network, objective="likeness")


def test_the_normalisation_that_is_asked_for_decides():
    """Given a film of dark carbon, affine normalisation counts it in and the mixture does not."""
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (300, 300)).astype(np.float32)
    image[:60] -= 6 * (rng.random((60, 300)) < 0.5)
    by_mixture, affine = (
        prepare(image, "m", 40, 1, PreprocessSettings(particle_width=20, normalization=method)).image[60:]
        for method in ("gmm", "affine")
    )
    assert by_mixture.std() > 1.1 * affine.std()


def test_complex_images_are_refused():
    with pytest.raises(MicrographError, match="complex"):
        prepare(np.zeros((64, 64), np.complex64), "fft.mrc", 20, 1)
