"""Downloads that end badly: killed, interrupted, on a full disk, or two at a time on the same files."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_empiarreader.archive._journal import Part, has_leftovers, resumable
from napari_empiarreader.archive.cache import Validators
from napari_empiarreader.archive.download import download, plan
from napari_empiarreader.archive.faults import Delay, StallBody
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import FileExistsAlreadyError, TargetBusyError

DICE = random.Random(5)
BYTES = DICE.randbytes(3_000_000)
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "killed_download.py"
HANGS = 60
"""Seconds after which a test is given up; nothing here should take them."""

CHILD = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
from napari_empiarreader.archive import Archive, ArchiveSettings
from napari_empiarreader.archive.download import download, plan

archive_url, folder, timeout = sys.argv[1:4]
archive = Archive(ArchiveSettings(archive_url=archive_url, timeout=float(timeout), cache_bytes=0))
if len(sys.argv) > 4:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
report = download(plan(archive, ["empiar://10017/data"], folder))
print(json.dumps({
    "failed": {uri: [type(error).__name__, str(error)] for uri, error in report.failed.items()},
    "left": report.left, "done": [str(path) for path in report.done], "moved": report.bytes_moved,
}))
"""


@pytest.fixture
def server(tmp_path):
    data = tmp_path / "archive" / "10017" / "data"
    data.mkdir(parents=True)
    (data / "a.bin").write_bytes(BYTES)
    with LoopbackArchive(tmp_path / "archive") as server:
        yield server


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "out"


def start(server: LoopbackArchive, folder: Path, timeout: float = 5, *more: str) -> "subprocess.Popen[str]":
    arguments = [server.settings.archive_url, str(folder), str(timeout), *more]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said(child: "subprocess.Popen[str]") -> dict:
    out, errors = child.communicate(timeout=HANGS)
    assert child.returncode == 0, errors
    return json.loads(out)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_for_part(child: "subprocess.Popen[str]", folder: Path, length: int) -> None:
    """Until the part has so many bytes."""
    for _ in range(HANGS * 100):
        if any(path.stat().st_size >= length for path in folder.rglob("*.empiar-part")):
            return
        assert child.poll() is None, child.communicate()
        threading.Event().wait(0.01)
    pytest.fail("nothing arrived")


# ---- killed --------------------------------------------------------------------------------------------------


def test_killed_again_and_again_it_ends_complete_for_few_bytes_more():
    """The benchmark, in small: its exit code says that every byte is right, and that few were sent twice."""
    small = ["--files", "60", "--megabytes", "12", "--kills", "3", "--connections", "2", "--delay", "0.03"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *small], capture_output=True, text=True, timeout=3 * HANGS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SIGKILL") == 3
    assert "wrong, missing or left over: 0" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_an_interrupt_does_not_wait_for_a_silent_archive_and_keeps_the_part(server, folder):
    server.inject(StallBody(1_000_000, 10 * HANGS), "*/a.bin", times=1)
    child = start(server, folder, 5 * HANGS)  # its patience is longer than this test's
    wait_for_part(child, folder, 1_000_000)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=HANGS)
    assert child.returncode != 0 and "KeyboardInterrupt" in errors
    server.reset_counts()
    report = download(plan(server.archive, ["empiar://10017/data"], folder))
    assert report.bytes_moved == len(BYTES) - 1_000_000
    assert files_in(folder) == {"a.bin": BYTES}


# ---- a full disk ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_disk_that_takes_no_more_is_an_error_that_keeps_the_part(server, folder):
    report = said(start(server, folder, 5, "1234567"))
    ((kind, message),) = report["failed"].values()
    assert kind == "DiskSpaceError" and "the disk is full" in message
    assert report["done"] == []
    (part,) = folder.rglob("*.empiar-part")
    assert part.read_bytes() == BYTES[:1_234_567]

    report = said(start(server, folder))
    assert report["moved"] == len(BYTES) - 1_234_567
    assert files_in(folder) == {"a.bin": BYTES}


def test_a_really_full_disk_stops_every_file_and_what_arrived_is_continued(server, tmp_path):
    unshare = shutil.which("unshare")
    small = ["-rm", "sh", "-c", 'mount -t tmpfs -o size="$0" none "$1"', "1m", str(tmp_path)]
    if unshare is None or subprocess.run([unshare, *small], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    for i in range(6):
        (server.root / "10017" / "data" / f"{i}.bin").write_bytes(BYTES[:700_000])
    disk = tmp_path / "disk"
    disk.mkdir()
    # The plan sees a disk with room; it fills up while the files come.
    script = 'mount -t tmpfs -o size=8m none "$0" && exec "$@"'
    code = CHILD.replace(
        "report = download(",
        f"made = plan(archive, ['empiar://10017/data'], folder)\n"
        f"open({str(disk / 'other')!r}, 'wb').write(bytes(6_500_000))\nreport = download(",
    ).replace('plan(archive, ["empiar://10017/data"], folder))', "made)")
    code += """
import threading
from pathlib import Path
for thread in threading.enumerate():  # one that the end has caught in the middle still holds its file
    thread.name.startswith("download-") and thread.join(20)
print(json.dumps({path.name: path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}))
Path(folder, "../other").unlink()
again = download(plan(archive, ["empiar://10017/data"], folder))
print(json.dumps([again.is_complete, again.bytes_moved, str(again.failed)]))
whole = {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
print(json.dumps([sorted(whole), all(whole[f"{i}.bin"] == whole["a.bin"][:700_000] for i in range(6))]))
"""
    command = [sys.executable, "-c", code, server.settings.archive_url, str(disk / "out"), "5"]
    done = subprocess.run(
        [unshare, "-rm", "sh", "-c", script, str(disk), *command],
        capture_output=True, text=True, timeout=HANGS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, there, again, whole = map(json.loads, done.stdout.splitlines())
    assert {kind for kind, _ in first["failed"].values()} == {"DiskSpaceError"}
    assert len(first["failed"]) + len(first["left"]) + len(first["done"]) == 7
    kept = sum(size for name, size in there.items() if not name.endswith(".json"))
    assert all(size == 700_000 for name, size in there.items() if name.endswith(".bin"))
    total = len(BYTES) + 6 * 700_000
    assert again == [True, total - kept, "{}"]
    assert whole == [["0.bin", "1.bin", "2.bin", "3.bin", "4.bin", "5.bin", "a.bin"], True]


# ---- two at a time -------------------------------------------------------------------------------------------


def test_a_file_that_another_process_writes_is_left_to_it(server, folder):
    target = folder / "10017" / "data" / "a.bin"
    with Part(target) as part:
        part.begin(Validators(len(BYTES)))
        part.write(BYTES[:1_000_000])
        ((kind, message),) = said(start(server, folder))["failed"].values()
        assert kind == "TargetBusyError" and "another download" in message
    assert said(start(server, folder))["moved"] == len(BYTES) - 1_000_000
    assert files_in(folder) == {"a.bin": BYTES}
    assert said(start(server, folder))["moved"] == 0


def test_many_processes_at_once_leave_one_right_file(server, folder):
    server.inject(Delay(0.05), "*/a.bin", times=None)
    reports = [said(child) for child in [start(server, folder) for _ in range(4)]]
    assert sum(len(report["done"]) for report in reports) == 1
    assert {kind for report in reports for kind, _ in report["failed"].values()} <= {"TargetBusyError"}
    assert files_in(folder) == {"a.bin": BYTES}


def test_a_part_belongs_to_one_thread(tmp_path):
    target = tmp_path / "a.bin"
    with Part(target) as part:
        part.begin(Validators(3))
        part.write(b"ab")
        with pytest.raises(TargetBusyError), Part(target):
            pass
        part.write(b"c")
        part.keep(overwrite=False)
    assert files_in(tmp_path) == {"a.bin": b"abc"}
    with Part(target):
        pass


# ---- the part itself -----------------------------------------------------------------------------------------


class Killed(Exception):
    """Nothing after this happens."""


@settings(max_examples=60)
@given(
    data=st.one_of(st.binary(max_size=300), st.binary(max_size=40).map(lambda tail: bytes(100) + tail + bytes(60))),
    lives=st.lists(st.lists(st.integers(1, 60), max_size=6), max_size=5),
)
def test_whatever_way_it_ends_a_part_is_a_beginning_of_its_file(data: bytes, lives: list[list[int]]):
    about = Validators(len(data), '"x"', 1.5e9, 1.6e9)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "a.bin"

        def live(pieces: list[int]) -> None:
            with Part(target) as part:
                if part.about is None:
                    part.begin(about)
                assert part.about == about
                for length in pieces:
                    part.write(data[part.position : part.position + length])
                    found = resumable(target)
                    assert found == ((about, part.position) if part.position else None)
                raise Killed

        for pieces in lives:
            with pytest.raises(Killed):
                live(pieces)
            (part_file,) = [*Path(folder).glob("*.empiar-part")] or [None]
            assert part_file is None or data.startswith(part_file.read_bytes())
        with Part(target) as part:
            if part.about is None:
                part.begin(about)
            part.write(data[part.position :])
            part.keep(overwrite=False)
        assert files_in(Path(folder)) == {"a.bin": data}


def test_zeros_that_a_power_cut_left_at_the_end_are_not_believed(tmp_path):
    target = tmp_path / "a.bin"
    with Part(target) as part:
        part.begin(Validators(10_000_000))
        part.write(b"x" * 1000)
    (file,) = tmp_path.glob("*.empiar-part")
    with file.open("ab") as end:
        end.write(bytes(3_000_000))
    with Part(target) as part:
        assert part.position == 1000


def test_a_part_longer_than_its_file_is_not_believed(tmp_path):
    target = tmp_path / "a.bin"
    with Part(target) as part:
        part.begin(Validators(10))
        part.write(b"x" * 11)
    assert resumable(target) is None
    with Part(target) as part:
        assert (part.position, part.about) == (0, None)
    assert not has_leftovers(target)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "a.bin"
    with pytest.raises(FileExistsAlreadyError, match="appeared"), Part(target) as part:
        part.begin(Validators(1))
        part.write(b"x")
        target.write_bytes(b"mine")
        part.keep(overwrite=False)
    assert target.read_bytes() == b"mine" and resumable(target) == (Validators(1), 1)


VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=5)
NOTES = st.dictionaries(st.sampled_from(["size", "synced", "etag", "modified", "seen"]), VALUES)


@given(st.binary(max_size=200) | st.text().map(str.encode) | NOTES.map(lambda values: json.dumps(values).encode()))
def test_any_note_is_understood_or_ignored(text: bytes):
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "a.bin"
        Path(folder, "a.bin.empiar-part").write_bytes(b"12345")
        Path(folder, "a.bin.empiar-part.json").write_bytes(text)
        found = resumable(target)
        with Part(target) as part:
            assert found is None or found == (part.about, part.position)
            assert (part.about is None) == (found is None)


def test_a_note_that_a_full_disk_does_not_take_holds_nobody_up(folder):
    target = folder / "a.bin"
    with pytest.raises(OSError, match="No space"), Part(target) as part:
        part._note = FullDisk(part._note)
        part.begin(Validators(size=10))
    with Part(target) as part:  # it is not busy
        assert part.position == 0


class FullDisk:
    """A file on a disk that takes nothing more, not even on closing."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self):
        self._file.close()
        raise OSError(errno.ENOSPC, "No space left on device")
