"""The archive on this machine answers as the real one does, counts right, and shows nothing it should not."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests

from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.faults import Delay, FailWith
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import NothingFoundError, ServerUnreachableError


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my micrographs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.mrc").write_bytes(bytes(range(200)))
    (folder / "sub" / "b.mrc").write_bytes(b"b" * 10)
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def server(folder):
    with LoopbackArchive() as server:
        server.add_entry(99001, folder)
        yield server


def get(server, path, method="GET", **headers):
    url = server.settings.archive_url + path
    return requests.request(method, url, headers=headers, allow_redirects=False, timeout=5)


@pytest.mark.parametrize(
    ("header", "status", "content_range", "body"),
    [
        (None, 200, None, bytes(range(200))),
        ("bytes=0-9", 206, "bytes 0-9/200", bytes(range(10))),
        ("bytes=190-999", 206, "bytes 190-199/200", bytes(range(190, 200))),
        ("bytes=150-", 206, "bytes 150-199/200", bytes(range(150, 200))),
        ("bytes=-5", 206, "bytes 195-199/200", bytes(range(195, 200))),
        ("bytes=200-300", 416, "bytes */200", b""),
        ("bytes=x", 200, None, bytes(range(200))),
    ],
)
def test_ranges_are_answered_to_the_byte(server, header, status, content_range, body):
    answer = get(server, "/99001/data/a.mrc", **({"Range": header} if header else {}))
    assert answer.status_code == status
    assert answer.headers.get("Content-Range") == content_range
    assert answer.content == body
    assert int(answer.headers["Content-Length"]) == len(body)


def test_head_tells_the_size_and_sends_nothing(server):
    answer = get(server, "/99001/data/a.mrc", "HEAD")
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "200", b"")
    assert answer.headers["ETag"] == get(server, "/99001/data/a.mrc").headers["ETag"]
    assert server.requests[0].method == "HEAD"
    assert server.bytes_sent == 200


def test_a_bare_folder_becomes_an_entry_with_metadata_and_a_data_folder(server):
    entry = server.archive.entry(99001)
    assert "my micrographs" in entry.title
    assert [(i.directory, i.data_format, i.num_images) for i in entry.imagesets] == [("data", "MRC", 2)]
    assert [item.path for item in server.archive.walk(99001)] == ["data", "data/sub", "data/sub/b.mrc", "data/a.mrc"]


def test_an_entry_folder_brings_its_own_metadata(tmp_path):
    (tmp_path / "10017" / "data").mkdir(parents=True)
    (tmp_path / "10017" / "entry.json").write_text(json.dumps({"EMPIAR-10017": {"title": "Own"}}))
    with LoopbackArchive(tmp_path) as server:
        assert server.archive.entry(10017).title == "Own"


@pytest.mark.parametrize(
    "path",
    [
        "/99001/../secret.txt",
        "/99001/data/../../secret.txt",
        "/99001/data/%2e%2e/%2e%2e/secret.txt",
        "/99001/data/..%2fsecret.txt",
        "/99001/data/sub%5c..%5ca.mrc",
        "/99002/",
        "/etc/passwd",
        "",
    ],
)
def test_nothing_outside_an_entry_is_served(server, path):
    host, port = server.settings.archive_url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:  # requests would tidy the path
        connection.sendall(f"GET /empiar/world_availability{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 404")


def test_a_folder_without_its_slash_is_redirected(server):
    answer = get(server, "/99001/data/sub")
    assert answer.status_code == 301
    assert answer.headers["Location"].endswith("/99001/data/sub/")


def test_it_listens_on_this_machine_only_and_stops(folder):
    with LoopbackArchive() as server:
        server.add_entry(1, folder)
        settings = server.settings
        assert settings.archive_url.startswith("http://127.0.0.1:")
        assert get(server, "/1/").status_code == 200
    with pytest.raises(requests.ConnectionError):
        requests.get(settings.archive_url, timeout=2)
    with pytest.raises(RuntimeError, match="not being served"):
        _ = server.settings


def test_counts_are_right_under_threads_and_start_anew(server):
    server.inject(Delay(0.002), times=None)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: get(server, "/99001/data/a.mrc", Range="bytes=0-9"), range(40)))
    assert len(server.requests) == 40
    assert server.bytes_sent == 400
    assert {r[:3] for r in server.requests} == {("GET", "/empiar/world_availability/99001/data/a.mrc", "bytes=0-9")}
    server.reset_counts()
    assert (server.requests, server.bytes_sent) == ([], 0)


def test_a_fault_happens_as_often_as_told_and_where_told(server):
    server.inject(FailWith(500), pattern="*/a.mrc", times=2)
    statuses = [get(server, path).status_code for path in ["/99001/data/sub/b.mrc"] + ["/99001/data/a.mrc"] * 3]
    assert statuses == [200, 500, 500, 200]


def test_a_folder_that_is_none_cannot_be_served(tmp_path):
    with pytest.raises(NothingFoundError, match="nothing to serve as EMPIAR-5"):
        LoopbackArchive().add_entry(5, tmp_path / "none")


def test_a_closed_server_answers_nobody_not_even_on_connections_kept_open(tmp_path):
    (tmp_path / "a.mrc").write_bytes(bytes(4096))
    with LoopbackArchive() as server:
        server.add_entry(10017, tmp_path)
        settings = replace(server.settings, timeout=1.0, retries=0, backoff=0.01)
        file = Archive(settings).file(10017, "data/a.mrc")
        assert len(file.read(0, 1024)) == 1024
    with pytest.raises(ServerUnreachableError):
        file.read(1024, 2048)


# ---- metadata ------------------------------------------------------------------------------------------------


def post(server, body, path="/entry/"):
    return requests.post(server.settings.api_url + path, data=body, timeout=5)


def test_many_entries_are_answered_at_once_in_the_shape_of_the_service(tmp_path):
    (tmp_path / "10017" / "data").mkdir(parents=True)
    (tmp_path / "10017" / "entry.json").write_text(json.dumps({"title": "on disk"}))
    (tmp_path / "not an entry").mkdir()
    with LoopbackArchive(tmp_path) as server:
        server.add_metadata(10020, {"title": "in memory", "imagesets": [{"name": "a"}]})
        server.add_metadata(10021, {"EMPIAR-10021": {"title": "as answered"}})
        titles = {n: e["title"] for n, e in post(server, "10000-10020, EMPIAR-10021").json().items()}
        assert titles == {"EMPIAR-10017": "on disk", "EMPIAR-10020": "in memory", "EMPIAR-10021": "as answered"}
        assert list(post(server, "10017").json()) == ["EMPIAR-10017"]
        assert post(server, "10500-10999").json() == {}
        assert server.archive.entry(10020).title == "in memory"
        assert server.requests[0].body == "10000-10020, EMPIAR-10021"

        server.brief_answers = True
        assert post(server, "10020").json() == {"EMPIAR-10020": {"title": "in memory"}}
        assert server.archive.entry(10020).imagesets


@pytest.mark.parametrize("body", ["", "all", "1-2-3", "10017;10018", "9" * 40])
def test_a_question_that_is_none_is_refused(server, body):
    assert post(server, body).status_code == 400


def test_posts_elsewhere_and_posts_without_end_are_refused(server):
    assert post(server, "10017", path="/entries/").status_code == 400
    host, port = server.settings.api_url.split("/")[2].split(":")
    for length in ("99999999", "-1", "many"):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(f"POST /empiar/api/entry/ HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_the_xml_of_an_entry_is_a_plain_file(tmp_path):
    (tmp_path / "10017" / "data").mkdir(parents=True)
    (tmp_path / "10017" / "10017.xml").write_bytes(b"<entry/>")
    with LoopbackArchive(tmp_path) as server:
        assert get(server, "/10017/10017.xml").content == b"<entry/>"
