"""Tests of samples, recipes and the steps that only move or scale pixels."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_caked.datasets.augment_quarters import TurnQuarters, quarter_turns
from napari_caked.datasets.cropping import CropPad
from napari_caked.datasets.items import Item, Record
from napari_caked.datasets.normalising import MinMax, Percentile, ZScore
from napari_caked.datasets.recipe import Recipe, known_steps, step_from
from napari_caked.datasets.sample import Sample
from napari_caked.datasets.steps import REGISTRY, Augmentation, Transform, register
from napari_caked.errors import DatasetError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def a_sample(shape=(12, 12), device="cpu", voxel_size=2.0, seed=0, **more) -> Sample:
    dice = np.random.default_rng(seed)
    points = np.column_stack([dice.uniform(2, n - 3, 5) for n in shape])
    given = {"mask": dice.integers(0, 3, shape), "points": points, "partner": dice.normal(size=shape)} | more
    return Sample.from_array(
        dice.normal(7, 3, shape).astype(np.float32), voxel_size, name="ribosome", device=device, **given
    )


def test_a_sample_is_the_item_on_a_device_and_back():
    backwards = np.arange(12.0, dtype=">f4").reshape(3, 4)[:, ::-1]
    backwards.setflags(write=False)
    item = Item(Record("one", 2, "grid", (3, 4), (2.0, 3.0)), backwards, mask=np.ones((3, 4), np.uint8))
    sample = Sample.of(item)
    assert sample.image.dtype == torch.float32 and sample.voxel_size == (2.0, 3.0) and sample.name == "one"
    back = sample.item()
    assert np.array_equal(back.image, backwards) and back.record is item.record and back.mask.dtype == np.int64
    with pytest.raises(DatasetError, match=r"one: its mask is \(4, 3\)"):
        Sample(item.record, sample.image, mask=torch.ones((4, 3), dtype=torch.int64))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(12, 10), (8, 9, 10)])
def test_normalisation_normalises(shape, device):
    """Defect 1 of CAKED: its `normalise` leaves the data as they are."""
    sample = a_sample(shape, device)
    done = ZScore()(sample)
    for image in (done.image, done.partner):
        assert abs(float(image.mean())) < 1e-6 and float(image.std(correction=0)) == pytest.approx(1, abs=1e-6)
    assert float(MinMax()(sample).image.min()) == 0 and float(MinMax()(sample).image.max()) == 1
    low, high = np.percentile(sample.image.cpu(), [10, 90], method="nearest")
    expected = (sample.image.cpu().numpy() - low) / (high - low)
    assert np.allclose(Percentile(10, 90)(sample).image.cpu(), expected, atol=1e-6)
    clipped = Percentile(10, 90, clip=True)(sample).image
    assert float(clipped.min()) == 0 and float(clipped.max()) == 1


def test_normalisation_by_the_background_leaves_the_particle_out():
    dice = np.random.default_rng(1)
    image = dice.normal(5, 2, (40, 40))
    rows, columns = np.mgrid[:40, :40] - 20
    inside = np.hypot(rows, columns) * 3 <= 45
    image[inside] += 1000
    done = ZScore(background_diameter=90)(Sample.from_array(image, 3.0)).image.numpy()
    assert abs(done[~inside].mean()) < 1e-5 and done[~inside].std() == pytest.approx(1, abs=1e-5)
    with pytest.raises(DatasetError, match="background_diameter of 500"):
        ZScore(background_diameter=500)(Sample.from_array(image, 3.0))
    with pytest.raises(DatasetError, match="image: its voxel size is not known"):
        ZScore(background_diameter=90)(Sample.from_array(image))


@pytest.mark.parametrize("step", [ZScore, MinMax, Percentile])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_a_constant_image_is_an_error_or_zeros_and_never_nan(step, value):
    """Defect 3 of CAKED: its `shiftmin` makes NaN of a constant volume."""
    constant = Sample.from_array(np.full((6, 6, 6), value, np.float32), name="blank.mrc")
    with pytest.raises(DatasetError, match="blank.mrc: all its values are"):
        step()(constant)
    assert not step(constant="zeros")(constant).image.any()


@pytest.mark.parametrize("step", [ZScore, MinMax, Percentile])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_not_spread(step, value):
    image = np.random.default_rng(0).normal(size=(6, 6))
    image[2, 3] = value
    with pytest.raises(DatasetError, match="bad.mrc: it has values that are not finite"):
        step(constant="zeros")(Sample.from_array(image, name="bad.mrc"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("before, after", [((9, 8), (5, 12)), ((8, 9), (9, 8)), ((6, 7, 8), (9, 5, 8))])
@pytest.mark.parametrize("fill", ["mean", "mirror", "zero"])
def test_crop_and_pad_keep_voxel_half_n_and_its_points(before, after, fill, device):
    points = np.array([[n // 2 for n in before], [0] * len(before)], float)
    sample = a_sample(before, device, points=points)
    done = CropPad(after, fill=fill)(sample)
    middle, centre = (tuple(n // 2 for n in shape) for shape in (before, after))
    assert tuple(done.image.shape) == done.record.shape == after and done.voxel_size == sample.voxel_size
    for kind in ("image", "partner", "mask"):
        assert getattr(done, kind)[centre] == getattr(sample, kind)[middle]
    assert done.points[0].tolist() == list(centre)
    kept = all(m // 2 >= n // 2 for n, m in zip(before, after, strict=True))
    assert len(done.points) == 1 + kept  # the corner is cropped or not
    back = CropPad(before, fill=fill)(done)
    shared = tuple(slice(n // 2 - min(n, m) // 2, n // 2 + min(n, m) // 2) for n, m in zip(before, after, strict=True))
    assert torch.equal(back.image[shared], sample.image[shared])


def test_padding_holds_what_was_asked_for():
    image = torch.tensor([[1.0, 2.0, 6.0]])
    assert CropPad((1, 7))(Sample.from_array(image)).image.tolist() == [[3, 3, 1, 2, 6, 3, 3]]
    assert CropPad((1, 7), fill="mirror")(Sample.from_array(image)).image.tolist() == [[6, 2, 1, 2, 6, 2, 1]]
    assert CropPad((1, 7), fill="zero")(Sample.from_array(image)).image.tolist() == [[0, 0, 1, 2, 6, 0, 0]]
    with pytest.raises(DatasetError, match=r"image: its shape \(1, 3\) cannot become \(2, 2, 2\)"):
        CropPad((2, 2, 2))(Sample.from_array(image))


def test_there_are_as_many_quarter_turns_as_geometry_has():
    square, cube, brick = ((9, 1.0),) * 2, ((9, 1.0),) * 3, ((9, 1.0), (9, 1.0), (5, 1.0))
    assert [len(quarter_turns(square, mirror)) for mirror in (False, True)] == [4, 8]
    assert [len(quarter_turns(cube, mirror)) for mirror in (False, True)] == [24, 48]
    assert [len(quarter_turns(brick, mirror)) for mirror in (False, True)] == [8, 16]
    assert len(quarter_turns(((9, 1.0), (9, 2.0)), False)) == 2  # voxels that are not square are not exchanged


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(7, 7), (8, 6), (6, 6, 6), (5, 6, 5)])
def test_quarter_turns_move_image_mask_points_and_partner_together(shape, device):
    sample = a_sample(shape, device)
    places = sample.points.round()
    for index in range(20):
        done = TurnQuarters(mirror=True)(
            Sample(sample.record, sample.image, sample.mask, places, sample.partner), index=index
        )
        assert tuple(done.image.shape) == shape
        old, new = tuple(places.long().T), tuple(done.points.long().T)
        for kind in ("image", "mask", "partner"):
            assert torch.equal(getattr(done, kind)[new], getattr(sample, kind)[old])
        assert torch.equal(done.image.flatten().sort().values, sample.image.flatten().sort().values)


def test_turning_without_mirror_keeps_the_hand():
    corner = np.zeros((5, 5, 5))
    points = np.array([[2, 2, 2], [4, 2, 2], [2, 4, 2], [2, 2, 4.0]])
    hands, ways = set(), set()
    for index in range(300):
        done = TurnQuarters()(Sample.from_array(corner, points=points), index=index).points.numpy()
        axes = done[1:] - done[0]
        hands.add(round(float(np.linalg.det(axes))))
        ways.add(axes.tobytes())
    assert hands == {8} and len(ways) == 24


RECIPE = Recipe((CropPad((10, 10), fill="mirror"),), (TurnQuarters(mirror=True, probability=0.5), ZScore()), "twin")


def test_a_recipe_is_the_same_after_json():
    text = RECIPE.to_json()
    assert Recipe.from_json(text) == RECIPE
    assert json.loads(text)["transforms"] == [{"name": "CropPad", "parameters": {"shape": [10, 10], "fill": "mirror"}}]
    assert Recipe.from_json("{}") == Recipe()


def test_the_same_numbers_give_the_same_sample_whatever_came_before():
    samples = [a_sample(seed=i) for i in range(6)]
    recipe = Recipe((), (TurnQuarters(),))
    forwards = [recipe.apply(one, seed=1, epoch=2, index=i).image for i, one in enumerate(samples)]
    torch.manual_seed(99)
    backwards = [recipe.apply(samples[i], seed=1, epoch=2, index=i).image for i in reversed(range(6))][::-1]
    assert all(map(torch.equal, forwards, backwards))
    for place in range(3):
        numbers = [[n if i == place else 0 for i in range(3)] for n in range(40)]
        seen = {recipe.apply(samples[0], seed=s, epoch=e, index=i).image.numpy().tobytes() for s, e, i in numbers}
        assert len(seen) == 4  # every one of the three numbers counts


def test_probability_is_how_often_something_happens():
    sample = a_sample((5, 5))
    still = sum(torch.equal(TurnQuarters(probability=0.4)(sample, index=i).image, sample.image) for i in range(1000))
    assert still / 1000 == pytest.approx(0.6 + 0.4 / 4, abs=0.05)
    assert torch.equal(TurnQuarters(probability=0)(sample).image, sample.image)


def test_prepare_and_augment_are_the_two_halves_of_apply():
    sample = a_sample((14, 14))
    whole = RECIPE.apply(sample, seed=3, epoch=1, index=4)
    halves = RECIPE.augment(RECIPE.prepare(sample), seed=3, epoch=1, index=4)
    assert torch.equal(whole.image, halves.image) and torch.equal(whole.points, halves.points)


def test_steps_leave_the_sample_they_were_given_alone():
    sample = a_sample((14, 14))
    before = sample.image.clone(), sample.points.clone(), sample.mask.clone()
    RECIPE.apply(sample, seed=0, epoch=0, index=0)
    assert torch.equal(sample.image, before[0]) and torch.equal(sample.points, before[1])
    assert torch.equal(sample.mask, before[2])


@pytest.mark.parametrize(
    "text, said",
    [
        ("[", "no JSON"),
        ("[]", "the recipe has list"),
        ('{"steps": []}', "steps.*it is an object with the keys"),
        ('{"version": 7}', "version 7"),
        ('{"partner": "friend"}', "partner is 'friend'.*target, twin"),
        ('{"transforms": {}}', "are a list"),
        ('{"transforms": ["ZScore"]}', "a step of a recipe is"),
        ('{"transforms": [{"name": "ZScore", "parameters": 3}]}', "parameters are an object"),
        ('{"transforms": [{"name": "normalise"}]}', "no step 'normalise'; there are .*ZScore"),
        (
            '{"transforms": [{"name": "ZScore", "parameters": {"width": 3}}]}',
            "no parameter width; it has constant, back",
        ),
        ('{"transforms": [{"name": "CropPad"}]}', "CropPad needs shape"),
        ('{"transforms": [{"name": "CropPad", "parameters": {"shape": "big"}}]}', "shape is 'big', and should be int"),
        ('{"transforms": [{"name": "CropPad", "parameters": {"shape": [4, -1]}}]}', r"CropPad: shape is \(4, -1\)"),
        ('{"transforms": [{"name": "Percentile", "parameters": {"clip": 1}}]}', "clip is 1, and should be bool"),
        ('{"transforms": [{"name": "TurnQuarters"}]}', "belongs to the augmentations"),
        ('{"augmentations": [{"name": "TurnQuarters", "parameters": {"probability": 2}}]}', "probability is 2"),
    ],
)
def test_a_recipe_that_cannot_be_says_why_and_what_there_is(text, said):
    with pytest.raises(DatasetError, match=said):
        Recipe.from_json(text)


def test_numbers_that_are_no_seeds_are_refused():
    with pytest.raises(DatasetError, match="not negative"):
        RECIPE.apply(a_sample(), seed=0, epoch=-1, index=0)


def test_a_step_of_ones_own_is_registered_and_read_back():

    @dataclass(frozen=True)
    class Negate(Transform):
        def work(self, canvas):
            for picture in canvas.pictures:
                picture.pixels = -picture.pixels

    with pytest.raises(DatasetError, match="Negate is not registered"):
        Recipe((Negate(),)).to_json()
    try:
        register(Negate)
        assert Recipe.from_json(Recipe((Negate(),)).to_json()) == Recipe((Negate(),))
        with pytest.raises(DatasetError, match="there is a step named Negate already"):
            register(type("Negate", (Negate,), {}))
    finally:
        REGISTRY.pop("Negate")


@pytest.mark.parametrize("name", known_steps())
def test_every_step_explains_itself_and_its_parameters(name):
    step = REGISTRY[name]
    assert step.__doc__ and not step.__doc__.startswith(f"{name}("), "dataclass wrote the docstring"
    documented = "".join(base.__doc__ or "" for base in step.__mro__)
    assert all(entry in documented for entry in step.__dataclass_fields__)
    assert issubclass(step, Augmentation | Transform) and issubclass(step, Augmentation) == (
        "probability" in step.__dataclass_fields__
    )


def test_steps_come_from_names():
    assert step_from("Percentile", {"low": 2}) == Percentile(2)


def test_the_reference_lists_every_step_with_its_parameters_and_no_other():
    page = Path(__file__).parents[2] / "docs" / "reference" / "dataset_steps.md"
    rows = [line.split("|") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    listed = {name: row[2] for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert sorted(listed) == known_steps()
    for name, parameters in listed.items():
        told = set(re.findall(r"`(\w+)`", parameters))
        assert told == set(REGISTRY[name].__dataclass_fields__) - {"probability"}, name
