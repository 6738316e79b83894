"""Compressed files (``.gz``, ``.bz2``, ``.xz``) as sources of bytes, unpacked only as far as somebody reads.

What was unpacked is kept in a temporary file, because these formats can only be read forwards. A header costs the
first block of the compressed file; a frame in the middle costs everything before it, once.
"""

from __future__ import annotations

import bz2
import errno
import lzma
import shutil
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable
from typing import IO, Any, Protocol

from napari_empiarreader.errors import FormatError, TruncatedFileError, UserError
from napari_empiarreader.files import ByteSource

__all__ = ["DecompressedFile", "decompressed"]

#: Bytes of the compressed file in the first read, and at most in a later one.
_FIRST_BLOCK, _LARGEST_BLOCK = 1 << 16, 1 << 23
#: Unpacked bytes in one step: what a bomb can make of memory.
_STEP = 1 << 22
#: Memory for the dictionary of an .xz file; its strongest preset needs 65 MiB.
_DICTIONARY = 1 << 27
#: Kept in memory before a file is made.
_IN_MEMORY = 1 << 22
#: No image is longer than this when unpacked.
_LONGEST = 1 << 36
#: Disk left free for others.
_LEFT_FREE = 1 << 28


class DecompressedFile:
    """The contents of a compressed file; a :class:`~napari_empiarreader.files.ByteSource`, safe under threads.

    Equal to another of the same file. Its temporary file goes when it is no longer used, or by :meth:`close`.

    Parameters
    ----------
    source
        The compressed file.
    ending
        How it is compressed: ".gz", ".bz2" or ".xz".
    """

    def __init__(self, source: ByteSource, ending: str) -> None:
        self.source = source
        self.ending = ending
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._unpacked: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (see close)
        self._closing = weakref.finalize(self, self._unpacked.close)
        self._length = 0
        self._position = 0
        self._block = _FIRST_BLOCK
        self._steps = _Steps(self.ending)
        self._ended = False
        self._fault: UserError | None = None

    def __reduce__(self) -> tuple[Callable[..., DecompressedFile], tuple[Any, ...]]:
        return DecompressedFile, (self.source, self.ending)

    def __repr__(self) -> str:
        return f"DecompressedFile({self.uri})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DecompressedFile) and (self.source, self.ending) == (other.source, other.ending)

    def __hash__(self) -> int:
        return hash((self.source, self.ending))

    @property
    def uri(self) -> str:
        """Where the compressed file is."""
        return self.source.uri

    @property
    def name(self) -> str:
        """The file's name without the ending of its compression."""
        name = self.source.name
        return name[: -len(self.ending)] if name.lower().endswith(self.ending) else name

    def read(self, start: int, stop: int, *, at_most: bool = False) -> bytes:
        """Unpacked bytes ``start`` to ``stop`` (exclusive); see :class:`~napari_empiarreader.files.ByteSource`.

        Raises
        ------
        FormatError
            The compressed bytes are damaged before ``stop``.
        TruncatedFileError
            The compressed file breaks off before ``stop``, or it ends there and ``at_most`` is false.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"{self.uri}: bytes {start} to {stop} are no range")
        with self._lock:
            self._unpack(stop)
            self._unpacked.seek(start)
            data = self._unpacked.read(max(0, min(stop, self._length) - start))
        if len(data) < stop - start and not at_most:
            raise TruncatedFileError(
                f"{self.uri}: unpacked, the file ends at byte {self._length:,}, its header promises {stop:,}; it was "
                "probably cut before it was compressed"
            )
        return data

    def size(self) -> int:
        """Length when unpacked; all of the file is unpacked for it, because no compressed file can be believed."""
        with self._lock:
            self._unpack(_LONGEST)
            return self._length

    def close(self) -> None:
        """Give up what was unpacked; the next read begins anew."""
        with self._lock:
            self._closing()
            self._begin()

    def _unpack(self, stop: int) -> None:
        """Have the bytes before ``stop``, or all there are; the error found on the way is found again each time."""
        while self._length < stop and not self._ended:
            if self._fault is not None:
                raise self._fault
            try:
                unpacked = self._next(min(max(stop - self._length, _FIRST_BLOCK), _STEP))
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
                if isinstance(error, UserError) and not isinstance(error, FormatError):
                    raise  # of the archive: the next read may have more luck
                self._fault = error if isinstance(error, FormatError) else _damaged(self.uri, error)
                raise self._fault from error
            try:
                self._unpacked.seek(self._length)
                self._unpacked.write(unpacked)
                if self._length > _IN_MEMORY and shutil.disk_usage(tempfile.gettempdir()).free < _LEFT_FREE:
                    raise OSError(errno.ENOSPC, "the disk is nearly full")
            except OSError as error:
                self._fault = UserError(
                    f"{self.uri}: no room to unpack it in {tempfile.gettempdir()} ({error.strerror}); make room there, "
                    "or set TMPDIR to a larger disk"
                )
                raise self._fault from error
            self._length += len(unpacked)
            if self._length >= _LONGEST:
                self._fault = FormatError(f"{self.uri}: unpacks to more than {_LONGEST >> 30} GiB, which is no image")

    def _next(self, most: int) -> bytes:
        if self._steps.wants_more:
            block = self.source.read(self._position, self._position + self._block, at_most=True)
            self._position += len(block)
            self._block = min(4 * self._block, _LARGEST_BLOCK)
            if not block:
                if not self._steps.may_end:
                    raise TruncatedFileError(
                        f"{self.uri}: the compressed file breaks off at byte {self._position:,}; it was probably not "
                        "copied whole, fetch it again"
                    )
                self._ended = True
                return b""
            self._steps.give(block)
        unpacked = self._steps.unpack(most)
        self._ended = self._steps.finished
        return unpacked


def decompressed(source: ByteSource, ending: str) -> DecompressedFile:
    """The contents of a compressed file; ``ending`` is ".gz", ".bz2" or ".xz"."""
    return DecompressedFile(source, ending)


def _damaged(uri: str, error: Exception) -> FormatError:
    return FormatError(f"{uri}: the compressed file is damaged ({error}); fetch it again")


class _Decompressor(Protocol):
    """What zlib, bz2 and lzma have in common after a little help."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Steps:
    """Unpacks what it is given by steps of bounded size, through as many members as follow each other."""

    def __init__(self, ending: str) -> None:
        new: dict[str, Callable[[], _Decompressor]] = {
            ".gz": lambda: zlib.decompressobj(wbits=31),
            ".bz2": bz2.BZ2Decompressor,
            ".xz": lambda: lzma.LZMADecompressor(memlimit=_DICTIONARY),
        }
        self._new = new[ending]
        self._magic = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ"}[ending]
        self._member = self._new()
        self._waiting = b""
        self._has_begun = False
        self._may_have_more = False
        self._members = 0
        self.finished = False

    @property
    def wants_more(self) -> bool:
        """Whether nothing can be unpacked without more of the file."""
        return not self._waiting and not self._may_have_more

    @property
    def may_end(self) -> bool:
        """Whether the file may end here: between two members, and not before the first."""
        return not self._has_begun and self._members > 0

    def give(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        self._waiting += block

    def unpack(self, most: int) -> bytes:
        """At most so many bytes; none where more is wanted, or the file has ended."""
        if not self._has_begun and not self._begins():
            return b""
        self._has_begun = True
        data, self._waiting = self._waiting, b""
        unpacked = self._member.decompress(data, most)
        if self._member.eof:
            self._waiting = self._member.unused_data
            self._member, self._has_begun, self._may_have_more = self._new(), False, False
            self._members += 1
        elif hasattr(self._member, "unconsumed_tail"):
            # zlib hands back what it did not look at, the others keep it.
            self._waiting = self._member.unconsumed_tail
            self._may_have_more = len(unpacked) == most
        else:
            self._may_have_more = not self._member.needs_input  # type: ignore[attr-defined]
        return unpacked

    def _begins(self) -> bool:
        """Whether a member begins; zeros between members are skipped, and what else follows the last is no matter."""
        if self._members:
            self._waiting = self._waiting.lstrip(b"\0")
            head = self._waiting[: len(self._magic)]
            if head and not self._magic.startswith(head):
                self.finished, self._waiting = True, b""
                return False
        return bool(self._waiting)
