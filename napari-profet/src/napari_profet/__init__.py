"""Protein structures from PDB and AlphaFold DB as napari layers of atoms, and back to files.

Importing this package is cheap: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ColourBy": "layers",
    "Database": "databases",
    "DatabaseSettings": "databases",
    "Download": "databases",
    "Structure": "structure",
    "fetch_structure": "databases",
    "helix_bundle": "helix",
    "read_structure": "structure",
    "structure_from_layer": "layers",
    "structure_layer": "layers",
    "write_structure": "structure",
}

__all__ = [
    "ColourBy",
    "Database",
    "DatabaseSettings",
    "Download",
    "Structure",
    "fetch_structure",
    "helix_bundle",
    "read_structure",
    "structure_from_layer",
    "structure_layer",
    "write_structure",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
