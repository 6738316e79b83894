"""What the window and its helper process say to each other.

Nothing here needs PyTorch or Qt: both sides read these messages, and each lacks one of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_caked.settings import PickSettings, PreprocessSettings, TrainingSettings
from napari_caked.widgets._prune_messages import JunkFound, Verdicts
from napari_caked.widgets._sim_messages import Advanced, Specimen
from napari_empiarreader.coordinates import ParticleTable

__all__ = [
    "Adapted",
    "Command",
    "Devices",
    "Done",
    "Failed",
    "GeneralJob",
    "Job",
    "Kept",
    "Learned",
    "ListDevices",
    "Look",
    "Looked",
    "Memory",
    "Message",
    "OpenPicker",
    "Opened",
    "OwnLabels",
    "Pause",
    "PickJob",
    "Picked",
    "Prepared",
    "Previewed",
    "Read",
    "Resume",
    "ScorePlane",
    "Stop",
    "Trained",
    "Validated",
    "Warned",
]


# ---- from the window ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListDevices:
    """Asks for :class:`Devices`."""


@dataclass(frozen=True)
class OpenPicker:
    """Asks for the picker in the file ``path``: for :class:`Opened`."""

    path: str


@dataclass(frozen=True)
class Look:
    """Asks to be shown how one micrograph is picked while the picker learns; holds until the next one.

    Attributes
    ----------
    index
        Of the micrograph; None asks for nothing.
    with_scores
        Whether its score map is wanted too.
    """

    index: int | None
    with_scores: bool = False


@dataclass(frozen=True)
class Pause:
    """Asks to learn nothing until :class:`Resume`."""


@dataclass(frozen=True)
class Resume:
    """Asks to learn on."""


@dataclass(frozen=True)
class Stop:
    """Asks to learn no more, keep the best so far, and pick with it."""


@dataclass(frozen=True)
class Job:
    """Asks for a training and for picks on all micrographs.

    Attributes
    ----------
    names, shape, dtype, pixel_size, source
        Of the :class:`~napari_empiarreader.MicrographSeries`; its images are asked for with :class:`Read`.
    labels
        Particle centres; None takes the surest picks of the general picker in their place.
    training, picking
        How.
    least_score
        Candidates below it are not sent back.
    negatives
        What is no particle, and in ``metadata["empty_micrographs"]`` the names of micrographs without any.
    start
        Content of a model file to improve; None begins anew.
    look
        What to show at first.
    keep
        File for the best picker so far, while it learns and at the end; None keeps none.
    density, dose
        Without labels: of which micrographs are simulated to learn from first; and electrons per Å² to take the
        contrast from, or None to measure it.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    source: str
    labels: ParticleTable | None
    training: TrainingSettings
    picking: PickSettings
    least_score: float
    negatives: ParticleTable | None = None
    start: bytes | None = None
    look: Look = Look(None)
    keep: str | None = None
    density: Specimen | None = None
    dose: float | None = None


@dataclass(frozen=True)
class PickJob:
    """Asks for picks on all micrographs, by a picker that there is.

    Attributes
    ----------
    names, shape, dtype, pixel_size, source
        As in :class:`Job`.
    model
        Content of a model file.
    picking
        How.
    least_score
        Candidates below it are not sent back.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    source: str
    model: bytes
    picking: PickSettings
    least_score: float


@dataclass(frozen=True)
class GeneralJob:
    """Asks the general picker to adapt itself to some of the micrographs, and for picks on all of them.

    Attributes
    ----------
    names, shape, dtype, pixel_size, source
        As in :class:`Job`.
    particle_diameter
        Å.
    picking, least_score, look
        As in :class:`Job`; what is looked at is picked before its turn.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    source: str
    particle_diameter: float
    picking: PickSettings
    least_score: float
    look: Look = Look(None)


Command = Look | Pause | Resume | Stop


# ---- from the helper ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Devices:
    """The devices of this machine: what settings call them, and what a person does."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Opened:
    """A picker from a file.

    Attributes
    ----------
    model
        Content of the file, which is sound.
    particle_diameter
        Å.
    network, preprocess
        What a training must have in common with the picker to improve it.
    """

    model: bytes
    particle_diameter: float
    network: str
    preprocess: PreprocessSettings


@dataclass(frozen=True)
class Read:
    """The helper wants this micrograph, as an array."""

    index: int


@dataclass(frozen=True)
class Looked:
    """``done`` of ``total`` micrographs were read that the general picker adapts itself to."""

    done: int
    total: int


@dataclass(frozen=True)
class Adapted:
    """The general picker has seen ``looked_at`` micrographs.

    Attributes
    ----------
    model
        Content of a model file.
    network, preprocess
        As in :class:`Opened`.
    looked_at
        Micrographs.
    changed
        Whether enough was found on them to learn the particle's template; else the picker is as it was.
    """

    model: bytes
    network: str
    preprocess: PreprocessSettings
    looked_at: int
    changed: bool


@dataclass(frozen=True)
class OwnLabels:
    """There are no labels: ``count`` picks of the general picker on ``looked_at`` micrographs take their place."""

    count: int
    looked_at: int


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
class Validated:
    """How good the picker of ``step`` is on labels that it does not learn from; ``best``: better than all before."""

    step: int
    average_precision: float
    best: bool


@dataclass(frozen=True)
class ScorePlane:
    """Scores of one micrograph on a grid.

    Attributes
    ----------
    scores
        ``(y, x)`` float16 probabilities.
    spacing
        Pixels of the micrograph from one element to the next, on ``(y, x)``; the first lies at pixel 0.
    """

    scores: np.ndarray
    spacing: tuple[float, float]


@dataclass(frozen=True)
class Previewed:
    """What the picker of ``step`` makes of the micrograph in view: its picks, and its scores if they were wanted."""

    step: int
    index: int
    picks: ParticleTable
    scores: ScorePlane | None


@dataclass(frozen=True)
class Warned:
    """Something is odd about the data, in words."""

    message: str


@dataclass(frozen=True)
class Memory:
    """Bytes that the helper holds: in main memory, and on the device where that is another one."""

    resident: int
    device: int | None


@dataclass(frozen=True)
class Kept:
    """The best picker so far is in the file ``path``: that of ``step``, or with None that of the whole training."""

    path: str
    step: int | None


@dataclass(frozen=True)
class Trained:
    """Training is over; ``model`` is the content of a model file."""

    model: bytes
    expected_particles: float


@dataclass(frozen=True)
class Picked:
    """Picks of further micrographs; ``done`` of ``total`` are picked, on ``device`` in words."""

    done: int
    total: int
    picks: ParticleTable
    device: str = ""


@dataclass(frozen=True)
class Failed:
    """The helper gives up. ``traceback`` is empty where the user can mend it."""

    message: str
    traceback: str


@dataclass(frozen=True)
class Done:
    """Nothing more will come."""


Message = (
    Advanced
    | Devices
    | Opened
    | Looked
    | Adapted
    | OwnLabels
    | Prepared
    | Learned
    | Validated
    | Previewed
    | Warned
    | Memory
    | Kept
    | Trained
    | Picked
    | Verdicts
    | JunkFound
)
