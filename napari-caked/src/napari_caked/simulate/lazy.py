"""Simulated micrographs that are made when they are looked at, with the truth about all of them at once.

What lies where is drawn before anything is rendered (:func:`.micrograph.layout_of`), so that the truth of a hundred
micrographs takes seconds. An image is made when it is asked for, and kept in the cache that viewer, trainer and picker
share; made again, it is the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import SettingsError
from napari_caked.simulate.micrograph import defoci_of, layout_of, simulate_micrograph
from napari_caked.simulate.project import Bank
from napari_caked.simulate.settings import SimulationSettings
from napari_caked.simulate.truth import Truth, decoy_table, micrograph_name, particle_table
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    import dask.array

    from napari_empiarreader.coordinates import ParticleTable
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["LazyMicrographs", "lazy_micrographs", "lazy_series", "truth_tables"]


@dataclass(frozen=True)
class LazyMicrographs:
    """Micrographs to be, and what is true about them.

    Attributes
    ----------
    series
        The micrographs; reading one simulates it.
    particles
        Of all micrographs: RELION's angles (``rlnAngleRot``, ``Tilt``, ``Psi``) and defocus (``rlnDefocusU``, ``V``,
        ``Angle``; Å and degrees), ``class`` and ``diameter`` (Å).
    decoys
        What is no particle: ``class``, ``kind``, and ``radius`` in pixels.
    settings
        That describe them.
    """

    series: MicrographSeries
    particles: ParticleTable
    decoys: ParticleTable
    settings: SimulationSettings

    def to_dask(self) -> dask.array.Array:
        """Array ``(micrograph, y, x)`` float32, one chunk per micrograph; a chunk is simulated when it is computed."""
        return self.series.to_dask()


def lazy_micrographs(
    bank: Bank, settings: SimulationSettings, count: int, *, progress: Progress = silent
) -> LazyMicrographs:
    """The first ``count`` micrographs of the series that settings and seed describe.

    Parameters
    ----------
    bank, settings
        What to simulate.
    count
        Micrographs.
    progress
        Told after each micrograph whose truth is known.

    Raises
    ------
    SettingsError
        No micrograph.

    Examples
    --------
    >>> from napari_caked.simulate import SimulationSettings, ViewSettings, bank_of, lazy_micrographs, read_density
    >>> bank = bank_of(read_density("map.mrc"), ViewSettings(), 2.0)  # doctest: +SKIP
    >>> lazy = lazy_micrographs(bank, SimulationSettings(pixel_size=2.0), 100)  # doctest: +SKIP
    >>> lazy.to_dask()[7].compute().shape  # doctest: +SKIP
    (1024, 1024)
    """
    particles, decoys = truth_tables(bank, settings, count, progress=progress)
    series = lazy_series(settings, count, lambda index: simulate_micrograph(bank, settings, index).image, bank.name)
    return LazyMicrographs(series, particles, decoys, settings)


def lazy_series(
    settings: SimulationSettings, count: int, make: Callable[[int], np.ndarray], source: str
) -> MicrographSeries:
    """Series whose micrographs come from ``make``, wherever that simulates them, and are cached.

    Parameters
    ----------
    settings
        Shape, pixel size and seed.
    count
        Micrographs.
    make
        Given an index, the image ``(y, x)`` float32; called from any thread.
    source
        Name of the density.
    """
    from napari_empiarreader.micrographs import MicrographSeries
    from napari_empiarreader.micrographs.cache import shared_cache

    _require(count)
    key = uuid.uuid4()
    return MicrographSeries(
        tuple(micrograph_name(index) for index in range(count)),
        settings.scene.shape,
        np.dtype(np.float32),
        settings.pixel_size,
        lambda index: shared_cache().get((key, index), lambda: make(index)),
        f"simulated from {source} (seed {settings.seed})",
    )


def truth_tables(
    bank: Bank, settings: SimulationSettings, count: int, *, progress: Progress = silent
) -> tuple[ParticleTable, ParticleTable]:
    """Particles and decoys of the first ``count`` micrographs, as :class:`LazyMicrographs` has them.

    Raises
    ------
    SettingsError
        No micrograph.
    """
    _require(count)
    truths = []
    for index in range(count):
        truths.append(_truth(bank, settings, index))
        progress(index + 1, count, truths[-1].name)
    particles = particle_table(truths, settings)
    features = particles.features.assign(diameter=float(bank.diameter))
    return replace(particles, features=features), decoy_table(truths)


def _truth(bank: Bank, settings: SimulationSettings, index: int) -> Truth:
    """What :func:`.truth.truth_of` says of the micrograph, without boxes."""
    layout, focus = layout_of(bank, settings, index)
    heights = layout.heights[layout.seen]
    eulers = bank.eulers[layout.views[layout.seen]]
    decoys = np.array([(*decoy.centre, decoy.radius, decoy.kind) for decoy in layout.decoys]).reshape(-1, 4)
    return Truth(
        micrograph_name(index),
        np.column_stack([layout.centres[layout.seen], eulers, *defoci_of(focus, heights)]),
        decoys,
        np.empty((0, 2, 2), np.float32),
        np.empty(0, int),
    )


def _require(count: int) -> None:
    if count < 1:
        raise SettingsError(f"count: {count} micrographs cannot be simulated; give 1 or more")
