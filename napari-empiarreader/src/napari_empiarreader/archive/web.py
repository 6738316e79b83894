"""Small texts from the archive: entry metadata and listing pages. Files go through :mod:`.remote`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_empiarreader.archive.settings import GO_ONLINE, ArchiveSettings
from napari_empiarreader.archive.transport import (
    USER_AGENT,
    WORTH_REPEATING,
    broken_off,
    nobody_there,
    pause,
    retry_after,
    sent,
)
from napari_empiarreader.errors import ArchiveError, EntryNotFoundError, OfflineError, ServerUnreachableError, UserError

if TYPE_CHECKING:
    import requests

__all__ = ["USER_AGENT", "get_bytes", "get_json", "get_text", "post_json", "read_json"]

_LONGEST = 1 << 28
"""Bytes of the longest text: a folder of a million files lists in some 200 MB."""
_PIECE = 1 << 16
_NOBODY = 2


def get_text(url: str, settings: ArchiveSettings, what: str) -> str:
    """Text behind an address.

    Parameters
    ----------
    url
        Percent-encoded address.
    settings
        Time-out, retries and back-off.
    what
        What is asked for, in words; begins every error message.

    Raises
    ------
    EntryNotFoundError
        The archive has no such thing (404).
    ServerUnreachableError
        No usable answer after all retries.
    ArchiveError
        Any other refusal.
    """
    return _ask(url, settings, what).decode("utf-8", "replace")


def get_bytes(url: str, settings: ArchiveSettings, what: str) -> bytes:
    """Bytes of something small behind an address; errors as in :func:`get_text`."""
    return _ask(url, settings, what)


def get_json(url: str, settings: ArchiveSettings, what: str) -> Any:
    """JSON behind an address; errors as in :func:`get_text`, and :class:`ArchiveError` for anything but JSON."""
    return read_json(_ask(url, settings, what), url, what)


def post_json(url: str, body: str, settings: ArchiveSettings, what: str) -> Any:
    """JSON in answer to a question too long for an address; it changes nothing there, and is repeated like a GET."""
    return read_json(_ask(url, settings, what, body), url, what)


def read_json(text: bytes, url: str, what: str) -> Any:
    """JSON out of an answer; :class:`ArchiveError` for anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "a web page" if text.lstrip()[:1] == b"<" else "something else"
        raise ArchiveError(
            f"{what}: {url} answered with {kind} instead of JSON; the service may be down for maintenance, "
            "or the address is not that of the EMPIAR service"
        ) from error


def _ask(url: str, settings: ArchiveSettings, what: str, body: str | None = None) -> bytes:
    """The whole answer, asked for again where it does not come or breaks off."""
    if settings.offline:
        raise OfflineError(f"{what}: not in the cache, and the archive is not asked ({url}); {GO_ONLINE}")
    for failures in range(1, settings.retries + 2):
        asked = None
        try:
            with sent(url, settings, method="GET" if body is None else "POST", data=_encoded(body)) as answer:
                if answer.status_code in WORTH_REPEATING:
                    failure, asked = _refused(url, settings, what, answer.status_code), retry_after(answer.headers)
                else:
                    _check(answer, url, what)
                    return _whole(answer, url, what)
        except UserError:
            raise
        except broken_off() as error:
            failure = _unreachable(url, settings, what)
            failure.__cause__ = error
            if nobody_there(error) and failures > _NOBODY:
                break  # nobody at an address is seldom cured by patience
        if failures <= settings.retries:
            pause(settings, failures, asked)
    raise failure


def _encoded(body: str | None) -> bytes | None:
    return None if body is None else body.encode()


def _check(answer: requests.Response, url: str, what: str) -> None:
    if answer.status_code == 404:
        raise EntryNotFoundError(f"{what}: the archive has no such thing ({url}); check the number and the path")
    if answer.status_code != 200:
        raise ArchiveError(f"{what}: {url} answered with status {answer.status_code}")


def _whole(answer: requests.Response, url: str, what: str) -> bytes:
    """The body, unless it is larger than any text of the archive can be."""
    gathered = bytearray()
    while piece := answer.raw.read1(_PIECE, decode_content=True):
        gathered += piece
        if len(gathered) > _LONGEST:
            raise ArchiveError(f"{what}: {url} answers with more than {_LONGEST >> 20} MiB; this is no text to read")
    return bytes(gathered)


def _refused(url: str, settings: ArchiveSettings, what: str, status: int) -> ServerUnreachableError:
    return ServerUnreachableError(
        f"{what}: {url} answers with status {status} after {settings.retries} retries; try later"
    )


def _unreachable(url: str, settings: ArchiveSettings, what: str) -> ServerUnreachableError:
    return ServerUnreachableError(
        f"{what}: no answer from {url} within {settings.timeout:g} s, after {settings.retries} retries; "
        "check the network connection and the address, or try later"
    )
