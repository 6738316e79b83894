"""Given AlphaFold DB, UniProt and EMDB with their answers and faults, then what comes is what was meant, and whole."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

from napari_profet import (
    DatabaseSettings,
    fetch_file,
    fetch_pae,
    fetch_plddt,
    fetch_protein,
    fetch_structure,
    find_predictions,
)
from napari_profet.errors import (
    AmbiguousIdError,
    UnknownIdError,
    UnusableAnswerError,
)

RCSB, PDBE = "/download/1ABC.cif.gz", "/pdbe/entry-files/download/1abc.cif"
PDBJ, WWPDB = "/pdbj/structures/divided/mmCIF/ab/1abc.cif.gz", "/wwpdb/ab/pdb_00001abc/pdb_00001abc.cif.gz"


@pytest.fixture
def mmcif(bundle_file: Path) -> bytes:
    return bundle_file.read_bytes()


@pytest.fixture
def pdb(bundle_file: Path) -> bytes:
    return gemmi.read_structure(str(bundle_file)).make_pdb_string().encode()


def as_map(shape: tuple[int, int, int] = (2, 3, 4), extended: int = 0) -> bytes:
    """A map as MRC2014 has it, written from the specification."""
    header = bytearray(1024)
    header[:16] = struct.pack("<4i", *shape[::-1], 2)
    header[92:96] = struct.pack("<i", extended)
    header[208:216] = b"MAP \x44\x44\0\0"
    return bytes(header) + bytes(extended) + np.arange(np.prod(shape), dtype="<f4").tobytes()


# ---- AlphaFold DB --------------------------------------------------------------------------------------------


def test_confidences_and_errors_come_with_one_look_at_the_list(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    record = databank.add_prediction("P12345", mmcif)
    matrix = [[0.0, 2.5], [3.0, 0.0]]
    pae = [{"predicted_aligned_error": matrix, "max_predicted_aligned_error": 31.75}]
    databank.files["/moved/v99/P12345-pae.json"] = json.dumps(pae).encode()
    databank.files["/moved/v99/P12345-plddt.json"] = json.dumps(
        {"residueNumber": [1, 2], "confidenceScore": [90.5, 40.0], "confidenceCategory": ["H", "D"]}
    ).encode()
    databank.files["/moved/v99/P12345.a3m"] = b">query\nMKV\n>hit\nM-vV\n"

    fetch_structure("P12345", settings=settings)
    found = fetch_pae("P12345", settings=settings)
    assert found.errors.tolist() == matrix and found.maximum == 31.75
    assert fetch_plddt("P12345", settings=settings) == {1: 90.5, 2: 40.0}
    assert fetch_file("P12345", "msa", settings=settings).version == "99"
    assert databank.requests.count(record) == 1
    fetch_pae("AF-P12345-F1", settings=settings)
    assert len(databank.requests) == 5


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("pae", [{"predicted_aligned_error": [[0, 1]], "max_predicted_aligned_error": 31}]),
        ("pae", {"error": "gone"}),
        ("plddt", {"residueNumber": [1, 2], "confidenceScore": [1.0]}),
        ("plddt", []),
    ],
)
def test_a_wrong_shape_is_never_kept(what: str, content: object, databank: Any, settings: DatabaseSettings) -> None:
    databank.add_prediction("P12345", b"")
    databank.files[f"/moved/v99/P12345-{what}.json"] = json.dumps(content).encode()
    with pytest.raises(UnusableAnswerError, match="not usable"):
        fetch_file("P12345", what, settings=settings)
    assert not list(settings.cache_folder.rglob(f"*{what}*"))


def test_isoforms_and_fragments_are_told_apart(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.add_prediction("P12345", mmcif)
    databank.files["/moved/isoform.cif"] = mmcif + b"# isoform\n"
    records = json.loads(databank.files["/api/prediction/P12345"])
    fragment = {**records[1], "modelEntityId": "AF-P12345-F2", "cifUrl": databank.url + "/moved/f2.cif"}
    databank.files["/api/prediction/P12345"] = json.dumps([*records, fragment]).encode()
    databank.files["/moved/f2.cif"] = mmcif + b"# fragment\n"

    paths = [fetch_structure(text, settings=settings).path for text in ("P12345", "P12345-2", "AF-P12345-F2")]
    assert [path.read_bytes()[-11:].strip() for path in paths[1:]] == [b"# isoform", b"# fragment"]
    assert len(set(paths)) == 3
    models = find_predictions("P12345", settings=settings)
    assert [model.model for model in models] == ["AF-P12345-2-F1", "AF-P12345-F1", "AF-P12345-F2"]
    assert (models[1].version, models[1].plddt, models[1].last) == ("99", 83.12, 40)
    with pytest.raises(UnknownIdError, match=r"no prediction for P12345-F9.*AF-P12345-2-F1"):
        fetch_structure("AF-P12345-F9", settings=settings)


def test_a_record_of_the_older_kind_is_understood(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.files["/old.cif"] = mmcif
    record = {"entryId": "AF-P12345-F1", "latestVersion": 4, "uniprotStart": 1, "uniprotEnd": 9}
    record["cifUrl"] = databank.url + "/old.cif"
    databank.files["/api/prediction/P12345"] = json.dumps([record]).encode()
    assert fetch_structure("P12345", settings=settings).version == "4"
    assert find_predictions("P12345", settings=settings)[0].last == 9


def test_a_complex_is_not_taken_for_the_protein(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.add_prediction("P12345", mmcif, modelEntityId="AF-0000000001", isComplex=True)
    with pytest.raises(UnknownIdError, match="no prediction for P12345"):
        fetch_structure("P12345", settings=settings)


def test_a_file_that_has_moved_is_looked_up_anew(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    address = databank.add_prediction("P12345", mmcif)
    find_predictions("P12345", settings=settings)
    databank.files["/v100/P12345.cif"] = databank.files.pop("/moved/v99/P12345.cif")
    records = json.loads(databank.files[address])
    records[1] |= {"cifUrl": databank.url + "/v100/P12345.cif", "latestVersion": 100}
    databank.files[address] = json.dumps(records).encode()
    assert fetch_structure("P12345", settings=settings).version == "100"


# ---- UniProt -------------------------------------------------------------------------------------------------


def test_features_of_a_protein(databank: Any, settings: DatabaseSettings) -> None:
    address = databank.add_protein("P01308", "INS_HUMAN")
    protein = fetch_protein("P01308", settings=settings)
    assert (protein.accession, protein.name, protein.genes) == ("P01308", "INS_HUMAN", ("INS", "IDDM2"))
    assert (protein.organism, protein.taxon, protein.reviewed) == ("Homo sapiens", 9606, True)
    assert len(protein.about.sequence) == 40
    assert [str(feature) for feature in protein.about.features] == ["Signal 1-24", "Propeptide ?-57 (C peptide)"]
    assert fetch_file("P01308", "features", settings=settings).from_cache
    assert databank.requests == [address]


@pytest.mark.parametrize("name", ["INS_HUMAN", "ins_human", "INS@human", "INS@Homo sapiens", "ins@9606", "IDDM2@human"])
def test_a_name_leads_to_its_accession_exactly(
    name: str, databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    # The search finds words: more than was meant, and not in the order of what was meant.
    databank.add_protein("P99999", "INSR_HUMAN", genes=[{"geneName": {"value": "INSR"}}])
    databank.add_protein("Q00001", "INS_HHV1", organism={"scientificName": "Human herpesvirus 1", "taxonId": 10298})
    databank.add_protein("P01308", "INS_HUMAN")
    databank.add_protein("A0A000AAA0", "A0A000AAA0_HUMAN", entryType="UniProtKB unreviewed (TrEMBL)")
    databank.add_prediction("P01308", mmcif)
    assert fetch_structure(name, settings=settings).identifier.accession == "P01308"
    asked = len(databank.requests)
    assert fetch_structure(name, settings=settings).from_cache and len(databank.requests) == asked


def test_a_name_of_several_proteins_is_never_guessed(databank: Any, settings: DatabaseSettings) -> None:
    for accession in ("P00001", "P00002"):
        databank.add_protein(accession, f"{accession}_HUMAN")
    with pytest.raises(AmbiguousIdError, match=r"means 2 entries.*P00001.*P00002.*give one of them"):
        fetch_structure("INS@human", settings=settings)
    with pytest.raises(UnknownIdError, match="no entry GCG@human"):
        fetch_structure("GCG@human", settings=settings)


@pytest.mark.parametrize("accession", ["../../P01308", "INS_HUMAN", ""])
def test_an_odd_accession_is_never_made_a_file_name(accession: str, databank: Any, settings: DatabaseSettings) -> None:
    databank.add_protein("P01308", "INS_HUMAN", primaryAccession=accession)
    with pytest.raises(UnusableAnswerError, match="no accession of UniProt"):
        fetch_structure("INS_HUMAN", settings=settings)
    with pytest.raises(UnusableAnswerError, match="no accession of UniProt"):
        fetch_protein("P01308", settings=settings)
    assert not [address for address in databank.requests if address.startswith("/api/")]


def test_an_entry_that_was_merged_names_its_heir(databank: Any, settings: DatabaseSettings) -> None:
    inactive = {
        "entryType": "Inactive",
        "primaryAccession": "P00009",
        "inactiveReason": {"inactiveReasonType": "MERGED", "mergeDemergeTo": ["P01308"]},
    }
    databank.files["/uniprot/uniprotkb/P00009.json"] = json.dumps(inactive).encode()
    with pytest.raises(UnknownIdError, match="merged P00009; in its place: P01308"):
        fetch_protein("P00009", settings=settings)


# ---- EMDB ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/emdb", "/emdb2"])
def test_a_map_by_its_id(base: str, databank: Any, settings: DatabaseSettings) -> None:
    databank.files = {f"{base}/EMD-1234/map/emd_1234.map.gz": gzip.compress(as_map(extended=80))}
    found = fetch_file("emd-1234", "map", settings=settings)
    assert found.path.name == "EMD-1234.map.gz"
    assert fetch_file("EMD-1234", "map", settings=settings).from_cache


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (as_map()[:-1], "4 x 3 x 2 voxels of mode 2 need 96 bytes, there are 95"),
        (b"data_x\n", "not a map"),
        (as_map()[:500], "not a map"),
        (as_map().replace(b"MAP ", b"PAM "), "not a map"),
    ],
)
def test_what_is_no_complete_map_is_never_kept(
    content: bytes, words: str, databank: Any, settings: DatabaseSettings
) -> None:
    databank.files = {"/emdb/EMD-1234/map/emd_1234.map.gz": gzip.compress(content)}
    with pytest.raises(UnusableAnswerError, match=words):
        fetch_file("EMD-1234", "map", settings=settings)
    assert not list(settings.cache_folder.rglob("*.map*"))
