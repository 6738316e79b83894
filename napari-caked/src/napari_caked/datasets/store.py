"""A data set on disk: a Zarr 3 group that any Zarr library reads, and a source of items that reads fast.

Arrays ``image`` and, where there are any, ``mask`` and ``partner``, all ``(item, [z,] y, x)`` with one chunk for each
item and many chunks in a file; columns with an entry for each item; ``points`` of all items one after the other, of
item i those from ``points_start[i]`` to ``points_start[i + 1]``. The group's attributes hold the rest (:data:`KEY`).
:mod:`napari_caked.datasets.building` makes such a store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_caked.datasets._columns import Columns, Records
from napari_caked.datasets._shards import MappedRows, Rows, open_rows, read_metadata
from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.errors import DatasetError
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    import dask.array

    from napari_caked.datasets.recipe import Recipe

__all__ = ["KEY", "SUFFIX", "VERSION", "Store", "is_store", "open_store"]

#: Attribute of the group that holds everything about the data set.
KEY = "napari-caked"
#: Of the format; a program refuses what is newer than it.
VERSION = 1
#: What the name of a store ends with.
SUFFIX = ".dataset.zarr"
#: Arrays a store may have beside ``image``.
_KINDS = ("image", "mask", "partner")


class Store(ItemSource):
    """A complete data set on disk; made by :func:`open_store`.

    Items are in the order in which the source was read. It may be handed to processes; each maps the files itself.

    Attributes
    ----------
    path
        The folder.
    classes, records
        As of every source.
    about
        What the attributes say: ``classes``, ``recipe``, ``versions``, ``source`` (its fingerprint), …
    """

    records: Sequence[Record]

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, about
        self.classes = tuple(about["classes"])
        self._rows: dict[str, Rows] = {kind: open_rows(path / kind) for kind in about["arrays"]}
        self._columns = Columns(path)
        image = self._rows["image"]
        self.records = Records(self._columns, image.shape[1:], image.shape[0])

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        return f"<Store {self.path}: {len(self)} items of {shape}, classes {', '.join(self.classes) or 'none'}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels of every item."""
        return self._rows["image"].shape[1:]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which of image, mask and partner there are."""
        return tuple(self._rows)

    @property
    def labels(self) -> np.ndarray:
        """``(n,)`` int, one for each item."""
        return self._columns["label"]

    @property
    def weights(self) -> np.ndarray:
        """``(n,)`` float, one for each item."""
        return self._columns["weight"]

    @property
    def voxel_size(self) -> tuple[float, ...] | None:
        """Å along each axis, the same for all items; None where nobody knows."""
        return self.records[0].voxel_size

    @property
    def names(self) -> Sequence[str]:
        """One for each item."""
        return self._columns["name"]  # type: ignore[return-value]

    @property
    def groups(self) -> Sequence[str]:
        """One for each item."""
        return self._columns["group"]  # type: ignore[return-value]

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recipe it was built with: its transforms are done, its augmentations are for who reads the items."""
        if self.about["recipe"] is None:
            return None
        from napari_caked.datasets.recipe import Recipe

        return Recipe.from_json(self.about["recipe"])

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """``(len(indices), [z,] y, x)`` float32 images, in the order asked for."""
        return self._rows["image"].read(np.asarray(indices)).astype(np.float32, copy=False)

    def masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """``(len(indices), [z,] y, x)`` integer masks, in the order asked for; an error where there are none."""
        return self._of("mask").read(np.asarray(indices))

    def partners(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """``(len(indices), [z,] y, x)`` float32 partners, in the order asked for; an error where there are none."""
        return self._of("partner").read(np.asarray(indices)).astype(np.float32, copy=False)

    def points(self, index: int) -> np.ndarray | None:
        """``(n, axes)`` float32 points of an item, or None where the store has none."""
        if "points_start" not in self._columns:
            return None
        start = self._columns["points_start"]
        return self._columns["points"][start[index] : start[index + 1]]

    def crops(self, indices: Sequence[int] | np.ndarray, corners: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Parts of images: of uncompressed ones no other bytes are read.

        Parameters
        ----------
        indices
            Of the items.
        corners
            ``(len(indices), axes)`` first pixel of each part.
        shape
            Pixels of a part.

        Returns
        -------
        np.ndarray
            ``(len(indices), *shape)`` float32.

        Raises
        ------
        DatasetError
            A part reaches over the edge of its image.
        """
        rows, image = np.asarray(indices), self._rows["image"]
        corners = np.asarray(corners, np.int64).reshape(len(rows), len(self.shape))
        outside = ((corners < 0) | (corners + np.array(shape) > np.array(self.shape))).any(axis=1)
        if outside.any():
            first = int(np.argmax(outside))
            raise DatasetError(
                f"{self.path}: a part of {tuple(shape)} at {tuple(corners[first].tolist())} reaches over the edge of "
                f"item {rows[first]}, which is {self.shape}"
            )
        parts = np.empty((len(rows), *shape), np.float32)
        whole = None if isinstance(image, MappedRows) else image.read(rows)
        for i, (row, corner) in enumerate(zip(rows.tolist(), corners.tolist(), strict=True)):
            window = tuple(slice(first, first + size) for first, size in zip(corner, shape, strict=True))
            parts[i] = (image.view(row) if isinstance(image, MappedRows) else whole[i])[window]  # type: ignore[index]
        return parts

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Read items in the order of the files; see :class:`.ItemSource`."""
        for index in sorted(indices):
            yield index, self._item(index)

    def _item(self, index: int) -> Item:
        at = [index]
        masks = self.masks(at)[0] if "mask" in self._rows else None
        partner = self.partners(at)[0] if "partner" in self._rows else None
        return Item(self.records[index], self.images(at)[0], masks, self.points(index), partner)

    def _of(self, kind: str) -> Rows:
        if kind not in self._rows:
            raise DatasetError(f"{self.path}: its items have no {kind}; there are {', '.join(self._rows)}")
        return self._rows[kind]

    def dask(self, kind: str = "image") -> dask.array.Array:
        """``(item, [z,] y, x)`` images, masks or partners, one chunk for each item; read when computed."""
        import dask.array as da

        rows = self._of(kind)
        size, (shape, dtype) = len(self), (self.shape, np.dtype(np.float32) if kind != "mask" else rows.dtype)

        def read(block_id: tuple[int, ...]) -> np.ndarray:
            return rows.read(np.array([block_id[0]])).astype(dtype, copy=False)

        chunks = ((1,) * size, *((side,) for side in shape))
        return da.map_blocks(read, chunks=chunks, dtype=dtype, meta=np.empty((0,) * (1 + len(shape)), dtype))

    def verify(self, progress: Progress = silent) -> None:
        """Read everything, and compare it with the checksums of when it was built.

        Raises
        ------
        DatasetError
            A file is missing, damaged or cut off, or its pixels have changed; the message names it.
        """
        import google_crc32c

        for kind, rows in self._rows.items():
            expected = self._columns[f"{kind}_crc32c"]
            for index in range(len(self)):
                if google_crc32c.value(rows.read(np.array([index])).tobytes()) != expected[index]:
                    raise DatasetError(
                        f"{self.path / kind}: the {kind} of item {index} ({self.records[index].name}) has changed "
                        "since the data set was built; copy it again, or build it again with overwrite"
                    )
                progress(index + 1, len(self), kind)


def is_store(path: str | Path) -> bool:
    """Whether a folder is a data set of this format, finished or not."""
    try:
        return KEY in read_metadata(Path(path)).get("attributes", {})
    except DatasetError:
        return False


def open_store(path: str | Path) -> Store:
    """Open a data set.

    Raises
    ------
    DatasetError
        There is none, it is unfinished, newer than this program, or a part of it is missing or damaged.

    Examples
    --------
    >>> store = open_store("particles.dataset.zarr")  # doctest: +SKIP
    >>> store.images([5, 3, 9]).shape  # doctest: +SKIP
    (3, 64, 64)
    """
    folder = Path(path)
    about = read_about(folder)
    if not about["complete"]:
        parts = len(list((folder / "parts").glob("*.json")))
        raise DatasetError(
            f"{folder}: the data set is unfinished ({parts} of {about['shards']} parts); build it again with the same "
            "source and name, and it goes on from there"
        )
    store = Store(folder, about)
    lengths = {kind: rows.shape[0] for kind, rows in store._rows.items()}
    if set(lengths.values()) != {about["items"]}:
        raise DatasetError(f"{folder}: there should be {about['items']} items, and there are {lengths}; copy it again")
    return store


def read_about(folder: Path) -> dict[str, Any]:
    """What the attributes of a store say.

    Raises
    ------
    DatasetError
        There is no store, it is newer than this program, or what it says is damaged.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; name the folder of a data set (*{SUFFIX})")
    about = read_metadata(folder).get("attributes", {}).get(KEY)
    if about is None:
        raise DatasetError(f"{folder}: a Zarr group, but no data set of this program; build one from it")
    if not isinstance(about, dict) or not isinstance(about.get("version"), int):
        raise DatasetError(f"{folder / 'zarr.json'}: its attribute {KEY!r} is damaged; copy it again")
    if about["version"] > VERSION:
        raise DatasetError(
            f"{folder}: the data set is of version {about['version']}, and this program knows {VERSION}; update "
            "napari-caked"
        )
    lacking = {"arrays", "classes", "complete", "items", "recipe", "shards", "source"} - about.keys()
    if lacking:
        raise DatasetError(f"{folder / 'zarr.json'}: it does not say {', '.join(sorted(lacking))}; copy it again")
    return about
