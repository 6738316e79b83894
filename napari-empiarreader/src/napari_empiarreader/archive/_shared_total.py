"""The bound of a cache folder that several processes share: room is reserved under a lock before it is filled."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["ABOUT", "SharedTotal"]

ABOUT = "about.json"
"""Name of the note beside the ranges of a file; it goes when they are gone."""

_FILLED = 0.9
"""Part of the bound that is left after making room, so that room need not be made for each entry."""
_ABANDONED = 3600.0
"""Seconds after which a file that nobody finished is a dead process's."""


class SharedTotal:
    """Counts the bytes of a folder and keeps them below a limit.

    The count stands in a small file that is changed under the lock only. It may be too high (a process died between
    reserving and storing), never too low, and is set right whenever it reaches the limit.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.kept = folder / "kept"
        self.limit = limit
        self._lock = threading.Lock()

    def reserve(self, temporary: Path, length: int) -> bool:
        """Make a file of ``length`` bytes to be filled, after making room for it; False where there is no room."""
        temporary.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.kept.mkdir(exist_ok=True, mode=0o700)
        with self._alone():
            total = self._read()
            if total is None or total + length > self.limit:
                total = self._make_room(length)
            fits = total + length <= self.limit
            self._write(total + length if fits else total)
            if fits:
                with temporary.open("xb") as file:
                    file.truncate(length)
        return fits

    def files(self) -> Iterator[Path]:
        """Every file that is kept."""
        for folder, _, names in os.walk(self.kept):
            for name in names:
                yield Path(folder) / name

    def sizes(self) -> dict[Path, int]:
        """Bytes of every file that is kept."""
        return {path: size for _, size, path in self._found(self.kept)}

    def clear(self) -> None:
        """Remove everything that is kept."""
        if not self.folder.is_dir():
            return
        with self._alone():
            shutil.rmtree(self.kept, ignore_errors=True)
            self._write(self._remains())

    def _make_room(self, length: int) -> int:
        """Remove what was not used for the longest time; returns the bytes that are left."""
        total = self._remains()
        found = sorted(self._found(self.kept))
        total += sum(size for _, size, _ in found)
        if total + length <= self.limit:
            return total
        for _, size, path in found:
            if total + length <= self.limit * _FILLED:
                break
            if path.name == ABOUT:
                continue
            with suppress(OSError):  # Windows: somebody reads it
                path.unlink()
                total -= size
        self._tidy()
        return total

    def _remains(self) -> int:
        """Bytes of the files that are just being filled; those that nobody will finish are removed."""
        total = 0
        for used, size, path in self._found(self.folder / "new"):
            if time.time() - used > _ABANDONED:
                with suppress(OSError):
                    path.unlink()
            else:
                total += size
        return total

    def _tidy(self) -> None:
        """Remove notes about files of which no range is left, and empty folders."""
        for folder, _, names in os.walk(self.kept, topdown=False):
            if names == [ABOUT]:
                with suppress(OSError):
                    (Path(folder) / names[0]).unlink()
            with suppress(OSError):
                Path(folder).rmdir()

    @staticmethod
    def _found(root: Path) -> list[tuple[float, int, Path]]:
        found = []
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder) / name
                with suppress(OSError):
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        return found

    def _read(self) -> int | None:
        try:
            return int((self.folder / "total").read_text())
        except (OSError, ValueError):
            return None

    def _write(self, total: int) -> None:
        (self.folder / "total").write_text(str(total))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread or process counts meanwhile."""
        with self._lock, (self.folder / "lock").open("a+b") as file:
            locked = _lock_file(file)
            try:
                yield
            finally:
                if locked:
                    _unlock_file(file)


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock_file(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        except OSError:
            return False
        return True

    def _unlock_file(file: IO[bytes]) -> None:
        file.seek(0)
        with suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock_file(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: the bound may be passed by what is stored at the same moment
            return False
        return True

    def _unlock_file(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
