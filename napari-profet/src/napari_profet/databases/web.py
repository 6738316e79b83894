"""One request for one file: patient with a busy server, wary of its answer, and stopped at once when asked."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from napari_profet.databases.settings import DatabaseSettings
from napari_profet.errors import (
    CancelledError,
    OfflineError,
    ServerUnreachableError,
    UnknownIdError,
    UnusableAnswerError,
)
from napari_profet.progress import Progress, silent

__all__ = ["Answer", "download"]

_log = logging.getLogger(__name__)
_BUSY = (429, 500, 502, 503, 504)
_CHUNK = 1 << 16
_IN_MEMORY = 64 * 1024**2
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a server sent.

    Attributes
    ----------
    body
        The content, at its start. It is in memory, or in a file without a name: whoever drops it leaves nothing.
    url
        Address it came from in the end, after all redirections.
    """

    body: IO[bytes]
    url: str

    def read(self) -> bytes:
        """The whole content."""
        self.body.seek(0)
        return self.body.read()


def download(
    url: str,
    settings: DatabaseSettings,
    *,
    question: dict[str, Any] | None = None,
    progress: Progress = silent,
    stop: threading.Event | None = None,
) -> Answer:
    """Answer to a GET request, or to a POST request with a question.

    Parameters
    ----------
    url
        Address, http or https.
    settings
        Time-out and retries.
    question
        Sent as JSON. The answer may then be empty with status 204, which means "no results".
    progress
        Told the bytes so far, and the bytes expected where the server says.
    stop
        Once set, the call ends within a moment, whatever the server does.

    Raises
    ------
    OfflineError
        The settings forbid requests.
    UnknownIdError
        The server has nothing at this address (404 or 410).
    ServerUnreachableError
        No connection, no answer in time, or a server in trouble, after all retries.
    UnusableAnswerError
        The answer is empty, a web page, an XML error, shorter than announced, or another refusal.
    CancelledError
        ``stop`` was set.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UnusableAnswerError(f"{url} is no web address; check the base URL in the settings")
    if settings.offline:
        raise OfflineError(f"offline, and not kept on this machine: {url}; fetch it once while online")
    stop = stop or threading.Event()
    return _abandoned_when(stop, lambda: _answer(url, settings, question, progress, stop))


def _answer(
    url: str,
    settings: DatabaseSettings,
    question: dict[str, Any] | None,
    progress: Progress,
    stop: threading.Event,
) -> Answer:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=settings.retries,
        backoff_factor=settings.backoff,
        status_forcelist=_BUSY,
        # A question asks and changes nothing, so that it may be repeated.
        allowed_methods=("GET", "POST"),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    host = urlsplit(url).netloc
    try:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.headers["User-Agent"] = "napari-profet"
            method = "GET" if question is None else "POST"
            _log.info("%s %s", method, url)
            with session.request(method, url, json=question, timeout=settings.timeout, stream=True) as answer:
                _check_status(answer.status_code, url, host, asked=question is not None)
                body = _body(answer, progress, stop)
                kind, final, none_found = answer.headers.get("Content-Type", ""), answer.url, answer.status_code == 204
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise UnusableAnswerError(f"{url}: the answer broke off; try again") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        reason = "no answer in time" if "timed out" in str(error).lower() else "no connection"
        raise ServerUnreachableError(f"{host}: {reason}; check the network, or try again later ({url})") from error
    except requests.RequestException as error:
        raise UnusableAnswerError(f"{url}: {error}") from error
    if not none_found:
        _check_beginning(body.read(1000), kind, url)
    body.seek(0)
    return Answer(body, final)


def _check_status(status: int, url: str, host: str, *, asked: bool) -> None:
    if status in (404, 410):
        raise UnknownIdError(f"{url}: there is no such entry; check the id")
    if status in _BUSY:
        raise ServerUnreachableError(f"{host} is in trouble (HTTP {status}); try again later ({url})")
    if status != 200 and not (asked and status == 204):
        raise UnusableAnswerError(f"{url}: refused with HTTP {status}; check the id and the base URL")


def _check_beginning(beginning: bytes, kind: str, url: str) -> None:
    """Refuse what no database sends as data."""
    text = beginning.lstrip().lower()
    if not text:
        raise UnusableAnswerError(f"{url}: the answer is empty; try again later")
    if "html" in kind.lower() or text.startswith((b"<!doctype html", b"<html")):
        raise UnusableAnswerError(
            f"{url}: the answer is a web page, not data; is there a login page or a proxy in between?"
        )
    # Object stores report a missing file this way, some of them with status 200.
    if b"<error>" in text and text.startswith((b"<?xml", b"<error")):
        raise UnusableAnswerError(f"{url}: the answer is an error in XML, not data; the file may have moved")


def _body(answer: object, progress: Progress, stop: threading.Event) -> IO[bytes]:
    import requests

    assert isinstance(answer, requests.Response)
    # Of a body that is compressed on its way the length is that of the compressed bytes, which nobody counts here.
    plain = "Content-Encoding" not in answer.headers
    total = int(answer.headers.get("Content-Length", 0)) if plain else 0
    # Closed by being dropped: it belongs to the answer.
    body = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
    done = 0
    for chunk in answer.iter_content(_CHUNK):
        if stop.is_set():
            raise CancelledError("stopped")
        body.write(chunk)
        done += len(chunk)
        progress(done, total)
    body.seek(0)
    return body


def _abandoned_when(stop: threading.Event, work: Callable[[], T]) -> T:
    """Result of ``work``, or :class:`CancelledError` as soon as ``stop`` is set.

    A thread that waits for a silent server cannot be woken. It is left behind: it ends with its time-out and, having
    only memory and a nameless file to write to, leaves nothing.
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
