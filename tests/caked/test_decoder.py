"""The autoencoder term: every width can be painted, and features that help to paint are learned."""

import pytest
import torch

from napari_caked.models.decoder import PatchDecoder, reconstruction_error
from napari_caked.models.registry import NETWORKS, build_network
from napari_caked.optimisers import Adam


@pytest.mark.parametrize("width", [3, 5, 8, 9, 16, 31, 40, 63, 71, 91, 127])
def test_any_width_can_be_painted(width):
    decoder = PatchDecoder(6, width, units=2)
    assert decoder(torch.zeros(3, 6, 1, 1)).shape == (3, 1, width, width)


@pytest.mark.parametrize("name", [name for name, entry in NETWORKS.items() if entry.patches])
def test_a_decoder_fits_every_patch_network(name):
    network = build_network(name, units=4).train()
    patches = torch.randn(4, 1, network.width, network.width, generator=torch.Generator().manual_seed(0))
    painted = PatchDecoder(network.features, network.width, units=4)(network.encode(patches))
    assert painted.shape == patches.shape
    reconstruction_error(patches, painted).backward()
    assert bool((network.layers[0].convolution.weight.grad != 0).any())


def test_the_error_is_a_sum_over_pixels_and_a_mean_over_patches():
    patches, painted = torch.zeros(5, 1, 4, 4), torch.zeros(5, 1, 4, 4)
    painted[0, 0, 1, 2], painted[3, 0, 0, 0] = 3.0, -1.0
    assert float(reconstruction_error(patches, painted)) == pytest.approx((9 + 1) / 5)
    half = reconstruction_error(patches.bfloat16(), painted.bfloat16())
    assert half.dtype == torch.float32 and float(half) == pytest.approx(2)


def test_an_autoencoder_learns_to_tell_two_patterns():
    """Given patches of two kinds, when trained, then far less than half of their variance is left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network("conv31", units=4).train()
        decoder = PatchDecoder(network.features, network.width, units=8)
        y, x = torch.meshgrid(torch.arange(31.0), torch.arange(31.0), indexing="ij")
        patterns = torch.stack([torch.sin(y / 3), torch.cos(x / 4)])
        patches = patterns[torch.randint(2, (16,))][:, None]
        variance = reconstruction_error(patches, patches.mean(dim=0, keepdim=True).expand_as(patches)).item()
        optimiser = Adam([*network.parameters(), *decoder.parameters()], lr=5e-3)
        for _ in range(40):
            loss = reconstruction_error(patches, decoder(network.encode(patches)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert loss.item() < 0.1 * variance
