"""What takes the place of labels where there are none. Runs in the helper; knows no Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import LabelsError
from napari_caked.widgets import _messages as messages
from napari_caked.widgets import _phases as phases
from napari_caked.widgets._messages import Job
from napari_caked.widgets._sim_messages import Advanced
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress

if TYPE_CHECKING:
    from napari_caked.checkpoint import PickerModel
    from napari_caked.widgets._inbox import Inbox
    from napari_caked.zero_clicks import NamedImage

__all__ = ["adapted_to", "own_labels", "simulated_first"]

Say = Callable[[object], None]


def adapted_to(
    series: MicrographSeries, particle_diameter: float, device: str, say: Say
) -> tuple[PickerModel, int, bool]:
    """The general picker for particles of so many Å, adapted to some micrographs of a series.

    Returns
    -------
    model, looked_at, changed
        The picker, of how many micrographs, and whether enough was found on them to change it.
    """
    from napari_caked.general import general_picker
    from napari_caked.zero_clicks import adapted

    general = general_picker(particle_diameter)
    images = _looked_at(series, say)
    model = adapted(general, images, device=device)
    # Where too little is found, the network that comes back is the one that went in.
    return model, len(images), model.network is not general.network


def simulated_first(series: MicrographSeries, job: Job, inbox: Inbox) -> PickerModel | None:
    """A picker that has learned from micrographs simulated of the job's density; None where it has none.

    Raises
    ------
    SettingsError
        The density is none, or nobody can tell the contrast.
    EOFError
        The window is gone: there is nothing to keep yet.
    """
    if job.density is None:
        return None
    from napari_caked.simulated_training import simulated_picker, size_in_words
    from napari_caked.widgets._sim_answers import density_of

    def told(phase: str) -> Progress:
        def progress(done: int, total: int, message: str = "") -> None:
            inbox.say(Advanced(phase, done, total))
            while inbox.paused:
                inbox.wait(0.2)
            if inbox.alone:
                raise EOFError("the window is gone")

        return progress

    density, wanted = density_of(job.density), job.training
    if oddity := size_in_words(density, wanted.particle_diameter):
        inbox.say(messages.Warned(oddity))
    return simulated_picker(
        density, series, wanted, dose=job.dose, progress=told(phases.MEASURING), learning=told(phases.REHEARSING)
    )


def own_labels(series: MicrographSeries, job: Job, say: Say, prior: PickerModel | None = None) -> ParticleTable:
    """The surest picks of a picker, none of them where the user has said that there is no particle.

    Parameters
    ----------
    series, job, say
        What is picked, and who is told.
    prior
        Whose picks; the general picker's where there is none.

    Raises
    ------
    LabelsError
        There are too few to learn from.
    """
    from napari_caked.general import general_picker
    from napari_caked.zero_clicks import adapted, sure_picks

    images, device = _looked_at(series, say), job.training.device
    model = adapted(prior or general_picker(job.training.particle_diameter), images, device=device)
    sure = sure_picks(model, series, images, device=device)
    radius = job.training.particle_diameter / series.require_pixel_size() / 2
    labels = sure.where(~_denied(sure, job.negatives, radius))
    if not len(labels):
        raise LabelsError(
            f"you have rejected all of the {len(sure)} surest picks, so there is nothing to learn from; label ten "
            "particles by clicking, then press 'Train'"
        )
    say(messages.OwnLabels(len(labels), len(images)))
    return labels


def _looked_at(series: MicrographSeries, say: Say) -> list[NamedImage]:
    from napari_caked.zero_clicks import some_of

    def progress(done: int, total: int, message: str = "") -> None:
        say(messages.Looked(done, total))

    return list(some_of(series, progress=progress))


def _denied(picks: ParticleTable, negatives: ParticleTable | None, radius: float) -> np.ndarray:
    """``(n,)`` bool: which picks lie within ``radius`` pixels of what is no particle, or on an empty micrograph."""
    if negatives is None:
        return np.zeros(len(picks), bool)
    empty = set(negatives.metadata.get("empty_micrographs", ()))
    denied = np.array([picks.micrographs[int(row[0])] in empty for row in picks.coordinates], bool)
    for index, *place in negatives.coordinates:
        near = np.linalg.norm(picks.coordinates[:, 1:] - place, axis=1) <= radius
        denied |= near & (picks.coordinates[:, 0] == index)
    return denied
