"""Downloads: what is planned, what arrives under which fault, what is kept when it ends early, and what looks odd."""

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.download import DownloadState, FileState, download, find_files, plan
from napari_empiarreader.archive.faults import (
    AnswerHtml,
    CutBody,
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
    WrongLength,
)
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import (
    DiskSpaceError,
    EntryNotFoundError,
    FileExistsAlreadyError,
    NothingFoundError,
    OfflineError,
    OverBudgetError,
    ServerUnreachableError,
    UnsafeNameError,
    UserError,
)

DICE = random.Random(11)
FILES = {
    "10017.xml": b"<entry/>",
    "data/particles.star": b"data_\nloop_\n_rlnCoordinateX\n1.0\n" * 20,
    "data/movies/b.tiff.bz2": DICE.randbytes(300_000),
    "data/movies/c.tiff.bz2": DICE.randbytes(700_001),
    "data/movies/deep/er/d.tiff.bz2": DICE.randbytes(1_300_000),
    "data/set[1]/é #1.bin": DICE.randbytes(1),
}
MOVIES = "empiar://10017/data/movies"
LARGE = "data/movies/deep/er/d.tiff.bz2"
BYTES = FILES[LARGE]


@pytest.fixture
def server(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "archive" / "10017" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with LoopbackArchive(tmp_path / "archive") as server:
        yield server


@pytest.fixture
def archive(server):
    return Archive(replace(server.settings, timeout=0.4, retries=2, backoff=0.01))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "out"


def impatient(archive: Archive) -> Archive:
    return Archive(replace(archive.settings, retries=0))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the entry below the folder, also what is hidden beside a file."""
    root = folder / "10017"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def ranges_of(server: LoopbackArchive, name: str) -> list[str | None]:
    return [each.range for each in server.requests if each.method == "GET" and each.path.endswith(name)]


# ---- all is well ---------------------------------------------------------------------------------------------


def test_a_selection_arrives_in_its_own_folders_byte_by_byte(server, archive, folder):
    made = plan(archive, ["empiar://10017/data/**/*.bz2", f"empiar://10017/{LARGE}", "empiar://10017/data"], folder)
    report = download(made)

    wanted = {name: content for name, content in FILES.items() if name.startswith("data/")}
    assert contents(folder) == wanted
    assert report.is_complete and not report.suspicious and not report.skipped
    assert [path.relative_to(folder / "10017").as_posix() for path in report.done] == [
        each.file.path for each in made.files
    ]
    assert report.bytes_moved == sum(map(len, wanted.values()))
    assert all(len(ranges_of(server, name)) == 1 for name in wanted)


def test_progress_counts_bytes_and_files_in_the_callers_thread(archive, folder):
    told: list[tuple[int, int]] = []
    seen: list[DownloadState] = []
    threads = set()

    def note(done: int, total: int, message: str = "") -> None:
        told.append((done, total))
        threads.add(threading.current_thread())

    report = download(plan(archive, [MOVIES], folder), progress=note, watch=seen.append)
    size = sum(len(content) for name, content in FILES.items() if name.startswith("data/movies/"))
    assert threads == {threading.current_thread()}
    assert told[0][0] == 0 and told[-1] == (size, size)
    assert told == [(state.bytes_done, state.bytes_total) for state in seen]
    assert all(0 <= done <= total for done, total in told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert (seen[-1].files_done, seen[-1].files_total, seen[-1].names) == (3, 3, ())
    assert seen[-1].seconds_left in (0.0, None)
    assert "3 files fetched" in str(report)


def test_what_is_complete_is_not_asked_for_again(server, archive, folder):
    download(plan(archive, [MOVIES], folder))
    server.reset_counts()
    again = plan(archive, [MOVIES], folder)
    assert [each.state for each in again.files] == [FileState.COMPLETE] * 3
    assert (again.missing_bytes, again.is_exact) == (0, True)
    report = download(again)
    assert (len(report.skipped), report.bytes_moved, report.is_complete) == (3, 0, True)
    assert {each.method for each in server.requests if "/data/movies/" in each.path and "." in each.path} == {"HEAD"}


def test_a_file_of_another_length_is_never_replaced_without_leave(archive, folder):
    made = plan(archive, [MOVIES], folder)
    mine = folder / "10017" / LARGE
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    for each in (made, plan(archive, [MOVIES], folder)):
        report = download(each)
        assert list(report.failed) == [f"empiar://10017/{LARGE}"]
        with pytest.raises(FileExistsAlreadyError, match="4 bytes"):
            report.raise_first()
        assert mine.read_bytes() == b"mine"
    assert [each.file.path for each in plan(archive, [MOVIES], folder).in_state(FileState.DIFFERENT)] == [LARGE]
    assert download(made, overwrite=True).is_complete
    assert mine.read_bytes() == BYTES


def test_a_folder_in_the_place_of_a_file_is_said(archive, folder):
    (folder / "10017" / LARGE).mkdir(parents=True)
    error = download(plan(archive, [f"empiar://10017/{LARGE}"], folder)).failed[f"empiar://10017/{LARGE}"]
    assert isinstance(error, FileExistsAlreadyError) and "is a folder" in str(error)


def test_an_empty_file_arrives_and_is_named(server, archive, folder):
    (server.root / "10017" / "data" / "empty.log").write_bytes(b"")
    report = download(plan(archive, ["empiar://10017/data/empty.log"], folder))
    assert report.done[0].read_bytes() == b""
    assert report.suspicious == {report.done[0]: "the file is empty"}


# ---- faults --------------------------------------------------------------------------------------------------

ONCE = [
    FailWith(503),
    FailWith(429, retry_after="0"),
    Hang(1),
    CutBody(0),
    CutBody(500_000),
    Reset(),
    Reset(500_000),
    StallBody(500_000, 1),
    ShortBody(1000),
    WrongLength(-1000),
    WrongLength(1000),
    OtherRange(7),
    OtherSize(1000),
    Redirect(),
    AnswerHtml(),
    IgnoreRanges(),
]


@pytest.mark.parametrize("fault", ONCE, ids=str)
def test_a_fault_on_the_way_costs_a_request_and_no_byte(server, archive, folder, fault: Fault):
    server.inject(fault, f"*/{LARGE}", times=1)
    report = download(plan(archive, [f"empiar://10017/{LARGE}"], folder))
    # Nothing is believed after an answer that contradicts the ones before or after it; then the user is told.
    assert contents(folder).get(LARGE, BYTES) == BYTES
    if not report.is_complete:
        assert all(isinstance(error, UserError) for error in report.failed.values())
        assert LARGE not in contents(folder)
        assert download(plan(archive, [f"empiar://10017/{LARGE}"], folder)).is_complete
    assert contents(folder) == {LARGE: BYTES}


@pytest.mark.parametrize("fault", [f for f in ONCE if not isinstance(f, IgnoreRanges)], ids=str)
def test_a_fault_that_stays_keeps_nothing_wrong_and_stops_no_other_file(server, archive, folder, fault: Fault):
    server.inject(fault, f"*/{LARGE}", times=None)
    report = download(plan(impatient(archive), [MOVIES], folder))
    assert len(report.done) == 2
    assert list(report.failed) == [f"empiar://10017/{LARGE}"]
    assert LARGE not in contents(folder)

    server.faults.clear()
    server.reset_counts()
    report = download(plan(archive, [MOVIES], folder))
    assert (len(report.done), len(report.skipped)) == (1, 2)
    assert contents(folder) == {name: content for name, content in FILES.items() if "/movies/" in name}


def test_a_server_without_ranges_serves_a_part_to_the_end_all_the_same(server, archive, folder):
    server.inject(StallBody(400_000, 1), f"*/{LARGE}", times=1)
    address = [f"empiar://10017/{LARGE}"]
    assert not download(plan(impatient(archive), address, folder)).is_complete
    server.inject(IgnoreRanges(), "*", times=None)
    assert download(plan(archive, address, folder)).is_complete
    assert contents(folder) == {LARGE: BYTES}


def test_a_missing_file_leaves_no_trace_and_fails_alone(server, archive, folder):
    made = plan(archive, [MOVIES], folder)
    (server.root / "10017" / LARGE).unlink()
    report = download(made)
    assert isinstance(report.failed[f"empiar://10017/{LARGE}"], EntryNotFoundError)
    assert contents(folder) == {name: FILES[name] for name in ("data/movies/b.tiff.bz2", "data/movies/c.tiff.bz2")}


def test_fail_fast_raises_the_first_error(server, archive, folder):
    server.inject(FailWith(404), "*.bz2", times=None)
    with pytest.raises(EntryNotFoundError):
        download(plan(archive, [MOVIES], folder), fail_fast=True)


def test_a_defect_of_ours_is_raised_not_reported(archive, folder, monkeypatch):
    def broken(path: Path) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("napari_empiarreader.archive.download.suspicion", broken)
    with pytest.raises(ZeroDivisionError):
        download(plan(archive, [MOVIES], folder))


# ---- ending early, and going on ------------------------------------------------------------------------------


def stalled(server: LoopbackArchive, archive: Archive, folder: Path, after: int = 500_000) -> None:
    """Leave a part of so many bytes."""
    server.inject(StallBody(after, 1), f"*/{LARGE}", times=1)
    report = download(plan(impatient(archive), [f"empiar://10017/{LARGE}"], folder))
    assert isinstance(report.failed[f"empiar://10017/{LARGE}"], ServerUnreachableError)
    server.faults.clear()
    server.reset_counts()


def test_a_part_is_continued_where_it_ended(server, archive, folder):
    stalled(server, archive, folder)
    made = plan(archive, [f"empiar://10017/{LARGE}"], folder)
    (file,) = made.files
    assert (file.state, file.bytes_there) == (FileState.PARTIAL, 500_000)
    report = download(made)
    assert ranges_of(server, LARGE) == ["bytes=500000-"]
    assert report.bytes_moved == len(BYTES) - 500_000
    assert contents(folder) == {LARGE: BYTES}


def rewrite_longer(path: Path) -> bytes:
    path.write_bytes(new := BYTES[::-1] + b"more")
    return new


def rewrite_shorter(path: Path) -> bytes:
    path.write_bytes(new := BYTES[:400_000][::-1])
    return new


@pytest.mark.parametrize("rewrite", [rewrite_longer, rewrite_shorter])
def test_a_part_of_a_file_that_has_changed_is_dropped(server, archive, folder, rewrite: Callable[[Path], bytes]):
    stalled(server, archive, folder)
    new = rewrite(server.root / "10017" / LARGE)
    assert download(plan(archive, [f"empiar://10017/{LARGE}"], folder)).is_complete
    assert contents(folder) == {LARGE: new}


def test_a_complete_part_costs_one_question(server, archive, folder, monkeypatch):
    monkeypatch.setattr("napari_empiarreader.archive._journal.Part.keep", _full_disk)
    assert not download(plan(archive, [f"empiar://10017/{LARGE}"], folder)).is_complete
    monkeypatch.undo()
    server.reset_counts()
    report = download(plan(archive, [f"empiar://10017/{LARGE}"], folder))
    assert report.bytes_moved == 0 and report.is_complete
    assert [each.method for each in server.requests if each.path.endswith(LARGE)] == ["HEAD"]
    assert contents(folder) == {LARGE: BYTES}


def _full_disk(*_: object, **__: object) -> None:
    raise DiskSpaceError("full")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff" * 100, b'{"size": -5}', b'{"size": 3}', b"null"])
def test_a_damaged_note_means_to_begin_again(server, archive, folder, damage: bytes):
    stalled(server, archive, folder)
    (note,) = folder.rglob("*.json")
    note.write_bytes(damage)
    assert plan(archive, [f"empiar://10017/{LARGE}"], folder).files[0].state is FileState.MISSING
    assert download(plan(archive, [f"empiar://10017/{LARGE}"], folder)).bytes_moved == len(BYTES)
    assert contents(folder) == {LARGE: BYTES}


def test_the_caller_stops_it_and_what_arrived_stays(server, archive, folder):
    server.inject(StallBody(500_000, 30), f"*/{LARGE}", times=1)
    stop = threading.Event()

    def watch(state: DownloadState) -> None:
        if state.files_done == 2 and state.bytes_done >= 1_500_001:
            stop.set()

    slow = Archive(replace(archive.settings, timeout=30))
    report = download(plan(slow, [MOVIES], folder), stop=stop, watch=watch)
    assert (report.was_stopped, report.is_complete) == (True, False)
    assert (len(report.done), report.left, report.failed) == (2, [f"empiar://10017/{LARGE}"], {})
    (part,) = folder.rglob("*.empiar-part")
    assert part.read_bytes() == BYTES[:500_000]


def test_what_progress_raises_ends_it(server, archive, folder):
    class Enough(Exception): ...

    def progress(done: int, total: int, message: str = "") -> None:
        if done:
            raise Enough

    with pytest.raises(Enough):
        download(plan(archive, [MOVIES], folder), progress=progress)
    assert download(plan(archive, [MOVIES], folder)).is_complete
    assert contents(folder) == {name: content for name, content in FILES.items() if "/movies/" in name}


def test_a_very_long_name_has_its_part_too(server, archive, folder):
    name = "x" * 246 + ".dat"
    (server.root / "10017" / "data" / name).write_bytes(BYTES)
    server.inject(StallBody(600_000, 1), f"*/{name}", times=1)
    address = [f"empiar://10017/data/{name}"]
    assert not download(plan(impatient(archive), address, folder)).is_complete
    report = download(plan(archive, address, folder))
    assert report.bytes_moved == len(BYTES) - 600_000
    assert contents(folder) == {f"data/{name}": BYTES}


# ---- the plan ------------------------------------------------------------------------------------------------


def test_a_plan_writes_nothing_and_asks_for_lengths_only_on_demand(server, archive, folder):
    made = plan(archive, [MOVIES], folder)
    assert not folder.exists() and not made.is_exact
    assert not any(each.method == "HEAD" for each in server.requests)
    exact = plan(archive, [MOVIES], folder, exact=True)
    assert exact.is_exact and exact.total_bytes == 2_300_001
    assert abs(made.total_bytes - exact.total_bytes) < 0.1 * exact.total_bytes
    assert "2.3 MB" in str(exact)


def test_files_and_addresses_may_be_mixed_and_count_once(archive, folder):
    files = find_files(archive, [MOVIES])
    made = plan(archive, [files[0], MOVIES, files[1]], folder)
    assert sorted(each.uri for each in made.files) == sorted(file.uri for file in files)


def test_an_address_that_fits_nothing_is_an_error(archive, folder):
    with pytest.raises(NothingFoundError, match=r"\*\.eer"):
        plan(archive, ["empiar://10017/data/*.eer"], folder)


def test_a_budget_refuses_with_the_size_and_the_way_out(archive, folder):
    with pytest.raises(OverBudgetError, match=r"2\.[23] MB to fetch .* budget of 1\.0 MB") as caught:
        plan(archive, [MOVIES], folder, budget_bytes=1_000_000)
    for words in ("globus transfer", "ascp", f"10017/{LARGE}", str(folder)):
        assert words in caught.value.commands and words in str(caught.value)
    with pytest.raises(OverBudgetError, match="negative"):
        plan(archive, [MOVIES], folder, budget_bytes=-1)


def test_a_budget_cuts_where_it_is_asked_to(archive, folder):
    made = plan(archive, [MOVIES], folder, budget_bytes=1_100_000, over_budget="cut")
    assert sorted(each.file.name for each in (*made.files, *made.left_out)) == [
        "b.tiff.bz2", "c.tiff.bz2", "d.tiff.bz2"
    ]  # fmt: skip
    assert [each.file.name for each in made.left_out] == ["d.tiff.bz2"]
    assert "1 file left out" in str(made)
    assert download(made).bytes_moved == 1_000_001


@pytest.mark.parametrize(("budget", "fits"), [(2_300_001, True), (2_300_000, False)])
def test_near_the_budget_rounded_sizes_are_not_believed(archive, folder, budget: int, fits: bool):
    if fits:
        assert plan(archive, [MOVIES], folder, budget_bytes=budget).is_exact
    else:
        with pytest.raises(OverBudgetError):
            plan(archive, [MOVIES], folder, budget_bytes=budget)


def test_what_is_there_is_not_charged_to_the_budget(archive, folder):
    download(plan(archive, ["empiar://10017/data/movies/**/d*"], folder))
    assert plan(archive, [MOVIES], folder, budget_bytes=1_100_000).missing_bytes < 1_100_000


def test_only_metadata_brings_tables_and_descriptions_and_no_image(server, archive, folder):
    made = plan(archive, ["empiar://10017/data"], folder, only="metadata")
    assert [each.file.path for each in made.files] == ["10017.xml", "data/particles.star"]
    report = download(made)
    found = contents(folder)
    assert sorted(found) == ["10017.json", "10017.xml", "data/particles.star"] and report.is_complete
    assert b"EMPIAR-10017" in found["10017.json"]
    again = download(plan(archive, ["empiar://10017/data"], folder, only="metadata"))
    assert (len(again.skipped), again.bytes_moved) == (3, 0)


def test_metadata_without_its_service_is_what_the_archive_has_and_says_what_failed(server, archive, folder):
    server.inject(FailWith(404), "*/api/*", times=None)
    report = download(plan(archive, ["empiar://10017/data"], folder, only="metadata"))
    assert sorted(contents(folder)) == ["10017.xml", "data/particles.star"]
    assert list(report.failed) == ["EMPIAR-10017"]


def test_a_full_disk_is_seen_before_anything_is_fetched(server, archive, folder, monkeypatch):
    from shutil import disk_usage

    def full(place: object) -> object:
        return disk_usage(place)._replace(free=1_000_000)  # type: ignore[arg-type]

    monkeypatch.setattr("shutil.disk_usage", full)
    with pytest.raises(DiskSpaceError, match=r"2\.[23] MB are to be fetched, but the disk has 1\.0 MB free"):
        plan(archive, [MOVIES], folder)
    assert not folder.exists()


def test_offline_a_complete_selection_is_fine_and_anything_else_an_error(server, archive, folder):
    made = plan(archive, [MOVIES], folder)
    offline = replace(archive.settings, offline=True)
    for each in made.files:
        each.file.settings = offline
    server.reset_counts()
    with pytest.raises(OfflineError, match="not to be asked"):
        download(made)
    assert server.requests == []


def test_names_that_would_be_one_file_are_refused_where_the_disk_ignores_case(server, archive, folder, monkeypatch):
    (server.root / "10017" / "data" / "Movies").mkdir()
    (server.root / "10017" / "data" / "Movies" / "B.tiff.bz2").write_bytes(b"other")
    address = ["empiar://10017/data/*ovies/*.bz2"]
    monkeypatch.setattr("napari_empiarreader.archive._targets._ignores_case", lambda _: True)
    with pytest.raises(UnsafeNameError, match=r"(?i)b\.tiff\.bz2 and .*b\.tiff\.bz2 would be one file"):
        plan(archive, address, folder)
    monkeypatch.setattr("napari_empiarreader.archive._targets._ignores_case", lambda _: False)
    assert len(download(plan(archive, address, folder)).done) == 3
