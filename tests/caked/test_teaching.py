"""From labels to a teacher: rings are found, certainty follows what was said, and targets stand where places are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_caked import teaching
from napari_caked.expectation import ParticleCount
from napari_caked.preprocess import prepare
from napari_caked.settings import TrainingSettings
from napari_caked.teaching import target_planes, teach

SETTINGS = TrainingSettings(particle_diameter=120.0)
NOTHING = np.empty((0, 2))


@pytest.fixture(scope="module")
def rings(ring_data):
    """Working images of two micrographs, and the nine rings on each, in working pixels."""
    series, truth = ring_data(2, size=164, noise=0.5)
    workings = [prepare(series.read(i), series.names[i], 120.0, 5.0, SETTINGS.preprocess) for i in range(2)]
    return workings, [w.rescaling.to_rescaled(truth.on(i)) for i, w in enumerate(workings)]


def probability_at(taught, index, points):
    """Highest probability of a place within a quarter of a particle of each point; 0 where there is none."""
    away = np.hypot(*(taught.places[index][:, None] - points[None]).transpose(2, 0, 1))
    return np.where(away < 5, taught.probabilities[index][:, None], 0).max(axis=0)


def test_rings_that_nobody_labelled_are_found(rings):
    workings, truth = rings
    taught = teach(workings, [truth[0][:3], truth[1][:2]], [NOTHING] * 2, SETTINGS)
    for i, labelled in ((0, 3), (1, 2)):
        assert np.median(probability_at(taught, i, truth[i][labelled:])) > 0.7
        np.testing.assert_array_equal(taught.places[i][:labelled], truth[i][:labelled])
        np.testing.assert_array_equal(taught.probabilities[i][:labelled], 1)
    assert taught.expected == pytest.approx(9, rel=0.25)
    # The template is a ring: brightest at its radius, 0.4 of 20 pixels.
    assert abs(int(taught.matched.profile.argmax()) - 8) <= 1


def test_labels_and_negatives_are_said_once(rings):
    """Given labels and negatives, then no likeness stands on either, and the negatives have no chance."""
    workings, truth = rings
    wrong = truth[0][5:7] + 1.0
    taught = teach(workings, [truth[0][:3], NOTHING], [wrong, NOTHING], SETTINGS)
    said = np.concatenate([truth[0][:3], wrong])
    np.testing.assert_array_equal(taught.places[0][:5], said)
    np.testing.assert_array_equal(taught.probabilities[0][:5], [1, 1, 1, 0, 0])
    away = np.hypot(*(taught.places[0][5:, None] - said[None]).transpose(2, 0, 1))
    assert away.min() > 8


def test_where_nearly_all_is_labelled_the_rest_is_hardly_a_particle(rings):
    workings, truth = rings
    few, most = (teach(workings, [truth[0][:n], truth[1][:3]], [NOTHING] * 2, SETTINGS) for n in (2, 8))
    first, second = (float(probability_at(one, 0, truth[0][8:])[0]) for one in (few, most))
    assert first > 0.7
    # Of 9, 2 and 8 are labelled: 7 and 1 are not.
    assert second / (1 - second) < 0.4 * first / (1 - first)
    # What was said of one micrograph says nothing about the other.
    assert np.median(probability_at(most, 1, truth[1][3:])) > 0.7


@pytest.mark.parametrize("labelled", [0, 1, 2])
def test_odds_fall_by_the_share_that_is_labelled(labelled):
    """Elkan and Noto: odds of the unlabelled times (1 - c), where c is the labelled share of the particles."""
    p = np.array([0.9, 0.8, 0.6, 0.1])
    count = ParticleCount(2.4, (np.zeros((4, 2)),), (np.zeros(4),), (p,))
    labels = [np.zeros((labelled, 2))]
    (found,) = teaching._probabilities(count, labels, [NOTHING], [False], SETTINGS)
    odds = p / (1 - p) * (1 - labelled / 2.4)
    np.testing.assert_allclose(found, odds / (1 + odds), rtol=1e-5)


@pytest.mark.parametrize("expected", [1.0, 2.5])
def test_probabilities_add_up_to_the_expected_number(expected):
    """Given how many particles there are, then so many are found in all, in the order of before."""
    first, second = np.array([0.9, 0.8, 0.6, 0.1]), np.array([0.7, 0.2, 0.05])
    count = ParticleCount(9.0, (np.zeros((4, 2)), np.zeros((3, 2))), (np.zeros(4), np.zeros(3)), (first, second))
    settings = replace(SETTINGS, expected_particles=expected)
    found = teaching._probabilities(count, [NOTHING] * 2, [NOTHING] * 2, [False, False], settings)
    assert np.concatenate(found).sum() == pytest.approx(2 * expected, rel=1e-6)
    np.testing.assert_array_equal(np.argsort(found[0]), np.argsort(first))
    alone = teaching._probabilities(count, [NOTHING] * 2, [NOTHING] * 2, [False, True], settings)
    assert alone[0].sum() == pytest.approx(expected, rel=1e-6) and alone[1].max() == 0


def test_the_expected_number_is_what_was_said_else_counted_but_never_below_the_labels(rings):
    workings, truth = rings
    said = teach(workings, [truth[0][:3], NOTHING], [NOTHING] * 2, replace(SETTINGS, expected_particles=4.0))
    assert said.expected == 4.0
    assert teach(workings, truth, [NOTHING] * 2, SETTINGS).expected >= 9


def test_an_empty_micrograph_has_likenesses_and_no_particles(rings):
    """Given a micrograph that is said to be empty, then its maxima are taught as none, and are not counted."""
    workings, truth = rings
    taught = teach(workings, [truth[0][:3], NOTHING], [NOTHING] * 2, SETTINGS, empty=[False, True])
    assert len(taught.places[1]) and taught.probabilities[1].max() == 0
    away = np.hypot(*(taught.places[1][:, None] - truth[1][None]).transpose(2, 0, 1))
    assert (away.min(axis=0) < 5).all()
    assert taught.expected == pytest.approx(9, rel=0.4)
    assert np.median(probability_at(taught, 0, truth[0][3:])) > 0.7


def test_nothing_is_found_where_nothing_is_shown(rings):
    workings, truth = rings
    valid = workings[0].valid.clone()
    valid[:, 70:] = False
    labels = truth[0][truth[0][:, 1] < 60]
    taught = teach([replace(workings[0], valid=valid)], [labels], [NOTHING], SETTINGS)
    assert len(taught.places[0]) > len(labels)
    assert (taught.places[0][:, 1] < 71).all()


def test_a_template_that_is_given_stays(rings):
    workings, truth = rings
    matched = teach(workings, [truth[0], truth[1]], [NOTHING] * 2, SETTINGS).matched
    again = teach(workings, [truth[0][:2], NOTHING], [NOTHING] * 2, SETTINGS, matched=matched)
    assert again.matched is matched


# ---- target planes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(61, 81), (60, 80)], ids=str)
def test_targets_are_spots_at_the_places_on_every_second_pixel(shape):
    settings = replace(SETTINGS, spot_width=0.1, spot_weight=4.0)
    places, p = np.array([[20.0, 31.0], [24.5, 33.0], [58.0, 2.0]]), np.array([1.0, 0.5, 0.0])
    valid = np.ones(shape, bool)
    valid[:10] = False
    target, weight = target_planes(shape, places, p, valid, settings).numpy()
    rows, columns = np.arange(0, shape[0], 2), np.arange(0, shape[1], 2)
    assert target.shape == (len(rows), len(columns))
    spots = [np.exp(-((rows[:, None] - y) ** 2 + (columns - x) ** 2) / (2 * 2.0**2)) for y, x in places]
    wanted = np.max([share * spot for share, spot in zip(p, spots, strict=True)], axis=0)
    # Spots end at three deviations.
    np.testing.assert_allclose(target, wanted, atol=0.012)
    counts = valid[::2, ::2] * (1 + 3 * spots[2]) * (1 + 3 * wanted)
    np.testing.assert_allclose(weight, counts, atol=0.05)
    assert (weight[:5] == 0).all()


def test_what_somebody_has_said_counts_more_and_what_is_doubtful_less():
    places = np.array([[20.0, 20.0], [40.0, 40.0], [20.0, 40.0]])
    arguments = ((61, 61), places, np.array([1.0, 1.0, 0.5]), np.ones((61, 61), bool), SETTINGS)
    plain, loud = target_planes(*arguments), target_planes(*arguments, said=places[:1], emphasis=1.0)
    assert torch.equal(plain[0], loud[0])
    assert float(loud[1][10, 10]) == pytest.approx(teaching._EMPHASIS * float(plain[1][10, 10]))
    assert float(loud[1][20, 20]) == float(plain[1][20, 20])
    assert float(loud[1][10, 20]) == 0 < float(plain[1][10, 20])


def test_places_beyond_the_edges_do_no_harm():
    places = np.array([[-1.0, -1.0], [60.4, 60.4], [-40.0, 20.0], [90.0, 90.0]])
    target, weight = target_planes((60, 60), places, np.ones(4), np.ones((60, 60), bool), SETTINGS)
    assert bool(torch.isfinite(target).all() and torch.isfinite(weight).all())
    assert 0 < float(target[0, 0]) < 1 and float(target[:, 10:20].max()) == 0
