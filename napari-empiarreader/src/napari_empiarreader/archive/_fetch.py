"""One file from the archive to its place on this disk, beginning where an earlier attempt ended."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Protocol

from napari_empiarreader.archive._journal import Part, has_leftovers
from napari_empiarreader.archive._planning import EntryRecord, PlannedFile
from napari_empiarreader.archive.ranges import RangeReader
from napari_empiarreader.archive.web import get_bytes, read_json
from napari_empiarreader.errors import (
    ArchiveError,
    DiskSpaceError,
    FileChangedError,
    FileExistsAlreadyError,
    TruncatedFileError,
    UserError,
)
from napari_empiarreader.files import replaced_when_complete

__all__ = ["Listener", "Stopped", "fetch_file", "fetch_record"]

_MOST_CHANGES = 2
"""How often a file may change on the server while it is fetched before that is called an error."""
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Stopped(Exception):
    """The download is to end here; what has arrived is kept."""


class Listener(Protocol):
    """Hears what happens to one file, as it happens, in the thread that fetches it."""

    def knows(self, position: int, size: int) -> None:
        """So many of its bytes are there already; its exact length."""

    def arrived(self, count: int) -> None:
        """So many more bytes came from the archive."""

    def lost(self) -> None:
        """What was there is of no use."""


def fetch_file(planned: PlannedFile, *, overwrite: bool, stopped: Callable[[], bool], listener: Listener) -> bool:
    """Bring one file to its place; whether it had to be fetched.

    Raises
    ------
    Stopped
        ``stopped`` said so.
    FileExistsAlreadyError
        Another file is there, of another length, and ``overwrite`` is false.
    TargetBusyError, DiskSpaceError
        Somebody else writes the file; the disk is full.
    ArchiveError, TruncatedFileError
        The archive has no such file, does not answer, or sends less than it promises.
    """
    reader = _reader(planned)
    with _disk_errors(planned):
        if not has_leftovers(planned.target) and _is_complete(planned, reader, overwrite=overwrite):
            return False
        with Part(planned.target) as part:
            if _is_complete(planned, reader, overwrite=overwrite):
                part.restart()
                return False
            for change in range(_MOST_CHANGES + 1):
                try:
                    _fill(part, _reader(planned), stopped, listener)
                    break
                except FileChangedError:
                    listener.lost()
                    part.restart()
                    if change == _MOST_CHANGES:
                        raise
            if stopped():
                raise Stopped
            part.keep(overwrite=overwrite)
    return True


def fetch_record(record: EntryRecord, *, overwrite: bool) -> bool:
    """Write what the metadata service says of an entry; whether it had to be asked.

    Raises
    ------
    ArchiveError
        The service does not answer, or with something else than JSON.
    """
    if record.target.exists() and not overwrite:
        return False
    text = get_bytes(record.url, record.settings, record.uri)
    read_json(text, record.url, record.uri)
    with (
        _disk_errors(record),
        replaced_when_complete(record.target, overwrite=overwrite) as temporary,
    ):
        temporary.write_bytes(text)
    return True


def _reader(planned: PlannedFile) -> RangeReader:
    # Not through the cache of ranges: whole files would push everything else out, and its memory may be days old.
    return RangeReader(replace(planned.file.settings, cache_bytes=0), planned.file.url, planned.file.uri)


def _is_complete(planned: PlannedFile, reader: RangeReader, *, overwrite: bool) -> bool:
    """Whether the target is there already with the right length."""
    target = planned.target
    if target.is_dir():
        raise FileExistsAlreadyError(f"{target} is a folder, but {planned.uri} is a file; choose another folder")
    if not target.exists():
        return False
    there = target.stat().st_size
    size = planned.size if planned.is_exact and planned.size is not None else reader.size
    if size is None:
        size = reader.ask_size()
    if there == size:
        return True
    if not overwrite:
        raise FileExistsAlreadyError(
            f"{target} exists already with {there:,} bytes, {planned.uri} has {size:,}; "
            "move it, choose another folder, or allow overwriting"
        )
    return False


def _fill(part: Part, reader: RangeReader, stopped: Callable[[], bool], listener: Listener) -> None:
    """Append what is missing, and check that the part is as long as the file."""
    if stopped():
        raise Stopped
    if part.about is not None:
        reader.adopt(part.about)
        listener.knows(part.position, part.about.size)
    if part.about is not None and part.position == part.about.size:
        reader.ask_size()  # nothing is missing; but is it still the same file?
    else:
        with closing(reader.pieces(part.position, None, may_skip=True)) as pieces:
            for piece in pieces:
                if stopped():
                    raise Stopped
                if part.about is None:
                    part.begin(reader.validators())
                    listener.knows(0, reader.validators().size)
                # Counted before it is written: it has been moved, whatever the disk says.
                listener.arrived(len(piece))
                part.write(piece)
    if reader.size is None:
        reader.ask_size()
    if part.about is None:
        part.begin(reader.validators())
    if part.position != reader.size:
        raise TruncatedFileError(
            f"{reader.uri}: {part.position:,} bytes arrived of {reader.size:,}; try again, they are kept"
        )


@contextmanager
def _disk_errors(planned: PlannedFile | EntryRecord) -> Iterator[None]:
    """Say in the user's words what this disk refuses."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise DiskSpaceError(
                f"{planned.target}: the disk is full ({error.strerror}); what has arrived of the file is kept. "
                "Make room and start the download again, it continues there"
            ) from error
        raise ArchiveError(
            f"{planned.target}: cannot be written ({error.strerror or error}); check the folder, or choose another"
        ) from error
