"""How good a training is on micrographs that it has not seen, with no labels to spare: cross-validation.

The labelled micrographs are dealt out to folds. For each fold a picker is trained without it and picks on it, so that
every labelled micrograph is judged once by a picker that has learned nothing from it (Stone, J. R. Stat. Soc. B 36, 111
(1974)). Labels that people click are seldom complete: a pick of a particle that nobody has labelled counts as wrong. So
precision, and all that is made of it, is a lower bound; recall and the localisation error are not affected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from napari_caked.checkpoint import PickerModel
from napari_caked.errors import LabelsError, SettingsError
from napari_caked.evaluation import Evaluation, evaluate
from napari_caked.picking import pick
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.training import train
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = ["CrossValidation", "Fold", "FoldMeasures", "cross_validate", "cross_validation_folds"]


@dataclass(frozen=True)
class FoldMeasures:
    """What is compared between folds, as :class:`napari_caked.evaluation.Evaluation` explains it."""

    average_precision: float
    best_f1: float
    recall_at_high_precision: float
    precision: float
    recall: float
    localisation_error: float


@dataclass(frozen=True)
class Fold:
    """A picker that was trained without some labelled micrographs, judged on them.

    Attributes
    ----------
    number
        From 1.
    held_out
        Names of these micrographs.
    labels
        How many the picker was trained from.
    evaluation
        On the micrographs held out, labels within half a particle diameter, all micrographs together.
    model
        The picker.
    """

    number: int
    held_out: tuple[str, ...]
    labels: int
    evaluation: Evaluation
    model: PickerModel

    @property
    def measures(self) -> FoldMeasures:
        """What is compared between folds."""
        return FoldMeasures(**{one.name: getattr(self.evaluation, one.name) for one in fields(FoldMeasures)})


@dataclass(frozen=True)
class CrossValidation:
    """All folds."""

    folds: tuple[Fold, ...]

    @property
    def mean(self) -> FoldMeasures:
        """Mean over the folds, each counting alike; NaN where no fold has a value."""
        return FoldMeasures(**{name: float(np.mean(v)) if len(v) else np.nan for name, v in self._values()})

    @property
    def deviation(self) -> FoldMeasures:
        """Standard deviation over the folds, with n - 1; NaN where fewer than two have a value."""
        return FoldMeasures(**{name: float(np.std(v, ddof=1)) if len(v) > 1 else np.nan for name, v in self._values()})

    def table(self) -> str:
        """A line for each fold, and mean and deviation, for a terminal."""
        rows = [[str(f.number), str(len(f.held_out)), str(f.labels), *_numbers(f.measures)] for f in self.folds]
        rows += [["mean", "", "", *_numbers(self.mean)], ["s.d.", "", "", *_numbers(self.deviation)]]
        heads = ["fold", "held out", "labels", "AP", "best F1", "recall at P 0.9", "precision", "recall", "error px"]
        widths = [max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(heads)]
        lines = [
            "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in [heads, *rows]
        ]
        return "\n".join(lines)

    def _values(self) -> Iterator[tuple[str, np.ndarray]]:
        measured = [fold.measures for fold in self.folds]
        for one in fields(FoldMeasures):
            values = np.array([getattr(measures, one.name) for measures in measured], np.float64)
            yield one.name, values[np.isfinite(values)]


def cross_validate(
    series: MicrographSeries,
    labels: ParticleTable,
    settings: TrainingSettings,
    folds: int = 5,
    *,
    negatives: ParticleTable | None = None,
    progress: Progress = silent,
) -> CrossValidation:
    """Train and judge a picker for each fold; see :func:`cross_validation_folds` for parameters and errors."""
    return CrossValidation(
        tuple(cross_validation_folds(series, labels, settings, folds, negatives=negatives, progress=progress))
    )


def cross_validation_folds(
    series: MicrographSeries,
    labels: ParticleTable,
    settings: TrainingSettings,
    folds: int = 5,
    *,
    negatives: ParticleTable | None = None,
    progress: Progress = silent,
) -> Iterator[Fold]:
    """Train and judge a picker for each fold, one after the other.

    Parameters
    ----------
    series
        Micrographs with a pixel size.
    labels
        Particle centres, matched to the micrographs by name.
    settings
        Of each training; its seed also decides which micrographs are held out together.
    folds
        How many; at most as many as there are labelled micrographs.
    negatives
        Places that are no particle, those on micrographs held out left out with them.
    progress
        Told of every step.

    Yields
    ------
    Fold
        The first of them, which is no smaller than the others, first.

    Raises
    ------
    SettingsError
        Fewer than two folds.
    LabelsError
        Fewer labelled micrographs than folds.
    Exception
        What :func:`napari_caked.training.training_events` and :func:`napari_caked.picking.pick` raise.
    """
    labels = labels.renamed_to(series.names)
    negatives = negatives.renamed_to(series.names) if negatives is not None else None
    pixel_size = series.require_pixel_size()
    for number, held_out in enumerate(_dealt(labels, folds, settings.seed), start=1):
        kept = _without(labels, held_out)

        def say(done: int, total: int, message: str = "", number: int = number) -> None:
            progress(done, total, f"fold {number} of {folds}: {message}")

        model = train(
            series,
            kept,
            settings,
            negatives=None if negatives is None else _without(negatives, held_out),
            progress=say,
        )
        names = tuple(series.names[i] for i in held_out)
        part = _part(series, held_out)
        picks = pick(part, model, PickSettings(threshold=0.0, device=settings.device), progress=say)
        evaluation = evaluate(
            picks,
            labels.where(np.isin(labels.micrograph_index, held_out)),
            radius=settings.particle_diameter / pixel_size / 2,
            threshold=PickSettings.threshold,
            pixel_size=pixel_size,
        )
        yield Fold(number, names, len(kept), evaluation, model)


def _dealt(labels: ParticleTable, folds: int, seed: int) -> list[list[int]]:
    """For each fold the numbers of its micrographs; decided by names, whatever the order of the files."""
    if folds < 2:
        raise SettingsError(f"folds is {folds}, but must be at least 2")
    labelled = sorted({int(i) for i in labels.micrograph_index}, key=lambda i: labels.micrographs[i])
    if len(labelled) < folds:
        raise LabelsError(
            f"{folds} folds need as many labelled micrographs, and there are {len(labelled)}; label particles on more "
            f"of them, or use fewer folds"
        )
    order = [labelled[i] for i in np.random.default_rng(seed).permutation(len(labelled))]
    return [sorted(order[k::folds], key=lambda i: labels.micrographs[i]) for k in range(folds)]


def _without(table: ParticleTable, held_out: Sequence[int]) -> ParticleTable:
    return table.where(~np.isin(table.micrograph_index, held_out))


def _part(series: MicrographSeries, indices: Sequence[int]) -> MicrographSeries:
    chosen = tuple(indices)
    return replace(
        series,
        names=tuple(series.names[i] for i in chosen),
        reader=lambda i: series.read(chosen[i]),
        tilts=None if series.tilts is None else tuple(series.tilts[i] for i in chosen),
    )


def _numbers(measures: FoldMeasures) -> list[str]:
    return [f"{getattr(measures, one.name):.3f}" for one in fields(FoldMeasures)]
