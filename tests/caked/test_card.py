"""Tests of the card of a data set."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from napari_caked.datasets.building import build
from napari_caked.datasets.card import contact_sheet, make_card, write_card
from napari_caked.datasets.normalising import ZScore
from napari_caked.datasets.recipe import Recipe
from napari_caked.errors import DatasetError
from napari_empiarreader.errors import FileExistsAlreadyError

sys.path.insert(0, str(Path(__file__).parent))
from item_arrays import Arrays, made  # noqa: E402


def bright_junk() -> Arrays:
    """Items of which those of class junk have a mean of 5."""
    source = made(30)
    source.given = [replace(item, image=item.image + 5.0 * np.float32(item.record.label == 1)) for item in source.given]
    return Arrays(source.given)


def test_a_card_counts_all_and_measures_each_class():
    card = make_card(bright_junk(), "noise")
    assert card.items == 30 and list(card.classes) == ["particle", "junk", "(none)"]
    particle, junk, none = card.classes.values()
    assert [particle.items, junk.items, none.items] == [10, 10, 10] and junk.groups == 4 and junk.read == 10
    # Labels are -1, 0, 1 in turn, and weights 1, 2, 3 ... 30.
    assert particle.weight == sum(range(2, 31, 3)) and junk.weight == sum(range(3, 31, 3))
    assert junk.mean == pytest.approx(5, abs=0.2) and particle.mean == pytest.approx(0, abs=0.2)
    assert junk.deviation == pytest.approx(1, abs=0.1) and junk.range == pytest.approx((5 - 2.33, 5 + 2.33), abs=0.5)
    assert card.groups == {"grid 0": 8, "grid 1": 8, "grid 2": 7, "grid 3": 7}
    assert card.shapes == {"8 x 6": 30} and card.voxel_sizes == {"2 Å": 30}
    centres = (np.array(card.edges[1:]) + np.array(card.edges[:-1])) / 2
    assert sum(junk.histogram) > 0.98 and np.average(centres, weights=junk.histogram) == pytest.approx(5, abs=0.3)


def test_a_card_reads_some_items_of_large_classes():
    source = bright_junk()
    assert make_card(source, per_class=4).classes["junk"].read == 4 and len(source.read) == 12


def test_a_card_of_a_class_without_items_says_so():
    source = bright_junk()
    source.classes = ("particle", "junk", "carbon")
    card = make_card(source)
    carbon = card.classes["carbon"]
    assert carbon.items == 0 and carbon.mean is None
    assert json.loads(card.to_json())["classes"]["carbon"]["range"] is None
    assert "| carbon | 0 | 0 | 0 |  |" in card.to_markdown()


def test_shapes_and_voxel_sizes_that_differ_are_all_counted():
    source = made(3, full=False)
    source.given[1] = made(1, (4, 4), full=False, voxel_size=None).given[0]
    source.given[2] = replace(source.given[2], record=replace(source.given[2].record, voxel_size=(2.0, 1.0)))
    card = make_card(Arrays(source.given))
    assert card.shapes == {"8 x 6": 2, "4 x 4": 1}
    assert card.voxel_sizes == {"2 Å": 1, "unknown": 1, "2 x 1 Å": 1}


def test_the_card_of_a_store_tells_how_it_was_made(tmp_path):
    store = build(bright_junk(), tmp_path / "a.dataset.zarr", Recipe((ZScore(),)), made={"command": ["napari-caked"]})
    files = write_card(store, tmp_path)
    assert [file.name for file in files] == ["card.json", "card.md", "card.png"]
    card = json.loads(files[0].read_text())
    assert card["name"] == "a.dataset.zarr" and card["made"]["made"] == {"command": ["napari-caked"]}
    assert Recipe.from_json(json.dumps(card["recipe"])) == store.recipe
    assert '"ZScore"' in files[1].read_text() and "](card.png)" in files[1].read_text()
    with pytest.raises(FileExistsAlreadyError):
        write_card(store, tmp_path)


@pytest.mark.parametrize("shape", [(16, 16), (5, 16, 16)])
def test_the_sheet_has_a_row_of_pictures_for_each_class(tmp_path, shape):
    source = made(30, shape, full=False)
    # Black items with a white half: the sheet must show it.
    half = np.zeros(shape, np.float32)
    half[..., :8] = 1
    source = Arrays([replace(item, image=half) for item in source.given])
    picture = imread(contact_sheet(source, tmp_path / "sheet.png", per_class=4))[..., :3]
    black = (picture.max(axis=2) < 0.01).mean()
    # Three rows of four pictures fill about half of the sheet, and half of each is black.
    assert 0.1 < black < 0.4


def test_nothing_cannot_be_told_about():
    with pytest.raises(DatasetError, match="no items"):
        make_card(Arrays([]))
