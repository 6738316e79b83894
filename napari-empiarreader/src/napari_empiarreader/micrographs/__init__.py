"""Micrographs: many files, one lazy array."""

from napari_empiarreader.micrographs.contrast import contrast_limits
from napari_empiarreader.micrographs.locations import find_files
from napari_empiarreader.micrographs.mrc import MrcHeader, read_mrc, read_mrc_header, write_mrc
from napari_empiarreader.micrographs.series import MicrographSeries, open_micrographs

__all__ = [
    "MicrographSeries",
    "MrcHeader",
    "contrast_limits",
    "find_files",
    "open_micrographs",
    "read_mrc",
    "read_mrc_header",
    "write_mrc",
]
