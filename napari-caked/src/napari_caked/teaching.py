"""From a few labels to a teacher: how likely each place of the labelled micrographs is a particle.

Ten labels are averaged to a template, its correlation finds likenesses, and the heights of its maxima say how likely
each of them is a particle (:mod:`napari_caked.expectation`). The surest ones make a better template, once more. What
comes out are places with probabilities, from which a network learns more than the template knows: its mistakes are
chance, and differ from place to place, but what particles look like does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from napari_caked.expectation import ParticleCount, count_particles
from napari_caked.models import MatchedFilter
from napari_caked.preprocess import WorkingImage
from napari_caked.settings import TrainingSettings

__all__ = ["Teaching", "target_planes", "teach"]

#: Smallest distance of two likenesses, in particle widths.
_APART = 0.65
#: A maximum nearer to a label or a negative than this, in particle widths, is the same thing.
_SAME = 0.4
#: How much more than the picker's own opinion counts what somebody said.
_EMPHASIS = 8.0
#: Labels that lie farther than this from the maxima, in particle widths, are not where the likenesses are.
_OFF = 0.1
#: Labels may lie so many times as far from the maxima of the second template as from those of the first.
_WORSE = 1.3
#: Likenesses that are averaged to the second template.
_SURE = 0.8


@dataclass(frozen=True)
class Teaching:
    """What the labels say about all places.

    Attributes
    ----------
    matched
        Template of the surest likenesses.
    places
        For each micrograph ``(n, 2)`` (y, x) in working pixels: labels, negatives, and likenesses.
    probabilities
        For each micrograph ``(n,)``: 1 for labels, 0 for negatives.
    expected
        Particles per micrograph.
    share
        Share of the particles of all micrographs that are labelled.
    centred
        Whether the likenesses lie where the labels do. Those of particles that are not round may lie off the centres.
    """

    matched: MatchedFilter
    places: tuple[np.ndarray, ...]
    probabilities: tuple[np.ndarray, ...]
    expected: float
    share: float
    centred: bool


def teach(
    workings: Sequence[WorkingImage],
    labels: Sequence[np.ndarray],
    negatives: Sequence[np.ndarray],
    settings: TrainingSettings,
    *,
    empty: Sequence[bool] = (),
    matched: MatchedFilter | None = None,
) -> Teaching:
    """Find likenesses of the labels, and say how likely each is a particle.

    Parameters
    ----------
    workings
        Prepared micrographs.
    labels, negatives
        For each ``(n, 2)`` (y, x) in working pixels.
    settings
        Template radii, particle width, expected particles.
    empty
        For each, whether it is known to hold no particle; by default none is.
    matched
        Template to use as it is, instead of one made of the labels.
    """
    images, width = [working.image for working in workings], settings.preprocess.particle_width
    radius = round(settings.template_radius * width)
    empty = list(empty) or [False] * len(workings)

    def judged(template: MatchedFilter) -> tuple[MatchedFilter, ParticleCount, list[np.ndarray]]:
        count = _counted(template, workings, labels, empty, settings)
        return template, count, _probabilities(count, labels, negatives, empty, settings)

    chosen = judged(matched or MatchedFilter.from_labels(images, labels, radius))
    if matched is None:
        # Labels are averaged as the correlation centres them: a click is some pixels off, a maximum is not.
        sure = [peaks[p >= _SURE] for peaks, p in zip(chosen[1].peaks, chosen[2], strict=True)]
        if sum(map(len, sure)) >= sum(map(len, labels)):
            again = judged(MatchedFilter.from_labels(images, sure, radius))
            # Of particles that are not round, the likenesses lie off their centres, and so would all that is learned.
            if _miss(again[1], labels) <= _WORSE * _miss(chosen[1], labels):
                chosen = again
    found, count, likely = chosen
    places, probabilities = [], []
    for one, other, peaks, p in zip(labels, negatives, count.peaks, likely, strict=True):
        free = _away(peaks, np.concatenate([one, other]), _SAME * width)
        places.append(np.concatenate([one, other, peaks[free]]))
        probabilities.append(np.concatenate([np.ones(len(one)), np.zeros(len(other)), p[free]]))
    expected = _expected(count, labels, settings)
    share = sum(map(len, labels)) / max(expected * (len(workings) - sum(empty)), 1.0)
    centred = _miss(count, labels) <= _OFF * width
    return Teaching(found, tuple(places), tuple(probabilities), expected, share, centred)


def _miss(count: ParticleCount, labels: Sequence[np.ndarray]) -> float:
    """Median distance of labels from their nearest maxima, in working pixels."""
    from scipy.spatial import cKDTree

    away = [
        cKDTree(peaks).query(points)[0]
        for peaks, points in zip(count.peaks, labels, strict=True)
        if len(points) and len(peaks)
    ]
    return float(np.median(np.concatenate(away))) if away else 0.0


@torch.inference_mode()
def _counted(
    matched: MatchedFilter,
    workings: Sequence[WorkingImage],
    labels: Sequence[np.ndarray],
    empty: Sequence[bool],
    settings: TrainingSettings,
) -> ParticleCount:
    """Maxima of the mean of both correlations, each in units of its deviation, and how many are particles."""
    radii = (inner_radius(settings), None)
    maps = [[matched(w.image.float()[None, None], radius)[0, 0] for radius in radii] for w in workings]
    spread = [torch.cat([one[k].flatten() for one in maps]).std().clamp(min=1e-6) for k in range(2)]
    mean = [(one[0] / spread[0] + one[1] / spread[1]) / 2 for one in maps]
    # Where nothing is shown, there is neither a particle nor a chance likeness.
    shown = [torch.where(w.valid, m, torch.nan).cpu().numpy() for w, m in zip(workings, mean, strict=True)]
    distance = _APART * settings.preprocess.particle_width
    full = [i for i, nothing in enumerate(empty) if not nothing]
    count = count_particles([shown[i] for i in full], distance, [labels[i] for i in full])
    if len(full) == len(shown):
        return count
    # Empty micrographs take part with all their maxima, and none of them is a particle.
    from dataclasses import replace

    from napari_caked.peaks import find_peaks

    rest = {i: find_peaks(shown[i], distance) for i in range(len(shown)) if i not in full}
    order = {i: k for k, i in enumerate(full)}
    together = [
        (count.peaks[order[i]], count.heights[order[i]], count.probabilities[order[i]])
        if i in order
        else (*rest[i], np.zeros(len(rest[i][0])))
        for i in range(len(shown))
    ]
    peaks, heights, probabilities = zip(*together, strict=True)
    return replace(count, peaks=peaks, heights=heights, probabilities=probabilities)


def inner_radius(settings: TrainingSettings) -> int:
    """The smaller of the two radii of the template, in working pixels."""
    return round(settings.inner_radius * settings.preprocess.particle_width)


def _expected(count: ParticleCount, labels: Sequence[np.ndarray], settings: TrainingSettings) -> float:
    """Particles per micrograph: what the user says, else the count, but at least what somebody has clicked on."""
    clicked = sum(map(len, labels)) / max(sum(1 for points in labels if len(points)), 1)
    return settings.expected_particles or max(count.per_micrograph, clicked)


def _probabilities(
    count: ParticleCount,
    labels: Sequence[np.ndarray],
    negatives: Sequence[np.ndarray],
    empty: Sequence[bool],
    settings: TrainingSettings,
) -> list[np.ndarray]:
    """For each micrograph, how likely its maxima are particles, given that nobody has labelled them.

    Where nearly all particles of a micrograph are labelled, a maximum without a label is hardly one of them.
    """
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    odds = [logit(np.clip(p, 1e-6, 1 - 1e-6)) for p in count.probabilities]
    if settings.expected_particles is not None:
        together = np.concatenate([o for o, nothing in zip(odds, empty, strict=True) if not nothing])
        number = sum(1 for nothing in empty if not nothing)
        wanted = min(settings.expected_particles * number, 0.95 * len(together))
        shift = brentq(lambda offset: expit(together + offset).sum() - wanted, -100, 100)
        odds = [o + shift for o in odds]
    return [
        np.zeros(len(o)) if nothing else unlabelled_probabilities(o, labelled_share(o, points))
        for o, points, nothing in zip(odds, labels, empty, strict=True)
    ]


def labelled_share(odds: np.ndarray, labels: np.ndarray) -> float:
    """Share of a micrograph's particles that are labelled, from the log-odds of its maxima ``(n,)``; below 1."""
    from scipy.special import expit

    return min(len(labels) / max(float(expit(odds).sum()), len(labels), 1.0), 0.98)


def unlabelled_probabilities(odds: np.ndarray, share: float) -> np.ndarray:
    """How likely maxima ``(n,)`` are particles, given that nobody has labelled them.

    With a share ``c`` of the particles labelled, the odds of the others are lower by ``1 - c`` (Elkan and Noto, KDD
    2008).
    """
    from scipy.special import expit

    return np.asarray(expit(odds + np.log1p(-share)))


def _away(points: np.ndarray, others: np.ndarray, distance: float) -> np.ndarray:
    """``(n,)`` bool: which points are farther than ``distance`` from all others."""
    from scipy.spatial import cKDTree

    if not len(points) or not len(others):
        return np.ones(len(points), bool)
    return np.asarray(cKDTree(others).query(points)[0] > distance)


def target_planes(
    shape: tuple[int, int],
    places: np.ndarray,
    probabilities: np.ndarray,
    valid: np.ndarray,
    settings: TrainingSettings,
    *,
    said: np.ndarray | None = None,
    emphasis: float = 0.0,
) -> torch.Tensor:
    """What a network shall say on every second pixel, and how much each counts.

    Parameters
    ----------
    shape
        ``(y, x)`` of the working image.
    places, probabilities
        ``(n, 2)`` (y, x) in working pixels, and ``(n,)``.
    valid
        ``(y, x)`` bool: pixels that show specimen; the others do not count.
    settings
        Spot size and weights.
    said
        Places ``(n, 2)`` that somebody has said something about. Given them, other places count the less the more
        doubtful they are.
    emphasis
        0 to 1: with 1, places that somebody has said something about count :data:`_EMPHASIS` times as much as others.

    Returns
    -------
    torch.Tensor
        ``(2, y // 2 + 1, x // 2 + 1)``: target, the highest of the spots ``p exp(-d² / 2 s²)`` at distance ``d`` from
        each place, and weight.
    """
    rows, columns = ((length - 1) // 2 + 1 for length in shape)
    target, weight = np.zeros((rows, columns), np.float32), valid[::2, ::2].astype(np.float32)
    sigma = settings.spot_width * settings.preprocess.particle_width
    y, x = 2.0 * np.arange(rows)[:, None], 2.0 * np.arange(columns)
    for place, p in zip(places, probabilities, strict=True):
        part, spot = _spot(place, y, x, sigma)
        target[part] = np.maximum(target[part], p * spot)
        if p == 0:  # somebody said so
            weight[part] *= 1 + (settings.spot_weight - 1) * spot
    for place, p in zip(places, probabilities, strict=True) if said is not None else ():
        part, spot = _spot(place, y, x, 2 * sigma)
        weight[part] *= 1 - spot * (1 - abs(2 * p - 1))
    weight *= 1 + (settings.spot_weight - 1) * target
    for place in said if said is not None else ():
        part, spot = _spot(place, y, x, sigma)
        weight[part] *= 1 + emphasis * (_EMPHASIS - 1) * spot
    return torch.from_numpy(np.stack([target, weight]))


def _spot(place: np.ndarray, y: np.ndarray, x: np.ndarray, sigma: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of a half resolution plane around a place, and the Gaussian there."""
    reach = 3 * sigma
    top, left = (slice(max(int((c - reach) / 2), 0), max(int((c + reach) / 2) + 2, 0)) for c in place)
    return (top, left), np.exp(-((y[top] - place[0]) ** 2 + (x[left] - place[1]) ** 2) / (2 * sigma**2))
