"""From what a user names (files, folders, patterns, ``empiar://`` addresses) to a list of files."""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from napari_empiarreader.errors import NothingFoundError
from napari_empiarreader.files import ByteSource, LocalFile
from napari_empiarreader.micrographs.formats import IMAGE_SUFFIXES as ALL_SUFFIXES

if TYPE_CHECKING:
    from napari_empiarreader.archive import Archive

__all__ = ["IMAGE_SUFFIXES", "find_files"]

#: Suffixes of micrographs that are taken from a folder before those of other formats, unless others are asked for.
IMAGE_SUFFIXES = (".mrc", ".mrcs")


def find_files(
    location: str | Path | ByteSource,
    *,
    suffixes: tuple[str, ...] | None = None,
    archive: Archive | None = None,
) -> list[ByteSource]:
    """Files that one location means.

    Parameters
    ----------
    location
        A file, a folder, a pattern (``data/*.mrc``), a ``file://`` address or an ``empiar://10017/data/...``
        address, in which the last part may be a folder or a pattern.
    suffixes
        What to take from a folder; a file or a pattern is taken as named. By default its MRC files, or, where there
        are none, images of every other format.
    archive
        Where ``empiar://`` addresses lead; the archive of the environment variables by default.

    Returns
    -------
    list of ByteSource
        At least one, sorted by name.

    Raises
    ------
    NothingFoundError
        Nothing is there.
    ArchiveError
        The archive could not be asked.
    """
    if isinstance(location, ByteSource):
        return [location]
    text = str(location)
    if text.startswith("empiar:"):
        return _in_archive(text, suffixes, archive)
    if text.startswith("file:"):
        text = url2pathname(urlsplit(text).path)
    return _on_disk(text, suffixes)


def _on_disk(text: str, suffixes: tuple[str, ...] | None) -> list[ByteSource]:
    path = Path(text).expanduser()
    if path.is_dir():
        inside = {file.name: file for file in path.iterdir() if file.is_file()}
        files: Iterable[Path] = [inside[name] for name in _taken(inside, suffixes)]
        nothing = f"{text}: no {_worded(suffixes)} in this folder"
    elif path.exists():
        return [LocalFile(path)]
    else:
        files = (Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207  (patterns may be absolute)
        nothing = f"{text}: no such file, and no file matches it as a pattern"
    found = sorted(file for file in files if file.is_file())
    if not found:
        raise NothingFoundError(nothing)
    return [LocalFile(file) for file in found]


def _in_archive(text: str, suffixes: tuple[str, ...] | None, archive: Archive | None) -> list[ByteSource]:
    from napari_empiarreader.archive import Archive, parse_uri

    archive = archive or Archive()
    number, path = parse_uri(text)
    has_pattern = any(sign in path for sign in "*?[")
    if _wanted(posixpath.basename(path), (*ALL_SUFFIXES, *(suffixes or ()))) and not has_pattern:
        # Taken at its word: the archive's listings are known to leave files out.
        return [archive.file(number, path)]
    if has_pattern:
        items = list(archive.glob(number, path))
    else:
        inside = {item.name: item for item in archive.list(number, path) if not item.is_folder}
        items = [inside[name] for name in _taken(inside, suffixes)]
    files = sorted((item for item in items if not item.is_folder), key=lambda item: item.path)
    if not files:
        raise NothingFoundError(f"{text}: no {_worded(suffixes)} there; look with 'napari-empiarreader list {number}'")
    return [archive.file(number, item.path, item.size_hint_bytes) for item in files]


def _taken(names: Iterable[str], suffixes: tuple[str, ...] | None) -> list[str]:
    """What to take of a folder."""
    names = list(names)
    if suffixes is not None:
        return [name for name in names if _wanted(name, suffixes)]
    return _taken(names, IMAGE_SUFFIXES) or _taken(names, ALL_SUFFIXES)


def _worded(suffixes: tuple[str, ...] | None) -> str:
    return "image of a known format" if suffixes is None or len(suffixes) > 3 else f"{' or '.join(suffixes)} file"


def _wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not name.startswith(".")
