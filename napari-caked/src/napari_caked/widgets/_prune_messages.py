"""What the window of pruning and its helper process say to each other, besides what all windows do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_empiarreader.coordinates import ParticleTable

__all__ = ["PruneJob", "Verdicts"]

CUTTING, LEARNING, JUDGING = "Cutting patches", "Learning from marks", "Judging picks"
"""The parts of a job, as the user reads them."""


@dataclass(frozen=True)
class PruneJob:
    """Asks for a verdict on each pick.

    Attributes
    ----------
    names, shape, dtype, pixel_size, source
        Of the micrographs, as in :class:`._messages.Job`; they are asked for only where there are no patches yet.
    picks
        Counted into ``names``.
    particle_diameter
        Å.
    folder
        Where the patches of these picks are, or shall be.
    device
        As settings call it.
    good, bad
        ``(k,)`` int: picks to learn from first; None learns nothing.
    pruner
        Content of a file to begin with; None means the pruner that is shipped.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    source: str
    picks: ParticleTable
    particle_diameter: float
    folder: str
    device: str = "auto"
    good: np.ndarray | None = None
    bad: np.ndarray | None = None
    pruner: bytes | None = None


@dataclass(frozen=True)
class Verdicts:
    """What each pick is.

    Attributes
    ----------
    table
        The picks with the features of :func:`napari_caked.pruning.classify.prune`.
    pruner
        Content of the file of the pruner that says so.
    """

    table: ParticleTable
    pruner: bytes
