"""EMPIAR entries, micrographs and particle coordinates as lazy napari layers, and back to files.

Importing this package is cheap: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Archive": "archive",
    "ArchiveSettings": "archive",
    "Entry": "archive",
    "ImageSet": "archive",
    "MicrographSeries": "micrographs",
    "ParticleTable": "coordinates",
    "open_micrographs": "micrographs",
    "read_particles": "coordinates",
    "write_particles": "coordinates",
}

__all__ = [
    "Archive",
    "ArchiveSettings",
    "Entry",
    "ImageSet",
    "MicrographSeries",
    "ParticleTable",
    "open_micrographs",
    "read_particles",
    "write_particles",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
