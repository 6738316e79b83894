"""The objectives against exact arithmetic: binomials, Poisson-binomials, and gradients that stay finite."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import binom

from napari_caked.errors import SettingsError
from napari_caked.objectives import (
    OBJECTIVES,
    binomial_log_probabilities,
    count_distribution,
    find_objective,
    ge_binomial,
    ge_kl,
    nnpu,
    pn,
)

ALL = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))


def exact_count_distribution(p: np.ndarray) -> np.ndarray:
    """Poisson-binomial distribution by multiplying out (1 - p + p z), one pixel after the other."""
    distribution = np.array([1.0])
    for one in p:
        distribution = np.convolve(distribution, [1 - one, one])
    return distribution


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def mean_loss(logits, target):
    """Mean of the logistic loss in float64, by logaddexp."""
    return np.logaddexp(0, -np.asarray(logits, np.float64) if target else np.asarray(logits, np.float64)).mean()


def batch(seed, labelled=30, unlabelled=256, negatives=12):
    dice = np.random.default_rng(seed)
    return dice.normal(1, 2, labelled), dice.normal(-2, 2, unlabelled), dice.normal(-1, 2, negatives)


def tensors(*arrays):
    return tuple(torch.from_numpy(np.asarray(one)) for one in arrays)


# --- what each must be, written out again in float64 ---


def reference_pn(p, u, n, prior, slack):
    return prior * mean_loss(p, 1) + (1 - prior) * mean_loss(u, 0) + prior * mean_loss(n, 0)


def reference_nnpu(p, u, n, prior, slack):
    background = mean_loss(u, 0) - prior * mean_loss(p, 0)
    risk = prior * mean_loss(p, 1) + background
    return (-background if background < 0 else risk) + prior * mean_loss(n, 0)


def reference_ge_kl(p, u, n, prior, slack):
    mean = sigmoid(u).mean()
    divergence = prior * np.log(prior / mean) + (1 - prior) * np.log((1 - prior) / (1 - mean))
    return mean_loss(p, 1) + slack * divergence + mean_loss(n, 0)


def reference_ge_binomial(p, u, n, prior, slack):
    share, k = sigmoid(u), np.arange(len(u) + 1)
    q = np.exp(-((k - share.sum()) ** 2) / (2 * (share * (1 - share)).sum()))
    return mean_loss(p, 1) - slack * (q / q.sum()) @ binom.logpmf(k, len(u), prior) + mean_loss(n, 0)


REFERENCES = {
    "pn": reference_pn,
    "nnpu": reference_nnpu,
    "ge-kl": reference_ge_kl,
    "ge-binomial": reference_ge_binomial,
}


@ALL
@pytest.mark.parametrize("slack", [0.5, 3.0])
@pytest.mark.parametrize("prior", [0.002, 0.05, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_each_objective_is_that_of_its_paper(objective, slack, prior, seed):
    p, u, n = batch(seed)
    expected = REFERENCES[objective.name](p, u, n, prior, slack)
    labelled, unlabelled, negatives = tensors(p, u, n)
    assert float(objective(labelled, unlabelled, prior, negatives, slack)) == pytest.approx(expected, rel=1e-6)
    single = objective(labelled.float(), unlabelled.float(), prior, negatives.float(), slack)
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name, slack", [("ge-kl", 10.0), ("ge-binomial", 1.0)])
def test_the_default_slack_is_that_of_the_paper_in_registry_and_function(name, slack):
    labelled, unlabelled, _ = tensors(*batch(0))
    objective = find_objective(name)
    assert objective.slack == slack
    expected = float(objective(labelled, unlabelled, 0.05, slack=slack))
    assert float(objective(labelled, unlabelled, 0.05)) == expected
    assert float(objective.function(labelled, unlabelled, 0.05)) == expected


def test_an_unknown_objective_is_an_error_that_lists_the_known_ones():
    with pytest.raises(SettingsError, match=r"'puu'.*ge-binomial, ge-kl, nnpu, pn"):
        find_objective("puu")


# --- negatives ---


@ALL
def test_no_negatives_and_an_empty_batch_of_them_are_the_same(objective):
    labelled, unlabelled, _ = tensors(*batch(1))
    assert float(objective(labelled, unlabelled, 0.1)) == float(objective(labelled, unlabelled, 0.1, torch.empty(0)))


@ALL
def test_a_negative_weighs_as_much_as_a_positive(objective):
    """Given one logit each, then the pull down of a negative is the pull up of a positive of the mirrored logit."""
    s = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    against = torch.tensor([-0.7], dtype=torch.float64, requires_grad=True)
    unlabelled = torch.linspace(-2, 2, 50, dtype=torch.float64)
    objective(s, unlabelled, 0.02, against).backward()
    correction = 0.02 * torch.sigmoid(s.detach()) if objective.name == "nnpu" else 0.0  # of the same labels in R
    np.testing.assert_allclose(-(s.grad + correction), against.grad, rtol=1e-12)


# --- the correction of NNPU ---


def test_nnpu_steps_back_where_the_risk_of_the_background_is_negative():
    p, u = np.full(10, 4.0), np.full(50, -6.0)
    prior = 0.3
    background = mean_loss(u, 0) - prior * mean_loss(p, 0)
    assert background < 0
    labelled, unlabelled = (one.requires_grad_() for one in tensors(p, u))
    loss = nnpu(labelled, unlabelled, prior)
    loss.backward()
    assert loss.item() == pytest.approx(-background)
    np.testing.assert_allclose(unlabelled.grad, -sigmoid(u) / len(u), rtol=1e-12)  # unlabelled go up again
    np.testing.assert_allclose(labelled.grad, prior * sigmoid(p) / len(p), rtol=1e-12)  # and labelled down


def test_nnpu_is_the_unbiased_risk_where_that_of_the_background_is_positive():
    p, u = np.full(10, 1.0), np.full(50, 0.5)
    labelled, unlabelled = tensors(p, u)
    unbiased = 0.3 * mean_loss(p, 1) + mean_loss(u, 0) - 0.3 * mean_loss(p, 0)
    assert float(nnpu(labelled, unlabelled, 0.3)) == pytest.approx(unbiased)


# --- limits of the prior ---


def test_without_particles_pn_and_nnpu_are_the_loss_of_the_unlabelled():
    p, u, n = batch(2)
    for objective in (pn, nnpu):
        assert float(objective(*tensors(p, u), 0.0)) == pytest.approx(mean_loss(u, 0))


def test_with_particles_only_pn_is_the_loss_of_the_labelled():
    p, u, _ = batch(2)
    assert float(pn(*tensors(p, u), 1.0)) == pytest.approx(mean_loss(p, 1))


@pytest.mark.parametrize("prior, sign", [(0.0, 1), (1.0, -1)])
def test_ge_kl_at_the_limits_is_the_log_of_the_mean_probability(prior, sign):
    p, u, _ = batch(3)
    expected = mean_loss(p, 1) - 10 * (logsumexp(-np.logaddexp(0, sign * u)) - math.log(len(u)))
    assert float(ge_kl(*tensors(p, u), prior)) == pytest.approx(expected)


@pytest.mark.parametrize("prior, logit", [(0.0, -40.0), (1.0, 40.0)])
def test_ge_binomial_at_the_limits_accepts_only_none_and_all(prior, logit):
    positives = torch.full((4,), 40.0)
    assert float(ge_binomial(positives, torch.full((64,), logit), prior)) == pytest.approx(0, abs=1e-4)
    assert math.isfinite(float(ge_binomial(positives, torch.full((64,), -logit), prior)))
    assert float(ge_binomial(positives, torch.full((64,), -logit), prior)) > 1000


@pytest.mark.parametrize("objective", [ge_kl, ge_binomial])
def test_the_expectation_is_smallest_where_the_count_agrees_with_the_prior(objective):
    losses = {
        share: float(objective(torch.full((5,), 9.0), torch.full((256,), math.log(share / (1 - share))), 0.1))
        for share in (0.01, 0.05, 0.1, 0.2, 0.5)
    }
    assert min(losses, key=losses.get) == 0.1


# --- stability ---


@ALL
@pytest.mark.parametrize("positive", [-50.0, 0.0, 50.0])
@pytest.mark.parametrize("unlabelled", [[-50.0] * 256, [50.0] * 256, [-50.0, 50.0] * 128, [0.0] * 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_value_and_gradient_stay_finite_for_extreme_logits(objective, positive, unlabelled, dtype):
    parts = [torch.full((10,), positive, dtype=dtype), torch.tensor(unlabelled, dtype=dtype)]
    parts.append(torch.full((3,), -positive, dtype=dtype))
    labelled, others, negatives = (part.requires_grad_() for part in parts)
    loss = objective(labelled, others, 0.05, negatives)
    assert loss.dtype == torch.float32
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(bool(torch.isfinite(part.grad).all()) for part in (labelled, others, negatives))


@ALL
@pytest.mark.parametrize("sizes", [(0, 64, 0), (0, 64, 3), (5, 0, 0), (0, 0, 0)], ids=str)
def test_a_class_without_pixels_contributes_nothing(objective, sizes):
    parts = [torch.linspace(-1, 1, size).requires_grad_() for size in sizes]
    loss = objective(parts[0], parts[1], 0.05, parts[2])
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(part.grad is None or bool(torch.isfinite(part.grad).all()) for part in parts)
    if sizes == (0, 0, 0):
        assert loss.item() == pytest.approx(0, abs=1e-6)


@ALL
def test_gradients_are_those_of_finite_differences(objective):
    dice = torch.Generator().manual_seed(0)
    parts = [torch.randn(size, generator=dice, dtype=torch.float64, requires_grad=True) for size in (6, 24, 3)]
    assert torch.autograd.gradcheck(lambda p, u, n: objective(p, u, 0.2, n, 1.5), parts)


@ALL
def test_the_value_stays_on_the_device_of_the_logits(objective):
    """The meta device has no values, so that anything which asked for one would fail."""
    labelled, unlabelled = torch.empty(5, device="meta"), torch.empty(40, device="meta")
    loss = objective(labelled, unlabelled, 0.1, torch.empty(2, device="meta"))
    assert loss.device.type == "meta" and loss.shape == ()


# --- the binomial and the count ---


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


def test_binomial_probabilities_are_computed_once_and_can_be_learned_with():
    """Also where the first to ask was in inference mode, whose tensors autograd refuses."""
    with torch.inference_mode():
        first = binomial_log_probabilities(37, 0.123)
    assert binomial_log_probabilities(37, 0.123) is first
    unlabelled = torch.zeros(37, requires_grad=True)
    ge_binomial(torch.zeros(2), unlabelled, 0.123).backward()
    assert bool(torch.isfinite(unlabelled.grad).all())


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


@pytest.mark.parametrize("pixels, bound", [(8, 0.2), (32, 0.07), (64, 0.03), (240, 0.02)])
@pytest.mark.parametrize("prior", [0.02, 0.05, 0.2])
def test_the_gaussian_count_changes_ge_binomial_by_less_than(pixels, bound, prior):
    """Against the expectation over the exact Poisson-binomial distribution, in nats.

    The expectation itself is 0.6 to 4 nats; so for the 240 pixels of a batch the approximation is off by less than 1 %.
    """
    for seed in range(20):
        u = np.random.default_rng(seed).normal(math.log(prior / (1 - prior)), 1, pixels)
        approximate = float(ge_binomial(torch.empty(0), torch.from_numpy(u), prior))
        exact = -exact_count_distribution(sigmoid(u)) @ binom.logpmf(np.arange(pixels + 1), pixels, prior)
        assert approximate == pytest.approx(exact, abs=bound)
        assert pixels < 240 or approximate == pytest.approx(exact, rel=0.01)


def test_the_count_of_certain_pixels_is_certain():
    q = count_distribution(torch.tensor([50.0] * 3 + [-50.0] * 10))
    assert int(q.argmax()) == 3
    assert float(q[3]) == pytest.approx(1)
