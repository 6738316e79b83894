"""From logits to probabilities, and what a threshold on them will give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """Log-odds of a candidate: ``slope * logit + offset``; increasing, so that the order of candidates stays.

    Attributes
    ----------
    slope
        Above 0.
    offset
        In log-odds.
    """

    slope: float = 1.0
    offset: float = 0.0

    def log_odds(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated log-odds ``(n,)`` of candidates' logits ``(n,)``."""
        return self.slope * np.asarray(logits, np.float64) + self.offset
