"""What the microscope and the radiation leave of an image: factors in Fourier space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from napari_caked.datasets.frequencies import frequency
from napari_caked.datasets.optics import Lens, transfer
from napari_caked.datasets.sample import Canvas
from napari_caked.datasets.steps import Augmentation, Dice, Range, register, require, require_range
from napari_caked.errors import DatasetError
from napari_caked.simulate.optics import gaussian_envelope, lasting_signal

__all__ = ["BandDropout", "CtfVariation", "Dose", "MissingWedge", "missing_wedge"]


@register
@dataclass(frozen=True)
class MissingWedge(Augmentation):
    """Take away what a tilt series does not measure: 1 where a projection of the series passes, 0 elsewhere.

    The beam is along z and the tilt axis along y.

    Attributes
    ----------
    largest
        Range of the largest tilt, degrees; the series goes as far to both sides.
    pretilt
        Range of the tilt of the specimen, degrees, by which the series is off centre.
    """

    largest: Range = (50.0, 65.0)
    pretilt: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "largest", 0.0, 90.0, "degrees")
        require_range(self, "pretilt", -90.0, 90.0, "degrees")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        if len(canvas.shape) != 3:
            raise DatasetError(f"{canvas.record.name}: a picture has no missing wedge; it is for volumes")
        largest, pretilt = dice.uniform(*self.largest), dice.uniform(*self.pretilt)
        measured = missing_wedge(canvas.shape, canvas.spacing, pretilt - largest, pretilt + largest, canvas.device)
        for picture in canvas.seen:
            picture.filter(measured)


@register
@dataclass(frozen=True)
class CtfVariation(Augmentation):
    """Give the image a contrast transfer function: for images that have none yet (maps, projections).

    ``-sin(pi lambda dz k^2 - pi/2 Cs lambda^3 k^4 + asin w)`` and the envelope ``exp(-B k^2 / 4)``, as in
    :mod:`napari_caked.simulate.optics`. Volumes have no direction of astigmatism and are given none.

    Attributes
    ----------
    defocus
        Range, µm of under-focus.
    astigmatism
        Range of the largest defocus less the smallest, µm; in any direction.
    b_factor
        Range, Å².
    voltage, spherical_aberration, amplitude_contrast
        kV, mm, fraction.
    """

    defocus: Range = (0.8, 2.5)
    astigmatism: Range = (0.0, 0.05)
    b_factor: Range = (0.0, 100.0)
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "defocus", -20.0, 20.0, "µm")
        require_range(self, "astigmatism", 0.0, 5.0, "µm")
        require_range(self, "b_factor", 0.0, math.inf, "Å²")
        self._lens(0.0, 0.0, 0.0)

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        lens = self._lens(dice.uniform(*self.defocus), dice.uniform(*self.astigmatism), dice.uniform(0, 180))
        factor = transfer(lens, canvas.shape, canvas.voxel_size, canvas.device)
        factor = factor * gaussian_envelope(_frequency(canvas), dice.uniform(*self.b_factor))
        for picture in canvas.seen:
            picture.filter(factor)

    def _lens(self, defocus: float, astigmatism: float, angle: float) -> Lens:
        optics = (self.voltage, self.spherical_aberration, self.amplitude_contrast)
        return Lens(defocus, astigmatism, angle, *optics)


@register
@dataclass(frozen=True)
class Dose(Augmentation):
    """Fade fine detail as an exposure destroys it, without exposure weighting (Grant & Grigorieff 2015).

    Attributes
    ----------
    dose
        Range of the exposure, e/Å².
    voltage
        kV.
    """

    dose: Range = (20.0, 60.0)
    voltage: float = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "dose", 0.0, math.inf, "e/Å²")
        require(self.dose[0] > 0, self, "dose", "give more than 0 e/Å²")
        require(20 <= self.voltage <= 1000, self, "voltage", "give kV, 20 to 1000")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        factor = lasting_signal(_frequency(canvas), dice.uniform(*self.dose), self.voltage)
        for picture in canvas.seen:
            picture.filter(factor)


@register
@dataclass(frozen=True)
class BandDropout(Augmentation):
    """Take away a shell of frequencies; the mean is never taken.

    Attributes
    ----------
    width
        Range of the shell's width, as a share of Nyquist. It lies anywhere between 0 and Nyquist.
    """

    width: Range = (0.05, 0.2)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "width", 0.0, 1.0, "shares of Nyquist")

    def work(self, canvas: Canvas, dice: Dice) -> None:
        """Work on the canvas."""
        width = dice.uniform(*self.width)
        low = dice.uniform(0, 1 - width)
        share = 2 * frequency(canvas.shape, (1.0,) * len(canvas.shape), canvas.device)
        kept = (share < low) | (share >= low + width) | (share == 0)
        for picture in canvas.seen:
            picture.filter(kept)


def missing_wedge(
    shape: tuple[int, ...], voxel_size: tuple[float, ...], lowest: float, highest: float, device: torch.device | str
) -> torch.Tensor:
    """1 where a tilt series from ``lowest`` to ``highest`` degrees measures a frequency of ``rfftn``, 0 elsewhere.

    The projection at tilt a measures the plane ``kz = kx tan a``.
    """
    kz, kx = np.fft.fftfreq(shape[0], voxel_size[0])[:, None], np.fft.rfftfreq(shape[2], voxel_size[2])
    rounding = 1e-9 * float(np.abs(kz).max() + kx.max())

    def passed(kx: np.ndarray) -> np.ndarray:
        # Between the first plane and the last, seen from either side; a frequency on the very edge is measured.
        first, last = (
            kz * math.cos(math.radians(angle)) - kx * math.sin(math.radians(angle)) for angle in (lowest, highest)
        )
        forward = (first >= -rounding) & (last <= rounding)
        return np.asarray(forward | ((first <= rounding) & (last >= -rounding)))

    measured = passed(kx) if highest - lowest < 180 else np.ones((len(kz), len(kx)), bool)
    # Nyquist of the last axis is its own negative: measured from either side.
    if shape[-1] % 2 == 0:
        measured[:, -1:] |= passed(-kx[-1:])
    return torch.from_numpy(measured[:, None].astype(np.float32)).to(device).expand(*shape[:-1], len(kx))


def _frequency(canvas: Canvas) -> torch.Tensor:
    return frequency(canvas.shape, canvas.voxel_size, canvas.device)
