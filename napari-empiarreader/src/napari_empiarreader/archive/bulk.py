"""The same question to many files at once: their headers, or their lengths. One failure does not fail the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from napari_empiarreader.archive.remote import RemoteFile
from napari_empiarreader.errors import UserError

__all__ = ["read_many", "sizes_of"]

Answer = TypeVar("Answer")

_WAITING, _WAITING_BYTES = 4096, 64 << 20
"""Most answers, and most bytes of them, that wait for the caller behind one that is late."""


def read_many(
    files: Iterable[RemoteFile], start: int, stop: int, *, at_most: bool = True, connections: int | None = None
) -> Iterator[bytes | UserError]:
    """Bytes ``start`` to ``stop`` (exclusive) of each file, in the files' order; one request each, several at a time.

    Parameters
    ----------
    at_most
        A file that ends before ``stop`` gives what it has.
    connections
        How many files at a time; by default, and at most, what the archive's settings say.

    Yields
    ------
    bytes or UserError
        The error of a file stands in its place, and is not raised.

    Examples
    --------
    >>> headers = list(read_many([], 0, 1024))
    """
    if not 0 <= start <= stop:
        raise ValueError(f"bytes {start} to {stop} are no range")
    return _in_parallel(lambda file: file.read(start, stop, at_most=at_most), files, connections, stop - start)


def sizes_of(files: Iterable[RemoteFile], *, connections: int | None = None) -> Iterator[int | UserError]:
    """Length in bytes of each file, in the files' order; as :func:`read_many`."""
    return _in_parallel(RemoteFile.size, files, connections, 0)


def _in_parallel(
    ask: Callable[[RemoteFile], Answer], files: Iterable[RemoteFile], connections: int | None, bytes_each: int
) -> Iterator[Answer | UserError]:
    if connections is not None and connections < 1:
        raise ValueError(f"{connections} connections are too few")
    return _answers(ask, iter(files), connections, _WAITING_BYTES // max(bytes_each, 1))


def _answers(
    ask: Callable[[RemoteFile], Answer], files: Iterator[RemoteFile], connections: int | None, fit: int
) -> Iterator[Answer | UserError]:
    def ask_or_error(file: RemoteFile) -> Answer | UserError:
        try:
            return ask(file)
        except UserError as error:
            return error

    first = next(files, None)
    if first is None:
        return
    most = first.settings.connections
    workers = min(connections or most, most)
    files = chain([first], files)
    with ThreadPoolExecutor(workers, thread_name_prefix="read-many") as pool:
        # More than can be asked at a time, so that those behind one that hangs go on; not all, for answers wait for
        # the caller in memory.
        ahead = max(2 * workers, min(fit, _WAITING))
        under_way: deque[Future[Answer | UserError]] = deque(
            pool.submit(ask_or_error, file) for file in islice(files, ahead)
        )
        try:
            while under_way:
                yield under_way.popleft().result()
                under_way.extend(pool.submit(ask_or_error, file) for file in islice(files, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
