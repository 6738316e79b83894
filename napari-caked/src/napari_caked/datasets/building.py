"""Building a store: one stream through the source, one file of items in memory, and nothing done twice.

Items are stored in the order in which the source reads them. When the items of one file are on disk, a small file in
``parts`` says which they are; a build that was killed asks the source for all the others.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_caked.datasets._columns import Entry, read_part, write_columns, write_part
from napari_caked.datasets._fitting import as_stored, likeness, require_like, require_one_shape
from napari_caked.datasets._lock import alone
from napari_caked.datasets._shards import Rows, open_rows
from napari_caked.datasets.items import Item, ItemSource
from napari_caked.datasets.store import KEY, SUFFIX, VERSION, Store, open_store, read_about
from napari_caked.errors import DatasetError
from napari_empiarreader.errors import FileExistsAlreadyError
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from napari_caked.datasets.recipe import Recipe

__all__ = ["build", "fingerprint"]

#: Bytes of images in one file. Fewer files than items by far, and no more than this has to be held in memory.
_SHARD_BYTES = 16 * 2**20
_DTYPES = ("float32", "float16")


def build(
    source: ItemSource,
    path: str | Path,
    recipe: Recipe | None = None,
    *,
    dtype: str = "float32",
    compress: bool = False,
    overwrite: bool = False,
    shard_bytes: int = _SHARD_BYTES,
    made: Mapping[str, object] | None = None,
    progress: Progress = silent,
    stopped: Callable[[], bool] = lambda: False,
) -> Store:
    """Store the items of a source, prepared by the transforms of a recipe.

    A build that was killed or stopped is continued by the same call; files of a finished store that are missing or
    damaged are made again by it.

    Parameters
    ----------
    source
        The items; each is read once.
    path
        The store, a folder whose name ends with ``.dataset.zarr``.
    recipe
        Its transforms are applied; its augmentations are kept for who reads the store.
    dtype
        Of the images: ``"float32"``, or ``"float16"`` for half the bytes and three digits.
    compress
        Compress the images. Noise does not get smaller; masks and padded maps do. Reading gets slower.
    overwrite
        Replace another data set.
    shard_bytes
        Size of a file, and memory needed.
    made
        How the source was made (a command and its options), for who wants to make it again; anything JSON knows.
    progress
        Told after each item.
    stopped
        Asked after each item whether to stop; what is finished stays.

    Raises
    ------
    DatasetError
        No items; items that cannot be stored together; the build was stopped.
    FileExistsAlreadyError
        There is something else at that place.
    TargetBusyError
        Another build is under way there; of one that was killed nothing is in the way.
    """
    folder = Path(path)
    if not folder.name.endswith(SUFFIX):
        raise DatasetError(f"{folder}: the name of a data set ends with {SUFFIX}; name it {folder.stem}{SUFFIX}")
    if dtype not in _DTYPES:
        raise DatasetError(f"a store holds {' or '.join(_DTYPES)}, not {dtype!r}")
    if not len(source):
        raise DatasetError(f"{folder}: the source has no items, and there is nothing to store")
    if isinstance(source, Store) and source.path.resolve() == folder.resolve():
        raise DatasetError(f"{folder}: a data set cannot be built from itself; choose another name")
    if recipe is None or not recipe.transforms:
        # Now, and not after hours of reading.
        require_one_shape(source.records, str(folder))
    about = _about(source, recipe, dtype, compress) | {"made": dict(made or {})}
    with alone(folder):
        if folder.exists() and not overwrite:
            _require_same(folder, about)
        elif folder.exists():
            _remove(folder)
        work = _Work(folder, source, recipe, about, shard_bytes, progress, stopped)
        work.begin()
        work.store()
        work.end()
        return open_store(folder)


def fingerprint(source: ItemSource) -> str:
    """A checksum of what is known of all items without their pixels, and of the sizes and times of their files."""
    digest = hashlib.sha256(json.dumps(list(source.classes)).encode())
    files: set[str] = set()
    for record in source.records:
        said = (record.name, record.label, record.group, record.shape, record.voxel_size, record.weight)
        digest.update(json.dumps([*said, dict(record.origin)], default=str).encode())
        files.update(value for value in record.origin.values() if isinstance(value, str) and value not in files)
    for file in sorted(files):
        digest.update(f"{file}:{_stamp(file)}".encode())
    return digest.hexdigest()


def _stamp(file: str) -> str:
    """Size and time of a file; nothing for a text that is no file."""
    try:
        stat = Path(file).stat()
    except (OSError, ValueError):
        return ""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _about(source: ItemSource, recipe: Recipe | None, dtype: str, compress: bool) -> dict[str, Any]:
    return {
        "version": VERSION,
        "complete": False,
        "classes": list(source.classes),
        "items": len(source),
        "recipe": None if recipe is None else recipe.to_json(),
        "source": fingerprint(source),
        "dtype": dtype,
        "compress": compress,
        "arrays": [],
        "shards": 0,
        "versions": {name: importlib.metadata.version(name) for name in ("napari-caked", "numpy", "torch", "zarr")},
    }


def _require_same(folder: Path, about: dict[str, Any]) -> None:
    """Refuse a folder that is not the beginning, or the whole, of this very data set."""
    try:
        there = read_about(folder)
    except DatasetError as error:
        raise FileExistsAlreadyError(
            f"{folder} exists already, and is no data set ({error}); choose another name"
        ) from error
    words = {"source": "another source (or its files have changed)", "recipe": "another recipe"}
    words |= {"dtype": f"images of {there.get('dtype')}", "compress": "another compression"}
    for key, what in words.items():
        if there.get(key) != about[key]:
            raise FileExistsAlreadyError(f"{folder} was built from {what}; choose another name, or overwrite it")


def _remove(folder: Path) -> None:
    """Remove a data set; nothing that is none."""
    try:
        read_about(folder)
    except DatasetError as error:
        raise FileExistsAlreadyError(
            f"{folder} is no data set ({error}), and is not overwritten; remove it yourself"
        ) from error
    # At once no data set any more, whatever becomes of the rest.
    (folder / "zarr.json").unlink()
    shutil.rmtree(folder)


@dataclass
class _Work:
    """A build under way."""

    folder: Path
    source: ItemSource
    recipe: Recipe | None
    about: dict[str, Any]
    shard_bytes: int
    progress: Progress
    stopped: Callable[[], bool]
    arrays: dict[str, Any] = field(default_factory=dict)
    group: Any = None

    @property
    def parts(self) -> Path:
        """Where the entries of finished files are until the end."""
        return self.folder / "parts"

    @property
    def per_shard(self) -> int:
        """Items in one file."""
        return int(self.arrays["image"].shards[0])

    def begin(self) -> None:
        """Make the group, or open that which is there."""
        import zarr

        self.group = zarr.open_group(self.folder, mode="a", zarr_format=3)
        there = self.group.attrs.get(KEY)
        if there:
            self.about = dict(there)
            self.arrays = {kind: self.group[kind] for kind in there["arrays"]}
        else:
            self._say()
        if self.about["complete"]:
            self._reopen()
        else:
            self.parts.mkdir(exist_ok=True)

    def _say(self, **changes: Any) -> None:
        self.about |= changes
        self.group.update_attributes({KEY: self.about})

    def _reopen(self) -> None:
        """Turn a finished store back into parts, where files of it are missing or damaged."""
        store, rows = open_store(self.folder), {kind: open_rows(self.folder / kind) for kind in self.arrays}
        damaged = [shard for shard in range(self.about["shards"]) if not _is_whole(rows, shard)]
        if not damaged:
            return
        self.parts.mkdir(exist_ok=True)
        for shard in range(self.about["shards"]):
            if shard not in damaged:
                indices = range(shard * self.per_shard, min((shard + 1) * self.per_shard, len(store)))
                write_part(self._part(shard), [_entry_of(store, index) for index in indices])
        self._say(complete=False)

    def _part(self, shard: int) -> Path:
        return self.parts / f"{shard:06d}.json"

    def store(self) -> None:
        """Store what is not stored yet."""
        if self.about["complete"]:
            return
        finished = self._finished()
        done = {entry.index for part in finished.values() for entry in part}
        left = [index for index in range(len(self.source)) if index not in done]
        free = iter([shard for shard in range(self.about["shards"]) if shard not in finished])
        stored, buffer = len(done), []
        shard: int | None = None
        for index, item in self._prepared(left):
            if not self.arrays:
                self._create(item)
                free = iter(range(self.about["shards"]))
            if shard is None:
                shard = next(free)
            require_like(self.about["like"], item, str(self.folder))
            buffer.append((index, item))
            if len(buffer) == min(self.per_shard, len(self.source) - shard * self.per_shard):
                self._write(shard, buffer)
                stored, shard, buffer = stored + len(buffer), None, []
            self.progress(stored + len(buffer), len(self.source), item.record.name)
            if self.stopped():
                raise DatasetError(
                    f"{self.folder}: stopped with {stored} of {len(self.source)} items stored; the same build goes on "
                    "from there"
                )
        if stored < len(self.source):
            raise DatasetError(
                f"{self.folder}: the source gave {stored} of its {len(self.source)} items; its files have changed"
            )

    def _finished(self) -> dict[int, list[Entry]]:
        """Entries of the files that are on disk and whole."""
        rows = {kind: open_rows(self.folder / kind) for kind in self.arrays}
        parts = {shard: read_part(self._part(shard)) for shard in range(self.about["shards"])}
        return {shard: part for shard, part in parts.items() if part is not None and _is_whole(rows, shard)}

    def _prepared(self, indices: list[int]) -> Iterator[tuple[int, Item]]:
        """Items after the transforms."""
        if self.recipe is None or not self.recipe.transforms:
            yield from self.source.items(indices)
            return
        from napari_caked.datasets.sample import Sample

        for index, item in self.source.items(indices):
            sample = self.recipe.prepare(Sample.of(item))
            yield index, sample.item()

    def _create(self, item: Item) -> None:
        """Make the arrays for items like this one."""
        shape = item.record.shape
        per_shard = max(1, int(self.shard_bytes / (np.prod(shape) * np.dtype(self.about["dtype"]).itemsize)))
        per_shard = min(per_shard, len(self.source))
        kinds = {"image": self.about["dtype"]}
        kinds |= {"mask": "int32"} if item.mask is not None else {}
        kinds |= {"partner": self.about["dtype"]} if item.partner is not None else {}
        for kind, dtype in kinds.items():
            self.arrays[kind] = self.group.create_array(
                kind,
                shape=(len(self.source), *shape),
                chunks=(1, *shape),
                shards=(per_shard, *shape),
                dtype=dtype,
                compressors="auto" if self.about["compress"] else None,
                fill_value=0,
                dimension_names=("item", *"zyx"[-len(shape) :]),
                # Chunks of zeros would be left out, and files of zeros look like missing ones.
                config={"write_empty_chunks": True},
                overwrite=True,
            )
        self._say(arrays=list(kinds), like=likeness(item), shards=-(-len(self.source) // per_shard))

    def _write(self, shard: int, buffer: list[tuple[int, Item]]) -> None:
        """Put the items of one file on disk, then say so."""
        try:
            self._put(shard, buffer)
        except OSError as error:
            raise DatasetError(
                f"{self.folder}: its items cannot be written ({error}); make room, and build it again: it goes on from "
                "here"
            ) from error

    def _put(self, shard: int, buffer: list[tuple[int, Item]]) -> None:
        import google_crc32c

        first = shard * self.per_shard
        checksums: list[dict[str, int]] = [{} for _ in buffer]
        for kind, array in self.arrays.items():
            block = np.stack([as_stored(getattr(item, kind), array.dtype, item, kind) for _, item in buffer])
            # The last file is not full, and zarr would merge what is written into what is there, damaged or not.
            (self.folder / kind).joinpath("c", str(shard), *["0"] * (block.ndim - 1)).unlink(missing_ok=True)
            array[first : first + len(block)] = block
            for checksum, one in zip(checksums, block, strict=True):
                checksum[kind] = google_crc32c.value(one.tobytes())
        entries = [_entry(index, item, checksum) for (index, item), checksum in zip(buffer, checksums, strict=True)]
        write_part(self._part(shard), entries)

    def end(self) -> None:
        """Make columns of the parts, and say that the store is complete."""
        if self.about["complete"]:
            return

        def entries() -> Iterator[Entry]:
            for shard in range(self.about["shards"]):
                yield from read_part(self._part(shard)) or ()

        write_columns(self.group, entries(), len(self.arrays["image"].shape) - 1)
        self._say(complete=True)
        shutil.rmtree(self.parts)


def _is_whole(rows: dict[str, Rows], shard: int) -> bool:
    try:
        for one in rows.values():
            one.check(shard)
    except DatasetError:
        return False
    return True


def _entry(index: int, item: Item, checksums: dict[str, int]) -> Entry:
    record, points = item.record, item.points
    places = None if points is None else np.asarray(points, np.float64).tolist()
    origin = {key: _plain(value) for key, value in record.origin.items()}
    size = None if record.voxel_size is None else [float(one) for one in record.voxel_size]
    return Entry(
        index, record.name, int(record.label), record.group, float(record.weight), size, origin, places, checksums
    )


def _plain(value: Any) -> str | float | int:
    """A number of numpy as one of Python's, which JSON knows."""
    return value.item() if isinstance(value, np.generic) else value


def _entry_of(store: Store, index: int) -> Entry:
    """The entry of an item that is stored."""
    record, points, columns = store.records[index], store.points(index), store._columns
    item = Item(record, np.empty(record.shape, np.float32), points=points)
    checksums = {kind: int(columns[f"{kind}_crc32c"][index]) for kind in store.kinds}
    return _entry(int(columns["source_index"][index]), item, checksums)
