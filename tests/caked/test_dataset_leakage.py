"""Tests of what is found on both sides of a split."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_caked.datasets.leakage import leakage
from napari_caked.datasets.sources import folder_source, particle_source
from napari_caked.datasets.splits import Split, split
from napari_caked.errors import DatasetError
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.micrographs import MicrographSeries


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        np.save(tmp_path / f"a_{i}.npy", np.full((4, 4), i % 3, np.float32))
    return tmp_path


def parts(**found: list[int]) -> Split:
    return Split({name: np.array(indices) for name, indices in found.items()})


def test_a_split_by_groups_is_clean(folder):
    source = folder_source(folder, groups=r"(?P<group>\d)")
    report = leakage(source, split(source, {"train": 0.5, "val": 0.5}))
    assert not report.leaks and "looked for: group, file, overlap" in str(report)
    report.require_clean()


def test_a_group_on_both_sides_is_found(folder):
    source = folder_source(folder, groups="(?P<group>a)_")
    report = leakage(source, parts(train=[0, 1], val=[2], test=[3]))
    assert [(leak.kind, leak.what, leak.parts) for leak in report.leaks] == [("group", "a", ("test", "train", "val"))]
    assert report.leaks[0].items == ("a_0.npy", "a_1.npy", "a_2.npy", "a_3.npy")
    with pytest.raises(DatasetError, match="the split leaks: the group a is in test and train and val"):
        report.require_clean()


def test_an_item_in_two_parts_is_found(folder):
    assert leakage(folder_source(folder), parts(train=[0, 1], val=[1])).leaks[0].items == ("a_1.npy",)


def test_one_file_under_two_names_is_found(folder):
    (folder / "b_9.npy").symlink_to(folder / "a_0.npy")
    source = folder_source(folder)
    (leak,) = leakage(source, parts(train=[0, 1, 2, 3], val=[4])).leaks
    assert leak.kind == "file" and leak.what == os.path.realpath(folder / "a_0.npy")
    assert leak.items == ("a_0.npy", "b_9.npy")


def test_identical_pixels_are_found_where_asked(folder):
    source = folder_source(folder)
    here = parts(train=[0, 1, 2], val=[3])
    told = []
    assert not leakage(source, here).leaks
    (leak,) = leakage(source, here, pixels=True, progress=lambda *state: told.append(state[:2])).leaks
    assert leak.kind == "pixels" and leak.items == ("a_0.npy", "a_3.npy") and told[-1] == (4, 4)
    assert not leakage(source, parts(train=[0, 3], val=[1, 2]), pixels=True).leaks


def test_boxes_that_share_pixels_are_found_even_where_groups_say_otherwise():
    series = MicrographSeries.from_array(np.zeros((2, 100, 100), np.float32), ["m0", "m1"])
    places = np.array([(0, 20, 20), (0, 35, 20), (0, 20, 36), (1, 20, 20)], float)
    table = ParticleTable(("m0", "m1"), places, pd.DataFrame({"hole": list("abcd")}))
    source = particle_source(series, table, 16, groups="hole")
    (leak,) = leakage(source, parts(train=[0, 3], val=[1, 2])).leaks
    assert leak.kind == "overlap" and leak.what == "m0" and leak.items == ("m0#0", "m0#1")
    apart = replace(table, coordinates=places + [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert not leakage(particle_source(series, apart, 16, groups="hole"), parts(train=[0, 3], val=[1, 2])).leaks
