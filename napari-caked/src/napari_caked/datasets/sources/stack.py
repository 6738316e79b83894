"""Stacks of particle images (``.mrcs``) as items, with the table that says what they are (STAR, .cs), or bare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.datasets.classes import numbered, without_items
from napari_caked.datasets.ctf import contrast_of
from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.datasets.sources._stack_tables import IMAGE, MICROGRAPH, pixel_sizes, rows_of
from napari_caked.datasets.sources.particles import column_of, weights_of
from napari_caked.datasets.sources.report import LeftOut, Troubles, what_is_mixed
from napari_caked.errors import DatasetError
from napari_empiarreader.files import LocalFile

if TYPE_CHECKING:
    from napari_empiarreader.micrographs.mrc import MrcFile

__all__ = ["StackSource", "stack_source"]


@dataclass(frozen=True, eq=False)
class StackSource(ItemSource):
    """Images of particle stacks; made by :func:`stack_source`.

    Attributes
    ----------
    classes, records
        As of every source; the origin of a record has ``file``, ``section`` (from 1, as RELION counts) and ``row``
        (of the table), and the contrast transfer where the table says it (:mod:`.ctf`).
    left_out
        Rows of the table that are not among the items, and why.
    warnings
        What is uneven, and what a split cannot know.
    """

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    stacks: tuple[MrcFile, ...] = field(repr=False)
    places: np.ndarray = field(repr=False)
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Read images, stack after stack and section after section; see :class:`.ItemSource`."""
        asked = np.asarray(indices, np.intp)
        stack, section = self.places[asked].T
        for index in asked[np.lexsort((section, stack))].tolist():
            number, at = self.places[index]
            yield index, Item(self.records[index], self.stacks[number].frame(int(at)).astype(np.float32, copy=False))


def stack_source(
    path: str | Path,
    *,
    classes: str | None = None,
    class_name: str | None = "particle",
    only: Sequence[str] | None = None,
    groups: str | None = None,
    weights: str | None = None,
    pixel_size: float | None = None,
    folder: str | Path | None = None,
    permissive: bool = False,
) -> StackSource:
    """Items from a stack of particle images.

    Parameters
    ----------
    path
        STAR file whose column ``rlnImageName`` names the images (``000001@stack.mrcs``), a ``.cs`` file with
        ``blob/path`` and ``blob/idx``, or a stack alone.
    classes
        Column of the table that holds the class (``rlnClassNumber``, ``alignments2D/class``); without it all are of
        the class ``class_name`` (None for none).
    only
        Classes to take, in the order of their labels.
    groups
        Column that says what a split must not part; by default the micrograph, where the table has one. Without any,
        each image is a group of its own, and a warning says so.
    weights
        Column that says how much an item counts.
    pixel_size
        Å; in place of what table and stack say.
    folder
        To which the names of stacks are relative. By default that of the table, or the nearest above it in which
        they are found: RELION and cryoSPARC count from the folder of the project.
    permissive
        Leave out images that are not there, and classes without items, and tell, instead of refusing the file.

    Raises
    ------
    DatasetError
        A stack is missing or damaged, has fewer sections than the table names, a column is not there, a class is
        unknown or without items.
    """
    path, troubles = Path(path), Troubles(permissive)
    table = rows_of(path)
    there = [class_name] * len(table) if classes is None else column_of(table, classes, str(path))
    every, labels, asked = numbered(there, str(path), only=only)
    column = groups or (MICROGRAPH if MICROGRAPH in table else None)
    of = [None] * len(table) if column is None else column_of(table, column, str(path))
    counts, sizes = weights_of(table, weights, str(path)), pixel_sizes(table)
    contrasts = contrast_of(table)
    opened = _Stacks(Path(folder) if folder else None, path.parent)
    records, places, taken = [], [], set[str]()
    for row in np.flatnonzero(asked).tolist():
        name = str(table[IMAGE].iloc[row])
        with troubles.about(name):
            if name in taken:
                raise DatasetError(f"{name}: named twice in {path.name}; keep one of the two rows")
            number, section = opened.place_of(name)
            stack = opened.files[number]
            size = pixel_size or sizes[row] or stack.info.pixel_size
            records.append(
                Record(
                    name,
                    int(labels[row]),
                    of[row] or name,
                    stack.info.shape[1:],
                    None if size is None else (size, size),
                    float(counts[row]),
                    {"file": stack.source.uri, "section": section + 1, "row": row, **contrasts[row]},
                )
            )
            places.append((number, section))
            taken.add(name)
    empty = without_items(every, {every[record.label] for record in records if record.label >= 0})
    for name in empty:
        troubles.add(f"class {name}", "it has no items; ask for the other classes only")
    left_out = troubles.settle(str(path))
    if not records:
        raise DatasetError(f"{path}: no items")
    warnings = [*what_is_mixed(records), *(f"the class {name} has no items" for name in empty)]
    if column is None:
        warnings.append(
            f"{path.name} does not say from which micrograph an image is: particles of one micrograph can end on both "
            "sides of a split"
        )
    return StackSource(every, tuple(records), tuple(opened.files), np.array(places), left_out, tuple(warnings))


class _Stacks:
    """Stacks that are named in a table, each opened once."""

    def __init__(self, folder: Path | None, home: Path) -> None:
        self.files: list[MrcFile] = []
        self._numbers: dict[str, int | None] = {}
        self._homes = [folder] if folder else [home, *home.absolute().parents]

    def place_of(self, name: str) -> tuple[int, int]:
        """Number of the stack, and section from 0, of an image."""
        section, at, stack = name.partition("@")
        if not at or not section.isdigit() or int(section) < 1:
            raise DatasetError(f"{name}: no image of a stack, as 000001@stack.mrcs is one")
        if stack not in self._numbers:
            self._numbers[stack] = len(self.files) - 1 if self._open(stack) else None
        number = self._numbers[stack]
        if number is None:
            raise DatasetError(
                f"{name}: {stack} is not found from {self._homes[0]}{' upwards' if len(self._homes) > 1 else ''}; say "
                "the folder to which the names in the table are relative"
            )
        if int(section) > self.files[number].header.shape[0]:
            raise DatasetError(
                f"{name}: the stack has {self.files[number].header.shape[0]} images; it is another stack"
            )
        return number, int(section) - 1

    def _open(self, stack: str) -> bool:
        from napari_empiarreader.micrographs.mrc import open_mrc

        path = next((home / stack for home in self._homes if (home / stack).is_file()), None)
        if path is not None:
            self.files.append(_whole(open_mrc(LocalFile(path))))
        return path is not None


def _whole(stack: MrcFile) -> MrcFile:
    if stack.source.size() < stack.header.data_end:
        raise DatasetError(
            f"{stack.source.uri}: {stack.source.size()} bytes, and its header promises {stack.header.data_end}; the "
            "stack is cut off, copy it again"
        )
    return stack
