"""Tests of what a data set is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from napari_caked.datasets.items import UNLABELLED, Item, ItemSource, Record
from napari_caked.errors import DatasetError

RECORD = Record("one", 0, "grid", (4, 5), (2.0, 2.0))


class Numbers(ItemSource):
    """Items that hold their own index."""

    classes = ("particle",)
    records = tuple(replace(RECORD, name=str(i)) for i in range(3))

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        for index in sorted(indices):
            yield index, Item(self.records[index], np.full((4, 5), index, np.float32))


@pytest.mark.parametrize(
    "change, said",
    [
        ({"shape": (4,)}, "two or three axes"),
        ({"shape": (4, 0)}, "two or three axes"),
        ({"label": -2}, "label -2"),
        ({"voxel_size": (2.0,)}, "voxel size"),
        ({"voxel_size": (2.0, 0.0)}, "voxel size"),
        ({"voxel_size": (2.0, float("nan"))}, "voxel size"),
        ({"weight": -1.0}, "weight -1.0"),
        ({"weight": float("inf")}, "weight inf"),
    ],
)
def test_a_record_that_cannot_be_is_refused_by_name(change, said):
    with pytest.raises(DatasetError, match=f"one.*{said}"):
        replace(RECORD, **change)


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"image": np.zeros((5, 4), np.float32)}, "image is"),
        ({"mask": np.zeros((4, 4), int)}, "mask is"),
        ({"partner": np.zeros((1, 4, 5), np.float32)}, "partner is"),
        ({"mask": np.zeros((4, 5), np.float32)}, "integer labels"),
        ({"points": np.zeros((3, 3))}, "points are"),
    ],
)
def test_parts_of_an_item_that_do_not_fit_are_refused_by_name(arrays, said):
    with pytest.raises(DatasetError, match=f"one.*{said}"):
        Item(RECORD, **{"image": np.zeros((4, 5), np.float32)} | arrays)


def test_items_are_reached_by_index_from_both_ends():
    source = Numbers()
    assert len(source) == 3 and [int(item.image[0, 0]) for item in source] == [0, 1, 2]
    assert source[-1].record.name == "2" and replace(RECORD, label=UNLABELLED).label == UNLABELLED
    with pytest.raises(IndexError, match="3 items"):
        source[3]
