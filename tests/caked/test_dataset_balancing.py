"""Tests of drawing classes as asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from napari_caked.datasets.balancing import BalancedSampler, sampler_weights
from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.errors import DatasetError


class Uneven(ItemSource):
    """90 a, 9 b, 1 c, no d, and one item without a class."""

    classes = ("a", "b", "c", "d")
    records = tuple(Record(str(i), label, "g", (2, 2)) for i, label in enumerate([0] * 90 + [1] * 9 + [2] + [-1]))

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        yield from ()


def drawn(sampler: BalancedSampler) -> Counter[str]:
    return Counter(Uneven.classes[Uneven.records[index].label] for index in sampler)


def test_each_class_comes_exactly_as_asked():
    assert drawn(BalancedSampler(Uneven(), length=99)) == {"a": 33, "b": 33, "c": 33}
    assert drawn(BalancedSampler(Uneven(), {"a": 3, "b": 1}, length=100)) == {"a": 75, "b": 25}
    assert drawn(BalancedSampler(Uneven(), {"a": 1, "b": 1, "c": 1}, length=100)).total() == 100


def test_equal_items_come_equally_often():
    times = Counter(BalancedSampler(Uneven(), length=300))
    assert {times[i] for i in range(90)} == {1, 2} and {times[i] for i in range(90, 99)} == {11, 12}
    assert times[99] == 100 and times[100] == 0


def test_weights_say_how_often_an_item_comes():
    source = Uneven()
    source.records = tuple(Record(str(i), 0, "g", (2, 2), weight=w) for i, w in enumerate([3, 1, 0, 4]))
    times = Counter(BalancedSampler(source, length=800))
    assert [times[i] for i in range(4)] == [300, 100, 0, 400]


def test_an_epoch_has_its_own_order_that_can_be_repeated():
    sampler = BalancedSampler(Uneven(), length=50, seed=4)
    first, second = list(sampler), list(sampler)
    assert first != second and len(sampler) == 50
    sampler.set_epoch(0)
    assert list(sampler) == first != list(BalancedSampler(Uneven(), length=50, seed=5))


def test_only_the_part_of_a_split_is_drawn_from():
    part = [3, 5, 90, 91]
    sampler = BalancedSampler(Uneven(), indices=part)
    assert len(sampler) == 4 and sorted(sampler) == part
    np.testing.assert_allclose(sampler_weights(Uneven(), {"a": 3, "b": 1}, indices=part), [0.375, 0.375, 0.125, 0.125])


def test_chances_give_each_class_its_share():
    chances = sampler_weights(Uneven())
    assert [chances[:90].sum(), chances[90:99].sum(), chances[99]] == pytest.approx([1 / 3] * 3) and chances[100] == 0
    assert chances.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "shares, said",
    [
        ({"e": 1.0}, "no class e; there are a, b, c, d"),
        ({"a": 1.0, "d": 1.0}, "the class d has no items"),
        ({"a": -1.0, "b": 2.0}, "cannot be"),
        ({"a": 0.0}, "cannot be"),
        ({}, "cannot be"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares, said):
    with pytest.raises(DatasetError, match=said):
        BalancedSampler(Uneven(), shares)
