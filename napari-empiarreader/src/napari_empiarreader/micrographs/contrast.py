"""How bright a micrograph should be shown."""

from __future__ import annotations

import numpy as np

__all__ = ["contrast_limits", "percentile_limits"]


def contrast_limits(image: np.ndarray, deviations: float = 3.0, step: int = 4) -> tuple[float, float]:
    """Median plus and minus three robust standard deviations of every fourth pixel, the usual look of a micrograph."""
    sample = np.asarray(image[::step, ::step], np.float64)
    sample = sample[np.isfinite(sample)]
    middle = float(np.median(sample)) if sample.size else 0.0
    spread = 1.4826 * float(np.median(np.abs(sample - middle))) if sample.size else 0.0
    if spread == 0 and sample.size:
        spread = float(sample.std())
    spread = spread or 1.0
    return middle - deviations * spread, middle + deviations * spread


def percentile_limits(image: np.ndarray, low: float = 0.5, high: float = 99.5, step: int = 4) -> tuple[float, float]:
    """Values below which ``low`` and ``high`` percent of every fourth pixel lie."""
    sample = np.asarray(image[::step, ::step], np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    bottom, top = (float(value) for value in np.percentile(sample, (low, high)))
    return (bottom, top) if top > bottom else contrast_limits(image, step=step)
