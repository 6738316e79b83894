"""Whole files out of the archive, several at a time, into the same folders that they have there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from napari_empiarreader.archive.client import Archive
from napari_empiarreader.archive.remote import RemoteFile
from napari_empiarreader.archive.uri import parse_uri
from napari_empiarreader.errors import FileExistsAlreadyError, NothingFoundError
from napari_empiarreader.progress import Progress, silent

__all__ = ["download", "find_files"]


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
            found += [archive.file(number, part.path) for part in inside if not part.is_folder]
        if not found:
            raise NothingFoundError(f"{uri}: no file of the entry fits; see what is there with the list command")
        files.update(dict.fromkeys(found))
    return list(files)


def download(
    files: Sequence[RemoteFile],
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    connections: int | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Copy files of the archive to ``folder/<entry number>/<path in the entry>``.

    Each file appears only when it is complete. When one fails, the others under way are given up, and what was
    finished before stays.

    Parameters
    ----------
    files
        See :func:`find_files`.
    folder
        Is made where it is missing.
    overwrite
        Replace files that exist.
    connections
        How many files at a time; by default what the archive's settings say.
    progress
        Told the files done and the files in all.

    Raises
    ------
    FileExistsAlreadyError
        A target exists and ``overwrite`` is false; nothing has been downloaded then.
    ArchiveError
        The first failure of a file.
    """
    if not files:
        return []
    targets = [Path(folder) / str(file.number) / Path(*file.path.split("/")) for file in files]
    existing = [target for target in targets if target.exists()]
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise FileExistsAlreadyError(f"{existing[0]} exists already{more}; choose another folder or allow overwriting")

    stop = threading.Event()
    counted = threading.Lock()
    done = 0

    def unless_stopped(done: int, total: int, message: str = "") -> None:
        if stop.is_set():
            raise _Stopped

    def fetch(file: RemoteFile, target: Path) -> None:
        nonlocal done
        unless_stopped(0, 0)
        file.download(target, overwrite=overwrite, progress=unless_stopped)
        with counted:
            done += 1
            progress(done, len(files), file.name)

    workers = min(len(files), connections or files[0].settings.connections)
    with ThreadPoolExecutor(workers, thread_name_prefix="download") as pool:
        tasks = [pool.submit(fetch, file, target) for file, target in zip(files, targets, strict=True)]
        try:
            wait(tasks, return_when=FIRST_EXCEPTION)
        finally:  # also on Ctrl-C, or else the pool would first finish every file
            stop.set()
    errors = [error for task in tasks if (error := task.exception()) is not None]
    for error in errors:
        if not isinstance(error, _Stopped):
            raise error
    return targets


class _Stopped(Exception):
    """Another file failed, or the user wants to stop."""
