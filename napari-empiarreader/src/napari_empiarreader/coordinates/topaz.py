"""Topaz's tables of particles: ``image_name  x_coord  y_coord  score``, parted by tabs.

Frame: centres, rows from the array's first, in pixels of the picture that was picked. That is mostly a downsampled
one: ``scale`` is the factor it was downsampled by. Names come without folder and suffix.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from napari_empiarreader.coordinates._text import column_texts, number_text, read_text, to_numbers, typed
from napari_empiarreader.coordinates.names import stem_of
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import CoordinatesError, FormatError

__all__ = ["is_topaz", "read_topaz", "render_topaz"]

_NAME, _X, _Y = "image_name", "x_coord", "y_coord"


def is_topaz(text: str) -> bool:
    """Whether a text begins with Topaz's names of columns."""
    head = text.lstrip("\ufeff\r\n").split("\n", 1)[0].strip().split("\t")
    return {_NAME, _X, _Y} <= set(head)


def read_topaz(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Particles of a Topaz table.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError
        Columns or values are missing.
    """
    import pandas as pd

    lines = [line.rstrip("\r").split("\t") for line in read_text(path, "Topaz").split("\n") if line.strip()]
    head = [name.strip() for name in lines[0]] if lines else []
    if not {_NAME, _X, _Y} <= set(head) or len(set(head)) < len(head):
        raise FormatError(f"{path}: no Topaz file (the first line must name {_NAME}, {_X} and {_Y}, parted by tabs)")
    for row, words in enumerate(lines[1:], 1):
        if len(words) != len(head):
            raise FormatError(f"{path}: row {row} has {len(words)} values for {len(head)} columns; it is damaged")
    columns = dict(zip(head, map(list, zip(*lines[1:], strict=True)), strict=True)) if lines[1:] else {}
    columns = columns or {name: [] for name in head}
    index, found = pd.factorize(np.array(columns.pop(_NAME), object))
    micrographs = tuple(str(name) for name in found)
    x, y = (to_numbers(columns.pop(name), path, name) for name in (_X, _Y))
    coordinates = options.to_array_frame(path, x, y, micrographs, index)
    features = {name: to_numbers(w, path, name) if name == "score" else typed(w) for name, w in columns.items()}
    return ParticleTable(micrographs, coordinates, pd.DataFrame(features, index=range(len(x))), {"source": str(path)})


def render_topaz(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a Topaz table.

    Raises
    ------
    CoordinatesError
        Two micrographs have the same name without folder and suffix, or a name that holds a tab or line end.
    """
    stems = [stem_of(name) for name in table.micrographs]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise CoordinatesError(f"{path}: two micrographs would both be called {twice} here; rename one, or use .star")
    if odd := [stem for stem in stems if not stem.isprintable() or stem != stem.strip() or not stem]:
        raise CoordinatesError(f"{path}: a micrograph called {odd[0]!r} cannot stand in a Topaz file; rename it")
    x, y = options.to_file_frame(path, table.coordinates, table.micrographs)
    columns = {
        _NAME: [stems[i] for i in table.micrograph_index],
        _X: [number_text(value) for value in x.tolist()],
        _Y: [number_text(value) for value in y.tolist()],
    }
    for name in sorted(map(str, table.features.columns), key=lambda name: name != "score"):
        texts = column_texts(table.features[name])
        columns.setdefault(re.sub(r"\s", "_", name), [re.sub(r"[\t\r\n\x85\u2028\u2029]", " ", word) for word in texts])
    rows = ["\t".join(columns), *("\t".join(words) for words in zip(*columns.values(), strict=True))]
    return ("\n".join(rows) + "\n").encode()
