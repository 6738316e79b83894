"""Simulated micrographs as a source of items: particles, and what is no particle by its kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_caked.datasets.ctf import RELION
from napari_caked.datasets.sources.particles import ParticleSource, particle_source, united_tables

if TYPE_CHECKING:
    from napari_caked.simulate import LazyMicrographs
    from napari_empiarreader.coordinates import ParticleTable

__all__ = ["simulated_source"]


def simulated_source(
    micrographs: LazyMicrographs,
    box: float,
    *,
    unit: Literal["pixel", "Å"] = "pixel",
    decoys: bool = True,
    class_name: str = "particle",
    only: Sequence[str] | None = None,
    neighbours: bool = False,
) -> ParticleSource:
    """Items from simulated micrographs; each is simulated once, when its items are read.

    Particles know the contrast transfer at their own depth, decoys that in the middle of the ice.

    Parameters
    ----------
    micrographs
        Of :func:`napari_caked.simulate.lazy_micrographs`.
    box, unit, only, neighbours
        As of :func:`.particle_source`.
    decoys
        Take what is no particle as well, with its kind as the class.
    class_name
        Of the particles.

    Raises
    ------
    DatasetError
        As :func:`.particle_source`.
    """
    tables = {class_name: micrographs.particles}
    if decoys and len(micrographs.decoys):
        seen = _with_contrast(micrographs)
        kinds = seen.features["kind"].astype(str)
        tables |= {kind: seen.where((kinds == kind).to_numpy()) for kind in sorted(set(kinds))}
    # Truth may lie beyond the edge, and a kind of decoys may be too rare for a whole box: both are no mistakes here.
    return particle_source(
        micrographs.series,
        united_tables(tables, micrographs.series.names),
        box,
        unit=unit,
        classes="class_name",
        only=only,
        neighbours=neighbours,
        permissive=True,
    )


def _with_contrast(micrographs: LazyMicrographs) -> ParticleTable:
    """What is no particle, with the defocus of its micrograph."""
    from napari_caked.simulate.micrograph import focus_of

    decoys, optics = micrographs.decoys, micrographs.settings.optics
    focus = [focus_of(micrographs.settings, index) for index in range(len(micrographs.series))]
    middle, difference, angle = (
        np.array([getattr(one, name) for one in focus])[decoys.micrograph_index]
        for name in ("defocus", "astigmatism", "angle")
    )
    columns = {
        "defocus_u": 1e4 * middle + 5e3 * difference,
        "defocus_v": 1e4 * middle - 5e3 * difference,
        "defocus_angle": angle,
        "voltage": optics.voltage,
        "spherical_aberration": optics.spherical_aberration,
        "amplitude_contrast": optics.amplitude_contrast,
        "phase_plate": optics.phase_plate,
    }
    known = {RELION[word]: values for word, values in columns.items()}
    return replace(decoys, features=decoys.features.assign(**known))
