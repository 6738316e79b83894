"""What somebody has said about micrographs: labels, negatives, empty ones, and what is held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_caked.errors import LabelsError, SettingsError
from napari_caked.models.registry import NETWORKS
from napari_caked.objectives import find_objective
from napari_caked.settings import TrainingSettings
from napari_empiarreader.coordinates import ParticleTable, match_names
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["Said", "readable_labels"]


@dataclass(frozen=True)
class Said:
    """What somebody has said about micrographs, in an order that depends neither on files nor on clicks.

    Attributes
    ----------
    labels, negatives
        Counted into the series.
    learned, held_out
        Indices of micrographs to learn from, and to look at how good the picker is.
    empty
        Those of ``learned`` that hold no particle.
    validation
        Labels of those held out.
    """

    labels: ParticleTable
    negatives: ParticleTable
    learned: tuple[int, ...]
    held_out: tuple[int, ...]
    empty: frozenset[int]
    validation: ParticleTable

    @property
    def total(self) -> int:
        """Micrographs to read."""
        return len(self.learned) + len(self.held_out)


def readable_labels(
    series: MicrographSeries,
    labels: ParticleTable,
    negatives: ParticleTable | None,
    validation: ParticleTable | None,
    settings: TrainingSettings,
) -> Said:
    """Match all that was said to the micrographs.

    Raises
    ------
    LabelsError, CoordinatesError
        There are no labels, they lie on other micrographs or outside, or none would be left to learn from.
    SettingsError
        A network or an objective that there is not, or patience with nothing to look at.
    """
    _require_known(settings)
    if not len(labels):
        raise LabelsError("there are no labels; mark some particles first (ten are enough to begin with)")
    nothing = ParticleTable(series.names, np.empty((0, 3)))
    labels = _ordered(labels, series)
    said_not = _ordered(negatives, series) if negatives is not None and len(negatives) else nothing
    empty = _empty_micrographs(negatives, series)
    _require_consistent(labels, empty, series)
    checking = _ordered(validation, series) if validation is not None and len(validation) else nothing
    held_out = {int(i) for i in np.unique(checking.micrograph_index)}
    if not held_out and settings.hold_out:
        held_out = _drawn(labels, settings)
        checking = labels.where(np.isin(labels.micrograph_index, list(held_out)))
    if settings.patience is not None and not held_out:
        raise SettingsError("patience needs micrographs to look at; hold some out, or give labels for validation")
    kept = labels.where(~np.isin(labels.micrograph_index, list(held_out)))
    if not len(kept):
        raise LabelsError(
            "all labelled micrographs are held out, none is left to learn from; label particles on another one"
        )
    said_not = said_not.where(~np.isin(said_not.micrograph_index, list(held_out)))
    talked_of = {int(i) for i in np.concatenate([kept.micrograph_index, said_not.micrograph_index])}
    learned = sorted(talked_of | (empty - held_out), key=lambda i: series.names[i])
    order = sorted(held_out, key=lambda i: series.names[i])
    return Said(kept, said_not, tuple(learned), tuple(order), frozenset(empty - held_out), checking)


def _require_known(settings: TrainingSettings) -> None:
    """Refuse names that nobody knows before anything is read."""
    if settings.network not in NETWORKS:
        raise SettingsError(f"there is no network called '{settings.network}'; use one of {', '.join(NETWORKS)}")
    if settings.objective not in (None, "likeness"):
        find_objective(settings.objective)


def _ordered(table: ParticleTable, series: MicrographSeries) -> ParticleTable:
    table = table.renamed_to(series.names).require_inside(series.shape)
    return table.where(np.lexsort(table.coordinates.T[::-1]))


def _empty_micrographs(negatives: ParticleTable | None, series: MicrographSeries) -> set[int]:
    named = list(negatives.metadata.get("empty_micrographs", ())) if negatives is not None else []
    found = match_names(named, series.names)
    unknown = [name for name, index in zip(named, found, strict=True) if index is None]
    if unknown:
        raise LabelsError(f"{unknown[0]} is marked as empty, but is none of the micrographs")
    return {int(index) for index in found if index is not None}


def _require_consistent(labels: ParticleTable, empty: set[int], series: MicrographSeries) -> None:
    both = sorted(empty & {int(i) for i in labels.micrograph_index})
    if both:
        raise LabelsError(
            f"{series.names[both[0]]} is marked as empty and has labels; remove the one or the others "
            f"({len(both)} such micrograph{'s' * (len(both) > 1)})"
        )


def _drawn(labels: ParticleTable, settings: TrainingSettings) -> set[int]:
    labelled = np.unique(labels.micrograph_index)
    if len(labelled) <= settings.hold_out:
        raise LabelsError(
            f"{settings.hold_out} micrographs cannot be held out of {len(labelled)} with labels; label more of them, "
            "or hold out fewer"
        )
    return {int(i) for i in np.random.default_rng(settings.seed).choice(labelled, settings.hold_out, replace=False)}
