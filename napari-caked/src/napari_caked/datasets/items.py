"""What a labelled data set is made of: items, and the sources that read them.

An item is an image ``(y, x)`` or a volume ``(z, y, x)`` with its label. A source knows of every item what can be known
without its pixels, so that counting, splitting and balancing read no image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_caked.errors import DatasetError

__all__ = ["UNLABELLED", "Item", "ItemSource", "Record"]

#: Label of an item of which nobody said what it is.
UNLABELLED = -1


@dataclass(frozen=True)
class Record:
    """What is known of an item without its pixels.

    Attributes
    ----------
    name
        Unique in its data set.
    label
        Index into the classes of the source, or :data:`UNLABELLED`.
    group
        What it shares with items that look alike for other reasons than their class (micrograph, grid, entry): a
        split never parts a group.
    shape
        Pixels, ``(y, x)`` or ``(z, y, x)``.
    voxel_size
        Å along each axis, or None where nobody knows.
    weight
        How much the item counts in a loss and in sampling; 1 for most.
    origin
        Where it came from: file, position in it, coordinates, and whatever the source adds.
    """

    name: str
    label: int
    group: str
    shape: tuple[int, ...]
    voxel_size: tuple[float, ...] | None = None
    weight: float = 1.0
    origin: Mapping[str, str | float | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 1:
            raise DatasetError(f"{self.name}: an item has two or three axes, not the shape {self.shape}")
        if self.label < UNLABELLED:
            raise DatasetError(f"{self.name}: label {self.label} is no index of a class, and not {UNLABELLED} for none")
        sizes = self.voxel_size
        if sizes is not None and (len(sizes) != len(self.shape) or not all(0 < size < np.inf for size in sizes)):
            raise DatasetError(f"{self.name}: voxel size {sizes} is not one positive number of Å for each axis")
        if not 0 <= self.weight < np.inf:
            raise DatasetError(f"{self.name}: weight {self.weight} is negative or not finite")


@dataclass(frozen=True)
class Item:
    """An image or a volume, and what belongs to it.

    Attributes
    ----------
    record
        What is known without the pixels; its shape is that of ``image``.
    image
        ``(y, x)`` or ``(z, y, x)`` float32.
    mask
        Integer labels of the same shape, or None.
    points
        ``(n, 2)`` or ``(n, 3)`` places in pixels, centres at integers, or None.
    partner
        float32 of the same shape that goes with it (the model's map, the other half map, the odd frames), or None.
    """

    record: Record
    image: np.ndarray
    mask: np.ndarray | None = None
    points: np.ndarray | None = None
    partner: np.ndarray | None = None

    def __post_init__(self) -> None:
        for kind in ("image", "mask", "partner"):
            array = getattr(self, kind)
            if array is not None and array.shape != self.record.shape:
                raise DatasetError(f"{self.record.name}: its {kind} is {array.shape}, not {self.record.shape}")
        if self.mask is not None and not np.issubdtype(self.mask.dtype, np.integer):
            raise DatasetError(f"{self.record.name}: a mask holds integer labels, not {self.mask.dtype}")
        if self.points is not None and self.points.shape[1:] != (len(self.record.shape),):
            raise DatasetError(f"{self.record.name}: points are {self.points.shape}, not (n, {len(self.record.shape)})")


class ItemSource(ABC):
    """Where items come from: a subclass brings ``classes``, ``records`` and :meth:`items`.

    Attributes
    ----------
    classes
        Names; labels count into them.
    records
        One for each item.
    """

    classes: tuple[str, ...]
    records: Sequence[Record]

    @abstractmethod
    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Read items, in the order in which that costs least: each file once, each micrograph once.

        Yields
        ------
        index, item
            Every index that was asked for, as often as it was.
        """

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Item:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} items, and none has the index {index}")
        return next(iter(self.items([index % len(self)])))[1]
