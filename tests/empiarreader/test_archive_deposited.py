"""Where the particles of an entry lie: as the depositor said, else by the look of the names."""

import pytest

from napari_empiarreader.archive import Entry, ImageSet
from napari_empiarreader.archive.deposited import particle_files, read_particle_files
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import NothingFoundError


@pytest.fixture
def server(tmp_path):
    for name in (
        "data/session/micrographs/a.mrc",
        "data/session/micrographs/a.box",
        "data/session/coordinates/picks.star",
        "data/particles.star",
        "data/other/c.mrc",
        "data/deep/one/two/d.mrc",
    ):
        file = tmp_path / "10017" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    with LoopbackArchive(tmp_path) as server:
        yield server


def found(server, near, *imagesets):
    files = particle_files(server.archive, Entry(10017, imagesets=imagesets), near)
    return [file.path for file in files]


def test_what_the_depositor_named_counts_first(server):
    named = ImageSet(directory="data/other", picked_particles_file_pattern="data/session/coordinates/*.star")
    assert found(server, "data/other", named) == ["data/session/coordinates/picks.star"]
    assert found(server, "data/session/micrographs", named) == ["data/session/coordinates/picks.star"]
    without_data = ImageSet(directory="data/other", picked_particles_file_pattern="session/coordinates/*.star")
    assert found(server, "data/other", without_data) == ["data/session/coordinates/picks.star"]
    folder = ImageSet(directory="data/other", picked_particles_directory="data/session/micrographs")
    assert found(server, "data/other", folder) == ["data/session/micrographs/a.box"]


def test_of_two_image_sets_the_one_that_holds_the_images_counts(server):
    one = ImageSet(directory="data/other", picked_particles_file_pattern="data/particles.star")
    two = ImageSet(directory="data/session/micrographs", picked_particles_directory="data/session/coordinates")
    assert found(server, "data/session/micrographs/a.mrc", one, two) == ["data/session/coordinates/picks.star"]
    assert found(server, "data/other/c.mrc", one, two) == ["data/particles.star"]


def test_where_nobody_said_the_nearest_tables_count(server):
    assert found(server, "data/session/micrographs") == ["data/session/micrographs/a.box"]
    assert found(server, "data/session") == ["data/session/coordinates/picks.star"]
    assert found(server, "data/deep/one/two/d.mrc") == ["data/particles.star"]
    misspelt = ImageSet(directory="data/other", picked_particles_file_pattern="data/nowhere/*.star")
    assert found(server, "data/other", misspelt) == ["data/particles.star"]


def test_an_entry_without_particles_says_so(server, tmp_path):
    (tmp_path / "10018" / "data").mkdir(parents=True)
    with pytest.raises(NothingFoundError, match="EMPIAR-10018: no file with particle coordinates"):
        particle_files(server.archive, Entry(10018), "data")


def test_files_called_after_micrographs_are_read_together_else_the_largest_table(server, tmp_path):
    data = tmp_path / "10017" / "data"
    (data / "session/micrographs/a.box").write_text("10 20 8 8\n30 40 8 8\n")
    (data / "session/micrographs/b.box").write_text("1 2 8 8\n")
    (data / "session/micrographs/c.box").write_text("1 2 8 8\n")
    files = particle_files(server.archive, Entry(10017), "data/session/micrographs")
    read = read_particle_files(files, ["a.mrc", "b.mrc"])
    assert read.table.micrographs[:2] == ("a.mrc", "b.mrc") and len(read.table) == 3
    assert [uri.rsplit("/", 1)[-1] for uri in read.sources] == ["a.box", "b.box"]
    assert [uri.rsplit("/", 1)[-1] for uri in read.passed_over] == ["c.box"]

    head = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
    (data / "session/coordinates/picks.star").write_text(head + "a.mrc 1 2\n")
    (data / "session/coordinates/run_data.star").write_text(head + "a.mrc 1 2\n" * 500)
    files = particle_files(server.archive, Entry(10017), "data/session")
    read = read_particle_files(files, ["a.mrc"])
    assert len(read.table) == 500 and read.sources == ("empiar://10017/data/session/coordinates/run_data.star",)
