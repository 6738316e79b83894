"""Tests of writing data sets for other programs: what is read again is what was written."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from napari_caked.datasets.classes import ByCsv
from napari_caked.datasets.export import export_folder, export_hdf5, export_stack
from napari_caked.datasets.sources import Beside, folder_source, stack_source
from napari_caked.errors import DatasetError
from napari_empiarreader.errors import FileExistsAlreadyError, MissingLibraryError

sys.path.insert(0, str(Path(__file__).parent))
from item_arrays import Arrays, made  # noqa: E402


def test_a_stack_is_read_again_with_its_classes_and_groups(tmp_path):
    source = made(9, full=False)
    stack, star = export_stack(source, tmp_path / "out.mrcs")
    assert (stack.name, star.name) == ("out.mrcs", "out.star")
    again = stack_source(star, classes="class", groups="rlnMicrographName")
    assert again.classes == ("junk", "none", "particle")
    for item, record in zip(source.given, again.records, strict=True):
        name = {-1: "none", 0: "particle", 1: "junk"}[item.record.label]
        assert again.classes[record.label] == name and record.voxel_size == (2.0, 2.0)
        assert record.group == item.record.group.replace(" ", "_")
    for index, item in again.items(range(9)):
        np.testing.assert_array_equal(item.image, source.given[index].image)
    table = starfile.read(star)["particles"]
    assert table["rlnClassNumber"].tolist() == [0, 1, 2] * 3 and table["item"][2] == "item_2_é"
    with mrcfile.open(stack) as file:
        assert file.is_image_stack() and float(file.voxel_size.x) == 2.0 and file.header.rms > 0.5
    with pytest.raises(FileExistsAlreadyError):
        export_stack(source, tmp_path / "out.star")
    export_stack(source, tmp_path / "out.star", overwrite=True)


def test_volumes_and_mixed_shapes_are_no_stack(tmp_path):
    with pytest.raises(DatasetError, match="these are volumes"):
        export_stack(made(2, (4, 4, 4)), tmp_path / "out.mrcs")
    mixed = Arrays([*made(2).given, replace(made(1, (4, 4)).given[0])])
    with pytest.raises(DatasetError, match="item 0 é is 4 x 4 pixels, and item 0 é 8 x 6.*CropPad"):
        export_stack(mixed, tmp_path / "out.mrcs")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(8, 6), (4, 3, 5)])
def test_a_folder_is_read_again_with_masks_and_partners(tmp_path, shape):
    source = made(6, shape)
    files = export_folder(source, tmp_path / "out")
    assert [file.name for file in files[:3]] == ["none_0000.mrc", "particle_0001.mrc", "junk_0002.mrc"]
    rule = ByCsv(tmp_path / "out" / "items.csv")
    masks, partner = Beside("{stem}_mask{suffix}"), Beside("{stem}_partner{suffix}")
    again = folder_source(tmp_path / "out", rule, masks=masks, partner=partner, only=["particle", "junk"])
    assert len(again) == 4
    number = {file.name: i for i, file in enumerate(files)}
    for index, item in again.items(range(4)):
        record = again.records[index]
        expected = source.given[number[record.name]]
        np.testing.assert_array_equal(item.image, expected.image)
        np.testing.assert_array_equal(item.mask, expected.mask)
        np.testing.assert_array_equal(item.partner, expected.partner)
        assert (record.label, record.group, record.weight) == (
            expected.record.label,
            expected.record.group,
            expected.record.weight,
        )
        assert record.voxel_size == (2.0,) * len(shape)
    with pytest.raises(FileExistsAlreadyError, match=r"items.csv"):
        export_folder(source, tmp_path / "out")


def test_labels_of_a_mask_that_an_mrc_file_cannot_hold_are_told(tmp_path):
    item = replace(made(1).given[0], mask=np.full((8, 6), 40000))
    with pytest.raises(DatasetError, match="item 0 é: its mask has values up to 40000; 32767"):
        export_folder(Arrays([item]), tmp_path / "out")


def test_an_hdf5_file_holds_what_a_store_holds(tmp_path):
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    source = made(9)
    with h5py.File(export_hdf5(source, tmp_path / "out.h5", compress=True)) as file:
        assert list(file.attrs["classes"]) == ["particle", "junk"] and file["image"].chunks == (1, 8, 6)
        for i, item in enumerate(source.given):
            np.testing.assert_array_equal(file["image"][i], item.image)
            np.testing.assert_array_equal(file["mask"][i], item.mask)
            np.testing.assert_array_equal(file["partner"][i], item.partner)
            start, stop = file["points_start"][i : i + 2]
            np.testing.assert_array_equal(file["points"][start:stop], item.points)
            assert file["name"].asstr()[i] == item.record.name and file["label"][i] == item.record.label
        np.testing.assert_array_equal(file["voxel_size"][:], np.full((9, 2), 2.0))


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'napari-caked\[hdf5\]'"):
        export_hdf5(made(2), tmp_path / "out.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("export", [export_folder, export_hdf5, export_stack])
def test_nothing_cannot_be_written(tmp_path, export):
    if export is export_hdf5:
        pytest.importorskip("h5py", reason="the extra hdf5 is not installed")
    with pytest.raises(DatasetError, match="no items"):
        export(Arrays([]), tmp_path / "out")
