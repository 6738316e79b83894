"""Where the items of a data set come from: folders, particle tables, stacks, simulations, several of them."""

from napari_caked.datasets.sources.beside import Beside, Pair, PointsBeside, read_points
from napari_caked.datasets.sources.folder import FolderSource, folder_source
from napari_caked.datasets.sources.joined import JoinedSource, Subset, joined
from napari_caked.datasets.sources.particles import (
    ParticleSource,
    particle_source,
    particles_of_files,
    united_tables,
)
from napari_caked.datasets.sources.report import LeftOut, require_alike, what_is_mixed
from napari_caked.datasets.sources.simulated import simulated_source
from napari_caked.datasets.sources.stack import StackSource, stack_source

__all__ = [
    "Beside",
    "FolderSource",
    "JoinedSource",
    "LeftOut",
    "Pair",
    "ParticleSource",
    "PointsBeside",
    "StackSource",
    "Subset",
    "folder_source",
    "joined",
    "particle_source",
    "particles_of_files",
    "read_points",
    "require_alike",
    "simulated_source",
    "stack_source",
    "united_tables",
    "what_is_mixed",
]
