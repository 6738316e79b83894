"""Jobs of the helper, from what the trainer's form says. Layers are copied here: they belong to the main thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import DiameterError, LabelsError
from napari_caked.layers import series_from_layer
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.widgets import _messages as messages
from napari_empiarreader.errors import NothingFoundError, PixelSizeError

if TYPE_CHECKING:
    from napari_caked.widgets._label_controls import LabelControls
    from napari_caked.widgets._train_form import TrainForm
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["Reading", "general_job", "picking_job", "training_job"]

Reading = Callable[[int], np.ndarray]
"""Gives a micrograph by its number."""

_LEAST_SCORE = 0.02
"""Candidates below it are surely no particles, and each point of a layer costs time whether it is shown or not."""

_OR = "or press 'Train without labels'"


def training_job(
    form: TrainForm,
    labelling: LabelControls,
    defaults: TrainingSettings,
    picking: PickSettings,
    *,
    without_labels: bool = False,
) -> tuple[messages.Job, Reading]:
    """To train on the labels there are, and to pick on all micrographs; what the form does not say is in ``defaults``.

    Parameters
    ----------
    form, labelling, defaults, picking
        Of the trainer.
    without_labels
        There are none: learn from the surest picks of the general picker.

    Raises
    ------
    NothingFoundError, LabelsError, DiameterError, PixelSizeError
        Something is missing.
    """
    image = form.micrographs.layer
    if image is None:
        raise NothingFoundError("there are no micrographs to train on; open some first")
    if labelling.label_set.labels is None and not without_labels:
        raise LabelsError(f"there are no labels; press 'New labels' and click on some particles, {_OR}")
    _require_diameter(form)
    series = _series(form)
    labels, negatives = labelling.label_set.tables(series.names, image)
    if without_labels and len(labels):
        some = "is a label" if len(labels) == 1 else f"are {len(labels)} labels"
        raise LabelsError(f"there {some}; press 'Train', which learns from labels, or choose an empty layer of labels")
    if not without_labels and not len(labels):
        raise LabelsError(f"there are no labels; click on some particles (ten are enough to begin with), {_OR}")
    settings = replace(
        defaults,
        particle_diameter=form.diameter.value(),
        seed=form.seed.value(),
        hold_out=0 if without_labels else form.hold_out.value(),  # to be told from one's own picks tells nothing
        steps=form.steps.value() or defaults.steps,
        batch_size=form.batch_size.value(),
        expected_particles=form.expected.value() or defaults.expected_particles,
        device=form.device.currentData(),
    )
    picking = replace(picking, device=settings.device)
    look = messages.Look(labelling.in_view(), form.score_map.isChecked())
    about = series.names, series.shape, series.dtype, series.pixel_size, series.source
    said = None if without_labels else labels
    return messages.Job(*about, said, settings, picking, _LEAST_SCORE, negatives=negatives, look=look), series.read


def general_job(
    form: TrainForm, labelling: LabelControls, picking: PickSettings
) -> tuple[messages.GeneralJob, Reading]:
    """To adapt the general picker to the micrographs, and to pick on all of them.

    Raises
    ------
    NothingFoundError, DiameterError, PixelSizeError
        Something is missing.
    """
    if form.micrographs.layer is None:
        raise NothingFoundError("there are no micrographs to pick on; open some first")
    _require_diameter(form)
    series = _series(form)
    about = series.names, series.shape, series.dtype, series.pixel_size, series.source
    picking = replace(picking, device=form.device.currentData())
    look = messages.Look(labelling.in_view(), form.score_map.isChecked())
    return messages.GeneralJob(*about, form.diameter.value(), picking, _LEAST_SCORE, look), series.read


def picking_job(form: TrainForm, model: bytes, picking: PickSettings) -> tuple[messages.PickJob, Reading]:
    """To pick on all micrographs with the picker there is, content of a model file.

    Raises
    ------
    NothingFoundError, PixelSizeError
        Something is missing.
    """
    if form.micrographs.layer is None:
        raise NothingFoundError("there are no micrographs to pick on; open some first")
    series = _series(form)
    about = series.names, series.shape, series.dtype, series.pixel_size, series.source
    picking = replace(picking, device=form.device.currentData())
    return messages.PickJob(*about, model, picking, _LEAST_SCORE), series.read


def _require_diameter(form: TrainForm) -> None:
    if form.diameter.value() <= 0:
        raise DiameterError("the particle diameter is missing; type it in Å in the field 'Diameter'")


def _series(form: TrainForm) -> MicrographSeries:
    if form.pixel_size.value() <= 0:
        raise PixelSizeError("the pixel size is missing; type it in Å in the field 'Pixel size'")
    return series_from_layer(form.micrographs.layer, form.pixel_size.value())
