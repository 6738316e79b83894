"""How bright a micrograph should be shown."""

from __future__ import annotations

import numpy as np

__all__ = ["contrast_limits"]


def contrast_limits(image: np.ndarray, deviations: float = 3.0) -> tuple[float, float]:
    """Median plus and minus three robust standard deviations of every fourth pixel, the usual look of a micrograph."""
    sample = np.asarray(image[::4, ::4], np.float64)
    sample = sample[np.isfinite(sample)]
    middle = float(np.median(sample)) if sample.size else 0.0
    spread = 1.4826 * float(np.median(np.abs(sample - middle))) if sample.size else 0.0
    if spread == 0 and sample.size:
        spread = float(sample.std())
    spread = spread or 1.0
    return middle - deviations * spread, middle + deviations * spread
