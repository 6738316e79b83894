"""What a store says of its items beside their pixels: one entry for each, gathered while it is built, then columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_caked.datasets.items import Record
from napari_caked.errors import DatasetError

__all__ = ["Columns", "Entry", "Records", "read_part", "write_columns", "write_part"]

#: Items in one chunk of a column.
_CHUNK = 65536
#: zarr would leave out chunks that hold nothing but zeros, and they would look like missing files.
_WRITE_ALL: dict[str, Any] = {"write_empty_chunks": True}


@dataclass(frozen=True)
class Entry:
    """An item of a store, without its pixels.

    Attributes
    ----------
    index
        Of the item in the source the store was built from.
    name, label, group, weight, voxel_size, origin
        As in its :class:`.Record`.
    points
        ``(n, axes)`` places in pixels, or None.
    checksums
        CRC-32C of the bytes of each array of the item.
    """

    index: int
    name: str
    label: int
    group: str
    weight: float
    voxel_size: Sequence[float] | None
    origin: Mapping[str, str | float | int]
    points: Sequence[Sequence[float]] | None
    checksums: Mapping[str, int]


def write_part(path: Path, entries: Sequence[Entry]) -> None:
    """Entries of the items of one shard, as JSON; the file appears when it is whole."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps([asdict(entry) for entry in entries], ensure_ascii=False), "utf-8")
    temporary.replace(path)


def read_part(path: Path) -> list[Entry] | None:
    """Entries that :func:`write_part` wrote; None where there are none, or damaged ones."""
    try:
        return [Entry(**entry) for entry in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return None


def write_columns(group: Any, entries: Iterable[Entry], axes: int) -> None:
    """Write columns of a Zarr group, replacing those there are.

    Parameters
    ----------
    group
        The Zarr group.
    entries
        One for each item, in the order of the arrays.
    axes
        Of an item.
    """
    rows = list(entries)
    unknown = (np.nan,) * axes
    numbers: dict[str, np.ndarray] = {
        "label": np.array([row.label for row in rows], np.int32),
        "weight": np.array([row.weight for row in rows], np.float64),
        "voxel_size": np.array([row.voxel_size or unknown for row in rows], np.float64).reshape(-1, axes),
        "source_index": np.array([row.index for row in rows], np.int64),
    }
    for kind in rows[0].checksums:
        numbers[f"{kind}_crc32c"] = np.array([row.checksums[kind] for row in rows], np.uint32)
    if rows[0].points is not None:
        counts = [len(row.points or ()) for row in rows]
        numbers["points_start"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = [np.array(row.points, np.float32).reshape(-1, axes) for row in rows]
        numbers["points"] = np.concatenate(places)
    for name, column in numbers.items():
        chunks = (min(_CHUNK, max(len(column), 1)), *column.shape[1:])
        group.create_array(name, data=column, chunks=chunks, overwrite=True, config=_WRITE_ALL)
    texts = {
        "name": [row.name for row in rows],
        "group": [row.group for row in rows],
        "origin": [json.dumps(dict(row.origin), ensure_ascii=False) for row in rows],
    }
    for name, texts_of in texts.items():
        column = group.create_array(
            name, shape=(len(rows),), dtype=str, chunks=(min(_CHUNK, len(rows)),), overwrite=True, config=_WRITE_ALL
        )
        column[:] = np.array(texts_of, object)


class Columns:
    """Columns of a store, each read when it is asked for.

    Raises
    ------
    DatasetError
        A column is missing or damaged; the message names its folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        return (self.folder / name / "zarr.json").is_file()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._read:
            self._read[name] = self._column(name)
        return self._read[name]

    def _column(self, name: str) -> np.ndarray:
        import zarr

        path = self.folder / name
        try:
            array = zarr.open_array(path, mode="r")
            # To zarr a missing chunk means zeros.
            lacking = array.nchunks - sum(file.is_file() for file in (path / "c").rglob("*")) if array.size else 0
            column = np.asarray(array[:])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DatasetError(
                f"{path}: this column of the data set is missing or damaged ({error}); copy it again, or build "
                "the data set again with overwrite"
            ) from error
        if lacking > 0:
            raise DatasetError(f"{path}: files of this column are missing; copy the data set again")
        return column


class Records(Sequence[Record]):
    """Records of a store, made when they are asked for: a million of them would take seconds and gigabytes."""

    def __init__(self, columns: Columns, shape: tuple[int, ...], size: int) -> None:
        self._columns, self._shape, self._size = columns, shape, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(self._size)))
        if not -self._size <= index < self._size:
            raise IndexError(f"there are {self._size} items, and none has the index {index}")
        row, columns = int(index) % self._size, self._columns
        sizes = columns["voxel_size"][row]
        return Record(
            str(columns["name"][row]),
            int(columns["label"][row]),
            str(columns["group"][row]),
            self._shape,
            None if np.isnan(sizes).any() else tuple(map(float, sizes)),
            float(columns["weight"][row]),
            json.loads(columns["origin"][row]),
        )
