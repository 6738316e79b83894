"""What a picker learns from, and what is learned of it: the parts of :mod:`napari_caked.training`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch

from napari_caked.calibration import estimate_calibration
from napari_caked.checkpoint import PickerModel
from napari_caked.datasets.checks import CheckedLabels, check_labels
from napari_caked.datasets.crops import CropSource
from napari_caked.datasets.patches import PatchSource
from napari_caked.dense_learning import DenseLearner
from napari_caked.devices import device_in_words
from napari_caked.errors import LabelsError, SettingsError, TrainingError
from napari_caked.evaluation import evaluate
from napari_caked.models import MatchedFilter, MatchedFilterNetwork
from napari_caked.models.paper import PatchNetwork
from napari_caked.models.protocol import PickerNetwork
from napari_caked.models.registry import NETWORKS, build_network
from napari_caked.objectives import find_objective
from napari_caked.patch_learning import PatchLearner
from napari_caked.patch_settings import PatchSettings
from napari_caked.peaks import find_peaks
from napari_caked.picking import candidates, picks_table
from napari_caked.preprocess import WorkingImage, prepare
from napari_caked.scoring import choose_precision, fastest_precision, score_map
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.teaching import Teaching, inner_radius, target_planes, teach
from napari_empiarreader.coordinates import ParticleTable, match_names
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["Lesson", "Material", "Said", "begin", "gather", "readable_labels"]

#: How much more a place counts that somebody has said something about, where a picker is improved.
_EMPHASIS = 5.0
_IMPROVING_RATE = 1e-3
#: A label's logit is the highest within this many particle widths.
_NEAR = 0.3
#: Micrographs that a preview's calibration comes from.
_FEW = 2
_EVERYTHING = PickSettings(threshold=0.0)


@dataclass(frozen=True)
class Said:
    """What somebody has said about micrographs, in an order that depends neither on files nor on clicks.

    Attributes
    ----------
    labels, negatives
        Counted into the series.
    learned, held_out
        Indices of micrographs to learn from, and to look at how good the picker is.
    empty
        Those of ``learned`` that hold no particle.
    validation
        Labels of those held out.
    """

    labels: ParticleTable
    negatives: ParticleTable
    learned: tuple[int, ...]
    held_out: tuple[int, ...]
    empty: frozenset[int]
    validation: ParticleTable

    @property
    def total(self) -> int:
        """Micrographs to read."""
        return len(self.learned) + len(self.held_out)


def readable_labels(
    series: MicrographSeries,
    labels: ParticleTable,
    negatives: ParticleTable | None,
    validation: ParticleTable | None,
    settings: TrainingSettings,
) -> Said:
    """Match all that was said to the micrographs.

    Raises
    ------
    LabelsError, CoordinatesError
        There are no labels, they lie on other micrographs or outside, or none would be left to learn from.
    SettingsError
        A network or an objective that there is not, or patience with nothing to look at.
    """
    _require_known(settings)
    if not len(labels):
        raise LabelsError("there are no labels; mark some particles first (ten are enough to begin with)")
    nothing = ParticleTable(series.names, np.empty((0, 3)))
    labels = _ordered(labels, series)
    said_not = _ordered(negatives, series) if negatives is not None and len(negatives) else nothing
    empty = _empty_micrographs(negatives, series)
    _require_consistent(labels, empty, series)
    checking = _ordered(validation, series) if validation is not None and len(validation) else nothing
    held_out = {int(i) for i in np.unique(checking.micrograph_index)}
    if not held_out and settings.hold_out:
        held_out = _drawn(labels, settings)
        checking = labels.where(np.isin(labels.micrograph_index, list(held_out)))
    if settings.patience is not None and not held_out:
        raise SettingsError("patience needs micrographs to look at; hold some out, or give labels for validation")
    kept = labels.where(~np.isin(labels.micrograph_index, list(held_out)))
    if not len(kept):
        raise LabelsError(
            "all labelled micrographs are held out, none is left to learn from; label particles on another one"
        )
    said_not = said_not.where(~np.isin(said_not.micrograph_index, list(held_out)))
    talked_of = {int(i) for i in np.concatenate([kept.micrograph_index, said_not.micrograph_index])}
    learned = sorted(talked_of | (empty - held_out), key=lambda i: series.names[i])
    order = sorted(held_out, key=lambda i: series.names[i])
    return Said(kept, said_not, tuple(learned), tuple(order), frozenset(empty - held_out), checking)


def _require_known(settings: TrainingSettings) -> None:
    """Refuse names that nobody knows before anything is read."""
    if settings.network not in NETWORKS:
        raise SettingsError(f"there is no network called '{settings.network}'; use one of {', '.join(NETWORKS)}")
    if settings.objective not in (None, "likeness"):
        find_objective(settings.objective)


def _ordered(table: ParticleTable, series: MicrographSeries) -> ParticleTable:
    table = table.renamed_to(series.names).require_inside(series.shape)
    return table.where(np.lexsort(table.coordinates.T[::-1]))


def _empty_micrographs(negatives: ParticleTable | None, series: MicrographSeries) -> set[int]:
    named = list(negatives.metadata.get("empty_micrographs", ())) if negatives is not None else []
    found = match_names(named, series.names)
    unknown = [name for name, index in zip(named, found, strict=True) if index is None]
    if unknown:
        raise LabelsError(f"{unknown[0]} is marked as empty, but is none of the micrographs")
    return {int(index) for index in found if index is not None}


def _require_consistent(labels: ParticleTable, empty: set[int], series: MicrographSeries) -> None:
    both = sorted(empty & {int(i) for i in labels.micrograph_index})
    if both:
        raise LabelsError(
            f"{series.names[both[0]]} is marked as empty and has labels; remove the one or the others "
            f"({len(both)} such micrograph{'s' * (len(both) > 1)})"
        )


def _drawn(labels: ParticleTable, settings: TrainingSettings) -> set[int]:
    labelled = np.unique(labels.micrograph_index)
    if len(labelled) <= settings.hold_out:
        raise LabelsError(
            f"{settings.hold_out} micrographs cannot be held out of {len(labelled)} with labels; label more of them, "
            "or hold out fewer"
        )
    return {int(i) for i in np.random.default_rng(settings.seed).choice(labelled, settings.hold_out, replace=False)}


class Material:
    """Prepared micrographs, by index.

    Parameters
    ----------
    series, settings, device
        What is prepared, how, and where it is learned from.
    """

    def __init__(self, series: MicrographSeries, settings: TrainingSettings, device: torch.device) -> None:
        self.series, self.settings, self.device = series, settings, device
        self.pixel_size = series.require_pixel_size()
        self.workings: dict[int, WorkingImage] = {}

    def prepare(self, index: int) -> None:
        """Read a micrograph, once."""
        name, settings = self.series.names[index], self.settings
        self.workings[index] = prepare(
            self.series.read(index), name, settings.particle_diameter, self.pixel_size, settings.preprocess
        )


def gather(said: Said, material: Material) -> Iterator[str]:
    """Read and prepare all that was talked about; yields the names."""
    for index in (*said.learned, *said.held_out):
        material.prepare(index)
        yield material.series.names[index]


@dataclass
class Lesson:
    """A training that may be stopped between any two of its steps.

    Attributes
    ----------
    settings, device, steps
        How, where, and how long.
    network
        What learns.
    learner
        Who makes it learn.
    expected
        Particles per micrograph.
    warnings
        What is odd about the labels.
    fingerprint
        Of data, labels and settings: the same for the same training only.
    """

    settings: TrainingSettings
    device: torch.device
    steps: int
    network: PickerNetwork
    learner: DenseLearner | PatchLearner
    expected: float
    warnings: tuple[str, ...]
    fingerprint: str
    provenance: dict[str, object]
    _said: Said
    _material: Material
    _labels: tuple[np.ndarray, ...]
    _validation: list[int] = field(default_factory=list)

    def learner_step(self, progress: float) -> torch.Tensor:
        """Learn from one batch; the value of the objective, on the device."""
        return self.learner.step(progress) if isinstance(self.learner, DenseLearner) else self.learner.step()

    @property
    def validates(self) -> bool:
        """Whether micrographs are held out."""
        return bool(self._said.held_out)

    def average_precision(self) -> float:
        """Of the picker as it is, on the micrographs held out, labels within half a particle."""
        series, model = self._material.series, self._bare()
        parts = []
        for index in self._said.held_out:
            yx, logits = candidates(model, self._on_device(index), _EVERYTHING)
            parts.append((index, yx, logits))
        picks = picks_table(series.names, parts, model, _EVERYTHING)
        radius = self.settings.particle_diameter / self._material.pixel_size / 2
        return evaluate(picks, self._said.validation, radius=radius).average_precision

    def preview(self) -> PickerModel:
        """A copy of the picker as it is, calibrated on a few micrographs only."""
        return self._calibrated(_FEW)

    def finished(self, steps: int) -> PickerModel:
        """The picker, calibrated, with the record of its training."""
        model = self._calibrated(None)
        return replace(model, provenance=self.provenance | {"steps": steps})

    def _bare(self) -> PickerModel:
        return PickerModel(self.network.eval(), self.settings.particle_diameter, self.settings.preprocess)

    def _on_device(self, index: int) -> WorkingImage:
        working = self._material.workings[index]
        return replace(working, image=working.image.to(self.device))

    def _calibrated(self, at_most: int | None) -> PickerModel:
        model = self._bare()
        chosen = [(i, yx) for i, yx in zip(self._said.learned, self._labels, strict=True) if len(yx)][:at_most]
        found, decoys, labelled = [], [], []
        for index, places in chosen:
            working = self._on_device(index)
            found.append(candidates(model, working, _EVERYTHING)[1])
            decoys.append(candidates(model, replace(working, image=-working.image), _EVERYTHING)[1])
            labelled.append(self._logits_at(working, places))
        wanted = self.settings.expected_particles
        try:
            calibration = estimate_calibration(
                np.concatenate(found),
                np.concatenate(labelled),
                None if wanted is None else wanted * len(chosen),
                decoys=np.concatenate(decoys),
            )
        except ValueError as error:
            raise TrainingError(
                f"the network finds nothing on the labelled micrographs ({error}); use a smaller learning rate, or "
                "more labels"
            ) from error
        network = copy.deepcopy(self.network).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        return replace(model, network=network, calibration=calibration)

    def _logits_at(self, working: WorkingImage, places: np.ndarray) -> np.ndarray:
        """The highest logit near each label."""
        scores = score_map(self.network, working.image).cpu().numpy()
        reach = _NEAR * self.settings.preprocess.particle_width / self.network.stride
        windows = [_window(scores, yx / self.network.stride, reach) for yx in places]
        return np.array([window.max() for window in windows])


def begin(said: Said, material: Material, start: PickerModel | None) -> Lesson:
    """Look at the labels, find out how many particles there are, and set up the learning."""
    settings, series = material.settings, material.series
    workings = [material.workings[i] for i in said.learned]
    _require_room(settings, workings)
    checked = _checked(said, material, workings)
    if start is not None:
        _require_same_particle(start, settings)
    old = start.network.filter if start is not None and isinstance(start.network, MatchedFilterNetwork) else None
    empty = [i in said.empty for i in said.learned]
    teaching = teach(workings, checked.centres, checked.negatives, settings, empty=empty, matched=old)
    steps = settings.all_steps if start is None else settings.improving_steps
    network = _network(settings, teaching.matched, start)
    if isinstance(network, MatchedFilterNetwork):
        learner: DenseLearner | PatchLearner = _dense(network, workings, checked, teaching, material, start, empty)
    else:
        learner = _patchwise(network, workings, checked, teaching, material, empty)
    record = _provenance(series, said, settings, teaching.expected, material.device)
    return Lesson(
        settings=settings,
        device=material.device,
        steps=steps,
        network=learner.network,
        learner=learner,
        expected=teaching.expected,
        warnings=tuple(str(warning) for warning in checked.warnings),
        fingerprint=_fingerprint(record, start),
        provenance=record,
        _said=said,
        _material=material,
        _labels=checked.centres,
    )


def _checked(said: Said, material: Material, workings: Sequence[WorkingImage]) -> CheckedLabels:
    def places(table: ParticleTable) -> list[np.ndarray]:
        return [w.rescaling.to_rescaled(table.on(i)) for w, i in zip(workings, said.learned, strict=True)]

    return check_labels(
        workings,
        places(said.labels),
        [material.series.names[i] for i in said.learned],
        material.settings.particle_diameter,
        material.pixel_size,
        particle_width=material.settings.preprocess.particle_width,
        negatives=places(said.negatives),
    )


def _require_room(settings: TrainingSettings, workings: Sequence[WorkingImage]) -> None:
    """Refuse an expectation above what the closest packing of discs (Lagrange 1773) leaves room for."""
    area = max(float(working.valid.sum()) for working in workings)
    most = 2 / np.sqrt(3) * area / settings.preprocess.particle_width**2
    if settings.expected_particles is not None and settings.expected_particles > most:
        raise LabelsError(
            f"{settings.expected_particles:g} particles of {settings.particle_diameter:g} Å are expected on a "
            f"micrograph, but no more than {most:.0f} fit on one; check the diameter and the expected number of "
            "particles"
        )


def _require_same_particle(start: PickerModel, settings: TrainingSettings) -> None:
    if abs(start.particle_diameter / settings.particle_diameter - 1) > 0.01 or start.preprocess != settings.preprocess:
        raise SettingsError(
            f"the picker to improve was trained for particles of {start.particle_diameter:g} Å, and this training is "
            f"for {settings.particle_diameter:g} Å (or prepares micrographs in another way); train anew"
        )
    if start.network.name != settings.network:
        raise SettingsError(
            f"the picker to improve is a network of the kind {start.network.name}, not {settings.network}; choose that "
            "network, or train anew"
        )


def _network(settings: TrainingSettings, matched: MatchedFilter, start: PickerModel | None) -> PickerNetwork:
    if start is not None:
        return copy.deepcopy(start.network)
    # The seed must not touch the random numbers of whoever called.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.network == "matched":
            return MatchedFilterNetwork(matched.profile, inner_radius(settings), settings.channels)
        return build_network(settings.network)


def _precision(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    return fastest_precision(device) if settings.precision == "auto" else choose_precision(settings.precision, device)


def _dense(
    network: MatchedFilterNetwork,
    workings: Sequence[WorkingImage],
    checked: CheckedLabels,
    teaching: Teaching,
    material: Material,
    start: PickerModel | None,
    empty: Sequence[bool],
) -> DenseLearner:
    settings, device = material.settings, material.device
    network = network.to(device)
    judge: Callable[[int], tuple[np.ndarray, np.ndarray]]
    if start is None:
        judge = lambda i: (teaching.places[i], teaching.probabilities[i])  # noqa: E731
    else:
        judge = lambda i: _judged(start, network, workings[i], checked, i, empty[i])  # noqa: E731
    planes = []
    for i, working in enumerate(workings):
        places, probabilities = judge(i)
        said = np.concatenate([checked.centres[i], checked.negatives[i]])
        target = target_planes(
            (working.image.shape[0], working.image.shape[1]),
            places,
            probabilities,
            working.valid.cpu().numpy(),
            settings,
            emphasised=said if start is not None else None,
            emphasis=_EMPHASIS,
        )
        with torch.inference_mode():
            seen = network.correlations(working.image.to(device)[None, None])[0].cpu()
        planes.append(torch.cat([seen, target]))
    crops = CropSource([w.image for w in workings], planes, settings.crop_size, device, settings.seed)
    if start is not None and settings.learning_rate is None:
        settings = replace(settings, learning_rate=_IMPROVING_RATE)
    return DenseLearner(network, crops, settings, _precision(settings, device), device)


def _judged(
    start: PickerModel, network: PickerNetwork, working: WorkingImage, checked: CheckedLabels, i: int, empty: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What the picker to improve thinks of a micrograph, and what was said of it since."""
    from scipy.spatial import cKDTree

    width, stride = start.preprocess.particle_width, network.stride
    device = next(network.parameters()).device
    scores = score_map(network.eval(), working.image.to(device)).cpu().numpy()
    yx, logits = find_peaks(scores, PickSettings().minimum_distance * width / stride)
    yx, p = yx * stride, start.calibration.scores(logits) * (not empty)
    said = np.concatenate([checked.centres[i], checked.negatives[i]])
    if len(said) and len(yx):
        free = cKDTree(said).query(yx)[0] > 0.4 * width
        yx, p = yx[free], p[free]
    known = np.concatenate([np.ones(len(checked.centres[i])), np.zeros(len(checked.negatives[i]))])
    return np.concatenate([said, yx]), np.concatenate([known, p])


def _patchwise(
    network: PickerNetwork,
    workings: Sequence[WorkingImage],
    checked: CheckedLabels,
    teaching: Teaching,
    material: Material,
    empty: Sequence[bool],
) -> PatchLearner:
    settings, device = material.settings, material.device
    assert isinstance(network, PatchNetwork)
    radius = settings.label_radius * settings.preprocess.particle_width
    negatives = [
        _everywhere(w.valid, radius) if nothing else points
        for w, points, nothing in zip(workings, checked.negatives, empty, strict=True)
    ]
    source = PatchSource(
        [w.image for w in workings],
        [w.valid for w in workings],
        checked.centres,
        negatives,
        width=network.width,
        radius=radius,
        expected_particles=teaching.expected * float(1 - np.mean(empty)),
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


def _window(scores: np.ndarray, middle: np.ndarray, reach: float) -> np.ndarray:
    last = np.array(scores.shape) - 1
    (top, left), (bottom, right) = (np.rint(middle + d).astype(int).clip(0, last) for d in (-reach, reach))
    return scores[top : bottom + 1, left : right + 1]


def _provenance(
    series: MicrographSeries, said: Said, settings: TrainingSettings, expected: float, device: torch.device
) -> dict[str, object]:
    from importlib.metadata import version

    fingerprint = hashlib.sha256("\n".join(sorted(series.names[i] for i in said.learned)).encode())
    for table in (said.labels, said.negatives, said.validation):
        # By name, not by number: the order of the files is no part of the data.
        for i in sorted({int(i) for i in table.micrograph_index}, key=lambda i: series.names[i]):
            fingerprint.update(series.names[i].encode())
            fingerprint.update(np.ascontiguousarray(table.on(i)).tobytes())
    empty = sorted(series.names[i] for i in said.empty)
    fingerprint.update("\n".join(empty).encode())
    return {
        "settings": asdict(settings),
        "labels": len(said.labels),
        "negatives": len(said.negatives),
        "empty_micrographs": len(said.empty),
        "held_out": [series.names[i] for i in said.held_out],
        "expected_particles": round(expected, 2),
        "pixel_size": series.pixel_size,
        "data": fingerprint.hexdigest(),
        "source": series.source,
        "device": device_in_words(device),
        "versions": {"napari-caked": version("napari-caked"), "torch": str(torch.__version__)},
    }


def _fingerprint(record: dict[str, object], start: PickerModel | None) -> str:
    """Of everything that decides a training."""
    import json

    decisive = [record[key] for key in ("settings", "data", "pixel_size", "held_out", "versions")]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for tensor in start.network.state_dict().values() if start is not None else ():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
