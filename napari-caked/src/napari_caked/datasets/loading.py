"""From a source of items to batches for training with PyTorch.

What an item looks like in an epoch depends on the seed, the epoch and the item, and on nothing else: not on the number
of workers, the size of batches, or random numbers drawn elsewhere.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from napari_caked.datasets.balancing import BalancedSampler
from napari_caked.datasets.batches import Batch, ItemDataset, ItemStream
from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sources import folder_source
from napari_caked.datasets.splits import split
from napari_caked.datasets.store import Store, open_store
from napari_caked.errors import DatasetError

__all__ = ["Dataset", "Loader"]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """Items, what is done to them, and the seed of all that is random.

    Attributes
    ----------
    source
        The items.
    recipe
        What is done to an item when it is read; for a store by default the augmentations it was built with.
    seed
        Of the split, the order and the augmentations.
    backgrounds
        Pictures without particles, for augmentations that mix them in.

    Examples
    --------
    >>> data = Dataset.from_folder("maps", recipe=Recipe([ZScore()], [Rotate()]))  # doctest: +SKIP
    >>> train, validation = data.loaders(8, validation=0.2)  # doctest: +SKIP
    """

    source: ItemSource
    recipe: Recipe | None = None
    seed: int = 0
    backgrounds: ItemSource | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise DatasetError(f"the seed is {self.seed}; give 0 or more")
        if self.recipe is None and isinstance(self.source, Store) and self.source.recipe is not None:
            # Its transforms were done when the store was built.
            object.__setattr__(self, "recipe", replace(self.source.recipe, transforms=()))

    @classmethod
    def from_folder(cls, folder: str | Path, *, recipe: Recipe | None = None, seed: int = 0, **options: Any) -> Dataset:
        """Items of a folder of images or volumes; ``options`` are those of :func:`.folder_source`."""
        return cls(folder_source(folder, **options), recipe, seed)

    @classmethod
    def from_store(cls, path: str | Path, *, recipe: Recipe | None = None, seed: int = 0) -> Dataset:
        """Items of a store; see :func:`.open_store`."""
        return cls(open_store(path), recipe, seed)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names; labels count into them."""
        return self.source.classes

    def items(self, indices: Sequence[int] | np.ndarray | None = None, *, augment: bool = True) -> ItemDataset:
        """The map-style data set of some items, or of all."""
        recipe = self.recipe if augment or self.recipe is None else replace(self.recipe, augmentations=())
        return ItemDataset(self.source, indices, recipe, seed=self.seed, backgrounds=self.backgrounds)

    def loader(
        self,
        batch_size: int,
        indices: Sequence[int] | np.ndarray | None = None,
        *,
        shuffle: bool = True,
        augment: bool = True,
        balance: bool | Mapping[str, float] = False,
        stream: bool = False,
        workers: int = 0,
        pin_memory: bool | None = None,
    ) -> Loader:
        """Batches of some items, or of all; the last batch may be smaller, none is dropped.

        Parameters
        ----------
        batch_size
            Items of a batch.
        indices
            Of the items in the source; all by default.
        shuffle
            Another order in each epoch.
        augment
            Do the augmentations of the recipe, too.
        balance
            Draw as many items as there are, some several times and some not at all: each class as often as the
            others, or with the shares given. The weights of items then say how often they come, and need not be
            counted again in the loss; see :class:`.BalancedSampler`.
        stream
            Read group after group, for sources of which reading in any order costs much (micrographs). Workers share
            the groups; items of about as many as fit into a buffer are mixed.
        workers
            Processes that read.
        pin_memory
            Put batches where a GPU fetches them fastest; by default if there is one.
        """
        if batch_size < 1:
            raise DatasetError(f"a batch of {batch_size} items cannot be; give 1 or more")
        if stream and balance:
            raise DatasetError("a stream reads each item once, and cannot balance classes; store the data set first")
        items = self.items(indices, augment=augment)
        options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
        options["pin_memory"] = torch.cuda.is_available() if pin_memory is None else pin_memory
        # A generator of its own: without one, PyTorch draws the seed of the workers from the global one.
        options["generator"] = torch.Generator().manual_seed(self.seed)
        if stream:
            return Loader(ItemStream(items, batch_size, shuffle=shuffle), batch_size=None, **options)
        order = _Order(items, shuffle=shuffle, balance=balance)
        return Loader(items, batch_size=batch_size, sampler=order, collate_fn=_as_it_is, **options)

    def loaders(
        self,
        batch_size: int,
        *,
        validation: float = 0.2,
        by: str = "group",
        balance: bool | Mapping[str, float] = False,
        workers: int = 0,
        pin_memory: bool | None = None,
    ) -> tuple[Loader, Loader]:
        """Batches to train with, and batches to validate with: neither shuffled, nor balanced, nor augmented.

        Parameters
        ----------
        batch_size
            Items of a batch.
        validation
            Share of the items that are for validation, from 0 (none: the second loader is empty) to 1.
        by
            ``"group"``: no group (micrograph, grid …) is in both; ``"item"``: each item for itself.
        balance, workers, pin_memory
            As in :meth:`loader`.
        """
        train, held = self.parted(validation, by)
        common: dict[str, Any] = {"workers": workers, "pin_memory": pin_memory}
        return (
            self.loader(batch_size, train, balance=balance if len(train) else False, **common),
            self.loader(batch_size, held, shuffle=False, augment=False, **common),
        )

    def parted(self, validation: float, by: str = "group") -> tuple[np.ndarray, np.ndarray]:
        """Indices of the items to train with and of those to validate with; see :meth:`loaders`."""
        if not 0 <= validation <= 1:
            raise DatasetError(
                f"validation is {validation:g}, and it is a share from 0 to 1; for {validation:g} % give "
                f"{validation / 100:g}"
            )
        if by not in ("group", "item"):
            raise DatasetError(f"a data set is divided by 'group' or by 'item', not by {by!r}")
        everything, nothing = np.arange(len(self.source)), np.arange(0)
        if validation in (0, 1):
            return (everything, nothing) if validation == 0 else (nothing, everything)
        source = self.source if by == "group" else _Ungrouped.of(self.source)
        found = split(source, {"train": None, "validation": float(validation)}, seed=self.seed)
        for warning in found.warnings:
            _LOGGER.warning(warning)
        return found["train"], found["validation"]


class Loader(DataLoader[Batch]):
    """A DataLoader that counts epochs.

    Attributes
    ----------
    epoch
        The next turn through the data; set it to go on with a training where it was.
    """

    epoch = 0

    def __iter__(self) -> Any:
        dataset: Any = self.dataset
        dataset.epoch = self.epoch
        self.epoch += 1
        return super().__iter__()


class _Order(Sampler[int]):
    """Positions in the order of an epoch."""

    def __init__(self, items: ItemDataset, *, shuffle: bool, balance: bool | Mapping[str, float]) -> None:
        self.items, self.shuffle = items, shuffle
        shares = balance if isinstance(balance, Mapping) else None
        self._balanced = (
            BalancedSampler(items.source, shares, indices=items.indices.tolist(), seed=items.seed) if balance else None
        )

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[int]:
        size = len(self.items)
        if self._balanced is None:
            dice = np.random.default_rng([self.items.seed, self.items.epoch])
            yield from (dice.permutation(size) if self.shuffle else np.arange(size)).tolist()
            return
        self._balanced.set_epoch(self.items.epoch)
        positions = {index: position for position, index in enumerate(self.items.indices.tolist())}
        seen: defaultdict[int, int] = defaultdict(int)
        for index in self._balanced:
            position = positions[index]
            yield position + seen[position] * size
            seen[position] += 1


@dataclass(frozen=True, eq=False)
class _Ungrouped(ItemSource):
    """A source in which each item is a group of its own."""

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    source: ItemSource

    @classmethod
    def of(cls, source: ItemSource) -> _Ungrouped:
        """The same items, ungrouped."""
        return cls(source.classes, tuple(replace(r, group=str(i)) for i, r in enumerate(source.records)), source)

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Items of the source."""
        return self.source.items(indices)


def _as_it_is(batch: Any) -> Any:
    """A batch that is one already."""
    return batch
