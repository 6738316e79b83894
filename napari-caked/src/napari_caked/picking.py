"""Picking: micrographs in, a particle table out, one micrograph at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import torch

from napari_caked.checkpoint import PickerModel
from napari_caked.devices import choose_device
from napari_caked.peaks import find_peaks
from napari_caked.preprocess import WorkingImage, prepare
from napari_caked.scoring import score_map
from napari_caked.settings import PickSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = ["PickSettings", "candidates", "pick", "picks_by_micrograph", "picks_table"]

_DEFAULTS = PickSettings()


def candidates(model: PickerModel, working: WorkingImage, settings: PickSettings) -> tuple[np.ndarray, np.ndarray]:
    """All candidates of one prepared micrograph.

    Returns
    -------
    yx : numpy.ndarray
        ``(n, 2)`` in pixels of the micrograph, best first.
    logits : numpy.ndarray
        ``(n,)`` before calibration.
    """
    logits = score_map(model.network, working.image).float().cpu().numpy()
    stride = model.network.stride
    distance = settings.minimum_distance * model.preprocess.particle_width
    yx, heights = find_peaks(logits, distance / stride)
    yx = working.rescaling.to_original(yx * stride)
    height, width = working.rescaling.original_shape
    inside = ((yx >= 0) & (yx <= np.array([height - 1, width - 1]))).all(axis=1)
    return yx[inside], heights[inside]


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
    for index, name in enumerate(series.names):
        working = prepare(
            series.read(index), name, model.particle_diameter, pixel_size, model.preprocess, device=device
        )
        yx, logits = candidates(model, working, settings)
        yield index, yx, model.calibration.log_odds(logits)


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
    scores = torch.sigmoid(torch.from_numpy(logits.astype(np.float64))).numpy()
    features = pd.DataFrame({"score": scores, "logit": logits, "diameter": model.particle_diameter})
    return ParticleTable(
        micrographs=names,
        coordinates=np.column_stack([index, yx]),
        features=features,
        metadata={"provenance": {"model": dict(model.provenance), "settings": asdict(settings)}},
    )
