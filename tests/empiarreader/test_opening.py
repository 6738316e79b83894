"""Images of every kind as layers: which there are, how they lie, and what is said about them."""

from __future__ import annotations

import json
import warnings

import mrcfile
import npe2
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Layer

from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import FormatError
from napari_empiarreader.layers import micrograph_layer, movie_layer, summed_layer
from napari_empiarreader.micrographs import MicrographSeries, MovieSeries
from napari_empiarreader.micrographs.gain import GainReference
from napari_empiarreader.opening import open_layers

RNG = np.random.default_rng(4)


def write(path, data, pixel_size=1.5, kind="stack"):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        if data.ndim == 3:
            mrc.set_volume() if kind == "volume" else mrc.set_image_stack()
        mrc.voxel_size = pixel_size
    return data


@pytest.fixture
def movies(tmp_path):
    folder = tmp_path / "movies"
    folder.mkdir()
    frames = RNG.poisson(1, (2, 5, 32, 48)).astype(np.uint8)
    for name, movie in zip("ab", frames, strict=True):
        tifffile.imwrite(folder / f"{name}.tif", movie, compression="lzw", photometric="minisblack")
    return folder, frames


def test_movies_are_one_layer_of_frames(movies):
    folder, frames = movies
    opened = open_layers(folder, pixel_size=0.8)
    ((data, attributes, kind),) = opened.layers
    layer = Layer.create(data, attributes, kind)
    assert layer.axis_labels == ("micrograph", "frame", "y", "x") and data.chunks[:2] == ((1, 1), (1,) * 5)
    np.testing.assert_allclose(layer.scale, (1, 1, 0.8, 0.8))
    assert [str(unit) for unit in layer.units] == ["pixel", "pixel", "angstrom", "angstrom"]
    np.testing.assert_array_equal(np.asarray(data[1, 3]), frames[1, 3])
    assert opened.summary == "2 movies of 5 frames, 48 × 32 px, 0.8 Å per pixel" and not opened.warnings


def test_movies_open_as_sums_with_a_gain_reference(movies):
    folder, frames = movies
    gain = RNG.uniform(0.5, 2, (32, 48)).astype(np.float32)
    ((data, attributes, _),) = open_layers(folder, pixel_size=1, gain=GainReference(gain, "none", 0, True, "g")).layers
    assert attributes["axis_labels"] == ("micrograph", "y", "x") and attributes["metadata"]["micrographs"] == [
        "a.tif",
        "b.tif",
    ]
    np.testing.assert_allclose(np.asarray(data[1]), (frames[1] * gain).sum(0), rtol=1e-5)


def test_a_movie_layer_is_summed_lazily_and_nothing_else_is(movies):
    folder, frames = movies
    read = []
    series = MovieSeries(("a", "b"), (5, 32, 48), np.dtype("u1"), 2.0, lambda i, f: read.append((i, f)) or frames[i, f])
    data, attributes, _ = movie_layer(series)
    read.clear()
    summed, settings, _ = summed_layer(data, attributes)
    assert set(read) == {(0, frame) for frame in range(5)}  # the first, for its contrast
    np.testing.assert_array_equal(np.asarray(summed[1]), frames[1].sum(0))
    assert settings["scale"] == (1, 2, 2) and settings["metadata"]["micrographs"] == ["a", "b"]
    with pytest.raises(FormatError, match="a movie has"):
        summed_layer(summed, settings)


def test_a_volume_is_as_thick_as_it_is_wide(tmp_path):
    volume = write(tmp_path / "v.map", RNG.normal(size=(6, 8, 10)).astype(np.float32), 2.5, "volume")
    ((data, attributes, kind),) = open_layers(tmp_path / "v.map").layers
    layer = Layer.create(data, attributes, kind)
    assert layer.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(layer.scale, (2.5, 2.5, 2.5))
    assert [str(unit) for unit in layer.units] == ["angstrom"] * 3
    np.testing.assert_array_equal(np.asarray(data), volume)
    assert "micrographs" not in layer.metadata  # it is none, so nothing is picked on it by mistake


def test_sizes_become_layers_and_damaged_files_are_named(tmp_path):
    write(tmp_path / "a.mrc", np.ones((16, 16), np.float32))
    write(tmp_path / "b.mrc", np.ones((16, 24), np.float32))
    write(tmp_path / "c.mrc", np.ones((16, 16), np.float32))
    (tmp_path / "d.mrc").write_bytes(b"no image at all")
    opened = open_layers(tmp_path, name="mixed")
    assert [attributes["metadata"]["micrographs"] for _, attributes, _ in opened.layers] == [
        ["a.mrc", "c.mrc"],
        ["b.mrc"],
    ]
    assert [attributes["name"] for _, attributes, _ in opened.layers] == ["mixed 16 × 16", "mixed 24 × 16"]
    assert list(opened.left_out) == [str(tmp_path / "d.mrc")] and "1 file could not be opened" in opened.summary


def test_napari_gets_every_layer_and_hears_what_is_odd(tmp_path):
    npe2.PluginManager.instance().discover()
    write(tmp_path / "a.mrc", np.ones((16, 16), np.float32))
    write(tmp_path / "b.mrc", np.ones((16, 24), np.float32))
    (tmp_path / "d.mrc").write_bytes(b"no image at all")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        layers = npe2.read([str(tmp_path)], stack=False, plugin_name="napari-empiarreader")
    assert len(layers) == 2 and any("d.mrc" in str(warning.message) for warning in heard)


@pytest.mark.parametrize(
    ("header", "deposited", "used", "said"),
    [
        (1.5, None, 1.5, ""),
        (1.5, 1.501, 1.5, ""),
        (0.0, 1.2, 1.2, ""),
        (1.5, 3.0, 1.5, "3 Å"),
        (0.0, None, None, "type"),
    ],
)
def test_the_pixel_size_is_the_headers_else_the_entrys_else_asked(tmp_path, header, deposited, used, said):
    write(tmp_path / "a.mrc", np.ones((16, 16), np.float32), header)
    opened = open_layers(tmp_path, deposited=deposited)
    assert opened.layers[0][1]["metadata"]["pixel_size"] == pytest.approx(used)
    assert (said in " ".join(opened.warnings)) if said else not opened.warnings


def test_a_large_micrograph_comes_with_levels_for_the_screen():
    read = []

    def image(index):
        read.append(index)
        return np.full((4200, 40), index, np.float32)

    series = MicrographSeries(("a", "b"), (4200, 40), np.dtype(np.float32), 1.0, image)
    data, attributes, kind = micrograph_layer(series)
    assert attributes["multiscale"] and [level.shape[0] for level in data] == [2] * len(data) and len(data) > 1
    viewer = ViewerModel()
    layer = viewer.add_layer(Layer.create(data, attributes, kind))
    np.testing.assert_array_equal(np.unique(np.asarray(layer.data[-1][1])), [1])
    assert layer.extent.world[1][-2] == pytest.approx(4199.5, abs=1)


def test_an_entry_opens_by_the_same_way_with_headers_only(tmp_path):
    data = tmp_path / "10017" / "data"
    data.mkdir(parents=True)
    for name in "abc":
        write(data / f"{name}.mrc", RNG.normal(size=(64, 64)).astype(np.float32))
    (tmp_path / "10017" / "entry.json").write_text(json.dumps({"title": "x"}))
    with LoopbackArchive(tmp_path) as server:
        opened = open_layers("empiar://10017/data", archive=Archive(server.settings))
        moved = server.bytes_sent
    assert opened.layers[0][1]["metadata"]["source"] == "empiar://10017/data"
    assert moved < 64 * 64 * 4 + 3 * 1024 + 4000  # one picture, for its contrast; a header and a listing
