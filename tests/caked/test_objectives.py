"""The objective against exact arithmetic: binomials, Poisson-binomials, and gradients that stay finite."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_caked.objectives import binomial_log_probabilities, count_distribution, ge_binomial


def exact_count_distribution(p: np.ndarray) -> np.ndarray:
    """Poisson-binomial distribution by multiplying out (1 - p + p z), one pixel after the other."""
    distribution = np.array([1.0])
    for one in p:
        distribution = np.convolve(distribution, [1 - one, one])
    return distribution


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


@pytest.mark.parametrize("n", [1, 5, 64, 256])
@pytest.mark.parametrize("probability", [1e-4, 0.03, 0.3, 0.5])
def test_binomial_probabilities_are_those_of_the_formula(n, probability):
    expected = [
        math.log(math.comb(n, k)) + k * math.log(probability) + (n - k) * math.log1p(-probability) for k in range(n + 1)
    ]
    result = binomial_log_probabilities(n, probability)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    assert float(result.double().exp().sum()) == pytest.approx(1, abs=1e-5)


@given(st.lists(st.floats(-60, 60), min_size=1, max_size=300))
@settings(max_examples=50)
def test_the_count_is_a_distribution_for_any_logits(logits):
    q = count_distribution(torch.tensor(logits))
    assert q.shape == (len(logits) + 1,)
    assert bool((q >= 0).all())
    assert float(q.sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_mean_and_variance_of_the_count_are_exact(seed):
    """Given counts away from none and all, then the two moments are those of the exact distribution."""
    logits = np.random.default_rng(seed).normal(0, 2, 200)
    q = count_distribution(torch.from_numpy(logits)).numpy()
    exact = exact_count_distribution(sigmoid(logits))
    k = np.arange(201)
    for distribution in (q, exact):
        distribution /= distribution.sum()
    assert q @ k == pytest.approx(exact @ k, abs=1e-6)
    assert q @ k**2 - (q @ k) ** 2 == pytest.approx(exact @ k**2 - (exact @ k) ** 2, rel=1e-5)


@pytest.mark.parametrize("mean, bound", [(-3, 0.03), (-2, 0.02), (0, 0.01)])
def test_the_count_of_256_pixels_is_close_to_the_exact_distribution(mean, bound):
    logits = np.random.default_rng(0).normal(mean, 1, 256)
    q = count_distribution(torch.from_numpy(logits)).numpy()
    assert 0.5 * np.abs(q - exact_count_distribution(sigmoid(logits))).sum() < bound


def test_the_count_of_certain_pixels_is_certain():
    q = count_distribution(torch.tensor([50.0] * 3 + [-50.0] * 10))
    assert int(q.argmax()) == 3
    assert float(q[3]) == pytest.approx(1)


def independent_ge_binomial(labelled, unlabelled, probability, slack):
    n = len(unlabelled)
    p = sigmoid(unlabelled)
    k = np.arange(n + 1)
    q = np.exp(-((k - p.sum()) ** 2) / (2 * (p * (1 - p)).sum()))
    q /= q.sum()
    expected = [
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(probability)
        + (n - i) * math.log(1 - probability)
        for i in k
    ]
    return np.mean(np.log1p(np.exp(-np.asarray(labelled, np.float64)))) - slack * (q @ expected)


@pytest.mark.parametrize("slack", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("probability", [0.02, 0.3])
def test_the_objective_is_that_of_the_paper(slack, probability):
    dice = np.random.default_rng(0)
    labelled, unlabelled = dice.normal(1, 2, 30), dice.normal(-1, 2, 256)
    result = ge_binomial(
        torch.from_numpy(labelled).float(),
        torch.from_numpy(unlabelled).float(),
        binomial_log_probabilities(256, probability),
        slack,
    )
    assert float(result) == pytest.approx(independent_ge_binomial(labelled, unlabelled, probability, slack), rel=1e-4)


def test_the_objective_is_smallest_where_the_count_agrees_with_the_prior():
    counts = binomial_log_probabilities(256, 0.1)
    losses = {
        share: float(ge_binomial(torch.full((5,), 9.0), torch.full((256,), math.log(share / (1 - share))), counts))
        for share in (0.01, 0.05, 0.1, 0.2, 0.5)
    }
    assert min(losses, key=losses.get) == 0.1


@pytest.mark.parametrize("positive", [-50.0, 0.0, 50.0])
@pytest.mark.parametrize("unlabelled", [[-50.0] * 256, [50.0] * 256, [-50.0, 50.0] * 128, [0.0] * 256])
def test_value_and_gradient_stay_finite_for_extreme_logits(positive, unlabelled):
    labelled = torch.full((10,), positive, requires_grad=True)
    others = torch.tensor(unlabelled, requires_grad=True)
    loss = ge_binomial(labelled, others, binomial_log_probabilities(256, 0.05))
    loss.backward()
    assert math.isfinite(loss.item())
    assert bool(torch.isfinite(labelled.grad).all()) and bool(torch.isfinite(others.grad).all())


def test_gradients_are_those_of_finite_differences():
    dice = torch.Generator().manual_seed(0)
    labelled = torch.randn(6, generator=dice, dtype=torch.float64, requires_grad=True)
    unlabelled = torch.randn(24, generator=dice, dtype=torch.float64, requires_grad=True)
    counts = binomial_log_probabilities(24, 0.2).double()
    assert torch.autograd.gradcheck(lambda a, b: ge_binomial(a, b, counts, 1.5), (labelled, unlabelled))
