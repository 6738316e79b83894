"""Tests of the optimisers against PyTorch's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from napari_caked.optimisers import Adam, AdamW

PAIRS = [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)]


def learned(kind, *, restarts: bool) -> list[torch.Tensor]:
    """Weights after six steps, with the optimiser put away and fetched again in the middle where that is asked for."""
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((3, 4), (4,))]
    inputs = torch.randn((6, 8, 3), generator=generator)
    optimiser = kind(weights, lr=0.05, weight_decay=0.1)
    for i, batch in enumerate(inputs):
        if restarts and i == 3:
            state = optimiser.state_dict()
            optimiser = kind(weights, lr=0.9, weight_decay=0.9)
            optimiser.load_state_dict(state)
        optimiser.zero_grad(set_to_none=True)
        (batch @ weights[0] + weights[1]).square().mean().backward()
        assert all(each.grad is not None for each in weights)
        optimiser.step()
    return [each.detach() for each in weights]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_it_takes_the_same_steps_as_pytorchs(ours, theirs, restarts):
    for got, expected in zip(learned(ours, restarts=restarts), learned(theirs, restarts=restarts), strict=True):
        assert torch.equal(got, expected)


def test_a_step_leaves_gradients_switched_on_and_calls_a_closure_with_them():
    weight = torch.ones(2, requires_grad=True)
    optimiser = Adam([weight], lr=0.1)
    seen = []

    def closure() -> torch.Tensor:
        seen.append(torch.is_grad_enabled())
        optimiser.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimiser.step(closure) == 2.0 and seen == [True] and torch.is_grad_enabled()
    assert torch.allclose(weight, torch.full((2,), 0.9))


def test_learning_and_scoring_load_no_compiler_of_networks():
    """Given a fresh process, then its first score map and steps do not import PyTorch's compiler: a second of CPU."""
    code = """
import sys
import torch
from napari_caked.models import MatchedFilterNetwork
from napari_caked.optimisers import AdamW
from napari_caked.scoring import score_with_decoy

score_with_decoy(MatchedFilterNetwork(torch.ones(8), channels=4).eval(), torch.zeros(50, 50))
assert "torch._dynamo" not in sys.modules, "a score map imports torch._dynamo"
network = torch.nn.Conv2d(1, 2, 3)
optimiser = AdamW(network.parameters())
for _ in range(2):
    optimiser.zero_grad(set_to_none=True)
    network(torch.ones(1, 1, 5, 5)).square().sum().backward()
    optimiser.step()
optimiser.load_state_dict(optimiser.state_dict())
assert "torch._dynamo" not in sys.modules, "a step imports torch._dynamo"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
