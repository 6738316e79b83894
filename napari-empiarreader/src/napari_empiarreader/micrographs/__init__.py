"""Micrographs: many files, one lazy array."""

from napari_empiarreader.micrographs.contrast import contrast_limits
from napari_empiarreader.micrographs.formats import EerSettings, open_image
from napari_empiarreader.micrographs.image import ImageFile, ImageInfo
from napari_empiarreader.micrographs.locations import find_files
from napari_empiarreader.micrographs.movies import MovieSeries
from napari_empiarreader.micrographs.mrc import MrcHeader, read_mrc, read_mrc_header, write_mrc
from napari_empiarreader.micrographs.opening import OpenedImages, open_images
from napari_empiarreader.micrographs.series import MicrographSeries, open_micrographs

__all__ = [
    "EerSettings",
    "ImageFile",
    "ImageInfo",
    "MicrographSeries",
    "MovieSeries",
    "MrcHeader",
    "OpenedImages",
    "contrast_limits",
    "find_files",
    "open_image",
    "open_images",
    "open_micrographs",
    "read_mrc",
    "read_mrc_header",
    "write_mrc",
]
