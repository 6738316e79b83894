"""EPicker's ``.thi`` files of one micrograph.

A line ``[Particle Coordinates: X Y Value]`` names the columns (``X Y Group Value`` for helices, ``X Y Radius Value``
for vesicles), then one line per particle, then ``[End]``. Frame: centres, rows from the array's first.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napari_empiarreader.coordinates._text import column_texts, number_text, read_text, to_numbers
from napari_empiarreader.coordinates.names import micrograph_of_file
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import FormatError

__all__ = ["is_thi", "read_thi", "render_thi"]

_HEAD = re.compile(r"\[\s*(\w+) Coordinates:\s*(\S[^\]]*?)\s*\]", re.IGNORECASE)
_FEATURES = {"Value": "score", "Group": "helix"}


def is_thi(text: str) -> bool:
    """Whether a text begins like a ``.thi`` file of coordinates."""
    return bool(_HEAD.match(text.lstrip()))


def read_thi(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Particles of a ``.thi`` file; ``helix`` is EPicker's ``Group``.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        No coordinates, values that are missing, or no ``[End]``.
    """
    import pandas as pd

    lines = [line.strip() for line in read_text(path, "thi").split("\n") if line.strip()]
    found = _HEAD.fullmatch(lines[0]) if lines else None
    names = [] if found is None else [name.title() for name in found[2].split()]
    if found is None or not {"X", "Y"} <= set(names) or len(set(names)) < len(names):
        raise FormatError(f"{path}: no thi file of coordinates (it begins with '{lines[0][:60] if lines else ''}')")
    if lines[-1].casefold() != "[end]":
        raise FormatError(f"{path}: the last line is not [End]; the file was not copied whole, fetch it again")
    rows = [line.split() for line in lines[1:-1]]
    for row, words in enumerate(rows, 1):
        if len(words) != len(names):
            raise FormatError(f"{path}: row {row} has {len(words)} values for {len(names)} columns; it is damaged")
    columns = {name: to_numbers([words[i] for words in rows], path, name) for i, name in enumerate(names)}
    x, y = columns.pop("X"), columns.pop("Y")
    features = {_FEATURES.get(name, name): values for name, values in columns.items()}
    if "helix" in features:
        features["helix"] = _whole(features["helix"])
    micrographs, index = (micrograph_of_file(path, options.micrographs),), np.zeros(len(x), np.intp)
    coordinates = options.to_array_frame(path, x, y, micrographs, index)
    kind = {"source": str(path), "thi_kind": found[1], "thi_columns": names}
    return ParticleTable(micrographs, coordinates, pd.DataFrame(features, index=range(len(x))), kind)


def _whole(values: np.ndarray) -> np.ndarray:
    whole = np.isfinite(values).all() and (np.abs(values) < 1 << 53).all() and (values % 1 == 0).all()
    return values.astype(np.int64) if whole else values


def render_thi(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a ``.thi`` file: of helices where the particles have a ``helix``. No score is written as 1."""
    kind = str(table.metadata.get("thi_kind", "Helix" if "helix" in table.features else "Particle"))
    default = ["X", "Y", "Group", "Value"] if kind == "Helix" else ["X", "Y", "Value"]
    names = list(table.metadata.get("thi_columns", default))
    x, y = options.to_file_frame(path, table.coordinates, table.micrographs)
    columns = {axis: [number_text(v) for v in values.tolist()] for axis, values in (("X", x), ("Y", y))}
    for name in names:
        feature = _FEATURES.get(name, name)
        if feature in table.features:
            blank = "1" if name == "Value" else "nan"
            texts = column_texts(table.features[feature])
            columns[name] = [re.sub(r"\s", "_", text.replace("<NA>", blank)) or blank for text in texts]
        elif name not in columns:
            columns[name] = ["1"] * len(table)
    rows = zip(*(columns[name] for name in names), strict=True)
    lines = [f"[{kind} Coordinates: {' '.join(names)}]", *("\t".join(words) for words in rows), "[End]"]
    return ("\n".join(lines) + "\n").encode()
