"""Small texts from the archive: entry metadata and listing pages. Files go through :mod:`.remote`."""

from __future__ import annotations

import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from napari_empiarreader.archive.settings import ArchiveSettings, is_loopback
from napari_empiarreader.errors import ArchiveError, EntryNotFoundError, ServerUnreachableError

if TYPE_CHECKING:
    import requests

__all__ = ["USER_AGENT", "get_json", "get_text", "post_json"]

USER_AGENT = "napari-empiarreader"
_WORTH_REPEATING = (429, 500, 502, 503, 504)
_sessions = threading.local()


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
    response = _get(url, settings, what)
    response.encoding = "utf-8"
    return response.text


def get_json(url: str, settings: ArchiveSettings, what: str) -> Any:
    """JSON behind an address; errors as in :func:`get_text`, and :class:`ArchiveError` for anything but JSON."""
    return _json(_get(url, settings, what), url, what)


def post_json(url: str, body: str, settings: ArchiveSettings, what: str) -> Any:
    """JSON in answer to a question too long for an address; it changes nothing there, and is repeated like a GET."""
    return _json(_get(url, settings, what, body), url, what)


def _json(response: requests.Response, url: str, what: str) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError) as error:
        kind = response.headers.get("Content-Type", "something unnamed")
        raise ArchiveError(
            f"{what}: {url} answered with {kind} instead of JSON; the service may be down for maintenance, "
            "or the address is not that of the EMPIAR service"
        ) from error


def _get(url: str, settings: ArchiveSettings, what: str, body: str | None = None) -> requests.Response:
    import requests

    # The adapter repeats requests that get no answer; a body that breaks off later is repeated here.
    for attempt in range(settings.retries + 1):
        if attempt:
            time.sleep(settings.backoff * 2 ** (attempt - 1))
        try:
            if body is None:
                response = _session(settings).get(url, timeout=settings.timeout)
            else:
                plain = {"Content-Type": "text/plain; charset=utf-8"}
                response = _session(settings).post(url, body.encode(), timeout=settings.timeout, headers=plain)
            break
        except requests.exceptions.ChunkedEncodingError as error:
            last: Exception = error
        except requests.exceptions.RequestException as error:
            raise _unreachable(url, settings, what) from error
    else:
        raise _unreachable(url, settings, what) from last
    if response.status_code == 404:
        raise EntryNotFoundError(f"{what}: the archive has no such thing ({url}); check the number and the path")
    if response.status_code in _WORTH_REPEATING:
        raise ServerUnreachableError(
            f"{what}: {url} answers with status {response.status_code} after {settings.retries} retries; try later"
        )
    if response.status_code != 200:
        raise ArchiveError(f"{what}: {url} answered with status {response.status_code}")
    return response


def _unreachable(url: str, settings: ArchiveSettings, what: str) -> ServerUnreachableError:
    return ServerUnreachableError(
        f"{what}: no answer from {url} within {settings.timeout:g} s, after {settings.retries} retries; "
        "check the network connection and the address, or try later"
    )


def _session(settings: ArchiveSettings) -> requests.Session:
    """Session of the current thread for these settings: its connections are kept, and no two threads share it."""
    if not hasattr(_sessions, "of"):
        _sessions.of = cache(_new_session)
    return _sessions.of(settings)


def _new_session(settings: ArchiveSettings) -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=settings.retries,
        connect=min(settings.retries, 2),  # nobody at an address is seldom cured by patience
        backoff_factor=settings.backoff,
        status_forcelist=_WORTH_REPEATING,
        allowed_methods=("GET", "POST"),  # our only POST is a question
        raise_on_status=False,
        respect_retry_after_header=False,  # a front end that says "in an hour" must not freeze the caller for one
    )
    session = requests.Session()
    session.headers["User-Agent"] = USER_AGENT
    if is_loopback(settings.api_url) and is_loopback(settings.archive_url):
        session.trust_env = False  # a proxy of the environment cannot reach this machine's own servers
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session
