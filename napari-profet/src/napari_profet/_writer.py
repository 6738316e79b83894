"""napari's way out: a layer of atoms as mmCIF."""

from __future__ import annotations

from typing import Any

__all__ = ["write_mmcif"]


def write_mmcif(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write what a Points layer shows: hidden and deleted atoms are not in the file."""
    from napari_profet.layers import structure_from_layer
    from napari_profet.structure import write_structure

    # napari's dialog has asked already whether an existing file may be replaced.
    return [str(write_structure(path, structure_from_layer(data, attributes), overwrite=True))]
