"""One request for one file: patient with a busy server, wary of its answer, and stopped at once when asked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from napari_profet.databases.settings import DatabaseSettings
from napari_profet.errors import CancelledError, ServerUnreachableError, UnknownIdError, UnusableAnswerError
from napari_profet.progress import Progress, silent

__all__ = ["download"]

_log = logging.getLogger(__name__)
_BUSY = (429, 500, 502, 503, 504)
_CHUNK = 1 << 16
T = TypeVar("T")


def download(
    url: str,
    settings: DatabaseSettings,
    *,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> bytes:
    """Body of the answer to a GET request.

    Parameters
    ----------
    url
        Address, http or https.
    settings
        Time-out and retries.
    progress
        Told the bytes so far, and the bytes expected where the server says.
    stop
        Once set, the call ends within a moment, whatever the server does.

    Raises
    ------
    UnknownIdError
        The server has nothing at this address (404 or 410).
    ServerUnreachableError
        No connection, no answer in time, or a server in trouble, after all retries.
    UnusableAnswerError
        The answer is empty, a web page, shorter than announced, or another refusal.
    CancelledError
        ``stop`` was set.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UnusableAnswerError(f"{url} is no web address; check the base URL in the settings")
    stop = stop or threading.Event()
    return _abandoned_when(stop, lambda: _body(url, settings, progress, stop))


def _body(url: str, settings: DatabaseSettings, progress: Progress, stop: threading.Event) -> bytes:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=settings.retries,
        backoff_factor=settings.backoff,
        status_forcelist=_BUSY,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    host = urlsplit(url).netloc
    try:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.headers["User-Agent"] = "napari-profet"
            _log.info("GET %s", url)
            with session.get(url, timeout=settings.timeout, stream=True) as answer:
                _check_status(answer.status_code, url, host)
                body = _chunks(answer, progress, stop)
                kind = answer.headers.get("Content-Type", "")
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise UnusableAnswerError(f"{url}: the answer broke off; try again") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        reason = "no answer in time" if "timed out" in str(error).lower() else "no connection"
        raise ServerUnreachableError(f"{host}: {reason}; check the network, or try again later ({url})") from error
    except requests.RequestException as error:
        raise UnusableAnswerError(f"{url}: {error}") from error
    if not body.strip():
        raise UnusableAnswerError(f"{url}: the answer is empty; try again later")
    if "html" in kind.lower() or body[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise UnusableAnswerError(
            f"{url}: the answer is a web page, not data; is there a login page or a proxy in between?"
        )
    return body


def _check_status(status: int, url: str, host: str) -> None:
    if status in (404, 410):
        raise UnknownIdError(f"{url}: there is no such entry; check the id")
    if status in _BUSY:
        raise ServerUnreachableError(f"{host} is in trouble (HTTP {status}); try again later ({url})")
    if status != 200:
        raise UnusableAnswerError(f"{url}: refused with HTTP {status}; check the id and the base URL")


def _chunks(answer: object, progress: Progress, stop: threading.Event) -> bytes:
    import requests

    assert isinstance(answer, requests.Response)
    # Of a body that is compressed on its way the length is that of the compressed bytes, which nobody counts here.
    plain = "Content-Encoding" not in answer.headers
    total = int(answer.headers.get("Content-Length", 0)) if plain else 0
    body = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        if stop.is_set():
            raise CancelledError("stopped")
        body += chunk
        progress(len(body), total)
    return bytes(body)


def _abandoned_when(stop: threading.Event, work: Callable[[], T]) -> T:
    """Result of ``work``, or :class:`CancelledError` as soon as ``stop`` is set.

    A thread that waits for a silent server cannot be woken. It is left behind: it ends with its time-out and, having
    only memory to write to, leaves nothing.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=run, name="profet-download", daemon=True)
    thread.start()
    while thread.is_alive():
        if stop.is_set():
            raise CancelledError("stopped")
        thread.join(0.05)
    if errors:
        raise errors[0]
    return results[0]
