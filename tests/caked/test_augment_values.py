"""Tests of contrast, gain, erasing and mixing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_caked.datasets.augment_values import Contrast, Erase, Gain, MixBackground, Mixup
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sample import Pool, Sample
from napari_caked.errors import DatasetError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
SHAPES = [(32, 40), (16, 18, 20)]


def a_sample(shape=(32, 40), seed=0, device="cpu", label=0, **more) -> Sample:
    image = np.random.default_rng(seed).normal(10, 3, shape)
    sample = Sample.from_array(image, name=f"s{seed}", device=device, **more)
    return replace(sample, record=replace(sample.record, label=label))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_contrast_stretches_about_the_mean(shape, device):
    sample = a_sample(shape, device=device)
    factors, lifts = [], []
    for index in range(200):
        done = Contrast((0.5, 2.0), (-1.0, 1.0))(sample, index=index).image
        factors.append(float(done.std() / sample.image.std()))
        lifts.append(float((done.mean() - sample.image.mean()) / sample.image.std(correction=0)))
        assert torch.corrcoef(torch.stack([done.flatten(), sample.image.flatten()]))[0, 1] > 0.9999
    assert (
        0.5 <= min(factors) < 0.55
        and 1.8 < max(factors) <= 2.0001
        and np.mean(np.log(factors)) == pytest.approx(0, abs=0.1)
    )
    assert -1.001 <= min(lifts) < -0.9 and 0.9 < max(lifts) <= 1.001


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gain_is_a_smooth_factor_of_the_strength_asked_for(shape, device):
    ones = Sample.from_array(np.full(shape, 5.0), device=device)
    for index in range(10):
        field = Gain((0.2, 0.2))(ones, index=index).image.cpu().numpy() / 5
        assert np.abs(field - 1).max() == pytest.approx(0.2, abs=1e-4)
        for axis, n in enumerate(shape):
            assert np.abs(np.diff(field, axis=axis)).max() < 0.2 * 2 * np.pi / n * 4
    assert np.array_equal(Gain((0.0, 0.0))(ones).image.cpu(), ones.image.cpu())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_erasing_leaves_noise_and_nothing_of_mask_and_points(shape, device):
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, len(shape))
    sample = a_sample(shape, device=device, mask=np.ones(shape, int), points=places.astype(float))
    shares = []
    for index in range(30):
        done = Erase((0.25, 0.5))(sample, index=index)
        gone = (done.mask == 0).cpu()
        assert torch.equal(gone, (done.image != sample.image).cpu())
        assert len(done.points) == int((~gone).sum()) and bool((done.mask[tuple(done.points.long().T)] == 1).all())
        sides = [
            int(gone.any(dim=tuple(j for j in range(len(shape)) if j != axis)).sum()) for axis in range(len(shape))
        ]
        assert np.prod(sides) == int(gone.sum()), "it is a box"
        assert all(round(0.25 * n) <= side <= round(0.5 * n) for side, n in zip(sides, shape, strict=True))
        noise = done.image.cpu()[gone]
        shares.append([float(noise.mean()), float(noise.std())])
    assert np.allclose(np.mean(shares, axis=0), [10, 3], atol=0.3)
    assert int((sample.mask == 0).sum()) == 0, "the sample itself is left alone"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_backgrounds_are_added_as_strong_as_asked(shape, device):
    blank = replace(a_sample(shape, device=device), image=torch.zeros(shape, device=device))
    blank.image[(0,) * len(shape)] = 100.0
    wide = tuple(n + 9 for n in shape)
    pool = Pool(backgrounds=[a_sample(wide, seed=i) for i in (5, 6)])
    step = MixBackground((0.5, 0.5))
    seen = set()
    for index in range(12):
        added = (step(blank, index=index, pool=pool).image - blank.image).cpu().numpy()
        assert added.std() == pytest.approx(0.5 * float(blank.image.std(correction=0)), rel=1e-3)
        assert abs(added.mean()) < 1e-3
        windows = [np.lib.stride_tricks.sliding_window_view(one.image.numpy(), shape) for one in pool.backgrounds]
        fits = []
        for number, all_of_it in enumerate(windows):
            flat = all_of_it.reshape(-1, np.prod(shape))
            fits.append((max(np.corrcoef(one, added.ravel())[0, 1] for one in flat), number))
        best, number = max(fits)
        assert best > 0.999, "it is a part of a background"
        seen.add(number)
    assert seen == {0, 1}
    with pytest.raises(DatasetError, match="s0: MixBackground needs backgrounds"):
        step(blank)
    with pytest.raises(DatasetError, match=r"s7: a background of .* is too small for s0"):
        step(blank, pool=Pool(backgrounds=[a_sample((8,) * len(shape), seed=7)]))
    with pytest.raises(DatasetError, match="flat: a part of it is constant"):
        step(blank, pool=Pool(backgrounds=[Sample.from_array(np.ones(wide), name="flat")]))


@pytest.mark.parametrize("device", DEVICES)
def test_mixup_blends_images_and_labels_and_keeps_noise(device):
    one, two = a_sample((64, 64), 0, device, label=3), a_sample((64, 64), 1, device, label=4)
    pool = Pool(others=[two])
    shares = []
    for index in range(300):
        done = Mixup(0.4)(one, index=index, pool=pool)
        assert done.other_label == 4 and done.record.label == 3 and 0 <= done.other_share <= 0.5
        shares.append(done.other_share)
        if index < 20:
            assert float(done.image.std()) == pytest.approx(3, rel=0.03)
            plain = (1 - done.other_share) * one.image + done.other_share * two.image
            assert torch.corrcoef(torch.stack([plain.flatten(), done.image.flatten()]))[0, 1] > 0.9999
    reference = np.random.default_rng(0).beta(0.4, 0.4, 100_000)
    reference = np.minimum(reference, 1 - reference)
    assert np.allclose(np.quantile(shares, [0.25, 0.5, 0.75]), np.quantile(reference, [0.25, 0.5, 0.75]), atol=0.05)


def test_mixup_refuses_what_cannot_be_blended():
    one = a_sample((16, 16))
    with pytest.raises(DatasetError, match="s0: Mixup needs other samples"):
        Mixup()(one)
    with pytest.raises(DatasetError, match=r"s0 \(16, 16\) and s1 \(8, 8\) cannot be blended"):
        Mixup()(one, pool=Pool([a_sample((8, 8), 1)]))
    with pytest.raises(DatasetError, match="masks and points cannot be blended"):
        Mixup()(a_sample((16, 16), points=np.zeros((1, 2))), pool=Pool([one]))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Contrast((0.0, 1.0)),
        lambda: Gain((0.0, 2.0)),
        lambda: Erase((0.5, 0.2)),
        lambda: MixBackground((-1.0, 2.0)),
        lambda: Mixup(0.0),
    ],
)
def test_parameters_that_cannot_be_are_refused(wrong):
    with pytest.raises(DatasetError, match=" is .*; give "):
        wrong()


def test_a_recipe_hands_its_pool_on_and_goes_through_json():
    recipe = Recipe((), (Contrast(), Gain(), Erase(), MixBackground(), Mixup()))
    assert Recipe.from_json(recipe.to_json()) == recipe
    pool = Pool([a_sample(seed=1, label=1)], [a_sample(seed=2)])
    first, again = (recipe.apply(a_sample(), seed=1, epoch=2, index=3, pool=pool) for _ in range(2))
    assert torch.equal(first.image, again.image) and first.other_share == again.other_share > 0
