"""Networks as they score: the same function of the image as the network that learned, in fewer operations.

What a network makes of the image before its layers (its *planes*) is computed for the whole image at once, and of the
inverted image it is the inverted planes; the layers then score the image in parts.
"""

from __future__ import annotations

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
    rim
        Working pixels to each side that it needs around those that it gives logits of, besides those that its planes
        depend on; even.
    margin
        Working pixels to each side that the planes depend on; even.
    """

    rim: int
    margin: int

    @abstractmethod
    def planes(self, image: torch.Tensor) -> torch.Tensor | None:
        """Planes ``(c, (y - 1) // 2 + 1 - margin, (x - 1) // 2 + 1 - margin)``, where there are any.

        Of an image ``(y, x)`` with odd sides; the first element lies at pixel ``margin``, the others at every second,
        as do the logits.
        """

    @abstractmethod
    def logits(self, image: torch.Tensor, planes: torch.Tensor | None) -> torch.Tensor:
        """Logits of an image ``(y, x)`` with its planes, but for its rim: of pixel ``rim`` and every stride-th after.

        Sides are ``2 * rim + k * alignment + 1``. Logits are ``k * alignment / stride`` on an axis, or one more.
        """


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
        self.network = network
        self.rim = -(-network.reach // network.alignment) * network.alignment

    def planes(self, image: torch.Tensor) -> None:
        """See :class:`ScoringForm`."""

    def logits(self, image: torch.Tensor, planes: torch.Tensor | None) -> torch.Tensor:
        """See :class:`ScoringForm`."""
        first = self.rim // self.network.stride
        logits: torch.Tensor = self.network(image[None, None])[0]
        return logits[first : logits.shape[0] - first, first : logits.shape[1] - first]


@scoring_form.register
def _matched_form(network: MatchedFilterNetwork) -> ScoringForm:
    return _Matched(network)


class _Matched(ScoringForm):
    """The default network: correlations by Fourier transforms, normalisation in the weights, and no enlarged maps.

    The network doubles the coarse feature maps bilinearly, joins them with the fine ones and convolves. That is the sum
    of two convolutions; and doubling and convolving the coarse maps is one transposed convolution with 5 x 5 weights:
    those of 3 x 3, spread by the tent (1/2, 1, 1/2) on each axis. Less than half of the multiplications are left.

    Where the network surrounds its feature maps by zeros, here they become smaller from layer to layer: of the rim,
    each layer computes only what the next one reads.
    """

    #: Of the first convolution; of two at half the size; of three, two of them with spread taps, and the enlargement at
    #: a quarter: 2 + 2 * (1 + 1) + 4 * (2 + 2 + 1 + 1). The last two need no more than the enlargement.
    rim = 30
    inner: torch.Tensor
    whole: torch.Tensor

    def __init__(self, network: MatchedFilterNetwork) -> None:
        super().__init__()
        profile = network.filter.profile
        radius = len(profile) - 1
        self.margin = radius + radius % 2
        inner = min(network.inner, radius)
        self.register_buffer("inner", network.filter.kernel(inner))
        self.register_buffer("whole", network.filter.kernel())
        self.stem, self.fine = _folded(network.stem), _folded(network.fine)
        self.coarse = nn.Sequential(*(_folded(layer) for layer in network.coarse))
        joining, last = (_folded(layer) for layer in network.merge)
        self.near, self.far = _divided(joining, network.channels)
        self.last, self.head = last, _Convolution(network.head.weight, network.head.bias)

    def planes(self, image: torch.Tensor) -> torch.Tensor:
        """See :class:`ScoringForm`."""
        return 4 * correlations(image.clamp(-RARE, RARE), [self.inner, self.whole], self.margin)

    def logits(self, image: torch.Tensor, planes: torch.Tensor | None) -> torch.Tensor:
        """See :class:`ScoringForm`."""
        assert planes is not None  # they are made by this form
        seen = planes[None, :, 1:-1, 1:-1].contiguous(memory_format=torch.channels_last)
        fine = self.fine(torch.cat([self.stem(image[None, None]), seen], dim=1))
        far = self.far(self.coarse(fine))
        nearer = (fine.shape[-1] - far.shape[-1]) // 2 - 1
        merged = self.near(fine[..., nearer:-nearer, nearer:-nearer])
        merged += far
        merged = self.last(merged.relu_())
        with torch.autocast(image.device.type, enabled=False):
            logits: torch.Tensor = self.head(merged.float())[0, 0]
        return logits


class _Convolution(nn.Module):
    """A convolution, without anything around the image; then, if wanted, a ReLU. It does not learn.

    Parameters
    ----------
    weight, bias
        As of :class:`torch.nn.Conv2d`.
    like
        Has the same stride and dilation.
    rectified
        With a ReLU.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        like: nn.Conv2d | None = None,
        *,
        rectified: bool = False,
    ) -> None:
        super().__init__()
        # Channels last is the faster order of convolutions, on CPUs as well as on GPUs.
        self.register_buffer("weight", weight.detach().contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", None if bias is None else bias.detach())
        self._stride, self._dilation = ((1, 1), (1, 1)) if like is None else (like.stride, like.dilation)
        self._rectified = rectified

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Smaller maps."""
        maps = F.conv2d(maps, self.weight, self.bias, self._stride, dilation=self._dilation)
        return maps.relu_() if self._rectified else maps


class _Enlargement(nn.Module):
    """A transposed convolution 5 x 5 of stride 2, without the outermost three of its results."""

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().contiguous(memory_format=torch.channels_last))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps of twice the size but for three."""
        return F.conv_transpose2d(maps, self.weight, stride=2, padding=3)


def _folded(layer: nn.Module) -> _Convolution:
    """A layer of convolution, normalisation and ReLU with the normalisation in the weights of the convolution."""
    assert isinstance(layer, nn.Sequential)
    convolution, normalisation, _ = layer
    assert isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)
    mean, variance = normalisation.running_mean, normalisation.running_var
    assert mean is not None and variance is not None
    scale = normalisation.weight / torch.sqrt(variance + normalisation.eps)
    weight = convolution.weight * scale[:, None, None, None]
    return _Convolution(weight, normalisation.bias - scale * mean, convolution, rectified=True)


def _divided(joining: _Convolution, channels: int) -> tuple[_Convolution, _Enlargement]:
    """The convolution of joined maps as one of the first ``channels`` and one of the others at half their size."""
    near = _Convolution(joining.weight[:, :channels], joining.bias)
    weight = joining.weight[:, channels:].flip(-1, -2)
    # The tent, beginning at each of three taps.
    tents = weight.new_tensor([[0.5, 1.0, 0.5, 0.0, 0.0], [0.0, 0.5, 1.0, 0.5, 0.0], [0.0, 0.0, 0.5, 1.0, 0.5]])
    spread = weight.reshape(-1, 9) @ torch.kron(tents, tents)
    return near, _Enlargement(spread.reshape(*weight.shape[:2], 5, 5).transpose(0, 1))
