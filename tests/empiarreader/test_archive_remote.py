"""Byte ranges: one request per read where all goes well, and a specific error where it does not."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from napari_empiarreader.archive import Archive, ArchiveSettings, RemoteFile
from napari_empiarreader.archive.faults import (
    AnswerHtml,
    CutBody,
    Delay,
    FailWith,
    Hang,
    IgnoreRanges,
    ShortBody,
)
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import (
    ArchiveError,
    EntryNotFoundError,
    FileExistsAlreadyError,
    RangesNotSupportedError,
    ServerUnreachableError,
    TruncatedFileError,
    UserError,
)
from napari_empiarreader.files import ByteSource

BYTES = random.Random(7).randbytes(1_200_000)
HASTY = {"timeout": 0.4, "retries": 2, "backoff": 0.01}
RETRIES = HASTY["retries"]


@pytest.fixture
def server(tmp_path):
    (tmp_path / "10017" / "data").mkdir(parents=True)
    (tmp_path / "10017" / "data" / "a.mrc").write_bytes(BYTES)
    with LoopbackArchive(tmp_path) as server:
        yield server


@pytest.fixture
def file(server) -> RemoteFile:
    return hasty(server).file(10017, "data/a.mrc")


def hasty(server: LoopbackArchive) -> Archive:
    return Archive(replace(server.settings, **HASTY))


def test_a_read_is_one_get_with_the_exact_range_and_no_head(server, file):
    assert file.read(1000, 2024) == BYTES[1000:2024]
    assert [(r.method, r.range) for r in server.requests] == [("GET", "bytes=1000-2023")]
    assert server.bytes_sent == 1024


def test_the_size_comes_with_the_first_answer_and_is_remembered(server, file):
    file.read(0, 10)
    assert file.size() == len(BYTES)
    assert len(server.requests) == 1


def test_the_size_alone_costs_one_request_once(server, file):
    assert [file.size(), file.size()] == [len(BYTES)] * 2
    assert [r.method for r in server.requests] == ["HEAD"]
    assert server.bytes_sent == 0


def test_it_is_a_byte_source_with_the_users_address(file):
    assert isinstance(file, ByteSource)
    assert (file.uri, file.name, str(file)) == ("empiar://10017/data/a.mrc", "a.mrc", "empiar://10017/data/a.mrc")


def test_it_can_be_pickled_and_compared(server, file):
    copy = pickle.loads(pickle.dumps(file))
    assert copy == file and hash(copy) == hash(file)
    assert copy.read(5, 9) == BYTES[5:9]
    assert copy != hasty(server).file(10018, "data/a.mrc")


@pytest.mark.parametrize("end", [len(BYTES), len(BYTES) + 500])
def test_reading_past_the_end_gives_what_there_is_only_if_asked_so(file, end):
    start = len(BYTES) - 100
    assert file.read(start, end, at_most=True) == BYTES[start:]
    if end > len(BYTES):
        with pytest.raises(TruncatedFileError, match="ends at byte 1,200,000"):
            file.read(start, end)


def test_reading_behind_the_end_gives_nothing_only_if_asked_so(file):
    start = len(BYTES)
    assert file.read(start, start + 10, at_most=True) == b""
    with pytest.raises(TruncatedFileError):
        file.read(start + 5, start + 10)


def test_an_empty_range_costs_nothing_and_a_backward_one_is_a_mistake(server, file):
    assert file.read(10, 10) == b""
    assert server.requests == []
    with pytest.raises(ValueError, match="no range"):
        file.read(10, 5)
    with pytest.raises(ValueError, match="no range"):
        file.read(-1, 5)


def test_an_empty_file_has_no_bytes(server, file):
    (server.root / "10017" / "data" / "a.mrc").write_bytes(b"")
    assert file.read(0, 1024, at_most=True) == b""
    assert file.size() == 0
    with pytest.raises(TruncatedFileError):
        file.read(0, 1024)


NAMES = ["a b.mrc", "a+b.mrc", "a#b.mrc", "a%20b.mrc", "a%b.mrc", "é中.mrc", "a?b.mrc", "a&b=c;d.mrc", "[x]~{y}.mrc"]
NAMES += ["a:b.mrc", "a'b\"c.mrc", "a*b.mrc", "a..b.mrc", "^|<>`.mrc"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_listed_read_and_downloaded(server, name, tmp_path):
    folder = server.root / "10017" / "data" / "odd folder#1"
    folder.mkdir()
    (folder / name).write_bytes(BYTES[:99])
    archive = hasty(server)

    (item,) = archive.list(10017, "data/odd folder#1")
    file = archive.file(10017, item.path)

    assert item.name == name
    assert file.read(3, 50) == BYTES[3:50]
    assert file.download(tmp_path / "got").read_bytes() == BYTES[:99]


def test_bursts_of_503_are_waited_out(server, file):
    server.inject(FailWith(503), times=RETRIES)
    assert file.read(0, 100) == BYTES[:100]
    assert len(server.requests) == RETRIES + 1


def test_a_hanging_request_is_given_up_and_repeated(server, file):
    server.inject(Hang(5), times=1)
    assert file.read(0, 100) == BYTES[:100]
    assert len(server.requests) == 2


def test_a_broken_body_is_continued_where_it_broke(server, file):
    server.inject(CutBody(after=300_000), times=1)
    assert file.read(100, 1_000_100) == BYTES[100:1_000_100]
    first, second = (r.range for r in server.requests)
    assert first == "bytes=100-1000099"
    assert second == "bytes=300100-1000099"
    assert server.bytes_sent == 1_000_000


def test_a_broken_body_without_an_etag_is_asked_for_again(server, file):
    server.etags = False
    server.inject(CutBody(after=300_000), times=RETRIES)
    assert file.read(100, 1_000_100) == BYTES[100:1_000_100]
    assert len(server.requests) == RETRIES + 1


@pytest.mark.parametrize("fault", [ShortBody(missing=3), IgnoreRanges(), AnswerHtml()], ids=str)
def test_one_answer_of_a_front_end_gone_astray_is_asked_for_again(server, file, fault):
    server.inject(fault, times=1)
    assert file.read(100, 200_000) == BYTES[100:200_000]
    assert len(server.requests) == 2


def test_reads_through_a_bad_line_are_right_or_an_error(server):
    """Given a fifth of all requests failing in every way, when many are made, then no wrong byte is ever returned."""
    ways = [FailWith(503), Hang(1), CutBody(0), CutBody(50_000), ShortBody(), IgnoreRanges(), AnswerHtml()]
    dice = random.Random(11)
    server.faults.take = lambda path: [dice.choice(ways)] if dice.random() < 0.2 else []
    file = Archive(replace(server.settings, timeout=0.3, retries=4, backoff=0.01)).file(10017, "data/a.mrc")
    spans = [sorted(dice.sample(range(len(BYTES)), 2)) for _ in range(200)]

    def read(span):
        try:
            return file.read(*span)
        except UserError:
            return None

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(read, spans))
    assert all(part is None or part == BYTES[slice(*span)] for span, part in zip(spans, parts, strict=True))
    assert sum(part is None for part in parts) < 20


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    archive = Archive(replace(server.settings, timeout=0.5, retries=0))  # new settings, new connections
    assert archive.list(10017, "data")[0].name == "a.mrc"
    assert archive.file(10017, "data/a.mrc").read(0, 10) == BYTES[:10]


def test_slowness_alone_is_no_error(server, file):
    server.inject(Delay(0.1), times=None)
    assert file.read(0, 100) == BYTES[:100]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        (FailWith(503), ServerUnreachableError, "no complete answer"),
        (FailWith(404), EntryNotFoundError, "no such file"),
        (FailWith(403), ArchiveError, "refuses"),
        (FailWith(401), ArchiveError, "refuses"),
        (Hang(5), ServerUnreachableError, "no complete answer"),
        (CutBody(after=0), ServerUnreachableError, "no complete answer"),
        (CutBody(after=10), ServerUnreachableError, "no complete answer"),
        (ShortBody(missing=3), TruncatedFileError, "promised"),
        (IgnoreRanges(), RangesNotSupportedError, "ignores byte ranges"),
        (AnswerHtml(), ArchiveError, "web page instead"),
    ],
    ids=str,
)
def test_every_lasting_fault_is_a_specific_error_that_names_the_file(server, file, fault, expected, words):
    server.inject(fault, times=None)
    with pytest.raises(expected, match=words) as error:
        file.read(100, 200_000)
    assert str(error.value).startswith("empiar://10017/data/a.mrc: ")
    assert "\n" not in str(error.value)


def test_a_web_page_is_not_mistaken_for_a_server_without_ranges(server, file):
    server.inject(AnswerHtml(), times=None)
    with pytest.raises(ArchiveError) as error:
        file.read(0, 10)
    assert not isinstance(error.value, RangesNotSupportedError)


def test_a_folder_read_as_a_file_says_so(server):
    with pytest.raises(ArchiveError, match="may be a folder"):
        hasty(server).file(10017, "data").read(0, 10)


def test_nobody_at_the_address_is_unreachable():
    settings = ArchiveSettings(api_url="http://127.0.0.1:9/api", archive_url="http://127.0.0.1:9/files", **HASTY)
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:9"):
        Archive(settings).file(10017, "a.mrc").read(0, 10)
    with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:9"):
        Archive(settings).file(10017, "a.mrc").size()


def test_a_file_that_changes_under_way_is_an_error_not_a_mixture(server, file):
    file.read(0, 100)
    (server.root / "10017" / "data" / "a.mrc").write_bytes(BYTES[:-1])
    with pytest.raises(ArchiveError, match="has changed on the server"):
        file.read(100, 200)


def test_many_threads_read_the_right_bytes_with_one_request_each(server, file):
    server.inject(Delay(0.005), times=None)
    spans = [(i * 9_999, i * 9_999 + 5_000) for i in range(80)]
    with ThreadPoolExecutor(16) as pool:
        parts = list(pool.map(lambda span: file.read(*span), spans))
    assert parts == [BYTES[start:stop] for start, stop in spans]
    assert len(server.requests) == len(spans)


# ---- whole files ---------------------------------------------------------------------------------------------


def test_a_download_arrives_whole_with_progress(server, file, tmp_path):
    told = []
    target = file.download(
        tmp_path / "new" / "a.mrc", progress=lambda done, total, message="": told.append((done, total))
    )
    assert target.read_bytes() == BYTES
    assert told[0] == (0, len(BYTES)) and told[-1] == (len(BYTES), len(BYTES))
    assert [r.method for r in server.requests] == ["GET"]


def test_a_broken_download_is_continued(server, file, tmp_path):
    server.inject(CutBody(after=500_000), times=1)
    assert file.download(tmp_path / "a.mrc").read_bytes() == BYTES
    assert server.bytes_sent == len(BYTES)


@pytest.mark.parametrize(
    "fault", [FailWith(503), CutBody(after=100_000), AnswerHtml(), ShortBody(missing=5), Hang(5)], ids=str
)
def test_a_failed_download_leaves_nothing_and_keeps_what_was_there(server, file, tmp_path, fault):
    server.inject(fault, times=None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.mrc").write_bytes(b"old")
    with pytest.raises(UserError):
        file.download(tmp_path / "out" / "a.mrc")
    with pytest.raises(UserError):
        file.download(tmp_path / "out" / "old.mrc", overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old.mrc"]
    assert (tmp_path / "out" / "old.mrc").read_bytes() == b"old"


def test_a_download_needs_no_ranges(server, file, tmp_path):
    server.inject(IgnoreRanges(), times=None)
    assert file.download(tmp_path / "a.mrc").read_bytes() == BYTES


def test_an_empty_file_downloads_as_one(server, file, tmp_path):
    (server.root / "10017" / "data" / "a.mrc").write_bytes(b"")
    assert file.download(tmp_path / "a.mrc").read_bytes() == b""


def test_an_existing_file_is_kept_unless_told_otherwise(server, file, tmp_path):
    target = tmp_path / "a.mrc"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsAlreadyError):
        file.download(target)
    assert server.requests == []
    assert file.download(target, overwrite=True).read_bytes() == BYTES


def test_a_place_that_cannot_be_written_is_an_error_in_words(file, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArchiveError, match="cannot be written"):
        file.download(tmp_path / "file" / "a.mrc")


def test_a_full_disk_is_an_error_in_words_and_leaves_nothing(file, tmp_path, monkeypatch):
    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ArchiveError, match="No space left on device"):
        file.download(tmp_path / "out" / "a.mrc")
    monkeypatch.undo()
    assert list((tmp_path / "out").iterdir()) == []


# ---- streams -------------------------------------------------------------------------------------------------


def test_a_stream_gives_blocks_by_one_request(server, file):
    blocks = list(file.stream(block=500_000))
    assert [len(block) for block in blocks] == [500_000, 500_000, 200_000]
    assert b"".join(blocks) == BYTES
    assert [request.range for request in server.requests] == ["bytes=0-"]


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (7, None), (len(BYTES) - 1, None), (300_000, len(BYTES))])
def test_a_part_streams_as_well(file, start, stop):
    assert b"".join(file.stream(start, stop)) == BYTES[start:stop]


def test_a_stream_at_and_behind_the_end(server, file):
    assert list(file.stream(len(BYTES))) == []
    assert list(file.stream(5, 5)) == []
    for start, stop in [(len(BYTES) + 1, None), (0, len(BYTES) + 1), (len(BYTES) + 5, len(BYTES) + 9)]:
        with pytest.raises(TruncatedFileError):
            list(file.stream(start, stop))
    for wrong in ((-1, None), (5, 4)):
        with pytest.raises(ValueError, match="no range"):
            file.stream(*wrong)
    with pytest.raises(ValueError, match="no range"):
        file.stream(block=0)
    (server.root / "10017" / "data" / "empty").write_bytes(b"")
    assert list(hasty(server).file(10017, "data/empty").stream()) == []


def test_a_stream_that_is_left_frees_its_connection(server, file):
    stream = file.stream(block=1000)
    next(stream)
    stream.close()
    many = [hasty(server).file(10017, "data/a.mrc").stream(block=10) for _ in range(20)]
    for stream in many:
        next(stream)
        stream.close()
    assert file.read(0, 5) == BYTES[:5]
