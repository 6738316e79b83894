"""Entry metadata: every variant that the service is known to send becomes the same typed entry."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive import Entry, ImageSet, parse_entry
from napari_empiarreader.archive.entry import (
    Citation,
    Grant,
    Person,
    Segmentation,
    Version,
    Workflow,
    parse_size,
)
from napari_empiarreader.errors import ArchiveError

FULL = {
    "title": "Beta-galactosidase &amp;amp; more",
    "status": "REL",
    "release_date": "2015-02-10",
    "deposition_date": "2015-01-01T10:11:12",
    "update_date": "2016-03-04",
    "obsolete_date": None,
    "experiment_type": "EMDB",
    "scale": "molecule",
    "corresponding_author": {
        "author": {
            "author_orcid": "0000-0001-9064-4085",
            "first_name": "Claudia",
            "middle_name": None,
            "last_name": "Lancey",
            "organization": "Molecular &amp;amp; Cell Biology",
            "town_or_city": "Leicester",
            "country": "GB",
            "email": "somebody@example.invalid",
        }
    },
    "principal_investigator": [
        {"author": {"first_name": "Alfredo", "last_name": "De Biasio"}},
        {"first_name": "Samir", "last_name": "Hamdan", "author_orcid": "0000-0001-5192-1852"},
        {},
    ],
    "related_pdb_entries": ["5a1a", {"name": "1ABC"}],
    "empiar_references": [{"name": "EMPIAR-10061"}],
    "biostudies_references": [{"name": "S-BSST1"}],
    "idr_references": ["idr0001"],
    "workflows": [{"url": "https://workflowhub.eu/workflows/1", "type": "Scipion"}, {"url": None}],
    "workflow_file": {"path": "/data/workflow.json"},
    "grant_references": [{"funding_body": "MRC", "code": 12, "country": "GB"}],
    "version_history": [{"version_number": 1, "date": "2015-02-10", "status_code": "REL", "details": "first"}],
    "dataset_size": "1.9 TB",
    "entry_doi": "10.6019/EMPIAR-10017",
    "authors": [{"author": {"name": "Lancey C", "author_orcid": None}}, {"author": {"name": "De Biasio A"}}],
    "cross_references": ["EMD-12602", "EMD-12603"],
    "citation": [
        {
            "title": "A structure",
            "authors": [{"name": "Lancey C", "author_orcid": None, "order_id": 1}],
            "editors": [],
            "journal": "Nature",
            "journal_abbreviation": "Nat",
            "volume": "12",
            "issue": 1,
            "first_page": "1",
            "last_page": None,
            "year": 2020,
            "doi": "10.1038/x",
            "pubmedid": "34667155",
            "preprint": False,
            "published": "true",
            "j_or_nj_citation": True,
        },
        {"title": "Another", "preprint": True},
    ],
    "imagesets": [
        {
            "name": "Movies",
            "directory": "/data/Tiff/",
            "category": "micrographs - multiframe",
            "header_format": "TIFF",
            "data_format": "TIFF",
            "num_images_or_tilt_series": "4000",
            "frames_per_image": 34,
            "frame_range_min": 0,
            "frame_range_max": "33",
            "voxel_type": "UNSIGNED BYTE",
            "pixel_width": "0.824",
            "pixel_height": 0.824,
            "image_width": "6144",
            "image_height": 4096,
            "details": "50 e/A2",
            "micrographs_file_pattern": "/data/Tiff/*.tif",
            "picked_particles_file_pattern": "",
            "segmentations": [{"id": 1, "file": "/data/seg.am", "description": "membranes"}],
        }
    ],
}


def test_a_full_entry_becomes_typed_values():
    entry = parse_entry({"EMPIAR-10017": FULL}, 10017)

    assert entry == Entry(
        number=10017,
        title="Beta-galactosidase & more",
        status="REL",
        release_date="2015-02-10",
        deposition_date="2015-01-01",
        update_date="2016-03-04",
        dataset_size="1.9 TB",
        experiment_type="EMDB",
        scale="molecule",
        authors=("Lancey C", "De Biasio A"),
        corresponding_author=Person(
            "Claudia Lancey", "0000-0001-9064-4085", "Molecular & Cell Biology", "Leicester", "GB"
        ),
        principal_investigators=(Person("Alfredo De Biasio"), Person("Samir Hamdan", "0000-0001-5192-1852")),
        citations=(
            Citation(
                title="A structure",
                authors=("Lancey C",),
                published=True,
                preprint=False,
                is_journal=True,
                journal="Nature",
                journal_abbreviation="Nat",
                volume="12",
                issue="1",
                first_page="1",
                year="2020",
                doi="10.1038/x",
                pubmed_id="34667155",
            ),
            Citation(title="Another", preprint=True),
        ),
        entry_doi="10.6019/EMPIAR-10017",
        cross_references=("EMD-12602", "EMD-12603"),
        pdb_references=("5a1a", "1ABC"),
        empiar_references=("EMPIAR-10061",),
        biostudies_references=("S-BSST1",),
        idr_references=("idr0001",),
        grants=(Grant("MRC", "12", "GB"),),
        workflows=(Workflow("https://workflowhub.eu/workflows/1", "Scipion"), Workflow("data/workflow.json", "file")),
        versions=(Version("1", "2015-02-10", "REL", "first"),),
        imagesets=(
            ImageSet(
                name="Movies",
                directory="data/Tiff",
                category="micrographs - multiframe",
                data_format="TIFF",
                header_format="TIFF",
                voxel_type="UNSIGNED BYTE",
                num_images=4000,
                frames_per_image=34,
                frame_range_min=0,
                frame_range_max=33,
                pixel_size=0.824,
                pixel_height=0.824,
                image_width=6144,
                image_height=4096,
                details="50 e/A2",
                micrographs_file_pattern="data/Tiff/*.tif",
                segmentations=(Segmentation("1", "data/seg.am", "membranes"),),
            ),
        ),
    )
    assert entry.accession == "EMPIAR-10017"
    assert (entry.citation_title, entry.citation_journal, entry.citation_year) == ("A structure", "Nature", "2020")
    assert (entry.citation_doi, entry.size_bytes) == ("10.1038/x", 1_900_000_000_000)


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


@pytest.mark.parametrize(
    ("deposited", "inside"),
    [
        ("/data/Tiff/", "data/Tiff"),
        ("data//Tiff/./", "data/Tiff"),
        ("\\\\data\\\\Tiff", "data/Tiff"),
        ("data/../../secret", ""),
        ("..", ""),
        (None, ""),
    ],
)
def test_folders_stay_inside_the_entry(deposited, inside):
    (imageset,) = parse_entry({"EMPIAR-1": {"imagesets": [{"directory": deposited, "name": "x"}]}}, 1).imagesets
    assert imageset.directory == inside


@pytest.mark.parametrize(
    ("facts", "suffix"),
    [
        ({"data_format": "MRC", "micrographs_file_pattern": "data/*/FoilHole_*_fractions.tiff.bz2"}, ".tiff.bz2"),
        ({"data_format": "other", "header_format": "EER"}, ".eer"),
        ({"data_format": "TIFF", "micrographs_file_pattern": "data/*"}, ".tif"),
        ({"data_format": "MRC", "micrographs_file_pattern": "data/run1.2/*.EER"}, ".eer"),
        ({"data_format": "other"}, ""),
        ({}, ""),
    ],
)
def test_the_file_pattern_is_believed_before_the_format(facts, suffix):
    (imageset,) = parse_entry({"EMPIAR-1": {"imagesets": [{"name": "x", **facts}]}}, 1).imagesets
    assert imageset.suffix == suffix


def test_image_sets_of_one_name_are_told_apart():
    sets = [("Movies", "data/a"), ("Movies", "data/b"), ("", "data/c"), ("", ""), ("", ""), ("Movies", "data/b")]
    entry = Entry(1, imagesets=tuple(ImageSet(name=name, directory=folder) for name, folder in sets))
    assert entry.imageset_labels == (
        "Movies (data/a)",
        "Movies (data/b) #2",
        "data/c",
        "image set #4",
        "image set #5",
        "Movies (data/b) #6",
    )


@given(st.lists(st.tuples(st.sampled_from(["a", "a #1", "a #2", ""]), st.sampled_from(["", "d", "a"])), max_size=8))
def test_labels_are_never_alike(sets):
    entry = Entry(1, imagesets=tuple(ImageSet(name=name, directory=folder) for name, folder in sets))
    assert len(set(entry.imageset_labels)) == len(sets)


@pytest.mark.parametrize("path", ["path=/data/flow.json", {"path": "data/flow.json"}, ["path=data/flow.json"]])
def test_a_workflow_file_comes_in_every_shape(path):
    assert parse_entry({"EMPIAR-1": {"workflow_file": path}}, 1).workflows == (Workflow("data/flow.json", "file"),)


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("1.9 TB", 1_900_000_000_000),
        ("650GB", 650_000_000_000),
        ("1,900 GB", 1_900_000_000_000),
        ("1,9 GB", 1_900_000_000),
        ("512 MiB", 512 * 2**20),
        ("12.5 mb", 12_500_000),
        ("42", 42),
        ("42 bytes", 42),
        ("", None),
        ("TB", None),
        ("many TB", None),
        ("1.2.3 TB", None),
        ("9" * 400, None),
        ("-1 TB", None),
        ("9999999 EB", None),
    ],
)
def test_sizes_in_words_become_bytes(words, size):
    assert parse_size(words) == size


@pytest.mark.parametrize("title", ["\ud800 half", "nul\0 and bell\a", "&#0; &#xD800;", "line\r\nbreak"])
def test_text_is_fit_to_be_shown_and_stored(title):
    clean = parse_entry({"EMPIAR-1": {"title": title}}, 1).title
    assert clean.encode("utf-8") and not any(ord(letter) < 32 and letter != "\n" for letter in clean)


def _names_in(facts):
    for name, value in facts.items():
        yield name
        for inner in value if isinstance(value, list) else [value]:
            yield from _names_in(inner) if isinstance(inner, dict) else ()


NAMES = sorted(set(_names_in(FULL)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "author", "name"]), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON) | JSON)
def test_no_answer_whatsoever_is_more_than_an_archive_error(facts):
    try:
        entry = parse_entry({"EMPIAR-10017": facts}, 10017)
    except ArchiveError:
        assert not isinstance(facts, dict)
    else:
        assert len(set(entry.imageset_labels)) == len(entry.imagesets)
        json.dumps([imageset.suffix for imageset in entry.imagesets])
        assert all(".." not in imageset.directory.split("/") for imageset in entry.imagesets)


@given(JSON)
def test_no_answer_without_the_entry_gives_one(answer):
    with pytest.raises(ArchiveError):
        parse_entry(answer, 10017)


def test_a_number_of_thousands_of_digits_is_none():
    assert parse_entry({"EMPIAR-1": {"title": 10**5000, "citation": {"year": 10**5000}}}, 1).citation_year == ""
