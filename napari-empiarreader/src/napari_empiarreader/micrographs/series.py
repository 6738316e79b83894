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
from napari_empiarreader.micrographs.formats import EerSettings, open_image
from napari_empiarreader.micrographs.image import ImageFile, ImageInfo
from napari_empiarreader.micrographs.locations import find_files
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    import dask.array

    from napari_empiarreader.archive import Archive

__all__ = [
    "MicrographSeries",
    "check_pixel_size",
    "described",
    "distinct_names",
    "files_series",
    "gathered",
    "image_key",
    "listed",
    "open_micrographs",
    "required_pixel_size",
    "sections_series",
]


def check_pixel_size(pixel_size: float | None) -> None:
    """Refuse a pixel size (Å) that cannot be; None is unknown and may be."""
    if pixel_size is not None and not (math.isfinite(pixel_size) and pixel_size > 0):
        raise PixelSizeError(f"a pixel size of {pixel_size} Å is impossible; give a positive number of Å")


def required_pixel_size(pixel_size: float | None, source: str) -> float:
    """Pixel size in Å, or an error that says how to give it."""
    if pixel_size is None:
        raise PixelSizeError(
            f"{source}: the pixel size is not in the header; give it in Å (--pixel-size, or the field 'Pixel size')"
        )
    return pixel_size


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
    tilts
        Stage tilt of each in degrees, where they are the sections of a tilt series whose header says so.
    """

    names: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype
    pixel_size: float | None
    reader: Callable[[int], np.ndarray] = field(repr=False)
    source: str = ""
    tilts: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __post_init__(self) -> None:
        check_pixel_size(self.pixel_size)

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
        return required_pixel_size(self.pixel_size, self.source or self.names[0])

    def to_dask(self) -> dask.array.Array:
        """Lazy array ``(micrograph, y, x)``, one chunk per micrograph; nothing is read until a chunk is computed."""
        import uuid

        import dask.array as da

        def block(block_id: tuple[int, ...]) -> np.ndarray:
            return self.reader(block_id[0])[None]

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
    """Open micrographs of one size lazily; for movies and mixed sizes see :func:`~.opening.open_images`.

    Parameters
    ----------
    locations
        Files of any image format, folders (of which the MRC files are taken), patterns, ``file://`` or ``empiar://``
        addresses; see :func:`.find_files`. A stack counts as one micrograph per section.
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
    locations = listed(locations)
    files = gathered(locations, archive=archive, progress=progress)
    first = open_image(files[0])
    if first.info.shape[0] > 1 and len(files) == 1:
        return sections_series(files[0], first, pixel_size)
    for file in files[1:]:
        # Local headers cost nothing; a remote one costs a round trip each, so those are checked when they are read.
        if isinstance(file, LocalFile):
            _check_same(open_image(file).info, first.info, file, files[0])
    _check_same(first.info, first.info, files[0], files[0])
    return files_series(files, first, pixel_size=pixel_size, source=described(locations))


def listed(
    locations: str | Path | ByteSource | Sequence[str | Path | ByteSource],
) -> Sequence[str | Path | ByteSource]:
    """One location or several as several."""
    return [locations] if isinstance(locations, str | Path | ByteSource) else locations


def described(locations: Sequence[str | Path | ByteSource]) -> str:
    """Where images came from, for people."""
    return locations[0].uri if isinstance(locations[0], ByteSource) else str(locations[0])


def gathered(
    locations: Sequence[str | Path | ByteSource],
    *,
    suffixes: tuple[str, ...] | None = None,
    archive: Archive | None = None,
    progress: Progress = silent,
) -> list[ByteSource]:
    """Files that all the locations mean, in their order; see :func:`.find_files` for the errors."""
    files: list[ByteSource] = []
    for i, location in enumerate(locations):
        progress(i, len(locations), f"looking through {location}")
        files += find_files(location, archive=archive, **({} if suffixes is None else {"suffixes": suffixes}))
    if not files:
        raise NothingFoundError("no micrographs were named; give files, folders, patterns or empiar:// addresses")
    return files


def files_series(
    files: Sequence[ByteSource],
    first: ImageFile,
    *,
    pixel_size: float | None = None,
    source: str = "",
    names: Sequence[str] | None = None,
    eer: EerSettings | None = None,
) -> MicrographSeries:
    """Series of files with one image each, all believed to be as ``first`` is until they are read."""
    expected = first.info
    owner = first.source

    def read(index: int) -> np.ndarray:
        file = files[index]
        return shared_cache().get(
            image_key(file, 0, expected.dtype, eer), lambda: _read_single(file, first, expected, owner, eer)
        )

    return MicrographSeries(
        names=tuple(names) if names is not None else distinct_names(files),
        shape=expected.shape[1:],
        dtype=expected.dtype,
        pixel_size=pixel_size if pixel_size is not None else expected.pixel_size,
        reader=read,
        source=source or owner.uri,
    )


def sections_series(file: ByteSource, image: ImageFile, pixel_size: float | None = None) -> MicrographSeries:
    """Series of the sections of one file that is open as ``image``, named ``0001@file``."""
    info = image.info

    def read(index: int) -> np.ndarray:
        return shared_cache().get(image_key(file, index, info.dtype), lambda: image.frame(index))

    digits = len(str(info.shape[0]))
    return MicrographSeries(
        names=tuple(f"{i + 1:0{digits}d}@{file.name}" for i in range(info.shape[0])),
        shape=info.shape[1:],
        dtype=info.dtype,
        pixel_size=pixel_size if pixel_size is not None else info.pixel_size,
        reader=read,
        source=file.uri,
        tilts=info.tilts,
    )


def image_key(file: ByteSource, section: int, dtype: np.dtype, eer: EerSettings | None = None) -> tuple[object, ...]:
    """What identifies an image in the cache: the file itself, not its address, which two archives may share.

    A local file that was written anew is another image.
    """
    if isinstance(file, LocalFile):
        status = file.path.stat() if file.path.exists() else None
        return (file, section, dtype.str, eer, status and (status.st_mtime_ns, status.st_size))
    return (file, section, dtype.str, eer)


def _read_single(
    file: ByteSource, like: ImageFile, expected: ImageInfo, first: ByteSource, eer: EerSettings | None
) -> np.ndarray:
    image = open_image(file, like, eer=eer)
    _check_same(image.info, expected, file, first)
    return image.frame(0).astype(expected.dtype, copy=False)


def _check_same(info: ImageInfo, expected: ImageInfo, file: ByteSource, first: ByteSource) -> None:
    if info.shape[0] != 1:
        raise MixedSizesError(f"{file.uri}: a stack of {info.shape[0]} sections among micrographs; open it alone")
    if info.shape != expected.shape:
        raise MixedSizesError(
            f"{file.uri} has {info.shape[2]} x {info.shape[1]} pixels, {first.uri} has "
            f"{expected.shape[2]} x {expected.shape[1]}; open one size at a time, or sort the files by size before "
            "they are shown (open_images with check='all')"
        )
    if not np.can_cast(info.dtype, expected.dtype):
        raise FormatError(
            f"{file.uri} holds {info.dtype.name} values, {first.uri} holds {expected.dtype.name}, which cannot take "
            "them; open them apart"
        )


def distinct_names(files: Sequence[ByteSource]) -> tuple[str, ...]:
    """File names; where two folders hold the same name, with as many folders as tell them apart."""
    identities = [_identity(file) for file in files]
    if len(set(identities)) < len(files):
        seen: set[str] = set()
        twice = next(i for i, one in enumerate(identities) if one in seen or seen.add(one))  # type: ignore[func-returns-value]
        raise NothingFoundError(f"the same file was named twice: {files[twice].uri}; name each micrograph once")
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return tuple(names)
    parts = [one.replace("\\", "/").split("/") for one in identities]
    depth = 2
    while len({tuple(p[-depth:]) for p in parts}) < len(files):
        depth += 1
    return tuple("/".join(p[-depth:]) for p in parts)


def _identity(file: ByteSource) -> str:
    """What two ways of naming one file share."""
    return os.path.abspath(file.path) if isinstance(file, LocalFile) else file.uri  # noqa: PTH100  (keeps links)
