"""Guessing what files are, by paths as they occur in the archive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive import Entry, ImageSet, Item
from napari_empiarreader.archive.layout import FileKind, best_imageset, guess_kind, kind_of_imageset, only_metadata

PATHS = {
    FileKind.MOVIE: [
        "data/CL44-1_20201106_111915/Images-Disc1/GridSquare_6089277/Data/FoilHole_6101_Data_1_2_fractions.tiff.bz2",
        "data/Images-Disc1/GridSquare_1/Data/FoilHole_1_Data_2_20200101_101010_EER.eer",
        "data/Images-Disc1/GridSquare_1/Data/FoilHole_1_Data_2_Fractions.mrc",
        "data/movies/20170629_00021_frameImage.tiff",
        "data/Movies/Falcon_2012_06_12-14_33_35_0_movie.mrcs",
        "data/frames/TS_01_000_0.0.mrc",
        "data/frames/TS_01_003_-9.0_Jul31_10.36.03.tif",
        "data/raw_movies/stack_0001_2x_SumCorr.tif",
        "data/unaligned/a_0001.mrc",
        "data/rawdata/May08_03.05.02.bin.mrc",
    ],
    FileKind.MICROGRAPH: [
        "data/aligned/a_0001.mrc",
        "data/MotionCorr/job003/Movies/FoilHole_1_Data_1_EER.mrc",
        "data/MotionCorr/job002/Movies/20170629_00021_frameImage.mrc",
        "data/micrographs/Falcon_2012_06_12-14_33_35_0.mrc",
        "data/14sep05c_00024sq_00003hl_00002es_c_DW.mrc",
        "data/FoilHole_1_Data_2_fractions_patch_aligned_doseweighted.mrc",
        "data/J12/motioncorrected/001_FoilHole_1_patch_aligned.mrc",
        "data/FoilHole_1_fractions_noDW.mrc.gz",
        "data/dose_weighted_sums/m1.tif",
        "data/x_sum.mrc",
        "data/plain.mrc",
        "data/plain.dm3",
    ],
    FileKind.GAIN: [
        "data/gain/20200101.mrc",
        "data/Images-Disc1/GridSquare_1/Data/FoilHole_1_gain.tiff.bz2",
        "data/CountRef_May08_03.05.02.mrc",
        "data/SuperRef_x.dm4",
        "data/norm-amibox05-0.mrc",
        "data/Movies/gain.mrc",
        "data/20201106_111915_EER_GainReference.gain",
        "data/K3-18120039 Gain Ref. x1.m3.kv300.dm4",
        "data/gatan_reference.dm4",
        "data/movies/gainref_flipx.mrc",
    ],
    FileKind.DEFECTS: [
        "data/defects_May08.txt",
        "data/gain/defect_map.tif",
        "data/DarkRef_x.dm4",
        "data/movies/K2-dark.mrc",
    ],
    FileKind.PARTICLE_TABLE: [
        "data/picked_particles.star",
        "data/Refine3D/job020/run_data.star",
        "data/Extract/job009/particles.star",
        "data/AutoPick/job006/Movies/a_autopick.star",
        "data/particle_lists/TS_01.star",
        "data/J45/cryosparc_P1_J45_004_particles.cs",
        "data/J45_passthrough_particles.cs",
        "data/coords/a_0001.box",
        "data/cryolo/a.cbox",
        "data/EMAN2/info/a_info.json",
        "data/topaz/picks.txt",
        "data/particles.csv",
        "data/picks.star.gz",
    ],
    FileKind.PARTICLE_STACK: [
        "data/Extract/job009/Movies/a_0001.mrcs",
        "data/particles/stack01.mrcs",
        "data/shiny_2sets.mrcs",
        "data/Class2D/job010/run_it025_classes.mrcs",
        "data/particles_polished.hdf",
        "data/particles/all_particles.mrc",
    ],
    FileKind.VOLUME: [
        "data/tomograms/TS_01.mrc",
        "data/TS_01.rec",
        "data/TS_01_full.rec",
        "data/Refine3D/job020/run_half1_class001_unfil.mrc",
        "data/PostProcess/job105/postprocess.mrc",
        "data/MaskCreate/job003/mask.mrc",
        "data/final.map.gz",
    ],
    FileKind.TILT_SERIES: [
        "data/tiltseries/TS_01.mrc",
        "data/TS_01.st",
        "data/TS_01_aligned.ali",
        "data/stacks/b2tilt48.mrc",
        "data/TS_043.mrc",
    ],
    FileKind.SEGMENTATION: ["data/seg/membranes.am", "data/cell.mod", "data/labels.hff"],
    FileKind.METADATA: [
        "10934.xml",
        "data/Images-Disc1/GridSquare_1/Data/FoilHole_1_Data_2.xml",
        "data/frames/TS_01.mrc.mdoc",
        "data/TS_01.rawtlt",
        "data/TS_01.xf",
        "data/micrographs_ctf.star",
        "data/CtfFind/job003/micrographs_ctf.star",
        "data/default_pipeline.star",
        "data/Refine3D/job020/job.star",
        "data/Refine3D/job020/run_it025_optimiser.star",
        "data/Refine3D/job020/run_it025_half1_model.star",
        "data/J1/exposures.cs",
        "data/readme.txt",
        "data/cfg.json",
    ],
    FileKind.OTHER: [
        "data/MotionCorr/job003/Movies/a_PS.mrc",
        "data/CtfFind/job003/Movies/a.ctf",
        "data/FoilHole_1.jpg",
        "data/overview.png",
        "data/no_suffix",
        "data/archive.tar",
        "data/all.zip",
        "",
        ".",
        ".mrc.",
    ],
}


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in PATHS.items() for path in paths])
def test_a_path_tells_the_kind_of_its_file(kind, path):
    assert guess_kind(path) == kind


MULTI = ImageSet(directory="data", category="micrographs - multiframe", frames_per_image=40)
SINGLE = ImageSet(directory="data", category="micrographs - single frame")
TILTS = ImageSet(directory="data", category="tilt series", frames_per_image=41)
PICKED = ImageSet(directory="data", category="picked particles - single frame - processed")
VOLUMES = ImageSet(directory="data", category="reconstructed volumes")


@pytest.mark.parametrize(
    ("path", "imageset", "kind"),
    [
        ("data/a_0001.tif", MULTI, FileKind.MOVIE),
        ("data/a_0001.mrcs", MULTI, FileKind.MOVIE),
        ("data/a_0001.mrcs", SINGLE, FileKind.PARTICLE_STACK),
        ("data/a_0001.mrcs", TILTS, FileKind.TILT_SERIES),
        ("data/a_0001.tif", SINGLE, FileKind.MICROGRAPH),
        ("data/a_0001.mrc", TILTS, FileKind.TILT_SERIES),
        ("data/a_0001.mrc", PICKED, FileKind.PARTICLE_STACK),
        ("data/a_0001.mrc", VOLUMES, FileKind.VOLUME),
        ("data/a_0001.mrc", ImageSet(frames_per_image=12), FileKind.MOVIE),
        ("data/a_0001.mrc", ImageSet(category="focal pairs"), FileKind.MICROGRAPH),
        # What names say for sure, the category does not overrule.
        ("data/gain.mrc", MULTI, FileKind.GAIN),
        ("data/a_DW.mrc", MULTI, FileKind.MICROGRAPH),
        ("data/tomograms/a.mrc", MULTI, FileKind.VOLUME),
        ("data/picked_particles.star", MULTI, FileKind.PARTICLE_TABLE),
        ("data/x.mdoc", TILTS, FileKind.METADATA),
    ],
)
def test_the_image_set_decides_where_the_name_does_not(path, imageset, kind):
    assert guess_kind(path, imageset) == kind


@given(st.text(max_size=40), st.sampled_from([None, MULTI, SINGLE, TILTS, PICKED, VOLUMES]))
def test_every_path_has_a_kind(path, imageset):
    assert guess_kind(path, imageset) in FileKind


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("micrographs - focal pairs - contrast transfer", FileKind.MICROGRAPH),
        ("picked particles - multiframe - unprocessed", FileKind.PARTICLE_STACK),
        ("class averages", FileKind.PARTICLE_STACK),
        ("stitched maps", FileKind.VOLUME),
        ("subtomograms", FileKind.VOLUME),
        ("diffraction images", FileKind.OTHER),
        ("Micrographs - Multiframe", FileKind.MOVIE),
        ("something free", FileKind.OTHER),
    ],
)
def test_categories_of_the_archive_have_a_kind(category, kind):
    assert kind_of_imageset(ImageSet(category=category)) == kind


def sized(category, width, pattern="", height=None, **more):
    return ImageSet(category=category, image_width=width, image_height=height, micrographs_file_pattern=pattern, **more)


@pytest.mark.parametrize(
    "order",
    [
        # Each list from the best to the worst.
        [
            sized("micrographs - single frame", 3838),
            sized("micrographs - multiframe", 11520),
            sized("class averages", 64),
        ],
        [sized("micrographs - multiframe", 5760), sized("tilt series", 11520), sized("reconstructed volumes", 11520)],
        [sized("micrographs - multiframe", 11520), sized("micrographs - multiframe", 5760)],
        [sized("tilt series", 3838), sized("micrographs - single frame", 256), sized("picked particles", 256)],
        [sized("something free", 4096), sized("picked particles - single frame", 360)],
        [sized("tilt series", 4096, "data/*.mrc"), sized("tilt series", 4096, "data/*.tar")],
        [sized("tilt series", 4096, height=4096), sized("tilt series", 4096, height=64)],
        [ImageSet(category="micrographs - single frame"), ImageSet(category="picked particles")],
    ],
    ids=range(8),
)
def test_the_first_look_is_at_the_best_set(order):
    for worse in range(1, len(order)):
        for pair in (order[:1] + order[worse:], order[worse:] + order[:1]):
            assert best_imageset(Entry(1, imagesets=tuple(pair))) is order[0]


def test_without_image_sets_there_is_nothing_to_look_at():
    assert best_imageset(Entry(1)) is None


def test_only_metadata_leaves_the_pixels_behind():
    paths = [path for paths in PATHS.values() for path in paths if path]
    items = [Item(path.rpartition("/")[2], path, is_folder=False) for path in paths]
    items += [Item("x.star", "data/x.star", is_folder=True), Item("odd.picks", "data/odd.picks", is_folder=False)]
    wanted = {FileKind.METADATA, FileKind.PARTICLE_TABLE, FileKind.SEGMENTATION}
    assert {item.path for item in only_metadata(items)} == {path for kind in wanted for path in PATHS[kind]}

    entry = Entry(1, imagesets=(ImageSet(picked_particles_file_pattern="data/*.picks"),))
    assert "data/odd.picks" in {item.path for item in only_metadata(items, entry)}
    every = Entry(1, imagesets=(ImageSet(picked_particles_file_pattern="data/*"),))
    assert not {item.path for item in only_metadata(items, every)} & {"data/plain.mrc", "data/final.map.gz"}
