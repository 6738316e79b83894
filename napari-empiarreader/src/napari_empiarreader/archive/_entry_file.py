"""How one entry of the cache lies on the disk: a checked header line, then the bytes, with a digest for every block.

A part of an entry is read without reading the rest, and nothing is believed that its digest does not confirm.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["DamagedEntryError", "Header", "packed_header", "read_header", "read_part"]

_MAGIC = b"empiar-cache-1"
_BLOCK = 1 << 18
_LONGEST_HEADER = 1 << 24


class DamagedEntryError(Exception):
    """An entry is not what was written."""


@dataclass(frozen=True)
class Header:
    """What an entry holds.

    Parameters
    ----------
    url
        Where the bytes came from.
    start, stop
        Which bytes, ``stop`` exclusive.
    size
        Length in bytes of the whole file behind the address, when these bytes were read.
    stored
        When that was, in seconds since 1970.
    """

    url: str
    start: int
    stop: int
    size: int
    stored: float


def packed_header(header: Header, data: bytes) -> bytes:
    """The bytes that go before ``data`` in its file."""
    view = memoryview(data)
    digests = [_digest(view[at : at + _BLOCK]) for at in range(0, len(data), _BLOCK)]
    line = json.dumps({**header.__dict__, "block": _BLOCK, "digests": digests}).encode()
    return _MAGIC + b" " + hashlib.sha256(line).hexdigest().encode() + b"\n" + line + b"\n"


def read_header(path: Path) -> Header:
    """What the entry at ``path`` says it holds.

    Raises
    ------
    DamagedEntryError
        It is no entry, or not what was written.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        return _header(file)[0]


def read_part(path: Path, start: int, stop: int) -> tuple[Header, bytes]:
    """Bytes ``start`` to ``stop`` (exclusive, counted in the whole file) of the entry at ``path``; errors as above."""
    with path.open("rb") as file:
        header, block, digests = _header(file)
        if not header.start <= start <= stop <= header.stop:
            raise DamagedEntryError(f"{path}: holds bytes {header.start} to {header.stop}, not {start} to {stop}")
        first, last = (start - header.start) // block, -(-(stop - header.start) // block)
        begin, end = first * block, min(last * block, header.stop - header.start)
        file.seek(begin, os.SEEK_CUR)
        data = file.read(end - begin)
    if len(data) != end - begin:
        raise DamagedEntryError(f"{path}: is cut short")
    view = memoryview(data)
    for i, digest in enumerate(digests[first:last]):
        if _digest(view[i * block : (i + 1) * block]) != digest:
            raise DamagedEntryError(f"{path}: block {first + i} is not what was written")
    offset = start - header.start - begin
    return header, data if offset == 0 and stop - start == len(data) else data[offset : offset + stop - start]


def _header(file: BinaryIO) -> tuple[Header, int, list[str]]:
    magic, _, digest = file.readline(len(_MAGIC) + 80).rstrip(b"\n").partition(b" ")
    line = file.readline(_LONGEST_HEADER).rstrip(b"\n") if magic == _MAGIC else b""
    if magic != _MAGIC or hashlib.sha256(line).hexdigest().encode() != digest:
        raise DamagedEntryError(f"{file.name}: is no entry of the cache, or damaged")
    told: dict[str, Any] = json.loads(line)  # as it was written: the digest is right
    block, digests = told.pop("block"), told.pop("digests")
    header = Header(**told)
    if os.fstat(file.fileno()).st_size != file.tell() + header.stop - header.start:
        raise DamagedEntryError(f"{file.name}: is cut short, or too long")
    return header, block, digests


def _digest(block: memoryview) -> str:
    return hashlib.sha256(block).hexdigest()[:32]
