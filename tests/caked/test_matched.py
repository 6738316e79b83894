"""The default network: how far it sees, that its parts give the same, and the filter in it."""

import numpy as np
import pytest
import torch

from napari_caked.models import MatchedFilter, MatchedFilterNetwork


def seasoned(radius=10, inner=6, channels=4):
    """A network with random weights and, as after some training, random statistics in its normalisations."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = MatchedFilterNetwork(torch.randn(radius + 1), inner, channels)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 1.5)
                # Above zero nearly always, so that no layer hides what reaches it.
                torch.nn.init.normal_(module.bias, mean=1.5, std=0.2)
    return network.eval()


def picture(height, width, seed=0):
    return torch.randn((1, 1, height, width), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
@pytest.mark.parametrize("radius", [5, 10])
def test_no_logit_depends_on_pixels_beyond_the_reach(radius):
    """Given one pixel changed, then the logits farther away than the reach keep their bits, and near ones do not."""
    network = seasoned(radius)
    side = 2 * network.reach + 41
    side += (1 - side) % 4
    image = picture(side, side)
    before, middle = network(image)[0], side // 2
    changed = torch.zeros_like(before, dtype=torch.bool)
    for y, x in ((middle, middle), (middle + 1, middle - 3), (middle + 2, middle + 1)):
        other = image.clone()
        other[0, 0, y, x] += 50.0
        different = network(other)[0] != before
        rows, columns = (network.stride * torch.arange(length) for length in before.shape)
        away = torch.maximum((rows - y).abs()[:, None], (columns - x).abs()[None])
        assert not bool(different[away > network.reach].any())
        assert bool(different[away <= 4].all())
        changed |= different & (away > network.reach - 8)
    # The reach is not far too large either: a rim that wide costs time.
    assert bool(changed.any())


@torch.inference_mode()
def test_parts_that_begin_at_multiples_of_the_alignment_give_the_same_logits():
    network = seasoned()
    image, rim = picture(161, 181), network.reach
    whole = network(image)[0]
    for top, left, height, width in ((0, 0, 121, 117), (4, 8, 121, 121), (40, 64, 121, 117), (12, 20, 149, 161)):
        part = network(image[..., top : top + height, left : left + width])[0]
        here = whole[top // 2 : (top + height) // 2 + 1, left // 2 : (left + width) // 2 + 1]
        rows = slice(0 if top == 0 else rim // 2, None if top + height == 161 else -rim // 2)
        columns = slice(0 if left == 0 else rim // 2, None if left + width == 181 else -rim // 2)
        assert part[rows, columns].numel()
        torch.testing.assert_close(part[rows, columns], here[rows, columns], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_correlations_that_are_known_are_not_computed_again():
    network, image = seasoned(), picture(61, 61)
    assert torch.equal(network(image), network(image, network.correlations(image)))


@torch.inference_mode()
def test_the_filter_is_the_covariance_of_each_disc_with_its_template():
    """For a noise of deviation 1: the correlation coefficient times the deviation of the disc, by plain sums."""
    profile = torch.tensor([1.0, 0.5, 2.0, -1.0])
    matched, image = MatchedFilter(profile), picture(31, 31) * 0.7 + 0.2
    values = matched(image)[0, 0].numpy()
    offsets = np.arange(-3, 4)
    distance = np.hypot(offsets[:, None], offsets)
    disc = distance <= 3
    template = np.interp(distance, np.arange(4), profile.numpy())[disc]
    for y, x in ((3, 3), (10, 17), (27, 20)):
        patch = image[0, 0, y - 3 : y + 4, x - 3 : x + 4].numpy()[disc]
        assert values[y, x] == pytest.approx(np.corrcoef(patch, template)[0, 1] * patch.std(), abs=1e-4)
    torch.testing.assert_close(matched(image, stride=2), matched(image)[..., ::2, ::2], rtol=0, atol=1e-6)


@torch.inference_mode()
def test_a_faint_blob_is_less_than_a_particle_and_brightness_is_nothing():
    matched, image = MatchedFilter(torch.tensor([1.0, 0.5, 2.0, -1.0])), picture(31, 31) * 0.5
    torch.testing.assert_close(matched(0.25 * image), 0.25 * matched(image), rtol=0, atol=1e-5)
    torch.testing.assert_close(matched(image + 0.25), matched(image), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_rare_values_count_no_more_than_four_deviations():
    matched, image = MatchedFilter(torch.tensor([1.0, 0.5, 2.0, -1.0])), torch.zeros(1, 1, 31, 31)
    image[0, 0, 15, 15] = 4.0
    usual = matched(image)
    image[0, 0, 15, 15] = 1e6
    torch.testing.assert_close(matched(image), usual)


def test_the_template_is_the_rotational_average_of_the_labels():
    rows, columns = np.mgrid[:80, :80]
    image = np.hypot(rows - 30, columns - 40)
    matched = MatchedFilter.from_labels([torch.from_numpy(image)], [np.array([[30.2, 39.8]])], 8)
    np.testing.assert_allclose(matched.profile.numpy(), np.arange(9), atol=0.25)
    nobody = MatchedFilter.from_labels([torch.from_numpy(image)], [np.empty((0, 2))], 8)
    assert bool((nobody.profile == 0).all()) and bool(torch.isfinite(nobody(picture(31, 31))).all())


def test_an_inner_radius_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="inner radius is 0"):
        MatchedFilterNetwork(9, inner=0)


@pytest.mark.parametrize("inner", [4, 6])
def test_the_configuration_builds_a_network_into_which_the_weights_fit(inner):
    network = seasoned(inner=inner)
    other = MatchedFilterNetwork(**network.configuration)
    other.load_state_dict(network.state_dict())
    image = picture(61, 65)
    with torch.inference_mode():
        assert torch.equal(other.eval()(image), network(image))
