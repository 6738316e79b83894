"""One door for all coordinate formats: the suffix of the file decides."""

from __future__ import annotations

import os
from pathlib import Path

from napari_empiarreader.coordinates.star import read_star, write_star
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import FormatError

__all__ = ["read_particles", "write_particles"]

_READERS = {".star": read_star}
_WRITERS = {".star": write_star}


def read_particles(path: str | os.PathLike[str]) -> ParticleTable:
    """Particles from a coordinate file (``.star``); see :func:`.read_star` for the errors."""
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise FormatError(f"{path}: '{suffix}' is no coordinate format known here; known: {', '.join(_READERS)}")
    return _READERS[suffix](path)


def write_particles(path: str | os.PathLike[str], table: ParticleTable, *, overwrite: bool = False) -> None:
    """Write particles to a coordinate file (``.star``); see :func:`.write_star` for the errors."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise FormatError(f"{path}: '{suffix}' is no coordinate format known here; known: {', '.join(_WRITERS)}")
    _WRITERS[suffix](path, table, overwrite=overwrite)
