"""The archive as one object: entries, listings, walks and patterns, and what it says when the server does not."""

import json
import pickle
import threading
import time
from dataclasses import replace

import pytest

from napari_empiarreader.archive import Archive, ArchiveSettings
from napari_empiarreader.archive.bulk import read_many
from napari_empiarreader.archive.download import find_files
from napari_empiarreader.archive.faults import AnswerHtml, CutBody, FailWith, Hang
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import (
    ArchiveError,
    EntryNotFoundError,
    NothingFoundError,
    ServerUnreachableError,
    TruncatedFileError,
)

FILES = [
    "10017.xml",
    "data/a.mrc",
    "data/b.mrc",
    "data/b.star",
    "data/deep/er/c.mrc",
    "data/set[1]/d.mrc",
    "data/é #1/e.mrc",
]


@pytest.fixture(params=["table", "pre"])
def server(tmp_path, request):
    for name in FILES:
        path = tmp_path / "archive" / "10017" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 3)
    entry = {"title": "Beta-galactosidase", "imagesets": [{"directory": "/data", "pixel_width": "1.77"}]}
    (tmp_path / "archive" / "10017" / "entry.json").write_text(json.dumps(entry))
    with LoopbackArchive(tmp_path / "archive", layout=request.param) as server:
        yield server


@pytest.fixture
def archive(server):
    return Archive(replace(server.settings, timeout=0.4, retries=2, backoff=0.01))


@pytest.mark.parametrize("name", [10017, "10017", "EMPIAR-10017"])
def test_an_entry_is_found_by_number_and_by_name(archive, name):
    entry = archive.entry(name)
    assert (entry.number, entry.title, entry.imagesets[0].pixel_size) == (10017, "Beta-galactosidase", 1.77)


def test_an_unknown_entry_is_an_error_with_its_number(archive):
    with pytest.raises(EntryNotFoundError, match="EMPIAR-99999: the archive has no such entry"):
        archive.entry(99999)
    with pytest.raises(EntryNotFoundError, match="99999"):
        archive.list(99999)


def test_folders_come_first_and_both_kinds_are_sorted(archive):
    assert [(item.name, item.is_folder) for item in archive.list(10017)] == [
        ("data", True),
        ("10017.xml", False),
        ("entry.json", False),
    ]
    assert [item.path for item in archive.list(10017, "/data/")] == [
        "data/deep",
        "data/set[1]",
        "data/é #1",
        "data/a.mrc",
        "data/b.mrc",
        "data/b.star",
    ]


def test_listing_a_missing_folder_or_a_file_is_an_error(archive):
    for folder in ("data/none", "data/a.mrc", "../10018"):
        with pytest.raises(ArchiveError):
            archive.list(10017, folder)


def test_a_walk_meets_every_file_once(archive):
    items = list(archive.walk(10017))
    assert sorted(item.path for item in items if not item.is_folder) == sorted([*FILES, "entry.json"])
    assert len({item.path for item in items}) == len(items)


def test_a_walk_that_would_leave_something_out_says_so(archive):
    with pytest.raises(ArchiveError, match="deeper"):
        list(archive.walk(10017, "data", depth=2))
    assert len(list(archive.walk(10017, "data", depth=3))) == 10


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("data/*.mrc", ["data/a.mrc", "data/b.mrc"]),
        ("data/?.mrc", ["data/a.mrc", "data/b.mrc"]),
        ("data/[b-z].*", ["data/b.mrc", "data/b.star"]),
        ("data/**/*.mrc", ["data/a.mrc", "data/b.mrc", "data/deep/er/c.mrc", "data/set[1]/d.mrc", "data/é #1/e.mrc"]),
        ("**/c.mrc", ["data/deep/er/c.mrc"]),
        ("data/*/*.mrc", ["data/set[1]/d.mrc", "data/é #1/e.mrc"]),
        ("data/set[1]/d.mrc", ["data/set[1]/d.mrc"]),
        ("data/deep", ["data/deep"]),
        ("data/a.mrc", ["data/a.mrc"]),
        ("data/*.tif", []),
        ("*/none/*.mrc", []),
        ("", []),
    ],
)
def test_a_pattern_finds_what_fits_and_nothing_else(archive, pattern, found):
    assert sorted(item.path for item in archive.glob(10017, pattern)) == sorted(found)


def test_a_plain_pattern_costs_one_listing(server, archive):
    list(archive.glob(10017, "data/*.mrc"))
    assert len(server.requests) == 1


def test_a_file_that_the_listing_forgets_is_still_read(server, archive):
    hidden = server.root / "10017" / "data" / ".forgotten.mrc"  # the server lists no dot files, but serves them
    hidden.write_bytes(b"there")
    (item,) = archive.glob(10017, "data/.forgotten.mrc")
    assert archive.file(10017, item.path).read(0, 5) == b"there"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (FailWith(503), ServerUnreachableError),
        (FailWith(500), ServerUnreachableError),
        (FailWith(403), ArchiveError),
        (Hang(5), ServerUnreachableError),
        (CutBody(0), None),
        (AnswerHtml(), ArchiveError),
    ],
    ids=str,
)
def test_lasting_faults_of_the_service_are_specific_errors_in_one_line(server, archive, fault, expected):
    server.inject(fault, times=None)
    for ask, words in ((lambda: archive.entry(10017), "EMPIAR-10017"), (lambda: archive.list(10017, "data"), "data")):
        if expected is None:  # bodies are cut for files only
            ask()
            continue
        with pytest.raises(expected, match=words) as error:
            ask()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("fault", [FailWith(503), FailWith(429), Hang(5)], ids=str)
def test_passing_faults_of_the_service_go_unnoticed(server, archive, fault):
    server.inject(fault, times=1)
    assert archive.entry(10017).title == "Beta-galactosidase"
    server.inject(fault, times=1)
    assert len(archive.list(10017, "data")) == 6


def test_garbage_in_place_of_the_entry_is_an_error(server, archive):
    (server.root / "10017" / "entry.json").write_text('{"EMPIAR-10017": ["no", "entry"]}')
    with pytest.raises(ArchiveError, match="does not describe"):
        archive.entry(10017)


def test_nobody_at_the_address_is_unreachable():
    url = "http://127.0.0.1:9"
    archive = Archive(ArchiveSettings(api_url=url, archive_url=url, timeout=0.3, retries=1, backoff=0.01))
    with pytest.raises(ServerUnreachableError, match=r"EMPIAR-10017: no answer from http://127\.0\.0\.1:9"):
        archive.entry(10017)


# ---- settings ------------------------------------------------------------------------------------------------


def test_addresses_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("EMPIAR_API_URL", "http://127.0.0.1:1/api/")
    monkeypatch.delenv("EMPIAR_ARCHIVE_URL", raising=False)
    settings = Archive().settings
    assert settings.api_url == "http://127.0.0.1:1/api"
    assert settings.archive_url == ArchiveSettings.archive_url
    assert ArchiveSettings.archive_url.startswith("https://")


@pytest.mark.parametrize("url", ["", "ftp.ebi.ac.uk/empiar", "ftp://x/y", "file:///etc", "http://", "http://x/y?z=1"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ArchiveError, match="no web address"):
        ArchiveSettings(archive_url=url)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"retries": -1}, {"connections": 0}, {"backoff": -1}])
def test_manners_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ArchiveError, match="must be positive"):
        ArchiveSettings(**wrong)


# ---- several files -------------------------------------------------------------------------------------------


def test_a_folder_means_every_file_below_it(archive):
    assert {file.path for file in find_files(archive, ["empiar://10017"])} == {*FILES, "entry.json"}
    assert {file.path for file in find_files(archive, ["empiar://10017/data/deep"])} == {"data/deep/er/c.mrc"}


def test_an_address_that_fits_nothing_is_an_error(archive):
    with pytest.raises(NothingFoundError, match=r"empiar://10017/data/\*\.tif"):
        find_files(archive, ["empiar://10017/data/*.mrc", "empiar://10017/data/*.tif"])


# ---- many files at once --------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many" / "10017" / "data"
    folder.mkdir(parents=True)
    for i in range(200):
        (folder / f"{i:03}.mrc").write_bytes(bytes([i % 256]) * (900 + i))
    with LoopbackArchive(tmp_path / "many") as server:
        yield server


def test_many_headers_cost_one_request_each_and_come_in_order(many):
    archive = Archive(replace(many.settings, cache_bytes=0))
    now = most = 0
    lock = threading.Lock()

    def watch(path):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return []

    many.faults.take = watch
    files = [archive.file(10017, f"data/{i:03}.mrc") for i in range(200)]
    headers = list(read_many(files, 0, 1024))
    assert headers == [bytes([i % 256]) * min(900 + i, 1024) for i in range(200)]
    assert len(many.requests) == 200
    assert most == archive.settings.connections == 8
    assert many.bytes_sent == sum(map(len, headers))


def test_the_error_of_one_file_stands_in_its_place(many):
    archive = Archive(replace(many.settings, timeout=0.3, retries=1, backoff=0.01))
    many.inject(FailWith(404), pattern="*/003.mrc", times=None)
    many.inject(Hang(3), pattern="*/005.mrc", times=None)
    answers = list(read_many((archive.file(10017, f"data/{i:03}.mrc") for i in range(8)), 0, 1000, at_most=False))
    kinds = [type(answer) for answer in answers]
    assert kinds[3] is EntryNotFoundError
    assert kinds[5] is ServerUnreachableError
    assert kinds[0] is TruncatedFileError  # 900 bytes
    assert list(read_many([], 0, 10)) == []
    for wrong in ({"start": 5, "stop": 1}, {"start": 0, "stop": 1, "connections": 0}):
        with pytest.raises(ValueError):
            read_many([], **wrong)


def test_many_files_are_not_read_ahead_of_a_caller_who_stops(many):
    archive = Archive(replace(many.settings, connections=2))
    answers = read_many((archive.file(10017, f"data/{i:03}.mrc") for i in range(200)), 0, 10)
    next(answers)
    answers.close()
    assert len(many.requests) <= 6


def test_exact_sizes_of_listed_files_take_a_request_without_a_body_each(many):
    archive = Archive(replace(many.settings, retries=0))
    items = archive.list(10017, "data")[:20]
    many.inject(FailWith(404), pattern="*/007.mrc")
    many.reset_counts()
    sizes = archive.head_sizes(10017, items)
    assert isinstance(sizes.pop(7), EntryNotFoundError)
    assert sizes == [900 + i for i in range(20) if i != 7]
    assert {request.method for request in many.requests} == {"HEAD"}
    assert many.bytes_sent == 0
    many.reset_counts()
    assert archive.head_sizes(10017, items[:5]) == [900, 901, 902, 903, 904]
    assert many.requests == []
    with pytest.raises(ValueError, match="is a folder"):
        archive.head_sizes(10017, archive.list(10017))


def test_a_server_without_head_tells_the_size_with_a_byte(many):
    archive = many.archive
    many.faults.take = lambda path: [FailWith(405)] if many.requests[-1].method == "HEAD" else []
    assert archive.file(10017, "data/004.mrc").size() == 904


def test_the_listed_size_goes_along_without_telling_files_apart(many):
    archive = many.archive
    item = archive.list(10017, "data")[150]
    file = archive.file(10017, item.path, item.size_hint_bytes)
    assert file.size_hint_bytes == pytest.approx(1050, rel=0.06)
    assert file == archive.file(10017, item.path) and hash(file) == hash(archive.file(10017, item.path))
    assert pickle.loads(pickle.dumps(file)).size_hint_bytes == file.size_hint_bytes
    assert file.size() == 1050
