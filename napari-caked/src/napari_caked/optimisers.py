"""PyTorch's Adam and AdamW without the compiler that they would import."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Adam", "AdamW"]


class _Plain(torch.optim.Optimizer):
    """The methods of an optimiser as they are inside their decorators.

    PyTorch wraps them for its compiler, and the first call of one imports that: 1.3 s of processor time in every
    process that learns, for nothing where nothing is compiled. The numbers stay the same to the last bit.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the weights once, against their gradients."""
        return inspect.unwrap(super().step)(self, closure)  # what is inside the decorators is no method any more


class Adam(_Plain, torch.optim.Adam):
    """:class:`torch.optim.Adam`."""


class AdamW(_Plain, torch.optim.AdamW):
    """:class:`torch.optim.AdamW`."""
