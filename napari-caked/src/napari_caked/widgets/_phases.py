"""The parts of the trainer's jobs, one after the other, as the user reads them."""

from __future__ import annotations

from napari_caked.widgets import _messages as messages

__all__ = [
    "ADAPTING",
    "LEARNING",
    "LOOKING",
    "MEASURING",
    "PICKING",
    "PREPARING",
    "REHEARSING",
    "TrainerJob",
    "phases_of",
]

TrainerJob = messages.Job | messages.GeneralJob | messages.PickJob

_STARTING = "Starting PyTorch"
MEASURING = "Measuring micrographs"
REHEARSING = "Learning from simulated micrographs"
LOOKING = "Looking at micrographs"
ADAPTING = "Adapting the picker"
PREPARING = "Preparing micrographs"
LEARNING = "Learning"
PICKING = "Picking"


def phases_of(job: TrainerJob) -> tuple[str, ...]:
    """What a job consists of."""
    match job:
        case messages.PickJob():
            return _STARTING, PICKING
        case messages.GeneralJob():
            return _STARTING, LOOKING, ADAPTING, PICKING
    simulating = (MEASURING, REHEARSING) if job.density is not None else ()
    looking = (LOOKING, ADAPTING) if job.labels is None else ()
    return _STARTING, *simulating, *looking, PREPARING, LEARNING, PICKING
