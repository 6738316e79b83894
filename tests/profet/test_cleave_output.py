"""Given a cleaved structure, when it is written, then no line and no category speaks of what is gone."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

from napari_profet import Structure, read_structure
from napari_profet.cleave import CleaveOptions, cleave, plan_cleaving
from napari_profet.cleave_output import pdb_text, record_path, write_cleaved
from napari_profet.cleave_sequences import chain_sequences
from napari_profet.errors import FileExistsAlreadyError, FormatError
from napari_profet.features import parse_features
from napari_profet.residues import category, header_block
from napari_profet.selecting import ResidueRange
from napari_profet.sequence import read_fasta, write_fasta
from napari_profet.structure import parse_structure

S: Any = runpy.run_path(str(Path(__file__).with_name("specimens.py")))
Polymer, Loose, Specimen, made, protein = (S[name] for name in ("Polymer", "Loose", "Specimen", "made", "protein"))

SIGNAL = {"type": "Signal", "location": {"start": {"value": 1}, "end": {"value": 2}}}
ENTRY = parse_features({"primaryAccession": "P12345", "features": [SIGNAL]})

# Chain A: tag G S (author -1 and 0), then UniProt 1-4 as author 1-4. Chain B: another protein, author numbers 1-2.
PDB = """\
HEADER    HYDROLASE                               01-JAN-00   1XYZ
TITLE     ALL 9 WORDS OF THIS TITLE ARE NOT A RESIDUE 1
DBREF  1XYZ A    1     4  UNP    P12345   TEST_HUMAN       1      4
DBREF  1XYZ B    1     2  UNP    Q99999   ELSE_HUMAN       1      2
SEQADV 1XYZ GLY A   -1  UNP  P12345              EXPRESSION TAG
SEQADV 1XYZ SER A    0  UNP  P12345              EXPRESSION TAG
SEQADV 1XYZ CYS A    3  UNP  P12345    ALA     3 ENGINEERED MUTATION
SEQRES   1 A    6  GLY SER CYS MSE CYS TRP
SEQRES   1 B    2  CYS LYS
MODRES 1XYZ MSE A    2  MET  SELENOMETHIONINE
SSBOND   1 CYS A    1    CYS B    1                          1555   1555  2.03
SSBOND   2 CYS A    3    CYS B    1                          1555   1555  2.03
CRYST1   50.000   50.000   50.000  90.00  90.00  90.00 P 1           1
ATOM      1  CA  SER A   0       1.000   6.134  -6.504  1.00 12.50           C
ANISOU    1  CA  SER A   0     1111   1892   1614    198    519   -328       C
ATOM      2  SG  CYS A   1       2.000   6.071  -5.147  1.00 13.00           S
ANISOU    2  SG  CYS A   1     2222   1892   1614    198    519   -328       S
HETATM    3  CA  MSE A   2       3.000   6.100  -1.200  1.00 13.25           C
ANISOU    3  CA  MSE A   2     3333   1892   1614    198    519   -328       C
ATOM      4  SG  CYS A   3       4.000   6.100   3.200  1.00 13.25           S
ANISOU    4  SG  CYS A   3     4444   1892   1614    198    519   -328       S
ATOM      5  CA  TRP A   4       5.000   6.100   3.200  1.00 13.25           C
TER       6      TRP A   4
ATOM      7  SG  CYS B   1       6.000   6.100   3.200  1.00 13.25           S
ANISOU    7  SG  CYS B   1     7777   1892   1614    198    519   -328       S
ATOM      8  CA  LYS B   2       7.000   6.100   3.200  1.00 13.25           C
TER       9      LYS B   2
HETATM   10 HG    HG A 201       8.000   2.000   3.000  1.00 20.00          HG
HETATM   11  O   HOH A 301       9.000   5.000   6.000  1.00 30.00           O
END
"""


def pdb() -> Structure:
    return parse_structure(PDB.encode(), "1xyz.pdb")


def without_signal_and_tags(structure: Structure) -> Structure:
    return cleave(structure, plan_cleaving(structure, CleaveOptions(signal=True, tags=True), [ENTRY]))


def records(text: str, *kinds: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line[:6].strip() in kinds]


def test_unlike_profet_a_pdb_file_loses_anisou_seqres_and_ssbond_of_what_goes() -> None:
    text = pdb_text(without_signal_and_tags(pdb()))
    assert [(line[17:20].strip(), line[21], int(line[22:26])) for line in records(text, "ATOM", "HETATM")] == [
        ("CYS", "A", 3),
        ("TRP", "A", 4),
        ("HG", "A", 201),
        ("HOH", "A", 301),
        ("CYS", "B", 1),
        ("LYS", "B", 2),
    ]
    assert [(line[21], line[28:35].strip()) for line in records(text, "ANISOU")] == [("A", "4444"), ("B", "7777")]
    assert [line[11:].split() for line in records(text, "SEQRES")] == [
        ["A", "2", "CYS", "TRP"],
        ["B", "2", "CYS", "LYS"],
    ]
    bonds = [(line[15], int(line[17:21]), line[29], int(line[31:35])) for line in records(text, "SSBOND")]
    assert bonds == [("A", 3, "B", 1)]
    references = [
        (line[12], line[14:18].strip(), line[33:41].strip(), line[55:60].strip()) for line in records(text, "DBREF")
    ]
    assert references == [("A", "3", "P12345", "3"), ("B", "1", "Q99999", "1")]
    assert not records(text, "MODRES"), "the selenomethionine is gone"


def test_unlike_profet_the_same_numbers_in_another_chain_stay() -> None:
    result = without_signal_and_tags(pdb())
    assert result.atoms["residue_number"][result.atoms["chain"] == "B"].tolist() == [1, 2]


def test_seqadv_is_read() -> None:
    rows = category(header_block(pdb()), "_struct_ref_seq_dif.")
    assert [(r["pdbx_pdb_strand_id"], r["pdbx_auth_seq_num"], r["mon_id"], r["details"]) for r in rows] == [
        ("A", "-1", "GLY", "EXPRESSION TAG"),
        ("A", "0", "SER", "EXPRESSION TAG"),
        ("A", "3", "CYS", "ENGINEERED MUTATION"),
    ]
    assert [r["details"] for r in category(header_block(without_signal_and_tags(pdb())), "_struct_ref_seq_dif.")] == [
        "ENGINEERED MUTATION"
    ]


def annotated() -> Structure:
    """Two chains of ten residues, A a helix over 2-8, B a strand over 2-4; a bond from A 2 to a ligand, and more."""
    label = {
        "beg_label_asym_id": ["A"],
        "beg_label_seq_id": ["2"],
        "end_label_asym_id": ["A"],
        "end_label_seq_id": ["8"],
    }
    authors = {
        "beg_auth_asym_id": ["A"],
        "beg_auth_seq_id": ["12"],
        "end_auth_asym_id": ["A"],
        "end_auth_seq_id": ["18"],
    }
    conn = {"id": ["covale1", "covale2"], "conn_type_id": ["covale"] * 2}
    for partner, chain, place, number, atom in (
        (1, "A", ["2", "6"], ["12", "16"], "N"),
        (2, "C", [".", "."], ["99"] * 2, "C1"),
    ):
        conn |= {f"ptnr{partner}_label_asym_id": [chain] * 2, f"ptnr{partner}_label_seq_id": place}
        conn |= {f"ptnr{partner}_auth_asym_id": ["A"] * 2, f"ptnr{partner}_auth_seq_id": number}
        conn |= {f"ptnr{partner}_label_atom_id": [atom] * 2}
    places = range(1, 11)
    scheme = {"asym_id": [*"A" * 10, *"B" * 10], "entity_id": ["1"] * 20, "seq_id": [*places, *places]}
    scheme |= {"mon_id": protein("GSHMKLLQAV") * 2, "ndb_seq_num": [*places, *places]}
    scheme |= {"pdb_seq_num": [*range(11, 21), *range(11, 21)], "pdb_strand_id": [*"A" * 10, *"B" * 10]}
    specimen = Specimen(
        [
            Polymer("A", protein("GSHMKLLQAV"), first=11),
            Polymer("B", protein("GSHMKLLQAV"), first=11, missing=[1]),
            Loose("A", "EDO", 99, [("C1", "C"), ("O1", "O")], "2"),
        ],
        {
            "_struct_conf.": {"id": ["HELX1"], "conf_type_id": ["HELX_P"], **label, **authors},
            "_struct_conn.": conn,
            "_pdbx_poly_seq_scheme.": scheme,
            "_pdbx_struct_assembly_gen.": {"assembly_id": ["1"], "oper_expression": ["1"], "asym_id_list": ["A,B,C"]},
            "_entity_src_gen.": {"entity_id": ["1"], "pdbx_gene_src_scientific_name": ["Homo sapiens"]},
            "_pdbx_validate_torsion.": {
                "id": ["1", "2"],
                "auth_asym_id": ["A", "A"],
                "auth_seq_id": ["12", "17"],
                "PDB_ins_code": ["", ""],
            },
            "_ma_qa_metric_local.": {
                "label_asym_id": ["A", "A"],
                "label_seq_id": ["1", "5"],
                "label_comp_id": ["GLY", "LYS"],
                "metric_value": ["1", "2"],
            },
            "_my_program.": {"setting": ["42"]},
        },
    )
    return made(specimen)


def test_every_category_of_an_mmcif_file_agrees_with_what_is_left() -> None:
    structure = annotated()
    options = CleaveOptions(ranges=(ResidueRange.parse("A:11-13"),), chains=("B",))
    result = cleave(structure, plan_cleaving(structure, options))
    block = header_block(result)

    def column(tag: str) -> list[str]:
        return [gemmi.cif.as_string(value) for value in block.find_values(tag)]

    # Places 4-10 of A are 1-7 now; the authors' numbers are as they were.
    assert column("_entity_poly_seq.num") == list("1234567")
    assert column("_entity_poly.pdbx_seq_one_letter_code") == ["MKLLQAV"]
    assert column("_entity_poly.pdbx_strand_id") == ["A"]
    assert column("_struct_conf.beg_label_seq_id") == ["1"] and column("_struct_conf.end_label_seq_id") == ["5"]
    assert column("_struct_conf.beg_auth_seq_id") == ["14"] and column("_struct_conf.end_auth_seq_id") == ["18"]
    assert column("_struct_conn.id") == ["covale2"] and column("_struct_conn.ptnr1_label_seq_id") == ["3"]
    assert column("_pdbx_poly_seq_scheme.seq_id") == column("_pdbx_poly_seq_scheme.ndb_seq_num") == list("1234567")
    assert column("_pdbx_poly_seq_scheme.pdb_seq_num") == [str(n) for n in range(14, 21)]
    assert column("_struct_asym.id") == ["A", "C"]
    assert column("_pdbx_struct_assembly_gen.asym_id_list") == ["A,C"]
    assert column("_pdbx_validate_torsion.auth_seq_id") == ["17"]
    assert column("_ma_qa_metric_local.label_seq_id") == ["2"]
    assert column("_my_program.setting") == ["42"]
    assert column("_entity_src_gen.entity_id") == ["1"]


def test_a_file_that_lacks_what_mmcif_wants_is_refused_by_name() -> None:
    specimen = Specimen(
        [Polymer("A", protein("GSHMKLLQAV"))], {"_struct_ref.": {"entity_id": ["1"], "db_name": ["UNP"]}}
    )
    structure = made(specimen)
    plan = plan_cleaving(structure, CleaveOptions(ranges=(ResidueRange.parse("A:1-3"),)))
    with pytest.raises(FormatError, match="_struct_ref categories lack the item 'id'"):
        cleave(structure, plan)


def test_what_describes_an_entity_is_told_of_both_its_parts() -> None:
    structure = annotated()
    result = cleave(structure, plan_cleaving(structure, CleaveOptions(ranges=(ResidueRange.parse("A:11-13"),))))
    block = header_block(result)
    assert sorted(row["entity_id"] for row in category(block, "_entity_src_gen.")) == ["1", "3"]
    strands = {row["entity_id"]: row["pdbx_strand_id"] for row in category(block, "_entity_poly.")}
    assert strands == {"1": "A", "3": "B"}
    scheme = {(row["asym_id"], row["entity_id"]) for row in category(block, "_pdbx_poly_seq_scheme.")}
    assert scheme == {("A", "1"), ("B", "3")}


def test_unlike_profet_mmcif_is_cut_whatever_its_lines_look_like(tmp_path: Path) -> None:
    """Given long titles, short lines and quoted words, which profet took for atoms or failed at."""
    structure = annotated()
    extra = "_struct.title 'one two three four five six seven eight 12 ten'\n_note.text\n;a b c d e f g h 13 j\n;\n"
    source = tmp_path / "1abc.cif"
    text = gemmi.cif.read_string(structure.header).as_string()
    assert text.startswith("data_")
    titled = parse_structure((_whole(structure) + extra).encode(), "1abc.cif")
    plan = plan_cleaving(titled, CleaveOptions(ranges=(ResidueRange.parse("A:11-13"),)))
    written, _ = write_cleaved(source, cleave(titled, plan), plan)
    again = read_structure(written)
    assert again.title.endswith("eight 12 ten") and "a b c d e f g h 13 j" in again.header
    assert len(again) == len(structure) - 6


def _whole(structure: Structure) -> str:
    from napari_profet.mmcif import compose

    return compose(structure.name, structure.positions, structure.atoms, structure.header)


@pytest.mark.parametrize("suffix", [".cif", ".cif.gz", ".pdb", ".pdb.gz"])
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path) -> None:
    structure = pdb()
    plan = plan_cleaving(structure, CleaveOptions(signal=True, tags=True, waters=True), [ENTRY])
    result = cleave(structure, plan)
    target = tmp_path / f"out{suffix}"
    written, record = write_cleaved(target, result, plan)
    again = read_structure(written)
    keys = ["chain", "residue_number", "residue_name", "atom_name", "element"]
    order, back = (one.atoms[keys].sort_values(keys).to_numpy().tolist() for one in (result, again))
    assert order == back
    np.testing.assert_allclose(np.sort(again.positions, axis=0), np.sort(result.positions, axis=0), atol=5e-4)
    assert record == record_path(target) == tmp_path / "out.cleaved.json"
    told = json.loads(record.read_text())
    assert told["structure"] == "1XYZ" and told["atoms_removed"] == 4 and told["atoms_left"] == 5
    assert [(one["reason"], one["chain"], one["residues"], one["atoms"]) for one in told["removed"]] == [
        ("signal peptide", "A", 2, 2),
        ("expression tag", "A", 2, 1),
        ("water", "A", 1, 1),
    ]
    assert {"chain": "A", "label": "Axp", "accession": "P12345", "source": "struct_ref_seq"} in told["numbering"]
    with pytest.raises(FileExistsAlreadyError):
        write_cleaved(target, result, plan)


def test_what_does_not_fit_into_pdb_format_is_refused(tmp_path: Path) -> None:
    structure = annotated()
    plan = plan_cleaving(structure, CleaveOptions(ligands=True))
    for column, value, words in (
        ("chain", "AA", "chain names of more than one letter"),
        ("residue_name", "A1BCD", "longer than three letters"),
        ("residue_number", 10000, "more than four places"),
    ):
        odd = Structure("odd", structure.positions, structure.atoms.assign(**{column: value}), structure.header)
        with pytest.raises(FormatError, match=f"odd has .*{words}.*write it as mmCIF"):
            pdb_text(odd)
    for name in ("x.txt", "x", "x.gz"):
        with pytest.raises(FormatError, match="let the name end in"):
            write_cleaved(tmp_path / name, cleave(structure, plan), plan)
    assert not list(tmp_path.iterdir())


def test_sequences_are_cleaved_likewise(tmp_path: Path) -> None:
    structure = annotated()
    options = CleaveOptions(ranges=(ResidueRange.parse("A:14-15"), ResidueRange.parse("B:11-13")))
    plan = plan_cleaving(structure, options)
    path = write_fasta(tmp_path / "out.fasta", chain_sequences(structure, plan))
    found = {record.name: (record.residues, record.description) for record in read_fasta(path)}
    assert found == {
        "TEST|A.1": ("GSH", "residues 11-13"),
        "TEST|A.2": ("LLQAV", "residues 16-20"),
        "TEST|B": ("MKLLQAV", "residues 14-20"),
    }
    assert [record.residues for record in chain_sequences(structure)] == ["GSHMKLLQAV"] * 2
