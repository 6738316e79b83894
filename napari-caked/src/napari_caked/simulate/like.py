"""In the likeness of real micrographs: what can be measured on them without any label.

Measured are the background's mean and deviation, the rotational average of the power spectrum, the defocus (from its
Thon rings, where they can be seen), and the contrast at the size of the particle: the quantiles of the band-passed
image, whose tails are longer than those of noise. Simulated particles are then made so strong that, together with noise
that brings the spectrum to the measured one, they have these quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import MicrographError, SettingsError
from napari_caked.simulate.micrograph import expected_image
from napari_caked.simulate.optics import electron_wavelength
from napari_caked.simulate.project import Bank
from napari_caked.simulate.settings import MeasuredNoise, OpticsSettings, SimulationSettings
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["DefocusFit", "Likeness", "fit_defocus", "in_the_likeness_of", "likeness_of", "matched", "radial_power"]

#: Rings of the rotational average, to the Nyquist frequency.
_RINGS = 256
#: Quantiles that say how strong particles are.
_QUANTILES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998)
#: Correlation of a spectrum of n rings with a squared CTF from which on a fit is believed, times the root of n: that of
#: noise varies by 1, and among all the defoci that are tried by chance hardly reaches 3.
_BELIEVED = 5.0
#: Side, in particle widths, of the parts that are judged by themselves, and how many times the usual variance at the
#: size of the particle says that a part shows contamination or carbon.
_PART, _UNUSUAL = 3.0, 3.0
#: How much better the quantiles must fit with particles than without, for their contrast to be measured.
_TOLD_APART = 0.02
#: Share of the measured power that is noise in any case.
_LEAST_NOISE = 0.1


@dataclass(frozen=True)
class DefocusFit:
    """Defocus of one micrograph.

    Attributes
    ----------
    defocus
        µm of under-focus.
    correlation
        Of the spectrum with the squared CTF, both less what varies slowly.
    rings
        Points of the rotational average that were compared.
    """

    defocus: float
    correlation: float
    rings: int

    @property
    def believed(self) -> bool:
        """Whether there are Thon rings."""
        return self.rings > 0 and self.correlation * self.rings**0.5 >= _BELIEVED


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
    means, deviations, powers, quantiles, fits = [], [], [], [], []
    for done, index in enumerate(chosen, 1):
        image, mean, deviation = _standardised(series.read(int(index)), series.names[int(index)])
        frequency, power = radial_power(image, pixel_size)
        means.append(mean)
        deviations.append(deviation)
        powers.append(_typical_power(image, pixel_size, diameter))
        quantiles.append(_band_quantiles(image, diameter / pixel_size))
        fits.append(fit_defocus(frequency, power, optics))
        progress(done, len(chosen), series.names[int(index)])
    return Likeness(
        shape=series.shape,
        pixel_size=pixel_size,
        mean=float(np.mean(means)),
        deviation=float(np.mean(deviations)),
        frequency=frequency,
        power=np.mean(powers, axis=0),
        quantiles=np.mean(quantiles, axis=0),
        diameter=diameter,
        fits=tuple(fits),
    )


def in_the_likeness_of(likeness: Likeness, settings: SimulationSettings) -> SimulationSettings:
    """Settings with the size, the pixel size and, where it could be measured, the defocus of real micrographs."""
    optics = settings.optics if likeness.defocus is None else replace(settings.optics, defocus=likeness.defocus)
    scene = replace(settings.scene, shape=likeness.shape)
    return replace(settings, pixel_size=likeness.pixel_size, optics=optics, scene=scene)


def matched(
    bank: Bank, settings: SimulationSettings, likeness: Likeness, *, dose: float | None = None, trials: int = 2
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
    trials
        Micrographs that are simulated to find the contrast.

    Raises
    ------
    SettingsError
        There are no particles whose contrast could be matched, or they are too faint to measure it.
    """
    if not settings.scene.particles:
        raise SettingsError("particles: 0 have no contrast; match with the number that real micrographs show")
    # The shape of the noise does not matter here, but that there is one does: no ice, no hills.
    silent_ice = MeasuredNoise(0.0, 1.0, 1.0, (0.0, 1.0), (0.0, 0.0))
    contrasts = []
    for index in range(trials):
        expected = expected_image(bank, replace(settings, noise=silent_ice, seed=settings.seed + 1), index)[0]
        contrasts.append(expected / np.median(expected) - 1)
    signal = np.mean([_power(contrast, bank.pixel_size, _parts(contrast, likeness)) for contrast in contrasts], axis=0)
    if dose is not None:
        strength = float(np.sqrt(dose)) * settings.pixel_size
    else:
        strength = _strength(contrasts, signal, likeness, settings)
    noise = _noise_power(likeness.power, signal, strength)
    measured = MeasuredNoise(
        likeness.mean, likeness.deviation, strength, tuple(likeness.frequency.tolist()), tuple(noise.tolist())
    )
    return replace(settings, noise=measured)


def _strength(
    contrasts: list[np.ndarray], signal: np.ndarray, likeness: Likeness, settings: SimulationSettings
) -> float:
    """Strength whose particles, with noise to the measured spectrum, have quantiles most like the measured ones."""
    import torch

    from napari_caked.simulate.optics import frequencies

    shape, width = contrasts[0].shape, likeness.diameter / likeness.pixel_size
    frequency = frequencies(shape, settings.pixel_size).numpy()
    rng = np.random.default_rng((settings.seed, 0x11CE))
    white = [torch.fft.rfft2(torch.from_numpy(rng.standard_normal(shape, np.float32))).numpy() for _ in contrasts]
    # The strongest that leaves noise at most frequencies of the particle's size.
    band = likeness.frequency < 2 / likeness.diameter
    strongest = float(np.sqrt(np.median(likeness.power[band] / np.maximum(signal[band], 1e-12))))
    strengths = strongest * np.linspace(0, 1.2, 13)
    misfits = []
    for strength in strengths:
        amplitude = np.sqrt(np.interp(frequency, likeness.frequency, _noise_power(likeness.power, signal, strength)))
        found = [
            _band_quantiles(strength * contrast + np.fft.irfft2(noise * amplitude, s=shape), width)
            for contrast, noise in zip(contrasts, white, strict=True)
        ]
        misfits.append(float(((np.mean(found, axis=0) - likeness.quantiles) ** 2).sum()))
    best = int(np.argmin(misfits))
    if misfits[0] - misfits[best] < _TOLD_APART:
        raise SettingsError(
            f"dose: particles of {likeness.diameter:g} Å are too faint on these micrographs to measure their contrast; "
            "say how many electrons per Å² there were (--dose)"
        )
    if best == len(strengths) - 1:
        return float(strengths[best])
    # The lowest point of a parabola through three.
    before, at, after = misfits[best - 1 : best + 2]
    return float(strengths[best] + 0.5 * (before - after) / (before - 2 * at + after) * (strengths[1] - strengths[0]))


def _noise_power(whole: np.ndarray, signal: np.ndarray, strength: float) -> np.ndarray:
    return np.maximum(whole - strength**2 * signal, _LEAST_NOISE * whole)


def radial_power(image: np.ndarray, pixel_size: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotational average of the power spectrum.

    Returns
    -------
    frequency, power
        ``(256,)`` in 1/Å up to the Nyquist frequency, and the power; that of white noise of deviation 1 is 1.
    """
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    spectrum = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2 / (window**2).sum()
    rows, columns = np.fft.fftfreq(image.shape[0], pixel_size), np.fft.rfftfreq(image.shape[1], pixel_size)
    step = 0.5 / pixel_size / _RINGS
    ring = (np.hypot(rows[:, None], columns) / step).astype(int).ravel()
    kept = ring < _RINGS
    counts = np.bincount(ring[kept], minlength=_RINGS)
    sums = np.bincount(ring[kept], spectrum.ravel()[kept], minlength=_RINGS)
    frequency = (np.arange(_RINGS) + 0.5) * step
    filled = counts > 0  # in small images some rings hold no point of the spectrum
    return frequency, np.interp(frequency, frequency[filled], sums[filled] / counts[filled])


def fit_defocus(frequency: np.ndarray, power: np.ndarray, optics: OpticsSettings) -> DefocusFit:
    """Defocus whose squared CTF is most like the rotational average of a power spectrum (as CTFFIND does it, in 1-D).

    Looked for between 0.3 and 6 µm of under-focus, from 1/30 Å to 1/5 Å or 0.85 of the Nyquist frequency.
    """
    highest = min(1 / 5.0, 0.85 * frequency[-1])
    used = (frequency > 1 / 30.0) & (frequency < highest)
    if used.sum() < 30:
        return DefocusFit(float("nan"), 0.0, 0)
    k = frequency[used]
    wavelength = electron_wavelength(optics.voltage)
    aberration = np.pi / 2 * optics.spherical_aberration * 1e7 * wavelength**3 * k**4
    shift = np.arcsin(optics.amplitude_contrast) + np.radians(optics.phase_plate)
    tried = np.arange(0.3, 6.0, 0.01)
    rings = np.sin(np.pi * wavelength * tried[:, None] * 1e4 * k**2 - aberration + shift) ** 2
    # What varies slowly is no Thon ring: neither in the spectrum nor, near focus, in the CTF.
    slow = np.polynomial.legendre.legvander(np.linspace(-1, 1, len(k)), 5)
    project = np.eye(len(k)) - slow @ np.linalg.pinv(slow)
    seen, expected = project @ np.log(power[used]), rings @ project
    left = np.linalg.norm(expected, axis=1)
    correlation = expected @ seen / np.maximum(left * np.linalg.norm(seen), 1e-12)
    correlation[left < 0.3 * np.linalg.norm(rings - rings.mean(axis=1, keepdims=True), axis=1)] = 0.0
    best = int(np.argmax(correlation))
    return DefocusFit(float(tried[best]), float(correlation[best]), len(k))


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
    band = _band(image, width)
    values = np.concatenate([band[part][::2, ::2].ravel() for part in _sound(band, _corners(image.shape, width))])
    return np.quantile((values - values.mean()) / values.std(), _QUANTILES)


def _band(image: np.ndarray, width: float) -> np.ndarray:
    """Difference of Gaussians that suits particles so many pixels wide."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, 0.18 * width) - gaussian_filter(image, 0.36 * width)


def _corners(shape: tuple[int, ...], width: float) -> list[tuple[slice, slice]]:
    """Equal square parts that cover an image, overlapping as they must."""
    side = min(int(np.clip(_PART * width, 64, None)), *shape)
    starts = [np.unique(np.linspace(0, n - side, -(-n // side)).astype(int)) for n in shape]
    return [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]


def _sound(band: np.ndarray, parts: list[tuple[slice, slice]]) -> list[tuple[slice, slice]]:
    """Parts that vary no more than is usual."""
    variances = np.array([band[part].var() for part in parts])
    limit = _UNUSUAL * np.median(variances)
    return [part for part, variance in zip(parts, variances, strict=True) if variance <= limit] or parts


def _parts(image: np.ndarray, likeness: Likeness) -> list[tuple[slice, slice]]:
    return _corners(image.shape, likeness.diameter / likeness.pixel_size)


def _typical_power(image: np.ndarray, pixel_size: float, diameter: float) -> np.ndarray:
    """Rotational average of the power spectrum of the sound parts."""
    width = diameter / pixel_size
    return _power(image, pixel_size, _sound(_band(image, width), _corners(image.shape, width)))


def _power(image: np.ndarray, pixel_size: float, parts: list[tuple[slice, slice]]) -> np.ndarray:
    """Mean of the rotational averages of parts of an image."""
    power: np.ndarray = np.mean([radial_power(image[part], pixel_size)[1] for part in parts], axis=0)
    return power
