"""What is written in any format is read again: places, names, and every column that the format can hold."""

import numpy as np
import pandas as pd
import pytest
import starfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_empiarreader.coordinates import FORMATS, ParticleTable, lost_in, read_particles, write_particles
from napari_empiarreader.coordinates._star_text import format_blocks, parse_blocks

SHAPE = (3000, 4000)
BOX = 100

STEMS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"], exclude_characters="\"',;"), max_size=9).map(
    "g{}".format
)
SMALL = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)


@st.composite
def tables(draw) -> ParticleTable:
    stems = draw(st.lists(STEMS, min_size=1, max_size=3, unique_by=str.casefold))
    n = draw(st.integers(1, 8))

    def column(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    coordinates = np.column_stack(
        [column(st.integers(0, len(stems) - 1)), column(st.floats(0, SHAPE[0])), column(st.floats(0, SHAPE[1]))]
    )
    features = pd.DataFrame(
        {
            "score": column(st.floats(0, 1) | st.just(float("nan"))),
            "class": column(st.integers(-1, 50)),
            "helix": column(st.integers(0, 3)),
            "rlnGroupName": column(WORDS),
            "logit": column(st.floats(-1e6, 1e6, allow_subnormal=False)),
            "box_width": np.full(n, float(BOX)),
            "box_height": np.full(n, float(BOX)),
        }
    )
    return ParticleTable(tuple(f"{stem}.mrc" for stem in stems), coordinates, features)


def by_micrograph(table: ParticleTable) -> tuple[list[str], np.ndarray, pd.DataFrame]:
    """Names, coordinates and features of the particles, those of one micrograph together and in their order."""
    names = [table.micrographs[i].removesuffix(".mrc") for i in table.micrograph_index]
    order = sorted(range(len(names)), key=names.__getitem__)
    return [names[i] for i in order], table.coordinates[order, 1:], table.features.iloc[order].reset_index(drop=True)


@pytest.mark.parametrize("form", FORMATS)
@given(table=tables(), scale=st.sampled_from([None, 4.0, 0.5]), y_up=st.sampled_from([None, True, False]))
@SMALL
def test_what_is_written_is_read_again(tmp_path_factory, form, table, scale, y_up):
    folder = tmp_path_factory.mktemp("trip")
    one = FORMATS[form].one_micrograph
    path = folder / "out" if one else folder / f"out{FORMATS[form].suffixes[0]}"
    if form == "helix-box":  # helices are written one after the other
        table = table.where(np.lexsort([table.features["helix"], table.micrograph_index]))
        helix = table.micrograph_index * 4 + table.features["helix"]
        firsts = {m: list(dict.fromkeys(helix[table.micrograph_index == m])) for m in set(table.micrograph_index)}
        numbers = [firsts[m].index(h) + 1 for m, h in zip(table.micrograph_index, helix, strict=True)]
        table = ParticleTable(table.micrographs, table.coordinates, table.features.assign(helix=numbers))
    how = {"format": form, "shapes": SHAPE, "scale": scale, "y_up": y_up}

    write_particles(path, table, box_size=BOX, **how)
    read = read_particles(path, **how)

    assert read.metadata["format"] == form
    names, coordinates, features = by_micrograph(table)
    read_names, read_coordinates, read_features = by_micrograph(read)
    assert read_names == names
    # Fractions are single precision, Xmipp counts whole pixels, a corner and half a box make a centre again.
    tolerance = {"cryosparc": 1e-3, "xmipp": 0.5 * (scale or 1) + 1e-9}.get(form, 1e-8)
    np.testing.assert_allclose(read_coordinates, coordinates, atol=tolerance)
    lost = {said.split("'")[1] for said in lost_in(table, form) if said.startswith("the feature")}
    for column in set(features) - lost:
        if features[column].dtype.kind in "iuf":
            expected = features[column].fillna(1) if (form, column) == ("epicker", "score") else features[column]
            limit = 1e-6 if form == "cryosparc" else 1e-12
            np.testing.assert_allclose(read_features[column], expected, rtol=limit, atol=1e-12)
        else:
            assert list(read_features[column]) == list(features[column])


@given(tables())
@SMALL
def test_starfile_reads_what_is_written(tmp_path_factory, table):
    """Given any table, when an independent library reads our file, then it finds the same numbers and names."""
    path = tmp_path_factory.mktemp("star") / "a.star"
    # That library takes a sign # within a word for a comment.
    table = ParticleTable(table.micrographs, table.coordinates, table.features.drop(columns="rlnGroupName"))
    write_particles(path, table)
    read = starfile.read(path)
    np.testing.assert_array_equal(read["rlnCoordinateX"], table.coordinates[:, 2])
    np.testing.assert_array_equal(read["rlnCoordinateY"], table.coordinates[:, 1])
    np.testing.assert_array_equal(read["rlnHelicalTubeID"], table.features["helix"])
    assert [str(name) for name in read["rlnMicrographName"]] == [table.micrographs[i] for i in table.micrograph_index]


def test_starfile_reads_what_is_written_for_cryolo(tmp_path):
    table = ParticleTable(("a.mrc",), np.array([[0, 50.5, 60]]), pd.DataFrame({"score": [0.5]}))
    (path,) = write_particles(tmp_path / "a.cbox", table, box_size=20)
    read = starfile.read(path)
    assert set(read) == {"global", "cryolo", "cryolo_include"}
    assert read["cryolo"].iloc[0][["CoordinateX", "CoordinateY", "Width", "Confidence"]].tolist() == [50, 40.5, 20, 0.5]


# ---- long STAR files -----------------------------------------------------------------------------------------

CELLS = st.sampled_from(
    ["1", "-2", "0.5", "1e5", "1e-300", "-999.000000", "nan", "<NA>", "inf", "True", "0012", "00", "+1", ".5", "5.",
     "a.mrc", "000001@x.mrcs", "NA", "null", "None", "1_0", "0x10", "9" * 18, "9" * 19, "9" * 25, "1,5", "a#1", "é",
     "1e999", "--1", "data_1", "_x", "loop_", "'a'", '"b c"', "1d5", "1E5", "-nan", "Infinity", "-0", "-0.0", "1e"]
)  # fmt: skip


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5), st.sampled_from(["\n", "\n\n", " \t\n"]))
@settings(max_examples=200)
def test_a_long_loop_is_read_as_line_by_line(rows, ending):
    """Given any words, when a loop is read as a whole, then it is what the careful way makes of it."""
    text = "data_a\n\nloop_\n_rlnMicrographName #1\n_b #2\n_c #3\n"
    text += ending.join(" ".join(row) for row in rows) + "\n\n# version 30001\n\ndata_b\n_x 1\n"
    try:
        slow = parse_blocks(text, fewest=10**9)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error).split(" has ")[0]):
            parse_blocks(text, fewest=1)
        return
    fast = parse_blocks(text, fewest=1)
    assert list(fast) == list(slow)
    pd.testing.assert_frame_equal(fast["a"], slow["a"])


@pytest.mark.parametrize("wrong", ["1 2", "1 2 3 4", "data_x y"])
def test_a_broken_row_of_a_long_loop_is_found(wrong):
    rows = ["1 2 3"] * 3000
    rows.insert(2000, wrong)
    with pytest.raises(ValueError, match="row 2001 of data_a has . values for 3 columns"):
        parse_blocks("data_a\nloop_\n_x\n_y\n_z\n" + "\n".join(rows))


def test_many_rows_come_back_exactly():
    """Given more rows than are read line by line, when written and read, then no bit is lost."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=5000) * 1e3, "n": np.arange(5000), "s": [f"{i:06d}@a" for i in range(5000)]}
    )
    blocks = parse_blocks(format_blocks({"a": frame, "b": {"c": 1}}))
    pd.testing.assert_frame_equal(blocks["a"], frame)
    assert blocks["b"] == {"c": 1}
