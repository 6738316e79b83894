"""Score maps: every element where it should be, also before any training."""

from typing import ClassVar

import numpy as np
import pytest
import torch

from napari_caked.errors import DeviceError, SettingsError
from napari_caked.models import MatchedFilter, MatchedFilterNetwork
from napari_caked.models.inference import scoring_form
from napari_caked.models.protocol import PickerNetwork
from napari_caked.models.registry import build_network
from napari_caked.scoring import _bytes_per_pixel, choose_precision, part_shape, score_map, score_with_decoy

RADIUS = 7
PROFILE = torch.exp(-(((torch.arange(RADIUS + 1.0) - 4) / 1.5) ** 2))


def planted(shape, centres):
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    image = np.random.default_rng(0).normal(scale=0.2, size=shape)
    for y, x in centres:
        image += np.exp(-(((np.hypot(rows - y, columns - x) - 4) / 1.5) ** 2))
    return torch.from_numpy(image).float()


class FilterAlone(PickerNetwork):
    """The matched filter as a network of its own: what it finds, and where, is known beforehand."""

    name, stride, alignment, reach = "filter", 2, 4, RADIUS
    configuration: ClassVar[dict] = {}

    def __init__(self) -> None:
        super().__init__()
        self.filter = MatchedFilter(PROFILE)

    def forward(self, images):
        return self.filter(images)[:, 0, ::2, ::2]


@pytest.fixture
def network() -> MatchedFilterNetwork:
    return MatchedFilterNetwork(PROFILE, channels=8).eval()


@pytest.fixture
def trained(network) -> MatchedFilterNetwork:
    """Give a network whose correction is not zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("centre", [(40, 50), (4, 6), (90, 100), (62, 8)])
@pytest.mark.parametrize("shape", [(96, 110), (97, 109), (101, 107)], ids=str)
def test_a_filter_finds_its_template(shape, centre):
    scores = score_map(FilterAlone().eval(), planted(shape, [centre]))
    assert scores.shape == (-(-shape[0] // 2), -(-shape[1] // 2))
    place = np.unravel_index(int(scores.argmax()), scores.shape)
    np.testing.assert_array_equal(2 * np.array(place), centre)


@pytest.mark.parametrize("move", [(4, 0), (0, 4), (8, 12)])
@pytest.mark.parametrize("sides", [(150, 161), (153, 158)], ids=str)
def test_moving_the_image_moves_the_map(trained, move, sides):
    large = planted((200, 200), [(60, 70), (100, 90)])
    here = score_map(trained, large[20 : 20 + sides[0], 20 : 20 + sides[1]])
    moved = score_map(trained, large[20 - move[0] :, 20 - move[1] :][: sides[0], : sides[1]])
    dy, dx = move[0] // 2, move[1] // 2
    # Nearer to the edges a logit sees their mirror image.
    inner = (slice(24, 50), slice(24, 50))
    torch.testing.assert_close(moved[24 + dy : 50 + dy, 24 + dx : 50 + dx], here[inner], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(64, 64), (65, 66), (67, 61), (40, 41), (37, 36), (30, 90)], ids=str)
def test_any_size_gives_a_finite_map(trained, shape):
    scores = score_map(trained, planted(shape, [(15, 15)]))
    assert scores.shape == (-(-shape[0] // 2), -(-shape[1] // 2))
    assert bool(torch.isfinite(scores).all())


def test_the_size_of_the_image_does_not_change_scores_inside(trained):
    large = planted((160, 160), [(60, 60)])
    torch.testing.assert_close(
        score_map(trained, large[:140, :121])[:36, :36], score_map(trained, large)[:36, :36], atol=2e-4, rtol=1e-4
    )


def test_the_profile_is_the_rotational_average_of_the_labels():
    centres = np.array([[30.0, 30.0], [60.0, 45.0]])
    image = planted((90, 90), centres)
    profile = MatchedFilter.from_labels([image], [centres], RADIUS).profile
    np.testing.assert_allclose(profile, PROFILE, atol=0.15)
    assert int(profile.argmax()) == 4


@pytest.fixture(params=["matched", "conv31", "resnet8"])
def any_network(request, trained):
    """Give networks of each family, with random weights."""
    if request.param == "matched":
        return trained
    torch.manual_seed(1)
    return build_network(request.param, units=8, stride=4).eval()


@pytest.fixture
def one_thread():
    """Convolutions divide their sums among threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(340, 150), (97, 333), (401, 642)], ids=str)
def test_parts_have_the_bits_of_the_whole(any_network, one_thread, shape):
    image = planted(shape, [(60, 60)])
    aligned = tuple(-(-length // any_network.alignment) * any_network.alignment for length in shape)
    assert part_shape(any_network, scoring_form(any_network), aligned, 1e-3) != aligned, "this image is not cut"
    parts, whole = (score_map(any_network, image, tile_memory=memory) for memory in (1e-3, 1e6))
    assert torch.equal(parts, whole)


@pytest.mark.parametrize("memory", [1e-3, 1e6])
def test_the_decoy_has_the_bits_of_the_inverted_image(any_network, one_thread, memory):
    image = planted((340, 183), [(60, 60)])
    plain, decoy = score_with_decoy(any_network, image, tile_memory=memory)
    assert torch.equal(plain, score_map(any_network, image))
    assert torch.equal(decoy, score_map(any_network, -image))
    assert not torch.equal(plain, decoy)


@pytest.mark.parametrize("radius", [1, 6, RADIUS])
def test_scores_are_those_of_the_network_on_the_surrounded_image(one_thread, radius):
    torch.manual_seed(1)
    network = MatchedFilterNetwork(PROFILE[: radius + 1], inner=4, channels=8)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(), layer.running_var.uniform_(0.5, 2), layer.weight.data.uniform_(0.5, 2)
    image = planted((170, 150), [(60, 60)])
    rim = 48
    around = torch.from_numpy(np.pad(image.numpy(), rim, mode="reflect"))[:265, :245]
    with torch.no_grad():
        expected = network.eval()(around[None, None])[0, rim // 2 :, rim // 2 :][:85, :75]
    torch.testing.assert_close(score_map(network, image), expected, atol=2e-5, rtol=1e-5)


def test_a_network_that_is_learning_gives_no_scores(network):
    with pytest.raises(ValueError, match="evaluation mode"):
        score_map(network.train(), planted((60, 60), []))


def test_a_logit_depends_on_no_pixel_beyond_the_reach(any_network, one_thread):
    network, image = any_network, planted((200, 200), [(100, 100)])
    at = 100 // network.stride
    place, reach = at * network.stride, network.reach
    before = score_map(network, image)[at, at]
    beyond = torch.full_like(image, 5.0)
    within = (slice(place - reach, place + reach + 1),) * 2
    beyond[within] = image[within]
    assert float(score_map(network, beyond)[at, at]) == pytest.approx(float(before), abs=1e-5)


def test_beyond_the_edge_lies_the_mirror_image(any_network, one_thread):
    network = any_network
    image = planted((120, 120), [(5, 7), (60, 60)])
    rim = -(-network.reach // network.alignment) * network.alignment
    mirrored = torch.from_numpy(np.pad(image.numpy(), rim, mode="reflect"))
    inside = slice(rim // network.stride, rim // network.stride + -(-120 // network.stride))
    torch.testing.assert_close(
        score_map(network, image), score_map(network, mirrored)[inside, inside], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 9)], ids=str)
def test_an_image_smaller_than_its_rim_is_mirrored_again_and_again(trained, shape):
    image = planted(shape, [])
    rim = 48
    mirrored = torch.from_numpy(np.pad(image.numpy(), rim, mode="reflect" if min(shape) > 1 else "symmetric"))
    inside = tuple(slice(rim // 2, rim // 2 + -(-length // 2)) for length in shape)
    if min(shape) > 1:
        torch.testing.assert_close(score_map(trained, image), score_map(trained, mirrored)[inside], atol=1e-5, rtol=0)
    assert bool(torch.isfinite(score_map(trained, image)).all())


def test_less_memory_means_smaller_parts(trained):
    form, shape = scoring_form(trained), (4000, 2000)
    parts = [part_shape(trained, form, shape, memory) for memory in (1, 16, 256, 4096)]
    areas = [tall * wide for tall, wide in parts]
    assert areas == sorted(set(areas)) and parts[-1] == shape and min(parts[0]) >= 160
    assert all(side % trained.alignment == 0 for part in parts for side in part)
    with pytest.raises(SettingsError, match="tile_memory"):
        part_shape(trained, form, shape, 0)


@pytest.mark.parametrize("name, stride, maps", [("conv31", 1, 128), ("resnet8", 1, 128), ("resnet8", 4, 32 / 4)])
def test_the_memory_of_a_network_is_that_of_its_greediest_layer(name, stride, maps):
    """Given networks whose last activation reads and writes 128 maps, or whose first does 32 at half the size."""
    network = build_network(name, stride=stride).eval()
    assert _bytes_per_pixel(network, scoring_form(network)) == 3 * 4 * (maps + maps)


def test_the_memory_of_the_default_network_is_that_of_its_second_layer():
    """Given 24 maps and two correlations at half the resolution, then 24 maps come of them."""
    network = MatchedFilterNetwork(torch.ones(19)).eval()
    assert _bytes_per_pixel(network, scoring_form(network)) == 3 * 4 * (24 + 2 + 24) / 4


def test_float32_is_the_reference_on_the_cpu():
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) == choose_precision("float32", cpu) == torch.float32
    assert choose_precision("auto", torch.device("cuda")) == torch.float16
    with pytest.raises(SettingsError, match="double"):
        choose_precision("double", cpu)
    with pytest.raises(DeviceError, match="float16.*--precision"):
        choose_precision("float16", cpu)


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this CPU has no bfloat16")
def test_bfloat16_scores_are_close_to_the_reference(trained):
    image = planted((150, 150), [(60, 60)])
    exact, coarse = score_map(trained, image), score_map(trained, image, precision="bfloat16")
    assert coarse.dtype == torch.float32
    assert not torch.equal(exact, coarse)
    assert float((exact - coarse).abs().max()) < 0.01 * float(exact.abs().max())
