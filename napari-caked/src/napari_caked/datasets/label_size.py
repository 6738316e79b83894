"""How large the labelled things look, to tell a wrong diameter or pixel size before it costs a training.

The average of the labelled patches, turned about its centre, is compared with Laplacians of Gaussians of many widths
(Lindeberg, Int. J. Comput. Vision 30, 79 (1998)); the widest that fits nearly as well as the best says how large the
particle is, because hollow and fringed particles have smaller structure too. Where their middle fits as well with the
other sign, the widest sees the hole and the surroundings as one, and the size lies between the two. How sure that is,
resampling the labels says (Efron's bootstrap): ten noisy labels that could as well be of the stated size are no reason
to warn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

__all__ = ["looks_like", "profiles", "size_in_words"]

#: Widths that are tried, in particle widths.
_WIDTHS = np.geomspace(0.3, 3.0, 40)
#: A wider fit is taken that is at least this share of the best.
_NEARLY = 0.4
#: A middle of the other sign is a hole if it fits at least this share of the widest;
_HOLE = 0.7
#: the size is then so many times the geometric mean of both widths: rings, measured, seem as much larger than they are
#: as solid shapes do (1.0 to 1.4 times), and apoferritin, of which projections are hollow, 1.0.
_HOLLOW = 1.2
#: Which disc a Laplacian stands for, so that shapes scatter about 1: measured, beta-galactosidase 0.7 of its diameter,
#: a Gaussian blob 1.0, a plain ball 1.2, a plain disc 1.4.
_FITS_NARROWER = 1.24
#: Sizes off by more than this factor are worth a warning,
_FACTOR = 1.5
#: where so many of the resampled averages agree, and of averages of fewer than 20 labels still more.
_AGREEING, _AGREEING_OF_FEW = 0.95, 0.985
#: Fewer labels say nothing.
_LEAST_LABELS = 8


def size_in_words(
    images: Sequence[torch.Tensor],
    centres: Sequence[np.ndarray],
    particle_width: float,
    particle_diameter: float,
    pixel_size: float,
    *,
    own_picks: bool = False,
) -> str | None:
    """A warning that the labelled places do not look like particles of the stated diameter, or of one, or None.

    Parameters
    ----------
    images, centres
        Working images, and for each ``(n, 2)`` (y, x) of labels.
    particle_width
        Working pixels per particle diameter.
    particle_diameter
        Å.
    pixel_size
        Å per micrograph pixel.
    own_picks
        Nobody has labelled: these are the surest picks of a picker.
    """
    if sum(map(len, centres)) < _LEAST_LABELS:
        return None
    halves = profiles(images, centres, round(2.2 * particle_width))
    whole = halves.mean(axis=1)
    ratio = looks_like(whole, particle_width)
    if ratio is not None and not 1 / _FACTOR < ratio < _FACTOR:
        return (
            f"{'the surest picks' if own_picks else 'the labelled places'} look like particles of about "
            f"{_rounded(ratio * particle_diameter)} Å, but the diameter says {particle_diameter:g} Å at {pixel_size:g} "
            f"Å per pixel: check both{', or label ten particles' if own_picks else ''}"
        )
    two = _two_sizes(halves, particle_width)
    if two is not None:
        small, large = (_rounded(one * particle_diameter) for one in two)
        if own_picks:
            return (
                f"some of the surest picks look like particles of about {small} Å, others of about {large} Å: not all "
                "of them may be your particle; to choose, label ten"
            )
        return (
            f"some of the labelled places look like particles of about {small} Å, others of about {large} Å: label "
            "one kind of particle at a time, or check that all micrographs have the same pixel size"
        )
    return None


def profiles(images: Sequence[torch.Tensor], centres: Sequence[np.ndarray], radius: int) -> np.ndarray:
    """``(n, 2, radius + 1)`` mean of each label's patch at 0, 1, ... pixels from it, in two halves of the directions.

    The first half are the quadrants left above and right below, so that both see a particle of any shape alike, but
    each noise of its own.
    """
    offsets = np.arange(-radius, radius + 1)
    ring = np.rint(np.hypot(offsets[:, None], offsets)).astype(int)
    # Quadrants that share no pixel and no axis: each begins on one axis and ends before the next.
    turned = np.floor_divide(np.arctan2(offsets[:, None], offsets), np.pi / 2).astype(int) % 2
    rows = []
    for image, points in zip(images, centres, strict=True):
        padded = np.pad(image.float().cpu().numpy(), radius)
        for y, x in np.clip(np.rint(points), 0, np.array(image.shape) - 1).astype(int):
            patch = padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            rows.append([_ring_means(patch, ring, (turned == half) | (ring == 0), radius) for half in (0, 1)])
    return np.array(rows).reshape(-1, 2, radius + 1)


def _ring_means(patch: np.ndarray, ring: np.ndarray, part: np.ndarray, radius: int) -> np.ndarray:
    part = part & (ring <= radius)
    total = np.bincount(ring[part], patch[part], radius + 1)
    return total / np.bincount(ring[part], minlength=radius + 1)


def looks_like(rows: np.ndarray, particle_width: float) -> float | None:
    """Size of what profiles ``(n, radius + 1)`` show, in particle diameters; None if resampling cannot tell its side.

    What looks as it should is given as it is; a size that is off by the factor of a warning only if it is sure.
    """
    fits = rows @ _laplacians(rows.shape[1] - 1, particle_width)
    size = float(_best_width(fits.mean(axis=0)[None])[0])
    dice = np.random.default_rng(0)
    resampled = _best_width(fits[dice.integers(0, len(fits), (200, len(fits)))].mean(axis=1))
    needed = _AGREEING if len(fits) >= 20 else _AGREEING_OF_FEW
    if size >= _FACTOR:
        return size if float((resampled >= _FACTOR).mean()) >= needed else None
    if size <= 1 / _FACTOR:
        return size if float((resampled <= 1 / _FACTOR).mean()) >= needed else None
    return size


def _laplacians(radius: int, particle_width: float) -> np.ndarray:
    """``(radius + 1, widths)``: a profile times this is its correlation with each Laplacian of a Gaussian.

    Each has zero mean over the disc. Half way between unit norm, with which noise favours no width but a plain disc
    seems 1.4 times its size, and the norm of scale space, with which a disc is itself but noise seems small.
    """
    offsets = np.arange(-radius, radius + 1)
    ring = np.rint(np.hypot(offsets[:, None], offsets)).astype(int)
    area = np.bincount(ring[ring <= radius], minlength=radius + 1).astype(float)
    r = np.arange(radius + 1)[:, None]
    # The Laplacian of deviation s fits a disc of radius s sqrt(2).
    deviation = _WIDTHS * particle_width / (2 * np.sqrt(2) * _FITS_NARROWER)
    scaled = r**2 / (2 * deviation**2)
    kernels = (1 - scaled) * np.exp(-scaled)
    kernels -= (area @ kernels) / area.sum()
    return np.asarray(area[:, None] * kernels / np.sqrt(area @ kernels**2 * _WIDTHS))


def _best_width(fits: np.ndarray) -> np.ndarray:
    """For each row of ``(n, widths)`` the widest local maximum of the magnitude that is nearly the highest.

    Of something hollow it is the width between that and its hole, the highest maximum of the other sign among narrower
    ones: for a thin ring the two are 0.6 and 1.7 of its diameter.
    """
    size = np.abs(fits)
    padded = np.pad(size, ((0, 0), (1, 1)), constant_values=-1)
    peak = (size >= padded[:, :-2]) & (size >= padded[:, 2:])
    # At the widest there is no telling where the maximum would be; it counts only if it is the highest of all.
    peak[:, -1] &= size[:, -1] >= size.max(axis=1)
    good = peak & (size >= _NEARLY * size.max(axis=1, keepdims=True))
    row, widest = np.arange(len(fits)), len(_WIDTHS) - 1 - np.argmax(good[:, ::-1], axis=1)
    within = good & (fits * fits[row, widest, None] < 0) & (np.arange(len(_WIDTHS)) < widest[:, None])
    hole = np.argmax(np.where(within, size, -1), axis=1)
    hollow = within[row, hole] & (size[row, hole] >= _HOLE * size[row, widest])
    between = _HOLLOW * np.sqrt(_WIDTHS[hole] * _WIDTHS[widest])
    return np.asarray(np.where(hollow, between, _WIDTHS[widest]))


def _two_sizes(halves: np.ndarray, particle_width: float) -> tuple[float, float] | None:
    """Sizes of two kinds of particles, where the labels are of two; the smaller first.

    Labels are sorted into two groups by one half of the directions and measured by the other: what noise has sorted
    apart in the one does not differ in the other.
    """
    from scipy.cluster.vq import kmeans2

    if len(halves) < 2 * _LEAST_LABELS:
        return None
    laplacians = _laplacians(halves.shape[2] - 1, particle_width)
    by, measured = halves[:, 0] @ laplacians, halves[:, 1] @ laplacians
    # Only the shape of a profile counts, or strong and faint particles of one size would be sorted apart.
    by = by / np.maximum(np.linalg.norm(by, axis=1, keepdims=True), 1e-12)
    _, group = kmeans2(by, 2, minit="++", rng=np.random.default_rng(0))
    parts = [measured[group == k] for k in (0, 1)]
    if min(map(len, parts)) < _LEAST_LABELS:
        return None
    strength = [float(np.abs(p.mean(axis=0)).max()) for p in parts]
    if min(strength) < 0.4 * max(strength):
        return None  # one group shows hardly anything: it is noise, not particles
    dice = np.random.default_rng(1)
    resampled = [_best_width(p[dice.integers(0, len(p), (200, len(p)))].mean(axis=1)) for p in parts]
    sizes = [float(_best_width(p.mean(axis=0)[None])[0]) for p in parts]
    small, large = np.argsort(sizes)
    apart = float((resampled[large] >= _FACTOR * resampled[small]).mean())
    return (sizes[small], sizes[large]) if apart >= 0.99 and sizes[large] < 0.95 * _WIDTHS[-1] else None


def _rounded(value: float) -> str:
    """Two digits are all there is to it."""
    return f"{float(f'{value:.2g}'):g}"
