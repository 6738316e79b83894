"""Picking: micrographs in, a particle table out, one micrograph at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import chain

import numpy as np
import torch

from napari_caked.calibration import micrograph_shift
from napari_caked.checkpoint import PickerModel
from napari_caked.devices import choose_device
from napari_caked.peaks import find_peaks, suppress_neighbours
from napari_caked.preprocess import WorkingImage, prepare
from napari_caked.scoring import score_map, score_with_decoy
from napari_caked.settings import PickSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = [
    "Judged",
    "PickSettings",
    "candidates_and_decoys",
    "judge",
    "pick",
    "pick_image",
    "picks_by_micrograph",
    "picks_table",
    "prepare_alone",
]

_DEFAULTS = PickSettings()
#: Smallest distance of candidates, in particle widths, that calibrations are made for.
_APART = PickSettings.minimum_distance


def candidates_and_decoys(
    model: PickerModel, working: WorkingImage, settings: PickSettings
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """All candidates of one prepared micrograph, and of the same one with its contrast inverted.

    They are on specimen, and no nearer to its edges than the settings allow. What lies outside is left out only after
    neighbours were suppressed, so a particle at the rim does not come back as a lesser maximum beside it.

    Parameters
    ----------
    model
        Its network on the device of ``working``.
    working
        From :func:`napari_caked.preprocess.prepare`.
    settings
        Distance, border, precision.

    Returns
    -------
    found : tuple of numpy.ndarray
        ``(n, 2)`` in pixels of the micrograph, best first, and ``(n,)`` logits before calibration.
    decoys : numpy.ndarray
        ``(k,)`` logits of the others.
    """
    with _one_thread(working.image.device):
        both = score_with_decoy(
            model.network, working.image, precision=settings.precision, tile_memory=settings.tile_memory
        )
    found, decoys = (_peaks(model, scores.cpu().numpy(), working, settings) for scores in both)
    return found, decoys[1]


def _peaks(
    model: PickerModel, scores: np.ndarray, working: WorkingImage, settings: PickSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates on a map of scores; see :func:`candidates_and_decoys`."""
    yx, heights = _maxima(model, scores, working, settings.minimum_distance)
    inside = _inside(yx, model, working, settings)
    return yx[inside], heights[inside]


def _maxima(
    model: PickerModel, scores: np.ndarray, working: WorkingImage, apart: float
) -> tuple[np.ndarray, np.ndarray]:
    """Maxima on specimen, ``apart`` particle widths from each other, up to the very edges."""
    stride = model.network.stride
    yx, heights = find_peaks(scores, apart * model.preprocess.particle_width / stride)
    yx = yx * stride
    seen = np.rint(yx).astype(np.intp).clip(0, np.array(working.valid.shape) - 1)
    shown = working.valid.cpu().numpy()[seen[:, 0], seen[:, 1]]
    return working.rescaling.to_original(yx[shown]), heights[shown]


def _inside(yx: np.ndarray, model: PickerModel, working: WorkingImage, settings: PickSettings) -> np.ndarray:
    """``(n,)`` bool: which places are no nearer to the edges than the settings allow."""
    plan = working.rescaling
    away = settings.border * np.array([model.preprocess.particle_width]) * plan.factor
    return np.asarray(((yx >= away) & (yx <= np.array(plan.original_shape) - 1 - away)).all(axis=1))


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """One thread for the CPU's part: convolutions divide their sums among threads, and rounding tells how many."""
    before = torch.get_num_threads()
    if device.type == "cpu" and before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def picks_by_micrograph(
    series: MicrographSeries, model: PickerModel, settings: PickSettings = _DEFAULTS
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Pick one micrograph after the other.

    Yields
    ------
    index : int
        Of the micrograph in the series.
    yx : numpy.ndarray
        ``(n, 2)`` candidates in pixels, best first, whatever their score.
    logits : numpy.ndarray
        ``(n,)`` calibrated log-odds.

    Raises
    ------
    PixelSizeError, DiameterError, MicrographError, UserError
        What a micrograph lacks, by name.
    """
    pixel_size = series.require_pixel_size()
    device = choose_device(settings.device)
    model = replace(model, network=model.network.to(device))
    everything = replace(settings, threshold=0.0)
    for index, name in enumerate(series.names):
        y, x, logits = pick_image(series.read(index), name, pixel_size, model, everything)
        yield index, np.column_stack([y, x]), logits


def pick_image(
    image: np.ndarray, name: str, pixel_size: float, model: PickerModel, settings: PickSettings = _DEFAULTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pick one micrograph, on the device where the model is.

    Parameters
    ----------
    image
        ``(y, x)``.
    name
        For messages.
    pixel_size
        Å per pixel.
    model
        Trained picker.
    settings
        Threshold, distance, border, precision.

    Returns
    -------
    y, x : numpy.ndarray
        ``(n,)`` in pixels, best first.
    logits : numpy.ndarray
        ``(n,)`` calibrated log-odds; lowered on a micrograph that looks like one without particles
        (:func:`napari_caked.calibration.micrograph_shift`), and where a surer candidate is nearer than particles of
        this specimen come to each other (:mod:`napari_caked.spacing`).
    """
    judged = judge(model, prepare_alone(image, name, pixel_size, model), settings)
    yx, logits = judged.yx, judged.logits
    sure = _probabilities(logits) >= settings.threshold
    return yx[sure, 0], yx[sure, 1], logits[sure]


def prepare_alone(image: np.ndarray, name: str, pixel_size: float, model: PickerModel) -> WorkingImage:
    """Prepare a micrograph for ``model``, on its device, in one thread; parameters as of :func:`pick_image`."""
    device = next(chain(model.network.parameters(), model.network.buffers())).device
    with _one_thread(device):
        return prepare(image, name, model.particle_diameter, pixel_size, model.preprocess, device=device)


@dataclass(frozen=True)
class Judged:
    """What a model makes of one micrograph.

    Attributes
    ----------
    yx
        ``(n, 2)`` candidates in pixels of the micrograph, best first, whatever their score.
    logits
        ``(n,)`` calibrated log-odds, given ``shift`` and surer neighbours.
    shift
        What the log-odds of this micrograph are lowered by: below 0 where it looks like one without particles.
    scores
        ``(y, x)`` logits of all places of the working image, one in ``stride`` pixels, before calibration.
    """

    yx: np.ndarray
    logits: np.ndarray
    shift: float
    scores: np.ndarray


def judge(model: PickerModel, working: WorkingImage, settings: PickSettings, *, reproducible: bool = True) -> Judged:
    """Candidates of one prepared micrograph with their calibrated log-odds.

    Parameters
    ----------
    model, working, settings
        As of :func:`candidates_and_decoys`.
    reproducible
        Compute in one thread, so that the last bit does not depend on how many there are.
    """
    with _one_thread(working.image.device) if reproducible else nullcontext():
        scores, decoy = _scores(model, working, settings)
    apart = min(settings.minimum_distance, _APART)
    yx, raw = _maxima(model, scores, working, apart)
    shift = 0.0
    if decoy is not None:
        # Always of candidates as the calibration knows them, whatever distance is asked for.
        usual = replace(settings, minimum_distance=_APART)
        known = apart == _APART
        own = raw[_inside(yx, model, working, usual)] if known else _peaks(model, scores, working, usual)[1]
        shift = micrograph_shift(model.calibration, own, _peaks(model, decoy, working, usual)[1]).shift
    width = float(np.mean(working.rescaling.factor)) * model.preprocess.particle_width
    odds = model.spacing.adjusted(yx, model.calibration.log_odds(raw) + shift, width)
    order = np.argsort(-odds, kind="stable")
    yx, odds = yx[order], odds[order]
    if settings.minimum_distance > apart:
        kept = suppress_neighbours(yx, settings.minimum_distance * width)
        yx, odds = yx[kept], odds[kept]
    inside = _inside(yx, model, working, settings)
    return Judged(yx[inside], odds[inside], shift, scores)


def _scores(model: PickerModel, working: WorkingImage, settings: PickSettings) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits ``(y, x)`` of all places before calibration; and those of the decoy, if micrographs are compared to it."""
    network, image, precision, memory = model.network, working.image, settings.precision, settings.tile_memory
    if model.calibration.share is None:
        return score_map(network, image, precision=precision, tile_memory=memory).cpu().numpy(), None
    both = score_with_decoy(network, image, precision=precision, tile_memory=memory)
    return both[0].cpu().numpy(), both[1].cpu().numpy()


def pick(
    series: MicrographSeries,
    model: PickerModel,
    settings: PickSettings = _DEFAULTS,
    *,
    progress: Progress = silent,
) -> ParticleTable:
    """Pick particles on all micrographs of a series.

    Parameters
    ----------
    series
        Micrographs with a pixel size.
    model
        From :func:`napari_caked.train` or :func:`napari_caked.load_model`.
    settings
        Threshold, distance, device.
    progress
        Told after each micrograph.

    Returns
    -------
    ParticleTable
        Features ``score`` (probability), ``logit`` (log-odds), ``diameter`` (Å).
    """
    parts = []
    for part in picks_by_micrograph(series, model, settings):
        parts.append(part)
        progress(len(parts), len(series), f"picked {series.names[part[0]]}")
    table = picks_table(series.names, parts, model, settings)
    return table.where(table.features["score"].to_numpy() >= settings.threshold)


def picks_table(
    names: tuple[str, ...],
    parts: list[tuple[int, np.ndarray, np.ndarray]],
    model: PickerModel,
    settings: PickSettings,
) -> ParticleTable:
    """One table of what :func:`picks_by_micrograph` yielded, every candidate kept."""
    import pandas as pd

    index = np.concatenate([np.full(len(yx), i) for i, yx, _ in parts]) if parts else np.empty(0)
    yx = np.concatenate([yx for _, yx, _ in parts]) if parts else np.empty((0, 2))
    logits = np.concatenate([logits for *_, logits in parts]) if parts else np.empty(0)
    features = pd.DataFrame({"score": _probabilities(logits), "logit": logits, "diameter": model.particle_diameter})
    return ParticleTable(
        micrographs=names,
        coordinates=np.column_stack([index, yx]),
        features=features,
        metadata={"provenance": {"model": dict(model.provenance), "settings": asdict(settings)}},
    )


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Probabilities of log-odds, each the same whatever stands beside it."""
    from scipy.special import expit

    return expit(np.asarray(logits, np.float64))
