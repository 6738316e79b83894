"""Networks as they score: the same function of the image as the network that learned, in fewer operations.

What a network makes of the image before its layers (its *planes*) is computed for the whole image at once, and of the
inverted image it is the inverted planes; the layers then score the image in parts.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import nn

from napari_caked.models.correlation import correlations
from napari_caked.models.matched import RARE, MatchedFilterNetwork
from napari_caked.models.protocol import PickerNetwork

__all__ = ["ScoringForm", "scoring_form"]


class ScoringForm(nn.Module, ABC):
    """What scoring asks for.

    Attributes
    ----------
    reach
        Working pixels to each side that a logit depends on, besides those that its planes depend on.
    margin
        Working pixels to each side that the planes depend on; even.
    """

    reach: int
    margin: int

    @abstractmethod
    def planes(self, image: torch.Tensor) -> torch.Tensor | None:
        """Planes ``(c, (y - 1) // 2 + 1 - margin, (x - 1) // 2 + 1 - margin)``, where there are any.

        Of an image ``(y, x)`` with odd sides; the first element lies at pixel ``margin``, the others at every second,
        as do the logits.
        """

    @abstractmethod
    def logits(self, image: torch.Tensor, planes: torch.Tensor | None) -> torch.Tensor:
        """Logits of an image ``(y, x)`` with its planes, as the network gives them; wrong within ``reach`` of edges."""


@singledispatch
def scoring_form(network: PickerNetwork) -> ScoringForm:
    """The form in which a network scores, with its present weights.

    Parameters
    ----------
    network
        In evaluation mode.
    """
    return _AsItIs(network)


class _AsItIs(ScoringForm):
    """Any network: no planes."""

    margin = 0

    def __init__(self, network: PickerNetwork) -> None:
        super().__init__()
        self.network, self.reach = network, network.reach

    def planes(self, image: torch.Tensor) -> None:
        """See :class:`ScoringForm`."""

    def logits(self, image: torch.Tensor, planes: torch.Tensor | None) -> torch.Tensor:
        """See :class:`ScoringForm`."""
        logits: torch.Tensor = self.network(image[None, None])[0]
        return logits


@scoring_form.register
def _matched_form(network: MatchedFilterNetwork) -> ScoringForm:
    return _Matched(network)


class _Matched(ScoringForm):
    """The default network: correlations by Fourier transforms, normalisation in the weights, and no enlarged maps.

    The network doubles the coarse feature maps bilinearly, joins them with the fine ones and convolves. That is the sum
    of two convolutions; and doubling and convolving the coarse maps is one transposed convolution with 5 x 5 weights:
    those of 3 x 3, spread by the tent (1/2, 1, 1/2) on each axis. Less than half of the multiplications are left. Only
    the outermost logits differ, because there the network's convolution sees zeros.
    """

    def __init__(self, network: MatchedFilterNetwork) -> None:
        super().__init__()
        profile = network.filter.profile
        radius = len(profile) - 1
        self.reach = network.reach - radius
        self.margin = radius + radius % 2
        inner = min(network.inner, radius)
        self._templates = [network.filter.kernel(inner), network.filter.kernel()]
        self.stem, self.fine = _folded(network.stem), _folded(network.fine)
        self.coarse = nn.Sequential(*(_folded(layer) for layer in network.coarse))
        joining, last = (_folded(layer) for layer in network.merge)
        self.near, self.far = _divided(joining[0], network.channels)
        # A copy: what the next lines do to its weights would keep the network from learning on.
        self.last, self.head = last, copy.deepcopy(network.head)
        # Channels last is the faster order of convolutions, on CPUs as well as on GPUs.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def planes(self, image: torch.Tensor) -> torch.Tensor:
        """See :class:`ScoringForm`."""
        return 4 * correlations(image.clamp(-RARE, RARE), self._templates, self.margin)

    def logits(self, image: torch.Tensor, planes: torch.Tensor | None) -> torch.Tensor:
        """See :class:`ScoringForm`."""
        assert planes is not None  # they are made by this form
        seen = planes[None].contiguous(memory_format=torch.channels_last)
        fine = self.fine(torch.cat([self.stem(image[None, None]), seen], dim=1))
        merged = self.near(fine)
        merged += self.far(self.coarse(fine))
        merged = self.last(merged.relu_())
        with torch.autocast(image.device.type, enabled=False):
            logits: torch.Tensor = self.head(merged.float())[0, 0]
        return logits


def _folded(layer: nn.Module) -> nn.Sequential:
    """A layer of convolution, normalisation and ReLU with the normalisation in the weights of the convolution."""
    assert isinstance(layer, nn.Sequential)
    convolution, normalisation, activation = layer
    assert isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)
    mean, variance = normalisation.running_mean, normalisation.running_var
    assert mean is not None and variance is not None
    scale = normalisation.weight / torch.sqrt(variance + normalisation.eps)
    weight = convolution.weight * scale[:, None, None, None]
    return nn.Sequential(_like(convolution, weight, normalisation.bias - scale * mean), activation)


def _divided(joining: nn.Module, channels: int) -> tuple[nn.Conv2d, nn.ConvTranspose2d]:
    """The convolution of joined maps as one of the first ``channels`` and one of the others at half their size."""
    assert isinstance(joining, nn.Conv2d) and joining.bias is not None
    near = _like(joining, joining.weight[:, :channels], joining.bias)
    weight = joining.weight[:, channels:]
    tent = weight.new_tensor([0.5, 1.0, 0.5])
    spread = F.conv_transpose2d(weight.flip(-1, -2).reshape(-1, 1, 3, 3), torch.outer(tent, tent)[None, None])
    far = nn.ConvTranspose2d(weight.shape[1], len(weight), 5, stride=2, padding=2, bias=False, device="meta")
    far.weight = nn.Parameter(spread.reshape(*weight.shape[:2], 5, 5).transpose(0, 1), requires_grad=False)
    return near, far


def _like(convolution: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor) -> nn.Conv2d:
    """A convolution like another, with these weights."""
    outputs, inputs, *_ = weight.shape
    geometry = convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation
    result = nn.Conv2d(inputs, outputs, *geometry, device="meta")  # type: ignore[arg-type]
    result.weight = nn.Parameter(weight, requires_grad=False)
    result.bias = nn.Parameter(bias, requires_grad=False)
    return result
