"""Tests of data sets as napari layers, and of layers as data sets."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import dask.array as da
import npe2
import numpy as np
import pandas as pd
import pytest
import zarr
from napari.components import ViewerModel
from npe2 import PluginManager

from napari_caked._reader import get_dataset_reader
from napari_caked.datasets.building import build
from napari_caked.datasets.store import open_store

sys.path.insert(0, str(Path(__file__).parent))
from item_arrays import made  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _plugins() -> None:
    PluginManager.instance().discover()


@pytest.mark.parametrize("shape", [(16, 12), (5, 16, 12)])
def test_a_data_set_opens_as_lazy_layers_in_angstrom(tmp_path, shape):
    store = build(made(20, shape), tmp_path / "noise.dataset.zarr")
    viewer = ViewerModel()
    layers = {layer.name: layer for layer in viewer.open(str(store.path), plugin="napari-caked")}
    assert list(layers) == ["noise", "noise partners", "noise masks", "noise points", "noise classes"]
    image = layers["noise"]
    assert isinstance(image.data, da.Array) and image.data.chunksize == (1, *shape)
    np.testing.assert_array_equal(np.asarray(image.data[7]), store.images([7])[0])
    for layer in layers.values():
        assert tuple(layer.scale) == (1.0,) + (2.0,) * len(shape)
        assert [str(unit) for unit in layer.units] == ["pixel"] + ["angstrom"] * len(shape)
    np.testing.assert_array_equal(np.asarray(layers["noise masks"].data[7]), store.masks([7])[0])
    points = layers["noise points"].data
    np.testing.assert_allclose(points[points[:, 0] == 7, 1:], store.points(7), atol=1e-6)
    classes = layers["noise classes"]
    assert len(classes.data) == 20 and list(classes.data[:, 0]) == list(range(20))
    names = {-1: "-", 0: "particle", 1: "junk"}
    assert list(classes.features["class"]) == [names[label] for label in store.labels]
    assert list(classes.features["group"]) == list(store.groups) and list(classes.features["name"]) == list(store.names)
    assert classes.text.values[3] == classes.features["class"][3]


def test_a_data_set_without_voxel_size_opens_in_pixels(tmp_path):
    store = build(made(4, full=False, voxel_size=None), tmp_path / "noise.dataset.zarr")
    layers = npe2.read([str(store.path)], stack=False, plugin_name="napari-caked")
    assert [layer[1]["name"] for layer in layers] == ["noise", "noise classes"]
    assert layers[0][1]["scale"] == (1.0, 1.0, 1.0) and set(layers[0][1]["units"]) == {"pixel"}


def test_other_folders_are_left_to_other_readers(tmp_path):
    zarr.open_group(tmp_path / "ome.zarr", mode="w", zarr_format=3, attributes={"ome": {"version": "0.5"}})
    zarr.open_group(tmp_path / "named.dataset.zarr", mode="w", zarr_format=3)
    (tmp_path / "micrographs").mkdir()
    ours = build(made(4), tmp_path / "ours.dataset.zarr").path
    for folder in ("ome.zarr", "named.dataset.zarr", "micrographs", "none"):
        assert get_dataset_reader(str(tmp_path / folder)) is None
        assert get_dataset_reader([str(ours), str(tmp_path / folder)]) is None
    assert get_dataset_reader([str(ours), str(ours)]) is not None


def test_micrographs_with_classed_points_are_written_as_a_data_set(tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 100, 100)).astype(np.float32)
    points = np.array([[0, 40.0, 50.0], [0, 60.0, 30.0], [1, 50.0, 50.0], [1, 2.0, 2.0]])
    frame = {"scale": (1, 3.0, 3.0), "units": ("pixel", "angstrom", "angstrom")}
    image = (images, frame | {"metadata": {"micrographs": ["a.mrc", "b.mrc"], "pixel_size": 3.0}}, "image")
    features = pd.DataFrame({"class": ["good", "junk", "good", "good"]})
    circles = (points, frame | {"size": 16, "features": features, "name": "clicked"}, "points")
    path = str(tmp_path / "clicked.dataset.zarr")
    with pytest.warns(UserWarning, match="left out"):
        assert npe2.write(path, [image, circles]) == [path], "the longer ending wins over that of OME-Zarr"
    store = open_store(path)
    assert store.classes == ("good", "junk") and store.labels.tolist() == [0, 1, 0] and store.shape == (24, 24)
    assert list(store.groups) == ["a.mrc", "a.mrc", "b.mrc"] and store.voxel_size == (3.0, 3.0)
    np.testing.assert_array_equal(store.images([1])[0], images[0, 48:72, 18:42])
    without = replace_features(circles)
    with pytest.warns(UserWarning, match="left out"):
        npe2.write(path, [image, without], plugin_name="napari-caked")
    assert open_store(path).classes == ("clicked",)


def replace_features(layer):
    data, attributes, kind = layer
    return data, {key: value for key, value in attributes.items() if key != "features"}, kind


def test_a_record_keeps_what_the_source_said(tmp_path):
    source = made(3)
    item = source.given[0]
    odd = replace(item.record, origin={"y": np.float32(1.5), "row": np.int64(7)})
    source.given = [replace(item, record=odd)]
    store = build(type(source)(source.given), tmp_path / "a.dataset.zarr")
    assert store.records[0].origin == {"y": 1.5, "row": 7}
