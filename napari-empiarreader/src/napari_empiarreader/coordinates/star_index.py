"""RELION's index of coordinate files (``autopick.star``, ``manualpick.star``), and the files it lists.

RELION >= 4 keeps a table ``coordinate_files``: ``rlnMicrographName`` exactly as in ``micrographs_ctf.star``, and
``rlnMicrographCoordinates``, the path of the file with this micrograph's particles, relative to the project's folder.
Where that folder is the index does not say; it is one of those above it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_empiarreader.coordinates._star_text import format_blocks, read_blocks
from napari_empiarreader.errors import FormatError, NothingFoundError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INDEX_NAME", "listed_files", "render_index"]

INDEX_NAME = "autopick.star"

_BLOCK, _NAME, _FILE = "coordinate_files", "rlnMicrographName", "rlnMicrographCoordinates"

#: RELION keeps this file in the folder of every project.
_PROJECT = "default_pipeline.star"


def listed_files(path: Path) -> dict[str, Path]:
    """File of each micrograph that an index lists.

    Raises
    ------
    NothingFoundError
        The index, or a file that it lists, is not there.
    FormatError
        No index, or one that lists a micrograph twice or itself.
    """
    table = _table(path)
    names, files = table[_NAME].astype(str).tolist(), table[_FILE].astype(str).tolist()
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FormatError(f"{path}: the index lists the micrograph {twice} more than once")
    found = {name: _find(path, file) for name, file in zip(names, files, strict=True)}
    missing = [file for name, file in zip(names, files, strict=True) if found[name] is None]
    if missing:
        raise NothingFoundError(
            f"{path}: {len(missing)} of {len(files)} files that this index lists are not there (first: {missing[0]}, "
            "sought from every folder above the index); copy them too, with their folders"
        )
    there = {name: file for name, file in found.items() if file is not None}
    if any(file.resolve() == path.resolve() for file in there.values()):
        raise FormatError(f"{path}: the index lists itself; the file is damaged")
    return there


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    for block in read_blocks(path).values():
        if isinstance(block, dict) and _NAME in block and _FILE in block:
            block = pd.DataFrame([block])
        if isinstance(block, pd.DataFrame) and _NAME in block and _FILE in block:
            return block
    raise FormatError(f"{path}: no index of coordinate files (data_{_BLOCK} with {_FILE} is missing)")


def _find(index: Path, file: str) -> Path | None:
    for folder in index.resolve().parents:
        if (folder / file).is_file():
            return folder / file
    return None


def render_index(index: Path, files: dict[str, Path]) -> bytes:
    """Content of the index at ``index`` for the file of each micrograph.

    Paths are relative to the project that the index lies in, or to the folder above the index's own where there is
    no project.
    """
    import pandas as pd

    above = index.resolve().parents
    project = next((folder for folder in above if (folder / _PROJECT).is_file()), above[min(1, len(above) - 1)])
    paths = [file.resolve().relative_to(project).as_posix() for file in files.values()]
    return format_blocks({_BLOCK: pd.DataFrame({_NAME: list(files), _FILE: paths})}).encode()
