"""One file of one entry: from the kept files, else from the first server that has it whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from napari_profet.databases.cache import Cache, Download
from napari_profet.databases.content import Check
from napari_profet.databases.identifiers import Identifier
from napari_profet.databases.settings import DatabaseSettings
from napari_profet.databases.web import Answer, download
from napari_profet.errors import (
    CancelledError,
    FormatError,
    ServerUnreachableError,
    UnknownIdError,
    UnusableAnswerError,
    UserError,
)
from napari_profet.progress import Progress, silent

__all__ = ["Item", "Remote", "Way", "obtain"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One file of an entry.

    Attributes
    ----------
    identifier
        The entry.
    name
        Which of its files: ``cif``, ``cif-assembly1``, ``pae`` ...
    file
        Name of the file that is kept, without .gz.
    check
        Raises :class:`FormatError` on what is no such file.
    """

    identifier: Identifier
    name: str
    file: str
    check: Check


@dataclass(frozen=True)
class Remote:
    """Where a server has a file.

    Attributes
    ----------
    url
        Address.
    version
        Version of the entry, where the database tells.
    question
        Sent as JSON, where the file is the answer to a question.
    """

    url: str
    version: str = ""
    question: dict[str, Any] | None = None


@dataclass(frozen=True)
class Way:
    """How to come by files: what every function that fetches passes on.

    Attributes
    ----------
    settings
        Addresses, patience, and the folder of kept files.
    refresh
        Fetch anew what is kept.
    progress
        Told the bytes so far and in all.
    stop
        Set it from another thread to stop.
    """

    settings: DatabaseSettings
    refresh: bool = False
    progress: Progress = silent
    stop: threading.Event | None = None

    @property
    def cache(self) -> Cache:
        """The kept files."""
        return Cache(self.settings.cache_folder, self.settings.cache_limit)

    def kept(self, item: Item, *, max_days: float | None = None) -> Download | None:
        """The file, if it is kept and may be used; offline its age does not matter."""
        if self.refresh and not self.settings.offline:
            return None
        days = None if self.settings.offline else max_days
        return self.cache.find(item.identifier, item.name, max_days=days)


def obtain(item: Item, remotes: Sequence[Remote], way: Way, *, max_days: float | None = None) -> Download:
    """A file, kept or fetched.

    Parameters
    ----------
    item
        What is wanted.
    remotes
        Servers to ask, one after the other until one has it.
    way
        How.
    max_days
        A kept file that is older is fetched anew.

    Raises
    ------
    UnknownIdError
        All servers say that there is no such file.
    ServerUnreachableError, UnusableAnswerError, OfflineError, CancelledError
        As :func:`napari_profet.databases.web.download`; the message has what each server said.
    """
    if kept := way.kept(item, max_days=max_days):
        return kept
    failures: list[UserError] = []
    for remote in remotes:
        try:
            answer = _checked(item, remote, way)
        except (UnknownIdError, ServerUnreachableError, UnusableAnswerError) as error:
            failures.append(error)
            continue
        if failures:
            host = urlsplit(remote.url).netloc
            _log.warning("%s: from %s, because %s", item.identifier, host, "; ".join(map(str, failures)))
        if way.stop and way.stop.is_set():
            raise CancelledError("stopped")
        return way.cache.store(item.identifier, item.name, item.file, answer, remote.version)
    raise _verdict(item, failures)


def _checked(item: Item, remote: Remote, way: Way) -> Answer:
    answer = download(
        remote.url,
        way.settings,
        question=remote.question,
        progress=partial(way.progress, message=str(item.identifier)),
        stop=way.stop,
    )
    try:
        item.check(answer.body, remote.url, item.identifier)
    except FormatError as error:
        raise UnusableAnswerError(f"the server's answer for {item.identifier} is not usable: {error}") from error
    return answer


def _verdict(item: Item, failures: Sequence[UserError]) -> UserError:
    """One error for all: a server in trouble might have the file, so that it weighs more than one that has not."""
    worst = next((error for error in failures if not isinstance(error, UnknownIdError)), failures[0])
    if len(failures) == 1:
        return worst
    if isinstance(worst, UnknownIdError):
        hosts = dict.fromkeys(str(error).split(": there is", 1)[0] for error in failures)
        return UnknownIdError(f"{item.identifier}: there is no such entry; check the id (asked: {', '.join(hosts)})")
    grave = [str(error) for error in failures if not isinstance(error, UnknownIdError)]
    rest = len(failures) - len(grave)
    others = f"; {rest} more servers do not have it" if rest else ""
    return type(worst)(f"{item.identifier} ({item.name}): {'; '.join(grave)}{others}")
