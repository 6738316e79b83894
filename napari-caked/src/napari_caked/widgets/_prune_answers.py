"""What the helper process answers to the window of pruning. Knows no Qt."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.widgets._inbox import Inbox
from napari_caked.widgets._prune_messages import (
    CUTTING,
    JUDGING,
    LEARNING,
    MAPPING,
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

__all__ = ["answers"]


def answers(job: PruneJob | JunkJob, inbox: Inbox) -> Iterator[Verdicts | JunkFound]:
    """Judge picks, or map junk."""
    return _verdicts(job, inbox) if isinstance(job, PruneJob) else _junk(job, inbox)


def _verdicts(job: PruneJob, inbox: Inbox) -> Iterator[Verdicts]:
    """Cut patches where there are none yet, learn from marks where there are some, judge all picks."""
    from napari_caked.pruning.classify import with_verdicts
    from napari_caked.pruning.settings import PruneSettings
    from napari_caked.pruning.stored import StoredPatches, judged_patches, learned_from_patches, store_patches

    pruner, settings = _pruner_in(job.pruner), PruneSettings(device=job.device)
    stored = StoredPatches.open(job.folder)
    if stored is None:
        series = _series(job, inbox)
        stored = store_patches(
            *(series, job.picks, job.particle_diameter, job.folder, pruner.patches),
            device=job.device,
            progress=_teller(inbox, CUTTING),
        )
    if job.good is not None and job.bad is not None:
        heard = _teller(inbox, LEARNING)
        pruner = learned_from_patches(stored, job.good, job.bad, pruner, settings, progress=heard)
    logits = judged_patches(stored, pruner, settings, progress=_teller(inbox, JUDGING))
    yield Verdicts(with_verdicts(job.picks, logits, pruner), _as_bytes(pruner))


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
