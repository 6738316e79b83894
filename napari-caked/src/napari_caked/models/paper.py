"""The networks of Bepler et al., Nature Methods 16, 1153 (2019): trained on patches, evaluated at every pixel.

A patch network sees a square of ``width`` pixels and says with one logit whether a particle lies in its middle. Its
layers have strides and no padding, so that a patch shrinks to one vector of features. A whole image is scored with the
same weights at every pixel, without cutting patches: a layer that follows strides of 2 in training has its taps 2
pixels apart instead (the "à trous" algorithm), so each logit is that of the patch around its pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from operator import mul
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from napari_caked.errors import SettingsError
from napari_caked.models.protocol import PickerNetwork

__all__ = ["PatchNetwork", "conv31", "conv63", "conv127", "resnet8", "resnet16"]


class Layer(nn.Module):
    """Convolution, batch normalisation, activation.

    Attributes
    ----------
    stride
        On a patch.
    span
        Pixels of its input that one output depends on, less one, where ``spread`` is 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.stride, self.dilation, self.span = stride, dilation, dilation * (kernel - 1)
        self.convolution = nn.Conv2d(inputs, outputs, kernel, bias=False)
        self.normalisation = nn.BatchNorm2d(outputs)
        self.activation = activation or nn.ReLU()

    def forward(self, images: torch.Tensor, spread: int, stride: int) -> torch.Tensor:
        """Apply with the taps ``spread`` times as far apart, on every ``stride``-th pixel."""
        return self.activation(self.linear(images, spread, stride))

    def linear(self, images: torch.Tensor, spread: int, stride: int) -> torch.Tensor:
        """All but the activation."""
        weight, dilation = self.convolution.weight, spread * self.dilation
        return self.normalisation(F.conv2d(images, weight, stride=stride, dilation=dilation))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, the second with its taps two pixels apart, added to what came in.

    The parameters and attributes are those of :class:`Layer`.
    """

    def __init__(self, inputs: int, outputs: int, *, dilation: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.first = Layer(inputs, inputs, 3)
        self.second = Layer(inputs, outputs, 3, dilation=dilation)
        self.span = self.first.span + self.second.span
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, images: torch.Tensor, spread: int, stride: int) -> torch.Tensor:
        """Apply with the taps ``spread`` times as far apart, on every ``stride``-th pixel."""
        rim = spread * self.span // 2
        direct = self.shortcut(images[..., rim:-rim:stride, rim:-rim:stride])
        return F.relu(direct + self.second.linear(self.first(images, spread, 1), spread, stride))


class PatchNetwork(PickerNetwork):
    """A classifier of patches that scores whole images as well.

    Parameters
    ----------
    name
        In the registry.
    layers
        From one channel to ``features`` channels.
    features
        Length of the vector a patch shrinks to.
    stride
        Of the logits of whole images: 1 for every pixel, 2 or 4 for every second or fourth, at a quarter or a sixteenth
        of the time. The weights are the same.
    configuration
        What was asked for, for the record.

    Attributes
    ----------
    width
        Side of a patch in pixels, an odd number.
    features
        Length of the vector a patch shrinks to.

    Raises
    ------
    SettingsError
        The layers have no such stride between them.
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[Layer | ResidualBlock],
        features: int,
        stride: int,
        configuration: dict[str, Any],
    ) -> None:
        super().__init__()
        self.name, self.features, self._configuration = name, features, configuration
        self.layers = nn.ModuleList(layers)
        self.head = nn.Conv2d(features, 1, 1)
        self._strides = [layer.stride for layer in layers]
        jumps = list(accumulate(self._strides, mul, initial=1))
        self.width = 1 + sum(jump * layer.span for jump, layer in zip(jumps, layers, strict=False))
        if stride not in jumps:
            known = ", ".join(str(jump) for jump in dict.fromkeys(jumps))
            raise SettingsError(f"{name} cannot score every {stride} pixels; use a stride of {known}")
        self.stride = self.alignment = stride
        self.reach = self.width // 2

    @property
    def configuration(self) -> dict[str, Any]:
        """Keyword arguments for :func:`napari_caked.models.registry.build_network`."""
        return dict(self._configuration)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, (y - 1) // stride + 1, (x - 1) // stride + 1)`` of images ``(batch, 1, y, x)``.

        Outside an image lie zeros, the mean of a working image.
        """
        padded = F.pad(images, (self.reach,) * 4)
        return self.head(self._walk(padded, self.stride))[:, 0]

    def encode(self, patches: torch.Tensor) -> torch.Tensor:
        """Features ``(batch, features, 1, 1)`` of patches ``(batch, 1, width, width)``."""
        return self._walk(patches, stride=None)

    def classify(self, encoded: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch,)`` of what :meth:`encode` gave."""
        return self.head(encoded)[:, 0, 0, 0]

    def forward_patches(self, patches: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch,)`` of the middles of patches ``(batch, 1, width, width)``."""
        return self.classify(self.encode(patches))

    def _walk(self, images: torch.Tensor, stride: int | None) -> torch.Tensor:
        """Through all layers, with their own strides until ``stride`` is reached, with spread taps from there on."""
        done = spread = 1
        for layer, own in zip(self.layers, self._strides, strict=True):
            step = own if stride is None or done * own <= stride else 1
            images = layer(images, spread, step)
            done, spread = done * step, spread * (own // step)
        return images


def _convolutional(depth: int, units: int = 32, stride: int = 1) -> PatchNetwork:
    """``depth`` convolutions: 7 x 7, then 5 x 5 of twice as many units each, every one but the last of stride 2."""
    widths = [_positive(units) * 2**i for i in range(depth)]
    layers: list[Layer | ResidualBlock] = []
    for i, (inputs, outputs) in enumerate(zip([1, *widths], widths, strict=False)):
        kernel, step = (7 if i == 0 else 5), (1 if i == depth - 1 else 2)
        layers.append(Layer(inputs, outputs, kernel, stride=step, activation=nn.PReLU(outputs)))
    configuration = {"units": units, "stride": stride}
    return PatchNetwork(f"conv{2 ** (depth + 2) - 1}", layers, widths[-1], stride, configuration)


#: The three-layer network of the paper (32, 64 and 128 units), and two with one and two layers more.
conv31: Callable[..., PatchNetwork] = partial(_convolutional, 3)
conv63: Callable[..., PatchNetwork] = partial(_convolutional, 4)
conv127: Callable[..., PatchNetwork] = partial(_convolutional, 5)


def resnet8(units: int = 32, stride: int = 1) -> PatchNetwork:
    """Eight layers, 71 pixels wide: a convolution, three residual blocks with spread taps, a convolution."""
    layers: list[Layer | ResidualBlock] = [
        Layer(1, _positive(units), 7, stride=2),
        ResidualBlock(units, units, dilation=2),
        ResidualBlock(units, 2 * units, dilation=2, stride=2),
        ResidualBlock(2 * units, 2 * units, dilation=2),
        Layer(2 * units, 4 * units, 5),
    ]
    return PatchNetwork("resnet8", layers, 4 * units, stride, {"units": units, "stride": stride})


def resnet16(units: int = 32, stride: int = 1) -> PatchNetwork:
    """Sixteen layers, 91 pixels wide: a convolution, seven residual blocks, a convolution."""
    layers: list[Layer | ResidualBlock] = [
        Layer(1, _positive(units), 7),
        ResidualBlock(units, units, stride=2),
        *(ResidualBlock(units, units) for _ in range(3)),
        ResidualBlock(units, 2 * units, stride=2),
        *(ResidualBlock(2 * units, 2 * units) for _ in range(2)),
        Layer(2 * units, 4 * units, 5),
    ]
    return PatchNetwork("resnet16", layers, 4 * units, stride, {"units": units, "stride": stride})


def _positive(units: int) -> int:
    if units < 1:
        raise SettingsError(f"a network of {units} units has no weights; use 32 or 64")
    return units
