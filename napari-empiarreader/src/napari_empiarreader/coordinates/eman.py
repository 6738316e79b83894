"""EMAN's files of one micrograph: ``.box``, its variants for helices, and EMAN2's ``.json``.

Frames: a row ``x y w h`` of a ``.box`` file has the box's corner with the smallest x and y, so the centre is
(x + w/2, y + h/2); rows count from the array's first. Helix files (``#helix:``) and EMAN2's ``"boxes"`` hold centres.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_empiarreader.coordinates._text import column_texts, number_text, read_text, to_numbers, typed, words_of
from napari_empiarreader.coordinates.names import match_names, micrograph_of_file
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import CoordinatesError, FormatError

__all__ = [
    "box_sizes",
    "is_eman_json",
    "is_helix_box",
    "read_box",
    "read_eman_json",
    "read_helix_box",
    "render_box",
    "render_eman_json",
    "render_helix_box",
]

#: Fifth words that are marks, no scores: start and end of a helix, and EMAN1's own mark of a particle.
_MARKS = {-1.0, -2.0, -3.0}

_HELIX = re.compile(r"#\s*helix:\s*\(([^,()]+),([^,()]+)\)\s*,\s*\(([^,()]+),([^,()]+)\)\s*,\s*(\S+)\s*")
_HEAD = re.compile(r"#\s*(micrograph|segment length|segment width):\s*(.*?)\s*")


def read_box(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Particles of a ``.box`` file: ``x y width height`` and perhaps a score; further columns keep their place.

    A fifth column of marks (-1 and -2: start and end of a helix; -3) becomes ``box_mark``, and the two ends of a
    helix share a number in ``helix``.

    Raises
    ------
    FormatError
        Rows of less than four numbers, of different lengths, or with boxes of no size.
    """
    import pandas as pd

    rows = words_of(read_text(path, "box"))
    width = len(rows[0]) if rows else 4
    for row, words in enumerate(rows, 1):
        if len(words) != width or width < 4:
            raise FormatError(
                f"{path}: row {row} has {len(words)} values instead of x, y, width, height"
                f"{' and so on' if width > 4 else ''}; no box file, or damaged"
            )
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
    x, y, w, h = (to_numbers(columns[i], path, name) for i, name in enumerate(("x", "y", "width", "height")))
    _check_boxes(w, h, path)
    scale = options.scale or 1.0
    features: dict[str, object] = {"box_width": w * scale, "box_height": h * scale}
    if width > 4:
        fifth = to_numbers(columns[4], path, "score")
        if len(fifth) and set(fifth.tolist()) <= _MARKS:
            features["box_mark"] = fifth.astype(int)
            if set(fifth.tolist()) <= {-1.0, -2.0}:
                features["helix"] = np.cumsum(fifth == -1)
        else:
            features["score"] = fifth
    features |= {f"box_column_{i + 1}": typed(columns[i]) for i in range(5, width)}
    micrographs, index = (micrograph_of_file(path, options.micrographs),), np.zeros(len(x), np.intp)
    coordinates = options.to_array_frame(path, x + w / 2, y + h / 2, micrographs, index)
    return ParticleTable(micrographs, coordinates, pd.DataFrame(features, index=range(len(x))), {"source": str(path)})


def render_box(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a ``.box`` file.

    Raises
    ------
    CoordinatesError
        No box size is known.
    """
    x, y = options.to_file_frame(path, table.coordinates, table.micrographs)
    w, h = box_sizes(table, options, path)
    features = table.features
    columns = [[number_text(value) for value in values.tolist()] for values in (x - w / 2, y - h / 2, w, h)]
    fifth = next((name for name in ("box_mark", "score") if name in features), None)
    further = [name for name in map(str, features.columns) if re.fullmatch(r"box_column_\d+", name)]
    if fifth or further:
        columns.append(column_texts(features[fifth]) if fifth else ["nan"] * len(table))
    columns += [[re.sub(r"[\s,]", "_", text) or "<NA>" for text in column_texts(features[name])] for name in further]
    return "".join("\t".join(words) + "\n" for words in zip(*columns, strict=True)).replace("<NA>", "nan").encode()


def box_sizes(table: ParticleTable, options: CoordinateOptions, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of each particle's box in a file's pixels: the asked one, or else each particle's own.

    Raises
    ------
    CoordinatesError
        Neither is known for all.
    """
    scale = options.scale or 1.0
    own = [name for name in ("box_width", "box_height") if name in table.features]
    if options.box_size is not None:
        w = h = np.full(len(table), options.box_size / scale)
    elif own:
        w, h = (np.asarray(table.features[name], np.float64) / scale for name in (own[0], own[-1]))
    else:
        w = h = np.full(len(table), np.nan)
    if not (np.isfinite(w) & np.isfinite(h) & (w > 0) & (h > 0)).all():
        raise CoordinatesError(
            f"{path}: this format holds boxes, and the particles have none; give the box size in pixels "
            "(box_size, --box-size)"
        )
    return w, h


def _check_boxes(w: np.ndarray, h: np.ndarray, path: Path) -> None:
    good = np.isfinite(w) & np.isfinite(h) & (w > 0) & (h > 0)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise FormatError(f"{path}: row {row + 1} has a box of {w[row]:g} x {h[row]:g} pixels; the file is damaged")


# ---- helices -------------------------------------------------------------------------------------------------


def is_helix_box(text: str) -> bool:
    """Whether a text begins like a file of e2helixboxer or of crYOLO's helicon format."""
    lines = (line.strip() for line in text.split("\n"))
    first = next((line for line in lines if line), "")
    return bool(_HEAD.fullmatch(first) or _HELIX.fullmatch(first))


def read_helix_box(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Segments along helices: ``helix`` counts the helices of the file from 1, ``box_width`` is a helix's width.

    Raises
    ------
    FormatError
        Rows that are no centres, or that come before the first helix.
    """
    import pandas as pd

    text = read_text(path, "helix box")
    if not is_helix_box(text):
        raise FormatError(f"{path}: no helix box file (it begins with neither '#micrograph:' nor '#helix:')")
    head: dict[str, str] = {}
    helices: list[tuple[float, ...]] = []
    rows: list[list[str]] = []
    numbers: list[int] = []
    for line in map(str.strip, text.split("\n")):
        if found := _HELIX.fullmatch(line):
            helices.append(tuple(to_numbers(found.groups(), path, "a helix's end").tolist()))
        elif found := _HEAD.fullmatch(line):
            head[found[1]] = found[2]
        elif line and not line.startswith("#"):
            rows.append(line.split())
            numbers.append(len(helices))
            if len(rows[-1]) != 2 or not helices:
                raise FormatError(f"{path}: row {len(rows)} is no centre of a segment of a helix: {line[:60]}")
    ends = np.array(helices).reshape(-1, 5)
    if not (np.isfinite(ends).all() and (ends[:, 4] > 0).all()):
        raise FormatError(f"{path}: a helix has no ends or no width; the file is damaged")
    length = to_numbers([head.get("segment length", "")], path, "segment length")[0]
    width = to_numbers([head.get("segment width", "")], path, "segment width")[0]
    x, y = (to_numbers([row[i] for row in rows], path, "xy"[i]) for i in (0, 1))
    scale, index = options.scale or 1.0, np.zeros(len(rows), np.intp)
    name = head.get("micrograph", "")
    micrographs = (_chosen(name, options.micrographs) if name not in ("", "NA") else micrograph_of_file(path),)
    coordinates = options.to_array_frame(path, x, y, micrographs, index)
    ends_x = options.to_array_frame(path, ends[:, 0], ends[:, 1], micrographs, np.zeros(len(ends), np.intp))
    ends_y = options.to_array_frame(path, ends[:, 2], ends[:, 3], micrographs, np.zeros(len(ends), np.intp))
    features = pd.DataFrame(
        {"helix": np.array(numbers, int), "box_width": ends[np.array(numbers, int) - 1, 4] * scale if rows else []},
        index=range(len(rows)),
    )
    drawn = np.column_stack([ends_x[:, 1:], ends_y[:, 1:], ends[:, 4:] * scale]).tolist()
    return ParticleTable(
        micrographs,
        coordinates,
        features,
        {
            "source": str(path),
            "segment": [float(length * scale), float(width * scale)],
            "helices": dict(enumerate(drawn, 1)),
        },
    )


def _chosen(name: str, micrographs: Sequence[str] | None) -> str:
    match = match_names([name], micrographs or ())[0]
    return name if match is None or micrographs is None else micrographs[match]


def render_helix_box(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a helix box file; ends that are not known are the first and last segment of the helix.

    Raises
    ------
    CoordinatesError
        The particles are on no helices, or no box size is known.
    """
    features = table.features
    if "helix" not in features or features["helix"].isna().any():
        raise CoordinatesError(
            f"{path}: this format holds helices, and some particles are on none (no 'helix', rlnHelicalTubeID); "
            "write them as .box instead"
        )
    scale, numbers = options.scale or 1.0, np.asarray(features["helix"], int)
    known: dict[int, list[float]] = {int(key): value for key, value in table.metadata.get("helices", {}).items()}
    length, width = (value / scale for value in table.metadata.get("segment", (np.nan, np.nan)))
    if options.box_size is not None or not (np.isfinite(length) and np.isfinite(width)):
        sizes = box_sizes(table, options, path)
        length, width = (float(values[0]) if len(values) else 1.0 for values in sizes)
    x, y = options.to_file_frame(path, table.coordinates, table.micrographs)
    lines = [f"#micrograph: {table.micrographs[0] if table.micrographs else 'NA'}"]
    lines += [f"#segment length: {number_text(length)}", f"#segment width: {number_text(width)}"]
    for number in sorted({*numbers.tolist(), *known}):
        on = np.flatnonzero(numbers == number)
        ends = np.array(known.get(number) or [*_ends(table, on), width * scale])
        points = np.column_stack([np.zeros(2), ends[[0, 2]], ends[[1, 3]]])
        end_x, end_y = options.to_file_frame(path, points, table.micrographs)
        (x1, x2), (y1, y2), thickness = end_x.tolist(), end_y.tolist(), float(ends[4]) / scale
        first, last = (f"({number_text(a)}, {number_text(b)})" for a, b in ((x1, y1), (x2, y2)))
        lines.append(f"#helix: {first},{last},{number_text(thickness)}")
        lines += [f"{number_text(a)}\t{number_text(b)}" for a, b in zip(x[on].tolist(), y[on].tolist(), strict=True)]
    return ("\n".join(lines) + "\n").encode()


def _ends(table: ParticleTable, on: np.ndarray) -> list[float]:
    """(y, x) of the first and of the last of some particles."""
    return [*table.coordinates[on[0], 1:].tolist(), *table.coordinates[on[-1], 1:].tolist()]


# ---- EMAN2 ---------------------------------------------------------------------------------------------------


def is_eman_json(text: str) -> bool:
    """Whether a text looks like EMAN2's information on a micrograph."""
    return text.lstrip().startswith("{") and '"boxes"' in text


def read_eman_json(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Particles of EMAN2's ``"boxes": [[x, y, tag, ...], ...]``; what else the file holds is kept for the writer.

    Raises
    ------
    FormatError
        No JSON, no boxes, or boxes that are no lists of two numbers and more.
    """
    import pandas as pd

    try:
        content = json.loads(read_text(path, "EMAN2 json"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: no EMAN2 json file ({str(error)[:100]})") from error
    boxes = content.get("boxes") if isinstance(content, dict) else None
    if not isinstance(boxes, list):
        raise FormatError(f"{path}: no EMAN2 json file ('boxes' with a list is missing)")
    for row, box in enumerate(boxes, 1):
        good = isinstance(box, list) and len(box) >= 2
        if not good or any(isinstance(v, bool) or not isinstance(v, int | float) for v in box[:2]):
            raise FormatError(f"{path}: box {row} is not [x, y, tag] but {str(box)[:60]}; the file is damaged")
    longest = max(map(len, boxes), default=2)
    names = ["x", "y", "tag", *(f"eman2_{i}" for i in range(3, longest))][:longest]
    columns = {name: [box[i] if i < len(box) else None for box in boxes] for i, name in enumerate(names)}
    try:
        x, y = (np.array(columns.pop(axis), np.float64) for axis in "xy")
    except OverflowError as error:
        raise FormatError(f"{path}: a coordinate is too large ({error}); the file is damaged") from error
    micrographs, index = (micrograph_of_file(path, options.micrographs),), np.zeros(len(x), np.intp)
    coordinates = options.to_array_frame(path, x, y, micrographs, index)
    features = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    return ParticleTable(
        micrographs,
        coordinates,
        features.infer_objects(),
        {"source": str(path), "eman2": {key: value for key, value in content.items() if key != "boxes"}},
    )


def render_eman_json(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of EMAN2's file of one micrograph; particles without a ``tag`` are "manual"."""
    x, y = options.to_file_frame(path, table.coordinates, table.micrographs)
    further = [name for name in map(str, table.features.columns) if re.fullmatch(r"eman2_\d+", name)]
    columns = [x.tolist(), y.tolist(), ["manual"] * len(table)]
    if "tag" in table.features:
        columns[2] = ["manual" if tag is None or tag != tag else tag for tag in table.features["tag"].tolist()]
    columns += [[None if v is None or v != v else v for v in table.features[name].tolist()] for name in further]
    boxes = [
        [int(v) if isinstance(v, float) and v.is_integer() else v for v in box] for box in zip(*columns, strict=True)
    ]
    return (json.dumps({**table.metadata.get("eman2", {}), "boxes": boxes}, indent=1) + "\n").encode()
