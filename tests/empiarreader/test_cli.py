"""The command line as a user meets it: another process, its output, its exit code."""

import json
import os
import subprocess
import sys

import pytest

from napari_empiarreader.archive.server import LoopbackArchive


@pytest.fixture
def server(tmp_path):
    data = tmp_path / "archive" / "10017" / "data" / "micrographs"
    data.mkdir(parents=True)
    for i in range(3):
        (data / f"m{i}.mrc").write_bytes(bytes([i]) * 5000)
    (data / "notes.txt").write_text("x")
    entry = {
        "title": "Beta-galactosidase",
        "dataset_size": "2.3 TB",
        "citation": [{"title": "Å-scale", "doi": "10.1/x"}],
        "imagesets": [
            {"name": "Falcon", "directory": "/data/micrographs", "num_images_or_tilt_series": 3, "pixel_width": 1.77}
        ],
    }
    (tmp_path / "archive" / "10017" / "entry.json").write_text(json.dumps(entry))
    with LoopbackArchive(tmp_path / "archive") as server:
        yield server


@pytest.fixture
def run(server):
    environment = {
        **os.environ,
        "EMPIAR_API_URL": server.settings.api_url,
        "EMPIAR_ARCHIVE_URL": server.settings.archive_url,
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "100",
    }

    def run(*arguments, **changes):
        return subprocess.run(
            [sys.executable, "-c", "from napari_empiarreader.cli import main; main()", *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            env={**environment, **changes},
            timeout=60,
        )

    return run


def assert_one_line_of_error(result, *words):
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_info_tells_of_the_entry(run):
    result = run("info", "EMPIAR-10017")
    assert result.returncode == 0, result.stderr
    for words in ("EMPIAR-10017  Beta-galactosidase", "2.3 TB", "data/micrographs", "1.77 Å/px", "Å-scale"):
        assert words in result.stdout


def test_info_as_json_is_the_typed_entry(run):
    facts = json.loads(run("info", "10017", "--json").stdout)
    assert facts["accession"] == "EMPIAR-10017"
    assert facts["imagesets"][0]["pixel_size"] == 1.77
    assert facts["imagesets"][0]["directory"] == "data/micrographs"


def test_list_shows_a_folder(run):
    assert [line.split()[-1] for line in run("list", "10017").stdout.splitlines()] == ["data/", "entry.json"]
    lines = run("list", "10017", "data/micrographs").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["m0.mrc", "m1.mrc", "m2.mrc", "notes.txt"]
    assert "KiB" in lines[0]


def test_list_as_json_has_paths(run):
    items = json.loads(run("list", "10017", "data/micrographs", "--json").stdout)
    assert items[0]["path"] == "data/micrographs/m0.mrc"
    assert items[0]["is_folder"] is False


def test_get_keeps_the_folders_and_prints_what_it_wrote(run, tmp_path):
    result = run(
        "get", "empiar://10017/data/*/m[01].mrc", "empiar://10017/data/micrographs/notes.txt", "-o", tmp_path / "o"
    )
    assert result.returncode == 0, result.stderr
    written = sorted(path for path in (tmp_path / "o").rglob("*") if path.is_file())
    assert sorted(result.stdout.split()) == [str(path) for path in written]
    assert [path.name for path in written] == ["m0.mrc", "m1.mrc", "notes.txt"]
    assert (tmp_path / "o/10017/data/micrographs/m1.mrc").read_bytes() == bytes([1]) * 5000


def test_get_does_not_replace_files_unless_told(run, tmp_path):
    address = "empiar://10017/data/micrographs/m0.mrc"
    target = tmp_path / "10017/data/micrographs/m0.mrc"
    assert run("get", address, "-o", tmp_path).returncode == 0
    target.write_bytes(b"mine")
    assert_one_line_of_error(run("get", address, "-o", tmp_path), "exists already")
    assert target.read_bytes() == b"mine"
    assert run("get", address, "-o", tmp_path, "--overwrite").returncode == 0
    assert target.read_bytes() == bytes(5000)


def test_an_option_overrides_the_environment(run, server):
    nowhere = {"EMPIAR_API_URL": "http://127.0.0.1:9", "EMPIAR_ARCHIVE_URL": "http://127.0.0.1:9"}
    assert run("info", "10017", "--api-url", server.settings.api_url, **nowhere).returncode == 0
    assert run("list", "10017", "--archive-url", server.settings.archive_url, **nowhere).returncode == 0


def test_mistakes_and_failures_are_one_line_and_exit_code_1(run, tmp_path):
    assert_one_line_of_error(run("info", "99999"), "EMPIAR-99999", "no such entry")
    assert_one_line_of_error(run("info", "apoferritin"), "'apoferritin' is no EMPIAR entry")
    assert_one_line_of_error(run("list", "10017", "data/none"), "data/none")
    assert_one_line_of_error(run("get", "empiar://10017/data/*.tif", "-o", tmp_path / "o"), "no file of the entry fits")
    assert_one_line_of_error(run("get", "http://x/y", "-o", tmp_path / "o"), "no archive address")
    assert_one_line_of_error(run("info", "10017", "--api-url", "nowhere"), "no web address")
    assert not (tmp_path / "o").exists()


def test_a_server_that_is_down_is_one_line_and_exit_code_1(run):
    result = run("info", "10017", EMPIAR_API_URL="http://127.0.0.1:9")
    assert_one_line_of_error(result, "no answer from http://127.0.0.1:9")


def test_help_names_every_command(run):
    result = run("--help")
    assert result.returncode == 0
    assert all(word in result.stdout for word in ("info", "list", "get"))
