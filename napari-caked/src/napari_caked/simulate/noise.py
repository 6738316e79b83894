"""Noise: the structure of the ice itself, before the optics; and the electrons counted one by one, after them.

The structure of ice of thickness t is Gaussian, of power spectrum ``rho t S(k) F(k)^2 M(k)`` in V² Å⁴: ``rho``
molecules per Å³ with the projected potential ``F`` each and the structure factor ``S``; ``M`` is what their motion in
the beam leaves of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["ICE_POTENTIAL", "coloured_noise", "count_electrons", "directional", "modulation_transfer", "solvent_power"]

#: Mean potential of vitreous ice, V.
ICE_POTENTIAL = 3.6
#: Water molecules per Å³ of vitreous ice (0.93 g/cm³).
_MOLECULES = 0.0311
#: Mean square displacement of a water molecule along one axis per dose, Å² per e/Å²: 1 Å r.m.s. in three dimensions
#: after 1 e/Å² (McMullan, Vinothkumar & Henderson, Ultramicroscopy 158, 26 (2015)).
_MOTION = 1 / 3
#: Å² of the Gaussian by which the scattering of a molecule falls off.
_MOLECULE_B = 20.0


def solvent_power(frequency: torch.Tensor, thickness: float, dose: float) -> torch.Tensor:
    """Power spectrum of the projected potential of ice, V² Å⁴.

    Parameters
    ----------
    frequency
        1/Å.
    thickness
        Å.
    dose
        e/Å² during which the molecules move.
    """
    import torch

    molecule = ICE_POTENTIAL / _MOLECULES * torch.exp(-_MOLECULE_B / 4 * frequency**2)
    # A coarse structure factor: the limit of compressibility, the ring at 3.7 Å of vitreous ice, and 1 beyond.
    order = 0.06 + 0.94 * torch.sigmoid((frequency - 0.235) / 0.015)
    order = order + torch.exp(-(((frequency - 0.27) / 0.025) ** 2))
    return _MOLECULES * thickness * order * molecule**2 * _left_by_motion(frequency, dose)


def _left_by_motion(frequency: torch.Tensor, dose: float) -> torch.Tensor:
    """Power left of a picture of diffusing molecules, averaged over the exposure.

    Their correlation falls as ``exp(-x s)``, with ``x = 2 pi^2 k^2 <u^2>`` at the end and s the passed share of the
    dose between two moments; the mean over all pairs of moments is ``2 (x - 1 + exp(-x)) / x^2``.
    """
    import torch

    x = (2 * np.pi**2 * _MOTION * dose * frequency**2).double()
    series = 1 - x / 3 + x**2 / 12
    left = torch.where(x < 1e-2, series, 2 * (x - 1 + torch.exp(-x)) / x.clamp(min=1e-2) ** 2)
    return left.to(frequency.dtype)


def coloured_noise(rng: np.random.Generator, shape: tuple[int, int], amplitude: torch.Tensor) -> torch.Tensor:
    """Fourier transform ``(y, x // 2 + 1)`` of Gaussian noise, white noise of deviation 1 times ``amplitude``."""
    import torch

    return torch.fft.rfft2(torch.from_numpy(rng.standard_normal(shape, np.float32))) * amplitude


def directional(grid: Sequence[Sequence[float]], shape: tuple[int, int]) -> torch.Tensor:
    """Factor of the power ``(y, x // 2 + 1)`` from a coarse grid of it.

    Parameters
    ----------
    grid
        Rows from minus to plus the Nyquist frequency, columns from 0 to it.
    shape
        ``(y, x)`` of the image.
    """
    import torch
    from scipy.ndimage import map_coordinates

    values = np.asarray(grid, np.float32)
    rows = (2 * np.fft.fftfreq(shape[0]) + 1) / 2 * (values.shape[0] - 1)
    columns = 2 * np.fft.rfftfreq(shape[1]) * (values.shape[1] - 1)
    places = np.meshgrid(rows.astype(np.float32), columns.astype(np.float32), indexing="ij")
    return torch.from_numpy(map_coordinates(values, places, order=1, mode="nearest"))


def modulation_transfer(frequency: torch.Tensor, pixel_size: float, at_nyquist: float) -> torch.Tensor:
    """Modulation transfer of the detector: a Gaussian that falls to ``at_nyquist`` at the Nyquist frequency."""
    import torch

    return torch.exp(float(np.log(at_nyquist)) * (2 * pixel_size * frequency) ** 2)


def count_electrons(rng: np.random.Generator, expected: np.ndarray) -> np.ndarray:
    """Electrons counted in each pixel, float32, where so many are expected."""
    return rng.poisson(np.maximum(expected, 0)).astype(np.float32)
