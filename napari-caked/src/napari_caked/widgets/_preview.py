"""What the picker makes of the micrograph in view while it learns. Runs in the helper; knows no Qt."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.widgets._inbox import Inbox
from napari_caked.widgets._messages import Job, Look, Previewed, ScorePlane
from napari_empiarreader.micrographs import MicrographSeries

if TYPE_CHECKING:
    from napari_caked.checkpoint import PickerModel
    from napari_caked.preprocess import WorkingImage

__all__ = ["Previewer"]

_EVERY, _AT_ONCE = 2.0, 0.3
"""Seconds between previews: of a micrograph that stays in view, and of one that has just come."""

_SHARE = 0.1
"""Of the time that previews may take from learning."""

_KEPT = 3
"""Working images that are kept, for one who goes back and forth."""


class Previewer:
    """Picks the micrograph in view, not too often.

    Parameters
    ----------
    series, job
        What is trained on, and how picks are made.
    inbox
        Knows what the window looks at.
    """

    def __init__(self, series: MicrographSeries, job: Job, inbox: Inbox) -> None:
        self._series, self._job, self._inbox = series, job, inbox
        self._model: PickerModel | None = None
        self._step = 0
        self._shown: tuple[int, Look] | None = None
        self._at, self._cost = 0.0, 0.0
        self._prepared: OrderedDict[int, WorkingImage] = OrderedDict()

    def take(self, model: PickerModel, step: int) -> None:
        """Show this model from now on."""
        self._model, self._step = model, step

    def messages(self) -> Iterator[Previewed]:
        """A preview, if there is something new to show and it is time."""
        look = self._inbox.look
        if self._model is None or look.index is None or (self._step, look) == self._shown:
            return
        moved = self._shown is None or look != self._shown[1]
        if time.monotonic() - self._at < max(_AT_ONCE if moved else _EVERY, self._cost / _SHARE * (not moved)):
            return
        began = time.monotonic()
        yield self._preview(self._model, look.index, look.with_scores)
        self._shown, self._at = (self._step, look), time.monotonic()
        self._cost = self._at - began

    def _preview(self, model: PickerModel, index: int, with_scores: bool) -> Previewed:
        from napari_caked.picking import candidates, picks_table
        from napari_caked.scoring import score_map

        working = self._working(model, index)
        yx, logits = candidates(model, working, self._job.picking)
        part = (index, yx, model.calibration.log_odds(logits))
        table = picks_table(self._series.names, [part], model, self._job.picking)
        table = table.where(table.features["score"].to_numpy() >= self._job.least_score)
        plane = None
        if with_scores:
            raw = score_map(model.network, working.image).float().cpu().numpy()
            log_odds = model.calibration.log_odds(raw.ravel()).reshape(raw.shape)
            scores = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
            fy, fx = working.rescaling.factor
            stride = model.network.stride
            plane = ScorePlane(scores.astype(np.float16), (fy * stride, fx * stride))
        return Previewed(self._step, index, table, plane)

    def _working(self, model: PickerModel, index: int) -> WorkingImage:
        from napari_caked.devices import choose_device
        from napari_caked.preprocess import prepare

        if index not in self._prepared:
            parameter = next(iter(model.network.parameters()), None)
            device = parameter.device if parameter is not None else choose_device(self._job.training.device)
            self._prepared[index] = prepare(
                self._series.read(index),
                self._series.names[index],
                model.particle_diameter,
                self._series.require_pixel_size(),
                model.preprocess,
                device=device,
            )
            while len(self._prepared) > _KEPT:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(index)
        return self._prepared[index]
