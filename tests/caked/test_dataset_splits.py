"""Tests of dividing a data set; those named after CAKED 0.1.7 hold what it gets wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.datasets.splits import Split, k_folds, leave_one_group_out, split
from napari_caked.errors import DatasetError


class Made(ItemSource):
    """Items of given labels and groups, each pixel its own index."""

    def __init__(self, labels: Sequence[int], groups: Sequence[object] | None = None, classes: int = 2) -> None:
        groups = range(len(labels)) if groups is None else groups
        self.classes = tuple("abcdefgh"[:classes])
        self.records = tuple(
            Record(f"i{i}", int(label), f"g{group}", (2, 2))
            for i, (label, group) in enumerate(zip(labels, groups, strict=True))
        )

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        for index in indices:
            yield index, Item(self.records[index], np.full((2, 2), index, np.float32))


def groups_of(source: ItemSource, indices: np.ndarray) -> set[str]:
    return {source.records[i].group for i in indices}


def shares(source: ItemSource, indices: np.ndarray) -> np.ndarray:
    return np.bincount([source.records[i].label for i in indices], minlength=len(source.classes))


@given(
    labels=st.lists(st.integers(-1, 2), min_size=6, max_size=60),
    groups=st.integers(3, 20),
    seed=st.integers(0, 5),
)
def test_every_item_is_in_one_part_and_no_group_in_two(labels, groups, seed):
    source = Made(labels, [i % groups for i in range(len(labels))], 3)
    found = split(source, {"train": 0.6, "val": 0.2, "test": None}, seed=seed)
    everything = np.concatenate(list(found.parts.values()))
    assert sorted(everything) == list(range(len(labels)))
    sets = [groups_of(source, at) for at in found.parts.values()]
    assert all(sets) and sum(map(len, sets)) == len(set.union(*sets))


def test_caked_shares_mean_what_they_say():
    """CAKED's ``split_size`` is the share of the other part: 0.8 of 12 files trains on 2 (its defect 6)."""
    source = Made([0, 1] * 6)
    found = split(source, {"train": 0.8, "val": 0.2})
    assert len(found["train"]) == 10 and len(found["val"]) == 2 and not found.warnings
    found = split(source, {"train": 9, "val": 3})
    assert len(found["train"]) == 9 and len(found["val"]) == 3
    assert len(split(source, {"train": None, "val": 1})["val"]) == 1


@pytest.mark.parametrize(
    "parts, said",
    [
        ({"train": 80.0, "val": 20.0}, "share lies between 0 and 1"),
        ({"train": 80, "val": 20}, "add up to 100, and the whole is 12 items"),
        ({"train": 0.8, "val": 0.3}, "add up to 1.1, and the whole is 1"),
        ({"train": 0.8}, "add up to 0.8"),
        ({"train": 0.8, "val": 2}, "not both"),
        ({"train": None, "val": None}, "does not say how"),
        ({"train": 12, "val": None}, "add up to 12"),
        ({"train": -1, "val": None}, "share lies"),
        ({}, "does not say how"),
    ],
)
def test_caked_shares_that_cannot_be_are_refused(parts, said):
    """CAKED takes 1 for one per cent, and 99 ends in numpy (its defect 6)."""
    with pytest.raises(DatasetError, match=said):
        split(Made([0, 1] * 6), parts)


def test_caked_tiles_of_one_volume_stay_together():
    """CAKED divides files at random, so that tiles of one volume end on both sides."""
    labels = np.repeat(np.arange(20) % 2, 10)
    source = Made(labels, np.repeat(np.arange(20), 10))
    for seed in range(10):
        found = split(source, {"train": 0.8, "val": 0.2}, seed=seed)
        assert not groups_of(source, found["train"]) & groups_of(source, found["val"])
        assert len(found["val"]) == 40


def test_caked_a_seed_divides_alike_and_another_differently():
    """CAKED's division cannot be repeated."""
    source = Made([0, 1] * 50)
    first, again, other = (split(source, {"train": 0.5, "val": 0.5}, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["val"], again["val"])
    assert set(first["val"]) != set(other["val"])


def test_classes_have_the_same_share_in_each_part():
    source = Made([0] * 700 + [1] * 250 + [2] * 50, classes=3)
    found = split(source, {"train": 0.7, "val": 0.2, "test": 0.1})
    assert shares(source, found["train"]).tolist() == [490, 175, 35]
    assert shares(source, found["val"]).tolist() == [140, 50, 10]
    assert shares(source, found["test"]).tolist() == [70, 25, 5]


def test_a_hundred_thousand_groups_are_divided_in_no_time():
    labels = np.random.default_rng(0).choice(5, 100_000, p=[0.4, 0.3, 0.2, 0.09, 0.01])
    source = Made(labels, classes=5)
    start = time.process_time()
    found = split(source, {"train": 0.8, "val": 0.1, "test": 0.1})
    assert time.process_time() - start < 10
    assert [len(at) for at in found.parts.values()] == [80_000, 10_000, 10_000]
    np.testing.assert_allclose(shares(source, found["test"]), 0.1 * shares(source, range(100_000)), atol=1)


def test_classes_are_as_even_as_groups_allow():
    dice = np.random.default_rng(3)
    sizes = dice.integers(5, 60, 60)
    bias = dice.uniform(0.1, 0.9, 60)
    labels = np.concatenate([dice.random(size) < p for size, p in zip(sizes, bias, strict=True)]).astype(int)
    source = Made(labels, np.repeat(np.arange(60), sizes))
    for seed in range(5):
        found = split(source, {"train": 0.8, "val": 0.2}, seed=seed)
        assert len(found["val"]) == pytest.approx(0.2 * len(labels), rel=0.02)
        assert labels[found["val"]].mean() == pytest.approx(labels.mean(), abs=0.02)


def test_what_groups_do_not_allow_is_told():
    source = Made([0] * 10 + [1] * 2, [0] * 5 + [1] * 5 + [2] * 2)
    found = split(source, {"train": 6, "val": 6})
    assert "the class b has no items in" in " ".join(found.warnings) and "1 group" in found.warnings[-1]
    assert any("instead of 6, as no group is parted" in warning for warning in found.warnings)
    with pytest.raises(DatasetError, match="3 groups cannot be divided into 4 parts"):
        split(source, dict.fromkeys("abcd", 0.25))


def test_folds_hold_every_item_once():
    source = Made([0, 1] * 20, np.repeat(np.arange(10), 4))
    folds = k_folds(source, 5)
    assert sorted(np.concatenate([fold["val"] for fold in folds])) == list(range(40))
    for fold in folds:
        assert len(fold["val"]) == 8 and shares(source, fold["val"]).tolist() == [4, 4]
        assert not groups_of(source, fold["train"]) & groups_of(source, fold["val"])
    with pytest.raises(DatasetError, match="at least 2"):
        k_folds(source, 1)


def test_each_group_is_left_out_once():
    source = Made([0, 1, 0, 1], [0, 0, 1, 2])
    found = dict(leave_one_group_out(source))
    assert list(found) == ["g0", "g1", "g2"] and found["g0"]["val"].tolist() == [0, 1]
    assert found["g2"]["train"].tolist() == [0, 1, 2]
    with pytest.raises(DatasetError, match="nothing to hold out"):
        list(leave_one_group_out(Made([0, 1], [0, 0])))


def test_a_split_is_kept_by_names():
    source = Made([0, 1] * 5)
    found = split(source, {"train": 0.5, "val": 0.5})
    more = Made([0, 1] * 6)
    more.records = more.records[::-1]
    back = Split.from_json(found.to_json(source), more)
    assert {more.records[i].name for i in back["val"]} == {source.records[i].name for i in found["val"]}
    with pytest.raises(DatasetError, match="not in the data set"):
        Split.from_json(found.to_json(source), Made([0, 1]))
    with pytest.raises(DatasetError, match="no split"):
        Split.from_json("[1]", source)
    with pytest.raises(DatasetError, match="no part 'test'; there are train, val"):
        found["test"]
