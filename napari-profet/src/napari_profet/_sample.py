"""File > Open Sample: a structure made on the spot, with nothing to fetch."""

from __future__ import annotations

from typing import Any

__all__ = ["helix_bundle_layer"]


def helix_bundle_layer() -> list[tuple[Any, dict[str, Any], str]]:
    """Three ideal helices, each chain in its colour."""
    from napari_profet.helix import helix_bundle
    from napari_profet.layers import ColourBy, structure_layer

    return [structure_layer(helix_bundle(), ColourBy.CHAIN)]
