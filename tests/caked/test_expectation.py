"""Counting particles: with a few labels about right where they stand out at all, and never nothing."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_caked.expectation import count_particles, values_at_labels
from napari_caked.mixture import fit_two_components


def map_with(count, height, seed=0, size=240):
    """A correlation map of noise with deviation 1 and particles of a height, at least 18 apart; and their places."""
    dice = np.random.default_rng(seed)
    values = gaussian_filter(dice.normal(size=(size, size)), 4)
    values /= values.std()
    places: list[np.ndarray] = []
    while len(places) < count:
        place = dice.uniform(8, size - 8, 2)
        if all(np.hypot(*(place - other)) > 18 for other in places):
            places.append(place)
    rows, columns = np.mgrid[:size, :size]
    for y, x in places:
        values += height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (4 * 4**2))
    return values - values.mean(), np.array(places).reshape(-1, 2)


def labels_of(places, count, seed=0):
    """A random few of all particles, map by map."""
    rows = [(i, j) for i, points in enumerate(places) for j in range(len(points))]
    chosen = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    return [points[[rows[k][1] for k in sorted(chosen) if rows[k][0] == i]] for i, points in enumerate(places)]


@pytest.mark.parametrize("labels", [1, 10, 100])
@pytest.mark.parametrize("count, height, error", [(10, 6, 2), (40, 6, 4), (80, 6, 8), (40, 4, 10), (80, 4, 16)])
def test_few_particles_and_many_are_counted_from_any_number_of_labels(count, height, error, labels):
    maps, places = zip(*(map_with(count, height, seed) for seed in range(3)), strict=True)
    result = count_particles(maps, 14, labels_of(places, labels))
    assert result.per_micrograph == pytest.approx(count, abs=error)


def test_close_particles_leave_no_room_for_chance_and_are_counted_all_the_same():
    maps, places = zip(*(map_with(80, 4.0, seed) for seed in range(3)), strict=True)
    without = count_particles(maps, 14).per_micrograph
    assert without < 0.6 * 80  # what comparing with decoys alone would say
    assert count_particles(maps, 14, labels_of(places, 10)).per_micrograph > 0.8 * 80


@pytest.mark.parametrize("seed", range(3))
def test_a_label_on_nothing_makes_no_particles(seed):
    """Given noise alone and one wrong click, when counting, then next to nothing is expected."""
    values, _ = map_with(0, 0, seed)
    click = count_particles([values], 14).peaks[0][20:21]
    assert count_particles([values], 14, [click]).per_micrograph <= 3
    assert count_particles([values], 14, [click + 7]).per_micrograph <= 3


def test_probabilities_tell_particles_from_chance():
    values, places = map_with(40, 6.0)
    result = count_particles([values], 14, [places[:10]])
    right = np.linalg.norm(result.peaks[0][:, None] - places, axis=2).min(axis=1) < 5
    assert ((result.probabilities[0] > 0.5) == right).mean() > 0.97
    assert result.probabilities[0].sum() == pytest.approx(right.sum(), rel=0.1)


def test_labels_without_a_maximum_say_that_more_are_missed():
    values, places = map_with(40, 6.0)
    beside = np.array([[y, x] for y in (60.0, 180.0) for x in (60.0, 180.0)])
    far = beside[np.linalg.norm(beside[:, None] - count_particles([values], 14).peaks[0], axis=2).min(axis=1) > 7]
    assert len(far)
    plain = count_particles([values], 14, [places[:10]]).per_micrograph
    more = count_particles([values], 14, [np.concatenate([places[:10], far])]).per_micrograph
    assert more == pytest.approx(plain * (14 + len(far)) / 14)


def test_without_labels_particles_are_compared_with_decoys():
    maps, _ = zip(*(map_with(20, 8.0, seed) for seed in range(3)), strict=True)
    result = count_particles(maps, 14)
    assert 15 <= result.per_micrograph <= 25
    assert result.mixture is None
    assert result.probabilities == ()
    assert len(result.peaks) == len(result.heights) == 3


def test_noise_alone_holds_next_to_nothing():
    assert count_particles([map_with(0, 0, seed)[0] for seed in range(3)], 14).per_micrograph <= 2


def test_there_is_always_at_least_one():
    assert count_particles([np.zeros((30, 30))], 5).per_micrograph == 1
    assert count_particles([np.zeros((30, 30))], 5, [np.array([[10.0, 10.0]])]).per_micrograph == 1


def test_the_parts_of_a_known_mixture_are_found():
    dice = np.random.default_rng(0)
    particles, chance = dice.normal(3, 0.8, 6000), dice.standard_t(5, 4000)
    values = np.concatenate([particles, chance])
    found = fit_two_components(values, particles[:20], dice.standard_t(5, 4000))
    assert found.share == pytest.approx(0.6, abs=0.02)
    assert (found.mean, found.deviation) == (pytest.approx(3, abs=0.05), pytest.approx(0.8, abs=0.05))
    assert (found.chance_mean, found.chance_deviation) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))
    assert found.posterior(values).mean() == pytest.approx(found.share, abs=1e-3)
    # Its density is one: a sum over a fine grid.
    grid = np.linspace(-200, 200, 400_001)
    assert np.exp(found.log_density(grid)).sum() * 1e-3 == pytest.approx(1, abs=1e-4)


def test_the_posterior_is_that_of_bayes():
    from scipy.stats import norm, t

    found = fit_two_components(
        np.array([0.0, 0.1, 3.0, 3.2, -0.4, 2.9]), np.array([3.0]), np.array([0.0, 0.3, -0.3, 0])
    )
    s = np.array([-1.0, 1.5, 3.0])
    particle = found.share * norm.pdf(s, found.mean, found.deviation)
    chance = (1 - found.share) * t.pdf(s, 5, found.chance_mean, found.chance_deviation)
    np.testing.assert_allclose(found.posterior(s), particle / (particle + chance), rtol=1e-9)


def test_values_at_labels_are_those_of_the_nearest_maxima_each_once():
    found = [(np.array([[10.0, 10], [40, 40]]), np.array([5.0, 3.0])), (np.empty((0, 2)), np.empty(0))]
    labels = [np.array([[11.0, 10], [9, 10], [70, 70]]), np.array([[5.0, 5]])]
    values, reach = values_at_labels(found, labels, 4)
    np.testing.assert_array_equal(values, [5.0])
    assert reach == pytest.approx((1 + 4) / (4 + 4))
    assert len(values_at_labels(found, [np.empty((0, 2))] * 2, 4)[0]) == 0
