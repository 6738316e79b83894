"""EER movies: electrons where the specification puts them, groups of raw frames, and their bytes alone."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import FormatError, TruncatedFileError, UserError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs.eer import SHOWN_FRAMES, open_eer
from napari_empiarreader.micrographs.tiff import open_tiff

sys.path.insert(0, str(Path(__file__).parent))
from detector_files import SHORT, eer_bytes, eer_events, eer_metadata  # noqa: E402

SHAPE = (32, 48)
PIXELS = SHAPE[0] * SHAPE[1]
METADATA = eer_metadata(
    numberOfFrames=80,
    totalDose=(60.0, "e/pixel"),
    sensorPixelSize__width=(1.25e-10, "m"),
    sensorPixelSize__height=(1.25e-10, "m"),
)


def some_frames(count, electrons=60, seed=0):
    """Random events of raw frames: pixel and place in the pixel, one electron per pixel at most."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        pixels = np.sort(rng.choice(PIXELS, electrons, replace=False)).tolist()
        frames.append(list(zip(pixels, rng.integers(0, 16, electrons).tolist(), strict=True)))
    return frames


def pictures(frames, upsampling=1):
    """The frames drawn by plain counting, as the specification says: x in the low bits, both places counted from the
    middle of the pixel, which inverts the upper bit of each."""
    drawn = np.zeros((len(frames), SHAPE[0] * upsampling, SHAPE[1] * upsampling), int)
    for image, events in zip(drawn, frames, strict=True):
        for pixel, place in events:
            y, x = divmod(pixel, SHAPE[1])
            if upsampling == 2:
                y, x = 2 * y + (((place >> 2) ^ 2) >> 1), 2 * x + (((place & 3) ^ 2) >> 1)
            image[y, x] += 1
    return drawn


def write(path, frames, skip=7, wasteful=False, **settings):
    path.write_bytes(
        eer_bytes([eer_events(f, PIXELS, skip=skip, wasteful=wasteful) for f in frames], SHAPE, **settings)
    )
    return LocalFile(path)


def test_three_electrons_written_by_hand_are_where_they_belong(tmp_path):
    # 4 x 4 pixels, lowest bit first: skip 5, place 3; skip 0, place 12; skip 9 to the end.
    bits = "1010000" + "1100" + "0000000" + "0011" + "1001000"
    stream = int(bits[::-1], 2).to_bytes(8, "little")
    path = tmp_path / "hand.eer"
    path.write_bytes(eer_bytes([stream], (4, 4)))

    seen = open_eer(LocalFile(path)).frame(0)
    assert np.argwhere(seen).tolist() == [[1, 1], [1, 2]]
    finer = open_eer(LocalFile(path), upsampling=2).frame(0)
    # place 3 = x 3, y 0: right half 3 ^ 2 = 1 -> left half of the pixel, y 0 ^ 2 = 2 -> lower half; 12 is the reverse.
    assert np.argwhere(finer).tolist() == [[2, 5], [3, 2]]


@pytest.mark.parametrize("upsampling", [1, 2])
@pytest.mark.parametrize("skip, compression", [(7, 65001), (8, 65000)])
def test_groups_are_sums_of_raw_frames(tmp_path, skip, compression, upsampling):
    frames = some_frames(12)
    source = write(tmp_path / "a.eer", frames, skip, wasteful=skip == 8, compression=compression, metadata=METADATA)

    movie = open_eer(source, group=4, upsampling=upsampling)

    assert movie.info.shape == (3, SHAPE[0] * upsampling, SHAPE[1] * upsampling)
    assert movie.info.dtype == np.uint8 and movie.info.sections == "frames"
    assert movie.info.pixel_size == 1.25 / upsampling
    drawn = pictures(frames, upsampling)
    for i in range(3):
        np.testing.assert_array_equal(movie.frame(i), drawn[4 * i : 4 * i + 4].sum(0))


def test_eight_bit_frames_without_wasted_bits_are_read_too(tmp_path):
    frames = some_frames(2, electrons=3)
    source = write(tmp_path / "a.eer", frames, 8, compression=65000)
    np.testing.assert_array_equal(open_eer(source, group=2).frame(0), pictures(frames).sum(0))


def test_the_third_compression_names_its_bits(tmp_path):
    frames = [[(pixel, place & 3) for pixel, place in frame] for frame in some_frames(2)]
    streams = [eer_events(frame, PIXELS, skip=7, across=1, down=1) for frame in frames]
    path = tmp_path / "a.eer"
    bits = {"t65007": (SHORT, [7]), "t65008": (SHORT, [1]), "t65009": (SHORT, [1])}
    path.write_bytes(eer_bytes(streams, SHAPE, compression=65002, **bits))
    np.testing.assert_array_equal(open_eer(LocalFile(path), group=1).frame(1), pictures(frames)[1])


def test_by_default_a_movie_has_about_forty_frames(tmp_path):
    movie = open_eer(write(tmp_path / "a.eer", some_frames(87, 5)))
    assert movie.group == 2 and movie.info.shape[0] == 43 and movie.raw_frames == 87
    assert movie.info.warnings == ("the last 1 of 87 raw frames do not fill a group and are left out",)
    assert abs(movie.info.shape[0] - SHOWN_FRAMES) < 10
    assert open_eer(write(tmp_path / "b.eer", some_frames(3, 5))).info.shape[0] == 3


def test_groups_can_be_chosen_by_dose(tmp_path):
    # 60 e/pixel on pixels of 1.25 Å are 38.4 e/Å² in 80 raw frames; 1.92 e/Å² are 4 of them.
    source = write(tmp_path / "a.eer", some_frames(80, 5), metadata=METADATA)
    movie = open_eer(source, dose_per_frame=1.92)
    assert movie.metadata.dose == pytest.approx(38.4)
    assert movie.group == 4 and movie.info.shape[0] == 20

    silent = write(tmp_path / "b.eer", some_frames(4, 5))
    with pytest.raises(FormatError, match="does not say its dose"):
        open_eer(silent, dose_per_frame=1)
    for wishes in (
        {"group": 3, "dose_per_frame": 1.0},
        {"group": 0},
        {"group": 81},
        {"dose_per_frame": -1},
        {"upsampling": 3},
    ):
        with pytest.raises(ValueError):
            open_eer(source, **wishes)


def test_a_large_group_does_not_overflow(tmp_path):
    frames = [[(7, 0)]] * 300
    movie = open_eer(write(tmp_path / "a.eer", frames), group=300)
    assert movie.info.dtype == np.uint16
    assert movie.frame(0)[0, 7] == 300


def test_a_final_image_and_empty_last_frames_are_passed_over(tmp_path):
    frames = some_frames(4)
    streams = [eer_events(frame, PIXELS) for frame in frames] + [b""]
    path = tmp_path / "a.eer"
    path.write_bytes(eer_bytes(streams, SHAPE, metadata=METADATA, final_image=np.full(SHAPE, 9)))
    movie = open_eer(LocalFile(path), group=2)
    assert movie.info.pixel_size == 1.25
    assert movie.info.warnings == ("1 raw frames at the end are empty and are left out",)
    np.testing.assert_array_equal(movie.frame(1), pictures(frames)[2:].sum(0))


def test_a_raw_frame_may_be_cut_into_strips(tmp_path):
    frames = some_frames(4)
    source = write(tmp_path / "a.eer", frames, strips=3)
    np.testing.assert_array_equal(open_eer(source, group=4).frame(0), pictures(frames).sum(0))


def test_an_eer_movie_under_a_tiff_name_is_what_it_is(tmp_path):
    frames = some_frames(2)
    image = open_tiff(write(tmp_path / "a.tif", frames))
    np.testing.assert_array_equal(image.frame(1), pictures(frames)[1])


def test_a_remote_group_costs_its_bytes_and_a_long_directory_is_walked_from_several_places(tmp_path):
    count = 600
    frames = some_frames(count, electrons=700)
    size = write(tmp_path / "a.eer", frames, metadata=METADATA).size()
    group_bytes = sum(len(eer_events(frame, PIXELS)) for frame in frames[20:30])
    with LoopbackArchive() as server:
        server.add_entry(99001, tmp_path)
        movie = open_eer(server.archive.file(99001, "data/a.eer"), group=10)
        assert movie.info.shape[0] == count // 10
        assert len(server.requests) <= count + 30
        assert server.bytes_sent < size
        server.reset_counts()
        np.testing.assert_array_equal(movie.frame(2), pictures(frames[20:30]).sum(0))
        assert len(server.requests) == 1
        assert server.bytes_sent < 1.4 * group_bytes  # lists of tags lie between these tiny raw frames


def test_damaged_movies_give_a_reason(tmp_path):
    frames = some_frames(6)
    source = write(tmp_path / "a.eer", frames)
    data = source.path.read_bytes()
    source.path.write_bytes(data[: len(data) // 2])
    with pytest.raises(TruncatedFileError, match="not copied whole"):
        open_eer(source)

    streams = [eer_events(frame, PIXELS) for frame in frames]
    streams[3] = b"\xff" * 64  # steps of 127 pixels miss the end of 1536
    source.path.write_bytes(eer_bytes(streams, SHAPE))
    with pytest.raises(FormatError, match="raw frame 4 cannot be decoded"):
        open_eer(source, group=2).frame(1)

    streams[3] = streams[3][:4]
    source.path.write_bytes(eer_bytes(streams, SHAPE))
    with pytest.raises(FormatError, match="raw frame 4"):
        open_eer(source, group=2).frame(1)

    source.path.write_bytes(eer_bytes(streams, (60000, 60000)))
    with pytest.raises(FormatError, match="60000 x 60000 pixels out of 88 bytes"):
        open_eer(source)


@pytest.mark.parametrize(
    "metadata", ["<metadata>", "&boom;", eer_metadata(totalDose="many", sensorPixelSize__width="1e400")]
)
def test_damaged_metadata_is_no_metadata(tmp_path, metadata):
    bomb = '<!DOCTYPE x [<!ENTITY boom "boom">]>' + metadata
    movie = open_eer(write(tmp_path / "a.eer", some_frames(2), metadata=bomb))
    assert movie.info.pixel_size is None and movie.metadata.total_dose is None


@given(st.data())
def test_any_events_are_found_again(tmp_path_factory, data):
    pixels = data.draw(st.lists(st.integers(0, PIXELS - 1), unique=True, max_size=40))
    events = [(pixel, data.draw(st.integers(0, 15))) for pixel in sorted(pixels)]
    source = write(tmp_path_factory.mktemp("eer") / "a.eer", [events])
    for upsampling in (1, 2):
        np.testing.assert_array_equal(
            open_eer(source, upsampling=upsampling).frame(0), pictures([events], upsampling)[0]
        )


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=12))
def test_overwritten_bytes_never_crash(tmp_path_factory, at, junk):
    data = bytearray(eer_bytes([eer_events(f, PIXELS) for f in some_frames(3)], SHAPE, metadata=METADATA))
    at %= len(data)
    data[at : at + len(junk)] = junk
    path = tmp_path_factory.mktemp("eer") / "a.eer"
    path.write_bytes(data)
    try:
        movie = open_eer(LocalFile(path), group=1)
        for i in range(movie.info.shape[0]):
            assert movie.frame(i).shape == movie.info.shape[1:]
    except UserError:
        pass
