"""Entry metadata: every variant that the service is known to send becomes the same typed entry."""

import pytest

from napari_empiarreader.archive import Entry, ImageSet, parse_entry
from napari_empiarreader.errors import ArchiveError

FULL = {
    "title": "Beta-galactosidase &amp;amp; more",
    "release_date": "2015-02-10",
    "dataset_size": "1.9 TB",
    "entry_doi": "10.6019/EMPIAR-10017",
    "authors": [{"author": {"name": "Lancey C", "author_orcid": None}}, {"author": {"name": "De Biasio A"}}],
    "cross_references": ["EMD-12602", "EMD-12603"],
    "citation": [{"title": "A structure", "journal": "Nature", "year": "2020", "doi": "10.1038/x", "preprint": False}],
    "imagesets": [
        {
            "name": "Movies",
            "directory": "/data/Tiff/",
            "category": "micrographs - multiframe",
            "header_format": "TIFF",
            "data_format": "TIFF",
            "num_images_or_tilt_series": "4000",
            "frames_per_image": 34,
            "voxel_type": "UNSIGNED BYTE",
            "pixel_width": "0.824",
            "pixel_height": 0.824,
            "image_width": "6144",
            "image_height": 4096,
            "details": "50 e/A2",
            "micrographs_file_pattern": "/data/Tiff/*.tif",
            "picked_particles_file_pattern": "",
        }
    ],
}


def test_a_full_entry_becomes_typed_values():
    entry = parse_entry({"EMPIAR-10017": FULL}, 10017)

    assert entry == Entry(
        number=10017,
        title="Beta-galactosidase & more",
        release_date="2015-02-10",
        dataset_size="1.9 TB",
        authors=("Lancey C", "De Biasio A"),
        citation_title="A structure",
        citation_journal="Nature",
        citation_year="2020",
        citation_doi="10.1038/x",
        entry_doi="10.6019/EMPIAR-10017",
        cross_references=("EMD-12602", "EMD-12603"),
        imagesets=(
            ImageSet(
                name="Movies",
                directory="data/Tiff",
                category="micrographs - multiframe",
                data_format="TIFF",
                voxel_type="UNSIGNED BYTE",
                num_images=4000,
                frames_per_image=34,
                pixel_size=0.824,
                image_width=6144,
                image_height=4096,
                details="50 e/A2",
                micrographs_file_pattern="data/Tiff/*.tif",
            ),
        ),
    )
    assert entry.accession == "EMPIAR-10017"


@pytest.mark.parametrize(
    "references", [["EMD-1", "EMD-2"], [{"name": "EMD-1"}, {"name": "EMD-2"}], ["EMD-1", None, {"name": "EMD-2"}, {}]]
)
def test_cross_references_come_in_both_shapes_of_list(references):
    assert parse_entry({"EMPIAR-1": {"cross_references": references}}, 1).cross_references == ("EMD-1", "EMD-2")


@pytest.mark.parametrize(
    "authors",
    [["Lancey C"], [{"name": "Lancey C"}], [{"author": {"name": "Lancey C"}}], {"author": "Lancey C"}, "Lancey C"],
)
def test_authors_come_in_every_shape(authors):
    assert parse_entry({"EMPIAR-1": {"authors": authors}}, 1).authors == ("Lancey C",)


@pytest.mark.parametrize("nothing", [None, "", [], {}, [None], "null and void"])
def test_an_entry_with_nothing_in_it_is_empty_not_an_error(nothing):
    entry = parse_entry({"EMPIAR-10943": dict.fromkeys(FULL, nothing)}, 10943)

    assert entry.number == 10943
    assert entry.imagesets == ()
    assert entry.citation_doi == ""


@pytest.mark.parametrize("value", [None, "", "variable", "0", 0, -1, "nan", "inf", [], {}, True, False])
def test_numbers_that_are_none_become_none(value):
    keys = (
        "pixel_width",
        "pixel_height",
        "image_width",
        "image_height",
        "num_images_or_tilt_series",
        "frames_per_image",
    )
    (imageset,) = parse_entry({"EMPIAR-1": {"imagesets": [dict.fromkeys(keys, value)]}}, 1).imagesets

    assert imageset == ImageSet()


def test_a_single_imageset_or_citation_outside_a_list_counts():
    entry = parse_entry({"EMPIAR-1": {"imagesets": {"directory": "data"}, "citation": {"title": "One"}}}, 1)

    assert [imageset.directory for imageset in entry.imagesets] == ["data"]
    assert entry.citation_title == "One"


@pytest.mark.parametrize("answer", [{}, [], None, "text", {"EMPIAR-2": {}}, {"EMPIAR-1": None}, {"EMPIAR-1": []}])
def test_an_answer_without_the_entry_is_an_error_that_names_it(answer):
    with pytest.raises(ArchiveError, match="EMPIAR-1:"):
        parse_entry(answer, 1)


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("data/a/b/x.mrc", "data/a"),
        ("data/a", "data/a"),
        ("data/ab/x.mrc", "data"),
        ("/data/c/", "data"),
        ("other", None),
    ],
)
def test_the_deepest_imageset_that_holds_a_path_is_its_own(path, directory):
    entry = Entry(1, imagesets=(ImageSet(directory="data"), ImageSet(directory="data/a")))
    found = entry.imageset_for(path)

    assert (found and found.directory) == directory
