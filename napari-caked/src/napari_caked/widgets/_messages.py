"""What the window and its helper process say to each other.

Nothing here needs PyTorch or Qt: both sides read these messages, and each lacks one of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_caked.settings import PickSettings, TrainingSettings
from napari_empiarreader.coordinates import ParticleTable

__all__ = [
    "Devices",
    "Done",
    "Failed",
    "Job",
    "Learned",
    "ListDevices",
    "Message",
    "Picked",
    "Prepared",
    "Read",
    "Trained",
]


@dataclass(frozen=True)
class ListDevices:
    """Asks for :class:`Devices`."""


@dataclass(frozen=True)
class Job:
    """Asks for a training and for picks on all micrographs.

    Attributes
    ----------
    names, shape, dtype, pixel_size, source
        Of the :class:`~napari_empiarreader.MicrographSeries`; its images are asked for with :class:`Read`.
    labels
        Particle centres.
    training, picking
        How.
    least_score
        Candidates below it are not sent back.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    source: str
    labels: ParticleTable
    training: TrainingSettings
    picking: PickSettings
    least_score: float


@dataclass(frozen=True)
class Devices:
    """The devices of this machine: what settings call them, and what a person does."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Read:
    """The helper wants this micrograph, as an array."""

    index: int


@dataclass(frozen=True)
class Prepared:
    """``done`` of ``total`` labelled micrographs are prepared."""

    done: int
    total: int


@dataclass(frozen=True)
class Learned:
    """Batches learned from: the ``losses`` since the last message, up to ``step`` of ``steps``."""

    step: int
    steps: int
    losses: tuple[float, ...]
    device: str


@dataclass(frozen=True)
class Trained:
    """Training is over; ``model`` is the content of a model file."""

    model: bytes
    expected_particles: float


@dataclass(frozen=True)
class Picked:
    """Picks of further micrographs; ``done`` of ``total`` are picked."""

    done: int
    total: int
    picks: ParticleTable


@dataclass(frozen=True)
class Failed:
    """The helper gives up. ``traceback`` is empty where the user can mend it."""

    message: str
    traceback: str


@dataclass(frozen=True)
class Done:
    """Nothing more will come."""


Message = Devices | Prepared | Learned | Trained | Picked
