"""Tests of building a store: in one stream, resumable, and only of what goes together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_caked.datasets.building import build
from napari_caked.datasets.cropping import CropPad
from napari_caked.datasets.items import Item
from napari_caked.datasets.normalising import ZScore
from napari_caked.datasets.recipe import Recipe, known_steps
from napari_caked.datasets.resampling import Rescale
from napari_caked.datasets.sample import Sample
from napari_caked.datasets.sources import folder_source
from napari_caked.datasets.store import open_store
from napari_caked.errors import DatasetError
from napari_empiarreader.errors import FileExistsAlreadyError, TargetBusyError

sys.path.insert(0, str(Path(__file__).parent))
from item_arrays import Arrays, made  # noqa: E402

SMALL = {"shard_bytes": 6 * 192}  # six items of 8 x 6 float32 in a file


def images_by_name(store) -> dict[str, bytes]:
    return {record.name: store[i].image.tobytes() for i, record in enumerate(store.records)}


# ---- one stream


def test_each_item_is_read_once_and_progress_told(tmp_path):
    source, told = made(), []
    build(source, tmp_path / "a.dataset.zarr", progress=lambda *said: told.append(said), **SMALL)
    assert source.read == dict.fromkeys(range(20), 1)
    assert [done for done, total, _ in told] == list(range(1, 21)) and {total for _, total, _ in told} == {20}


def test_transforms_are_done_and_augmentations_kept(tmp_path):
    recipe = Recipe((CropPad(4), ZScore()), ())
    source = made()
    store = build(source, tmp_path / "a.dataset.zarr", recipe)
    assert store.shape == (4, 4) and store.recipe == recipe
    for i in range(len(store)):
        item = next(item for item in source.given if item.record.name == store.names[i])
        expected = recipe.prepare(Sample.of(item))
        np.testing.assert_array_equal(store[i].image, expected.image.numpy())
        np.testing.assert_array_equal(store[i].mask, expected.mask.numpy())


def test_items_of_several_shapes_are_stored_after_a_transform_that_unites_them(tmp_path):
    source = Arrays([*made(4).given, replace_shape(made(1).given[0], (12, 10))])
    store = build(source, tmp_path / "a.dataset.zarr", Recipe((CropPad(8),)))
    assert store.shape == (8, 8) and len(store) == 5


def replace_shape(item: Item, shape: tuple[int, ...]) -> Item:
    record = replace(item.record, name="another", shape=shape, group="z")
    return Item(record, np.zeros(shape, np.float32), np.zeros(shape, int), item.points, np.zeros(shape, np.float32))


def test_voxel_sizes_are_united_by_rescaling_within_what_it_can_reach(tmp_path):
    one, other = made(3, (40, 40), full=False), made(3, (61, 61), full=False, voxel_size=1.31)
    items = [replace(i, record=replace(i.record, name=f"other {i.record.name}")) for i in other.given]
    source = Arrays([*one.given, *items])
    with pytest.raises(DatasetError, match="Rescale"):
        build(source, tmp_path / "a.dataset.zarr")
    store = build(source, tmp_path / "b.dataset.zarr", Recipe((Rescale(2.5), CropPad(32))))
    sizes = np.array([record.voxel_size for record in store.records])
    np.testing.assert_allclose(sizes, 2.5, rtol=3e-3)
    assert store.shape == (32, 32)


# ---- interrupted


def test_a_build_that_broke_off_goes_on_where_it_was(tmp_path):
    path, whole = tmp_path / "a.dataset.zarr", build(made(), tmp_path / "whole.dataset.zarr", **SMALL)
    source = made()
    source.dies_at = 6  # the twelfth that is read
    with pytest.raises(KeyboardInterrupt):
        build(source, path, **SMALL)
    with pytest.raises(DatasetError, match=r"unfinished \(1 of 4 parts\); build it again"):
        open_store(path)
    again = made()
    store = build(again, path, **SMALL)
    assert len(again.read) == 20 - 6, "the first file of six was finished, and is not read again"
    assert images_by_name(store) == images_by_name(whole)
    assert not (path / "parts").exists()
    store.verify()


#: A build in a process that says how far it is, and halts there.
ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
from item_arrays import made
from napari_caked.datasets.building import build
def tell(done, total, name):
    if done == int(sys.argv[3]):
        print(done, flush=True)
        sys.stdin.read()
build(made(), sys.argv[2], shard_bytes=6 * 192, progress=tell)
"""


@contextmanager
def built_elsewhere(path: Path, until: int):
    """A process that builds at a place, and has stored so many items."""
    command = [sys.executable, "-c", ELSEWHERE, str(Path(__file__).parent), str(path), str(until)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(until)
        try:
            yield process
        finally:
            process.kill()


def test_a_build_that_is_killed_goes_on_where_it_was(tmp_path):
    """Given a process that builds, then none other can; when it is killed, then what it leaves is in nobody's way."""
    path = tmp_path / "a.dataset.zarr"
    with built_elsewhere(path, 14) as process:
        for overwrite in (False, True):
            said = rf"a\.dataset\.zarr: process {process.pid} on .* is building this data set at this moment; wait"
            with pytest.raises(TargetBusyError, match=said):
                build(made(), path, overwrite=overwrite, **SMALL)
        with pytest.raises(TargetBusyError):
            build(made(), tmp_path / ".." / tmp_path.name / path.name, **SMALL)
        build(made(), tmp_path / "b.dataset.zarr", **SMALL)
        process.kill()
    source = made()
    store = build(source, path, **SMALL)
    assert len(source.read) == 20 - 12
    assert images_by_name(store) == images_by_name(build(made(), tmp_path / "whole.dataset.zarr"))
    assert not list(tmp_path.glob(".*")), "no lock is left behind"


def test_a_build_within_a_build_at_the_same_place_is_refused(tmp_path):
    path, said = tmp_path / "a.dataset.zarr", f"process {os.getpid()} on .* is building"

    def again(done: int, total: int, name: str) -> None:
        with pytest.raises(TargetBusyError, match=said):
            build(made(), path, overwrite=True)

    assert len(build(made(), path, progress=again)) == 20
    (tmp_path / f".{path.name}.lock").write_text("not a note")
    assert len(build(made(), path)) == 20


def test_where_nothing_can_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"file/a\.dataset\.zarr: no data set can be written there"):
        build(made(), tmp_path / "file" / "a.dataset.zarr")


def test_a_stopped_build_keeps_what_is_finished_and_says_so(tmp_path):
    path, source = tmp_path / "a.dataset.zarr", made()
    with pytest.raises(DatasetError, match=r"stopped with 12 of 20 items stored; the same build goes on"):
        build(source, path, stopped=lambda: len(source.read) == 13, **SMALL)
    again = made()
    assert len(build(again, path, **SMALL)) == 20 and len(again.read) == 8


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
def test_a_full_disk_is_told_and_the_build_goes_on_when_there_is_room(tmp_path):
    script = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from item_arrays import made
from napari_caked.datasets.building import build
from napari_caked.errors import DatasetError
def fill(done, total, name):
    if done == 8:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    build(made(), sys.argv[2], shard_bytes=6 * 192, progress=fill)
except DatasetError as error:
    print(error)
"""
    path = tmp_path / "a.dataset.zarr"
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout and "make room, and build it again" in done.stdout
    source = made()
    same = images_by_name(build(source, path, **SMALL))
    assert len(source.read) == 20 - 6 and same == images_by_name(build(made(), tmp_path / "whole.dataset.zarr"))


def test_a_part_that_was_damaged_meanwhile_is_made_again(tmp_path):
    path, source = tmp_path / "a.dataset.zarr", made()
    with pytest.raises(DatasetError):
        build(source, path, stopped=lambda: len(source.read) == 19, **SMALL)
    (path / "parts" / "000001.json").write_text('[{"index": 3, "na')
    (path / "image" / "c" / "2" / "0" / "0").unlink()
    again = made()
    store = build(again, path, **SMALL)
    assert len(again.read) == 6 + 6 + 2
    assert images_by_name(store) == images_by_name(build(made(), tmp_path / "whole.dataset.zarr"))


def test_a_finished_build_is_not_done_again(tmp_path):
    path = tmp_path / "a.dataset.zarr"
    build(made(), path, **SMALL)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    source = made()
    assert len(build(source, path)) == 20
    assert not source.read and {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


# ---- something else is there


def test_a_store_is_not_built_from_itself(tmp_path):
    path = tmp_path / "a.dataset.zarr"
    store = build(made(), path)
    with pytest.raises(DatasetError, match="from itself"):
        build(store, path, overwrite=True)
    again = build(store, tmp_path / "b.dataset.zarr", dtype="float16")
    assert len(open_store(path)) == len(again) == 20 and again.records[3] == store.records[3]


def test_another_source_recipe_or_type_does_not_go_on_in_a_store(tmp_path):
    path = tmp_path / "a.dataset.zarr"
    build(made(), path, **SMALL)
    for other, options, said in (
        (made(19), {}, "another source"),
        (made(), {"recipe": Recipe((ZScore(),))}, "another recipe"),
        (made(), {"dtype": "float16"}, "images of float32"),
        (made(), {"compress": True}, "compression"),
    ):
        with pytest.raises(FileExistsAlreadyError, match=f"{said}.*overwrite"):
            build(other, path, **options)
    assert len(build(made(19), path, overwrite=True)) == 19


def test_a_file_of_the_source_that_changed_makes_it_another_source(tmp_path):
    folder = tmp_path / "items"
    folder.mkdir()
    for i in range(4):
        np.save(folder / f"a_{i}.npy", np.full((4, 4), i, np.float32))
    path = tmp_path / "a.dataset.zarr"
    build(folder_source(folder), path)
    build(folder_source(folder), path)
    np.save(folder / "a_2.npy", np.zeros((4, 4), np.float32))
    os.utime(folder / "a_2.npy", (time.time(), time.time() + 5))
    with pytest.raises(FileExistsAlreadyError, match="files have changed"):
        build(folder_source(folder), path)


def test_a_folder_that_is_no_store_is_never_touched(tmp_path):
    path = tmp_path / "a.dataset.zarr"
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(FileExistsAlreadyError, match="no data set"):
            build(made(), path, overwrite=overwrite)
    assert (path / "thesis.txt").is_file() and len(list(path.iterdir())) == 1


# ---- what cannot be stored


def test_shapes_that_differ_are_told_by_name_with_the_remedy(tmp_path):
    source = Arrays([*made(4).given, replace_shape(made(1).given[0], (12, 10))])
    for recipe in (None, Recipe((ZScore(constant="zeros"),))):
        with pytest.raises(DatasetError, match=r"another is 12 x 10 pixels, and item 0 é 8 x 6.*Rescale.*CropPad"):
            build(source, tmp_path / "a.dataset.zarr", recipe)
        # Where no transform can change it, it is known before a pixel is read.
        assert bool(source.read) == (recipe is not None)


@pytest.mark.parametrize("size, said", [((3.0, 2.0), "3 x 2 Å"), (None, "unknown size")])
def test_voxel_sizes_that_differ_are_told_by_name_with_the_remedy(tmp_path, size, said):
    source = made(4)
    source.given[3] = replace(source.given[3], record=replace(source.given[3].record, voxel_size=size))
    source = Arrays(source.given)
    with pytest.raises(DatasetError, match=f"item 3 é has pixels of {said}, and item 0 é of 2 x 2 Å.*Rescale"):
        build(source, tmp_path / "a.dataset.zarr")


def test_voxel_sizes_that_differ_by_rounding_are_one(tmp_path):
    source = made(4)
    record = replace(source.given[3].record, voxel_size=(2.0001, 1.9999))
    build(Arrays([*source.given[:3], replace(source.given[3], record=record)]), tmp_path / "a.dataset.zarr")


@pytest.mark.parametrize("kind", ["mask", "partner", "points"])
def test_parts_that_only_some_items_have_are_told_by_name(tmp_path, kind):
    source = made(4)
    source.given[2] = replace(source.given[2], **{kind: None})
    with pytest.raises(DatasetError, match=f"item 0 é has a {kind}, and item 2 é has none"):
        build(source, tmp_path / "a.dataset.zarr")


def test_labels_of_a_mask_that_do_not_fit_are_told(tmp_path):
    item = made(1).given[0]
    with pytest.raises(DatasetError, match="item 0 é: its mask has values up to 10000000000"):
        build(Arrays([replace(item, mask=np.full((8, 6), 10**10))]), tmp_path / "a.dataset.zarr")


def test_the_steps_that_messages_name_exist():
    assert {"CropPad", "Rescale", "ZScore"} <= set(known_steps())


def test_a_source_without_items_and_a_wrong_name_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no items"):
        build(Arrays([]), tmp_path / "a.dataset.zarr")
    with pytest.raises(DatasetError, match=r"ends with .dataset.zarr; name it a.dataset.zarr"):
        build(made(), tmp_path / "a.zarr")
    with pytest.raises(DatasetError, match="float32 or float16, not 'int8'"):
        build(made(), tmp_path / "a.dataset.zarr", dtype="int8")


def test_a_source_that_gives_fewer_items_than_it_has_is_told(tmp_path):
    class Short(Arrays):
        def items(self, indices):
            yield from list(super().items(indices))[:-1]

    with pytest.raises(DatasetError, match="gave 18 of its 20 items"):
        build(Short(made().given), tmp_path / "a.dataset.zarr", **SMALL)


def test_the_attributes_say_what_the_store_was_made_of(tmp_path):
    store = build(made(), tmp_path / "a.dataset.zarr", Recipe((ZScore(),)))
    about = json.loads((store.path / "zarr.json").read_text())["attributes"]["napari-caked"]
    assert about["classes"] == ["particle", "junk"] and about["complete"] and about["items"] == 20
    assert Recipe.from_json(about["recipe"]) == Recipe((ZScore(),))
    assert about["versions"].keys() >= {"napari-caked", "torch", "zarr"} and len(about["source"]) == 64
