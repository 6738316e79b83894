"""The state of optimisers, as named tensors that a safetensors file can hold."""

from __future__ import annotations

from collections.abc import Mapping

import torch

__all__ = ["load_optimiser", "optimiser_state", "under"]

_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}


def optimiser_state(optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> dict[str, torch.Tensor]:
    """What an Adam has gathered, and the scale of its gradients."""
    state = {
        f"optimiser.{index}.{name}": tensor
        for index, moments in optimiser.state_dict()["state"].items()
        for name, tensor in moments.items()
    }
    return state | {f"scaler.{name}": torch.tensor(value) for name, value in scaler.state_dict().items()}


def load_optimiser(
    state: Mapping[str, torch.Tensor], optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler, *, is_new: bool
) -> None:
    """Put an Adam where it was.

    Parameters
    ----------
    state
        From :func:`optimiser_state`, other tensors among it.
    optimiser, scaler
        Of the same weights.
    is_new
        Whether nothing was learned yet, and so nothing gathered.

    Raises
    ------
    KeyError, ValueError
        The state is incomplete, or that of other weights.
    """
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in under(state, "optimiser").items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = tensor
    weights = sum(len(group["params"]) for group in optimiser.param_groups)
    # Adam itself would take what there is, and fail at the next step, or start anew without a word.
    whole = len(moments) == weights and all(one.keys() == _MOMENTS for one in moments.values())
    if not whole and not (is_new and not moments):
        raise ValueError("the optimiser's state is incomplete, or that of other weights")
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    if scaler.is_enabled():
        scaler.load_state_dict({name: value.item() for name, value in under(state, "scaler").items()})


def under(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with ``name`` and a dot, without these."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in state.items() if key.startswith(f"{name}.")}
