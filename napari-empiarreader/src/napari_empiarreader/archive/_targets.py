"""Where a file of the archive goes on this disk; names from the network never lead out of the chosen folder."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from napari_empiarreader.errors import UnsafeNameError

__all__ = ["existing_parent", "refuse_clashes", "target_of"]

_ON_WINDOWS = os.name == "nt"
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: reserved with any extension, in any case.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(?:\..*)?", re.IGNORECASE)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$')
_NEVER = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")


def target_of(folder: Path, number: int, path: str, *, windows: bool = _ON_WINDOWS) -> Path:
    """Place of a file, ``folder/<entry number>/<path in the entry>``.

    Parameters
    ----------
    windows
        Also refuse names that Windows cannot store.

    Raises
    ------
    UnsafeNameError
        A name would leave the folder, or cannot be the name of a file here.
    """
    parts = path.split("/")
    for part in parts:
        if part in ("", ".", "..") or _NEVER.search(part):
            raise UnsafeNameError(
                f"empiar://{number}/{path!r}: the name {part!r} does not stay inside the chosen folder; "
                "the file is not downloaded, leave it out"
            )
        if windows and (_RESERVED.fullmatch(part) or _NOT_ON_WINDOWS.search(part)):
            raise UnsafeNameError(
                f"empiar://{number}/{path}: Windows cannot store a file or folder named {part!r}; "
                "leave it out, or download it on another system"
            )
    return folder.joinpath(str(number), *parts)


def refuse_clashes(targets: Iterable[Path], folder: Path, *, ignores_case: bool | None = None) -> None:
    """Raise where two files would share one place, as on disks that take ``A.mrc`` and ``a.mrc`` for the same.

    Parameters
    ----------
    ignores_case
        Whether the disk does; None: look, but only if it matters.

    Raises
    ------
    UnsafeNameError
        Names both.
    """
    seen: dict[str, Path] = {}
    for target in targets:
        key = unicodedata.normalize("NFC", str(target).casefold())
        other = seen.setdefault(key, target)
        if other == target:
            continue
        if ignores_case is None:
            ignores_case = _ignores_case(existing_parent(folder))
        if ignores_case:
            raise UnsafeNameError(
                f"{other} and {target} would be one file on this disk, which ignores case; choose only one of them, "
                "or a folder on another disk"
            )


def existing_parent(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def _ignores_case(folder: Path) -> bool:
    """Whether the disk finds a folder under a name written in other letters."""
    for place in (folder, *folder.parents):
        other = place.with_name(place.name.swapcase()) if place.name else place
        if other != place:
            return other.exists() and other.samefile(place)
    return _ON_WINDOWS
