"""Whether the parts of a split know each other: what is on both sides that should be on one."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.datasets.splits import Split
from napari_caked.errors import DatasetError
from napari_empiarreader.progress import Progress, silent

__all__ = ["Leak", "LeakageReport", "leakage"]

Kind = Literal["group", "file", "overlap", "pixels"]

_WORDS: Mapping[Kind, str] = {
    "group": "the group {what} is in {parts}",
    "file": "the file {what} is in {parts}",
    "overlap": "boxes on {what} overlap between {parts}",
    "pixels": "items with the same pixels ({what}) are in {parts}",
}


@dataclass(frozen=True)
class Leak:
    """One thing that several parts share.

    Attributes
    ----------
    kind
        ``group``, ``file``, ``overlap`` (boxes of one micrograph that share pixels), ``pixels`` (identical ones).
    what
        Name of the group, file or micrograph; of identical items, of two of them.
    parts
        Which parts share it.
    items
        Names of the items concerned.
    """

    kind: Kind
    what: str
    parts: tuple[str, ...]
    items: tuple[str, ...]

    def __str__(self) -> str:
        said = _WORDS[self.kind].format(what=self.what, parts=" and ".join(self.parts))
        return f"{said} ({len(self.items)} items)"


@dataclass(frozen=True)
class LeakageReport:
    """What was found, and what was looked at.

    Attributes
    ----------
    leaks
        Everything that several parts share.
    checked
        Kinds that were looked for.
    """

    leaks: tuple[Leak, ...]
    checked: tuple[Kind, ...]

    def __str__(self) -> str:
        if not self.leaks:
            return f"nothing is on both sides (looked for: {', '.join(self.checked)})"
        return "\n".join(map(str, self.leaks))

    def require_clean(self) -> None:
        """Refuse a split that leaks.

        Raises
        ------
        DatasetError
            Something is on both sides; the message says what.
        """
        if self.leaks:
            more = f"; and {len(self.leaks) - 5} more" if len(self.leaks) > 5 else ""
            raise DatasetError(
                f"the split leaks: {'; '.join(map(str, self.leaks[:5]))}{more}. Give items that belong together one "
                "group, and divide again"
            )


def leakage(source: ItemSource, parts: Split, *, pixels: bool = False, progress: Progress = silent) -> LeakageReport:
    """Look for what is in more than one part of a split.

    Parameters
    ----------
    source, parts
        The data set and its split.
    pixels
        Compare the pixels of all items as well, by their checksum: copies of one image under two names. Every item is
        read.
    progress
        Told after each item that was read.
    """
    of = {int(index): part for part, indices in parts.parts.items() for index in indices}
    records = {index: source.records[index] for index in sorted(of)}
    twice = _in_two_parts(parts)
    leaks = [*_shared("group", ((r.group, i) for i, r in records.items()), of, records, twice)]
    files = ((key, i) for i, r in records.items() if (key := _file_of(r)))
    leaks += _shared("file", files, of, records, twice)
    leaks += _overlaps(records, of)
    if pixels:
        sums = ((_checksum(item.image), index) for index, item in _told(source, list(of), progress))
        leaks += _shared("pixels", sums, of, records, twice)
    return LeakageReport(tuple(leaks), ("group", "file", "overlap", *(("pixels",) if pixels else ())))


def _in_two_parts(parts: Split) -> dict[int, set[str]]:
    """Items of a split made by hand that are in several parts, and in which."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for part, indices in parts.parts.items():
        for index in indices:
            found[int(index)].add(part)
    return {index: names for index, names in found.items() if len(names) > 1}


def _shared(
    kind: Kind,
    keys: Iterable[tuple[Hashable, int]],
    of: Mapping[int, str],
    records: Mapping[int, Record],
    twice: Mapping[int, set[str]],
) -> Iterator[Leak]:
    """One leak for every key that items of several parts have."""
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for key, index in keys:
        members[key].append(index)
    for key, indices in members.items():
        parts = set().union(*(twice.get(index, {of[index]}) for index in indices))
        if len(parts) > 1:
            names = tuple(records[index].name for index in sorted(indices))
            what = f"{names[0]}, {names[-1]}" if kind == "pixels" else str(key)
            yield Leak(kind, what, tuple(sorted(parts)), names)


def _file_of(record: Record) -> str:
    """The file of an item, links followed; of a stack, the section of the file."""
    file = record.origin.get("file")
    if file is None:
        return ""
    section = record.origin.get("section")
    path = str(file) if "://" in str(file) else os.path.realpath(str(file))
    return path if section is None else f"{section}@{path}"


def _overlaps(records: Mapping[int, Record], of: Mapping[int, str]) -> Iterator[Leak]:
    """Boxes of one micrograph in different parts that are nearer than a box."""
    from scipy.spatial import cKDTree

    on: defaultdict[str, list[int]] = defaultdict(list)
    for index, record in records.items():
        if {"micrograph", "y", "x", "box"} <= set(record.origin):
            on[str(record.origin["micrograph"])].append(index)
    for micrograph, indices in on.items():
        if len({of[index] for index in indices}) < 2:
            continue
        origins = [records[index].origin for index in indices]
        places = np.array([(float(o["y"]), float(o["x"])) for o in origins])
        boxes = np.array([float(o["box"]) for o in origins])
        pairs = cKDTree(np.rint(places)).query_pairs(boxes.max(), p=np.inf, output_type="ndarray")
        apart = np.abs(np.rint(places[pairs[:, 0]]) - np.rint(places[pairs[:, 1]])).max(axis=1)
        pairs = pairs[apart < (boxes[pairs[:, 0]] + boxes[pairs[:, 1]]) / 2]
        across = [(indices[a], indices[b]) for a, b in pairs.tolist() if of[indices[a]] != of[indices[b]]]
        if across:
            found = sorted({index for pair in across for index in pair})
            yield Leak(
                "overlap",
                micrograph,
                tuple(sorted({of[index] for index in found})),
                tuple(records[index].name for index in found),
            )


def _told(source: ItemSource, indices: list[int], progress: Progress) -> Iterator[tuple[int, Item]]:
    for done, (index, item) in enumerate(source.items(indices), 1):
        yield index, item
        progress(done, len(indices), item.record.name)


def _checksum(image: np.ndarray) -> bytes:
    sum_of = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    sum_of.update(np.ascontiguousarray(image).data)
    return sum_of.digest()
