"""What the picker makes of the micrograph in view while it learns. Runs in the helper; knows no Qt."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.widgets._inbox import Inbox
from napari_caked.widgets._messages import GeneralJob, Job, Look, Previewed, ScorePlane
from napari_empiarreader.micrographs import MicrographSeries

if TYPE_CHECKING:
    from napari_caked.checkpoint import PickerModel
    from napari_caked.picking import Judged
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

    def __init__(self, series: MicrographSeries, job: Job | GeneralJob, inbox: Inbox) -> None:
        self._series, self._job, self._inbox = series, job, inbox
        self._model: PickerModel | None = None
        self._step = 0
        self._shown: tuple[int, Look] | None = None
        self._at, self._cost = 0.0, 0.0
        self._prepared: OrderedDict[int, WorkingImage] = OrderedDict()

    @property
    def wanted(self) -> int:
        """Number of the micrograph in view, -1 where nothing is to be shown."""
        index = self._inbox.look.index
        return -1 if index is None else index

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
        """What picking would make of the micrograph with this model, its decoys considered."""
        from napari_caked.devices import choose_device
        from napari_caked.picking import judge, picks_table

        model = replace(model, network=model.network.to(choose_device(self._job.picking.device)))
        working = self._working(model, index)
        judged = judge(model, working, self._job.picking, reproducible=False)
        table = picks_table(self._series.names, [(index, judged.yx, judged.logits)], model, self._job.picking)
        table = table.where(table.features["score"].to_numpy() >= self._job.least_score)
        plane = _score_plane(model, working, judged) if with_scores else None
        return Previewed(self._step, index, table, plane)

    def _working(self, model: PickerModel, index: int) -> WorkingImage:
        from napari_caked.picking import prepare_alone

        if index not in self._prepared:
            name, pixel_size = self._series.names[index], self._series.require_pixel_size()
            self._prepared[index] = prepare_alone(self._series.read(index), name, pixel_size, model)
            while len(self._prepared) > _KEPT:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(index)
        return self._prepared[index]


def _score_plane(model: PickerModel, working: WorkingImage, judged: Judged) -> ScorePlane:
    """The calibrated scores of all places of a micrograph."""
    raw = judged.scores
    log_odds = model.calibration.log_odds(raw.ravel()).reshape(raw.shape) + judged.shift
    scores = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
    fy, fx = working.rescaling.factor
    stride = model.network.stride
    return ScorePlane(scores.astype(np.float16), (fy * stride, fx * stride))
