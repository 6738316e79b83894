"""The cache on the disk: right bytes or none, within its bound, whoever shares it and whatever the disk does."""

import logging
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive import Archive, ArchiveSettings
from napari_empiarreader.archive._entry_file import DamagedEntryError, Header, packed_header, read_part
from napari_empiarreader.archive.cache import RangeCache, Validators, cache_for
from napari_empiarreader.archive.faults import AnswerHtml, CutBody, Delay, FailWith, OtherSize, ShortBody
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import (
    ArchiveError,
    EntryNotFoundError,
    FileChangedError,
    OfflineError,
    ServerUnreachableError,
    TruncatedFileError,
    UserError,
)

BYTES = random.Random(5).randbytes(1_000_000)
HASTY = {"timeout": 0.5, "retries": 1, "backoff": 0.005}
URL = "https://host/a.mrc"
ABOUT = Validators(len(BYTES), seen=1e9)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "archive" / "10017" / "data").mkdir(parents=True)
    (tmp_path / "archive" / "10017" / "data" / "a.mrc").write_bytes(BYTES)
    with LoopbackArchive(tmp_path / "archive") as server:
        yield server


@pytest.fixture
def settings(server, tmp_path):
    return replace(server.settings, cache_folder=tmp_path / "cache", **HASTY)


@pytest.fixture
def cache(tmp_path):
    return RangeCache(tmp_path / "cache", 10_000_000)


def file_of(settings, path="data/a.mrc"):
    return Archive(settings).file(10017, path)


# ---- reading through it --------------------------------------------------------------------------------------


def test_a_second_look_asks_nobody(server, settings):
    assert file_of(settings).read(10, 5000) == BYTES[10:5000]
    server.reset_counts()
    again = file_of(settings)
    assert again.read(10, 5000) == BYTES[10:5000]
    assert again.size() == len(BYTES)
    assert server.requests == []


READ = """
import pickle, sys
file = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(file.read(0, 300_000) + file.read(100, 1124) + str(file.size()).encode())
"""


def test_a_second_look_in_a_new_process_asks_nobody(server, settings):
    file_of(settings).read(0, 300_000)
    server.reset_counts()
    told = pickle.dumps(file_of(settings))
    answer = subprocess.run([sys.executable, "-c", READ], input=told, capture_output=True, check=True, timeout=60)
    assert answer.stdout == BYTES[:300_000] + BYTES[100:1124] + b"1000000"
    assert server.requests == []


def test_a_part_of_what_was_read_asks_nobody(server, settings):
    file_of(settings).read(0, 900_000)
    server.reset_counts()
    for start, stop in [(0, 1024), (1, 2), (262_143, 262_145), (899_999, 900_000), (300_000, 800_000)]:
        assert file_of(settings).read(start, stop) == BYTES[start:stop]
    assert server.requests == []
    assert file_of(settings).read(899_999, 900_001) == BYTES[899_999:900_001]
    assert len(server.requests) == 1


def test_the_beginning_of_a_short_file_is_kept_as_what_it_is(server, settings):
    (server.root / "10017" / "data" / "short.mrc").write_bytes(b"short")
    (server.root / "10017" / "data" / "empty.mrc").write_bytes(b"")
    for path, data in [("data/short.mrc", b"short"), ("data/empty.mrc", b"")]:
        assert file_of(settings, path).read(0, 1024, at_most=True) == data
        server.reset_counts()
        assert file_of(settings, path).read(0, 1024, at_most=True) == data
        assert len(server.requests) == (0 if data else 1)
        with pytest.raises(TruncatedFileError):
            file_of(settings, path).read(0, 1024)


def test_no_cache_means_no_files_and_every_read_a_request(server, settings, tmp_path):
    file = file_of(replace(settings, cache_bytes=0))
    assert file.read(0, 9) == file.read(0, 9) == BYTES[:9]
    assert len(server.requests) == 2
    assert not (tmp_path / "cache").exists()


def test_threads_that_want_the_same_make_one_request(server, settings):
    server.inject(Delay(0.1), times=None)
    files = [file_of(settings) for _ in range(8)]
    together = threading.Barrier(8)

    def read(file):
        together.wait()
        return file.read(0, 5000)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, files)) == [BYTES[:5000]] * 8
    assert len(server.requests) == 1


def test_who_waited_for_another_thread_knows_the_size_as_well(server, settings):
    server.inject(Delay(0.1), times=None)
    files = [file_of(settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda file: file.read(0, 5000), files))
    assert [file.size() for file in files] == [len(BYTES)] * 4
    assert len(server.requests) == 1


def test_threads_that_want_the_same_share_its_error(server, settings):
    server.inject(Delay(0.1), times=None)
    server.inject(FailWith(404), times=None)
    together = threading.Barrier(4)

    def read(_):
        together.wait()
        with pytest.raises(EntryNotFoundError):
            file_of(settings).read(0, 5000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(4)))
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [FailWith(503), FailWith(404), CutBody(50), ShortBody(5), AnswerHtml()], ids=str)
def test_nothing_of_a_failed_read_is_kept(server, settings, fault):
    server.inject(fault, times=None)
    with pytest.raises(UserError):
        file_of(settings).read(0, 5000)
    assert list(cache_for(settings).entries()) == []
    server.faults.clear()
    assert file_of(settings).read(0, 5000) == BYTES[:5000]


# ---- files that change ---------------------------------------------------------------------------------------


def test_an_old_note_is_checked_by_one_request_without_bytes(server, settings):
    file_of(settings).read(0, 5000)
    server.reset_counts()
    file = file_of(replace(settings, file_age=0))
    assert file.read(0, 5000) == file.read(0, 5000) == BYTES[:5000]
    assert [request.method for request in server.requests] == ["HEAD"]
    assert server.bytes_sent == 0


@pytest.mark.parametrize("new", [BYTES[::-1] + b"1", BYTES[::-1]], ids=["another length", "as long"])
def test_a_file_that_has_changed_drops_its_old_ranges(server, settings, new):
    path = server.root / "10017" / "data" / "a.mrc"
    file_of(settings).read(0, 5000)
    path.write_bytes(new)
    os.utime(path, (time.time() + 5, time.time() + 5))
    assert file_of(settings).read(0, 5000) == BYTES[:5000]  # believed for as long as file_age says
    assert file_of(replace(settings, file_age=0)).read(0, 5000) == new[:5000]
    assert file_of(settings).read(0, 5000) == new[:5000]
    assert {entry.size for entry in cache_for(settings).entries()} == {len(new)}


def test_old_and_new_bytes_are_never_mixed(server, settings):
    path = server.root / "10017" / "data" / "a.mrc"
    file_of(settings).read(0, 1024)
    path.write_bytes(BYTES[::-1] + b"1")
    file = file_of(settings)
    file.read(0, 1024)  # the old header, out of the cache
    with pytest.raises(FileChangedError, match="open it again"):
        file.read(1024, 2048)
    again = file_of(settings)
    assert again.read(0, 2048) == path.read_bytes()[:2048]


def test_a_change_nobody_has_seen_yet_costs_nothing_but_a_request(server, settings):
    path = server.root / "10017" / "data" / "a.mrc"
    file_of(settings).read(0, 1024)
    path.write_bytes(BYTES[::-1] + b"1")
    assert file_of(settings).read(1024, 2048) == path.read_bytes()[1024:2048]


def test_a_wrong_length_seen_once_does_not_stay(server, settings):
    server.inject(OtherSize(+5))
    file_of(settings).read(0, 1024)
    assert file_of(settings).read(2000, 3000) == BYTES[2000:3000]
    assert file_of(settings).size() == len(BYTES)


@pytest.mark.parametrize(
    ("first", "later", "same"),
    [
        (Validators(5), Validators(5), True),
        (Validators(5), Validators(6), False),
        (Validators(5, etag="a"), Validators(5, etag="b"), False),
        (Validators(5, etag="a"), Validators(5), True),
        (Validators(5, "a", 50, seen=100), Validators(5, "b", 60, seen=200), True),
        (Validators(5, "a", 50, seen=100), Validators(5, "a", 150, seen=200), False),
        (Validators(5, "a", 150, seen=100), Validators(5, "a", 150, seen=200), True),
        (Validators(5, "a", 50, seen=100), Validators(4, "a", 50, seen=200), False),
    ],
)
def test_versions_are_told_apart_by_length_then_date_then_tag(first, later, same):
    assert first.is_same_file(later) is same


# ---- offline -------------------------------------------------------------------------------------------------


def test_offline_only_the_cache_answers_whatever_its_age(server, settings):
    archive = Archive(settings)
    items, entry = archive.list(10017, "data"), archive.entry(10017)
    archive.file(10017, "data/a.mrc").read(0, 5000)
    server.reset_counts()
    offline = Archive(replace(settings, offline=True, file_age=0, listing_age=0))
    assert offline.list(10017, "data") == items
    assert offline.entry(10017) == entry
    file = offline.file(10017, "data/a.mrc")
    assert file.read(100, 200) == BYTES[100:200]
    assert file.size() == len(BYTES)
    for unknown in (
        lambda: file.read(4000, 6000),
        lambda: offline.file(10017, "data/b.mrc").read(0, 10),
        lambda: offline.file(10017, "data/b.mrc").size(),
        lambda: offline.list(10017),
        lambda: offline.list(10017, "data", refresh=True),
        lambda: offline.entry(10018),
        lambda: file.stream(),
        lambda: file.download(server.root / "x"),
        lambda: Archive(replace(offline.settings, cache_bytes=0)).file(10017, "data/a.mrc").read(0, 10),
    ):
        with pytest.raises(OfflineError, match="EMPIAR_OFFLINE=0"):
            unknown()
    assert server.requests == []


# ---- listings and entries ------------------------------------------------------------------------------------


def test_listings_and_entries_are_kept_for_a_while_and_asked_anew_on_demand(server, settings):
    archive = Archive(settings)
    for _ in range(3):
        archive.list(10017, "data")
        archive.entry(10017)
    assert len(server.requests) == 2
    (server.root / "10017" / "data" / "new.mrc").write_bytes(b"new")
    assert len(archive.list(10017, "data")) == 1
    assert len(archive.list(10017, "data", refresh=True)) == 2
    assert len(archive.list(10017, "data")) == 2
    archive.entry(10017, refresh=True)
    assert len(server.requests) == 4
    hasty = Archive(replace(settings, listing_age=0))
    (server.root / "10017" / "data" / "newer.mrc").write_bytes(b"new")
    assert len(hasty.list(10017, "data")) == 3


# ---- entries on the disk -------------------------------------------------------------------------------------


@given(
    data=st.binary(min_size=1, max_size=700_000), start=st.integers(0, 1 << 40), ends=st.tuples(*[st.floats(0, 1)] * 2)
)
def test_any_part_of_an_entry_comes_back_as_it_was(tmp_path_factory, data, start, ends):
    path = tmp_path_factory.getbasetemp() / "entry"
    path.write_bytes(packed_header(Header(URL, start, start + len(data), 1 << 50, 1.0), data) + data)
    first, last = sorted(int(end * len(data)) for end in ends)
    assert read_part(path, start + first, start + last)[1] == data[first:last]
    with pytest.raises(DamagedEntryError):
        read_part(path, start + len(data), start + len(data) + 1)


@pytest.mark.parametrize("how", ["flip", "cut", "grow", "empty", "other"])
def test_a_damaged_entry_is_never_served_but_dropped_and_fetched_again(server, settings, how, caplog):
    file_of(settings).read(0, 900_000)
    cache = cache_for(settings)
    (entry,) = cache.entries()
    content = bytearray(entry.path.read_bytes())
    dice = random.Random(2)
    for _ in range(12):
        damaged = bytearray(content)
        if how == "flip":
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        elif how == "cut":
            del damaged[dice.randrange(len(damaged)) :]
        elif how == "grow":
            damaged += b"x"
        elif how == "empty":
            damaged.clear()
        else:  # a sound entry of another file
            other = bytes(900_000)
            damaged[:] = packed_header(Header("https://other", 0, len(other), len(BYTES), 1.0), other) + other
        entry.path.write_bytes(damaged)
        server.reset_counts()
        assert file_of(settings).read(0, 900_000) == BYTES[:900_000]
        assert len(server.requests) == 1
    assert "it is dropped and fetched again" in caplog.text


def test_verify_finds_and_drops_what_is_damaged(cache):
    for i in range(5):
        cache.put(f"{URL}{i}", 0, BYTES[: 1000 + i], ABOUT)
    cache.put_page(URL, b"<html>")
    assert (cache.verify().entries, cache.verify().damaged) == (6, ())
    victim = next(entry for entry in cache.entries() if entry.stop == 1003)
    victim.path.write_bytes(victim.path.read_bytes()[:-1] + b"?")
    moved = next(entry for entry in cache.entries() if entry.stop == 1001)
    moved.path.rename(moved.path.with_name("5-1001-77"))
    report = cache.verify()
    assert (report.entries, len(report.damaged)) == (4, 2)
    assert cache.get(f"{URL}3", 0, 1003, len(BYTES)) is None
    assert cache.verify().damaged == ()


def test_usage_counts_and_clear_empties(cache):
    assert (cache.usage().entries, cache.usage().bytes) == (0, 0)
    cache.put(URL, 0, BYTES[:5000], ABOUT)
    assert cache.usage().entries == 1
    assert 5000 < cache.usage().bytes < 7000
    cache.clear()
    assert (cache.usage().entries, cache.usage().bytes) == (0, 0)
    assert cache.get(URL, 0, 5000, len(BYTES)) is None
    cache.put(URL, 0, BYTES[:5000], ABOUT)
    assert cache.get(URL, 0, 5000, len(BYTES)) == BYTES[:5000]


# ---- the bound -----------------------------------------------------------------------------------------------


def all_bytes(root):
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):  # others make room meanwhile
                total += (Path(folder) / name).stat().st_size
    return total


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path):
    cache = RangeCache(tmp_path, 100_000)
    for i in range(9):
        cache.put(f"{URL}{i}", 0, BYTES[:10_000], ABOUT)
        time.sleep(0.01)
    assert cache.get(f"{URL}0", 0, 10_000, len(BYTES))  # used just now
    time.sleep(0.01)
    for i in range(9, 12):
        cache.put(f"{URL}{i}", 0, BYTES[:10_000], ABOUT)
    there = [i for i in range(12) if cache.get(f"{URL}{i}", 0, 10_000, len(BYTES))]
    assert 0 in there and 11 in there
    assert 1 not in there and 2 not in there
    assert all_bytes(tmp_path) <= 100_000


def test_an_entry_that_would_drive_out_the_rest_is_not_kept(tmp_path):
    cache = RangeCache(tmp_path, 100_000)
    cache.put(URL, 0, BYTES[:50_000], ABOUT)
    assert list(cache.entries()) == []


def _fill(folder, seed, over):
    cache = RangeCache(folder, 2_000_000)
    dice = random.Random(seed)
    for i in range(120):
        start = dice.randrange(500_000)
        cache.put(f"{URL}{seed}-{i}", start, BYTES[start : start + dice.randrange(1, 100_000)], ABOUT)
        over.value = max(over.value, all_bytes(folder / "kept") + all_bytes(folder / "new"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_bound_holds_with_several_processes(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    context = multiprocessing.get_context(method)
    most = [context.Value("q", 0) for _ in range(4)]
    workers = [context.Process(target=_fill, args=(tmp_path, i, most[i])) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert max(value.value for value in most) <= 2_000_000
    report = RangeCache(tmp_path, 2_000_000).verify()
    assert report.damaged == () and report.entries > 10
    for entry in RangeCache(tmp_path, 2_000_000).entries():
        assert read_part(entry.path, entry.start, entry.stop)[1] == BYTES[entry.start : entry.stop]


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path):
    cache = RangeCache(tmp_path, 100_000)
    (tmp_path / "new").mkdir()
    left = tmp_path / "new" / "left"
    left.write_bytes(bytes(90_000))
    os.utime(left, (1e9, 1e9))
    (tmp_path / "total").write_text("95000")
    cache.put(URL, 0, BYTES[:20_000], ABOUT)
    assert not left.exists()
    assert cache.get(URL, 0, 20_000, len(BYTES)) == BYTES[:20_000]


FILL = """
import random, sys
from pathlib import Path
from napari_empiarreader.archive.cache import RangeCache, Validators
cache = RangeCache(Path(sys.argv[1]), 2_000_000)
dice = random.Random(int(sys.argv[2]))
data = random.Random(5).randbytes(1_000_000)
print("ready", flush=True)
while True:
    start = dice.randrange(500_000)
    part = data[start : start + dice.randrange(1, 400_000)]
    cache.put(f"https://host/{dice.random()}", start, part, Validators(len(data)))
"""


def test_a_kill_at_any_moment_leaves_no_wrong_entry_and_no_lock(tmp_path):
    dice = random.Random(9)
    for seed in range(6):
        command = [sys.executable, "-c", FILL, str(tmp_path), str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(dice.uniform(0.01, 0.15))
            writer.kill()
    cache = RangeCache(tmp_path, 2_000_000)
    assert cache.verify().damaged == ()
    assert all_bytes(tmp_path) <= 2_000_000 + 10  # and the few digits of the count
    for entry in cache.entries():
        assert read_part(entry.path, entry.start, entry.stop)[1] == BYTES[entry.start : entry.stop]
    cache.put(URL, 0, BYTES[:5000], ABOUT)
    assert cache.get(URL, 0, 5000, len(BYTES)) == BYTES[:5000]


def test_who_waits_for_a_thread_that_is_interrupted_goes_by_itself(cache):
    inside, told = threading.Event(), threading.Event()

    def interrupted():
        inside.set()
        told.wait(10)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.once, "key", interrupted)
        inside.wait(10)
        second = pool.submit(cache.once, "key", lambda: b"data")
        time.sleep(0.05)
        told.set()
        assert second.result(10) == b"data"
        with pytest.raises(KeyboardInterrupt):
            first.result(10)


# ---- disks that do not do their part -------------------------------------------------------------------------

LIMITED = """
import logging, pickle, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
logging.basicConfig(stream=sys.stderr)
file = pickle.load(sys.stdin.buffer)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.stdout.buffer.write(file.read(0, 900_000) + file.read(0, 800_000))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_disk_that_takes_no_more_fails_no_read_and_is_told_once(server, settings):
    told = pickle.dumps(file_of(settings))
    answer = subprocess.run([sys.executable, "-c", LIMITED], input=told, capture_output=True, check=True, timeout=60)
    assert answer.stdout == BYTES[:900_000] + BYTES[:800_000]
    assert answer.stderr.decode().count("nothing more is stored in the cache") == 1
    assert b"Traceback" not in answer.stderr
    assert list(cache_for(settings).entries()) == []
    assert list((settings.cache_folder / "new").iterdir()) == []


def test_a_full_disk_fails_no_read_and_is_told_once(server, settings, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_empiarreader.archive._shared_total.SharedTotal.reserve", full)
    for start in range(5):
        assert file_of(settings).read(start, 5000) == BYTES[start:5000]
    messages = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(messages) == 1
    assert "No space left on device" in messages[0].getMessage() and "EMPIAR_CACHE" in messages[0].getMessage()


def test_a_cache_folder_that_cannot_be_made_fails_no_read(server, settings, tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    file = file_of(replace(settings, cache_folder=tmp_path / "taken"))
    assert file.read(0, 50) == file.read(0, 50) == BYTES[:50]


# ---- processes -----------------------------------------------------------------------------------------------


def _read_in_child(file, queue):
    try:
        queue.put((file.read(0, 5000) == BYTES[:5000], file.read(7000, 9000) == BYTES[7000:9000]))
    except BaseException as error:  # noqa: BLE001
        queue.put(repr(error))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_forked_and_spawned_processes_read_while_threads_of_the_parent_do(server, settings, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    stop = threading.Event()

    def keep_reading(seed):
        dice = random.Random(seed)
        while not stop.is_set():
            start = dice.randrange(900_000)
            assert file_of(settings).read(start, start + 1000) == BYTES[start : start + 1000]

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(keep_reading, seed) for seed in range(4)]
        children = [context.Process(target=_read_in_child, args=(file_of(settings), queue)) for _ in range(4)]
        for child in children:
            child.start()
        answers = [queue.get(timeout=60) for _ in children]
        for child in children:
            child.join(30)
        stop.set()
        for reader in readers:
            reader.result(30)
    assert answers == [(True, True)] * 4
    assert cache_for(settings).verify().damaged == ()


# ---- settings ------------------------------------------------------------------------------------------------


def test_the_environment_chooses_folder_bound_mode_and_connections(tmp_path):
    settings = ArchiveSettings.from_environment(
        {
            "EMPIAR_CACHE": str(tmp_path),
            "EMPIAR_CACHE_BYTES": "1000",
            "EMPIAR_OFFLINE": "1",
            "EMPIAR_CONNECTIONS": "3",
        }
    )
    assert (settings.cache_folder, settings.cache_bytes) == (tmp_path, 1000)
    assert (settings.offline, settings.connections) == (True, 3)
    assert ArchiveSettings.from_environment({}) == ArchiveSettings()


@pytest.mark.parametrize(
    "environment",
    [
        {"EMPIAR_CACHE_BYTES": "much"},
        {"EMPIAR_CACHE_BYTES": "-1"},
        {"EMPIAR_OFFLINE": "maybe"},
        {"EMPIAR_CONNECTIONS": "0"},
        {"EMPIAR_CONNECTIONS": "1.5"},
    ],
)
def test_an_environment_that_makes_no_sense_is_an_error(environment):
    with pytest.raises(ArchiveError):
        ArchiveSettings.from_environment(environment)


def test_without_a_word_the_cache_is_the_users_own(monkeypatch):
    monkeypatch.delenv("EMPIAR_CACHE")
    assert "napari-empiarreader" in str(cache_for(ArchiveSettings()).folder)
    assert cache_for(ArchiveSettings()).limit == 5 * 2**30
    monkeypatch.setenv("EMPIAR_CACHE", "~/somewhere")
    assert cache_for(ArchiveSettings()).folder == Path("~/somewhere").expanduser()


def test_the_loopback_archive_cleans_its_own_cache_away(tmp_path):
    (tmp_path / "a.mrc").write_bytes(BYTES)
    with LoopbackArchive() as server:
        server.add_entry(1, tmp_path)
        settings = server.settings
        server.archive.file(1, "data/a.mrc").read(0, 100)
        assert settings.cache_folder.is_dir()
        first = server.settings.cache_folder
    assert not first.exists()
    with pytest.raises(ServerUnreachableError):
        Archive(replace(settings, **HASTY)).file(1, "data/a.mrc").read(0, 100)
