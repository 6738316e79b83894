"""Given an id in any form a person or a file has it, when it is read, then it means one entry of one database."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_profet import Database, parse_identifier, read_identifiers
from napari_profet.databases import Identifier, identifier_of_header
from napari_profet.errors import FormatError, IdentifierError, NothingFoundError


@pytest.mark.parametrize(
    ("text", "database", "canonical"),
    [
        ("1abc", Database.PDB, "1ABC"),
        ("pdb_00001abc", Database.PDB, "1ABC"),
        ("PDB_00001ABC", Database.PDB, "1ABC"),
        ("pdb_00017fgz", Database.PDB, "pdb_00017fgz"),
        ("PDB_1000ABCD", Database.PDB, "pdb_1000abcd"),
        ("p12345", Database.ALPHAFOLD, "P12345"),
        ("A0A023GPI8", Database.ALPHAFOLD, "A0A023GPI8"),
        ("P12345-2", Database.ALPHAFOLD, "P12345-2"),
        ("AF-P12345-F1", Database.ALPHAFOLD, "P12345"),
        ("AF-P12345F1", Database.ALPHAFOLD, "P12345"),
        ("AF_AFP12345F1", Database.ALPHAFOLD, "P12345"),
        ("AF-P12345-2-F1", Database.ALPHAFOLD, "P12345-2"),
        ("AF-Q8WZ42-F7", Database.ALPHAFOLD, "Q8WZ42-F7"),
        ("AF-P12345-F1-model_v6.cif.gz", Database.ALPHAFOLD, "P12345"),
        ("INS_HUMAN", Database.UNIPROT, "INS_HUMAN"),
        ("a0a023gpi8_homo1", Database.UNIPROT, "A0A023GPI8_HOMO1"),
        ("INS@human", Database.UNIPROT, "INS@human"),
        ("INS@Homo sapiens", Database.UNIPROT, "INS@Homo sapiens"),
        ("INS@9606", Database.UNIPROT, "INS@9606"),
        ("emd-1234", Database.EMDB, "EMD-1234"),
        ("EMD_12345", Database.EMDB, "EMD-12345"),
    ],
)
def test_every_form_of_an_id(text: str, database: Database, canonical: str) -> None:
    found = parse_identifier(f" {text}\n")
    assert (found.database, str(found)) == (database, canonical)
    assert parse_identifier(text, database) == found
    assert Identifier.of_key(database, str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "abcd", "../1abc", "1abc\n2abc", "1abc/..", "pdb_1abc", "EMD-12", "INS@", "@human", "AF-P12345-F1/x", "1abcd"],
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(IdentifierError, match="check the id"):
        parse_identifier(text)


@pytest.mark.parametrize(
    ("text", "database"),
    [("P12345", "pdb"), ("1abc", "alphafold"), ("1abc", "emdb"), ("EMD-1234", "pdb"), ("INS_HUMAN", "pdb")],
)
def test_an_id_of_another_database_is_refused(text: str, database: str) -> None:
    with pytest.raises(IdentifierError, match=r"is not .*check the id"):
        parse_identifier(text, database)


@given(st.text())
def test_any_text_is_an_id_or_an_identifier_error(text: str) -> None:
    try:
        found = parse_identifier(text)
    except IdentifierError:
        return
    # A name becomes an address and a file name only once UniProt has translated it.
    assert found.is_name or not set(str(found)) & set("/\\. \n?#%")
    assert parse_identifier(str(found), found.database) == found


@given(st.from_regex(r"pdb_[a-z0-9]{8}", fullmatch=True))
def test_extended_ids_have_one_form(text: str) -> None:
    assert parse_identifier(text).extended == text == parse_identifier(text.upper()).extended


@pytest.mark.parametrize(
    ("header", "identifier"),
    [
        ("sp|P12345|AATM_RABIT Aspartate aminotransferase OS=Oryctolagus", "P12345"),
        ("tr|A0A023GPI8|A0A023GPI8_CANBL Lectin", "A0A023GPI8"),
        ("4HHB_1|Chains A, C|HEMOGLOBIN SUBUNIT ALPHA|Homo sapiens (9606)", "4HHB"),
        ("pdb|1ABC|A", "1ABC"),
        ("1abc_A mol:protein length:3", "1abc"),
        ("AFDB:AF-P12345-F1 Aspartate aminotransferase UA=P12345", "AFDB:AF-P12345-F1"),
        ("P12345.2 versioned", "P12345"),
        ("pdb_00001abc_1|Chain A", "pdb_00001abc"),
        ("my own protein", None),
        ("", None),
    ],
)
def test_the_entry_a_header_names(header: str, identifier: str | None) -> None:
    assert identifier_of_header(header) == identifier


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("ids.txt", "# mine\n1abc, P12345\n\nINS_HUMAN  # insulin\n1abc\nINS@Homo sapiens\n", "1abc P12345 INS_HUMAN"),
        ("t.csv", "note,PDB_ID\nfirst,1abc\nsecond,2abc\n,\n", "1abc 2abc"),
        ("t.tsv", "Entry\tReviewed\nP12345\tyes\nQ8WZ42\tno\n", "P12345 Q8WZ42"),
        ("t.csv", "1abc,x\n2abc,y\n", "1abc 2abc"),
        ("t.csv", "what,which\nx,1abc\ny,P12345\n", "1abc P12345"),
        ("t.csv", "\ufeffid;n\n1abc;1\n", "1abc"),
        ("s.fasta", ">sp|P12345|AATM_RABIT x\nMKV\n>1ABC_1|Chain A\nGGG\n", "P12345 1ABC"),
    ],
)
def test_ids_of_a_file(name: str, content: str, ids: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = read_identifiers(tmp_path / name)
    assert [text for text in found if "@" not in text] == ids.split()
    assert ("INS@Homo sapiens" in found) == ("@" in content)


def test_genes_and_organisms_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Gene,Organism\nINS,Homo sapiens\nGCG,9606\n")
    assert read_identifiers(tmp_path / "t.csv") == ["INS@Homo sapiens", "GCG@9606"]


def test_a_column_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,best\n1abc,2abc\n")
    assert read_identifiers(tmp_path / "t.csv", "best") == ["2abc"]
    with pytest.raises(FormatError, match="no column worst; there are id, best"):
        read_identifiers(tmp_path / "t.csv", "worst")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"1abc\nwhat?\n", "line 2: 'what\\?'"),
        ("a.txt", b"# nothing\n", "no ids in it"),
        ("a.csv", b"", "no ids in it"),
        ("a.csv", b"pdb,x\n1abc,1\nhallo,2\n", "row 3: 'hallo'"),
        ("a.csv", b"x,y\n1,2\n", "no column of ids; name it, there are x, y"),
        ("a.fasta", b">mine\nMKV\n", "line 1 names no entry"),
        ("a.txt", b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_a_list_with_a_mistake_names_the_place(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=words):
        read_identifiers(tmp_path / name)


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match="no such file"):
        read_identifiers(tmp_path / "none.txt")
