"""Whole files out of the archive: several at a time, resumable, checked, into the folders that they have there.

:func:`plan` says what is to be done and whether it fits; :func:`download` does it, as often as it takes. What arrived
before a kill, an error or a full disk is beside its target and is continued from there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from napari_empiarreader.archive._fetch import Stopped, fetch_file, fetch_record
from napari_empiarreader.archive._planning import DownloadPlan, EntryRecord, FileState, PlannedFile, find_files, plan
from napari_empiarreader.archive._size_text import counted, size_text
from napari_empiarreader.archive._suspicion import suspicion
from napari_empiarreader.errors import DiskSpaceError, OfflineError, UserError
from napari_empiarreader.progress import Progress, silent

__all__ = [
    "DownloadPlan",
    "DownloadReport",
    "DownloadState",
    "EntryRecord",
    "FileState",
    "PlannedFile",
    "download",
    "find_files",
    "plan",
    "size_text",
]

_LOOK_EVERY = 0.1
"""Seconds between two reports."""
_RATE_OVER = 5.0
"""Seconds over which the rate is taken."""
_FAREWELL = 1.0
"""Seconds given to the threads to put down what they hold, after which they are left to end by themselves."""


@dataclass(frozen=True)
class DownloadState:
    """How far a download is.

    Parameters
    ----------
    bytes_done, bytes_total
        Of the whole selection, also what was there before; the total becomes exact as the files answer.
    files_done, files_total
        Done is also what failed.
    bytes_per_second
        Over the last seconds.
    names
        Files under way.
    """

    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int
    bytes_per_second: float
    names: tuple[str, ...] = ()

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None where nothing moves."""
        left = self.bytes_total - self.bytes_done
        return left / self.bytes_per_second if self.bytes_per_second > 0 else None

    def __str__(self) -> str:
        return f"{self.files_done} of {self.files_total} files, {size_text(self.bytes_per_second)}/s"


@dataclass
class DownloadReport:
    """What became of a plan.

    Parameters
    ----------
    done
        Files that were fetched, complete and of the right length.
    skipped
        Files that were there already, of the right length.
    failed
        Errors, by address.
    left
        Addresses of files that were not tried to the end, because the download was stopped or the disk is full.
    suspicious
        Fetched files that look damaged, and why. They are kept: the archive has them so.
    bytes_moved
        Bytes that came from the archive.
    was_stopped
        Whether it ended by the caller's ``stop``.
    """

    done: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[str, UserError] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    suspicious: dict[Path, str] = field(default_factory=dict)
    bytes_moved: int = 0
    seconds: float = 0.0
    was_stopped: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every file of the plan is in its place."""
        return not self.failed and not self.left

    @property
    def paths(self) -> list[Path]:
        """Every file that is in its place."""
        return [*self.done, *self.skipped]

    def raise_first(self) -> None:
        """Raise the first error, if there was one."""
        for error in self.failed.values():
            raise error

    def __str__(self) -> str:
        said = [f"{counted(len(self.done))} fetched", f"{len(self.skipped)} there already"]
        said += [f"{len(self.failed)} failed"] if self.failed else []
        said += [f"{len(self.left)} left"] if self.left else []
        said += [f"{len(self.suspicious)} suspicious"] if self.suspicious else []
        return f"{', '.join(said)}; {size_text(self.bytes_moved)} in {self.seconds:.0f} s"


def download(
    plan: DownloadPlan,
    *,
    overwrite: bool = False,
    fail_fast: bool = False,
    connections: int | None = None,
    stop: threading.Event | None = None,
    progress: Progress = silent,
    watch: Callable[[DownloadState], object] | None = None,
) -> DownloadReport:
    """Fetch what a plan says is missing, several files at a time.

    A file appears under its name only when it is complete and its length is right. One that fails does not stop the
    others. Called again, also by another process after this one was killed, it fetches only what is still missing.

    Parameters
    ----------
    plan
        See :func:`plan`.
    overwrite
        Replace files of another length. Files of the right length stay as they are.
    fail_fast
        Stop at the first error, and raise it.
    connections
        Files at a time; by default, and at most, what the archive's settings say.
    stop
        Set it from anywhere to end the download; the report then says what is left.
    progress
        Told the bytes done and the bytes in all. What it raises ends the download.
    watch
        Told the same in more detail. Both are called in the caller's own thread.

    Raises
    ------
    OfflineError
        The settings forbid asking the archive, and something is missing.
    UserError
        The first error, where ``fail_fast`` is set. Otherwise errors are in the report.
    """
    if connections is not None and connections < 1:
        raise ValueError(f"{connections} connections are too few")
    _refuse_offline(plan)
    crew = _Crew(plan, overwrite=overwrite, fail_fast=fail_fast, stop=stop)
    most = min((each.file.settings.connections for each in plan.files), default=1)
    workers = min(len(crew), connections or most, max(most, 1))
    threads = [threading.Thread(target=crew.work, name=f"download-{i}", daemon=True) for i in range(workers)]
    states = crew.states()
    told = next(states)  # what is there before the first byte is asked for
    for thread in threads:
        thread.start()
    try:
        for state in chain([told], states):
            progress(min(state.bytes_done, state.bytes_total), state.bytes_total, str(state))
            if watch is not None:
                watch(state)
    finally:  # also on Ctrl-C, which must not wait for an archive that does not answer
        crew.stopping.set()
        until = time.monotonic() + _FAREWELL
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
    report = crew.report()
    if fail_fast:
        report.raise_first()
    return report


def _refuse_offline(plan: DownloadPlan) -> None:
    for each in plan.files:
        if each.state is not FileState.COMPLETE and each.file.settings.offline:
            raise OfflineError(f"{each.uri}: the archive is not to be asked; switch the offline mode off to download")


class _Crew:
    """The threads' common work: who takes which file, what became of it, and how many bytes moved."""

    def __init__(self, plan: DownloadPlan, *, overwrite: bool, fail_fast: bool, stop: threading.Event | None) -> None:
        self.stopping = threading.Event()
        self._all: list[EntryRecord | PlannedFile] = [*plan.records, *plan.files]
        self._overwrite = overwrite
        self._fail_fast = fail_fast
        self._stop = stop
        self._queue = deque(self._all)
        self._change = threading.Condition()
        self._report = DownloadReport()
        self._settled: set[str] = set()
        self._names: dict[str, str] = {}
        self._broken: BaseException | None = None
        self._sizes = {each.uri: each.size or 0 for each in plan.files}
        self._there = {each.uri: each.bytes_there for each in plan.files}
        self._bytes_total = sum(self._sizes.values())
        self._bytes_done = sum(self._there.values())
        self._began = time.monotonic()
        self._rates: deque[tuple[float, int]] = deque([(self._began, 0)])

    def __len__(self) -> int:
        return len(self._all)

    # ---- in the threads --------------------------------------------------------------------------------------

    def work(self) -> None:
        """Take files and fetch them until there are none, or the download ends."""
        while not self._is_stopped():
            try:
                each = self._queue.popleft()
            except IndexError:
                return
            self._take(each)

    def _take(self, each: EntryRecord | PlannedFile) -> None:
        with self._change:
            self._names[each.uri] = each.target.name
        try:
            self._settle(each, *self._fetched(each))
        except Stopped:
            with self._change:
                self._names.pop(each.uri, None)
                self._change.notify_all()
        except UserError as error:
            self._settle(each, error=error)
        except BaseException as error:  # a defect of ours: said in the caller's thread, where somebody hears it
            with self._change:
                self._broken = self._broken or error
                self.stopping.set()
                self._change.notify_all()

    def _fetched(self, each: EntryRecord | PlannedFile) -> tuple[bool, str]:
        """Whether it had to be fetched, and what is odd about it."""
        if isinstance(each, EntryRecord):
            return fetch_record(each, overwrite=self._overwrite), ""
        listener = _Tally(self, each.uri)
        fetched = fetch_file(each, overwrite=self._overwrite, stopped=self._is_stopped, listener=listener)
        return fetched, suspicion(each.target) if fetched else ""

    def _settle(
        self, each: EntryRecord | PlannedFile, fetched: bool = False, odd: str = "", error: UserError | None = None
    ) -> None:
        with self._change:
            self._settled.add(each.uri)
            self._names.pop(each.uri, None)
            if error is not None:
                self._report.failed[each.uri] = error
                # Where one file finds the disk full, the next would too, and take its room first.
                if self._fail_fast or isinstance(error, DiskSpaceError):
                    self.stopping.set()
            else:
                (self._report.done if fetched else self._report.skipped).append(each.target)
                if isinstance(each, PlannedFile):
                    size = each.target.stat().st_size
                    self.count(each.uri, size=size, there=size)
            if odd:
                self._report.suspicious[each.target] = odd
            self._change.notify_all()

    def count(self, uri: str, *, size: int | None = None, there: int | None = None, moved: int = 0) -> None:
        """Bring the sums up to date for one file; under the lock or by the one thread that has it."""
        with self._change:
            if size is not None:
                self._bytes_total += size - self._sizes[uri]
                self._sizes[uri] = size
            there = self._there[uri] + moved if there is None else there
            self._bytes_done += there - self._there[uri]
            self._there[uri] = there
            self._report.bytes_moved += moved

    def _is_stopped(self) -> bool:
        return self.stopping.is_set() or (self._stop is not None and self._stop.is_set())

    # ---- in the caller's thread ------------------------------------------------------------------------------

    def states(self) -> Iterator[DownloadState]:
        """How far it is, again and again until it has ended."""
        yield self._state()
        while not self._has_ended():
            with self._change:
                self._change.wait(_LOOK_EVERY)
            yield self._state()
        yield self._state()
        if self._broken is not None:
            raise self._broken

    def _has_ended(self) -> bool:
        return self._is_stopped() or len(self._settled) == len(self)

    def _state(self) -> DownloadState:
        now = time.monotonic()
        with self._change:
            moved = self._report.bytes_moved
            self._rates.append((now, moved))
            while now - self._rates[0][0] > _RATE_OVER and len(self._rates) > 2:
                self._rates.popleft()
            then, before = self._rates[0]
            return DownloadState(
                self._bytes_done,
                self._bytes_total,
                len(self._settled),
                len(self),
                (moved - before) / (now - then) if now > then else 0.0,
                tuple(self._names.values()),
            )

    def report(self) -> DownloadReport:
        """What became of every file so far."""
        with self._change:
            if self._broken is not None:
                raise self._broken
            ours = self._report
            places = {each.target: i for i, each in enumerate(self._all)}
            return DownloadReport(
                sorted(ours.done, key=places.__getitem__),
                sorted(ours.skipped, key=places.__getitem__),
                dict(ours.failed),
                [each.uri for each in self._all if each.uri not in self._settled],
                dict(ours.suspicious),
                ours.bytes_moved,
                time.monotonic() - self._began,
                self._stop is not None and self._stop.is_set(),
            )


@dataclass(frozen=True)
class _Tally:
    """Tells the crew about one file."""

    crew: _Crew
    uri: str

    def knows(self, position: int, size: int) -> None:
        self.crew.count(self.uri, size=size, there=position)

    def arrived(self, count: int) -> None:
        self.crew.count(self.uri, moved=count)

    def lost(self) -> None:
        self.crew.count(self.uri, there=0)
