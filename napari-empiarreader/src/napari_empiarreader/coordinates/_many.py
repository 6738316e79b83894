"""Particles of many files in one table, and of one micrograph out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_empiarreader.coordinates.names import match_names
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import CoordinatesError

__all__ = ["in_one_table", "named_after", "of_one"]


def in_one_table(tables: Sequence[ParticleTable], source: Path, name: str) -> ParticleTable:
    """One table of all; what belongs to each file waits in ``metadata["by_micrograph"]`` under its micrograph.

    Raises
    ------
    CoordinatesError
        Two files hold the same micrograph.
    """
    import pandas as pd

    names = [name for table in tables for name in table.micrographs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CoordinatesError(f"{source}: two files hold particles of {twice}; open one of them, or rename it")
    starts = np.cumsum([0, *(len(table.micrographs) for table in tables)])
    coordinates = [table.coordinates + [start, 0, 0] for table, start in zip(tables, starts, strict=False)]
    with_features = [table.features for table in tables if len(table)] or [table.features for table in tables[:1]]
    return ParticleTable(
        tuple(names),
        np.concatenate(coordinates) if coordinates else np.empty((0, 3)),
        pd.concat(with_features, ignore_index=True) if with_features else pd.DataFrame(),
        {
            "source": str(source),
            "format": name,
            "by_micrograph": {table.micrographs[0]: dict(table.metadata) for table in tables if table.micrographs},
        },
    )


def of_one(table: ParticleTable, index: int) -> ParticleTable:
    """The particles of one micrograph, with what belongs to its file."""
    own: dict[str, Any] = dict(table.metadata.get("by_micrograph", {}))
    names = list(own)
    match = match_names(list(table.micrographs), names)[index] if names else None
    common = {key: value for key, value in table.metadata.items() if key != "by_micrograph"}
    part = table.where(table.micrograph_index == index)
    coordinates = part.coordinates * [0, 1, 1]
    metadata = common if match is None else {**common, **own[names[match]]}
    return replace(part, micrographs=(table.micrographs[index],), coordinates=coordinates, metadata=metadata)


def named_after(table: ParticleTable, micrographs: Sequence[str]) -> ParticleTable:
    """The same particles, with each micrograph called as the one of ``micrographs`` that it matches."""
    found = match_names(table.micrographs, micrographs)
    names = tuple(own if i is None else micrographs[i] for own, i in zip(table.micrographs, found, strict=True))
    return replace(table, micrographs=names if len(set(names)) == len(names) else table.micrographs)
