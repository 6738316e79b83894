"""TIFF images and movies: every way of storing them, one range a frame, hostile directories refused."""

import logging
import struct
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import FormatError, TruncatedFileError, UserError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs.tiff import open_tiff

sys.path.insert(0, str(Path(__file__).parent))
from detector_files import ASCII, LONG, LONG8, RATIONAL, SHORT, grey_tags, tiff_bytes  # noqa: E402

COMPRESSIONS = (None, "lzw", "deflate", "zstd", "packbits", "lzma")


def some_movie(dtype="u1", shape=(5, 70, 90)):
    values = np.random.default_rng(4).poisson(3, shape)
    return (values - (3 if np.dtype(dtype).kind in "if" else 0)).astype(dtype)


def write(path, movie, **settings):
    tifffile.imwrite(path, movie, photometric="minisblack", metadata=None, **settings)
    return LocalFile(path)


def check(source, movie):
    image = open_tiff(source)
    assert image.info.shape == movie.shape
    assert image.info.dtype == movie.dtype and image.info.dtype.isnative
    for i in range(len(movie)):
        frame = image.frame(i)
        assert frame.flags.writeable and frame.dtype == image.info.dtype
        np.testing.assert_array_equal(frame, movie[i])
    return image


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True], ids=["tiff", "bigtiff"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_movies_of_every_compression(tmp_path, compression, big, order):
    movie = some_movie("u2")
    for name, layout in (("strips", {"rowsperstrip": 16}), ("tiles", {"tile": (32, 64)}), ("one", {})):
        source = write(tmp_path / name, movie, compression=compression, bigtiff=big, byteorder=order, **layout)
        assert check(source, movie).info.sections == "frames"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"])
def test_every_type_of_pixel_with_and_without_predictor(tmp_path, dtype, order):
    movie = some_movie(dtype, (2, 40, 50))
    check(write(tmp_path / "plain.tif", movie, byteorder=order), movie)
    source = write(
        tmp_path / "differences.tif", movie, byteorder=order, compression="zstd", predictor=True, rowsperstrip=9
    )
    check(source, movie)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_packed_pixels(tmp_path, bits):
    # Bits run from the highest, and each row begins with a byte of its own (TIFF 6.0, section 3).
    image = np.random.default_rng(1).integers(0, 2**bits, (6, 7))
    rows = [np.array([[value >> (bits - 1 - i) & 1 for i in range(bits)] for value in row], np.uint8) for row in image]
    data = b"".join(np.packbits(row.ravel()).tobytes() for row in rows)
    (tmp_path / "a.tif").write_bytes(tiff_bytes([(grey_tags(6, 7, bits), [data])]))
    check(LocalFile(tmp_path / "a.tif"), image.astype("u1" if bits < 8 else "u2")[None])


def test_bits_in_reverse_and_sparse_strips(tmp_path):
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    reverse = bytes(int(f"{value:08b}"[::-1], 2) for value in image[:2].tobytes())
    tags = grey_tags(4, 6, rows=2) | {266: (SHORT, [2])}
    (tmp_path / "a.tif").write_bytes(tiff_bytes([(tags, [reverse, b""])]))
    image[2:] = 0
    check(LocalFile(tmp_path / "a.tif"), image[None])


def test_greyscale_jpeg(tmp_path):
    image = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
    source = write(tmp_path / "a.tif", image, compression="jpeg", compressionargs={"level": 100})
    np.testing.assert_allclose(open_tiff(source).frame(0).astype(int), image, atol=3)


def test_one_page_is_a_stack_of_one_and_large_frames_are_decoded_by_threads(tmp_path):
    image = some_movie("u2", (1, 1500, 1500))
    opened = check(write(tmp_path / "a.tif", image[0], compression="zstd", rowsperstrip=16), image)
    assert opened.info.sections == "stack"
    with ThreadPoolExecutor(4) as pool:
        for frame in pool.map(opened.frame, [0] * 4):
            np.testing.assert_array_equal(frame, image[0])
    for index in (-1, 1):
        with pytest.raises(IndexError):
            opened.frame(index)


def test_thumbnails_are_left_out_with_a_warning(tmp_path):
    movie = some_movie("u1", (4, 60, 70))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(movie[0, ::4, ::4], subfiletype=1, photometric="minisblack", metadata=None)
        for frame in movie:
            file.write(frame, photometric="minisblack", metadata=None, compression="lzw")
    image = check(LocalFile(tmp_path / "a.tif"), movie)
    assert "1 of 5 pages are left out" in image.info.warnings[0]


def test_an_imagej_file_that_lists_one_image_of_many(tmp_path):
    # ImageJ writes one list of tags for files of more than 4 GB; the images follow each other.
    movie = some_movie("u2", (6, 20, 30))
    text = b"ImageJ=1.53t\nimages=6\nslices=6\n\0"
    tags = grey_tags(20, 30, 16) | {270: (ASCII, list(text)), 279: (LONG, [20 * 30 * 2])}
    (tmp_path / "a.tif").write_bytes(tiff_bytes([(tags, [movie.astype("<u2").tobytes()])]))
    check(LocalFile(tmp_path / "a.tif"), movie)


def test_colours_are_refused_and_a_grey_palette_is_not(tmp_path):
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    with pytest.raises(FormatError, match="RGB colours, not a micrograph"):
        open_tiff(LocalFile(tmp_path / "rgb.tif"))
    ramp = (np.arange(256) * 257).astype("u2")
    image = some_movie("u1", (1, 8, 9))
    for name, table in (("grey", [ramp] * 3), ("hot", [ramp, ramp // 2, ramp // 3])):
        tifffile.imwrite(tmp_path / name, image[0], photometric="palette", colormap=np.array(table))
    check(LocalFile(tmp_path / "grey"), image)
    with pytest.raises(FormatError, match="colour palette"):
        open_tiff(LocalFile(tmp_path / "hot"))


# ---- pixel size ----------------------------------------------------------------------------------------------

OME = '<?xml version="1.0"?><OME><Pixels PhysicalSizeX="{}" {}/></OME>'


@pytest.mark.parametrize(
    "text, resolution, unit, expected",
    [
        ("", 1e8 / 0.83, 3, 0.83),  # pixels per centimetre, as IMOD and SerialEM write
        ("", 2.54e8 / 1.31, 2, 1.31),
        ("", 72, 2, None),
        ("", 300, 2, None),
        ("", 118.11, 3, None),
        ("", 5, 1, None),
        ("ImageJ=1.53\nunit=nm\n", 8, 1, 1.25),
        ("ImageJ=1.53\nunit=\\u00B5m\n", 5000, 1, 2.0),
        ("ImageJ=1.53\nunit=furlong\n", 8, 1, None),
        (OME.format(0.00083, ""), 72, 2, 8.3),
        (OME.format(0.83, 'PhysicalSizeXUnit="nm"'), 72, 2, 8.3),
        (OME.format(0.83, 'PhysicalSizeXUnit="parsec"'), 72, 2, None),
        ("SerialEM: something\nPixelSpacing = 1.06\n", 72, 2, 1.06),
        ("pixel size: 0.53 A", 0, 1, 0.53),
        ("pixel size: 0.53", 0, 1, None),
        ("dose per frame 1.2", 0, 1, None),
    ],
)
def test_the_pixel_size_is_believed_only_where_it_can_be_true(tmp_path, text, resolution, unit, expected):
    tags = grey_tags(2, 3) | {282: (RATIONAL, [(round(resolution * 20), 20)]), 296: (SHORT, [unit])}
    if text:
        tags[270] = (ASCII, [*text.encode(), 0])
    (tmp_path / "a.tif").write_bytes(tiff_bytes([(tags, [bytes(6)])]))
    seen = open_tiff(LocalFile(tmp_path / "a.tif")).info.pixel_size
    assert seen == (expected if expected is None else pytest.approx(expected, rel=1e-4))


# ---- over the network ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [16, 300])
def test_a_frame_of_a_remote_movie_is_one_range_of_its_own_bytes(tmp_path, rows):
    # Written as libtiff does: the tags behind each page's strips.
    movie = np.random.default_rng(0).poisson(0.7, (24, 300, 400)).astype(np.uint8)
    import imagecodecs

    pages, stored = [], []
    for frame in movie:
        strips = [imagecodecs.lzw_encode(frame[i : i + rows].tobytes()) for i in range(0, 300, rows)]
        pages.append((grey_tags(300, 400, compression=5, rows=rows), strips))
        stored.append(sum(map(len, strips)))
    (tmp_path / "a.tif").write_bytes(tiff_bytes(pages))
    with LoopbackArchive() as server:
        server.add_entry(99001, tmp_path)
        image = open_tiff(server.archive.file(99001, "data/a.tif"))
        assert image.info.shape == movie.shape
        # One for the file's head, one a page, a few to find pages further on.
        assert len(server.requests) <= 1 + len(movie) + 3
        assert server.bytes_sent < 2 * max(stored)
        for index in (0, 11, 23):
            server.reset_counts()
            np.testing.assert_array_equal(image.frame(index), movie[index])
            assert len(server.requests) == 1
            assert server.bytes_sent <= 1.01 * stored[index]


def test_a_remote_directory_in_one_place_is_read_by_few_requests(tmp_path):
    movie = some_movie("u1", (60, 64, 64))
    write(tmp_path / "a.tif", movie, bigtiff=True)  # tifffile puts the tags of an uncompressed movie at its end
    with LoopbackArchive() as server:
        server.add_entry(99001, tmp_path)
        image = open_tiff(server.archive.file(99001, "data/a.tif"))
        assert len(server.requests) <= 30
        np.testing.assert_array_equal(image.frame(59), movie[59])


def test_pages_that_only_look_alike_do_not_mislead(tmp_path):
    """Pixels that hold a copy of a page's tags: found when looking ahead, and rightly ignored."""
    pages = [(grey_tags(100, 100), [bytes([i]) * 10_000]) for i in range(40)]
    honest = tiff_bytes(pages)
    at = struct.unpack_from("<I", honest, 4)[0]
    decoy = honest[at : at + 400]
    pages = [(tags, [decoy * 25]) for tags, _ in pages]
    (tmp_path / "a.tif").write_bytes(tiff_bytes(pages))
    with LoopbackArchive() as server:
        server.add_entry(99001, tmp_path)
        image = open_tiff(server.archive.file(99001, "data/a.tif"))
        assert image.info.shape == (40, 100, 100)
        assert image.frame(39).tobytes() == decoy * 25


# ---- hostile files -------------------------------------------------------------------------------------------


def hostile(**changes):
    tags = grey_tags(4, 6) | {int(tag[1:]): value for tag, value in changes.items()}
    return tiff_bytes([(tags, [bytes(24)])])


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "no TIFF file"),
        (b"<!DOCTYPE html><html>down for maintenance", "a web page"),
        (b"II*\0\0\0\0\0", "without pages"),
        (b"II*\0\xff\xff\xff\x7f", "not copied whole"),
        (b"II*\0\x08\0\0\0\0\0", "0 tags"),
        (b"II*\0\x08\0\0\0\xff\xff" + bytes(100), "65,535 tags"),
        (hostile(t256=(LONG, [2**31])), "cannot be true"),
        (hostile(t257=(LONG, [0])), "cannot be true"),
        (hostile(t256=(LONG, [100_000]), t257=(LONG, [100_000])), "cannot be true|strips; the file is damaged"),
        (
            hostile(t259=(SHORT, [5]), t256=(LONG, [131_072]), t257=(LONG, [131_072]), t278=(LONG, [131_072])),
            "cannot be true",
        ),
        (hostile(t322=(LONG, [1 << 16]), t323=(LONG, [1 << 16])), "strips or tiles"),
        (hostile(t278=(LONG, [0])), "strips or tiles"),
        (hostile(t279=(LONG, [2**32 - 1])), "for 24 bytes of pixels"),
        (hostile(t273=(LONG, [2**31])), "not copied whole"),
        (hostile(t258=(SHORT, [7])), "7 bits"),
        (hostile(t259=(SHORT, [4])), "compression 4 is not supported"),
        (hostile(t259=(SHORT, [5]), t317=(SHORT, [9])), "predictor 9"),
        (hostile(t259=(SHORT, [5]), t317=(SHORT, [3])), "floating point predictor"),
        (hostile(t277=(SHORT, [3])), "3 values per pixel"),
        (hostile(t273=(SHORT, []), t279=(SHORT, [])), "strips; the file is damaged"),
    ],
)
def test_hostile_directories_give_a_reason_and_take_no_memory(tmp_path, data, reason):
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(FormatError, match=reason) as seen:
        open_tiff(LocalFile(path)).frame(0)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert str(path) in str(seen.value)


def test_a_circle_of_pages_ends(tmp_path):
    data = bytearray(tiff_bytes([(grey_tags(2, 3), [bytes(6)])] * 3))
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, first + 2 + 12 * count)[0]
    struct.pack_into("<I", data, second + 2 + 12 * count, first)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(FormatError, match="does not end"):
        open_tiff(LocalFile(tmp_path / "a.tif"))


@pytest.mark.parametrize(
    "compression, number", [("lzw", 5), ("zlib", 8), ("zstd", 50000), ("packbits", 32773), ("lzma", 34925)]
)
def test_bombs_and_damaged_strips(tmp_path, compression, number):
    import imagecodecs

    # Runs of 128 zeros; imagecodecs takes minutes to pack them.
    encode = getattr(imagecodecs, f"{compression}_encode")
    bomb = b"\x81\0" * 20_000 if compression == "packbits" else encode(bytes(20_000_000))
    for strip in (bomb[:40_000], bytes(range(7, 47)), bytes(30)):
        page = grey_tags(100, 200, compression=number), [strip]
        (tmp_path / "a.tif").write_bytes(tiff_bytes([page]))
        tracemalloc.start()
        try:
            assert open_tiff(LocalFile(tmp_path / "a.tif")).frame(0).shape == (100, 200)
        except FormatError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()
    short = encode(bytes(1000))
    (tmp_path / "a.tif").write_bytes(tiff_bytes([(grey_tags(100, 200, compression=number), [short])]))
    with pytest.raises(FormatError, match="1,000 of 20,000 bytes"):
        open_tiff(LocalFile(tmp_path / "a.tif")).frame(0)


def test_a_cut_movie_says_so_and_nothing_is_logged(tmp_path, caplog):
    source = write(tmp_path / "a.tif", some_movie(), compression="lzw")
    source.path.write_bytes(source.path.read_bytes()[:-3000])
    with caplog.at_level(logging.DEBUG), pytest.raises(TruncatedFileError, match="fetch it again"):
        open_tiff(source).frame(4)
    assert not caplog.records


SEEDS = [
    tiff_bytes([(grey_tags(8, 9, rows=3), [bytes(27), bytes(27), bytes(18)])] * 3),
    tiff_bytes([(grey_tags(8, 9, 16), [bytes(144)])] * 2, big=True, order=">"),
    tiff_bytes([(grey_tags(8, 9, compression=5) | {317: (SHORT, [2])}, [bytes(40)]), (grey_tags(1, 1), [b"x"])]),
    tiff_bytes(
        [(grey_tags(4, 4) | {270: (ASCII, list(b"ImageJ=1\nimages=2\n")), 282: (RATIONAL, [(1, 0)])}, [bytes(32)])]
    ),
    tiff_bytes([(grey_tags(4, 4) | {273: (LONG8, [16])}, [bytes(16)])], big=True),
]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=8)), max_size=4))
def test_overwritten_bytes_never_crash(tmp_path_factory, seed, changes):
    data = bytearray(seed)
    for at, junk in changes:
        at %= len(data)
        data[at : at + len(junk)] = junk
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    path.write_bytes(data)
    try:
        image = open_tiff(LocalFile(path))
        for i in range(min(image.info.shape[0], 4)):
            assert image.frame(i).shape == image.info.shape[1:]
    except UserError:
        pass


@given(
    st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.sampled_from(COMPRESSIONS), st.integers(1, 50),
    st.sampled_from(["u1", "i2", "f4"]), st.booleans(),
)  # fmt: skip
def test_what_tifffile_writes_is_read_again(tmp_path_factory, pages, height, width, compression, rows, dtype, big):
    movie = some_movie(dtype, (pages, height, width))
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    source = write(path, movie, compression=compression, rowsperstrip=min(rows, height), bigtiff=big)
    check(source, movie)
