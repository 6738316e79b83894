"""What the window of pruning and its helper process say to each other, besides what all windows do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_empiarreader.coordinates import ParticleTable

__all__ = ["JunkFound", "JunkJob", "PruneJob", "Verdicts"]

LOOKING, CUTTING, TRAINING, ASKING = "Looking around", "Cutting patches", "Training a picker", "Asking the picker"
LEARNING, JUDGING, MAPPING = "Learning from marks", "Judging picks", "Mapping junk"
"""The parts of a job, as the user reads them."""


@dataclass(frozen=True)
class PruneJob:
    """Asks for a verdict on each pick.

    Attributes
    ----------
    names, shape, dtype, pixel_size, source
        Of the micrographs, as in :class:`._messages.Job`;
        they are asked for only where there are no patches yet, and for pickers that are trained.
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
    train_picker
        Whether pickers are trained on them, too, and asked.
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
    train_picker: bool = True
    pruner: bytes | None = None


@dataclass(frozen=True)
class JunkJob:
    """Asks for the junk of each micrograph, and which picks lie on some.

    Attributes
    ----------
    names, shape, dtype, pixel_size, source, picks, particle_diameter, device, pruner
        As in :class:`PruneJob`.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    source: str
    picks: ParticleTable
    particle_diameter: float
    device: str = "auto"
    pruner: bytes | None = None


@dataclass(frozen=True)
class JunkFound:
    """The junk of one micrograph.

    Attributes
    ----------
    index, total
        Which micrograph, of how many.
    probability, spacing, origin
        As in :class:`napari_caked.pruning.junk.JunkMap`.
    rows, junk
        ``(m,)`` int and float32: its picks, and how likely each lies on junk.
    """

    index: int
    total: int
    probability: np.ndarray
    spacing: float
    origin: float
    rows: np.ndarray
    junk: np.ndarray


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
