"""From one file of the archive to two small pictures; for a worker thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_empiarreader.archive import Item, RemoteFile

__all__ = ["FilePreview", "can_be_previewed", "preview_file"]

_SIDE = 320


@dataclass(frozen=True)
class FilePreview:
    """A file in small.

    Attributes
    ----------
    thumbnail, spectrum
        ``(y, x)`` uint8.
    words
        Size, frames and pixel size.
    """

    thumbnail: np.ndarray
    spectrum: np.ndarray
    words: str


def can_be_previewed(item: Item) -> bool:
    """Whether the name is that of an image that can be read."""
    from napari_empiarreader.micrographs.formats import IMAGE_SUFFIXES

    return not item.is_folder and item.name.lower().endswith(IMAGE_SUFFIXES)


def preview_file(file: RemoteFile) -> FilePreview:
    """Read one section of a file, of a movie the first frame."""
    from napari_empiarreader.micrographs.formats import open_image
    from napari_empiarreader.micrographs.pictures import first_look
    from napari_empiarreader.micrographs.preview import as_grey, power_spectrum, thumbnail

    opened = open_image(file)
    image, info = first_look(opened, frames=1), opened.info
    sections = f"{info.shape[0]} {'frames' if info.sections == 'frames' else 'sections'}, " if info.shape[0] > 1 else ""
    size = f", {info.pixel_size:.4g} Å/px" if info.pixel_size else ""
    words = f"{sections}{info.shape[2]} × {info.shape[1]} px{size}"
    return FilePreview(thumbnail(image, _SIDE), as_grey(power_spectrum(image, _SIDE)), words)
