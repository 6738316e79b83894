"""Tests of a folder as a source of items; those named after CAKED 0.1.7 hold what it gets wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from napari_caked.datasets.classes import ByCsv, ByFolder, ByPattern, OneClass
from napari_caked.datasets.items import UNLABELLED
from napari_caked.datasets.sources import (
    Beside,
    Pair,
    PointsBeside,
    folder_source,
    read_points,
    require_alike,
)
from napari_caked.errors import DatasetError


def write(path: Path, shape=(6, 5, 4), size=(3.0, 2.0, 1.5), seed=0, dtype=np.float32) -> np.ndarray:
    """An MRC file, its voxel size as (z, y, x); returns its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (10 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(pixels)
        mrc.voxel_size = tuple(size[::-1])
    return pixels


@pytest.fixture
def maps(tmp_path):
    """Four volumes of two classes, named as CAKED wants them."""
    for i, name in enumerate(["beta_1.mrc", "alpha_10.mrc", "alpha_2.mrc", "beta_2.mrc"]):
        write(tmp_path / name, seed=i)
    return tmp_path


def test_names_before_the_underscore_are_classes_and_pixels_come_unchanged(maps):
    source = folder_source(maps)
    assert source.classes == ("alpha", "beta") and not source.warnings and not source.left_out
    assert [record.name for record in source.records] == ["alpha_2.mrc", "alpha_10.mrc", "beta_1.mrc", "beta_2.mrc"]
    item = source[1]
    expected = (10 * np.random.default_rng(1).normal(size=(6, 5, 4))).astype(np.float32)
    np.testing.assert_array_equal(item.image, expected)
    assert item.image.dtype == np.float32 and item.image.flags.writeable
    assert item.record.group == "alpha_10.mrc" and item.record.origin["file"] == str(maps / "alpha_10.mrc")


def test_caked_labels_are_numbers_with_names(maps):
    """CAKED's batches carry a tuple of text (its defect 5)."""
    source = folder_source(maps)
    assert [record.label for record in source.records] == [0, 0, 1, 1]
    assert all(type(record.label) is int for record in source.records)


def test_caked_voxel_sizes_of_each_axis_are_read_and_shapes_kept(maps):
    """CAKED never reads a voxel size, and makes any volume a cube (its defect 4)."""
    record = folder_source(maps).records[0]
    assert record.shape == (6, 5, 4) and record.voxel_size == pytest.approx((3.0, 2.0, 1.5))


def test_caked_stacks_and_side_files_are_no_volumes(maps):
    """CAKED's data type "mrc" takes ``.mrcs`` and ``.mrc.json`` as well (its defect 8)."""
    write(maps / "gamma_1.mrcs")
    (maps / "gamma_2.mrc.json").write_text("{}")
    (maps / "._alpha_2.mrc").write_bytes(b"a Mac's shadow of a file")
    assert len(folder_source(maps)) == 4


def test_caked_damaged_files_are_named_and_left_out_where_asked(maps):
    """CAKED gives up with "corrupted" and has no permissive way (its defect 12)."""
    (maps / "alpha_3.mrc").write_bytes(b"no header")
    whole = (maps / "beta_1.mrc").read_bytes()
    (maps / "beta_3.mrc").write_bytes(whole[:-1])
    np.save(maps / "beta_4.npy", np.zeros((4, 4), complex))
    with pytest.raises(DatasetError, match=r"3 of its items.*alpha_3.*beta_3\.mrc.*1503.*1504.*beta_4.*permissive"):
        folder_source(maps)
    source = folder_source(maps, permissive=True)
    assert len(source) == 4 and [out.name for out in source.left_out] == ["alpha_3.mrc", "beta_3.mrc", "beta_4.npy"]


def test_caked_mixed_shapes_and_voxel_sizes_are_told_before_a_batch_fails(maps):
    """CAKED fails in the middle of an epoch, in collate (its defect 10)."""
    require_alike(folder_source(maps).records, "maps")
    write(maps / "beta_9.mrc", (6, 6, 6), (2.0, 2.0, 2.0))
    source = folder_source(maps)
    assert len(source.warnings) == 2
    assert source.warnings[0] == "2 different shapes in pixels: 6 x 5 x 4 (4), 6 x 6 x 6 (1)"
    assert source.warnings[1] == "2 different voxel sizes: 3 x 2 x 1.5 Å (4), 2 Å (1)"
    with pytest.raises(DatasetError, match=r"maps: 2 different shapes.*rescale"):
        require_alike(source.records, "maps")


def test_caked_importing_and_reading_leave_numpys_random_numbers_alone(maps):
    """Importing CAKED sets the seed of numpy's global generator (its defect 9)."""
    script = """
import sys, numpy as np
before = np.random.get_state()[1].copy()
from napari_caked.datasets import classes, splits, sources
source = sources.folder_source(sys.argv[1])
source[0]; splits.split(source, {"train": 0.5, "val": 0.5})
assert (np.random.get_state()[1] == before).all()
assert "torch" not in sys.modules, "sources and splits need no torch"
"""
    subprocess.run([sys.executable, "-c", script, str(maps)], check=True)


def test_pixels_are_not_read_to_know_a_folder(maps, monkeypatch):
    from napari_empiarreader.files import LocalFile

    read, total = LocalFile.read, []

    def counted(self, start, stop, **how):
        total.append(stop - start)
        return read(self, start, stop, **how)

    monkeypatch.setattr(LocalFile, "read", counted)
    source = folder_source(maps)
    assert sum(total) <= 2 * 4 * 1024
    total.clear()
    list(source.items([0, 1, 2, 3]))
    assert total == [1024 + 6 * 5 * 4 * 4] * 4


@pytest.mark.parametrize("ending", [".npy", ".tif", ".mrc.gz"])
def test_other_formats_hold_the_same_pixels(tmp_path, ending):
    import gzip

    import tifffile

    pixels = write(tmp_path / "plain.mrc", (8, 6), (2.0, 2.0, 2.0))
    path = tmp_path / f"a_1{ending}"
    if ending == ".npy":
        np.save(path, pixels[None])
    elif ending == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        path.write_bytes(gzip.compress((tmp_path / "plain.mrc").read_bytes()))
    (tmp_path / "plain.mrc").unlink()
    item = folder_source(tmp_path)[0]
    np.testing.assert_array_equal(item.image, pixels)
    assert item.record.voxel_size == ((2.0, 2.0) if ending == ".mrc.gz" else None)


def test_grey_pictures_are_items_and_coloured_ones_are_refused(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (8, 6)).astype(np.uint8)
    deep = (300 * pixels.astype(np.int32)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a_1.png")
    Image.fromarray(deep).save(tmp_path / "a_2.png")
    source = folder_source(tmp_path)
    assert source.records[0].shape == (8, 6) and source.records[0].voxel_size is None
    np.testing.assert_array_equal(source[0].image, pixels)
    np.testing.assert_array_equal(source[1].image, deep)
    Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(tmp_path / "a_3.png")
    (tmp_path / "a_4.png").write_bytes((tmp_path / "a_1.png").read_bytes()[:20])
    with pytest.raises(DatasetError, match=r"2 of its items.*a_3\.png: a picture in colour.*a_4\.png: no readable"):
        folder_source(tmp_path)


@pytest.mark.parametrize("ending", [".mrc", ".npy", ".tif", ".png", ".mrc.gz"])
def test_whatever_is_damaged_the_folder_is_read_and_the_file_named(tmp_path, ending):
    import gzip

    import tifffile
    from PIL import Image

    from napari_empiarreader.errors import UserError

    pixels = np.random.default_rng(0).integers(0, 255, (8, 6)).astype(np.uint8)
    path = tmp_path / f"a_1{ending}"
    if ending.startswith(".mrc"):
        write(tmp_path / "a_1.mrc", (8, 6), (2.0, 2.0, 2.0))
        whole = (tmp_path / "a_1.mrc").read_bytes()
        path.write_bytes(gzip.compress(whole) if ending == ".mrc.gz" else whole)
        if ending == ".mrc.gz":
            (tmp_path / "a_1.mrc").unlink()
    elif ending == ".npy":
        np.save(path, pixels)
    elif ending == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    whole, dice, refused = path.read_bytes(), np.random.default_rng(1), 0
    np.save(tmp_path / "b_1.npy", pixels)
    for _ in range(150):
        damaged = bytearray(whole[: dice.integers(1, len(whole) + 1)] if dice.random() < 0.3 else whole)
        for place in dice.integers(0, min(len(damaged), 256), dice.integers(1, 6)):
            damaged[place] = dice.integers(256)
        path.write_bytes(damaged)
        source = folder_source(tmp_path, permissive=True)
        assert {r.name for r in source.records} | {out.name for out in source.left_out} >= {path.name, "b_1.npy"}
        try:
            list(source.items(range(len(source))))
        except UserError as error:
            refused += 1
            assert path.name in str(error)
        refused += bool(source.left_out)
    assert refused > 10


def test_folder_sources_travel_to_other_processes(maps):
    import pickle

    source = pickle.loads(pickle.dumps(folder_source(maps, points=PointsBeside({}))))
    np.testing.assert_array_equal(source[0].image, folder_source(maps)[0].image)


def test_axes_in_another_order_keep_their_own_voxel_size(tmp_path):
    write(tmp_path / "a_1.mrc", (4, 6, 5), (3.0, 2.0, 1.5))
    with mrcfile.open(tmp_path / "a_1.mrc", "r+") as mrc:
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = 3, 1, 2
    # Columns run along z, rows along x, sections along y; the cell is divided by the samples along each.
    header = mrcfile.open(tmp_path / "a_1.mrc", header_only=True).header
    along = {axis: float(header.cella[axis] / header[f"m{axis}"]) for axis in "xyz"}
    record = folder_source(tmp_path).records[0]
    assert record.voxel_size == pytest.approx((along["y"], along["x"], along["z"]))


def test_voxel_size_that_nobody_knows_stays_unknown_until_it_is_given(tmp_path):
    write(tmp_path / "a_1.mrc", size=(1.0, 1.0, 1.0))
    assert folder_source(tmp_path).records[0].voxel_size is None
    assert folder_source(tmp_path, voxel_size=1.0).records[0].voxel_size == (1.0, 1.0, 1.0)
    assert folder_source(tmp_path, voxel_size=(4, 2, 2)).records[0].voxel_size == (4.0, 2.0, 2.0)
    with pytest.raises(DatasetError, match="2 voxel sizes are given"):
        folder_source(tmp_path, voxel_size=(2, 2))


def test_folders_are_classes_and_an_empty_one_is_told(tmp_path):
    write(tmp_path / "cat" / "1.mrc"), write(tmp_path / "dog" / "more" / "1.mrc")
    source = folder_source(tmp_path, ByFolder())
    assert source.classes == ("cat", "dog")
    assert [record.name for record in source.records] == ["cat/1.mrc", "dog/more/1.mrc"]
    (tmp_path / "eel").mkdir()
    with pytest.raises(DatasetError, match="class eel: it has no items"):
        folder_source(tmp_path, ByFolder())
    with pytest.raises(DatasetError, match="class eel: it has no items"):
        folder_source(tmp_path, ByFolder(), only=["eel", "cat"])
    source = folder_source(tmp_path, ByFolder(), permissive=True)
    assert source.classes == ("cat", "dog", "eel") and source.warnings == ("the class eel has no items",)
    assert len(folder_source(tmp_path, ByFolder(), only=["dog"])) == 1
    write(tmp_path / "stray.mrc")
    with pytest.raises(DatasetError, match=r"stray\.mrc.*in no folder of a class"):
        folder_source(tmp_path, ByFolder(), only=["dog"])


def test_asked_for_classes_keep_their_order_and_an_unknown_one_lists_what_is_there(maps):
    assert [r.label for r in folder_source(maps, only=["beta", "alpha"]).records] == [1, 1, 0, 0]
    assert folder_source(maps, only=["beta"]).classes == ("beta",)
    with pytest.raises(DatasetError, match="no class 'gamma'; there are alpha, beta"):
        folder_source(maps, only=["gamma", "beta"])
    with pytest.raises(DatasetError, match="named twice"):
        folder_source(maps, only=["beta", "beta"])


def test_a_class_that_loses_all_its_items_is_no_secret(maps):
    for name in ("beta_1.mrc", "beta_2.mrc"):
        (maps / name).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"beta_1\.mrc.*beta_2\.mrc.*class beta"):
        folder_source(maps, only=["alpha", "beta"])
    assert folder_source(maps, only=["alpha", "beta"], permissive=True).warnings == ("the class beta has no items",)


def test_patterns_find_class_and_group(tmp_path):
    for name in ("grid1-good-1.mrc", "grid1-bad-2.mrc", "grid2-good-1.mrc"):
        write(tmp_path / name)
    source = folder_source(tmp_path, ByPattern(r"(?P<group>grid\d)-(?P<class>[a-z]+)"))
    assert source.classes == ("bad", "good") and [r.group for r in source.records] == ["grid1", "grid1", "grid2"]
    source = folder_source(tmp_path, OneClass(), groups=r"-(?P<group>[a-z]+)-")
    assert source.classes == () and {r.label for r in source.records} == {UNLABELLED}
    assert [r.group for r in source.records] == ["bad", "good", "good"]
    with pytest.raises(DatasetError, match=r"no group '\(\?P<class>"):
        ByPattern("grid")
    with pytest.raises(DatasetError, match="no regular expression"):
        ByPattern("(?P<class>")
    with pytest.raises(DatasetError, match=r"grid1-bad-2\.mrc: the pattern.*finds no class"):
        folder_source(tmp_path, ByPattern("grid1-(?P<class>good)"))
    with pytest.raises(DatasetError, match="needs '.*<group>"):
        folder_source(tmp_path, OneClass(), groups="grid")


def test_a_csv_file_says_class_group_and_weight(maps):
    table = maps / "classes.csv"
    table.write_text(
        "name,class,group,weight\nalpha_2,ring,A,0.5\nalpha_10.mrc,ring,A,\nbeta_1,disc,B,2\nbeta_2,,B,1\n"
    )
    source = folder_source(maps, ByCsv(table))
    assert source.classes == ("disc", "ring") and [r.label for r in source.records] == [1, 1, 0, UNLABELLED]
    assert [r.group for r in source.records] == ["A", "A", "B", "B"]
    assert [r.weight for r in source.records] == [0.5, 1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    "text, said",
    [
        ("file,class\n", "no column 'name'"),
        ("name,class\nalpha_2,ring\nalpha_2,disc\n", "line 3: alpha_2 twice"),
        ("name,class,weight\nalpha_2,ring,heavy\n", "line 2: the weight 'heavy'"),
        ("name,class\nalpha_2,ring\nalpha_10,ring\nbeta_1,ring\n", r"beta_2\.mrc: classes\.csv does not name it"),
        (
            "name,class\nalpha_2,ring\nalpha_10,ring\nbeta_1,ring\nbeta_2,ring\nbeta_3,ring\n",
            "beta_3: classes.csv names it, and there is no such file",
        ),
    ],
)
def test_a_csv_file_that_does_not_fit_is_refused(maps, text, said):
    (maps / "classes.csv").write_text(text)
    with pytest.raises(DatasetError, match=said):
        folder_source(maps, ByCsv(maps / "classes.csv"))


def test_a_name_without_a_class_is_refused_by_name(maps):
    write(maps / "nameless.mrc")
    with pytest.raises(DatasetError, match=r"nameless\.mrc: no class before"):
        folder_source(maps)


def test_masks_and_partners_come_with_their_items(maps):
    masks = {}
    for i, name in enumerate(["alpha_2", "alpha_10", "beta_1", "beta_2"]):
        masks[name] = write(maps / f"{name}_mask.mrc", dtype=np.int8, seed=10 + i)
        write(maps / "models" / f"{name}.mrc", seed=20 + i)
    source = folder_source(maps, masks=Beside("{stem}_mask{suffix}"), partner=Beside(folder="models"))
    assert len(source) == 4
    item = source[2]
    np.testing.assert_array_equal(item.mask, masks["beta_1"])
    expected = (10 * np.random.default_rng(22).normal(size=(6, 5, 4))).astype(np.float32)
    np.testing.assert_array_equal(item.partner, expected)
    assert item.record.origin["mask"] == str(maps / "beta_1_mask.mrc")


def test_masks_that_are_missing_of_another_shape_or_no_masks_are_refused(maps):
    masks = Beside(folder="masks")
    for name in ("alpha_2", "alpha_10", "beta_1"):
        write(maps / "masks" / f"{name}.mrc", dtype=np.int8)
    with pytest.raises(DatasetError, match=r"beta_2\.mrc: what belongs to it.*is not there"):
        folder_source(maps, masks=masks)
    write(maps / "masks" / "beta_2.mrc", (6, 5, 5), dtype=np.int8)
    with pytest.raises(DatasetError, match=r"beta_2\.mrc is \(6, 5, 5\).*\(6, 5, 4\)"):
        folder_source(maps, masks=masks)
    write(maps / "masks" / "beta_2.mrc")
    with pytest.raises(DatasetError, match=r"beta_2\.mrc: a mask holds whole numbers"):
        folder_source(maps, masks=masks)[3]
    with pytest.raises(DatasetError, match="names the item itself"):
        Beside()


def test_half_maps_are_one_item_and_a_lonely_half_is_refused(tmp_path):
    first = write(tmp_path / "emd_1_half1.mrc", seed=1)
    second = write(tmp_path / "emd_1_half2.mrc", seed=2)
    source = folder_source(tmp_path, partner=Pair())
    assert [record.name for record in source.records] == ["emd_1.mrc"] and source.classes == ("emd",)
    np.testing.assert_array_equal(source[0].image, first)
    np.testing.assert_array_equal(source[0].partner, second)
    write(tmp_path / "emd_2_half1.mrc"), write(tmp_path / "emd_3_half2.mrc"), write(tmp_path / "emd_4.mrc")
    with pytest.raises(DatasetError, match=r"3 of its items.*emd_3_half2.*emd_4\.mrc: its name holds neither.*emd_2"):
        folder_source(tmp_path, partner=Pair())


def test_points_come_in_pixels_and_those_outside_are_refused(maps):
    table = maps / "points.csv"
    table.write_text("name,z,y,x\nalpha_2,3,2,1.5\nalpha_2,0,4,3\nbeta_1.mrc,15,8,4.5\n")
    points = read_points(table, "Å")
    source = folder_source(maps, points=points)
    np.testing.assert_allclose(source[0].points, [[1, 1, 1], [0, 2, 2]])
    assert source[1].points.shape == (0, 3)
    np.testing.assert_allclose(source[2].points, [[5, 4, 3]])
    with pytest.raises(DatasetError, match=r"beta_1\.mrc: 1 of its 1 points lie outside"):
        folder_source(maps, points=read_points(table))
    with pytest.raises(DatasetError, match=r"its points are \(1, 2\), and it has 3 axes"):
        folder_source(maps, points=PointsBeside({"alpha_2": np.zeros((1, 2))}))
    table.write_text("name,z,y,x\nalpha_2,3,here,1.5\n")
    with pytest.raises(DatasetError, match="line 2: no numbers"):
        read_points(table)


def test_a_file_that_changed_or_went_away_since_is_told(maps):
    source = folder_source(maps)
    write(maps / "alpha_2.mrc", (6, 5, 5))
    with pytest.raises(DatasetError, match=r"alpha_2\.mrc: it is \(6, 5, 5\) now, and was \(6, 5, 4\)"):
        source[0]
    (maps / "alpha_10.mrc").unlink()
    with pytest.raises(FileNotFoundError, match=r"alpha_10\.mrc"):
        source[1]


def test_no_folder_and_an_empty_one_are_told(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        folder_source(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"no items; files that end in \.mrc"):
        folder_source(tmp_path)
