"""Simulated micrographs with their truth: from a density to images, STAR file, masks and particle stack.

Importing this package is cheap: PyTorch is loaded when something is simulated.
"""

from napari_caked.simulate.lazy import LazyMicrographs, lazy_micrographs
from napari_caked.simulate.like import Likeness, in_the_likeness_of, likeness_of, matched
from napari_caked.simulate.micrograph import SimulatedMicrograph, simulate, simulate_micrograph
from napari_caked.simulate.project import Bank, Density, bank_of, read_density, scaled_to_volts
from napari_caked.simulate.settings import (
    CameraSettings,
    DecoySettings,
    OpticsSettings,
    SceneSettings,
    SimulationSettings,
    ViewSettings,
)

__all__ = [
    "Bank",
    "CameraSettings",
    "DecoySettings",
    "Density",
    "LazyMicrographs",
    "Likeness",
    "OpticsSettings",
    "SceneSettings",
    "SimulatedMicrograph",
    "SimulationSettings",
    "ViewSettings",
    "bank_of",
    "in_the_likeness_of",
    "lazy_micrographs",
    "likeness_of",
    "matched",
    "read_density",
    "scaled_to_volts",
    "simulate",
    "simulate_micrograph",
]
