"""Rescaling by Fourier cropping, with coordinate maps that are exact both ways.

Cutting the Fourier transform of an image to its low frequencies resamples it without aliasing and without blur. The
first pixel keeps its place, so pixel ``i`` of the result lies at ``i * factor`` of the original: no half-pixel shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Rescaling", "rescale"]


@dataclass(frozen=True)
class Rescaling:
    """How two pixel grids lie on each other: ``original = factor * rescaled`` on each axis.

    Attributes
    ----------
    original_shape, shape
        ``(y, x)`` before and after, in pixels.
    factor
        Original pixels per rescaled pixel on ``(y, x)``; the two differ by the rounding to whole pixels.
    padded_shape, cropped_shape
        Sizes of the two Fourier transforms.
    """

    original_shape: tuple[int, int]
    shape: tuple[int, int]
    factor: tuple[float, float]
    padded_shape: tuple[int, int]
    cropped_shape: tuple[int, int]

    @classmethod
    def plan(cls, shape: tuple[int, int], factor: float) -> Rescaling:
        """Sizes for shrinking ``shape`` by about ``factor`` (> 1 shrinks).

        The image is padded to a size that Fourier transforms like; the padding also keeps opposite edges from ringing
        into each other.
        """
        from scipy.fft import next_fast_len

        axes = []
        for length in shape:
            padded = next_fast_len(length + max(8, length // 32), real=True)
            cropped = max(1, round(padded / factor))
            exact = padded / cropped
            axes.append((int(np.floor((length - 1) / exact)) + 1, exact, padded, cropped))
        (h, fy, ph, ch), (w, fx, pw, cw) = axes
        return cls((shape[0], shape[1]), (h, w), (fy, fx), (ph, pw), (ch, cw))

    def to_rescaled(self, yx: np.ndarray) -> np.ndarray:
        """Coordinates ``(n, 2)`` in original pixels as coordinates in rescaled pixels."""
        return np.asarray(yx, np.float64) / self.factor

    def to_original(self, yx: np.ndarray) -> np.ndarray:
        """Coordinates ``(n, 2)`` in rescaled pixels as coordinates in original pixels."""
        return np.asarray(yx, np.float64) * self.factor


def rescale(image: torch.Tensor, plan: Rescaling) -> torch.Tensor:
    """Rescale ``image`` ``(y, x)`` float32 as planned, on its own device."""
    (h, w), (ph, pw), (ch, cw) = plan.original_shape, plan.padded_shape, plan.cropped_shape
    padded = _padded(image, ph - h, pw - w)
    spectrum = torch.fft.rfft2(padded)
    small = spectrum.new_zeros((ch, cw // 2 + 1))
    ny, nx = min(ch, ph), min(cw // 2, pw // 2) + 1
    top, bottom = (ny + 1) // 2, ny // 2
    small[:top, :nx] = spectrum[:top, :nx]
    if bottom:
        small[-bottom:, :nx] = spectrum[-bottom:, :nx]
    # An even size has one coefficient at the Nyquist frequency, which stands for two of the larger transform; it
    # cannot be kept without a preferred direction, so it goes.
    if ch < ph and ch % 2 == 0:
        small[ch // 2] = 0
    if cw < pw and cw % 2 == 0:
        small[:, cw // 2] = 0
    result = torch.fft.irfft2(small, s=(ch, cw)) * (ch * cw / (ph * pw))
    return result[: plan.shape[0], : plan.shape[1]].contiguous()


def _padded(image: torch.Tensor, below: int, right: int) -> torch.Tensor:
    """Pad so that the periodic continuation is smooth: half mirrors this edge, half the opposite one."""
    rows = torch.cat([image, _bridge(image[-1:], image[:1], below)], dim=0)
    return torch.cat([rows, _bridge(rows[:, -1:].T, rows[:, :1].T, right).T], dim=1)


def _bridge(last: torch.Tensor, first: torch.Tensor, steps: int) -> torch.Tensor:
    """``steps`` rows that lead from the row ``last`` to the row ``first``."""
    weight = torch.arange(1, steps + 1, device=last.device, dtype=last.dtype)[:, None] / (steps + 1)
    return last * (1 - weight) + first * weight
