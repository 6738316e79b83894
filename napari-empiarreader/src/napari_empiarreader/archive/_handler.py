"""How :class:`LoopbackArchive` answers one request: as the archive does, or with the fault it was told to show."""

from __future__ import annotations

import email.utils
import html
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

from napari_empiarreader.archive.faults import (
    AnswerHtml,
    AnswerPage,
    CutBody,
    Delay,
    FailWith,
    Fault,
    Hang,
    IgnoreRanges,
    OtherRange,
    OtherSize,
    Redirect,
    Reset,
    ShortBody,
    StallBody,
    Throttle,
    Trickle,
    WrongLength,
)

if TYPE_CHECKING:
    from napari_empiarreader.archive.server import LoopbackArchive

API_PATH = "/empiar/api"
ARCHIVE_PATH = "/empiar/world_availability"
EMDB_PATH = "/emdb/api"
_CHUNK = 1 << 18
_TICK = 0.02
"""Seconds between two writes of a throttled body."""
_LONGEST_QUESTION = 1 << 20
_SPAN = re.compile(r"(?:EMPIAR-)?(\d{1,9})(?:-(?:EMPIAR-)?(\d{1,9}))?")


class ArchiveHandler(BaseHTTPRequestHandler):
    """One connection to the archive."""

    protocol_version = "HTTP/1.1"
    server_version = "LoopbackArchive"
    # Headers and body leave in two writes; without this the second waits 40 ms for an acknowledgement.
    disable_nagle_algorithm = True

    def __init__(self, archive: LoopbackArchive, *arguments: Any) -> None:
        self.archive = archive
        super().__init__(*arguments)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; the archive counts."""

    def do_HEAD(self) -> None:
        """Answer with headers only."""
        self._answer()

    def do_GET(self) -> None:
        """Answer with a page, a file or a part of a file."""
        self._answer()

    def do_POST(self) -> None:
        """Answer a question about many entries at once."""
        length = self.headers.get("Content-Length", "")
        if not (length.isdecimal() and int(length) <= _LONGEST_QUESTION):
            self.close_connection = True
            self._send_text(413, "", "text/html")
            return
        self._answer(self.rfile.read(int(length)).decode("utf-8", "replace"))

    def _answer(self, body: str = "") -> None:
        path = unquote(urlsplit(self.path).path)
        self.archive.note_request(self.command, path, self.headers.get("Range"), body)
        fault: Fault | None = None
        self._pace: float | None = None  # bytes per second
        for taken in self.archive.faults.take(path):
            if isinstance(taken, Delay):
                time.sleep(taken.seconds)
            elif isinstance(taken, Throttle):
                self._pace = taken.bytes_per_second
            else:
                fault = taken
        if isinstance(fault, Hang):
            self.server.closing.wait(fault.seconds)  # type: ignore[attr-defined]
            self.close_connection = True
        elif isinstance(fault, FailWith):
            asked = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            self._send_text(fault.status, f"<html><body>{fault.status}</body></html>", "text/html", **asked)
        elif isinstance(fault, Reset) and fault.after is None:
            self._reset()
        elif isinstance(fault, Redirect):
            self._send_text(fault.status, "", "text/html", Location=fault.target or self.path)
        elif isinstance(fault, AnswerPage):
            self._send_text(200, fault.page, fault.content_type)
        elif isinstance(fault, AnswerHtml):
            self._send_text(200, "<html><body><h1>Down for maintenance</h1></body></html>", "text/html")
        elif self.command == "POST":
            self._send_entries(path, body)
        elif match := re.fullmatch(rf"{EMDB_PATH}/entry/(EMD-\d+)/?", path):
            self._send_emdb(match[1])
        elif match := re.fullmatch(rf"{API_PATH}/entry/(?:EMPIAR-)?(\d+)/?", path):
            self._send_entry(int(match[1]))
        elif match := re.fullmatch(rf"{ARCHIVE_PATH}/(\d+)(/.*)?", path):
            self._send_stored(path, int(match[1]), match[2] or "", fault)
        else:
            self._send_not_found()

    def _send_entry(self, number: int) -> None:
        entry = self._entry(number)
        if entry is None:
            self._send_text(404, json.dumps({"detail": "Not found."}), "application/json")
        else:
            self._send_text(200, json.dumps(entry), "application/json")

    def _entry(self, number: int) -> Any:
        """What the service answers for an entry; None where there is no such entry."""
        folder = self.archive.entry_folder(number)
        entry = self.archive.metadata(number)
        if entry is None and folder is not None:
            stored = folder / "entry.json"
            entry = json.loads(stored.read_text("utf-8")) if stored.is_file() else _described(number, folder)
        if entry is None:
            return None
        # The file may hold the entry itself, or what the service answers.
        return entry if f"EMPIAR-{number}" in entry else {f"EMPIAR-{number}": entry}

    def _send_entries(self, path: str, question: str) -> None:
        """Answer ``10050,10054,10060-10072`` with those of the entries that there are."""
        spans = [_SPAN.fullmatch(part.strip()) for part in question.split(",")]
        if not re.fullmatch(rf"{API_PATH}/entry/?", path) or not all(spans):
            self._send_text(400, json.dumps({"detail": "Bad request."}), "application/json")
            return
        wanted = [range(int(span[1]), int(span[2] or span[1]) + 1) for span in spans if span]
        entries: dict[str, Any] = {}
        for number in self.archive.entry_numbers():
            if any(number in span for span in wanted):
                entries |= self._entry(number) or {}
        if self.archive.brief_answers:
            entries = {name: {k: v for k, v in entry.items() if k != "imagesets"} for name, entry in entries.items()}
        self._send_text(200, json.dumps(entries), "application/json")

    def _send_emdb(self, emdb_id: str) -> None:
        entry = self.archive.emdb_entry(emdb_id)
        if entry is None:
            self._send_text(404, json.dumps({"message": "Not found"}), "application/json")
        else:
            self._send_text(200, json.dumps(entry), "application/json")

    def _send_stored(self, path: str, number: int, inside: str, fault: Fault | None) -> None:
        local = self.archive.local_path(number, inside)
        if local is None or (local.is_file() and path.endswith("/")):
            self._send_not_found()
        elif local.is_file():
            self._send_file(local, fault)
        elif not path.endswith("/"):
            self._send_text(301, "", "text/html", Location=quote(path) + "/")
        else:
            bare = not inside.strip("/") and not self.archive.is_whole_entry(local)
            rows = [("data", True, 0, local.stat().st_mtime)] if bare else _rows(local)
            page = _PAGES[self.archive.layout]
            self._send_text(200, page(path, rows), "text/html;charset=UTF-8")

    def _send_file(self, local: Path, fault: Fault | None) -> None:
        with local.open("rb") as file:  # length and bytes of one version, also where the file is replaced meanwhile
            self._send_open_file(file, fault)

    def _send_open_file(self, file: BinaryIO, fault: Fault | None) -> None:
        stat = os.fstat(file.fileno())
        start, stop, status = 0, stat.st_size, 200
        span = None if isinstance(fault, IgnoreRanges) else _byte_range(self.headers.get("Range"), stat.st_size)
        if span is not None:
            start, stop = span
            status = 206
            if start >= stop:
                self._send_text(416, "", "text/html", **{"Content-Range": f"bytes */{stat.st_size}"})
                return
        if isinstance(fault, OtherRange) and status == 206:
            start = min(start + fault.shift, stat.st_size - 1)
            stop = min(stop + fault.shift, stat.st_size)
        missing = min(fault.missing, stop - start) if isinstance(fault, ShortBody) else 0
        total = stat.st_size + (fault.difference if isinstance(fault, OtherSize) else 0)
        promised = stop - start - missing
        length = promised + (total - stat.st_size if status == 200 else 0)
        if isinstance(fault, WrongLength):
            length = max(0, length + fault.difference)
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(max(0, length)))
        self.send_header("Accept-Ranges", "bytes")
        if self.archive.etags:
            self.send_header("ETag", f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"')
        self.send_header("Last-Modified", email.utils.formatdate(stat.st_mtime, usegmt=True))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
        self.end_headers()
        if self.command == "HEAD":
            return
        breaking = fault if isinstance(fault, CutBody | StallBody | Reset) else None
        if isinstance(fault, Trickle):
            self._trickle(file, start, promised, fault.seconds)
        else:
            self._send_part(file, start, promised if breaking is None else min(breaking.after or 0, promised))
        if isinstance(fault, StallBody):
            self.server.closing.wait(fault.seconds)  # type: ignore[attr-defined]
        if isinstance(fault, Reset):
            self._reset()
        if breaking is not None or length != promised:
            self.close_connection = True

    def _trickle(self, file: BinaryIO, start: int, wanted: int, seconds: float) -> None:
        file.seek(start)
        while wanted > 0 and not self.server.closing.wait(seconds):  # type: ignore[attr-defined]
            self._write(file.read(1))
            wanted -= 1

    def _send_part(self, file: BinaryIO, start: int, wanted: int) -> None:
        file.seek(start)
        began, sent = time.monotonic(), 0
        chunk = _CHUNK if self._pace is None else max(1, min(_CHUNK, int(self._pace * _TICK)))
        while wanted > sent and (block := file.read(min(chunk, wanted - sent))):
            self._write(block)
            sent += len(block)
            if self._pace is not None and self._is_closing(began + sent / self._pace - time.monotonic()):
                return

    def _is_closing(self, seconds: float) -> bool:
        """Whether the server closes within that time."""
        return bool(self.server.closing.wait(max(0.0, seconds)))  # type: ignore[attr-defined]

    def _reset(self) -> None:
        """End the connection as a machine does that has lost it: at once, without a word."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # closing the socket itself would wait for the files made of it

    def _send_not_found(self) -> None:
        self._send_text(404, "<html><head><title>404 Not Found</title></head></html>", "text/html")

    def _send_text(self, status: int, text: str, content_type: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and body:
            self._write(body)

    def _write(self, block: bytes) -> None:
        self.archive.note_bytes(len(block))  # first, so that a client which has its answer finds it counted
        self.wfile.write(block)


def _byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and stop (exclusive) of a Range header, clipped to the file; None for no, or an unreadable, header."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    return int(match[1]), min(int(match[2]) + 1, size) if match[2] else size


def _described(number: int, folder: Path) -> dict[str, Any]:
    """Metadata for a folder that brings none."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    images = [path for path in files if path.suffix.lower() in (".mrc", ".mrcs", ".tif", ".tiff", ".eer")]
    suffix = images[0].suffix.lstrip(".").upper() if images else "other"
    today = datetime.now(tz=UTC).date().isoformat()
    return {
        "title": f"{folder.name}: a folder of this machine, served as EMPIAR-{number}",
        "status": "REL",
        "release_date": today,
        "dataset_size": f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB",
        "authors": [],
        "citation": [],
        "cross_references": [],
        "imagesets": [
            {
                "name": "data",
                "directory": "data",
                "category": "micrographs - single frame",
                "data_format": suffix,
                "num_images_or_tilt_series": len(images),
                "frames_per_image": 1,
                "pixel_width": None,
                "pixel_height": None,
                "image_width": None,
                "image_height": None,
                "details": None,
            }
        ],
    }


_Row = tuple[str, bool, int, float]


def _rows(folder: Path) -> list[_Row]:
    return [
        (path.name, path.is_dir(), path.stat().st_size, path.stat().st_mtime)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    ]


def _rounded(size: int) -> str:
    """A size as Apache rounds it: 999, 4.0K, 12M."""
    value, units = float(size), iter("KMGTP")
    unit = ""
    while value >= 973:
        value, unit = value / 1024, next(units)
    if not unit:
        return str(size)
    return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"


def _cells(row: _Row) -> tuple[str, str, str, str]:
    """Link, shown name, date and size of a row, as Apache writes them."""
    name, is_folder, size, modified = row
    slash = "/" if is_folder else ""
    link = quote(name) + slash
    shown = name + slash if len(name) < 30 else name[:26] + "..>"
    date = datetime.fromtimestamp(modified, tz=UTC).strftime("%Y-%m-%d %H:%M")
    return link, html.escape(shown), date, "- " if is_folder else _rounded(size)


_SORT_LINKS = (
    '<a href="?C=N;O=D">Name</a>',
    '<a href="?C=M;O=A">Last modified</a>',
    '<a href="?C=S;O=A">Size</a>',
    '<a href="?C=D;O=A">Description</a>',
)


def _page(path: str, body: str) -> str:
    title = f"Index of {html.escape(path.rstrip('/'))}"
    head = '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n<html>\n <head>\n'
    return f"{head}  <title>{title}</title>\n </head>\n <body>\n<h1>{title}</h1>\n{body}\n</body></html>\n"


def _parent(path: str) -> str:
    return quote(path.rstrip("/").rsplit("/", 1)[0]) + "/"


def _table_page(path: str, rows: list[_Row]) -> str:
    heads = "".join(f"<th>{link}</th>" for link in _SORT_LINKS)
    lines = [
        f'<tr><th valign="top"><img src="/icons/blank.gif" alt="[ICO]"></th>{heads}</tr>',
        '<tr><th colspan="5"><hr></th></tr>',
        f'<tr><td><img alt="[PARENTDIR]"></td><td><a href="{_parent(path)}">Parent Directory</a></td><td>&nbsp;</td>'
        '<td align="right">  - </td><td>&nbsp;</td></tr>',
    ]
    for link, shown, date, size in map(_cells, rows):
        lines.append(
            f'<tr><td valign="top"><img alt="[   ]"></td><td><a href="{link}">{shown}</a></td>'
            f'<td align="right">{date}  </td><td align="right">{size}</td><td>&nbsp;</td></tr>'
        )
    return _page(path, "  <table>\n" + "\n".join(lines) + "\n</table>")


def _pre_page(path: str, rows: list[_Row]) -> str:
    lines = [
        f'<pre><img alt="Icon "> {"  ".join(_SORT_LINKS)}<hr>'
        f'<img alt="[PARENTDIR]"> <a href="{_parent(path)}">Parent Directory</a>                             -   '
    ]
    for link, shown, date, size in map(_cells, rows):
        lines.append(f'<img alt="[   ]"> <a href="{link}">{shown}</a> {date} {size:>5}  ')
    return _page(path, "\n".join(lines) + "\n<hr></pre>")


_PAGES: dict[str, Callable[[str, list[_Row]], str]] = {"table": _table_page, "pre": _pre_page}
