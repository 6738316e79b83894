"""One page of a TIFF file: what its tags say of its pixels, checked, and its strips or tiles decoded.

Specification: TIFF 6.0 (Adobe, 1992). Decompression is imagecodecs'; every decoder is told how many bytes may come out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from napari_empiarreader.errors import FormatError, TruncatedFileError, UserError
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs._tiff_directory import ByteOrder, TagList, TiffDirectory
from napari_empiarreader.micrographs._window import read_segments

__all__ = ["EER_COMPRESSIONS", "PageLayout", "decode_page", "page_layout", "page_segments"]

EER_COMPRESSIONS = (65000, 65001, 65002)
_LARGEST_SIDE = 1 << 17
#: No lossless compression in use makes a picture smaller than this; blank pictures up to the floor are believed.
_LARGEST_RATIO, _BLANK_FLOOR = 3000, 128 << 20
#: A page that is larger than this, in at least so many segments, is decoded by several threads.
_WORTH_THREADS, _SEGMENTS_WORTH_THREADS = 4 << 20, 8

_COMPRESSIONS = {
    1: "none",
    5: "lzw",
    7: "jpeg",
    8: "zlib",
    32773: "packbits",
    32946: "zlib",
    34925: "lzma",
    50000: "zstd",
    34926: "zstd",
}
_PHOTOMETRIC = {2: "RGB colours", 5: "CMYK colours", 6: "YCbCr colours", 8: "CIE L*a*b* colours"}


@dataclass(frozen=True)
class PageLayout:
    """How a page's pixels are stored; two pages of equal layout are frames of one movie.

    Attributes
    ----------
    shape
        ``(y, x)``.
    dtype
        Type of a pixel as decoded, in the byte order of this machine.
    stored
        Type and byte order of a pixel in the file; of 8 bits where pixels are packed.
    bits
        Bits of a stored pixel.
    compression
        Number of the TIFF tag.
    predictor
        1 none, 2 horizontal differences, 3 floating point.
    is_reversed
        Bits of each byte run from the lowest.
    segment
        ``(rows, columns)`` of a strip or tile.
    is_tiled
        Tiles rather than strips.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    stored: np.dtype
    bits: int
    compression: int
    predictor: int
    is_reversed: bool
    segment: tuple[int, int]
    is_tiled: bool

    @property
    def frame_bytes(self) -> int:
        """Bytes of the decoded page."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def grid(self) -> tuple[int, int]:
        """Segments along y and x."""
        return -(-self.shape[0] // self.segment[0]), -(-self.shape[1] // self.segment[1])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a segment before compression."""
        return -(-self.segment[1] * self.bits // 8)


def page_layout(directory: TiffDirectory, page: TagList, index: int) -> PageLayout:
    """How a page is stored.

    Raises
    ------
    FormatError
        Sizes that cannot be true, colours, or something that this reader does not know.
    """
    where = f"{directory.source.uri}, page {index + 1}"
    number = partial(directory.number, page)
    width, height = number(256, 0), number(257, 0)
    compression = number(259, 1)
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise FormatError(f"{where}: {width} x {height} pixels, which cannot be true; the file is damaged")
    if compression not in _COMPRESSIONS and compression not in EER_COMPRESSIONS:
        raise FormatError(
            f"{where}: compression {compression} is not supported; save it with LZW, deflate, zstd or none"
        )
    if compression not in EER_COMPRESSIONS:
        _refuse_colours(directory, page, where)
    bits = number(258, 1)
    dtype, stored = _types(where, bits, number(339, 1), directory.byte_order)
    predictor = number(317, 1) if compression not in (1, 7, *EER_COMPRESSIONS) else 1
    if predictor not in (1, 2, 3) or (predictor > 1 and bits != stored.itemsize * 8):
        raise FormatError(f"{where}: predictor {predictor} on pixels of {bits} bits is not supported")
    if predictor == 3 and stored.kind != "f":
        raise FormatError(f"{where}: the floating point predictor on whole numbers; the file is damaged")
    is_tiled = 322 in page.entries
    rows, columns = (number(323, 0), number(322, 0)) if is_tiled else (min(number(278, height), height), width)
    layout = PageLayout(
        (height, width),
        dtype,
        stored,
        bits,
        compression,
        predictor,
        number(266, 1) == 2,
        (rows, columns),
        is_tiled,
    )
    # A tile reaches over the picture's edge, but not by far more than the picture.
    if rows < 1 or columns < 1 or rows * layout.row_bytes > 4 * layout.frame_bytes + (4 << 20):
        raise FormatError(f"{where}: strips or tiles of {columns} x {rows} pixels; the file is damaged")
    return layout


def _refuse_colours(directory: TiffDirectory, page: TagList, where: str) -> None:
    samples, photometric = directory.number(page, 277, 1), directory.number(page, 262, 1)
    if photometric in _PHOTOMETRIC or samples != 1:
        kind = _PHOTOMETRIC.get(photometric, f"{samples} values per pixel")
        raise FormatError(f"{where}: a picture with {kind}, not a micrograph; save it as greyscale")
    if photometric == 3:
        table = directory.values(page, 320)
        if table is None or table.size % 3 or not _is_grey(table.reshape(3, -1)):
            raise FormatError(f"{where}: a picture with a colour palette, not a micrograph; save it as greyscale")


def _is_grey(palette: np.ndarray) -> bool:
    same = (palette == palette[0]).all()
    return bool(same and (np.diff(palette[0].astype(np.int64)) > 0).all())


def _types(where: str, bits: int, sample_format: int, byte_order: ByteOrder) -> tuple[np.dtype, np.dtype]:
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(sample_format, "")
    if (kind in ("u", "i") and bits in (8, 16, 32, 64)) or (kind == "f" and bits in (16, 32, 64)):
        dtype = np.dtype(f"{kind}{bits // 8}")
        return dtype, dtype.newbyteorder(byte_order)
    if kind == "u" and bits in (1, 2, 4):
        return np.dtype("u1"), np.dtype("u1")
    if kind == "u" and bits in (10, 12, 14):
        return np.dtype("u2"), np.dtype("u1")
    raise FormatError(
        f"{where}: pixels of {bits} bits in sample format {sample_format} are not supported; save them as 8 or 16 bit "
        "integers or as 32 bit floats"
    )


def page_segments(directory: TiffDirectory, page: TagList, layout: PageLayout) -> tuple[list[int], list[int]]:
    """Where each strip or tile begins, and its length in bytes, in the order of the picture.

    Raises
    ------
    FormatError
        Too few of them, or lengths that cannot be true.
    """
    where = f"{directory.source.uri}, page at byte {page.offset:,}"
    first, second = (324, 325) if 324 in page.entries else (273, 279)
    starts, lengths = directory.values(page, first), directory.values(page, second)
    wanted = math.prod(layout.grid)
    uncompressed = layout.compression == 1
    if lengths is None and uncompressed and starts is not None:
        rows = [min(layout.segment[0], layout.shape[0] - i * layout.segment[0]) for i in range(layout.grid[0])]
        lengths = np.array(rows, np.int64) * layout.row_bytes
    if starts is None or lengths is None or starts.dtype.kind not in "ui" or lengths.dtype.kind not in "ui":
        raise FormatError(f"{where}: the places of its strips are missing; the file is damaged")
    if starts.size < wanted or lengths.size < wanted:
        raise FormatError(f"{where}: {min(starts.size, lengths.size):,} of {wanted:,} strips; the file is damaged")
    begin, count = starts[:wanted].tolist(), lengths[:wanted].tolist()
    stored, decoded = sum(count), layout.frame_bytes
    if min(begin) < 0 or min(count) < 0 or stored > 2 * decoded + 4096 * wanted:
        raise FormatError(f"{where}: {stored:,} bytes for {decoded:,} bytes of pixels; the file is damaged")
    if decoded > max(_BLANK_FLOOR, _LARGEST_RATIO * stored):
        raise FormatError(
            f"{where}: {layout.shape[1]} x {layout.shape[0]} pixels out of {stored:,} bytes, which cannot be true; "
            "the file is damaged"
        )
    size = directory.source.size()
    last = max((b + c for b, c in zip(begin, count, strict=True) if c), default=0)
    if last > size:
        raise TruncatedFileError(
            f"{where}: its pixels reach to byte {last:,}, the file has {size:,}; it was probably not copied whole, "
            "fetch it again"
        )
    return begin, count


def decode_page(source: ByteSource, layout: PageLayout, starts: list[int], lengths: list[int]) -> np.ndarray:
    """The pixels ``(y, x)`` of a page, with one read where its strips lie together.

    Raises
    ------
    FormatError, TruncatedFileError
        The pixels are damaged or missing.
    """
    pieces = read_segments(source, starts, lengths)
    image = np.zeros(layout.shape, layout.dtype)

    def put(i: int) -> None:
        if not pieces[i]:
            return  # a strip that was never written counts as zeros (sparse files)
        row, column = (i // layout.grid[1]) * layout.segment[0], (i % layout.grid[1]) * layout.segment[1]
        rows = min(layout.segment[0], layout.shape[0] - row)
        columns = min(layout.segment[1], layout.shape[1] - column)
        where = f"{source.uri}, {'tile' if layout.is_tiled else 'strip'} {i + 1}"
        block = _decode_segment(where, layout, pieces[i], rows)
        image[row : row + rows, column : column + columns] = block[:rows, :columns]
        pieces[i] = b""

    threads = min(4, os.cpu_count() or 1)
    if layout.frame_bytes < _WORTH_THREADS or len(pieces) < _SEGMENTS_WORTH_THREADS or threads == 1:
        for i in range(len(pieces)):
            put(i)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(put, range(len(pieces)), chunksize=max(1, len(pieces) // (4 * threads))))
    return image


def _decode_segment(where: str, layout: PageLayout, data: bytes, rows: int) -> np.ndarray:
    try:
        return _decoded(where, layout, data, rows)
    except UserError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        raise FormatError(f"{where}: cannot be decoded ({error}); the file is damaged, fetch it again") from error


def _decoded(where: str, layout: PageLayout, data: bytes, rows: int) -> np.ndarray:
    import imagecodecs

    if layout.is_reversed and layout.compression != 7:
        data = imagecodecs.bitorder_decode(data)
    if layout.compression == 7:
        # The array given for the result keeps a hostile picture from asking for another size.
        shape = (layout.segment[0] if layout.is_tiled else rows, layout.segment[1])
        return imagecodecs.jpeg8_decode(data, out=np.empty(shape, layout.dtype))
    needed, full = rows * layout.row_bytes, layout.segment[0] * layout.row_bytes
    raw = data if layout.compression == 1 else _decompress(layout.compression)(data, out=full)
    if len(raw) < needed:
        raise FormatError(f"{where}: {len(raw):,} of {needed:,} bytes of pixels; the file is damaged, fetch it again")
    packed = np.frombuffer(raw, np.uint8, count=needed).reshape(rows, layout.row_bytes)
    if layout.bits != layout.stored.itemsize * 8:
        values = imagecodecs.packints_decode(packed.tobytes(), layout.dtype.str, layout.bits, runlen=layout.segment[1])
        return values.reshape(rows, layout.segment[1])
    values = packed.view(layout.stored)
    if layout.predictor == 2:
        unsigned = layout.stored.str.replace("f", "u").replace("i", "u")
        return imagecodecs.delta_decode(values.view(unsigned), axis=-1).view(layout.stored)
    if layout.predictor == 3:
        return imagecodecs.floatpred_decode(values, axis=-1)
    return values


def _decompress(compression: int) -> Callable[..., Any]:
    import imagecodecs

    return getattr(imagecodecs, f"{_COMPRESSIONS[compression]}_decode")
