"""Suggestions are uncertain, unlike each other, and never about what is known already."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_caked.errors import LabelsError
from napari_caked.suggest import radial_profiles, suggest, suggest_places, uncertainty
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries

NAMES = ("a.mrc", "b.mrc", "c.mrc", "d.mrc")


def table(rows, scores=None, names=NAMES, **metadata):
    features = pd.DataFrame() if scores is None else pd.DataFrame({"score": np.asarray(scores, float)})
    return ParticleTable(names, np.array(rows, float).reshape(-1, 3), features, metadata)


NOTHING = table([])


def test_uncertainty_is_the_entropy_in_bits():
    np.testing.assert_allclose(uncertainty(np.array([0, 0.5, 1, np.nan])), [0, 1, 0, 0], atol=1e-9)
    assert uncertainty(np.array([0.11])) == pytest.approx(0.4999, abs=1e-3)  # a coin of 11 % carries half a bit


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30, unique=True))
def test_uncertainty_falls_away_from_one_half(scores):
    ordered = sorted(scores, key=lambda p: abs(p - 0.5))
    assert (np.diff(uncertainty(np.array(ordered))) <= 1e-9).all()


def test_profiles_are_means_in_rings_and_know_the_edge():
    y, x = np.mgrid[:101, :101]
    image = np.where(np.hypot(y - 50, x - 50) < 10, 5.0, 0.0)
    inner, outer = radial_profiles(image, np.array([[50, 50]]), 20, rings=2)[0]
    assert inner > 2 and inner - outer == pytest.approx(5 / image.std(), rel=0.1)
    corner = radial_profiles(image, np.array([[0, 0], [-500, 0]]), 20, rings=4)
    np.testing.assert_allclose(corner[0], -image.mean() / image.std(), rtol=0.2)
    assert not corner[1].any()
    turned = radial_profiles(np.rot90(image), np.array([[50, 50]]), 20, rings=2)[0]
    np.testing.assert_allclose(turned, (inner, outer), rtol=1e-6)
    broken = image.copy()
    broken[40:45] = np.nan
    assert np.isfinite(radial_profiles(broken, np.array([[50, 50]]), 20)).all()


def test_the_doubtful_are_asked_about_and_the_known_are_not():
    candidates = table([(0, 10, 10), (0, 50, 50), (0, 90, 90), (0, 30, 30)], [0.5, 0.99, 0.55, 0.01])
    first, second = suggest(candidates, NOTHING, count=2, distance=5).coordinates[:, 1]
    assert {first, second} == {10, 90}
    # A label beside the first, a negative beside the second: neither is asked about again.
    labels, negatives = table([(0, 12, 11)]), table([(0, 88, 91)])
    asked = suggest(candidates, labels, negatives, count=4, distance=5)
    assert set(asked.coordinates[:, 1]) == {50, 30}
    # The same place on another micrograph is another place.
    elsewhere = table([(1, 12, 11)])
    assert 10 in suggest(candidates, elsewhere, count=4, distance=5).coordinates[:, 1]


def test_nothing_is_asked_on_empty_micrographs():
    candidates = table([(0, 10, 10), (1, 50, 50)], [0.5, 0.8])
    negatives = table([], empty_micrographs=["a.mrc"])
    assert suggest(candidates, NOTHING, negatives, distance=5).micrograph_index.tolist() == [1]
    with pytest.raises(LabelsError, match="nothing left to ask"):
        suggest(candidates, NOTHING, table([], empty_micrographs=["a.mrc", "b.mrc"]), distance=5)


def test_five_doubtful_places_on_four_micrographs_are_spread_over_them():
    dice = np.random.default_rng(0)
    rows = [(i, *dice.uniform(0, 400, 2)) for i in (0,) * 40 + (1, 2, 3)]
    scores = [0.5] * 40 + [0.4, 0.6, 0.65]
    asked = suggest(table(rows, scores), NOTHING, count=5, distance=5)
    assert len(asked) == 5 and set(asked.micrograph_index) == {0, 1, 2, 3}


def test_kinds_that_look_different_are_each_asked_about():
    """Given 60 doubtful places of one look and 3 of others, when 4 are chosen, then one of each look is among them."""
    looks = np.concatenate([np.tile([0.0, 0.0], (60, 1)), [[5, 0], [0, 5], [5, 5]]])
    rows = [(0, 10 * i, 5) for i in range(63)]
    scores = np.concatenate([np.full(60, 0.5), [0.4, 0.6, 0.4]])
    asked = suggest(table(rows, scores), NOTHING, count=4, distance=2, appearance=looks)
    assert {600, 610, 620} <= set(asked.coordinates[:, 1])
    # What is labelled already is no news: a label that looks like the second kind takes its place.
    known = suggest(
        table(rows, scores),
        table([(1, 0, 0)]),
        count=2,
        distance=2,
        appearance=looks,
        known_appearance=np.array([[5.0, 5.0]]),
    )
    assert 620 not in known.coordinates[:, 1]


def test_the_order_of_equals_does_not_change_what_is_asked():
    dice = np.random.default_rng(3)
    rows, scores = dice.uniform(0, 100, (50, 3)) * (0.03, 10, 10), dice.uniform(0.2, 0.8, 50)
    rows[:, 0] = np.floor(rows[:, 0])
    order = dice.permutation(50)
    asked = suggest(table(rows, scores), NOTHING, distance=1)
    again = suggest(table(rows[order], scores[order]), NOTHING, distance=1)
    np.testing.assert_array_equal(asked.coordinates, again.coordinates)


def test_what_cannot_be_asked_is_said():
    with pytest.raises(LabelsError, match="train a picker"):
        suggest(table([(0, 1, 1)]), NOTHING, distance=5)
    with pytest.raises(LabelsError, match="nothing left"):
        suggest(table([], []), NOTHING, distance=5)


def test_few_micrographs_are_read_and_the_odd_one_is_found():
    """Given many doubtful rings and one blob, when two places are asked for, then the blob is one of them."""
    dice = np.random.default_rng(1)
    y, x = np.mgrid[:200, :200]
    read = []

    def make(i):
        read.append(i)
        image = dice.normal(scale=0.2, size=(200, 200)).astype(np.float32)
        for at in range(20, 200, 40):
            image -= np.exp(-(((np.hypot(y - at, x - 100) - 8) / 2) ** 2)).astype(np.float32)
        if i == 1:
            image += 3 * np.exp(-(np.hypot(y - 30, x - 160) ** 2) / 50).astype(np.float32)
        return image

    series = MicrographSeries(NAMES, (200, 200), np.dtype(np.float32), 2.0, make, "here")
    rows = [(i, at, 100) for i in range(4) for at in range(20, 200, 40)] + [(1, 30, 160)]
    scores = np.array([0.5] * 5 + [0.55] * 5 + [0.97] * 10 + [0.6])
    candidates = table(rows, scores)
    labels = table([(0, 21, 101)], names=("x/a.mrc", "x/b.mrc", "c.mrc", "d.mrc"))
    asked = suggest_places(series, candidates, labels, particle_diameter=48, count=2, micrographs_read=2)
    assert (30, 160) in {tuple(row[1:]) for row in asked.coordinates}
    assert sorted(read) == [0, 1] and not ((asked.coordinates == (0, 20, 100)).all(axis=1)).any()


def test_nobody_is_asked_about_particles_that_an_edge_cuts():
    """Given particles of 24 pixels on 200 x 100 pixels, then only the one that lies there whole is asked about."""
    image = np.random.default_rng(0).normal(size=(1, 200, 100)).astype("f4")
    series = MicrographSeries.from_array(image, ["a.mrc"], 5.0)
    rows = [(0, 0, 50), (0, 10, 50), (0, 190, 50), (0, 100, 5), (0, 100, 95), (0, 187, 12)]
    candidates = table(rows, [0.5] * 6, names=("a.mrc",))
    asked = suggest_places(series, candidates, table([], names=("a.mrc",)), particle_diameter=120)
    np.testing.assert_allclose(asked.coordinates, [(0, 187, 12)])
    with pytest.raises(LabelsError, match="cut by the edge"):
        suggest_places(series, candidates.where(np.arange(5)), table([], names=("a.mrc",)), particle_diameter=120)
