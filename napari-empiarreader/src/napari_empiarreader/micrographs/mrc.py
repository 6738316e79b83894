"""MRC images: the header by 1,024 bytes, the pixels by one range more; and back to files.

Specification: MRC2014 (Cheng et al., J. Struct. Biol. 192, 146, 2015). Byte layout and modes come from the
``mrcfile`` package; this module adds reading from any :class:`~napari_empiarreader.files.ByteSource` and refuses
headers whose sizes cannot be true, before any memory is asked for.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.errors import FormatError, PixelSizeError
from napari_empiarreader.files import ByteSource, replaced_when_complete

if TYPE_CHECKING:
    import dask.array

__all__ = ["HEADER_BYTES", "MrcHeader", "parse_mrc_header", "read_mrc", "read_mrc_header", "write_mrc"]

HEADER_BYTES = 1024

#: The largest side and number of sections believed; the largest detectors have 11,520 pixels a side.
_LARGEST_SIDE = 1 << 17
_LARGEST_EXTENDED_HEADER = 1 << 28


@dataclass(frozen=True)
class MrcHeader:
    """What an MRC header says about its images.

    Attributes
    ----------
    shape
        ``(sections, y, x)``.
    dtype
        Type and byte order of one pixel as stored.
    pixel_size
        Å per pixel along x, or None where the header does not say (0, or the same number for every cell length
        left at its default of 1).
    data_offset
        Byte at which the first section starts.
    is_volume
        Whether the sections are a volume rather than a stack of images.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    pixel_size: float | None
    data_offset: int
    is_volume: bool

    @property
    def section_bytes(self) -> int:
        """Bytes of one section."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    @property
    def data_end(self) -> int:
        """Byte after the last pixel: the length the file must at least have."""
        return self.data_offset + self.shape[0] * self.section_bytes


def parse_mrc_header(data: bytes, uri: str) -> MrcHeader:
    """Header of an MRC file from its first 1,024 bytes.

    Parameters
    ----------
    data
        The first :data:`HEADER_BYTES` bytes of the file.
    uri
        Where they came from, for messages.

    Raises
    ------
    FormatError
        Not an MRC file, an unknown pixel type, or sizes that cannot be true.
    """
    from mrcfile.dtypes import HEADER_DTYPE
    from mrcfile.utils import dtype_from_mode

    if len(data) < HEADER_BYTES:
        raise FormatError(
            f"{uri}: {len(data)} bytes are too few for an MRC header (1,024); the file is damaged or empty"
        )
    record = np.frombuffer(data, HEADER_DTYPE, count=1)[0]
    if record["map"][:3] != b"MAP":
        start = data[:64].lstrip().lower()
        kind = "a web page" if start.startswith((b"<!doc", b"<html")) else "no MRC file"
        raise FormatError(f"{uri}: {kind} (the letters 'MAP' are missing at byte 208); choose an MRC image")
    # The machine stamp is often wrong; a mode is believable in one byte order only, and mode 0 by its sizes.
    mode, swapped = int(record["mode"]), record.view(record.dtype.newbyteorder())
    if not 0 <= mode < 256 or (mode == 0 and not _has_believable_sizes(record) and _has_believable_sizes(swapped)):
        record = swapped
    byte_order = "=" if record.dtype.isnative else ">" if np.little_endian else "<"
    mode = int(record["mode"])
    try:
        dtype = dtype_from_mode(mode).newbyteorder(byte_order)
    except ValueError as error:
        raise FormatError(
            f"{uri}: MRC mode {mode} is not supported; convert the file to mode 0, 1, 2, 4, 6 or 12"
        ) from error
    shape = int(record["nz"]), int(record["ny"]), int(record["nx"])
    extended = int(record["nsymbt"])
    if not _has_believable_sizes(record):
        raise FormatError(
            f"{uri}: the header claims {shape[2]} x {shape[1]} pixels, {shape[0]} sections and {extended} bytes of "
            "extended header, which cannot be true; the file is damaged"
        )
    return MrcHeader(
        shape=shape,
        dtype=dtype,
        pixel_size=_pixel_size(record),
        data_offset=HEADER_BYTES + extended,
        is_volume=int(record["ispg"]) == 1 and shape[0] > 1,
    )


def _has_believable_sizes(record: np.void) -> bool:
    sides = all(1 <= int(record[side]) <= _LARGEST_SIDE for side in ("nx", "ny", "nz"))
    return sides and 0 <= int(record["nsymbt"]) <= _LARGEST_EXTENDED_HEADER


def _pixel_size(record: np.void) -> float | None:
    length, samples = float(record["cella"]["x"]), int(record["mx"])
    if not math.isfinite(length) or length <= 0 or samples <= 0:
        return None
    pixel_size = length / samples
    # 1.0 exactly is what programs write when they do not know.
    return None if pixel_size == 1.0 or not 1e-3 < pixel_size < 1e4 else round(pixel_size, 6)


def read_mrc_header(source: ByteSource) -> MrcHeader:
    """Header of an MRC file, with one read of 1,024 bytes; see :func:`parse_mrc_header` for the errors."""
    return parse_mrc_header(source.read(0, HEADER_BYTES, at_most=True), source.uri)


def read_mrc(source: ByteSource, expected: MrcHeader | None = None) -> tuple[MrcHeader, np.ndarray]:
    """Header and all sections of an MRC file.

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
    header = parse_mrc_header(data[:HEADER_BYTES], source.uri)
    if header.data_end > len(data):
        # No `at_most`: a file that ends before its header says raises here, with both numbers.
        data = data + source.read(len(data), header.data_end)
    pixels = np.frombuffer(data, header.dtype, count=math.prod(header.shape), offset=header.data_offset)
    return header, pixels.reshape(header.shape).astype(header.dtype.newbyteorder("="), copy=False)


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
