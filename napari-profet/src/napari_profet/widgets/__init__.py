"""Qt widgets: thin, no science."""

from napari_profet.widgets.structure import StructureToDensity

__all__ = ["StructureToDensity"]
