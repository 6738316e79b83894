"""The shipped weights: small, readable, of the right kind, and seen with any template and either contrast."""

import pytest
import torch

from napari_caked.checkpoint import load_model
from napari_caked.general import GENERAL_WEIGHTS, disc, general_picker, inverted, starting_picker, with_template
from napari_caked.models import MatchedFilter, MatchedFilterNetwork
from napari_caked.models.registry import build_network
from napari_caked.settings import PreprocessSettings, TrainingSettings


def test_the_weights_are_small_and_come_with_a_card():
    assert GENERAL_WEIGHTS.stat().st_size < 5_000_000
    assert (GENERAL_WEIGHTS.parent / "general.md").read_text(encoding="utf-8").startswith("# ")
    model = load_model(GENERAL_WEIGHTS)
    assert "simulated" in str(model.provenance["trained on"])
    torch.testing.assert_close(model.network.filter.profile, disc(20.0, 18).profile)


def test_a_picker_for_any_diameter_is_a_copy_of_its_own():
    one, other = general_picker(120.0), general_picker(180.0)
    assert (one.particle_diameter, other.particle_diameter) == (120.0, 180.0)
    with torch.no_grad():
        one.network.head.bias.add_(1.0)
    assert not torch.equal(one.network.head.bias, other.network.head.bias)


@pytest.mark.parametrize(
    "settings, starts",
    [
        (TrainingSettings(120.0), True),
        (TrainingSettings(120.0, general=False), False),
        (TrainingSettings(120.0, channels=12), False),
        (TrainingSettings(120.0, network="conv31"), False),
        (TrainingSettings(120.0, preprocess=PreprocessSettings(particle_width=16.0)), False),
    ],
)
def test_trainings_start_from_them_where_they_fit(settings, starts):
    assert (starting_picker(settings) is not None) is starts


def images(seed=0):
    return torch.randn((2, 1, 65, 65), generator=torch.Generator().manual_seed(seed))


def test_another_template_leaves_the_weights_alone():
    network = general_picker(120.0).network
    ring = MatchedFilter(-torch.exp(-(((torch.arange(19.0) - 8) / 2) ** 2)))
    changed = with_template(network, ring)
    torch.testing.assert_close(changed.filter.profile, ring.profile)
    rest = [name for name in network.state_dict() if not name.startswith("filter.")]
    assert all(torch.equal(changed.state_dict()[name], network.state_dict()[name]) for name in rest)


@torch.inference_mode()
def test_the_inverted_network_says_of_a_picture_what_the_other_says_of_its_negative():
    network = general_picker(120.0).network
    torch.testing.assert_close(inverted(network)(images()), network(-images()), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_template_of_bright_particles_makes_the_network_see_bright_as_dark():
    network = general_picker(120.0).network
    dark = MatchedFilter(-torch.exp(-((torch.arange(19.0) / 6) ** 2)))
    bright = MatchedFilter(-dark.profile)
    there, back = with_template(network, dark)(images()), with_template(network, bright)(-images())
    torch.testing.assert_close(there, back, rtol=1e-4, atol=1e-4)


def test_a_network_without_template_gets_none():
    with pytest.raises(TypeError, match="has no template"):
        with_template(build_network("conv31"), disc(20.0, 18))


def test_training_mode_is_kept():
    network = general_picker(120.0).network
    assert not with_template(network, disc(20.0, 18)).training
    assert with_template(network.train(), disc(20.0, 18)).training


def test_the_disc_is_dark_within_the_particle_and_scales_with_it():
    small, large = disc(10.0, 9), disc(20.0, 18)
    assert isinstance(MatchedFilterNetwork(large.profile), MatchedFilterNetwork)
    torch.testing.assert_close(small.profile, large.profile[::2])
    assert large.profile[0] < -0.99 and large.profile[-1] > -0.01
