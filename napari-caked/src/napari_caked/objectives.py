"""Objectives for learning from positive and unlabelled pixels.

Bepler et al., Nature Methods 16, 1153 (2019), Methods "Training the CNN particle classifier with PU learning"; the
one of Kiryo et al., NeurIPS 30 (2017). Every function takes logits ``s`` of pixels and gives one number to make small;
none knows of images or networks. With ``P`` the labelled, ``U`` the unlabelled and ``N`` the labelled negative pixels
of a batch, ``pi`` the share of particles among the unlabelled pixels, and the two losses of a logistic classifier

    ``l(s, 1) = log(1 + exp(-s))``,   ``l(s, 0) = log(1 + exp(s))``

all have the same parameters:

labelled, unlabelled
    ``(m,)`` and ``(n,)`` logits. A class without any pixel in a batch contributes nothing.
prior
    ``pi``. Labelled pixels must not be among the unlabelled ones, and the prior must be that of the others alone.
negatives
    ``(k,)`` logits of pixels that somebody said are no particle. They add ``w mean over N of l(s, 0)``, with the weight
    ``w`` that the labelled positives have in the same objective: a click against counts as much as a click for.
slack
    Weight of the expectation in the two GE objectives; None takes the one of the paper.

Everything is computed in float32 or better, whatever the type of the logits, and nothing waits for the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F

from napari_caked.errors import SettingsError

__all__ = [
    "OBJECTIVES",
    "Objective",
    "binomial_log_probabilities",
    "count_distribution",
    "find_objective",
    "ge_binomial",
    "ge_kl",
    "nnpu",
    "pn",
]

#: Weights of the expectation in Bepler et al. (2019).
GE_KL_SLACK, GE_BINOMIAL_SLACK = 10.0, 1.0


class ObjectiveFunction(Protocol):
    """The common signature."""

    def __call__(
        self,
        labelled: torch.Tensor,
        unlabelled: torch.Tensor,
        prior: float,
        negatives: torch.Tensor | None = None,
        slack: float | None = None,
    ) -> torch.Tensor:
        """The value to make small, a scalar tensor on the device of the logits."""


@dataclass(frozen=True)
class Objective:
    """An entry of :data:`OBJECTIVES`, called like the functions below.

    Attributes
    ----------
    name
        As users write it.
    function
        What is computed.
    slack
        Weight of the expectation where nobody gives one; None for objectives without an expectation.
    summary
        For lists of choices.
    """

    name: str
    function: ObjectiveFunction
    slack: float | None
    summary: str

    def __call__(
        self,
        labelled: torch.Tensor,
        unlabelled: torch.Tensor,
        prior: float,
        negatives: torch.Tensor | None = None,
        slack: float | None = None,
    ) -> torch.Tensor:
        """The value to make small, a scalar tensor on the device of the logits."""
        return self.function(labelled, unlabelled, prior, negatives, self.slack if slack is None else slack)


def pn(
    labelled: torch.Tensor,
    unlabelled: torch.Tensor,
    prior: float,
    negatives: torch.Tensor | None = None,
    slack: float | None = None,
) -> torch.Tensor:
    """PN: all unlabelled pixels are taken for negatives. ``slack`` has no meaning here.

    ``pi mean over P of l(s, 1) + (1 - pi) mean over U of l(s, 0) + pi mean over N of l(s, 0)``
    """
    positive = prior * (_mean_positive(labelled) + _mean_negative(negatives, labelled))
    return positive + (1 - prior) * _mean_negative(unlabelled, labelled)


def nnpu(
    labelled: torch.Tensor,
    unlabelled: torch.Tensor,
    prior: float,
    negatives: torch.Tensor | None = None,
    slack: float | None = None,
) -> torch.Tensor:
    """NNPU: the risk of a classifier of positives and negatives, estimated without negatives, that stays above zero.

    Kiryo et al. (2017), algorithm 1 with beta = 0 and gamma = 1. The unlabelled pixels are a mixture of ``pi`` parts
    particles and ``1 - pi`` parts background, so the risk of the background is

    ``R = mean over U of l(s, 0) - pi mean over P of l(s, 0)``

    and the whole risk ``pi mean over P of l(s, 1) + R``. A negative ``R`` can only come from fitting the batch too
    closely; then the value is ``-R`` alone, whose gradient leads back. To either one ``pi mean over N of l(s, 0)`` is
    added, which is an ordinary mean over known pixels and needs no correction. ``slack`` has no meaning here.
    """
    background = _mean_negative(unlabelled, labelled) - prior * _mean_negative(labelled, labelled)
    risk = prior * _mean_positive(labelled) + background
    step = torch.where(background < 0, -background, risk)
    return step + prior * _mean_negative(negatives, labelled)


def ge_kl(
    labelled: torch.Tensor,
    unlabelled: torch.Tensor,
    prior: float,
    negatives: torch.Tensor | None = None,
    slack: float | None = None,
) -> torch.Tensor:
    """GE-KL: labelled pixels are positive, and the mean probability of the unlabelled ones is the prior.

    ``mean over P of l(s, 1) + slack KL(pi || mean over U of p) + mean over N of l(s, 0)``

    with ``p = 1 / (1 + exp(-s))`` and ``KL(a || b) = a log(a / b) + (1 - a) log((1 - a) / (1 - b))``. Slack 10.
    """
    likelihood = _mean_positive(labelled) + _mean_negative(negatives, labelled)
    s = _precise(unlabelled)
    if not len(s):
        return likelihood
    # Logarithms of the means of p and of 1 - p: both stay exact where p is far below what a float can tell from 1.
    log_mean = torch.logsumexp(F.logsigmoid(s), dim=0) - math.log(len(s))
    log_mean_of_rest = torch.logsumexp(F.logsigmoid(-s), dim=0) - math.log(len(s))
    entropy = -sum(share * math.log(share) for share in (prior, 1 - prior) if share > 0)
    divergence = -prior * log_mean - (1 - prior) * log_mean_of_rest - entropy
    return likelihood + (GE_KL_SLACK if slack is None else slack) * divergence


def ge_binomial(
    labelled: torch.Tensor,
    unlabelled: torch.Tensor,
    prior: float,
    negatives: torch.Tensor | None = None,
    slack: float | None = None,
) -> torch.Tensor:
    """GE-binomial: labelled pixels are positive, and as many unlabelled ones as a binomial distribution allows.

    ``mean over P of l(s, 1) - slack sum over k of q(k) log Binomial(k; n, pi) + mean over N of l(s, 0)``

    with ``q`` the distribution of the number of positives among the ``n`` unlabelled pixels, in the Gaussian
    approximation of :func:`count_distribution`. It is the cross entropy of the paper: the entropy of ``q`` is not taken
    off. Slack 1.
    """
    likelihood = _mean_positive(labelled) + _mean_negative(negatives, labelled)
    s = _precise(unlabelled)
    allowed = binomial_log_probabilities(len(s), prior, s.device).to(s.dtype)
    # A sum of products rather than a matrix product, which autocast would compute in half precision.
    expectation = -(count_distribution(s) * allowed).sum()
    return likelihood + (GE_BINOMIAL_SLACK if slack is None else slack) * expectation


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def binomial_log_probabilities(n: int, probability: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """``log Binomial(k; n, probability)`` for k = 0 ... n, shape ``(n + 1,)`` float32; computed once, then kept."""
    k = torch.arange(n + 1, dtype=torch.float64)
    total = torch.tensor(float(n), dtype=torch.float64)
    # At 0 and 1 all counts but one would be infinitely unlikely, and so would the objective be.
    p = torch.tensor(min(max(probability, 1e-12), 1 - 1e-12), dtype=torch.float64)
    choose = torch.lgamma(total + 1) - torch.lgamma(k + 1) - torch.lgamma(total - k + 1)
    return (choose + torch.xlogy(k, p) + torch.xlogy(total - k, 1 - p)).float().to(device)


def count_distribution(logits: torch.Tensor) -> torch.Tensor:
    """Distribution of the number of positives among independent pixels, by its Gaussian approximation.

    ``q(k)`` is proportional to ``exp(-(k - mu)² / (2 s²))`` with ``mu = sum p`` and ``s² = sum p (1 - p)``; shape
    ``(n + 1,)`` for ``n`` logits.
    """
    s = _precise(logits)
    p = torch.sigmoid(s)
    mean, variance = p.sum(), (p * torch.sigmoid(-s)).sum()
    k = torch.arange(len(s) + 1, device=s.device, dtype=s.dtype)
    return torch.softmax(-((k - mean) ** 2) / (2 * variance + 1e-8), dim=0)


OBJECTIVES: dict[str, Objective] = {
    one.name: one
    for one in (
        Objective("ge-binomial", ge_binomial, GE_BINOMIAL_SLACK, "the number of particles follows a binomial"),
        Objective("ge-kl", ge_kl, GE_KL_SLACK, "the mean probability is the expected share of particles"),
        Objective("nnpu", nnpu, None, "non-negative risk of positives and unlabelled"),
        Objective("pn", pn, None, "unlabelled taken for negative"),
    )
}


def find_objective(name: str) -> Objective:
    """The objective called ``name``.

    Raises
    ------
    SettingsError
        There is none of that name.
    """
    if name not in OBJECTIVES:
        raise SettingsError(f"there is no objective called '{name}'; use one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


def _precise(logits: torch.Tensor) -> torch.Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _mean_positive(logits: torch.Tensor) -> torch.Tensor:
    """``mean of l(s, 1)``; zero for no logits."""
    return F.softplus(-_precise(logits)).sum() / max(len(logits), 1)


def _mean_negative(logits: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """``mean of l(s, 0)``; zero, on the device of ``like``, for no logits."""
    if logits is None:
        return _precise(like).new_zeros(())
    return F.softplus(_precise(logits)).sum() / max(len(logits), 1)
