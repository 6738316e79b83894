"""Training a picker from a few labels.

Way of the data: labelled micrographs are read once and become small working images; the labels become a matched
filter; its correlation maps say how many particles there probably are and which are the surest; labels and surest
likenesses are the positives of the GE-binomial objective, all other pixels are unlabelled; a few hundred batches of
crops later the logits are shifted so that the scores add up to the expected number of particles.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from napari_caked.calibration import Calibration
from napari_caked.checkpoint import PickerModel
from napari_caked.datasets import CropSampler, LabelMaps, label_maps
from napari_caked.datasets.sampling import CropBatch
from napari_caked.devices import choose_device, device_in_words
from napari_caked.errors import DeviceError, LabelsError, TrainingError
from napari_caked.expectation import ParticleCount, count_particles
from napari_caked.models import MatchedFilter, MatchedFilterNetwork
from napari_caked.objectives import ge_binomial
from napari_caked.picking import candidates
from napari_caked.preprocess import WorkingImage, prepare
from napari_caked.settings import PickSettings, TrainingSettings
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries
from napari_empiarreader.progress import Progress, silent

__all__ = ["Finished", "Prepared", "Step", "TrainingEvent", "TrainingSettings", "train", "training_events"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A micrograph was read and prepared: ``done`` of ``total``."""

    done: int
    total: int
    message: str


@dataclass(frozen=True)
class Step:
    """A batch was learned from.

    Attributes
    ----------
    step, steps
        Counted from 1.
    loss
        Value of the objective.
    device
        Where it ran, in words.
    """

    step: int
    steps: int
    loss: float
    device: str


@dataclass(frozen=True)
class Finished:
    """Training is over; ``model`` is None where it was cancelled."""

    model: PickerModel | None
    expected_particles: float


TrainingEvent = Prepared | Step | Finished


def train(
    series: MicrographSeries, labels: ParticleTable, settings: TrainingSettings, *, progress: Progress = silent
) -> PickerModel:
    """Train a picker; see :func:`training_events` for the parameters and errors."""
    for event in training_events(series, labels, settings):
        if isinstance(event, Prepared):
            progress(event.done, event.total, event.message)
        elif isinstance(event, Step):
            progress(event.step, event.steps, f"training on {event.device}, loss {event.loss:.3f}")
        elif event.model is not None:
            return event.model
    raise TrainingError("training ended without a model")


def training_events(
    series: MicrographSeries,
    labels: ParticleTable,
    settings: TrainingSettings,
    stop: threading.Event | None = None,
) -> Iterator[TrainingEvent]:
    """Train a picker, saying how far it is.

    Parameters
    ----------
    series
        Micrographs with a pixel size; only those with labels are read.
    labels
        Particle centres, matched to the micrographs by name.
    settings
        Diameter and the rest.
    stop
        Set it from any thread to end the training at the next batch.

    Yields
    ------
    Prepared, Step, Finished
        ``Finished`` is the last and carries the model.

    Raises
    ------
    LabelsError, CoordinatesError, PixelSizeError, DiameterError, MicrographError, DeviceError
        What is wrong with the data, before any time is spent on training.
    TrainingError
        PyTorch failed.
    """
    stop = stop or threading.Event()
    try:
        yield from _training(series, labels, settings, stop)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"the {settings.device} device ran out of memory; use device 'cpu' or a smaller batch size than "
            f"{settings.batch_size}"
        ) from error
    except RuntimeError as error:
        raise TrainingError(f"PyTorch failed during training: {error}") from error


def _training(
    series: MicrographSeries, labels: ParticleTable, settings: TrainingSettings, stop: threading.Event
) -> Iterator[TrainingEvent]:
    pixel_size, device = series.require_pixel_size(), choose_device(settings.device)
    if not len(labels):
        raise LabelsError("there are no labels; mark some particles first (ten are enough to begin with)")
    labels = labels.renamed_to(series.names).require_inside(series.shape)
    # In an order of their own: neither that of the files nor that of the clicks may change the picks.
    labels = labels.where(np.lexsort(labels.coordinates.T[::-1]))
    labelled = sorted((int(i) for i in np.unique(labels.micrograph_index)), key=lambda i: series.names[i])
    workings: list[WorkingImage] = []
    for i in labelled:
        if stop.is_set():
            yield Finished(None, 0.0)
            return
        image = series.read(i)
        workings.append(prepare(image, series.names[i], settings.particle_diameter, pixel_size, settings.preprocess))
        yield Prepared(len(workings), len(labelled), f"prepared {series.names[i]}")

    centres = [w.rescaling.to_rescaled(labels.on(i)) for w, i in zip(workings, labelled, strict=True)]
    matched, maps, count = _matched_filter(workings, centres, settings)
    expected = _expected_particles(centres, count, settings)
    _log.info("%.0f particles expected per micrograph", expected)
    positives = _with_likenesses(centres, count, expected, settings)
    targets = label_maps(
        positives, (maps.shape[-2], maps.shape[-1]), settings.label_radius * _width(settings), expected
    )
    network = _new_network(matched, settings).to(device)
    sampler = _sampler(workings, maps, targets, positives, settings, device)
    for step, loss in enumerate(_learn(network, sampler, targets.unlabelled_prior, settings), start=1):
        yield Step(step, settings.steps, loss, device_in_words(device))
        if stop.is_set():
            yield Finished(None, expected)
            return
    model = PickerModel(
        network=network.eval().cpu(),
        particle_diameter=settings.particle_diameter,
        preprocess=settings.preprocess,
        provenance=_provenance(series, labels, settings, expected, device),
    )
    yield Finished(_calibrated(model, workings, expected), expected)


def _width(settings: TrainingSettings) -> float:
    return settings.preprocess.particle_width


def _matched_filter(
    workings: list[WorkingImage], centres: list[np.ndarray], settings: TrainingSettings
) -> tuple[MatchedFilter, torch.Tensor, ParticleCount]:
    """The filter made of the labels, its maps ``(micrograph, y, x)``, and the count of particles in them.

    The average of ten noisy patches is itself noisy; so the surest likenesses that it finds are averaged once more.
    """
    _, _, count = _correlated(workings, centres, settings)
    expected = _expected_particles(centres, count, settings)
    return _correlated(workings, _with_likenesses(centres, count, expected, settings), settings)


@torch.inference_mode()
def _correlated(
    workings: list[WorkingImage], members: list[np.ndarray], settings: TrainingSettings
) -> tuple[MatchedFilter, torch.Tensor, ParticleCount]:
    radius = round(settings.template_radius * _width(settings))
    images = [working.image for working in workings]
    matched = MatchedFilter.from_labels(images, members, radius)
    maps = torch.stack([matched(image[None, None])[0, 0] for image in images])
    distance = PickSettings().minimum_distance * _width(settings)
    return matched, maps, count_particles([one.numpy() for one in maps], distance)


def _expected_particles(centres: list[np.ndarray], count: ParticleCount, settings: TrainingSettings) -> float:
    """Particles per micrograph: what the user says, else the count, but at least what somebody has clicked on."""
    clicked = sum(len(points) for points in centres) / len(centres)
    return settings.expected_particles or max(count.per_micrograph, clicked)


def _with_likenesses(
    centres: list[np.ndarray], count: ParticleCount, expected: float, settings: TrainingSettings
) -> list[np.ndarray]:
    """Labels, and the surest maxima of the correlation maps that are not the same particle as a label."""
    from scipy.spatial import cKDTree

    heights = np.sort(np.concatenate(count.heights))[::-1]
    wanted = min(int(settings.likeness_share * expected * len(centres)), len(heights))
    least = heights[wanted - 1] if wanted else np.inf
    together = []
    for points, peaks, height in zip(centres, count.peaks, count.heights, strict=True):
        sure = peaks[height >= least]
        if len(points) and len(sure):
            sure = sure[cKDTree(points).query(sure)[0] > 0.5 * _width(settings)]
        together.append(np.concatenate([points, sure]))
    return together


def _new_network(matched: MatchedFilter, settings: TrainingSettings) -> MatchedFilterNetwork:
    # The seed must not touch the random numbers of whoever called.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return MatchedFilterNetwork(matched.profile, settings.channels).train()


def _sampler(
    workings: list[WorkingImage],
    maps: torch.Tensor,
    targets: LabelMaps,
    positives: list[np.ndarray],
    settings: TrainingSettings,
    device: torch.device,
) -> CropSampler:
    images = torch.stack([torch.stack([w.image, m]) for w, m in zip(workings, maps, strict=True)])
    rows = [np.column_stack([np.full(len(points), i), points]) for i, points in enumerate(positives)]
    return CropSampler(
        images.to(device),
        targets.maps.to(device),
        torch.from_numpy(np.concatenate(rows)),
        settings.crop_size,
        torch.Generator().manual_seed(settings.seed),
    )


def _learn(
    network: MatchedFilterNetwork, sampler: CropSampler, prior: float, settings: TrainingSettings
) -> Iterator[float]:
    """Learn batch by batch; yields the loss of each."""
    generator = torch.Generator().manual_seed(settings.seed + 1)
    correction = [p for name, p in network.named_parameters() if name not in ("slope", "offset")]
    optimiser = torch.optim.AdamW(
        [
            {"params": correction, "weight_decay": 1e-2},
            {"params": [network.slope, network.offset], "lr": 10 * settings.learning_rate, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    rates = [settings.learning_rate, 10 * settings.learning_rate]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=settings.steps)
    for step in range(1, settings.steps + 1):
        batch = sampler.draw(settings.batch_size)
        logits = network(_jittered(batch.images, generator))
        labelled, unlabelled = _split(logits, batch, network.stride, settings.unlabelled_pixels, generator)
        loss = ge_binomial(labelled, unlabelled, prior, slack=settings.slack)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at step {step}; use a smaller learning rate")
        yield value


def _jittered(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Contrast and brightness of each crop changed a little; the correlation does not depend on either."""
    gain, shift = torch.randn((2, len(images), 1, 1), generator=generator).to(images.device)
    image = images[:, 0] * (1 + 0.2 * gain) + 0.1 * shift
    return torch.stack([image, images[:, 1]], dim=1)


def _split(
    logits: torch.Tensor, batch: CropBatch, stride: int, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of labelled pixels, and of ``count`` unlabelled ones from the crops that lie anywhere."""
    labelled = batch.labelled[:, ::stride, ::stride]
    # What lies near a crop's rim has seen too little of its surroundings.
    usable = batch.inside[:, ::stride, ::stride].clone()
    rim = 16 // stride
    usable[:, :rim] = usable[:, -rim:] = False
    usable[:, :, :rim] = usable[:, :, -rim:] = False
    anywhere = slice(batch.around_labels, None)
    unlabelled = logits[anywhere][(usable & ~labelled)[anywhere]]
    chosen = torch.randint(max(len(unlabelled), 1), (count,), generator=generator).to(logits.device)
    return logits[usable & labelled], unlabelled[chosen]


def _calibrated(model: PickerModel, workings: list[WorkingImage], expected: float) -> PickerModel:
    """The model with its logits shifted so that the scores of all candidates add up to the expected particles."""
    from dataclasses import replace

    from scipy.optimize import brentq
    from scipy.special import expit

    logits = np.concatenate([candidates(model, working, PickSettings())[1] for working in workings])
    wanted = min(expected * len(workings), 0.95 * len(logits))
    shift = brentq(lambda offset: expit(logits + offset).sum() - wanted, -100, 100)
    return replace(model, calibration=Calibration(offset=float(shift)))


def _provenance(
    series: MicrographSeries,
    labels: ParticleTable,
    settings: TrainingSettings,
    expected: float,
    device: torch.device,
) -> dict[str, object]:
    from importlib.metadata import version

    fingerprint = hashlib.sha256("\n".join(series.names).encode())
    fingerprint.update(np.ascontiguousarray(labels.coordinates).tobytes())
    return {
        "settings": asdict(settings),
        "labels": len(labels),
        "expected_particles": round(expected, 2),
        "data": fingerprint.hexdigest(),
        "source": series.source,
        "device": device_in_words(device),
        "versions": {"napari-caked": version("napari-caked"), "torch": str(torch.__version__)},
    }
