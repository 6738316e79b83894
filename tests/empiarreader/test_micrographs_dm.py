"""DM3 and DM4 files: the right image of several, its calibration, one range a section, hostile trees refused."""

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import FormatError, TruncatedFileError, UserError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs.dm import open_dm

sys.path.insert(0, str(Path(__file__).parent))
from detector_files import DM_IMAGES, dm_bytes, dm_image, dm_tree  # noqa: E402

THUMBNAIL = dm_image(np.zeros((4, 4), np.int32))


def some_image(dtype="f4", shape=(20, 30)):
    return np.random.default_rng(2).integers(0, 100, shape).astype(dtype)


def write(path, *images, version=4, order="<"):
    path.write_bytes(dm_bytes(dm_tree(*images), version=version, order=order))
    return LocalFile(path)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("dtype", DM_IMAGES)
def test_every_type_of_pixel_in_both_versions_and_byte_orders(tmp_path, dtype, version, order):
    values = some_image(dtype)
    image = dm_image(values, scale=0.083, order=order)
    opened = open_dm(write(tmp_path / "a.dm", THUMBNAIL, image, version=version, order=order))

    assert opened.info.shape == (1, 20, 30) and opened.info.sections == "stack"
    assert opened.info.dtype == np.dtype(dtype)
    assert opened.info.pixel_size == pytest.approx(0.83)
    seen = opened.frame(0)
    assert seen.dtype.isnative and seen.flags.writeable
    np.testing.assert_array_equal(seen, values)


def test_the_public_reader_of_dm4_finds_the_same_pixels_in_what_these_tests_write(tmp_path):
    dm4 = pytest.importorskip("dm4")
    values = some_image("u2")
    source = write(tmp_path / "a.dm4", THUMBNAIL, dm_image(values, scale=1.0))
    with dm4.DM4File.open(str(source.path)) as file:
        tags = file.read_directory()
        data = tags.named_subdirs["ImageList"].unnamed_subdirs[1].named_subdirs["ImageData"].named_tags["Data"]
        theirs = np.array(file.read_tag_data(data))
    # The package swaps bytes twice over in some versions, so both orders count; the values must be there.
    assert values.ravel().tolist() in (theirs.tolist(), theirs.astype("u2").byteswap().tolist())


def test_sections_are_frames_unless_the_third_axis_is_something_else(tmp_path):
    movie = some_image("i2", (7, 20, 30))
    opened = open_dm(write(tmp_path / "a.dm4", THUMBNAIL, dm_image(movie, scale=0.1)))
    assert opened.info.shape == movie.shape and opened.info.sections == "frames"
    for i in range(7):
        np.testing.assert_array_equal(opened.frame(i), movie[i])
    for index in (-1, 7):
        with pytest.raises(IndexError):
            opened.frame(index)
    spectra = open_dm(write(tmp_path / "b.dm4", dm_image(movie, scale=0.1, third_units="eV")))
    assert spectra.info.sections == "stack"


@pytest.mark.parametrize(
    "scale, units, expected",
    [
        (0.1, "nm", 1.0),
        (2e-4, "µm", 2.0),
        (1.5, "Å", 1.5),
        (0.1, "1/nm", None),
        (0.1, "", None),
        (0.0, "nm", None),
        (1e30, "nm", None),
    ],
)
def test_only_lengths_are_pixel_sizes(tmp_path, scale, units, expected):
    seen = open_dm(write(tmp_path / "a.dm4", dm_image(some_image(), scale=scale, units=units))).info.pixel_size
    assert seen == (None if expected is None else pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize("version", [3, 4])
def test_a_section_of_a_remote_file_is_one_range(tmp_path, version):
    movie = some_image("i2", (9, 150, 200))
    write(tmp_path / "a.dm4", THUMBNAIL, dm_image(movie, scale=0.1), version=version)
    with LoopbackArchive() as server:
        server.add_entry(99001, tmp_path)
        opened = open_dm(server.archive.file(99001, "data/a.dm4"))
        assert len(server.requests) <= 2 and server.bytes_sent < 70_000
        server.reset_counts()
        np.testing.assert_array_equal(opened.frame(5), movie[5])
        assert len(server.requests) == 1 and server.bytes_sent == movie[0].nbytes


@pytest.mark.parametrize("kind, what", [(3, "complex numbers"), (23, "colours"), (99, "data type 99")])
def test_other_kinds_of_pixels_are_refused_by_name(tmp_path, kind, what):
    with pytest.raises(FormatError, match=what):
        open_dm(write(tmp_path / "a.dm4", dm_image(some_image(), data_type=kind)))


def test_damaged_and_hostile_files_give_a_reason(tmp_path):
    whole = dm_bytes(dm_tree(dm_image(some_image(shape=(200, 300)))))
    # How many numbers the image has: behind its name, length, mark, and three numbers that describe the array.
    numbers = whole.index(b"\0\4Data") + 6 + 8 + 4 + 3 * 8
    deep = {}
    for _ in range(50):
        deep = {"Inside": deep}
    huge = dm_image(some_image())
    huge["ImageData"]["Dimensions"] = [type(huge["ImageData"]["DataType"])((5, 2**31))] * 2
    path = tmp_path / "a.dm4"
    for data, reason in (
        (b"", "no DM3 or DM4 file"),
        (b"<html>" * 10, "no DM3 or DM4 file"),
        (whole[:1000], "not copied whole"),
        (whole[: len(whole) // 2], "not copied whole"),
        (dm_bytes({"ImageList": []}), "no image in this file"),
        (dm_bytes({"ImageList": [{"ImageData": deep}]}), "tags inside tags"),
        (dm_bytes(dm_tree(huge)), "2147483648 x 2147483648 pixels"),
        (dm_bytes(dm_tree(dm_image(some_image(shape=(2, 3, 4, 5))))), "4 dimensions"),
        (whole[:numbers] + b"\x0f" * 8 + whole[numbers + 8 :], "not copied whole"),
    ):
        path.write_bytes(data)
        tracemalloc.start()
        with pytest.raises(FormatError, match=reason) as seen:
            open_dm(LocalFile(path))
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()
        assert str(path) in str(seen.value)
        assert isinstance(seen.value, TruncatedFileError) or "copied whole" not in str(seen.value)


SEEDS = [dm_bytes(dm_tree(THUMBNAIL, dm_image(some_image("u2", (3, 8, 9)), scale=0.1)), version=v) for v in (3, 4)]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=8)), max_size=4))
def test_overwritten_bytes_never_crash(tmp_path_factory, seed, changes):
    data = bytearray(seed)
    for at, junk in changes:
        at %= len(data)
        data[at : at + len(junk)] = junk
    path = tmp_path_factory.mktemp("dm") / "a.dm4"
    path.write_bytes(data)
    try:
        image = open_dm(LocalFile(path))
        assert image.frame(0).shape == image.info.shape[1:]
    except UserError:
        pass
