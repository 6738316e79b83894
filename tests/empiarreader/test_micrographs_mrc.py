"""MRC files: headers as the specification says, hostile ones refused, and what is written is read again."""

import struct
import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_empiarreader.errors import FileExistsAlreadyError, FormatError, PixelSizeError, TruncatedFileError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs import read_mrc, read_mrc_header, write_mrc
from napari_empiarreader.micrographs.mrc import HEADER_BYTES, parse_mrc_header

#: Mode of the MRC2014 specification, and what numpy calls it.
MODES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}


def header_bytes(
    order: str = "<",
    size: tuple[int, int, int] = (3, 4, 1),
    mode: int = 2,
    sampling: tuple[int, int, int] | None = None,
    cell: tuple[float, float, float] = (0, 0, 0),
    space_group: int = 0,
    extended: int = 0,
) -> bytes:
    """1,024 bytes as the specification's table lays them out; sizes in the order x, y, z."""
    header = bytearray(1024)
    struct.pack_into(f"{order}10i", header, 0, *size, mode, 0, 0, 0, *(sampling or size))
    struct.pack_into(f"{order}6f", header, 40, *cell, 90, 90, 90)
    struct.pack_into(f"{order}2i", header, 88, space_group, extended)
    header[208:212] = b"MAP "
    header[212:216] = bytes((0x44, 0x44, 0, 0)) if order == "<" else bytes((0x11, 0x11, 0, 0))
    return bytes(header)


def some_values(shape, kind):
    values = np.random.default_rng(1).integers(-100, 100, shape)
    return (np.abs(values) if kind == "u2" else values).astype(kind)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("mode, kind", MODES.items(), ids=MODES.values())
def test_every_mode_is_read_in_both_byte_orders(tmp_path, mode, kind, order):
    values = some_values((2, 4, 3), kind)
    path = tmp_path / "a.mrc"
    stored = values.astype(np.dtype(kind).newbyteorder(order))
    path.write_bytes(header_bytes(order, (3, 4, 2), mode, cell=(4.5, 6, 3)) + stored.tobytes())

    header, sections = read_mrc(LocalFile(path))

    assert header.shape == (2, 4, 3)
    assert header.pixel_size == 1.5
    assert sections.dtype == np.dtype(kind) and sections.dtype.isnative
    np.testing.assert_array_equal(sections, values)


@pytest.mark.parametrize("kind", ["i1", "i2", "f4", "c8", "u2", "f2"])
def test_files_of_mrcfile_are_read(tmp_path, kind):
    values = some_values((4, 5), kind)
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(values)
        mrc.voxel_size = 1.77
    header, sections = read_mrc(LocalFile(tmp_path / "a.mrc"))
    assert header.pixel_size == pytest.approx(1.77, abs=1e-6)
    assert not header.is_volume
    np.testing.assert_array_equal(sections, values[None])


def test_a_wrong_machine_stamp_does_not_matter():
    data = bytearray(header_bytes(">", (5, 6, 1), 1))
    data[212:216] = bytes((0x44, 0x44, 0, 0))
    header = parse_mrc_header(bytes(data), "a.mrc")
    assert header.shape == (1, 6, 5)
    assert header.dtype == np.dtype(">i2")


def test_pixels_begin_behind_the_extended_header(tmp_path):
    values = some_values((1, 4, 3), "f4")
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes(extended=777) + b"\xff" * 777 + values.tobytes())
    header, sections = read_mrc(LocalFile(path))
    assert header.data_offset == 1024 + 777
    np.testing.assert_array_equal(sections, values)


@pytest.mark.parametrize(
    "cell, sampling",
    [
        ((0, 0, 0), (3, 4, 1)),
        ((3, 4, 1), (3, 4, 1)),
        ((-3, -4, 1), (3, 4, 1)),
        ((float("nan"), 4, 1), (3, 4, 1)),
        ((float("inf"), 4, 1), (3, 4, 1)),
        ((4.5, 6, 1), (0, 0, 0)),
        ((4.5, 6, 1), (-3, 4, 1)),
    ],
    ids=["zero", "one", "negative", "nan", "infinite", "no sampling", "negative sampling"],
)
def test_a_header_that_does_not_know_the_pixel_size_says_none(cell, sampling):
    assert parse_mrc_header(header_bytes(cell=cell, sampling=sampling), "a.mrc").pixel_size is None


def test_only_a_file_marked_as_volume_with_several_sections_is_a_volume():
    def is_volume(**kinds):
        return parse_mrc_header(header_bytes(**kinds), "a.mrc").is_volume

    assert is_volume(size=(3, 4, 5), space_group=1)
    assert not is_volume(size=(3, 4, 5), space_group=0)
    assert not is_volume(size=(3, 4, 1), space_group=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (-3, 4, 1)},
        {"size": (3, -4, 1)},
        {"size": (3, 4, -1)},
        {"size": (0, 4, 1)},
        {"size": (2**31 - 1, 2**31 - 1, 2**31 - 1)},
        {"size": (-(2**31), 4, 1)},
        {"extended": -1},
        {"extended": 2**31 - 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_sizes_that_cannot_be_true_are_an_error(wrong, order):
    with pytest.raises(FormatError, match=r"bad\.mrc.*cannot be true"):
        parse_mrc_header(header_bytes(order, **wrong), "bad.mrc")


@pytest.mark.parametrize("mode", [5, 7, 16])
def test_an_unknown_mode_is_an_error_that_says_which_are_known(mode):
    with pytest.raises(FormatError, match=rf"bad\.mrc: MRC mode {mode} is not supported"):
        parse_mrc_header(header_bytes(mode=mode), "bad.mrc")


@given(st.binary(min_size=1024, max_size=1024), st.booleans())
@settings(max_examples=300)
def test_random_bytes_give_an_error_or_believable_sizes(data, marked):
    if marked:
        data = data[:208] + b"MAP " + data[212:]
    try:
        header = parse_mrc_header(data, "random.mrc")
    except FormatError as error:
        assert "random.mrc" in str(error)
    else:
        assert all(1 <= side <= 2**17 for side in header.shape)
        assert 1024 <= header.data_offset <= 1024 + 2**28
        assert header.pixel_size is None or 0 < header.pixel_size < 1e5


@given(
    st.tuples(*[st.integers(1, 20_000)] * 3) | st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 3),
    st.sampled_from([*MODES]) | st.sampled_from([5, -1, 255, 256, 2**31 - 1]),
    st.integers(0, 2**20) | st.integers(-(2**31), 2**31 - 1),
    st.sampled_from("<>"),
)
def test_a_well_formed_header_with_any_numbers_gives_an_error_or_those_numbers(size, mode, extended, order):
    data = header_bytes(order, size, mode, extended=extended)
    believable = mode in MODES and all(1 <= side <= 2**17 for side in size) and 0 <= extended <= 2**28
    if not believable:
        with pytest.raises(FormatError, match=r"random\.mrc"):
            parse_mrc_header(data, "random.mrc")
        return
    header = parse_mrc_header(data, "random.mrc")
    assert header.shape == size[::-1]
    assert header.data_offset == 1024 + extended
    assert header.dtype == np.dtype(MODES[mode]).newbyteorder(order)


def test_a_header_that_promises_a_petabyte_is_a_truncated_file_and_takes_no_memory(tmp_path):
    path = tmp_path / "liar.mrc"
    path.write_bytes(header_bytes(size=(2**17, 2**17, 2**17)) + b"\0" * 100)
    tracemalloc.start()
    try:
        with pytest.raises(TruncatedFileError, match=r"liar\.mrc.*ends at byte 1,124"):
            read_mrc(LocalFile(path))
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\n  <html lang=en>", b"<HTML>"])
def test_a_web_page_is_called_one(tmp_path, page):
    path = tmp_path / "a.mrc"
    path.write_bytes(page + b" <body>not today</body>" * 100)
    with pytest.raises(FormatError, match=r"a\.mrc: a web page"):
        read_mrc_header(LocalFile(path))


def test_an_image_of_another_kind_is_called_no_mrc_file(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(b"II*\0" + bytes(2000))
    with pytest.raises(FormatError, match=r"a\.mrc: no MRC file"):
        read_mrc_header(LocalFile(path))


@pytest.mark.parametrize("length", [0, 1, 1023])
def test_a_file_too_short_for_a_header_says_how_long_it_is(tmp_path, length):
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes()[:length])
    with pytest.raises(FormatError, match=rf"a\.mrc: {length} bytes are too few"):
        read_mrc(LocalFile(path))


@pytest.mark.parametrize("missing", [1, 47, 48])
def test_a_truncated_file_is_an_error_whatever_its_neighbours_header(tmp_path, missing):
    whole = header_bytes() + bytes(48)
    path = tmp_path / "a.mrc"
    path.write_bytes(whole[: len(whole) - missing])
    for expected in (None, parse_mrc_header(whole[:1024], "b.mrc")):
        with pytest.raises(TruncatedFileError, match=r"a\.mrc.*not copied whole"):
            read_mrc(LocalFile(path), expected)


@pytest.mark.parametrize("guess", [(1, 1, 1), (3, 4, 1), (9, 9, 9)])
def test_a_wrong_guess_at_the_header_does_not_change_what_is_read(tmp_path, guess):
    values = some_values((1, 4, 3), "f4")
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes() + values.tobytes())
    expected = parse_mrc_header(header_bytes(size=guess), "b.mrc")
    _, sections = read_mrc(LocalFile(path), expected)
    np.testing.assert_array_equal(sections, values)


def test_a_right_guess_saves_the_second_read(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes() + bytes(48))
    reads = []

    class Counting(LocalFile):
        def read(self, start, stop, *, at_most=False):
            reads.append((start, stop))
            return super().read(start, stop, at_most=at_most)

    read_mrc(Counting(path), parse_mrc_header(header_bytes(), "b.mrc"))
    assert reads == [(0, HEADER_BYTES + 48)]


# ---- writing -------------------------------------------------------------------------------------------------

KINDS = [np.dtype(kind).newbyteorder(order) for kind in MODES.values() for order in "<>"]
IMAGES = st.sampled_from(KINDS).flatmap(
    lambda kind: hnp.arrays(
        kind,
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False} if kind.kind in "fc" else None,
    )
)


@given(IMAGES, st.none() | st.floats(0.0625, 50, width=32))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_again(tmp_path, image, pixel_size):
    path = tmp_path / "a.mrc"
    write_mrc(path, image, pixel_size, overwrite=True)
    header, sections = read_mrc(LocalFile(path))
    np.testing.assert_array_equal(sections, image if image.ndim == 3 else image[None])
    assert sections.dtype == image.dtype.newbyteorder("=")
    assert not header.is_volume
    if pixel_size is None or pixel_size == 1.0:
        assert header.pixel_size is None
    else:
        assert header.pixel_size == pytest.approx(pixel_size, rel=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        np.array([[True, False]]),
        np.array([[0, 255]], np.uint8),
        np.array([[-(2**20), 2**20]], np.int32),
        np.array([[0, 2**20]], np.uint64),
        np.array([[0.25, -1e30]], np.float64),
    ],
    ids=lambda image: str(image.dtype),
)
def test_types_that_mrc_lacks_keep_their_values(tmp_path, image):
    write_mrc(tmp_path / "a.mrc", image)
    _, sections = read_mrc(LocalFile(tmp_path / "a.mrc"))
    np.testing.assert_allclose(sections[0].astype(np.float64), image.astype(np.float64), rtol=1e-6)


def test_other_programs_read_what_is_written(tmp_path):
    stack = some_values((3, 4, 5), "i2")
    write_mrc(tmp_path / "a.mrcs", stack, 1.25)
    assert mrcfile.validate(tmp_path / "a.mrcs")
    with mrcfile.open(tmp_path / "a.mrcs") as mrc:
        assert mrc.is_image_stack()
        assert mrc.voxel_size.x == mrc.voxel_size.y == 1.25
        np.testing.assert_array_equal(mrc.data, stack)


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("image", [np.zeros(5), np.zeros((2, 2, 2, 2)), np.zeros((0, 4)), np.array(1.0)], ids=np.shape)
def test_an_array_that_is_no_image_is_refused_and_leaves_nothing(tmp_path, image):
    with pytest.raises(FormatError, match=r"a\.mrc.*2 or 3 dimensions"):
        write_mrc(tmp_path / "a.mrc", image)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "image", [np.array([["a"]]), np.array([[None]]), np.zeros((2, 2), "datetime64[s]")], ids=lambda i: str(i.dtype)
)
def test_values_that_are_no_numbers_are_refused_and_leave_nothing(tmp_path, image):
    with pytest.raises(FormatError, match=r"a\.mrc"):
        write_mrc(tmp_path / "a.mrc", image)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("pixel_size", [0, -1.5, float("nan"), float("inf")])
def test_an_impossible_pixel_size_is_refused_and_leaves_nothing(tmp_path, pixel_size):
    with pytest.raises(PixelSizeError, match="impossible"):
        write_mrc(tmp_path / "a.mrc", np.zeros((2, 2)), pixel_size)
    assert names_in(tmp_path) == []


def test_an_existing_file_is_kept_unless_asked_otherwise(tmp_path):
    path = tmp_path / "a.mrc"
    write_mrc(path, np.zeros((2, 2), np.float32))
    before = path.read_bytes()
    with pytest.raises(FileExistsAlreadyError):
        write_mrc(path, np.ones((2, 2), np.float32))
    assert path.read_bytes() == before
    write_mrc(path, np.ones((2, 2), np.float32), overwrite=True)
    assert read_mrc(LocalFile(path))[1].min() == 1
    assert names_in(tmp_path) == ["a.mrc"]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.mrc"
    write_mrc(path, np.zeros((2, 2), np.float32))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(mrcfile.mrcinterpreter.MrcInterpreter, "update_header_stats", fail)
    for target in (path, tmp_path / "b.mrc"):
        with pytest.raises(OSError, match="no space"):
            write_mrc(target, np.ones((2, 2), np.float32), overwrite=True)
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["a.mrc"]
