"""One build at a time at one place: a lock of the operating system, which ends with its process however that ends.

The lock is on a small file beside the data set, which says who holds it. The file alone means nothing: what a killed
build leaves behind is taken over by the next.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from napari_caked.errors import DatasetError
from napari_empiarreader.errors import TargetBusyError

__all__ = ["alone"]

_logger = logging.getLogger(__name__)

#: Bytes of a note at most; the byte behind them is the one that is locked on Windows.
_LONGEST_NOTE = 1024


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Build at a place as the only one.

    Raises
    ------
    TargetBusyError
        Another build, in this process or another one, is under way there.
    DatasetError
        Nothing can be written there.
    """
    folder = folder.resolve()
    place = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(place, folder)
    except TargetBusyError:
        raise
    except OSError as error:
        raise DatasetError(f"{folder}: no data set can be written there ({error}); choose another place") from error
    try:
        _leave_note(file)
        yield
    finally:
        _leave(file, place)


def _locked(place: Path, folder: Path) -> IO[bytes]:
    """The file at that place, locked; made if need be."""
    while True:
        file = place.open("a+b")
        try:
            _lock(file, folder)
            # Whoever had the lock before may have removed the file while this one waited at its door.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _leave(file: IO[bytes], place: Path) -> None:
    """Remove the file, and with it the lock: on Windows it can only be removed when nobody has it open."""
    if sys.platform == "win32":  # pragma: no cover
        file.close()
    with suppress(OSError):
        place.unlink(missing_ok=True)
    file.close()


def _leave_note(file: IO[bytes]) -> None:
    note = {"process": os.getpid(), "computer": socket.gethostname()}
    file.truncate(0)
    file.write(json.dumps(note).encode()[:_LONGEST_NOTE])
    file.flush()


def _busy(file: IO[bytes], folder: Path) -> TargetBusyError:
    """The error, with what the note says of who is there."""
    file.seek(0)
    try:
        note = json.loads(file.read(_LONGEST_NOTE))
        who = f"process {note['process']} on {note['computer']}"
    except (OSError, ValueError, TypeError, KeyError):
        who = "another process"
    return TargetBusyError(
        f"{folder}: {who} is building this data set at this moment; wait for it, end it, or choose another name"
    )


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(file: IO[bytes], folder: Path) -> None:
        file.seek(_LONGEST_NOTE)  # a locked byte cannot be read by others, so none of the note's own
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise _busy(file, folder) from error

else:
    import fcntl

    def _lock(file: IO[bytes], folder: Path) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(file, folder) from error
        except OSError:
            _logger.warning("%s: this disk has no locks; do not build one data set twice at a time", folder.parent)
