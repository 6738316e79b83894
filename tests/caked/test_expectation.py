"""Counting particles against decoys: right where they stand out, and never nothing."""

import numpy as np
import pytest

from napari_caked.expectation import count_particles


def maps_with(count, height, seed=0):
    dice = np.random.default_rng(seed)
    rows, columns = np.mgrid[:200, :200]
    places = [(y, x) for y in range(15, 190, 20) for x in range(15, 190, 20)]
    values = dice.normal(scale=0.1, size=(200, 200))
    for i in dice.choice(len(places), count, replace=False):
        values += height * np.exp(-((rows - places[i][0]) ** 2 + (columns - places[i][1]) ** 2) / 18)
    return values


@pytest.mark.parametrize("count", [5, 20, 60])
def test_particles_that_stand_out_are_counted(count):
    result = count_particles([maps_with(count, 1.0, seed) for seed in range(3)], 10)
    # The best threshold is chosen on the same maxima, so a few chance ones are always counted along.
    assert count - 1 <= result.per_micrograph <= count + 8
    assert len(result.peaks) == len(result.heights) == 3


def test_noise_alone_holds_next_to_nothing():
    assert count_particles([maps_with(0, 0, seed) for seed in range(3)], 10).per_micrograph <= 8


def test_there_is_always_at_least_one():
    assert count_particles([np.zeros((30, 30))], 5).per_micrograph == 1
    assert count_particles([-maps_with(20, 1.0)], 10).per_micrograph >= 1
