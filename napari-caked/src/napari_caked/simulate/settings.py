"""Everything a person may set for simulated micrographs, with its default: the one place where defaults stand.

Nothing here needs PyTorch, so that the command line and the widgets can show defaults without waiting for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from napari_caked.errors import SettingsError

__all__ = [
    "CameraSettings",
    "DecoySettings",
    "Look",
    "MeasuredNoise",
    "OpticsSettings",
    "SceneSettings",
    "SimulationSettings",
    "ViewSettings",
]


@dataclass(frozen=True)
class ViewSettings:
    """From which sides particles are seen.

    Attributes
    ----------
    views
        Projections in the bank.
    preferred
        Directions ``(rot, tilt)`` in degrees that particles prefer; empty for all directions alike.
    preference
        Share of the particles that lie in a preferred direction; the others lie anyhow.
    spread
        Standard deviation of the angle to the preferred direction, degrees.
    """

    views: int = 500
    preferred: tuple[tuple[float, float], ...] = ()
    preference: float = 0.8
    spread: float = 10.0

    def __post_init__(self) -> None:
        _require(self.views >= 1, "views", self.views, "make at least one projection")
        _require(0 <= self.preference <= 1, "preference", self.preference, "give a share from 0 to 1")
        _require(self.spread >= 0, "spread", self.spread, "give degrees, 0 or more")


@dataclass(frozen=True)
class SceneSettings:
    """Where particles lie, and in what ice.

    Attributes
    ----------
    shape
        ``(y, x)`` in pixels.
    particles
        Particles wanted in a micrograph; where fewer fit, as many as fit.
    spacing
        Least distance between two centres, in particle diameters; less than about 0.9 lets them overlap.
    clumped
        Share of the particles that touch or overlap a neighbour, whatever ``spacing`` says.
    at_edges
        Whether centres may lie so close to the edge, or beyond it, that the particle is cut.
    ice_thickness
        Å. Particles lie at all depths in it.
    thickness_variation
        Standard deviation of the thickness across the field, as a share of it.
    gradient
        Largest change of the thickness from one side of the field to the other, as a share of it.
    """

    shape: tuple[int, int] = (1024, 1024)
    particles: int = 150
    spacing: float = 1.0
    clumped: float = 0.0
    at_edges: bool = True
    ice_thickness: float = 500.0
    thickness_variation: float = 0.05
    gradient: float = 0.2

    def __post_init__(self) -> None:
        _require(min(self.shape) >= 32, "shape", self.shape, "give at least 32 x 32 pixels")
        _require(self.particles >= 0, "particles", self.particles, "give 0 or more")
        _require(self.spacing >= 0, "spacing", self.spacing, "give 0 or more particle diameters")
        _require(0 <= self.clumped <= 1, "clumped", self.clumped, "give a share from 0 to 1")
        _require(_positive(self.ice_thickness), "ice_thickness", self.ice_thickness, "give Å, more than 0")
        _require(0 <= self.thickness_variation < 0.5, "thickness_variation", self.thickness_variation, "below 0.5")
        _require(0 <= self.gradient < 1, "gradient", self.gradient, "give a share below 1")


@dataclass(frozen=True)
class DecoySettings:
    """What is in the micrograph and is no particle worth picking: how many of each.

    Attributes
    ----------
    broken
        Particles of which a part is missing.
    aggregates
        Heaps of particles on top of each other.
    ice_crystals, ice_lumps
        Crystals with lattice fringes and straight sides, and round contamination, on the surface of the ice.
    gold
        Gold beads of 50 to 120 Å.
    carbon
        ``"none"``, ``"edge"`` (of the hole, across one side of the field) or ``"film"`` (under all of it).
    """

    broken: int = 0
    aggregates: int = 0
    ice_crystals: int = 0
    ice_lumps: int = 0
    gold: int = 0
    carbon: str = "none"

    def __post_init__(self) -> None:
        for name in ("broken", "aggregates", "ice_crystals", "ice_lumps", "gold"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "give 0 or more")
        _require(self.carbon in ("none", "edge", "film"), "carbon", self.carbon, "give none, edge or film")


@dataclass(frozen=True)
class OpticsSettings:
    """The microscope.

    Attributes
    ----------
    voltage, spherical_aberration, amplitude_contrast
        kV, mm, fraction.
    defocus
        Range from which each micrograph draws, µm of under-focus.
    astigmatism
        Largest difference between the two defoci, µm; each micrograph draws one, in any direction.
    phase_plate
        Phase shift of a phase plate, degrees.
    b_factor
        Å² of the Gaussian envelope ``exp(-B k² / 4)``: drift, vibration, incoherence.
    """

    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.07
    defocus: tuple[float, float] = (0.8, 2.5)
    astigmatism: float = 0.05
    phase_plate: float = 0.0
    b_factor: float = 60.0

    def __post_init__(self) -> None:
        _require(20 <= self.voltage <= 1000, "voltage", self.voltage, "give kV (300 is usual)")
        _require(self.spherical_aberration >= 0, "spherical_aberration", self.spherical_aberration, "give mm")
        _require(0 <= self.amplitude_contrast < 1, "amplitude_contrast", self.amplitude_contrast, "below 1")
        low, high = self.defocus
        _require(-20 <= low <= high <= 20, "defocus", self.defocus, "give a rising range in µm")
        _require(self.astigmatism >= 0, "astigmatism", self.astigmatism, "give µm, 0 or more")
        _require(self.b_factor >= 0, "b_factor", self.b_factor, "give Å², 0 or more")


@dataclass(frozen=True)
class CameraSettings:
    """The electrons and how they are counted.

    Attributes
    ----------
    dose
        Electrons per Å² that come onto the specimen.
    mtf
        Modulation transfer of the detector at its Nyquist frequency; it falls as a Gaussian.
    solvent
        Strength of the structure of the ice itself, as a multiple of what theory says (a factor of its power).
    damage
        Whether the dose fades the particles (Grant & Grigorieff, eLife 4, e06980 (2015)).
    """

    dose: float = 40.0
    mtf: float = 0.5
    solvent: float = 1.0
    damage: bool = True

    def __post_init__(self) -> None:
        _require(_positive(self.dose), "dose", self.dose, "give electrons per Å², more than 0")
        _require(0 < self.mtf <= 1, "mtf", self.mtf, "give more than 0 and at most 1")
        _require(self.solvent >= 0, "solvent", self.solvent, "give 0 or more")


@dataclass(frozen=True)
class Look:
    """What one real micrograph looks like, apart from its particles.

    Attributes
    ----------
    mean, deviation
        In its own units.
    power
        Of its noise, over that of white noise of the same deviation, at the frequencies of :class:`MeasuredNoise`.
    directions
        Rows from minus to plus the Nyquist frequency, columns from 0 to it: by what the power differs from that of its
        ring; empty for a power that is the same in all directions.
    grain
        Skew of what every electron adds, the width in pixels of the puff that it leaves, and the depth of the trough
        around it (:mod:`.likeness_grain`); 0 for Gaussian noise.
    greys
        Two rising rows, of values less those of a slow background: as simulated, and what real pixels have instead;
        empty for no change.
    defocus
        µm of under-focus, None where it was not measured.
    contrast
        Of its particles, over that of the particles on all micrographs.
    uneven
        Deviation of the logarithm of a factor that varies slowly, over about a particle, across the micrograph.
    """

    mean: float
    deviation: float
    power: tuple[float, ...]
    directions: tuple[tuple[float, ...], ...] = ()
    grain: tuple[float, float, float] = (0.0, 0.0, 0.0)
    greys: tuple[tuple[float, ...], tuple[float, ...]] | tuple[()] = ()
    defocus: float | None = None
    contrast: float = 1.0
    uneven: float = 0.0

    def __post_init__(self) -> None:
        _require(0 <= self.uneven < 1, "uneven", self.uneven, "give 0 or more, and less than 1")
        _require(_positive(self.contrast), "contrast", self.contrast, "give more than 0")
        _require(_positive(self.deviation), "deviation", self.deviation, "give more than 0")


@dataclass(frozen=True)
class MeasuredNoise:
    """Background of real micrographs; takes the place of the ice, of its hills and of the counted electrons.

    Attributes
    ----------
    mean, deviation
        Of a whole real micrograph, in its own units.
    strength
        Deviations that a relative contrast of 1 makes.
    frequency, power
        Of the noise: 1/Å, and the power over that of white noise of that deviation.
    transfer
        What processing has left of amplitudes, at the same frequencies; empty for everything.
    looks
        Of single real micrographs: simulated ones take after one after the other. Without any, all are like the mean.
    slow
        Å; the slow background is an average by a Gaussian of so many Å.
    whole
        Whether values are whole numbers.
    """

    mean: float
    deviation: float
    strength: float
    frequency: tuple[float, ...]
    power: tuple[float, ...]
    transfer: tuple[float, ...] = ()
    looks: tuple[Look, ...] = ()
    slow: float = 0.0
    whole: bool = False

    def __post_init__(self) -> None:
        _require(_positive(self.deviation), "deviation", self.deviation, "give more than 0")
        _require(self.strength >= 0, "strength", self.strength, "give 0 or more")
        right = len(self.frequency) == len(self.power) > 1 and min(self.power) >= 0
        _require(right, "power", f"a curve of {len(self.power)} points", "give as many powers as frequencies")
        for curve in (self.transfer, *(look.power for look in self.looks)):
            right = len(curve) in (0, len(self.frequency))
            _require(right, "power", f"a curve of {len(curve)} points", "give as many values as frequencies")

    def with_look(self, index: int, **changes: Any) -> MeasuredNoise:
        """The same with another look number ``index``."""
        look = replace(self.looks[index], **changes)
        return replace(self, looks=(*self.looks[:index], look, *self.looks[index + 1 :]))

    def look(self, index: int) -> Look:
        """What micrograph number ``index`` takes after."""
        if self.looks:
            return self.looks[index % len(self.looks)]
        return Look(self.mean, self.deviation, self.power)


@dataclass(frozen=True)
class SimulationSettings:
    """A whole series of simulated micrographs.

    Attributes
    ----------
    pixel_size
        Å per pixel of the micrographs.
    diameter
        Particle diameter in Å; None measures it on the density.
    seed
        Of everything random; the same seed gives the same micrographs.
    views, scene, decoys, optics, camera
        The parts.
    noise
        Background of real micrographs, from :mod:`napari_caked.simulate.like`; None for that of theory.
    """

    pixel_size: float = 2.0
    diameter: float | None = None
    seed: int = 1
    views: ViewSettings = field(default_factory=ViewSettings)
    scene: SceneSettings = field(default_factory=SceneSettings)
    decoys: DecoySettings = field(default_factory=DecoySettings)
    optics: OpticsSettings = field(default_factory=OpticsSettings)
    camera: CameraSettings = field(default_factory=CameraSettings)
    noise: MeasuredNoise | None = None

    def __post_init__(self) -> None:
        _require(_positive(self.pixel_size), "pixel_size", self.pixel_size, "give Å, more than 0")
        _require(self.diameter is None or _positive(self.diameter), "diameter", self.diameter, "give Å, more than 0")
        _require(self.seed >= 0, "seed", self.seed, "give a whole number, 0 or more")


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _require(right: bool, name: str, value: object, remedy: str) -> None:
    if not right:
        raise SettingsError(f"{name}: {value} cannot be simulated; {remedy}")
