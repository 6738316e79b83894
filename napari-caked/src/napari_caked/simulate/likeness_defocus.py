"""Defocus of real micrographs, by their Thon rings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_caked.simulate.optics import electron_wavelength
from napari_caked.simulate.settings import OpticsSettings

__all__ = ["DefocusFit", "fit_defocus"]

#: Correlation of a spectrum of n rings with a squared CTF from which on a fit is believed, times the root of n: that of
#: noise varies by 1, and among all the defoci that are tried by chance hardly reaches 3.
_BELIEVED = 5.0


@dataclass(frozen=True)
class DefocusFit:
    """Defocus of one micrograph.

    Attributes
    ----------
    defocus
        µm of under-focus.
    correlation
        Of the spectrum with the squared CTF, both less what varies slowly.
    rings
        Points of the rotational average that were compared.
    """

    defocus: float
    correlation: float
    rings: int

    @property
    def believed(self) -> bool:
        """Whether there are Thon rings."""
        return self.rings > 0 and self.correlation * self.rings**0.5 >= _BELIEVED


def fit_defocus(frequency: np.ndarray, power: np.ndarray, optics: OpticsSettings) -> DefocusFit:
    """Defocus whose squared CTF is most like the rotational average of a power spectrum (as CTFFIND does it, in 1-D).

    Looked for between 0.3 and 6 µm of under-focus, from 1/30 Å to 1/5 Å or 0.85 of the Nyquist frequency.
    """
    highest = min(1 / 5.0, 0.85 * frequency[-1])
    used = (frequency > 1 / 30.0) & (frequency < highest)
    if used.sum() < 30:
        return DefocusFit(float("nan"), 0.0, 0)
    k = frequency[used]
    wavelength = electron_wavelength(optics.voltage)
    aberration = np.pi / 2 * optics.spherical_aberration * 1e7 * wavelength**3 * k**4
    shift = np.arcsin(optics.amplitude_contrast) + np.radians(optics.phase_plate)
    tried = np.arange(0.3, 6.0, 0.01)
    rings = np.sin(np.pi * wavelength * tried[:, None] * 1e4 * k**2 - aberration + shift) ** 2
    # What varies slowly is no Thon ring: neither in the spectrum nor, near focus, in the CTF.
    slow = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(k)), 5)
    project = np.eye(len(k)) - slow @ np.linalg.pinv(slow)
    seen, expected = project @ np.log(power[used]), rings @ project
    left = np.linalg.norm(expected, axis=1)
    correlation = expected @ seen / np.maximum(left * np.linalg.norm(seen), 1e-12)
    correlation[left < 0.3 * np.linalg.norm(rings - rings.mean(axis=1, keepdims=True), axis=1)] = 0.0
    best = int(np.argmax(correlation))
    return DefocusFit(float(tried[best]), float(correlation[best]), len(k))
