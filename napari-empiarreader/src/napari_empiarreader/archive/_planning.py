"""What a download would do, before it does anything: files, places, lengths, what is there, whether it fits."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from napari_empiarreader.archive._journal import resumable
from napari_empiarreader.archive._size_text import counted, size_text
from napari_empiarreader.archive._targets import existing_parent, refuse_clashes, target_of
from napari_empiarreader.archive.bulk import sizes_of
from napari_empiarreader.archive.client import Archive
from napari_empiarreader.archive.layout import only_metadata
from napari_empiarreader.archive.listing import Item
from napari_empiarreader.archive.remote import RemoteFile
from napari_empiarreader.archive.settings import ArchiveSettings
from napari_empiarreader.archive.transfer import HTTPS_BUDGET_BYTES, transfer_text
from napari_empiarreader.archive.uri import parse_uri
from napari_empiarreader.errors import (
    ArchiveError,
    DiskSpaceError,
    EntryNotFoundError,
    NothingFoundError,
    OverBudgetError,
    UserError,
)
from napari_empiarreader.progress import Progress, silent

__all__ = ["DownloadPlan", "EntryRecord", "FileState", "PlannedFile", "find_files", "plan"]

_logger = logging.getLogger(__name__)

_ROUNDING = 0.1
"""By how much a sum of sizes out of listings may be wrong; Apache rounds to two or three digits."""


class FileState(StrEnum):
    """What lies at the place of a file before the download."""

    MISSING = "missing"
    PARTIAL = "partial"
    COMPLETE = "complete"
    DIFFERENT = "different"
    """A file of another length."""


@dataclass(frozen=True)
class PlannedFile:
    """One file and its place.

    Parameters
    ----------
    size
        Length in bytes; None where the archive does not say.
    is_exact
        Whether ``size`` comes from the file itself, and not rounded from a listing.
    bytes_there
        How many of them need not be fetched.
    problem
        What the archive answered when asked for the length, if that was an error.
    """

    file: RemoteFile
    target: Path
    size: int | None = None
    is_exact: bool = False
    state: FileState = FileState.MISSING
    bytes_there: int = 0
    problem: UserError | None = None

    @property
    def uri(self) -> str:
        """The address as a user writes it."""
        return self.file.uri

    @property
    def bytes_missing(self) -> int:
        """Bytes to fetch, as far as is known."""
        return max(0, (self.size or 0) - self.bytes_there)


@dataclass(frozen=True)
class EntryRecord:
    """What the metadata service says of an entry, to be stored as ``folder/<number>/<number>.json``."""

    number: int
    url: str
    settings: ArchiveSettings
    target: Path

    @property
    def uri(self) -> str:
        """The entry, for messages."""
        return f"EMPIAR-{self.number}"


@dataclass(frozen=True)
class DownloadPlan:
    """Files to download, in their order; made by :func:`plan`.

    Parameters
    ----------
    left_out
        Files for which the byte budget was too small.
    """

    folder: Path
    files: tuple[PlannedFile, ...]
    records: tuple[EntryRecord, ...] = ()
    left_out: tuple[PlannedFile, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Length of all files together; see :attr:`is_exact`."""
        return sum(each.size or 0 for each in self.files)

    @property
    def missing_bytes(self) -> int:
        """Bytes to fetch."""
        return sum(each.bytes_missing for each in self.files)

    @property
    def is_exact(self) -> bool:
        """Whether the lengths are exact, and not from listings, which round them."""
        return all(each.is_exact for each in self.files)

    @property
    def is_large(self) -> bool:
        """Whether this is more than EMPIAR wants to be fetched over HTTPS; see :mod:`.transfer`."""
        return self.missing_bytes > HTTPS_BUDGET_BYTES

    def in_state(self, state: FileState) -> list[PlannedFile]:
        """Files that are missing, partial, complete or different."""
        return [each for each in self.files if each.state is state]

    def commands(self) -> str:
        """How to fetch the same files with Globus or Aspera; see :func:`.transfer_text`."""
        return transfer_text([each.file for each in (*self.files, *self.left_out)], self.folder)

    def __str__(self) -> str:
        about = "" if self.is_exact else "about "
        said = f"{counted(len(self.files))}, {about}{size_text(self.total_bytes)}, to {self.folder}"
        if self.missing_bytes != self.total_bytes:
            said += f"; {about}{size_text(self.missing_bytes)} still missing"
        return said + (f"; {counted(len(self.left_out))} left out by the budget" if self.left_out else "")


def find_files(archive: Archive, uris: Iterable[str]) -> list[RemoteFile]:
    """Files behind addresses such as ``empiar://10017/data/*.mrc``; a folder stands for every file below it.

    Raises
    ------
    NothingFoundError
        An address fits no file.
    ArchiveError
        An address is malformed, or the archive does not answer.
    """
    files: dict[RemoteFile, None] = {}  # a set that keeps the order
    for uri in uris:
        number, pattern = parse_uri(uri)
        found = []
        for item in archive.glob(number, pattern or "*"):
            inside = archive.walk(number, item.path) if item.is_folder and "**" not in pattern else [item]
            found += [archive.file(number, part.path, part.size_hint_bytes) for part in inside if not part.is_folder]
        if not found:
            raise NothingFoundError(f"{uri}: no file of the entry fits; see what is there with the list command")
        files.update(dict.fromkeys(found))
    return list(files)


def plan(
    archive: Archive,
    chosen: Iterable[str | RemoteFile],
    folder: Path | str,
    *,
    only: Literal["metadata"] | None = None,
    budget_bytes: int | None = None,
    over_budget: Literal["refuse", "cut"] = "refuse",
    exact: bool = False,
    connections: int | None = None,
    progress: Progress = silent,
) -> DownloadPlan:
    """Say what a download would do; nothing is written.

    Parameters
    ----------
    chosen
        Addresses such as ``empiar://10017/data/*.mrc`` (a folder stands for every file below it), and files.
    folder
        Files go to ``folder/<entry number>/<path in the entry>``.
    only
        "metadata": coordinates, segmentations and descriptions, no images; and of each entry its XML, and what the
        metadata service says of it.
    budget_bytes
        Most bytes to fetch.
    over_budget
        What to do where they do not suffice: refuse, or cut off files from the end of the selection (and from those
        that follow take the ones that still fit).
    exact
        Ask for the length of every file. Otherwise only where something depends on it, one request each.
    connections
        Requests at a time; by default, and at most, what the archive's settings say.
    progress
        Told the files asked for their length.

    Raises
    ------
    NothingFoundError
        An address fits no file.
    UnsafeNameError
        A name would leave the folder, cannot be stored here, or two would be one file.
    OverBudgetError
        The selection is larger than the budget; the error brings the commands of Globus and Aspera.
    DiskSpaceError
        The disk has no room for it.
    ArchiveError
        An address is malformed, or the archive does not answer.
    """
    if budget_bytes is not None and budget_bytes < 0:
        raise OverBudgetError(f"a budget of {budget_bytes} bytes is negative; give the most bytes to fetch")
    folder = Path(folder).expanduser().absolute()
    files = _selected(archive, chosen, only)
    records = _records(archive, files, folder) if only == "metadata" else ()
    planned = [PlannedFile(file, target_of(folder, file.number, file.path), file.size_hint_bytes) for file in files]
    refuse_clashes([each.target for each in planned] + [each.target for each in records], folder)
    planned = _measured(planned, exact=exact, connections=connections, progress=progress)
    if budget_bytes is not None and _is_close(planned, budget_bytes):
        planned = _measured(planned, exact=True, connections=connections, progress=progress)
    left_out: list[PlannedFile] = []
    if budget_bytes is not None:
        planned, left_out = _within(planned, budget_bytes, over_budget, folder)
    made = DownloadPlan(folder, tuple(planned), records, tuple(left_out))
    _check_room(made)
    return made


# ---- what is meant -------------------------------------------------------------------------------------------


def _selected(archive: Archive, chosen: Iterable[str | RemoteFile], only: str | None) -> list[RemoteFile]:
    files: dict[RemoteFile, None] = {}
    for each in chosen:
        files.update(dict.fromkeys([each] if isinstance(each, RemoteFile) else find_files(archive, [each])))
    if only is None:
        return list(files)
    numbers = dict.fromkeys(file.number for file in files)
    return [file for number in numbers for file in _metadata_of(archive, number, files)]


def _metadata_of(archive: Archive, number: int, files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """The files of one entry that are no images, its XML before them."""
    try:
        entry = archive.entry(number)
    except ArchiveError as error:  # it only helps to recognise particle tables with strange names
        _logger.warning("the names alone say which files of EMPIAR-%d are metadata: %s", number, error)
        entry = None
    items = [Item(file.name, file.path, False, file.size_hint_bytes) for file in files if file.number == number]
    try:
        beside = [item for item in archive.list(number) if item.name == f"{number}.xml" and not item.is_folder]
    except EntryNotFoundError:
        beside = []
    kept = {item.path: item for item in (*beside, *only_metadata(items, entry))}
    return [archive.file(number, item.path, item.size_hint_bytes) for item in kept.values()]


def _records(archive: Archive, files: Sequence[RemoteFile], folder: Path) -> tuple[EntryRecord, ...]:
    numbers = dict.fromkeys(file.number for file in files)
    taken = {file.uri for file in files}
    return tuple(
        EntryRecord(
            number,
            f"{archive.settings.api_url}/entry/{number}/",
            archive.settings,
            target_of(folder, number, f"{number}.json"),
        )
        for number in numbers
        if f"empiar://{number}/{number}.json" not in taken
    )


# ---- lengths -------------------------------------------------------------------------------------------------


def _measured(
    planned: Sequence[PlannedFile], *, exact: bool, connections: int | None, progress: Progress
) -> list[PlannedFile]:
    """What is there already, and exact lengths where they matter."""
    parts = {each.target: resumable(each.target) for each in planned}
    asked = [
        each
        for each in planned
        if not each.is_exact and (exact or each.size is None or each.target.exists()) and each.problem is None
    ]
    answers: dict[Path, int | UserError] = {}
    fresh = [_uncached(each.file) for each in asked]
    for i, (each, answer) in enumerate(zip(asked, sizes_of(fresh, connections=connections), strict=True), start=1):
        answers[each.target] = answer
        progress(i, len(asked), "sizes")
    return [_with_state(each, answers.get(each.target), parts[each.target]) for each in planned]


def _uncached(file: RemoteFile) -> RemoteFile:
    return RemoteFile(replace(file.settings, cache_bytes=0), file.number, file.path)


def _with_state(each: PlannedFile, answer: int | UserError | None, part: tuple[object, int] | None) -> PlannedFile:
    size, is_exact, problem = each.size, each.is_exact, each.problem
    if isinstance(answer, int):
        size, is_exact = answer, True
    elif answer is not None:
        problem = answer
    state, there = FileState.MISSING, 0
    if each.target.exists():
        complete = is_exact and each.target.is_file() and each.target.stat().st_size == size
        state, there = (FileState.COMPLETE, size or 0) if complete else (FileState.DIFFERENT, 0)
    elif part is not None:
        state, there = FileState.PARTIAL, part[1]
    return replace(each, size=size, is_exact=is_exact, state=state, bytes_there=there, problem=problem)


# ---- budget and room -----------------------------------------------------------------------------------------


def _is_close(planned: Sequence[PlannedFile], budget_bytes: int) -> bool:
    """Whether rounded sizes leave it open if the files fit the budget."""
    missing = sum(each.bytes_missing for each in planned)
    rounded = any(not each.is_exact for each in planned)
    return rounded and missing * (1 - _ROUNDING) <= budget_bytes <= missing * (1 + _ROUNDING)


def _within(
    planned: list[PlannedFile], budget_bytes: int, over_budget: Literal["refuse", "cut"], folder: Path
) -> tuple[list[PlannedFile], list[PlannedFile]]:
    missing = sum(each.bytes_missing for each in planned)
    if missing <= budget_bytes:
        return planned, []
    if over_budget == "refuse":
        commands = transfer_text([each.file for each in planned], folder)
        raise OverBudgetError(
            f"{counted(len(planned))} with {size_text(missing)} to fetch are more than the budget of "
            f"{size_text(budget_bytes)}; choose fewer files, raise the budget, or fetch them as EMPIAR asks for "
            f"large amounts:\n{commands}",
            commands,
        )
    return _cut(planned, budget_bytes)


def _cut(planned: Iterable[PlannedFile], budget_bytes: int) -> tuple[list[PlannedFile], list[PlannedFile]]:
    kept: list[PlannedFile] = []
    left_out: list[PlannedFile] = []
    left = budget_bytes
    for each in planned:
        if each.bytes_missing <= left:
            left -= each.bytes_missing
            kept.append(each)
        else:
            left_out.append(each)
    return kept, left_out


def _check_room(made: DownloadPlan) -> None:
    missing = made.missing_bytes
    place = existing_parent(made.folder)
    free = shutil.disk_usage(place).free
    if missing * (1 if made.is_exact else 1 - _ROUNDING) > free:
        raise DiskSpaceError(
            f"{made.folder}: {size_text(missing)} are to be fetched, but the disk has {size_text(free)} free; "
            "choose another folder, or fewer files"
        )
