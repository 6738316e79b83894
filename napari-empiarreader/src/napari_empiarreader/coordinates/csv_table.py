"""Tables with names of columns in the first line, parted by commas, semicolons or tabs.

Frame: centres in pixels; rows from the array's first, except with the column names of CryoPPP (``X-Coordinate``,
``Y-Coordinate``), whose rows count from the bottom: y = H - y'. ``y_up`` overrules both.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_empiarreader.coordinates._text import column_texts, number_text, read_text, to_numbers, typed
from napari_empiarreader.coordinates.names import micrograph_of_file
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import CoordinatesError, FormatError

__all__ = ["has_coordinate_columns", "read_csv", "render_csv"]

#: Names of columns, in small letters without signs, that mean what the key says.
_KNOWN = {
    "x": ("x", "xcoord", "xcoordinate", "coordinatex", "rlncoordinatex", "xcoor", "centerx", "centrex", "cx", "xpx"),
    "y": ("y", "ycoord", "ycoordinate", "coordinatey", "rlncoordinatey", "ycoor", "centery", "centrey", "cy", "ypx"),
    "micrograph": (
        *("micrograph", "micrographname", "rlnmicrographname", "imagename", "image", "filename", "micrographpath"),
        *("file", "name"),
    ),
    "score": ("score", "confidence", "rlnautopickfigureofmerit", "fom", "probability"),
}

_CRYOPPP = ("X-Coordinate", "Y-Coordinate")


def read_csv(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Particles of a table; columns that ``options.columns`` does not name are found by their usual names.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        No table, no columns of x and y, or rows of other lengths.
    """
    import pandas as pd

    text = read_text(path, "CSV")
    delimiter = _delimiter(text)
    rows = _rows(text, delimiter, path)
    head = [name.strip() for name in rows[0]] if rows else []
    chosen = _chosen(head, options.columns or {}, path)
    values = {name: [row[i] for row in rows[1:]] for i, name in enumerate(head)}
    x, y = (to_numbers(values[chosen[axis]], path, chosen[axis]) for axis in "xy")
    if "micrograph" in chosen:
        index, found = pd.factorize(np.array(values[chosen["micrograph"]], object))
        micrographs = tuple(str(name) for name in found)
    else:
        micrographs, index = (micrograph_of_file(path, options.micrographs),), np.zeros(len(x), np.intp)
    y_up = (chosen["x"], chosen["y"]) == _CRYOPPP
    features = {
        "score" if name == chosen.get("score") else name: typed(word or "<NA>" for word in words)
        for name, words in values.items()
        if name not in (chosen["x"], chosen["y"], chosen.get("micrograph"))
    }
    if "score" in chosen:
        features["score"] = to_numbers(values[chosen["score"]], path, chosen["score"])
    return ParticleTable(
        micrographs,
        options.to_array_frame(path, x, y, micrographs, index, y_up=y_up),
        pd.DataFrame(features, index=range(len(x))),
        {"source": str(path), "csv": {"columns": chosen, "head": head, "delimiter": delimiter}},
    )


def has_coordinate_columns(text: str) -> bool:
    """Whether the first line of a text names columns of x and y."""
    line = text.lstrip("\ufeff \r\n").split("\n", 1)[0]
    head = [name.strip().strip('"') for name in line.strip().split(_delimiter(text))]
    try:
        return bool(_chosen(head, {}, Path()))
    except (FormatError, CoordinatesError):
        return False


def _delimiter(text: str) -> str:
    first = text.lstrip().split("\n", 1)[0]
    return max("\t;,", key=first.count)


def _rows(text: str, delimiter: str, path: Path) -> list[list[str]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True) if any(row)]
    except csv.Error as error:
        raise FormatError(f"{path}: no CSV file ({error})") from error
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(rows[0]):
            raise FormatError(f"{path}: row {number} has {len(row)} values for {len(rows[0])} columns; it is damaged")
    return rows


def _chosen(head: list[str], asked: Mapping[str, str], path: Path) -> dict[str, str]:
    """Column of each role."""
    if len(set(head)) < len(head):
        raise FormatError(f"{path}: two columns have the same name; rename one of them")
    unknown = [f"{role}={name}" for role, name in asked.items() if role not in _KNOWN or name not in head]
    if unknown:
        raise CoordinatesError(
            f"{path}: {', '.join(unknown)} cannot be chosen; roles are {', '.join(_KNOWN)}, and the columns of the "
            f"file are {', '.join(head)[:200]}"
        )
    plain = {name: "".join(filter(str.isalnum, name)).casefold() for name in head}
    chosen = dict(asked)
    for role, names in _KNOWN.items():
        fits = [name for wanted in names for name in head if plain[name] == wanted and name not in chosen.values()]
        if role not in chosen and fits:
            chosen[role] = fits[0]
    if not {"x", "y"} <= chosen.keys():
        raise FormatError(
            f"{path}: no columns of coordinates among {', '.join(head)[:200] or 'none'}; say which they are "
            "(columns, --columns x=NAME,y=NAME)"
        )
    return chosen


def render_csv(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a table with the columns that the particles came with, or ``micrograph, x, y`` and the features.

    ``options.columns`` gives other names to ``micrograph``, ``x``, ``y`` and ``score``.
    """
    came = table.metadata.get("csv", {})
    roles = {"micrograph": "micrograph", "x": "x", "y": "y", "score": "score"}
    if "columns" in came:
        roles |= came["columns"]
    if set(options.columns or ()) - set(roles):
        asked = ", ".join(options.columns or ())
        raise CoordinatesError(f"{path}: columns can be given to {', '.join(roles)}, not to {asked}")
    roles |= dict(options.columns or {})
    x, y = options.to_file_frame(path, table.coordinates, table.micrographs, y_up=(roles["x"], roles["y"]) == _CRYOPPP)
    columns = {roles["x"]: [number_text(v) for v in x.tolist()], roles["y"]: [number_text(v) for v in y.tolist()]}
    if not came or "micrograph" in came["columns"] or len(table.micrographs) > 1:
        columns = {roles["micrograph"]: [table.micrographs[i] for i in table.micrograph_index], **columns}
    for name in map(str, table.features.columns):
        texts = ["" if text == "<NA>" else text for text in column_texts(table.features[name])]
        columns.setdefault(roles["score"] if name == "score" else name, texts)
    head = [name for name in came.get("head", ()) if name in columns]
    head += [name for name in columns if name not in head]
    text = io.StringIO()
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    writer = csv.writer(text, delimiter=came.get("delimiter", delimiter), lineterminator="\n")
    writer.writerow(head)
    writer.writerows(zip(*(columns[name] for name in head), strict=True))
    return text.getvalue().encode()
