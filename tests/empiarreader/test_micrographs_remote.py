"""Micrographs in the archive: the server's own counts say how lazy we are."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from napari_empiarreader.archive.faults import AnswerHtml, FailWith
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import ArchiveError, FormatError, MixedSizesError, NothingFoundError
from napari_empiarreader.micrographs import open_micrographs, read_mrc, write_mrc
from napari_empiarreader.micrographs.cache import shared_cache

FILES, SHAPE = 200, (40, 50)
FILE_BYTES = 1024 + 40 * 50 * 4


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("entry")
    for i in range(FILES):
        write_mrc(folder / f"m{i:03d}.mrc", np.full(SHAPE, i, np.float32), 1.77)
    return folder


@pytest.fixture
def server(entry):
    shared_cache().forget()
    with LoopbackArchive() as server:
        server.add_entry(99001, entry)
        yield server


def test_opening_a_folder_of_200_files_moves_one_header_and_no_pixels(server):
    series = open_micrographs("empiar://99001/data", archive=server.archive)

    assert len(series) == FILES
    assert series.pixel_size == 1.77
    of_files = [request for request in server.requests if request.path.endswith(".mrc")]
    assert [(request.method, request.range) for request in of_files] == [("GET", "bytes=0-1023")]
    assert of_files[0].path.endswith("/m000.mrc")
    assert all(request.path.endswith("/data/") for request in server.requests if request not in of_files)


def test_showing_a_micrograph_moves_its_file_once_and_showing_it_again_moves_nothing(server):
    lazy = open_micrographs("empiar://99001/data", archive=server.archive).to_dask()
    server.reset_counts()

    assert (lazy[17].compute() == 17).all()

    assert [request.path.rsplit("/", 1)[-1] for request in server.requests] == ["m017.mrc"]
    assert server.bytes_sent == FILE_BYTES
    server.reset_counts()
    assert (lazy[17].compute() == 17).all()
    assert (open_micrographs("empiar://99001/data/m017.mrc", archive=server.archive).read(0) == 17).all()
    assert server.bytes_sent == 0  # the header of the second opening comes out of the frame on this disk


def test_a_view_and_a_picker_that_ask_at_once_move_the_file_once(server):
    lazy = open_micrographs("empiar://99001/data", archive=server.archive).to_dask()
    server.reset_counts()
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: float(lazy[5].compute().mean()), range(8)))
    assert values == [5.0] * 8
    assert server.bytes_sent == FILE_BYTES


def test_patterns_folders_and_files_have_addresses(server):
    def names(address):
        return open_micrographs(address, archive=server.archive).names

    assert names("empiar://99001/data/m00[0-2].mrc") == ("m000.mrc", "m001.mrc", "m002.mrc")
    assert names("empiar://99001/data/m*9.mrc")[:2] == ("m009.mrc", "m019.mrc")
    assert names("empiar://99001/data/m123.mrc") == ("m123.mrc",)
    assert len(names("empiar://EMPIAR-99001/data/")) == FILES


def test_the_archive_of_the_environment_is_asked_when_none_is_given(server, monkeypatch):
    monkeypatch.setenv("EMPIAR_API_URL", server.settings.api_url)
    monkeypatch.setenv("EMPIAR_ARCHIVE_URL", server.settings.archive_url)
    assert open_micrographs("empiar://99001/data/m007.mrc").read(0)[0, 0] == 7


def test_a_mirror_with_other_pixels_is_not_served_from_memory(server, tmp_path):
    write_mrc(tmp_path / "m000.mrc", np.full(SHAPE, 77, np.float32))
    assert open_micrographs("empiar://99001/data/m000.mrc", archive=server.archive).read(0)[0, 0] == 0
    with LoopbackArchive() as mirror:
        mirror.add_entry(99001, tmp_path)
        assert open_micrographs("empiar://99001/data/m000.mrc", archive=mirror.archive).read(0)[0, 0] == 77


def test_files_of_two_sizes_are_an_error_when_the_odd_one_is_shown(server, entry, tmp_path):
    shutil.copy(entry / "m000.mrc", tmp_path / "a.mrc")
    write_mrc(tmp_path / "b.mrc", np.zeros((9, 9), np.float32))
    server.add_entry(99002, tmp_path)
    series = open_micrographs("empiar://99002/data", archive=server.archive)
    assert series.read(0).shape == SHAPE
    with pytest.raises(MixedSizesError, match=r"empiar://99002/data/b\.mrc has 9 x 9 .*data/a\.mrc has 50 x 40"):
        series.read(1)


def test_a_folder_without_micrographs_says_how_to_look(server, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    server.add_entry(99003, tmp_path)
    for address in ("empiar://99003/data", "empiar://99003/data/*.mrc"):
        with pytest.raises(NothingFoundError, match="napari-empiarreader list 99003"):
            open_micrographs(address, archive=server.archive)


@pytest.mark.parametrize("fault", [FailWith(404), AnswerHtml()], ids=str)
def test_an_answer_that_is_no_micrograph_is_an_error_once_and_forgotten(server, fault):
    series = open_micrographs("empiar://99001/data", archive=server.archive)
    server.inject(fault, "*m003.mrc", times=None)
    with pytest.raises((ArchiveError, FormatError), match=r"m003\.mrc"):
        series.read(3)
    server.faults.clear()
    assert (series.read(3) == 3).all()


def test_a_stack_in_the_archive_is_read_by_its_sections(server, tmp_path):
    write_mrc(tmp_path / "s.mrcs", np.arange(6, dtype=np.float32)[:, None, None] * np.ones(SHAPE, np.float32))
    server.add_entry(99004, tmp_path)
    series = open_micrographs("empiar://99004/data/s.mrcs", archive=server.archive)
    server.reset_counts()
    assert (series.to_dask()[4].compute() == 4).all()
    assert server.bytes_sent == FILE_BYTES - 1024


def test_a_file_in_the_archive_is_read_as_any_file(server):
    header, sections = read_mrc(server.archive.file(99001, "data/m042.mrc"))
    assert header.shape == (1, *SHAPE)
    assert (sections == 42).all()
