"""Filters, the soft mask, and undoing the signs of the contrast transfer: transforms without chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from napari_caked.datasets.frequencies import distance_from_centre, frequency, raised_cosine, shell_means, shells
from napari_caked.datasets.items import Record
from napari_caked.datasets.optics import Lens, transfer
from napari_caked.datasets.sample import Canvas
from napari_caked.datasets.steps import Transform, register, require
from napari_caked.errors import DatasetError

__all__ = ["HighPass", "LowPass", "PhaseFlip", "SoftMask", "Whiten"]

#: What an item's origin may say of the microscope, beside the defocus.
_OPTICS = ("voltage", "spherical_aberration", "amplitude_contrast", "phase_plate")


@dataclass(frozen=True)
class _Pass(Transform):
    """A filter with half a cosine for an edge.

    Attributes
    ----------
    resolution
        Å, of the middle of the edge.
    edge
        Width of the edge, as a share of the frequency in its middle.
    """

    resolution: float
    edge: float = 0.2

    def __post_init__(self) -> None:
        require(0 < self.resolution < math.inf, self, "resolution", "give Å, more than 0")
        require(0 <= self.edge <= 2, self, "edge", "give a share of the frequency, 0 to 2")

    def _low(self, canvas: Canvas) -> torch.Tensor:
        grid = frequency(canvas.shape, canvas.voxel_size, canvas.device)
        return raised_cosine(grid, 1 / self.resolution, self.edge / self.resolution)


@register
@dataclass(frozen=True)
class LowPass(_Pass):
    """Take away what is finer than a resolution; the mean stays."""

    def work(self, canvas: Canvas) -> None:
        """Work on the canvas."""
        for picture in canvas.pictures:
            picture.filter(self._low(canvas))


@register
@dataclass(frozen=True)
class HighPass(_Pass):
    """Take away what is coarser than a resolution, the mean with it."""

    def work(self, canvas: Canvas) -> None:
        """Work on the canvas."""
        for picture in canvas.pictures:
            picture.filter(1 - self._low(canvas))


@register
@dataclass(frozen=True)
class SoftMask(Transform):
    """Keep a sphere around voxel n // 2; outside becomes the mean of what is outside.

    Attributes
    ----------
    diameter
        Å, to the middle of the edge.
    edge
        Å, width of the edge, half a cosine.
    """

    diameter: float
    edge: float = 10.0

    def __post_init__(self) -> None:
        require(0 < self.diameter < math.inf, self, "diameter", "give Å, more than 0")
        require(0 <= self.edge < math.inf, self, "edge", "give Å, 0 or more")

    def work(self, canvas: Canvas) -> None:
        """Work on the canvas."""
        distance = distance_from_centre(canvas.shape, canvas.voxel_size, canvas.device)
        kept = raised_cosine(distance, self.diameter / 2, self.edge)
        left = 1 - kept
        total = float(left.sum())
        if total == 0:
            raise DatasetError(
                f"{canvas.record.name}: a sphere of {self.diameter:g} Å holds all {canvas.shape} voxels of "
                f"{canvas.voxel_size} Å; give a smaller diameter"
            )
        for picture in canvas.pictures:
            outside = (picture.pixels * left).sum() / total
            picture.pixels = outside + kept * (picture.pixels - outside)


@register
@dataclass(frozen=True)
class PhaseFlip(Transform):
    """Give all frequencies the sign that the particle's density has: bright on dark where defocus made it so.

    The Fourier transform is multiplied by the sign of minus the contrast transfer, so that contrast stays inverted as
    it is in the micrograph (dark particles under focus), and only the rings are mended.

    Attributes
    ----------
    defocus, astigmatism, angle
        Mean defocus and the largest less the smallest, µm of under-focus; degrees of the largest from x towards y.
        Without a defocus each item's own origin tells, as the table of particles said it (:mod:`.ctf`).
    voltage, spherical_aberration, amplitude_contrast, phase_plate
        kV, mm, fraction, degrees; with the item's own defocus, where its origin does not say them.
    """

    defocus: float | None = None
    astigmatism: float = 0.0
    angle: float = 0.0
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.1
    phase_plate: float = 0.0

    def __post_init__(self) -> None:
        self._lens(0.0)

    def work(self, canvas: Canvas) -> None:
        """Work on the canvas."""
        lens = self._own_lens(canvas.record) if self.defocus is None else self._lens(self.defocus)
        sign = -torch.sign(transfer(lens, canvas.shape, canvas.voxel_size, canvas.device))
        for picture in canvas.pictures:
            picture.filter(sign)

    def _lens(self, defocus: float) -> Lens:
        optics = (self.voltage, self.spherical_aberration, self.amplitude_contrast, self.phase_plate)
        return Lens(defocus, self.astigmatism, self.angle, *optics)

    def _own_lens(self, record: Record) -> Lens:
        """The lens that an item's origin tells of."""
        origin = record.origin
        try:
            first, second = float(origin["defocus_u"]), float(origin.get("defocus_v", origin["defocus_u"]))
            focus = (first + second) / 2e4, (first - second) / 1e4, float(origin.get("defocus_angle", 0.0))
            optics = [float(origin.get(name, getattr(self, name))) for name in _OPTICS]
        except (KeyError, ValueError) as error:
            known = ", ".join(origin) or "nothing"
            raise DatasetError(
                f"{record.name}: its defocus is not known ({error}; its origin tells {known}); give defocus to "
                "PhaseFlip, or read the items from a table that has it (rlnDefocusU, ctf/df1_A)"
            ) from error
        try:
            return Lens(*focus, *optics)
        except DatasetError as error:
            raise DatasetError(f"{record.name}: its {error} in the table it comes from") from error


@register
@dataclass(frozen=True)
class Whiten(Transform):
    """Divide by the root of the power in shells, so that all frequencies are as strong; the mean becomes 0.

    Attributes
    ----------
    spectrum
        Power at equal steps from 0 to Nyquist, measured on pictures of noise (``measured_spectrum``). Without it each
        image's own, which whitens its particle as well.
    """

    spectrum: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        good = self.spectrum is None or (len(self.spectrum) > 1 and all(0 < one < math.inf for one in self.spectrum))
        require(good, self, "spectrum", "give two or more powers, all more than 0")

    def work(self, canvas: Canvas) -> None:
        """Work on the canvas."""
        for picture in canvas.pictures:
            waves = picture.waves
            if self.spectrum is None:
                count = min(canvas.shape) // 2 + 1
                power = shell_means(waves.abs().square(), canvas.shape, count) / math.prod(canvas.shape)
            else:
                power = torch.tensor(self.spectrum, dtype=torch.float32, device=canvas.device)
            if not float(power[1:].min()) > 0:
                raise DatasetError(
                    f"{canvas.record.name}: some of its frequencies have no power, and cannot be made as strong as the "
                    "others; whiten before filters, and leave constant images out"
                )
            place = shells(canvas.shape, len(power), canvas.device)
            below = place.floor().long().clamp_(max=len(power) - 2)
            between = torch.lerp(power[below], power[below + 1], place - below)
            # The first shell holds the mean, which is not the power of anything.
            between = torch.where(place < 1, power[1], between)
            factor = between.rsqrt()
            factor[(0,) * factor.ndim] = 0.0
            picture.filter(factor)
