"""What has arrived of a file that is not complete: the part beside its target, and a note of what file it is a part of.

The part is written front to back, so its length is how far it is: nothing else has to be kept up to date for a process
that may be killed at any moment. The note holds the length and the date of the remote file, so that a part is continued
only with bytes of the same file, and it is locked while somebody writes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from napari_empiarreader.archive.cache import Validators
from napari_empiarreader.errors import FileExistsAlreadyError, TargetBusyError

__all__ = ["Part", "has_leftovers", "resumable"]

_logger = logging.getLogger(__name__)

_PART = ".empiar-part"
_NOTE = ".empiar-part.json"
_LONGEST_NAME = 255
"""Bytes in a file name, on nearly all disks."""
_LONGEST_NOTE = 1 << 16
_SYNC = 64 << 20
"""Bytes after which the part is forced onto the disk; what came later is doubted if it ends in zeros."""
_BLOCK = 1 << 20

_under_way: set[Path] = set()
_marking = threading.Lock()


@dataclass(frozen=True)
class _Note:
    """What stands in the note: of which file, and how much is on the disk for certain."""

    about: Validators
    synced: int = 0


class Part:
    """The part of one target; in a ``with`` statement it belongs to this thread alone.

    Parameters
    ----------
    target
        The file to make; its folders are made as well.

    Attributes
    ----------
    about
        The remote file that the bytes are of; None while there are none.
    position
        How many bytes there are.

    Raises
    ------
    TargetBusyError
        Another thread or process is writing it.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.about: Validators | None = None
        self.position = 0
        self._synced = 0
        self._kept = False
        self._part: BinaryIO | None = None
        self._note: IO[bytes] | None = None

    def __enter__(self) -> Part:
        with _marking:
            if self.target in _under_way:
                raise _busy(self.target)
            _under_way.add(self.target)
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._note = _locked(_note_of(self.target), self.target)
            self._pick_up()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._part is not None:
            self._part.close()
        if self._kept or not self.position:
            with suppress(FileNotFoundError):
                _part_of(self.target).unlink()
            self._release(remove=True)
        else:
            self._release()

    def begin(self, about: Validators) -> None:
        """Start with no bytes, of the file that ``about`` describes."""
        self._cut(0)
        self.about = about
        self._write_note()

    def write(self, data: bytes) -> None:
        """Add bytes; all of them, or as many as the disk takes before it raises OSError."""
        if self.about is None:
            raise ValueError("a part begins by saying of what")
        file, rest = self._file(), memoryview(data)
        while rest:
            written = file.write(rest)
            self.position += written
            rest = rest[written:]
        if self.position - self._synced >= _SYNC:
            self._sync()
            self._write_note()

    def restart(self) -> None:
        """Drop the bytes: the remote file is no longer the one they are of."""
        self._cut(0)
        self.about = None

    def keep(self, *, overwrite: bool) -> None:
        """Move the part into its place.

        Raises
        ------
        FileExistsAlreadyError
            A file has appeared there meanwhile, and ``overwrite`` is false.
        """
        self._sync()
        self._file().close()
        if self.target.exists() and not overwrite:
            raise FileExistsAlreadyError(
                f"{self.target} exists already, it appeared meanwhile; move it, or allow overwriting"
            )
        _part_of(self.target).replace(self.target)
        self._kept = True

    # ---- the files -------------------------------------------------------------------------------------------

    def _pick_up(self) -> None:
        assert self._note is not None
        self._note.seek(0)
        note = _parsed(self._note.read(_LONGEST_NOTE))
        length = self._file().seek(0, os.SEEK_END)
        if note is None or length > note.about.size:
            self._cut(0)
            return
        self.about, self.position, self._synced = note.about, length, min(note.synced, length)
        # After a power cut the end of a file may be zeros that stand for what never reached the disk.
        self._cut(self._end_without_zeros())

    def _end_without_zeros(self) -> int:
        file, end = self._file(), self.position
        while end > self._synced:
            begin = max(self._synced, end - _BLOCK)
            file.seek(begin)
            kept = len(file.read(end - begin).rstrip(b"\0"))
            end = begin + kept
            if kept:
                break
        return end

    def _cut(self, position: int) -> None:
        file = self._file()
        file.truncate(position)
        file.seek(position)
        self.position = position
        self._synced = min(self._synced, position)

    def _sync(self) -> None:
        os.fsync(self._file().fileno())
        self._synced = self.position

    def _file(self) -> BinaryIO:
        if self._part is None:
            place = _part_of(self.target)
            # Unbuffered: what has arrived is in the file, whatever happens to this process.
            self._part = place.open("r+b" if place.exists() else "x+b", buffering=0)  # type: ignore[assignment]
        assert self._part is not None
        return self._part

    def _write_note(self) -> None:
        assert self._note is not None and self.about is not None
        about = self.about
        text = json.dumps(
            {
                "size": about.size,
                "etag": about.etag,
                "modified": about.modified,
                "seen": about.seen,
                "synced": self._synced,
            }
        )
        self._note.seek(0)
        self._note.truncate()
        self._note.write(text.encode())
        self._note.flush()

    def _release(self, *, remove: bool = False) -> None:
        try:
            if self._note is not None:
                if remove and os.name != "nt":
                    _note_of(self.target).unlink(missing_ok=True)  # while it is locked: nobody has just taken it
                self._note.close()
                if remove and os.name == "nt":  # pragma: no cover
                    with suppress(OSError):
                        _note_of(self.target).unlink(missing_ok=True)
        finally:
            with _marking:
                _under_way.discard(self.target)


def resumable(target: Path) -> tuple[Validators, int] | None:
    """What a part of a target is of, and how many bytes it has; None where a download would begin at the front."""
    try:
        note = _parsed(_note_of(target).read_bytes()[:_LONGEST_NOTE])
        length = _part_of(target).stat().st_size
    except OSError:
        return None
    if note is None or not 0 < length <= note.about.size:
        return None
    return note.about, length


def has_leftovers(target: Path) -> bool:
    """Whether something of an earlier download lies beside a target."""
    return _part_of(target).exists() or _note_of(target).exists()


def _part_of(target: Path) -> Path:
    return _beside(target, _PART)


def _note_of(target: Path) -> Path:
    return _beside(target, _NOTE)


def _beside(target: Path, suffix: str) -> Path:
    name = target.name
    if len(os.fsencode(name)) + len(_NOTE) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return target.with_name(name + suffix)


def _parsed(text: bytes) -> _Note | None:
    """A note as it was written; None for one that was cut off or is none of ours."""
    try:
        values = json.loads(text)
        size, synced = values["size"], values["synced"]
        etag, modified, seen = values["etag"], values["modified"], values["seen"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not (isinstance(size, int) and isinstance(synced, int) and size >= 0 <= synced):
        return None
    if not (etag is None or isinstance(etag, str)):
        return None
    if not all(time is None or isinstance(time, int | float) for time in (modified, seen)):
        return None
    return _Note(Validators(size, etag, modified, seen), synced)


# ---- one writer at a time ------------------------------------------------------------------------------------


def _busy(target: Path) -> TargetBusyError:
    return TargetBusyError(
        f"{target}: another download is writing this file at the moment; wait for it, or choose another folder"
    )


def _locked(place: Path, target: Path) -> IO[bytes]:
    """The note, opened and locked; made if need be."""
    while True:
        # Unbuffered: what a full disk did not take would otherwise be tried again on closing, and closing fail.
        handle = os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        file: IO[bytes] = os.fdopen(handle, "r+b", buffering=0)
        try:
            _lock(file, target)
            # Whoever had the lock before may have removed the note while this one waited at its door.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(file: IO[bytes], target: Path) -> None:
        file.seek(_LONGEST_NOTE)  # a locked byte cannot be read by others, so none of the note's own
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise _busy(target) from error

else:
    import fcntl

    def _lock(file: IO[bytes], target: Path) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(target) from error
        except OSError:
            # Two writers then put the same bytes in the same places, so this is worth a word, not an error.
            _logger.warning("%s: this disk has no locks; do not download the same files twice at a time", target.parent)
