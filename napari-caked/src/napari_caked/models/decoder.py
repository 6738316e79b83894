"""The autoencoder term: a decoder that paints a patch from the features a classifier made of it.

With few labels a classifier has little reason to make features of what particles look like; that the patch can be
painted from them is one (Bepler et al., Nature Methods 16, 1153 (2019)). The decoder is needed for training only.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

__all__ = ["PatchDecoder", "reconstruction_error"]

#: The first transposed convolution paints a square no wider than this.
_LARGEST_SEED = 8


class PatchDecoder(nn.Module):
    """Transposed convolutions, each doubling the size and halving the units; batch normalisation and leaky ReLU.

    The generator of Radford et al., ICLR (2016), for any odd or even width.

    Parameters
    ----------
    features
        Length of the vector to begin with.
    width
        Side of the patch in pixels, at least 3.
    units
        Of the last layer but one.
    """

    def __init__(self, features: int, width: int, units: int = 32) -> None:
        super().__init__()
        # From the patch back to the seed: a layer makes 2 n + 1 pixels of n, or 2 n + 2 where the next size is even.
        sizes = [width]
        while sizes[-1] > _LARGEST_SEED:
            sizes.append((sizes[-1] - 1) // 2)
        sizes.reverse()
        widths = [units * 2**i for i in reversed(range(len(sizes) - 1))] or [units]
        first = nn.ConvTranspose2d(features, widths[0], sizes[0], bias=False)
        layers: list[nn.Module] = [first, *_activated(widths[0])]
        for i, (small, large) in enumerate(pairwise(sizes)):
            last = i == len(sizes) - 2
            outputs = 1 if last else widths[i + 1]
            extra = large - (2 * small + 1)
            layers.append(nn.ConvTranspose2d(widths[i], outputs, 5, 2, 1, output_padding=extra, bias=last))
            layers.extend([] if last else _activated(outputs))
        if len(sizes) == 1:
            layers.append(nn.Conv2d(widths[0], 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        """Patches ``(batch, 1, width, width)`` from features ``(batch, features, 1, 1)``."""
        return self.layers(encoded)


def _activated(units: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(units), nn.LeakyReLU(0.2)]


def reconstruction_error(patches: torch.Tensor, painted: torch.Tensor) -> torch.Tensor:
    """``mean over the batch of the sum over pixels of (x - x')²``, in float32, for patches of one shape."""
    return (patches.float() - painted.float()).square().sum(dim=(1, 2, 3)).mean()
