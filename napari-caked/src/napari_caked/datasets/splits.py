"""Dividing a data set into parts that share no group, with the classes in each as in the whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from napari_caked.datasets.items import UNLABELLED, ItemSource
from napari_caked.errors import DatasetError

__all__ = ["Split", "k_folds", "leave_one_group_out", "split"]


@dataclass(frozen=True)
class Split:
    """Which items are in which part.

    Attributes
    ----------
    parts
        For each part the indices of its items, ascending.
    warnings
        Where the groups did not allow what was asked for.
    """

    parts: Mapping[str, np.ndarray]
    warnings: tuple[str, ...] = ()

    def __getitem__(self, part: str) -> np.ndarray:
        """Indices of a part's items."""
        if part not in self.parts:
            raise DatasetError(f"there is no part {part!r}; there are {', '.join(self.parts)}")
        return self.parts[part]

    def to_json(self, source: ItemSource) -> str:
        """The split by names of items, which outlive a change of their order."""
        return json.dumps({part: [source.records[i].name for i in at] for part, at in self.parts.items()})

    @classmethod
    def from_json(cls, text: str, source: ItemSource) -> Split:
        """The split that :meth:`to_json` wrote, of the same items or of more.

        Raises
        ------
        DatasetError
            It is none, or an item is not there any more.
        """
        try:
            named = {str(part): [str(name) for name in names] for part, names in json.loads(text).items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise DatasetError(f"no split, as Split.to_json writes it ({error})") from error
        numbers = {record.name: i for i, record in enumerate(source.records)}
        lost = [name for names in named.values() for name in names if name not in numbers]
        if lost:
            raise DatasetError(
                f"{len(lost)} items of the split are not in the data set (first: {lost[0]}); it is the split of "
                "another one, or files are missing"
            )
        return cls({part: np.sort(np.array([numbers[n] for n in names], int)) for part, names in named.items()})


def split(source: ItemSource, parts: Mapping[str, float | int | None], *, seed: int = 0) -> Split:
    """Divide a data set.

    No group is in two parts. Among the divisions that this allows, one is sought in which every class has the share
    of the whole in each part: groups are dealt one after the other, the large ones first, to the part that lacks most
    of what they hold (the greedy way of scikit-learn's ``StratifiedGroupKFold``), then moved until the sizes fit.

    Parameters
    ----------
    source
        The data set; its pixels are not read.
    parts
        For each part its share (a float below 1), its number of items (an int), or None for what the others leave.
        Shares add up to 1, numbers to the size of the data set, unless one part takes the rest.
    seed
        The same seed divides the same data set alike.

    Raises
    ------
    DatasetError
        Shares or numbers that cannot be, or fewer groups than parts.

    Examples
    --------
    >>> split(source, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=1)["val"]  # doctest: +SKIP
    array([ 3, 17, 42])
    """
    sizes = _sizes(parts, len(source))
    counts, members = _groups(source)
    if len(members) < len(sizes):
        raise DatasetError(
            f"{len(members)} groups cannot be divided into {len(sizes)} parts, as no group is parted; add items of "
            "other groups, or ask for fewer parts"
        )
    dealt = _dealt(counts, np.array(list(sizes.values())), np.random.default_rng(seed))
    found = {
        part: np.sort(np.concatenate([members[g] for g in np.flatnonzero(dealt == i)])) for i, part in enumerate(sizes)
    }
    return Split(found, tuple(_warnings(source, sizes, found)))


def k_folds(source: ItemSource, k: int, *, seed: int = 0) -> tuple[Split, ...]:
    """Splits into ``train`` and ``val`` whose ``k`` parts ``val`` hold every item once; see :func:`split`.

    Raises
    ------
    DatasetError
        Fewer than two folds, or fewer groups than folds.
    """
    if k < 2:
        raise DatasetError(f"{k} folds divide nothing; ask for at least 2")
    whole = split(source, {str(i): 1 / k for i in range(k)}, seed=seed)
    everything = np.arange(len(source))
    return tuple(
        Split({"train": np.setdiff1d(everything, held), "val": held}, whole.warnings) for held in whole.parts.values()
    )


def leave_one_group_out(source: ItemSource) -> Iterator[tuple[str, Split]]:
    """For each group, in the order of the items, the split whose ``val`` is this group alone.

    Raises
    ------
    DatasetError
        There is a single group.
    """
    groups = np.array([record.group for record in source.records], object)
    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        raise DatasetError(f"all items are of the group {names[0] if names else '-'}; there is nothing to hold out")
    for name in names:
        yield name, Split({"train": np.flatnonzero(groups != name), "val": np.flatnonzero(groups == name)})


def _sizes(parts: Mapping[str, float | int | None], total: int) -> dict[str, int]:
    """Items that each part shall have."""
    wanted = {part: value for part, value in parts.items() if value is not None}
    rest = [part for part, value in parts.items() if value is None]
    kinds = {type(value) for value in wanted.values()}
    if not parts or len(rest) > 1 or (len(kinds) > 1 or not kinds <= {int, float}):
        raise DatasetError(
            f"{dict(parts)} does not say how to divide: give shares (0.8, 0.2) or numbers of items (80, 20), not both; "
            "None for one part means what the others leave"
        )
    if any(not 0 < value < math.inf for value in wanted.values()) or (
        kinds == {float} and any(value > 1 for value in wanted.values())
    ):
        raise DatasetError(f"{dict(parts)}: a share lies between 0 and 1, a number of items is at least 1")
    whole = 1.0 if kinds == {float} else total
    left = whole - sum(wanted.values())
    if (not rest and abs(left) > 1e-6) or left < -1e-6 or (rest and left < 1e-6):
        raise DatasetError(
            f"{dict(parts)}: these add up to {sum(wanted.values()):g}, and the whole is {whole:g}"
            f"{' items' if kinds != {float} else ''}; say None for the part that takes the rest"
        )
    amounts = {part: left if value is None else value for part, value in parts.items()}
    return _rounded({part: amount * total / whole for part, amount in amounts.items()}, total)


def _rounded(amounts: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that add up to the total, by largest remainders; none is 0 if there are enough."""
    sizes = {name: max(int(amount + 1e-9), 1) for name, amount in amounts.items()}
    while sum(sizes.values()) != total:
        step = 1 if sum(sizes.values()) < total else -1
        able = [name for name in sizes if step > 0 or sizes[name] > 1]
        if not able:
            break
        name = max(able, key=lambda name: step * (amounts[name] - sizes[name]))
        sizes[name] += step
    return sizes


def _groups(source: ItemSource) -> tuple[np.ndarray, list[np.ndarray]]:
    """``(group, class + 2)`` counts, unlabelled ones and the sum last; and the items of each group."""
    numbers: dict[str, int] = {}
    of = np.array([numbers.setdefault(record.group, len(numbers)) for record in source.records], int)
    labels = np.array([record.label for record in source.records], int)
    counts = np.zeros((len(numbers), len(source.classes) + 2))
    np.add.at(counts, (of, np.where(labels == UNLABELLED, len(source.classes), labels)), 1)
    counts[:, -1] = counts.sum(axis=1)
    order = np.argsort(of, kind="stable")
    return counts, np.split(order, np.cumsum(np.bincount(of))[:-1]) if len(of) else []


def _dealt(counts: np.ndarray, sizes: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """``(group,)`` the part of each group."""
    totals = counts.sum(axis=0)
    scale = np.where(totals > 0, 1 / np.maximum(totals, 1), 0.0)
    lacking = np.outer(sizes / totals[-1], totals)
    dealt = np.empty(len(counts), int)
    # Large and one-sided groups first, while there is room to make up for them; equal ones in random order.
    order = dice.permutation(len(counts))
    kinds = counts[order, :-1]
    # The variance times a constant, in whole numbers: rounding would put one class before another.
    spread = kinds.shape[1] * (kinds**2).sum(axis=1) - kinds.sum(axis=1) ** 2
    order = order[np.argsort(-spread, kind="stable")]
    free = set(range(len(sizes)))
    for done, group in enumerate(order):
        gain = (lacking * (counts[group] * scale**2)).sum(axis=1)
        if len(order) - done <= len(free):
            gain[[part for part in range(len(sizes)) if part not in free]] = -np.inf  # no part stays empty
        part = int(np.argmax(gain))
        dealt[group] = part
        lacking[part] -= counts[group]
        free.discard(part)
    _levelled(dealt, counts, lacking, scale)
    return dealt


def _levelled(dealt: np.ndarray, counts: np.ndarray, lacking: np.ndarray, scale: np.ndarray) -> None:
    """Move groups, in place, from parts with too many items to parts with too few, where sizes get nearer by it."""
    while True:
        over, under = int(np.argmin(lacking[:, -1])), int(np.argmax(lacking[:, -1]))
        room = min(-lacking[over, -1], lacking[under, -1])
        groups = np.flatnonzero((dealt == over) & (counts[:, -1] <= room + 1e-9))
        if over == under or not len(groups) or (dealt == over).sum() == 1:
            return
        largest = groups[counts[groups, -1] == counts[groups, -1].max()]
        gain = ((lacking[under] - lacking[over]) * (counts[largest] * scale**2)).sum(axis=1)
        group = largest[np.argmax(gain)]
        dealt[group] = under
        lacking[over] += counts[group]
        lacking[under] -= counts[group]


def _warnings(source: ItemSource, sizes: Mapping[str, int], found: Mapping[str, np.ndarray]) -> Iterator[str]:
    for part, size in sizes.items():
        if len(found[part]) != size:
            yield f"{part}: {len(found[part])} items instead of {size}, as no group is parted"
    labels = np.array([record.label for record in source.records], int)
    counts = {part: np.bincount(labels[at] + 1, minlength=len(source.classes) + 1)[1:] for part, at in found.items()}
    for label, name in enumerate(source.classes):
        without = [part for part in found if not counts[part][label]]
        if without and len(without) < len(found):
            groups = len({record.group for record in source.records if record.label == label})
            number = sum(int(count[label]) for count in counts.values())
            yield (
                f"the class {name} has no items in {', '.join(without)}: its {number} items are of "
                f"{groups} group{'s' if groups > 1 else ''}"
            )
