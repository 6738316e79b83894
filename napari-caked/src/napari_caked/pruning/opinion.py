"""A second opinion: what pickers say of the places that are to be judged.

A patch network knows what particles and junk look like; a picker knows what this specimen looks like, and learns it
from whole micrographs: without labels it takes the template of what is surely there (:func:`.zero_clicks.adapted`),
with some it is trained on them. Two are trained, each on half of the labels, so that there is an unprejudiced opinion
of each label: what a picker says of what it was told teaches nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_caked.checkpoint import PickerModel
from napari_caked.errors import TrainingError
from napari_caked.general import general_picker
from napari_caked.picking import judge, prepare_alone
from napari_caked.pruning.patches import Opinion
from napari_caked.pruning.settings import PruneSettings
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.training import Finished, Step, TrainingControl, Warned, training_events
from napari_caked.zero_clicks import adapted, some_of
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = [
    "Taught",
    "adapted_pickers",
    "odds_at",
    "odds_of",
    "on_device",
    "opinion_of",
    "taught_pickers",
    "unprejudiced",
]

_log = logging.getLogger(__name__)

#: Good labels that two pickers are trained on, at least; with fewer, a picker without labels knows more.
FEWEST = 10
#: Log-odds beyond so much say no more: a picker is never as sure as that.
_SUREST = 10.0
#: A pick is the candidate that is nearest, within so many particle widths; beyond, the map's value there is taken.
_NEAR = 0.25
#: A place that is no particle is not told to a picker where one is nearer than this, in particle widths: the two would
#: contradict each other.
_APART = 0.5
_EVERYTHING = PickSettings(threshold=0.0)


@dataclass(frozen=True)
class Taught:
    """Two pickers, each trained on half of the labels.

    Attributes
    ----------
    pickers
        The two.
    half
        ``(n,)`` int: which of them has seen each label, 0 or 1.
    """

    pickers: tuple[PickerModel, PickerModel]
    half: np.ndarray


def odds_at(
    pickers: tuple[PickerModel, ...], image: np.ndarray, name: str, pixel_size: float, yx: np.ndarray
) -> np.ndarray:
    """What pickers say of places of one micrograph.

    Parameters
    ----------
    pickers
        On the device where they shall compute.
    image
        ``(y, x)``.
    name
        For messages.
    pixel_size
        Å.
    yx
        ``(n, 2)`` places in pixels.

    Returns
    -------
    numpy.ndarray
        ``(len(pickers), n)`` float32 log-odds, between -10 and 10.

    Raises
    ------
    DiameterError, MicrographError
        As :func:`napari_caked.preprocess.prepare`.
    """
    said = [_odds_of(one, image, name, pixel_size, np.asarray(yx, float).reshape(-1, 2)) for one in pickers]
    return np.array(said, np.float32).reshape(len(pickers), -1).clip(-_SUREST, _SUREST)


def _odds_of(picker: PickerModel, image: np.ndarray, name: str, pixel_size: float, yx: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    working = prepare_alone(image, name, pixel_size, picker)
    judged = judge(picker, working, _EVERYTHING)
    at = np.rint(working.rescaling.to_rescaled(yx) / picker.network.stride).astype(int)
    at = at.clip(0, np.array(judged.scores.shape) - 1)
    odds = picker.calibration.log_odds(judged.scores[at[:, 0], at[:, 1]]) + judged.shift
    if len(judged.yx) and len(yx):
        away, nearest = (np.asarray(part) for part in cKDTree(judged.yx).query(yx))
        near = away < _NEAR * picker.particle_diameter / pixel_size
        odds[near] = judged.logits[nearest[near]]
    return odds


def adapted_pickers(
    series: MicrographSeries, particle_diameter: float, device: str = "auto", progress: Progress = silent
) -> tuple[PickerModel, ...]:
    """The general picker with the template of these micrographs, as the only one; none where it sees no particles.

    Parameters
    ----------
    series
        Micrographs with a pixel size; some of them are looked at.
    particle_diameter
        Å.
    device
        As of :class:`.PickSettings`.
    progress
        Told after each micrograph.

    Raises
    ------
    DiameterError, MicrographError
        No micrograph can be prepared.
    """
    general = general_picker(particle_diameter)
    found = adapted(general, some_of(series, progress=progress), device=device)
    if found.network is general.network:
        _log.info("the picker sees no particles here; picks are judged without its opinion")
        return ()
    return (found,)


def taught_pickers(
    series: MicrographSeries,
    labels: ParticleTable,
    right: np.ndarray,
    particle_diameter: float,
    settings: PruneSettings,
    *,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Taught | None:
    """Two pickers that are trained on these labels, or None where they are too few (:data:`FEWEST`).

    Parameters
    ----------
    series
        Only the micrographs with labels are read.
    labels
        Particles and places that are none, counted into ``series``.
    right
        ``(n,)`` bool: which of them are particles.
    particle_diameter
        Å.
    settings
        Steps of the picker, seed, device.
    progress
        Told after each batch.
    stop
        Asked after each batch; where it says yes, :class:`KeyboardInterrupt` is raised.
    """
    if right.sum() < FEWEST:
        return None
    rng = np.random.default_rng((settings.seed, len(labels)))
    half = np.empty(len(labels), int)
    for side in (right, ~right):
        half[side] = rng.permutation(int(side.sum())) % 2
    width = particle_diameter / series.require_pixel_size()
    pickers = []
    for number in (0, 1):
        good, bad = (labels.where((half == number) & side) for side in (right, ~right))
        bad = bad.where(_far(bad, good, _APART * width))
        part = _part_of(progress, number)
        pickers.append(_trained(series, good, bad, particle_diameter, settings, part, stop))
    return Taught((pickers[0], pickers[1]), half)


def _trained(
    series: MicrographSeries,
    good: ParticleTable,
    bad: ParticleTable,
    particle_diameter: float,
    settings: PruneSettings,
    progress: Progress,
    stop: Callable[[], bool],
) -> PickerModel:
    how = TrainingSettings(
        particle_diameter=particle_diameter,
        steps=settings.picker_steps,
        reviews=1,
        seed=settings.seed,
        device=settings.device,
    )
    control = TrainingControl()
    for event in training_events(series, good, how, negatives=bad if len(bad) else None, control=control):
        if stop():
            control.cancel()
        match event:
            case Step():
                progress(event.step, event.steps, "training a picker on labels")
            case Warned():
                _log.info("%s", event.message)
            case Finished(model=model) if model is not None:
                return model
    if control.cancelled:
        raise KeyboardInterrupt
    raise TrainingError("training a picker on the labels ended without one")


def _far(places: ParticleTable, others: ParticleTable, distance: float) -> np.ndarray:
    """``(n,)`` bool: places farther than ``distance`` pixels from all the others of their micrograph."""
    from scipy.spatial import cKDTree

    far = np.ones(len(places), bool)
    for index in np.unique(places.micrograph_index):
        here, known = places.micrograph_index == index, others.on(int(index))
        if len(known):
            far[here] = cKDTree(known).query(places.coordinates[here, 1:])[0] > distance
    return far


def _part_of(progress: Progress, half: int) -> Progress:
    def tell(done: int, total: int, message: str = "") -> None:
        progress(half * total + done, 2 * total, message)

    return tell


def on_device(pickers: tuple[PickerModel, ...], device: torch.device) -> tuple[PickerModel, ...]:
    """The same on a device."""
    return tuple(replace(one, network=one.network.to(device)) for one in pickers)


def opinion_of(pickers: tuple[PickerModel, ...]) -> Opinion | None:
    """The mean of what pickers say of places; None where there are none."""
    if not pickers:
        return None

    def asked(image: np.ndarray, name: str, pixel_size: float, rows: np.ndarray, yx: np.ndarray) -> np.ndarray:
        del rows
        return odds_at(pickers, image, name, pixel_size, yx).mean(axis=0)

    return asked


def unprejudiced(taught: Taught) -> Opinion:
    """Of each label, what the picker says that has not seen it; rows are those of ``taught.half``."""

    def asked(image: np.ndarray, name: str, pixel_size: float, rows: np.ndarray, yx: np.ndarray) -> np.ndarray:
        said = odds_at(taught.pickers, image, name, pixel_size, yx)
        return said[1 - taught.half[rows], np.arange(len(rows))]

    return asked


def odds_of(
    opinion: Opinion,
    series: MicrographSeries,
    picks: ParticleTable,
    *,
    progress: Progress = silent,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """``(n,)`` float32: an opinion of picks on any micrographs, each of which is read once.

    Parameters
    ----------
    opinion
        Of places on one micrograph.
    series, picks
        Where.
    progress, stop
        Told and asked after each micrograph; where ``stop`` says yes, :class:`KeyboardInterrupt` is raised.
    """
    pixel_size, odds = series.require_pixel_size(), np.zeros(len(picks), np.float32)
    seen = np.unique(picks.micrograph_index)
    for done, index in enumerate(map(int, seen), start=1):
        rows = np.flatnonzero(picks.micrograph_index == index)
        image, yx = series.read(index), picks.coordinates[rows, 1:]
        odds[rows] = opinion(image, series.names[index], pixel_size, rows, yx)
        progress(done, len(seen), f"asked about {series.names[index]}")
        if stop():
            raise KeyboardInterrupt
    return odds
