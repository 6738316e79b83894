"""DM3 and DM4, the files of Gatan's DigitalMicrograph: the tags that describe the images, and one section at a time.

The format is not published by its maker; what is known is at https://www.er-c.org/cbb/info/dmformat/ (Chris Boothroyd,
after Greg Jefferis). A file is a tree of tags. An image is an array of numbers, ``ImageList[i].ImageData.Data``, beside
its ``DataType``, ``Dimensions`` (x first) and ``Calibrations``; the first of two images is a thumbnail. Sizes are
big-endian, 4 bytes in DM3 and 8 in DM4; values have the byte order that the header names. Row 0 is on top.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from napari_empiarreader.errors import FormatError, TruncatedFileError
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs._window import WindowedReader
from napari_empiarreader.micrographs.image import ImageInfo

__all__ = ["DmImage", "open_dm"]

_LARGEST_SIDE = 1 << 17
_DEEPEST, _MOST_TAGS, _MOST_NUMBERS = 32, 200_000, 512
_LONGEST_TEXT = 1 << 16

#: struct letter of each encoded type.
_TYPES = {2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "B", 9: "b", 10: "b", 11: "q", 12: "Q"}
_STRUCT, _STRING, _ARRAY = 15, 18, 20
#: numpy type of each DataType; 23 is RGB, 3 and 13 are complex.
_DATA_TYPES = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 14: "u1", 39: "i8", 40: "u8"}
#: Å per unit of a calibration.
_UNITS = {"Å": 1.0, "A": 1.0, "pm": 0.01, "nm": 10.0, "µm": 1e4, "μm": 1e4, "um": 1e4, "mm": 1e7}


@dataclass(frozen=True)
class _Array:
    """Place of an array's bytes, which are not read with the tags."""

    letter: str
    count: int
    start: int


@dataclass
class _Image:
    """What the tags say of one image."""

    data: _Array | None = None
    values: dict[str, object] = field(default_factory=dict)


class DmImage:
    """A DM3 or DM4 file that is open for reading; an :class:`~napari_empiarreader.micrographs.image.ImageFile`."""

    def __init__(self, source: ByteSource, info: ImageInfo, stored: np.dtype, start: int) -> None:
        self._source = source
        self._info = info
        self._stored = stored
        self._start = start

    @property
    def source(self) -> ByteSource:
        """Where its bytes come from."""
        return self._source

    @property
    def info(self) -> ImageInfo:
        """What the file says about itself."""
        return self._info

    def frame(self, index: int) -> np.ndarray:
        """One section ``(y, x)``, by one range.

        Raises
        ------
        TruncatedFileError
            The file ends before.
        IndexError
            There is no such section.
        """
        if not 0 <= index < self._info.shape[0]:
            raise IndexError(f"{self._source.uri}: section {index} of {self._info.shape[0]}")
        start = self._start + index * self._info.frame_bytes
        data = self._source.read(start, start + self._info.frame_bytes)
        return np.frombuffer(data, self._stored).reshape(self._info.shape[1:]).astype(self._info.dtype)


def open_dm(source: ByteSource) -> DmImage:
    """Open a DM3 or DM4 file; its tags are read, and no pixel.

    The largest image of the file is taken, which leaves out the thumbnail. Sections of three-dimensional data are
    frames of an exposure, unless the third axis is calibrated (an energy, a depth), which makes them a stack.

    Parameters
    ----------
    source
        The file.

    Raises
    ------
    FormatError, TruncatedFileError
        No such file, no image in it, complex or colour pixels, or sizes that cannot be true.
    """
    tags = _TagReader(source)
    images = tags.images()
    sized = [image for image in images if image.data is not None]
    if not sized:
        raise FormatError(f"{source.uri}: no image in this file; choose a file that DigitalMicrograph saved with one")
    image = max(sized, key=lambda image: image.data.count * struct.calcsize(image.data.letter) if image.data else 0)
    assert image.data is not None
    stored = _stored(source, image, tags.byte_order)
    shape = _shape(source, image, stored)
    pixel_size, warnings = _pixel_size(image)
    is_movie = shape[0] > 1 and not str(image.values.get("Calibrations.Dimension.2.Units", ""))
    info = ImageInfo(shape, stored.newbyteorder("="), pixel_size, "frames" if is_movie else "stack", None, warnings)
    return DmImage(source, info, stored, image.data.start)


def _stored(source: ByteSource, image: _Image, byte_order: Literal["<", ">"]) -> np.dtype:
    kind = image.values.get("DataType")
    if kind not in _DATA_TYPES:
        what = {3: "complex numbers", 13: "complex numbers", 23: "colours"}.get(_whole(kind), f"data type {kind}")
        raise FormatError(f"{source.uri}: an image of {what} is not supported; save it as real numbers")
    return np.dtype(_DATA_TYPES[_whole(kind)]).newbyteorder(byte_order)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _shape(source: ByteSource, image: _Image, stored: np.dtype) -> tuple[int, int, int]:
    sizes = [_whole(value) for key, value in image.values.items() if key.startswith("Dimensions.")]
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) not in (2, 3):
        raise FormatError(f"{source.uri}: data of {len(sizes)} dimensions; only images and stacks of images are read")
    shape = sizes[2] if len(sizes) == 3 else 1, sizes[1], sizes[0]
    assert image.data is not None
    stored_bytes = image.data.count * struct.calcsize(image.data.letter)
    if not all(1 <= side <= _LARGEST_SIDE for side in shape) or math.prod(shape) * stored.itemsize > stored_bytes:
        raise FormatError(
            f"{source.uri}: {shape[2]} x {shape[1]} pixels, {shape[0]} sections, in {stored_bytes:,} bytes, which "
            "cannot be true; the file is damaged"
        )
    return shape


def _pixel_size(image: _Image) -> tuple[float | None, tuple[str, ...]]:
    """Å per pixel along x; a diffraction pattern (1/nm) has none."""
    sizes = []
    for axis in (0, 1):
        scale = image.values.get(f"Calibrations.Dimension.{axis}.Scale")
        unit = _UNITS.get(str(image.values.get(f"Calibrations.Dimension.{axis}.Units", "")).strip())
        if unit is None or not isinstance(scale, float) or not math.isfinite(scale):
            return None, ()
        sizes.append(abs(scale) * unit)
    if not 1e-3 < sizes[0] < 1e5:
        return None, ()
    uneven = abs(sizes[0] - sizes[1]) > 0.01 * sizes[0]
    warning = f"pixels are {sizes[0]:.4g} Å wide and {sizes[1]:.4g} Å high; the width is used"
    return round(sizes[0], 6), (warning,) if uneven else ()


def _leads_to_images(path: str) -> bool:
    parts = path.split(".")
    return parts[0] == "ImageList" and (len(parts) < 3 or parts[2] == "ImageData")


class _TagReader:
    """Walks the tree of tags, and passes over the bytes of arrays."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._reader = WindowedReader(source, ahead=1 << 15)
        self._tags = 0
        head = self._reader.block(0, self._reader.ahead)[:24]
        version = int.from_bytes(head[:4], "big")
        if version not in (3, 4) or len(head) < 24:
            raise FormatError(
                f"{source.uri}: no DM3 or DM4 file (it starts with {head[:4]!r}); choose a file of DigitalMicrograph"
            )
        self._wide = version == 4
        self._size = source.size()
        at = 12 if self._wide else 8
        order = int.from_bytes(head[at : at + 4], "big")
        if order not in (0, 1):
            raise FormatError(f"{source.uri}: byte order {order} in the header of a DM file; the file is damaged")
        self.byte_order: Literal["<", ">"] = "<" if order else ">"
        self._at = at + 4

    def images(self) -> list[_Image]:
        """All images of the file, the tags beside their pixels included."""
        images: dict[str, _Image] = {}
        for path, value in self._directory("", 0, stop_after="ImageList"):
            parts = path.split(".")
            if parts[0] != "ImageList" or len(parts) < 4 or parts[2] != "ImageData":
                continue
            image = images.setdefault(parts[1], _Image())
            name = ".".join(parts[3:])
            if name == "Data" and isinstance(value, _Array):
                image.data = value
            else:
                image.values[name] = value
        return list(images.values())

    def _directory(self, path: str, depth: int, stop_after: str = "") -> Iterator[tuple[str, object]]:
        if depth > _DEEPEST:
            raise FormatError(f"{self._source.uri}: tags inside tags {depth} deep; the file is damaged")
        self._take(2)  # whether the directory is sorted, and open
        unnamed = 0
        for _ in range(self._length()):
            kind = self._take(1)[0]
            if kind == 0:
                return
            name = self._take(int.from_bytes(self._take(2), "big")).decode("utf-8", "replace").replace(".", "_")
            if not name:
                name, unnamed = str(unnamed), unnamed + 1
            within = f"{path}.{name}" if path else name
            length = self._length() if self._wide else None
            self._tags += 1
            if kind not in (20, 21) or self._tags > _MOST_TAGS:
                raise FormatError(f"{self._source.uri}: tag of kind {kind} at byte {self._at:,}; the file is damaged")
            if kind == 20 and length is not None and not _leads_to_images(within):
                self._skip(length)  # DM4 says how long a directory is, so the rest of the tree is never read
            elif kind == 20:
                yield from self._directory(within, depth + 1)
            else:
                yield within, self._value(is_image=name == "Data")
            if name == stop_after:
                return

    def _value(self, *, is_image: bool) -> object:
        if self._take(4) != b"%%%%":
            raise FormatError(f"{self._source.uri}: no tag's mark before byte {self._at:,}; the file is damaged")
        count = self._length()
        if not 1 <= count <= _MOST_NUMBERS:
            raise FormatError(f"{self._source.uri}: a tag described by {count:,} numbers; the file is damaged")
        numbers = [self._length() for _ in range(count)]
        if numbers[0] in _TYPES and count == 1:
            letter = self.byte_order + _TYPES[numbers[0]]
            return struct.unpack(letter, self._take(struct.calcsize(letter)))[0]
        if numbers[0] == _STRUCT:
            return self._skip(self._struct_bytes(numbers))
        if numbers[0] == _STRING and count == 2:
            return self._text(numbers[1] * 2) if numbers[1] * 2 <= _LONGEST_TEXT else self._skip(numbers[1] * 2)
        if numbers[0] == _ARRAY and count == 3 and numbers[1] in _TYPES:
            return self._array(_TYPES[numbers[1]], numbers[2], is_image)
        if numbers[0] == _ARRAY and count > 4 and numbers[1] == _STRUCT:
            return self._skip(self._struct_bytes(numbers[1:-1]) * numbers[-1])
        raise FormatError(f"{self._source.uri}: value of type {numbers[:3]} at byte {self._at:,}; the file is damaged")

    def _struct_bytes(self, numbers: list[int]) -> int:
        kinds = numbers[4::2]
        if len(numbers) < 3 or numbers[2] != len(kinds) or any(kind not in _TYPES for kind in kinds):
            raise FormatError(f"{self._source.uri}: a group of values at byte {self._at:,}; the file is damaged")
        return sum(struct.calcsize("=" + _TYPES[kind]) for kind in kinds)

    def _array(self, letter: str, count: int, is_image: bool) -> object:
        length = count * struct.calcsize("=" + letter)
        if letter == "H" and length <= 2048 and not is_image:  # texts are arrays of 16 bit characters
            return self._text(length)
        array = _Array("=" + letter, count, self._at)
        self._skip(length)
        return array

    def _text(self, length: int) -> str:
        return self._take(length).decode("utf-16-le" if self.byte_order == "<" else "utf-16-be", "replace")

    def _skip(self, length: int) -> object:
        """Pass over bytes; there is no value then."""
        if self._at + length > self._size:
            raise TruncatedFileError(
                f"{self._source.uri}: a tag reaches to byte {self._at + length:,}, the file has {self._size:,}; it was "
                "probably not copied whole, fetch it again"
            )
        self._at += length
        return None

    def _length(self) -> int:
        return int.from_bytes(self._take(8 if self._wide else 4), "big")

    def _take(self, length: int) -> bytes:
        data = self._reader.read(self._at, self._at + length)
        self._at += length
        return data
