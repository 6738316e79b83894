"""What was read from the archive, kept on this disk: byte ranges, listings and entries, up to a bound.

One folder may serve many threads and processes. An entry appears by renaming, carries digests, and is dropped when it
is damaged; the entries that were not used for the longest time go first. A disk that is full, or may not be written,
never fails a read: the cache says so once and goes on without storing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from napari_empiarreader.archive._entry_file import DamagedEntryError, Header, packed_header, read_header, read_part
from napari_empiarreader.archive._shared_total import ABOUT, SharedTotal
from napari_empiarreader.archive.settings import CACHE_VARIABLE, ArchiveSettings

__all__ = ["CacheEntry", "CacheReport", "CacheUsage", "RangeCache", "Validators", "cache_for"]

_log = logging.getLogger(__name__)
_PAGE = "page"
_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})")
_NOTED = 60.0
"""Seconds for which a note about a file is not written again."""
_LARGEST_SHARE = 4
"""An entry larger than this part of the bound is not kept: it would drive out everything else."""


@dataclass(frozen=True)
class Validators:
    """What tells one version of a remote file from another.

    Parameters
    ----------
    size
        Length in bytes.
    etag, modified
        As the server gave them, if it did; ``modified`` in seconds since 1970.
    seen
        The server's time when it was first asked, in seconds since 1970.
    """

    size: int
    etag: str | None = None
    modified: float | None = None
    seen: float | None = None

    def is_same_file(self, later: Validators) -> bool:
        """Whether a later answer is about the same bytes.

        Servers that share the work may give one file different ETags and dates; so an ETag decides only where there
        is no date, and a date only where it lies after the first answer.
        """
        if self.size != later.size:
            return False
        if later.modified is not None and self.seen is not None:
            return later.modified <= self.seen or later.modified == self.modified
        return self.etag is None or later.etag is None or self.etag == later.etag

    def is_newer_than(self, earlier: Validators) -> bool:
        """Whether this was heard from the server later."""
        return self.seen is not None and earlier.seen is not None and self.seen > earlier.seen


@dataclass(frozen=True)
class CacheEntry:
    """One range (or page) in the cache: where from, which bytes, and the file that holds it."""

    url: str
    start: int
    stop: int
    size: int
    is_page: bool
    path: Path


@dataclass(frozen=True)
class CacheReport:
    """What :meth:`RangeCache.verify` found: entries and bytes that are right, and what was damaged and dropped."""

    entries: int
    bytes: int
    damaged: tuple[str, ...]


@dataclass(frozen=True)
class CacheUsage:
    """How full the cache is: entries, bytes on the disk, and the most bytes allowed."""

    entries: int
    bytes: int
    limit: int


class RangeCache:
    """A bounded folder of byte ranges; safe under threads and processes.

    Parameters
    ----------
    folder
        Is made when something is stored.
    limit
        Most bytes in it.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._total = SharedTotal(folder, limit)
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[bytes | None]] = {}
        self._stores = True

    # ---- ranges ----------------------------------------------------------------------------------------------

    def known(self, url: str) -> tuple[Validators, float] | None:
        """What was last heard about a file, and when (seconds since 1970); None for an unknown one."""
        try:
            told = json.loads((self._home(url) / ABOUT).read_bytes())
            if told.pop("url") != url:
                return None
            checked = float(told.pop("checked"))
            about = Validators(**told)
            return (about, checked) if isinstance(about.size, int) and about.size >= 0 else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def learn(self, url: str, about: Validators) -> None:
        """Note what the server just said about a file; ranges of another version of it are dropped."""
        before = self.known(url)
        if before is not None:
            if not before[0].is_same_file(about):
                self.forget(url)
            elif 0 <= time.time() - before[1] < _NOTED:
                return
            else:
                about = before[0]
        told = {"url": url, **asdict(about), "checked": time.time()}
        self._store(self._home(url) / ABOUT, json.dumps(told).encode(), b"")

    def forget(self, url: str) -> None:
        """Drop everything that is kept of a file."""
        home = self._home(url)
        with suppress(OSError):
            for path in [home / ABOUT, *home.iterdir()]:
                path.unlink(missing_ok=True)

    def get(self, url: str, start: int, stop: int, size: int) -> bytes | None:
        """Bytes ``start`` to ``stop`` (exclusive) of a file of ``size`` bytes, from any entry that holds them."""
        home = self._home(url)
        exact = home / f"{start}-{stop}-{size}"
        data = self._checked(exact, url, start, stop, size)
        if data is not None:
            return data
        for path in _around(home, start, stop, size):
            data = self._checked(path, url, start, stop, size)
            if data is not None:
                return data
        return None

    def put(self, url: str, start: int, data: bytes, about: Validators) -> None:
        """Keep bytes of a file, beginning at ``start``; never raises for what the disk does."""
        newest = self.known(url)
        if newest is not None and not about.is_same_file(newest[0]) and newest[0].is_newer_than(about):
            return  # another process has seen the file change since
        self.learn(url, about)
        header = Header(url, start, start + len(data), about.size, time.time())
        self._store(self._home(url) / f"{start}-{start + len(data)}-{about.size}", packed_header(header, data), data)

    def once(self, key: Hashable, load: Callable[[], bytes]) -> bytes:
        """What ``load`` gives; threads that ask for the same key meanwhile wait for it, and share its error."""
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if not mine:
            data = flight.result()
            return load() if data is None else data
        data = None
        try:
            data = load()
            return data
        except Exception as error:
            flight.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._flights[key]
            if not flight.done():  # without a result where this thread was interrupted: the others go by themselves
                flight.set_result(data)

    # ---- pages -----------------------------------------------------------------------------------------------

    def page(self, url: str, age: float) -> bytes | None:
        """A listing or an entry that was stored less than ``age`` seconds ago; None where there is none."""
        path = self._home(url) / _PAGE
        try:
            header = read_header(path)
            if header.url != url or not 0 <= time.time() - header.stored <= age:
                return None
        except (OSError, DamagedEntryError):
            return None
        return self._checked(path, url, 0, header.size, header.size)

    def put_page(self, url: str, data: bytes) -> None:
        """Keep a listing or an entry; never raises for what the disk does."""
        header = Header(url, 0, len(data), len(data), time.time())
        self._store(self._home(url) / _PAGE, packed_header(header, data), data)

    # ---- the whole -------------------------------------------------------------------------------------------

    def entries(self) -> Iterator[CacheEntry]:
        """Every readable entry, in no order."""
        for path in self._total.files():
            if path.name != ABOUT:
                with suppress(OSError, DamagedEntryError):
                    yield _entry(path, read_header(path))

    def verify(self) -> CacheReport:
        """Read every entry, and drop those that are damaged."""
        damaged, entries, total = [], 0, 0
        for path in self._total.files():
            if path.name == ABOUT:
                continue
            try:
                header = read_header(path)
                _, data = read_part(path, header.start, header.stop)
                if path != self._path_of(header, is_page=path.name == _PAGE):
                    raise DamagedEntryError(f"{path}: belongs elsewhere")
                entries, total = entries + 1, total + len(data)
            except FileNotFoundError:
                continue  # another process needed the room
            except (OSError, DamagedEntryError) as error:
                damaged.append(str(error))
                with suppress(OSError):
                    path.unlink()
        return CacheReport(entries, total, tuple(damaged))

    def usage(self) -> CacheUsage:
        """How full the cache is, counted file by file."""
        sizes = self._total.sizes()
        return CacheUsage(sum(path.name != ABOUT for path in sizes), sum(sizes.values()), self.limit)

    def clear(self) -> None:
        """Empty the cache; what other processes are storing at this moment may stay."""
        self._total.clear()
        self._stores = True

    # ---- files -----------------------------------------------------------------------------------------------

    def _home(self, url: str) -> Path:
        name = hashlib.sha256(url.encode()).hexdigest()[:32]
        return self._total.kept / name[:2] / name

    def _path_of(self, header: Header, *, is_page: bool) -> Path:
        name = _PAGE if is_page else f"{header.start}-{header.stop}-{header.size}"
        return self._home(header.url) / name

    def _checked(self, path: Path, url: str, start: int, stop: int, size: int) -> bytes | None:
        try:
            header, data = read_part(path, start, stop)
            if (header.url, header.size) != (url, size):
                raise DamagedEntryError(f"{path}: holds another file's bytes")
        except OSError:
            return None
        except DamagedEntryError as error:
            _log.warning("%s; it is dropped and fetched again", error)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # used just now
        return data

    def _store(self, path: Path, head: bytes, data: bytes) -> None:
        length = len(head) + len(data)
        if not self._stores or length > self.limit // _LARGEST_SHARE:
            return
        temporary = self._total.folder / "new" / uuid.uuid4().hex
        try:
            if not self._total.reserve(temporary, length):
                return
            with temporary.open("r+b") as file:
                file.write(head)
                file.write(data)
            _moved(temporary, path)
        except FileNotFoundError:
            _log.debug("%s was emptied meanwhile", self.folder)
        except OSError as error:
            self._stores = False
            _log.warning(
                "%s: nothing more is stored in the cache (%s); reading goes on without it. Make room, or choose "
                "another folder with %s",
                self.folder,
                error.strerror or error,
                CACHE_VARIABLE,
            )
        finally:
            with suppress(OSError):  # it has been moved, if all went well
                temporary.unlink()


def _moved(temporary: Path, path: Path) -> None:
    for last in (False, True):  # the folder may be tidied away between the two lines
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.replace(path)
            return
        except FileNotFoundError:
            if last:
                raise
        except PermissionError:
            # Windows: somebody reads the entry that is there already; it holds the same.
            if os.name != "nt" or not path.exists():
                raise
            temporary.unlink(missing_ok=True)
            return


def _around(home: Path, start: int, stop: int, size: int) -> list[Path]:
    """Entries of a file that hold more than the wanted range, the smallest first."""
    found = []
    with suppress(OSError), os.scandir(home) as listing:
        for item in listing:
            if match := _RANGE.fullmatch(item.name):
                first, last, of = map(int, match.groups())
                if first <= start and stop <= last and of == size and (first, last) != (start, stop):
                    found.append((last - first, Path(item.path)))
    return [path for _, path in sorted(found)]


def _entry(path: Path, header: Header) -> CacheEntry:
    return CacheEntry(header.url, header.start, header.stop, header.size, path.name == _PAGE, path)


def cache_for(settings: ArchiveSettings) -> RangeCache | None:
    """The cache that these settings mean; None where nothing is to be kept."""
    if settings.cache_bytes == 0:
        return None
    folder = settings.cache_folder
    if folder is None:
        named = os.environ.get(CACHE_VARIABLE)
        folder = Path(named).expanduser().absolute() if named else _users_own()
    with _making:
        return _cache_at(folder, settings.cache_bytes)


def _users_own() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("napari-empiarreader")


@lru_cache(maxsize=32)
def _cache_at(folder: Path, limit: int) -> RangeCache:
    return RangeCache(folder, limit)


_making = threading.Lock()


def _start_anew() -> None:
    """In a forked process: the threads that held locks and flights are the parent's."""
    global _making
    _making = threading.Lock()
    _cache_at.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
