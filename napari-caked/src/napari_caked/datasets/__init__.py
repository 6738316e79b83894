"""Labels as maps, and crops for training."""

from napari_caked.datasets.labels import LabelMaps, label_maps
from napari_caked.datasets.sampling import CropSampler

__all__ = ["CropSampler", "LabelMaps", "label_maps"]
