"""The contrast transfer of pictures and volumes of any voxel size, on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from napari_caked.datasets.frequencies import axis_frequencies, frequency
from napari_caked.errors import DatasetError
from napari_caked.simulate.optics import electron_wavelength

__all__ = ["Lens", "transfer"]


@dataclass(frozen=True)
class Lens:
    """The microscope as one image saw it.

    Attributes
    ----------
    defocus, astigmatism
        Mean of the largest and the smallest defocus, and their difference, µm of under-focus.
    angle
        Of the largest, degrees from x towards y.
    voltage, spherical_aberration, amplitude_contrast
        kV, mm, fraction.
    phase_plate
        Degrees.
    """

    defocus: float
    astigmatism: float = 0.0
    angle: float = 0.0
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.1
    phase_plate: float = 0.0

    def __post_init__(self) -> None:
        limits = (("voltage", 20, 1000, "kV"), ("spherical_aberration", 0, 20, "mm"), ("amplitude_contrast", 0, 1, ""))
        for name, low, high, unit in limits:
            if not low <= getattr(self, name) <= high:
                raise DatasetError(f"{name} is {getattr(self, name)}; give {low} to {high} {unit}".rstrip())


def transfer(
    lens: Lens, shape: tuple[int, ...], voxel_size: Sequence[float], device: torch.device | str
) -> torch.Tensor:
    """CTF on the grid of ``rfftn``; a phase object under focus is dark, and so the sign is negative.

    ``-sin(pi lambda dz k^2 - pi/2 Cs lambda^3 k^4 + asin w + phase plate)`` with dz at the angle a from x
    ``defocus + astigmatism / 2 cos(2 (a - angle))`` (CTFFIND, RELION). Volumes take the mean defocus.
    """
    wavelength = electron_wavelength(lens.voltage)
    square = frequency(shape, tuple(voxel_size), device).square()
    defocus = torch.tensor(lens.defocus * 1e4, device=device)
    if len(shape) == 2 and lens.astigmatism:
        ky, kx = axis_frequencies(shape, tuple(voxel_size), device)
        around = torch.cos(2 * (torch.atan2(ky, kx) - math.radians(lens.angle)))
        defocus = defocus + lens.astigmatism * 0.5e4 * around
    aberration = 0.5 * math.pi * lens.spherical_aberration * 1e7 * wavelength**3
    constant = math.asin(lens.amplitude_contrast) + math.radians(lens.phase_plate)
    return -torch.sin(math.pi * wavelength * defocus * square - aberration * square.square() + constant)
