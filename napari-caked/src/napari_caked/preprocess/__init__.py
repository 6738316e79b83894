"""From a micrograph as recorded to a small, flat, normalised image in which a particle is always equally wide."""

from napari_caked.preprocess.normalize import flatten_background, normalize
from napari_caked.preprocess.rescale import Rescaling, rescale
from napari_caked.preprocess.store import WorkingStore
from napari_caked.preprocess.working import PreprocessSettings, WorkingImage, prepare

__all__ = [
    "PreprocessSettings",
    "Rescaling",
    "WorkingImage",
    "WorkingStore",
    "flatten_background",
    "normalize",
    "prepare",
    "rescale",
]
