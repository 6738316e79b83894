"""What the window and its helper process say to each other about simulated micrographs.

Nothing here needs PyTorch or Qt. A job comes first, and commands after it; messages come back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_caked.simulate.settings import SimulationSettings
from napari_empiarreader.coordinates import ParticleTable

__all__ = [
    "Advanced",
    "Laid",
    "MatchJob",
    "Matched",
    "Measured",
    "Preview",
    "PreviewJob",
    "Refused",
    "Render",
    "Rendered",
    "SaveJob",
    "Saved",
    "Seen",
    "Specimen",
    "StackJob",
]


@dataclass(frozen=True)
class Specimen:
    """A density as the user gave it.

    Attributes
    ----------
    volume
        ``(z, y, x)`` float32.
    voxel_size
        Å.
    name
        For people and for provenance.
    mass
        kDa, of a map in arbitrary units; None where it is in volts.
    """

    volume: np.ndarray
    voxel_size: float
    name: str
    mass: float | None = None


# ---- jobs and commands, from the window --------------------------------------------------------------------------


@dataclass(frozen=True)
class PreviewJob:
    """Asks for :class:`Measured`, and then for a :class:`Seen` (or :class:`Refused`) for a :class:`Preview`."""

    specimen: Specimen


@dataclass(frozen=True)
class Preview:
    """Asks for one micrograph; of several that wait, only the last is made.

    Attributes
    ----------
    ticket
        Grows from one to the next.
    settings, index
        What to make.
    """

    ticket: int
    settings: SimulationSettings
    index: int = 0


@dataclass(frozen=True)
class MatchJob:
    """Asks for settings in the likeness of micrographs, which are read from the window: for :class:`Matched`.

    Attributes
    ----------
    specimen, settings
        What is simulated.
    dose
        Electrons per Å² where the contrast is to be taken from it; None measures the contrast.
    names, shape, dtype, pixel_size, source
        Of the micrographs, as :class:`~napari_empiarreader.micrographs.MicrographSeries` has them.
    """

    specimen: Specimen
    settings: SimulationSettings
    dose: float | None
    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    source: str


@dataclass(frozen=True)
class StackJob:
    """Asks for :class:`Laid`, and then for a :class:`Rendered` for each :class:`Render`."""

    specimen: Specimen
    settings: SimulationSettings
    count: int


@dataclass(frozen=True)
class Render:
    """Asks for one micrograph of the stack."""

    index: int


@dataclass(frozen=True)
class SaveJob:
    """Asks for micrographs and truth in a folder: for :class:`Saved`; ``Stop`` makes no more."""

    specimen: Specimen
    settings: SimulationSettings
    count: int
    folder: str
    overwrite: bool


# ---- from the helper ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """The density is one; ``diameter`` in Å."""

    diameter: float


@dataclass(frozen=True)
class Advanced:
    """Something is under way; ``total`` 0 means that nobody knows how much there is to do."""

    what: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Seen:
    """The micrograph that a :class:`Preview` asked for.

    Attributes
    ----------
    ticket
        Of the request.
    image
        ``(y, x)`` float32.
    limits
        To show it with.
    particles
        ``(n, 8)`` as :class:`napari_caked.simulate.truth.Truth` has them.
    decoys
        ``(n, 4)`` likewise.
    diameter
        Of the particle, Å.
    defocus
        At the middle of the ice, µm.
    """

    ticket: int
    image: np.ndarray
    limits: tuple[float, float]
    particles: np.ndarray
    decoys: np.ndarray
    diameter: float
    defocus: float


@dataclass(frozen=True)
class Refused:
    """The micrograph that a :class:`Preview` asked for cannot be made; why."""

    ticket: int
    message: str


@dataclass(frozen=True)
class Matched:
    """Settings in the likeness of real micrographs, and in words what was measured."""

    settings: SimulationSettings
    words: str


@dataclass(frozen=True)
class Laid:
    """The truth about a stack."""

    particles: ParticleTable
    decoys: ParticleTable
    diameter: float


@dataclass(frozen=True)
class Rendered:
    """One micrograph of the stack, ``(y, x)`` float32."""

    index: int
    image: np.ndarray


@dataclass(frozen=True)
class Saved:
    """So many micrographs are written, and these files about all of them."""

    count: int
    files: tuple[str, ...]
