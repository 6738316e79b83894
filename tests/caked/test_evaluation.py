"""Scoring: cases counted by hand, and average precision against another implementation."""

import math

import numpy as np
import pandas as pd
import pytest

from napari_caked.errors import LabelsError
from napari_caked.evaluation import evaluate, match
from napari_empiarreader.coordinates import ParticleTable


def table(rows, scores=None, names=("a.mrc", "b.mrc")):
    features = pd.DataFrame() if scores is None else pd.DataFrame({"score": scores})
    return ParticleTable(names, np.array(rows, float).reshape(-1, 3), features)


LABELS = [[0, 50, 50], [0, 50, 150], [1, 80, 80]]


def test_perfect_picks():
    result = evaluate(table(LABELS, [0.9, 0.8, 0.7]), table(LABELS), radius=5)
    assert (result.picks, result.labels) == (3, 3)
    assert result.precision == result.recall == result.f1 == result.average_precision == result.best_f1 == 1
    assert result.localisation_error == 0
    assert result.best_threshold == 0.7


def test_one_false_pick_between():
    picks = table([*LABELS[:1], [0, 200, 200], *LABELS[1:]], [0.9, 0.8, 0.7, 0.6])
    result = evaluate(picks, table(LABELS), radius=5)
    assert (result.precision, result.recall) == (3 / 4, 1)
    assert result.f1 == pytest.approx(6 / 7)
    # Recall grows by a third at each right pick, at precisions 1/1, 2/3 and 3/4.
    assert result.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    np.testing.assert_allclose(
        result.curve, [[0.9, 1 / 3, 1], [0.8, 1 / 3, 1 / 2], [0.7, 2 / 3, 2 / 3], [0.6, 1, 3 / 4]]
    )


def test_a_second_pick_of_one_particle_is_false():
    result = evaluate(table([[0, 50, 50], [0, 51, 50]], [0.9, 0.8]), table(LABELS), radius=5)
    assert (result.precision, result.recall) == (1 / 2, 1 / 3)
    assert result.average_precision == pytest.approx(1 / 3)


def test_the_better_scored_pick_chooses_first():
    picks = table([[0, 54, 50], [0, 50, 50]], [0.4, 0.9])
    result = evaluate(picks, table([[0, 50, 50]]), radius=5)
    assert result.localisation_error == 0
    assert result.precision == 1  # at 0.5 the worse one does not count


def test_a_match_needs_the_same_micrograph_and_the_radius():
    assert evaluate(table([[1, 50, 50]], [0.9]), table([[0, 50, 50], [1, 9, 9]]), radius=5).recall == 0
    assert evaluate(table([[0, 53, 54]], [0.9]), table([[0, 50, 50]]), radius=5).recall == 1
    assert evaluate(table([[0, 53, 54.1]], [0.9]), table([[0, 50, 50]]), radius=5).recall == 0


def test_the_threshold_decides_what_counts():
    picks = table([*LABELS, [0, 200, 200]], [0.9, 0.5, 0.1, 0.2])
    result = evaluate(picks, table(LABELS), radius=5, threshold=0.5)
    assert (result.precision, result.recall) == (1, 2 / 3)
    assert (result.best_f1, result.best_threshold) == (pytest.approx(6 / 7), 0.1)


def test_picks_without_scores_all_count_alike():
    result = evaluate(table([*LABELS, [0, 200, 200]]), table(LABELS), radius=5)
    assert result.average_precision == result.precision == 3 / 4
    assert len(result.curve) == 1


def test_the_order_of_equal_scores_does_not_matter():
    rows = np.array([*LABELS, [0, 200, 200], [1, 10, 10]])
    results = {
        evaluate(table(rows[order], [0.5] * 5), table(LABELS), radius=5).average_precision
        for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 2, 1])
    }
    assert results == {3 / 5}


def test_scores_that_are_missing_count_alike_and_lowest():
    """Given a file of hand picks, where no score was ever set, then they are judged as picks without scores."""
    result = evaluate(table([*LABELS, [0, 200, 200]], [np.nan] * 4), table(LABELS), radius=5)
    assert result.average_precision == result.precision == 3 / 4


def test_no_picks_are_a_result():
    result = evaluate(table([], []), table(LABELS), radius=5)
    assert (result.picks, result.labels) == (0, 3)
    assert result.precision == result.recall == result.f1 == result.average_precision == result.best_f1 == 0
    assert math.isnan(result.localisation_error)


def test_micrographs_without_labels_are_not_scored():
    result = evaluate(table([[0, 50, 50], [1, 9, 9]], [0.9, 0.8]), table([[0, 50, 50]]), radius=5)
    assert (result.picks, result.precision) == (1, 1)


def test_names_are_matched_with_or_without_folders():
    picks = table([[1, 50, 50]], [0.9], names=("z.mrc", "MotionCorr/a.mrc"))
    assert evaluate(picks, table([[0, 50, 50]]), radius=5).recall == 1


@pytest.mark.parametrize(
    "pick, label, picks, labels",
    [
        ((50, 50), (50, 50), 1, 1),
        ((10, 50), (10, 50), 0, 0),  # both in the border
        ((31, 50), (33, 50), 1, 1),  # a pick in the border that found a label inside
        ((33, 50), (31, 50), 0, 0),  # a pick inside that found a label in the border
        ((10, 50), (90, 50), 0, 1),  # a false pick in the border, a missed label inside
        ((90, 50), (10, 50), 1, 0),  # a false pick inside, a missed label in the border
    ],
)
def test_the_border_counts_neither_for_nor_against(pick, label, picks, labels):
    inner = [0, 150, 150]
    result = evaluate(
        table([inner, [0, *pick]], [0.9, 0.8]), table([inner, [0, *label]]), radius=5, border=32, shape=(300, 300)
    )
    assert (result.picks, result.labels) == (1 + picks, 1 + labels)


def test_all_four_edges_have_a_border():
    rows = [[0, 5, 100], [0, 294, 100], [0, 100, 5], [0, 100, 394], [0, 32, 32], [0, 267, 367]]
    assert evaluate(table(rows, [0.9] * 6), table(rows), radius=3, border=32, shape=(300, 400)).labels == 2


@pytest.mark.parametrize(
    "picks, labels, options, message",
    [
        ([[0, 1, 1]], [], {}, "no labels to score against"),
        ([[0, 1, 1]], LABELS, {"border": 5}, "size of the micrographs"),
        ([[0, 1, 1]], [[0, 1, 1]], {"border": 5, "shape": (50, 50)}, "all labels lie in the border"),
    ],
)
def test_what_cannot_be_scored_is_an_error(picks, labels, options, message):
    with pytest.raises(LabelsError, match=message):
        evaluate(table(picks), table(labels), radius=5, **options)


def test_picks_on_quite_other_micrographs_are_an_error():
    with pytest.raises(LabelsError, match=r"no micrograph .*z\.mrc.*a\.mrc"):
        evaluate(table([[0, 50, 50]], [0.9], names=("z.mrc",)), table(LABELS), radius=5)


def test_a_match_is_the_nearest_label_still_free():
    index, distance = match(np.array([[0.0, 0], [0, 0], [0, 0], [0, 0]]), np.array([[0.0, 3], [0, 1], [0, 9]]), 5)
    np.testing.assert_array_equal(index, [1, 0, -1, -1])
    np.testing.assert_array_equal(distance, [1, 3, np.inf, np.inf])


def independent_average_precision(picks, scores, labels, radius):
    """Threshold by threshold, without any cumulative sums."""
    right = []
    free = {tuple(label) for label in labels}
    for i in np.argsort(-scores, kind="stable"):
        near = [label for label in free if label[0] == picks[i][0] and math.dist(label[1:], picks[i][1:]) <= radius]
        if near:
            free.remove(min(near, key=lambda label: math.dist(label[1:], picks[i][1:])))
        right.append((scores[i], bool(near)))
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        above = [hit for score, hit in right if score >= threshold]
        gained = sum(above) / len(labels) - recall
        area, recall = area + gained * sum(above) / len(above), recall + gained
    return area


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_that_of_another_implementation(seed):
    dice = np.random.default_rng(seed)
    labels = np.column_stack([dice.integers(0, 2, 30), dice.uniform(0, 100, (30, 2))])
    picks = np.concatenate([labels[:20] + [0, 2, 1], np.column_stack([np.zeros(25), dice.uniform(0, 100, (25, 2))])])
    scores = np.round(dice.uniform(0, 1, 45), 1 if seed % 2 else 6)
    # Equal scores are walked in the order of the file, micrograph by micrograph.
    order = np.argsort(picks[:, 0], kind="stable")
    result = evaluate(table(picks[order], scores[order]), table(labels), radius=8)
    assert result.average_precision == pytest.approx(
        independent_average_precision(picks[order], scores[order], labels, 8), abs=1e-12
    )
