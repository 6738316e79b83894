"""Between sequences and napari: a Points layer with one square per residue, to be read like a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_profet.sequence import SequenceRecord

__all__ = ["sequence_layer"]

_WIDTH = 60
# What a residue's side chain is like; letters that are no amino acid are grey.
_CLASSES = {
    "hydrophobic": ("AVILMFWY", "#8fb8de"),
    "polar": ("STNQ", "#b5d99c"),
    "basic": ("KRH", "#ef8a8a"),
    "acidic": ("DE", "#d7a1e0"),
    "special": ("CGP", "#f2d388"),
    "unknown": ("", "#b0b0b0"),
}


def sequence_layer(records: Sequence[SequenceRecord], name: str = "sequences") -> tuple[Any, dict[str, Any], str]:
    """Points layer of sequences: 60 residues to a line, an empty line between two sequences.

    Parameters
    ----------
    records
        At least one.
    name
        Of the layer.

    Returns
    -------
    tuple
        Data (n, 2): line and place in the line, both from 0. Features: ``sequence`` (its name), ``position`` from 1,
        ``residue`` (the letter) and its ``class``. ``metadata["sequences"]`` has name, description and length of each.
    """
    import pandas as pd

    class_of = {letter: kind for kind, (letters, _) in _CLASSES.items() for letter in letters}
    lines, tables = [], []
    first = 0
    for record in records:
        place = np.arange(len(record))
        lines.append(np.column_stack([first + place // _WIDTH, place % _WIDTH]))
        letters = list(record.residues)
        classes = [class_of.get(letter, "unknown") for letter in letters]
        tables.append(
            pd.DataFrame({"sequence": record.name, "position": place + 1, "residue": letters, "class": classes})
        )
        first += -(-len(record) // _WIDTH) + 1
    features = pd.concat(tables, ignore_index=True)
    colours = [_CLASSES[kind][1] for kind in features["class"]]
    attributes = {
        "name": name,
        "features": features,
        "symbol": "square",
        "size": 0.95,
        "border_width": 0,
        "face_color": colours,
        "text": {"string": "{residue}", "color": "black", "size": 8, "anchor": "center"},
        "axis_labels": ("line", "place"),
        "metadata": {
            "sequences": [
                {"name": record.name, "description": record.description, "length": len(record)} for record in records
            ]
        },
    }
    return np.concatenate(lines).astype(float), attributes, "points"
