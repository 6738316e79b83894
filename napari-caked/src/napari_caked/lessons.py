"""One training: its micrographs, its network, its steps, and the picker that comes out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_caked.calibration import estimate_calibration
from napari_caked.checkpoint import PickerModel
from napari_caked.datasets.checks import LABELLED_BY, CheckedLabels, LabelledBy, check_labels
from napari_caked.dense_learning import DenseLearner
from napari_caked.errors import LabelsError, SettingsError, TrainingError
from napari_caked.evaluation import evaluate
from napari_caked.general import starting_picker
from napari_caked.learners import (
    Classroom,
    dense_learner,
    fused_targets,
    new_network,
    patch_learner,
    reviewed_targets,
)
from napari_caked.models import MatchedFilterNetwork
from napari_caked.models.paper import PatchNetwork
from napari_caked.models.protocol import PickerNetwork
from napari_caked.patch_learning import PatchLearner
from napari_caked.picking import candidates_and_decoys, judge, picks_table
from napari_caked.preprocess import WorkingImage, prepare
from napari_caked.said import Said
from napari_caked.scoring import score_map
from napari_caked.settings import PickSettings, TrainingSettings
from napari_caked.spacing import estimate_spacing
from napari_caked.teaching import Teaching, teach
from napari_caked.training_record import fingerprint, provenance
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["Lesson", "Material", "begin", "gather"]

#: A label's logit is the highest within this many particle widths.
_NEAR = 0.3
#: Share of labelled particles from which on labels alone are enough.
_MOST = 0.5
#: Micrographs that a preview's calibration comes from.
_FEW = 2
_EVERYTHING = PickSettings(threshold=0.0)


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
    settings, device
        How, and where.
    rounds
        Steps of each round. Before each but the first the network looks at the micrographs again, and learns on from
        what it thinks itself.
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
    provenance
        For the record.
    """

    settings: TrainingSettings
    device: torch.device
    rounds: tuple[int, ...]
    network: PickerNetwork
    learner: DenseLearner | PatchLearner
    expected: float
    warnings: tuple[str, ...]
    fingerprint: str
    provenance: dict[str, object]
    _said: Said
    _material: Material
    _room: Classroom

    @property
    def steps(self) -> int:
        """Steps of all rounds."""
        return sum(self.rounds)

    def learner_step(self, progress: float) -> torch.Tensor:
        """Learn from one batch, ``progress`` (0 to 1) into the training; the value of the objective, on the device."""
        if not isinstance(self.learner, DenseLearner):
            return self.learner.step()
        ends = np.cumsum(self.rounds) / self.steps
        current = min(int(np.searchsorted(ends, progress, side="right")), len(self.rounds) - 1)
        if current > self.learner.round:
            model = self._calibrated(None, self.network.eval())
            self.learner.begin_round(reviewed_targets(model, self._room))
            self.learner.round = current
        length = self.rounds[current] / self.steps
        return self.learner.step(float(np.clip((progress - ends[current]) / length + 1, 0, 1)))

    def ask_for_an_opinion(self, teaching: Teaching) -> None:
        """Learn from what the template and the network, as it is before it learns, think together."""
        assert isinstance(self.learner, DenseLearner)
        model = self._calibrated(None, self.network.eval())
        self.learner.replace_targets(fused_targets(model, self._room, teaching))

    @property
    def validates(self) -> bool:
        """Whether micrographs are held out."""
        return bool(self._said.held_out)

    def average_precision(self) -> float:
        """Of the picker as it is, on the micrographs held out, labels within half a particle."""
        series, model = self._material.series, self._calibrated(None, self.network.eval())
        parts = []
        for index in self._said.held_out:
            judged = judge(model, self._on_device(index), _EVERYTHING)
            parts.append((index, judged.yx, judged.logits))
        picks = picks_table(series.names, parts, model, _EVERYTHING)
        radius = self.settings.particle_diameter / self._material.pixel_size / 2
        return evaluate(picks, self._said.validation, radius=radius).average_precision

    def preview(self) -> PickerModel:
        """A copy of the picker as it is, calibrated on a few micrographs only."""
        return self._calibrated(_FEW, self._copy())

    def finished(self, steps: int) -> PickerModel:
        """The picker, calibrated, with the record of its training."""
        model = self._calibrated(None, self._copy())
        return replace(model, provenance=self.provenance | {"steps": steps})

    def _bare(self) -> PickerModel:
        return PickerModel(self.network.eval(), self.settings.particle_diameter, self.settings.preprocess)

    def _on_device(self, index: int) -> WorkingImage:
        working = self._material.workings[index]
        return replace(working, image=working.image.to(self.device))

    def _copy(self) -> PickerNetwork:
        network = copy.deepcopy(self.network).cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return network.eval()  # type: ignore[no-any-return]

    def _calibrated(self, at_most: int | None, network: PickerNetwork) -> PickerModel:
        """A picker with ``network``, calibrated by the network that learns on at most so many micrographs."""
        model = self._bare()
        chosen = [(i, yx) for i, yx in zip(self._said.learned, self._room.checked.centres, strict=True) if len(yx)][
            :at_most
        ]
        found, decoys, labelled, areas = [], [], [], []
        for index, places in chosen:
            working = self._on_device(index)
            own, chance = candidates_and_decoys(model, working, _EVERYTHING)
            found.append(own)
            decoys.append(chance)
            areas.append(float(working.valid.sum()) * float(np.prod(working.rescaling.factor)))
            labelled.append(self._logits_at(working, places))
        wanted = self.settings.expected_particles
        try:
            calibration = estimate_calibration(
                np.concatenate([logits for _, logits in found]),
                np.concatenate(labelled),
                None if wanted is None else wanted * len(chosen),
                decoys=np.concatenate(decoys),
            )
        except ValueError as error:
            raise TrainingError(
                f"the network finds nothing on the labelled micrographs ({error}); use a smaller learning rate, or "
                "more labels"
            ) from error
        judged = [(yx, calibration.log_odds(logits)) for yx, logits in found]
        spacing = estimate_spacing(judged, areas, self.settings.particle_diameter / self._material.pixel_size)
        return replace(model, network=network, calibration=calibration, spacing=spacing)

    def _logits_at(self, working: WorkingImage, places: np.ndarray) -> np.ndarray:
        """The highest logit near each label."""
        scores = score_map(self.network, working.image).cpu().numpy()
        reach = _NEAR * self.settings.preprocess.particle_width / self.network.stride
        windows = [_window(scores, yx / self.network.stride, reach) for yx in places]
        return np.array([window.max() for window in windows])


def begin(said: Said, material: Material, start: PickerModel | None, prior: PickerModel | None = None) -> Lesson:
    """Look at the labels, find out how many particles there are, and set up the learning.

    ``prior`` is a picker whose weights a new training starts from, and whose opinion is asked; the general one where
    there is none.
    """
    settings, series = material.settings, material.series
    workings = [material.workings[i] for i in said.learned]
    _require_room(settings, workings)
    checked = _checked(said, material, workings)
    if start is not None:
        _require_same_particle(start, settings)
    old = start.network.filter if start is not None and isinstance(start.network, MatchedFilterNetwork) else None
    empty = [i in said.empty for i in said.learned]
    teaching = teach(workings, checked.centres, checked.negatives, settings, empty=empty, matched=old)
    room = Classroom(tuple(workings), checked, tuple(empty), settings, material.device)
    if prior is not None and settings.network != prior.network.name:
        raise SettingsError(
            f"the picker to start from is a network of the kind {prior.network.name}, not {settings.network}; choose "
            "that network, or none to start from"
        )
    prior = None if start is not None else prior or starting_picker(settings)
    network = new_network(settings, teaching.matched, start, prior)
    learner: DenseLearner | PatchLearner
    if isinstance(network, MatchedFilterNetwork):
        learner = dense_learner(network, room, teaching, start)
    else:
        assert isinstance(network, PatchNetwork)
        learner = patch_learner(network, room, teaching.expected)
    record = provenance(series, said, settings, teaching.expected, material.device)
    lesson = Lesson(
        settings=settings,
        device=material.device,
        rounds=_rounds(settings, teaching, start),
        network=learner.network,
        learner=learner,
        expected=teaching.expected,
        warnings=tuple(str(warning) for warning in checked.warnings),
        fingerprint=fingerprint(record, start or prior),
        provenance=record,
        _said=said,
        _material=material,
        _room=room,
    )
    if prior is not None:
        lesson.ask_for_an_opinion(teaching)
    return lesson


def _rounds(settings: TrainingSettings, teaching: Teaching, start: PickerModel | None) -> tuple[int, ...]:
    """Steps of each round.

    Where most particles are labelled, the network's own opinion adds nothing: one round. Where the template misses the
    labels, there is little to learn from it: all rounds are equally long.
    """
    if start is not None:
        return (settings.improving_steps,)
    lengths = settings.round_lengths if teaching.share < _MOST else (settings.all_steps,)
    if teaching.centred:
        return lengths
    equal = settings.all_steps // len(lengths)
    return (settings.all_steps - equal * (len(lengths) - 1), *[equal] * (len(lengths) - 1))


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
        labelled_by=LabelledBy(said.labels.metadata.get(LABELLED_BY, LabelledBy.PERSON)),
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


def _window(scores: np.ndarray, middle: np.ndarray, reach: float) -> np.ndarray:
    last = np.array(scores.shape) - 1
    (top, left), (bottom, right) = (np.rint(middle + d).astype(int).clip(0, last) for d in (-reach, reach))
    return scores[top : bottom + 1, left : right + 1]
