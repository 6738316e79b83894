"""Large reads on a slow line: one request where it is fast, several where it is slow, and the same bytes either way."""

import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from napari_empiarreader.archive import Archive, ArchiveSettings, parts
from napari_empiarreader.archive._handler import ArchiveHandler
from napari_empiarreader.archive.cache import cache_for
from napari_empiarreader.archive.faults import (
    AnswerHtml,
    CutBody,
    FailWith,
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
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.archive.transport import _turns_at, spare_turns
from napari_empiarreader.errors import (
    ArchiveError,
    FileChangedError,
    ServerUnreachableError,
    TruncatedFileError,
)

BYTES = random.Random(5).randbytes(1_500_000)
SLOW = Throttle(1_500_000)
CRAWLING = Throttle(300_000)
PATH = "data/a.mrc"


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "10017" / "data"
    folder.mkdir(parents=True)
    for name in ("a.mrc", "b.mrc"):
        (folder / name).write_bytes(BYTES)
    with LoopbackArchive(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def small_numbers(monkeypatch):
    """What is slow and large to these tests is a tenth or less of what is to a user."""
    numbers = {"_LOOK_AFTER": 0.05, "_PATIENCE": 0.2, "_SILENT": 0.3, "_WORTH": 200_000, "_LEAST": 64_000}
    for name, value in numbers.items():
        monkeypatch.setattr(parts, name, value)
    yield
    helpers = [thread for thread in threading.enumerate() if thread.name == "read-part"]
    for thread in helpers:
        thread.join(20)
    assert not any(thread.is_alive() for thread in helpers)


def open_file(server: LoopbackArchive, name: str = "a.mrc", **settings):
    hasty = {"timeout": 0.5, "retries": 2, "backoff": 0.005, "cache_bytes": 0, **settings}
    return Archive(replace(server.settings, **hasty)).file(10017, f"data/{name}")


def act(server: LoopbackArchive, usual, faults, after=None):
    """Let the n-th request meet the n-th fault, those behind the last meet ``after``, and all of them ``usual``."""
    lock, count = threading.Lock(), [0]

    def take(path):
        with lock:
            count[0] += 1
            fault = faults.get(count[0], after if count[0] > max(faults, default=0) else None)
        return [usual] if fault is None else [usual, fault]

    server.faults.take = take


@pytest.fixture
def most_at_once(monkeypatch):
    """Answers under way at a time on the server; those whose client has hung up are not counted."""
    lock, open_now, most = threading.Lock(), set(), [0]
    answer = ArchiveHandler._answer

    def counted(self, body=""):
        with lock:
            open_now.add(self.connection)
            most[0] = max(most[0], sum(map(_is_open, open_now)))
        try:
            answer(self, body)
        finally:
            with lock:
                open_now.discard(self.connection)

    monkeypatch.setattr(ArchiveHandler, "_answer", counted)
    return lambda: most[0]


def _is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def turns_are_back(file) -> bool:
    for thread in threading.enumerate():
        if thread.name == "read-part":
            thread.join(20)
    turns = _turns_at(file.url, file.settings)
    return turns._free == file.settings.connections and not turns._held and not turns._waiting and not turns._leaving


def spans(server) -> list[tuple[int, int]]:
    found = [request.range.removeprefix("bytes=").split("-") for request in server.requests]
    return [(int(start), int(stop) + 1) for start, stop in found]


# ---- one or several ------------------------------------------------------------------------------------------


def test_a_fast_line_is_asked_once(server):
    assert open_file(server).read(1000, len(BYTES)) == BYTES[1000:]
    assert spans(server) == [(1000, len(BYTES))]
    assert server.bytes_sent == len(BYTES) - 1000


def test_a_slow_line_is_asked_by_several(server, most_at_once):
    server.inject(SLOW, times=None)
    file = open_file(server)
    assert file.read(1000, len(BYTES)) == BYTES[1000:]
    assert spans(server)[0] == (1000, len(BYTES))
    assert len(server.requests) >= 4 and most_at_once() >= 4
    assert server.bytes_sent <= 1.1 * len(BYTES)
    assert turns_are_back(file)


def test_a_slow_line_is_asked_once_where_that_is_wished(server):
    server.inject(Throttle(4_000_000), times=None)
    assert open_file(server, split_slow_reads=False).read(0, len(BYTES)) == BYTES
    assert spans(server) == [(0, len(BYTES))]


def test_what_is_small_is_asked_for_once(server):
    server.inject(CRAWLING, times=None)
    assert open_file(server).read(0, 199_000) == BYTES[:199_000]
    assert spans(server) == [(0, 199_000)]


def test_the_cache_keeps_the_whole_once(server):
    server.inject(SLOW, times=None)
    file = open_file(server, cache_bytes=1 << 30)
    assert file.read(0, len(BYTES)) == BYTES
    asked = len(server.requests)
    assert asked > 1
    assert file.read(0, len(BYTES)) == file.read(0, len(BYTES) + 9, at_most=True) == BYTES
    assert len(server.requests) == asked
    assert [(entry.start, entry.stop) for entry in cache_for(file.settings).entries()] == [(0, len(BYTES))]


def test_the_end_of_the_file_may_come_before(server):
    server.inject(SLOW, times=None)
    assert open_file(server).read(5, 10 * len(BYTES), at_most=True) == BYTES[5:]
    assert len(server.requests) > 1
    assert server.bytes_sent <= 1.1 * len(BYTES)
    with pytest.raises(TruncatedFileError, match="ends at byte 1,500,000"):
        open_file(server).read(5, len(BYTES) + 1)


def test_a_length_that_no_memory_holds_is_an_error(server):
    server.inject(OtherSize(1 << 55))
    with pytest.raises(ArchiveError, match="do not fit into memory"):
        open_file(server).read(0, 1 << 55)


# ---- the bound -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connections", [1, 3])
def test_no_more_connections_than_the_settings_say(server, most_at_once, connections):
    server.inject(SLOW, times=None)
    file = open_file(server, connections=connections)
    assert file.read(0, len(BYTES)) == BYTES
    assert most_at_once() == connections
    assert turns_are_back(file)


def test_two_reads_share_the_connections(server, most_at_once):
    server.inject(SLOW, times=None)
    files = [open_file(server, name, connections=4) for name in ("a.mrc", "b.mrc")]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda file: file.read(0, len(BYTES)), files)) == [BYTES, BYTES]
    assert 3 <= most_at_once() <= 4
    assert server.bytes_sent <= 2 * 1.1 * len(BYTES)
    assert turns_are_back(files[0])


def test_a_reader_that_waits_is_given_way(server, most_at_once):
    """Given a read that uses all connections, when another reader comes, then it need not wait for the end of it."""
    server.inject(CRAWLING, f"*{PATH}", times=None)
    file = open_file(server, connections=3)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(file.read, 0, len(BYTES))
        while len(server.requests) < 3:
            assert not slow.done()
        other = open_file(server, "b.mrc", connections=3)
        assert [other.read(start, start + 100) for start in (0, 500)] == [BYTES[:100], BYTES[500:600]]
        assert not slow.done()
        assert slow.result() == BYTES
    assert most_at_once() == 3
    assert turns_are_back(file)


def test_spare_turns_are_those_that_nobody_wants():
    settings = ArchiveSettings(archive_url="http://127.0.0.1:9/spare", connections=3)
    turns = _turns_at(settings.archive_url, settings)
    with turns.one():
        first, second = spare_turns(settings.archive_url, settings, 9)
        assert spare_turns(settings.archive_url, settings, 9) == []
        assert not first.is_wanted()
        had = threading.Event()

        def wait():
            with turns.one():
                had.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not turns._waiting:
            pass
        assert first.is_wanted() and not second.is_wanted() and first.is_wanted()
        first.give_back()
        assert had.wait(10)
        waiting.join()
        with second, turns.one():  # the thread that uses it does not wait
            pass
    assert (turns._free, turns._leaving, turns._held) == (3, 0, {})


# ---- faults --------------------------------------------------------------------------------------------------

FAULTS = [
    FailWith(503),
    FailWith(429, retry_after="1"),
    FailWith(404),
    Hang(1),
    Reset(),
    Reset(after=30_000),
    CutBody(after=0),
    CutBody(after=30_000),
    StallBody(after=30_000, seconds=1),
    ShortBody(7),
    WrongLength(+7),
    WrongLength(-7),
    OtherRange(+10),
    OtherRange(-10),
    OtherSize(+1),
    IgnoreRanges(),
    AnswerHtml(),
    Redirect(),
    Trickle(0.02),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_in_parts_is_not_noticed(server, fault):
    act(server, SLOW, {2: fault, 4: fault})
    file = open_file(server)
    assert file.read(0, len(BYTES)) == BYTES
    assert len(server.requests) >= 4
    assert turns_are_back(file)


@pytest.mark.parametrize("fault", [FailWith(503), FailWith(403), Reset(), IgnoreRanges(), AnswerHtml()], ids=str)
def test_a_server_that_wants_no_further_connections_is_read_by_the_first(server, fault):
    act(server, Throttle(3_000_000), {1: None}, after=fault)
    file = open_file(server)
    assert file.read(0, len(BYTES)) == BYTES
    assert len(server.requests) > 1
    assert turns_are_back(file)


def test_a_server_without_ranges_is_read_by_the_first(server):
    act(server, Throttle(3_000_000), {}, after=IgnoreRanges())
    assert open_file(server).read(0, len(BYTES)) == BYTES
    assert len(server.requests) > 1


@pytest.mark.parametrize("fault", [CutBody(400_000), Reset(400_000), StallBody(400_000, 3)], ids=str)
def test_a_first_body_that_breaks_after_the_split_is_continued(server, fault):
    act(server, SLOW, {1: fault})
    assert open_file(server, connections=2).read(0, len(BYTES)) == BYTES
    assert server.bytes_sent <= 1.1 * len(BYTES)


def test_a_silent_part_is_asked_for_by_another(server, monkeypatch):
    """Given a last part that hangs, when the others are done, then another connection brings it before the time-out."""
    asked, note = threading.local(), server.note_request

    def noted(method, path, span, body=""):
        asked.span = span
        note(method, path, span, body)

    hung = []

    def take(path):
        if not hung and not asked.span.startswith("bytes=0-") and asked.span.endswith(f"-{len(BYTES) - 1}"):
            hung.append(asked.span)
            return [Hang(60)]
        return [SLOW]

    monkeypatch.setattr(server, "note_request", noted)
    monkeypatch.setattr(server.faults, "take", take)
    assert open_file(server, timeout=30.0).read(0, len(BYTES)) == BYTES
    assert [request.range for request in server.requests].count(hung[0]) == 2
    assert any(thread.name == "read-part" for thread in threading.enumerate())  # it hangs still
    server.close()


def test_a_file_that_changes_under_way_is_no_mixture(server):
    """Given another version on the server from some request on, when it is read, then no byte of that is taken."""
    folder = server.root / "10017" / "data"
    for asked in (1, 2, 4):
        (folder / "a.mrc").write_bytes(BYTES)
        server.reset_counts()
        file = open_file(server, connections=4)

        def take(path, asked=asked):
            if len(server.requests) == asked + 1:
                (folder / "new").write_bytes(bytes(len(BYTES) + 1))
                (folder / "new").replace(folder / "a.mrc")
            return [SLOW, CutBody(150_000)] if len(server.requests) > 2 else [SLOW]

        server.faults.take = take
        with suppress(FileChangedError):
            assert file.read(0, len(BYTES)) == BYTES
        assert turns_are_back(file)


def test_a_change_that_no_body_survives_is_an_error(server):
    act(server, SLOW, {1: CutBody(250_000), 2: None, 3: None}, after=OtherSize(-1))
    file = open_file(server, connections=3)
    with pytest.raises(FileChangedError):
        file.read(0, len(BYTES))
    assert turns_are_back(file)


def test_what_fails_for_good_is_an_error_and_ends_the_others(server):
    act(server, CRAWLING, {1: CutBody(100_000), 2: None, 3: None}, after=FailWith(503))
    file = open_file(server, connections=3)
    with pytest.raises(ServerUnreachableError):
        file.read(0, len(BYTES))
    asked = len(server.requests)
    assert turns_are_back(file)
    assert len(server.requests) == asked
    server.faults.take = lambda path: []
    assert file.read(0, len(BYTES)) == BYTES


def test_a_read_that_is_interrupted_ends_the_others(server, monkeypatch):
    server.inject(CRAWLING, times=None)
    due = parts._Pace.is_due

    def interrupted(self):
        if len(server.requests) > 4:
            raise KeyboardInterrupt
        return due(self)

    monkeypatch.setattr(parts._Pace, "is_due", interrupted)
    file = open_file(server)
    with pytest.raises(KeyboardInterrupt):
        file.read(0, len(BYTES))
    assert turns_are_back(file)
    assert server.bytes_sent < len(BYTES)


def test_no_more_threads_is_no_error(server, monkeypatch):
    class NoThread:
        def __init__(self, **_):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(parts, "Thread", NoThread)
    server.inject(SLOW, times=None)
    file = open_file(server)
    assert file.read(0, len(BYTES)) == BYTES
    assert spans(server) == [(0, len(BYTES))]
    assert turns_are_back(file)


# ---- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "split"), [(None, True), ("", True), ("0", False), ("off", False), ("yes", True)])
def test_the_environment_may_switch_it_off(text, split):
    environment = {} if text is None else {"EMPIAR_SPLIT_SLOW_READS": text}
    assert ArchiveSettings.from_environment(environment).split_slow_reads is split


def test_the_environment_must_make_sense():
    with pytest.raises(ArchiveError, match="EMPIAR_SPLIT_SLOW_READS=perhaps"):
        ArchiveSettings.from_environment({"EMPIAR_SPLIT_SLOW_READS": "perhaps"})
