"""How near particles come to each other."""

import numpy as np
import pytest
from scipy.special import expit, logit

from napari_caked.spacing import Spacing, estimate_spacing

WIDTH = 30.0
SIDE = 1500.0


def hard_core(seed, distance, count=700):
    """Random places, none nearer to another than ``distance`` particle widths."""
    dice, kept = np.random.default_rng(seed), []
    for place in dice.uniform(0, SIDE, (20 * count, 2)):
        if not kept or np.hypot(*(np.array(kept) - place).T).min() >= distance * WIDTH:
            kept.append(place)
        if len(kept) == count:
            break
    return np.array(kept)


def learned(places):
    return estimate_spacing([(yx, np.full(len(yx), 3.0)) for yx in places], [SIDE**2] * len(places), WIDTH)


def factor(spacing, distance):
    if not spacing.edges or distance >= spacing.edges[-1]:
        return 1.0
    return float(np.array(spacing.factors)[np.searchsorted(spacing.edges, distance, side="right") - 1])


@pytest.mark.parametrize("core", [0.6, 0.9])
def test_particles_that_keep_apart_are_seen_to_do_so(core):
    spacing = learned([hard_core(seed, core) for seed in (0, 1, 2)])
    assert factor(spacing, core - 0.15) < 0.05
    assert factor(spacing, 1.15) == 1


def test_particles_that_stand_anywhere_have_no_spacing():
    dice = np.random.default_rng(0)
    spacing = learned([dice.uniform(0, SIDE, (1500, 2)) for _ in range(4)])
    assert spacing == Spacing()


def test_a_few_particles_say_little():
    assert learned([hard_core(0, 0.9, count=4)]) == Spacing()


def test_factors_never_fall_with_distance():
    spacing = learned([hard_core(3, 0.75)])
    assert list(spacing.factors) == sorted(spacing.factors)
    assert 0 < spacing.factors[0] <= spacing.factors[-1] < 1 / 3


@pytest.mark.parametrize("places", [[], [(np.empty((0, 2)), np.empty(0))], [(np.zeros((1, 2)), np.array([2.0]))]])
def test_nothing_to_learn_from_changes_nothing(places):
    spacing = estimate_spacing(places, [1e6] * len(places), WIDTH)
    odds = np.array([2.0, 1.0])
    np.testing.assert_array_equal(spacing.adjusted(np.array([[0.0, 0.0], [1.0, 1.0]]), odds, WIDTH), odds)


def test_odds_fall_by_the_mean_factor_of_each_surer_neighbour():
    """Given three in a row, then the second is lowered by the first, and the third by the second as it then is."""
    spacing = Spacing(edges=(0.4, 0.6, 0.8), factors=(0.1, 0.5))
    yx = np.array([[0.0, 0.0], [0.0, 0.7 * WIDTH], [0.0, 1.2 * WIDTH]])
    odds = np.array([3.0, 2.0, 1.0])
    first = 3.0
    second = 2.0 + np.log(1 - expit(first) * 0.5)
    third = 1.0 + np.log(1 - expit(second) * 0.9)
    np.testing.assert_allclose(spacing.adjusted(yx, odds, WIDTH), [first, second, third])


def test_the_order_in_which_candidates_come_does_not_matter():
    dice = np.random.default_rng(5)
    yx, odds = dice.uniform(0, 400, (200, 2)), dice.normal(0, 2, 200)
    spacing, turned = learned([hard_core(1, 0.8)]), dice.permutation(200)
    np.testing.assert_allclose(
        spacing.adjusted(yx[turned], odds[turned], WIDTH), spacing.adjusted(yx, odds, WIDTH)[turned], rtol=1e-12
    )


def test_distances_count_in_particle_widths():
    spacing, yx = Spacing((0.4, 0.8), (0.2,)), np.array([[0.0, 0.0], [0.0, 20.0]])
    odds = logit(np.array([0.9, 0.8]))
    assert spacing.adjusted(yx, odds, 30.0)[1] < odds[1]
    assert spacing.adjusted(yx, odds, 20.0)[1] == odds[1]


@pytest.mark.parametrize(
    ("edges", "factors"), [((0.4,), (0.5,)), ((0.6, 0.4), (0.5,)), ((0.4, 0.6), (0.0,)), ((0.4, 0.6), (1.5,))]
)
def test_a_spacing_without_meaning_is_refused(edges, factors):
    with pytest.raises(ValueError, match="spacing"):
        Spacing(edges, factors)
