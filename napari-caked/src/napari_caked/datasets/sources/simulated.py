"""Simulated micrographs as a source of items: particles, and what is no particle by its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from napari_caked.datasets.sources.particles import ParticleSource, particle_source, united_tables

if TYPE_CHECKING:
    from napari_caked.simulate import LazyMicrographs

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
        kinds = micrographs.decoys.features["kind"].astype(str)
        tables |= {kind: micrographs.decoys.where((kinds == kind).to_numpy()) for kind in sorted(set(kinds))}
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
