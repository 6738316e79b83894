"""Labels as pixels: counted areas, an honest prior, and no labelled pixel among the unlabelled."""

import math

import numpy as np
import pytest
import torch

from napari_caked.datasets import CropSampler, label_maps
from napari_caked.datasets.labels import disc_area
from napari_caked.errors import LabelsError
from napari_caked.training import _split


@pytest.mark.parametrize("radius, area", [(0, 1), (1, 5), (2, 13), (3, 29), (5, 81), (2.5, 21), (0.9, 1)])
def test_the_area_of_a_disc_is_counted(radius, area):
    brute = sum(y * y + x * x <= radius**2 for y in range(-9, 10) for x in range(-9, 10))
    assert disc_area(radius) == brute == area


def test_pixels_within_the_radius_of_a_label_are_labelled():
    centres = [np.array([[10.0, 12.0], [30.3, 5.6]]), np.empty((0, 2))]
    result = label_maps(centres, (40, 50), 4.0, 20)
    for i, points in enumerate(centres):
        for y in range(40):
            for x in range(50):
                near = any(math.hypot(y - a, x - b) <= 4.0 for a, b in points)
                assert bool(result.maps[i, y, x]) == near


@pytest.mark.parametrize("radius", [2.0, 3.0, 4.0, 5.5])
def test_the_prior_is_the_share_of_particle_pixels_among_the_unlabelled(radius):
    """Given 3 of 8 particles labelled on each micrograph, then the prior is what counting the other 5 gives."""
    places = np.array([(y, x) for y in (20, 50) for x in (20, 50, 80, 110)], float)
    prior = label_maps([places[:3], places[:3]], (80, 140), radius, len(places)).unlabelled_prior
    everything = label_maps([places, places], (80, 140), radius, len(places)).maps
    labelled = label_maps([places[:3], places[:3]], (80, 140), radius, len(places)).maps
    assert prior == pytest.approx(int((everything & ~labelled).sum()) / int((~labelled).sum()), rel=1e-12)


def test_overlapping_and_cut_labels_are_counted_once():
    centres = [np.array([[0.0, 0.0], [20.0, 20.0], [20.0, 21.0]])]
    result = label_maps(centres, (60, 60), 3.0, 10)
    pixels = int(result.maps.sum())
    assert pixels < 3 * disc_area(3.0)
    assert result.unlabelled_prior == pytest.approx((10 * 29 - pixels) / (3600 - pixels))


def test_pixels_that_show_no_specimen_are_neither_labelled_nor_unlabelled():
    """Given a micrograph whose half is blank, then the same particles are twice as dense on the rest."""
    points, valid = np.array([[20.0, 20.0], [40.0, 59.0]]), torch.ones(60, 120, dtype=torch.bool)
    valid[:, 60:] = False
    result = label_maps([points], (60, 120), 3.0, 10, [valid])
    assert not bool(result.maps[0, :, 60:].any())
    pixels = int(result.maps.sum())
    assert disc_area(3.0) < pixels < 2 * disc_area(3.0)
    assert result.unlabelled_prior == pytest.approx((10 * 29 - pixels) / (3600 - pixels))
    assert result.unlabelled_prior > label_maps([points], (60, 120), 3.0, 10).unlabelled_prior


def test_more_labels_than_expected_still_leave_room_for_others():
    centres = [np.array([[20.0, 20.0], [40.0, 40.0]])]
    assert label_maps(centres, (60, 60), 3.0, 1).unlabelled_prior > 0


def test_an_expectation_that_covers_most_of_the_micrograph_is_an_error():
    with pytest.raises(LabelsError, match="5000 particles would cover more than half"):
        label_maps([np.array([[20.0, 20.0]])], (60, 60), 3.0, 5000)


@pytest.mark.parametrize("seed", range(5))
def test_labelled_pixels_are_never_among_the_unlabelled(seed):
    """Given crops whose logits say what they lie on, when they are split, then none is on the wrong side."""
    dice = np.random.default_rng(seed)
    centres = [dice.uniform(0, 150, (12, 2)) for _ in range(2)]
    maps = label_maps(centres, (150, 150), 4.0, 20).maps
    numbers = torch.arange(2 * 150 * 150).reshape(2, 1, 150, 150).float()
    rows = np.concatenate([np.column_stack([np.full(12, i), points]) for i, points in enumerate(centres)])
    sampler = CropSampler(numbers, maps, torch.from_numpy(rows), 97, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    flat = maps.ravel()
    for _ in range(20):
        batch = sampler.draw(8)
        logits = batch.images[:, 0, ::2, ::2]  # the number of each pixel in place of its logit
        labelled, unlabelled = _split(logits, batch, 2, 256, generator)
        assert len(unlabelled) == 256
        assert bool(flat[labelled.long()].all())
        assert not bool(flat[unlabelled.long()].any())


def test_unlabelled_pixels_come_from_everywhere_alike():
    """Given crops that lie anywhere, then a corner is drawn about as often as the middle, up to the rim of crops."""
    maps = torch.zeros(1, 200, 200, dtype=torch.bool)
    numbers = torch.arange(200 * 200).reshape(1, 1, 200, 200).float()
    sampler = CropSampler(numbers, maps, torch.tensor([[0.0, 100, 100]]), 97, torch.Generator().manual_seed(0))
    generator, drawn = torch.Generator().manual_seed(1), np.zeros(40_000)
    for _ in range(60):
        batch = sampler.draw(8)
        _, unlabelled = _split(batch.images[:, 0, ::2, ::2], batch, 2, 256, generator)
        np.add.at(drawn, unlabelled.long().numpy(), 1)
    tiles = drawn.reshape(5, 40, 5, 40).sum(axis=(1, 3))
    assert tiles.min() > 0.15 * tiles.max()
