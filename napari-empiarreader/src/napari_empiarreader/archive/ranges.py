"""Byte ranges of one address: what the server's answers promise, and asking again where they do not keep it.

The file's name, its equality and its cache are the business of :mod:`napari_empiarreader.archive.remote`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_empiarreader.archive.cache import Validators
from napari_empiarreader.archive.settings import ArchiveSettings
from napari_empiarreader.archive.transport import (
    WORTH_REPEATING,
    broken_off,
    http_time,
    nobody_there,
    pause,
    retry_after,
    sent,
)
from napari_empiarreader.errors import (
    ArchiveError,
    EntryNotFoundError,
    FileChangedError,
    RangesNotSupportedError,
    ServerUnreachableError,
    TruncatedFileError,
    UserError,
)

if TYPE_CHECKING:
    import requests

__all__ = ["RangeReader"]

_PIECE = 1 << 18
"""Most bytes taken from a connection at a time: what has been taken is not lost when the rest does not come."""
_PROGRESS = 1 << 20
"""Bytes after which failures are counted from zero again; with less, a server that hands out drops would never end."""
_FEW = 2
"""Repeats where patience seldom helps: an answer that makes no sense (one front end of several may be in
maintenance, seldom all are), or nobody at the address."""
_SLOWEST, _SLOW_AFTER = 1024.0, 3
"""Bytes per second below which a body is given up, and the number of time-outs after which that is asked."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_NOT_SATISFIED = re.compile(r"bytes \*/(\d{1,18})")


class _FailureError(Exception):
    """A request that is worth repeating; ``error`` is what to say when patience ends."""

    def __init__(self, error: UserError, *, patience: int | None = None, asked: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.patience = patience
        self.asked = asked


@dataclass
class RangeReader:
    """Reads ranges of the file behind ``url``, and remembers what its answers told.

    Parameters
    ----------
    url
        Web address, percent-encoded.
    uri
        The address as the user writes it; begins every error message.
    size
        Length of the file in bytes, once an answer has told it. Servers that share the work need not agree in
        their ETags, so the length is what every later answer is held against.
    etag, modified
        Of the first answer; ``modified`` in seconds since 1970.
    seen
        The server's time at the first answer, in seconds since 1970: a file modified later has changed under way.
    adopted
        Whether all this comes from the cache rather than from an answer.
    """

    settings: ArchiveSettings
    url: str
    uri: str
    size: int | None = None
    etag: str | None = None
    modified: float | None = None
    seen: float | None = None
    adopted: bool = False

    def adopt(self, about: Validators) -> None:
        """Believe what was heard of the file at another time."""
        self.size, self.etag, self.modified, self.seen = about.size, about.etag, about.modified, about.seen
        self.adopted = True

    def validators(self) -> Validators:
        """What the file's first answer told."""
        if self.size is None:
            raise ValueError(f"{self.uri}: nothing has been asked yet")
        return Validators(self.size, self.etag, self.modified, self.seen)

    def pieces(
        self,
        start: int,
        stop: int | None,
        *,
        at_most: bool = False,
        may_skip: bool = False,
        ends: Callable[[], int] | None = None,
    ) -> Generator[bytes]:
        """Bytes of a range as they come in, over as many requests as it takes.

        Parameters
        ----------
        stop
            None: to the end of the file.
        at_most
            The end of the file may come before ``stop``.
        may_skip
            Where the server knows no ranges, begin again at byte 0 and pass over what has been had.
        ends
            In the place of ``stop`` where the end may move meanwhile; asked before each request.
        """
        position = counted = start
        failures = refusals = 0
        while True:
            stop = stop if ends is None else ends()
            try:
                for piece in self._one_answer(position, stop, skip=may_skip and refusals >= _FEW):
                    position += len(piece)
                    yield piece
            except _FailureError as failure:
                if position - counted >= _PROGRESS:
                    failures, counted = 0, position
                failures += 1
                refused = isinstance(failure.error, RangesNotSupportedError)
                refusals = refusals + 1 if refused else refusals
                self._wait(failure, failures, self.settings.retries if refused and may_skip else failure.patience)
                continue
            if stop is not None and position >= stop:
                if ends is not None and position < ends():
                    continue
                return
            if self.size is not None and position < self.size:
                raise AssertionError("an answer that ends early is a failure")
            if at_most or (stop is None and position == (self.size or position)):
                return
            raise self.too_short(position + 1 if stop is None else stop)

    def one_answer(self, start: int, stop: int) -> Generator[bytes]:
        """As :meth:`pieces`, by one request that is not repeated: whatever fails is raised."""
        try:
            yield from self._one_answer(start, stop, skip=False)
        except _FailureError as failure:
            raise failure.error from failure.__cause__

    def too_short(self, stop: int) -> TruncatedFileError:
        """What to say where the file ends before ``stop``."""
        length = f" at byte {self.size:,}" if self.size is not None else ""
        return TruncatedFileError(f"{self.uri}: the file ends{length} before byte {stop:,}, which its header promises")

    def ask_size(self) -> int:
        """Length of the file in bytes, by a HEAD request (or one for the first byte, where HEAD is not known)."""
        failures = 0
        while True:
            try:
                self._head()
            except _FailureError as failure:
                failures += 1
                self._wait(failure, failures, failure.patience)
                continue
            assert self.size is not None
            return self.size

    def _wait(self, failure: _FailureError, failures: int, patience: int | None) -> None:
        retries = self.settings.retries
        if failures > min(retries, retries if patience is None else patience):
            raise failure.error from failure.__cause__
        pause(self.settings, failures, failure.asked)

    # ---- one answer ------------------------------------------------------------------------------------------

    def _one_answer(self, position: int, stop: int | None, *, skip: bool) -> Generator[bytes]:
        headers = {"Range": f"bytes={position}-{'' if stop is None else stop - 1}"}
        try:
            with sent(self.url, self.settings, headers=headers) as answer:
                unwanted, wanted = self._promised(answer, position, stop, skip=skip)
                yield from _body(answer, unwanted, wanted, self.settings.timeout)
        except UserError:
            raise
        except broken_off() as error:
            raise self._unreachable(_FEW if nobody_there(error) else None) from error
        reached = position + wanted
        if wanted and self.size is not None and reached < min(self.size, self.size if stop is None else stop):
            raise self._astray("sends fewer bytes than it was asked for")

    def _head(self) -> None:
        try:
            with sent(self.url, self.settings, method="HEAD") as answer:
                if answer.status_code not in (405, 501):
                    self._refuse(answer)
                    if answer.status_code != 200:
                        raise self._astray(f"answers with status {answer.status_code}")
                    self._learn(self._length(answer), answer.headers)
        except UserError:
            raise
        except broken_off() as error:
            raise self._unreachable(_FEW if nobody_there(error) else None) from error
        if self.size is None:
            for _ in self._one_answer(0, 1, skip=False):
                pass
            if self.size is None:
                raise self._astray("does not say how long the file is")

    def _promised(self, answer: requests.Response, position: int, stop: int | None, *, skip: bool) -> tuple[int, int]:
        """How many bytes of the body to pass over, and how many to keep; raises for a body that is not to be read."""
        if answer.status_code == 416:
            return 0, self._behind_the_end(answer, position)
        self._refuse(answer)
        if answer.status_code == 206:
            first, last, total = self._content_range(answer)
            if first != position or not first <= last < total or (stop is not None and last >= stop):
                raise self._astray(f"sends bytes {first:,} to {last:,} of {total:,} when asked for others")
            length = answer.headers.get("Content-Length")
            if length is not None and length != str(last - first + 1):
                raise _FailureError(
                    TruncatedFileError(
                        f"{self.uri}: the server promised {last - first + 1:,} bytes in one header and {length} in "
                        "another; none of them were taken, try again"
                    )
                )
            self._learn(total, answer.headers)
            return 0, last - first + 1
        if answer.status_code != 200:
            raise ArchiveError(f"{self.uri}: {self.url} answered with status {answer.status_code}")
        total = self._length(answer)
        if (position == 0 and (stop is None or total <= stop)) or skip:
            self._learn(total, answer.headers)  # the whole file is what was asked for, or will have to do
            return position, max(0, (total if stop is None else min(stop, total)) - position)
        raise self._no_ranges()

    def _behind_the_end(self, answer: requests.Response, position: int) -> int:
        match = _NOT_SATISFIED.fullmatch(answer.headers.get("Content-Range", "").strip())
        size = int(match[1]) if match else self.size
        if size is not None and position < size:
            raise self._astray("calls a range impossible that lies within the file")
        if match:
            self._learn(int(match[1]), answer.headers)
        return 0

    def _refuse(self, answer: requests.Response) -> None:
        """Raise for an answer that brings no part of the file."""
        status = answer.status_code
        if status in WORTH_REPEATING:
            raise self._unreachable(asked=retry_after(answer.headers))
        if status in (404, 410):
            raise EntryNotFoundError(f"{self.uri}: the archive has no such file ({self.url})")
        if status in (401, 403):
            raise ArchiveError(f"{self.uri}: the server refuses to hand out this file ({self.url})")
        if status in (200, 206) and self._is_web_page(answer):
            raise _FailureError(self._page_instead(), patience=_FEW)

    def _content_range(self, answer: requests.Response) -> tuple[int, int, int]:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if match is None:
            raise self._astray("does not say which bytes it sends")
        return int(match[1]), int(match[2]), int(match[3])

    def _length(self, answer: requests.Response) -> int:
        length = answer.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= 18):
            raise self._astray("does not say how long the file is")
        return int(length)

    def _learn(self, size: int, headers: Mapping[str, str]) -> None:
        """Remember the length of the file; refuse one that has changed since the first answer."""
        modified = http_time(headers.get("Last-Modified"))
        if self.size is not None and size != self.size:
            raise self._changed(f"({self.size:,} bytes then, {size:,} now)")
        # A date ahead of the server's own clock is odd, but no change where the first answer had the same.
        # Nor is one in the very second of the first answer, unless that had another.
        newest = self.seen if self.seen is None or self.modified is None else self.seen - 1
        if newest is not None and modified is not None and modified > newest and modified != self.modified:
            raise self._changed(f"(on {headers.get('Last-Modified')})")
        if self.seen is None:
            self.seen = http_time(headers.get("Date"))
            self.etag = headers.get("ETag")
            self.modified = modified
        self.size = size

    def _is_web_page(self, answer: requests.Response) -> bool:
        kind = answer.headers.get("Content-Type", "").strip().lower()
        return kind.startswith(("text/html", "application/xhtml")) and not self.url.lower().endswith((".html", ".htm"))

    # ---- what to say -----------------------------------------------------------------------------------------

    def _changed(self, how: str) -> _FailureError:
        return _FailureError(
            FileChangedError(
                f"{self.uri}: the file has changed on the server since it was opened {how}; open it again"
            ),
            patience=_FEW,
        )

    def _page_instead(self) -> ArchiveError:
        return ArchiveError(
            f"{self.uri}: the server sent a web page instead of the file; it may be a folder (list it), "
            "or the archive is down for maintenance"
        )

    def _astray(self, what: str) -> _FailureError:
        return _FailureError(ArchiveError(f"{self.uri}: the server {what} ({self.url}); try again"), patience=_FEW)

    def _no_ranges(self) -> _FailureError:
        return _FailureError(
            RangesNotSupportedError(
                f"{self.uri}: the server at {self.settings.archive_url} ignores byte ranges, so the file cannot be "
                "opened lazily; download it, or use another address of the archive"
            ),
            patience=_FEW,
        )

    def _unreachable(self, patience: int | None = None, asked: float | None = None) -> _FailureError:
        return _FailureError(
            ServerUnreachableError(
                f"{self.uri}: no complete answer from {self.url} within {self.settings.timeout:g} s, "
                f"after {self.settings.retries} retries; check the network connection, or try later"
            ),
            patience=patience,
            asked=asked,
        )


def _body(answer: requests.Response, unwanted: int, wanted: int, patience: float) -> Generator[bytes]:
    """The wanted bytes of a body, piece by piece; a connection that ends too soon raises by itself."""
    left = unwanted + wanted
    waited = taken = 0.0
    while left:
        began = time.monotonic()
        piece = answer.raw.read1(min(_PIECE, left), decode_content=False)
        waited += time.monotonic() - began  # not the time that the caller takes between two pieces
        taken += len(piece)
        if not piece:
            raise OSError("the body ended before its promised length")
        if waited > _SLOW_AFTER * patience and taken < _SLOWEST * waited:
            raise OSError("the body comes drop by drop")
        left -= len(piece)
        if unwanted:
            passed = min(unwanted, len(piece))
            unwanted -= passed
            piece = piece[passed:]
        if piece:
            yield piece
