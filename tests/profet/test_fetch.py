"""Given databases with mirrors and faults, when something is fetched, then it is that, whole, or an error says why."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import gemmi
import pytest

from napari_profet import (
    DatabaseSettings,
    Structure,
    fetch,
    fetch_file,
    fetch_sequence,
    fetch_structure,
    find_predictions,
    helix_bundle,
    read_structure,
)
from napari_profet.databases import SettingsError
from napari_profet.errors import (
    FormatError,
    IdentifierError,
    OfflineError,
    ServerUnreachableError,
    UnknownIdError,
    UnusableAnswerError,
)
from napari_profet.sequence import sequences_of

RCSB, PDBE = "/download/1ABC.cif.gz", "/pdbe/entry-files/download/1abc.cif"
PDBJ, WWPDB = "/pdbj/structures/divided/mmCIF/ab/1abc.cif.gz", "/wwpdb/ab/pdb_00001abc/pdb_00001abc.cif.gz"


@pytest.fixture
def mmcif(bundle_file: Path) -> bytes:
    return bundle_file.read_bytes()


@pytest.fixture
def pdb(bundle_file: Path) -> bytes:
    return gemmi.read_structure(str(bundle_file)).make_pdb_string().encode()


# ---- the PDB and its mirrors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [404, 500, "page", "empty", "half", "hang", "xml", "cut"])
def test_the_next_mirror_helps_out(
    fault: int | str, databank: Any, settings: DatabaseSettings, mmcif: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    databank.files = {RCSB: gzip.compress(mmcif), PDBE: mmcif}
    databank.faults = {RCSB: fault}
    found = fetch_structure("1abc", settings=settings)
    assert found.url == databank.url + PDBE, "the origin is where it came from"
    assert found.path.read_bytes() == mmcif
    assert "1ABC: from 127.0.0.1" in caplog.text and "because" in caplog.text


def test_the_mirrors_are_asked_in_order_until_one_has_it(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.files = {WWPDB: gzip.compress(mmcif)}
    fetch_structure("1abc", settings=settings)
    assert databank.requests == [RCSB, PDBE, PDBJ, WWPDB]
    databank.requests.clear()
    databank.files = {PDBJ: gzip.compress(mmcif)}
    fetch_structure("1abc", settings=replace(settings, mirrors=("pdbj", "rcsb")), refresh=True)
    assert databank.requests == [PDBJ]


def test_what_no_mirror_has_is_unknown_and_a_server_in_trouble_weighs_more(
    databank: Any, settings: DatabaseSettings
) -> None:
    with pytest.raises(UnknownIdError, match="1ABC: there is no such entry; check the id"):
        fetch_structure("1abc", settings=settings)
    databank.faults = {PDBE: 500}
    with pytest.raises(ServerUnreachableError, match="HTTP 500.*3 more servers do not have it"):
        fetch_structure("1abc", settings=settings)


def test_ids_beyond_four_characters_come_from_the_new_archive(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    address = "/wwpdb/fg/pdb_00017fgz/pdb_00017fgz.cif.gz"
    databank.files = {address: gzip.compress(mmcif)}
    found = fetch_structure("PDB_00017FGZ", settings=settings)
    assert databank.requests == [address] and found.path.name == "pdb_00017fgz.cif.gz"


@pytest.mark.parametrize(
    "address",
    [
        "/download/1ABC-assembly2.cif.gz",
        "/pdbe/static/entry/download/1abc-assembly-2.cif.gz",
        "/pdbj/assemblies/mmCIF/divided/ab/1abc-assembly2.cif.gz",
    ],
)
def test_a_biological_assembly_from_each_mirror(
    address: str, databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.files = {address: gzip.compress(mmcif), RCSB: gzip.compress(mmcif)}
    assembly = fetch_structure("1abc", assembly=2, settings=settings)
    assert assembly.url == databank.url + address
    assert assembly.path != fetch_structure("1abc", settings=settings).path
    assert fetch_structure("1abc", assembly=2, settings=settings).from_cache


@pytest.mark.parametrize(
    "address",
    [
        "/download/1ABC.pdb.gz",
        "/pdbe/entry-files/download/pdb1abc.ent",
        "/pdbj/structures/divided/pdb/ab/pdb1abc.ent.gz",
    ],
)
def test_the_old_format_from_each_mirror(
    address: str, databank: Any, settings: DatabaseSettings, pdb: bytes, bundle: Structure
) -> None:
    databank.files = {address: gzip.compress(pdb) if address.endswith("gz") else pdb}
    found = fetch_structure("1abc", format="pdb", settings=settings)
    assert found.path.name.startswith("1ABC.pdb") and len(read_structure(found.path)) == len(bundle)


def test_a_large_entry_has_no_old_format_and_none_is_made_up(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.files = {RCSB: gzip.compress(mmcif)}
    with pytest.raises(UnknownIdError):
        fetch_structure("1abc", format="pdb", settings=settings)
    assert fetch_structure("1abc", settings=settings).path.name == "1ABC.cif.gz"


def test_mmcif_in_place_of_the_old_format_is_refused(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.files = {"/download/1ABC.pdb.gz": gzip.compress(mmcif)}
    with pytest.raises(UnusableAnswerError, match="not a structure in PDB format, but mmCIF"):
        fetch_structure("1abc", format="pdb", settings=settings)


@pytest.mark.parametrize(
    "address",
    ["/pdbe/entry-files/download/1abc_updated.cif", "/nextgen/ab/pdb_00001abc/pdb_00001abc_xyz-enrich.cif.gz"],
)
def test_the_file_with_uniprot_numbers(address: str, databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.files = {address: gzip.compress(mmcif) if address.endswith("gz") else mmcif}
    assert fetch_structure("1abc", format="sifts", settings=settings).url == databank.url + address


def test_binary_cif(databank: Any, settings: DatabaseSettings) -> None:
    content = b"\x83\xa7version\xa50.3.0\xa7encoder\xa4test\xaadataBlocks\x91\x82\xa6header\xa41ABC\xaa_atom_site"
    databank.files = {"/models/1abc.bcif.gz": gzip.compress(content)}
    assert fetch_structure("1abc", format="bcif", settings=settings).path.name == "1ABC.bcif.gz"
    databank.files = {"/models/2abc.bcif.gz": gzip.compress(b"data_2abc\n")}
    with pytest.raises(UnusableAnswerError, match="BinaryCIF"):
        fetch_structure("2abc", format="bcif", settings=settings)


def test_what_does_not_exist_is_refused_before_any_request(databank: Any, settings: DatabaseSettings) -> None:
    with pytest.raises(FormatError, match="assemblies come in the formats cif and pdb"):
        fetch_structure("1abc", format="bcif", assembly=1, settings=settings)
    with pytest.raises(FormatError, match="counted from 1"):
        fetch_structure("1abc", assembly=-1, settings=settings)
    with pytest.raises(IdentifierError, match="a prediction has no assembly 1"):
        fetch_structure("P12345", assembly=1, settings=settings)
    with pytest.raises(IdentifierError, match="pdb has no map; give an id of emdb"):
        fetch_file("1abc", "map", settings=settings)
    with pytest.raises(IdentifierError, match="emdb has no structures"):
        fetch_file("EMD-1234", settings=settings)
    with pytest.raises(IdentifierError, match="goes with a structure"):
        fetch_file("P12345", "pae", assembly=1, settings=settings)
    assert databank.requests == []


def test_the_address_after_a_redirection_is_the_origin(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.files = {"/elsewhere/1abc": gzip.compress(mmcif)}
    databank.faults = {RCSB: "/elsewhere/1abc"}
    assert fetch_structure("1abc", settings=settings).url == databank.url + "/elsewhere/1abc"


def test_a_slow_server_is_waited_for_and_tells_how_far_it_is(
    databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.files = {RCSB: gzip.compress(mmcif)}
    databank.faults = {RCSB: "slow"}
    seen: list[int] = []
    # All of it takes longer than the time-out, no piece of it does.
    patient = replace(settings, timeout=0.3)
    fetch_structure("1abc", settings=patient, progress=lambda done, total, message="": seen.append(done))
    assert seen[-1] == len(databank.files[RCSB]) and databank.requests == [RCSB]


# ---- sequences -----------------------------------------------------------------------------------------------


def test_sequences_of_a_pdb_entry(databank: Any, settings: DatabaseSettings) -> None:
    databank.files = {
        "/fasta/entry/1ABC": b">1ABC_1|Chains A, B|Protein|Homo sapiens (9606)\nMKV\n>1ABC_2|Chain C|DNA\nACGT\n"
    }
    protein, dna = fetch_sequence("1abc", settings=settings)
    assert (protein.residues, dna.name) == ("MKV", "1ABC_2|Chain")


@pytest.mark.parametrize("fault", [404, 500, "page"])
def test_sequences_out_of_the_structure_file_if_need_be(
    fault: int | str, databank: Any, settings: DatabaseSettings, mmcif: bytes
) -> None:
    databank.files = {RCSB: gzip.compress(mmcif), "/fasta/entry/1ABC": b">x\nMK\n"}
    databank.faults = {"/fasta/entry/1ABC": fault}
    found = fetch_sequence("1abc", settings=settings)
    assert [(record.name, record.residues) for record in found] == [("helix-bundle_1", "A" * 8)]
    assert found[0].description == "Chain A, B, C|"
    databank.files.clear()
    assert fetch_sequence("1abc", settings=settings) == found


@pytest.mark.parametrize("with_letters", [True, False])
def test_residues_without_letters_have_their_names(with_letters: bool, tmp_path: Path) -> None:
    lines = ["data_x", "_entry.id x", "loop_", "_entity_poly_seq.entity_id", "_entity_poly_seq.num"]
    names = ["SEP", "MSE", "GLY", "DA", "U", "XYZ"]
    lines += ["_entity_poly_seq.mon_id", *(f"1 {number} {name}" for number, name in enumerate(names, 1))]
    letters = "KK" if with_letters else "?"
    lines += ["1 6 ALA", "_entity_poly.entity_id 1", f"_entity_poly.pdbx_seq_one_letter_code_can {letters}"]
    structure = replace(helix_bundle(4), name="x", header="\n".join(lines) + "\n")
    assert [record.residues for record in sequences_of(structure)] == ["KK" if with_letters else "SMGAUX"]


def test_the_sequence_of_an_isoform(databank: Any, settings: DatabaseSettings) -> None:
    databank.files = {"/uniprot/uniprotkb/P12345-2.fasta": b">sp|P12345-2|AATM_RABIT Isoform 2\nMALLH\n"}
    assert fetch_sequence("P12345-2", settings=settings)[0].residues == "MALLH"
    with pytest.raises(UnknownIdError):
        fetch_sequence("P12345", settings=settings)


# ---- many, offline, settings ---------------------------------------------------------------------------------


def test_many_entries_arrive_one_by_one_and_stay(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.add_pdb("1ABC", mmcif)
    files = fetch(["1abc", "2abc"], settings=settings)
    assert databank.requests == []
    assert next(files).identifier.accession == "1ABC"
    with pytest.raises(UnknownIdError):
        next(files)
    databank.add_pdb("2ABC", mmcif)
    assert [file.from_cache for file in fetch(["1abc", "2abc"], settings=settings)] == [True, False]
    with pytest.raises(IdentifierError):
        fetch(["1abc", "what?"], settings=settings)


def test_offline_serves_what_is_kept_and_asks_nobody(databank: Any, settings: DatabaseSettings, mmcif: bytes) -> None:
    databank.add_pdb("1ABC", mmcif)
    databank.add_prediction("P12345", mmcif)
    fetch_structure("1abc", settings=settings)
    fetch_structure("P12345", settings=settings)
    offline = replace(settings, offline=True, answer_days=0)
    databank.requests.clear()
    assert fetch_structure("1abc", settings=offline, refresh=True).from_cache
    assert len(find_predictions("P12345", settings=offline)) == 2
    assert fetch_sequence("1abc", settings=offline)[0].residues == "A" * 8, "out of the kept structure"
    with pytest.raises(OfflineError, match="offline, and not kept.*2ABC.*fetch it once"):
        fetch_structure("2abc", settings=offline)
    assert databank.requests == []


def test_settings_that_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="choose from rcsb, pdbe, pdbj, wwpdb"):
        DatabaseSettings(mirrors=("rcbs",))
    monkeypatch.setenv("PROFET_CACHE_GB", "many")
    with pytest.raises(SettingsError, match="PROFET_CACHE_GB=many is not a number"):
        DatabaseSettings()
    monkeypatch.setenv("PROFET_CACHE_GB", "0.5")
    monkeypatch.setenv("PROFET_MIRRORS", "pdbj, rcsb")
    monkeypatch.setenv("PROFET_OFFLINE", "1")
    found = DatabaseSettings()
    assert (found.cache_limit, found.mirrors, found.offline) == (2**29, ("pdbj", "rcsb"), True)
