"""Where the items of a data set come from: folders, particle tables, stacks, layers, and several of them together."""

from napari_caked.datasets.sources.beside import Beside, Pair, PointsBeside, read_points
from napari_caked.datasets.sources.folder import FolderSource, folder_source
from napari_caked.datasets.sources.report import LeftOut, require_alike, what_is_mixed

__all__ = [
    "Beside",
    "FolderSource",
    "LeftOut",
    "Pair",
    "PointsBeside",
    "folder_source",
    "read_points",
    "require_alike",
    "what_is_mixed",
]
