"""Tests of items from what was clicked, painted and drawn on micrographs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels, Points, Shapes

from napari_caked.datasets.sources.painted import Region, boxes_of
from napari_caked.errors import DatasetError
from napari_caked.item_layers import items_from_labels, items_from_points, items_from_shapes

IMAGES = np.random.default_rng(0).normal(size=(3, 100, 120)).astype(np.float32)
FRAME = {"scale": (1.0, 2.0, 2.0), "units": ("pixel", "angstrom", "angstrom")}


@pytest.fixture
def micrographs():
    return Image(IMAGES, metadata={"micrographs": ["a.mrc", "b.mrc", "c.mrc"], "pixel_size": 2.0}, **FRAME)


def labels_of(*painted: tuple[int, slice, slice, int], **wishes) -> Labels:
    data = np.zeros(IMAGES.shape, np.int32)
    for index, rows, columns, number in painted:
        data[index, rows, columns] = number
    return Labels(data, **FRAME | wishes)


def classes_of(source) -> list[str]:
    return [source.classes[record.label] for record in source.records]


# ---- points ---------------------------------------------------------------------------------------------------


def test_layers_of_points_are_classes_by_their_names(micrographs):
    good = Points([[2, 50, 60], [0, 40, 30]], name="good", **FRAME)
    bad = Points([[2, 30, 30]], name="bad", **FRAME)
    source = items_from_points(micrographs, [good, bad], 32, unit="Å", neighbours=True)
    assert classes_of(source) == ["good", "good", "bad"] and source.records[0].voxel_size == (2.0, 2.0)
    item = source[0]
    np.testing.assert_array_equal(item.image, IMAGES[2, 42:58, 52:68])
    assert item.record.group == "c.mrc" and item.points.tolist() == [[8, 8]]


def test_a_feature_of_the_points_is_their_class(micrographs):
    points = Points([[0, 50, 60], [0, 40, 30]], features={"kind": ["ice", "protein"]}, name="clicks", **FRAME)
    assert classes_of(items_from_points(micrographs, [points], 16, classes="kind")) == ["ice", "protein"]
    assert len(items_from_points(micrographs, [points], 16, classes="kind", only=["ice"])) == 1
    with pytest.raises(DatasetError, match="layer 'clicks': there is no column 'sort'; there are kind"):
        items_from_points(micrographs, [points], 16, classes="sort")


def test_points_of_another_scale_lie_where_they_are_seen(micrographs):
    points = Points([[1, 100, 80]], scale=(1.0, 1.0, 1.0), name="coarse")
    np.testing.assert_array_equal(items_from_points(micrographs, [points], 16)[0].image, IMAGES[1, 42:58, 32:48])


def test_layers_without_points_are_told(micrographs):
    with pytest.raises(DatasetError, match=r"no points in the layers \('empty'\)"):
        items_from_points(micrographs, [Points(ndim=3, name="empty")], 16)
    with pytest.raises(DatasetError, match="same name"):
        items_from_points(micrographs, [Points([[0, 50, 50]], name="a"), Points([[0, 50, 50]], name="a")], 16)


# ---- labels ---------------------------------------------------------------------------------------------------


def test_a_painted_area_is_an_item_with_its_mask(micrographs):
    labels = labels_of((1, slice(40, 50), slice(60, 66), 3), (1, slice(20, 24), slice(20, 24), 3))
    source = items_from_labels(micrographs, labels, 16, classes={3: "ice"})
    assert classes_of(source) == ["ice", "ice"] and source.records[0].group == "b.mrc"
    item = source[1]
    np.testing.assert_array_equal(item.image, IMAGES[1, 37:53, 55:71])
    np.testing.assert_array_equal(item.mask, labels.data[1, 37:53, 55:71])
    assert (item.mask == 3).sum() == 60
    labels.data[:] = 0
    assert (source[1].mask == 3).sum() == 60, "the source must not change with the layer"


def test_a_large_painted_area_is_covered_by_boxes_on_paint(micrographs):
    labels = labels_of((0, slice(0, 48), slice(0, 64), 1))
    source = items_from_labels(micrographs, labels, 16)
    assert len(source) == 12 and source.classes == ("1",)
    covered = np.zeros(IMAGES.shape[1:], bool)
    for record in source.records:
        y, x = (int(record.origin[axis]) - 8 for axis in "yx")
        covered[y : y + 16, x : x + 16] = True
        assert labels.data[0, int(record.origin["y"]), int(record.origin["x"])] == 1
    assert covered[:48, :64].mean() > 0.9


def test_an_area_at_the_edge_still_gives_whole_boxes(micrographs):
    source = items_from_labels(micrographs, labels_of((2, slice(95, 100), slice(0, 3), 1)), 16)
    assert source.left_out == 0
    np.testing.assert_array_equal(source[0].image, IMAGES[2, 84:, :16])
    assert (source[0].mask == 1).sum() == 15


def test_a_feature_of_the_labels_is_their_class(micrographs):
    features = pd.DataFrame({"index": [1, 2], "kind": ["ring", "disc"]})
    labels = labels_of((0, slice(30, 40), slice(30, 40), 1), (0, slice(60, 70), slice(60, 70), 2), features=features)
    assert classes_of(items_from_labels(micrographs, labels, 16, classes="kind")) == ["ring", "disc"]


def test_labels_that_cannot_be_items_are_told(micrographs):
    painted = labels_of((0, slice(30, 40), slice(30, 40), 7), name="brush")
    with pytest.raises(
        DatasetError, match=r"a\.mrc: the label 7 is painted, and stands for no class; known are 1 \(x\)"
    ):
        items_from_labels(micrographs, painted, 16, classes={1: "x"})
    with pytest.raises(DatasetError, match="nothing is painted"):
        items_from_labels(micrographs, labels_of(), 16)
    with pytest.raises(DatasetError, match="'brush' has .*must lie on each other"):
        items_from_labels(micrographs, Labels(painted.data[:, ::2, ::2], name="brush", **FRAME), 16)
    with pytest.raises(DatasetError, match="must lie on each other"):
        items_from_labels(micrographs, Labels(painted.data, scale=(1, 4, 4)), 16)


# ---- shapes ---------------------------------------------------------------------------------------------------


def test_drawn_regions_are_items_with_masks(micrographs):
    square = np.array([[1, 39.5, 59.5], [1, 39.5, 69.5], [1, 49.5, 69.5], [1, 49.5, 59.5]])
    shapes = Shapes(
        [square, square + [1, -20, -20]],
        shape_type=["rectangle", "ellipse"],
        features={"kind": ["carbon", "gold"]},
        name="regions",
        **FRAME,
    )
    source = items_from_shapes(micrographs, shapes, 16, classes="kind")
    assert classes_of(source) == ["carbon", "gold"] and source.records[1].group == "c.mrc"
    item = source[0]
    np.testing.assert_array_equal(item.image, IMAGES[1, 37:53, 57:73])
    expected = np.zeros((16, 16), int)
    expected[3:13, 3:13] = 1
    np.testing.assert_array_equal(item.mask, expected)
    disc = source[1].mask == 2
    assert abs(disc.sum() - np.pi * 25) < 8 and not disc[3, 3] and disc[8, 8]
    assert classes_of(items_from_shapes(micrographs, shapes, 16)) == ["regions", "regions"]


def test_regions_of_another_scale_lie_where_they_are_drawn(micrographs):
    square = np.array([[1, 79, 119], [1, 79, 139], [1, 99, 139], [1, 99, 119]])
    item = items_from_shapes(micrographs, Shapes([square], shape_type="polygon"), 16)[0]
    np.testing.assert_array_equal(item.image, IMAGES[1, 37:53, 57:73])
    assert (item.mask == 1).sum() == 100


def test_shapes_that_cannot_be_items_are_told(micrographs):
    square = np.array([[1, 40, 60], [1, 40, 70], [1, 50, 70], [1, 50, 60]], float)
    with pytest.raises(DatasetError, match="'s': shape 1 is a line"):
        items_from_shapes(micrographs, Shapes([square[:2]], shape_type="line", name="s", **FRAME), 16)
    with pytest.raises(DatasetError, match="region 1 .* holds no pixel"):
        items_from_shapes(micrographs, Shapes([square + [0, 500, 0]], **FRAME), 16)
    with pytest.raises(DatasetError, match="region 1 .* lies on no micrograph"):
        items_from_shapes(micrographs, Shapes([square + [5, 0, 0]], **FRAME), 16)
    with pytest.raises(DatasetError, match="no region is drawn"):
        items_from_shapes(micrographs, Shapes(ndim=3, **FRAME), 16)


def test_a_turned_ellipse_is_as_large_as_its_axes_say():
    turn = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    corners = np.array([[-20, -10], [-20, 10], [20, 10], [20, -10]]) @ turn.T + 50
    inside = Region(0, corners, "x", "ellipse").inside((100, 100))
    assert inside.sum() == pytest.approx(np.pi * 20 * 10, rel=0.01)
    along = (np.argwhere(inside) - 50) @ turn
    assert along.std(axis=0) == pytest.approx([10, 5], rel=0.02)


@pytest.mark.parametrize("box", [15, 16])
@pytest.mark.parametrize("side", [1, 2, 14, 15])
def test_a_region_that_fits_is_wholly_in_its_box(box, side):
    region = np.zeros((60, 60), bool)
    region[21 : 21 + side, 30 : 30 + side] = True
    ((y, x),) = boxes_of(region, box).astype(int) - box // 2
    assert region[y : y + box, x : x + box].sum() == side**2
