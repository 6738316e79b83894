"""Files of the archive, read in pieces: one GET with a Range per read, repeated and resumed where it fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from napari_empiarreader.archive.settings import ArchiveSettings
from napari_empiarreader.archive.store import store_for
from napari_empiarreader.errors import (
    ArchiveError,
    EntryNotFoundError,
    RangesNotSupportedError,
    ServerUnreachableError,
    TruncatedFileError,
    UserError,
)
from napari_empiarreader.files import replaced_when_complete
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    from obstore.store import HTTPStore

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
    """

    def __init__(self, settings: ArchiveSettings, number: int, path: str) -> None:
        self.settings = settings
        self.number = number
        self.path = path.strip("/")
        self._size: int | None = None

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

        Raises
        ------
        TruncatedFileError
            The file ends before ``stop`` (unless ``at_most``), or the server sent less than it promised.
        EntryNotFoundError, ServerUnreachableError, RangesNotSupportedError, ArchiveError
            See :mod:`napari_empiarreader.errors`.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"{self.uri}: bytes {start} to {stop} are no range")
        if self._size is not None and at_most:
            stop = min(stop, self._size)
        if start >= stop:
            return b""
        import obstore

        try:
            data, first, last = self._part(start, stop)
        except (OSError, obstore.exceptions.BaseError) as error:
            if not _is_beyond_end(error):
                raise self._translated(error) from error
            if at_most:
                return b""
            raise self._too_short(stop) from error
        if first != start or len(data) != last - first:
            raise TruncatedFileError(
                f"{self.uri}: the server promised bytes {first:,} to {last:,} and sent {len(data):,} of them; try again"
            )
        if last < stop and not at_most:
            raise self._too_short(stop)
        return data

    def size(self) -> int:
        """Length of the file in bytes; one request if nothing was read before, else none."""
        if self._size is None:
            import obstore

            try:
                self._check(obstore.get(self._store, self._location, options={"head": True}))
            except (OSError, obstore.exceptions.BaseError) as error:
                raise self._translated(error) from error
        assert self._size is not None
        return self._size

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
        try:
            with replaced_when_complete(target, overwrite=overwrite) as temporary:
                self._stream_to(temporary, progress)
        except UserError:
            raise
        except OSError as error:
            raise ArchiveError(f"{target}: cannot be written ({error.strerror}); nothing was kept") from error
        return Path(target)

    def _part(self, start: int, stop: int) -> tuple[bytes, int, int]:
        """Bytes of a range, with the start and stop that the server gave it."""
        import obstore

        for left in reversed(range(self.settings.retries + 1)):
            try:
                answer = obstore.get(self._store, self._location, options={"range": (start, stop)})
            except obstore.exceptions.NotSupportedError:
                if left < self.settings.retries or not left:
                    raise
                continue  # once more: one front end of several may be in maintenance
            self._check(answer)
            first, last = answer.range
            try:
                data = bytes(answer.bytes())
            except obstore.exceptions.GenericError:
                # obstore resumes a broken body by itself, but only of a file with an ETag.
                if answer.meta["e_tag"] is not None or not left:
                    raise
                continue
            if len(data) == last - first or not left:
                return data, first, last
        raise AssertionError("unreachable: the last round returns or raises")

    def _stream_to(self, path: Path, progress: Progress) -> None:
        import obstore

        done = 0
        answer = self._whole_file()
        if answer is None:
            return
        total = answer.meta["size"]
        progress(0, total, self.name)
        with path.open("wb") as file:
            try:
                for block in answer.stream(min_chunk_size=_BLOCK):
                    file.write(block)
                    done += len(block)
                    progress(done, total, self.name)
            except obstore.exceptions.BaseError as error:
                raise self._translated(error) from error
        if done != total:
            raise TruncatedFileError(f"{self.uri}: {done:,} of {total:,} bytes arrived; download it again")

    def _whole_file(self) -> Any:
        """The answer that holds the whole file; None for an empty one."""
        import obstore

        try:
            try:
                # Asked as a range, because its answer tells the length of the file, not of what was sent.
                answer = obstore.get(self._store, self._location, options={"range": {"offset": 0}})
            except obstore.exceptions.NotSupportedError:
                answer = obstore.get(self._store, self._location)
            self._check(answer)
        except (OSError, obstore.exceptions.BaseError) as error:
            if _is_beyond_end(error):
                return None
            raise self._translated(error) from error
        return answer

    @property
    def _location(self) -> str:
        return f"{self.number}/{self.path}"

    @property
    def _store(self) -> HTTPStore:
        return store_for(self.settings)

    def _check(self, answer: Any) -> None:
        """Remember the length of the file; refuse a web page in its place, and a file that has changed."""
        if self._is_web_page(answer):
            raise self._page_instead()
        size = answer.meta["size"]
        # Only the length is compared: the archive has several servers, and their ETags need not agree.
        if self._size is not None and size != self._size:
            raise ArchiveError(
                f"{self.uri}: the file has changed on the server since it was opened "
                f"({self._size:,} bytes then, {size:,} now); open it again"
            )
        self._size = size

    def _is_web_page(self, answer: Any) -> bool:
        kind = str(answer.attributes.get("Content-Type", ""))
        return kind.startswith(("text/html", "application/xhtml")) and not self.name.lower().endswith((".html", ".htm"))

    def _page_instead(self) -> ArchiveError:
        return ArchiveError(
            f"{self.uri}: the server sent a web page instead of the file; it may be a folder (list it), "
            "or the archive is down for maintenance"
        )

    def _too_short(self, stop: int) -> TruncatedFileError:
        length = f" at byte {self._size:,}" if self._size is not None else ""
        return TruncatedFileError(f"{self.uri}: the file ends{length} before byte {stop:,}, which its header promises")

    def _translated(self, error: Exception) -> Exception:
        """Our error for one of obstore's, whose own text is a page long and meant for developers."""
        from obstore import exceptions

        if isinstance(error, ArchiveError):
            return error
        if isinstance(error, FileNotFoundError):
            return EntryNotFoundError(f"{self.uri}: the archive has no such file ({self.url})")
        if isinstance(error, exceptions.NotSupportedError):
            return self._no_ranges()
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            return ArchiveError(f"{self.uri}: the server refuses to hand out this file ({self.url})")
        return ServerUnreachableError(
            f"{self.uri}: no complete answer from {self.url} within {self.settings.timeout:g} s, "
            f"after {self.settings.retries} retries; check the network connection, or try later"
        )

    def _no_ranges(self) -> Exception:
        """Why an answer without a range came: one more question, on a way that has failed already."""
        import obstore

        try:
            if self._is_web_page(obstore.get(self._store, self._location, options={"head": True})):
                return self._page_instead()
        except (OSError, obstore.exceptions.BaseError):
            pass  # the first failure is the one to report
        return RangesNotSupportedError(
            f"{self.uri}: the server at {self.settings.archive_url} ignores byte ranges, so the file cannot be opened "
            "lazily; download it, or use another address of the archive"
        )


def _is_beyond_end(error: Exception) -> bool:
    """Whether the server refused a range that begins behind the end (status 416, which has no class of its own)."""
    return "status code: 416" in str(error)
