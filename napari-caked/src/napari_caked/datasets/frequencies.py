"""Grids of distances and of spatial frequencies, and what is averaged over shells of them."""

from __future__ import annotations

from functools import lru_cache

import torch

__all__ = [
    "axis_frequencies",
    "distance_from_centre",
    "frequency",
    "multiplicity",
    "raised_cosine",
    "shell_means",
    "shells",
]


@lru_cache(maxsize=4)
def distance_from_centre(
    shape: tuple[int, ...], voxel_size: tuple[float, ...], device: torch.device | str
) -> torch.Tensor:
    """Å from voxel n // 2, of the given shape."""
    return _length([(torch.arange(n, device=device) - n // 2) * a for n, a in zip(shape, voxel_size, strict=True)])


def axis_frequencies(
    shape: tuple[int, ...], voxel_size: tuple[float, ...], device: torch.device | str
) -> list[torch.Tensor]:
    """Frequencies along each axis in 1/Å, shaped to be combined to the grid of ``rfftn``."""
    sizes = list(zip(shape, voxel_size, strict=True))
    axes = [torch.fft.fftfreq(n, a, device=device) for n, a in sizes[:-1]]
    return _spread([*axes, torch.fft.rfftfreq(*sizes[-1], device=device)])


@lru_cache(maxsize=4)
def frequency(shape: tuple[int, ...], voxel_size: tuple[float, ...], device: torch.device | str) -> torch.Tensor:
    """Length of the spatial frequency on the grid of ``rfftn``, 1/Å; with a voxel size of 1, cycles per pixel."""
    axes = axis_frequencies(shape, voxel_size, device)
    return _length([axis.flatten() for axis in axes])


@lru_cache(maxsize=4)
def shells(shape: tuple[int, ...], count: int, device: torch.device | str) -> torch.Tensor:
    """Position of each frequency of ``rfftn`` among ``count`` shells that are centred at 0 … Nyquist; float32.

    The corners beyond the Nyquist frequency belong to the last shell.
    """
    cycles = frequency(shape, (1.0,) * len(shape), device)
    return (2 * (count - 1) * cycles).clamp(max=count - 1)


def shell_means(power: torch.Tensor, shape: tuple[int, ...], count: int) -> torch.Tensor:
    """Mean of a quantity on the grid of ``rfftn`` in each of ``count`` shells; NaN where a shell has no frequency."""
    index = shells(shape, count, power.device).round().long().flatten()
    weight = multiplicity(shape[-1], power.device).expand(power.shape).flatten()
    total = torch.zeros(count, device=power.device).index_add_(0, index, power.flatten() * weight)
    return total / torch.zeros(count, device=power.device).index_add_(0, index, weight)


def multiplicity(size: int, device: torch.device | str) -> torch.Tensor:
    """How many frequencies each of the last axis of ``rfftn`` stands for: most for their negatives as well."""
    twice = torch.full((size // 2 + 1,), 2.0, device=device)
    twice[0] = 1.0
    if size % 2 == 0:
        twice[-1] = 1.0
    return twice


def raised_cosine(values: torch.Tensor, edge: float, width: float) -> torch.Tensor:
    """1 up to ``edge - width / 2``, 0 from ``edge + width / 2`` on, half a cosine in between."""
    if width <= 0:
        return (values <= edge).to(values.dtype)
    return 0.5 + 0.5 * torch.cos(torch.pi * ((values - edge) / width + 0.5).clamp(0, 1))


def _spread(axes: list[torch.Tensor]) -> list[torch.Tensor]:
    """Axis i along dimension i, for broadcasting."""
    return [axis.reshape([-1 if i == j else 1 for j in range(len(axes))]) for i, axis in enumerate(axes)]


def _length(axes: list[torch.Tensor]) -> torch.Tensor:
    squares = [axis.square() for axis in _spread(axes)]
    return sum(squares[1:], squares[0]).sqrt()
