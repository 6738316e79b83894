"""Qt widgets: thin, no science."""

from napari_profet.widgets.fetch import StructureFetcher

__all__ = ["StructureFetcher"]
