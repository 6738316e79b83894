"""What else is in a micrograph: ice crystals and lumps, carbon, gold, heaps of particles and broken ones.

Each is a patch of projected potential (V Å, over the ice it displaces) with a patch of what it takes from the beam:
the negative logarithm of the share of electrons that come through, by inelastic loss or beyond the aperture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_caked.simulate.noise import ICE_POTENTIAL
from napari_caked.simulate.project import Bank, support_of
from napari_caked.simulate.settings import DecoySettings

__all__ = ["BROKEN", "CARBON", "CLASSES", "Decoy", "Edge", "carbon_power", "decoys_of", "draw_edge", "free_path"]

#: Classes of the mask, and of the lists of what is no particle.
CLASSES = ("background", "particle", "broken", "aggregate", "ice crystal", "ice lump", "gold", "carbon")
BROKEN, AGGREGATE, CRYSTAL, LUMP, GOLD, CARBON = range(2, 8)

#: Mean free paths in Å at 300 kV: inelastic in ice (Rice et al., J. Struct. Biol. 204, 38 (2018)) and, roughly, in
#: carbon; in gold, of anything that keeps an electron out of the image.
_FREE_PATH = {"ice": 3950.0, "carbon": 2200.0, "gold": 180.0}
#: Mean potentials of carbon film and of gold, V.
CARBON_POTENTIAL, _GOLD_POTENTIAL = 9.0, 25.0
#: Å between the planes of hexagonal ice.
_LATTICE = (3.90, 3.66, 3.44)


@dataclass(frozen=True)
class Decoy:
    """One thing that is no particle.

    Attributes
    ----------
    kind
        Index into :data:`CLASSES`.
    centre
        (y, x) in pixels of the micrograph.
    radius
        Of what it covers, pixels.
    potential, attenuation
        ``(y, x)`` float32 patches around the centre; pixel ``n // 2`` is the whole pixel of the centre.
    cover
        ``(y, x)`` bool: what of the patch is the thing.
    """

    kind: int
    centre: tuple[float, float]
    radius: float
    potential: np.ndarray
    attenuation: np.ndarray
    cover: np.ndarray


@dataclass(frozen=True)
class Edge:
    """The straight edge of a carbon film.

    Attributes
    ----------
    angle
        Direction, rad from x towards y, in which the carbon lies.
    offset
        Distance of the edge from the middle of the field, pixels.
    middle
        (y, x) of the middle of the field.
    """

    angle: float
    offset: float
    middle: tuple[float, float]

    def depth(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Pixels into the carbon; negative over the hole."""
        away = (x - self.middle[1]) * np.cos(self.angle) + (y - self.middle[0]) * np.sin(self.angle)
        return away - self.offset


def free_path(material: str, voltage: float) -> float:
    """Å that an electron goes before it is lost to the image, by the square of its speed."""
    rest = 510.99895

    def squared_speed(kilovolts: float) -> float:
        return 1 - (rest / (rest + kilovolts)) ** 2

    return _FREE_PATH[material] * squared_speed(voltage) / squared_speed(300.0)


def draw_edge(rng: np.random.Generator, shape: tuple[int, int]) -> Edge:
    """Edge of a film that covers up to a third of the field."""
    middle = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    return Edge(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.2, 0.4)) * min(shape), middle)


def carbon_power(frequency: np.ndarray, thickness: float) -> np.ndarray:
    """Power spectrum of the projected potential of amorphous carbon, V² Å⁴: 0.1 atoms per Å³, little order."""
    atom = CARBON_POTENTIAL / 0.1 * np.exp(-12.0 / 4 * frequency**2)
    return 0.1 * thickness * (0.2 + 0.8 * frequency**2 / (frequency**2 + 0.15**2)) * atom**2


def decoys_of(
    rng: np.random.Generator, settings: DecoySettings, bank: Bank, shape: tuple[int, int], voltage: float
) -> list[Decoy]:
    """Everything but the carbon, anywhere in the field.

    Raises
    ------
    ValueError
        Broken particles are wanted of a bank that holds none.
    """
    if settings.broken and not len(bank.broken):
        raise ValueError("the bank holds no broken particles; make it with bank_of(..., broken=24)")
    found: list[Decoy] = []
    for kind, count in (
        (CRYSTAL, settings.ice_crystals),
        (LUMP, settings.ice_lumps),
        (GOLD, settings.gold),
        (AGGREGATE, settings.aggregates),
        (BROKEN, settings.broken),
    ):
        for _ in range(count):
            centre = (float(rng.uniform(0, shape[0] - 1)), float(rng.uniform(0, shape[1] - 1)))
            found.append(_decoy(rng, kind, centre, bank, voltage))
    return found


def _decoy(rng: np.random.Generator, kind: int, centre: tuple[float, float], bank: Bank, voltage: float) -> Decoy:
    if kind == CRYSTAL:
        return _crystal(rng, centre, bank.pixel_size, voltage)
    if kind == LUMP:
        return _lump(rng, centre, bank.pixel_size, voltage)
    if kind == GOLD:
        return _bead(rng, centre, bank.pixel_size, voltage)
    if kind == AGGREGATE:
        return _heap(rng, centre, bank)
    image = bank.broken[rng.integers(len(bank.broken))]
    return Decoy(BROKEN, centre, bank.diameter / bank.pixel_size / 2, image, np.zeros_like(image), support_of(image))


def _grid(reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a patch that reaches so many pixels."""
    half = int(np.ceil(reach)) + 4
    along = np.arange(-half, half, dtype=np.float32)
    return along[:, None], along[None, :]


def _crystal(rng: np.random.Generator, centre: tuple[float, float], pixel_size: float, voltage: float) -> Decoy:
    """A plate with straight sides and lattice fringes, where the pixels are small enough for them."""
    from scipy.special import expit

    size = float(np.exp(rng.uniform(np.log(150), np.log(500)))) / pixel_size
    y, x = _grid(size)
    inside = np.ones(np.broadcast_shapes(y.shape, x.shape), np.float32)
    for side in np.arange(6) * np.pi / 3 + rng.uniform(0, np.pi):
        distance = rng.uniform(0.5, 0.9) * size - (x * np.cos(side) + y * np.sin(side))
        inside *= expit(distance * pixel_size / 3.0)
    thickness = rng.uniform(150, 500)
    fringes = np.zeros_like(inside)
    for spacing in _LATTICE:
        along = rng.uniform(0, np.pi)
        if spacing > 2 * pixel_size:  # finer ones the pixels average away
            phase = 2 * np.pi * pixel_size / spacing * (x * np.cos(along) + y * np.sin(along))
            fringes += np.cos(phase + rng.uniform(0, 2 * np.pi)).astype(np.float32)
    potential = ICE_POTENTIAL * thickness * inside * (1 + 0.2 * fringes)
    attenuation = thickness / free_path("ice", voltage) * inside
    return Decoy(CRYSTAL, centre, size, potential.astype(np.float32), attenuation.astype(np.float32), inside > 0.5)


def _lump(rng: np.random.Generator, centre: tuple[float, float], pixel_size: float, voltage: float) -> Decoy:
    """A few drops of contamination that run into each other."""
    size = float(np.exp(rng.uniform(np.log(80), np.log(300)))) / pixel_size
    y, x = _grid(1.6 * size)
    height = np.zeros(np.broadcast_shapes(y.shape, x.shape), np.float32)
    for _ in range(rng.integers(1, 5)):
        away, angle = rng.uniform(0, 0.8) * size, rng.uniform(0, 2 * np.pi)
        wide, narrow, turn = *(rng.uniform(0.4, 0.8, 2) * size), rng.uniform(0, np.pi)
        dx, dy = x - away * np.cos(angle), y - away * np.sin(angle)
        across = ((dx * np.cos(turn) + dy * np.sin(turn)) / wide) ** 2
        across = across + ((dy * np.cos(turn) - dx * np.sin(turn)) / narrow) ** 2
        height = np.maximum(height, np.sqrt(np.maximum(1 - across, 0)))
    thickness = 2 * rng.uniform(0.4, 0.8) * size * pixel_size * height
    attenuation = thickness / free_path("ice", voltage)
    potential = ICE_POTENTIAL * thickness
    return Decoy(LUMP, centre, 1.3 * size, potential.astype(np.float32), attenuation.astype(np.float32), height > 0)


def _bead(rng: np.random.Generator, centre: tuple[float, float], pixel_size: float, voltage: float) -> Decoy:
    """A ball of gold."""
    radius = rng.uniform(25, 60)
    y, x = _grid(radius / pixel_size)
    chord = 2 * np.sqrt(np.maximum(radius**2 - (y**2 + x**2) * pixel_size**2, 0))
    potential = (_GOLD_POTENTIAL - ICE_POTENTIAL) * chord
    attenuation = chord / free_path("gold", voltage)
    return Decoy(GOLD, centre, radius / pixel_size, potential, attenuation, chord > 0)


def _heap(rng: np.random.Generator, centre: tuple[float, float], bank: Bank) -> Decoy:
    """Five to twelve particles thrown on a heap, much nearer to each other than they are wide."""
    count = int(rng.integers(5, 13))
    width = bank.diameter / bank.pixel_size
    spread = 0.35 * width * np.sqrt(count / 3)
    half = bank.box // 2 + int(np.ceil(spread)) + 1
    potential = np.zeros((2 * half, 2 * half), np.float32)
    for image in bank.images[rng.integers(len(bank.images), size=count)]:
        away, angle = spread * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        top, left = (half - bank.box // 2 + round(away * part) for part in (np.sin(angle), np.cos(angle)))
        potential[top : top + bank.box, left : left + bank.box] += image
    return Decoy(AGGREGATE, centre, spread + width / 2, potential, np.zeros_like(potential), support_of(potential))
