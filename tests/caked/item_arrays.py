"""A source of items out of arrays, and ways to make it fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_caked.datasets.items import Item, ItemSource, Record


@dataclass(eq=False)
class Arrays(ItemSource):
    """Items of arrays, read in the order of their groups.

    ``read`` counts how often each item was read; reading item ``dies_at`` raises KeyboardInterrupt.
    """

    given: Sequence[Item]
    classes: tuple[str, ...] = ("particle", "junk")
    dies_at: int | None = None
    read: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records = tuple(item.record for item in self.given)

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        for index in sorted(indices, key=lambda index: (self.records[index].group, index)):
            if index == self.dies_at:
                raise KeyboardInterrupt
            self.read[index] = self.read.get(index, 0) + 1
            yield index, self.given[index]


def made(
    count: int = 20,
    shape: tuple[int, ...] = (8, 6),
    *,
    full: bool = True,
    groups: int = 4,
    voxel_size: float | None = 2.0,
    seed: int = 0,
) -> Arrays:
    """Noise with a mask, points (as many as the item's index modulo 3) and a partner, or without these."""
    dice = np.random.default_rng(seed)
    items = []
    for i in range(count):
        size = None if voxel_size is None else (voxel_size,) * len(shape)
        record = Record(
            f"item {i} é", (i % 3) - 1, f"grid {i % groups}", shape, size, 1.0 + i, {"file": f"{i}.mrc", "row": i}
        )
        extra = {
            "mask": dice.integers(0, 5, shape),
            "points": dice.uniform(0, 5, (i % 3, len(shape))).astype(np.float32),
            "partner": dice.normal(size=shape).astype(np.float32),
        }
        items.append(Item(record, dice.normal(size=shape).astype(np.float32), **(extra if full else {})))
    return Arrays(items)
