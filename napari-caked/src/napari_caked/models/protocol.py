"""What scoring, training and checkpoints ask of a network, whatever its inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

__all__ = ["PickerNetwork"]


class PickerNetwork(nn.Module, ABC):
    """A fully convolutional network from working images to logits.

    Attributes
    ----------
    name
        In the registry (:mod:`napari_caked.models.registry`).
    stride
        Working pixels per logit: logit ``j`` lies at working pixel ``stride * j``.
    alignment
        Sides of images must be ``k * alignment + 1``; parts of an image that begin at multiples of it give the same
        logits as the whole.
    reach
        Working pixels to each side that a logit depends on.
    """

    name: str
    stride: int
    alignment: int
    reach: int

    @property
    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """Keyword arguments, of types JSON knows, that build a network into which the weights of this one fit."""

    @abstractmethod
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, (y - 1) // stride + 1, (x - 1) // stride + 1)`` of images ``(batch, 1, y, x)``."""
