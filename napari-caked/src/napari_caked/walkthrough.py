"""The main job from end to end: archive entry, lazy micrographs, a few labels, training, picks, score.

It uses nothing but the public functions of the packages, as a script of a user's own would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import DiameterError, LabelsError
from napari_caked.settings import PickSettings, TrainingSettings
from napari_empiarreader.archive import Archive, Entry
from napari_empiarreader.coordinates import ParticleTable, read_particles, write_particles
from napari_empiarreader.errors import NothingFoundError
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs import MicrographSeries, find_files, open_micrographs
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_caked.checkpoint import PickerModel
    from napari_caked.evaluation import Evaluation

__all__ = ["Job", "JobResult", "report", "run", "served_sample"]


@dataclass(frozen=True)
class Job:
    """What to do.

    Attributes
    ----------
    entry
        Number in the archive.
    particle_diameter
        Å.
    pixel_size
        Å; None takes that of the header, else that of the entry.
    labels
        STAR file of particles: a local path, or an address in the archive. None looks for one in the entry.
    folder
        Folder of the micrographs inside the entry; None takes that of its first image set of micrographs.
    limit
        Micrographs to use, the first ones that have particles. Half are for training, half for scoring.
    clicks
        Particles that are drawn from the training half as if somebody had clicked on them.
    seed
        For the draw and the training.
    steps
        Batches to learn from; None takes the default of the training.
    device
        Where to compute.
    """

    entry: int
    particle_diameter: float | None
    pixel_size: float | None = None
    labels: str | None = None
    folder: str | None = None
    limit: int = 6
    clicks: int = 10
    seed: int = 0
    steps: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class JobResult:
    """What came of it.

    Attributes
    ----------
    job, entry
        What was asked for, and the entry's metadata.
    series
        All micrographs that were used.
    labels
        The few that were trained from.
    truth
        All particles of the entry on ``series``.
    model
        The trained picker.
    picks
        Every candidate on every micrograph of ``series``.
    held_out
        Names of the micrographs that were not trained on.
    evaluation
        Picks against truth on ``held_out``, match radius half a diameter.
    losses
        Of each training step.
    seconds
        Of opening, training, picking.
    files_read, bytes_read
        From the archive.
    """

    job: Job
    entry: Entry
    series: MicrographSeries
    labels: ParticleTable
    truth: ParticleTable
    model: PickerModel
    picks: ParticleTable
    held_out: tuple[str, ...]
    evaluation: Evaluation
    losses: tuple[float, ...]
    seconds: dict[str, float]
    files_read: int
    bytes_read: int

    def table(self) -> str:
        """The result as a table for people."""
        score, labelled = self.evaluation, len(np.unique(self.labels.micrograph_index))
        rows = [
            ("entry", f"EMPIAR-{self.entry.number}  {self.entry.title}"),
            ("micrographs", f"{len(self.series)} of {self.series.shape[1]} x {self.series.shape[0]} pixels"),
            ("read lazily", f"{self.files_read} files, {self.bytes_read / 1e6:.1f} MB"),
            ("trained from", f"{len(self.labels)} labels on {labelled} micrographs"),
            ("device", str(self.model.provenance["device"])),
            ("seconds", "  ".join(f"{what} {spent:.1f}" for what, spent in self.seconds.items())),
            ("scored on", f"{len(self.held_out)} other micrographs, {score.labels} particles"),
            ("picks", f"{score.picks} of {score.candidates} candidates, at p >= {score.threshold}"),
            ("precision", f"{score.precision:.3f}"),
            ("recall", f"{score.recall:.3f}"),
            ("F1", f"{score.f1:.3f}   (best {score.best_f1:.3f} at p >= {score.best_threshold:.2f})"),
            ("avg. precision", f"{score.average_precision:.3f}"),
        ]
        return "\n".join(f"{name:<16} {value}" for name, value in rows)


@contextmanager
def served_sample(progress: Progress = silent) -> Iterator[tuple[int, Archive, float]]:
    """Serve the built-in entry from this machine, making its files on first use.

    Yields
    ------
    entry : int
        Its number.
    archive : Archive
        Where it is served.
    particle_diameter : float
        Å.
    """
    from napari_empiarreader.archive.server import LoopbackArchive
    from napari_empiarreader.samples import SAMPLE_ENTRY, SimulationSettings, make_sample_entry, sample_folder

    root = make_sample_entry(sample_folder(), progress=progress)
    with LoopbackArchive(root) as server:
        yield SAMPLE_ENTRY, server.archive, SimulationSettings().particle_diameter


def run(job: Job, archive: Archive | None = None, *, progress: Progress = silent) -> JobResult:
    """Do the job.

    Parameters
    ----------
    job
        What to do.
    archive
        Where the entry is; the archive of the environment variables by default.
    progress
        Told of every step.

    Raises
    ------
    ArchiveError, NothingFoundError
        The entry cannot be read, or has no micrographs where they were looked for.
    LabelsError, DiameterError
        The entry has no table of particles to train from and score against, or nobody said the diameter.
    """
    from napari_caked.checkpoint import PickerModel
    from napari_caked.evaluation import evaluate
    from napari_caked.picking import pick
    from napari_caked.training import Finished, Prepared, Step, training_events

    archive = archive or Archive()
    if job.particle_diameter is None:
        raise DiameterError("the diameter of the particles is not known; give it in Å (--diameter)")
    clock = [time.monotonic()]
    entry = archive.entry(job.entry)
    known = _particles_of(entry, job, archive)
    files = _micrographs_of(entry, job, archive, known)
    series = open_micrographs(files, pixel_size=job.pixel_size)
    if series.pixel_size is None:
        series = series.with_pixel_size(next((s.pixel_size for s in entry.imagesets if s.pixel_size), None))
    truth = known.only_on(series.names)
    half = (len(series) + 1) // 2
    labels = _clicks(truth.where(truth.micrograph_index < half), job)
    clock.append(time.monotonic())

    losses, model = [], None
    settings = TrainingSettings(job.particle_diameter, steps=job.steps, seed=job.seed, device=job.device)
    for event in training_events(series, labels, settings):
        if isinstance(event, Prepared):
            progress(event.done, event.total, event.message)
        elif isinstance(event, Step):
            losses.append(event.loss)
            progress(event.step, event.steps, f"training on {event.device}, loss {event.loss:.3f}")
        elif isinstance(event, Finished):
            model = event.model
    assert isinstance(model, PickerModel)  # nobody else can have cancelled it
    clock.append(time.monotonic())
    picks = pick(series, model, PickSettings(threshold=0, device=job.device), progress=progress)
    clock.append(time.monotonic())

    held_out = series.names[half:]
    radius = job.particle_diameter / 2 / series.require_pixel_size()
    return JobResult(
        job=job,
        entry=entry,
        series=series,
        labels=labels,
        truth=truth,
        model=model,
        picks=picks,
        held_out=held_out,
        evaluation=evaluate(picks, truth.only_on(held_out), radius=radius, shape=series.shape),
        losses=tuple(losses),
        seconds=dict(zip(("open", "train", "pick"), np.diff(clock), strict=True)),
        files_read=sum(1 for file in files if file.bytes_read),
        bytes_read=sum(file.bytes_read for file in files),
    )


def report(result: JobResult, folder: Path) -> dict[str, Path]:
    """Write picks, model and pictures into ``folder``, replacing those of an earlier run; returns what is where."""
    from napari_caked.checkpoint import save_model
    from napari_caked.figures import draw_picks, draw_training

    files = {
        "picks": folder / "picks.star",
        "model": folder / "model.safetensors",
        "picture": folder / "picks.png",
        "training curve": folder / "training.png",
    }
    folder.mkdir(parents=True, exist_ok=True)
    threshold = PickSettings().threshold
    above = result.picks.where(result.picks.features["score"].to_numpy() >= threshold)
    write_particles(files["picks"], above, overwrite=True)
    save_model(files["model"], result.model, overwrite=True)
    shown = result.series.names.index(result.held_out[0])
    draw_picks(files["picture"], result.series, shown, above, result.truth, result.model.particle_diameter)
    draw_training(files["training curve"], result.losses, result.evaluation)
    return files


class _Counted:
    """A file that counts what is read from it."""

    def __init__(self, file: ByteSource) -> None:
        self._file, self.uri, self.name, self.bytes_read = file, file.uri, file.name, 0

    def read(self, start: int, stop: int, *, at_most: bool = False) -> bytes:
        data = self._file.read(start, stop, at_most=at_most)
        self.bytes_read += len(data)
        return data

    def size(self) -> int:
        return self._file.size()


def _micrographs_of(entry: Entry, job: Job, archive: Archive, known: ParticleTable) -> list[_Counted]:
    """The first micrographs that have particles."""
    folder = job.folder
    if folder is None:
        sets = [s for s in entry.imagesets if "micrograph" in s.category.lower()] or list(entry.imagesets)
        if not sets:
            raise NothingFoundError(f"EMPIAR-{entry.number} names no image sets; give the folder of its micrographs")
        folder = sets[0].directory
    files = find_files(f"empiar://{entry.number}/{folder}", archive=archive)
    from napari_empiarreader.coordinates import match_names

    names = [file.name for file in files]
    used = [known.micrographs[i] for i in np.unique(known.micrograph_index)]
    chosen = sorted({i for i in match_names(used, names) if i is not None})[: job.limit]
    if len(chosen) < 2:
        raise LabelsError(
            f"of {len(files)} micrographs in {folder} of EMPIAR-{entry.number} {len(chosen)} have particles in the "
            "table; two are needed, one to train on and one to score"
        )
    return [_Counted(files[i]) for i in chosen]


def _particles_of(entry: Entry, job: Job, archive: Archive) -> ParticleTable:
    """Table of particles: the one named, else the first STAR file that the entry mentions or holds in ``data``."""
    if job.labels is not None and not job.labels.startswith("empiar:"):
        return read_particles(job.labels)
    if job.labels is not None:
        file = find_files(job.labels, suffixes=(".star",), archive=archive)[0]
    else:
        patterns = [s.picked_particles_file_pattern for s in entry.imagesets]
        paths = [path for path in patterns if path and path.endswith(".star") and "*" not in path]
        if not paths:
            paths = [item.path for item in archive.list(entry.number, "data") if item.name.endswith(".star")]
        if not paths:
            raise LabelsError(
                f"EMPIAR-{entry.number} brings no STAR file of particles to train from and score against; give one "
                "(--labels), or label by hand in napari"
            )
        file = archive.file(entry.number, paths[0])
    with TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        copy.write_bytes(file.read(0, file.size()))
        return read_particles(copy)


def _clicks(candidates: ParticleTable, job: Job) -> ParticleTable:
    """A random few of the particles, as somebody might have clicked on them."""
    if len(candidates) < job.clicks:
        raise LabelsError(f"{job.clicks} labels are wanted, but the training half has {len(candidates)} particles")
    chosen = np.random.default_rng(job.seed).choice(len(candidates), job.clicks, replace=False)
    return candidates.where(np.sort(chosen))
