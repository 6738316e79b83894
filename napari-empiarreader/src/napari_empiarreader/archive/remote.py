"""Files of the archive, read in pieces: one GET per read, continued where it breaks off, split where it is slow."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from napari_empiarreader.archive.cache import RangeCache, Validators, cache_for
from napari_empiarreader.archive.parts import read_range
from napari_empiarreader.archive.ranges import RangeReader
from napari_empiarreader.archive.settings import GO_ONLINE, ArchiveSettings
from napari_empiarreader.errors import ArchiveError, FileChangedError, OfflineError, UserError
from napari_empiarreader.files import replaced_when_complete
from napari_empiarreader.progress import Progress, silent

__all__ = ["RemoteFile"]

_BLOCK = 1 << 20


class RemoteFile:
    """A file of an entry; a :class:`~napari_empiarreader.files.ByteSource`.

    It may be used from any thread, and it may be pickled; all files of one archive share their connections. The
    length of the file is learned from the first answer and remembered. A file that changes under way is an error.

    Parameters
    ----------
    settings
        Where the archive is.
    number
        Accession number of the entry.
    path
        Path inside the entry, not percent-encoded.
    size_hint_bytes
        Length as the archive's listing gives it, rounded to two or three digits; None where nobody knows. It says
        how much there is to come, never where the file ends, and two files are equal whatever it is.
    """

    def __init__(
        self, settings: ArchiveSettings, number: int, path: str, *, size_hint_bytes: int | None = None
    ) -> None:
        self.settings = settings
        self.number = number
        self.path = path.strip("/")
        self.size_hint_bytes = size_hint_bytes
        self._reader = RangeReader(settings, self.url, self.uri)
        self._used_cache = False

    def __repr__(self) -> str:
        return f"RemoteFile({self.uri})"

    def __str__(self) -> str:
        return self.uri

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFile) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[ArchiveSettings, int, str]:
        return self.settings, self.number, self.path

    @property
    def uri(self) -> str:
        """The address as a user writes it, ``empiar://10017/data/a.mrc``."""
        return f"empiar://{self.number}/{self.path}"

    @property
    def url(self) -> str:
        """The web address, percent-encoded."""
        return f"{self.settings.archive_url}/{self.number}/{quote(self.path)}"

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.path.rsplit("/", 1)[-1]

    def read(self, start: int, stop: int, *, at_most: bool = False) -> bytes:
        """Bytes ``start`` to ``stop`` (exclusive), by exactly one request where nothing fails.

        What is large and comes slowly is split while it comes, unless the settings' ``split_slow_reads`` is off; see
        :mod:`napari_empiarreader.archive.parts`.

        Raises
        ------
        TruncatedFileError
            The file ends before ``stop`` (unless ``at_most``), or the server sent less than it promised.
        EntryNotFoundError, ServerUnreachableError, RangesNotSupportedError, ArchiveError
            See :mod:`napari_empiarreader.errors`.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"{self.uri}: bytes {start} to {stop} are no range")
        try:
            return self._read(start, stop, at_most)
        except FileChangedError:
            if not self._forget():
                raise
            return self._read(start, stop, at_most)

    def stream(self, start: int = 0, stop: int | None = None, block: int = _BLOCK) -> Iterator[bytes]:
        """Bytes ``start`` to ``stop`` (exclusive; None: to the end) in blocks, by one request where nothing fails.

        A body that breaks off is continued by a new request from where it broke. Close the iterator (or exhaust it)
        to free its connection.

        Parameters
        ----------
        block
            Length of every block but the last, in bytes.

        Raises
        ------
        TruncatedFileError
            The file ends before ``stop``, or the server sends less than it promises.
        EntryNotFoundError, ServerUnreachableError, RangesNotSupportedError, ArchiveError
            See :mod:`napari_empiarreader.errors`; ArchiveError also for a file that changes under way.
        """
        if start < 0 or (stop is not None and stop < start) or block < 1:
            raise ValueError(f"{self.uri}: bytes {start} to {stop} in blocks of {block} are no range")
        self._refuse_offline("streams are")
        return self._blocks(start, stop, block) if start != stop else iter(())

    def size(self) -> int:
        """Length of the file in bytes; one request if nothing was read before, else none."""
        cache = self._cache()
        known = self._reader.size
        if known is None:
            self._refuse_offline("its size is")
            known = self._reader.ask_size()
            if cache is not None:
                cache.learn(self.url, self._validators())
        self._used_cache = True
        return known

    def download(self, target: str | os.PathLike[str], *, overwrite: bool = False, progress: Progress = silent) -> Path:
        """Copy the whole file to ``target``, which appears only when every byte has arrived.

        Parameters
        ----------
        target
            The file to make; its folders are made as well.
        overwrite
            Replace an existing file.
        progress
            Told the bytes done and the bytes in all.

        Raises
        ------
        FileExistsAlreadyError
            The target exists and ``overwrite`` is false.
        TruncatedFileError
            Fewer bytes arrived than the file has.
        """
        self._refuse_offline("whole files are")
        try:
            with (
                replaced_when_complete(target, overwrite=overwrite) as temporary,
                temporary.open("wb") as file,
                closing(self._blocks(0, None, _BLOCK)) as blocks,
            ):
                done = 0
                for block in blocks:
                    if not done:
                        progress(0, self.size(), self.name)
                    file.write(block)
                    done += len(block)
                    progress(done, self.size(), self.name)
        except UserError:
            raise
        except OSError as error:
            raise ArchiveError(f"{target}: cannot be written ({error.strerror}); nothing was kept") from error
        return Path(target)

    # ---- cache and network -----------------------------------------------------------------------------------

    def _read(self, start: int, stop: int, at_most: bool) -> bytes:
        cache = self._cache()
        if self._reader.size is not None and at_most:
            stop = min(stop, self._reader.size)
        if start >= stop:
            return b""
        if cache is None:
            return self._fetch(start, stop, at_most)
        return cache.once((self.url, start, stop, at_most), lambda: self._through(cache, start, stop, at_most))

    def _through(self, cache: RangeCache, start: int, stop: int, at_most: bool) -> bytes:
        size = self._reader.size
        if size is not None and stop <= size:
            kept = cache.get(self.url, start, stop, size)
            if kept is not None:
                self._used_cache = True
                return kept
        data = self._fetch(start, stop, at_most)
        if data:
            cache.put(self.url, start, data, self._validators())
        return data

    def _fetch(self, start: int, stop: int, at_most: bool) -> bytes:
        self._refuse_offline(f"bytes {start:,} to {stop:,} are")
        return read_range(self._reader, start, stop, at_most=at_most)

    def _cache(self) -> RangeCache | None:
        """The cache, after learning once what it knows about this file, or what the server says if that is old."""
        cache = cache_for(self.settings)
        if cache is None or self._reader.size is not None:
            return cache
        known = cache.known(self.url)
        if known is not None:
            about, checked = known
            if not self.settings.offline and not 0 <= time.time() - checked <= self.settings.file_age:
                self._reader.ask_size()
                cache.learn(self.url, self._validators())
            else:
                self._reader.adopt(about)
        return cache

    def _forget(self) -> bool:
        """Drop what is known of a file that has changed; whether that may be done without a word to the caller."""
        cache = cache_for(self.settings)
        if cache is not None:
            cache.forget(self.url)
        if not self._reader.adopted or self._used_cache:
            return False
        self._reader = RangeReader(self.settings, self.url, self.uri)
        return True

    def _validators(self) -> Validators:
        return self._reader.validators()

    def _refuse_offline(self, what: str) -> None:
        if self.settings.offline:
            raise OfflineError(f"{self.uri}: {what} not in the cache, and the archive is not asked; {GO_ONLINE}")

    def _blocks(self, start: int, stop: int | None, block: int) -> Generator[bytes]:
        gathered = bytearray()
        with closing(self._reader.pieces(start, stop, may_skip=start == 0)) as pieces:
            for piece in pieces:
                gathered += piece
                while len(gathered) >= block:
                    yield bytes(gathered[:block])
                    del gathered[:block]
        if gathered:
            yield bytes(gathered)
