"""How strong particles are, and how many there are, by what a matched filter finds on the real micrographs.

The filter is the particle's own mean projection, as the microscope shows it, over the power of the noise (North, Proc.
IEEE 51, 1016 (1963)): of all linear filters it lets particles stand out the most, so that their strength can still be
measured where no band-pass shows them. Strength and number are those with which simulated micrographs, filtered
likewise, have the quantiles of the real ones. All of this happens on small copies, a particle 16 pixels wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_caked.simulate.likeness_spectrum import parts_of, radial_power, sound
from napari_caked.simulate.micrograph import expected_image
from napari_caked.simulate.optics import Focus, contrast_transfer, frequencies
from napari_caked.simulate.project import Bank
from napari_caked.simulate.settings import MeasuredNoise, SimulationSettings

__all__ = [
    "SILENT",
    "Contrast",
    "left_by_processing",
    "measure_contrast",
    "noise_power",
    "small_bank",
    "small_copy",
    "was_filtered",
]

#: Background that is none: no ice, no hills, no counting.
SILENT = MeasuredNoise(0.0, 1.0, 1.0, (0.0, 1.0), (0.0, 0.0))

#: Pixels across a particle on small copies.
_WIDTH = 16.0
#: Share of pixels below the quantiles that are compared.
_SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)
#: Deviations of the Gaussians whose differences are band-passes, in diameters. Filtered pictures have no grain of the
#: detector whose skew could be taken for that of particles, and need more bands: nothing else tells their defocus.
_BANDS, _FILTERED_BANDS = (0.06, 0.18, 0.36), (0.04, 0.08, 0.16, 0.32, 0.64)
#: Strengths that are tried, up to so many times the strongest that leaves room for noise.
_TRIED, _BEYOND = 12, 1.2
#: Particles that are tried, per square of the diameter; discs thrown at random jam at 0.7 of them.
_CROWDS = (0.03, 0.06, 0.12, 0.22, 0.35, 0.5, 0.68)
#: Least share of the power that is noise in any case.
_LEAST_NOISE = 0.1
#: Defoci that are tried where nothing else tells it, µm, and the share of it by which micrographs differ.
_DEFOCI, _DEFOCUS_SPREAD = (0.8, 1.5, 2.5, 4.0, 6.0), 0.2
#: Squares of the diameter per particle while the defocus is sought and the number is not known yet.
_USUAL_CROWD = 0.35
#: How much better the quantiles must fit with particles than without, for their contrast to be measured.
TOLD_APART = 0.02
#: The same on a single micrograph, of whose quantiles more is chance, for it to have a contrast of its own.
_TOLD_ALONE = 0.2
#: Least and greatest contrast of the particles on one micrograph, over that of all.
_LEAST_CONTRAST, _MOST_CONTRAST = 0.5, 2.0
#: Power near the Nyquist frequency, over that at the size of the particle, below which no detector but only a filter
#: brings it.
_FILTERED = 3e-3


@dataclass(frozen=True)
class Contrast:
    """What was found.

    Attributes
    ----------
    strength
        Deviations of a pixel of the real micrographs that a relative contrast of 1 makes.
    particles
        In a micrograph.
    misfit, without
        Sum of the squared differences of the quantiles with these particles, and with none.
    defocus
        Range in µm with which this was found.
    """

    strength: float
    particles: int
    misfit: float
    without: float
    defocus: tuple[float, float]

    @property
    def told(self) -> bool:
        """Whether particles were told from noise."""
        return self.without - self.misfit >= TOLD_APART


def small_copy(image: np.ndarray, width: float) -> tuple[np.ndarray, float]:
    """The image, Fourier-cropped until particles ``width`` pixels wide are 16, and old pixels per new; never larger."""
    from napari_caked.preprocess.rescale import Rescaling, rescale

    factor = max(1.0, width / _WIDTH)
    if factor == 1.0:
        return np.asarray(image, np.float32), 1.0
    plan = Rescaling.plan((image.shape[0], image.shape[1]), factor)
    return rescale(image.astype(np.float32), plan).numpy(), float(np.mean(plan.factor))


def measure_contrast(
    images: Sequence[np.ndarray],
    factor: float,
    bank: Bank,
    settings: SimulationSettings,
    diameter: float,
    *,
    crowding: bool,
    focusing: bool = False,
    trials: int = 2,
) -> Contrast:
    """Strength, and with ``crowding`` the number, of the particles on micrographs.

    Parameters
    ----------
    images
        Small copies ``(y, x)`` of micrographs, in deviations of a pixel of the originals.
    factor
        Pixels of the originals per pixel of the copies.
    bank, settings
        Of the originals' pixel size; without ``crowding`` there are as many particles as the settings say.
    diameter
        Å.
    focusing
        Whether the defocus, too, is the one that fits best: more of it makes the particles' edges stronger and their
        surroundings brighter, and not that of the settings.
    trials
        Micrographs that are simulated for each number of particles.
    """
    field = _Field.of(images, factor, bank, settings, diameter)
    real = field.quantiles(images, clean=True)
    pixels = field.shape[0] * field.shape[1]
    area = pixels * field.bank.pixel_size**2 / diameter**2
    particles = settings.scene.particles
    ranges = [settings.optics.defocus]
    if focusing:
        few, many = 1 - _DEFOCUS_SPREAD, 1 + _DEFOCUS_SPREAD
        ranges = [(few * defocus, many * defocus) for defocus in _DEFOCI]
    if len(ranges) > 1 and crowding:
        usual = max(1, round(_USUAL_CROWD * area))
        ranges = [min((field.fitted(real, usual, one, trials) for one in ranges), key=_misfit).defocus]
    crowds = [max(1, round(crowd * area)) for crowd in _CROWDS] if crowding else [particles]
    return min((field.fitted(real, crowd, one, trials) for crowd in crowds for one in ranges), key=_misfit)


def contrasts_of_each(
    images: Sequence[np.ndarray],
    defoci: Sequence[float],
    factor: float,
    bank: Bank,
    settings: SimulationSettings,
    diameter: float,
    strength: float,
    trials: int = 2,
) -> list[float]:
    """Contrast of the particles on each micrograph over that of all, 1 on average: thick ice has less of it.

    Parameters
    ----------
    images, factor, bank, settings, diameter, trials
        As for :func:`measure_contrast`.
    defoci
        µm, of each micrograph.
    strength
        Of the particles on all of them.
    """
    found = []
    for image, defocus in zip(images, defoci, strict=True):
        field = _Field.of([image], factor, bank, settings, diameter)
        real = field.quantiles([image], clean=True)
        one = field.fitted(real, settings.scene.particles, (defocus, defocus), trials)
        found.append(one.strength / strength if one.without - one.misfit >= _TOLD_ALONE else 1.0)
    # How strong particles are on the whole is known better from all micrographs together.
    contrasts = np.clip(found, _LEAST_CONTRAST, _MOST_CONTRAST)
    return [float(contrast) for contrast in contrasts / np.exp(np.log(contrasts).mean())]


def _misfit(contrast: Contrast) -> float:
    return contrast.misfit


class _Field:
    """Small micrographs of one shape and spectrum, and the filter that suits the particle."""

    def __init__(
        self,
        shape: tuple[int, int],
        bank: Bank,
        settings: SimulationSettings,
        diameter: float,
        frequency: np.ndarray,
        power: np.ndarray,
    ) -> None:
        self.shape, self.bank, self.settings, self.diameter = shape, bank, settings, diameter
        self.frequency, self.power = frequency, power
        self.length = frequencies(shape, bank.pixel_size).numpy()
        self.filters = (self._matched(), *self._plain())
        rng = np.random.default_rng((settings.seed, 0x11CE))
        self._white: Callable[[], np.ndarray] = lambda: np.fft.rfft2(rng.standard_normal(shape, np.float32))

    @classmethod
    def of(
        cls, images: Sequence[np.ndarray], factor: float, bank: Bank, settings: SimulationSettings, diameter: float
    ) -> _Field:
        """For small copies ``(y, x)`` of micrographs; bank and settings are those of the originals."""
        small = small_bank(bank, factor)
        shape = (images[0].shape[0], images[0].shape[1])
        camera, scene = replace(settings.camera, mtf=1.0), replace(settings.scene, shape=shape)
        settings = replace(
            settings, pixel_size=small.pixel_size, camera=camera, scene=scene, noise=SILENT, seed=settings.seed + 1
        )
        spectra = [radial_power(image, small.pixel_size) for image in images]
        return cls(
            shape, small, settings, diameter, spectra[0][0], np.mean([spectrum[1] for spectrum in spectra], axis=0)
        )

    def _matched(self) -> np.ndarray:
        mean = self.bank.images.mean(axis=0)
        flat = np.fft.rfft2(np.fft.ifftshift(mean)).real
        ring = np.rint(frequencies(mean.shape, 1.0).numpy() * 2 * self.bank.box).astype(int).ravel()
        count = np.maximum(np.bincount(ring), 1)
        profile = np.bincount(ring, flat.ravel()) / count
        places = np.arange(len(count)) / (2 * self.bank.box * self.bank.pixel_size)
        filled = np.bincount(ring) > 0
        optics = self.settings.optics
        focus = Focus(float(np.mean(optics.defocus)))
        transfer = contrast_transfer(focus, np.zeros(1), optics, self.shape, self.bank.pixel_size)[0].numpy()
        power = np.maximum(self.power, 1e-3 * self.power.max())  # of a filtered image much is all but nothing
        left = left_by_processing(self.frequency, self.power, np.zeros_like(self.power), 0.0, self.diameter)
        return np.asarray(
            np.interp(self.length, places[filled], profile[filled])
            * transfer
            * np.interp(self.length, self.frequency, left / power)
        )

    def _plain(self) -> tuple[np.ndarray, ...]:
        """Band-passes at the size of the particle and at fractions of it; each a difference of Gaussians."""
        square = 2 * (np.pi * self.diameter * self.length) ** 2
        widths = _FILTERED_BANDS if was_filtered(self.frequency, self.power, self.diameter) else _BANDS
        left = [np.exp(-square * width**2) for width in widths]
        return tuple(fine - coarse for fine, coarse in zip(left[:-1], left[1:], strict=True))

    def quantiles(self, images: Sequence[np.ndarray], *, clean: bool = False) -> np.ndarray:
        """Of the filtered images in their own deviations, the mean of all; ``clean``: of their sound parts.

        Returns
        -------
        numpy.ndarray
            ``(filters, shares)``.
        """
        parts = parts_of(self.shape, self.diameter / self.bank.pixel_size)
        found = []
        for image in images:
            wave = np.fft.rfft2(image)
            for one in self.filters:
                seen = np.fft.irfft2(wave * one, s=self.shape)
                values = np.concatenate([seen[part].ravel() for part in (sound(seen, parts) if clean else parts)])
                found.append(np.quantile((values - values.mean()) / values.std(), _SHARES))
        return np.mean(np.reshape(found, (len(images), len(self.filters), len(_SHARES))), axis=0)

    def fitted(self, real: np.ndarray, particles: int, defocus: tuple[float, float], trials: int) -> Contrast:
        """The strength of so many particles, so many µm under focus, that comes nearest to the real quantiles."""
        settings = replace(
            self.settings,
            scene=replace(self.settings.scene, particles=particles),
            optics=replace(self.settings.optics, defocus=defocus),
        )
        contrasts = [expected_image(self.bank, settings, index)[0] for index in range(trials)]
        contrasts = [contrast / np.median(contrast) - 1 for contrast in contrasts]
        signal = np.mean([radial_power(contrast, self.bank.pixel_size)[1] for contrast in contrasts], axis=0)
        noises = [self._white() for _ in contrasts]
        at_size = self.frequency < 2 / self.diameter
        strongest = float(np.sqrt(np.median(self.power[at_size] / np.maximum(signal[at_size], 1e-12))))
        strengths = strongest * np.linspace(0, _BEYOND, _TRIED)
        misfits = [self._misfit(real, contrasts, noises, signal, strength) for strength in strengths]
        best = int(np.argmin(misfits))
        strength = float(strengths[best])
        if 0 < best < _TRIED - 1:  # the lowest point of a parabola through three
            before, at, after = misfits[best - 1 : best + 2]
            strength += float(0.5 * (before - after) / (before - 2 * at + after) * (strengths[1] - strengths[0]))
        return Contrast(strength, particles, misfits[best], misfits[0], defocus)

    def _misfit(
        self,
        real: np.ndarray,
        contrasts: Sequence[np.ndarray],
        noises: Sequence[np.ndarray],
        signal: np.ndarray,
        strength: float,
    ) -> float:
        left = left_by_processing(self.frequency, self.power, signal, strength, self.diameter)
        amplitude = np.interp(self.length, self.frequency, np.sqrt(noise_power(self.power, left**2 * signal, strength)))
        through = strength * np.interp(self.length, self.frequency, left)
        made = [
            np.fft.irfft2(through * np.fft.rfft2(contrast) + amplitude * noise, s=self.shape)
            for contrast, noise in zip(contrasts, noises, strict=True)
        ]
        return float((_weights() * (self.quantiles(made) - real) ** 2).sum())


def _weights() -> np.ndarray:
    """Of the quantiles, 1 on average: the root of the share of pixels that each stands for.

    Outermost quantiles are those of the few particles that are the darkest; alone they would set the strength of all.
    """
    root: np.ndarray = np.sqrt(np.gradient(np.asarray(_SHARES)))
    return root / root.mean()


def noise_power(whole: np.ndarray, signal: np.ndarray, strength: float) -> np.ndarray:
    """Power of the noise beside particles of so much power and strength."""
    return np.maximum(whole - strength**2 * signal, _LEAST_NOISE * whole)


def left_by_processing(
    frequency: np.ndarray, power: np.ndarray, signal: np.ndarray, strength: float, diameter: float
) -> np.ndarray:
    """Share of the amplitudes that a filter has left of a picture; 1 where the picture was not filtered.

    What the filter left of the noise, it left of the particles. Counted electrons make noise that is white, or nearly;
    so the filter is by how much the power falls short of what white noise and particles have, the noise taken from
    frequencies of one particle in one to three diameters, where no filter of a picture to be looked at takes anything.
    """
    if not was_filtered(frequency, power, diameter):
        return np.ones_like(power)
    white = np.median(noise_power(power, signal, strength)[_at_size(frequency, diameter)])
    left = np.minimum(power / (white + strength**2 * signal), 1.0)
    left[frequency < 0.8 / diameter] = 1.0
    return np.sqrt(left)


def was_filtered(frequency: np.ndarray, power: np.ndarray, diameter: float) -> bool:
    """Whether fine detail is so faint that a filter must have taken it."""
    at_size, end = _at_size(frequency, diameter), frequency > 0.75 * frequency[-1]
    return bool(at_size.any() and np.median(power[end]) < _FILTERED * np.median(power[at_size]))


def _at_size(frequency: np.ndarray, diameter: float) -> np.ndarray:
    return np.asarray((frequency > 0.3 / diameter) & (frequency < 0.8 / diameter))


def small_bank(bank: Bank, factor: float) -> Bank:
    """The bank's projections in V Å on pixels ``factor`` times as wide, without those of broken particles."""
    if factor == 1.0:
        return replace(bank, broken=bank.broken[:0])
    # A padded side that is an even number of the new pixels, to a part in a thousand.
    sides = np.arange(bank.box, 2 * bank.box + 50, 2)
    news = 2 * np.maximum(np.rint(sides / factor / 2), 1)
    error = np.abs(sides / factor / news - 1)
    best = int(np.argmax(error < 1e-3)) if (error < 1e-3).any() else int(np.argmin(error))
    side, new = int(sides[best]), int(news[best])
    before = side // 2 - bank.box // 2
    padded = np.pad(bank.images, ((0, 0), *[(before, side - bank.box - before)] * 2))
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(padded, axes=(1, 2))), axes=(1, 2))
    inner = slice(side // 2 - new // 2, side // 2 + new // 2)
    images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum[:, inner, inner], axes=(1, 2))).real, axes=(1, 2))
    small = (images * (new / side) ** 2).astype(np.float32)
    return Bank(small, small[:0], bank.eulers, bank.pixel_size * factor, bank.diameter, bank.name)
