"""Normalisation: one scale of values for all micrographs.

Two-component Gaussian mixture with a shared variance and a Beta prior on the weight of the bright component
(Bepler et al., Nature Methods 16, 1153 (2019), Methods "Micrograph normalization"): dark carbon or ice may fill part
of a micrograph without shifting the scale of the rest. And subtraction of the local background.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["TwoGaussians", "fit_two_gaussians", "flatten_background", "normalize"]


@dataclass(frozen=True)
class TwoGaussians:
    """A mixture ``weight N(bright, deviation²) + (1 - weight) N(dark, deviation²)``.

    Attributes
    ----------
    bright, dark
        Means. Where one Gaussian says it all, ``weight`` is 1 and ``dark`` means nothing.
    deviation
        Standard deviation of both: the scale of this micrograph.
    weight
        Share of the bright component.
    """

    bright: float
    dark: float
    deviation: float
    weight: float


def normalize(image: torch.Tensor, method: str = "gmm", valid: torch.Tensor | None = None) -> torch.Tensor:
    """Shift and scale an image ``(y, x)`` so that background has mean 0 and standard deviation 1.

    Parameters
    ----------
    image
        Finite values that are not all equal.
    method
        ``"gmm"``: mean and deviation of the bright component of a two-Gaussian mixture; ``"affine"``: of all pixels.
    valid
        ``(y, x)`` bool: pixels that the statistics are taken from; by default all.
    """
    if method not in ("gmm", "affine"):
        raise ValueError(f"normalisation is 'gmm' or 'affine', not {method!r}")
    values = image.flatten() if valid is None else image[valid]
    if method == "affine":
        return (image - values.mean()) / values.std()
    # Every k-th pixel, not random ones: the same micrograph always gives the same result.
    sample = values[:: max(1, len(values) // 40_000)].double().cpu().numpy()
    mixture = fit_two_gaussians(sample)
    return (image - mixture.bright) / mixture.deviation


def fit_two_gaussians(values: np.ndarray, alpha: float = 900.0, beta: float = 1.0) -> TwoGaussians:
    """The two-Gaussian mixture with the highest posterior.

    Expectation maximisation of ``p N(mu_bright, s²) + (1 - p) N(mu_dark, s²)`` with ``p ~ Beta(alpha, beta)``, from
    several starting weights and from a single Gaussian. Each micrograph is fitted by itself and has its own means and
    its own scale ``s``, so that neither the others nor their order change what it becomes. The values are counted into
    narrow bins first, so the cost does not depend on how many there are.

    Parameters
    ----------
    values
        ``(n,)`` float64.
    alpha, beta
        Prior on the weight of the bright component.
    """
    counts, edges = np.histogram(values, bins=1024)
    x = (edges[:-1] + edges[1:])[counts > 0] / 2
    c = counts[counts > 0].astype(np.float64)
    starts = (0.5, 0.7, 0.9, 0.98, 1.0)
    # Ties go to the first.
    return max((_maximised(x, c, weight, alpha, beta) for weight in starts), key=lambda fit: fit[0])[1]


def _maximised(x: np.ndarray, c: np.ndarray, weight: float, alpha: float, beta: float) -> tuple[float, TwoGaussians]:
    """Log posterior and mixture, by expectation maximisation from one starting weight; ``c`` values lie at each ``x``.

    The split at the quantile of the weight gives the first means, the deviation of all values the first deviation.
    With one variance for both, the log odds of the components are a straight line over ``x``, and three sums say all.
    """
    n, mean = float(c.sum()), float(c @ x) / float(c.sum())
    x = x - mean  # small numbers, or the variance would be a difference of large ones
    every, squares = float(c @ x), float(c @ (x * x))
    is_bright = np.cumsum(c) > (1 - weight) * n
    s, first = float(c @ is_bright), float(c @ (x * is_bright))
    bright, dark, variance = first / s, (every - first) / max(n - s, 1.0), squares / n
    posterior = -math.inf
    for _ in range(100):
        log_weight, log_other = math.log(max(weight, 1e-12)), math.log(max(1 - weight, 1e-12))
        # How much likelier each value is to be dark, and what that adds to the likelihood of being bright.
        slope = (dark - bright) / variance
        odds = slope * x + (log_other - log_weight + (bright * bright - dark * dark) / (2 * variance))
        rest = np.maximum(odds, 0.0) + np.log1p(np.exp(-np.abs(odds)))
        total = n * log_weight - (squares - 2 * bright * every + n * bright * bright) / (2 * variance) + float(c @ rest)
        prior = (alpha - 1) * log_weight + (beta - 1) * log_other
        previous, posterior = posterior, total - 0.5 * n * math.log(2 * math.pi * variance) + prior
        if posterior - previous < 1e-3:
            break
        are_bright = c * np.exp(-rest)
        s, first = float(are_bright.sum()), float(are_bright @ x)
        weight = min(max((alpha + s - 1) / (alpha + beta + n - 2), 0.0), 1.0)
        bright, dark = first / max(s, 1e-12), (every - first) / max(n - s, 1e-12)
        variance = max((squares - bright * first - dark * (every - first)) / n, 1e-30)
    # Bright is the component that the prior favours, not the one of the larger mean: a component that nobody belongs
    # to may lie anywhere.
    return posterior, TwoGaussians(bright + mean, dark + mean, math.sqrt(variance), weight)


def flatten_background(image: torch.Tensor, width: float, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Subtract the local mean, by a Gaussian of standard deviation ``width`` pixels.

    A normalised convolution (Knutsson and Westin, CVPR 1993): neither what lies outside of the image nor what is not
    ``valid`` has a part in the mean. Far from any valid pixel nothing is subtracted.
    """
    if valid is None:
        # What a Gaussian finds of an image that is 1 everywhere is a product of what it finds on each axis.
        down, across = (_blurred_rows(image.new_ones((length, 1)), width) for length in image.shape)
        known, weight = image, down * across.T
    else:
        known, weight = image * valid, gaussian_blur(valid.to(image.dtype), width)
    return image - gaussian_blur(known, width) / weight.clamp_(min=1e-6)


def gaussian_blur(image: torch.Tensor, width: float) -> torch.Tensor:
    """Blur ``(y, x)`` with a Gaussian of standard deviation ``width`` pixels; zeros lie outside."""
    return _blurred_rows(_blurred_rows(image, width).T, width).T.contiguous()


def _blurred_rows(image: torch.Tensor, width: float, block: int = 64) -> torch.Tensor:
    """Blur along the first axis, as products of a banded matrix: many times faster than a one-channel convolution."""
    radius, length = max(1, math.ceil(3 * width)), len(image)
    block = min(block, length)
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / width) ** 2)
    # Row i of the band holds the kernel from column i on; every block of rows uses the part that lies on the image.
    band = F.pad(kernel / kernel.sum(), (0, block)).repeat(block)[: block * (block + 2 * radius)]
    band = band.reshape(block, block + 2 * radius)
    parts = []
    for start in range(0, length, block):
        rows = min(block, length - start)
        first, last = max(0, start - radius), min(length, start + rows + radius)
        parts.append(band[:rows, first - start + radius : last - start + radius] @ image[first:last])
    return torch.cat(parts)
