"""How large a labelled particle is, in pixels."""

from __future__ import annotations

import numpy as np

__all__ = ["disc_area"]


def disc_area(radius: float) -> int:
    """Pixels within ``radius`` of a pixel, counted."""
    reach = np.arange(-int(radius), int(radius) + 1)
    return int((reach[:, None] ** 2 + reach**2 <= radius**2).sum())
