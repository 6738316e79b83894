"""Many files as one lazy array: nothing is read before it is needed, and nothing twice."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from napari_empiarreader.errors import FormatError, MixedSizesError, NothingFoundError, PixelSizeError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs import MicrographSeries, find_files, open_micrographs, write_mrc
from napari_empiarreader.micrographs.cache import shared_cache


class CountingSource:
    """A byte source in memory that remembers what was read of it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.uri = f"memory:{path}"
        self.data = path.read_bytes()
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, stop: int, *, at_most: bool = False) -> bytes:
        self.reads.append((start, stop))
        return self.data[start:stop]

    def size(self) -> int:
        return len(self.data)


@pytest.fixture(autouse=True)
def _fresh_cache():
    shared_cache().forget()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, images):
    folder = tmp_path / "micrographs"
    for i, image in enumerate(images):
        write_mrc(folder / f"m{i}.mrc", image, 1.5)
    return folder


def test_a_folder_is_opened_as_one_array_with_names_and_pixel_size(folder, images):
    series = open_micrographs(folder)
    assert len(series) == 5
    assert series.names == tuple(f"m{i}.mrc" for i in range(5))
    assert (series.shape, series.dtype, series.pixel_size) == ((6, 7), np.float32, 1.5)
    np.testing.assert_array_equal(series.to_dask().compute(), images)
    np.testing.assert_array_equal(series.read(3), images[3])


def test_one_chunk_is_one_micrograph(folder):
    lazy = open_micrographs(folder).to_dask()
    assert lazy.chunks == ((1,) * 5, (6,), (7,))
    assert lazy.dtype == np.float32
    assert len(lazy.dask.layers) == 1  # whatever the number of files


def test_nothing_but_the_first_header_is_read_until_a_chunk_is_computed(folder, images):
    sources = [CountingSource(path) for path in sorted(folder.iterdir())]
    lazy = open_micrographs(sources).to_dask()
    lazy[2].mean()
    assert [source.reads for source in sources] == [[(0, 1024)], [], [], [], []]

    np.testing.assert_array_equal(lazy[3].compute(), images[3])

    assert [len(source.reads) for source in sources] == [1, 0, 0, 1, 0]


def test_the_second_read_comes_from_memory(folder, images):
    sources = [CountingSource(path) for path in sorted(folder.iterdir())]
    series = open_micrographs(sources)
    for _ in range(3):
        np.testing.assert_array_equal(series.to_dask()[4].compute(), images[4])
        series.read(4)
    assert len(sources[4].reads) == 1


def test_two_sources_that_share_an_address_do_not_share_pixels(tmp_path):
    """Given one entry in an archive and in its mirror, when both are opened, then each gives its own pixels."""
    for value in (1, 2):
        write_mrc(tmp_path / f"{value}.mrc", np.full((2, 2), value, np.float32))
    one, two = (CountingSource(tmp_path / f"{value}.mrc") for value in (1, 2))
    one.uri = two.uri = "empiar://10017/data/a.mrc"
    assert [open_micrographs(source).read(0)[0, 0] for source in (one, two)] == [1, 2]


def test_a_file_written_anew_is_read_anew(folder, images):
    series = open_micrographs(folder)
    np.testing.assert_array_equal(series.read(0), images[0])
    write_mrc(folder / "m0.mrc", images[0] + 1, overwrite=True)
    status = (folder / "m0.mrc").stat()
    os.utime(folder / "m0.mrc", ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    np.testing.assert_array_equal(series.read(0), images[0] + 1)


def test_a_stack_is_one_micrograph_per_section(tmp_path, images):
    write_mrc(tmp_path / "s.mrcs", images, 2.5)
    source = CountingSource(tmp_path / "s.mrcs")
    series = open_micrographs(source)
    assert series.names == ("1@s.mrcs", "2@s.mrcs", "3@s.mrcs", "4@s.mrcs", "5@s.mrcs")
    assert series.pixel_size == 2.5
    np.testing.assert_array_equal(series.to_dask()[3].compute(), images[3])
    section = 6 * 7 * 4
    assert source.reads == [(0, 1024), (1024 + 3 * section, 1024 + 4 * section)]


def test_a_stack_among_micrographs_is_an_error_with_its_name(folder, images):
    write_mrc(folder / "n_stack.mrcs", images)
    with pytest.raises(MixedSizesError, match=r"n_stack\.mrcs: a stack of 5 sections"):
        open_micrographs(folder)


def test_local_files_of_two_sizes_are_an_error_that_names_both(folder):
    write_mrc(folder / "z.mrc", np.zeros((6, 8), np.float32))
    with pytest.raises(MixedSizesError, match=r"z\.mrc has 8 x 6 pixels, .*m0\.mrc has 7 x 6"):
        open_micrographs(folder)


def test_files_elsewhere_of_two_sizes_are_an_error_when_they_are_read(folder, images):
    write_mrc(folder / "z.mrc", np.zeros((6, 8), np.float32))
    series = open_micrographs([CountingSource(path) for path in sorted(folder.iterdir())])
    np.testing.assert_array_equal(series.read(0), images[0])
    with pytest.raises(MixedSizesError, match=r"z\.mrc has 8 x 6 pixels, .*m0\.mrc has 7 x 6"):
        series.to_dask()[5].compute()


def test_values_that_do_not_fit_the_type_of_the_first_file_are_an_error(tmp_path):
    """Given whole numbers in the first file and fractions in the second, then no fraction is silently cut off."""
    write_mrc(tmp_path / "a.mrc", np.zeros((2, 2), np.int16))
    write_mrc(tmp_path / "b.mrc", np.full((2, 2), 0.7, np.float32))
    with pytest.raises(FormatError, match=r"b\.mrc.*float32.*a\.mrc.*int16"):
        open_micrographs(tmp_path)
    series = open_micrographs([CountingSource(path) for path in sorted(tmp_path.iterdir())])
    with pytest.raises(FormatError, match=r"b\.mrc.*float32.*a\.mrc.*int16"):
        series.read(1)


def test_values_that_fit_the_type_of_the_first_file_are_widened(tmp_path):
    write_mrc(tmp_path / "a.mrc", np.zeros((2, 2), np.float32))
    write_mrc(tmp_path / "b.mrc", np.full((2, 2), -3, np.int16))
    series = open_micrographs(tmp_path)
    assert series.to_dask().compute().dtype == series.dtype == np.float32
    assert (series.read(1) == -3).all()


def test_the_user_knows_the_pixel_size_better_than_the_header(folder):
    assert open_micrographs(folder, pixel_size=3.25).pixel_size == 3.25
    series = open_micrographs(folder)
    assert series.with_pixel_size(2).pixel_size == 2.0
    assert series.with_pixel_size(None) is series


def test_a_missing_pixel_size_is_an_error_only_when_it_is_needed(tmp_path):
    write_mrc(tmp_path / "a.mrc", np.zeros((2, 2), np.float32))
    series = open_micrographs(tmp_path)
    assert series.pixel_size is None
    with pytest.raises(PixelSizeError, match="--pixel-size"):
        series.require_pixel_size()
    assert series.with_pixel_size(1.0).require_pixel_size() == 1.0


@pytest.mark.parametrize("pixel_size", [0, -1, float("nan"), float("inf")])
def test_an_impossible_pixel_size_is_an_error(folder, pixel_size):
    with pytest.raises(PixelSizeError, match="impossible"):
        open_micrographs(folder, pixel_size=pixel_size)
    with pytest.raises(PixelSizeError, match="impossible"):
        open_micrographs(folder).with_pixel_size(pixel_size)


# ---- arrays --------------------------------------------------------------------------------------------------


def test_an_array_is_a_series_too(images):
    series = MicrographSeries.from_array(images, pixel_size=1.5)
    assert len(series) == len(set(series.names)) == 5
    np.testing.assert_array_equal(series.to_dask().compute(), images)
    np.testing.assert_array_equal(MicrographSeries.from_array(images[0]).read(0), images[0])


def test_a_lazy_array_stays_lazy():
    import dask.array as da

    asked = []
    lazy = da.map_blocks(
        lambda block_info: asked.append(block_info[None]["chunk-location"]) or np.ones((1, 2, 2)),
        chunks=((1, 1, 1), (2,), (2,)),
        dtype=float,
        meta=np.empty((0, 0, 0)),
    )
    series = MicrographSeries.from_array(lazy)
    assert asked == []
    assert series.read(1).shape == (2, 2)
    assert asked == [(1, 0, 0)]


@pytest.mark.parametrize("shape", [(3,), (0, 4, 4), (2, 0, 4), (1, 2, 3, 4)], ids=str)
def test_an_array_that_holds_no_micrographs_is_an_error(shape):
    with pytest.raises(FormatError, match="with pixels, not shape"):
        MicrographSeries.from_array(np.zeros(shape))


def test_names_must_fit_the_array(images):
    with pytest.raises(FormatError, match="2 names for 5 micrographs"):
        MicrographSeries.from_array(images, names=["a", "b"])


# ---- locations -----------------------------------------------------------------------------------------------


def test_equal_names_in_two_folders_are_told_apart_by_folder(tmp_path):
    for place in ("a/x", "b/x", "b/y"):
        write_mrc(tmp_path / place / "m.mrc", np.zeros((2, 2), np.float32))
    series = open_micrographs([tmp_path / "a/x", tmp_path / "b/x", tmp_path / "b/y"])
    assert series.names == ("a/x/m.mrc", "b/x/m.mrc", "b/y/m.mrc")


@pytest.mark.parametrize("other", ["m1.mrc", "../micrographs/m1.mrc"])
def test_the_same_file_named_twice_is_an_error(folder, other):
    with pytest.raises(NothingFoundError, match=r"named twice.*m1\.mrc"):
        open_micrographs([folder / "m1.mrc", folder / other])


def test_a_file_named_in_its_folder_and_alone_is_an_error(folder):
    with pytest.raises(NothingFoundError, match="named twice"):
        open_micrographs([folder, folder / "m1.mrc"])


def test_the_same_file_by_relative_and_absolute_path_is_an_error(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(NothingFoundError, match="named twice"):
        open_micrographs(["m1.mrc", folder / "m1.mrc"])


def test_a_folder_without_images_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.mrc").write_text("no image")
    (tmp_path / "folder.mrc").mkdir()
    with pytest.raises(NothingFoundError, match="no image of a known format in this folder"):
        open_micrographs(tmp_path)


@pytest.mark.parametrize("name", ["gone.mrc", "gone*.mrc", "gone/"])
def test_a_location_that_is_not_there_is_an_error_with_its_name(tmp_path, name):
    with pytest.raises(NothingFoundError, match="gone"):
        open_micrographs(str(tmp_path / name))


def test_no_location_at_all_is_an_error():
    with pytest.raises(NothingFoundError, match="no micrographs were named"):
        open_micrographs([])


def test_a_pattern_takes_what_fits_it_in_order(folder):
    assert open_micrographs(str(folder / "m[1-3].mrc")).names == ("m1.mrc", "m2.mrc", "m3.mrc")
    assert open_micrographs(str(folder.parent / "**" / "m0.mrc")).names == ("m0.mrc",)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    (folder / "m0.mrc").rename(folder / "m[12].mrc")
    assert open_micrographs(folder / "m[12].mrc").names == ("m[12].mrc",)


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
@example("100%25 ice#1?;[a]")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_address_leads_to_its_file_whatever_its_name(tmp_path, name):
    path = tmp_path / f"{name}.mrc"
    if len(os.fsencode(path.name)) > 255:
        return
    path.write_bytes(b"")
    assert find_files(path.as_uri()) == [LocalFile(path)]
    assert find_files(path) == [LocalFile(path)]
    path.unlink()


def test_a_home_folder_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert open_micrographs("~/m2.mrc").names == ("m2.mrc",)


# ---- other formats -------------------------------------------------------------------------------------------


def test_files_of_other_formats_are_micrographs_too(tmp_path, images):
    import tifffile

    for i in range(3):
        tifffile.imwrite(tmp_path / f"m{i}.tif", images[i])
    series = open_micrographs(str(tmp_path / "*.tif"))
    assert series.names == ("m0.tif", "m1.tif", "m2.tif")
    np.testing.assert_array_equal(series.to_dask().compute(), images[:3])


def test_a_compressed_stack_keeps_its_name_and_is_read_anew_when_it_changes(tmp_path, images):
    import gzip

    def write(values):
        write_mrc(tmp_path / "s.mrcs", values, overwrite=True)
        (tmp_path / "s.mrcs.gz").write_bytes(gzip.compress((tmp_path / "s.mrcs").read_bytes()))

    write(images)
    series = open_micrographs(tmp_path / "s.mrcs.gz")
    assert series.names[4] == "5@s.mrcs.gz"
    np.testing.assert_array_equal(series.read(4), images[4])
    write(images + 1)
    os.utime(tmp_path / "s.mrcs.gz", ns=(1, 1))
    np.testing.assert_array_equal(open_micrographs(tmp_path / "s.mrcs.gz").read(4), images[4] + 1)


def test_a_folder_gives_its_mrc_files_whatever_else_is_in_it(folder):
    (folder / "gain.tif").write_bytes(b"II*\0")
    assert len(open_micrographs(folder)) == 5
