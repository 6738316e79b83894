"""Every defect known of EMPIARreader 0.0.17, as a test that ours does not have it; see docs/reference/empiarreader.md.

The names of the tests stand in that table, and a test below holds the two together.
"""

from __future__ import annotations

import bz2
import gzip
import json
import re
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from napari_empiarreader.archive import Archive, parse_entry
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.coordinates import read_particles
from napari_empiarreader.errors import NothingFoundError
from napari_empiarreader.micrographs import open_micrographs
from napari_empiarreader.micrographs.movies import MovieSeries
from napari_empiarreader.micrographs.opening import open_images

ROOT = Path(__file__).parents[2]
ENTRY = 10943
SIDE = 48


def micrograph(path: Path, value: float = 0, shape: tuple[int, ...] = (SIDE, SIDE)) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(int(value)).normal(value, 1, shape).astype(np.float32)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(image)
        mrc.voxel_size = 1.1
    return image


@pytest.fixture
def data(tmp_path) -> Path:
    return tmp_path / "archive" / str(ENTRY) / "data"


@pytest.fixture
def served(data):
    """The archive with whatever the test has put into ``data`` by then."""
    data.mkdir(parents=True)
    with LoopbackArchive(data.parents[1]) as server:
        yield server


@pytest.fixture
def archive(served) -> Archive:
    return Archive(served.settings)


def uri(path: str) -> str:
    return f"empiar://{ENTRY}/data/{path}"


# ---- found by running it ------------------------------------------------------------------------------------------


def test_remote_tiff_opens_frame_by_frame(data, served, archive):
    movie = np.random.default_rng(0).poisson(1, (5, SIDE, SIDE)).astype(np.uint8)
    (data / "movies").mkdir()
    tifffile.imwrite(data / "movies" / "m.tif", movie, compression="lzw")
    (series,) = open_images(uri("movies"), archive=archive)
    assert isinstance(series, MovieSeries) and series.shape == (5, SIDE, SIDE)
    np.testing.assert_array_equal(series.to_dask()[0, 3].compute(), movie[3])


def test_an_entry_with_null_sizes_opens(data, served, archive):
    imageset = {"name": "a", "directory": "data/m", "image_height": None, "image_width": None, "pixel_width": None}
    (data.parent / "entry.json").write_text(json.dumps({"title": "x", "imagesets": [imageset]}))
    micrograph(data / "m" / "a.mrc")
    (found,) = archive.entry(ENTRY).imagesets
    assert found.image_height is None
    assert len(open_micrographs(uri(found.directory.removeprefix("data/")), archive=archive)) == 1


def test_a_folder_gives_its_images_and_nothing_else(data, served, archive):
    micrograph(data / "m" / "a.mrc")
    micrograph(data / "m" / "deeper" / "b.mrc")
    (data / "m" / "notes.txt").write_text("x")
    page = archive.list(ENTRY, "data/m")
    assert [item.name for item in page] == ["deeper", "a.mrc", "notes.txt"]
    assert open_micrographs(uri("m"), archive=archive).names == ("a.mrc",)


def test_a_pattern_fits_names_not_addresses(data, served, archive):
    for name in ("FoilHole_1.mrc", "FoilHole_2.mrc", "other.mrc"):
        micrograph(data / "m" / name)
    assert open_micrographs(uri("m/FoilHole*.mrc"), archive=archive).names == ("FoilHole_1.mrc", "FoilHole_2.mrc")
    assert open_micrographs(uri("**/FoilHole*.mrc"), archive=archive).names == ("FoilHole_1.mrc", "FoilHole_2.mrc")
    with pytest.raises(NothingFoundError, match="no image of a known format"):
        open_micrographs(uri("m/Grid*.mrc"), archive=archive)


def test_a_leading_slash_in_the_directory_is_forgiven():
    entry = parse_entry({"EMPIAR-1": {"imagesets": [{"name": "a", "directory": "/data/m/"}]}}, 1)
    assert entry.imageset_for("data/m/a.mrc") is entry.imagesets[0]


def test_two_sizes_in_a_folder_are_two_series(data, served, archive):
    small = micrograph(data / "m" / "a.mrc", 1)
    large = micrograph(data / "m" / "b.mrc", 2, (64, 96))
    opened = open_images(uri("m"), archive=archive, check="all")
    found = {series.names: np.asarray(series.to_dask()[0]) for series in opened}
    np.testing.assert_array_equal(found["a.mrc",], small)
    np.testing.assert_array_equal(found["b.mrc",], large)


def test_star_blocks_stay_apart_and_key_value_blocks_are_read(tmp_path):
    (tmp_path / "p.star").write_text(
        "data_job\n\n_rlnJobType 7\n\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n1 300.0\n\n"
        "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\na.mrc 10 20\n"
    )
    table = read_particles(tmp_path / "p.star")
    assert len(table) == 1 and not table.features.isna().any().any()
    assert set(table.metadata["star_blocks"]) == {"job", "optics"}


def test_volume_stacks_and_files_without_their_stamp_are_read(tmp_path):
    image = micrograph(tmp_path / "a.mrc")
    raw = bytearray((tmp_path / "a.mrc").read_bytes())
    raw[208:212] = b"\0\0\0\0"
    (tmp_path / "b.mrc").write_bytes(raw)
    opened = open_images(tmp_path / "b.mrc")
    np.testing.assert_array_equal(opened[0].to_dask()[0], image)
    assert any("MAP" in warning for warning in opened.warnings)
    with mrcfile.new(tmp_path / "v.mrc") as mrc:
        mrc.set_data(np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5))
    (volumes,) = open_images(tmp_path / "v.mrc")
    assert volumes.to_dask().shape[-2:] == (4, 5)


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_images_are_read_remotely(data, served, archive, ending, compress):
    image = micrograph(data / "m" / "a.mrc")
    packed = data / "m" / f"a.mrc{ending}"
    packed.write_bytes(compress((data / "m" / "a.mrc").read_bytes()))
    (data / "m" / "a.mrc").unlink()
    (series,) = open_images(uri("m"), archive=archive)
    np.testing.assert_array_equal(series.to_dask()[0], image)


def test_the_pixel_size_is_a_number(tmp_path):
    micrograph(tmp_path / "a.mrc")
    size = open_micrographs(tmp_path).pixel_size
    assert type(size) is float and size == pytest.approx(1.1)


# ---- read in its source -------------------------------------------------------------------------------------------


def test_one_frame_moves_one_frame(data, served, archive):
    movie = np.random.default_rng(0).integers(0, 9, (20, 256, 256)).astype(np.int8)
    (data / "m").mkdir()
    for name in ("a.mrc", "b.mrc"):
        with mrcfile.new(data / "m" / name) as mrc:
            mrc.set_data(movie)
            mrc.set_image_stack()
    (series,) = open_images(uri("m"), archive=archive)
    served.reset_counts()
    np.testing.assert_array_equal(series.read(0, 7), movie[7])
    assert served.bytes_sent <= 1.1 * 256 * 256
    series.read(0, 7)
    assert len(served.requests) == 1


def test_listings_go_below_the_first_level(data, served, archive):
    micrograph(data / "m" / "GridSquare_1" / "Data" / "a.mrc")
    assert [item.path for item in archive.walk(ENTRY) if not item.is_folder] == [
        "data/m/GridSquare_1/Data/a.mrc",
    ]


def test_the_number_of_micrographs_comes_from_the_files(data, served, archive):
    for i in range(3):
        micrograph(data / "m" / f"{i}.mrc")
    imageset = {"name": "a", "directory": "data/m", "num_images_or_tilt_series": 4000}
    (data.parent / "entry.json").write_text(json.dumps({"title": "x", "imagesets": [imageset]}))
    assert len(open_micrographs(uri("m"), archive=archive)) == 3


def test_downloads_keep_folders_and_call_no_shell(data, served, archive, tmp_path):
    from napari_empiarreader.archive.download import download, plan

    hostile = "a;touch hacked;.mrc"
    for folder in ("GridSquare_1", "GridSquare_2"):
        micrograph(data / folder / hostile, len(folder))
    target = tmp_path / "target"
    assert download(plan(archive, [f"empiar://{ENTRY}/data"], target)).is_complete
    copied = sorted(path.relative_to(target / str(ENTRY) / "data") for path in target.rglob("*.mrc"))
    assert [path.as_posix() for path in copied] == [f"GridSquare_1/{hostile}", f"GridSquare_2/{hostile}"]
    assert not list(tmp_path.rglob("hacked")) and not Path("hacked").exists()


# ---- the table ----------------------------------------------------------------------------------------------------


def test_every_test_that_the_table_names_is_there():
    page = (ROOT / "docs" / "reference" / "empiarreader.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 25
    for file, test in named:
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), f"{file}::{test}"
