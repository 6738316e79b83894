"""Tests of the store of data sets: what goes in comes out, by every way of reading, and damage is told."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr

from napari_caked.datasets._shards import MappedRows, ZarrRows, open_rows
from napari_caked.datasets.building import build
from napari_caked.datasets.store import KEY, is_store, open_store
from napari_caked.errors import DatasetError
from napari_empiarreader.errors import FileExistsAlreadyError

sys.path.insert(0, str(Path(__file__).parent))
from item_arrays import Arrays, made  # noqa: E402


def built(folder: Path, source: Arrays | None = None, **options):
    # Six items of 8 x 6 float32 in a file.
    return build(source or made(), folder / "one.dataset.zarr", **({"shard_bytes": 6 * 192} | options))


def same(store, source: Arrays, *, exactly: bool = True) -> None:
    """Every item of a source is in the store, whatever the order."""
    by_name = {record.name: i for i, record in enumerate(store.records)}
    assert len(store) == len(source) == len(by_name)
    for item in source.given:
        stored = store[by_name[item.record.name]]
        assert stored.record == item.record
        for kind in ("image", "mask", "points", "partner"):
            there, expected = getattr(stored, kind), getattr(item, kind)
            if expected is None:
                assert there is None
            elif exactly:
                np.testing.assert_array_equal(there, expected)
            else:
                np.testing.assert_allclose(there, expected, atol=2e-3)


# ---- what goes in comes out


@pytest.mark.parametrize("shape", [(8, 6), (4, 3, 4)])
@pytest.mark.parametrize("compress", [False, True])
def test_what_was_stored_is_read_again_with_all_that_belongs_to_it(tmp_path, shape, compress):
    source = made(shape=shape)
    store = built(tmp_path, source, compress=compress)
    same(store, source)
    assert store.classes == source.classes and store.kinds == ("image", "mask", "partner")
    assert store[0].image.dtype == np.float32 and store[0].points.dtype == np.float32
    store.verify()


def test_items_without_masks_points_partners_and_voxel_sizes_stay_so(tmp_path):
    source = made(full=False, voxel_size=None)
    store = built(tmp_path, source)
    same(store, source)
    assert store.kinds == ("image",) and store.voxel_size is None


def test_half_precision_keeps_three_digits_and_refuses_what_does_not_fit(tmp_path):
    source = made(full=False)
    store = built(tmp_path, source, dtype="float16")
    same(store, source, exactly=False)
    assert store.images([0]).dtype == np.float32
    large = replace(source.given[3], image=np.full((8, 6), 1e5, np.float32))
    with pytest.raises(DatasetError, match=r"item 3 é.*100000.*65504.*ZScore"):
        build(Arrays([large]), tmp_path / "two.dataset.zarr", dtype="float16")


def test_images_of_zeros_are_no_missing_ones(tmp_path):
    source = made(full=False)
    source.given = [replace(item, image=np.zeros((8, 6), np.float32)) for item in source.given]
    for name, compress in (("plain", False), ("packed", True)):
        store = build(source, tmp_path / f"{name}.dataset.zarr", compress=compress, shard_bytes=6 * 192)
        assert not store.images(range(20)).any()


def test_items_lie_in_the_order_in_which_the_source_reads_them(tmp_path):
    store = built(tmp_path)
    assert list(store.groups) == sorted(store.groups)  # as item_arrays reads: group after group


# ---- ways of reading


def test_mapped_files_and_zarr_give_the_same(tmp_path):
    store = built(tmp_path)
    dice = np.random.default_rng(1)
    for kind in store.kinds:
        folder = store.path / kind
        fast = open_rows(folder)
        slow = ZarrRows(folder, json.loads((folder / "zarr.json").read_text()))
        other = zarr.open_array(folder, mode="r")
        assert isinstance(fast, MappedRows)
        for _ in range(5):
            rows = dice.integers(0, 20, 33)  # repeated, in no order
            np.testing.assert_array_equal(fast.read(rows), slow.read(rows))
            np.testing.assert_array_equal(fast.read(rows), other[:][rows])


def test_compressed_stores_go_through_zarr_and_give_the_same(tmp_path):
    plain = build(made(), tmp_path / "plain.dataset.zarr")
    packed = build(made(), tmp_path / "packed.dataset.zarr", compress=True)
    assert isinstance(open_rows(packed.path / "image"), ZarrRows)
    rows = np.array([7, 0, 7, 19])
    np.testing.assert_array_equal(plain.images(rows), packed.images(rows))
    corners = np.array([[0, 0], [4, 3], [1, 2], [2, 1]])
    np.testing.assert_array_equal(plain.crops(rows, corners, (4, 3)), packed.crops(rows, corners, (4, 3)))


def test_shards_whose_chunks_lie_in_another_order_are_read_right(tmp_path):
    """The specification allows any order, with gaps; zarr itself writes them one after the other."""
    store = built(tmp_path, made(6, full=False))
    expected = store.images(range(6))
    file = store.path / "image" / "c" / "0" / "0" / "0"
    blocks = [file.read_bytes()[i * 192 : (i + 1) * 192] for i in range(6)]
    order = [3, 1, 5, 0, 4, 2]
    offsets = {item: 8 + place * 200 for place, item in enumerate(order)}
    body = b"\xff" * 8 + b"".join(blocks[item] + b"\xff" * 8 for item in order)
    index = np.array([(offsets[item], 192) for item in range(6)], "<u8").tobytes()
    file.write_bytes(body + index + google_crc32c.value(index).to_bytes(4, "little"))
    rows = open_rows(store.path / "image")
    assert isinstance(rows, MappedRows)
    np.testing.assert_array_equal(rows.read(np.arange(6)), expected)
    np.testing.assert_array_equal(zarr.open_array(store.path / "image", mode="r")[:], expected)


def test_chunks_that_another_program_left_out_are_zeros(tmp_path):
    store = built(tmp_path, made(6, full=False))
    array = zarr.open_array(store.path / "image", mode="r+", config={"write_empty_chunks": False})
    images = array[:]
    images[2] = 0
    array[:] = images
    np.testing.assert_array_equal(open_store(store.path).images(range(6)), images)


def test_dask_reads_the_items_that_are_computed(tmp_path):
    store = built(tmp_path)
    for kind, read in (("image", store.images), ("mask", store.masks), ("partner", store.partners)):
        lazy = store.dask(kind)
        assert lazy.chunksize == (1, 8, 6)
        np.testing.assert_array_equal(lazy[3:9:2].compute(), read([3, 5, 7]))
    shutil.rmtree(store.path / "image" / "c" / "3")
    np.testing.assert_array_equal(store.dask()[17].compute(), store.images([17])[0])
    with pytest.raises(DatasetError, match="c/3/0/0"):
        open_store(store.path).dask()[18].compute()


def test_parts_of_images_are_read_alone_and_refused_over_the_edge(tmp_path):
    store = built(tmp_path)
    image = store.images([13])[0]
    np.testing.assert_array_equal(store.crops([13], [[3, 2]], (5, 4))[0], image[3:8, 2:6])
    with pytest.raises(DatasetError, match=r"\(5, 4\) at \(4, 2\).*item 13"):
        store.crops([0, 13], [[0, 0], [4, 2]], (5, 4))


def test_a_store_goes_to_other_processes(tmp_path):
    store = built(tmp_path)
    expected = store.images([4, 11])
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again.images([4, 11]), expected)
    assert again.records[11] == store.records[11]


def test_a_store_without_an_item_says_so(tmp_path):
    store = built(tmp_path)
    with pytest.raises(IndexError, match="20 items"):
        store.images([20])
    with pytest.raises(IndexError, match="20 items"):
        store.records[20]
    with pytest.raises(DatasetError, match="no mask"):
        built(tmp_path / "bare", made(full=False)).masks([0])


# ---- damage


@pytest.mark.parametrize("compress", [False, True])
def test_a_missing_file_is_named_and_made_again_alone(tmp_path, compress):
    store = built(tmp_path, compress=compress)
    file = store.path / "image" / "c" / "1" / "0" / "0"
    file.unlink()
    store = open_store(store.path)
    store.images([0, 19])
    with pytest.raises(DatasetError, match=r"image/c/1/0/0: no such file; build the data set again"):
        store.images([0, 7, 19])
    source = made()
    same(built(tmp_path, source, compress=compress), source)
    assert sorted(source.read.values()) == [1] * 6  # of that file alone


def test_a_file_cut_off_or_with_a_damaged_index_is_named_and_made_again(tmp_path):
    store = built(tmp_path)
    cut, flipped, empty = (store.path / "image" / "c" / str(shard) / "0" / "0" for shard in (0, 2, 3))
    cut.write_bytes(cut.read_bytes()[:-100])
    content = bytearray(flipped.read_bytes())
    content[-20] ^= 1
    flipped.write_bytes(bytes(content))
    empty.write_bytes(b"")
    store = open_store(store.path)
    for row, file in ((0, cut), (12, flipped), (18, empty)):
        with pytest.raises(DatasetError, match=str(file)):
            store.images([row])
    source = made()
    same(built(tmp_path, source), source)
    assert len(source.read) == 6 + 6 + 2


def test_a_changed_pixel_is_found_by_verifying(tmp_path):
    store = built(tmp_path)
    file = store.path / "partner" / "c" / "1" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=f"partner of item 7 .{store.names[7]}.*has changed"):
        open_store(store.path).verify()


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda folder: (folder / "zarr.json").write_text('{"zarr_for'), "zarr.json: it cannot be read"),
        (lambda folder: (folder / "zarr.json").unlink(), "zarr.json: no such file"),
        (lambda folder: change(folder, version=99), "version 99.*update"),
        (lambda folder: change(folder, classes=None), "does not say classes"),
        (lambda folder: change(folder, items=30), "should be 30 items"),
        (lambda folder: (folder / "image" / "zarr.json").unlink(), "image/zarr.json: no such file"),
        (lambda folder: shutil.rmtree(folder), "no such folder"),
    ],
)
def test_damaged_attributes_are_told_on_opening(tmp_path, spoil, said):
    store = built(tmp_path)
    spoil(store.path)
    with pytest.raises(DatasetError, match=said):
        open_store(store.path)


@pytest.mark.parametrize("column", ["name", "label", "points_start", "image_crc32c"])
def test_damaged_columns_are_named(tmp_path, column):
    store = built(tmp_path)
    shutil.rmtree(store.path / column / "c")
    with pytest.raises(DatasetError, match=f"{column}: files of this column are missing"):
        same(open_store(store.path), made())
        open_store(store.path).verify()
    shutil.rmtree(store.path / column)
    if column == "points_start":
        return  # a store without points, as far as anybody can tell
    with pytest.raises(DatasetError, match=f"{column}: this column.*missing or damaged"):
        same(open_store(store.path), made())
        open_store(store.path).verify()


def change(folder: Path, **values: object) -> None:
    """Change or, by None, remove something that the attributes say."""
    metadata = json.loads((folder / "zarr.json").read_text())
    about = metadata["attributes"][KEY] | values
    metadata["attributes"][KEY] = {key: value for key, value in about.items() if value is not None or key == "recipe"}
    (folder / "zarr.json").write_text(json.dumps(metadata))


def test_other_zarr_groups_are_no_stores(tmp_path):
    zarr.open_group(tmp_path / "other.zarr", mode="w", zarr_format=3)
    zarr.open_group(tmp_path / "older.zarr", mode="w", zarr_format=2)
    assert not any(map(is_store, (tmp_path, tmp_path / "other.zarr", tmp_path / "older.zarr", tmp_path / "none")))
    assert is_store(built(tmp_path).path)
    with pytest.raises(DatasetError, match="no data set of this program"):
        open_store(tmp_path / "other.zarr")
    with pytest.raises(FileExistsAlreadyError, match="no data set"):
        build(made(), shutil.move(tmp_path / "other.zarr", tmp_path / "other.dataset.zarr"), overwrite=True)
    assert (tmp_path / "other.dataset.zarr" / "zarr.json").is_file()
