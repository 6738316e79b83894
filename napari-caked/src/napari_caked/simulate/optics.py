"""The microscope: contrast transfer, envelopes, and how strongly electrons feel a potential.

Defocus is in µm, positive for under-focus, unless a name says Å. Frequencies are in 1/Å on the grid of ``rfft2``.
Angles of astigmatism are RELION's and the array's: from the direction of the columns (x) towards that of the rows (y).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.simulate.settings import OpticsSettings

if TYPE_CHECKING:
    import torch

__all__ = [
    "Focus",
    "contrast_transfer",
    "draw_focus",
    "electron_wavelength",
    "frequencies",
    "gaussian_envelope",
    "interaction_constant",
    "lasting_signal",
]

#: Rest energy of the electron, kV.
_REST = 510.99895


@dataclass(frozen=True)
class Focus:
    """Defocus and astigmatism of one micrograph.

    Attributes
    ----------
    defocus
        Mean of the largest and the smallest, µm of under-focus.
    astigmatism
        The largest less the smallest, µm.
    angle
        Direction of the largest, degrees from x towards y.
    """

    defocus: float
    astigmatism: float = 0.0
    angle: float = 0.0


def draw_focus(settings: OpticsSettings, rng: np.random.Generator) -> Focus:
    """Focus of one micrograph, from the range of the series."""
    return Focus(
        float(rng.uniform(*settings.defocus)),
        float(rng.uniform(0, settings.astigmatism)),
        float(rng.uniform(0, 180)),
    )


def electron_wavelength(voltage: float) -> float:
    """Relativistic wavelength in Å of electrons of ``voltage`` kV."""
    return 12.398419843 / math.sqrt(voltage * (2 * _REST + voltage))


def interaction_constant(voltage: float) -> float:
    """Phase in rad per V Å of projected potential (Kirkland, Advanced Computing in Electron Microscopy, eq. 5.6)."""
    relativistic = (_REST + voltage) / (2 * _REST + voltage)
    return 2 * math.pi * relativistic / (electron_wavelength(voltage) * voltage * 1e3)


def frequencies(shape: tuple[int, int], pixel_size: float) -> torch.Tensor:
    """Length of the spatial frequency, ``(y, x // 2 + 1)`` in 1/Å."""
    import torch

    rows, columns = torch.fft.fftfreq(shape[0], pixel_size), torch.fft.rfftfreq(shape[1], pixel_size)
    return torch.hypot(rows[:, None], columns[None, :])


def contrast_transfer(
    focus: Focus, depths: np.ndarray, settings: OpticsSettings, shape: tuple[int, int], pixel_size: float
) -> torch.Tensor:
    """CTF ``(depth, y, x // 2 + 1)``; a phase object under focus is dark, and so the sign is negative.

    ``-sin(pi lambda dz k^2 - pi/2 Cs lambda^3 k^4 + asin w + phase plate)``, as CTFFIND and RELION have it.

    Parameters
    ----------
    focus
        Of the middle of the ice.
    depths
        Å above the middle; each Å is one more of under-focus.
    """
    import torch
    from torch_ctf import calculate_ctf_2d

    # torch-ctf's astigmatism is half the difference, and its angle is, whatever its docstring says, that from x to y.
    transfer = calculate_ctf_2d(
        defocus=torch.as_tensor(focus.defocus + np.asarray(depths) * 1e-4, dtype=torch.float32),
        astigmatism=focus.astigmatism / 2,
        astigmatism_angle=focus.angle,
        voltage=settings.voltage,
        spherical_aberration=settings.spherical_aberration,
        amplitude_contrast=settings.amplitude_contrast,
        phase_shift=settings.phase_plate,
        pixel_size=pixel_size,
        image_shape=shape,
        rfft=True,
        fftshift=False,
    )
    return -transfer


def gaussian_envelope(frequency: torch.Tensor, b_factor: float) -> torch.Tensor:
    """``exp(-B k^2 / 4)`` of amplitudes."""
    import torch

    return torch.exp(-b_factor / 4 * frequency**2)


def lasting_signal(frequency: torch.Tensor, dose: float, voltage: float) -> torch.Tensor:
    """What is left of amplitudes, on average over an exposure of ``dose`` e/Å², as radiation damages the specimen.

    After N electrons ``exp(-N / 2 Ne)`` is left, with the critical exposure ``Ne = 0.245 k^-1.665 + 2.81`` at 300 kV
    and 0.8 of it at 200 kV (Grant & Grigorieff, eLife 4, e06980 (2015)); in between by the square of the speed.
    """
    import torch

    critical = 0.245 * frequency.clamp(min=1e-4) ** -1.665 + 2.81
    speed = _squared_speed(voltage) / _squared_speed(300.0)
    passed = dose / (2 * critical * speed)
    return -torch.expm1(-passed) / passed


def _squared_speed(voltage: float) -> float:
    """``(v / c)^2`` of electrons of so many kV."""
    return 1 - (_REST / (_REST + voltage)) ** 2
