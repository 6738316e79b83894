"""HTTP as every part of the archive uses it: one pool of connections, few requests at a time, careful redirects.

Retries live with the callers, who know what has arrived already; this module holds what they share: one exchange, the
pause before the next, and which failures are worth one.
"""

from __future__ import annotations

import email.utils
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from napari_empiarreader.archive.settings import ArchiveSettings, is_loopback
from napari_empiarreader.errors import ArchiveError

if TYPE_CHECKING:
    from http.cookiejar import DefaultCookiePolicy

    import requests

__all__ = [
    "USER_AGENT",
    "WORTH_REPEATING",
    "SpareTurn",
    "broken_off",
    "http_time",
    "nobody_there",
    "pause",
    "retry_after",
    "sent",
    "spare_turns",
]

USER_AGENT = "napari-empiarreader"
WORTH_REPEATING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that say "not now" rather than "no"."""

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_SMALL = 1 << 16
"""Bodies up to this size are read to the end, so that their connection can be used again."""


@contextmanager
def sent(
    url: str,
    settings: ArchiveSettings,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    data: bytes | str | None = None,
) -> Iterator[requests.Response]:
    """The answer to one request, its body not yet read; redirects are followed, nothing is repeated.

    At most ``settings.connections`` answers of a host are open at a time in a process; others wait for their turn. A
    thread that holds an answer already does not wait, because it might wait for itself.

    Raises
    ------
    ArchiveError
        A redirect leads from https to http, to something that is no web address, or round and round.
    requests.RequestException
        No answer; see :func:`broken_off`.
    """
    with _turns_at(url, settings).one():
        answer = _followed(url, settings, method, dict(headers or {}), data)
        try:
            yield answer
        finally:
            _hang_up(answer)


def broken_off() -> tuple[type[Exception], ...]:
    """What is raised where an answer breaks off or never comes; our own errors are OSErrors, so catch those first."""
    import requests
    import urllib3

    return requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError


def nobody_there(error: Exception) -> bool:
    """Whether no connection could be made at all: the name is unknown, or nobody listens."""
    import urllib3

    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError)


def pause(settings: ArchiveSettings, failures: int, asked: float | None = None) -> None:
    """Wait before a request is repeated.

    Parameters
    ----------
    failures
        How many requests have failed in a row; the pause doubles with each, up to the time-out.
    asked
        Seconds that the server asked for (Retry-After). Believed up to the time-out: a front end that says "in an
        hour" must not freeze the caller for one.
    """
    doubled = min(settings.backoff * 2 ** min(failures - 1, 16), settings.timeout)
    # Half of it by chance, or else all who failed together come back together.
    time.sleep(max(doubled * random.uniform(0.5, 1.0), min(asked or 0.0, settings.timeout)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as a date."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    then = http_time(text)
    return None if then is None else max(0.0, then - time.time())


def http_time(text: str | None) -> float | None:
    """Seconds since 1970 out of a date header; None where there is none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError):
        return None


def _followed(
    url: str, settings: ArchiveSettings, method: str, headers: dict[str, str], data: bytes | str | None
) -> requests.Response:
    # A compressed answer would be counted in other bytes than the file's.
    headers = {"Accept-Encoding": "identity", **headers}
    asked = url
    for _ in range(_MOST_REDIRECTS + 1):
        answer = _session(settings).request(
            method,
            url,
            headers=headers,
            data=data,
            timeout=settings.timeout,
            proxies=_proxies(_host(url)),
            stream=True,
            allow_redirects=False,
        )
        target = answer.headers.get("Location")
        if answer.status_code not in _REDIRECTS or not target:
            return answer
        _hang_up(answer)
        url = _target(asked, url, target)
    raise ArchiveError(f"{asked}: the server redirects again and again, at last to {url}")


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _target(asked: str, url: str, target: str) -> str:
    """Where a redirect leads, if it may be followed there."""
    # requests reads headers as latin-1, servers write paths as UTF-8 or percent-encoded.
    target = target.encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        url = urljoin(url, target)
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ArchiveError(f"{asked}: the server redirects to {target!r}, which is no web address; it is not followed")
    if urlsplit(asked).scheme == "https" and parts.scheme == "http":
        raise ArchiveError(f"{asked}: the server redirects to {url}, which is not encrypted; it is not followed")
    return url


def _hang_up(answer: requests.Response) -> None:
    """Give the connection back where nothing is left to come, else close it."""
    length = answer.headers.get("Content-Length", "")
    if answer.request.method == "HEAD":
        answer.raw.release_conn()
    elif answer.status_code >= 300 and length.isdigit() and int(length) <= _SMALL:
        with suppress(*broken_off()):  # what it says is not wanted anyway
            answer.raw.drain_conn()
    answer.close()


# ---- connections ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _session_for(settings: ArchiveSettings) -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            """None: requests would look at every redirect, and load its body, even where it does not follow it."""

    session = Session()
    session.headers["User-Agent"] = USER_AGENT
    session.cookies.set_policy(_no_cookies())  # the session is shared by all threads
    session.trust_env = False  # or else each request would read ~/.netrc and could send what it finds there
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=0, pool_maxsize=settings.connections))
    return session


@lru_cache(maxsize=64)
def _proxies(host: str) -> dict[str, str]:
    """The environment's proxies for a host (``https://host:port``); none for this machine, which no proxy reaches."""
    from requests.utils import get_environ_proxies

    return {} if is_loopback(host) else dict(get_environ_proxies(host))


def _session(settings: ArchiveSettings) -> requests.Session:
    with _making:  # lru_cache alone would let two threads make two pools
        return _session_for(settings)


def _no_cookies() -> DefaultCookiePolicy:
    from http.cookiejar import DefaultCookiePolicy

    return DefaultCookiePolicy(allowed_domains=[])


# ---- turns ---------------------------------------------------------------------------------------------------


class _Turns:
    """Who may ask a host now."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting = self._leaving = 0
        self._change = threading.Condition()
        self._held: dict[int, int] = {}

    @contextmanager
    def one(self) -> Iterator[None]:
        # Remembered by number: a generator that holds an answer may be finished by another thread.
        thread = threading.get_ident()
        again = self._take(thread)
        try:
            yield
        finally:
            self.leave(thread, release=not again)

    def _take(self, thread: int) -> bool:
        """Wait for a turn; whether the thread had one already, and so did not wait."""
        with self._change:
            again = thread in self._held
            if not again:
                self._waiting += 1
                try:
                    self._change.wait_for(lambda: self._free > 0)
                finally:
                    self._waiting -= 1
                self._free -= 1
            self._held[thread] = self._held.get(thread, 0) + 1
            return again

    def spare(self, most: int) -> int:
        """Take as many turns, up to ``most``, as are free and waited for by nobody."""
        with self._change:
            count = max(0, min(most, self._free - self._waiting))
            self._free -= count
            return count

    def hold(self, thread: int) -> None:
        """A spare turn is this thread's now."""
        with self._change:
            self._held[thread] = self._held.get(thread, 0) + 1

    def leave(self, thread: int | None, *, release: bool, called: bool = False) -> None:
        """Stop holding an answer, and give the turn to the next."""
        with self._change:
            if thread is not None:
                self._held[thread] -= 1
                if not self._held[thread]:
                    del self._held[thread]
            self._leaving -= called
            self._free += release
            if release:
                self._change.notify()

    def call_one(self) -> bool:
        """Whether somebody waits for whom no spare turn has been called back yet; the caller then has to leave."""
        with self._change:
            called = self._waiting > self._free + self._leaving
            self._leaving += called
            return called


class SpareTurn:
    """Leave to ask a host that nobody else needed; a context manager for the one thread that uses it.

    Within it :func:`sent` does not wait.
    """

    def __init__(self, turns: _Turns) -> None:
        self._turns = turns
        self._thread: int | None = None
        self._called = False

    def __enter__(self) -> SpareTurn:
        self._thread = threading.get_ident()
        self._turns.hold(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def is_wanted(self) -> bool:
        """Whether another waits for it by now; it has then to be given back soon."""
        self._called = self._called or self._turns.call_one()
        return self._called

    def give_back(self) -> None:
        """Let others have it; to be done once, and by leaving the context where it was entered."""
        self._turns.leave(self._thread, release=True, called=self._called)


def spare_turns(url: str, settings: ArchiveSettings, most: int) -> list[SpareTurn]:
    """Up to ``most`` turns at a host that nobody holds or waits for; maybe none. Never waits.

    They count as connections until they are given back.
    """
    turns = _turns_at(url, settings)
    return [SpareTurn(turns) for _ in range(turns.spare(most))]


_making = threading.Lock()
_turns: dict[tuple[str, int], _Turns] = {}


def _turns_at(url: str, settings: ArchiveSettings) -> _Turns:
    key = urlsplit(url).netloc, settings.connections
    with _making:
        return _turns.setdefault(key, _Turns(settings.connections))


def _start_anew() -> None:
    """In a forked process: the connections are the parent's, and its threads took their locks with them."""
    global _making
    _making = threading.Lock()
    _turns.clear()
    _session_for.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
