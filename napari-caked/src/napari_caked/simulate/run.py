"""Many micrographs to a folder, in one process or in several; the files do not depend on how many."""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from napari_caked.errors import SettingsError
from napari_caked.simulate.micrograph import simulate_micrograph
from napari_caked.simulate.project import Bank
from napari_caked.simulate.settings import SimulationSettings
from napari_caked.simulate.truth import Truth, truth_of, write_micrograph, write_truth
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["default_box", "simulate_folder"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    bank: Bank
    settings: SimulationSettings
    folder: Path
    box: int
    overwrite: bool


def default_box(bank: Bank) -> int:
    """Side in pixels of the boxes of the particle stack: one and a half particles, even."""
    return 2 * round(0.75 * bank.diameter / bank.pixel_size)


def simulate_folder(
    bank: Bank,
    settings: SimulationSettings,
    folder: str | Path,
    count: int,
    *,
    box: int | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = silent,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Path]:
    """Simulate ``count`` micrographs into a folder, with all that is true about them.

    Parameters
    ----------
    bank, settings
        What to simulate.
    folder
        Made if it is not there.
    count
        Micrographs.
    box
        Side of the boxes of the particle stack in pixels, even; None takes one and a half particles.
    workers
        Processes.
    overwrite
        Replace files that exist.
    progress
        Told after each micrograph.
    stopped
        Asked after each micrograph whether to make no more; the truth of those that are made is written.

    Returns
    -------
    dict of str to Path
        The files about all micrographs together; see :mod:`napari_caked.simulate.truth`.

    Raises
    ------
    SettingsError
        No micrograph, no worker, or an odd box.
    FileExistsAlreadyError
        A file exists and ``overwrite`` is false.
    """
    side = box if box is not None else default_box(bank)
    if side < 2 or side % 2:
        raise SettingsError(f"box: {side} pixels cannot be cut out; give an even number")
    if count < 1 or workers < 1:
        raise SettingsError(f"{count} micrographs with {workers} workers cannot be simulated; give at least 1 of each")
    job = _Job(bank, settings, Path(folder), side, overwrite)
    truths = []
    for truth in _all(job, count, min(workers, count)):
        truths.append(truth)
        progress(len(truths), count, truth.name)
        if stopped():
            break
    return write_truth(job.folder, truths, settings, bank.name, overwrite=overwrite)


def _all(job: _Job, count: int, workers: int) -> Iterator[Truth]:
    """Truths in the order of the micrographs."""
    if workers == 1:
        yield from (_one(job, index) for index in range(count))
        return
    # Fresh processes: a forked one would inherit the locks of PyTorch's threads.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (job,)) as pool:
        yield from pool.map(_next, range(count))


_job: _Job | None = None


def _start(job: _Job) -> None:
    import torch

    global _job
    _job = job
    torch.set_num_threads(1)


def _next(index: int) -> Truth:
    if _job is None:
        raise RuntimeError("a worker was asked before it was told what to simulate")
    return _one(_job, index)


def _one(job: _Job, index: int) -> Truth:
    micrograph = simulate_micrograph(job.bank, job.settings, index)
    write_micrograph(job.folder, micrograph, overwrite=job.overwrite)
    return truth_of(micrograph, job.box)
