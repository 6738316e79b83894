"""The XML beside the data says the same as the service, and nothing hostile in it is believed."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_empiarreader.archive import Archive, parse_entry
from napari_empiarreader.archive.entry import Citation, Person, Segmentation
from napari_empiarreader.archive.entry_xml import parse_entry_xml
from napari_empiarreader.archive.server import LoopbackArchive
from napari_empiarreader.errors import ArchiveError, EntryNotFoundError

# In the shape of the archive's own files (its schema is http://pdbe.org/empiar), doubly escaped text included.
XML = """<entry xmlns="http://pdbe.org/empiar" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="https://ftp.ebi.ac.uk/schema/empiar.xsd" accessionCode="EMPIAR-10934" public="true">
  <admin>
    <currentStatus>REL</currentStatus>
    <keyDates>
      <depositionDate>2021-12-31</depositionDate>
      <releaseDate>2022-02-07</releaseDate>
      <updateDate>2022-02-08</updateDate>
    </keyDates>
    <title>Multiframe micrographs of Pol κ</title>
    <correspondingAuthor>
      <authorORCID>0000-0001-9064-4085</authorORCID>
      <firstName>Claudia</firstName>
      <lastName>Lancey</lastName>
      <organization type="academic">Department of Molecular &amp;amp; Cell Biology</organization>
      <townOrCity>Leicester</townOrCity>
      <country>United Kingdom</country>
      <postOrZipCode>LE1 7RH</postOrZipCode>
    </correspondingAuthor>
    <principalInvestigator><firstName>Alfredo</firstName><lastName>De Biasio</lastName></principalInvestigator>
    <principalInvestigator><firstName>Samir</firstName><lastName>Hamdan</lastName></principalInvestigator>
    <authorsList>
      <author authorORCID="0000-0001-9064-4085">Lancey C</author>
      <author>Sobhy MA</author>
    </authorsList>
    <versionHistory><version>
      <versionNumber>1</versionNumber><date>2022-02-07</date><statusCode>REL</statusCode><details>first</details>
    </version></versionHistory>
    <grantSupport><grantReference>
      <fundingBody>MRC</fundingBody><code>MR/P018556/1</code><country>United Kingdom</country>
    </grantReference></grantSupport>
    <datasetSize units="TB">1.9</datasetSize>
    <entryDOI>10.6019/EMPIAR-10934</entryDOI>
    <experimentType>EMDB</experimentType>
  </admin>
  <crossReferences>
    <relatedEMDBEntries><emdbEntry>EMD-12602</emdbEntry><emdbEntry>EMD-12603</emdbEntry></relatedEMDBEntries>
    <citationList><universalCitation>
      <journalCitation published="true" preprint="false">
        <author order="1">Lancey C</author>
        <author order="2">Sobhy MA</author>
        <title>Structure of Pol κ</title>
        <journal>Nature communications</journal>
        <journalAbbreviation>Nat Commun</journalAbbreviation>
        <country></country>
        <issue>1</issue>
        <volume>12</volume>
        <year>2021</year>
        <language>English</language>
        <externalReferences type="doi">10.1038/s41467-021-26251-6</externalReferences>
        <externalReferences type="pubmed">34667155</externalReferences>
        <details>Total dose = 46.6 e-/Å^2.</details>
      </journalCitation>
    </universalCitation></citationList>
  </crossReferences>
  <imageSet>
    <name>Multiframe micrographs</name>
    <directory>/data/CL44-1</directory>
    <category>micrographs - multiframe</category>
    <headerFormat>TIFF</headerFormat>
    <dataFormat>TIFF</dataFormat>
    <numImagesOrTiltSeries>3889</numImagesOrTiltSeries>
    <framesPerImage>45</framesPerImage>
    <voxelType>UNSIGNED BYTE</voxelType>
    <dimensions>
      <imageWidth>11520</imageWidth><pixelWidth>variable</pixelWidth>
      <imageHeight>8184</imageHeight><pixelHeight>0.543</pixelHeight>
    </dimensions>
    <details>Physical pixel size 1.086 Å</details>
    <segmentationList>
      <segmentation>
        <id>1</id><file>/data/seg.am</file><description>membranes</description>
        <originalFiles>seg.mod</originalFiles><originalFormat>IMOD</originalFormat>
      </segmentation>
    </segmentationList>
    <micrographsFilePattern>data/CL44-1/*_fractions.tiff.bz2</micrographsFilePattern>
    <pickedParticlesFilePattern></pickedParticlesFilePattern>
    <pickedParticlesDirectory></pickedParticlesDirectory>
  </imageSet>
</entry>
"""

# The same as the service would say it.
FACTS = {
    "title": "Multiframe micrographs of Pol κ",
    "status": "REL",
    "deposition_date": "2021-12-31",
    "release_date": "2022-02-07",
    "update_date": "2022-02-08",
    "dataset_size": "1.9 TB",
    "experiment_type": "EMDB",
    "entry_doi": "10.6019/EMPIAR-10934",
    "authors": [{"author": {"name": "Lancey C"}}, {"author": {"name": "Sobhy MA"}}],
    "corresponding_author": {
        "author": {
            "author_orcid": "0000-0001-9064-4085",
            "first_name": "Claudia",
            "last_name": "Lancey",
            "organization": "Department of Molecular & Cell Biology",
            "town_or_city": "Leicester",
            "country": "United Kingdom",
        }
    },
    "principal_investigator": [
        {"author": {"first_name": "Alfredo", "last_name": "De Biasio"}},
        {"author": {"first_name": "Samir", "last_name": "Hamdan"}},
    ],
    "version_history": [{"version_number": 1, "date": "2022-02-07", "status_code": "REL", "details": "first"}],
    "grant_references": [{"funding_body": "MRC", "code": "MR/P018556/1", "country": "United Kingdom"}],
    "cross_references": ["EMD-12602", "EMD-12603"],
    "citation": [
        {
            "authors": [{"name": "Lancey C"}, {"name": "Sobhy MA"}],
            "published": True,
            "preprint": False,
            "j_or_nj_citation": True,
            "title": "Structure of Pol κ",
            "journal": "Nature communications",
            "journal_abbreviation": "Nat Commun",
            "issue": "1",
            "volume": "12",
            "year": "2021",
            "language": "English",
            "doi": "10.1038/s41467-021-26251-6",
            "pubmedid": "34667155",
            "details": "Total dose = 46.6 e-/Å^2.",
        }
    ],
    "imagesets": [
        {
            "name": "Multiframe micrographs",
            "directory": "data/CL44-1",
            "category": "micrographs - multiframe",
            "header_format": "TIFF",
            "data_format": "TIFF",
            "num_images_or_tilt_series": 3889,
            "frames_per_image": 45,
            "voxel_type": "UNSIGNED BYTE",
            "image_width": "11520",
            "image_height": "8184",
            "pixel_width": None,
            "pixel_height": 0.543,
            "details": "Physical pixel size 1.086 Å",
            "segmentations": [
                {
                    "id": 1,
                    "file": "data/seg.am",
                    "description": "membranes",
                    "original_files": "seg.mod",
                    "original_format": "IMOD",
                }
            ],
            "micrographs_file_pattern": "data/CL44-1/*_fractions.tiff.bz2",
        }
    ],
}


def test_the_file_says_what_the_service_says():
    assert parse_entry_xml(XML.encode(), 10934) == parse_entry({"EMPIAR-10934": FACTS}, 10934)


def test_every_part_of_the_file_is_there():
    entry = parse_entry_xml(XML.encode(), 10934)
    assert entry.corresponding_author == Person(
        "Claudia Lancey", "0000-0001-9064-4085", "Department of Molecular & Cell Biology", "Leicester", "United Kingdom"
    )
    assert entry.citation.authors == ("Lancey C", "Sobhy MA") and entry.citation.pubmed_id == "34667155"
    assert entry.imagesets[0].pixel_size == 0.543
    assert entry.imagesets[0].segmentations == (Segmentation("1", "data/seg.am", "membranes", "seg.mod", "IMOD"),)


@pytest.mark.parametrize(
    "dialect",
    [
        lambda text: text.replace(' xmlns="http://pdbe.org/empiar"', ""),
        lambda text: text.replace("http://pdbe.org/empiar", "https://www.ebi.ac.uk/empiar/v2"),
        lambda text: (
            text.replace("xmlns=", "xmlns:e=").replace("<entry ", "<e:entry ").replace("</entry>", "</e:entry>")
        ),
        lambda text: '<?xml version="1.0" encoding="UTF-8"?><!-- a comment -->' + text,
    ],
    ids=["none", "another", "prefixed", "declared"],
)
def test_namespaces_and_declarations_make_no_difference(dialect):
    assert parse_entry_xml(dialect(XML).encode(), 10934) == parse_entry_xml(XML.encode(), 10934)


def test_other_encodings_are_read_as_declared():
    utf_16 = ('<?xml version="1.0" encoding="UTF-16"?>' + XML).encode("utf-16")
    assert parse_entry_xml(utf_16, 10934).title == "Multiframe micrographs of Pol κ"


def test_an_empty_entry_is_empty():
    entry = parse_entry_xml(b'<entry accessionCode="EMPIAR-1"><citation/></entry>', 1)
    assert (entry.title, entry.imagesets, entry.citation) == ("", (), Citation())


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE entry [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    + ']><entry accessionCode="EMPIAR-1"><admin><title>&a9;</title></admin></entry>'
)


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS,
        '<!DOCTYPE entry SYSTEM "file:///etc/passwd"><entry accessionCode="EMPIAR-1"/>',
        '<!DOCTYPE entry [<!ENTITY x SYSTEM "file:///etc/passwd">]><entry accessionCode="EMPIAR-1">&x;</entry>',
        '<!DOCTYPE entry [<!ENTITY % x SYSTEM "http://x.invalid/">%x;]><entry accessionCode="EMPIAR-1"/>',
    ],
    ids=["laughs", "external", "entity", "parameter"],
)
def test_declarations_are_refused_before_they_are_believed(content):
    with pytest.raises(ArchiveError, match="document type declaration"):
        parse_entry_xml(content.encode(), 1)
    with pytest.raises(ArchiveError, match="document type declaration"):
        parse_entry_xml(content.encode("utf-16"), 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no well-formed XML"),
        (b"<entry", "no well-formed XML"),
        (XML.encode()[:2000], "no well-formed XML"),
        (b'<entry accessionCode="EMPIAR-1">&undeclared;</entry>', "no well-formed XML"),
        (b'<?xml version="1.0" encoding="klingon"?><entry/>', "no well-formed XML"),
        (b"<html><body>404</body></html>", "instead of <entry>"),
        (b'<entry accessionCode="EMPIAR-2"/>', "describes 'EMPIAR-2'"),
        (b"<entry/>", "describes ''"),
        (b"<a>" * 100_000, "deeper than 64"),
        (b" " * (32 * 2**20 + 1), "has 33554433 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_else_is_an_error_in_words(content, words):
    with pytest.raises(ArchiveError, match=words) as error:
        parse_entry_xml(content, 1)
    assert "EMPIAR-1: 1.xml" in str(error.value)


@given(st.integers(0, len(XML.encode()) - 1), st.binary(min_size=0, max_size=6))
def test_damage_is_either_harmless_or_an_archive_error(place, junk):
    content = XML.encode()
    damaged = content[:place] + junk + content[place + len(junk) :]
    with suppress(ArchiveError):
        assert parse_entry_xml(damaged, 10934).number == 10934


def test_the_archive_reads_it_beside_the_data_when_the_service_is_down(tmp_path):
    (tmp_path / "10934" / "data").mkdir(parents=True)
    (tmp_path / "10934" / "10934.xml").write_text(XML, encoding="utf-8")
    (tmp_path / "10935" / "data").mkdir(parents=True)
    (tmp_path / "10934" / "entry.json").write_text(json.dumps(FACTS))
    with LoopbackArchive(tmp_path) as server:
        deaf = Archive(replace(server.settings, api_url=server.settings.archive_url + "/nowhere", retries=0))
        assert deaf.entry_from_xml("EMPIAR-10934") == server.archive.entry(10934)
        with pytest.raises(EntryNotFoundError, match="EMPIAR-10935"):
            deaf.entry_from_xml(10935)
