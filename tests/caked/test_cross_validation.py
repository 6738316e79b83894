"""Cross-validation: every labelled micrograph is judged once, by a picker that has not seen it."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from napari_caked import cross_validate, cross_validation
from napari_caked.cross_validation import CrossValidation, Fold, cross_validation_folds
from napari_caked.errors import LabelsError, SettingsError
from napari_caked.evaluation import evaluate
from napari_caked.picking import pick
from napari_caked.settings import PickSettings, TrainingSettings
from napari_empiarreader.coordinates import ParticleTable

QUICK = TrainingSettings(
    particle_diameter=120.0,
    steps=2,
    batch_size=2,
    crop_size=65,
    channels=8,
    device="cpu",
    precision="float32",
    reviews=0,
)


@pytest.fixture(scope="module")
def data(ring_data):
    """Four micrographs, the first three of them labelled."""
    series, truth = ring_data(4, size=164)
    return series, truth.where(truth.micrograph_index < 3)


@dataclass
class Watched:
    """A cross-validation, and what could be seen meanwhile."""

    folds: list[Fold] = field(default_factory=list)
    read: list[list[int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def three(data):
    """Three folds, and the micrographs that were read for each."""
    watched, read = Watched(), []
    series = replace(data[0], reader=lambda i: read.append(i) or data[0].read(i))
    for fold in cross_validation_folds(series, data[1], QUICK, 3):
        watched.folds.append(fold)
        watched.read.append(list(read))
        read.clear()
    return watched


@pytest.fixture(scope="module")
def two(data):
    """Two folds, and what was said meanwhile."""
    watched = Watched()
    result = cross_validate(*data, QUICK, 2, progress=lambda done, total, message: watched.said.append(message))
    watched.folds.extend(result.folds)
    return watched


def test_each_fold_is_trained_without_the_micrographs_it_is_judged_on(data, three):
    assert sorted(name for fold in three.folds for name in fold.held_out) == ["m0.mrc", "m1.mrc", "m2.mrc"]
    for fold, here in zip(three.folds, three.read, strict=True):
        (held_out,) = (data[0].names.index(name) for name in fold.held_out)
        # Two to learn from, and the one held out only after these.
        assert sorted(here[:2]) == sorted({0, 1, 2} - {held_out}) and here[2:] == [held_out]
        assert fold.labels == 18


def test_a_fold_is_judged_as_anybody_would(data, two):
    series, labels = data
    fold = two.folds[0]
    held_out = [series.names.index(name) for name in fold.held_out]
    assert len(held_out) == 2  # the larger fold comes first
    truth = labels.where(np.isin(labels.micrograph_index, held_out))
    result = evaluate(pick(series, fold.model, PickSettings(threshold=0, device="cpu")), truth, radius=12)
    assert fold.evaluation.average_precision == result.average_precision
    assert fold.evaluation.labels == len(truth)
    assert fold.evaluation.pixel_size == 5.0


def test_negatives_stay_behind_with_their_micrographs(data, three, monkeypatch):
    """Given negatives on all micrographs, then each training gets those of its own; what it makes of them is known."""
    series, labels = data
    negatives = ParticleTable(
        series.names, np.array([[i, 50, 50] for i in range(4)], float), metadata={"empty_micrographs": ["m3.mrc"]}
    )
    given, model = [], three.folds[0].model
    monkeypatch.setattr(cross_validation, "train", lambda *_, negatives, **__: given.append(negatives) or model)
    folds = list(cross_validation_folds(series, labels, QUICK, 3, negatives=negatives))
    for table, fold in zip(given, folds, strict=True):
        there = {series.names[i] for i in table.micrograph_index}
        assert there == set(series.names) - set(fold.held_out)
        assert table.metadata["empty_micrographs"] == ["m3.mrc"]


def test_neither_the_order_of_files_nor_of_clicks_changes_the_folds(data, three):
    series, labels = data
    turned = replace(series, names=series.names[::-1], reader=lambda i: series.read(3 - i))
    one = CrossValidation(tuple(three.folds))
    same = cross_validate(turned, labels.where(np.arange(len(labels))[::-1]), QUICK, 3)
    assert [fold.held_out for fold in one.folds] == [fold.held_out for fold in same.folds]
    assert one.mean == same.mean
    others = {tuple(map(tuple, cross_validation._dealt(labels, 3, seed))) for seed in range(8)}
    assert len(others) > 1


def test_mean_and_deviation_are_over_the_folds(three):
    first = three.folds[0]

    def fold(number, precision, error):
        evaluation = replace(first.evaluation, average_precision=precision, localisation_error=error)
        return Fold(number, (f"m{number}.mrc",), 9, evaluation, first.model)

    result = CrossValidation((fold(1, 0.5, 1.0), fold(2, 0.7, float("nan")), fold(3, 0.9, 3.0)))
    assert result.mean.average_precision == pytest.approx(0.7)
    assert result.deviation.average_precision == pytest.approx(0.2)
    assert result.mean.localisation_error == pytest.approx(2.0)
    assert result.deviation.localisation_error == pytest.approx(2**0.5)
    lines = result.table().splitlines()
    assert len(lines) == 6 and len({len(line) for line in lines}) == 1
    assert lines[4].split()[:2] == ["mean", "0.700"] and lines[5].split()[:2] == ["s.d.", "0.200"]


def test_progress_names_the_fold(two):
    assert any(message.startswith("fold 1 of 2: training on CPU") for message in two.said)
    assert any(message.startswith("fold 2 of 2: picked") for message in two.said)


def test_fewer_labelled_micrographs_than_folds_are_an_error_before_anything_is_read(data):
    def never(index):
        raise AssertionError("read")

    series = replace(data[0], reader=never)
    with pytest.raises(LabelsError, match="4 folds need as many labelled micrographs, and there are 3"):
        cross_validate(series, data[1], QUICK, 4)
    with pytest.raises(SettingsError, match="folds is 1"):
        cross_validate(series, data[1], QUICK, 1)
