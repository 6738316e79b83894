"""Items as batches of tensors: in any order, or as a stream that reads what lies together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.datasets.recipe import Recipe
from napari_caked.datasets.sample import Pool, Sample
from napari_caked.datasets.store import Store
from napari_caked.errors import DatasetError

__all__ = ["Batch", "ItemDataset", "ItemStream"]

#: ``image`` ``(b, 1, [z,] y, x)`` float32, ``label`` ``(b,)`` int64, ``weight`` ``(b,)`` float32, ``index`` ``(b,)``
#: int64 into the source, ``voxel_size`` ``(b, axes)`` float64 with NaN for unknown, ``name`` and ``group`` lists of
#: text; where items have them ``mask`` ``(b, [z,] y, x)`` int64, ``partner`` as ``image``, ``points`` a list of
#: ``(n, axes)``; with augmentations ``other_label`` and ``other_share``, see :class:`.Sample`.
Batch = dict[str, Any]

#: Items among which a stream chooses the next one.
_BUFFER = 1024


class ItemDataset(Dataset[Batch]):
    """Some items of a data set, in any order.

    Attributes
    ----------
    source
        The items.
    indices
        ``(n,)`` of the items in the source.
    recipe
        What is done to each.
    seed
        Of its augmentations.
    epoch
        Turn through the data; set by :class:`Loader`.
    """

    def __init__(
        self,
        source: ItemSource,
        indices: Sequence[int] | np.ndarray | None = None,
        recipe: Recipe | None = None,
        *,
        seed: int = 0,
        backgrounds: ItemSource | None = None,
    ) -> None:
        self.source, self.recipe, self.seed, self._backgrounds = source, recipe or Recipe(), seed, backgrounds
        self.indices = np.arange(len(source)) if indices is None else np.asarray(indices, np.int64).reshape(-1)
        if len(self.indices) and not 0 <= self.indices.min() <= self.indices.max() < len(source):
            raise DatasetError(f"indices {self.indices.min()} to {self.indices.max()} of {len(source)} items")
        # Shared with the workers, which live longer than an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """Turn through the data."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Batch:
        """One item: a batch of one without its first axis."""
        if not -len(self) <= position < len(self):
            raise IndexError(f"there are {len(self)} items, and none at {position}")
        batch = self.__getitems__([position % len(self)])
        return {key: values[0] for key, values in batch.items()}

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """A batch. Position p + n (p + 2 n …) is item p once (twice …) more, augmented in another way."""
        repeats, within = np.divmod(np.asarray(positions, np.int64), len(self))
        indices = self.indices[within]
        if isinstance(self.source, Store) and not (self.recipe.transforms or self.recipe.augmentations):
            return _stored_batch(self.source, indices)
        samples = self._samples(indices, repeats)
        batch = _batch(samples, indices)
        if self.recipe.augmentations:
            batch["other_label"] = torch.tensor([sample.other_label for sample in samples])
            batch["other_share"] = torch.tensor([sample.other_share for sample in samples])
        return batch

    def _samples(self, indices: np.ndarray, repeats: np.ndarray) -> list[Sample]:
        """Finished samples, in the order asked for, whatever that of the source."""
        places = defaultdict(list)
        for place, index in enumerate(indices.tolist()):
            places[index].append(place)
        samples: dict[int, Sample] = {}
        for index, item in self.source.items(indices.tolist()):
            place = places[index].pop()
            samples[place] = self.finished(item, index, int(repeats[place]))
        return [samples[place] for place in range(len(indices))]

    def finished(self, item: Item, index: int, repeat: int = 0) -> Sample:
        """An item of the source after the recipe."""
        number = index + repeat * len(self.source)
        sample = Sample.of(item)
        return self.recipe.apply(sample, seed=self.seed, epoch=self.epoch, index=number, pool=self._pool())

    def _pool(self) -> Pool:
        others = _Prepared(self.source, self.recipe, self.indices)
        if self._backgrounds is None:
            return Pool(others)
        return Pool(others, _Prepared(self._backgrounds, Recipe(), np.arange(len(self._backgrounds))))


class ItemStream(IterableDataset[Batch]):
    """Batches of a data set, read group after group; each worker has groups of its own.

    Attributes
    ----------
    epoch
        Turn through the data; set by :class:`Loader`.
    """

    def __init__(self, items: ItemDataset, batch_size: int, *, shuffle: bool = True, buffer: int = _BUFFER) -> None:
        self.items, self.batch_size, self.shuffle, self.buffer = items, batch_size, shuffle, buffer
        members: defaultdict[str, list[int]] = defaultdict(list)
        for index in items.indices.tolist():
            members[items.source.records[index].group].append(index)
        self._groups = list(members.values())

    @property
    def epoch(self) -> int:
        """Turn through the data."""
        return self.items.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.items.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        order = np.arange(len(self._groups))
        if self.shuffle:
            # The same for all workers, each of which takes its part of it.
            np.random.default_rng([self.items.seed, self.epoch]).shuffle(order)
        dice = np.random.default_rng([self.items.seed, self.epoch, number + 1])
        buffer: list[tuple[int, Sample]] = []
        batch: list[tuple[int, Sample]] = []
        for one in self._mixed(order[number::workers], buffer, dice):
            batch.append(one)
            if len(batch) == self.batch_size:
                yield self._batch(batch)
                batch = []
        if batch:
            yield self._batch(batch)

    def _mixed(
        self, groups: np.ndarray, buffer: list[tuple[int, Sample]], dice: np.random.Generator
    ) -> Iterator[tuple[int, Sample]]:
        """Items of groups; if they are shuffled, each a random one of those in the buffer."""
        for group in groups:
            for index, item in self.items.source.items(self._groups[group]):
                buffer.append((index, self.items.finished(item, index)))
                if not self.shuffle or len(buffer) > self.buffer:
                    yield buffer.pop(int(dice.integers(len(buffer))) if self.shuffle else 0)
        while buffer:
            yield buffer.pop(int(dice.integers(len(buffer))))

    def _batch(self, batch: Sequence[tuple[int, Sample]]) -> Batch:
        return _batch([sample for _, sample in batch], np.array([index for index, _ in batch]))


class _Prepared(Sequence[Sample]):
    """Samples after the transforms, read when they are asked for."""

    def __init__(self, source: ItemSource, recipe: Recipe, indices: np.ndarray) -> None:
        self._source, self._recipe, self._indices = source, recipe, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: Any) -> Any:
        return self._recipe.prepare(Sample.of(self._source[int(self._indices[position])]))


def _stored_batch(store: Store, indices: np.ndarray) -> Batch:
    """A batch of a store, without a stop at each item."""
    records = [store.records[index] for index in indices.tolist()]
    batch = _said(records, indices)
    batch["image"] = torch.from_numpy(store.images(indices))[:, None]
    if "mask" in store.kinds:
        batch["mask"] = torch.from_numpy(store.masks(indices)).long()
    if "partner" in store.kinds:
        batch["partner"] = torch.from_numpy(store.partners(indices))[:, None]
    points = [store.points(index) for index in indices.tolist()]
    if points and points[0] is not None:
        batch["points"] = [torch.from_numpy(np.array(places)) for places in points]
    return batch


def _batch(samples: Sequence[Sample], indices: np.ndarray) -> Batch:
    """A batch of samples.

    Raises
    ------
    DatasetError
        They are of different shapes, or have not the same parts.
    """
    first = samples[0]
    for sample in samples:
        if sample.image.shape != first.image.shape:
            raise DatasetError(
                f"{first.name} is {tuple(first.image.shape)} and {sample.name} is {tuple(sample.image.shape)}: a batch "
                "holds one shape; crop or pad them with CropPad, or give batches of 1"
            )
    batch = _said([sample.record for sample in samples], indices)
    batch["image"] = torch.stack([sample.image for sample in samples])[:, None]
    for kind in ("mask", "partner", "points"):
        parts = [getattr(sample, kind) for sample in samples]
        there = [part for part in parts if part is not None]
        if there and len(there) < len(parts):
            raise DatasetError(
                f"only {len(there)} of {len(parts)} items of a batch have a {kind}; give all of them one"
            )
        if there:
            batch[kind] = parts if kind == "points" else torch.stack(parts)
    if "partner" in batch:
        batch["partner"] = batch["partner"][:, None]
    return batch


def _said(records: Sequence[Record], indices: np.ndarray) -> Batch:
    """What is known of items without their pixels."""
    unknown = (np.nan,) * (len(records[0].shape) if records else 0)
    return {
        "label": torch.tensor([record.label for record in records], dtype=torch.int64),
        "name": [record.name for record in records],
        "group": [record.group for record in records],
        "index": torch.from_numpy(indices),
        "weight": torch.tensor([record.weight for record in records], dtype=torch.float32),
        "voxel_size": torch.tensor([record.voxel_size or unknown for record in records], dtype=torch.float64),
    }
