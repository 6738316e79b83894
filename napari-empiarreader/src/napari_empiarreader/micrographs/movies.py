"""Many movies (or volumes) as one lazy thing: names, sizes, and one frame at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_empiarreader.errors import FormatError, MixedSizesError
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs.cache import shared_cache
from napari_empiarreader.micrographs.formats import COMPRESSED_SUFFIXES, EerSettings, open_image
from napari_empiarreader.micrographs.image import ImageFile, Sections
from napari_empiarreader.micrographs.series import (
    MicrographSeries,
    check_pixel_size,
    distinct_names,
    image_key,
    required_pixel_size,
)

if TYPE_CHECKING:
    import dask.array

__all__ = ["FrameCorrection", "MovieSeries", "movie_files"]

#: Files whose headers and directories are kept; those of a long TIFF movie cost many requests.
_KEPT_OPEN = 32
#: The same of compressed files, each of which is unpacked into a temporary file.
_KEPT_UNPACKED = 3


class FrameCorrection(Protocol):
    """What is done to each frame before it is summed, for example :class:`~.gain.GainReference`."""

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """The corrected frame ``(y, x)``, float32, of the same size."""
        ...


@dataclass(frozen=True)
class MovieSeries:
    """Movies of one size and number of frames, read one frame at a time; or volumes, one section at a time.

    Attributes
    ----------
    names
        Name of each movie, as other programs would write it (``file.tif``).
    shape
        ``(frames, y, x)`` of every movie, in pixels.
    dtype
        Type of a pixel.
    pixel_size
        Å per pixel, or None where nobody said.
    reader
        Function from the indices of movie and frame to a frame ``(y, x)``, kept in the shared cache; called from any
        thread.
    source
        Where they came from, for people and for provenance.
    sections
        What the second axis counts: "frames" of a movie, images of a "stack", or sections of a "volume" along z.
    passing
        As ``reader``, for frames that are needed once and not kept; ``reader`` if None.
    """

    names: tuple[str, ...]
    shape: tuple[int, int, int]
    dtype: np.dtype
    pixel_size: float | None
    reader: Callable[[int, int], np.ndarray] = field(repr=False)
    source: str = ""
    sections: Sections = "frames"
    passing: Callable[[int, int], np.ndarray] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __post_init__(self) -> None:
        check_pixel_size(self.pixel_size)

    @classmethod
    def from_array(
        cls, array: np.ndarray | dask.array.Array, names: Sequence[str] | None = None, pixel_size: float | None = None
    ) -> MovieSeries:
        """Series from an array ``(movie, frame, y, x)`` or ``(frame, y, x)``, lazy or not."""
        if array.ndim == 3:
            array = array[None]
        if array.ndim != 4 or 0 in array.shape:
            raise FormatError(f"movies are (movie, frame, y, x) or (frame, y, x) with pixels, not shape {array.shape}")
        names = tuple(names) if names is not None else tuple(f"movie_{i:04d}" for i in range(len(array)))
        if len(names) != len(array):
            raise FormatError(f"{len(names)} names for {len(array)} movies; give one name each")
        frames, height, width = (int(side) for side in array.shape[1:])

        def read(index: int, frame: int) -> np.ndarray:
            return np.asarray(array[index, frame])

        return cls(names, (frames, height, width), np.dtype(array.dtype), pixel_size, read, "array")

    def read(self, index: int, frame: int) -> np.ndarray:
        """One frame ``(y, x)``; shared, and therefore read-only."""
        return self.reader(index, frame)

    def with_pixel_size(self, pixel_size: float | None) -> MovieSeries:
        """The same movies with another pixel size in Å; None leaves the one they have."""
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
        """Lazy array ``(movie, frame, y, x)``, one chunk per frame; nothing is read until a chunk is computed."""
        import uuid

        import dask.array as da

        def block(block_id: tuple[int, ...]) -> np.ndarray:
            return self.reader(block_id[0], block_id[1])[None, None]

        frames, height, width = self.shape
        # The place of a block, not dask's full account of it, which is made for every block beforehand.
        return da.map_blocks(
            block,
            chunks=((1,) * len(self), (1,) * frames, (height,), (width,)),
            dtype=self.dtype,
            meta=np.empty((0, 0, 0, 0), self.dtype),
            # A name of our own: dask would otherwise hash the reader, and with it every pixel of an array in memory.
            name=f"movies-{uuid.uuid4().hex}",
        )

    def summed(self, gain: FrameCorrection | None = None) -> MicrographSeries:
        """Micrographs that are the sums of the frames, float32, each made when it is first asked for.

        Parameters
        ----------
        gain
            Corrects each frame before it is added; :class:`~.gain.GainReference`, for example.
        """
        token = object()

        def read(index: int) -> np.ndarray:
            return shared_cache().get((token, index), lambda: self._sum(index, gain))

        return MicrographSeries(
            self.names, self.shape[1:], np.dtype(np.float32), self.pixel_size, read, f"{self.source} (sum of frames)"
        )

    def as_micrographs(self, tilts: tuple[float, ...] | None = None) -> MicrographSeries:
        """Every section as a micrograph of its own, named ``0001@file``.

        Parameters
        ----------
        tilts
            Stage tilt of each in degrees, where known.
        """
        frames, digits = self.shape[0], len(str(self.shape[0]))
        names = tuple(f"{frame + 1:0{digits}d}@{name}" for name in self.names for frame in range(frames))

        def read(index: int) -> np.ndarray:
            return self.reader(*divmod(index, frames))

        return MicrographSeries(names, self.shape[1:], self.dtype, self.pixel_size, read, self.source, tilts)

    def _sum(self, index: int, gain: FrameCorrection | None) -> np.ndarray:
        read = self.passing or self.reader
        total = np.zeros(self.shape[1:], np.float32)
        for frame in range(self.shape[0]):
            image = read(index, frame)
            total += gain.apply(image) if gain is not None else image
        return total


def movie_files(
    files: Sequence[ByteSource],
    first: ImageFile,
    *,
    first_index: int = 0,
    pixel_size: float | None = None,
    source: str = "",
    names: Sequence[str] | None = None,
    sections: Sections | None = None,
    eer: EerSettings | None = None,
) -> MovieSeries:
    """Series of files with several sections each, all believed to be as ``first`` is until they are read.

    Parameters
    ----------
    first
        The file at ``first_index``, open.
    """
    expected = first.info
    opened = _OpenFiles(files, first, first_index, eer)

    def read(index: int, frame: int) -> np.ndarray:
        key = image_key(files[index], frame, expected.dtype, eer)
        return shared_cache().get(key, lambda: opened.get(index).frame(frame))

    def passing(index: int, frame: int) -> np.ndarray:
        kept = shared_cache().peek(image_key(files[index], frame, expected.dtype, eer))
        return opened.get(index).frame(frame) if kept is None else kept

    return MovieSeries(
        names=tuple(names) if names is not None else distinct_names(files),
        shape=expected.shape,
        dtype=expected.dtype,
        pixel_size=pixel_size if pixel_size is not None else expected.pixel_size,
        reader=read,
        source=source or first.source.uri,
        sections=sections or expected.sections,
        passing=passing,
    )


class _OpenFiles:
    """Files of one series with their headers and directories, the latest few of them; safe under threads."""

    def __init__(
        self, files: Sequence[ByteSource], first: ImageFile, first_index: int, eer: EerSettings | None
    ) -> None:
        self._files = files
        self._first = first
        self._eer = eer
        unpacked = files[first_index].name.lower().endswith(COMPRESSED_SUFFIXES)
        self._most = _KEPT_UNPACKED if unpacked else _KEPT_OPEN
        known: Future[ImageFile] = Future()
        known.set_result(first)
        self._open: OrderedDict[object, Future[ImageFile]] = OrderedDict()
        self._open[image_key(files[first_index], 0, first.info.dtype)] = known
        self._lock = threading.Lock()

    def get(self, index: int) -> ImageFile:
        """The file, opened at most once while it is among the latest; it has the size of the first.

        Raises
        ------
        MixedSizesError
            It has not.
        """
        file = self._files[index]
        # A file that was written anew is opened anew.
        key = image_key(file, 0, self._first.info.dtype)
        mine: Future[ImageFile] = Future()
        with self._lock:
            future = self._open.setdefault(key, mine)
            self._open.move_to_end(key)
            while len(self._open) > self._most:
                self._open.popitem(last=False)
        if future is not mine:
            return future.result()
        try:
            image = self._checked(open_image(file, self._first, eer=self._eer))
        except BaseException as error:
            with self._lock:
                self._open.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(image)
        return image

    def _checked(self, image: ImageFile) -> ImageFile:
        info, expected = image.info, self._first.info
        if info.shape != expected.shape or info.dtype != expected.dtype:
            raise MixedSizesError(
                f"{image.source.uri} has {_words(info.shape)} of {info.dtype.name}, {self._first.source.uri} has "
                f"{_words(expected.shape)} of {expected.dtype.name}; open it alone, or sort the files by size before "
                "they are shown (open_images with check='all')"
            )
        return image


def _words(shape: tuple[int, int, int]) -> str:
    return f"{shape[0]} frames of {shape[2]} x {shape[1]} pixels"
