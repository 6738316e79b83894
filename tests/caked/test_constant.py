"""Patches and runs of one value: both ways of looking mark what a plain search marks."""

import numpy as np
import pytest

from napari_caked.preprocess import constant


def by_hand(image, side, length):
    """Every patch and every run that holds one value, tried one after the other."""
    found = np.zeros(image.shape, bool)
    for y, x in np.ndindex(image.shape):
        for shape in ((side, side), (1, length), (length, 1)):
            part = image[y : y + shape[0], x : x + shape[1]]
            if part.shape == shape and (part == part[0, 0]).all():
                found[y : y + shape[0], x : x + shape[1]] = True
    return found


def images():
    dice = np.random.default_rng(0)
    counts = dice.integers(0, 3, (40, 51))
    counts[5:11, 8:30] = 1
    counts[:, 44] = 2
    yield counts
    values = dice.normal(size=(64, 37))
    values[:3] = values[0]  # equal along columns only
    values[10:30, 5] = values[10:15, 20:25] = values[63, 8:37] = 7
    values[40:52, :4] = np.nan
    yield values
    ends = dice.normal(size=(30, 20))
    ends[3:7, 15:] = ends[4:8, :5] = 1  # consecutive along the flat image, but not in it
    yield ends
    yield np.zeros((20, 17))
    yield dice.normal(size=(1, 30))
    yield dice.normal(size=(30, 1))


@pytest.mark.parametrize("image", list(images()), ids=lambda image: str(image.shape))
@pytest.mark.parametrize(("side", "length"), [(4, 12), (5, 18)])
def test_what_is_marked_is_patches_and_runs(monkeypatch, image, side, length):
    expected = by_hand(image, side, length)
    monkeypatch.setattr(constant, "_FEW", 2.0)
    monkeypatch.setattr(constant, "_ROWS_AT_ONCE", 7)
    few, many = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    places = constant.equal_neighbours(image)
    assert places is not None
    constant.mark_among_few(*places, side, length, few)
    np.testing.assert_array_equal(few, expected)
    constant.mark_among_many(image[:, 1:] == image[:, :-1], image[1:] == image[:-1], side, length, many)
    np.testing.assert_array_equal(many, expected)


def test_neighbours_are_listed_only_where_few_are_equal():
    dice = np.random.default_rng(0)
    assert constant.equal_neighbours(dice.poisson(1.0, (200, 200))) is None
    image = dice.normal(size=(200, 200))
    image[50, 7:9] = image[90:92, 199] = 3
    across, down = constant.equal_neighbours(image)
    assert across.tolist() == [50 * 200 + 7] and down.tolist() == [90 * 200 + 199]
