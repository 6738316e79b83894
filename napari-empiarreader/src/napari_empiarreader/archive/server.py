"""A real archive on this machine: entries, listings and byte ranges over HTTP, for a demonstration or a test.

Anything that reads EMPIAR can read it, because it answers as EMPIAR does. It counts what it sends, and it can be told
to misbehave (see :mod:`napari_empiarreader.archive.faults`).
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import tempfile
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple

from napari_empiarreader.archive._handler import API_PATH, ARCHIVE_PATH, EMDB_PATH, ArchiveHandler
from napari_empiarreader.archive.client import Archive
from napari_empiarreader.archive.faults import Fault, FaultPlan
from napari_empiarreader.archive.settings import ArchiveSettings
from napari_empiarreader.errors import NothingFoundError

__all__ = ["LoopbackArchive", "ServedRequest"]


class ServedRequest(NamedTuple):
    """One request as it came in: method, decoded path, the Range header or None, and the body of a POST."""

    method: str
    path: str
    range: str | None
    body: str = ""


class LoopbackArchive:
    """An archive served from the machine itself, on 127.0.0.1 and a free port, until it is closed.

    Parameters
    ----------
    root
        Folder with one folder per entry: ``ROOT/10017/data/...`` and, if there, ``ROOT/10017/entry.json``.
    layout
        Which of Apache's two listing pages to write, ``"table"`` or ``"pre"``.
    etags
        Send an ETag with each file, as Apache does by default; some front ends strip them.
    emdb
        What EMDB says about its entries: a folder of ``EMD-2824.json``, or a dictionary by id.
    brief_answers
        Leave out the image sets where many entries are asked for at once.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.mrc").write_bytes(b"0123")
    >>> with LoopbackArchive() as server:
    ...     server.add_entry(99001, folder)
    ...     server.archive.file(99001, "data/a.mrc").read(1, 3)
    b'12'
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        layout: Literal["table", "pre"] = "table",
        etags: bool = True,
        emdb: Path | str | Mapping[str, Any] | None = None,
        brief_answers: bool = False,
    ) -> None:
        self.root = None if root is None else Path(root)
        self.layout = layout
        self.etags = etags
        self.faults = FaultPlan()
        self.emdb = Path(emdb) if isinstance(emdb, str) else emdb
        self.brief_answers = brief_answers
        self._added: dict[int, Path] = {}
        self._metadata: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._requests: list[ServedRequest] = []
        self._bytes_sent = 0
        self._server: _Server | None = None
        self._cache = Path(tempfile.gettempdir()) / f"loopback-archive-{uuid.uuid4().hex}"

    def __enter__(self) -> LoopbackArchive:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to answer; nothing happens when it already does."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", 0), partial(ArchiveHandler, self))
            threading.Thread(
                target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="loopback-archive", daemon=True
            ).start()

    def close(self) -> None:
        """Stop answering and free the port."""
        if self._server is not None:
            server, self._server = self._server, None
            server.closing.set()
            server.shutdown()
            server.hang_up()
            server.server_close()
            shutil.rmtree(self._cache, ignore_errors=True)

    @property
    def settings(self) -> ArchiveSettings:
        """Settings that point a client at this server, with a cache of its own that goes when the server is closed.

        The size of that cache is the environment's (``EMPIAR_CACHE_BYTES``).
        """
        if self._server is None:
            raise RuntimeError("the archive is not being served; use it in a with statement")
        host = f"http://127.0.0.1:{self._server.server_address[1]}"
        return ArchiveSettings(
            api_url=host + API_PATH,
            archive_url=host + ARCHIVE_PATH,
            emdb_url=host + EMDB_PATH,
            cache_folder=self._cache,  # the next server on this port would serve other bytes under the same address
            cache_bytes=ArchiveSettings.from_environment().cache_bytes,
        )

    @property
    def archive(self) -> Archive:
        """A client of this server."""
        return Archive(self.settings)

    def add_entry(self, number: int, folder: Path | str) -> None:
        """Serve ``folder`` as entry ``number``: an entry's own folder (with ``data/``), or just any folder of files.

        Raises
        ------
        NothingFoundError
            There is no such folder.
        """
        path = Path(folder)
        if not path.is_dir():
            raise NothingFoundError(f"{path}: no such folder, nothing to serve as EMPIAR-{number}")
        self._added[number] = path.absolute()

    def add_metadata(self, number: int, facts: dict[str, Any]) -> None:
        """Let the metadata service say ``facts`` about entry ``number``, whether or not it has files."""
        with self._lock:
            self._metadata[number] = facts

    def remove_metadata(self, number: int) -> None:
        """Let the metadata service forget what :meth:`add_metadata` told it."""
        with self._lock:
            del self._metadata[number]

    def metadata(self, number: int) -> dict[str, Any] | None:
        """What :meth:`add_metadata` was told about an entry, or None."""
        return self._metadata.get(number)

    def entry_numbers(self) -> list[int]:
        """Numbers of all entries, in order."""
        folders = [] if self.root is None else [path.name for path in self.root.iterdir() if path.is_dir()]
        with self._lock:
            found = {*self._added, *self._metadata}
        return sorted(found | {int(name) for name in folders if re.fullmatch(r"[0-9]{1,9}", name)})

    def emdb_entry(self, emdb_id: str) -> Any:
        """What EMDB says about its entry, or None."""
        if self.emdb is None or not isinstance(self.emdb, Path):
            return (self.emdb or {}).get(emdb_id)
        stored = self.emdb / f"{emdb_id}.json"
        return json.loads(stored.read_text("utf-8")) if stored.is_file() else None

    def entry_folder(self, number: int) -> Path | None:
        """Folder behind entry ``number``, or None."""
        if number in self._added:
            return self._added[number]
        folder = None if self.root is None else self.root / str(number)
        return folder if folder is not None and folder.is_dir() else None

    def local_path(self, number: int, path: str) -> Path | None:
        """File or folder behind ``path`` of entry ``number``, or None where there is nothing, or nothing to show."""
        folder = self.entry_folder(number)
        parts = [part for part in path.split("/") if part]
        if folder is None or any(part in (".", "..") or "\\" in part or "\0" in part for part in parts):
            return None
        if not self.is_whole_entry(folder):  # a bare folder of files stands in for the entry's data folder
            if not parts:
                return folder
            if parts.pop(0) != "data":
                return None
        local = folder.joinpath(*parts)
        return local if local.exists() else None

    @staticmethod
    def is_whole_entry(folder: Path) -> bool:
        """Whether the folder is laid out as an entry of the archive, with its files under ``data/``."""
        return (folder / "data").is_dir()

    def inject(self, fault: Fault, pattern: str = "*", times: int | None = 1) -> None:
        """Let a fault happen to the next ``times`` requests (None: to all) whose path fits the glob ``pattern``."""
        self.faults.add(fault, pattern, times)

    @property
    def requests(self) -> list[ServedRequest]:
        """Every request since the start or the last :meth:`reset_counts`, oldest first."""
        with self._lock:
            return list(self._requests)

    @property
    def bytes_sent(self) -> int:
        """Bytes of answer bodies sent since the start or the last :meth:`reset_counts`."""
        with self._lock:
            return self._bytes_sent

    def reset_counts(self) -> None:
        """Count from zero again."""
        with self._lock:
            self._requests.clear()
            self._bytes_sent = 0

    def note_request(self, method: str, path: str, range_header: str | None, body: str = "") -> None:
        """Count one request (called by the handler)."""
        with self._lock:
            self._requests.append(ServedRequest(method, path, range_header, body))

    def note_bytes(self, count: int) -> None:
        """Count body bytes (called by the handler)."""
        with self._lock:
            self._bytes_sent += count


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a connection kept alive by a client must not hold up the end
    request_queue_size = 128

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up early is not news."""

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, and remember it."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that is done."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep open: a server that is closed answers nobody."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
