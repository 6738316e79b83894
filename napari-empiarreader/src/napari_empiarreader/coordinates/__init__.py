"""Particle coordinates: one table inside, every format's own frame converted at its door."""

from napari_empiarreader.coordinates._star_text import read_blocks
from napari_empiarreader.coordinates.cryosparc import read_cryosparc_fields
from napari_empiarreader.coordinates.files import read_particles, write_particles
from napari_empiarreader.coordinates.formats import (
    FORMATS,
    SUFFIXES,
    CoordinateFormat,
    detect_format,
    format_named,
    lost_in,
)
from napari_empiarreader.coordinates.names import match_names
from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.star import read_star, write_star
from napari_empiarreader.coordinates.table import ParticleTable

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "CoordinateFormat",
    "CoordinateOptions",
    "ParticleTable",
    "detect_format",
    "format_named",
    "lost_in",
    "match_names",
    "read_blocks",
    "read_cryosparc_fields",
    "read_particles",
    "read_star",
    "write_particles",
    "write_star",
]
