"""Files that are either complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_profet.errors import FileExistsAlreadyError, NothingFoundError

__all__ = ["read_bytes", "refuse_existing", "replaced_when_complete"]


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Content of a file.

    Raises
    ------
    NothingFoundError
        There is no such file, or it is a folder.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise NothingFoundError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise NothingFoundError(f"{path} is a folder; name the structure file in it") from error


def refuse_existing(path: str | os.PathLike[str]) -> None:
    """Raise :class:`FileExistsAlreadyError` if there is something at ``path``."""
    if Path(path).exists():
        raise FileExistsAlreadyError(f"{path} exists already; choose another name or allow it to be replaced")


@contextmanager
def replaced_when_complete(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Write beside the target, rename into place at the end: nobody ever sees half a file.

    Parameters
    ----------
    path
        The file to make; its folder is made too.
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
    if not overwrite:
        refuse_existing(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
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
