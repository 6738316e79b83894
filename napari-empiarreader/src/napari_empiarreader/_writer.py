"""napari writers: micrographs as MRC or OME-Zarr, particles in any coordinate format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_empiarreader.layers import LayerData

__all__ = ["write_mrc_image", "write_ome_zarr_image", "write_particle_points"]

_AXES_OF_UNNAMED = {2: ("y", "x"), 3: ("micrograph", "y", "x"), 4: ("micrograph", "frame", "y", "x")}


def write_mrc_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an Image layer as MRC, one section per micrograph, with its pixel size; one micrograph is in memory."""
    from napari_empiarreader.layers import layer_pixel_size
    from napari_empiarreader.micrographs import write_mrc

    # Of a picture with coarser levels the full one; napari's own dialog has asked about an existing file.
    image = data[0] if attributes.get("multiscale") else data
    write_mrc(path, image, layer_pixel_size(attributes), overwrite=True)
    return [path]


def write_ome_zarr_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an Image layer as OME-Zarr with coarser levels, its pixel size, names and source.

    An existing folder is never replaced: napari's dialog asks about files, but steps into folders. Axes that are not
    named down to ``y`` and ``x`` are taken for those of micrographs or movies.

    Raises
    ------
    FileExistsAlreadyError
        There is something of that name.
    FormatError
        The layer is a colour picture, or has axes that OME-Zarr cannot hold.
    MissingLibraryError
        Zarr 3 is not installed.
    """
    from napari_empiarreader.errors import FormatError
    from napari_empiarreader.layers import layer_pixel_size
    from napari_empiarreader.micrographs.ome_zarr import write_ome_zarr

    if attributes.get("rgb"):
        raise FormatError(f"{path}: the layer is a colour picture; make it grey first")
    image = data[0] if attributes.get("multiscale") else data
    labels = tuple(attributes.get("axis_labels") or ())
    metadata = attributes.get("metadata") or {}
    write_ome_zarr(
        path,
        image,
        pixel_size=layer_pixel_size(attributes),
        axis_labels=labels if labels[-2:] == ("y", "x") else _AXES_OF_UNNAMED.get(image.ndim, labels),
        names=metadata.get("micrographs") or metadata.get("volumes"),
        source=metadata.get("source"),
    )
    return [path]


def write_particle_points(path: str, layers: list[LayerData]) -> list[str]:
    """Write the points that are shown, in the format of the suffix; an Image layer beside them names the micrographs.

    Boxes, where a format has them, are as wide as the circles; sizes of micrographs come from the Image layer, or else
    from those that are open.
    """
    from napari_empiarreader._reader import open_shapes
    from napari_empiarreader.coordinates import write_particles
    from napari_empiarreader.layers import layer_pixel_size, particles_from_layer

    data, attributes = next((data, attributes) for data, attributes, kind in layers if kind == "points")
    names, shapes = None, open_shapes()
    for image, beside, kind in layers:
        if kind == "image":
            names = (beside.get("metadata") or {}).get("micrographs")
            level = image[0] if beside.get("multiscale") else image
            shapes |= dict.fromkeys(names or (), (int(level.shape[-2]), int(level.shape[-1])))
    table = particles_from_layer(data, attributes, micrographs=names)
    width = float(np.median(np.atleast_1d(attributes.get("size", 0.0))))
    written = write_particles(
        path,
        table,
        overwrite=True,
        shapes=shapes or None,
        pixel_size=layer_pixel_size(attributes),
        box_size=None if "box_width" in table.features else (2 * round(width / 2) or None),
    )
    return [str(file) for file in written]
