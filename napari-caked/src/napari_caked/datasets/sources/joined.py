"""Several sources as one, and a part of one as a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from napari_caked.datasets.items import UNLABELLED, Item, ItemSource, Record
from napari_caked.datasets.sources.report import what_is_mixed
from napari_caked.errors import DatasetError

__all__ = ["JoinedSource", "Subset", "joined"]


@dataclass(frozen=True, eq=False)
class JoinedSource(ItemSource):
    """Items of several sources, one source after the other; made by :func:`joined`."""

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    sources: tuple[ItemSource, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Read items, source after source, each in its own best order; see :class:`.ItemSource`."""
        asked, start = np.asarray(indices, np.intp), 0
        for source in self.sources:
            own = asked[(asked >= start) & (asked < start + len(source))] - start
            for index, item in source.items(own.tolist()) if len(own) else ():
                yield start + index, replace(item, record=self.records[start + index])
            start += len(source)


@dataclass(frozen=True, eq=False)
class Subset(ItemSource):
    """Some items of a source, with the classes of the whole.

    Attributes
    ----------
    source
        The whole.
    indices
        Which items, each once.
    """

    source: ItemSource
    indices: Sequence[int]

    def __post_init__(self) -> None:
        chosen = [int(index) for index in self.indices]
        wrong = [index for index in chosen if not 0 <= index < len(self.source)]
        if wrong or len(set(chosen)) < len(chosen):
            what = f"{wrong[0]} is no index of {len(self.source)} items" if wrong else "an item is named twice"
            raise DatasetError(f"a part of a data set names each of its items once: {what}")
        object.__setattr__(self, "indices", tuple(chosen))
        object.__setattr__(self, "classes", self.source.classes)
        object.__setattr__(self, "records", tuple(self.source.records[index] for index in chosen))

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Read items in the order of the whole source; see :class:`.ItemSource`."""
        back = {index: own for own, index in enumerate(self.indices)}
        for index, item in self.source.items([self.indices[own] for own in indices]):
            yield back[index], item


def joined(sources: Sequence[ItemSource], names: Sequence[str] | None = None) -> JoinedSource:
    """Several sources as one; classes and groups of one name are one.

    Parameters
    ----------
    sources
        At least one.
    names
        Of the sources, put before the names of their items; by default ``1``, ``2`` ..., where items of two sources
        have the same name, and nothing where none have. Names of groups are left as they are: the particles and the
        junk of one micrograph stay together in a split.

    Raises
    ------
    DatasetError
        No source, not one name for each, or two of one name.
    """
    if not sources or (names is not None and (len(names) != len(sources) or len(set(names)) < len(names))):
        raise DatasetError(f"{len(sources)} sources with the names {names} cannot be joined; give one name for each")
    classes = tuple(dict.fromkeys(name for source in sources for name in source.classes))
    every = [record.name for source in sources for record in source.records]
    if names is None and len(set(every)) < len(every):
        names = [str(number) for number in range(1, len(sources) + 1)]
    records = []
    for number, source in enumerate(sources):
        labels = {UNLABELLED: UNLABELLED} | {i: classes.index(name) for i, name in enumerate(source.classes)}
        before = "" if names is None else f"{names[number]}/"
        records += [replace(r, name=before + r.name, label=labels[r.label]) for r in source.records]
    return JoinedSource(classes, tuple(records), tuple(sources), what_is_mixed(records))
