"""Bytes with a name: what every image reader reads from, whether the bytes are on this disk or in the archive.

Remote files live in :mod:`napari_empiarreader.archive.remote`; this module holds the protocol and the local file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from napari_empiarreader.errors import FileExistsAlreadyError, NothingFoundError, TruncatedFileError

__all__ = ["ByteSource", "LocalFile", "replaced_when_complete"]


@runtime_checkable
class ByteSource(Protocol):
    """A file that can be read in pieces, from any thread.

    Hashable, and equal only to the same file, because images are cached under it.
    """

    @property
    def uri(self) -> str:
        """Where the bytes are, as the user would write it."""
        ...

    @property
    def name(self) -> str:
        """The file's own name, without folders."""
        ...

    def read(self, start: int, stop: int, *, at_most: bool = False) -> bytes:
        """Bytes ``start`` to ``stop`` (exclusive).

        A short file raises :class:`~napari_empiarreader.errors.TruncatedFileError`, unless ``at_most`` says that
        fewer bytes will do.
        """
        ...

    def size(self) -> int:
        """Length of the file in bytes (a remote file may need one request for it)."""
        ...


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path

    @property
    def uri(self) -> str:
        """The path as text."""
        return str(self.path)

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.path.name

    def read(self, start: int, stop: int, *, at_most: bool = False) -> bytes:
        """Bytes ``start`` to ``stop`` (exclusive); see :class:`ByteSource`."""
        if not 0 <= start <= stop:
            raise ValueError(f"{self.path}: bytes {start} to {stop} are no range")
        try:
            with self.path.open("rb") as file:
                # Never ask for more than there is: Python takes the memory before it looks at the disk.
                there = max(0, os.fstat(file.fileno()).st_size - start)
                file.seek(start)
                data = file.read(min(stop - start, there))
        except FileNotFoundError as error:
            raise NothingFoundError(f"{self.path}: no such file") from error
        if len(data) < stop - start and not at_most:
            raise TruncatedFileError(
                f"{self.path}: the file ends at byte {start + len(data):,}, its header promises {stop:,}; "
                "it was probably not copied whole, fetch it again"
            )
        return data

    def size(self) -> int:
        """Length of the file in bytes."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError as error:
            raise NothingFoundError(f"{self.path}: no such file") from error


@contextmanager
def replaced_when_complete(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Write beside the target, rename into place at the end: nobody ever sees half a file.

    Parameters
    ----------
    path
        The file to make.
    overwrite
        Replace an existing file. Without it an existing file is an error, before any work is done.

    Yields
    ------
    Path
        The temporary path to write to; it is gone afterwards, whatever happens.

    Raises
    ------
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise FileExistsAlreadyError(f"{target} exists already; choose another name or allow it to be replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, because several writers choose the format by it.
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    os.close(handle)
    try:
        yield Path(temporary)
        # mkstemp makes private files; a result should get the permissions any new file gets.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)
