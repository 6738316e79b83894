"""Where the next labels would teach most: places that the picker is unsure of, and that are unlike each other.

Uncertainty alone asks five times about the same kind of dirt; so places are chosen one by one, each the one whose
uncertainty times distance from everything already labelled or chosen is greatest (the k-centre rule of Sener &
Savarese, ICLR 2018, weighted by the entropy of the score). Distance is measured on a few numbers: the rings of the
surroundings, the score, and whether the micrograph is another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_caked.errors import LabelsError
from napari_empiarreader.coordinates import ParticleTable, match_names
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["radial_profiles", "suggest", "suggest_places", "uncertainty"]

_RINGS = 8
_POOL = 2000
"""Candidates among which is chosen, the most uncertain ones: the choice costs their number times that of the labels."""

_ASIDE = 0.5
"""Nearer than this to a label, in particle diameters, a candidate is that label's particle and no new place."""


def uncertainty(scores: np.ndarray) -> np.ndarray:
    """Entropy of probabilities in bits: 1 at a score of 1/2, 0 at 0 and 1.

    Parameters
    ----------
    scores
        ``(n,)`` probabilities; what is not finite counts as certain.
    """
    p = np.clip(np.nan_to_num(np.asarray(scores, np.float64), nan=0.0), 1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def radial_profiles(image: np.ndarray, yx: np.ndarray, radius: float, rings: int = _RINGS) -> np.ndarray:
    """Mean of an image in rings around places: what they look like, whichever way they are turned.

    Parameters
    ----------
    image
        ``(y, x)``, real.
    yx
        ``(n, 2)`` places in pixels.
    radius
        Of the outermost ring, in pixels.
    rings
        Number of rings, equally wide.

    Returns
    -------
    numpy.ndarray
        ``(n, rings)``, in standard deviations of the image about its mean. Rings beyond the edge are 0.
    """
    image = np.asarray(image)
    # A few hundred samples tell the mean of a ring as well as all pixels of a wide particle.
    step = max(1, int(radius) // 12)
    reach = np.arange(-int(radius), int(radius) + 1, step)
    dy, dx = (offsets.ravel() for offsets in np.meshgrid(reach, reach, indexing="ij"))
    ring = (np.hypot(dy, dx) / radius * rings).astype(int)
    dy, dx, ring = dy[ring < rings], dx[ring < rings], ring[ring < rings]
    sample = np.asarray(image[:: max(1, image.shape[0] // 512), :: max(1, image.shape[1] // 512)], np.float64)
    sample = sample[np.isfinite(sample)]
    centre, spread = (float(sample.mean()), float(sample.std())) if len(sample) else (0.0, 1.0)
    profiles = np.zeros((len(yx), rings))
    for i, (y, x) in enumerate(np.rint(np.asarray(yx, np.float64)).astype(int)):
        rows, columns = y + dy, x + dx
        inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
        values = np.asarray(image[rows[inside], columns[inside]], np.float64) - centre
        known = np.isfinite(values)
        totals = np.bincount(ring[inside][known], values[known], rings)
        profiles[i] = totals / np.maximum(np.bincount(ring[inside][known], minlength=rings), 1)
    return profiles / (spread or 1.0)


def suggest(
    candidates: ParticleTable,
    labels: ParticleTable,
    negatives: ParticleTable | None = None,
    *,
    distance: float,
    count: int = 5,
    appearance: np.ndarray | None = None,
    known_appearance: np.ndarray | None = None,
) -> ParticleTable:
    """Choose candidates to ask a person about.

    Parameters
    ----------
    candidates
        Picks of whatever ``score``.
    labels, negatives
        What is known already, counted into micrographs with the names of ``candidates``; of the negatives'
        ``metadata["empty_micrographs"]`` (names) nothing is asked.
    distance
        Candidates nearer than this to a label or negative are known, in pixels.
    count
        How many to choose.
    appearance
        ``(n, k)``: descriptors of the candidates, for example :func:`radial_profiles`.
    known_appearance
        ``(labels + negatives, k)``: those of labels and negatives; rows of NaN where they are not known.

    Returns
    -------
    ParticleTable
        At most ``count`` candidates, in the order in which they were chosen.

    Raises
    ------
    LabelsError
        There is nothing to ask: no candidates, none with a score, or all of them are labelled.
    """
    if "score" not in candidates.features:
        raise LabelsError("suggestions need picks with scores; train a picker first")
    negatives = negatives if negatives is not None else ParticleTable(candidates.micrographs, np.empty((0, 3)))
    known = [table.renamed_to(candidates.micrographs) for table in (labels, negatives)]
    known_at = np.concatenate([table.coordinates for table in known])
    free = _free(candidates, known_at, distance, negatives.metadata.get("empty_micrographs") or ())
    if not free.any():
        raise LabelsError(
            "there is nothing left to ask: each candidate is labelled, cut by the edge of its micrograph, or on "
            "an empty one; train and pick on more micrographs"
        )
    doubt = uncertainty(candidates.features["score"].to_numpy(np.float64))
    pool = np.flatnonzero(free)
    pool = pool[np.argsort(-doubt[pool], kind="stable")][:_POOL]
    traits = _traits(candidates.features["score"].to_numpy(np.float64)[pool], appearance, pool)
    micrograph = candidates.micrograph_index[pool]
    known_score = np.concatenate([np.full(len(known[0]), 1.0), np.full(len(known[1]), 0.0)])
    known_traits = _traits(known_score, known_appearance, np.arange(len(known_at)))
    scale = traits.std(axis=0)
    scale[scale == 0] = 1.0
    # The score counts as it is: two scores of 0.45 and 0.55 are no different kinds of place.
    scale[0] = 0.5

    apart = np.full(len(pool), np.inf)
    for row, on in zip(known_traits, known_at[:, 0].astype(int), strict=True):
        apart = np.minimum(apart, _apart(traits, micrograph, row, on, scale))
    apart[~np.isfinite(apart)] = 1.0
    chosen: list[int] = []
    for _ in range(min(count, len(pool))):
        best = int(np.argmax(np.where(np.isin(np.arange(len(pool)), chosen), -1.0, doubt[pool] * apart)))
        chosen.append(best)
        apart = np.minimum(apart, _apart(traits, micrograph, traits[best], int(micrograph[best]), scale))
    return candidates.where(pool[chosen])


def suggest_places(
    series: MicrographSeries,
    candidates: ParticleTable,
    labels: ParticleTable,
    negatives: ParticleTable | None = None,
    *,
    particle_diameter: float,
    count: int = 5,
    micrographs_read: int = 6,
) -> ParticleTable:
    """Choose places to label next, by score and by what they look like.

    Nothing is asked about particles that the edge of a micrograph cuts: a person cannot tell either.

    Parameters
    ----------
    series
        The micrographs, with a pixel size.
    candidates, labels, negatives, count
        As for :func:`suggest`; names are matched to those of ``series``.
    particle_diameter
        Å.
    micrographs_read
        At most so many micrographs are read: the ones whose candidates are the most doubtful.

    Returns
    -------
    ParticleTable
        At most ``count`` candidates, counted into ``series``.

    Raises
    ------
    LabelsError
        There is nothing to ask.
    PixelSizeError
        The series does not know its pixel size.
    """
    width = particle_diameter / series.require_pixel_size()
    candidates = candidates.renamed_to(series.names)
    labels = labels.renamed_to(series.names)
    nothing = ParticleTable(series.names, np.empty((0, 3)))
    negatives = nothing if negatives is None else negatives.renamed_to(series.names)
    if "score" not in candidates.features:
        raise LabelsError("suggestions need picks with scores; train a picker first")
    known_at = np.concatenate([labels.coordinates, negatives.coordinates])
    empty = negatives.metadata.get("empty_micrographs") or ()
    candidates = candidates.where(_whole(candidates, series.shape, width))
    candidates = candidates.where(_free(candidates, known_at, _ASIDE * width, empty))
    shortlist = _shortlist(candidates, count, micrographs_read)
    chosen = candidates.where(shortlist)
    appearance = np.zeros((len(chosen), _RINGS))
    known_appearance = np.full((len(known_at), _RINGS), np.nan)
    for i in np.unique(chosen.micrograph_index):
        image = series.read(int(i))
        here, known_here = chosen.micrograph_index == i, known_at[:, 0] == i
        appearance[here] = radial_profiles(image, chosen.coordinates[here, 1:], 0.75 * width)
        known_appearance[known_here] = radial_profiles(image, known_at[known_here, 1:], 0.75 * width)
    return suggest(
        chosen,
        labels,
        negatives,
        distance=_ASIDE * width,
        count=count,
        appearance=appearance,
        known_appearance=known_appearance,
    )


def _free(candidates: ParticleTable, known: np.ndarray, distance: float, empty: Sequence[str]) -> np.ndarray:
    """``(n,)`` bool: candidates that nobody has said anything about; ``known`` is ``(m, 3)``."""
    free = np.isfinite(candidates.features["score"].to_numpy(np.float64))
    free &= ~np.isin(
        candidates.micrograph_index, [i for i in match_names(empty, candidates.micrographs) if i is not None]
    )
    for i in np.unique(known[:, 0]):
        here = np.flatnonzero(candidates.micrograph_index == i)
        for place in known[known[:, 0] == i, 1:]:
            near = np.linalg.norm(candidates.coordinates[here, 1:] - place, axis=1) < distance
            free[here[near]] = False
    return free


def _whole(candidates: ParticleTable, shape: tuple[int, int], width: float) -> np.ndarray:
    """``(n,)`` bool: candidates whose particle of ``width`` pixels lies on its micrograph of ``shape`` (y, x)."""
    yx = candidates.coordinates[:, 1:]
    return np.asarray(((yx >= width / 2 - 0.5) & (yx <= np.array(shape) - 0.5 - width / 2)).all(axis=1))


def _shortlist(candidates: ParticleTable, count: int, micrographs: int) -> np.ndarray:
    """Indices of the most doubtful candidates of the most doubtful micrographs."""
    doubt = uncertainty(candidates.features["score"].to_numpy(np.float64))
    best: list[tuple[float, int, np.ndarray]] = []
    for i in np.unique(candidates.micrograph_index):
        here = np.flatnonzero(candidates.micrograph_index == i)
        here = here[np.argsort(-doubt[here], kind="stable")][: 10 * count]
        best.append((-float(doubt[here[:count]].sum()), int(i), here))
    best.sort(key=lambda entry: entry[:2])
    rows = [here for _, _, here in best[:micrographs]]
    return np.concatenate(rows) if rows else np.empty(0, int)


def _traits(scores: np.ndarray, appearance: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """``(n, 1 + k)``: score and descriptors."""
    if appearance is None:
        return np.asarray(scores)[:, None]
    return np.column_stack([scores, np.asarray(appearance, np.float64)[rows]])


def _apart(traits: np.ndarray, micrograph: np.ndarray, other: np.ndarray, on: int, scale: np.ndarray) -> np.ndarray:
    """How unlike another place each place is; what is not known of the other counts as alike."""
    difference = (traits - np.resize(other, traits.shape[1])) / scale
    if len(other) < traits.shape[1]:
        difference[:, len(other) :] = 0.0
    difference = np.nan_to_num(difference, nan=0.0)
    looks = np.square(difference[:, 1:]).mean(axis=1) if traits.shape[1] > 1 else 0.0
    return np.asarray(np.sqrt(np.square(difference[:, 0]) + looks + (micrograph != on)))
