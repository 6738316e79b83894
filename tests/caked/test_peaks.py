"""Peaks: those of an exact greedy search, at sub-pixel places, in an order nobody can dispute."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_caked.peaks import find_peaks, suppress_neighbours


def greedy_reference(values, radius):
    """Walk down all local maxima (8 neighbours), keep what has no kept one strictly within the radius."""
    height, width = values.shape
    found = []
    for y in range(height):
        for x in range(width):
            around = values[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            if np.isfinite(values[y, x]) and values[y, x] >= around[np.isfinite(around)].max():
                found.append((-values[y, x], y, x))
    kept = []
    for score, y, x in sorted(found):
        place = np.array([refined(values, y, x, 0), refined(values, y, x, 1)])
        if all(np.hypot(*(place - other)) >= radius for other, _ in kept):
            kept.append((place, -score))
    return np.array([place for place, _ in kept]).reshape(-1, 2), np.array([score for _, score in kept])


def refined(values, y, x, axis):
    """Top of the parabola through three points, at most half a pixel off."""
    line, i = (values[:, x], y) if axis == 0 else (values[y], x)
    if not 0 < i < len(line) - 1:
        return float(i)
    before, centre, after = (float(value) for value in line[i - 1 : i + 2])
    curvature = before - 2 * centre + after
    if not np.isfinite(curvature) or curvature >= 0:
        return float(i)
    return i + min(max(0.5 * (before - after) / curvature, -0.5), 0.5)


@pytest.mark.parametrize("seed", range(200))
def test_peaks_are_those_of_a_greedy_search(seed):
    dice = np.random.default_rng(seed)
    values = dice.normal(size=dice.integers(1, 25, 2))
    if seed % 3 == 0:
        values = np.round(values)  # many ties
    if seed % 4 == 0:
        values[dice.random(values.shape) < 0.1] = np.nan
    radius = dice.uniform(0, 8)
    yx, scores = find_peaks(values, radius)
    expected_yx, expected_scores = greedy_reference(values, radius)
    np.testing.assert_allclose(yx, expected_yx, atol=1e-9)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("width", [2.0, 3.0, 5.0])
def test_a_gaussian_peak_is_found_to_a_twentieth_of_a_pixel(width):
    dice = np.random.default_rng(0)
    rows, columns = np.mgrid[:41, :43]
    for centre in dice.uniform(15, 25, (20, 2)):
        values = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * width**2))
        yx, _ = find_peaks(values.astype(np.float32), 5)
        assert np.abs(yx[0] - centre).max() < 0.05


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)), st.floats(0, 5))
def test_any_map_gives_finite_peaks_in_falling_order_far_enough_apart(values, radius):
    yx, scores = find_peaks(values, radius)
    assert np.isfinite(yx).all() and np.isfinite(scores).all()
    assert (np.diff(scores) <= 0).all()
    assert ((yx >= -0.5) & (yx <= np.array(values.shape) - 0.5)).all()
    for i in range(len(yx)):
        assert (np.linalg.norm(yx[:i] - yx[i], axis=1) >= radius).all()


@pytest.mark.parametrize("nothing", [np.nan, -np.inf, np.inf])
def test_a_pixel_without_a_value_is_never_picked(nothing):
    values = np.zeros((9, 9))
    values[4, 4], values[4, 5], values[1, 1] = 5, nothing, nothing
    yx, scores = find_peaks(values, 3, minimum=1)
    np.testing.assert_array_equal(yx, [[4, 4]])
    np.testing.assert_array_equal(scores, [5])


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)], ids=str)
def test_an_empty_map_has_no_peaks(shape):
    yx, scores = find_peaks(np.zeros(shape), 3)
    assert (yx.shape, scores.shape) == ((0, 2), (0,))


def test_a_map_of_nothing_has_no_peaks():
    assert len(find_peaks(np.full((5, 5), np.nan), 3)[0]) == 0


def test_among_equals_the_first_in_reading_order_wins():
    values = np.zeros((12, 12))
    for y, x in ((8, 3), (3, 8), (3, 4)):
        values[y, x] = 1
    yx, _ = find_peaks(values, 5, minimum=0.5)
    np.testing.assert_array_equal(yx, [[3, 4], [8, 3]])


def test_only_peaks_above_the_minimum_count():
    values = np.zeros((12, 12))
    values[3, 3], values[9, 9] = 1, 2
    np.testing.assert_array_equal(find_peaks(values, 2, minimum=1)[0], [[9, 9]])


def test_two_at_exactly_the_radius_both_stay():
    np.testing.assert_array_equal(suppress_neighbours(np.array([[0.0, 0], [0, 3], [0, 5]]), 3.0), [True, True, False])


def test_one_that_is_dropped_drops_nobody():
    np.testing.assert_array_equal(suppress_neighbours(np.array([[0.0, 0], [0, 2], [0, 4]]), 3.0), [True, False, True])
