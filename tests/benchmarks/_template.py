"""The baseline that any learned picker has to beat: a radially averaged template of the labels, and nothing learned.

Written with NumPy and SciPy alone, so that it stays what it is while the picker changes.
"""

from __future__ import annotations

import numpy as np
from _specimens import Specimen, picks_table

from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["template_picks"]

#: Pixels across a particle at which everything is done.
WIDTH = 20
#: Radius of the template, and the least distance of two picks.
RADIUS, DISTANCE = 14, 15


def template_picks(specimen: Specimen, labels: ParticleTable, rounds: int = 1) -> ParticleTable:
    """Picks on ``dev`` by normalised cross-correlation with the rotational average of the labels.

    Parameters
    ----------
    specimen
        What to pick.
    labels
        On its training micrographs.
    rounds
        1: the labels' average. 2: averaged once more, from the picks on the training micrographs that are surer than
        half of the labels are.
    """
    labelled = np.unique(labels.micrograph_index)
    images, factors = _working_images(specimen.train, specimen.particle_diameter, labelled)
    centres = [labels.on(i) / factor for i, factor in zip(labelled, factors, strict=True)]
    profile = _rotational_average(images, centres)
    for _ in range(rounds - 1):
        maps = [_correlation(image, profile) for image in images]
        at_labels = [one[tuple(np.rint(yx).astype(int).clip(0, np.array(one.shape) - 1).T)]
                     for one, yx in zip(maps, centres, strict=True)]  # fmt: skip
        sure = np.median(np.concatenate(at_labels))
        peaks = [_peaks(one) for one in maps]
        profile = _rotational_average(images, [yx[heights >= sure] for yx, heights in peaks])
    found = []
    for i in range(len(specimen.dev)):
        images, factors = _working_images(specimen.dev, specimen.particle_diameter, [i])
        yx, heights = _peaks(_correlation(images[0], profile))
        found.append((yx * factors[0], heights))
    # Correlations of -1 to 1 as scores of 0 to 1.
    return picks_table(specimen.dev.names, [yx for yx, _ in found], [(1 + heights) / 2 for _, heights in found])


def _working_images(
    series: MicrographSeries, diameter: float, rows: np.ndarray | list[int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Fourier-cropped, flattened images ``(y, x)`` of unit deviation, and their pixels in original ones on (y, x)."""
    from scipy.ndimage import gaussian_filter

    images, factors = [], []
    for row in rows:
        image = np.asarray(series.read(int(row)), np.float64)
        image = np.clip(image, *(image.mean() + np.array([-8, 8]) * image.std()))
        shrink = diameter / series.require_pixel_size() / WIDTH
        shape = tuple(2 * round(length / shrink / 2) + 1 for length in image.shape)
        spectrum = np.fft.fftshift(np.fft.fft2(image - image.mean()))
        if shrink < 1:
            raise ValueError(f"{series.names[row]}: a particle is narrower than {WIDTH} pixels")
        low = [length // 2 - small // 2 for length, small in zip(image.shape, shape, strict=True)]
        cropped = spectrum[low[0] : low[0] + shape[0], low[1] : low[1] + shape[1]]
        small = np.fft.ifft2(np.fft.ifftshift(cropped)).real
        small -= gaussian_filter(small, 1.5 * WIDTH, mode="reflect")
        images.append(small / small.std())
        factors.append(np.array(image.shape) / shape)
    return images, factors


def _rings() -> np.ndarray:
    offsets = np.arange(-RADIUS, RADIUS + 1)
    return np.hypot(offsets[:, None], offsets[None, :])


def _rotational_average(images: list[np.ndarray], centres: list[np.ndarray]) -> np.ndarray:
    """``(RADIUS + 1,)``: mean of all patches at 0, 1, ... pixels from their centres."""
    ring = np.rint(_rings()).astype(int)
    inside = ring <= RADIUS
    total = np.zeros(RADIUS + 1)
    for image, points in zip(images, centres, strict=True):
        padded = np.pad(image, RADIUS, mode="edge")
        for y, x in np.rint(points).astype(int).clip(0, np.array(image.shape) - 1):
            patch = padded[y : y + 2 * RADIUS + 1, x : x + 2 * RADIUS + 1]
            total += np.bincount(ring[inside], patch[inside], RADIUS + 1)
    return total / np.bincount(ring[inside], minlength=RADIUS + 1) / max(sum(map(len, centres)), 1)


def _correlation(image: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Normalised cross-correlation ``(y, x)``, -1 to 1, with the disc that the profile describes."""
    from scipy.signal import fftconvolve

    distance = _rings()
    disc = (distance <= RADIUS).astype(float)
    template = np.interp(distance, np.arange(RADIUS + 1), profile)
    template = (template - (template * disc).sum() / disc.sum()) * disc
    template /= np.linalg.norm(template)
    padded = np.pad(image, RADIUS, mode="reflect")
    overlap, mean, square = (
        fftconvolve(values, kernel, mode="valid")
        for values, kernel in ((padded, template), (padded, disc / disc.sum()), (padded**2, disc / disc.sum()))
    )
    return overlap / np.sqrt(disc.sum() * np.maximum(square - mean**2, 1e-2))


def _peaks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima ``(n, 2)``, none within :data:`DISTANCE` of a higher one, and their heights, highest first."""
    from scipy.ndimage import maximum_filter

    pixels = np.argwhere(values == maximum_filter(values, size=3))
    pixels = pixels[np.argsort(-values[tuple(pixels.T)], kind="stable")]
    kept: list[np.ndarray] = []
    for pixel in pixels:
        if not kept or np.hypot(*(np.array(kept) - pixel).T).min() >= DISTANCE:
            kept.append(pixel)
    return np.array(kept, float), values[tuple(np.array(kept).T)]
