"""Xmipp's ``.pos`` files of one micrograph: blocks as in STAR, with ``_xcoor`` and ``_ycoor``.

Frame: centres in whole pixels (Xmipp keeps them as integers), rows from the array's first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.coordinates._star_text import Block, format_blocks, label, read_blocks
from napari_empiarreader.coordinates.names import micrograph_of_file
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["is_pos", "read_pos", "render_pos"]

_X, _Y, _SCORE = "xcoor", "ycoor", "cost"


def is_pos(text: str) -> bool:
    """Whether a text is Xmipp's."""
    return text.lstrip().startswith("# XMIPP_STAR_1") or "_xcoor" in text[:4000]


def read_pos(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Particles of a ``.pos`` file; ``score`` is Xmipp's ``cost``.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        No such blocks, or no numbers where there must be.
    """
    import pandas as pd

    blocks = read_blocks(path, "pos")
    name = next((name for name, block in blocks.items() if _X in block and _Y in block), None)
    if name is None:
        raise FormatError(f"{path}: no particle coordinates (_{_X}, _{_Y}) in this pos file")
    found = blocks[name]
    block = pd.DataFrame([found]) if isinstance(found, dict) else found
    x, y = (pd.to_numeric(block[axis], errors="coerce").to_numpy(np.float64) for axis in (_X, _Y))
    micrographs, index = (micrograph_of_file(path, options.micrographs),), np.zeros(len(x), np.intp)
    coordinates = options.to_array_frame(path, x, y, micrographs, index)
    features = block.drop(columns=[_X, _Y])
    if _SCORE in features and "score" not in features:
        features = features.rename(columns={_SCORE: "score"})
    others = {key: value for key, value in blocks.items() if key != name}
    return ParticleTable(
        micrographs, coordinates, features, {"source": str(path), "pos_block": name, "pos_blocks": others}
    )


def render_pos(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a ``.pos`` file; centres are rounded to whole pixels."""
    import pandas as pd

    x, y = options.to_file_frame(path, table.coordinates, table.micrographs)
    columns: dict[str, object] = {_X: _whole(x), _Y: _whole(y)}
    for name, values in table.features.items():
        columns.setdefault(label(_SCORE if name == "score" else name), values.to_numpy())
    blocks: dict[str, Block] = {"header": _header()}
    blocks |= dict(table.metadata.get("pos_blocks", {}))
    blocks[str(table.metadata.get("pos_block", "particles"))] = pd.DataFrame(columns)
    return format_blocks(blocks, head="# XMIPP_STAR_1 *\n#\n", numbered=False).encode()


def _header() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"pickingMicrographState": ["Manual"]})


def _whole(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), -(1 << 31), (1 << 31) - 1).astype(np.int64)
