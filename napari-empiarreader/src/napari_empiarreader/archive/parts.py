"""One range of a remote file in one buffer: by one request, and by several at a time once the line proves slow.

Where each connection has a pace of its own, as the archive's have, several together are faster; where the line is
fast, one request is. So a read begins as one, and is split only when it is known to be slow. Whatever the helping
connections do not bring goes back to the first, whose repeats and whose errors are those of an unsplit read.
"""

from __future__ import annotations

import io
import logging
import time
from contextlib import closing
from dataclasses import dataclass, field
from threading import Condition, Thread

from napari_empiarreader.archive.ranges import RangeReader
from napari_empiarreader.archive.transport import SpareTurn, spare_turns
from napari_empiarreader.errors import ArchiveError, UserError

__all__ = ["read_range"]

_LOGGER = logging.getLogger(__name__)

_LOOK_AFTER = 1.0
"""Seconds over which the pace is measured before a read is split; the next look takes twice as long."""
_PATIENCE = 3.0
"""Seconds that the rest may still take, at that pace, without being split: a new connection costs about one."""
_WORTH, _LEAST = 4 << 20, 1 << 20
"""Bytes that must be left for a range to be split, and the least that one connection is asked for."""
_SILENT = 2.0
"""Seconds after which another connection is asked for what a silent one owes; the archive answers 90 % within them."""


def read_range(reader: RangeReader, start: int, stop: int, *, at_most: bool = False) -> bytes:
    """Bytes ``start`` to ``stop`` (exclusive) of a file.

    By one request where nothing fails and the line is fast, or ``split_slow_reads`` is off in the reader's settings;
    else by up to ``connections`` at a time, as many as nobody else uses or waits for.

    Parameters
    ----------
    at_most
        The end of the file may come before ``stop``.

    Raises
    ------
    TruncatedFileError
        The file ends before ``stop``, or the server sent less than it promised.
    ArchiveError
        The range does not fit into memory; else as :meth:`~napari_empiarreader.archive.ranges.RangeReader.pieces`.
    """
    return _Read(reader, start, stop, at_most).run()


@dataclass(eq=False)
class _Part:
    """Bytes still to come, from ``position`` to ``stop``; ``busy`` while a connection brings them."""

    position: int
    stop: int
    busy: bool = True
    heard: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        return self.stop - self.position

    def cut(self, at: int, *, busy: bool) -> _Part:
        """Take what lies behind ``at`` away; whoever brings it stops there."""
        taken = _Part(at, self.stop, busy)
        self.stop = at
        return taken


class _Read:
    """One read under way. The caller's thread reads, and is the only one to repeat and to raise; others help it."""

    def __init__(self, reader: RangeReader, start: int, stop: int, at_most: bool) -> None:
        self._reader = reader
        self._start = start
        self._at_most = at_most
        self._change = Condition()
        self._parts = [_Part(start, stop)]
        self._memory = io.BytesIO()
        self._view: memoryview | None = None
        self._arrived = 0
        self._pace = _Pace()

    def run(self) -> bytes:
        """All bytes of the range."""
        part: _Part | None = self._parts[0]
        try:
            while part is not None:
                self._follow(part)
                part = self._next()
        finally:
            self._end()
        return self._memory.getvalue()

    # ---- the first connection --------------------------------------------------------------------------------

    def _follow(self, part: _Part) -> None:
        """Read a part, and what lies behind it for as long as no other connection has begun with that."""
        with closing(
            self._reader.pieces(part.position, part.stop, at_most=self._at_most, ends=lambda: part.stop)
        ) as pieces:
            for piece in pieces:
                if self._view is None:
                    self._prepare(part)
                rest = self._add(part, piece)
                while not part.left:
                    if not self._extend(part):
                        return
                    rest = self._add(part, rest)
                self._look()
        with self._change:  # nothing comes of an empty file
            part.stop = part.position

    def _prepare(self, part: _Part) -> None:
        """Make room, now that the first answer has told how long the file is."""
        size = self._reader.size
        if size is not None and size < part.stop:
            if not self._at_most:
                raise self._reader.too_short(part.stop)
            part.stop = size
        try:
            # BytesIO hands out the very object it was given: no second copy, neither now nor at the end.
            self._memory = io.BytesIO(bytes(part.left))
        except (MemoryError, OverflowError) as error:
            raise ArchiveError(
                f"{self._reader.uri}: bytes {part.position:,} to {part.stop:,} do not fit into memory; read fewer"
            ) from error
        self._view = self._memory.getbuffer()

    def _extend(self, part: _Part) -> bool:
        """Go on with the next part where its first byte has not come: the body at hand brings it anyway."""
        with self._change:
            for other in self._parts:
                if other.left and other.position == part.stop:
                    part.stop = other.cut(other.position, busy=True).stop
                    return True
        return False

    def _next(self) -> _Part | None:
        """What the first connection does next: what nobody brings, or the most that another still has to; or None."""
        with self._change:
            while (part := self._free()) is None:
                if (longest := self._longest()) is None:
                    return None
                if time.monotonic() - longest.heard >= _SILENT:
                    return self._added(longest.cut(longest.position, busy=True))
                if longest.left >= _WORTH:
                    return self._added(longest.cut(longest.position + longest.left // 2, busy=True))
                self._change.wait(_SILENT / 4)
            return part

    def _look(self) -> None:
        """Call for help where the rest would take too long."""
        if not self._reader.settings.split_slow_reads or not self._pace.is_due():
            return
        with self._change:
            left = sum(part.left for part in self._parts)
            if not self._pace.is_slow(self._arrived, left):
                return
            for turn in self._split():
                try:
                    Thread(target=self._help, args=(turn,), name="read-part", daemon=True).start()
                except RuntimeError:  # no more threads: whoever is there does it
                    turn.give_back()

    def _split(self) -> list[SpareTurn]:
        """Make a part for each connection that is to spare."""
        free = sum(part.left > 0 and not part.busy for part in self._parts)
        longest = self._longest()
        most = longest.left // _LEAST - 1 if longest is not None else 0
        turns = spare_turns(self._reader.url, self._reader.settings, free + max(0, most))
        cuts = len(turns) - free
        if longest is not None and cuts > 0:
            length = longest.left // (cuts + 1)
            for _ in range(cuts):
                self._added(longest.cut(longest.stop - length, busy=False))
        return turns

    def _end(self) -> None:
        """Let everybody go; one who waits for an answer notices when it comes, or at the time-out."""
        with self._change:
            for part in self._parts:
                part.stop = part.position
            if self._view is not None:
                self._view.release()

    # ---- those who help --------------------------------------------------------------------------------------

    def _help(self, turn: SpareTurn) -> None:
        """Bring parts until none is left, one request each; give way to readers that wait for a connection."""
        with turn:
            while (part := self._taken()) is not None:
                try:
                    self._bring(part, turn)
                except UserError as error:
                    _LOGGER.debug("left to the first connection: %s", error)
                    return
                finally:
                    self._hand_back(part)
                if turn.is_wanted():
                    return

    def _bring(self, part: _Part, turn: SpareTurn) -> None:
        with closing(self._reader.one_answer(part.position, part.stop)) as pieces:
            for piece in pieces:
                self._add(part, piece)
                if not part.left or turn.is_wanted():
                    return

    def _taken(self) -> _Part | None:
        with self._change:
            return self._free()

    def _hand_back(self, part: _Part) -> None:
        with self._change:
            part.busy = False
            self._change.notify_all()

    # ---- what all share; the lock is held, but for _add ------------------------------------------------------

    def _add(self, part: _Part, piece: bytes | memoryview) -> memoryview:
        """Put bytes where they belong; what lies behind the end of the part, which may have come nearer, is left."""
        with self._change:
            wanted, rest = memoryview(piece)[: part.left], memoryview(piece)[part.left :]
            if self._view is not None and wanted:
                at = part.position - self._start
                self._view[at : at + len(wanted)] = wanted
                part.position += len(wanted)
                part.heard = time.monotonic()
                self._arrived += len(wanted)
            return rest

    def _free(self) -> _Part | None:
        self._parts = [part for part in self._parts if part.left]
        part = min((part for part in self._parts if not part.busy), key=lambda part: part.position, default=None)
        if part is not None:
            part.busy, part.heard = True, time.monotonic()
        return part

    def _longest(self) -> _Part | None:
        return max((part for part in self._parts if part.busy and part.left), key=lambda part: part.left, default=None)

    def _added(self, part: _Part) -> _Part:
        self._parts.append(part)
        return part


class _Pace:
    """Bytes per second since the last look, of all connections together; the first look begins with the first byte."""

    def __init__(self) -> None:
        self._interval = _LOOK_AFTER
        self._then: float | None = None
        self._arrived_then = 0

    def is_due(self) -> bool:
        """Whether enough time has gone for another look."""
        if self._then is None:
            self._then = time.monotonic()
        return time.monotonic() - self._then >= self._interval

    def is_slow(self, arrived: int, left: int) -> bool:
        """Whether what is left is worth splitting, at the pace at which so many bytes have arrived."""
        now = time.monotonic()
        elapsed = now - (self._then or 0.0)
        needed = left * elapsed / max(1, arrived - self._arrived_then)
        self._then, self._arrived_then = now, arrived
        slow = left >= _WORTH and needed > _PATIENCE
        if slow:
            self._interval *= 2
        return slow
