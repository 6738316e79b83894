"""Picks in, the same picks out with the probability that each is a particle, and with what it is otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from napari_caked.devices import choose_device
from napari_caked.errors import LabelsError
from napari_caked.pruning.checkpoint import Pruner, general_pruner
from napari_caked.pruning.learning import fine_tuned, log_odds, sobered
from napari_caked.pruning.network import folded, head_logits, pooled_features
from napari_caked.pruning.opinion import adapted_pickers, on_device, opinion_of, taught_pickers, unprejudiced
from napari_caked.pruning.patches import Patches, patches_of
from napari_caked.pruning.settings import CLASSES, PARTICLE, PruneSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = ["advised", "judged", "label_classes", "learned", "prune"]

_DEFAULTS = PruneSettings()


def prune(
    series: MicrographSeries,
    picks: ParticleTable,
    particle_diameter: float,
    *,
    good: ParticleTable | None = None,
    bad: ParticleTable | None = None,
    labels: ParticleTable | None = None,
    pruner: Pruner | None = None,
    settings: PruneSettings = _DEFAULTS,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> ParticleTable:
    """Judge picks of any program; none is left out.

    Parameters
    ----------
    series
        Micrographs with a pixel size; each is read once, and those with labels once more before.
    picks
        Places on them, matched by name.
    particle_diameter
        Å.
    good, bad
        Some particles and some places that are none, to learn from; both or neither. They need not be picks.
    labels
        More places to learn from, with the feature ``class`` (number from 1 in :data:`.CLASSES`) or ``kind`` (a name).
    pruner
        To start from; by default the one that is shipped.
    settings
        How.
    progress
        Told while labels are learned from, and after each micrograph.
    stop
        Asked after each micrograph; where it says yes, :class:`KeyboardInterrupt` is raised.

    Returns
    -------
    ParticleTable
        The picks in their order, counted into ``series``, with features ``probability`` (of being a particle, as if
        half of all picks were), ``log_odds`` (of it), ``class`` (number from 1) and ``kind`` (name in
        :data:`.CLASSES`). A feature ``class`` or ``kind`` that they had is kept as ``class_before`` or ``kind_before``.

    Raises
    ------
    LabelsError
        Labels of one side only, too few, or of an unknown class.
    CoordinatesError, PixelSizeError, DiameterError, MicrographError
        What picks or micrographs lack.
    """
    series.require_pixel_size()
    picks = picks.renamed_to(series.names).require_inside(series.shape)
    pruner = pruner or general_pruner()
    if good is not None or bad is not None or labels is not None:
        pruner = learned(
            series,
            particle_diameter,
            good=good,
            bad=bad,
            labels=labels,
            pruner=pruner,
            settings=settings,
            progress=progress,
            stop=stop,
        )
    pruner = advised(pruner, series, particle_diameter, settings, progress=progress)
    logits = judged(series, picks, particle_diameter, pruner, settings, progress=progress, stop=stop)
    return with_verdicts(picks, logits, pruner)


def advised(
    pruner: Pruner,
    series: MicrographSeries,
    particle_diameter: float,
    settings: PruneSettings = _DEFAULTS,
    *,
    progress: Progress = silent,
) -> Pruner:
    """A pruner with the pickers that it shall ask: its own, or the general one adapted to these micrographs.

    Parameters
    ----------
    pruner
        Its own pickers stay, unless ``settings.picker`` is ``"none"``.
    series, particle_diameter, settings
        As of :func:`prune`.
    progress
        Told after each micrograph that is looked at.
    """
    if settings.picker == "none":
        return replace(pruner, pickers=())
    if pruner.pickers:
        return pruner
    return replace(pruner, pickers=adapted_pickers(series, particle_diameter, settings.device, progress))


def learned(
    series: MicrographSeries,
    particle_diameter: float,
    *,
    good: ParticleTable | None = None,
    bad: ParticleTable | None = None,
    labels: ParticleTable | None = None,
    pruner: Pruner | None = None,
    settings: PruneSettings = _DEFAULTS,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Pruner:
    """A pruner that has learned from labels on micrographs; parameters and errors as of :func:`prune`."""
    places, classes = _told(series, good, bad, labels)
    pruner, device = pruner or general_pruner(), choose_device(settings.device)
    taught = None
    if settings.picker == "trained":
        right = classes == PARTICLE
        taught = taught_pickers(series, places, right, particle_diameter, settings, progress=progress, stop=stop)
    if taught is not None:
        pruner, opinion = replace(pruner, pickers=taught.pickers), unprejudiced(taught)
    else:
        pruner = advised(pruner, series, particle_diameter, settings, progress=progress)
        opinion = opinion_of(on_device(pruner.pickers, device))
    parts: list[Patches] = []
    order: list[np.ndarray] = []
    for rows, patches in patches_of(series, places, particle_diameter, pruner.patches, device, opinion):
        _go_on(stop)
        parts.append(patches)
        order.append(rows)
    return fine_tuned(
        pruner, Patches.joined(parts), classes[np.concatenate(order)], settings, progress=progress, stop=stop
    )


def judged(
    series: MicrographSeries,
    picks: ParticleTable,
    particle_diameter: float,
    pruner: Pruner,
    settings: PruneSettings = _DEFAULTS,
    *,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Logits ``(n, classes)`` of picks that are counted into ``series``; nothing of a micrograph is kept but these.

    Those pickers are asked that the pruner has; see :func:`advised`.
    """
    device = choose_device(settings.device)
    network = folded(sobered(pruner) if pruner.pickers else pruner.network).to(device)
    logits = np.zeros((len(picks), len(CLASSES)), np.float32)
    total = len(np.unique(picks.micrograph_index))
    opinion = opinion_of(on_device(pruner.pickers, device))
    cut = patches_of(series, picks, particle_diameter, pruner.patches, device, opinion)
    for done, (rows, patches) in enumerate(cut, 1):
        _go_on(stop)
        features = pooled_features(network, patches, settings.flips, settings.batch)
        with torch.inference_mode():
            logits[rows] = head_logits(network, features).cpu().numpy()
        progress(done, total, f"judged {series.names[int(picks.micrograph_index[rows[0]])]}")
    return logits


def with_verdicts(picks: ParticleTable, logits: np.ndarray, pruner: Pruner) -> ParticleTable:
    """Picks with what their logits ``(n, classes)`` mean; see :func:`prune`."""
    from scipy.special import expit

    odds = log_odds(torch.from_numpy(logits)).double().numpy() / pruner.temperature
    others = np.array([i for i in range(len(CLASSES)) if i != PARTICLE])
    numbers = np.where(odds >= 0, PARTICLE, others[logits[:, others].argmax(axis=1)]) if len(odds) else np.empty(0, int)
    features = picks.features.rename(columns={"class": "class_before", "kind": "kind_before"})
    features["probability"], features["log_odds"] = expit(odds), odds
    features["class"], features["kind"] = numbers + 1, [CLASSES[number] for number in numbers]
    return replace(picks, features=features)


def label_classes(labels: ParticleTable) -> np.ndarray:
    """``(n,)`` int, index into :data:`.CLASSES`, of labels with a feature ``kind`` or ``class``.

    Raises
    ------
    LabelsError
        They have neither, or a class that is not known.
    """
    known = ", ".join(f"{i + 1} {name}" for i, name in enumerate(CLASSES))
    if "kind" in labels.features:
        names = labels.features["kind"].astype(str)
        odd = sorted(set(names) - set(CLASSES))
        numbers = names.map({name: i for i, name in enumerate(CLASSES)})
    elif "class" in labels.features:
        numbers = labels.features["class"].astype(float) - 1
        odd = sorted({f"{number + 1:g}" for number in numbers} - {str(i + 1) for i in range(len(CLASSES))})
    else:
        raise LabelsError(f"labels of several classes need a column 'class' or 'kind' ({known})")
    if odd:
        raise LabelsError(f"labels of the class {odd[0]}: not among {known}; change them")
    return numbers.to_numpy().astype(int)


def _told(
    series: MicrographSeries, good: ParticleTable | None, bad: ParticleTable | None, labels: ParticleTable | None
) -> tuple[ParticleTable, np.ndarray]:
    """All places that something is known of, counted into ``series``, and ``(n,)`` what (:func:`allowed_classes`)."""
    if labels is None and (good is None or bad is None):
        missing = "good" if good is None else "bad"
        raise LabelsError(f"there are no {missing} labels to learn from; mark some particles and some that are none")
    places, classes = [], []
    for table, number in ((good, PARTICLE), (bad, -1), (labels, None)):
        if table is None:
            continue
        table = table.renamed_to(series.names).require_inside(series.shape)
        places.append(table.coordinates)
        classes.append(label_classes(table) if number is None else np.full(len(table), number))
    return ParticleTable(series.names, np.concatenate(places)), np.concatenate(classes)


def _go_on(stop: Callable[[], bool]) -> None:
    if stop():
        raise KeyboardInterrupt
