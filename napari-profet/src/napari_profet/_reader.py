"""napari's way in: structures, sequences and aligned errors as layers. Which files is in the manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["get_reader", "read_layers"]

_STRUCTURES = (".cif", ".mmcif", ".bcif", ".pdb", ".ent")
_SEQUENCES = (".fasta", ".fa", ".faa", ".fas")
_ERRORS = ("predicted_aligned_error", "-pae", "_pae")
"""In names of JSON files; other programs use JSON too."""

Layers = list[tuple[Any, dict[str, Any], str]]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], Layers] | None:
    """Give the reader for these paths, or None; looks at the names only."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_layers if paths and all(_known(item) for item in paths) else None


def read_layers(path: str | Sequence[str]) -> Layers:
    """One layer for each file: atoms or sequences as Points, aligned errors as an Image."""
    paths = [path] if isinstance(path, str) else path
    return [_read(item) for item in paths]


def _read(path: str) -> tuple[Any, dict[str, Any], str]:
    name = _plain(path)
    if name.endswith(_SEQUENCES):
        from napari_profet.layers_sequence import sequence_layer
        from napari_profet.sequence import read_fasta

        return sequence_layer(read_fasta(path), Path(path).name.split(".")[0])
    if name.endswith(".json"):
        return _errors(path)
    from napari_profet.layers import structure_layer
    from napari_profet.structure import read_structure

    return structure_layer(read_structure(path))


def _errors(path: str) -> tuple[Any, dict[str, Any], str]:
    """Aligned errors; in a viewer linked with its structures, and beside the one that they seem to be of."""
    from napari import current_viewer

    from napari_profet.layers_density import aligned_error_layer
    from napari_profet.layers_pairs import link_pairs, place_beside
    from napari_profet.pae import read_aligned_error

    data, attributes, kind = aligned_error_layer(read_aligned_error(path))
    viewer = current_viewer()
    if viewer is not None:
        there = link_pairs(viewer).structure(len(data))
        attributes |= place_beside(there[0], len(data)) if there is not None else {}
    return data, attributes, kind


def _known(path: str) -> bool:
    name = _plain(path)
    return name.endswith((*_STRUCTURES, *_SEQUENCES)) or (
        name.endswith(".json") and any(word in name for word in _ERRORS)
    )


def _plain(path: str) -> str:
    """File name in small letters, without .gz."""
    return Path(path).name.lower().removesuffix(".gz")
