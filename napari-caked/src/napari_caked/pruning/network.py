"""The network that tells particles from what else is picked: two views of a place, one trunk, two heads.

Both heads classify; the second sees the trunk's last map through a 1 x 1 convolution that halves its channels. Each has
a cross-entropy of its own, and together they teach the trunk: the multi-loss of Li et al., J. Comput. Biol. 29, 1117
(2022), doi 10.1089/cmb.2022.0101.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_caked.pruning.patches import WIDE_CHANNELS, Patches
from napari_caked.pruning.settings import CLASSES, PARTICLE

__all__ = ["Features", "PrunerNetwork", "flipped", "folded", "head_logits", "partial_loss", "pooled_features"]


#: Standard deviation of the Gaussian by which the near patch is blurred for its second plane, pixels.
_SMOOTHING = 2.0


#: Rings of the three profiles; the wide patch has one for each of its planes.
_NEAR_RINGS, _POWER_RINGS, _WIDE_RINGS = 22, 12, 9
_PROFILES = _NEAR_RINGS + _POWER_RINGS + WIDE_CHANNELS * _WIDE_RINGS


class _Residual(nn.Module):
    """Two convolutions and a way around them (He et al., CVPR 2016)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels, out, 3, stride)
        self.second = _convolution(out, out, 3, 1)
        straight = channels == out and stride == 1
        self.around = nn.Identity() if straight else _convolution(channels, out, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.around(x) + self.second(torch.relu(self.first(x))))


class PrunerNetwork(nn.Module):
    """From patches to the logits of the classes, by two heads.

    Parameters
    ----------
    width
        Channels after the stem; the trunk's last map has eight times as many.

    Attributes
    ----------
    trust
        ``()``: what a picker's log-odds count beside the network's own; 1 until labels say otherwise.
    """

    trust: torch.Tensor

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.width = width
        last = 8 * width
        self.near = nn.Sequential(
            _convolution(2, width, 7, 2),
            nn.ReLU(),
            _Residual(width, 2 * width, 2),
            _Residual(2 * width, 4 * width, 2),
            _Residual(4 * width, last, 2),
        )
        self.wide = nn.Sequential(
            _convolution(WIDE_CHANNELS, width, 5, 2),
            nn.ReLU(),
            _Residual(width, 2 * width, 2),
            _Residual(2 * width, 4 * width, 2),
        )
        self.around = nn.Linear(8 * width, last)
        self.trunk = _Residual(last, last, 1)
        self.halved = nn.Sequential(_convolution(last, last // 2, 1, 1), nn.ReLU())
        self.head = nn.Linear(2 * last + _PROFILES, len(CLASSES))
        self.halved_head = nn.Linear(last + _PROFILES, len(CLASSES))
        self.register_buffer("trust", torch.ones(()))

    def features(self, patches: Patches) -> tuple[torch.Tensor, torch.Tensor]:
        """What the two heads classify by: ``(n, 253)`` and ``(n, 157)`` at the default width."""
        blurred = smoothed(patches.near)
        seen = self.near(torch.cat([patches.near, blurred], dim=1))
        # What surrounds a place shifts all that is seen of the place itself.
        surroundings = self.around(_pooled(self.wide(patches.wide)))
        trunk = self.trunk(torch.relu(seen + surroundings[:, :, None, None]))
        known = profiles(patches, blurred)
        return torch.cat([_pooled(trunk), known], dim=1), torch.cat([_pooled(self.halved(trunk)), known], dim=1)

    def forward(self, patches: Patches) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``(n, classes)`` of either head."""
        whole, halved = self.features(patches)
        return self.advised(self.head(whole), patches.odds), self.advised(self.halved_head(halved), patches.odds)

    def advised(self, logits: torch.Tensor, odds: torch.Tensor) -> torch.Tensor:
        """Logits ``(n, classes)`` of a head with what a picker says of the places, ``(n,)`` log-odds, added."""
        added = torch.zeros_like(logits)
        added[:, PARTICLE] = self.trust * odds
        return logits + added


def profiles(patches: Patches, blurred: torch.Tensor) -> torch.Tensor:
    """Radial profiles ``(n, 61)`` of the near patch, of the power of the blurred one, and of the wide patch.

    A head that knows them can learn a template of faint particles from a few labels, as no trunk can.
    """
    parts = (
        patches.near[:, 0].flatten(1) @ _rings(patches.near, _NEAR_RINGS),
        blurred[:, 0].square().flatten(1) @ _rings(blurred, _POWER_RINGS),
        (patches.wide.flatten(2) @ _rings(patches.wide, _WIDE_RINGS)).flatten(1),
    )
    return torch.cat(parts, dim=1)


def _rings(like: torch.Tensor, count: int) -> torch.Tensor:
    """``(pixels, count)`` on the device of images ``like``: sums over rings, of white noise with deviation 1."""
    return _rings_of(like.shape[-1], count).to(like)


@lru_cache(maxsize=8)
def _rings_of(side: int, count: int) -> torch.Tensor:
    along = np.arange(side) - side // 2
    ring = np.rint(np.hypot(along[:, None], along[None]) * (count - 1) / (side // 2)).astype(int).ravel()
    member = ring[:, None] == np.arange(count)
    return torch.from_numpy((member / np.sqrt(member.sum(axis=0))).astype(np.float32))


@lru_cache(maxsize=8)
def _blur_of(side: int) -> torch.Tensor:
    """``(side, side)``: blurs the columns of an image whose edges go on beyond it; far faster than a convolution."""
    reach = math.ceil(3 * _SMOOTHING)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / _SMOOTHING) ** 2)
    band = np.zeros((side, side), np.float32)
    for row in range(side):
        np.add.at(band[row], np.clip(row + offsets, 0, side - 1), kernel / kernel.sum())
    return torch.from_numpy(band)


def smoothed(near: torch.Tensor) -> torch.Tensor:
    """Patches ``(n, 1, y, x)`` blurred by a Gaussian, each with mean 0 and deviation 1 again.

    In a low dose nearly all of a patch is noise of single pixels; without it, faint and strong particles look alike.
    """
    band = _blur_of(near.shape[-1]).to(near)
    blurred = band @ near @ band.T
    deviation, mean = torch.std_mean(blurred, dim=(2, 3), keepdim=True)
    return ((blurred - mean) / deviation.clamp(min=1e-3)).clamp(-6, 6)


def _convolution(channels: int, out: int, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, size, stride, size // 2, bias=False), nn.BatchNorm2d(out))


def _pooled(x: torch.Tensor) -> torch.Tensor:
    """Means over the inner quarter, where the pick is, and over everything, of a map ``(n, c, 4, 4)``: ``(n, 2 c)``."""
    inner = x[:, :, x.shape[2] // 4 : -(x.shape[2] // 4), x.shape[3] // 4 : -(x.shape[3] // 4)]
    return torch.cat([inner.mean(dim=(2, 3)), x.mean(dim=(2, 3))], dim=1)


def flipped(patches: Patches, view: int) -> Patches:
    """One of the eight views of a place: ``view % 4`` quarter turns, after a flip from 4 on."""

    def turned(x: torch.Tensor) -> torch.Tensor:
        x = torch.rot90(x, view % 4, (2, 3))
        return x.flip(3) if view >= 4 else x

    return replace(patches, near=turned(patches.near), wide=turned(patches.wide))


def folded(network: PrunerNetwork) -> PrunerNetwork:
    """A copy for judging: its normalisations are folded into the convolutions, which takes a quarter less time."""
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        for name, part in module.named_children():
            if not isinstance(part, nn.Sequential) or len(part) != 2:
                continue
            convolution, normalisation = part
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, normalisation))
    return copied


@dataclass(frozen=True)
class Features:
    """What the heads classify ``n`` places by.

    Attributes
    ----------
    whole, halved
        ``(n, 253)`` and ``(n, 157)`` at the default width: of either head.
    odds
        ``(n,)`` log-odds that a picker gives the places.
    """

    whole: torch.Tensor
    halved: torch.Tensor
    odds: torch.Tensor

    def __len__(self) -> int:
        return len(self.odds)

    def __getitem__(self, rows: np.ndarray) -> Features:
        which = torch.from_numpy(rows)
        return Features(self.whole[which], self.halved[which], self.odds[which])


def pooled_features(network: PrunerNetwork, patches: Patches, flips: int = 4, batch: int = 256) -> Features:
    """Features of both heads, averaged over the views: linear heads say of them the mean of what they say of each."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(patches), batch):
            piece = patches[slice(start, start + batch)]
            views = [network.features(flipped(piece, view)) for view in range(flips)]
            parts.append([torch.stack(list(features)).mean(dim=0) for features in zip(*views, strict=True)])
    if not parts:
        parts = [[torch.empty(0, head.in_features) for head in (network.head, network.halved_head)]]
    # Copies, which gradients may be taken by; those of inference may not.
    whole, halved = (torch.cat(list(part)).clone() for part in zip(*parts, strict=True))
    return Features(whole, halved, patches.odds)


def head_logits(network: PrunerNetwork, features: Features) -> torch.Tensor:
    """What the two heads and a picker say of features together: the mean of their logits ``(n, classes)``."""
    return network.advised((network.head(features.whole) + network.halved_head(features.halved)) / 2, features.odds)


def partial_loss(logits: torch.Tensor, allowed: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy where a label may leave open which of some classes it is.

    Parameters
    ----------
    logits
        ``(n, classes)``.
    allowed
        ``(n, classes)`` bool: what each may be.
    weight
        ``(n,)``, with sum 1.
    """
    likely = torch.log_softmax(logits, dim=1).masked_fill(~allowed, -torch.inf)
    return -(weight * torch.logsumexp(likely, dim=1)).sum()
