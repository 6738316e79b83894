"""One simulated micrograph with its truth, from a bank of projections and settings.

Image formation is that of the weak-phase approximation: ``I = T (1 + 2 F^-1[CTF E F[sigma V]])`` with the potential V
in V Å, the interaction constant sigma, the envelopes E, and the share T of electrons that the thickness lets through.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import SettingsError
from napari_caked.simulate.likeness_grain import skewed_noise
from napari_caked.simulate.noise import coloured_noise, count_electrons, directional, modulation_transfer, solvent_power
from napari_caked.simulate.optics import (
    Focus,
    contrast_transfer,
    draw_focus,
    electron_wavelength,
    frequencies,
    gaussian_envelope,
    interaction_constant,
    lasting_signal,
)
from napari_caked.simulate.project import Bank
from napari_caked.simulate.scene import Layout, Scene, build_scene, lay_out
from napari_caked.simulate.settings import MeasuredNoise, SimulationSettings

if TYPE_CHECKING:
    import torch

__all__ = [
    "SimulatedMicrograph",
    "defoci_of",
    "dressed",
    "expected_image",
    "focus_of",
    "layout_of",
    "simulate",
    "simulate_micrograph",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SimulatedMicrograph:
    """A micrograph and all that is true about it.

    Attributes
    ----------
    image
        ``(y, x)`` float32, electrons counted in each pixel, or what the real micrographs hold whose noise it has.
    pixel_size
        Å.
    scene
        The specimen: centres, heights, masks, decoys.
    focus
        At the middle of the ice.
    eulers
        ``(n, 3)`` rot, tilt, psi of the particles in degrees.
    settings
        What it was made from.
    index
        Its number in the series.
    """

    image: np.ndarray
    pixel_size: float
    scene: Scene
    focus: Focus
    eulers: np.ndarray
    settings: SimulationSettings
    index: int

    @property
    def defoci(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U and V in Å and the angle of U in degrees, of each particle, as RELION has them."""
        return defoci_of(self.focus, self.scene.heights)


def defoci_of(focus: Focus, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U and V in Å and the angle of U in degrees, of particles so many Å above the middle of the ice."""
    middle = focus.defocus * 1e4 + heights
    half = focus.astigmatism * 1e4 / 2
    return middle + half, middle - half, np.full(len(middle), focus.angle)


def simulate(bank: Bank, settings: SimulationSettings, count: int, first: int = 0) -> Iterator[SimulatedMicrograph]:
    """Micrographs ``first`` to ``first + count - 1`` of the endless series that settings and seed describe."""
    for index in range(first, first + count):
        yield simulate_micrograph(bank, settings, index)


def simulate_micrograph(bank: Bank, settings: SimulationSettings, index: int = 0) -> SimulatedMicrograph:
    """Micrograph number ``index`` of the series; the same one whatever was simulated before it.

    Raises
    ------
    SettingsError
        The bank has another pixel size than the settings.
    """
    counting = _streams(settings, index)[3]
    expected, scene, focus = expected_image(bank, settings, index)
    if settings.noise is not None:
        image = dressed(expected, settings.noise, settings.pixel_size, counting, index)
    else:
        image = count_electrons(counting, expected * (settings.camera.dose * settings.pixel_size**2))
    if len(scene.centres) < settings.scene.particles:
        logger.info("micrograph %d: %d of %d particles fit", index, len(scene.centres), settings.scene.particles)
    return SimulatedMicrograph(
        image,
        settings.pixel_size,
        scene,
        focus,
        bank.eulers[scene.views],
        settings,
        index,
    )


def expected_image(bank: Bank, settings: SimulationSettings, index: int = 0) -> tuple[np.ndarray, Scene, Focus]:
    """Micrograph before the electrons are counted.

    Returns
    -------
    image : numpy.ndarray
        ``(y, x)`` float32: electrons expected, relative to those that come onto the specimen.
    scene, focus
        What it shows, and how.
    """
    if abs(bank.pixel_size - settings.pixel_size) > 1e-4 * settings.pixel_size:
        raise SettingsError(
            f"pixel_size: the bank's projections have {bank.pixel_size:g} Å per pixel and the micrographs "
            f"{settings.pixel_size:g}; make the bank with that pixel size"
        )
    laying, focussing, freezing, _ = _streams(settings, index)
    focus = _focus(settings, focussing, index)
    rim, padded = _rim(settings, bank)
    scene = build_scene(bank, settings, laying, rim, padded)
    contrast = _contrast(scene, focus, settings, freezing)
    cut = tuple(slice(rim, rim + length) for length in scene.shape)
    image = np.exp(-scene.attenuation[cut]) * np.maximum(1 + contrast[cut], 0)
    return image, scene, focus


def layout_of(bank: Bank, settings: SimulationSettings, index: int = 0) -> tuple[Layout, Focus]:
    """What lies where in micrograph number ``index``, and its focus, without the image."""
    laying, focussing, *_ = _streams(settings, index)
    return lay_out(bank, settings, laying), _focus(settings, focussing, index)


def focus_of(settings: SimulationSettings, index: int = 0) -> Focus:
    """Of micrograph number ``index``."""
    return _focus(settings, _streams(settings, index)[1], index)


def _focus(settings: SimulationSettings, rng: np.random.Generator, index: int) -> Focus:
    """Focus of the real micrograph that this one takes after, or one from the range of the series."""
    drawn = draw_focus(settings.optics, rng)
    known = settings.noise.look(index).defocus if settings.noise is not None else None
    return drawn if known is None else replace(drawn, defocus=known)


def dressed(
    expected: np.ndarray, noise: MeasuredNoise, pixel_size: float, rng: np.random.Generator, index: int = 0
) -> np.ndarray:
    """What is expected, with the background and the grey values of a real micrograph, in its units, float32."""
    import torch

    look = noise.look(index)
    frequency = frequencies(expected.shape, pixel_size)
    turned = directional(look.directions, expected.shape) if look.directions else torch.ones(())
    power = torch.from_numpy(np.interp(frequency.numpy(), noise.frequency, look.power).astype(np.float32)) * turned
    wave = torch.fft.rfft2(torch.from_numpy(skewed_noise(rng, expected.shape, *look.grain))) * power.sqrt()
    contrast = torch.fft.rfft2(torch.from_numpy(expected / np.median(expected) - 1))
    left = torch.ones(())
    if noise.transfer:
        left = torch.from_numpy(np.interp(frequency.numpy(), noise.frequency, noise.transfer).astype(np.float32))
        contrast *= left * turned.sqrt()
    wave += noise.strength * look.contrast * contrast
    image = torch.fft.irfft2(wave, s=expected.shape).numpy()
    image *= look.deviation
    if look.uneven:
        slow = look.deviation * torch.fft.irfft2(wave * slow_share(frequency, noise.slow), s=expected.shape).numpy()
        image = slow + (image - slow) * _uneven(rng, frequency, expected.shape, noise.slow, look.uneven)
        wave = torch.fft.rfft2(torch.from_numpy(image / look.deviation))
    if look.greys:
        slow = look.deviation * torch.fft.irfft2(wave * slow_share(frequency, noise.slow), s=expected.shape).numpy()
        change = _regreyed(image - slow, *look.greys) - (image - slow)
        # What a filter has taken, other grey values must not bring back.
        image += torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(change)) * left, s=expected.shape).numpy()
    image = image + look.mean
    return (np.rint(image) if noise.whole else image).astype(np.float32)


def _uneven(
    rng: np.random.Generator, frequency: torch.Tensor, shape: tuple[int, ...], width: float, deviation: float
) -> np.ndarray:
    """Factors ``(y, x)`` whose logarithm has so much deviation and varies over ``width`` Å; the mean square is 1."""
    import torch

    wave = torch.fft.rfft2(torch.from_numpy(rng.standard_normal(shape, np.float32)))
    field = torch.fft.irfft2(wave * slow_share(frequency, width), s=shape).numpy()
    factor = np.exp(deviation * (field / field.std()))
    return np.asarray(factor / np.sqrt(np.square(factor).mean()))


def slow_share(frequency: torch.Tensor, width: float) -> torch.Tensor:
    """What an average by a Gaussian of ``width`` Å leaves of amplitudes."""
    import torch

    return torch.exp(-2 * (np.pi * width * frequency) ** 2)


def _regreyed(image: np.ndarray, simulated: Sequence[float], real: Sequence[float]) -> np.ndarray:
    """Values in place of others of the same rank; those beyond the last one keep their distance to it."""
    beyond = image - np.clip(image, simulated[0], simulated[-1])
    return np.asarray(np.interp(image, simulated, real) + beyond)


def _streams(settings: SimulationSettings, index: int) -> list[np.random.Generator]:
    """Separate chance for the specimen, the focus, the ice and the electrons: one setting moves no other's."""
    return np.random.default_rng((settings.seed, index)).spawn(4)


def _rim(settings: SimulationSettings, bank: Bank) -> tuple[int, tuple[int, int]]:
    """Pixels around the micrograph, and the shape with them, good for Fourier transforms.

    The rim is as wide as defocus spreads detail of 8 Å, ``lambda dz k``, or half a particle: whatever could show in the
    micrograph is simulated, and nothing wraps around.
    """
    from scipy.fft import next_fast_len

    finest = min(1 / 8.0, 0.5 / settings.pixel_size)
    strongest = max(abs(value) for value in settings.optics.defocus) * 1e4
    spread = electron_wavelength(settings.optics.voltage) * strongest * finest
    rim = int(np.ceil(max(spread, bank.diameter / 2) / settings.pixel_size)) + 8
    height, width = (next_fast_len(length + 2 * rim, real=True) for length in settings.scene.shape)
    return rim, (height, width)


def _contrast(scene: Scene, focus: Focus, settings: SimulationSettings, rng: np.random.Generator) -> np.ndarray:
    """``I / T - 1`` on the padded field, float32."""
    import torch

    optics, camera, padded = settings.optics, settings.camera, scene.attenuation.shape
    frequency = frequencies(padded, settings.pixel_size)
    transfer = contrast_transfer(focus, scene.depths, optics, padded, settings.pixel_size)
    wave = torch.zeros(frequency.shape, dtype=torch.complex64)
    for potential, ctf in zip(scene.potential, transfer, strict=True):
        wave += torch.fft.rfft2(potential) * ctf
    if camera.damage:
        wave *= lasting_signal(frequency, camera.dose, optics.voltage)
    if camera.solvent and settings.noise is None:
        wave += coloured_noise(rng, padded, _ice_amplitude(frequency, transfer, settings))
    wave *= 2 * interaction_constant(optics.voltage) * gaussian_envelope(frequency, optics.b_factor)
    wave *= modulation_transfer(frequency, settings.pixel_size, camera.mtf)
    return torch.fft.irfft2(wave, s=padded).numpy()


def _ice_amplitude(frequency: torch.Tensor, transfer: torch.Tensor, settings: SimulationSettings) -> torch.Tensor:
    """Factor that makes of white noise what the optics make of the structure of the ice, V Å.

    The ice at each depth is independent, so its powers add: one noise with the mean of the squared CTFs is exactly as
    good as one for each depth.
    """
    camera = settings.camera
    power = camera.solvent * solvent_power(frequency, settings.scene.ice_thickness, camera.dose)
    return (power * (transfer**2).mean(dim=0)).sqrt() / settings.pixel_size
