"""A picker for a specimen of which there is a density and there are micrographs, but not a single label.

Way of the data: the general picker counts the particles on some of the micrographs; micrographs of the density are
simulated in their likeness, about as crowded; the default network, starting from the general weights, learns from the
simulated truth. What comes out (:func:`simulated_picker`) knows the specimen, but no real picture; so its surest picks
on the real micrographs stand for clicks, and a training as any other ends it (:mod:`napari_caked.zero_clicks`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_caked.checkpoint import PickerModel
from napari_caked.datasets.checks import LABELLED_BY, LabelledBy
from napari_caked.errors import SettingsError
from napari_caked.general import general_picker
from napari_caked.models import MatchedFilterNetwork
from napari_caked.picking import judge, prepare_alone
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.simulate.lazy import lazy_micrographs
from napari_caked.simulate.like import in_the_likeness_of, likeness_of, matched
from napari_caked.simulate.project import Density, bank_of
from napari_caked.simulate.settings import DecoySettings, SimulationSettings
from napari_caked.training import train
from napari_caked.zero_clicks import LOOKED_AT, NamedImage, adapted, some_of
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = ["SIMULATED", "simulated_picker", "size_in_words"]

_log = logging.getLogger(__name__)

#: Micrographs that are simulated, and batches that are learned from them.
SIMULATED, _STEPS = 6, 300
#: Particles a simulated micrograph holds at least, so that there is something to learn from.
_FEWEST = 20
#: A density that is wider or narrower than the particle is said to be by more than this factor is worth a warning.
_DIFFERS = 1.4
#: As much of what is no particle as a micrograph may well hold.
_DECOYS = DecoySettings(aggregates=1, ice_lumps=2)


def simulated_picker(
    density: Density,
    series: MicrographSeries,
    settings: TrainingSettings,
    *,
    simulation: SimulationSettings = SimulationSettings(decoys=_DECOYS),
    dose: float | None = None,
    count: int = SIMULATED,
    progress: Progress = silent,
    learning: Progress | None = None,
) -> PickerModel:
    """Train on simulated micrographs of a density in the likeness of real ones.

    Parameters
    ----------
    density
        Of the particle, in volts over ice.
    series
        Real micrographs with a pixel size; about eight of them are measured, none is learned from.
    settings
        Diameter, device and seed.
    simulation
        What is not measured: views, microscope, decoys.
    dose
        e/Å²; sets the contrast. None measures it.
    count
        Micrographs to simulate.
    progress
        Told what happens.
    learning
        Told how far the learning is, in place of ``progress``.

    Raises
    ------
    SettingsError
        The contrast cannot be measured: say the dose. Or the settings name another network than the default.
    PixelSizeError, DiameterError, MicrographError
        What the micrographs lack.
    """
    if settings.network != MatchedFilterNetwork.name:
        raise SettingsError(
            f"the network {settings.network} cannot learn from simulated micrographs first; leave it out, or use "
            f"{MatchedFilterNetwork.name}"
        )
    diameter = settings.particle_diameter
    images = list(some_of(series, LOOKED_AT, progress))
    crowd = _particles(diameter, images, settings.device)
    likeness = likeness_of(series, diameter, simulation.optics, progress=progress)
    wanted = replace(
        simulation,
        diameter=diameter,
        seed=settings.seed + 1,
        scene=replace(simulation.scene, particles=crowd, spacing=0.8),
    )
    wanted = in_the_likeness_of(likeness, wanted)
    bank = bank_of(density, wanted.views, wanted.pixel_size, seed=wanted.seed, diameter=diameter)
    simulated = lazy_micrographs(bank, matched(bank, wanted, likeness, dose=dose), count)
    _log.info("%d particles on each of %d simulated micrographs", crowd, count)
    # All particles are labelled: there is nothing to review.
    steps = min(_STEPS, settings.all_steps)
    lessons = replace(settings, steps=steps, reviews=0, hold_out=0, patience=None, time_budget=None)
    labels = replace(simulated.particles, metadata={LABELLED_BY: LabelledBy.SIMULATION.value})
    return train(simulated.series, labels, lessons, progress=learning or progress)


def size_in_words(density: Density, particle_diameter: float) -> str | None:
    """A warning that a density is not as wide as the particle is said to be, or None; diameters in Å."""
    if 1 / _DIFFERS < density.diameter / particle_diameter < _DIFFERS:
        return None
    return (
        f"{density.name} is about {density.diameter:.0f} Å wide, but the diameter says {particle_diameter:g} Å: check "
        "its voxel size and the diameter"
    )


def _particles(diameter: float, images: Sequence[NamedImage], device: str) -> int:
    """Particles on a micrograph, as the general picker counts them."""
    picker = adapted(general_picker(diameter), images, device=device)
    everything = PickSettings(threshold=0.0)
    counts = []
    for name, values, pixel_size in images:
        found = judge(picker, prepare_alone(values, name, pixel_size, picker), everything)
        counts.append(float(np.sum(1 / (1 + np.exp(-found.logits)))))
    return max(round(float(np.mean(counts))), _FEWEST)
