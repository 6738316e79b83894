"""Any images: one series per size, movies by frames, nothing padded, nothing left out in silence."""

import gzip
import shutil
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_empiarreader.archive.faults import AnswerHtml, FailWith
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import (
    EntryNotFoundError,
    FormatError,
    MixedSizesError,
    NothingFoundError,
    PixelSizeError,
    ServerUnreachableError,
    TruncatedFileError,
)
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs import (
    EerSettings,
    MicrographSeries,
    MovieSeries,
    open_image,
    open_images,
    write_mrc,
)
from napari_empiarreader.micrographs.cache import shared_cache

sys.path.insert(0, str(Path(__file__).parent))
from detector_files import eer_bytes, eer_events  # noqa: E402


class Elsewhere:
    """A file that is not on this disk, with the length that a listing might give."""

    def __init__(self, path, size_hint_bytes=None):
        self.file, self.size_hint_bytes, self.reads = LocalFile(path), size_hint_bytes, []
        self.uri, self.name = f"elsewhere:{path.name}", path.name

    def read(self, start, stop, *, at_most=False):
        self.reads.append((start, stop))
        return self.file.read(start, stop, at_most=at_most)

    def size(self):
        return self.file.size()


def values(*shape, seed=0, kind=np.float32):
    return np.random.default_rng(seed).integers(0, 100, shape).astype(kind)


@pytest.fixture(autouse=True)
def _no_memory_of_other_tests():
    shared_cache().forget()


@pytest.fixture
def mixed(tmp_path):
    """Given three micrographs of one size, two of another, and two movies of each of two lengths."""
    folder = tmp_path / "mixed"
    for i, shape in enumerate([(6, 7), (8, 9), (6, 7), (8, 9), (6, 7)]):
        write_mrc(folder / f"m{i}.mrc", values(*shape, seed=i), 1.5)
    for i, frames in enumerate([4, 5, 4, 5]):
        write_mrc(folder / f"v{i}.mrcs", values(frames, 6, 7, seed=10 + i), 1.5)
    return folder


# ---- sizes ---------------------------------------------------------------------------------------------------


def test_there_is_a_series_for_each_size_and_number_of_frames_with_names_kept(mixed):
    opened = open_images(mixed)
    assert [(series.names, series.shape) for series in opened] == [
        (("m0.mrc", "m2.mrc", "m4.mrc"), (6, 7)),
        (("m1.mrc", "m3.mrc"), (8, 9)),
        (("v0.mrcs", "v2.mrcs"), (4, 6, 7)),
        (("v1.mrcs", "v3.mrcs"), (5, 6, 7)),
    ]
    assert [type(series) for series in opened] == [MicrographSeries] * 2 + [MovieSeries] * 2
    assert all(series.pixel_size == 1.5 and series.dtype == np.float32 for series in opened)
    assert opened.left_out == {} and opened.warnings == ()
    np.testing.assert_array_equal(opened[0].to_dask()[2].compute(), values(6, 7, seed=4))
    np.testing.assert_array_equal(opened[3].to_dask()[1, 4].compute(), values(5, 6, 7, seed=13)[4])


def test_values_of_another_type_are_another_series(tmp_path):
    write_mrc(tmp_path / "a.mrc", values(6, 7))
    write_mrc(tmp_path / "b.mrc", values(6, 7, kind=np.int16))
    assert [(s.names, s.dtype) for s in open_images(tmp_path)] == [(("a.mrc",), np.float32), (("b.mrc",), np.int16)]


def test_formats_of_one_size_and_type_share_a_series(tmp_path):
    import tifffile

    write_mrc(tmp_path / "a.mrc", values(6, 7), 2.0)
    tifffile.imwrite(tmp_path / "b.tif", values(6, 7, seed=1))
    (tmp_path / "c.mrc.gz").write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes()))
    (series,) = open_images(tmp_path)
    assert series.names == ("a.mrc", "b.tif", "c.mrc.gz")
    assert series.pixel_size == 2.0
    np.testing.assert_array_equal(
        series.to_dask().compute(), [values(6, 7), open_image(LocalFile(tmp_path / "b.tif")).frame(0), values(6, 7)]
    )


def test_equal_names_of_two_folders_are_told_apart_over_all_series(tmp_path):
    write_mrc(tmp_path / "x" / "a.mrc", values(6, 7))
    write_mrc(tmp_path / "y" / "a.mrc", values(8, 9))
    assert [s.names for s in open_images([tmp_path / "x", tmp_path / "y"])] == [("x/a.mrc",), ("y/a.mrc",)]
    with pytest.raises(NothingFoundError, match="named twice"):
        open_images([tmp_path / "x", tmp_path / "x" / "a.mrc"])


def test_headers_that_disagree_about_the_pixel_size_are_told(tmp_path):
    for name, size in (("a", None), ("b", 1.5), ("c", 1.5), ("d", 3.0)):
        write_mrc(tmp_path / f"{name}.mrc", values(6, 7), size)
    opened = open_images(tmp_path)
    assert opened[0].pixel_size == 1.5
    assert len(opened.warnings) == 1
    assert "1 of 3 say otherwise (3 to 3 Å); 1.5 Å is taken" in opened.warnings[0]
    assert open_images(tmp_path, pixel_size=2)[0].pixel_size == 2
    with pytest.raises(PixelSizeError):
        open_images(tmp_path, pixel_size=-2)


# ---- what could not be opened --------------------------------------------------------------------------------


def test_a_damaged_first_micrograph_does_not_hide_a_folder(mixed):
    (mixed / "a_damaged.mrc").write_bytes(b"<html>" + bytes(2000))
    (mixed / "b_empty.mrc").write_bytes(b"")
    opened = open_images(mixed)
    assert len(opened) == 4 and opened[0].names == ("m0.mrc", "m2.mrc", "m4.mrc")
    assert {uri.rsplit("/", 1)[-1] for uri in opened.left_out} == {"a_damaged.mrc", "b_empty.mrc"}
    assert all(isinstance(error, FormatError) for error in opened.left_out.values())


def test_a_folder_of_nothing_but_damage_is_an_error_and_a_single_file_its_own(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.mrc").write_bytes(b"x" * 2000)
    with pytest.raises(FormatError, match=r"none of 2 images could be opened; the first error: .*a\.mrc: no MRC file"):
        open_images(tmp_path)
    with pytest.raises(FormatError, match=r"b\.mrc: no MRC file"):
        open_images(tmp_path / "b.mrc")
    with pytest.raises(NothingFoundError, match="no such file"):
        open_images(tmp_path / "c.mrc")
    with pytest.raises(NothingFoundError, match="no micrographs were named"):
        open_images([])


def test_after_many_damaged_files_of_a_kind_the_rest_is_not_tried_but_named(tmp_path):
    files = []
    for i in range(40):
        (tmp_path / f"{i:02d}.mrc").write_bytes(b"x" * 2000)
        files.append(Elsewhere(tmp_path / f"{i:02d}.mrc"))
    with pytest.raises(FormatError, match="none of 40 images"):
        open_images(files)
    assert sum(bool(file.reads) for file in files) == 16


def test_an_oddity_that_was_accepted_is_told(tmp_path):
    write_mrc(tmp_path / "a.mrc", values(6, 7))
    data = bytearray((tmp_path / "a.mrc").read_bytes())
    data[208:212] = bytes(4)
    (tmp_path / "a.mrc").write_bytes(data)
    opened = open_images(tmp_path)
    assert "no letters 'MAP'" in opened.warnings[0]
    np.testing.assert_array_equal(opened[0].read(0), values(6, 7))


# ---- the archive ---------------------------------------------------------------------------------------------


def test_files_of_equal_length_are_believed_and_others_asked_once_for_each_length(tmp_path):
    files = []
    for i, (shape, hint) in enumerate([((6, 7), 1200), ((8, 9), 1300), ((6, 7), 1200), ((8, 9), 1300)]):
        write_mrc(tmp_path / f"{i}.mrc", values(*shape, seed=i))
        files.append(Elsewhere(tmp_path / f"{i}.mrc", hint))
    opened = open_images(files)
    assert [series.names for series in opened] == [("0.mrc", "2.mrc"), ("1.mrc", "3.mrc")]
    assert [file.reads for file in files] == [[(0, 1024)], [(0, 1024)], [], []]
    np.testing.assert_array_equal(opened[1].read(1), values(8, 9, seed=3))
    assert len(files[3].reads) == 1  # header and pixels together


def test_a_file_that_turns_out_different_says_how_to_open_it(tmp_path):
    files = []
    for i, shape in enumerate([(6, 7), (8, 9)]):
        write_mrc(tmp_path / f"{i}.mrc", values(*shape))
        files.append(Elsewhere(tmp_path / f"{i}.mrc", 1200))
    (series,) = open_images(files)
    with pytest.raises(MixedSizesError, match=r"elsewhere:1\.mrc has 9 x 8 .*check='all'"):
        series.read(1)
    assert [series.shape for series in open_images(files, check="all")] == [(6, 7), (8, 9)]


def test_a_movie_that_turns_out_different_says_how_to_open_it(tmp_path):
    files = []
    for i, frames in enumerate([4, 5]):
        write_mrc(tmp_path / f"{i}.mrcs", values(frames, 6, 7))
        files.append(Elsewhere(tmp_path / f"{i}.mrcs", 1200))
    (series,) = open_images(files, sections="frames")
    with pytest.raises(MixedSizesError, match=r"elsewhere:1\.mrcs has 5 frames of 7 x 6 .*4 frames.*check='all'"):
        series.read(1, 0)
    assert [series.shape for series in open_images(files, check="all")] == [(4, 6, 7), (5, 6, 7)]


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "entry"
    for i in range(60):
        shape = (200, 200) if i % 10 else (40, 50)
        write_mrc(folder / f"m{i:02d}.mrc", np.full(shape, i, np.float32), 1.77)
    with LoopbackArchive() as server:
        server.add_entry(99001, folder)
        yield server


def headers_read(server):
    return [request for request in server.requests if request.range == "bytes=0-1023"]


def test_opening_a_folder_of_two_lengths_moves_two_headers_and_no_pixels(server):
    opened = open_images("empiar://99001/data", archive=server.archive)
    assert [(len(series), series.shape) for series in opened] == [(54, (200, 200)), (6, (40, 50))]
    assert len(headers_read(server)) == len([r for r in server.requests if r.path.endswith(".mrc")]) == 2
    assert (opened[1].read(3) == 30).all()
    assert opened[1].names[3] == "m30.mrc"


def test_all_headers_are_read_in_parallel_by_one_request_each(server):
    at_once, most, lock = set(), [], threading.Lock()
    original = server.archive.file(99001, "data/m00.mrc").__class__.read

    def read(self, start, stop, *, at_most=False):
        with lock:
            at_once.add(self.path)
            most.append(len(at_once))
        time.sleep(0.01)
        try:
            return original(self, start, stop, at_most=at_most)
        finally:
            with lock:
                at_once.discard(self.path)

    files = [server.archive.file(99001, f"data/m{i:02d}.mrc") for i in range(60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(files[0]), "read", read)
        opened = open_images(files, check="all", archive=server.archive)
    assert [len(series) for series in opened] == [54, 6]
    assert max(most) >= 8
    assert len(headers_read(server)) == 60
    assert sum(request.range is not None for request in server.requests) == 60


@pytest.mark.parametrize("fault", [FailWith(404), AnswerHtml()], ids=str)
def test_one_bad_file_among_many_is_left_out_by_name(server, fault):
    server.inject(fault, "*m01.mrc", times=None)
    opened = open_images("empiar://99001/data", archive=server.archive)
    assert list(opened.left_out) == ["empiar://99001/data/m01.mrc"]
    assert [len(series) for series in opened] == [53, 6]
    assert opened[0].names[0] == "m02.mrc"
    opened = open_images("empiar://99001/data", archive=server.archive, check="all")
    assert list(opened.left_out) == ["empiar://99001/data/m01.mrc"]
    assert [len(series) for series in opened] == [53, 6]


def test_a_believed_file_that_is_gone_is_an_error_when_it_is_shown(server):
    opened = open_images("empiar://99001/data", archive=server.archive)
    server.inject(FailWith(404), "*m02.mrc", times=None)
    with pytest.raises(EntryNotFoundError, match=r"m02\.mrc"):
        opened[0].read(1)


def test_an_archive_out_of_reach_is_an_error_and_not_a_list_of_bad_files(tmp_path):
    class Unreachable(Elsewhere):
        def read(self, start, stop, *, at_most=False):
            self.reads.append((start, stop))
            raise ServerUnreachableError(f"{self.uri}: no answer")

    files = [Unreachable(tmp_path / f"{i}.mrc", i) for i in range(500)]
    for check in ("hints", "all"):
        with pytest.raises(ServerUnreachableError, match="no answer"):
            open_images(files, check=check)
    assert sum(len(file.reads) for file in files) < 250
    alike = [Unreachable(tmp_path / f"{i}.mrc", 7) for i in range(500)]
    with pytest.raises(ServerUnreachableError, match="no answer"):
        open_images(alike)
    assert sum(len(file.reads) for file in alike) == 3


def test_progress_counts_the_headers(server):
    told = []
    open_images("empiar://99001/data", archive=server.archive, check="all", progress=lambda *step: told.append(step))
    assert told[0][2].startswith("looking through empiar://99001/data")
    assert [(done, total) for done, total, _ in told[1:]] == [(i, 60) for i in range(1, 61)]


def test_memory_is_not_kept_for_files_that_were_only_looked_at(tmp_path):
    """Given many compressed files, then not each keeps what was unpacked for its header."""
    write_mrc(tmp_path / "a.mrc", values(600, 700))
    packed = gzip.compress((tmp_path / "a.mrc").read_bytes(), 1)
    for i in range(12):
        (tmp_path / f"{i}.mrc.gz").write_bytes(packed)
    import tracemalloc

    tracemalloc.start()
    try:
        opened = open_images([tmp_path / f"{i}.mrc.gz" for i in range(12)])
        assert tracemalloc.get_traced_memory()[0] < 5e6
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(opened[0].read(11), values(600, 700))


# ---- sections ------------------------------------------------------------------------------------------------


@pytest.fixture
def stack(tmp_path):
    write_mrc(tmp_path / "s.mrcs", values(12, 6, 7), 2.5)
    return tmp_path / "s.mrcs"


def test_the_sections_of_one_file_are_what_they_are_said_to_be(stack):
    (images,) = open_images(stack)
    assert images.names[0] == "01@s.mrcs" and images.names[-1] == "12@s.mrcs"
    assert (images.shape, images.pixel_size) == ((6, 7), 2.5)
    np.testing.assert_array_equal(images.read(7), values(12, 6, 7)[7])
    for sections in ("frames", "volume"):
        (movie,) = open_images(stack, sections=sections)
        assert (movie.names, movie.shape, movie.sections) == (("s.mrcs",), (12, 6, 7), sections)
        np.testing.assert_array_equal(movie.to_dask()[0].compute(), values(12, 6, 7))


def test_a_volume_by_its_name_is_one_volume(stack):
    shutil.copy(stack, stack.with_name("t.rec"))
    (volume,) = open_images(stack.with_name("t.rec"))
    assert isinstance(volume, MovieSeries) and volume.sections == "volume"


def test_several_stacks_are_movies_unless_they_are_said_to_be_stacks(stack):
    write_mrc(stack.with_name("t.mrcs"), values(12, 6, 7, seed=1), 2.5)
    (movies,) = open_images(stack.parent)
    assert isinstance(movies, MovieSeries) and movies.to_dask().shape == (2, 12, 6, 7)
    (images,) = open_images(stack.parent, sections="stack")
    assert len(images) == 24 and images.names[12:14] == ("01@t.mrcs", "02@t.mrcs")
    np.testing.assert_array_equal(images.read(14), values(12, 6, 7, seed=1)[2])


def test_the_tilts_of_a_series_come_along(tmp_path):
    import struct

    write_mrc(tmp_path / "t.st", values(3, 6, 7))
    data = bytearray((tmp_path / "t.st").read_bytes())
    struct.pack_into("<i", data, 92, 6)
    struct.pack_into("<2h", data, 128, 2, 1)
    data[1024:1024] = struct.pack("<3h", -6000, 0, 6000)
    (tmp_path / "t.st").write_bytes(data)
    (images,) = open_images(tmp_path / "t.st")
    assert images.tilts == (-60, 0, 60) and len(images) == 3


# ---- movies --------------------------------------------------------------------------------------------------


@pytest.fixture
def movies(tmp_path):
    folder = tmp_path / "movies"
    for i in range(3):
        write_mrc(folder / f"v{i}.mrcs", values(5, 6, 7, seed=i, kind=np.int16), 1.25)
    return folder


def test_a_frame_is_a_chunk_and_is_read_once(movies):
    files = [Elsewhere(path) for path in sorted(movies.iterdir())]
    (series,) = open_images(files)
    lazy = series.to_dask()
    assert lazy.chunks == ((1,) * 3, (1,) * 5, (6,), (7,)) and lazy.dtype == np.int16
    assert len(lazy.dask.layers) == 1
    assert [file.reads for file in files] == [[(0, 1024)], [], []]
    for _ in range(2):
        np.testing.assert_array_equal(lazy[0, 3].compute(), values(5, 6, 7, seed=0)[3])
        np.testing.assert_array_equal(lazy[2, 1].compute(), values(5, 6, 7, seed=2)[1])
    frame = 6 * 7 * 2
    assert files[0].reads == [(0, 1024), (1024 + 3 * frame, 1024 + 4 * frame)]
    assert files[1].reads == []
    assert files[2].reads == [(0, 1024), (1024 + frame, 1024 + 2 * frame)]
    assert series.require_pixel_size() == series.with_pixel_size(None).pixel_size == 1.25
    assert series.with_pixel_size(3).pixel_size == 3
    with pytest.raises(ValueError, match="read-only"):
        series.read(0, 3)[0, 0] = 1


def test_the_sum_of_frames_is_lazy_exact_and_made_once(movies):
    files = [Elsewhere(path) for path in sorted(movies.iterdir())]
    (series,) = open_images(files)
    summed = series.summed()
    assert (summed.names, summed.shape, summed.dtype) == (series.names, (6, 7), np.float32)
    assert files[1].reads == []
    for _ in range(2):
        np.testing.assert_array_equal(summed.read(1), values(5, 6, 7, seed=1).sum(axis=0))
    assert len(files[1].reads) == 6
    assert shared_cache().bytes_held == 6 * 7 * 4  # the frames themselves are not kept


def test_frames_in_memory_are_used_for_the_sum(movies):
    files = [Elsewhere(path) for path in sorted(movies.iterdir())]
    (series,) = open_images(files)
    series.to_dask()[1].compute()
    before = len(files[1].reads)
    np.testing.assert_array_equal(series.summed().read(1), values(5, 6, 7, seed=1).sum(axis=0))
    assert len(files[1].reads) == before


def test_each_frame_is_corrected_before_it_is_added(movies):
    class Gain:
        def apply(self, frame):
            return frame.astype(np.float32) ** 2

    (series,) = open_images(movies)
    expected = (values(5, 6, 7, seed=2) ** 2).sum(axis=0)
    np.testing.assert_array_equal(series.summed(Gain()).read(2), expected)
    assert not np.array_equal(series.summed().read(2), expected)


def test_the_order_of_asking_changes_nothing_when_more_movies_are_shown_than_stay_open(tmp_path):
    for i in range(40):
        write_mrc(tmp_path / f"v{i:02d}.mrcs", np.full((2, 3, 4), i, np.int16))
    files = [Elsewhere(path) for path in sorted(tmp_path.iterdir())]
    (series,) = open_images(files)
    for _ in range(2):
        assert [series.read(i, 1)[0, 0] for i in range(40)] == [*range(40)]
        shared_cache().forget()
    assert all(len(file.reads) == 4 for file in files[1:])


def test_a_movie_written_anew_is_opened_anew(movies):
    import os

    (series,) = open_images(movies)
    series.read(0, 0)
    write_mrc(movies / "v0.mrcs", values(6, 6, 7, seed=9, kind=np.int16), overwrite=True)
    os.utime(movies / "v0.mrcs", ns=(1, 1))
    with pytest.raises(MixedSizesError, match="6 frames"):
        series.read(0, 0)


def test_an_error_while_opening_a_movie_is_not_remembered(movies):
    files = [Elsewhere(path) for path in sorted(movies.iterdir())]
    (series,) = open_images(files)
    whole = (movies / "v1.mrcs").read_bytes()
    (movies / "v1.mrcs").write_bytes(whole[:1100])
    with pytest.raises(TruncatedFileError, match=r"v1\.mrcs"):
        series.read(1, 4)
    (movies / "v1.mrcs").write_bytes(whole)
    np.testing.assert_array_equal(series.read(1, 4), values(5, 6, 7, seed=1)[4])


def test_the_frames_of_an_eer_movie_are_those_that_were_asked_for(tmp_path):
    frames = [eer_events([(3 + i, 5), (100, 0)], 256) for i in range(8)]
    (tmp_path / "a.eer").write_bytes(eer_bytes(frames, (16, 16)))
    for settings, shape in (
        (EerSettings(group=2), (4, 16, 16)),
        (EerSettings(group=4), (2, 16, 16)),
        (EerSettings(group=4, upsampling=2), (2, 32, 32)),
    ):
        (series,) = open_images(tmp_path, eer=settings)
        assert series.shape == shape
        np.testing.assert_array_equal(series.read(0, 1).sum(), 2 * settings.group)
        np.testing.assert_array_equal(series.summed().read(0).sum(), 16)
    with pytest.raises(FormatError, match="dose"):
        open_images(tmp_path, eer=EerSettings(dose_per_frame=1.0))  # the file does not tell its dose
    with pytest.raises(FormatError, match=r"a\.eer.*a group of 9 raw frames of 8 is impossible"):
        open_images(tmp_path, eer=EerSettings(group=9))
    (picture,) = open_images(tmp_path, eer=EerSettings(group=8))
    assert isinstance(picture, MicrographSeries) and picture.read(0).sum() == 16


def test_compressed_movies_are_read_by_frames_and_few_stay_unpacked(tmp_path):
    for i in range(6):
        write_mrc(tmp_path / "v.mrcs", np.full((3, 4, 5), i, np.int16), overwrite=True)
        (tmp_path / f"v{i}.mrcs.gz").write_bytes(gzip.compress((tmp_path / "v.mrcs").read_bytes()))
    files = [Elsewhere(path) for path in sorted(tmp_path.glob("*.gz"))]
    (series,) = open_images(files)
    assert series.names[5] == "v5.mrcs.gz"
    assert [series.read(i, 2)[0, 0] for i in range(6)] == [*range(6)]
    before = [len(file.reads) for file in files]
    assert series.read(5, 1)[0, 0] == 5
    assert [len(file.reads) for file in files] == before  # still unpacked


def test_of_many_warnings_the_rest_is_counted(tmp_path):
    write_mrc(tmp_path / "a.mrc", values(6, 7))
    data = bytearray((tmp_path / "a.mrc").read_bytes())
    data[208:212] = bytes(4)
    for i in range(30):
        (tmp_path / f"{i}.mrc").write_bytes(data)
    warnings = open_images(tmp_path).warnings
    assert len(warnings) == 21 and warnings[-1] == "10 more warnings like these"


def test_an_array_is_a_movie_too():
    frames = values(2, 3, 4, 5)
    series = MovieSeries.from_array(frames, pixel_size=1.5)
    np.testing.assert_array_equal(series.to_dask().compute(), frames)
    np.testing.assert_array_equal(series.summed().to_dask().compute(), frames.sum(axis=1))
    assert len(MovieSeries.from_array(frames[0])) == 1
    for wrong in (frames[0, 0], np.zeros((1, 0, 2, 2))):
        with pytest.raises(FormatError, match="with pixels, not shape"):
            MovieSeries.from_array(wrong)
    with pytest.raises(FormatError, match="1 names for 2 movies"):
        MovieSeries.from_array(frames, names=["a"])
