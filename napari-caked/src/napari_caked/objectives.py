"""Objectives for learning from positive and unlabelled pixels.

Bepler et al., Nature Methods 16, 1153 (2019), Methods "Training the CNN particle classifier with PU learning".
Every function takes logits and gives one number to make small; none knows of images or networks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["binomial_log_probabilities", "count_distribution", "ge_binomial"]


def binomial_log_probabilities(n: int, probability: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """``log Binomial(k; n, probability)`` for k = 0 ... n, shape ``(n + 1,)`` float32."""
    k = torch.arange(n + 1, dtype=torch.float64)
    total = torch.tensor(float(n), dtype=torch.float64)
    p = torch.tensor(probability, dtype=torch.float64)
    choose = torch.lgamma(total + 1) - torch.lgamma(k + 1) - torch.lgamma(total - k + 1)
    return (choose + torch.xlogy(k, p) + torch.xlogy(total - k, 1 - p)).float().to(device)


def count_distribution(logits: torch.Tensor) -> torch.Tensor:
    """Distribution of the number of positives among independent pixels, by its Gaussian approximation.

    ``q(k)`` is proportional to ``exp(-(k - mu)² / (2 s²))`` with ``mu = sum p`` and ``s² = sum p (1 - p)``; shape
    ``(n + 1,)`` for ``n`` logits.
    """
    p = torch.sigmoid(logits)
    mean, variance = p.sum(), (p * (1 - p)).sum()
    k = torch.arange(len(logits) + 1, device=logits.device, dtype=logits.dtype)
    return torch.softmax(-((k - mean) ** 2) / (2 * variance + 1e-8), dim=0)


def ge_binomial(
    labelled: torch.Tensor, unlabelled: torch.Tensor, expected_counts: torch.Tensor, slack: float = 1.0
) -> torch.Tensor:
    """GE-binomial: labelled pixels are positive, and as many unlabelled ones as the class prior says.

    ``mean over P of log(1 + exp(-s)) - slack * sum over k of q(k) log Binomial(k; n, prior)``

    Parameters
    ----------
    labelled
        ``(m,)`` logits of labelled pixels.
    unlabelled
        ``(n,)`` logits of unlabelled pixels. Labelled pixels must not be among them, and the prior must be that of
        the unlabelled pixels alone.
    expected_counts
        ``(n + 1,)`` from :func:`binomial_log_probabilities`.
    slack
        Weight of the second term (1 in the paper).
    """
    expectation = -(count_distribution(unlabelled) @ expected_counts)
    return F.softplus(-labelled).mean() + slack * expectation
