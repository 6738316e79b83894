"""Tests of particles, stacks and simulated micrographs as sources of items, and of several sources together."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest

from napari_caked.datasets.items import UNLABELLED
from napari_caked.datasets.sources import (
    Subset,
    folder_source,
    joined,
    particle_source,
    particles_of_files,
    simulated_source,
    stack_source,
    united_tables,
)
from napari_caked.errors import DatasetError
from napari_empiarreader.coordinates import ParticleTable, write_particles
from napari_empiarreader.errors import CoordinatesError, PixelSizeError
from napari_empiarreader.micrographs import MicrographSeries, write_mrc

sys.path.insert(0, str(Path(__file__).parent))
from simulated import small_bank  # noqa: E402

IMAGES = np.random.default_rng(0).normal(size=(4, 60, 80)).astype(np.float32)
NAMES = tuple(f"m{i}.mrc" for i in range(4))


def counted(images=IMAGES, pixel_size: float | None = 2.0) -> tuple[MicrographSeries, list[int]]:
    """A series that keeps account of what is read of it."""
    reads: list[int] = []

    def read(index: int) -> np.ndarray:
        reads.append(index)
        return images[index]

    return MicrographSeries(NAMES, images.shape[1:], images.dtype, pixel_size, read, "counted"), reads


def table_of(places, **features) -> ParticleTable:
    return ParticleTable(NAMES, np.array(places, float), pd.DataFrame(features, index=range(len(places))))


PLACES = [(2, 30, 40), (0, 10.4, 12.6), (2, 20, 20), (1, 30, 30), (0, 40, 60), (2, 25, 22)]


def test_boxes_are_cut_around_the_nearest_pixel_and_keep_their_values():
    series, _ = counted()
    item = particle_source(series, table_of(PLACES), 16)[1]
    np.testing.assert_array_equal(item.image, IMAGES[0, 10 - 8 : 10 + 8, 13 - 8 : 13 + 8])
    assert item.image.base is None and item.record.voxel_size == (2.0, 2.0)
    assert item.record.group == "m0.mrc" and item.record.name == "m0.mrc#1"
    assert item.record.origin == {"micrograph": "m0.mrc", "row": 1, "y": 10.4, "x": 12.6, "box": 16}


def test_each_micrograph_is_read_once_however_its_particles_are_ordered():
    series, reads = counted()
    source = particle_source(series, table_of(PLACES), 16)
    assert not reads
    order = [5, 0, 3, 1, 2, 4, 0]
    found = list(source.items(order))
    assert sorted(reads) == [0, 1, 2] and sorted(index for index, _ in found) == sorted(order)
    for index, item in found:
        micrograph, y, x = np.rint(PLACES[index]).astype(int)
        np.testing.assert_array_equal(item.image, IMAGES[micrograph, y - 8 : y + 8, x - 8 : x + 8])


def test_ten_thousand_particles_stream_a_hundred_micrographs_once():
    reads = []
    blank = np.zeros((64, 64), np.float32)
    names = tuple(f"{i}.mrc" for i in range(100))
    series = MicrographSeries(names, (64, 64), blank.dtype, 1.5, lambda i: (reads.append(i), blank)[1])
    dice = np.random.default_rng(1)
    places = np.column_stack([dice.integers(0, 100, 10_000), dice.uniform(16, 48, (10_000, 2))])
    source = particle_source(series, ParticleTable(names, places), 32)
    assert sum(1 for _ in source.items(dice.permutation(len(source)))) == 10_000
    assert sorted(reads) == list(range(100))


def test_particles_at_the_edge_are_left_out_and_counted():
    series, _ = counted()
    source = particle_source(series, table_of([*PLACES, (3, 3, 40), (3, 30, 72.6)]), 16)
    assert len(source) == 6 and source.left_out == 2
    assert source.warnings == ("2 particles left out, whose box of 16 pixels reaches over the edge of the micrograph",)
    assert len(particle_source(series, table_of([(3, 8, 72), (3, 52, 8)]), 16)) == 2
    with pytest.raises(DatasetError, match="none of 1 particles has a whole box"):
        particle_source(series, table_of([(3, 3, 40)]), 16)


def test_labels_outside_their_micrograph_are_refused_or_left_out():
    series, _ = counted()
    outside = table_of([*PLACES, (3, 30, 100)])
    with pytest.raises(CoordinatesError, match="1 of 7 particles lie outside"):
        particle_source(series, outside, 16)
    assert particle_source(series, outside, 16, permissive=True).left_out == 1
    foreign = replace(table_of(PLACES), micrographs=("m0.mrc", "m1.mrc", "else.mrc", "m3.mrc"))
    with pytest.raises(CoordinatesError, match="else"):
        particle_source(series, foreign, 16)
    assert particle_source(series, foreign, 16, permissive=True).unmatched == 3


def test_boxes_in_angstrom_are_the_nearest_even_number_of_pixels():
    series, _ = counted()
    assert particle_source(series, table_of(PLACES), 31.5, unit="Å").records[0].shape == (16, 16)
    with pytest.raises(PixelSizeError):
        particle_source(counted(pixel_size=None)[0], table_of(PLACES), 32, unit="Å")
    for box in (1, 15.5, 61):
        with pytest.raises(DatasetError, match=r"box of .* cannot be cut"):
            particle_source(series, table_of(PLACES), box)


def test_classes_groups_and_weights_come_from_columns():
    series, _ = counted()
    table = table_of(PLACES, kind=[2.0, 10.0, np.nan, 2.0, 2.0, 10.0], hole=list("aabbcc"), sure=[1, 0.5, 1, 1, 0, 2])
    source = particle_source(series, table, 16, classes="kind", groups="hole", weights="sure")
    assert source.classes == ("2", "10")
    assert [r.label for r in source.records] == [0, 1, UNLABELLED, 0, 0, 1]
    assert [r.group for r in source.records] == list("aabbcc")
    assert [r.weight for r in source.records] == [1, 0.5, 1, 1, 0, 2]
    assert [r.name for r in particle_source(series, table, 16, classes="kind", only=["10"]).records] == [
        "m0.mrc#1",
        "m2.mrc#5",
    ]
    with pytest.raises(DatasetError, match="no class '3'; there are 2, 10"):
        particle_source(series, table, 16, classes="kind", only=["3"])
    with pytest.raises(DatasetError, match="no column 'class'; there are kind, hole, sure"):
        particle_source(series, table, 16, classes="class")
    with pytest.raises(DatasetError, match="row 3 has the weight nan"):
        particle_source(series, table, 16, weights="kind")


def test_a_class_whose_particles_are_all_at_the_edge_is_no_secret():
    series, _ = counted()
    table = table_of([*PLACES, (3, 3, 40)], kind=["a"] * 6 + ["b"])
    with pytest.raises(DatasetError, match="no item of the class b has a whole box"):
        particle_source(series, table, 16, classes="kind")
    source = particle_source(series, table, 16, classes="kind", permissive=True)
    assert source.classes == ("a", "b") and source.warnings[-1] == "the class b has no items"


def test_masks_partners_and_neighbours_are_cut_at_the_same_places():
    series, _ = counted()
    labels = np.random.default_rng(1).integers(0, 3, IMAGES.shape).astype(np.int8)
    masks, _ = counted(labels)
    partner, _ = counted(-IMAGES)
    item = particle_source(series, table_of(PLACES), 16, masks=masks, partner=partner, neighbours=True)[2]
    np.testing.assert_array_equal(item.mask, labels[2, 12:28, 12:28])
    np.testing.assert_array_equal(item.partner, -item.image)
    np.testing.assert_array_equal(item.points, [[8, 8], [13, 10]])
    with pytest.raises(DatasetError, match="masks of"):
        particle_source(series, table_of(PLACES), 16, masks=counted(labels[:, :30])[0])
    with pytest.raises(DatasetError, match="whole numbers"):
        particle_source(series, table_of(PLACES), 16, masks=partner)[0]


def test_files_of_micrographs_and_particles_make_a_source(tmp_path):
    for name, image in zip(NAMES, IMAGES, strict=True):
        write_mrc(tmp_path / name, image, 2.0)
    write_particles(tmp_path / "picks.star", table_of(PLACES, **{"class": [1, 2, 1, 2, 1, 1]}))
    source = particles_of_files(tmp_path, tmp_path / "picks.star", 32, unit="Å", classes="class")
    assert source.classes == ("1", "2") and len(source) == 6
    np.testing.assert_array_equal(source[0].image, IMAGES[2, 22:38, 32:48])


def test_micrographs_of_the_archive_are_read_when_their_items_are(tmp_path):
    from napari_empiarreader.archive.server import LoopbackArchive
    from napari_empiarreader.micrographs.cache import shared_cache

    shared_cache().forget()
    folder = tmp_path / "entry"
    folder.mkdir()
    for name, image in zip(NAMES, IMAGES, strict=True):
        write_mrc(folder / name, image, 2.0)
    write_particles(tmp_path / "picks.star", table_of(PLACES))
    with LoopbackArchive() as server:
        server.add_entry(99001, folder)
        source = particles_of_files(
            "empiar://99001/data", tmp_path / "picks.star", 16, archive=server.archive, class_name="virus"
        )
        assert server.bytes_sent < 4000 + IMAGES[0].nbytes
        server.reset_counts()
        items = dict(source.items(range(6)))
        asked = [request.path.rsplit("/", 1)[-1] for request in server.requests]
    assert sorted(asked) == ["m0.mrc", "m1.mrc", "m2.mrc"]
    np.testing.assert_array_equal(items[3].image, IMAGES[1, 22:38, 22:38])


def test_classes_of_several_tables_stream_their_micrographs_once():
    series, reads = counted()
    table = united_tables({"good": table_of(PLACES[:3]), "bad": table_of(PLACES[3:])}, NAMES)
    source = particle_source(series, table, 16, classes="class_name")
    assert source.classes == ("bad", "good") and [r.label for r in source.records] == [1, 1, 1, 0, 0, 0]
    list(source.items(range(6)))
    assert sorted(reads) == [0, 1, 2]


@pytest.mark.filterwarnings("error")
def test_an_empty_table_changes_nothing_about_the_others():
    one, none = table_of(PLACES, size=[1, 2, 3, 4, 5, 6]), table_of([], size=np.array([], object))
    table = united_tables({"good": one, "bad": none}, NAMES)
    assert len(table) == 6 and table.features["size"].dtype == one.features["size"].dtype
    assert len(united_tables({"bad": none}, NAMES)) == 0


def test_simulated_micrographs_give_particles_and_what_is_none():
    from napari_caked.simulate import DecoySettings, SceneSettings, SimulationSettings, lazy_micrographs

    settings = SimulationSettings(
        2.5,
        seed=4,
        scene=SceneSettings(shape=(160, 200), particles=12, clumped=0.3),
        decoys=DecoySettings(aggregates=2, ice_lumps=2, gold=0, broken=0),
    )
    lazy = lazy_micrographs(small_bank(), settings, 2)
    source = simulated_source(lazy, 32)
    assert "particle" in source.classes and len(source.classes) > 1
    assert len(source) + source.left_out == len(lazy.particles) + len(lazy.decoys)
    chosen = [next(i for i, r in enumerate(source.records) if r.label == label) for label in range(len(source.classes))]
    for index, item in source.items(chosen):
        y, x = (round(source.records[index].origin[axis]) for axis in "yx")
        whole = lazy.series.read(lazy.series.names.index(item.record.group))
        np.testing.assert_array_equal(item.image, whole[y - 16 : y + 16, x - 16 : x + 16])
        truth = lazy.particles if source.classes[item.record.label] == "particle" else lazy.decoys
        apart = np.abs(truth.coordinates[:, 1:] - [source.records[index].origin[axis] for axis in "yx"]).max(axis=1)
        assert apart.min() == 0
    assert simulated_source(lazy, 32, decoys=False).classes == ("particle",)


# ---- stacks ---------------------------------------------------------------------------------------------------


STAR = """
data_optics

loop_
_rlnOpticsGroup
_rlnImagePixelSize
1 1.25
2 2.5

data_particles

loop_
_rlnImageName
_rlnMicrographName
_rlnClassNumber
_rlnOpticsGroup
3@Extract/a.mrcs mic1.mrc 1 1
000001@Extract/a.mrcs mic2.mrc 2 1
2@Extract/b.mrcs mic2.mrc 2 2
"""


@pytest.fixture
def project(tmp_path):
    """A folder with two stacks, and a STAR file in a folder beside them that counts from the project."""
    (tmp_path / "Extract").mkdir(), (tmp_path / "Select").mkdir()
    for name, images in (("a", IMAGES[:3, :16, :16]), ("b", IMAGES[1:3, :20, :20])):
        with mrcfile.new(tmp_path / "Extract" / f"{name}.mrcs") as mrc:
            mrc.set_data(images)
            mrc.voxel_size = 3.0
    (tmp_path / "Select" / "particles.star").write_text(STAR)
    return tmp_path


def test_a_stack_is_read_by_its_star_file(project):
    source = stack_source(project / "Select" / "particles.star", classes="rlnClassNumber")
    assert source.classes == ("1", "2") and [r.label for r in source.records] == [0, 1, 1]
    assert [r.group for r in source.records] == ["mic1.mrc", "mic2.mrc", "mic2.mrc"]
    assert [r.voxel_size for r in source.records] == [(1.25, 1.25), (1.25, 1.25), (2.5, 2.5)]
    assert source.records[0].origin["section"] == 3
    items = dict(source.items([2, 0, 1]))
    np.testing.assert_array_equal(items[0].image, IMAGES[2, :16, :16])
    np.testing.assert_array_equal(items[1].image, IMAGES[0, :16, :16])
    np.testing.assert_array_equal(items[2].image, IMAGES[2, :20, :20])
    assert any("2 different voxel sizes" in warning for warning in source.warnings)


def test_a_bare_stack_has_items_and_a_warning_about_its_groups(project):
    source = stack_source(project / "Extract" / "a.mrcs", class_name=None)
    assert len(source) == 3 and source.records[0].label == UNLABELLED and source.records[0].voxel_size == (3.0, 3.0)
    assert "does not say from which micrograph" in source.warnings[0]
    np.testing.assert_array_equal(source[1].image, IMAGES[1, :16, :16])


def test_stack_sources_travel_to_other_processes(project):
    import pickle

    source = pickle.loads(pickle.dumps(stack_source(project / "Extract" / "a.mrcs")))
    np.testing.assert_array_equal(source[1].image, IMAGES[1, :16, :16])


def test_missing_images_of_a_stack_are_named(project):
    star = project / "Select" / "particles.star"
    star.write_text(STAR + "4@Extract/a.mrcs m 1 1\n1@Extract/c.mrcs m 1 1\n3@Extract/a.mrcs m 1 1\nnothing m 1 1\n")
    said = r"4 of its items.*4@Extract/a\.mrcs: the stack has 3.*c\.mrcs is not found.*named twice.*nothing: no image"
    with pytest.raises(DatasetError, match=said):
        stack_source(star)
    assert len(stack_source(star, permissive=True)) == 3
    stack = project / "Extract" / "a.mrcs"
    stack.write_bytes(stack.read_bytes()[:-4])
    with pytest.raises(DatasetError, match=r"a\.mrcs: 4092 bytes, and its header promises 4096"):
        stack_source(project / "Extract" / "a.mrcs")


# ---- several sources ------------------------------------------------------------------------------------------


def test_joined_sources_unite_classes_and_groups_by_name(tmp_path):
    series, reads = counted()
    good = particle_source(series, table_of(PLACES[:2]), 16, class_name="good")
    bad = particle_source(series, table_of(PLACES[2:]), 16, class_name="bad")
    both = joined([good, bad, joined([good])])
    assert both.classes == ("good", "bad") and [r.label for r in both.records] == [0, 0, 1, 1, 1, 1, 0, 0]
    assert [r.name for r in both.records[:3]] == ["1/m2.mrc#0", "1/m0.mrc#1", "2/m2.mrc#0"]
    assert both.records[0].group == both.records[2].group == "m2.mrc"
    found = dict(both.items([7, 2, 0]))
    np.testing.assert_array_equal(found[2].image, bad[0].image)
    np.testing.assert_array_equal(found[7].image, good[1].image)
    assert found[2].record == both.records[2]
    write_mrc(tmp_path / "odd_1.mrc", IMAGES[0], 3.0)
    mixed = joined([good, folder_source(tmp_path)], ["picks", "files"])
    assert mixed.records[-1].name == "files/odd_1.mrc" and len(mixed.warnings) == 2
    with pytest.raises(DatasetError, match="one name for each"):
        joined([good, bad], ["one", "one"])


def test_a_part_of_a_source_is_a_source():
    series, reads = counted()
    part = Subset(particle_source(series, table_of(PLACES), 16), [5, 1, 2])
    assert [r.name for r in part.records] == ["m2.mrc#5", "m0.mrc#1", "m2.mrc#2"]
    found = dict(part.items([0, 1, 2]))
    np.testing.assert_array_equal(found[0].image, IMAGES[2, 17:33, 14:30])
    assert found[1].record.name == "m0.mrc#1" and sorted(reads) == [0, 2]
    with pytest.raises(DatasetError, match="9 is no index of 6"):
        Subset(part.source, [9])
    with pytest.raises(DatasetError, match="named twice"):
        Subset(part.source, [1, 1])
