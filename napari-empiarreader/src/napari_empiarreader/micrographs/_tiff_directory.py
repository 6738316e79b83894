"""The directory of a TIFF or BigTIFF file: every page's tags, with about one small read per page.

Specification: TIFF 6.0 (Adobe, 1992), section 2, and the BigTIFF design (Aldus forum, 2004). The directory is a chain:
each page's list of tags ends with the place of the next list. Writers of movies (libtiff in SerialEM, EPU and RELION)
put each list behind its page's data, so the chain runs through the whole file. One read of a block that also holds the
table of strips behind the list is the least such a page costs. A long chain of a remote file is walked from several
places at once: lists look alike, so they are found by their first bytes near where they are expected; the chain from
the first page then decides which of them count.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_empiarreader.errors import FormatError, TruncatedFileError, UserError
from napari_empiarreader.files import ByteSource, LocalFile
from napari_empiarreader.micrographs._window import WindowedReader

__all__ = ["ByteOrder", "Entry", "TagList", "TiffDirectory"]

#: numpy type of each TIFF field type; 5 and 10 are fractions of two numbers.
_FIELD_TYPES = {
    1: "u1",
    2: "S1",
    3: "u2",
    4: "u4",
    5: "u4",
    6: "i1",
    7: "S1",
    8: "i2",
    9: "i4",
    10: "i4",
    11: "f4",
    12: "f8",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_FRACTIONS = (5, 10)

ByteOrder = Literal["<", ">"]
_BYTE_ORDERS: dict[bytes, ByteOrder] = {b"II": "<", b"MM": ">"}

_MOST_TAGS = 4096
_MOST_PAGES = 200_000
_MOST_VALUES = 1 << 22
_SMALLEST_BLOCK, _LARGEST_BLOCK = 512, 1 << 20

_LANES = 16
#: Bytes that are looked through for a list of tags near where one is expected.
_SEARCHED = 1 << 18


@dataclass(frozen=True)
class Entry:
    """One tag: type and number of its values, and where they are in the file."""

    kind: int
    count: int
    position: int

    @property
    def length(self) -> int:
        """Bytes of all values."""
        fields = 2 if self.kind in _FRACTIONS else 1
        return self.count * fields * np.dtype(_FIELD_TYPES[self.kind]).itemsize


@dataclass(frozen=True)
class TagList:
    """Tags of one page.

    Attributes
    ----------
    offset
        Where the list is in the file.
    next_offset
        Where the next page's list is, or 0.
    entries
        Tags by their number.
    values
        Values of those tags that came with the list's block.
    prefix
        First bytes of the list, up to the tags that differ from page to page.
    """

    offset: int
    next_offset: int
    entries: Mapping[int, Entry]
    values: Mapping[int, np.ndarray]
    prefix: bytes


class TiffDirectory:
    """All pages of a TIFF file; reads the whole chain when it is made, and single values later.

    Parameters
    ----------
    source
        The file.

    Raises
    ------
    FormatError, TruncatedFileError
        Not a TIFF file, a chain that runs in a circle or into nowhere.
    """

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self._reader = WindowedReader(source)
        self._known: dict[int, TagList] = {}
        self.byte_order, self.is_big, first = self._header(self._reader.block(0, self._reader.ahead)[:64])
        self._size = source.size()
        self.pages = self._walk(first)

    def values(self, page: TagList, tag: int) -> np.ndarray | None:
        """Values of a tag, or None where the page has no such tag.

        Text and undefined bytes come as one ``bytes`` item; fractions as floats.
        """
        if tag not in page.entries:
            return None
        if tag in page.values:
            return page.values[tag]
        entry = page.entries[tag]
        self._check(page, tag, entry)
        return self._decode(entry, self._reader.read(entry.position, entry.position + entry.length))

    def number(self, page: TagList, tag: int, default: int) -> int:
        """First value of a tag as a whole number."""
        values = self.values(page, tag)
        if values is None or values.size == 0 or values.dtype.kind not in "ui":
            return default
        return int(values.flat[0])

    def text(self, page: TagList, tag: int, limit: int = 1 << 20) -> str:
        """Text of a tag, or "" where there is none or more than ``limit`` bytes of it."""
        if tag not in page.entries or page.entries[tag].length > limit:
            return ""
        values = self.values(page, tag)
        if values is None or values.dtype.kind not in "Su":
            return ""
        return values.tobytes().split(b"\0")[0].decode("utf-8", "replace")

    def _header(self, head: bytes) -> tuple[ByteOrder, bool, int]:
        order = _BYTE_ORDERS.get(head[:2])
        version = struct.unpack_from(f"{order}H", head, 2)[0] if order and len(head) >= 8 else 0
        if order and version == 42:
            return order, False, int(struct.unpack_from(f"{order}I", head, 4)[0])
        if order and version == 43 and len(head) >= 16 and struct.unpack_from(f"{order}HH", head, 4) == (8, 0):
            return order, True, int(struct.unpack_from(f"{order}Q", head, 8)[0])
        kind = "a web page" if head.lstrip().lower().startswith((b"<!doc", b"<html")) else "no TIFF file"
        raise FormatError(f"{self.source.uri}: {kind} (it starts with {head[:4]!r}); choose a TIFF image")

    # ---- the chain -------------------------------------------------------------------------------------------

    def _walk(self, first: int) -> tuple[TagList, ...]:
        pages: list[TagList] = []
        seen: set[int] = set()
        offset = first
        while offset:
            if offset in seen or len(pages) >= _MOST_PAGES:
                raise FormatError(
                    f"{self.source.uri}: the chain of pages does not end (page {len(pages) + 1} at byte {offset:,} "
                    "again); the file is damaged"
                )
            seen.add(offset)
            pages.append(self._known[offset] if offset in self._known else self._parse(offset))
            offset = pages[-1].next_offset
            if len(pages) == 3 and offset and not isinstance(self.source, LocalFile):
                self._look_ahead(pages[1], pages[2])
        self._known.clear()
        if not pages:
            raise FormatError(f"{self.source.uri}: a TIFF file without pages; it was probably not written to its end")
        return tuple(pages)

    def _look_ahead(self, second: TagList, third: TagList) -> None:
        """Walk the rest of a long chain from several places at once, into ``_known``."""
        stride = third.offset - second.offset
        left = (self._size - third.offset) // stride if stride > 0 else 0
        if second.prefix != third.prefix:
            return
        lanes = min(_LANES, left // 8)
        if lanes < 2:
            return
        first = third.next_offset
        places = [first + (self._size - first) * i // lanes for i in range(lanes)]
        # Whole strides from the first: exact where all pages have one length, near where they nearly have.
        places = [first + round((place - first) / stride) * stride for place in places]
        # Over a long chain the expected places drift by up to a page; a short chain is not worth that many bytes.
        width = min(_SEARCHED, max(4096, stride // 4 if left < 200 else stride + stride // 4))
        with ThreadPoolExecutor(lanes) as pool:
            starts = [first, *pool.map(lambda place: self._find(place - width // 2, width, third.prefix), places[1:])]
            ends = [next((s for s in starts[i + 1 :] if s), self._size) for i in range(lanes)]
            list(pool.map(self._walk_lane, starts, ends))

    def _find(self, start: int, width: int, prefix: bytes) -> int:
        """Place of something that looks like a list of tags, or 0."""
        try:
            at = self._reader.block(max(0, start), max(0, start) + width).find(prefix)
        except UserError:
            return 0
        return max(0, start) + at if at >= 0 else 0

    def _walk_lane(self, offset: int, end: int) -> None:
        try:
            while offset and offset < end and offset not in self._known and len(self._known) < _MOST_PAGES:
                self._known[offset] = self._parse(offset)
                offset = self._known[offset].next_offset
        except UserError:
            return  # what only looked like a list is nobody's error; a true one is read again by the chain

    def _parse(self, offset: int) -> TagList:
        counter, entry_bytes, pointer = ("Q", 20, "Q") if self.is_big else ("H", 12, "I")
        head = struct.calcsize(counter)
        try:
            count = struct.unpack(self.byte_order + counter, self._reader.read(offset, offset + head))[0]
            if not 1 <= count <= _MOST_TAGS:
                raise FormatError(
                    f"{self.source.uri}: {count:,} tags for the page at byte {offset:,}, which cannot be true; "
                    "the file is damaged"
                )
            end = offset + head + count * entry_bytes + struct.calcsize(pointer)
            raw = self._reader.read(offset, end)
        except TruncatedFileError as error:
            raise TruncatedFileError(
                f"{self.source.uri}: a page is said to be at byte {offset:,}, the file has {self._size:,}; it was "
                "probably not copied whole, fetch it again"
            ) from error
        entries, prefix = self._entries(raw, offset, head, entry_bytes, count)
        following = int(struct.unpack_from(self.byte_order + pointer, raw, len(raw) - struct.calcsize(pointer))[0])
        self._expect(offset, end, entries)
        values = {}
        for tag, entry in entries.items():
            data = None
            if 0 < entry.count <= _MOST_VALUES:
                data = self._reader.held(entry.position, entry.position + entry.length)
            if data is not None:
                values[tag] = self._decode(entry, data)
        return TagList(offset, following, entries, values, prefix)

    def _entries(
        self, raw: bytes, offset: int, head: int, entry_bytes: int, count: int
    ) -> tuple[dict[int, Entry], bytes]:
        entries: dict[int, Entry] = {}
        inline, layout = (8, "HHQ") if self.is_big else (4, "HHI")
        same = head
        for i in range(count):
            at = head + i * entry_bytes
            tag, kind, number = struct.unpack_from(self.byte_order + layout, raw, at)
            if tag < 270:  # sizes and types; from the description on, pages differ
                same = at + entry_bytes
            if kind not in _FIELD_TYPES or tag in entries:
                continue  # unknown field types are to be ignored (TIFF 6.0, section 2)
            place = at + entry_bytes - inline
            entry = Entry(kind, number, offset + place)
            if entry.length > inline:
                pointer = struct.unpack_from(self.byte_order + ("Q" if self.is_big else "I"), raw, place)[0]
                entry = Entry(kind, number, pointer)
            entries[tag] = entry
        return entries, raw[:same]

    def _expect(self, offset: int, end: int, entries: Mapping[int, Entry]) -> None:
        """Let the next block be as long as this page's list and tables were."""
        near = [e.position + e.length for e in entries.values() if end <= e.position < end + _LARGEST_BLOCK]
        extent = max([end, *(stop for stop in near if stop - offset <= _LARGEST_BLOCK)]) - offset
        self._reader.ahead = max(_SMALLEST_BLOCK, min(_LARGEST_BLOCK, extent + extent // 8))

    # ---- values ----------------------------------------------------------------------------------------------

    def _check(self, page: TagList, tag: int, entry: Entry) -> None:
        if entry.count > _MOST_VALUES:
            raise FormatError(
                f"{self.source.uri}: {entry.count:,} values for tag {tag} of the page at byte {page.offset:,}, which "
                "cannot be true; the file is damaged"
            )

    def _decode(self, entry: Entry, data: bytes) -> np.ndarray:
        dtype = np.dtype(_FIELD_TYPES[entry.kind]).newbyteorder(self.byte_order)
        if dtype.kind == "S":
            return np.frombuffer(data, "u1")
        values = np.frombuffer(data, dtype)
        if entry.kind in _FRACTIONS:
            with np.errstate(divide="ignore", invalid="ignore"):
                return values[::2].astype(np.float64) / values[1::2]
        return values.astype(dtype.newbyteorder("="))
