"""The command line as a user meets it: its output, its exit code.

Where it matters that it is a process of its own, it is one; elsewhere it runs in this one.
"""

import json
import os
import subprocess
import sys

import mrcfile
import numpy as np
import pytest
import tifffile

from napari_empiarreader import cli
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.coordinates import read_particles


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
def environment(server):
    return {
        "EMPIAR_API_URL": server.settings.api_url,
        "EMPIAR_ARCHIVE_URL": server.settings.archive_url,
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "100",
    }


@pytest.fixture
def run(environment, run_here):
    def run(*arguments, **changes):
        return run_here(cli.main, *arguments, environment={**environment, **changes})

    return run


@pytest.fixture
def process(environment):
    """Run it in a process of its own."""

    def run(*arguments, **changes):
        return subprocess.run(
            [sys.executable, "-c", "from napari_empiarreader.cli import main; main()", *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, **environment, **changes},
            timeout=60,
        )

    return run


def assert_one_line_of_error(result, *words):
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_info_tells_of_the_entry(process):
    result = process("info", "EMPIAR-10017")
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


def test_get_keeps_the_folders_and_prints_what_it_wrote(process, tmp_path):
    result = process(
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


def test_a_server_that_is_down_is_one_line_and_exit_code_1(process):
    result = process("info", "10017", EMPIAR_API_URL="http://127.0.0.1:9")
    assert_one_line_of_error(result, "no answer from http://127.0.0.1:9")


def test_help_names_every_command(process):
    result = process("--help")
    assert result.returncode == 0
    commands = ("info", "search", "list", "get", "preview", "download", "convert")
    assert all(word in result.stdout for word in commands)


def test_list_goes_deep_matches_and_tells_exact_sizes(run):
    lines = run("list", "10017", "--recursive", "--match", "m*.mrc", "--exact").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == [f"data/micrographs/m{i}.mrc" for i in range(3)]
    assert all(line.split()[0] == "5,000" for line in lines)
    (item,) = json.loads(run("list", "10017", "-r", "--regex", r"m[2]\.mrc$", "--exact", "--json").stdout)
    assert item["path"] == "data/micrographs/m2.mrc" and item["size_bytes"] == 5000
    assert_one_line_of_error(run("list", "10017", "--regex", "("), "no regular expression")


def test_addresses_of_a_list_are_downloaded_and_a_second_run_moves_nothing(process, server, tmp_path):
    (tmp_path / "chosen.txt").write_text(process("list", "10017", "-r", "--match", "*.mrc", "--addresses").stdout)
    result = process("download", "--from", tmp_path / "chosen.txt", "-o", tmp_path / "o")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3 and "3 files fetched" in result.stderr
    server.reset_counts()
    again = json.loads(process("download", "--from", tmp_path / "chosen.txt", "-o", tmp_path / "o", "--json").stdout)
    assert len(again["skipped"]) == 3 and again["bytes_moved"] == 0 == server.bytes_sent


def test_a_download_goes_on_past_a_failure_and_says_so(process, tmp_path):
    result = process(
        "download", "empiar://10017/data/micrographs/m0.mrc", "empiar://10017/data/micrographs/gone.mrc", "-o", tmp_path
    )
    assert result.returncode == 1
    assert result.stdout.splitlines() == [str(tmp_path / "10017/data/micrographs/m0.mrc")]
    assert "error: empiar://10017/data/micrographs/gone.mrc" in result.stderr


def test_a_download_keeps_to_its_budget_and_names_other_ways(run, tmp_path):
    result = run("download", "empiar://10017/data", "-o", tmp_path / "o", "--budget", "9KB")
    assert result.returncode == 1 and "globus" in result.stderr and not (tmp_path / "o").exists()
    commands = run("download", "empiar://10017/data", "-o", tmp_path / "o", "--commands").stdout
    assert "globus transfer" in commands and "ascp" in commands
    assert_one_line_of_error(run("download", "empiar://10017/data", "--budget", "much"), "'much' is no size")
    assert_one_line_of_error(run("download"), "nothing to download")


def test_a_search_builds_its_index_only_when_told(run, process):
    assert_one_line_of_error(run("search", "galactosidase"), "update")
    found = run("search", "beta", "galacto", "--update")
    assert found.returncode == 0, found.stderr
    assert "EMPIAR-10017" in found.stdout and "Beta-galactosidase" in found.stdout
    (entry,) = json.loads(process("search", "10017", "--json", "--least-size", "1TB").stdout)
    assert entry["number"] == 10017 and entry["pixel_sizes"] == [1.77]
    nothing = run("search", "ribosome")
    assert nothing.returncode == 0 and nothing.stdout == "" and "no entry of 1 fits" in nothing.stderr


def test_preview_makes_a_picture_of_what_is_there(run, server, tmp_path):
    from PIL import Image

    folder = tmp_path / "archive" / "10017" / "data" / "movies"
    folder.mkdir()
    movie = np.random.default_rng(0).poisson(1, (6, 96, 128)).astype(np.uint8)
    tifffile.imwrite(folder / "a.tif", movie, compression="lzw")
    result = run("preview", "empiar://10017/data/movies/a.tif", "-o", tmp_path / "a.png", "--side", "64")
    assert result.returncode == 0, result.stderr
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (48, 64 + 48) and picture.std() > 20
    assert_one_line_of_error(run("preview", "empiar://10017/data/movies/a.tif", "-o", tmp_path / "a.gif"), ".png")
    broken = run("preview", "empiar://10017/data/micrographs/m1.mrc", "-o", tmp_path / "b.png")
    assert_one_line_of_error(broken, "m1.mrc")


STAR = """data_

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
mic/a.mrc 10 20
mic/a.mrc 30 5
"""


def test_convert_there_and_back_by_way_of_the_micrographs(run, tmp_path):
    for name in ("a.mrc", "b.mrc"):
        with mrcfile.new(tmp_path / name) as mrc:
            mrc.set_data(np.zeros((40, 60), np.float32))
    (tmp_path / "p.star").write_text(STAR)
    micrographs = ("--micrographs", tmp_path / "a.mrc", tmp_path / "b.mrc")
    result = run("convert", tmp_path / "p.star", tmp_path / "p.cs", *micrographs, "--pixel-size", "1.5")
    assert result.returncode == 0 and result.stdout.strip() == str(tmp_path / "p.cs"), result.stderr
    record = np.load(tmp_path / "p.cs", allow_pickle=False)
    np.testing.assert_allclose(record["location/center_x_frac"], [10 / 60, 30 / 60], atol=1e-6)
    np.testing.assert_allclose(1 - record["location/center_y_frac"], [20 / 40, 5 / 40], atol=1e-6)
    assert run("convert", tmp_path / "p.cs", tmp_path / "back.star", *micrographs).returncode == 0
    np.testing.assert_allclose(read_particles(tmp_path / "back.star").coordinates, [[0, 20, 10], [0, 5, 30]], atol=1e-3)
    assert run("convert", tmp_path / "p.star", tmp_path / "p.box", "--box-size", "8").returncode == 0
    assert (tmp_path / "p.box").read_text().split()[:4] == ["6", "16", "8", "8"]


def test_convert_says_what_is_missing(run, tmp_path):
    (tmp_path / "p.star").write_text(STAR)
    assert_one_line_of_error(run("convert", tmp_path / "p.star", tmp_path / "p.box"), "box")
    assert_one_line_of_error(run("convert", tmp_path / "p.star", tmp_path / "p.xyz"), "'.xyz' is no coordinate format")
    assert_one_line_of_error(run("convert", tmp_path / "p.star"), "one IN and one OUT")
    assert not list(tmp_path.glob("p.box"))


def test_convert_makes_mrc_of_a_movie(run, tmp_path):
    movie = np.random.default_rng(0).poisson(1, (3, 24, 32)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", movie, compression="zstd", photometric="minisblack")
    result = run("convert", tmp_path / "m.tif", tmp_path / "m.mrc", "--pixel-size", "0.9")
    assert result.returncode == 0, result.stderr
    with mrcfile.open(tmp_path / "m.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, movie)
        assert mrc.voxel_size.x == pytest.approx(0.9)


def test_convert_sums_a_movie_with_its_gain_reference(run, tmp_path):
    rng = np.random.default_rng(0)
    movie, gain = rng.poisson(2, (4, 24, 32)).astype(np.uint8), rng.uniform(0.5, 1.5, (24, 32)).astype(np.float32)
    tifffile.imwrite(tmp_path / "m.tif", movie, compression="lzw", photometric="minisblack")
    with mrcfile.new(tmp_path / "gain.mrc") as mrc:
        mrc.set_data(np.ascontiguousarray(gain[::-1]))
    options = ("--gain", tmp_path / "gain.mrc", "--gain-flip", "upside-down", "--pixel-size", "0.9", "--json")
    result = run("convert", tmp_path / "m.tif", tmp_path / "sum.mrc", *options)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [str(tmp_path / "sum.mrc")]
    with mrcfile.open(tmp_path / "sum.mrc") as mrc:
        np.testing.assert_allclose(mrc.data, movie.sum(0) * gain, rtol=1e-5)
    wrong = run("convert", tmp_path / "m.tif", tmp_path / "x.mrc", "--sum", "--gain-rotate", "45")
    assert_one_line_of_error(wrong, "--gain-rotate 45")
    assert_one_line_of_error(run("convert", tmp_path / "sum.mrc", tmp_path / "x.mrc", "--sum"), "is no movie")


def test_convert_writes_ome_zarr(run, tmp_path):
    zarr = pytest.importorskip("zarr", reason="writing OME-Zarr needs zarr")
    image = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float32)
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 1.2
    result = run("convert", tmp_path / "a.mrc", tmp_path / "a.zarr")
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "a.zarr"))["0"][:], image)
