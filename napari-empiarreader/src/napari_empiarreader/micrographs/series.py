"""Many micrographs as one lazy thing: names, sizes, and one image at a time.

Way of the data: a location becomes files (:mod:`.locations`); the first file's header gives shape and type of all;
an image is read when it is asked for, header and pixels with one request, and kept in the shared cache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.errors import FormatError, MixedSizesError, NothingFoundError, PixelSizeError
from napari_empiarreader.files import ByteSource, LocalFile
from napari_empiarreader.micrographs.cache import shared_cache
from napari_empiarreader.micrographs.locations import find_files
from napari_empiarreader.micrographs.mrc import MrcHeader, read_mrc, read_mrc_header
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    import dask.array

    from napari_empiarreader.archive import Archive

__all__ = ["MicrographSeries", "open_micrographs"]


@dataclass(frozen=True)
class MicrographSeries:
    """Micrographs of one size, read one at a time.

    Attributes
    ----------
    names
        Name of each micrograph, as other programs would write it (``file.mrc``).
    shape
        ``(y, x)`` of every micrograph, in pixels.
    dtype
        Type of a pixel.
    pixel_size
        Å per pixel, or None where nobody said.
    reader
        Function from index to image ``(y, x)``; called from any thread.
    source
        Where they came from, for people and for provenance.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    reader: Callable[[int], np.ndarray] = field(repr=False)
    source: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def __post_init__(self) -> None:
        if self.pixel_size is not None and not (math.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise PixelSizeError(f"a pixel size of {self.pixel_size} Å is impossible; give a positive number of Å")

    @classmethod
    def from_array(
        cls, array: np.ndarray | dask.array.Array, names: Sequence[str] | None = None, pixel_size: float | None = None
    ) -> MicrographSeries:
        """Series from an array ``(micrograph, y, x)`` or ``(y, x)``, lazy or not."""
        if array.ndim == 2:
            array = array[None]
        if array.ndim != 3 or 0 in array.shape:
            raise FormatError(f"micrographs are (micrograph, y, x) or (y, x) with pixels, not shape {array.shape}")
        names = tuple(names) if names is not None else tuple(f"micrograph_{i:04d}" for i in range(len(array)))
        if len(names) != len(array):
            raise FormatError(f"{len(names)} names for {len(array)} micrographs; give one name each")
        shape = int(array.shape[1]), int(array.shape[2])
        return cls(names, shape, np.dtype(array.dtype), pixel_size, lambda i: np.asarray(array[i]), "array")

    def read(self, index: int) -> np.ndarray:
        """One micrograph ``(y, x)``."""
        return self.reader(index)

    def with_pixel_size(self, pixel_size: float | None) -> MicrographSeries:
        """The same micrographs with another pixel size in Å; None leaves the one it has."""
        return self if pixel_size is None else replace(self, pixel_size=float(pixel_size))

    def require_pixel_size(self) -> float:
        """Pixel size in Å, or an error that says how to give it.

        Raises
        ------
        PixelSizeError
            Neither the files nor the user said.
        """
        if self.pixel_size is None:
            raise PixelSizeError(
                f"{self.source or self.names[0]}: the pixel size is not in the header; give it in Å (--pixel-size, or "
                "the field 'Pixel size')"
            )
        return self.pixel_size

    def to_dask(self) -> dask.array.Array:
        """Lazy array ``(micrograph, y, x)``, one chunk per micrograph; nothing is read until a chunk is computed."""
        import uuid

        import dask.array as da

        def block(block_info: dict) -> np.ndarray:
            return self.reader(block_info[None]["chunk-location"][0])[None]

        height, width = self.shape
        # One symbolic layer for the whole stack: a slider step costs the same for 5,000 files as for 5.
        return da.map_blocks(
            block,
            chunks=((1,) * len(self), (height,), (width,)),
            dtype=self.dtype,
            meta=np.empty((0, 0, 0), self.dtype),
            # A name of our own: dask would otherwise hash the reader, and with it every pixel of an array in memory.
            name=f"micrographs-{uuid.uuid4().hex}",
        )


def open_micrographs(
    locations: str | Path | ByteSource | Sequence[str | Path | ByteSource],
    *,
    pixel_size: float | None = None,
    archive: Archive | None = None,
    progress: Progress = silent,
) -> MicrographSeries:
    """Open micrographs lazily.

    Parameters
    ----------
    locations
        Files, folders, patterns, ``file://`` or ``empiar://`` addresses; see :func:`.find_files`. A stack counts as
        one micrograph per section.
    pixel_size
        Å per pixel; overrides the header.
    archive
        Where ``empiar://`` addresses lead.
    progress
        Told which location is being looked through.

    Returns
    -------
    MicrographSeries
        Of remote files only the first header has been read; a file that differs raises when it is read.

    Raises
    ------
    NothingFoundError, FormatError, MixedSizesError, ArchiveError
        A location holds nothing, a first header is damaged, local files differ in size or type, the archive is out of
        reach.
    """
    if isinstance(locations, str | Path | ByteSource):
        locations = [locations]
    files: list[ByteSource] = []
    for i, location in enumerate(locations):
        progress(i, len(locations), f"looking through {location}")
        files += find_files(location, archive=archive)
    if not files:
        raise NothingFoundError("no micrographs were named; give files, folders, patterns or empiar:// addresses")
    header = read_mrc_header(files[0])
    if header.shape[0] > 1 and len(files) == 1:
        return _sections(files[0], header, pixel_size)
    for file in files:
        # Local headers cost nothing; a remote one costs a round trip each, so those are checked when they are read.
        if isinstance(file, LocalFile):
            _check_same(read_mrc_header(file), header, file, files[0])
    _check_same(header, header, files[0], files[0])

    def read(index: int) -> np.ndarray:
        file = files[index]
        return shared_cache().get(_key(file, 0), lambda: _read_single(file, header, files[0]))

    return MicrographSeries(
        names=_distinct_names(files),
        shape=header.shape[1:],
        dtype=header.dtype.newbyteorder("="),
        pixel_size=pixel_size if pixel_size is not None else header.pixel_size,
        reader=read,
        source=locations[0].uri if isinstance(locations[0], ByteSource) else str(locations[0]),
    )


def _key(file: ByteSource, section: int) -> tuple[object, ...]:
    """What identifies an image in the cache: the file itself, not its address, which two archives may share.

    A local file that was written anew is another image.
    """
    if isinstance(file, LocalFile):
        status = file.path.stat() if file.path.exists() else None
        return (file, section, status and (status.st_mtime_ns, status.st_size))
    return (file, section)


def _read_single(file: ByteSource, expected: MrcHeader, first: ByteSource) -> np.ndarray:
    header, sections = read_mrc(file, expected)
    _check_same(header, expected, file, first)
    # A view would keep the file's bytes alive unseen by the cache's bound.
    return sections[0].astype(expected.dtype.newbyteorder("="), copy=True)


def _check_same(header: MrcHeader, expected: MrcHeader, file: ByteSource, first: ByteSource) -> None:
    if header.shape[0] != 1:
        raise MixedSizesError(f"{file.uri}: a stack of {header.shape[0]} sections among micrographs; open it alone")
    if header.shape != expected.shape:
        raise MixedSizesError(
            f"{file.uri} has {header.shape[2]} x {header.shape[1]} pixels, {first.uri} has "
            f"{expected.shape[2]} x {expected.shape[1]}; open one size at a time"
        )
    if not np.can_cast(header.dtype, expected.dtype):
        raise FormatError(
            f"{file.uri} holds {header.dtype.name} values, {first.uri} holds {expected.dtype.name}, which cannot take "
            "them; open them apart"
        )


def _sections(file: ByteSource, header: MrcHeader, pixel_size: float | None) -> MicrographSeries:
    def read(index: int) -> np.ndarray:
        return shared_cache().get(_key(file, index), lambda: _read_section(file, header, index))

    digits = len(str(header.shape[0]))
    return MicrographSeries(
        names=tuple(f"{i + 1:0{digits}d}@{file.name}" for i in range(header.shape[0])),
        shape=header.shape[1:],
        dtype=header.dtype.newbyteorder("="),
        pixel_size=pixel_size if pixel_size is not None else header.pixel_size,
        reader=read,
        source=file.uri,
    )


def _read_section(file: ByteSource, header: MrcHeader, index: int) -> np.ndarray:
    start = header.data_offset + index * header.section_bytes
    data = file.read(start, start + header.section_bytes)
    return np.frombuffer(data, header.dtype).reshape(header.shape[1:]).astype(header.dtype.newbyteorder("="))


def _distinct_names(files: Sequence[ByteSource]) -> tuple[str, ...]:
    """File names; where two folders hold the same name, with as many folders as tell them apart."""
    if len({_identity(file) for file in files}) < len(files):
        twice = next(file for i, file in enumerate(files) if _identity(file) in map(_identity, files[:i]))
        raise NothingFoundError(f"the same file was named twice: {twice.uri}; name each micrograph once")
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return tuple(names)
    parts = [_identity(file).replace("\\", "/").split("/") for file in files]
    depth = 2
    while len({tuple(p[-depth:]) for p in parts}) < len(files):
        depth += 1
    return tuple("/".join(p[-depth:]) for p in parts)


def _identity(file: ByteSource) -> str:
    """What two ways of naming one file share."""
    return os.path.abspath(file.path) if isinstance(file, LocalFile) else file.uri  # noqa: PTH100  (keeps links)
