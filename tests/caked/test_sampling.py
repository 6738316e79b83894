"""Crops show what lies at their place, turned in eight ways, and the same ones for the same seed."""

import numpy as np
import pytest
import torch

from napari_caked.datasets import CropSampler

HEIGHT, WIDTH = 130, 150


def sampler(size=33, seed=0, shape=(HEIGHT, WIDTH), centres=((0, 20, 30), (1, 100, 120))):
    """Sampler whose images hold the coordinates of each pixel: channels (y, x, micrograph)."""
    y, x = torch.meshgrid(torch.arange(shape[0]).float(), torch.arange(shape[1]).float(), indexing="ij")
    images = torch.stack([torch.stack([y, x, torch.full_like(y, i)]) for i in range(2)])
    labelled = (y + x) % 7 == 0
    generator = torch.Generator().manual_seed(seed)
    return CropSampler(images, torch.stack([labelled] * 2), torch.tensor(centres).double(), size, generator)


@pytest.mark.parametrize("size", [33, 97, 32, 5, 1])
def test_a_crop_shows_one_place_of_one_micrograph_turned_as_a_whole(size):
    source = sampler(size)
    for _ in range(10):
        batch = source.draw(6)
        assert batch.images.shape == (6, 3, size, size)
        for crop, labelled, inside in zip(batch.images, batch.labelled, batch.inside, strict=True):
            y, x, number = crop.numpy()
            assert len(np.unique(number)) == 1
            # Labels turn with the image, and end where the micrograph ends.
            np.testing.assert_array_equal(labelled.numpy(), inside.numpy() & ((y + x) % 7 == 0))
            if inside.all() and size > 1:
                steps = {tuple(np.abs(np.diff(one, axis=axis)).max() for axis in (0, 1)) for one in (y, x)}
                assert steps == {(0, 1), (1, 0)}
                assert len(np.unique(y * 1000 + x)) == size**2
            assert y.min() >= 0 and y.max() < HEIGHT and x.min() >= 0 and x.max() < WIDTH


@pytest.mark.parametrize("size", [33, 97])
def test_the_inside_is_exactly_what_lies_on_the_micrograph(size):
    """Given crops anywhere, then their inside is a rectangle in which each coordinate comes once per row."""
    source = sampler(size)
    seen = 0
    for _ in range(20):
        batch = source.draw(4)
        for crop, inside in zip(batch.images, batch.inside.numpy(), strict=True):
            rows, columns = inside.any(axis=1), inside.any(axis=0)
            np.testing.assert_array_equal(inside, rows[:, None] & columns)
            places = crop[0].numpy()[inside] * 1000 + crop[1].numpy()[inside]
            assert len(np.unique(places)) == len(places)  # mirrored pixels would come twice
            seen += not inside.all()
    assert seen > 5


def test_the_first_half_lies_around_labels_and_the_rest_anywhere():
    source, middles = sampler(33), []
    for _ in range(100):
        batch = source.draw(8)
        assert batch.around_labels == 4
        middles.append(batch.images[:, :, 16, 16].numpy())
    around = np.concatenate([part[:4] for part in middles])
    for number, y, x in ((0, 20, 30), (1, 100, 120)):
        here = around[around[:, 2] == number]
        assert len(here) > 100
        assert np.abs(here[:, 0] - y).max() <= 9 and np.abs(here[:, 1] - x).max() <= 9
    anywhere = np.concatenate([part[4:] for part in middles])
    assert anywhere[:, 0].min() < 5 and anywhere[:, 0].max() > HEIGHT - 5
    assert anywhere[:, 1].min() < 5 and anywhere[:, 1].max() > WIDTH - 5
    assert set(anywhere[:, 2]) == {0, 1}


def test_all_eight_ways_of_turning_come_up():
    source, ways = sampler(33, centres=((0, 65, 75),)), set()
    for _ in range(120):
        y, x = sampler_crop = source.draw(2).images[0, :2].numpy()
        assert sampler_crop.shape == (2, 33, 33)
        ways.add((y[1, 0] - y[0, 0], y[0, 1] - y[0, 0], x[1, 0] - x[0, 0], x[0, 1] - x[0, 0]))
    assert len(ways) == 8


def test_the_same_seed_draws_the_same_crops_and_another_seed_others():
    one, same, other = sampler(seed=3), sampler(seed=3), sampler(seed=4)
    for _ in range(3):
        a, b, c = (source.draw(4) for source in (one, same, other))
        assert torch.equal(a.images, b.images) and torch.equal(a.labelled, b.labelled)
        assert not torch.equal(a.images, c.images)


def test_drawing_leaves_everyone_elses_random_numbers_alone():
    source = sampler()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    source.draw(8)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("shape", [(20, 25), (49, 60), (50, 50), (5, 300)], ids=str)
def test_a_micrograph_smaller_than_a_crop_is_surrounded(shape):
    source = sampler(97, shape=shape, centres=((0, 4, 4),))
    for _ in range(5):
        batch = source.draw(4)
        assert batch.images.shape[-2:] == (97, 97)
        assert bool(torch.isfinite(batch.images).all())
        for crop, inside in zip(batch.images, batch.inside, strict=True):
            assert 0 < int(inside.sum()) <= shape[0] * shape[1]
            places = crop[0][inside] * 1000 + crop[1][inside]
            assert len(torch.unique(places)) == len(places)
