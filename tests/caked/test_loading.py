"""Tests of loading data sets for training: the same for any number of workers, nothing dropped, nothing leaking."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_caked.datasets.augment_quarters import TurnQuarters
from napari_caked.datasets.building import build
from napari_caked.datasets.cropping import CropPad
from napari_caked.datasets.items import Item
from napari_caked.datasets.loading import Dataset
from napari_caked.datasets.normalising import ZScore
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sample import Canvas
from napari_caked.datasets.steps import Augmentation, Dice
from napari_caked.errors import DatasetError

sys.path.insert(0, str(Path(__file__).parent))
from item_arrays import Arrays, made  # noqa: E402


@dataclass(frozen=True)
class AddNumber(Augmentation):
    """Add the same random number to all pixels."""

    def work(self, canvas: Canvas, dice: Dice) -> None:
        canvas.pictures[0].pixels = canvas.pictures[0].pixels + dice.normal((1,), canvas.device)


RECIPE = Recipe((ZScore(),), (AddNumber(),))


def plain(count: int = 20, **options) -> Arrays:
    """Items without points, which differ in number, of two classes and none, 4 groups."""
    return made(count, full=False, **options)


def by_index(loader) -> dict[int, bytes]:
    found = {}
    for batch in loader:
        for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            assert index not in found
            found[index] = image.numpy().tobytes()
    return found


# ---- what a batch is


def test_a_batch_says_everything_about_its_items():
    source = made(6)
    (batch,) = Dataset(source).loader(6, shuffle=False)
    assert batch["image"].shape == batch["partner"].shape == (6, 1, 8, 6) and batch["image"].dtype == torch.float32
    assert batch["mask"].shape == (6, 8, 6) and batch["mask"].dtype == torch.int64
    assert batch["label"].tolist() == [-1, 0, 1, -1, 0, 1] and batch["label"].dtype == torch.int64
    assert batch["name"] == [f"item {i} é" for i in range(6)] and batch["group"][5] == "grid 1"
    assert batch["weight"].tolist() == [1, 2, 3, 4, 5, 6] and batch["index"].tolist() == list(range(6))
    assert batch["voxel_size"].tolist() == [[2.0, 2.0]] * 6
    assert [len(points) for points in batch["points"]] == [0, 1, 2, 0, 1, 2]
    for i, item in enumerate(source.given):
        np.testing.assert_array_equal(batch["image"][i, 0], item.image)
        np.testing.assert_array_equal(batch["points"][i], item.points)


def test_one_item_is_a_batch_without_its_first_axis():
    items = Dataset(made(6)).items()
    assert items[-1]["image"].shape == (1, 8, 6) and items[2]["name"] == "item 2 é" and items[2]["label"] == 1
    with pytest.raises(IndexError, match="6 items"):
        items[6]


def test_a_store_gives_the_same_batches_as_its_source(tmp_path):
    source = made()
    store = build(source, tmp_path / "a.dataset.zarr")
    expected = {item.record.name: item for item in source.given}
    for batch in Dataset.from_store(store.path).loader(7):
        for i, name in enumerate(batch["name"]):
            item = expected[name]
            np.testing.assert_array_equal(batch["image"][i, 0], item.image)
            np.testing.assert_array_equal(batch["mask"][i], item.mask)
            np.testing.assert_array_equal(batch["partner"][i, 0], item.partner)
            np.testing.assert_array_equal(batch["points"][i], item.points)
            assert batch["label"][i] == item.record.label and batch["weight"][i] == item.record.weight


def test_augmentations_that_a_store_was_built_with_are_done_and_transforms_not_again(tmp_path):
    build(plain(), tmp_path / "a.dataset.zarr", Recipe((CropPad(6),), (TurnQuarters(),)))
    data = Dataset.from_store(tmp_path / "a.dataset.zarr")
    assert data.recipe == Recipe((), (TurnQuarters(),))
    (before,) = data.loader(20, shuffle=False, augment=False)
    (after,) = data.loader(20, shuffle=False)
    assert torch.equal(after["image"].flatten(1).sort().values, before["image"].flatten(1).sort().values)
    turned = (after["image"] != before["image"]).flatten(1).any(dim=1)
    assert 10 < turned.sum() <= 20  # seven of eight turns change an image


def test_the_batches_of_a_folder_take_as_many_lines_as_with_caked(tmp_path):
    for i in range(10):
        np.save(tmp_path / f"{'ab'[i % 2]}_{i}.npy", np.random.default_rng(i).normal(size=(4, 4, 4)))
    data = Dataset.from_folder(tmp_path, only=["a", "b"], recipe=Recipe((ZScore(),)))
    train, validation = data.loaders(4, validation=0.2)
    assert sum(len(batch["name"]) for batch in train) == 8 and sum(len(batch["name"]) for batch in validation) == 2
    assert data.classes == ("a", "b")


# ---- order and chance


@pytest.mark.parametrize("stream", [False, True])
def test_items_are_the_same_for_any_number_of_workers(stream):
    data, found = Dataset(plain(), RECIPE, seed=3), []
    for workers in (0, 2):
        loader = data.loader(4, workers=workers, stream=stream)
        found.append([by_index(loader), by_index(loader)])
    assert found[0] == found[1]
    assert found[0][0].keys() == found[0][1].keys() == set(range(20))
    assert not set(found[0][0].values()) & set(found[0][1].values()), "each epoch is augmented anew"


def test_the_order_is_the_same_for_the_same_seed_and_epoch_alone():
    def order(loader):
        return [index for batch in loader for index in batch["index"].tolist()]

    data = Dataset(plain(), seed=3)
    one, workers = data.loader(4), data.loader(5, workers=2)
    first, second = order(one), order(one)
    assert first != second and sorted(first) == sorted(second) == list(range(20))
    assert [order(workers), order(workers)] == [first, second]
    assert order(Dataset(plain(), seed=4).loader(4)) != first
    resumed = data.loader(4)
    resumed.epoch = 1
    assert order(resumed) == second
    assert order(data.loader(4, shuffle=False)) == list(range(20))


def test_no_random_numbers_of_others_are_drawn_or_seeded():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(1).item(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    for workers in (0, 1):
        train, validation = Dataset(plain(), RECIPE).loaders(4, workers=workers, balance=True)
        list(train), list(validation)
    assert (torch.rand(1).item(), np.random.rand()) == expected  # noqa: NPY002


def test_a_stream_mixes_groups_and_reads_each_item_once():
    source = plain(40)
    indices = [index for batch in Dataset(source).loader(8, stream=True) for index in batch["index"].tolist()]
    assert source.read == dict.fromkeys(range(40), 1)
    groups = [index % 4 for index in indices]
    changes = sum(one != two for one, two in zip(groups, groups[1:], strict=False))
    assert changes > 15, "mixed in the buffer, not one group after the other"


def test_a_stream_that_is_not_shuffled_keeps_groups_together():
    indices = [i for batch in Dataset(plain(8)).loader(3, stream=True, shuffle=False) for i in batch["index"].tolist()]
    assert indices == [0, 4, 1, 5, 2, 6, 3, 7]


# ---- none is dropped


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("batch_size, sizes", [(8, [8, 8, 4]), (100, [20])])
def test_the_last_batch_is_smaller_and_not_dropped(stream, batch_size, sizes):
    loader = Dataset(plain()).loader(batch_size, stream=stream)
    assert [len(batch["name"]) for batch in loader] == sizes


def test_no_item_is_on_both_sides_and_no_group_is_parted():
    data = Dataset(plain(40, groups=10), seed=1)
    train, validation = (
        {name for batch in loader for name in batch["name"]} for loader in data.loaders(4, validation=0.3)
    )
    assert not train & validation and len(train) == 28 and len(validation) == 12
    train, held = data.parted(0.3)
    assert not {i % 10 for i in train.tolist()} & {i % 10 for i in held.tolist()}
    _, held = data.parted(0.3, "item")
    assert len(held) == 12 and len({i % 10 for i in held.tolist()}) > 4


def test_validation_is_neither_shuffled_nor_augmented_nor_balanced():
    data = Dataset(plain(40), RECIPE)
    _, validation = data.loaders(40, validation=0.5, balance=True)
    (first,), (second,) = validation, validation
    assert first["index"].tolist() == sorted(first["index"].tolist())
    assert torch.equal(first["image"], second["image"])
    np.testing.assert_allclose(first["image"].mean(dim=(1, 2, 3)), 0, atol=1e-6)


@pytest.mark.parametrize("validation, sizes", [(0, (20, 0)), (1, (0, 20)), (1.0, (0, 20))])
def test_a_share_of_nothing_or_everything_gives_an_empty_loader(validation, sizes):
    loaders = Dataset(plain()).loaders(8, validation=validation, balance=True)
    assert tuple(sum(len(batch["name"]) for batch in loader) for loader in loaders) == sizes


def test_what_cannot_be_asked_for_is_told():
    data = Dataset(plain())
    with pytest.raises(DatasetError, match=r"validation is 20, .*from 0 to 1; for 20 % give 0.2"):
        data.loaders(8, validation=20)
    with pytest.raises(DatasetError, match="'group' or by 'item', not by 'file'"):
        data.loaders(8, by="file")
    with pytest.raises(DatasetError, match="a batch of 0"):
        data.loader(0)
    with pytest.raises(DatasetError, match="cannot balance"):
        data.loader(8, stream=True, balance=True)
    with pytest.raises(DatasetError, match="indices 0 to 20 of 20"):
        data.loader(8, [0, 20])
    with pytest.raises(DatasetError, match="seed is -1"):
        Dataset(plain(), seed=-1)


# ---- balance


@pytest.mark.parametrize("balance, share", [(True, 0.5), ({"particle": 3, "junk": 1}, 0.25)])
def test_balanced_classes_have_their_shares_and_repeats_are_augmented_anew(balance, share):
    source = plain(300)
    labels = [int(i % 15 == 0) for i in range(300)]
    source = Arrays(
        [replace(one, record=replace(one.record, label=k)) for one, k in zip(source.given, labels, strict=True)]
    )
    loader = Dataset(source, RECIPE).loader(50, balance=balance)
    for _ in range(2):
        batches = list(loader)
        images = [image.numpy().tobytes() for batch in batches for image in batch["image"]]
        assert sum(int(batch["label"].sum()) for batch in batches) == 300 * share
        assert len(images) == len(set(images)) == 300


# ---- what cannot be a batch


def test_items_of_several_shapes_are_told_by_name_with_the_remedy():
    source = plain(4)
    record = replace(source.given[3].record, shape=(5, 5))
    source = Arrays([*source.given[:3], Item(record, np.zeros((5, 5), np.float32))])
    with pytest.raises(DatasetError, match=r"item 0 é is \(8, 6\) and item 3 é is \(5, 5\).*CropPad"):
        list(Dataset(source).loader(4, shuffle=False))
    assert len(list(Dataset(source).loader(1))) == 4
    (batch,) = Dataset(source, Recipe((CropPad(6),))).loader(4)
    assert batch["image"].shape == (4, 1, 6, 6)


def test_items_of_which_only_some_have_masks_are_told():
    source = made(4)
    source.given[1] = replace(source.given[1], mask=None)
    with pytest.raises(DatasetError, match="only 3 of 4 items of a batch have a mask"):
        list(Dataset(Arrays(source.given)).loader(4))


def test_an_error_in_a_worker_names_the_item(tmp_path):
    source = plain(4)
    source.given[2] = replace(source.given[2], image=np.zeros((8, 6), np.float32))
    with pytest.raises(DatasetError, match="item 2 é: all its values are 0"):
        list(Dataset(Arrays(source.given), RECIPE).loader(4, workers=1))
