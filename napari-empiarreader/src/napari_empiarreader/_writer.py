"""napari writers: micrographs as MRC, particles as STAR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_empiarreader.layers import LayerData

__all__ = ["write_mrc_image", "write_star_points"]


def write_mrc_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an Image layer as MRC, one section per micrograph, with its pixel size; one micrograph is in memory."""
    from napari_empiarreader.layers import layer_pixel_size
    from napari_empiarreader.micrographs import write_mrc

    # Of a picture with coarser levels the full one; napari's own dialog has asked about an existing file.
    image = data[0] if attributes.get("multiscale") else data
    write_mrc(path, image, layer_pixel_size(attributes), overwrite=True)
    return [path]


def write_star_points(path: str, layers: list[LayerData]) -> list[str]:
    """Write the points that are shown as STAR; an Image layer beside them names the micrographs."""
    from napari_empiarreader.coordinates import write_star
    from napari_empiarreader.layers import particles_from_layer

    points = next((data, attributes) for data, attributes, kind in layers if kind == "points")
    names = None
    for _, attributes, kind in layers:
        if kind == "image":
            names = (attributes.get("metadata") or {}).get("micrographs")
    write_star(path, particles_from_layer(*points, micrographs=names), overwrite=True)
    return [path]
