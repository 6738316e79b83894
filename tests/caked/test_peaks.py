"""Peaks: those of an exact greedy search, at sub-pixel places, in an order nobody can dispute."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from napari_caked.peaks import find_peaks, suppress_neighbours


def greedy_reference(values, radius):
    """Walk down all local maxima (8 neighbours), keep what has no kept one strictly within the radius: O(n^2)."""
    height, width = values.shape
    found = []
    for y in range(height):
        for x in range(width):
            around = values[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            if np.isfinite(values[y, x]) and values[y, x] >= around[np.isfinite(around)].max():
                found.append((-values[y, x], y, x))
    places, scores = [], []
    for score, y, x in sorted(found):
        place = refined(values, y, x)
        if not places or (((place - np.array(places)) ** 2).sum(axis=1) >= radius**2).all():
            places.append(place)
            scores.append(-score)
    return np.array(places).reshape(-1, 2), np.array(scores)


#: Least squares through the nine points: columns 1, y, x, y^2, x^2, x y.
PARABOLOID = np.linalg.pinv([[1, y, x, y * y, x * x, x * y] for y in (-1, 0, 1) for x in (-1, 0, 1)])


def refined(values, y, x):
    """Top of the paraboloid through the nine points, else of the parabola on each axis, at most half a pixel off."""
    nine = values[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
    if nine.shape == (3, 3) and np.isfinite(nine).all():
        _, gy, gx, hyy, hxx, hxy = PARABOLOID @ (nine - values[y, x]).reshape(-1)
        hessian = np.array([[2 * hyy, hxy], [hxy, 2 * hxx]])
        if hyy < 0 and np.linalg.det(hessian) > 1e-3 * np.trace(hessian) ** 2:
            return np.array([y, x]) + np.clip(np.linalg.solve(hessian, [-gy, -gx]), -0.5, 0.5)
    return np.array([along(values[:, x], y), along(values[y], x)])


def along(line, i):
    """Top of the parabola through three points, at most half a pixel off."""
    if not 0 < i < len(line) - 1:
        return float(i)
    before, centre, after = (float(value) for value in line[i - 1 : i + 2])
    curvature = before - 2 * centre + after
    if not np.isfinite(curvature) or curvature >= 0:
        return float(i)
    return i + min(max(0.5 * (before - after) / curvature, -0.5), 0.5)


def random_map(seed):
    """Maps of all kinds: white and smooth, with ties, plateaus, slopes and missing values, of any small shape."""
    dice = np.random.default_rng(seed)
    values = dice.normal(size=dice.integers(1, 26, 2))
    if seed % 2:
        values = gaussian_filter(values, dice.uniform(0.4, 2)) * 4
    if seed % 3 == 0:
        values = np.round(values)  # ties and plateaus
    if seed % 5 == 0:
        values += np.arange(values.shape[1]) * dice.uniform(-1, 1)  # a slope: each peak waits for the next
    if seed % 4 == 0:
        values[dice.random(values.shape) < 0.1] = np.nan
    if seed % 7 == 0:
        values = values.astype(np.float32)
    return values, dice.uniform(0, 9)


@pytest.mark.parametrize("hundred", range(10))
def test_peaks_are_those_of_a_greedy_search(hundred):
    for seed in range(100 * hundred, 100 * hundred + 100):
        values, radius = random_map(seed)
        yx, scores = find_peaks(values, radius)
        expected_yx, expected_scores = greedy_reference(values.astype(np.float64), radius)
        np.testing.assert_allclose(yx, expected_yx, atol=1e-6, err_msg=f"seed {seed}")
        np.testing.assert_array_equal(scores, expected_scores, err_msg=f"seed {seed}")


@pytest.mark.parametrize("radius", [1.0, 3.0, 11.0])
def test_a_plateau_is_packed_in_reading_order(radius):
    values = np.zeros((30, 40))
    yx, _ = find_peaks(values, radius)
    kept: list[tuple[int, int]] = []
    for y in range(30):
        for x in range(40):
            if all((y - b) ** 2 + (x - a) ** 2 >= radius**2 for b, a in kept):
                kept.append((y, x))
    np.testing.assert_array_equal(yx, kept)


def test_a_long_slope_of_peaks_is_walked_down_to_its_end():
    """Each peak is within the radius of a higher one, which decides it: no shortcut over many rounds."""
    heights = np.zeros((3, 2001))
    heights[1, 1::2] = np.arange(1, 1001)
    yx, _ = find_peaks(heights, 3.0, minimum=0)
    np.testing.assert_allclose(yx[:, 1], np.arange(1999, 0, -4), atol=0.5)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 30), st.integers(2, 300))
def test_suppression_of_any_points_is_the_walk_itself(seed, radius, count):
    dice = np.random.default_rng(seed)
    yx = dice.uniform(-50, 50, (count, 2)) * dice.uniform(0, 2, 2)
    if seed % 2:
        yx = np.round(yx)  # the same place several times, and distances of exactly the radius
        radius = round(radius)
    kept: list[int] = []
    for i in range(count):
        if all(((yx[i] - yx[j]) ** 2).sum() >= radius**2 for j in kept):
            kept.append(i)
    np.testing.assert_array_equal(np.flatnonzero(suppress_neighbours(yx, radius)), kept)


@pytest.mark.parametrize("shape", [(1.5, 1.5), (1.2, 2.4), (3, 3), (2, 4)], ids=str)
def test_round_and_elongated_peaks_are_found_to_a_tenth_of_a_pixel(shape):
    """Elongated peaks lie askew, where parabolas along the axes would be a fifth of a pixel off."""
    dice = np.random.default_rng(0)
    rows, columns = np.mgrid[:41, :43]
    errors = []
    for centre in dice.uniform(15, 25, (50, 2)):
        angle = dice.uniform(0, np.pi)
        y, x = rows - centre[0], columns - centre[1]
        across, along = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)
        values = np.exp(-0.5 * ((across / shape[0]) ** 2 + (along / shape[1]) ** 2))
        errors.append(find_peaks(values.astype(np.float32), 5)[0][0] - centre)
    assert np.sqrt(np.mean(np.square(errors).sum(axis=1))) < 0.1


@pytest.mark.parametrize("minimum", [-0.5, 0.0, 1.5])
def test_a_minimum_only_leaves_out(minimum):
    values = np.random.default_rng(1).normal(size=(60, 60)).astype(np.float32)
    everything, scores = find_peaks(values, 4)
    some, _ = find_peaks(values, 4, minimum)
    np.testing.assert_array_equal(some, everything[scores > minimum])


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
