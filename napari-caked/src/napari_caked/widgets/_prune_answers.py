"""What the helper process answers to the window of pruning. Knows no Qt."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.widgets._inbox import Inbox
from napari_caked.widgets._prune_messages import (
    ASKING,
    CUTTING,
    JUDGING,
    LEARNING,
    LOOKING,
    MAPPING,
    TRAINING,
    JunkFound,
    JunkJob,
    PruneJob,
    Verdicts,
)
from napari_caked.widgets._sim_messages import Advanced
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress

if TYPE_CHECKING:
    from napari_caked.pruning.checkpoint import Pruner
    from napari_caked.pruning.settings import PruneSettings
    from napari_caked.pruning.stored import StoredPatches

__all__ = ["answers"]


def answers(job: PruneJob | JunkJob, inbox: Inbox) -> Iterator[Verdicts | JunkFound]:
    """Judge picks, or map junk."""
    return _verdicts(job, inbox) if isinstance(job, PruneJob) else _junk(job, inbox)


def _verdicts(job: PruneJob, inbox: Inbox) -> Iterator[Verdicts]:
    """Cut patches where there are none yet, learn from marks where there are some, judge all picks."""
    from napari_caked.pruning.classify import with_verdicts
    from napari_caked.pruning.settings import PruneSettings
    from napari_caked.pruning.stored import StoredPatches, judged_patches

    pruner, settings = _pruner_in(job.pruner), PruneSettings(device=job.device)
    stored = StoredPatches.open(job.folder) or _cut(job, pruner, settings, inbox)
    if job.good is not None and job.bad is not None:
        pruner, stored = _learned(job, pruner, stored, settings, inbox)
    logits = judged_patches(stored, pruner, settings, progress=_teller(inbox, JUDGING))
    yield Verdicts(with_verdicts(job.picks, logits, pruner), _as_bytes(pruner))


def _cut(job: PruneJob, pruner: Pruner, settings: PruneSettings, inbox: Inbox) -> StoredPatches:
    """Patches of all picks, with what the picker says that is adapted to these micrographs."""
    from napari_caked.devices import choose_device
    from napari_caked.pruning.classify import advised
    from napari_caked.pruning.opinion import on_device, opinion_of
    from napari_caked.pruning.stored import store_patches

    series = _series(job, inbox)
    asked = advised(pruner, series, job.particle_diameter, settings, progress=_teller(inbox, LOOKING))
    return store_patches(
        *(series, job.picks, job.particle_diameter, job.folder, pruner.patches),
        opinion=opinion_of(on_device(asked.pickers, choose_device(job.device))),
        device=job.device,
        progress=_teller(inbox, CUTTING),
    )


def _learned(
    job: PruneJob, pruner: Pruner, stored: StoredPatches, settings: PruneSettings, inbox: Inbox
) -> tuple[Pruner, StoredPatches]:
    """What marks teach, and the patches with the opinion of the pickers that were trained on them, if so wished."""
    from napari_caked.pruning.opinion import odds_of, opinion_of, taught_pickers, unprejudiced
    from napari_caked.pruning.stored import learned_from_patches

    assert job.good is not None and job.bad is not None
    rows = np.concatenate([job.good, job.bad])
    series, labels = _series(job, inbox), job.picks.where(rows)
    right = np.arange(len(rows)) < len(job.good)
    told, taught = None, None
    if job.train_picker:
        heard = _teller(inbox, TRAINING)
        taught = taught_pickers(series, labels, right, job.particle_diameter, settings, progress=heard)
    if taught is not None:
        told = odds_of(unprejudiced(taught), series, labels)
        opinion = opinion_of(taught.pickers)
        assert opinion is not None  # there are two
        stored = replace(stored, odds=odds_of(opinion, series, job.picks, progress=_teller(inbox, ASKING)))
        pruner = replace(pruner, pickers=taught.pickers)
    heard = _teller(inbox, LEARNING)
    learned = learned_from_patches(stored, job.good, job.bad, pruner, settings, odds=told, progress=heard)
    return learned, stored


def _junk(job: JunkJob, inbox: Inbox) -> Iterator[JunkFound]:
    from napari_caked.pruning.junk import junk_maps
    from napari_caked.pruning.settings import PruneSettings

    inbox.say(Advanced(MAPPING, 0, len(job.names)))
    settings = PruneSettings(flips=1, device=job.device)
    for index, found in junk_maps(_series(job, inbox), job.particle_diameter, _pruner_in(job.pruner), settings):
        rows = np.flatnonzero(job.picks.micrograph_index == index)
        junk = found.at(job.picks.coordinates[rows, 1:])
        yield JunkFound(index, len(job.names), found.probability, found.spacing, found.origin, rows, junk)


def _series(job: PruneJob | JunkJob, inbox: Inbox) -> MicrographSeries:
    return MicrographSeries(job.names, job.shape, job.dtype, job.pixel_size, inbox.read, job.source)


def _teller(inbox: Inbox, what: str) -> Progress:
    inbox.say(Advanced(what))

    def tell(done: int, total: int, message: str = "") -> None:  # noqa: ARG001  (the window says it in its own words)
        inbox.say(Advanced(what, done, total))

    return tell


def _pruner_in(content: bytes | None) -> Pruner:
    from napari_caked.pruning.checkpoint import general_pruner, load_pruner

    if content is None:
        return general_pruner()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pruner.safetensors"
        file.write_bytes(content)
        return load_pruner(file)


def _as_bytes(pruner: Pruner) -> bytes:
    from napari_caked.pruning.checkpoint import save_pruner

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pruner.safetensors"
        save_pruner(file, pruner)
        return file.read_bytes()
