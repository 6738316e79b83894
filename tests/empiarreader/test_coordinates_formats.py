"""Coordinate files as other programs write them, each in its own frame, and whatever else may be in such a file."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_empiarreader.coordinates import (
    FORMATS,
    CoordinateOptions,
    ParticleTable,
    detect_format,
    lost_in,
    read_particles,
    write_particles,
)
from napari_empiarreader.errors import (
    CoordinatesError,
    FileExistsAlreadyError,
    FormatError,
    NothingFoundError,
    PixelSizeError,
    TruncatedFileError,
    UserError,
)

SHAPE = (3000, 4000)

HELICAL_STAR = """
# version 50001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
opticsGroup1            1     0.885000


# version 50001

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnHelicalTubeID #3
_rlnAngleTiltPrior #4
_rlnAnglePsiPrior #5
_rlnHelicalTrackLengthAngst #6
_rlnAnglePsiFlipRatio #7
_rlnMicrographName #8
_rlnOpticsGroup #9
  100.000000   200.000000            1    90.000000   -35.000000     0.000000     0.500000 MotionCorr/job002/Movies/a.mrc            1
  120.000000   214.000000            2    90.000000   -35.000000    28.000000     0.500000 MotionCorr/job002/Movies/a.mrc            1
"""  # noqa: E501

BOX = "100\t200\t180\t180\t0.91\r\n\r\n-20   40 180 180 0.5\r\n"
EMAN1_HELIX = "100 200 50 50 -1\n300 400 50 50 -2\n10 20 50 50 -1\n30 40 50 50 -2\n"
HELIX_BOX = """#micrograph: actin_1.mrc
#segment length: 384
#segment width: 100
#helix: (100.5, 200.0),(300.5, 400.0),384
100.5\t200.0
200.5\t300.0
#helix: (10, 20),(30, 40),100
10\t20
"""
EMAN2 = '{"boxes": [[100.0, 200, "manual"], [50, 60, "auto_local", 0.25]], "ctf_frame": [512, [1.2]], "é": null}'
CBOX = """
data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
_filamentid #12
1000.5 2000.0 <NA> 200.0 100.0 1 190.25 191 0.3214 <NA> 1.5708 0.0
-7.0 12.0 <NA> 200.0 100.0 1 <NA> <NA> 0.05 <NA> <NA> 1.0

data_cryolo_include

loop_
_slice_index #1

data_filament_vertices

loop_
_x #1
_y #2
_fid #3
1100.5 2050.0 0
"""
OLD_CBOX = "1000\t2000\t200\t200\t0.32\t190\t191\n5\t6\t200\t200\t0.1\t180\t181\n"
TOPAZ = "image_name\tx_coord\ty_coord\tscore\n0012\t25\t50\t-1.5\na b\t10.5\t20\t4\n"
CRYOPPP = "X-Coordinate,Y-Coordinate,Diameter,Class\n10,20,224,1\n30.5,40,224,2\n"
THI = "[Particle Coordinates: X Y Value]\n1243\t512\t0.43\n123\t1123\t0.39\n[End]\n"
THI_HELIX = "[Helix Coordinates: X Y Group Value]\n123 456 1 0.54\n156 499 1 0.49\n2231 2210 2 0.47\n[End]"
POS = """# XMIPP_STAR_1 *
#
data_header
loop_
 _pickingMicrographState
Auto
data_particles
loop_
 _enabled
 _cost
 _xcoor
 _ycoor
 1 0.912000 100 200
 -1 0.500000 7 8
"""


@pytest.fixture
def put(tmp_path):
    def put(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


def picks(**fields) -> bytes:
    """A cryoSPARC file of two picks, as numpy alone makes it."""
    kinds = [("uid", "<u8"), ("location/micrograph_uid", "<u8"), ("location/micrograph_path", "S70")]
    kinds += [("location/micrograph_shape", "<u4", (2,)), ("location/center_x_frac", "<f4")]
    kinds += [("location/center_y_frac", "<f4"), ("pick_stats/ncc_score", "<f4"), ("alignments3D/pose", "<f4", (3,))]
    records = np.zeros(2, [kind for kind in kinds if kind[0] not in fields.get("without", ())])
    values = {
        "uid": [2**64 - 1, 7], "location/micrograph_uid": 5, "location/micrograph_shape": SHAPE,
        "location/micrograph_path": b"J3/motioncorrected/000000000000000000005_a_fractions_patch_aligned.mrc",
        "location/center_x_frac": [0.25, 0.5], "location/center_y_frac": [0.25, 1.0],
        "pick_stats/ncc_score": [0.5, 0.25], "alignments3D/pose": [[1, 2, 3], [4, 5, 6]],
    }  # fmt: skip
    for name in records.dtype.names:
        records[name] = values[name]
    file = io.BytesIO()
    np.save(file, records)
    return file.getvalue()


# ---- frames: what the file says, and where it is in the array ------------------------------------------------

CASES = [
    ("h.star", HELICAL_STAR, "star", [(200, 100), (214, 120)]),
    ("m.box", BOX, "box", [(290, 190), (130, 70)]),
    ("m.box", EMAN1_HELIX, "box", [(225, 125), (425, 325), (45, 35), (65, 55)]),
    ("m.box", HELIX_BOX, "helix-box", [(200, 100.5), (300, 200.5), (20, 10)]),
    ("m_boxes.txt", HELIX_BOX, "helix-box", [(200, 100.5), (300, 200.5), (20, 10)]),
    ("m_info.json", EMAN2, "eman2", [(200, 100), (60, 50)]),
    ("m.cbox", CBOX, "cbox", [(2050, 1100.5), (62, 93)]),
    ("m.cbox", OLD_CBOX, "cbox", [(2100, 1100), (106, 105)]),
    ("m.star", CBOX, "cbox", [(2050, 1100.5), (62, 93)]),
    ("p.txt", TOPAZ, "topaz", [(50, 25), (20, 10.5)]),
    ("m.csv", CRYOPPP, "csv", [(2980, 10), (2960, 30.5)]),
    ("m.csv", CRYOPPP.replace("-Coordinate", ""), "csv", [(20, 10), (40, 30.5)]),
    ("m.thi", THI, "epicker", [(512, 1243), (1123, 123)]),
    ("m.thi", THI_HELIX, "epicker", [(456, 123), (499, 156), (2210, 2231)]),
    ("m.pos", POS, "xmipp", [(200, 100), (8, 7)]),
    ("p.cs", picks(), "cryosparc", [(2250, 1000), (0, 2000)]),
]
IDS = [f"{case[2]}-{i}" for i, case in enumerate(CASES)]
every_case = pytest.mark.parametrize("name, content, form, centres", CASES, ids=IDS)


@every_case
def test_centres_are_in_the_array_frame(put, name, content, form, centres):
    table = read_particles(put(name, content), shapes=SHAPE)
    assert table.metadata["format"] == form
    np.testing.assert_allclose(table.coordinates[:, 1:], centres, atol=1e-9)


@every_case
def test_what_a_program_wrote_goes_out_as_it_came(put, tmp_path, name, content, form, centres):
    """Given a genuine file, when read, written and read, then every column, block and place is the same."""
    first = read_particles(put(name, content), shapes=SHAPE)
    (path,) = write_particles(tmp_path / "out" / name, first, format=form, shapes=SHAPE)
    second = read_particles(path, shapes=SHAPE)
    assert second.metadata["format"] == form
    assert second.micrographs == first.micrographs
    np.testing.assert_allclose(second.coordinates, first.coordinates, atol=1e-9)
    pd.testing.assert_frame_equal(second.features[list(first.features)], first.features, check_dtype=False)
    assert lost_in(first, form) == []
    for key in ("star_blocks", "cbox_blocks", "pos_blocks"):
        blocks, again = first.metadata.get(key, {}), second.metadata.get(key, {})
        if content is not OLD_CBOX:
            assert set(again) == set(blocks)
        for block, value in blocks.items():
            if isinstance(value, pd.DataFrame):
                pd.testing.assert_frame_equal(again[block], value, check_dtype=False)
            else:
                assert again[block] == value
    for key in ("eman2", "segment", "helices", "csv", "cs_fields", "thi_kind"):
        assert second.metadata.get(key) == first.metadata.get(key)


@every_case
@pytest.mark.parametrize("flip", [False, True])
def test_binned_and_turned_pixels_are_undone_and_done_again(put, tmp_path, name, content, form, centres, flip):
    how = {"scale": 4.0, "y_up": flip, "shapes": SHAPE}
    path = put(name, content)
    plain = read_particles(path, shapes=SHAPE, y_up=False).coordinates
    table = read_particles(path, **how)
    expected = plain * [1, 1, 1] if form == "cryosparc" else plain * [1, 4, 4]
    if form == "cryosparc":
        expected = plain * [1, 4, 4] if not flip else (SHAPE[0] - plain[:, 1], plain[:, 2])
        expected = expected if not flip else np.column_stack([plain[:, 0], expected[0] * 4, expected[1] * 4])
    elif flip:
        expected = expected * [1, -1, 1] + [0, SHAPE[0], 0]
    np.testing.assert_allclose(table.coordinates, expected, atol=1e-6)
    (again,) = write_particles(tmp_path / "again" / name, table, **how)
    np.testing.assert_allclose(read_particles(again, **how).coordinates, table.coordinates, atol=1e-6)


def test_helical_columns_are_kept_under_their_names(put):
    table = read_particles(put("a.star", HELICAL_STAR))
    assert list(table.features["helix"]) == [1, 2]
    for column in ("rlnAngleTiltPrior", "rlnAnglePsiPrior", "rlnHelicalTrackLengthAngst", "rlnAnglePsiFlipRatio"):
        assert column in table.features


def test_what_formats_have_in_common_has_one_name(put, tmp_path):
    """Given filaments of crYOLO, when written for RELION and for EPicker, then tubes, scores and names arrive."""
    table = read_particles(put("grid_1.cbox", CBOX))
    assert list(table.features["helix"]) == [0, 1]
    assert list(table.features["box_width"]) == [200, 200]
    assert list(table.features["box_height"]) == [100, 100]
    write_particles(tmp_path / "a.star", table)
    assert "_rlnHelicalTubeID" in (tmp_path / "a.star").read_text()
    (thi,) = write_particles(tmp_path / "grid_1.thi", table)
    assert thi.read_text().splitlines()[:2] == ["[Helix Coordinates: X Y Group Value]", "1100.5\t2050\t0\t0.3214"]
    assert read_particles(tmp_path / "a.star").micrographs == read_particles(thi).micrographs == ("grid_1.mrc",)


def test_what_eman_marks_as_ends_of_helices_is_no_score(put):
    table = read_particles(put("m.box", EMAN1_HELIX))
    assert list(table.features["box_mark"]) == [-1, -2, -1, -2]
    assert list(table.features["helix"]) == [1, 1, 2, 2]
    assert "score" not in table.features


def test_numbers_as_names_stay_names(put):
    assert read_particles(put("p.txt", TOPAZ)).micrographs == ("0012", "a b")
    assert read_particles(put("p.csv", "micrograph,x,y\n0012,1,2\n12,3,4\n1e5,5,6\n")).micrographs == (
        "0012",
        "12",
        "1e5",
    )


def test_columns_of_a_table_can_be_chosen(put, tmp_path):
    path = put("p.csv", "pic;col;row;x;é\na.mrc;1;2;9;ü\n")
    table = read_particles(path, columns={"x": "col", "y": "row", "micrograph": "pic"})
    np.testing.assert_array_equal(table.coordinates, [[0, 2, 1]])
    assert list(table.features.columns) == ["x", "é"]
    write_particles(tmp_path / "q.csv", table)
    assert (tmp_path / "q.csv").read_text() == path.read_text()
    with pytest.raises(CoordinatesError, match=r"p\.csv: x=column cannot be chosen.*pic, col, row"):
        read_particles(path, columns={"x": "column"})
    with pytest.raises(FormatError, match=r"no columns of coordinates among pic, col, row"):
        read_particles(put("r.csv", "pic;col;row\na;1;2\n"))


# ---- cryoSPARC -----------------------------------------------------------------------------------------------


def test_a_cs_file_goes_through_bit_by_bit(put, tmp_path):
    """Given picks with ids beyond 2**63, when read and written unchanged, then not one bit is another."""
    path = put("p.cs", picks())
    write_particles(tmp_path / "q.cs", read_particles(path))
    before, after = np.load(path), np.load(tmp_path / "q.cs")
    assert after.dtype.names == before.dtype.names
    for name in before.dtype.names:
        np.testing.assert_array_equal(after[name], before[name])
        if name != "location/micrograph_path":
            assert after.dtype[name] == before.dtype[name]


def test_fractions_without_a_shape_need_the_size_of_the_micrograph(put):
    path = put("p.cs", picks(without=["location/micrograph_shape"]))
    with pytest.raises(CoordinatesError, match=r"p\.cs: places are fractions .* give their size"):
        read_particles(path)
    np.testing.assert_allclose(read_particles(path, shapes={"x/a.mrc": SHAPE}).coordinates[0], [0, 2250, 1000])
    with pytest.raises(CoordinatesError, match="size of 1 micrographs is unknown"):
        read_particles(path, shapes={"b.mrc": SHAPE})


def test_new_picks_have_what_cryosparc_wants_and_the_same_ids_every_time(tmp_path):
    table = ParticleTable(("x/a.mrc",), np.array([[0, 750, 1000], [0, 3000, 4000]]), pd.DataFrame({"score": [1, 0.5]}))
    for name in ("a.cs", "b.cs"):
        write_particles(tmp_path / name, table, shapes=SHAPE, pixel_size=1.5)
    made = np.load(tmp_path / "a.cs")
    assert (tmp_path / "a.cs").read_bytes() == (tmp_path / "b.cs").read_bytes()
    np.testing.assert_array_equal(made["location/center_x_frac"], [0.25, 1])
    np.testing.assert_array_equal(made["location/center_y_frac"], [0.75, 0])
    np.testing.assert_array_equal(made["location/micrograph_shape"], [SHAPE, SHAPE])
    np.testing.assert_array_equal(made["location/micrograph_psize_A"], np.float32([1.5, 1.5]))
    assert len(set(made["uid"].tolist())) == 2
    assert made.dtype["uid"] == "<u8" and made.dtype["location/center_x_frac"] == "<f4"
    assert set(made["location/micrograph_path"]) == {b"x/a.mrc"}
    with pytest.raises(CoordinatesError, match="give their size"):
        write_particles(tmp_path / "c.cs", table)


def test_a_cs_file_that_names_no_micrograph_has_its_number(put):
    table = read_particles(put("p.cs", picks(without=["location/micrograph_path"])))
    assert table.micrographs == ("000000000000000000005",)


def test_a_cs_file_of_other_things_says_what_it_holds(put):
    with pytest.raises(FormatError, match=r"holds alignments3D, location.*passthrough"):
        read_particles(put("p.cs", picks(without=["location/center_x_frac"])))


def test_bad_cs_files_are_specific_errors(put):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    pickled = io.BytesIO()
    np.save(pickled, np.array([(Evil(),)], [("uid", object)]), allow_pickle=True)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": [("uid", "<u8")], "fortran_order": False, "shape": (2**40,)})
    for content, error, message in [
        (b"\x95CSDAT\x02" + bytes(100), FormatError, "cryosparc-tools"),
        (pickled.getvalue(), FormatError, "no table of particles"),
        (huge.getvalue(), TruncatedFileError, r"need 8,796,093,022,208 bytes"),
        (picks()[:-1], TruncatedFileError, "not copied whole"),
        (b"PK\x03\x04", FormatError, "no .cs file"),
        (b"", FormatError, "no .cs file"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, FormatError, "damaged header"),
        (picks().replace(b"(2,)", b"(-2,", 1), FormatError, "p.cs"),
    ]:
        with pytest.raises(error, match=message):
            read_particles(put("p.cs", content))


# ---- needs ---------------------------------------------------------------------------------------------------

PLAIN = ParticleTable(("a.mrc", "b.mrc"), np.array([[0, 1.5, 2.5], [1, 3, 4], [0, 5, 6]]))


@pytest.mark.parametrize("name", ["a.box", "a.cbox"])
def test_a_format_of_boxes_asks_for_their_size(tmp_path, name):
    with pytest.raises(CoordinatesError, match=r"box size in pixels \(box_size, --box-size\)"):
        write_particles(tmp_path / name, PLAIN)
    assert list(tmp_path.rglob("*.*box")) == []


def test_a_table_counted_from_the_bottom_asks_for_the_height(put):
    path = put("m.csv", CRYOPPP)
    with pytest.raises(CoordinatesError, match=r"m\.csv: rows are counted from the bottom.*first: m\.mrc"):
        read_particles(path)
    np.testing.assert_allclose(read_particles(path, shapes={"m": (100, 50)}).coordinates[:, 1], [80, 60])
    np.testing.assert_allclose(read_particles(path, y_up=False).coordinates[:, 1], [20, 40])


def test_helices_are_asked_for(tmp_path):
    with pytest.raises(CoordinatesError, match="holds helices"):
        write_particles(tmp_path / "h", PLAIN, format="helix-box", box_size=10)


@pytest.mark.parametrize(
    "wrong",
    [{"box_size": 0}, {"scale": -1}, {"scale": float("nan")}, {"shapes": (0, 5)}, {"shapes": {"a": (1, 2**31)}}],
)
def test_impossible_settings_are_errors(wrong):
    with pytest.raises(CoordinatesError, match="impossible"):
        CoordinateOptions(**wrong)
    with pytest.raises(PixelSizeError):
        CoordinateOptions(pixel_size=-1)


def test_an_unknown_name_of_a_format_lists_the_known_ones(tmp_path):
    with pytest.raises(FormatError, match="'relion' is no coordinate format known here; known: star, relion-autopick"):
        read_particles(tmp_path, format="relion")


# ---- many files ----------------------------------------------------------------------------------------------

ONE_EACH = [name for name, form in FORMATS.items() if form.one_micrograph]
NUMBERED = ParticleTable(("x/a.mrc", "none.mrc", "x/b.mrc"), np.array([[0, 1, 2], [2, 3, 4], [0, 5, 6]]))
NUMBERED = ParticleTable(NUMBERED.micrographs, NUMBERED.coordinates, pd.DataFrame({"helix": [1, 1, 2]}))


@pytest.mark.parametrize("name", ONE_EACH)
def test_several_micrographs_make_a_folder_that_reads_as_one_table(tmp_path, name):
    made = write_particles(tmp_path / "picks", NUMBERED, format=name, box_size=4)
    stems = {path.stem.removesuffix("_autopick") for path in made}
    assert {"a", "b"} <= stems and "none" not in stems
    again = read_particles(tmp_path / "picks", format=name, micrographs=NUMBERED.micrographs)
    again = again.renamed_to(NUMBERED.micrographs)
    np.testing.assert_array_equal(again.on(0), NUMBERED.on(0))
    np.testing.assert_array_equal(again.on(2), NUMBERED.on(2))
    second = write_particles(tmp_path / "again", again, format=name, box_size=4)
    if name != "relion-autopick":
        assert [path.read_bytes() for path in second] == [path.read_bytes() for path in made]


def test_places_of_new_files(tmp_path):
    table = PLAIN
    assert write_particles(tmp_path / "p.box", table, box_size=2) == [tmp_path / "p/a.box", tmp_path / "p/b.box"]
    made = write_particles(tmp_path / "q_{stem}_x.json", table)
    assert made == [tmp_path / "q_a_x.json", tmp_path / "q_b_x.json"]
    assert write_particles(tmp_path / "one.json", table.where([0])) == [tmp_path / "one.json"]
    assert write_particles(tmp_path / "none.json", table.where([])) == [tmp_path / "none.json"]
    assert len(read_particles(tmp_path / "none.json")) == 0


def test_files_in_the_way_are_kept_and_nothing_is_half_written(tmp_path, put):
    put("p/b.box", "mine")
    with pytest.raises(FileExistsAlreadyError, match=r"b\.box exists already"):
        write_particles(tmp_path / "p", PLAIN, format="box", box_size=2)
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["b.box"]
    write_particles(tmp_path / "p", PLAIN, format="box", box_size=2, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["a.box", "b.box"]


def test_two_micrographs_never_share_a_file(tmp_path):
    table = ParticleTable(("x/a.mrc", "y/a.mrc"), np.array([[0, 1, 1], [1, 2, 2]]))
    for name in (*ONE_EACH, "topaz"):
        if name != "helix-box":
            with pytest.raises(CoordinatesError, match="only their folders differ|both be called"):
                write_particles(tmp_path / f"out_{name}", table, format=name, box_size=2)
    with pytest.raises(FormatError, match="rename it"):
        write_particles(tmp_path / "o", ParticleTable(("..",), np.zeros((1, 3))), format="eman2")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_several_formats_is_not_guessed(put, tmp_path):
    put("a.box", BOX)
    put("b.thi", THI)
    with pytest.raises(FormatError, match=r"several formats \(\.box, \.thi\)"):
        read_particles(tmp_path)
    assert read_particles(tmp_path, format="box").micrographs == ("a.mrc",)
    with pytest.raises(NothingFoundError, match="no coordinate files"):
        read_particles(tmp_path, format="cbox")


# ---- RELION's index ------------------------------------------------------------------------------------------

INDEX = """
# version 30001

data_coordinate_files

loop_
_rlnMicrographName #1
_rlnMicrographCoordinates #2
MotionCorr/job002/Movies/a.mrc AutoPick/job006/Movies/a_autopick.star
MotionCorr/job002/Movies/b.mrc AutoPick/job006/Movies/b.box
"""


def test_an_index_is_followed_from_the_folder_of_the_project(put):
    index = put("project/AutoPick/job006/autopick.star", INDEX)
    put(
        "project/AutoPick/job006/Movies/a_autopick.star", "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n3 4\n"
    )
    with pytest.raises(NothingFoundError, match=r"1 of 2 files .*Movies/b\.box"):
        read_particles(index)
    put("project/AutoPick/job006/Movies/b.box", BOX)
    for path in (index, index.parent):
        table = read_particles(path)
        assert table.micrographs == ("MotionCorr/job002/Movies/a.mrc", "MotionCorr/job002/Movies/b.mrc")
        np.testing.assert_array_equal(table.coordinates[:3], [[0, 2, 1], [0, 4, 3], [1, 290, 190]])


def test_an_index_is_written_relative_to_the_project(tmp_path, put):
    put("project/default_pipeline.star", "")
    write_particles(tmp_path / "project/AutoPick/job9", NUMBERED, format="relion-autopick")
    text = (tmp_path / "project/AutoPick/job9/autopick.star").read_text()
    assert "x/a.mrc\tAutoPick/job9/a_autopick.star\n" in text
    table = read_particles(tmp_path / "project/AutoPick/job9/autopick.star")
    assert table.micrographs == ("x/a.mrc", "x/b.mrc")
    np.testing.assert_array_equal(table.coordinates, [[0, 1, 2], [0, 5, 6], [1, 3, 4]])


def test_an_index_that_lists_itself_or_another_ends_in_an_error(put):
    head = "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
    with pytest.raises(FormatError, match="lists itself"):
        read_particles(put("autopick.star", head + "a.mrc autopick.star\n"))
    put("x.star", head + "a.mrc autopick.star\n")
    with pytest.raises(FormatError, match="another index"):
        read_particles(put("autopick.star", head + "a.mrc x.star\n"))
    with pytest.raises(FormatError, match="more than once"):
        read_particles(put("autopick.star", head + "a.mrc x.star\na.mrc y.star\n"))


# ---- what gets lost ------------------------------------------------------------------------------------------


def test_what_a_format_cannot_hold_is_said(put, tmp_path, caplog):
    table = read_particles(put("h.star", HELICAL_STAR))
    said = lost_in(table, "box")
    assert "the feature 'rlnAnglePsiPrior'" in said and "the block 'optics'" in said
    assert "folders and suffixes of the micrographs' names" not in lost_in(table, "csv")
    write_particles(tmp_path / "a.box", table, box_size=10)
    assert "cannot hold the feature 'helix'" in caplog.text
    assert lost_in(table, "star") == lost_in(table, "relion-autopick") == []


# ---- hostile files -------------------------------------------------------------------------------------------

READABLE = sorted({case[0] for case in CASES}) + ["x.tsv"]


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n\n", bytes(range(256)) * 4, b"\0" * 500, "1 2 3 4\n".encode("utf-16"),
        b"<html><body>data_</body></html>",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        b"[" * 100_000, b'{"boxes": ' + b"[" * 100_000, b"1 2 3", b"nan nan nan nan", b"1e999 1 5 5\n", b"5 5 -1 -1\n",
        b'{"boxes": [[1e999, 2]]}', b'{"boxes": [[1' + b"0" * 400 + b', 2]]}', b'{"boxes": [[true, 2, null]]}',
        b"x,y\n1,2,3\n", b'x,y\n"1,2\n', b"x,y\n1\n", b"x,y,y\n1,2,3\n", b"image_name\tx_coord\ty_coord\na\t1\n",
    ],
    ids=range(21),
)  # fmt: skip
def test_what_is_no_such_file_is_a_specific_error_or_no_particles(put, name, content):
    path = put(name, content)
    try:
        table = read_particles(path, shapes=SHAPE)
    except UserError as error:
        assert path.stem in str(error)
    else:
        assert len(table) <= 1


@pytest.mark.parametrize("name, content, form, centres", CASES, ids=IDS)
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_a_damaged_file_ends_in_particles_or_a_specific_error(put, name, content, form, centres, data):
    content = content if isinstance(content, bytes) else content.encode()
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 40)))
    junk = data.draw(
        st.sampled_from([b"", b"\n", b"-1", b"\xff", b"(", b"<NA>", b"99999999999999999999", b"1e308\t", b"{"])
    )
    path = put(name, content[:start] + junk + content[stop:])
    try:
        table = read_particles(path, shapes=SHAPE)
        assert np.isfinite(table.coordinates).all()
    except UserError as error:
        assert path.name in str(error)


def test_a_missing_file_and_an_unreadable_one_are_errors_with_their_name(tmp_path):
    for name in READABLE:
        with pytest.raises(NothingFoundError, match="no such file"):
            read_particles(tmp_path / name)


def test_the_table_of_formats_is_complete():
    for name, form in FORMATS.items():
        assert form.name == name and form.suffixes and form.title and form.frame
        fields = CoordinateOptions.__dataclass_fields__
        assert {*form.read_needs, *form.write_needs} <= set(fields)


def test_formats_are_told_apart_by_content(put):
    assert detect_format(put("a.star", INDEX)).name == "relion-autopick"
    assert detect_format(put("a.txt", "x y\n")).name == "csv"
    assert json.loads(EMAN2)["boxes"]


def test_the_page_about_formats_says_what_the_table_says():
    """Given the reference page, when compared with the table of formats, then each row is the same."""
    page = (Path(__file__).parents[2] / "docs/reference/coordinate_formats.md").read_text(encoding="utf-8")
    for name, form in FORMATS.items():
        (row,) = (line for line in page.split("\n") if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        words = [", ".join(f"`{word}`" for word in part) for part in (form.suffixes, form.read_needs, form.write_needs)]
        assert [cells[1], *cells[4:]] == words
        assert cells[2] == form.frame
        assert cells[3].startswith("yes") == form.one_micrograph
