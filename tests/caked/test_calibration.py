"""Calibration: probabilities that come true on mixtures whose truth is known, whatever the labels are like."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import beta, norm

from napari_caked.calibration import (
    Calibration,
    estimate_calibration,
    expected_count,
    expected_precision,
    expected_recall,
    micrograph_shift,
    reliability,
)


def mixture(particles, chance, apart, seed=0, spread=1.5):
    """Logits of particles and of chance maxima ``(n,)`` whose means are so far apart, which is which, and decoys."""
    dice = np.random.default_rng(seed)
    logits = np.concatenate([dice.normal(apart, spread, particles), dice.normal(0, 1.5, chance)])
    return logits, np.arange(len(logits)) < particles, dice.normal(0, 1.5, 2 * chance + 50)


def true_log_odds(logits, particles, chance, apart, spread=1.5):
    ratio = norm.logpdf(logits, apart, spread) - norm.logpdf(logits, 0, 1.5)
    return ratio + np.log(particles / chance)


@pytest.mark.parametrize("labels", [1, 3, 10, 100])
@pytest.mark.parametrize("particles, chance, apart", [(800, 400, 4.0), (300, 900, 5.0), (900, 300, 3.5)])
def test_scores_come_true_from_few_labels_or_many(labels, particles, chance, apart):
    logits, right, decoys = mixture(particles, chance, apart)
    labelled = np.random.default_rng(1).choice(logits[right], labels, replace=False)
    scores = estimate_calibration(logits, labelled, decoys=decoys).scores(logits)
    assert scores.sum() == pytest.approx(particles, rel=0.12)
    for threshold in (0.3, 0.5, 0.7, 0.9):
        promised, kept = scores[scores >= threshold].mean(), right[scores >= threshold].mean()
        # Thin tails of chance are not believed in, so a little less is promised than these would keep.
        assert -0.12 < promised - kept < 0.03
    assert reliability(scores, right).error < 0.08


@pytest.mark.parametrize("apart", [3.5, 5.0])
def test_half_is_where_the_true_odds_are_even(apart):
    """Given equal spreads, when the true log-odds are a line, then its zero is found to an eighth of the distance."""
    logits, right, decoys = mixture(600, 600, apart)
    found = estimate_calibration(logits, logits[right][:10], decoys=decoys)
    assert -found.offset / found.slope == pytest.approx(apart / 2, abs=apart / 8)
    assert true_log_odds(np.array([apart / 2]), 600, 600, apart) == pytest.approx(0)


def test_without_decoys_the_values_themselves_say_what_chance_is():
    logits, right, _ = mixture(500, 700, 5.0)
    found = estimate_calibration(logits, logits[right][:10])
    assert found.scores(logits).sum() == pytest.approx(500, rel=0.12)
    assert found.share is None


@pytest.mark.parametrize("scale, move", [(0.02, 0.3), (1.0, 0.0), (40.0, -700.0)])
def test_the_scale_of_the_logits_does_not_matter(scale, move):
    """Given correlations or logits of any size, when they are calibrated, then the scores are the same."""
    logits, right, decoys = mixture(600, 600, 4.0)
    plain = estimate_calibration(logits, logits[right][:10], decoys=decoys).scores(logits)
    moved = [scale * values + move for values in (logits, logits[right][:10], decoys)]
    found = estimate_calibration(moved[0], moved[1], decoys=moved[2]).scores(moved[0])
    np.testing.assert_allclose(found, plain, atol=2e-3)


def test_what_the_user_expects_draws_the_count_towards_it():
    logits, right, decoys = mixture(600, 600, 2.0)
    counts = [
        estimate_calibration(logits, logits[right][:10], expected, decoys=decoys).scores(logits).sum()
        for expected in (300, 600, 900)
    ]
    assert counts[0] < counts[1] < counts[2]
    assert counts[1] == pytest.approx(600, rel=0.1)
    assert counts[0] < 500
    assert counts[2] > 700


def test_all_candidates_may_be_good():
    dice = np.random.default_rng(0)
    logits, decoys = dice.normal(6, 1, 400), dice.normal(0, 1, 300)
    found = estimate_calibration(logits, logits[:10], decoys=decoys)
    assert found.scores(logits).sum() > 0.97 * 400
    assert found.scores(np.array([-1.0]))[0] < 0.5


def test_hardly_any_candidate_may_be_good():
    """Given labels on ordinary chance maxima, when all others are chance too, then only about as many are expected."""
    dice = np.random.default_rng(0)
    logits, decoys = dice.normal(0, 1, 1000), dice.normal(0, 1, 1000)
    found = estimate_calibration(logits, np.sort(logits)[-5:], decoys=decoys)
    assert found.scores(logits).sum() < 40
    assert (found.scores(logits) >= 0.5).sum() <= 10


def test_outliers_do_not_decide():
    logits, right, decoys = mixture(500, 500, 4.0)
    plain = estimate_calibration(logits, logits[right][:10], decoys=decoys).scores(logits)
    wild = np.concatenate([logits, [60.0, 80.0, -70.0, np.inf, np.nan]])
    found = estimate_calibration(wild, np.append(logits[right][:10], -2.0), decoys=decoys).scores(logits)
    assert found.sum() == pytest.approx(plain.sum(), rel=0.1)
    assert np.mean((found >= 0.5) == (plain >= 0.5)) > 0.95


def test_equal_logits_are_no_crash():
    found = estimate_calibration(np.full(50, 2.0), np.full(3, 2.0), decoys=np.full(20, 2.0))
    assert np.isfinite([found.slope, found.offset]).all()
    assert found.slope > 0


@pytest.mark.parametrize("candidates, labelled, what", [([], [1.0], "candidates"), ([1.0, 2.0], [np.nan], "labels")])
def test_nothing_to_calibrate_with_is_an_error(candidates, labelled, what):
    with pytest.raises(ValueError, match=what):
        estimate_calibration(np.array(candidates), np.array(labelled))


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8),
    st.lists(st.floats(-1e3, 1e3), max_size=40),
)
def test_whatever_comes_the_order_stays_and_nothing_is_lost(candidates, labelled, decoys):
    found = estimate_calibration(np.array(candidates), np.array(labelled), decoys=np.array(decoys))
    assert np.isfinite([found.slope, found.offset]).all()
    assert found.slope > 0


CALIBRATED = estimate_calibration((train := mixture(800, 400, 4.0))[0], train[0][train[1]][:10], decoys=train[2])


def test_a_micrograph_like_those_of_the_training_is_left_alone():
    for seed, particles in itertools.product(range(5), (60, 100, 130)):
        logits, _, decoys = mixture(particles, 60, 4.0, seed=10 + seed)
        assert micrograph_shift(CALIBRATED, logits, decoys).shift == 0


@pytest.mark.parametrize("level, spread", [(0.0, 1.5), (1.0, 1.5), (0.0, 4.0), (3.0, 6.0), (-2.0, 1.0)])
def test_a_micrograph_of_chance_alone_has_no_picks(level, spread):
    """Given noise, ice or carbon, whose candidates look like those of its negative, then none reaches a half."""
    for seed in range(5):
        dice = np.random.default_rng(seed)
        logits, decoys = dice.normal(level, spread, (2, 300))
        found = micrograph_shift(CALIBRATED, logits, decoys)
        scores = expit(CALIBRATED.log_odds(logits) + found.shift)
        assert (scores >= 0.5).sum() == 0
        assert found.share < 1 / 3


def test_a_handful_of_candidates_proves_nothing():
    for seed in range(20):
        logits, _, decoys = mixture(2, 3, 4.0, seed=seed)
        assert micrograph_shift(CALIBRATED, logits, decoys[:10]).shift == 0


@pytest.mark.parametrize(
    "name, value", [("slope", 0.0), ("slope", -1.0), ("offset", np.nan), ("share", 1.0), ("chance_deviation", -1.0)]
)
def test_numbers_that_cannot_calibrate_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Calibration(**{name: value})


def test_no_decoys_no_verdict():
    logits = np.linspace(-3, 3, 100)
    assert not micrograph_shift(CALIBRATED, logits, np.empty(0)).particle_free
    assert not micrograph_shift(Calibration(), logits, logits).particle_free
    assert micrograph_shift(CALIBRATED, np.empty(0), logits).shift == 0


def test_expectations_are_sums_and_means_of_scores():
    scores = np.array([0.9, 0.5, 0.8, 0.2])
    np.testing.assert_allclose(expected_precision(scores, [0.0, 0.5, 0.85, 0.95]), [0.6, 2.2 / 3, 0.9, np.nan])
    np.testing.assert_allclose(expected_count(scores, [0.0, 0.5, 0.95]), [2.4, 2.2, 0])
    np.testing.assert_allclose(expected_recall(scores, [0.0, 0.8]), [1, 1.7 / 2.4])
    assert np.isnan(expected_recall(np.empty(0), [0.5])).all()
    assert expected_count(scores)[0] == pytest.approx(2.4)


def test_reliability_counts_by_hand():
    result = reliability(np.array([0.05, 0.1, 0.95, 1.0, 0.9]), np.array([0, 1, 1, 1, 0], bool), bins=10)
    np.testing.assert_array_equal(result.count, [1, 1, 0, 0, 0, 0, 0, 0, 0, 3])
    assert result.share[9] == pytest.approx(2 / 3)
    assert result.mean_score[9] == pytest.approx(0.95)
    assert np.isnan(result.share[4])
    assert result.error == pytest.approx((1 * 0.05 + 1 * 0.9 + 3 * (0.95 - 2 / 3)) / 5)


def test_scores_that_are_true_are_reliable_and_others_are_not():
    dice = np.random.default_rng(0)
    scores = dice.uniform(size=20000)
    right = dice.uniform(size=20000) < scores
    result = reliability(scores, right)
    assert result.error < 0.01
    assert ((result.low <= result.mean_score) & (result.mean_score <= result.high)).sum() >= 8
    assert reliability(scores, ~right).error > 0.4


@given(st.integers(1, 200), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_wilson_intervals_contain_the_share_and_resemble_exact_ones(count, share):
    hits = round(share * count)
    result = reliability(np.full(count, 0.5), np.arange(count) < hits, bins=1)
    assert 0 <= result.low[0] <= hits / count + 1e-12
    assert hits / count - 1e-12 <= result.high[0] <= 1
    # Jeffreys' interval, another one of the same level.
    low, high = beta.ppf([0.025, 0.975], hits + 0.5, count - hits + 0.5)
    assert abs(result.low[0] - low) < 0.02 + 0.6 / np.sqrt(count) ** 2 + 0.1 / np.sqrt(count)
    assert abs(result.high[0] - high) < 0.02 + 0.6 / np.sqrt(count) ** 2 + 0.1 / np.sqrt(count)


def test_logits_are_no_probabilities():
    with pytest.raises(ValueError, match="no probabilities"):
        reliability(np.array([-1.0, 2.0]), np.array([True, False]))
