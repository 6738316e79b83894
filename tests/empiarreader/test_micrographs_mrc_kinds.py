"""MRC files as the programs of thirty years wrote them: every pixel type, extended header, and oddity."""

import struct

import mrcfile.dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.errors import FormatError, TruncatedFileError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs.mrc import open_mrc, read_mrc, read_mrc_header

IMOD = 1146047817


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


class Counting(LocalFile):
    """A file that remembers what was read of it."""

    def __init__(self, path):
        super().__init__(path)
        object.__setattr__(self, "reads", [])

    def read(self, start, stop, *, at_most=False):
        self.reads.append((start, stop))
        return super().read(start, stop, at_most=at_most)


def imod_header(flags, order="<", **fields):
    header = bytearray(header_bytes(order, **fields))
    struct.pack_into(f"{order}2i", header, 152, IMOD, flags)
    return bytes(header)


def packed(values):
    """Pairs of 4-bit values by bytes, the left one below, each row filled up to whole bytes."""
    rows = values.reshape(-1, values.shape[-1])
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    return bytes((rows[:, ::2] | rows[:, 1::2] << 4).astype(np.uint8))


# ---- pixel types ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize(
    "mode, stored, shown",
    [(0, "i1", "i1"), (1, "i2", "i2"), (2, "f4", "f4"), (6, "u2", "u2"), (12, "f2", "f4")],
    ids=str,
)
def test_a_frame_is_one_read_of_its_bytes_and_can_be_shown(tmp_path, mode, stored, shown, order):
    values = np.random.default_rng(1).integers(0, 100, (3, 4, 5)).astype(stored)
    path = tmp_path / "a.mrc"
    path.write_bytes(
        header_bytes(order, (5, 4, 3), mode) + values.astype(np.dtype(stored).newbyteorder(order)).tobytes()
    )
    source = Counting(path)

    image = open_mrc(source)
    frame = image.frame(2)

    assert image.info.shape == (3, 4, 5) and image.info.dtype == frame.dtype == np.dtype(shown)
    assert frame.dtype.isnative and frame.flags.writeable
    np.testing.assert_array_equal(frame, values[2])
    size = values[0].nbytes
    assert source.reads == [(0, 1024), (1024 + 2 * size, 1024 + 3 * size)]


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_complex_values_are_shown_by_their_amplitude_and_read_as_they_are(tmp_path, order):
    rng = np.random.default_rng(2)
    floats = (rng.normal(size=(2, 3, 4)) + 1j * rng.normal(size=(2, 3, 4))).astype(np.complex64)
    whole = rng.integers(-300, 300, (2, 3, 4, 2)).astype(np.int16)
    for mode, data, expected in (
        (4, floats.astype(np.dtype("c8").newbyteorder(order)), floats),
        (3, whole.astype(np.dtype("i2").newbyteorder(order)), whole[..., 0] + 1j * whole[..., 1]),
    ):
        path = tmp_path / f"{mode}.mrc"
        path.write_bytes(header_bytes(order, (4, 3, 2), mode) + data.tobytes())
        image = open_mrc(LocalFile(path))
        assert image.info.dtype == image.frame(1).dtype == np.float32
        np.testing.assert_allclose(image.frame(1), np.abs(expected[1]), rtol=1e-6)
        np.testing.assert_array_equal(read_mrc(LocalFile(path))[1], expected)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 3), st.randoms(use_true_random=False))
def test_packed_pixels_are_unpacked_row_by_row(tmp_path_factory, width, height, sections, random):
    values = np.array([random.randrange(16) for _ in range(width * height * sections)], np.uint8)
    values = values.reshape(sections, height, width)
    path = tmp_path_factory.mktemp("packed") / "a.mrc"
    path.write_bytes(header_bytes(size=(width, height, sections), mode=101) + packed(values))
    source = Counting(path)
    image = open_mrc(source)
    np.testing.assert_array_equal(image.frame(sections - 1), values[-1])
    row = (width + 1) // 2
    assert source.reads[-1] == (1024 + (sections - 1) * height * row, 1024 + sections * height * row)
    np.testing.assert_array_equal(read_mrc(LocalFile(path))[1], values)


def test_packed_pixels_lie_as_other_programs_put_them(tmp_path):
    """The left pixel of a pair is in the low 4 bits and the right pixel in the high 4 bits."""
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes(size=(3, 1, 1), mode=101) + bytes((0x21, 0x03)))
    np.testing.assert_array_equal(open_mrc(LocalFile(path)).frame(0), [[1, 2, 3]])


@pytest.mark.parametrize("flags, kind", [(0, "u1"), (1, "i1"), (4, "u1"), (5, "i1")])
def test_bytes_have_a_sign_unless_imod_says_otherwise(tmp_path, flags, kind):
    path = tmp_path / "a.mrc"
    data = bytes((0, 127, 128, 255))
    path.write_bytes(imod_header(flags, size=(4, 1, 1), mode=0) + data)
    image = open_mrc(LocalFile(path))
    assert image.info.dtype == np.dtype(kind)
    np.testing.assert_array_equal(image.frame(0), np.frombuffer(data, kind)[None])
    path.write_bytes(header_bytes(size=(4, 1, 1), mode=0) + data)
    assert open_mrc(LocalFile(path)).info.dtype == np.int8


def test_a_byte_file_of_half_the_width_holds_packed_pixels(tmp_path):
    values = np.random.default_rng(3).integers(0, 16, (2, 3, 8)).astype(np.uint8)
    path = tmp_path / "a.mrc"
    path.write_bytes(imod_header(16, size=(4, 3, 2), mode=0, cell=(6, 4.5, 2)) + packed(values))
    image = open_mrc(LocalFile(path))
    assert image.info.shape == (2, 3, 8) and image.info.pixel_size == 1.5
    np.testing.assert_array_equal(image.frame(1), values[1])
    assert "twice as wide" in image.info.warnings[0]


def test_a_label_and_the_size_of_a_detector_say_that_pixels_are_packed():
    header = bytearray(header_bytes(size=(5760, 8184, 1), mode=0))
    struct.pack_into("<i", header, 220, 1)
    header[224:246] = b"SerialEM 4 bits packed"
    from napari_empiarreader.micrographs.mrc import parse_mrc_header

    assert parse_mrc_header(bytes(header), "a.mrc").shape == (1, 8184, 11520)
    struct.pack_into("<i", header, 0, 5000)
    assert parse_mrc_header(bytes(header), "a.mrc").shape == (1, 8184, 5000)


def test_packed_bytes_with_a_sign_are_an_error(tmp_path):
    path = tmp_path / "bad.mrc"
    path.write_bytes(imod_header(17, size=(4, 3, 1), mode=0) + bytes(12))
    with pytest.raises(FormatError, match=r"bad\.mrc.*flags are damaged"):
        open_mrc(LocalFile(path))


@pytest.mark.parametrize("index", [-1, 3, 10**9])
def test_a_section_that_is_not_there_is_an_index_error(tmp_path, index):
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes(size=(3, 4, 3), mode=0) + bytes(36))
    with pytest.raises(IndexError, match=rf"a\.mrc: there is no section {index}, it has 3"):
        open_mrc(LocalFile(path)).frame(index)


# ---- extended headers ----------------------------------------------------------------------------------------


def with_extended(tmp_path, extended, *, kind=b"", record=(0, 0), sections=3, order="<", cell=(0, 0, 0), **fields):
    header = bytearray(header_bytes(order, (4, 3, sections), 1, extended=len(extended), cell=cell, **fields))
    header[104 : 104 + len(kind)] = kind
    struct.pack_into(f"{order}2h", header, 128, *record)
    path = tmp_path / "a.mrc"
    pixels = np.arange(12 * sections, dtype=np.dtype(np.int16).newbyteorder(order))
    path.write_bytes(bytes(header) + extended + pixels.tobytes())
    image = open_mrc(LocalFile(path))
    np.testing.assert_array_equal(image.frame(sections - 1).ravel(), np.arange(12 * (sections - 1), 12 * sections))
    return image.info


def fei_records(kind, tilts, pixel_size, mask=(1 << 7) | (1 << 14), order="<", extra=0):
    dtype = mrcfile.dtypes.get_ext_header_dtype(kind, order)
    records = np.zeros(len(tilts), dtype)
    records["Metadata size"] = dtype.itemsize + extra
    records["Bitmask 1"] = np.array(mask, np.uint32)
    records["Alpha tilt"], records["Pixel size X"] = tilts, pixel_size
    raw = bytearray(records.tobytes())
    if order == ">":  # the table of mrcfile keeps its masks little-endian, whatever the file is
        for i in range(len(tilts)):
            struct.pack_into(">I", raw, i * dtype.itemsize + 8, mask)
    return b"".join(bytes(raw[i * dtype.itemsize : (i + 1) * dtype.itemsize]) + bytes(extra) for i in range(len(tilts)))


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("kind", [b"FEI1", b"FEI2"])
@pytest.mark.parametrize("extra", [0, 40])
def test_the_header_of_fei_tells_tilts_and_the_pixel_size_in_metres(tmp_path, kind, order, extra):
    extended = fei_records(kind, [-60.5, 0, 60], 1.34e-10, order=order, extra=extra)
    info = with_extended(tmp_path, extended + bytes(100), kind=kind, order=order)
    assert info.pixel_size == 1.34
    assert info.tilts == (-60.5, 0, 60)
    assert info.sections == "stack"


def test_what_the_mask_of_fei_leaves_out_is_not_read(tmp_path):
    info = with_extended(tmp_path, fei_records(b"FEI1", [1, 2, 3], 1e-10, mask=1 << 5), kind=b"FEI1")
    assert (info.pixel_size, info.tilts) == (None, None)


def test_the_pixel_size_of_the_main_header_comes_first(tmp_path):
    info = with_extended(tmp_path, fei_records(b"FEI1", [1, 2, 3], 1e-10), kind=b"FEI1", cell=(6, 4.5, 3))
    assert (info.pixel_size, info.tilts) == (1.5, (1, 2, 3))


@pytest.mark.parametrize("kind", [b"SERI", b""])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_the_header_of_serialem_tells_tilts(tmp_path, kind, order):
    # Tilt, piece coordinates, stage and dose: 2 + 6 + 4 + 4 bytes.
    records = b"".join(struct.pack(f"{order}8h", angle, *range(7)) for angle in (-6012, -3, 6000))
    info = with_extended(tmp_path, records, kind=kind, record=(16, 1 + 2 + 4 + 32), order=order)
    assert info.tilts == (-60.12, -0.03, 60.0)
    info = with_extended(tmp_path, records, kind=kind, record=(14, 1 + 2 + 4 + 32), order=order)
    assert info.tilts is None  # the mask and the length disagree
    info = with_extended(tmp_path, records[8:] + bytes(8), kind=kind, record=(14, 2 + 4 + 32), order=order)
    assert info.tilts is None  # no tilt among the items


def test_older_headers_of_floats_tell_tilts(tmp_path):
    records = b"".join(struct.pack("<32f", tilt, *([0] * 10), 2.5e-10, *([0] * 20)) for tilt in (-1.5, 0, 1.5))
    info = with_extended(tmp_path, records + bytes(1024), record=(0, 32))
    assert (info.pixel_size, info.tilts) == (2.5, (-1.5, 0, 1.5))
    records = b"".join(struct.pack("<2i3f", 7, 8, tilt, 0, 0) for tilt in (-2, 0, 2))
    info = with_extended(tmp_path, records, kind=b"AGAR", record=(2, 3))
    assert info.tilts == (-2, 0, 2)


@pytest.mark.parametrize("kind", [b"CCP4", b"MRCO", b"HDF5", b"what"])
def test_other_extended_headers_are_passed_over_without_a_read(tmp_path, kind):
    with_extended(tmp_path, bytes(960), kind=kind, record=(16, 39))
    source = Counting(tmp_path / "a.mrc")
    info = open_mrc(source).info
    assert (info.pixel_size, info.tilts, source.reads) == (None, None, [(0, 1024)])


@given(st.binary(min_size=1, max_size=2000), st.sampled_from([b"FEI1", b"FEI2", b"SERI", b"AGAR", b""]))
def test_a_damaged_extended_header_says_nothing_false(tmp_path_factory, extended, kind):
    info = with_extended(tmp_path_factory.mktemp("e"), extended, kind=kind, record=(16, 39))
    assert info.pixel_size is None or 1e-3 < info.pixel_size < 1e4
    assert info.tilts is None or (len(info.tilts) == 3 and all(abs(tilt) <= 360 for tilt in info.tilts))


def test_one_image_with_its_pixel_size_needs_no_extended_header(tmp_path):
    with_extended(tmp_path, fei_records(b"FEI1", [5], 1e-10), kind=b"FEI1", sections=1, cell=(6, 4.5, 1))
    source = Counting(tmp_path / "a.mrc")
    assert open_mrc(source).info.pixel_size == 1.5
    assert source.reads == [(0, 1024)]


# ---- what the sections are -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, size, space_group, expected",
    [
        ("a.mrc", (4, 3, 1), 1, "stack"),
        ("a.mrc", (4, 3, 5), 0, "stack"),
        ("a.mrc", (4, 3, 5), 1, "volume"),
        ("a.mrc", (4, 3, 6), 401, "volume"),
        ("a.rec", (4, 3, 5), 0, "volume"),
        ("a.map", (4, 3, 5), 0, "volume"),
        ("a.mrcs", (4, 3, 5), 1, "stack"),
        ("a.mrcs", (4096, 3, 5), 1, "frames"),
        ("a.mrc", (4096, 3, 5), 0, "frames"),
        ("a.st", (4096, 3, 5), 0, "stack"),
        ("a.ali", (4096, 3, 5), 1, "stack"),
    ],
)
def test_name_and_header_tell_what_the_sections_are(tmp_path, name, size, space_group, expected):
    path = tmp_path / name
    path.write_bytes(header_bytes(size=size, mode=0, space_group=space_group))
    assert open_mrc(LocalFile(path)).info.sections == expected


def test_a_stack_of_volumes_says_that_it_is_one(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes(size=(4, 3, 6), mode=0, space_group=401, sampling=(4, 3, 2)) + bytes(72))
    assert "several volumes of 2 sections" in open_mrc(LocalFile(path)).info.warnings[0]


def test_axes_in_another_order_are_told_and_the_pixel_size_is_that_of_the_columns(tmp_path):
    header = bytearray(header_bytes(size=(4, 3, 2), mode=0, cell=(8, 9, 20), sampling=(4, 3, 2)))
    struct.pack_into("<3i", header, 64, 3, 2, 1)
    (tmp_path / "a.mrc").write_bytes(bytes(header) + bytes(24))
    info = open_mrc(LocalFile(tmp_path / "a.mrc")).info
    assert info.pixel_size == 10.0
    assert "run along z, y, x" in info.warnings[0]


# ---- headers that cannot stand alone -------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("extended, believed", [(0, 0), (512, 512), (-7, 0), (2**30, 0)])
@pytest.mark.parametrize("stamp", [b"MAP ", b"\0\0\0\0", b"xyzw"], ids=["stamp", "none", "wrong"])
def test_an_odd_header_is_accepted_if_its_sizes_fill_the_file(tmp_path, order, extended, believed, stamp):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    header = bytearray(header_bytes(order, (4, 3, 2), 1, extended=extended))
    header[208:216] = stamp + bytes(4)
    path = tmp_path / "a.mrc"
    data = values.astype(np.dtype("i2").newbyteorder(order)).tobytes()
    path.write_bytes(bytes(header) + bytes(believed) + data)

    image = open_mrc(LocalFile(path))

    np.testing.assert_array_equal(image.frame(1), values[1])
    assert bool(image.info.warnings) == (stamp != b"MAP " or extended != believed)
    assert all("a.mrc" in warning and "accepted" in warning for warning in image.info.warnings)
    path.write_bytes(bytes(header) + bytes(believed) + data + b"!")
    if image.info.warnings:
        with pytest.raises(FormatError, match=r"a\.mrc"):
            open_mrc(LocalFile(path))


def test_the_length_is_asked_for_only_if_it_could_help(tmp_path):
    class NoLength(LocalFile):
        def size(self):
            raise AssertionError("asked")

    path = tmp_path / "a.mrc"
    for data in (bytes(2000), b"<html>" + bytes(2000), b"\xff" * 2000):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=r"no MRC file|a web page"):
            read_mrc_header(NoLength(path))


def test_a_file_cut_short_is_open_and_what_is_there_is_read(tmp_path):
    values = np.arange(36, dtype=np.int16).reshape(3, 3, 4)
    path = tmp_path / "cut.mrc"
    path.write_bytes((header_bytes(size=(4, 3, 3), mode=1) + values.tobytes())[:-10])
    image = open_mrc(LocalFile(path))
    np.testing.assert_array_equal(image.frame(1), values[1])
    with pytest.raises(TruncatedFileError, match=r"cut\.mrc.*ends at byte 1,086, its header promises 1,096"):
        image.frame(2)


# ---- the neighbour's header ----------------------------------------------------------------------------------


def test_a_neighbour_of_one_section_saves_a_read(tmp_path):
    for name, value in (("a.mrc", 1), ("b.mrc", 2)):
        (tmp_path / name).write_bytes(header_bytes(size=(4, 3, 1), mode=0) + bytes([value]) * 12)
    like = open_mrc(LocalFile(tmp_path / "a.mrc"))
    source = Counting(tmp_path / "b.mrc")
    image = open_mrc(source, like)
    assert (image.frame(0) == 2).all()
    assert source.reads == [(0, 1036)]
    assert (image.frame(0) == 2).all()  # the bytes that came along are not kept
    assert source.reads == [(0, 1036), (1024, 1036)]


def test_a_neighbour_of_several_sections_does_not_make_a_read_longer(tmp_path):
    (tmp_path / "a.mrc").write_bytes(header_bytes(size=(4, 3, 9), mode=0) + bytes(108))
    source = Counting(tmp_path / "a.mrc")
    open_mrc(source, open_mrc(LocalFile(tmp_path / "a.mrc")))
    assert source.reads == [(0, 1024)]


@pytest.mark.parametrize("size", [(1, 1, 1), (5, 6, 1), (4, 3, 2), (200, 300, 1)])
def test_a_neighbour_that_is_different_does_no_harm(tmp_path, size):
    (tmp_path / "a.mrc").write_bytes(header_bytes(size=size, mode=0) + bytes(int(np.prod(size))))
    values = np.arange(12, dtype=np.uint16).reshape(3, 4)
    (tmp_path / "b.mrc").write_bytes(header_bytes(size=(4, 3, 1), mode=6, extended=50) + bytes(50) + values.tobytes())
    image = open_mrc(LocalFile(tmp_path / "b.mrc"), open_mrc(LocalFile(tmp_path / "a.mrc")))
    np.testing.assert_array_equal(image.frame(0), values)
