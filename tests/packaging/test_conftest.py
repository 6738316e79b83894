"""What all tests share is tested itself: a guard nobody sees fail is one nobody can trust."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"

INNER_TESTS = """
import http.server, socket, threading, urllib.request
import pytest

def test_address():
    socket.create_connection(("192.0.2.1", 80), timeout=1)

def test_name():
    urllib.request.urlopen("http://example.org/", timeout=1)

def test_error_that_the_code_swallows():
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    except AssertionError:
        pass

def test_fine_name_that_cannot_exist():
    with pytest.raises(socket.gaierror):
        socket.create_connection(("nowhere.invalid", 80), timeout=1)

@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_fine_server_on_this_machine(host):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert urllib.request.urlopen(f"http://{host}:{server.server_port}/").status == 200
    server.shutdown()
    server.server_close()
"""


def test_a_test_that_reaches_for_the_internet_fails_and_one_on_loopback_passes(tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_inner.py").write_text(INNER_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gui packaging\n")
    # The plugins for a screen are of no use here and would start a second one.
    options = ["-rA", "-p", "no:xvfb", "-p", "no:pytest-qt", "-p", "no:napari", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    summary = output.rpartition("short test summary info")[2].splitlines()
    wrong = {line.split("::")[1].split(" ")[0] for line in summary if line.startswith("ERROR")}
    assert wrong == {"test_address", "test_name", "test_error_that_the_code_swallows"}, output
    assert sum(line.startswith("PASSED") and "::test_fine" in line for line in summary) == 3, output
    assert "the test wanted to reach example.org; tests talk to this machine only" in output


def test_files_that_are_put_first_are_there() -> None:
    """One that was renamed would be run last, and nobody would notice but by the clock."""
    missing = [name for name in runpy.run_path(str(CONFTEST))["_LONGEST"] if not (CONFTEST.parent / name).exists()]
    assert not missing
