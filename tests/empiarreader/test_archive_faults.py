"""Every way an archive can fail, acted out by a real server: right bytes, or an error that says what happened."""

import os
import random
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from napari_empiarreader.archive import Archive, ArchiveSettings
from napari_empiarreader.archive.faults import (
    AnswerHtml,
    AnswerPage,
    CutBody,
    Delay,
    FailWith,
    Hang,
    IgnoreRanges,
    OtherRange,
    OtherSize,
    Redirect,
    Reset,
    ShortBody,
    StallBody,
    Trickle,
    WrongLength,
)
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.archive.transport import _target, pause, retry_after, sent
from napari_empiarreader.errors import (
    ArchiveError,
    EntryNotFoundError,
    FileChangedError,
    RangesNotSupportedError,
    ServerUnreachableError,
    TruncatedFileError,
    UserError,
)

BYTES = random.Random(3).randbytes(3_500_000)
HASTY = {"timeout": 0.4, "retries": 3, "backoff": 0.005}
MIB = 1 << 20


@pytest.fixture
def server(tmp_path):
    (tmp_path / "10017" / "data").mkdir(parents=True)
    (tmp_path / "10017" / "data" / "a.mrc").write_bytes(BYTES)
    with LoopbackArchive(tmp_path) as server:
        yield server


@pytest.fixture
def archive(server):
    return Archive(replace(server.settings, cache_bytes=0, **HASTY))


@pytest.fixture
def file(archive):
    return archive.file(10017, "data/a.mrc")


ONCE = [
    FailWith(503),
    FailWith(429),
    Hang(3),
    Reset(),
    Reset(after=500_000),
    CutBody(after=500_000),
    StallBody(after=500_000, seconds=3),
    WrongLength(+7),
    WrongLength(-7),
    ShortBody(7),
    OtherRange(+10),
    OtherRange(-10),
    AnswerHtml(),
    Delay(0.05),
]


@pytest.mark.parametrize("etags", [True, False], ids=["etags", "no etags"])
@pytest.mark.parametrize("fault", ONCE, ids=str)
def test_a_fault_that_passes_is_not_noticed_by_a_read(server, file, fault, etags):
    server.etags = etags
    server.inject(fault)
    assert file.read(1000, 2_000_000) == BYTES[1000:2_000_000]
    assert len(server.requests) == (1 if isinstance(fault, Delay) else 2)


@pytest.mark.parametrize("fault", [*ONCE, IgnoreRanges()], ids=str)
def test_a_fault_that_passes_is_not_noticed_by_a_stream(server, file, fault):
    server.inject(CutBody(after=1_200_000))
    server.inject(fault)
    blocks = list(file.stream())
    assert b"".join(blocks) == BYTES
    assert [len(block) for block in blocks] == [MIB, MIB, MIB, len(BYTES) - 3 * MIB]


@pytest.mark.parametrize("fault", [Reset(after=1_700_000), CutBody(after=1_700_000), StallBody(1_700_000, 3)], ids=str)
def test_a_broken_body_moves_no_byte_twice(server, file, fault):
    server.inject(fault)
    assert file.read(0, len(BYTES)) == BYTES
    # A reset throws away what waits unread on the way; the rest is had but once.
    assert server.bytes_sent <= (1.5 if isinstance(fault, Reset) else 1.0) * len(BYTES)
    assert server.requests[1].range != server.requests[0].range or isinstance(fault, Reset)


def test_retries_start_anew_where_progress_was_made(server, file):
    """Given a body that breaks more often than there are retries, when each piece is long, then all of it arrives."""
    server.inject(CutBody(after=MIB // 2), times=None)
    assert b"".join(file.stream()) == BYTES
    assert len(server.requests) == 7 > HASTY["retries"] + 1
    assert server.bytes_sent == len(BYTES)


def test_a_body_that_comes_byte_by_byte_is_given_up(server, archive):
    patient = Archive(replace(archive.settings, timeout=0.1, retries=1)).file(10017, "data/a.mrc")
    server.inject(Trickle(0.02))
    assert patient.read(100, 200_000) == BYTES[100:200_000]
    server.inject(Trickle(0.02), times=None)
    with pytest.raises(ServerUnreachableError):
        patient.read(100, 200_000)
    assert len(server.requests) == 4


def test_a_server_that_hands_out_drops_is_given_up(server, file):
    server.inject(CutBody(after=1000), times=None)
    with pytest.raises(ServerUnreachableError):
        list(file.stream())
    assert len(server.requests) == HASTY["retries"] + 1


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        (Reset(), ServerUnreachableError, "no complete answer"),
        (Reset(after=0), ServerUnreachableError, "no complete answer"),
        (StallBody(after=10, seconds=3), ServerUnreachableError, "no complete answer"),
        (WrongLength(+7), TruncatedFileError, "in one header and 199,907|199907 in another"),
        (WrongLength(-7), TruncatedFileError, "in one header"),
        (OtherRange(+10), ArchiveError, "sends bytes 110 to 200,009 of 3,500,000 when asked for others"),
        (Redirect(), ArchiveError, "redirects again and again"),
        (Redirect("file:///etc/passwd"), ArchiveError, "which is no web address"),
        (Redirect("ftp://127.0.0.1/a.mrc"), ArchiveError, "which is no web address"),
        (AnswerPage("<html>", "text/html"), ArchiveError, "web page instead"),
        (FailWith(404), EntryNotFoundError, "no such file"),
        (FailWith(500), ServerUnreachableError, "no complete answer"),
        (FailWith(418), ArchiveError, "status 418"),
        (FailWith(416), TruncatedFileError, "the file ends before byte 200,000"),
    ],
    ids=str,
)
def test_a_lasting_fault_is_a_specific_error_in_one_line(server, file, fault, expected, words):
    server.inject(fault, times=None)
    with pytest.raises(expected, match=words) as error:
        file.read(100, 200_000)
    assert "a.mrc" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(expected):
        list(file.stream(100, 200_000))


def test_a_range_called_impossible_that_is_not_is_asked_for_again(server, file):
    file.read(0, 10)
    server.inject(FailWith(416))
    assert file.read(10, 20) == BYTES[10:20]
    server.inject(FailWith(416), times=None)
    with pytest.raises(ArchiveError, match="calls a range impossible"):
        file.read(20, 30)


@pytest.mark.parametrize("status", [405, 416, 418, 500, 503])
def test_a_size_that_cannot_be_had_is_an_error(server, file, status):
    server.inject(FailWith(status), times=None)
    with pytest.raises(ArchiveError, match=r"a\.mrc"):
        file.size()


@pytest.mark.parametrize("fault", [FailWith(503), Reset(), Hang(3), AnswerHtml()], ids=str)
def test_a_size_is_asked_for_again(server, file, fault):
    server.inject(fault)
    assert file.size() == len(BYTES)


def test_one_missing_file_among_many_fails_alone(server, archive):
    folder = server.root / "10017" / "data"
    for i in range(20):
        (folder / f"{i}.mrc").write_bytes(bytes([i]) * 100)
    server.inject(FailWith(404), pattern="*/7.mrc")

    def read(i):
        try:
            return archive.file(10017, f"data/{i}.mrc").read(0, 100)
        except EntryNotFoundError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(read, range(20)))
    assert "data/7.mrc: the archive has no such file" in answers.pop(7)
    assert answers == [bytes([i]) * 100 for i in range(20) if i != 7]


# ---- servers without ranges ----------------------------------------------------------------------------------


def test_without_ranges_a_part_is_refused_and_the_whole_is_had(server, file):
    server.inject(IgnoreRanges(), times=None)
    with pytest.raises(RangesNotSupportedError, match="download it"):
        file.read(100, 200)
    with pytest.raises(RangesNotSupportedError):
        file.read(0, 200)
    assert file.read(0, len(BYTES) + 10, at_most=True) == BYTES
    assert b"".join(file.stream()) == BYTES
    with pytest.raises(RangesNotSupportedError):
        list(file.stream(5))


def test_without_ranges_a_broken_stream_passes_over_what_it_had(server, file):
    server.faults.take = lambda path: [CutBody(after=2_000_000) if len(server.requests) == 1 else IgnoreRanges()]
    assert b"".join(file.stream()) == BYTES


# ---- redirects -----------------------------------------------------------------------------------------------


def test_redirects_are_followed_for_files_and_listings(server, archive, tmp_path):
    (tmp_path / "10017" / "data" / "sub é").mkdir()
    (tmp_path / "10017" / "data" / "sub é" / "b.mrc").write_bytes(b"b" * 10)
    server.inject(
        Redirect("/empiar/world_availability/10017/data/sub%20%C3%A9/b.mrc"), pattern="*/moved.mrc", times=None
    )
    server.inject(Redirect("../sub%20%C3%A9/", status=301), pattern="*/data/old/", times=None)
    assert archive.file(10017, "data/moved.mrc").read(2, 9) == b"b" * 7
    assert archive.file(10017, "data/moved.mrc").size() == 10
    assert [item.name for item in archive.list(10017, "data/old")] == ["b.mrc"]


def test_another_host_is_followed_but_nothing_is_told_to_it(server, archive, tmp_path):
    with LoopbackArchive(tmp_path) as mirror:
        server.inject(Redirect(mirror.settings.archive_url + "/10017/data/a.mrc"), pattern="*.mrc", times=None)
        assert archive.file(10017, "data/a.mrc").read(5, 50) == BYTES[5:50]
        assert [request.range for request in mirror.requests] == ["bytes=5-49"]


HOSTILE = ["file:///etc/passwd", "ftp://127.0.0.1/a", "mailto:x@y", "https://", "http://[", "http://127.0.0.1:99999/"]
HOSTILE += ["http://127.0.0.1:x/", "data:,x"]


@pytest.mark.parametrize("target", HOSTILE)
def test_a_redirect_to_no_web_address_is_not_followed(server, archive, target):
    server.inject(Redirect(target), times=None)
    for ask in (lambda: archive.file(10017, "data/a.mrc").read(0, 9), lambda: archive.list(10017, "data")):
        with pytest.raises(ArchiveError):
            ask()
    assert len(server.requests) <= 2 * (HASTY["retries"] + 2)


@pytest.mark.parametrize(
    "target", ["http://ftp.ebi.ac.uk/a", "http://127.0.0.1:9/a", "HTTP://x/", "file:///etc/passwd", "mailto:x@y"]
)
def test_nothing_leads_from_an_encrypted_address_to_an_open_one(target):
    asked = "https://ftp.ebi.ac.uk/empiar/a.mrc"
    with pytest.raises(ArchiveError, match="not followed"):
        _target(asked, asked, target)
    assert _target(asked, asked, "b.mrc") == "https://ftp.ebi.ac.uk/empiar/b.mrc"
    assert _target(asked, asked, "//mirror/b.mrc") == "https://mirror/b.mrc"


# ---- politeness ----------------------------------------------------------------------------------------------


def test_no_more_requests_than_allowed_are_under_way_for_files_and_listings_together(server, archive):
    now, most, lock = 0, 0, threading.Lock()

    def watch(path):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return []

    server.faults.take = watch
    polite = Archive(replace(archive.settings, connections=3))

    def ask(i):
        return polite.list(10017, "data") if i % 4 == 0 else polite.file(10017, "data/a.mrc").read(i, i + 10)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(40)))
    assert len(server.requests) == 40
    assert 2 <= most <= 3


def test_a_thread_that_holds_a_stream_may_read_beside_it(archive):
    single = Archive(replace(archive.settings, connections=1)).file(10017, "data/a.mrc")
    stream = single.stream(block=1000)
    assert next(stream) == BYTES[:1000]
    assert single.read(5, 10) == BYTES[5:10]
    assert next(stream) == BYTES[1000:2000]
    stream.close()
    with ThreadPoolExecutor(1) as pool:  # its place is free again
        assert pool.submit(single.read, 0, 9).result(5) == BYTES[:9]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3), ("0", 0), ("", None), ("soon", None), ("-5", None), ("٣", None), ("Mon, 01 Jan 2024 00:00:00 -0000", 0)],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text, seconds):
    assert retry_after({"Retry-After": text}) == seconds
    assert 50 < retry_after({"Retry-After": formatdate(time.time() + 60)}) < 61


def test_the_server_is_believed_about_the_pause_within_reason(server, file, monkeypatch):
    pauses = []
    monkeypatch.setattr("napari_empiarreader.archive.transport.time.sleep", pauses.append)
    server.inject(FailWith(503, retry_after="0"))
    server.inject(FailWith(503, retry_after="3600"))
    assert file.read(0, 9) == BYTES[:9]
    assert len(pauses) == 2
    assert 0 < pauses[0] <= HASTY["backoff"]
    assert pauses[1] == HASTY["timeout"]


def test_pauses_double_up_to_the_time_out_and_differ_by_chance(archive, monkeypatch):
    pauses = []
    monkeypatch.setattr("napari_empiarreader.archive.transport.time.sleep", pauses.append)
    for failures in range(1, 60):
        pause(archive.settings, failures)
    assert all(
        min(0.4, 0.005 * 2 ** (i - 1)) / 2 <= seconds <= min(0.4, 0.005 * 2 ** (i - 1))
        for i, seconds in enumerate(pauses, 1)
    )
    assert len(set(pauses)) == len(pauses)


# ---- a file that changes -------------------------------------------------------------------------------------


def test_another_length_between_two_answers_is_a_change(server, file):
    assert file.read(0, 10) == BYTES[:10]
    server.inject(OtherSize(+1), times=None)
    with pytest.raises(FileChangedError, match="3,500,000 bytes then, 3,500,001 now"):
        file.read(10, 20)


def test_a_file_replaced_inside_a_body_is_a_change(server, file):
    path = server.root / "10017" / "data" / "a.mrc"
    server.inject(CutBody(after=MIB + 5))
    stream = file.stream()
    assert next(stream) == BYTES[:MIB]
    path.write_bytes(BYTES[::-1] + b"more")
    with pytest.raises(FileChangedError):
        list(stream)


def test_a_file_replaced_by_one_as_long_is_noticed_by_its_date(server, file):
    path = server.root / "10017" / "data" / "a.mrc"
    assert file.read(0, 10) == BYTES[:10]
    path.write_bytes(BYTES[::-1])
    os.utime(path, (time.time() + 5, time.time() + 5))  # dates count in whole seconds
    with pytest.raises(FileChangedError):
        file.read(10, 20)


def test_servers_that_disagree_about_tag_and_date_serve_one_file(server, file):
    path = server.root / "10017" / "data" / "a.mrc"
    os.utime(path, (1e9, 1e9))
    server.inject(CutBody(after=MIB))
    stream = file.stream()
    assert next(stream) == BYTES[:MIB]
    os.utime(path, (1.2e9, 1.2e9))  # as another server of the archive may have it
    assert b"".join(stream) == BYTES[MIB:]


# ---- hostile pages -------------------------------------------------------------------------------------------

NAMES = ["../x", "/etc/passwd", "..", "%2e%2e", "%2e%2e/", "..%2fx", "%2Fetc", "a%5cb", "a\\b", "%00", "a%0ab", "%7f"]
NAMES += ["%252e%252e", "./../x", "//host/x", "http://host/x", "javascript:x", "data:x", "?x", "#x", "%ed%a0%80", ""]


@pytest.mark.parametrize("layout", ["<li>{}</li>", "<tr><td>{}</td></tr>", "<pre>{}</pre>"])
def test_no_name_of_a_hostile_listing_leaves_its_folder(server, archive, layout):
    links = "".join(layout.format(f'<a href="{name}">x</a> 2020-01-01 10:00 1K') for name in [*NAMES, "good.mrc"])
    server.inject(AnswerPage(f"<html><title>Index of /x</title>{links}</html>"))
    assert [item.path for item in archive.list(10017, "data")] == ["data/good.mrc"]


@pytest.mark.parametrize("page", ["<html><h1>Login</h1></html>", "", "{}", "<" * 50_000, "\0\xff" * 100])
def test_a_page_that_is_no_listing_is_an_error_and_not_kept(server, page):
    archive = Archive(replace(server.settings, **HASTY))
    server.inject(AnswerPage(page))
    with pytest.raises(ArchiveError, match="no file listing"):
        archive.list(10017, "data")
    assert [item.name for item in archive.list(10017, "data")] == ["a.mrc"]


@pytest.mark.parametrize("page", ["<html></html>", "", "[" * 100_000, "[1]", '{"EMPIAR-1": 5}'])
def test_an_answer_that_is_no_entry_is_an_error_and_not_kept(server, page):
    archive = Archive(replace(server.settings, **HASTY))
    server.inject(AnswerPage(page))
    with pytest.raises(UserError):
        archive.entry(10017)
    assert archive.entry(10017).number == 10017


@pytest.mark.parametrize(
    "fault", [FailWith(503), Hang(3), Reset(), CutBody(20), StallBody(20, 3), Reset(after=20)], ids=str
)
def test_listings_and_entries_are_asked_for_again(server, archive, fault):
    server.inject(fault)
    assert [item.name for item in archive.list(10017, "data")] == ["a.mrc"]
    server.inject(fault)
    assert archive.entry(10017).number == 10017


# ---- answers that are hardly HTTP ----------------------------------------------------------------------------


class _Raw(socketserver.BaseRequestHandler):
    def handle(self):
        received = b""
        while b"\r\n\r\n" not in received and (part := self.request.recv(4096)):
            received += part
        self.request.sendall(self.server.answer)


@pytest.fixture
def raw():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Raw) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


RANGE = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/10\r\n"
RIGHT = [
    RANGE + b"Content-Length: 4\r\n\r\nabcd",
    RANGE + b"\r\nabcd",
    RANGE + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n3\r\nbcd\r\n0\r\n\r\n",
    RANGE + b"Content-Length: 4\r\nContent-Encoding: gzip\r\n\r\nabcd",  # as Apache calls a .gz file
    RANGE + b"Content-Length: 4\r\nLast-Modified: 99\r\nDate: soon\r\nETag: \xff\r\n\r\nabcd",
]
WRONG = [
    b"",
    b"\0" * 1000,
    b"HTTP/1.1 206\r\n\r\nabcd",
    b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\n" + b"X: y\r\n" * 5000 + b"\r\nabcd",
    b"HTTP/1.1 206 Partial Content\r\nX: " + b"y" * 100_000 + b"\r\n\r\nabcd",
    RANGE + b"Content-Length: -4\r\n\r\nabcd",
    RANGE + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nabcd",
    RANGE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabcd",
    RANGE + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\nab",
    RANGE.replace(b"0-3/10", b"0-99999999999999999999/999999999999999999999") + b"\r\nabcd",
    RANGE.replace(b"0-3/10", b"3-0/10") + b"\r\nabcd",
    RANGE.replace(b"0-3/10", b"0-3/2") + b"\r\nabcd",
    RANGE.replace(b"0-3/10", b"0-3/*") + b"\r\nabcd",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nabcd",
    b"HTTP/1.1 200 OK\r\n\r\nabcd",
]


def raw_file(raw):
    url = f"http://127.0.0.1:{raw.server_address[1]}"
    settings = replace(HASTY_SETTINGS, archive_url=url, api_url=url)
    return Archive(settings).file(1, "a.mrc.gz")


HASTY_SETTINGS = ArchiveSettings(cache_bytes=0, **{**HASTY, "retries": 1})


@pytest.mark.parametrize("answer", RIGHT, ids=range(len(RIGHT)))
def test_odd_but_honest_answers_are_read(raw, answer):
    raw.answer = answer
    assert raw_file(raw).read(0, 4) == b"abcd"


@pytest.mark.parametrize("answer", WRONG, ids=range(len(WRONG)))
def test_answers_that_are_hardly_http_are_specific_errors(raw, answer):
    raw.answer = answer
    with pytest.raises(UserError):
        raw_file(raw).read(0, 4)
    with pytest.raises(UserError):
        raw_file(raw).size()


# ---- nothing is left behind ----------------------------------------------------------------------------------


OPEN = Path("/proc/self/fd")


def open_sockets():
    count = 0
    for link in OPEN.iterdir():
        with suppress(OSError):  # the one that lists the folder
            count += str(link.readlink()).startswith("socket:")
    return count


@pytest.mark.skipif(not OPEN.is_dir(), reason="needs /proc")
def test_faults_and_abandoned_streams_leak_no_connections_and_no_threads(server, archive):
    archive.file(10017, "data/a.mrc").read(0, 1)
    threads = set(threading.enumerate())
    ways = [Reset(), Reset(1000), CutBody(1000), FailWith(503), AnswerHtml(), WrongLength(3), OtherRange(2), Redirect()]
    dice = random.Random(1)
    server.faults.take = lambda path: [dice.choice(ways)] if dice.random() < 0.5 else []
    for i in range(60):
        try:
            archive.file(10017, "data/a.mrc").read(i, i + 300_000)
            next(archive.file(10017, "data/a.mrc").stream(block=1000))
        except UserError:
            pass
    server.faults.take = lambda path: []
    deadline = time.monotonic() + 5
    ours = archive.settings.connections + 4  # kept open for the next request, at both ends, and the listening one
    while open_sockets() > 2 * ours and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_sockets() <= 2 * ours
    new = {thread.name for thread in set(threading.enumerate()) - threads}
    assert not [name for name in new if "loopback" not in name and "process_request" not in name]


def test_an_answer_is_closed_when_its_reader_fails(server, archive):
    url = archive.file(10017, "data/a.mrc").url
    with pytest.raises(ZeroDivisionError), sent(url, archive.settings) as answer:
        1 / 0  # noqa: B018
    assert answer.raw.closed


def test_a_dead_host_is_given_up_sooner_than_a_moody_one(archive):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    settings = replace(archive.settings, archive_url=url, api_url=url, retries=50, backoff=0.001)
    with pytest.raises(ServerUnreachableError):
        Archive(settings).file(1, "a.mrc").read(0, 1)
    with pytest.raises(ServerUnreachableError):
        Archive(settings).list(1)


def test_a_run_through_every_fault_reads_right_or_says_why():
    script = Path(__file__).parents[1] / "benchmarks" / "fault_run.py"
    command = [sys.executable, str(script), "--reads", "60", "--share", "40", "--seed", "4"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "all right" in answer.stdout
    assert int(re.search(r"read right +(\d+)", answer.stdout)[1]) >= 40
