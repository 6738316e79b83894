"""In the likeness of real micrographs: what can be measured on them without any label.

Measured are mean, deviation and grey values, the power spectrum by frequency and direction, the defocus (from its Thon
rings, where they can be seen), and how strong particles are (:mod:`.likeness_contrast`). Each simulated micrograph then
takes after one of the real ones: particles of that strength at its defocus, noise that brings the spectrum to the
measured one, and its grey values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import MicrographError, SettingsError
from napari_caked.simulate.likeness_contrast import (
    SILENT,
    contrasts_of_each,
    left_by_processing,
    measure_contrast,
    noise_power,
    small_copy,
    was_filtered,
)
from napari_caked.simulate.likeness_defocus import DefocusFit, fit_defocus
from napari_caked.simulate.likeness_grain import grain_of
from napari_caked.simulate.likeness_greys import grey_curve, greys_of, level, sound_pixels, uneven_by, unevenness
from napari_caked.simulate.likeness_spectrum import (
    band,
    directions_of,
    parts_of,
    radial_power,
    sound,
    typical_power,
)
from napari_caked.simulate.micrograph import dressed, expected_image, focus_of
from napari_caked.simulate.project import Bank
from napari_caked.simulate.settings import Look, MeasuredNoise, OpticsSettings, SimulationSettings
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = [
    "DefocusFit",
    "Likeness",
    "Measured",
    "fit_defocus",
    "in_the_likeness_of",
    "likeness_of",
    "matched",
    "radial_power",
]

#: Quantiles at the size of the particle.
_QUANTILES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)
_NO_FIT = DefocusFit(float("nan"), 0.0, 0)


@dataclass(frozen=True)
class Measured:
    """What was measured on one real micrograph.

    Attributes
    ----------
    mean, deviation
        Of a pixel.
    power, directions
        Over that of white noise of the same deviation: its rotational average, and by what it differs in each
        direction (:func:`.likeness_spectrum.directions_of`).
    grain
        Skew, width and trough of the puffs of single electrons (:mod:`.likeness_grain`).
    greys
        Rising grey values, less the slow background, below which are the shares of a Gaussian at -4.75 to 4.75
        deviations; of parts without contamination.
    small
        Copy ``(y, x)`` with particles 16 pixels wide, less the mean, in deviations.
    uneven
        Variance of the logarithm of the local variance (:func:`.likeness_greys.unevenness`).
    fit
        Of the defocus.
    """

    mean: float
    deviation: float
    power: np.ndarray
    directions: np.ndarray
    grain: tuple[float, float, float]
    greys: np.ndarray
    small: np.ndarray
    uneven: float
    fit: DefocusFit


@dataclass(frozen=True)
class Likeness:
    """What was measured on real micrographs.

    Attributes
    ----------
    shape, pixel_size
        ``(y, x)``, and Å per pixel.
    mean, deviation
        Of a pixel, averaged over the micrographs.
    frequency, power
        1/Å, and the power over that of white noise of the same deviation; of parts without contamination.
    quantiles
        Of the band-passed image in its own deviations, the mean of the micrographs.
    diameter
        Å; the particle's, for which was band-passed.
    fits
        Of the defocus, one per micrograph.
    each
        What was measured on each micrograph.
    factor
        Pixels per pixel of the small copies.
    whole
        Whether the values are whole numbers.
    """

    shape: tuple[int, int]
    pixel_size: float
    mean: float
    deviation: float
    frequency: np.ndarray
    power: np.ndarray
    quantiles: np.ndarray
    diameter: float
    fits: tuple[DefocusFit, ...]
    each: tuple[Measured, ...]
    factor: float
    whole: bool

    @property
    def defocus(self) -> tuple[float, float] | None:
        """Range of the defocus of the micrographs with Thon rings, µm; None where no micrograph shows any."""
        found = [fit.defocus for fit in self.fits if fit.believed]
        return (min(found), max(found)) if found else None

    @property
    def contrast(self) -> tuple[float, float]:
        """Darkest and brightest per cent at the size of the particle, in deviations."""
        return float(self.quantiles[_QUANTILES.index(0.01)]), float(self.quantiles[_QUANTILES.index(0.99)])


def likeness_of(
    series: MicrographSeries,
    diameter: float,
    optics: OpticsSettings = OpticsSettings(),
    *,
    at_most: int = 8,
    progress: Progress = silent,
) -> Likeness:
    """Measure micrographs.

    Parameters
    ----------
    series
        Micrographs; of many, ``at_most`` are taken, equally far apart.
    diameter
        Of the particle, Å.
    optics
        Voltage, spherical aberration and amplitude contrast, for the defocus.

    Raises
    ------
    PixelSizeError
        Nobody said the pixel size.
    MicrographError
        A micrograph holds nothing but one value.
    SettingsError
        The particle is not wider than three pixels, or wider than the micrograph.
    """
    pixel_size = series.require_pixel_size()
    if not 3 * pixel_size < diameter < min(series.shape) * pixel_size:
        raise SettingsError(
            f"diameter: {diameter:g} Å is no particle on micrographs of {series.shape[0]} x {series.shape[1]} pixels "
            f"of {pixel_size:g} Å"
        )
    chosen = np.unique(np.linspace(0, len(series) - 1, min(at_most, len(series))).round().astype(int))
    each, quantiles, factor = [], [], 1.0
    for done, index in enumerate(chosen, 1):
        image, mean, deviation = _standardised(series.read(int(index)), series.names[int(index)])
        frequency, power = radial_power(image, pixel_size)
        small, factor = small_copy(image, diameter / pixel_size)
        measured = Measured(
            mean,
            deviation,
            typical_power(image, pixel_size, diameter),
            directions_of(image, pixel_size),
            grain_of(image),
            deviation * greys_of(sound_pixels(image, pixel_size, diameter)),
            small,
            unevenness(image, pixel_size, diameter),
            # The side lobes of a filter look like Thon rings.
            _NO_FIT if was_filtered(frequency, power, diameter) else fit_defocus(frequency, power, optics),
        )
        each.append(measured)
        quantiles.append(_band_quantiles(image, diameter / pixel_size))
        progress(done, len(chosen), series.names[int(index)])
    return Likeness(
        shape=series.shape,
        pixel_size=pixel_size,
        mean=float(np.mean([one.mean for one in each])),
        deviation=float(np.mean([one.deviation for one in each])),
        frequency=frequency,
        power=np.mean([one.power for one in each], axis=0),
        quantiles=np.mean(quantiles, axis=0),
        diameter=diameter,
        fits=tuple(one.fit for one in each),
        each=tuple(each),
        factor=factor,
        whole=np.issubdtype(series.dtype, np.integer),
    )


def in_the_likeness_of(likeness: Likeness, settings: SimulationSettings) -> SimulationSettings:
    """Settings with the size, the pixel size and, where it could be measured, the defocus of real micrographs."""
    optics = settings.optics if likeness.defocus is None else replace(settings.optics, defocus=likeness.defocus)
    scene = replace(settings.scene, shape=likeness.shape)
    return replace(settings, pixel_size=likeness.pixel_size, optics=optics, scene=scene)


def matched(
    bank: Bank,
    settings: SimulationSettings,
    likeness: Likeness,
    *,
    dose: float | None = None,
    crowding: bool = False,
    focusing: bool = False,
    trials: int = 2,
) -> SimulationSettings:
    """Settings whose micrographs have the background and the contrast of real ones.

    Parameters
    ----------
    bank
        Of the particle.
    settings
        From :func:`in_the_likeness_of`.
    likeness
        What was measured.
    dose
        e/Å², for the contrast, whose noise is then taken for that of counting; None measures the contrast.
    crowding
        Whether the number of particles is measured, too, and not that of the settings.
    focusing
        Whether the defocus of filtered pictures, which show no Thon rings, is measured by the particles, and not that
        of the settings.
    trials
        Micrographs that are simulated to find the contrast.

    Raises
    ------
    SettingsError
        There are no particles whose contrast could be matched, or they are too faint to measure it.
    """
    if not settings.scene.particles and not crowding:
        raise SettingsError("particles: 0 have no contrast; match with the number that real micrographs show")
    filtered = was_filtered(likeness.frequency, likeness.power, likeness.diameter)
    focusing = focusing and likeness.defocus is None and filtered
    small = [one.small for one in likeness.each]
    if dose is None or crowding or focusing:
        found = measure_contrast(
            small,
            likeness.factor,
            bank,
            settings,
            likeness.diameter,
            crowding=crowding,
            focusing=focusing,
            trials=trials,
        )
        if not found.told:
            raise SettingsError(
                f"dose: particles of {likeness.diameter:g} Å are too faint on these micrographs to measure their "
                "contrast; say how many electrons per Å² there were (--dose)"
            )
        scene = replace(settings.scene, particles=found.particles)
        settings = replace(settings, scene=scene, optics=replace(settings.optics, defocus=found.defocus))
        strength = found.strength
    defoci = _defoci(likeness, settings)
    contrasts = [1.0] * len(small)
    if dose is None:
        contrasts = contrasts_of_each(
            small, defoci, likeness.factor, bank, settings, likeness.diameter, strength, trials
        )
    else:
        strength = float(np.sqrt(dose)) * settings.pixel_size
    return replace(settings, noise=_noise(bank, settings, likeness, strength, defoci, contrasts))


def _defoci(likeness: Likeness, settings: SimulationSettings) -> list[float]:
    """Defocus of each micrograph, µm: as measured, or else one of the settings' range."""
    known = settings.optics.defocus == likeness.defocus
    return [
        one.fit.defocus if known and one.fit.believed else focus_of(settings, index).defocus
        for index, one in enumerate(likeness.each)
    ]


def _noise(
    bank: Bank,
    settings: SimulationSettings,
    likeness: Likeness,
    strength: float,
    defoci: list[float],
    contrasts: list[float],
) -> MeasuredNoise:
    """Noise that, with particles of this strength, makes each micrograph look like a real one."""
    frequency = tuple(likeness.frequency.tolist())
    plain = replace(settings, noise=SILENT, seed=settings.seed + 1)
    looks, signals, images = [], [], []
    for index, (one, defocus, factor) in enumerate(zip(likeness.each, defoci, contrasts, strict=True)):
        here = replace(plain, optics=replace(plain.optics, defocus=(defocus, defocus)))
        images.append(expected_image(bank, here, index)[0])
        contrast = images[-1] / np.median(images[-1]) - 1
        signals.append(factor**2 * radial_power(contrast, bank.pixel_size)[1])
        rounded = _rounded(one.directions)
        looks.append(Look(one.mean, one.deviation, (), rounded, (0.0, 0.0, 0.0), (), defocus, factor))
    signal = np.mean(signals, axis=0)
    left = left_by_processing(likeness.frequency, likeness.power, signal, strength, likeness.diameter)
    whole = bool((left == 1).all())  # of a filtered picture nothing is left that tells about the detector
    looks = [
        replace(
            look,
            power=tuple(noise_power(_unrounded(one, likeness), left**2 * each, strength).tolist()),
            grain=one.grain if whole else (0.0, 0.0, 0.0),
        )
        for look, one, each in zip(looks, likeness.each, signals, strict=True)
    ]
    noise = MeasuredNoise(
        likeness.mean,
        likeness.deviation,
        strength,
        frequency,
        tuple(noise_power(likeness.power, left**2 * signal, strength).tolist()),
        () if whole else tuple(left.tolist()),
        tuple(looks),
        slow=likeness.diameter,
    )
    for index, (one, image) in enumerate(zip(likeness.each, images, strict=True)):

        def made(noise: MeasuredNoise, image: np.ndarray = image, index: int = index) -> np.ndarray:
            rng = np.random.default_rng((settings.seed, index, 0x9EE5))
            return dressed(image, noise, bank.pixel_size, rng, index)

        def greys(noise: MeasuredNoise, made: Callable[[MeasuredNoise], np.ndarray] = made) -> np.ndarray:
            return greys_of(level(made(noise), bank.pixel_size, likeness.diameter))

        plain_one = unevenness(made(noise) - one.mean, bank.pixel_size, likeness.diameter)
        noise = noise.with_look(index, uneven=uneven_by(one.uneven - plain_one))
        noise = noise.with_look(index, greys=grey_curve(greys, noise, index, one.greys))
    return replace(noise, whole=likeness.whole)


def _unrounded(one: Measured, likeness: Likeness) -> np.ndarray:
    """Power without that of rounding to whole numbers, a twelfth of their square, which comes once more."""
    return np.maximum(one.power - likeness.whole / 12 / one.deviation**2, 0.01 * one.power)


def _rounded(grid: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), 3) for value in row) for row in grid)


def _standardised(micrograph: np.ndarray, name: str) -> tuple[np.ndarray, float, float]:
    """Micrograph less its mean in its deviations, pixels without specimen at 0; and mean and deviation."""
    from napari_caked.preprocess.valid import invalid_pixels, outlier_bounds

    bounds = outlier_bounds(micrograph)
    invalid = invalid_pixels(micrograph, bounds)
    values = np.clip(np.nan_to_num(micrograph.astype(np.float64)), *bounds)
    valid = values if invalid is None else values[~invalid]
    if not valid.size or not valid.std() > 0:
        raise MicrographError(f"{name}: nothing but one value; there is nothing to measure")
    mean, deviation = float(valid.mean()), float(valid.std())
    image = (values - mean) / deviation
    if invalid is not None:
        image[invalid] = 0
    return image, mean, deviation


def _band_quantiles(image: np.ndarray, width: float) -> np.ndarray:
    """Quantiles of the image at the size of particles so many pixels wide, in its own deviations; sound parts only."""
    seen = band(image, width)
    values = np.concatenate([seen[part][::2, ::2].ravel() for part in sound(seen, parts_of(image.shape, width))])
    return np.quantile((values - values.mean()) / values.std(), _QUANTILES)
