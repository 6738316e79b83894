"""EMPIAR entries, micrographs and particle coordinates as lazy napari layers, and back to files.

Importing this package is cheap: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Archive": "archive",
    "ArchiveSettings": "archive",
    "Catalogue": "archive",
    "Entry": "archive",
    "ImageSet": "archive",
    "GainReference": "micrographs.gain",
    "MicrographSeries": "micrographs",
    "MovieSeries": "micrographs",
    "ParticleTable": "coordinates",
    "open_gain": "micrographs.gain",
    "open_images": "micrographs",
    "open_micrographs": "micrographs",
    "read_particles": "coordinates",
    "write_particles": "coordinates",
}

__all__ = [
    "Archive",
    "ArchiveSettings",
    "Catalogue",
    "Entry",
    "GainReference",
    "ImageSet",
    "MicrographSeries",
    "MovieSeries",
    "ParticleTable",
    "open_gain",
    "open_images",
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
