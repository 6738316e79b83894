"""Rotation about the centre, and flips, of tensors ``(..., y, x)``, as torchvision documents them."""

from __future__ import annotations

import math

import torch


def rotate(image: torch.Tensor, angle: float) -> torch.Tensor:
    """Turn counter-clockwise by ``angle`` degrees, nearest neighbour, zeros outside, the size kept."""
    turn = math.radians(angle)
    height, width = image.shape[-2:]
    y = torch.arange(height, dtype=torch.float32)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float32)[None, :] - (width - 1) / 2
    # y points down, so a counter-clockwise turn of the picture reads each pixel from a place turned clockwise.
    rows = (math.sin(turn) * x + math.cos(turn) * y + (height - 1) / 2).round().long()
    columns = (math.cos(turn) * x - math.sin(turn) * y + (width - 1) / 2).round().long()
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return image[..., rows.clamp(0, height - 1), columns.clamp(0, width - 1)] * inside


def hflip(image: torch.Tensor) -> torch.Tensor:
    """Left and right exchanged."""
    return image.flip(-1)


def vflip(image: torch.Tensor) -> torch.Tensor:
    """Top and bottom exchanged."""
    return image.flip(-2)
