"""STAR files: of every generation, broken in every way, and round trips that lose nothing."""

import gzip

import numpy as np
import pandas as pd
import pytest
import starfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from napari_empiarreader.coordinates import ParticleTable, read_star, write_star
from napari_empiarreader.errors import CoordinatesError, FileExistsAlreadyError, FormatError, NothingFoundError

RELION_30 = """
data_

loop_
_rlnMicrographName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnAutopickFigureOfMerit #4
_rlnClassNumber #5
_rlnAnglePsi #6
mics/a.mrc  10.500000   20.250000   0.750000   1  -999.00000
mics/b.mrc  30.000000   40.000000  -999.00000  2   12.50000
mics/a.mrc  50.000000   60.000000   0.250000   1    0.00000

"""

RELION_31 = """# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographPixelSize #3
_rlnVoltage #4
opticsGroup1            1     1.770000   300.000000


# version 30001

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnMicrographName #3
_rlnOpticsGroup #4
  100.5   200.25  MotionCorr/job002/a.mrc  1
  300.0   400.0   MotionCorr/job002/a.mrc  1

"""

AUTOPICK = """
data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnAutopickFigureOfMerit #3
 5.0 6.0 0.5
 7.0 8.0 -999.0

"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.star"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_file_of_relion_3_0_is_read(write):
    table = read_star(write(RELION_30))
    assert table.micrographs == ("mics/a.mrc", "mics/b.mrc")
    np.testing.assert_array_equal(table.coordinates, [[0, 20.25, 10.5], [1, 40, 30], [0, 60, 50]])
    np.testing.assert_array_equal(table.features["score"], [0.75, np.nan, 0.25])
    assert list(table.features["class"]) == [1, 2, 1]
    assert list(table.features["rlnAnglePsi"]) == [-999, 12.5, 0]
    assert table.metadata["star_block"] == ""


def test_a_file_of_relion_3_1_is_read_with_its_optics(write):
    table = read_star(write(RELION_31))
    assert table.micrographs == ("MotionCorr/job002/a.mrc",)
    np.testing.assert_array_equal(table.coordinates, [[0, 200.25, 100.5], [0, 400, 300]])
    optics = table.metadata["star_blocks"]["optics"]
    assert float(optics["rlnMicrographPixelSize"].iloc[0]) == 1.77
    assert table.metadata["star_block"] == "particles"


@pytest.mark.parametrize("suffix", ["_autopick", "_manualpick", "_automatch", ""])
def test_a_file_of_one_micrograph_belongs_to_the_name_of_the_file(write, suffix):
    table = read_star(write(AUTOPICK, f"grid_1.5um{suffix}.star"))
    assert table.micrographs == ("grid_1.5um.mrc",)
    np.testing.assert_array_equal(table.coordinates, [[0, 6, 5], [0, 8, 7]])
    np.testing.assert_array_equal(table.features["score"], [0.5, np.nan])


@pytest.mark.parametrize("ending", ["\r\n", "\n"], ids=["windows", "unix"])
def test_line_ends_blank_lines_comments_and_tabs_do_not_matter(tmp_path, ending):
    text = "# made by hand\n\ndata_particles\n\nloop_\n\n_rlnCoordinateX #1\n_rlnCoordinateY\n"
    text += "1\t2\n 3   4 # odd\n# five\n5 6"
    path = tmp_path / "m.star"
    path.write_bytes(text.replace("\n", ending).encode())
    np.testing.assert_array_equal(read_star(path).coordinates[:, 1:], [[2, 1], [4, 3], [6, 5]])


def test_a_single_particle_without_a_loop_is_read(write):
    table = read_star(write("data_particles\n\n_rlnMicrographName a.mrc\n_rlnCoordinateX 1.5\n_rlnCoordinateY 2\n"))
    assert table.micrographs == ("a.mrc",)
    np.testing.assert_array_equal(table.coordinates, [[0, 2, 1.5]])


def test_a_loop_without_rows_has_no_particles(write):
    table = read_star(
        write("data_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnMicrographName #3\n\n")
    )
    assert len(table) == 0
    assert len(read_star(write("data_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2", "b.star"))) == 0


NAMES = ["data_001.mrc", "loop_1.mrc", "_a.mrc", "0012", "a#1.mrc", "it's.mrc", "a b.mrc", "nan", "1e5", "é中.mrc"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("first", [True, False], ids=["first column", "last column"])
def test_any_name_of_a_micrograph_is_read_as_it_stands(write, name, first):
    quoted = f'"{name}"' if " " in name else name
    columns = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"]
    values = [quoted, "1.5", "2.5"]
    if not first:
        columns, values = columns[::-1], values[::-1]
    rows = "\n".join(f"_{column} #{i}" for i, column in enumerate(columns, 1)) + "\n" + " ".join(values) + "\n"
    table = read_star(write(f"data_particles\n\nloop_\n{rows * 1}{' '.join(values)}\n\n"))
    assert table.micrographs == (name,)
    np.testing.assert_array_equal(table.coordinates, [[0, 2.5, 1.5]] * 2)


# ---- bad files -----------------------------------------------------------------------------------------------


def test_a_missing_file_is_an_error_with_its_name(tmp_path):
    with pytest.raises(NothingFoundError, match=r"gone\.star"):
        read_star(tmp_path / "gone.star")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n\n",
        b"x y\n1 2\n",
        bytes(range(256)) * 8,
        b"\x1f\x8b\x08" + b"\0" * 50,
        gzip.compress(RELION_30.encode()),
        b"\0" * 2000,
        RELION_30.encode("utf-16"),
        b"<!DOCTYPE html><html><body>data_ not found</body></html>",
        b"data_\n",
        b"data_particles\n\nloop_\n",
    ],
    ids=["empty", "blank", "text", "binary", "gzip head", "gzip", "zeros", "utf-16", "web page", "block", "loop"],
)
def test_what_is_no_star_file_is_an_error_with_its_name(tmp_path, content):
    path = tmp_path / "odd.star"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"odd\.star"):
        read_star(path)


@pytest.mark.parametrize(
    "row",
    [
        "a.mrc 1.0",
        "a.mrc 1.0 2.0 0.5 7",
        "a.mrc one 2.0 0.5",
        "a.mrc 1.0 nan 0.5",
        "a.mrc 1.0 inf 0.5",
        "a.mrc <NA> 1 0",
    ],
)
@pytest.mark.parametrize("position", [0, 1])
def test_a_broken_row_is_an_error_with_the_file_and_its_number(write, row, position):
    rows = ["a.mrc 1.0 2.0 0.5"] * 3
    rows.insert(position, row)
    columns = ["MicrographName", "CoordinateX", "CoordinateY", "AutopickFigureOfMerit"]
    head = "data_\n\nloop_\n" + "".join(f"_rln{column} #{i}\n" for i, column in enumerate(columns, 1))
    with pytest.raises(FormatError, match=rf"a\.star: row {position + 1} of data_"):
        read_star(write(head + "\n".join(rows) + "\n"))


def test_a_score_that_is_no_number_is_an_error_with_the_file(write):
    with pytest.raises(FormatError, match=r"a\.star.*rlnAutopickFigureOfMerit"):
        read_star(write(AUTOPICK.replace("0.5\n", "good\n")))


def test_a_star_file_without_coordinates_says_what_it_holds(write):
    with pytest.raises(FormatError, match=r"a\.star: no particle coordinates .* holds data_optics"):
        read_star(write(RELION_31.split("data_particles")[0]))


@given(st.binary(max_size=200) | st.text("data_loop_rlnCoordinateXY #\n \"'123.", max_size=80).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_no_file_ends_in_anything_but_particles_or_a_specific_error(tmp_path, content):
    path = tmp_path / "odd.star"
    path.write_bytes(content)
    with pytest.raises((FormatError, CoordinatesError), match=r"odd\.star"):
        read_star(path)


# ---- round trips ---------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and text.isprintable() and not ('"' in text and "'" in text)
)
NUMBERS = st.floats(-1e5, 1e5, allow_nan=False).map(lambda number: round(number, 4))
PROBABILITIES = st.floats(0, 1) | st.just(float("nan"))


@st.composite
def tables(draw) -> ParticleTable:
    words = WORDS.filter(lambda word: '"' not in word)
    names = draw(
        st.lists(
            words.filter(lambda word: word[0] not in "#'").map(lambda word: f"{word}.mrc"),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    n = draw(st.integers(0, 8))

    def column(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    coordinates = np.column_stack([column(st.integers(0, len(names) - 1)), column(NUMBERS), column(NUMBERS)])
    features = pd.DataFrame(
        {
            "score": np.array(column(PROBABILITIES), float),
            "class": np.array(column(st.integers(-1, 50)), int),
            "rlnAnglePsi": np.array(column(NUMBERS), float),
            "rlnGroupName": np.array(column(words.map("group {}".format)), object),
            "logit": np.array(column(NUMBERS), float),
        }
    )
    return ParticleTable(tuple(names), coordinates.reshape(n, 3), features)


@given(tables())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_again(tmp_path, table):
    path = tmp_path / "a.star"
    write_star(path, table, overwrite=True)
    read = read_star(path)

    assert len(read) == len(table)
    written_names = [table.micrographs[i] for i in table.micrograph_index]
    assert [read.micrographs[i] for i in read.micrograph_index] == written_names
    np.testing.assert_allclose(read.coordinates[:, 1:], table.coordinates[:, 1:], atol=1e-6)
    assert set(read.features.columns) == set(table.features.columns)
    if len(table):
        for column in ("score", "rlnAnglePsi", "logit"):
            np.testing.assert_allclose(read.features[column], table.features[column], rtol=1e-6, atol=1e-12)
        assert list(read.features["class"]) == list(table.features["class"])
        assert list(read.features["rlnGroupName"]) == list(table.features["rlnGroupName"])


@given(WORDS)
@example("001")
@example("data_x")
@example("#x")
@example("it's")
@example("<NA>")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_name_of_a_micrograph_is_read_again_as_written(tmp_path, name):
    path = tmp_path / "a.star"
    path.unlink(missing_ok=True)
    table = ParticleTable((name,), np.array([[0, 1, 2]]))
    if name[0] in "#\"'" or '"' in name or name == "<NA>":
        with pytest.raises(FormatError, match="rename it"):
            write_star(path, table)
        assert not path.exists()
    else:
        write_star(path, table)
        assert read_star(path).micrographs == (name,)


def test_a_quotation_mark_in_a_feature_becomes_an_apostrophe(tmp_path):
    """Given a text that STAR cannot quote, when written, then the row stays whole and only the mark changes."""
    table = ParticleTable(("a.mrc",), np.zeros((1, 3)), pd.DataFrame({"rlnGroupName": ['5" off']}))
    write_star(tmp_path / "a.star", table)
    assert list(read_star(tmp_path / "a.star").features["rlnGroupName"]) == ["5' off"]


def test_tiny_scores_keep_their_order(tmp_path):
    """Given candidates of a confident picker, when written with all their scores, then none of them become equal."""
    scores = np.array([1e-7, 3e-8, 2e-9, 1 - 1e-7])
    table = ParticleTable(("a.mrc",), np.zeros((4, 3)), pd.DataFrame({"score": scores}))
    write_star(tmp_path / "a.star", table)
    np.testing.assert_allclose(read_star(tmp_path / "a.star").features["score"], scores, rtol=1e-5)


@pytest.mark.parametrize("text", [RELION_30, RELION_31], ids=["3.0", "3.1"])
def test_a_file_that_came_in_goes_out_with_all_its_columns_and_blocks(write, tmp_path, text):
    first = read_star(write(text))
    write_star(tmp_path / "b.star", first)
    second = read_star(tmp_path / "b.star")
    np.testing.assert_array_equal(second.coordinates, first.coordinates)
    pd.testing.assert_frame_equal(second.features, first.features)
    assert second.micrographs == first.micrographs
    assert second.metadata["star_block"] == first.metadata["star_block"]
    assert second.metadata["star_blocks"].keys() == first.metadata["star_blocks"].keys()
    for name, block in first.metadata["star_blocks"].items():
        pd.testing.assert_frame_equal(second.metadata["star_blocks"][name], block)


def test_starfile_reads_what_is_written(write, tmp_path):
    table = read_star(write(RELION_31))
    write_star(tmp_path / "b.star", table)
    blocks = starfile.read(tmp_path / "b.star")
    assert list(blocks) == ["optics", "particles"]
    assert list(blocks["particles"]["rlnCoordinateX"]) == [100.5, 300.0]
    assert list(blocks["particles"]["rlnCoordinateY"]) == [200.25, 400.0]
    assert set(blocks["particles"]["rlnMicrographName"]) == {"MotionCorr/job002/a.mrc"}
    assert blocks["optics"]["rlnVoltage"].iloc[0] == 300


def test_a_score_that_is_missing_is_minus_999_for_relion(tmp_path):
    table = ParticleTable(("a.mrc",), np.zeros((2, 3)), pd.DataFrame({"score": [0.5, np.nan]}))
    write_star(tmp_path / "a.star", table)
    assert list(starfile.read(tmp_path / "a.star")["rlnAutopickFigureOfMerit"]) == [0.5, -999.0]


def test_an_empty_text_does_not_shift_the_columns(tmp_path):
    features = pd.DataFrame({"rlnGroupName": ["", "x"], "rlnAnglePsi": [1.0, 2.0]})
    write_star(tmp_path / "a.star", ParticleTable(("a.mrc",), np.zeros((2, 3)), features))
    assert list(read_star(tmp_path / "a.star").features["rlnAnglePsi"]) == [1.0, 2.0]


def test_no_particles_are_written_and_read(tmp_path):
    table = ParticleTable(("a.mrc",), np.empty((0, 3)), pd.DataFrame({"score": np.array([], float)}))
    write_star(tmp_path / "a.star", table)
    read = read_star(tmp_path / "a.star")
    assert len(read) == 0
    assert "score" in read.features


def test_an_existing_file_is_kept_unless_asked_otherwise(write, tmp_path):
    path = write(RELION_30)
    with pytest.raises(FileExistsAlreadyError, match=r"a\.star exists already"):
        write_star(path, ParticleTable(("a.mrc",), np.zeros((1, 3))))
    assert path.read_text() == RELION_30
    write_star(path, ParticleTable(("z.mrc",), np.zeros((1, 3))), overwrite=True)
    assert read_star(path).micrographs == ("z.mrc",)
    assert [file.name for file in tmp_path.iterdir()] == ["a.star"]
