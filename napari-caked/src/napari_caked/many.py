"""Thousands of micrographs: one table of picks, whoever picked them and however often it was interrupted.

Way of the data: locations become micrographs, sorted by name; those that the journal knows are done; the others are
picked here, by processes of this machine (:mod:`.parallel`) or by a cluster (:mod:`.distributed`); outcomes come back
in any order, go into the journal, and are put in the order of the names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import MicrographError, PickingError, SettingsError
from napari_caked.jobs import Micrograph, Outcome, Setup, pick_here
from napari_caked.journal import Journal
from napari_caked.parallel import pick_on_processes
from napari_caked.settings import PickSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_empiarreader.archive import Archive

__all__ = ["PickRun", "find_micrographs", "join_tables", "pick_many", "shard_of"]

#: Micrographs for which it pays to start another process.
_PER_WORKER = 16


@dataclass(frozen=True)
class PickRun:
    """What came of many micrographs.

    Attributes
    ----------
    table
        Picks, by the names of the micrographs and then best first. Names of all micrographs, picked or not.
    failed
        Micrographs that have no picks because something was wrong with them, and what.
    devices
        Where it was computed, in words.
    pixel_sizes
        Å per pixel of each micrograph that was picked.
    resumed
        Micrographs that an earlier run had picked.
    """

    table: ParticleTable
    failed: Mapping[str, str]
    devices: tuple[str, ...]
    pixel_sizes: Mapping[str, float]
    resumed: int


def find_micrographs(
    locations: str | Path | Sequence[str | Path], *, archive: Archive | None = None
) -> tuple[Micrograph, ...]:
    """What files, folders, patterns and ``empiar://`` addresses mean, sorted by name.

    A single stack is its sections; of several files each must hold one image, which is looked at when it is picked.

    Raises
    ------
    NothingFoundError, FormatError, ArchiveError
        As :func:`napari_empiarreader.open_micrographs`.
    """
    from napari_empiarreader.files import LocalFile
    from napari_empiarreader.micrographs.formats import open_image
    from napari_empiarreader.micrographs.series import distinct_names, gathered, listed

    files = gathered(listed(locations), archive=archive)
    names = distinct_names(files)
    # Not resolved: links in a folder may be what gives the files their names.
    places = [os.path.abspath(one.path) if isinstance(one, LocalFile) else one.uri for one in files]  # noqa: PTH100
    if len(files) == 1 and (count := open_image(files[0]).info.shape[0]) > 1:
        digits = len(str(count))
        return tuple(Micrograph(f"{i + 1:0{digits}d}@{names[0]}", places[0], i) for i in range(count))
    found = [Micrograph(name, place) for name, place in zip(names, places, strict=True)]
    return tuple(sorted(found, key=lambda one: one.name))


def shard_of(micrographs: Sequence[Micrograph], shard: tuple[int, int]) -> tuple[Micrograph, ...]:
    """Part ``i`` of ``n`` (counted from 1): every n-th micrograph by name, so that parts take equally long.

    Raises
    ------
    SettingsError
        There is no such part.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise SettingsError(f"shard {part}/{parts}: parts are counted from 1 to {parts}")
    return tuple(sorted(micrographs, key=lambda one: one.name)[part - 1 :: parts])


def pick_many(
    micrographs: Sequence[Micrograph],
    model: str | os.PathLike[str],
    settings: PickSettings | None = None,
    *,
    pixel_size: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    strict: bool = False,
    journal: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    archive: Archive | None = None,
    progress: Progress = silent,
) -> PickRun:
    """Pick micrographs of any sizes, on several processors or machines.

    The picks do not depend on how many there are, nor on the order of files. A micrograph that cannot be picked is
    reported, and does not keep the others from being picked.

    Parameters
    ----------
    micrographs
        From :func:`find_micrographs`.
    model
        Model file.
    settings
        How to pick.
    pixel_size
        Å per pixel; overrides the headers. Without it each micrograph is taken at its own.
    workers
        Processes on this machine; None for one for each processor, but not for a few micrographs.
    scheduler
        Address of a dask.distributed scheduler, whose workers pick in place of processes on this machine.
    strict
        Stop with an error at the first micrograph that cannot be picked.
    journal
        File in which finished micrographs are kept until the caller removes it; an interrupted run leaves it.
    resume
        Go on with that file; see :class:`~.journal.Journal`, also for ``overwrite``.
    archive
        Where ``empiar://`` addresses lead.
    progress
        Told after each micrograph.

    Raises
    ------
    CheckpointError, DeviceError, SettingsError
        The model, the device or a setting cannot be used.
    MicrographError
        With ``strict`` a micrograph, otherwise every micrograph, could not be picked.
    PickingError
        Workers do not start, the scheduler is out of reach, or the journal is of another run.
    """
    settings = settings or PickSettings()
    if workers is not None and workers < 1:
        raise SettingsError(f"workers is {workers}, but must be at least 1")
    setup = _setup(model, settings, pixel_size, archive)
    by_name = {one.name: one for one in micrographs}
    if not by_name:
        raise PickingError("there is nothing to pick; name some micrographs")
    with ExitStack() as stack:
        kept = None
        done: dict[str, Outcome] = {}
        if journal is not None:
            about = _what_matters(setup)
            kept = stack.enter_context(Journal(Path(journal), about, resume=resume, overwrite=overwrite))
            done = kept.finished(micrographs)
        resumed, clock = len(done), _Clock(len(by_name) - len(done))
        left = [one for name, one in sorted(by_name.items()) if name not in done]
        for outcome in stack.enter_context(closing(_outcomes(left, setup, workers, scheduler))):
            if strict and outcome.error:
                raise MicrographError(outcome.error)
            if kept is not None:
                kept.add(by_name[outcome.name], outcome)
            done[outcome.name] = outcome
            progress(len(done), len(by_name), clock.tick(outcome))
    return _run(sorted(by_name), done, setup, resumed)


def join_tables(tables: Sequence[ParticleTable]) -> ParticleTable:
    """One table of the tables of several shards, sorted as that of an undivided run.

    Raises
    ------
    PickingError
        Two tables hold picks of one micrograph, or their features differ.
    """
    import pandas as pd

    seen: set[str] = set()
    for table in tables:
        twice = seen & set(table.micrographs)
        if twice:
            raise PickingError(f"{min(twice)} is in two of the tables; join each shard once, and those of one run")
        seen |= set(table.micrographs)
    with_rows = [table for table in tables if len(table)]
    if len({tuple(table.features.columns) for table in with_rows}) > 1:
        raise PickingError("the tables have different columns; join shards of one run only")
    names = sorted(seen)
    index = {name: i for i, name in enumerate(names)}
    rows = []
    for table in with_rows:
        numbers = np.array([index[name] for name in table.micrographs], np.float64)[table.micrograph_index]
        rows.append(np.column_stack([numbers, table.coordinates[:, 1:]]))
    coordinates = np.concatenate(rows) if rows else np.empty((0, 3))
    features = pd.concat([table.features for table in with_rows or tables[:1]], ignore_index=True)
    joined = ParticleTable(tuple(names), coordinates, features)
    return joined.where(np.argsort(joined.micrograph_index, kind="stable"))


def _setup(
    model: str | os.PathLike[str], settings: PickSettings, pixel_size: float | None, archive: Archive | None
) -> Setup:
    from napari_caked.checkpoint import checksum, load_model
    from napari_empiarreader.archive.settings import ArchiveSettings
    from napari_empiarreader.micrographs.series import check_pixel_size

    check_pixel_size(pixel_size)
    load_model(model)  # says what is wrong with it, before anything is started
    online = archive.settings if archive is not None else ArchiveSettings.from_environment()
    path = os.path.abspath(model)  # noqa: PTH100
    return Setup(path, checksum(path), settings, pixel_size, online.api_url, online.archive_url)


def _what_matters(setup: Setup) -> dict[str, object]:
    """What picks depend on; not where they are computed, nor how much memory they may take."""
    from napari_caked.devices import choose_device
    from napari_caked.scoring import choose_precision

    settings = asdict(setup.settings)
    del settings["tile_memory"]
    precision = choose_precision(setup.settings.precision, choose_device(settings.pop("device")))
    return {"model": setup.checksum, "pixel size": setup.pixel_size, **settings, "precision": str(precision)}


def _outcomes(
    micrographs: Sequence[Micrograph], setup: Setup, workers: int | None, scheduler: str | None
) -> Generator[Outcome]:
    if not micrographs:
        return
    if scheduler is not None:
        from napari_caked.distributed import pick_on_cluster

        yield from pick_on_cluster(micrographs, setup, scheduler)
        return
    if workers is None:
        workers = min(_processors(setup.settings.device), -(-len(micrographs) // _PER_WORKER))
    yield from pick_on_processes(micrographs, setup, workers) if workers > 1 else pick_here(micrographs, setup)


def _processors(device: str) -> int:
    """Processors that this process may use; one where a GPU does the work, which two models would share."""
    from napari_caked.devices import choose_device

    if choose_device(device).type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(names: Sequence[str], done: Mapping[str, Outcome], setup: Setup, resumed: int) -> PickRun:
    from napari_caked.checkpoint import load_model
    from napari_caked.picking import picks_table

    failed = {name: done[name].error for name in names if done[name].error}
    if len(failed) == len(names):
        first = next(iter(failed))
        raise MicrographError(f"none of {len(names)} micrographs could be picked; {first}: {failed[first]}")
    parts = [(i, done[name].picks[:, :2], done[name].picks[:, 2]) for i, name in enumerate(names)]
    table = picks_table(tuple(names), parts, load_model(setup.model), setup.settings)
    provenance = {**table.metadata["provenance"], "checksum": setup.checksum}
    return PickRun(
        table=replace(table, metadata={**table.metadata, "provenance": provenance}),
        failed=failed,
        devices=tuple(sorted({one.device for one in done.values() if one.device})),
        pixel_sizes={name: size for name in names if (size := done[name].pixel_size) is not None},
        resumed=resumed,
    )


class _Clock:
    """How fast it goes, and how long it will take."""

    def __init__(self, total: int) -> None:
        self._left, self._done, self._began = total, 0, time.monotonic()

    def tick(self, outcome: Outcome) -> str:
        """One more is done: a few words."""
        self._done += 1
        self._left -= 1
        rate = self._done / max(time.monotonic() - self._began, 1e-3)
        said = "failed" if outcome.error else f"{len(outcome.picks)} picks"
        return f"{outcome.name}: {said}; {rate:.2g} per second, {_duration(self._left / rate)} left"


def _duration(seconds: float) -> str:
    """Seconds in words of two parts at most."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
