"""Rescaling by Fourier cropping, with coordinate maps that are exact both ways.

Cutting the Fourier transform of an image to its low frequencies resamples it without aliasing and without blur. The
first pixel keeps its place, so pixel ``i`` of the result lies at ``i * factor`` of the original: no half-pixel shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Rescaling", "rescale"]

# Few enough to stay in the processor's cache between copying, clamping, padding and transforming.
_ROWS_AT_ONCE = 64


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


def rescale(
    image: torch.Tensor | np.ndarray,
    plan: Rescaling,
    bounds: tuple[float, float] | None = None,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """Rescale ``image`` ``(y, x)`` as planned.

    Rows are transformed a few at a time and cut at once to the frequencies that stay, so that neither a copy of the
    image nor its whole Fourier transform is ever in memory.

    Parameters
    ----------
    image
        Any real type; float64 is kept, everything else becomes float32.
    plan
        Made for this shape.
    bounds
        Values are clamped to these first.
    device
        Where to compute; by default where the image is.

    Returns
    -------
    torch.Tensor
        ``plan.shape``.
    """
    (ph, pw), (ch, cw) = plan.padded_shape, plan.cropped_shape
    top, bottom, columns = (min(ch, ph) + 1) // 2, min(ch, ph) // 2, min(cw // 2, pw // 2) + 1
    device = torch.device(device or (image.device if isinstance(image, torch.Tensor) else "cpu"))
    spectrum = torch.fft.fft(_row_spectra(image, plan, columns, bounds, device), dim=0)
    small = spectrum.new_zeros((ch, cw // 2 + 1))
    small[:top, :columns] = spectrum[:top]
    if bottom:
        small[-bottom:, :columns] = spectrum[-bottom:]
    # An even size has one coefficient at the Nyquist frequency, which stands for two of the larger transform; it
    # cannot be kept without a preferred direction, so it goes.
    if ch < ph and ch % 2 == 0:
        small[ch // 2] = 0
    if cw < pw and cw % 2 == 0:
        small[:, cw // 2] = 0
    result = torch.fft.irfft2(small, s=(ch, cw)) * (ch * cw / (ph * pw))
    return result[: plan.shape[0], : plan.shape[1]].contiguous()


def _row_spectra(
    image: torch.Tensor | np.ndarray,
    plan: Rescaling,
    columns: int,
    bounds: tuple[float, float] | None,
    device: torch.device,
) -> torch.Tensor:
    """The first ``columns`` Fourier coefficients of each row of the padded image.

    The padding leads from each edge to the opposite one in a straight line, so that the periodic continuation has no
    step. Of a sum of two rows the transform is the sum of the transforms: padded rows need no transform of their own.
    """
    (h, w), (ph, pw) = plan.original_shape, plan.padded_shape
    spectra = None
    chunk = _ROWS_AT_ONCE if device.type == "cpu" else h
    for start in range(0, h, chunk):
        rows = _as_float(image[start : start + chunk], device)
        if bounds is not None:
            rows = rows.clamp(*bounds)
        weight = _bridge_weights(pw - w, rows)
        padded = torch.cat([rows, rows[:, -1:] * (1 - weight) + rows[:, :1] * weight], dim=1)
        part = torch.fft.rfft(padded)[:, :columns]
        if spectra is None:
            spectra = part.new_empty((ph, columns))
        spectra[start : start + len(part)] = part
    assert spectra is not None  # an image has at least one row
    weight = _bridge_weights(ph - h, spectra.real)[:, None]
    spectra[h:] = spectra[h - 1] * (1 - weight) + spectra[0] * weight
    return spectra


def _as_float(rows: torch.Tensor | np.ndarray, device: torch.device) -> torch.Tensor:
    if isinstance(rows, np.ndarray):
        # A copy, because an array may be read-only, of foreign byte order or flipped, which tensors cannot be.
        rows = torch.from_numpy(np.array(rows, np.float64 if rows.dtype == np.float64 else np.float32))
    rows = rows.to(device)
    return rows if rows.dtype == torch.float64 else rows.float()


def _bridge_weights(steps: int, like: torch.Tensor) -> torch.Tensor:
    return torch.arange(1, steps + 1, device=like.device, dtype=like.dtype) / (steps + 1)
