"""One micrograph has many names: which of them belong together, and which never."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.coordinates import match_names
from napari_empiarreader.coordinates.names import micrograph_of_file, stem_of

UID = "004217493625148274121"


@pytest.mark.parametrize(
    "wanted, available",
    [
        (f"J12/motioncorrected/{UID}_FoilHole_1_fractions_patch_aligned_doseweighted.mrc", "FoilHole_1_fractions.tiff"),
        (f">J12/motioncorrected/{UID}_a_patch_aligned.mrc", "data/micrographs/a.mrc"),
        (f"{UID}_a.mrc", "a.mrc"),
        ("a_DW.mrc", "a.mrc"),
        ("a.mrc", "MotionCorr/job002/a_DW.mrc"),
        ("a-DW", "a.tif"),
        ("FoilHole_1_EER.mrc", "FoilHole_1.eer"),
        ("FoilHole_1_Fractions.mrc", "FoilHole_1_EER.eer"),
        ("19aug17a_00002en-a.mrc", "19aug17a_00002en.mrc"),
        ("14sep05c_00003es.frames_patch_aligned_doseweighted.mrc", "14sep05c_00003es.frames.tif"),
        ("a.mrc.gz", "a.mrc"),
        ("a.mrcs.bz2", "b/a.mrcs"),
        ("20170629_00021_frameImage.mrc", "20170629_00021_frameImage.tiff"),
    ],
)
def test_names_of_one_micrograph_find_each_other(wanted, available):
    assert match_names([wanted], ["other.mrc", available]) == [1]
    assert match_names([available], [wanted]) == [0]


@pytest.mark.parametrize(
    "wanted, available",
    [
        (["a.mrc"], ["a1.mrc"]),
        (["a_DW.mrc"], ["x/a.mrc", "y/a.mrc"]),
        (["a.mrc"], ["a_DW.mrc", "a_noDW.mrc"]),
        ([f"{UID}_a.mrc", "000000000000000000001_a.mrc"], ["a.mrc"]),
        (["a_DW.mrc", "a-a.mrc"], ["a.tif"]),
        (["20210210_a.mrc"], ["a.mrc"]),
        (["_DW.mrc"], ["x.mrc"]),
        (["a_sum_2.mrc"], ["a.mrc"]),
    ],
)
def test_names_that_may_be_another_micrograph_are_no_match(wanted, available):
    assert match_names(wanted, available) == [None] * len(wanted)


def test_the_closer_name_wins():
    assert match_names(["a_DW.mrc", "a.mrc"], ["a.mrc", "a_DW.mrc"]) == [1, 0]
    assert match_names(["a_DW.mrc"], ["a.mrc", "x/a_DW.mrc"]) == [1]


PIECES = st.lists(
    st.sampled_from(
        ["a", "b", "/", "_DW", "_patch_aligned", "_EER", "-a", ".mrc", ".tif", f"{UID}_", "_fractions", ">"]
    ),
    min_size=1,
    max_size=5,
).map("".join)


@given(st.lists(PIECES, unique=True, max_size=6), st.lists(PIECES, unique=True, max_size=6))
def test_whatever_the_suffixes_no_two_names_share_a_micrograph(wanted, available):
    found = [i for i in match_names(wanted, available) if i is not None]
    assert len(set(found)) == len(found)
    for name, i in zip(wanted, match_names(wanted, available), strict=True):
        assert name not in available or (i is not None and available[i] == name)


@pytest.mark.parametrize(
    "file, micrograph",
    [
        ("x/grid_1.5um_autopick.star", "grid_1.5um.mrc"),
        ("a_info.json", "a.mrc"),
        ("a_ptcl_coords.box", "a.mrc"),
        ("a.mrc.box", "a.mrc"),
        ("_info.json", "_info.mrc"),
    ],
)
def test_a_file_of_one_micrograph_says_which(file, micrograph):
    assert micrograph_of_file(Path(file)) == micrograph
    assert stem_of(micrograph) == micrograph.removesuffix(".mrc")


def test_a_file_of_one_micrograph_chooses_among_the_opened():
    assert micrograph_of_file(Path("a_DW_autopick.star"), ["y/b.tif", "y/a.tif"]) == "y/a.tif"
    assert micrograph_of_file(Path("c.box"), ["y/b.tif", "y/a.tif"]) == "c.mrc"
    assert micrograph_of_file(Path("a_info.json"), ["a_info.mrc", "a.mrc"]) == "a_info.mrc"
