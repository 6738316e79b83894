"""Particle coordinates: one table inside, every format's own frame converted at its door."""

from napari_empiarreader.coordinates.files import read_particles, write_particles
from napari_empiarreader.coordinates.star import read_star, write_star
from napari_empiarreader.coordinates.table import ParticleTable, match_names

__all__ = ["ParticleTable", "match_names", "read_particles", "read_star", "write_particles", "write_star"]
