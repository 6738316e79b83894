"""The paper's networks: sizes, the same logits from patches and from whole images, and the registry."""

import inspect
import json

import pytest
import torch

from napari_caked.errors import SettingsError
from napari_caked.models.protocol import PickerNetwork
from napari_caked.models.registry import NETWORKS, build_network

PATCH_NETWORKS = [name for name, entry in NETWORKS.items() if entry.patches]

#: Width, and millions of parameters with 32 and 64 units, as published.
PUBLISHED = {
    "conv31": (31, 0.26, 1.03),
    "conv63": (63, 1.08, 4.3),
    "conv127": (127, 4.4, 17.4),
    "resnet8": (71, 0.33, 1.31),
    "resnet16": (91, 0.46, 1.83),
}


def seasoned(name, **configuration):
    """A network with random weights and, as after some training, random statistics in its normalisations."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_network(name, **configuration)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 1.5)
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, std=0.2)
            if isinstance(module, torch.nn.PReLU):
                torch.nn.init.uniform_(module.weight, 0.0, 0.5)
    return network.eval()


def picture(height, width, seed=0):
    return torch.randn((1, 1, height, width), generator=torch.Generator().manual_seed(seed))


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_published_network_is_there():
    assert set(PATCH_NETWORKS) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_widths_and_numbers_of_parameters_are_the_published_ones(name):
    width, small, large = PUBLISHED[name]
    network = build_network(name)
    assert (network.width, network.reach) == (width, width // 2)
    assert parameters(network) / 1e6 == pytest.approx(small, rel=0.02)
    with torch.device("meta"):
        assert parameters(build_network(name, units=64)) / 1e6 == pytest.approx(large, rel=0.02)


@pytest.mark.parametrize("name", PUBLISHED)
@torch.inference_mode()
def test_the_dense_logit_of_a_pixel_is_that_of_the_patch_around_it(name):
    """Given strides in training and spread taps on the image, then both say the same."""
    network = seasoned(name, units=8).double()
    height, width, reach = network.width + 13, network.width + 8, network.reach
    image = picture(height, width).double()
    dense = network(image)
    assert dense.shape == (1, height, width)
    padded = torch.nn.functional.pad(image, (reach,) * 4)[0]
    places = [(reach, reach), (reach + 5, reach + 3), (reach + 12, reach + 7), (0, 0), (height - 1, 2), (1, width - 1)]
    patches = torch.stack([padded[:, y : y + network.width, x : x + network.width] for y, x in places])
    logits = network.forward_patches(patches)
    assert logits.shape == (len(places),)
    assert logits.std() > 1e-3  # they differ, so that agreement means something
    torch.testing.assert_close(dense[0][tuple(zip(*places, strict=True))], logits, atol=1e-10, rtol=0)
    torch.testing.assert_close(network.float()(image.float()), dense.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PUBLISHED)
@torch.inference_mode()
def test_a_logit_reaches_exactly_as_far_as_the_network_says(name):
    network = seasoned(name, units=2).double()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.abs_()  # nothing that arrives is cancelled
    side = 2 * network.width + 3
    blank = torch.zeros(1, 1, side, side, dtype=torch.float64)
    touched = blank.clone()
    middle = side // 2
    touched[..., middle, middle] = 100.0
    changed = (network(touched) - network(blank)).abs()[0] > 1e-12
    rows, columns = (torch.nonzero(changed.any(dim=axis)).flatten() for axis in (1, 0))
    for axis in (rows, columns):
        assert (int(axis.min()), int(axis.max())) == (middle - network.reach, middle + network.reach)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("stride", [2, 4])
@torch.inference_mode()
def test_a_coarser_map_holds_the_same_logits(name, stride):
    fine, coarse = seasoned(name, units=4), seasoned(name, units=4, stride=stride)
    coarse.load_state_dict(fine.state_dict())
    assert (coarse.stride, coarse.alignment) == (stride, stride)
    image = picture(10 * stride + 1, 12 * stride + 1)
    result = coarse(image)
    assert result.shape == (1, 11, 13)
    torch.testing.assert_close(result, fine(image)[:, ::stride, ::stride], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["conv31", "resnet8"])
@torch.inference_mode()
def test_a_part_gives_the_logits_of_the_whole(name):
    network = seasoned(name, units=4)
    image, reach = picture(network.width + 40, network.width + 30), network.reach
    whole, part = network(image), network(image[..., 9:, 4:])
    torch.testing.assert_close(part[:, reach:, reach:], whole[:, 9 + reach :, 4 + reach :], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_is_built_again_from_its_configuration(name):
    network = build_network(name, units=4, stride=2)
    assert isinstance(network, PickerNetwork) and network.name == name
    again = build_network(network.name, **json.loads(json.dumps(network.configuration)))
    again.load_state_dict(network.state_dict())
    assert (again.stride, again.width) == (network.stride, network.width)


@pytest.mark.parametrize("name", PUBLISHED)
def test_gradients_reach_every_weight(name):
    network = build_network(name, units=4).train()
    patches = torch.randn(6, 1, network.width, network.width, generator=torch.Generator().manual_seed(0))
    network.forward_patches(patches).square().sum().backward()
    for parameter in network.parameters():
        assert bool(torch.isfinite(parameter.grad).all()) and bool((parameter.grad != 0).any())


def test_the_default_network_is_in_the_registry():
    assert NETWORKS["matched"].patches is False
    module, attribute = NETWORKS["matched"].home.split(":")
    assert inspect.isclass(getattr(__import__(module, fromlist=[attribute]), attribute))


def test_an_unknown_network_is_an_error_that_lists_the_known_ones():
    with pytest.raises(SettingsError, match=r"'conv32'.*matched, conv31, conv63, conv127, resnet8, resnet16"):
        build_network("conv32")


def test_a_configuration_that_does_not_fit_is_an_error_that_says_what_does():
    with pytest.raises(SettingsError, match=r"resnet8.*'depth'.*units"):
        build_network("resnet8", depth=3)


@pytest.mark.parametrize("configuration", [{"units": 0}, {"stride": 3}, {"stride": 8}], ids=str)
def test_an_impossible_value_is_an_error(configuration):
    with pytest.raises(SettingsError, match="units has no weights|use a stride of 1, 2, 4"):
        build_network("conv31", **configuration)
