"""Networks, and who makes them learn."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_caked.checkpoint import PickerModel
from napari_caked.datasets.checks import CheckedLabels
from napari_caked.datasets.crops import CropSource
from napari_caked.datasets.patches import PatchSource
from napari_caked.dense_learning import DenseLearner
from napari_caked.general import with_template
from napari_caked.models import MatchedFilter, MatchedFilterNetwork
from napari_caked.models.paper import PatchNetwork
from napari_caked.models.protocol import PickerNetwork
from napari_caked.models.registry import build_network
from napari_caked.opinions import Opinion, fused
from napari_caked.patch_learning import PatchLearner
from napari_caked.patch_settings import PatchSettings
from napari_caked.peaks import find_peaks
from napari_caked.preprocess import WorkingImage
from napari_caked.scoring import choose_precision, fastest_precision, score_map
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.teaching import (
    Teaching,
    inner_radius,
    labelled_share,
    target_planes,
    unlabelled_probabilities,
)

__all__ = ["Classroom", "dense_learner", "fused_targets", "new_network", "patch_learner", "reviewed_targets"]

_IMPROVING_RATE = 1e-3
#: A candidate nearer to what was said than this, in particle widths, is the same thing.
_SAME = 0.4


@dataclass(frozen=True)
class Classroom:
    """What is learned from.

    Attributes
    ----------
    workings
        Prepared micrographs.
    checked
        Labels and negatives on them.
    empty
        For each micrograph, whether it is known to hold no particle.
    settings, device
        How, and where.
    """

    workings: tuple[WorkingImage, ...]
    checked: CheckedLabels
    empty: tuple[bool, ...]
    settings: TrainingSettings
    device: torch.device


def new_network(
    settings: TrainingSettings, matched: MatchedFilter, start: PickerModel | None, prior: PickerModel | None = None
) -> PickerNetwork:
    """A copy of the network of ``start``; or that of ``prior`` with another template; or an untrained one."""
    if start is not None:
        return copy.deepcopy(start.network)
    if prior is not None:
        return with_template(prior.network, matched)
    # The seed must not touch the random numbers of whoever called.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.network == "matched":
            return MatchedFilterNetwork(matched.profile, inner_radius(settings), settings.channels)
        return build_network(settings.network)


def _precision(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    return fastest_precision(device) if settings.precision == "auto" else choose_precision(settings.precision, device)


def dense_learner(
    network: MatchedFilterNetwork, room: Classroom, teaching: Teaching, start: PickerModel | None
) -> DenseLearner:
    """Who makes the default network learn what the template teaches, or what the picker to improve thinks."""
    settings, device = room.settings, room.device
    network = network.to(device)
    if start is None:
        # A template that misses the labels teaches wrong places: then what was said counts more from the start.
        said = [
            None if teaching.centred else np.concatenate(both)
            for both in zip(room.checked.centres, room.checked.negatives, strict=True)
        ]
        taught = zip(teaching.places, teaching.probabilities, said, strict=True)
        targets = [_target(room, i, yx, p, one, 1 - teaching.share) for i, (yx, p, one) in enumerate(taught)]
    else:
        targets = reviewed_targets(replace(start, network=network.eval()), room)
        if settings.learning_rate is None:
            settings = replace(settings, learning_rate=_IMPROVING_RATE)
    planes = []
    for working, target in zip(room.workings, targets, strict=True):
        with torch.inference_mode():
            seen = network.correlations(working.image.to(device)[None, None])[0].cpu()
        planes.append(torch.cat([seen, target]))
    crops = CropSource([w.image for w in room.workings], planes, settings.crop_size, device, settings.seed)
    return DenseLearner(network, crops, settings, _precision(settings, device), device)


def reviewed_targets(model: PickerModel, room: Classroom) -> list[torch.Tensor]:
    """What a picker itself thinks of the micrographs, and what was said of them, as planes to learn from.

    Self-training: the picker's candidates, with their probabilities, take the place of the template's. What somebody
    said counts more than what it thinks, the more so the less has been said, and what it is unsure of counts nothing:
    so it moves towards the labels.
    """
    targets = []
    for i in range(len(room.workings)):
        said, opinion = _said(room, i), _opinion(model, room, i)
        known = np.concatenate([_known(room, i), opinion.probabilities])
        places = np.concatenate([said, opinion.places])
        targets.append(_target(room, i, places, known, said, 1 - opinion.share))
    return targets


def fused_targets(model: PickerModel, room: Classroom, teaching: Teaching) -> list[torch.Tensor]:
    """What the template and a picker for any particle think together, and what was said, as planes to learn from.

    The two err in different places: the one knows this particle, but only its rotational average; the other knows what
    particles, ice and carbon look like, but not this one. A place gets the mean of their log-odds, and where only one
    of them sees anything, what the other says of its least likely tenth. A template that misses the labels has no say.
    """
    targets = []
    for i, (places, probabilities) in enumerate(zip(teaching.places, teaching.probabilities, strict=True)):
        said, opinion = _said(room, i), _opinion(model, room, i)
        if teaching.centred:
            first = Opinion(places[len(said) :], probabilities[len(said) :], opinion.share)
            opinion = fused(opinion, first, _SAME * model.preprocess.particle_width)
        known = np.concatenate([_known(room, i), opinion.probabilities])
        emphasised = None if teaching.centred else said
        everything = np.concatenate([said, opinion.places])
        targets.append(_target(room, i, everything, known, emphasised, 1 - teaching.share))
    return targets


def _said(room: Classroom, i: int) -> np.ndarray:
    """``(n, 2)``: labels and then negatives of a micrograph."""
    return np.concatenate([room.checked.centres[i], room.checked.negatives[i]])


def _known(room: Classroom, i: int) -> np.ndarray:
    """``(n,)``: 1 for each label and 0 for each negative."""
    return np.concatenate([np.ones(len(room.checked.centres[i])), np.zeros(len(room.checked.negatives[i]))])


def _opinion(model: PickerModel, room: Classroom, i: int) -> Opinion:
    """A picker's candidates on a micrograph, other than what was said, given that nobody has labelled them."""
    from scipy.spatial import cKDTree

    width, stride = model.preprocess.particle_width, model.network.stride
    device = next(model.network.parameters()).device
    scores = score_map(model.network, room.workings[i].image.to(device)).cpu().numpy()
    yx, logits = find_peaks(scores, PickSettings().minimum_distance * width / stride)
    odds = model.spacing.adjusted(yx, model.calibration.log_odds(logits), width / stride)
    said, yx = _said(room, i), yx * stride
    share = 0.0 if room.empty[i] else labelled_share(odds, room.checked.centres[i])
    p = np.zeros(len(odds)) if room.empty[i] else unlabelled_probabilities(odds, share)
    if len(said) and len(yx):
        free = cKDTree(said).query(yx)[0] > _SAME * width
        yx, p = yx[free], p[free]
    return Opinion(yx, p, share)


def _target(
    room: Classroom,
    i: int,
    places: np.ndarray,
    probabilities: np.ndarray,
    said: np.ndarray | None = None,
    emphasis: float = 0.0,
) -> torch.Tensor:
    working = room.workings[i]
    height, width = working.image.shape
    valid = working.valid.cpu().numpy()
    return target_planes((height, width), places, probabilities, valid, room.settings, said=said, emphasis=emphasis)


def patch_learner(network: PatchNetwork, room: Classroom, expected: float) -> PatchLearner:
    """Who makes a network of the paper learn, where ``expected`` particles are on a micrograph that is not empty."""
    settings, device, workings = room.settings, room.device, room.workings
    radius = settings.label_radius * settings.preprocess.particle_width
    negatives = [
        _everywhere(w.valid, radius) if nothing else points
        for w, points, nothing in zip(workings, room.checked.negatives, room.empty, strict=True)
    ]
    source = PatchSource(
        [w.image for w in workings],
        [w.valid for w in workings],
        room.checked.centres,
        negatives,
        width=network.width,
        radius=radius,
        expected_particles=expected * float(1 - np.mean(room.empty)),
        device=device,
        seed=settings.seed,
    )
    defaults = PatchSettings()
    precision = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
    patches = PatchSettings(
        objective=settings.objective or defaults.objective,
        slack=settings.slack,
        autoencoder=settings.autoencoder,
        learning_rate=settings.learning_rate or defaults.learning_rate,
        precision=precision[_precision(settings, device)],
        seed=settings.seed,
    )
    return PatchLearner(network, source, patches)


def _everywhere(valid: torch.Tensor, radius: float) -> np.ndarray:
    """Places whose discs cover a whole micrograph."""
    step = max(int(radius * 1.4), 1)
    rows, columns = (np.arange(step // 2, length, step) for length in valid.shape)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float64)
