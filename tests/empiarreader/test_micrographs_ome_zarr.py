"""Images written as OME-Zarr: values, levels, what is said of them, and what is left when something goes wrong."""

import errno
import json
import sys
import tracemalloc
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_empiarreader._writer import write_ome_zarr_image
from napari_empiarreader.errors import (
    DiskSpaceError,
    FileExistsAlreadyError,
    FormatError,
    MissingLibraryError,
    PixelSizeError,
)
from napari_empiarreader.layers import micrograph_layer, movie_layer, volume_layer
from napari_empiarreader.micrographs import MicrographSeries, MovieSeries
from napari_empiarreader.micrographs.ome_zarr import ATTRIBUTES_KEY, write_ome_zarr

zarr = pytest.importorskip("zarr", minversion="3", reason='OME-Zarr: pip install "napari-empiarreader[zarr]"')

LARGE = (2, 1024, 1300)


def values(shape, kind="f4", seed=0):
    return np.random.default_rng(seed).normal(100, 30, shape).astype(kind)


def block_means(image, factor):
    """Means over blocks that fit, straight from the full image."""
    rows, columns = (length // factor for length in image.shape[-2:])
    fitting = image[..., : rows * factor, : columns * factor].astype(np.float64)
    return fitting.reshape(*image.shape[:-2], rows, factor, columns, factor).mean(axis=(-3, -1))


def multiscale(path):
    """The one entry of "multiscales", read as plain JSON."""
    group = json.loads((path / "zarr.json").read_text())
    assert group["zarr_format"] == 3 and group["node_type"] == "group"
    assert group["attributes"]["ome"]["version"] == "0.5"
    (entry,) = group["attributes"]["ome"]["multiscales"]
    return entry


def our_attributes(path):
    return dict(zarr.open_group(path, mode="r").attrs)[ATTRIBUTES_KEY]


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- values and levels -------------------------------------------------------------------------------------------


def test_the_full_level_holds_the_values_and_the_next_their_means(tmp_path):
    images = values(LARGE)
    write_ome_zarr(tmp_path / "a.zarr", images)

    group = zarr.open_group(tmp_path / "a.zarr", mode="r")

    assert sorted(group.array_keys()) == ["0", "1"]
    np.testing.assert_array_equal(group["0"][:], images)
    assert group["1"].shape == (2, 512, 650) and group["1"].dtype == np.float32
    np.testing.assert_allclose(group["1"][:], block_means(images, 2), rtol=1e-5)
    assert left_in(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize(
    "shape, levels",
    [
        ((1, 1), [(1, 1)]),
        ((1023, 1023), [(1023, 1023)]),
        ((1024, 8), [(1024, 8), (512, 4)]),
        ((9, 4097), [(9, 4097), (4, 2048), (2, 1024), (1, 512)]),
        ((1, 3000), [(1, 3000)]),
        ((3, 5000), [(3, 5000), (1, 2500)]),
    ],
    ids=str,
)
def test_levels_halve_until_the_longer_side_is_below_1024_or_the_shorter_is_one_pixel(tmp_path, shape, levels):
    image = values(shape)
    write_ome_zarr(tmp_path / "a.zarr", image, axis_labels=("y", "x"))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert [group[str(i)].shape for i in range(len(group))] == levels
    for i in range(len(levels)):
        np.testing.assert_allclose(group[str(i)][:], block_means(image, 2**i), rtol=1e-5)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f4", ">i2"])
def test_every_real_type_is_kept(tmp_path, kind):
    image = values((4, 1030), kind)
    write_ome_zarr(tmp_path / "a.zarr", image, axis_labels=("y", "x"))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["0"].dtype == group["1"].dtype == np.dtype(kind).newbyteorder("=")
    np.testing.assert_array_equal(group["0"][:], image)
    means = block_means(image, 2)
    expected = np.rint(means) if np.dtype(kind).kind in "iu" else means
    np.testing.assert_allclose(group["1"][:], expected, rtol=1e-3 if kind == "f2" else 1e-6)


@pytest.mark.parametrize("kind", ["i1", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("edge", ["min", "max"])
def test_means_of_the_largest_values_do_not_overflow(tmp_path, kind, edge):
    info = np.finfo(kind) if np.dtype(kind).kind == "f" else np.iinfo(kind)
    extreme = getattr(info, edge)
    write_ome_zarr(tmp_path / "a.zarr", np.full((2, 1024), extreme, kind), axis_labels=("y", "x"))
    means = zarr.open_array(tmp_path / "a.zarr" / "1", mode="r")[:]
    np.testing.assert_allclose(means.astype(np.float64), float(extreme), rtol=1e-12)


def test_integers_are_rounded_once_not_at_every_level(tmp_path):
    # Means of 2 x 2 are 0.5, 0.5, 0.5 and 1, which would round to 0, 0, 0 and 1; the mean of 4 x 4 is 0.625.
    block = np.array([[1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 1, 1], [1, 0, 1, 1]], np.uint8)
    image = np.tile(block, (1, 512))
    write_ome_zarr(tmp_path / "a.zarr", image, axis_labels=("y", "x"))
    coarse = zarr.open_array(tmp_path / "a.zarr" / "2", mode="r")[:]
    np.testing.assert_array_equal(coarse, np.ones((1, 512)))


def test_yes_and_no_become_one_and_zero(tmp_path):
    mask = values((3, 5)) > 100
    write_ome_zarr(tmp_path / "a.zarr", mask, axis_labels=("y", "x"))
    stored = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored[:], mask)


def test_what_is_no_number_stays_and_spreads_to_its_block_only(tmp_path):
    image = values((4, 1024))
    image[0, 0], image[2, 2], image[3, 3] = np.nan, np.inf, -np.inf
    write_ome_zarr(tmp_path / "a.zarr", image, axis_labels=("y", "x"))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][:], image)
    bad = ~np.isfinite(group["1"][:])
    assert bad[0, 0] and bad[1, 1] and bad.sum() == 2


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(kind) for kind in ("i1", "u2", "i4", "f2", "f4", "f8")]),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=6),
    )
)
@settings(max_examples=25)
def test_what_is_written_is_read_back_bit_by_bit(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("round")
    write_ome_zarr(folder / "a.zarr", images)
    stored = zarr.open_array(folder / "a.zarr" / "0", mode="r")[:]
    assert stored.dtype == images.dtype and stored.tobytes() == images.tobytes()


@pytest.mark.parametrize("shape", [(1, 1025, 1023), (1, 2049, 700), (1, 5760, 64)], ids=str)
def test_an_image_is_one_file_of_chunks_a_viewer_can_read_alone(tmp_path, shape):
    write_ome_zarr(tmp_path / "a.zarr", np.concatenate([values(shape), np.zeros(shape, "f4")]))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    for name, array in group.arrays():
        assert array.chunks[0] == array.shards[0] == 1
        for length, chunk, shard in zip(array.shape[1:], array.chunks[1:], array.shards[1:], strict=True):
            assert min(length, 512) <= chunk <= 1024
            assert length <= shard < length + chunk
        # A black image is a file as well: one that is missing was lost.
        files = [file for file in (tmp_path / "a.zarr" / name).rglob("*") if file.is_file()]
        assert len(files) == 2 + 1


# ---- what is said of them ----------------------------------------------------------------------------------------


def test_levels_lie_over_each_other_in_angstrom(tmp_path):
    write_ome_zarr(tmp_path / "a.zarr", values((1, 8, 4100)), pixel_size=1.5)
    entry = multiscale(tmp_path / "a.zarr")
    assert entry["name"] == "a"
    assert entry["axes"] == [
        {"name": "micrograph", "type": "micrograph"},
        {"name": "y", "type": "space", "unit": "angstrom"},
        {"name": "x", "type": "space", "unit": "angstrom"},
    ]
    # The centres of the pixels, by the transformations, against the mean position of the pixels they were made of.
    positions = np.arange(4100) * 1.5
    for level, dataset in enumerate(entry["datasets"]):
        assert dataset["path"] == str(level)
        scale, *shift = dataset["coordinateTransformations"]
        offset = shift[0]["translation"] if shift else [0, 0, 0]
        count = 4100 // 2**level
        expected = positions[: count * 2**level].reshape(count, -1).mean(axis=1)
        np.testing.assert_allclose(np.arange(count) * scale["scale"][2] + offset[2], expected)
        assert scale["scale"][0] == 1 and offset[0] == 0
        assert scale["scale"][1] == scale["scale"][2] and offset[1] == offset[2]


def test_without_a_pixel_size_lengths_are_in_pixels(tmp_path):
    write_ome_zarr(tmp_path / "a.zarr", values((1, 4, 5)))
    entry = multiscale(tmp_path / "a.zarr")
    assert all("unit" not in axis for axis in entry["axes"])
    assert entry["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [1, 1, 1]}]
    assert our_attributes(tmp_path / "a.zarr") == {"pixel_size": None, "source": None, "micrographs": None}


def test_names_and_source_are_kept(tmp_path):
    names = ["a.mrc", "µ \udc80.mrc"]
    write_ome_zarr(tmp_path / "a.zarr", values((2, 4, 5)), names=names, source="empiar://10025/data", pixel_size=0.66)
    assert our_attributes(tmp_path / "a.zarr") == {
        "pixel_size": 0.66,
        "source": "empiar://10025/data",
        "micrographs": names,
    }


def test_frames_come_first_because_the_specification_wants_time_first(tmp_path):
    movies = values((2, 3, 4, 5))
    write_ome_zarr(tmp_path / "a.zarr", movies, axis_labels=("micrograph", "frame", "y", "x"), names=["a", "b"])
    stored = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")
    assert stored.metadata.dimension_names == ("frame", "micrograph", "y", "x")
    np.testing.assert_array_equal(stored[:], movies.swapaxes(0, 1))
    axes = multiscale(tmp_path / "a.zarr")["axes"]
    assert [(axis["name"], axis["type"]) for axis in axes[:2]] == [("frame", "time"), ("micrograph", "micrograph")]


@pytest.mark.parametrize(
    "labels, kinds",
    [
        (("y", "x"), ["space", "space"]),
        (("micrograph", "y", "x"), ["micrograph", "space", "space"]),
        (("z", "y", "x"), ["space"] * 3),
        (("volume", "z", "y", "x"), ["volume", "space", "space", "space"]),
        (("frame", "y", "x"), ["time", "space", "space"]),
        (("micrograph", "section", "y", "x"), ["time", "micrograph", "space", "space"]),
        (("channel", "t", "z", "y", "x"), ["time", "channel", "space", "space", "space"]),
    ],
    ids=" ".join,
)
def test_another_reading_of_the_specification_agrees(tmp_path, labels, kinds):
    models = pytest.importorskip("ome_zarr_models.v05", reason="the check against the specification: ome-zarr-models")
    shape = (*range(2, len(labels)), 5, 1100)
    write_ome_zarr(tmp_path / "a.zarr", values(shape), pixel_size=2.0, axis_labels=labels)
    image = models.Image.from_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))
    (entry,) = image.ome_attributes.multiscales
    assert [axis.type for axis in entry.axes] == kinds
    assert len(entry.datasets) == 2


# ---- laziness ----------------------------------------------------------------------------------------------------


def counted_stack(count, shape=(600, 1100)):
    """A lazy stack, and a list of which images were made so far."""
    made = []

    def image(block_id):
        made.append(block_id[0])
        return np.full((1, *shape), block_id[0], np.float32)

    chunks = ((1,) * count, *((side,) for side in shape))
    return da.map_blocks(image, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)), made


def test_each_image_is_read_once_and_in_order_with_progress_before_it(tmp_path):
    stack, made = counted_stack(4)
    seen = []
    write_ome_zarr(
        tmp_path / "a.zarr", stack, progress=lambda done, total, message="": seen.append((done, total, *made))
    )
    assert made == [0, 1, 2, 3]
    assert seen == [(0, 4), (1, 4, 0), (2, 4, 0, 1), (3, 4, 0, 1, 2), (4, 4, 0, 1, 2, 3)]


def test_memory_does_not_grow_with_the_number_of_micrographs(tmp_path):
    def peak(count):
        stack, _ = counted_stack(count)
        tracemalloc.start()
        try:
            write_ome_zarr(tmp_path / f"{count}.zarr", stack)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # whatever is imported and kept
    image = 600 * 1100 * 4
    assert peak(24) < peak(3) + image


def test_of_a_list_of_levels_the_full_one_is_written(tmp_path):
    images = values((2, 20, 30))
    write_ome_zarr(tmp_path / "a.zarr", [images, images[:, ::2, ::2]])
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")[:], images)


# ---- what cannot be written --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["c8", "c16", "O", "U3", "M8[s]"])
def test_values_that_are_no_real_numbers_are_an_error_that_names_their_type(tmp_path, kind):
    with pytest.raises(FormatError, match=rf"a\.zarr.*not {np.dtype(kind)!s}".replace("[", r"\[")):
        write_ome_zarr(tmp_path / "a.zarr", np.zeros((2, 3), kind), axis_labels=("y", "x"))
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    "shape, labels, reason",
    [
        ((2, 3, 4), ("y", "x"), "do not fit"),
        ((3, 4), ("x", "y"), "do not fit"),
        ((5, 3, 4), ("y", "y", "x"), "do not fit"),
        ((3,), ("x",), "do not fit"),
        ((2, 2, 3, 4), ("micrograph", "volume", "y", "x"), "one axis of time"),
        ((2, 2, 3, 4), ("frame", "time", "y", "x"), "one axis of time"),
        ((0, 3, 4), ("micrograph", "y", "x"), "no pixels"),
        ((2, 0, 4), ("micrograph", "y", "x"), "no pixels"),
    ],
)
def test_axes_that_cannot_be_are_an_error(tmp_path, shape, labels, reason):
    with pytest.raises(FormatError, match=reason):
        write_ome_zarr(tmp_path / "a.zarr", np.zeros(shape), axis_labels=labels)
    assert left_in(tmp_path) == []


def test_an_unknown_length_is_an_error(tmp_path):
    stack = da.from_array(values((4, 3, 5)))
    with pytest.raises(FormatError, match="not known"):
        write_ome_zarr(tmp_path / "a.zarr", stack[stack[:, 0, 0] > 0])


@pytest.mark.parametrize("levels", [[], [[1, 2], [3, 4]]], ids=["empty", "numbers"])
def test_a_list_of_anything_but_arrays_is_an_error(tmp_path, levels):
    with pytest.raises(FormatError, match="must hold arrays"):
        write_ome_zarr(tmp_path / "a.zarr", levels, axis_labels=("y", "x"))


@pytest.mark.parametrize("names", [["one"], ["one", "two", "three"], []], ids=len)
def test_names_that_do_not_fit_are_an_error(tmp_path, names):
    with pytest.raises(FormatError, match=f"{len(names)} names for 2 micrographs"):
        write_ome_zarr(tmp_path / "a.zarr", values((2, 3, 4)), names=names)


@pytest.mark.parametrize("pixel_size", [0, -1.0, float("nan"), float("inf")])
def test_an_impossible_pixel_size_is_an_error(tmp_path, pixel_size):
    with pytest.raises(PixelSizeError):
        write_ome_zarr(tmp_path / "a.zarr", values((2, 3, 4)), pixel_size=pixel_size)
    assert left_in(tmp_path) == []


def test_an_image_of_another_size_than_promised_is_an_error(tmp_path):
    stack = da.map_blocks(
        lambda block_id: np.zeros((1, 3 + block_id[0], 4)),
        chunks=((1, 1), (3,), (4,)),
        dtype=float,
        meta=np.empty((0,) * 3),
    )
    with pytest.raises(FormatError, match=r"image \(1,\) has shape \(4, 4\)"):
        write_ome_zarr(tmp_path / "a.zarr", stack)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("version", [None, "2.18.7"])
def test_without_zarr_3_the_error_says_how_to_get_it(tmp_path, monkeypatch, version):
    if version is None:
        monkeypatch.setitem(sys.modules, "zarr", None)
    else:
        monkeypatch.setattr(zarr, "__version__", version)
    with pytest.raises(MissingLibraryError, match=r'pip install "napari-empiarreader\[zarr\]"'):
        write_ome_zarr(tmp_path / "a.zarr", values((2, 3, 4)))
    assert left_in(tmp_path) == []


# ---- the folder --------------------------------------------------------------------------------------------------


class Stop(Exception):
    """What a cancelled progress raises."""


def stopping_at(step):
    def progress(done, total, message=""):
        if done == step:
            raise Stop

    return progress


@pytest.mark.parametrize("step", [0, 1, 3], ids=["at once", "under way", "at the end"])
def test_cancelled_nothing_is_left(tmp_path, step):
    with pytest.raises(Stop):
        write_ome_zarr(tmp_path / "a.zarr", values((3, 4, 5)), progress=stopping_at(step))
    assert left_in(tmp_path) == []


def test_an_image_that_cannot_be_read_leaves_nothing(tmp_path):
    def image(block_id):
        if block_id[0] == 1:
            raise ConnectionError("the archive is out of reach")
        return np.zeros((1, 3, 4))

    stack = da.map_blocks(image, chunks=((1, 1, 1), (3,), (4,)), dtype=float, meta=np.empty((0, 0, 0)))
    with pytest.raises(ConnectionError, match="out of reach"):
        write_ome_zarr(tmp_path / "a.zarr", stack)
    assert left_in(tmp_path) == []


def test_until_it_is_complete_nothing_of_that_name_is_there(tmp_path):
    target = tmp_path / "new" / "a.zarr"
    there = []
    write_ome_zarr(target, values((3, 4, 5)), progress=lambda *_: there.append(target.exists()))
    assert there == [False] * 4
    assert left_in(target.parent) == ["a.zarr"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert target.stat().st_mode == plain.stat().st_mode


def test_what_exists_is_refused_before_any_work(tmp_path):
    write_ome_zarr(tmp_path / "a.zarr", values((1, 3, 4)))
    stack, made = counted_stack(1)
    with pytest.raises(FileExistsAlreadyError, match=r"a\.zarr exists already"):
        write_ome_zarr(tmp_path / "a.zarr", stack)
    assert made == []


def test_a_zarr_is_replaced_whole_where_that_is_allowed(tmp_path):
    target = tmp_path / "a.zarr"
    write_ome_zarr(target, values((3, 4, 1100)))
    images = values((1, 3, 4), "u2")
    write_ome_zarr(target, images, overwrite=True)
    group = zarr.open_group(target, mode="r")
    assert list(group.array_keys()) == ["0"]
    np.testing.assert_array_equal(group["0"][:], images)
    assert left_in(tmp_path) == ["a.zarr"]


def test_a_zarr_can_be_replaced_by_what_is_read_from_it(tmp_path):
    images = values((2, 3, 4))
    write_ome_zarr(tmp_path / "a.zarr", images)
    write_ome_zarr(tmp_path / "a.zarr", da.from_zarr(tmp_path / "a.zarr" / "0") + 1, overwrite=True)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")[:], images + 1)


def test_cancelled_the_former_zarr_stays(tmp_path):
    images = values((2, 3, 4))
    write_ome_zarr(tmp_path / "a.zarr", images)
    with pytest.raises(Stop):
        write_ome_zarr(tmp_path / "a.zarr", images + 1, overwrite=True, progress=stopping_at(2))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")[:], images)
    assert left_in(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize("returns", [True, False], ids=["comes back", "cannot come back"])
def test_the_former_zarr_outlives_a_rename_that_fails(tmp_path, monkeypatch, returns):
    images = values((2, 3, 4))
    write_ome_zarr(tmp_path / "a.zarr", images)
    rename = Path.replace

    def failing(self, target):
        if self.name == "new" or (self.name == "old" and not returns):
            raise PermissionError(errno.EACCES, "another program holds it")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(PermissionError):
        write_ome_zarr(tmp_path / "a.zarr", images + 1, overwrite=True)

    (kept,) = tmp_path.iterdir()
    former = kept if returns else kept / "old"
    np.testing.assert_array_equal(zarr.open_array(former / "0", mode="r")[:], images)


def test_a_folder_that_is_no_zarr_is_never_replaced(tmp_path):
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsAlreadyError, match="is no Zarr folder"):
        write_ome_zarr(folder, values((2, 3, 4)), overwrite=True)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert left_in(tmp_path) == ["a.zarr"]


def test_a_full_disk_is_an_error_that_says_so_and_nothing_stays(tmp_path, monkeypatch):
    from zarr.storage import LocalStore

    put = LocalStore.set

    async def full(self, key, value):
        if "/c/" in key:
            raise OSError(errno.ENOSPC, "No space left on device")
        await put(self, key, value)

    monkeypatch.setattr(LocalStore, "set", full)
    with pytest.raises(DiskSpaceError, match=r"a\.zarr: the disk is full"):
        write_ome_zarr(tmp_path / "a.zarr", values((2, 3, 4)))
    assert left_in(tmp_path) == []


# ---- from napari -------------------------------------------------------------------------------------------------


def through_napari(layer_data):
    """Data and attributes as napari hands them to a writer, from what a reader made."""
    from napari.layers import Layer

    data, attributes, _ = Layer.create(*layer_data).as_layer_data_tuple()
    return data, attributes


def test_a_layer_of_large_micrographs_is_saved_with_pixel_size_names_and_source(tmp_path):
    image = values((1, 20, 4100))
    series = MicrographSeries.from_array(image, ["a.mrc"], 1.77)
    data, attributes = through_napari(micrograph_layer(series))
    assert attributes["multiscale"]

    assert write_ome_zarr_image(str(tmp_path / "a.zarr"), data, attributes) == [str(tmp_path / "a.zarr")]

    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")[:], image)
    assert our_attributes(tmp_path / "a.zarr") == {"pixel_size": 1.77, "source": "array", "micrographs": ["a.mrc"]}
    assert multiscale(tmp_path / "a.zarr")["axes"][-1] == {"name": "x", "type": "space", "unit": "angstrom"}


def test_layers_of_movies_and_volumes_are_saved_with_their_axes(tmp_path):
    series = MovieSeries.from_array(values((1, 3, 4, 5)), ["a.mrcs"], 2.0)
    write_ome_zarr_image(str(tmp_path / "m.zarr"), *through_napari(movie_layer(series)))
    write_ome_zarr_image(str(tmp_path / "v.zarr"), *through_napari(volume_layer(series)))
    assert [axis["name"] for axis in multiscale(tmp_path / "m.zarr")["axes"]] == ["frame", "micrograph", "y", "x"]
    assert [axis["name"] for axis in multiscale(tmp_path / "v.zarr")["axes"]] == ["z", "y", "x"]
    assert our_attributes(tmp_path / "m.zarr")["micrographs"] == ["a.mrcs"]
    assert our_attributes(tmp_path / "v.zarr")["volumes"] == ["a.mrcs"]


def test_a_layer_without_named_axes_counts_as_micrographs(tmp_path):
    write_ome_zarr_image(str(tmp_path / "a.zarr"), *through_napari((values((2, 4, 5)), {}, "image")))
    assert [axis["name"] for axis in multiscale(tmp_path / "a.zarr")["axes"]] == ["micrograph", "y", "x"]


def test_a_colour_picture_is_an_error(tmp_path):
    picture = through_napari((np.zeros((4, 5, 3), np.uint8), {"rgb": True}, "image"))
    with pytest.raises(FormatError, match="colour picture"):
        write_ome_zarr_image(str(tmp_path / "a.zarr"), *picture)


def test_the_writer_never_replaces_a_folder(tmp_path):
    layer = through_napari((values((2, 4, 5)), {}, "image"))
    write_ome_zarr_image(str(tmp_path / "a.zarr"), *layer)
    with pytest.raises(FileExistsAlreadyError):
        write_ome_zarr_image(str(tmp_path / "a.zarr"), *layer)


def test_napari_saves_by_the_suffix(tmp_path):
    from napari.layers import Image
    from npe2 import PluginManager

    PluginManager.instance().discover()
    images = values((2, 4, 5))
    saved = Image(images).save(str(tmp_path / "a.zarr"), plugin="napari-empiarreader")
    assert [Path(path) for path in saved] == [tmp_path / "a.zarr"]
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")[:], images)


def test_the_reader_that_napari_brings_opens_all_levels(tmp_path):
    from napari.components import ViewerModel
    from npe2 import PluginManager

    PluginManager.instance().discover()
    images = values(LARGE)
    write_ome_zarr(tmp_path / "a.zarr", images, pixel_size=1.5)
    (layer,) = ViewerModel().open(str(tmp_path / "a.zarr"), plugin="napari")
    assert [level.shape for level in layer.data] == [(2, 1024, 1300), (2, 512, 650)]
    np.testing.assert_array_equal(np.asarray(layer.data[0]), images)
