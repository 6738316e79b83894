"""Looking at labels before anything is learned from them: what cannot work is an error, what looks odd a warning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from napari_caked.datasets.label_size import size_in_words
from napari_caked.errors import LabelsError
from napari_caked.preprocess import WorkingImage

__all__ = ["LABELLED_BY", "CheckedLabels", "LabelWarning", "LabelledBy", "check_labels"]

#: Where a table of labels says in its metadata who has labelled; a person, where it does not.
LABELLED_BY = "labelled_by"

#: Labels nearer to each other than this many particle widths are on the same particle.
_SAME = 0.3


class LabelledBy(StrEnum):
    """Who has labelled: it takes a person to be told what looks odd about labels, and how to label better."""

    PERSON = "person"
    PICKER = "picker"
    SIMULATION = "simulation"


@dataclass(frozen=True)
class LabelWarning:
    """What looks odd about the labels, and what to do, in ``text``."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class CheckedLabels:
    """Labels that can be trained from.

    Attributes
    ----------
    centres, negatives
        For each micrograph ``(n, 2)`` (y, x) in working pixels: without duplicates, none where nothing is shown.
    warnings
        What was left out or merged, and what looks odd.
    """

    centres: tuple[np.ndarray, ...]
    negatives: tuple[np.ndarray, ...]
    warnings: tuple[LabelWarning, ...]


def check_labels(
    workings: Sequence[WorkingImage],
    centres: Sequence[np.ndarray],
    names: Sequence[str],
    particle_diameter: float,
    pixel_size: float,
    *,
    particle_width: float = 20.0,
    negatives: Sequence[np.ndarray] | None = None,
    labelled_by: LabelledBy = LabelledBy.PERSON,
) -> CheckedLabels:
    """Check labels, merge duplicates, and leave out those on padding, blanked or dead areas.

    Parameters
    ----------
    workings
        Prepared micrographs.
    centres
        For each of them ``(n, 2)`` (y, x) of labels in working pixels.
    names
        Of the micrographs, for messages.
    particle_diameter
        Å, as the user gave it.
    pixel_size
        Å per micrograph pixel.
    particle_width
        Working pixels per particle diameter.
    negatives
        As ``centres``: places that are marked as no particle.
    labelled_by
        Of a picker's own picks there is a warning only where they do not look as large as they should, and of simulated
        particles none.

    Raises
    ------
    LabelsError
        No label is left, or some place is marked as a particle and as none.
    """
    negatives = negatives if negatives is not None else [np.empty((0, 2)) for _ in workings]
    warnings: list[str] = []
    kept = _on_specimen(workings, centres, names, "label", warnings)
    if not any(len(points) for points in kept):
        raise LabelsError(
            "there are no labels on specimen; mark some particles first (ten are enough to begin with), away from "
            "padding and blanked areas"
        )
    kept = _without_duplicates(kept, _SAME * particle_width, warnings)
    kept_negatives = _on_specimen(workings, negatives, names, "negative", warnings)
    _require_no_contradiction(workings, kept, kept_negatives, names, _SAME * particle_width)
    if labelled_by is not LabelledBy.PERSON:
        warnings.clear()
    if labelled_by is LabelledBy.PERSON:
        warnings += _too_few(kept, names)
    if labelled_by is not LabelledBy.SIMULATION:
        images, own = [w.image for w in workings], labelled_by is LabelledBy.PICKER
        oddity = size_in_words(images, kept, particle_width, particle_diameter, pixel_size, own_picks=own)
        warnings += [oddity] if oddity else []
    return CheckedLabels(tuple(kept), tuple(kept_negatives), tuple(LabelWarning(text) for text in warnings))


def _on_specimen(
    workings: Sequence[WorkingImage],
    centres: Sequence[np.ndarray],
    names: Sequence[str],
    kind: str,
    warnings: list[str],
) -> list[np.ndarray]:
    """Places whose working pixel is valid."""
    kept, dropped = [], []
    for working, points, name in zip(workings, centres, names, strict=True):
        points = np.asarray(points, np.float64).reshape(-1, 2)
        last = np.array(working.valid.shape) - 1
        y, x = np.clip(np.rint(points), 0, last).astype(np.intp).T
        shown = working.valid.cpu().numpy()[y, x]
        kept.append(points[shown])
        if not shown.all():
            dropped.append((int((~shown).sum()), name))
    if dropped:
        number = sum(count for count, _ in dropped)
        warnings.append(
            f"{_counted(number, kind)} {'lies' if number == 1 else 'lie'} where the micrograph shows no specimen "
            f"(padding, blanked or dead areas; first on {dropped[0][1]}) and {'is' if number == 1 else 'are'} left out"
        )
    return kept


def _without_duplicates(centres: Sequence[np.ndarray], distance: float, warnings: list[str]) -> list[np.ndarray]:
    """Labels of which none are nearer than ``distance``: nearer ones are one, at their mean."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    merged = []
    for points in centres:
        if len(points) < 2:
            merged.append(points)
            continue
        # Complete linkage: a chain of labels along a row of particles does not become one.
        groups = np.asarray(fcluster(linkage(pdist(points), "complete"), distance, "distance"))
        in_order = groups[np.sort(np.unique(groups, return_index=True)[1])]
        merged.append(np.array([points[groups == group].mean(axis=0) for group in in_order]))
    number = sum(map(len, centres)) - sum(map(len, merged))
    if number:
        warnings.append(
            f"{_counted(number, 'label')} {'is' if number == 1 else 'are'} on a particle that has another label "
            "already; such labels were merged"
        )
    return merged


def _require_no_contradiction(
    workings: Sequence[WorkingImage],
    centres: Sequence[np.ndarray],
    negatives: Sequence[np.ndarray],
    names: Sequence[str],
    distance: float,
) -> None:
    from scipy.spatial import cKDTree

    found = []
    for working, points, others, name in zip(workings, centres, negatives, names, strict=True):
        if not len(points) or not len(others):
            continue
        apart, nearest = (np.asarray(part) for part in cKDTree(points).query(others))
        for index in np.flatnonzero(apart <= distance):
            pair = working.rescaling.to_original(np.stack([points[nearest[index]], others[index]]))
            found.append((name, pair))
    if found:
        name, ((y, x), (v, u)) = found[0]
        raise LabelsError(
            f"{_counted(len(found), 'place')} {'is' if len(found) == 1 else 'are'} marked both as a particle and as "
            f"none: on {name}, the label at x {x:.0f}, y {y:.0f} and the negative at x {u:.0f}, y {v:.0f}"
            f"{' are the first' if len(found) > 1 else ''}; remove one of the two"
        )


def _too_few(centres: Sequence[np.ndarray], names: Sequence[str]) -> list[str]:
    number = sum(map(len, centres))
    labelled = [name for name, points in zip(names, centres, strict=True) if len(points)]
    if number == 1:
        return [
            f"there is only one label (on {labelled[0]}): what the particles have in common cannot be told from one; "
            "mark about ten"
        ]
    if len(labelled) == 1:
        return [
            f"all {number} labels are on one micrograph ({labelled[0]}): none can be held out to check the training "
            "by, and other micrographs may look different; label some particles on a second one"
        ]
    return []


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
