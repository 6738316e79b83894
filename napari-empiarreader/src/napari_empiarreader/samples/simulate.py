"""A small simulator of cryo-EM micrographs, for samples, demonstrations and tests.

The specimen is a hollow cage of 24 equal subunits in octahedral symmetry (as in ferritin), each of three Gaussian
blobs, seen from random directions. The image is formed in the weak-phase approximation, ``1 + 2 F^-1[CTF F[phase]]``,
with the contrast transfer function of Wade (Ultramicroscopy 46, 145 (1992)), and counted electron by electron.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

__all__ = ["SimulationSettings", "simulate_micrograph"]


@dataclass(frozen=True)
class SimulationSettings:
    """What is simulated.

    Attributes
    ----------
    shape
        ``(y, x)`` in pixels.
    pixel_size
        Å.
    particle_diameter
        Outer diameter of the cage, Å.
    particles
        Particles tried per micrograph; those that would overlap another are left out.
    phase
        Phase shift through the middle of a particle, rad (that of a hollow cage of protein in ice at 300 kV).
    dose
        Electrons per Å².
    defocus
        Range from which each micrograph draws, µm of under-focus.
    voltage, spherical_aberration, amplitude_contrast
        kV, mm, fraction.
    seed
        Of everything random; the same seed gives the same micrographs.
    """

    shape: tuple[int, int] = (1024, 1024)
    pixel_size: float = 2.0
    particle_diameter: float = 130.0
    particles: int = 250
    phase: float = 0.045
    dose: float = 20.0
    defocus: tuple[float, float] = (1.2, 2.2)
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.07
    seed: int = 2026


def simulate_micrograph(
    index: int, settings: SimulationSettings = SimulationSettings()
) -> tuple[np.ndarray, np.ndarray]:
    """Micrograph number ``index`` of the endless series that ``settings`` describe.

    Returns
    -------
    image : numpy.ndarray
        ``(y, x)`` float32, electrons per pixel relative to their mean.
    particles : numpy.ndarray
        ``(n, 2)`` true (y, x) of the particles' centres, in pixels.
    """
    rng = np.random.default_rng((settings.seed, index))
    centres = _places(rng, settings)
    phase = _thin_ice(rng, settings)
    for centre in centres:
        _add_particle(phase, centre, _random_rotation(rng), settings)
    defocus = rng.uniform(*settings.defocus)
    image = 1 + 2 * np.fft.irfft2(np.fft.rfft2(phase) * contrast_transfer(defocus, settings), s=settings.shape)
    electrons = settings.dose * settings.pixel_size**2
    # Ice is never equally thick everywhere: a slow gradient of brightness across the field.
    rows, columns = (np.linspace(-0.5, 0.5, length) for length in settings.shape)
    slope = rng.normal(0, 0.05, 2)
    image *= 1 + slope[0] * rows[:, None] + slope[1] * columns
    counts = rng.poisson(np.maximum(image, 0) * electrons)
    return (counts / electrons).astype(np.float32), centres


def contrast_transfer(defocus: float, settings: SimulationSettings) -> np.ndarray:
    """CTF on the grid of ``rfft2``: ``-sin(chi + asin(w))`` with an envelope of B = 60 Å².

    ``chi = pi lambda dz k² - pi/2 Cs lambda³ k⁴``, positive ``dz`` being under-focus, so that a phase object
    is dark.
    """
    k2 = _squared_frequencies(settings)
    wavelength = electron_wavelength(settings.voltage)
    chi = np.pi * wavelength * defocus * 1e4 * k2
    chi -= np.pi / 2 * settings.spherical_aberration * 1e7 * wavelength**3 * k2**2
    return -np.sin(chi + np.arcsin(settings.amplitude_contrast)) * np.exp(-60 / 4 * k2)


def _squared_frequencies(settings: SimulationSettings) -> np.ndarray:
    """``k²`` in 1/Å² on the grid of ``rfft2``."""
    rows = np.fft.fftfreq(settings.shape[0], settings.pixel_size)
    columns = np.fft.rfftfreq(settings.shape[1], settings.pixel_size)
    return rows[:, None] ** 2 + columns**2


def electron_wavelength(voltage: float) -> float:
    """Relativistic wavelength in Å of electrons accelerated by ``voltage`` kV."""
    volts = voltage * 1e3
    return 12.2642597 / np.sqrt(volts * (1 + 0.978475598e-6 * volts))


def _places(rng: np.random.Generator, settings: SimulationSettings) -> np.ndarray:
    """Random centres, at least 1.05 diameters apart, some of them cut by the edge."""
    apart = 1.05 * settings.particle_diameter / settings.pixel_size
    placed: list[np.ndarray] = []
    for centre in rng.uniform((0, 0), settings.shape, (settings.particles, 2)):
        if all(np.hypot(*(centre - other)) >= apart for other in placed):
            placed.append(centre)
    inside = np.array(placed).reshape(-1, 2)
    return inside[(inside <= np.array(settings.shape) - 1).all(axis=1)]


def _thin_ice(rng: np.random.Generator, settings: SimulationSettings) -> np.ndarray:
    """Phase of the ice itself: white noise smoothed to 8 Å, 0.02 rad."""
    spectrum = np.fft.rfft2(rng.standard_normal(settings.shape))
    rows = np.fft.fftfreq(settings.shape[0], settings.pixel_size)
    columns = np.fft.rfftfreq(settings.shape[1], settings.pixel_size)
    smooth = np.fft.irfft2(
        spectrum * np.exp(-((8.0 * np.pi) ** 2) * (rows[:, None] ** 2 + columns**2) / 2), s=settings.shape
    )
    return 0.02 * smooth / smooth.std()


def _add_particle(phase: np.ndarray, centre: np.ndarray, rotation: np.ndarray, settings: SimulationSettings) -> None:
    """Add one projected cage; a Gaussian blob projects to a Gaussian, so nothing is sampled in 3-D."""
    blobs = _cage(settings.particle_diameter) @ rotation.T / settings.pixel_size
    width = 0.075 * settings.particle_diameter / settings.pixel_size
    reach = int(np.ceil(0.5 * settings.particle_diameter / settings.pixel_size + 4 * width))
    corner = np.floor(centre).astype(int) - reach
    low, high = np.maximum(corner, 0), np.minimum(corner + 2 * reach + 1, settings.shape)
    along = [np.arange(low[axis], high[axis]) - centre[axis] for axis in (0, 1)]
    rows = np.exp(-0.5 * ((along[0][None] - blobs[:, 1:2]) / width) ** 2)
    columns = np.exp(-0.5 * ((along[1][None] - blobs[:, 2:3]) / width) ** 2)
    phase[low[0] : high[0], low[1] : high[1]] += _peak_scale(settings) * (rows.T @ columns)


def _peak_scale(settings: SimulationSettings) -> float:
    """Phase of one blob's middle, so that the average projection through a particle's middle is ``settings.phase``."""
    # The blobs lie on a shell of radius r; averaged over directions a blob at distance r contributes
    # mean exp(-r² sin² / (2 w²)) at the centre.
    blobs = _cage(settings.particle_diameter)
    radius, width = np.linalg.norm(blobs, axis=1), 0.075 * settings.particle_diameter
    cosine = np.linspace(0, 1, 2001)
    profile = np.exp(-0.5 * (radius[:, None] ** 2) * (1 - cosine**2) / width**2).mean(axis=1)
    return settings.phase / float(profile.sum())


def _cage(diameter: float) -> np.ndarray:
    """Centres ``(72, 3)`` in Å of the blobs of 24 subunits."""
    subunit = np.array([[0.20, 0.42, 0.80], [0.32, 0.20, 0.86], [0.08, 0.58, 0.72]])
    copies = []
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            if np.isclose(np.linalg.det(turn), 1):
                copies.append(subunit @ turn.T)
    return 0.42 * diameter * np.concatenate(copies)


def _random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Uniform rotation matrix from a random unit quaternion (Shoemake 1992)."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
