"""Scoring: cases counted by hand, and average precision against another implementation."""

import csv
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_caked.curves import precision_recall
from napari_caked.errors import LabelsError, SettingsError
from napari_caked.evaluation import evaluate, evaluate_micrographs, match
from napari_caked.evaluation_tables import format_of, report_as, report_rows
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


def best_assignment(picks, labels, radius):
    """The least sum of min(d² - r², 0), by trying every way to give picks to labels."""
    costs = [[min(math.dist(p, q) ** 2 - radius**2, 0) for q in labels] for p in picks]
    ways = itertools.permutations(range(len(picks)), len(labels))
    return min(sum(costs[i][j] for j, i in enumerate(way)) for way in ways)


@pytest.mark.parametrize("seed", range(10))
def test_the_assignment_is_the_best_of_all(seed):
    dice = np.random.default_rng(seed)
    picks, labels = dice.uniform(0, 20, (6, 2)), dice.uniform(0, 20, (4, 2))
    index, distance = match(picks, labels, 8, "assignment")
    right = index >= 0
    assert len(set(index[right])) == right.sum()
    assert (distance[right] < 8).all()
    assert np.sum(distance[right] ** 2 - 64) == pytest.approx(best_assignment(picks, labels, 8))


def test_the_rules_differ_where_a_worse_pick_lies_better():
    """Given a good pick between two labels and a poor one on the nearer, then only the assignment gives way."""
    labels = np.array([[0.0, 0], [0, 10]])
    picks = np.array([[0.0, 4.5], [0, 0]])
    np.testing.assert_array_equal(match(picks, labels, 6)[0], [0, -1])
    np.testing.assert_array_equal(match(picks, labels, 6, "assignment")[0], [1, 0])


def test_a_rule_of_another_name_is_an_error():
    with pytest.raises(ValueError, match="greedy, assignment"):
        match(np.zeros((1, 2)), np.zeros((1, 2)), 5, "nearest")


def test_figures_of_the_curve_by_hand():
    curve = precision_recall(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 1, 0, 1, 0], bool), 4)
    assert curve.recall_at(0.9) == pytest.approx(0.5)
    assert curve.recall_at(0.7) == pytest.approx(0.75)
    assert curve.best == (pytest.approx(6 / 8), 0.6)
    assert curve.at(0.65) == (3, 2)
    assert curve.at(0.95) == (0, 0)
    assert precision_recall(np.array([0.9]), np.array([False]), 3).recall_at(0.9) == 0


@pytest.mark.parametrize("seed", range(5))
def test_curve_points_are_counts_above_a_threshold(seed):
    dice = np.random.default_rng(seed)
    scores, right = np.round(dice.uniform(size=60), 1), dice.uniform(size=60) < 0.5
    curve = precision_recall(scores, right, 40)
    for threshold, picks, hits in zip(curve.threshold, curve.picks, curve.hits, strict=True):
        assert (picks, hits) == ((scores >= threshold).sum(), right[scores >= threshold].sum())
        assert curve.at(threshold) == (picks, hits)
    assert list(curve.threshold) == sorted(set(scores), reverse=True)


PICKS = [[0, 50, 53], [0, 150, 150], [0, 50, 150], [1, 80, 84]]


def report(pixel_size=None, **options):
    labels = [*LABELS, [1, 200, 200]]
    picks = table(PICKS, [0.9, 0.8, 0.4, 0.7])
    return evaluate_micrographs(picks, table(labels), radius=5, pixel_size=pixel_size, **options)


def test_micrographs_one_by_one_and_together():
    result = report(pixel_size=2.0)
    first, second = (one.evaluation for one in result.micrographs)
    assert [one.name for one in result.micrographs] == ["a.mrc", "b.mrc"]
    assert (first.labels, first.picks, first.candidates, first.precision, first.recall) == (2, 2, 3, 1 / 2, 1 / 2)
    assert (second.labels, second.picks, second.precision, second.recall) == (2, 1, 1, 1 / 2)
    assert (result.together.labels, result.together.picks) == (4, 3)
    assert result.together.precision == 2 / 3
    # Distances 3, 0 and 4 pixels of 2 Å.
    assert result.together.localisation_error == pytest.approx(math.sqrt(25 / 3))
    assert result.together.localisation_median == 3
    assert result.together.in_angstrom(result.together.localisation_median) == 6
    np.testing.assert_array_equal(result.together.scores, [0.9, 0.8, 0.7, 0.4])
    np.testing.assert_array_equal(result.together.right, [True, False, True, True])


def test_a_micrograph_whose_labels_all_lie_in_the_border_has_no_recall():
    labels = table([[0, 50, 50], [1, 3, 3]])
    result = evaluate_micrographs(table([[0, 50, 50]]), labels, radius=5, border=10, shape=(300, 300))
    second = result.micrographs[1].evaluation
    assert second.labels == 0
    assert math.isnan(second.recall) and math.isnan(second.f1) and math.isnan(second.average_precision)
    assert result.together.recall == 1
    assert json.loads(report_as(result, "json"))["micrographs"][1]["recall"] is None


def test_tables_say_the_same_in_every_form():
    result = report(pixel_size=2.0)
    rows = report_rows(result)
    assert [row["micrograph"] for row in rows] == ["a.mrc", "b.mrc", "together"]
    read = list(csv.DictReader(report_as(result, "csv").splitlines()))
    assert [float(row["localisation_rms_angstrom"]) for row in read] == [
        pytest.approx(row["localisation_rms_angstrom"]) for row in rows
    ]
    numbers = json.loads(report_as(result, "json"))
    assert numbers["average_precision"] == rows[-1]["average_precision"]
    assert [one["labels"] for one in numbers["micrographs"]] == [2, 2]
    assert "micrographs" not in json.loads(report_as(result, "json", per_micrograph=False))
    text, markdown = report_as(result, "text").splitlines(), report_as(result, "markdown").splitlines()
    assert [line.split()[0] for line in text] == ["micrograph", "a.mrc", "b.mrc", "together"]
    assert len({line.count("|") for line in markdown}) == 1
    assert markdown[2].split("|")[4].strip() == "0.5"  # precision on a.mrc
    assert "average precision" in report_as(result, "text", per_micrograph=False)


def test_without_a_pixel_size_there_are_no_angstrom():
    assert report_rows(report())[-1]["localisation_rms_angstrom"] is None
    assert "angstrom" not in report_as(report(), "text", per_micrograph=False)


def test_the_name_of_a_table_chooses_its_form():
    assert [format_of(Path(f"a{suffix}")) for suffix in (".csv", ".MD", ".json", ".txt")] == [
        "csv",
        "markdown",
        "json",
        "text",
    ]
    with pytest.raises(SettingsError, match=r"a\.xlsx.*\.csv"):
        format_of(Path("a.xlsx"))
