"""The particle table: what it promises, and how names of micrographs find each other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.coordinates import ParticleTable, match_names, read_particles, write_particles
from napari_empiarreader.errors import CoordinatesError, FormatError


@pytest.fixture
def table() -> ParticleTable:
    return ParticleTable(
        ("a.mrc", "b.mrc", "empty.mrc"),
        np.array([[0, 1.5, 2.5], [1, 3, 4], [0, 5, 6]]),
        pd.DataFrame({"score": [0.9, 0.8, 0.7]}, index=[7, 8, 9]),
        {"provenance": {"model": "x"}},
    )


def test_it_counts_and_finds_particles_by_micrograph(table):
    assert len(table) == 3
    np.testing.assert_array_equal(table.on(0), [[1.5, 2.5], [5, 6]])
    np.testing.assert_array_equal(table.on(1), [[3, 4]])
    assert table.on(2).shape == (0, 2)
    np.testing.assert_array_equal(table.micrograph_index, [0, 1, 0])
    assert list(table.features.index) == [0, 1, 2]


def test_no_particles_are_a_table_too():
    table = ParticleTable(("a.mrc",), np.empty((0, 3)))
    assert len(table) == len(table.features) == 0
    assert table.on(0).shape == (0, 2)
    assert len(table.renamed_to(["x/a.mrc"])) == len(table.require_inside((1, 1))) == 0


def test_without_features_every_particle_has_an_empty_row():
    assert ParticleTable(("a",), np.zeros((4, 3))).features.shape == (4, 0)


@pytest.mark.parametrize(
    "coordinates, message",
    [
        ([[0, 1, np.nan]], "particle 0 .* not finite"),
        ([[0, 1, 1], [0, np.inf, 1]], "particle 1 .* not finite"),
        ([[2, 1, 1]], "micrograph numbers run from 2 to 2, but there are 2"),
        ([[-1, 1, 1]], "micrograph numbers run from -1"),
        ([[0.5, 1, 1]], "micrograph numbers"),
    ],
)
def test_coordinates_that_mean_nothing_are_an_error(coordinates, message):
    with pytest.raises(CoordinatesError, match=message):
        ParticleTable(("a", "b"), np.array(coordinates))


@pytest.mark.parametrize("shape", [(3, 2), (6,), (3, 4), (2, 3, 3)], ids=str)
def test_an_array_of_another_shape_is_not_read_crosswise(shape):
    with pytest.raises(CoordinatesError, match=r"\(micrograph, y, x\)"):
        ParticleTable(("a",), np.zeros(shape))


def test_features_of_another_length_are_an_error():
    with pytest.raises(CoordinatesError, match="2 particles but 3 rows"):
        ParticleTable(("a",), np.zeros((2, 3)), pd.DataFrame({"score": [1, 2, 3]}))


@pytest.mark.parametrize("keep", [np.array([True, False, True]), np.array([0, 2]), [True, False, True]], ids=str)
def test_a_part_keeps_coordinates_features_and_names_together(table, keep):
    part = table.where(keep)
    np.testing.assert_array_equal(part.coordinates, table.coordinates[[0, 2]])
    assert list(part.features["score"]) == [0.9, 0.7]
    assert part.micrographs == table.micrographs
    assert part.metadata == table.metadata


@pytest.mark.parametrize("keep", [np.zeros(3, bool), np.array([], int)], ids=["mask", "indices"])
def test_a_part_may_be_empty(table, keep):
    part = table.where(keep)
    assert len(part) == 0
    assert list(part.features.columns) == ["score"]


# ---- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted, available, found",
    [
        ("a.mrc", ["b.mrc", "a.mrc"], 1),
        ("MotionCorr/job002/a.mrc", ["b.mrc", "a.mrc"], 1),
        ("a.mrc", ["b/b.mrc", "b/a.mrc"], 1),
        ("x/a.mrc", ["y/a.mrc"], 0),
        ("a", ["b.mrc", "a.mrc"], 1),
        ("a.mrc", ["b", "a"], 1),
        ("x/a", ["y/a.mrc"], 0),
        ("a.tif", ["a.mrc"], 0),
        ("c.mrc", ["a.mrc", "b.mrc"], None),
        ("a.mrc", ["x/a.mrc", "y/a.mrc"], None),
        ("a", ["a.mrc", "a.tif"], None),
        ("y/a.mrc", ["x/a.mrc", "y/a.mrc"], 1),
        ("a.mrc", ["a.mrc", "x/a.mrc"], 0),
        ("grid_1.5um", ["grid_1.5um.mrc"], 0),
        ("grid_1.5um", ["grid_1.mrc"], None),
        ("grid_1.5um.mrc", ["grid_1.5um"], 0),
        ("a.mrc", [], None),
    ],
)
def test_a_name_finds_its_micrograph(wanted, available, found):
    assert match_names([wanted], available) == [found]


def test_two_names_never_share_a_micrograph():
    """Given two folders with equal file names, when only one file is open, then their particles are not merged."""
    assert match_names(["x/a.mrc", "y/a.mrc"], ["a.mrc"]) == [None, None]
    assert match_names(["a.mrc", "y/a.mrc"], ["a.mrc"]) == [0, None]


@given(
    st.lists(st.text("ab./", min_size=1, max_size=5), unique=True, max_size=6).flatmap(
        lambda names: st.tuples(st.just(names), st.permutations(names))
    )
)
def test_equal_names_always_match_whatever_their_order(names):
    wanted, available = names
    assert [available[i] for i in match_names(wanted, available)] == wanted


@given(
    st.lists(st.text("ab./", max_size=5), unique=True, max_size=6), st.lists(st.text("ab./", max_size=5), max_size=6)
)
def test_a_micrograph_is_found_at_most_once(wanted, available):
    found = [i for i in match_names(wanted, available) if i is not None]
    assert len(set(found)) == len(found)


def test_particles_are_counted_into_other_names(table):
    renamed = table.renamed_to(["x/empty.mrc", "x/b.mrc", "x/a.mrc"])
    np.testing.assert_array_equal(renamed.coordinates, [[2, 1.5, 2.5], [1, 3, 4], [2, 5, 6]])
    assert renamed.micrographs == ("x/empty.mrc", "x/b.mrc", "x/a.mrc")
    assert list(renamed.features["score"]) == [0.9, 0.8, 0.7]


def test_a_micrograph_without_particles_need_not_be_there(table):
    assert len(table.renamed_to(["b.mrc", "a.mrc"])) == 3


def test_particles_on_a_micrograph_that_is_not_open_are_an_error_with_both_names(table):
    with pytest.raises(CoordinatesError, match=r"1 of 2 micrographs .*first: b\.mrc.*called like a\.mrc"):
        table.renamed_to(["a.mrc"])
    with pytest.raises(CoordinatesError, match="not among the 0 opened"):
        table.renamed_to([])


def test_particles_elsewhere_can_be_left_out(table):
    part = table.only_on(["z.mrc", "x/b.mrc"])
    np.testing.assert_array_equal(part.coordinates, [[1, 3, 4]])
    assert list(part.features["score"]) == [0.8]
    assert part.micrographs == ("z.mrc", "x/b.mrc")
    assert len(table.only_on([])) == 0


# ---- inside --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("yx", [(-0.5, -0.5), (9.5, 19.5), (0, 0), (9, 19)])
def test_particles_on_any_part_of_a_pixel_are_inside(yx):
    table = ParticleTable(("a",), np.array([[0, *yx]]))
    assert table.require_inside((10, 20)) is table


@pytest.mark.parametrize("yx", [(-0.6, 3), (3, -0.6), (9.6, 3), (3, 19.6), (15, 5)])
def test_particles_outside_are_an_error_that_says_where(yx):
    table = ParticleTable(("a.mrc", "b.mrc"), np.array([[0, 1, 1], [1, *yx]]))
    with pytest.raises(CoordinatesError, match=r"1 of 2 particles lie outside .* 20 x 10 pixels \(first: x .* b\.mrc"):
        table.require_inside((10, 20))


# ---- files ---------------------------------------------------------------------------------------------------


def test_the_suffix_decides_the_format(tmp_path, table):
    write_particles(tmp_path / "a.STAR", table)
    np.testing.assert_allclose(read_particles(tmp_path / "a.STAR").coordinates[:, 1:], table.coordinates[:, 1:])


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.star.gz"])
def test_an_unknown_format_is_an_error_that_says_which_are_known(tmp_path, table, name):
    for use in (lambda path: write_particles(path, table), read_particles):
        with pytest.raises(FormatError, match=r"no coordinate format known here; known: \.star, \.cs, \.box"):
            use(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
