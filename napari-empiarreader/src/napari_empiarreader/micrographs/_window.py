"""Headers and directories out of few reads: small pieces are cut out of larger blocks that are remembered."""

from __future__ import annotations

from collections import OrderedDict

from napari_empiarreader.errors import TruncatedFileError
from napari_empiarreader.files import ByteSource

__all__ = ["WindowedReader", "read_segments"]

#: Blocks remembered while a directory is read.
_BLOCKS = 64


class WindowedReader:
    """Reads pieces of a file in blocks, and serves a later piece from a block it has.

    Made for the walk through a header or a directory; pixels are read past it. Safe under threads.

    Parameters
    ----------
    source
        The file.
    ahead
        Bytes to read at least, where a piece is not at hand.

    Attributes
    ----------
    size
        Length of the file, known after the first block: by then a remote file need not be asked for it.
    """

    def __init__(self, source: ByteSource, ahead: int = 8192) -> None:
        self.source = source
        self.ahead = ahead
        self.size: int | None = None
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def held(self, start: int, stop: int) -> bytes | None:
        """The piece, if a block already holds it whole."""
        for at, block in reversed(list(self._blocks.items())):
            if at <= start and stop <= at + len(block):
                return block[start - at : stop - at]
        return None

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` (exclusive).

        Raises
        ------
        TruncatedFileError
            The file ends before.
        """
        found = self.held(start, stop)
        if found is not None:
            return found
        block = self.block(start, max(stop, start + self.ahead))
        if len(block) < stop - start:
            raise TruncatedFileError(
                f"{self.source.uri}: the file ends at byte {start + len(block):,}, its directory points to "
                f"{stop:,}; it was probably not copied whole, fetch it again"
            )
        return block[: stop - start]

    def block(self, start: int, stop: int) -> bytes:
        """Read and remember what the file has of this range."""
        if self.size is not None and start >= self.size:
            return b""
        data = self.source.read(start, stop if self.size is None else min(stop, self.size), at_most=True)
        self.size = self.source.size()
        self._blocks[start] = data
        while len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)
        return data


def read_segments(source: ByteSource, starts: list[int], lengths: list[int]) -> list[bytes]:
    """Pieces of a file, neighbours with one read, and no more than a quarter of bytes that nobody asked for.

    Parameters
    ----------
    source
        The file.
    starts, lengths
        Where each piece begins and how long it is; empty pieces are not read.

    Raises
    ------
    TruncatedFileError
        The file ends before the last piece does.
    """
    wanted = sorted((start, start + length, i) for i, (start, length) in enumerate(zip(starts, lengths, strict=True)))
    wanted = [piece for piece in wanted if piece[1] > piece[0]]
    pieces = [b""] * len(starts)
    if not wanted:
        return pieces
    largest_gap = sum(stop - start for start, stop, _ in wanted) // (4 * len(wanted))
    runs: list[list[tuple[int, int, int]]] = [[wanted[0]]]
    end = wanted[0][1]
    for piece in wanted[1:]:
        if piece[0] - end > largest_gap:
            runs.append([])
        runs[-1].append(piece)
        end = max(end, piece[1])
    for run in runs:
        first, last = run[0][0], max(stop for _, stop, _ in run)
        data = source.read(first, last)
        for start, stop, i in run:
            pieces[i] = data[start - first : stop - first]
    return pieces
