"""crYOLO's ``.cbox`` files of one micrograph: particles and filaments, with everything below the threshold too.

Frame: ``CoordinateX`` and ``CoordinateY`` are the corner of the box with the smallest x and y, rows from the array's
first; the centre is (X + Width/2, Y + Height/2). Version 1.0 is a STAR file with the blocks ``global``, ``cryolo``
and ``cryolo_include``; older files are rows of ``x y width height confidence`` and the two estimated sizes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.coordinates._star_text import Block, format_blocks, read_blocks
from napari_empiarreader.coordinates._text import read_text, to_numbers, words_of
from napari_empiarreader.coordinates.eman import box_sizes
from napari_empiarreader.coordinates.names import micrograph_of_file
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CBOX_COLUMNS", "is_cbox", "read_cbox", "render_cbox"]

_BLOCK, _INCLUDE = "cryolo", "cryolo_include"

#: Our name of a feature, and crYOLO's.
_FEATURES = {"box_width": "Width", "box_height": "Height", "score": "Confidence", "helix": "filamentid"}

#: Columns as crYOLO orders them.
CBOX_COLUMNS = (
    *("CoordinateX", "CoordinateY", "CoordinateZ", "Width", "Height", "Depth", "EstWidth", "EstHeight"),
    *("Confidence", "NumBoxes", "Angle", "filamentid"),
)

_OLD_COLUMNS = ("CoordinateX", "CoordinateY", "Width", "Height", "Confidence", "EstWidth", "EstHeight")


def is_cbox(text: str) -> bool:
    """Whether a text is a ``.cbox`` file of version 1.0."""
    return "_cbox_format_version" in text[:2000] or "\ndata_cryolo\n" in text[:2000]


def read_cbox(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Particles of a ``.cbox`` file; ``helix`` is crYOLO's ``filamentid``.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        Neither version of the format, a box of no size, or no numbers where there must be.
    """
    text = read_text(path, "cbox")
    if "data_" in text:
        blocks = read_blocks(path, "cbox")
        boxes, others = _boxes(blocks, path), {name: b for name, b in blocks.items() if name != _BLOCK}
    else:
        boxes, others = _old_boxes(text, path), {}
    x, y, w, h = (_numbers(boxes, name, path) for name in ("CoordinateX", "CoordinateY", "Width", "Height"))
    bad = ~((w > 0) & (h > 0) & np.isfinite(w) & np.isfinite(h))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise FormatError(f"{path}: row {row + 1} has a box of {w[row]:g} x {h[row]:g} pixels; the file is damaged")
    micrographs, index = (micrograph_of_file(path, options.micrographs),), np.zeros(len(x), np.intp)
    coordinates = options.to_array_frame(path, x + w / 2, y + h / 2, micrographs, index)
    features = boxes.drop(columns=["CoordinateX", "CoordinateY"]).rename(
        columns={theirs: ours for ours, theirs in _FEATURES.items()}
    )
    if "score" in features:
        features["score"] = _numbers(boxes, "Confidence", path)
    scale = options.scale or 1.0
    features["box_width"], features["box_height"] = w * scale, h * scale
    return ParticleTable(micrographs, coordinates, features, {"source": str(path), "cbox_blocks": others})


def _boxes(blocks: dict[str, Block], path: Path) -> pd.DataFrame:
    import pandas as pd

    boxes = blocks.get(_BLOCK)
    if not isinstance(boxes, pd.DataFrame) and not (isinstance(boxes, dict) and boxes):
        held = ", ".join(f"data_{name}" for name in blocks)
        raise FormatError(f"{path}: no boxes (data_{_BLOCK}) in this cbox file, which holds {held}")
    boxes = boxes if isinstance(boxes, pd.DataFrame) else pd.DataFrame([boxes])
    missing = {"CoordinateX", "CoordinateY", "Width", "Height"} - set(boxes.columns)
    if missing:
        raise FormatError(f"{path}: data_{_BLOCK} has no {', '.join(sorted(missing))}; the file is damaged")
    return boxes.copy()


def _old_boxes(text: str, path: Path) -> pd.DataFrame:
    import pandas as pd

    rows = words_of(text)
    for row, words in enumerate(rows, 1):
        if len(words) != len(rows[0]) or not 4 <= len(words) <= len(_OLD_COLUMNS):
            raise FormatError(f"{path}: row {row} has {len(words)} values; no cbox file, or damaged")
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(5)]
    return pd.DataFrame(
        {name: to_numbers(words, path, name) for name, words in zip(_OLD_COLUMNS, columns, strict=False)}
    )


def _numbers(boxes: pd.DataFrame, name: str, path: Path) -> np.ndarray:
    if boxes[name].dtype.kind in "iuf":
        return boxes[name].to_numpy(np.float64)
    return to_numbers(["" if word != word or word is None else str(word) for word in boxes[name]], path, name)


def render_cbox(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a ``.cbox`` file of version 1.0.

    Raises
    ------
    CoordinatesError
        No box size is known.
    """
    import pandas as pd

    x, y = options.to_file_frame(path, table.coordinates, table.micrographs)
    w, h = box_sizes(table, options, path)
    own = table.features.rename(columns=_FEATURES)
    columns: dict[str, object] = {"CoordinateX": x - w / 2, "CoordinateY": y - h / 2, "Width": w, "Height": h}
    nothing = np.full(len(table), np.nan)
    for name in CBOX_COLUMNS:
        if name in own:
            columns.setdefault(name, own[name].to_numpy())
        elif name != "filamentid":
            columns.setdefault(name, np.ones(len(table)) if name in ("Depth", "Confidence") else nothing)
    order = [name for name in CBOX_COLUMNS if name in columns]
    came: dict[str, Block] = dict(table.metadata.get("cbox_blocks", {}))
    included = came.pop(_INCLUDE, pd.DataFrame({"slice_index": np.array([], float)}))
    blocks: dict[str, Block] = {"global": {"cbox_format_version": "1.0"}, **came}
    blocks |= {_BLOCK: pd.DataFrame(columns)[order], _INCLUDE: included}
    return format_blocks(blocks, head="").encode()
