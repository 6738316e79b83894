"""The first 1,024 bytes of an MRC file, as programs of thirty years have written them.

Specification: MRC2014 (Cheng et al., J. Struct. Biol. 192, 146, 2015), with what IMOD and SerialEM add to it
(https://bio3d.colorado.edu/imod/doc/mrc_format.txt): bytes without sign, and two 4-bit pixels in one byte, as mode 101
or as a byte file of half the width. Sizes that cannot be true are refused here, before any memory is asked for.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from napari_empiarreader.errors import FormatError

__all__ = ["HEADER_BYTES", "MrcHeader", "may_agree_with_length", "parse_mrc_header"]

HEADER_BYTES = 1024

ByteOrder = Literal["<", ">"]
_ORDERS: tuple[ByteOrder, ...] = ("<", ">")

#: The largest side and number of sections believed; the largest detectors have 11,520 pixels a side.
_LARGEST_SIDE = 1 << 17
_LARGEST_EXTENDED_HEADER = 1 << 28

#: Type of a pixel by mode. Of the two that numpy cannot name, mode 3 (complex 16-bit integers) becomes complex64 and
#: mode 101 (4 bits) becomes uint8.
_TYPES = {0: "i1", 1: "i2", 2: "f4", 3: "c8", 4: "c8", 6: "u2", 12: "f2", 101: "u1"}
_IMOD_STAMP = 1146047817
_IMOD_SIGNED, _IMOD_FOUR_BITS = 1, 16

#: Super-resolution sides of the detectors whose 4-bit frames SerialEM has written as bytes of half the width.
_SUPER_RESOLUTION = ((7676, 7420), (7680, 7424), (11520, 8184))


@dataclass(frozen=True)
class MrcHeader:
    """What an MRC header says about its images.

    Attributes
    ----------
    shape
        ``(sections, y, x)``.
    dtype
        Type and byte order of one pixel as stored; uint8 for 4-bit pixels, complex64 for complex integers.
    pixel_size
        Å per pixel along x, or None where the header does not say (0, or the same number for every cell length
        left at its default of 1).
    data_offset
        Byte at which the first section starts.
    is_volume
        Whether the sections are a volume rather than a stack of images.
    mode
        Number of the pixel type in the specification.
    packed
        Whether a byte holds two pixels of 4 bits, the left one in its lower half.
    extended_type
        Kind of the extended header, four letters as written ("FEI1", "SERI"), or "".
    record
        The two numbers at bytes 128 and 130, which describe a section's record in the extended headers of SerialEM
        and Agard.
    warnings
        What is odd and was accepted.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    pixel_size: float | None
    data_offset: int
    is_volume: bool
    mode: int = 2
    packed: bool = False
    extended_type: str = ""
    record: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def section_bytes(self) -> int:
        """Bytes of one section as stored."""
        _, height, width = self.shape
        if self.packed:
            return height * ((width + 1) // 2)
        return height * width * (4 if self.mode == 3 else self.dtype.itemsize)

    @property
    def data_end(self) -> int:
        """Byte after the last pixel: the length the file must at least have."""
        return self.data_offset + self.shape[0] * self.section_bytes

    @property
    def shown_dtype(self) -> np.dtype:
        """Type of a pixel as a picture: complex values as their amplitude, 16-bit floats widened.

        Sums and means of a picture overflow in 16 bits, and viewers widen such values in any case.
        """
        return np.dtype(np.float32) if self.dtype.kind in "fc" else self.dtype.newbyteorder("=")


@dataclass(frozen=True)
class _Fields:
    """The header's numbers, read in one byte order."""

    order: ByteOrder
    size: tuple[int, int, int]
    mode: int
    sampling: tuple[int, int, int]
    cell: tuple[float, float, float]
    axes: tuple[int, int, int]
    space_group: int
    extended: int
    record: tuple[int, int]
    imod_flags: int | None

    @property
    def believable_sides(self) -> bool:
        return all(1 <= side <= _LARGEST_SIDE for side in self.size)

    @property
    def believable(self) -> bool:
        return self.believable_sides and 0 <= self.extended <= _LARGEST_EXTENDED_HEADER


def parse_mrc_header(data: bytes, uri: str, size: int | None = None) -> MrcHeader:
    """Header of an MRC file from its first 1,024 bytes.

    Parameters
    ----------
    data
        The first :data:`HEADER_BYTES` bytes of the file.
    uri
        Where they came from, for messages.
    size
        Length of the file in bytes. Where it is known and equal to what the sizes of the image need, a header without
        the letters ``MAP``, or with an impossible extended header, is accepted with a warning.

    Raises
    ------
    FormatError
        Not an MRC file, an unknown pixel type, or sizes that cannot be true.
    """
    if len(data) < HEADER_BYTES:
        raise FormatError(
            f"{uri}: {len(data)} bytes are too few for an MRC header (1,024); the file is damaged or empty"
        )
    stamped = data[208:211] == b"MAP"
    odd = _by_length(data, size) if size is not None and not _is_page(data) else None
    if not stamped and odd is None:
        kind = "a web page" if _is_page(data) else "no MRC file"
        raise FormatError(f"{uri}: {kind} (the letters 'MAP' are missing at byte 208); choose an MRC image")
    fields = _in_likely_order(data) if stamped else None
    if fields is not None and fields.mode not in _TYPES:
        raise FormatError(f"{uri}: MRC mode {fields.mode} is not supported; convert the file to mode 0, 1, 2, 6 or 12")
    if fields is not None and fields.believable:
        return _header(fields, data, uri, HEADER_BYTES + fields.extended, ())
    if odd is None:
        assert fields is not None
        raise FormatError(
            f"{uri}: the header claims {fields.size[0]} x {fields.size[1]} pixels, {fields.size[2]} sections and "
            f"{fields.extended} bytes of extended header, which cannot be true; the file is damaged"
        )
    fields, offset = odd
    what = "an impossible extended header" if stamped else "no letters 'MAP' at byte 208"
    warning = f"{uri}: the header has {what}; accepted, because its sizes agree with the file's length"
    return _header(fields, data, uri, offset, (warning,))


def _header(fields: _Fields, data: bytes, uri: str, offset: int, warnings: tuple[str, ...]) -> MrcHeader:
    width, height, sections = fields.size
    kind, packed = _TYPES[fields.mode], fields.mode == 101
    if fields.mode == 0 and fields.imod_flags is not None and not fields.imod_flags & _IMOD_SIGNED:
        kind = "u1"
    if fields.mode == 0 and _is_half_as_wide(fields, data):
        if kind != "u1" and fields.imod_flags is not None:
            raise FormatError(f"{uri}: 4-bit pixels in bytes with a sign cannot be; the header's flags are damaged")
        kind, packed, width = "u1", True, 2 * width
        warnings += (f"{uri}: two 4-bit pixels in each byte, so the image is twice as wide as the header says",)
    if sorted(fields.axes) == [1, 2, 3] and fields.axes != (1, 2, 3):
        order = ", ".join("xyz"[axis - 1] for axis in fields.axes)
        warnings += (f"{uri}: columns, rows and sections run along {order}; shown as they are stored",)
    is_stack_of_volumes = 401 <= fields.space_group <= 630
    if is_stack_of_volumes and 0 < fields.sampling[2] < sections:
        warnings += (f"{uri}: several volumes of {fields.sampling[2]} sections each; shown one behind the other",)
    return MrcHeader(
        shape=(sections, height, width),
        dtype=np.dtype(kind).newbyteorder(fields.order),
        pixel_size=_pixel_size(fields),
        data_offset=offset,
        is_volume=sections > 1 and (fields.space_group == 1 or is_stack_of_volumes),
        mode=fields.mode,
        packed=packed,
        extended_type=_letters(data[104:108]) if offset > HEADER_BYTES else "",
        record=fields.record,
        warnings=warnings,
    )


def _fields(data: bytes, order: ByteOrder) -> _Fields:
    numbers = struct.unpack_from(f"{order}10i6f3i3f2i", data)
    stamp, flags = struct.unpack_from(f"{order}2i", data, 152)
    return _Fields(
        order=order,
        size=numbers[0:3],
        mode=numbers[3],
        sampling=numbers[7:10],
        cell=numbers[10:13],
        axes=numbers[16:19],
        space_group=numbers[22],
        extended=numbers[23],
        record=struct.unpack_from(f"{order}2h", data, 128),
        imod_flags=flags if stamp == _IMOD_STAMP else None,
    )


def _in_likely_order(data: bytes) -> _Fields:
    """The machine stamp is often wrong: a mode is believable in one byte order only, and mode 0 by its sizes."""
    both = [_fields(data, order) for order in _ORDERS]
    if data[212:213] == b"\x11":
        both.reverse()
    likely = [fields for fields in both if 0 <= fields.mode < 256]
    return next((fields for fields in likely if fields.believable), likely[0] if likely else both[0])


def may_agree_with_length(data: bytes) -> bool:
    """Whether a header that cannot stand alone might be believed for a file of the right length."""
    return not _is_page(data) and any(True for _ in _possible_ends(data))


def _possible_ends(data: bytes) -> Iterator[tuple[int, _Fields, int]]:
    """Lengths that a file with these numbers may have, the numbers, and where its image would start."""
    for order in _ORDERS:
        fields = _fields(data, order)
        if fields.mode not in _TYPES or not fields.believable_sides:
            continue
        width, height, sections = fields.size
        pixels = MrcHeader(
            shape=(sections, height, width),
            dtype=np.dtype(_TYPES[fields.mode]),
            pixel_size=None,
            data_offset=0,
            is_volume=False,
            mode=fields.mode,
            packed=fields.mode == 101,
        ).data_end
        for offset in {HEADER_BYTES + fields.extended, HEADER_BYTES}:
            if HEADER_BYTES <= offset <= HEADER_BYTES + _LARGEST_EXTENDED_HEADER:
                yield offset + pixels, fields, offset


def _by_length(data: bytes, size: int) -> tuple[_Fields, int] | None:
    """The numbers whose image fills the file exactly, and where it starts; None if there are none."""
    return next(((fields, offset) for end, fields, offset in _possible_ends(data) if end == size), None)


def _is_half_as_wide(fields: _Fields, data: bytes) -> bool:
    """Whether a byte file is really one of 4-bit pixels, by the rule that IMOD goes by."""
    if fields.imod_flags is not None and fields.imod_flags & _IMOD_FOUR_BITS:
        return True
    labelled = struct.unpack_from(f"{fields.order}i", data, 220)[0] == 1 and b"4 bits packed" in data[224:304]
    width, height = 2 * fields.size[0], fields.size[1]
    return labelled and any(
        abs(width - long) <= 4 and abs(height - short) <= 2
        for sides in _SUPER_RESOLUTION
        for long, short in (sides, sides[::-1])
    )


def _pixel_size(fields: _Fields) -> float | None:
    # The cell is along x, y, z, whichever of them the columns run along.
    axis = fields.axes[0] - 1 if sorted(fields.axes) == [1, 2, 3] else 0
    length, samples = fields.cell[axis], fields.sampling[axis]
    if not math.isfinite(length) or length <= 0 or samples <= 0:
        return None
    pixel_size = length / samples
    # 1.0 exactly is what programs write when they do not know.
    return None if pixel_size == 1.0 or not 1e-3 < pixel_size < 1e4 else round(pixel_size, 6)


def _is_page(data: bytes) -> bool:
    return data[:64].lstrip().lower().startswith((b"<!doc", b"<html", b"<?xml"))


def _letters(four: bytes) -> str:
    text = four.decode("ascii", "replace").strip("\0 ")
    return text if text.isalnum() else ""
