"""Picking before anybody has clicked: the general picker learns what it can from the micrographs themselves.

Way of the data: a few micrographs are read; the general picker finds candidates, and their decoys (the same image with
its contrast inverted) say how many of the best are chance; the surest are averaged to a template of this specimen, and
with it everything is looked at again; the log-odds are calibrated on what is found. That takes seconds and is
:func:`adapted`. The surest picks of such a picker can also stand for the clicks of a training: :func:`sure_picks`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from napari_caked.calibration import estimate_calibration
from napari_caked.checkpoint import PickerModel
from napari_caked.datasets.checks import LABELLED_BY, LabelledBy
from napari_caked.devices import choose_device
from napari_caked.errors import DiameterError, LabelsError, MicrographError
from napari_caked.general import inverted, with_template
from napari_caked.models import MatchedFilter, MatchedFilterNetwork
from napari_caked.picking import candidates_and_decoys, prepare_alone
from napari_caked.preprocess import WorkingImage
from napari_caked.settings import PickSettings
from napari_caked.spacing import estimate_spacing
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["LOOKED_AT", "NamedImage", "adapted", "some_of", "spread", "sure_picks"]

_log = logging.getLogger(__name__)

#: Name, ``(y, x)`` values, and Å per pixel of a micrograph.
NamedImage = tuple[str, np.ndarray, float]
Thing = TypeVar("Thing")

#: Micrographs that are looked at, evenly spread over all there are.
LOOKED_AT = 8
#: Decoys among as many candidates that are as good, for the template and for labels; and for the calibration.
_SURE, _LIKELY = 0.1, 0.3
#: Picks that a template or a training is made of, at most; and at least.
_ENOUGH, _FEWEST = 100, 10
#: What the scores add up to where nothing is surely a particle: not enough for a single pick at 0.5.
_NEARLY_NOTHING = 0.25
#: Logits that stand for those of labels in the calibration: few, so that all the candidates decide.
_TOLD, _FEW = 20, 3


@dataclass(frozen=True)
class _Seen:
    """One micrograph with candidates, best first.

    Attributes
    ----------
    name
        Of the micrograph.
    working
        Prepared.
    places, logits
        ``(n, 2)`` (y, x) in working pixels, and ``(n,)``.
    decoys
        ``(k,)`` logits.
    """

    name: str
    working: WorkingImage
    places: np.ndarray
    logits: np.ndarray
    decoys: np.ndarray


def adapted(model: PickerModel, images: Iterable[NamedImage], *, device: str = "auto") -> PickerModel:
    """A picker with the template, the calibration and the spacing of the specimen on some micrographs.

    Its network learns nothing. Particles may be dark or bright. Where fewer than ten places are surely a particle, it
    keeps its network, the same object, and its scores add up to no more than those: there seem to be no particles.

    Parameters
    ----------
    model
        The general picker (:func:`napari_caked.general.general_picker`), or another of its kind.
    images
        Micrographs of the specimen, such as :func:`some_of`; about eight are enough.
    device
        As of :class:`.PickSettings`.

    Raises
    ------
    DiameterError, MicrographError
        None of them can be picked.
    """
    model = _on(model, device)
    prepared = _prepared(model, images)
    seen = _look(model, prepared)
    network = model.network
    assert isinstance(network, MatchedFilterNetwork)
    chosen = _best(seen, _SURE, _ENOUGH)
    if sum(map(len, chosen)) < _FEWEST:
        turned = _on(replace(model, network=inverted(network).eval()), device)
        opposite = _look(turned, prepared)
        if sum(map(len, _best(opposite, _SURE, _ENOUGH))) < _FEWEST:
            return _doubted(_calibrated(model, seen), seen, sum(map(len, chosen)))
        _log.info("particles are brighter than what is around them")
        model, seen, network = turned, opposite, inverted(network)
        chosen = _best(seen, _SURE, _ENOUGH)
    centres = [one.places[which] for one, which in zip(seen, chosen, strict=True)]
    radius = len(network.filter.profile) - 1
    template = MatchedFilter.from_labels([one.working.image for one in seen], centres, radius)
    model = _on(replace(model, network=with_template(network.cpu(), template).eval()), device)
    return _calibrated(model, _look(model, [(one.name, one.working) for one in seen]))


def sure_picks(
    model: PickerModel, series: MicrographSeries, images: Iterable[NamedImage], *, device: str = "auto"
) -> ParticleTable:
    """The surest picks of a picker, to train another from: at most a hundred, of which about a tenth is wrong.

    Parameters
    ----------
    model, device
        As of :func:`adapted`.
    series
        The micrographs whose names the table knows.
    images
        Some of them.

    Raises
    ------
    LabelsError
        There are fewer than ten.
    DiameterError, MicrographError
        None of them can be picked.
    """
    model = _on(model, device)
    seen = _look(model, _prepared(model, images))
    chosen = _best(seen, _SURE, _ENOUGH)
    found = sum(map(len, chosen))
    if found < _FEWEST:
        raise LabelsError(
            f"nothing on these {len(seen)} micrographs is surely a particle of {model.particle_diameter:g} Å "
            f"({found} picks are, and {_FEWEST} are needed); check diameter and pixel size, or label ten particles"
        )
    rows = []
    for one, which in zip(seen, chosen, strict=True):
        places = one.working.rescaling.to_original(one.places[which])
        rows.append(np.column_stack([np.full(len(which), series.names.index(one.name)), places]))
    return ParticleTable(series.names, np.concatenate(rows), metadata={LABELLED_BY: LabelledBy.PICKER.value})


def some_of(series: MicrographSeries, at_most: int = LOOKED_AT, progress: Progress = silent) -> Iterator[NamedImage]:
    """Some micrographs of a series, evenly spread.

    Raises
    ------
    PixelSizeError
        Nobody said the pixel size.
    """
    pixel_size = series.require_pixel_size()
    chosen = spread(range(len(series)), at_most)
    for done, index in enumerate(chosen, 1):
        yield series.names[index], series.read(index), pixel_size
        progress(done, len(chosen), f"looked at {series.names[index]}")


def spread(things: Sequence[Thing], at_most: int = LOOKED_AT) -> list[Thing]:
    """At most so many of some things, evenly spread, in their order."""
    chosen = np.unique(np.linspace(0, len(things) - 1, min(at_most, len(things))).round().astype(int))
    return [things[int(index)] for index in chosen]


def _on(model: PickerModel, device: str) -> PickerModel:
    return replace(model, network=model.network.to(choose_device(device)))


def _prepared(model: PickerModel, images: Iterable[NamedImage]) -> list[tuple[str, WorkingImage]]:
    """Those that can be prepared; an error only where none can."""
    prepared, refused = [], None
    for name, values, pixel_size in images:
        try:
            prepared.append((name, prepare_alone(values, name, pixel_size, model)))
        except (MicrographError, DiameterError) as error:
            _log.info("not looked at: %s", error)
            refused = error
    if not prepared:
        raise refused or MicrographError("there is no micrograph to look at; name some that can be read")
    return prepared


@torch.inference_mode()
def _look(model: PickerModel, workings: Sequence[tuple[str, WorkingImage]]) -> list[_Seen]:
    seen = []
    for name, working in workings:
        (places, logits), decoys = candidates_and_decoys(model, working, PickSettings(threshold=0.0))
        seen.append(_Seen(name, working, working.rescaling.to_rescaled(places), logits, decoys))
    return seen


def _best(seen: Sequence[_Seen], wrong: float, most: int | None = None) -> list[np.ndarray]:
    """For each micrograph, which candidates are among the best of all, ``wrong`` of which the decoys call chance."""
    logits = np.sort(np.concatenate([one.logits for one in seen]))[::-1]
    decoys = np.sort(np.concatenate([one.decoys for one in seen]))[::-1]
    as_good = np.searchsorted(-decoys, -logits, side="right")
    fine = np.flatnonzero(as_good <= wrong * np.arange(1, len(logits) + 1))
    count = int(fine[-1]) + 1 if len(fine) else 0
    count = count if most is None else min(count, most)
    least = logits[count - 1] if count else np.inf
    return [np.flatnonzero(one.logits >= least) for one in seen]


def _doubted(model: PickerModel, seen: Sequence[_Seen], sure: int) -> PickerModel:
    """The same picker, its odds lowered until its scores on what was seen add up to no more than is surely there."""
    from scipy.optimize import brentq
    from scipy.special import expit

    odds = model.calibration.log_odds(np.concatenate([one.logits for one in seen]))
    most = max(float(sure), _NEARLY_NOTHING)
    if expit(odds).sum() <= most:
        return model
    lowest = -float(odds.max()) - 50.0 - np.log(len(odds))
    by = brentq(lambda by: expit(odds + by).sum() - most, min(lowest, -1.0), 0.0)
    return replace(model, calibration=replace(model.calibration, offset=model.calibration.offset + by))


def _calibrated(model: PickerModel, seen: Sequence[_Seen]) -> PickerModel:
    logits, decoys = (np.concatenate([getattr(one, name) for one in seen]) for name in ("logits", "decoys"))
    likely = np.concatenate([one.logits[which] for one, which in zip(seen, _best(seen, _LIKELY), strict=True)])
    # Of all that are likely, not of the best: those would raise what is expected of a particle. Where none is likely,
    # the best stand for them, and the mixture finds that they are no better than chance.
    told = np.random.default_rng(0).permutation(likely)[:_TOLD] if len(likely) else np.sort(logits)[-_FEW:]
    if not len(logits):
        return model
    calibration = estimate_calibration(logits, told, decoys=decoys)
    judged = [(one.places, calibration.log_odds(one.logits)) for one in seen]
    areas = [float(one.working.valid.sum()) for one in seen]
    spacing = estimate_spacing(judged, areas, model.preprocess.particle_width)
    return replace(model, calibration=calibration, spacing=spacing)
