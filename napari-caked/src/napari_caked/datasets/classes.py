"""Of what class an item is, by what is known without its pixels: names of files and folders, tables.

A rule gets the path of a file relative to the folder of the data set and says a class, and where it knows them a group
and a weight. Columns of particle tables and features of layers go the same way through :func:`numbered`.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

import numpy as np

from napari_caked.datasets.ctf import CTF_WORDS
from napari_caked.datasets.items import UNLABELLED
from napari_caked.errors import DatasetError

__all__ = [
    "ByCsv",
    "ByFolder",
    "ByPattern",
    "ByPrefix",
    "ClassRule",
    "OneClass",
    "Said",
    "class_text",
    "natural_order",
    "numbered",
    "without_items",
]


@dataclass(frozen=True)
class Said:
    """What a rule says of an item.

    Attributes
    ----------
    name
        Of its class, or None for an item without one.
    group
        What it must not be parted from, or None where the rule does not know.
    weight
        How much it counts.
    ctf
        Its contrast transfer, in the words of :mod:`.ctf`.
    """

    name: str | None
    group: str | None = None
    weight: float = 1.0
    ctf: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class ClassRule(Protocol):
    """Says of what class a file is."""

    def said_of(self, file: str) -> Said:
        """Class of a file.

        Parameters
        ----------
        file
            Relative to the folder of the data set, with ``/``.

        Raises
        ------
        DatasetError
            The rule has nothing to say about it.
        """
        ...

    def known(self, folder: Path) -> Sequence[str]:
        """Classes that there are whether or not they have items; none where only the items tell."""
        ...


@dataclass(frozen=True)
class ByPrefix:
    """The part of the file's name before the first separator, as CAKED takes it: ``1abc_0007.mrc`` is a ``1abc``."""

    separator: str = "_"

    def said_of(self, file: str) -> Said:
        """Class of a file; see :class:`ClassRule`."""
        name, found, _ = PurePosixPath(file).name.partition(self.separator)
        if not found or not name:
            raise DatasetError(
                f"{file}: no class before a {self.separator!r} in the file's name; rename it <class>{self.separator}"
                "<rest>, or say the classes by a pattern, by folders or by a CSV file"
            )
        return Said(name)

    def known(self, folder: Path) -> Sequence[str]:
        """Nothing; only the files tell."""
        return ()


@dataclass(frozen=True)
class ByPattern:
    r"""What a regular expression finds in the path of the file.

    Attributes
    ----------
    pattern
        With a named group ``class``, and one ``group`` if the name says that too:
        ``(?P<class>[a-z]+)-(?P<group>grid\d)``.

    Raises
    ------
    DatasetError
        It is no regular expression, or has no group ``class``.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            names = re.compile(self.pattern).groupindex
        except re.error as error:
            raise DatasetError(f"{self.pattern!r} is no regular expression ({error}); mend it") from error
        if "class" not in names:
            raise DatasetError(f"the pattern {self.pattern!r} has no group '(?P<class>...)'; mark what is the class")

    def said_of(self, file: str) -> Said:
        """Class of a file; see :class:`ClassRule`."""
        found = re.search(self.pattern, file)
        if not found or not found["class"]:
            raise DatasetError(f"{file}: the pattern {self.pattern!r} finds no class in it; widen the pattern")
        return Said(found["class"], found.groupdict().get("group"))

    def known(self, folder: Path) -> Sequence[str]:
        """Nothing; only the files tell."""
        return ()


@dataclass(frozen=True)
class ByFolder:
    """The first folder below that of the data set: ``ribosome/emd_1234.mrc`` is a ``ribosome``."""

    def said_of(self, file: str) -> Said:
        """Class of a file; see :class:`ClassRule`."""
        folder, *rest = PurePosixPath(file).parts
        if not rest:
            raise DatasetError(f"{file}: it lies in no folder of a class; move it into the folder of its class")
        return Said(folder)

    def known(self, folder: Path) -> Sequence[str]:
        """The folders."""
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


@dataclass(frozen=True)
class ByCsv:
    """What a CSV file says: a header ``name,class`` and, if wanted, ``group``, ``weight`` and the words of :mod:`.ctf`.

    Attributes
    ----------
    path
        The CSV file. A name is that of a file, with or without its folders and its ending.
    """

    path: Path

    @cached_property
    def rows(self) -> Mapping[str, Said]:
        """What is said of each name.

        Raises
        ------
        DatasetError
            The file cannot be read, lacks a column, or says two things about one name.
        """
        try:
            text = self.path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{self.path}: the classes cannot be read ({error})") from error
        table = csv.DictReader(text.splitlines())
        lacking = [column for column in ("name", "class") if column not in (table.fieldnames or ())]
        if lacking:
            raise DatasetError(
                f"{self.path}: no column '{lacking[0]}'; its first line must be name,class[,group,weight]"
            )
        rows: dict[str, Said] = {}
        for line, row in enumerate(table, 2):
            name, said = (row["name"] or "").strip(), _said_in(row, f"{self.path}, line {line}")
            if not name or rows.get(name, said) != said:
                what = f"{name} twice, and differently" if name else "no name"
                raise DatasetError(f"{self.path}, line {line}: {what}; give each item one line")
            rows[name] = said
        return rows

    def name_of(self, file: str) -> str | None:
        """The name under which the CSV file has a file; with fewer folders and without its ending, if need be."""
        path = PurePosixPath(file)
        return next((n for n in (file, path.name, str(path.with_suffix("")), path.stem) if n in self.rows), None)

    def missing(self, files: Iterable[str]) -> list[str]:
        """Names in the CSV file that no file has."""
        named = {self.name_of(file) for file in files}
        return [name for name in self.rows if name not in named]

    def said_of(self, file: str) -> Said:
        """Class of a file; see :class:`ClassRule`."""
        name = self.name_of(file)
        if name is None:
            raise DatasetError(f"{file}: {self.path.name} does not name it; add a line for it, or take it away")
        return self.rows[name]

    def known(self, folder: Path) -> Sequence[str]:
        """All classes of the file."""
        return natural_order({said.name for said in self.rows.values() if said.name is not None})


@dataclass(frozen=True)
class OneClass:
    """The same class for all; None for items without any."""

    name: str | None = None

    def said_of(self, file: str) -> Said:
        """Class of a file; see :class:`ClassRule`."""
        return Said(self.name)

    def known(self, folder: Path) -> Sequence[str]:
        """Nothing; only the files tell."""
        return ()


def class_text(value: object) -> str | None:
    """Name of a class that a table has as a number or as text; None where the cell is empty."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


def natural_order(names: Iterable[str]) -> list[str]:
    """Sorted with numbers by their value: class 2 before class 10."""
    return sorted(
        names,
        key=lambda name: [
            (part.isdigit(), part.zfill(20) if part.isdigit() else part) for part in re.split(r"(\d+)", name)
        ],
    )


def numbered(
    names: Sequence[str | None], where: str, *, only: Sequence[str] | None = None, known: Iterable[str] = ()
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Classes, and the number of the class of each item.

    Parameters
    ----------
    names
        Of the class of each item, None for items without one.
    where
        Of what data set, for messages.
    only
        Classes that are asked for, in the order of their numbers; all that there are, in natural order, by default.
    known
        Classes that there are even without items.

    Returns
    -------
    classes, labels, kept
        ``labels`` ``(n,)`` int, :data:`.UNLABELLED` for items without a class; ``kept`` ``(n,)`` bool, false for
        items of classes that nobody asked for.

    Raises
    ------
    DatasetError
        A class that is asked for is not there, or asked for twice.
    """
    there = natural_order({name for name in names if name is not None} | set(known))
    if only is None:
        lookup: dict[str | None, int] = {name: i for i, name in enumerate(there)}
        labels = np.array([lookup.get(name, UNLABELLED) for name in names], int)
        return tuple(there), labels, np.ones(len(names), bool)
    unknown = [name for name in only if name not in there]
    if unknown:
        raise DatasetError(
            f"{where}: there is no class {', '.join(map(repr, unknown))}; there are {', '.join(there) or 'none at all'}"
        )
    if not only or len(set(only)) < len(only):
        raise DatasetError(f"{where}: the classes {list(only)} are none, or one is named twice; name each once")
    lookup = {name: i for i, name in enumerate(only)}
    labels = np.array([lookup.get(name, UNLABELLED) for name in names], int)
    return tuple(only), labels, labels != UNLABELLED


def without_items(classes: Iterable[str], names: Iterable[str | None]) -> list[str]:
    """Classes that no item is of."""
    found = set(names)
    return [name for name in classes if name not in found]


def _said_in(row: Mapping[str, str | None], where: str) -> Said:
    weight = _number(row, "weight", where)
    if weight is not None and weight < 0:
        raise DatasetError(f"{where}: the weight {weight:g} is no number of at least 0")
    ctf = {word: number for word in CTF_WORDS if (number := _number(row, word, where)) is not None}
    return Said(
        class_text(row["class"]), (row.get("group") or "").strip() or None, 1.0 if weight is None else weight, ctf
    )


def _number(row: Mapping[str, str | None], column: str, where: str) -> float | None:
    """A finite number of a row; None where the cell is empty or missing."""
    text = (row.get(column) or "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DatasetError(f"{where}: the {column} {text!r} is no number{' of at least 0' * (column == 'weight')}")
    return number
