"""Rows of Zarr 3 arrays that hold one item per chunk and many chunks per file.

Where nothing is compressed, an item is a run of bytes in a file: it is read from the mapped file, without Zarr's
machinery, which costs more than the bytes. Everything else goes through zarr. Both give the same.

The layout of a shard is that of the codec ``sharding_indexed`` of the Zarr 3 specification: the chunks, then the offset
and the length of each (uint64, little-endian), then the CRC-32C of this index.
"""

from __future__ import annotations

import json
import mmap
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_caked.errors import DatasetError

__all__ = ["MappedRows", "Rows", "ZarrRows", "open_rows"]

#: Files that are mapped at once: a mapping holds a file open, and systems allow about a thousand of them.
_MAPPED = 128
_TYPES = ("float16", "float32", "int16", "int32", "uint8", "uint16")
#: What the index says of a chunk that was not written.
_NOWHERE = 2**64 - 1
_REMEDY = "build the data set again with the same source and name: only damaged and missing parts are made again"


class Rows(Protocol):
    """An array ``(item, ...)`` on disk."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def check(self, shard: int) -> None:
        """Raise DatasetError unless a file is there and whole, as far as can be told without reading its items."""
        ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """``(len(rows), ...)`` the rows with these numbers, in this order.

        Raises
        ------
        DatasetError
            A file is missing or damaged; the message names it.
        """
        ...


def open_rows(folder: Path) -> Rows:
    """The array in a folder: mapped where its bytes are the items, through zarr otherwise.

    Raises
    ------
    DatasetError
        There is no array, or its metadata are damaged.
    """
    metadata = read_metadata(folder)
    if _is_plain(metadata):
        return MappedRows(folder, metadata)
    return ZarrRows(folder, metadata)


def read_metadata(folder: Path) -> dict[str, Any]:
    """``zarr.json`` of an array or a group.

    Raises
    ------
    DatasetError
        It is missing, or no Zarr 3 metadata.
    """
    path = folder / "zarr.json"
    try:
        metadata = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file; a part of the data set is missing, copy it again") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: it cannot be read ({error}); copy it again") from error
    if not isinstance(metadata, dict) or metadata.get("zarr_format") != 3:
        raise DatasetError(f"{path}: no metadata of Zarr 3; copy it again")
    return metadata


def _is_plain(metadata: dict[str, Any]) -> bool:
    """Whether each item is a chunk of its own, uncompressed, in shards with their index at the end."""
    try:
        (outer,) = metadata["codecs"]
        inner = outer["configuration"]
        shape, chunk, shard = (
            metadata["shape"],
            inner["chunk_shape"],
            metadata["chunk_grid"]["configuration"]["chunk_shape"],
        )
        little = [{"name": "bytes", "configuration": {"endian": "little"}}]
        bare = [{"name": "bytes"}]
        keys = metadata["chunk_key_encoding"]
        return (
            outer["name"] == "sharding_indexed"
            and inner["codecs"] in ([*little], [*bare] if np.dtype(metadata["data_type"]).itemsize == 1 else None)
            and [codec["name"] for codec in inner["index_codecs"]] == ["bytes", "crc32c"]
            and inner["index_codecs"][0]["configuration"]["endian"] == "little"
            and inner.get("index_location", "end") == "end"
            and metadata["data_type"] in _TYPES
            and keys["name"] == "default"
            and keys.get("configuration", {}).get("separator", "/") == "/"
            and metadata["fill_value"] == 0
            and chunk == [1, *shape[1:]]
            and shard[1:] == shape[1:]
        )
    except (KeyError, TypeError, ValueError):
        return False


class _Files:
    """Names of the files of an array, one for so many items."""

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        self.folder = folder
        self.shape = tuple(metadata["shape"])
        self.dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
        self.per_shard = int(metadata["chunk_grid"]["configuration"]["chunk_shape"][0])

    def file(self, shard: int) -> Path:
        """Of a shard; Zarr names it by its place along each axis."""
        return self.folder.joinpath("c", str(shard), *["0"] * (len(self.shape) - 1))

    def checked(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of rows that there are."""
        rows = np.asarray(rows, np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.shape[0]):
            raise IndexError(f"{self.folder}: there are {self.shape[0]} items, and not {rows.min()} to {rows.max()}")
        return rows


class MappedRows(_Files):
    """Uncompressed rows; see :class:`Rows`."""

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        super().__init__(folder, metadata)
        self._mapped: OrderedDict[int, mmap.mmap] = OrderedDict()
        self._offsets: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Without mappings, which every process has to make for itself."""
        return self.__dict__ | {"_mapped": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_lock": threading.Lock()})

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Copies of rows; see :class:`Rows`."""
        rows = self.checked(rows)
        read = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, row in enumerate(rows.tolist()):
            read[place] = self.view(row)
        return read

    def view(self, row: int) -> np.ndarray:
        """A row as it lies in the file, read-only."""
        shard, within = divmod(row, self.per_shard)
        with self._lock:
            mapped = self._map(shard)
        offset = int(self._offsets[shard][within])
        if offset == _NOWHERE:
            return np.broadcast_to(self.dtype.type(0), self.shape[1:])
        count = int(np.prod(self.shape[1:], dtype=np.int64))
        return np.frombuffer(mapped, self.dtype, count, offset).reshape(self.shape[1:])

    def check(self, shard: int) -> None:
        """Raise DatasetError unless a file is there and its index is whole."""
        with self._lock:
            self._offsets.pop(shard, None)
            self._mapped.pop(shard, None)
            self._map(shard)

    def _map(self, shard: int) -> mmap.mmap:
        if shard in self._mapped:
            self._mapped.move_to_end(shard)
            return self._mapped[shard]
        path = self.file(shard)
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise DatasetError(f"{path}: no such file; {_REMEDY}") from error
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: it cannot be read, or is empty ({error}); {_REMEDY}") from error
        if shard not in self._offsets:
            self._offsets[shard] = self._index(mapped, path)
        self._mapped[shard] = mapped
        while len(self._mapped) > _MAPPED:
            self._mapped.popitem(last=False)
        return mapped

    def _index(self, mapped: mmap.mmap, path: Path) -> np.ndarray:
        """Where the items of a shard begin, in bytes."""
        import google_crc32c

        length = 16 * self.per_shard
        index, stored = mapped[-length - 4 : -4], mapped[-4:]
        if len(index) < length or google_crc32c.value(index) != int.from_bytes(stored, "little"):
            raise DatasetError(f"{path}: its index is damaged, or the file is cut off; {_REMEDY}")
        offsets, lengths = np.frombuffer(index, "<u8").reshape(-1, 2).T
        there = offsets != _NOWHERE
        size = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        if (lengths[there] != size).any() or (offsets[there] + np.uint64(size) > len(mapped) - length - 4).any():
            raise DatasetError(f"{path}: its index does not fit items of {size} bytes; {_REMEDY}")
        return offsets.copy()


class ZarrRows(_Files):
    """Compressed rows, or rows of some other layout, through zarr; see :class:`Rows`."""

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        super().__init__(folder, metadata)
        self._names_files = metadata.get("chunk_key_encoding") == {
            "name": "default",
            "configuration": {"separator": "/"},
        }
        self._array: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the open array."""
        return self.__dict__ | {"_array": None}

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows; see :class:`Rows`."""
        import zarr

        rows = self.checked(rows)
        if self._array is None:
            self._array = zarr.open_array(self.folder, mode="r")
        # To zarr a missing file means zeros.
        files = [self.file(shard) for shard in np.unique(rows // self.per_shard).tolist()] if self._names_files else []
        for path in files:
            if not path.is_file():
                raise DatasetError(f"{path}: no such file; {_REMEDY}")
        try:
            return np.asarray(self._array.oindex[rows])
        except (ValueError, RuntimeError, OSError) as error:
            where = files[0] if len(files) == 1 else self.folder
            raise DatasetError(f"{where}: it is damaged ({error}); {_REMEDY}") from error

    def check(self, shard: int) -> None:
        """Raise DatasetError unless the rows of a file can be read."""
        first = shard * self.per_shard
        self.read(np.arange(first, min(first + self.per_shard, self.shape[0])))
