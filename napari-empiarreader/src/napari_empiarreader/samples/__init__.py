"""Sample data made by the project itself: simulated micrographs, and an archive entry of them."""

from napari_empiarreader.samples.entry import SAMPLE_ENTRY, make_sample_entry, sample_folder, sample_series
from napari_empiarreader.samples.simulate import SimulationSettings, simulate_micrograph

__all__ = [
    "SAMPLE_ENTRY",
    "SimulationSettings",
    "make_sample_entry",
    "sample_folder",
    "sample_series",
    "simulate_micrograph",
]
