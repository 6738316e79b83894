"""MRC images: the header by 1,024 bytes, a section by one range more; and back to files.

:mod:`.mrc_header` and :mod:`.mrc_extended` know the headers. Here are the pixels: :func:`open_mrc` gives pictures
(complex values as their amplitude, 16-bit floats widened, 4-bit pixels unpacked), :func:`read_mrc` the values as they
are stored.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.errors import FormatError, PixelSizeError
from napari_empiarreader.files import ByteSource, replaced_when_complete
from napari_empiarreader.micrographs.image import ImageFile, ImageInfo, Sections
from napari_empiarreader.micrographs.mrc_extended import read_extended_header
from napari_empiarreader.micrographs.mrc_header import (
    HEADER_BYTES,
    ByteOrder,
    MrcHeader,
    may_agree_with_length,
    parse_mrc_header,
)

if TYPE_CHECKING:
    import dask.array

__all__ = [
    "HEADER_BYTES",
    "MrcFile",
    "MrcHeader",
    "open_mrc",
    "parse_mrc_header",
    "read_mrc",
    "read_mrc_header",
    "write_mrc",
]

#: A stack of images at least this large is taken for the frames of a movie, a smaller one for particles.
_SMALLEST_DETECTOR = 2048
_VOLUMES, _STACKS = (".rec", ".map"), (".st", ".ali")


class MrcFile:
    """An MRC file that is open for reading; an :class:`~napari_empiarreader.micrographs.image.ImageFile`.

    Parameters
    ----------
    source
        Its bytes.
    header
        Its header.
    info
        What is said of it.
    first
        Bytes of its first section, where they came along with the header; given up with the first frame.
    """

    def __init__(self, source: ByteSource, header: MrcHeader, info: ImageInfo, first: bytes = b"") -> None:
        self._source = source
        self._info = info
        self._first = first
        self.header = header

    @property
    def source(self) -> ByteSource:
        """Where its bytes come from."""
        return self._source

    @property
    def info(self) -> ImageInfo:
        """What the file says about itself."""
        return self._info

    def frame(self, index: int) -> np.ndarray:
        """One section ``(y, x)``, by one read of exactly its bytes; see :class:`~.image.ImageFile`.

        Complex values (transforms) come as their amplitude, 16-bit floats as 32-bit ones.

        Raises
        ------
        TruncatedFileError
            The file ends before the section does.
        IndexError
            There is no such section.
        """
        if not 0 <= index < self.header.shape[0]:
            raise IndexError(f"{self.source.uri}: there is no section {index}, it has {self.header.shape[0]}")
        first, self._first = self._first, b""
        start = self.header.data_offset + index * self.header.section_bytes
        data = first if first and index == 0 else self.source.read(start, start + self.header.section_bytes)
        return _picture(_decoded(data, self.header, 1)[0])


def open_mrc(source: ByteSource, like: ImageFile | None = None) -> MrcFile:
    """Open an MRC file by one read of 1,024 bytes, and one more where only the extended header knows.

    Parameters
    ----------
    source
        The file.
    like
        A file that this one probably resembles (its neighbour in the folder). If that holds a single section, header
        and pixels come with one read; a file that turns out different is still read right. The extended header is
        not looked at then.

    Raises
    ------
    FormatError
        It is no MRC file, or its header cannot be true.
    """
    guess = like.header.data_end if isinstance(like, MrcFile) and like.header.shape[0] == 1 else HEADER_BYTES
    data = source.read(0, max(guess, HEADER_BYTES), at_most=True)
    header = _parse(data, source)
    first = data[header.data_offset : header.data_offset + header.section_bytes]
    pixel_size, tilts = header.pixel_size, None
    if like is None and header.data_offset > HEADER_BYTES and (header.shape[0] > 1 or pixel_size is None):
        from_extended, tilts = read_extended_header(source, header)
        pixel_size = from_extended if pixel_size is None else pixel_size
    info = ImageInfo(
        shape=header.shape,
        dtype=header.shown_dtype,
        pixel_size=pixel_size,
        sections=_sections(header, source.name, tilts),
        tilts=tilts,
        warnings=header.warnings,
    )
    return MrcFile(source, header, info, first if len(first) == header.section_bytes else b"")


def read_mrc_header(source: ByteSource) -> MrcHeader:
    """Header of an MRC file, with one read of 1,024 bytes; see :func:`parse_mrc_header` for the errors."""
    return _parse(source.read(0, HEADER_BYTES, at_most=True), source)


def read_mrc(source: ByteSource, expected: MrcHeader | None = None) -> tuple[MrcHeader, np.ndarray]:
    """Header and all sections of an MRC file, the values as they are stored.

    Parameters
    ----------
    source
        The file.
    expected
        A header that the file probably has (that of its neighbour in the folder). Then header and pixels come with
        one read instead of two; a file that turns out different is still read right.

    Returns
    -------
    header, sections
        ``sections`` has shape ``(sections, y, x)`` and the byte order of this machine.

    Raises
    ------
    FormatError, TruncatedFileError
        The header is no MRC header, or the file is shorter than its header says.
    """
    guess = expected.data_end if expected else HEADER_BYTES
    data = source.read(0, guess, at_most=True)
    header = _parse(data, source)
    if header.data_end > len(data):
        # No `at_most`: a file that ends before its header says raises here, with both numbers.
        data = data + source.read(len(data), header.data_end)
    pixels = memoryview(data)[header.data_offset : header.data_end]
    return header, _decoded(pixels, header, header.shape[0])


def _parse(data: bytes, source: ByteSource) -> MrcHeader:
    head = data[:HEADER_BYTES]
    try:
        return parse_mrc_header(head, source.uri)
    except FormatError:
        if len(head) < HEADER_BYTES or not may_agree_with_length(head):
            raise
        # Only a header that cannot stand alone costs the question for the file's length.
        return parse_mrc_header(head, source.uri, source.size())


def _decoded(data: bytes | memoryview, header: MrcHeader, sections: int) -> np.ndarray:
    """Values ``(sections, y, x)`` as stored, in this machine's byte order."""
    shape = (sections, *header.shape[1:])
    if header.packed:
        rows = np.frombuffer(data, np.uint8).reshape(sections, shape[1], (shape[2] + 1) // 2)
        # The left pixel of a pair is in the lower four bits; a row of odd length ends with an unused half byte.
        return np.stack((rows & 15, rows >> 4), axis=-1).reshape(sections, shape[1], -1)[..., : shape[2]]
    if header.mode == 3:
        parts = np.frombuffer(data, np.dtype(np.int16).newbyteorder(_order(header))).reshape(*shape, 2)
        return parts.astype(np.float32).view(np.complex64)[..., 0]
    pixels = np.frombuffer(data, header.dtype, count=math.prod(shape)).reshape(shape)
    return pixels.astype(header.dtype.newbyteorder("="), copy=False)


def _order(header: MrcHeader) -> ByteOrder:
    return "<" if header.dtype == header.dtype.newbyteorder("<") else ">"


def _picture(section: np.ndarray) -> np.ndarray:
    """Values that can be shown, in memory of their own."""
    if section.dtype.kind == "c":
        return np.abs(section)
    if section.dtype == np.float16:
        return section.astype(np.float32)
    # A view would keep the file's bytes alive unseen by the bound of the cache.
    return np.array(section)


def _sections(header: MrcHeader, name: str, tilts: tuple[float, ...] | None) -> Sections:
    """What the first axis counts, by the name and the header; programs often mark movies as volumes."""
    name = name.lower().removesuffix(".gz").removesuffix(".bz2")
    sections, height, width = header.shape
    if sections == 1:
        return "stack"
    if name.endswith(_VOLUMES) or (header.is_volume and not name.endswith((*_STACKS, ".mrcs"))):
        return "volume"
    if tilts is not None or name.endswith(_STACKS):
        return "stack"
    return "frames" if max(height, width) >= _SMALLEST_DETECTOR else "stack"


def write_mrc(
    path: str | os.PathLike[str],
    image: np.ndarray | dask.array.Array,
    pixel_size: float | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write one image ``(y, x)`` or a stack ``(n, y, x)`` as MRC.

    Parameters
    ----------
    path
        File to make.
    image
        Values, lazy or not; a stack is computed and written one section at a time. Types that MRC lacks are widened
        (bool to int8, uint8 to uint16, 32 and 64 bit integers and 64 bit floats to 32 bit floats).
    pixel_size
        Å per pixel for the header; None leaves it unknown.
    overwrite
        Replace an existing file.

    Raises
    ------
    FormatError
        The array has neither two nor three dimensions, no pixels, or values that MRC cannot hold.
    PixelSizeError
        The pixel size is not a positive number.
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    """
    import mrcfile
    from mrcfile.utils import mode_from_dtype

    if image.ndim not in (2, 3) or 0 in image.shape:
        raise FormatError(f"{path}: an MRC file holds 2 or 3 dimensions with pixels, not shape {image.shape}")
    if pixel_size is not None and not (math.isfinite(pixel_size) and pixel_size > 0):
        raise PixelSizeError(f"{path}: a pixel size of {pixel_size} Å is impossible; give a positive number")
    try:
        mode = mode_from_dtype(_storable(np.empty(0, image.dtype)).dtype)
    except ValueError as error:
        raise FormatError(
            f"{path}: an MRC file cannot hold values of type {image.dtype}; convert them first"
        ) from error
    with (
        replaced_when_complete(path, overwrite=overwrite) as temporary,
        mrcfile.new_mmap(temporary, image.shape, mode, overwrite=True) as mrc,
    ):
        if image.ndim == 3:
            mrc.set_image_stack()
            for i in range(image.shape[0]):
                mrc.data[i] = _storable(np.asarray(image[i]))
        else:
            mrc.data[:] = _storable(np.asarray(image))
        mrc.voxel_size = pixel_size or 0.0
        mrc.update_header_stats()


def _storable(image: np.ndarray) -> np.ndarray:
    if image.dtype.kind == "b":
        return image.astype(np.int8)
    if image.dtype == np.uint8:
        return image.astype(np.uint16)
    if image.dtype.kind in "iu" and image.dtype.itemsize > 2 or image.dtype == np.float64:
        return image.astype(np.float32)
    return image
