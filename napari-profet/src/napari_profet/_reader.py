"""napari's way in: structure files as layers. Which files is in the manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["get_reader", "read_layers"]

_SUFFIXES = (".cif", ".mmcif", ".pdb", ".ent")

Layers = list[tuple[Any, dict[str, Any], str]]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], Layers] | None:
    """Give the reader for these paths, or None; looks at the names only."""
    paths = [path] if isinstance(path, str) else list(path)
    names = [str(item).lower().removesuffix(".gz") for item in paths]
    return read_layers if names and all(name.endswith(_SUFFIXES) for name in names) else None


def read_layers(path: str | Sequence[str]) -> Layers:
    """One Points layer for each structure file."""
    from napari_profet.layers import structure_layer
    from napari_profet.structure import read_structure

    paths = [path] if isinstance(path, str) else path
    return [structure_layer(read_structure(item)) for item in paths]
