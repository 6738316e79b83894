"""Given a structure made here, when something is cleaved off, then exactly what was derived by hand is gone.

Every residue of a polymer has two atoms. The tests whose name begins with ``test_unlike_profet`` are each about a
defect of profet 1.0.6 in cleaving.
"""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_profet import Structure
from napari_profet.cleave import CleaveOptions, CleavePlan, Reason, cleave, plan_cleaving, uniprot_accessions
from napari_profet.errors import SelectionError
from napari_profet.features import ProteinFeatures, parse_features
from napari_profet.residues import category, header_block
from napari_profet.selecting import ResidueRange
from napari_profet.structure import parse_structure

S: Any = runpy.run_path(str(Path(__file__).with_name("specimens.py")))
Polymer, Loose, Specimen = S["Polymer"], S["Loose"], S["Specimen"]
made, protein, reference, sifts, differences = (
    S[name] for name in ("made", "protein", "reference", "sifts", "differences")
)

# The protein of most tests: signal peptide 1-4, propeptide 5-7, mature 8-20.
TARGET = "MKLLQRSADEFGHIKNPTVW"
OTHER = "GGWYCCHMNPQEERRTTLLA"


def entry(accession: str = "P12345", sequence: str = TARGET, **features: tuple[Any, Any]) -> ProteinFeatures:
    """UniProt entry with features such as Signal=(1, 4); _ in a kind stands for a space."""
    listed = [
        {"type": kind.replace("_", " "), "location": {"start": {"value": start}, "end": {"value": end}}}
        for kind, (start, end) in features.items()
    ]
    return parse_features({"primaryAccession": accession, "features": listed, "sequence": {"value": sequence}})


def left(structure: Structure, chain: str = "") -> list[str]:
    """Author chain, number and insertion code of the residues that have atoms, in order."""
    atoms = structure.atoms
    names = atoms["chain"] + atoms["residue_number"].astype(str) + atoms["insertion_code"]
    return list(dict.fromkeys(names[(atoms["chain"] == chain) | (chain == "")]))


def cleaved(structure: Structure, options: CleaveOptions, *proteins: ProteinFeatures) -> tuple[Structure, CleavePlan]:
    plan = plan_cleaving(structure, options, proteins)
    result = cleave(structure, plan)
    assert_consistent(result)
    return result, plan


def assert_consistent(structure: Structure) -> None:
    """Every category speaks of the same chains, entities and sequences, and gemmi reads the file the same way."""
    block, atoms = header_block(structure), structure.atoms
    sequences: dict[str, list[str]] = {}
    for row in category(block, "_entity_poly_seq."):
        sequences.setdefault(row["entity_id"], []).append(row["num"])
        assert row["num"] in (str(len(sequences[row["entity_id"]])), sequences[row["entity_id"]][-1])
    names = {(row["entity_id"], row["num"], row["mon_id"]) for row in category(block, "_entity_poly_seq.")}
    for row in atoms[atoms["entity"].isin(list(sequences))].itertuples():
        assert (row.entity, str(row.label_residue_number), row.residue_name) in names
    if owners := {row["id"]: row["entity_id"] for row in category(block, "_struct_asym.")}:
        assert set(zip(atoms["label_chain"], atoms["entity"], strict=True)) <= set(owners.items())
        assert set(owners.values()) == {row["id"] for row in category(block, "_entity.")}
    assert set(sequences) <= {row["entity_id"] for row in category(block, "_entity_poly.")}
    references = {row["id"] for row in category(block, "_struct_ref.")}
    assert {row["ref_id"] for row in category(block, "_struct_ref_seq.")} <= references


def sequence(structure: Structure, entity: str) -> str:
    """Sequence of an entity as the file lists it."""
    rows = category(header_block(structure), "_entity_poly_seq.")
    names = [row["mon_id"] for row in rows if row["entity_id"] == entity]
    return gemmi.one_letter_code(names).upper()


# --- the right residues of the right chains -------------------------------------------------------------------------


def three_chains() -> Structure:
    """Two copies of the target, A and B, and another protein, C; all with the authors' numbers 1-20."""
    parts = [
        Polymer("A", protein(TARGET)),
        Polymer("B", protein(TARGET)),
        Polymer("C", protein(OTHER), entity="2"),
    ]
    rows = [("1", "P12345", "A", 1, 20, 1, 20), ("1", "P12345", "B", 1, 20, 1, 20), ("2", "Q99999", "C", 1, 20, 1, 20)]
    return made(Specimen(parts, reference(*rows)))


def test_unlike_profet_only_the_chains_of_the_protein_lose_its_signal_peptide() -> None:
    result, plan = cleaved(three_chains(), CleaveOptions(signal=True), entry(Signal=(1, 4)))
    assert left(result, "A") == [f"A{n}" for n in range(5, 21)]
    assert left(result, "B") == [f"B{n}" for n in range(5, 21)]
    assert left(result, "C") == [f"C{n}" for n in range(1, 21)]
    assert plan.counts == {Reason.SIGNAL: (8, 16)}
    assert {(one.chain, one.source.value) for one in plan.numbering} == {
        ("A", "struct_ref_seq"),
        ("B", "struct_ref_seq"),
        ("C", "none"),
    }
    assert sequence(result, "1") == TARGET[4:] and sequence(result, "2") == OTHER


def test_unlike_profet_author_numbers_are_not_taken_for_those_of_uniprot() -> None:
    # The authors count the mature protein from 1: their 1-4 are 5-8 of UniProt, and their -3 to 0 the signal peptide.
    specimen = Specimen([Polymer("A", protein(TARGET), first=-3)], reference(("1", "P12345", "A", 1, 20, 1, 20)))
    result, plan = cleaved(made(specimen), CleaveOptions(signal=True), entry(Signal=(1, 4)))
    assert left(result) == [f"A{n}" for n in range(1, 17)]
    assert (plan.removals[0].first, plan.removals[0].last) == ("-3", "0")
    shifted = Specimen([Polymer("A", protein(TARGET[4:]))], reference(("1", "P12345", "A", 1, 16, 5, 20)))
    plan = plan_cleaving(made(shifted), CleaveOptions(signal=True), [entry(Signal=(1, 4))])
    assert not plan.goes.any() and not plan.removals


def test_sifts_is_believed_before_the_depositors() -> None:
    # The depositors say that places 1-20 are 1-20; SIFTS, of the same residues, that places 3-20 are 1-18.
    letters = "GS" + TARGET[:18]
    numbers = sifts(*[("1", "A", place, "P12345", place - 2) for place in range(3, 21)])
    specimen = Specimen([Polymer("A", protein(letters))], {**reference(("1", "P12345", "A", 1, 20, 1, 20)), **numbers})
    result, plan = cleaved(made(specimen), CleaveOptions(signal=True), entry(Signal=(1, 4)))
    assert left(result) == ["A1", "A2", *(f"A{n}" for n in range(7, 21))]
    assert plan.removals[0].numbering == "SIFTS"


def test_a_witness_whose_residues_are_others_is_not_believed() -> None:
    letters = "GS" + TARGET[:18]
    specimen = Specimen([Polymer("A", protein(letters))], reference(("1", "P12345", "A", 1, 20, 1, 20)))
    result, plan = cleaved(made(specimen), CleaveOptions(signal=True), entry(Signal=(1, 4)))
    assert left(result) == ["A1", "A2", *(f"A{n}" for n in range(7, 21))]
    assert plan.removals[0].numbering == "alignment"
    assert any("its residues are not those of P12345" in note for note in plan.notes)


def test_ranges_of_different_lengths_tell_no_numbers() -> None:
    # Residues 9-11 were deleted, and the depositors give one range for all: 17 places for 20 residues.
    specimen = Specimen(
        [Polymer("A", protein(TARGET[:8] + TARGET[11:]))], reference(("1", "P12345", "A", 1, 17, 1, 20))
    )
    plan = plan_cleaving(made(specimen), CleaveOptions(propeptide=True), [entry(Propeptide=(12, 13))])
    assert [(one.positions, one.numbering) for one in plan.removals] == [((9, 10), "alignment")]
    assert any("17 residues against 20 of P12345" in note for note in plan.notes)


def test_another_isoform_is_aligned_not_counted_by() -> None:
    categories = reference(("1", "P12345", "A", 1, 16, 1, 16))
    categories["_struct_ref."]["pdbx_db_isoform"] = ["P12345-2"]
    specimen = Specimen([Polymer("A", protein(TARGET[4:]))], categories)
    structure = made(specimen)
    assert uniprot_accessions(structure) == ("P12345",)
    plan = plan_cleaving(structure, CleaveOptions(propeptide=True), [entry(Propeptide=(5, 7))])
    assert [(one.positions, one.numbering) for one in plan.removals] == [((1, 2, 3), "alignment")]
    assert any("another isoform" in note for note in plan.notes)


@pytest.mark.parametrize("told", [True, False])
def test_in_a_fusion_only_the_part_that_is_the_protein_is_cut(told: bool) -> None:
    # Another protein, a linker, then the target from its propeptide on.
    letters = OTHER + "GSGS" + TARGET[4:]
    rows = reference(("1", "Q99999", "A", 1, 20, 1, 20), ("1", "P12345", "A", 25, 40, 5, 20))
    structure = made(Specimen([Polymer("A", protein(letters))], rows if told else {}))
    protein_entry = entry(Signal=(1, 4), Propeptide=(5, 7))
    result, plan = cleaved(structure, CleaveOptions(signal=True, propeptide=True), protein_entry)
    assert left(result) == [f"A{n}" for n in range(1, 41) if n not in (25, 26, 27)]
    assert [one.numbering for one in plan.removals] == ["struct_ref_seq" if told else "alignment"]
    assert "chain A is in 2 pieces now; nothing joins them but its name" in plan.notes
    if told:
        rows_left = category(header_block(result), "_struct_ref_seq.")
        told_left = [(r["seq_align_beg"], r["seq_align_end"], r["db_align_beg"], r["db_align_end"]) for r in rows_left]
        assert told_left == [("1", "20", "1", "20"), ("25", "37", "8", "20")]


def test_a_tag_opposite_the_signal_peptide_is_not_taken_for_it() -> None:
    # No reference: 4 residues of a tag lie where an alignment without gaps would put the signal peptide.
    structure = made(Specimen([Polymer("A", protein("GSHH" + TARGET[4:]))]))
    plan = plan_cleaving(structure, CleaveOptions(signal=True), [entry(Signal=(1, 4))])
    assert not plan.removals and plan.numbering[0].source == "alignment"


def test_a_shared_stretch_does_not_make_a_chain_the_protein() -> None:
    # 8 of 20 residues in common are less than half.
    structure = made(Specimen([Polymer("A", protein(OTHER[:12] + TARGET[8:16]))]))
    plan = plan_cleaving(structure, CleaveOptions(features=("Domain",)), [entry(Domain=(9, 16))])
    assert not plan.removals and plan.numbering[0].source == "none"
    assert plan.notes == ("no chain of TEST is P12345",)


def test_of_two_alike_proteins_a_chain_is_the_nearer_one() -> None:
    cousin = TARGET[:9] + "A" + TARGET[10:]
    structure = made(Specimen([Polymer("A", protein(TARGET))]))
    plan = plan_cleaving(
        structure, CleaveOptions(signal=True), [entry("Q00001", cousin, Signal=(1, 8)), entry(Signal=(1, 4))]
    )
    assert [one.positions for one in plan.removals] == [(1, 2, 3, 4)]
    assert "no chain of TEST is Q00001" in plan.notes


def test_old_accessions_are_the_same_protein() -> None:
    structure = made(Specimen([Polymer("A", protein(TARGET))], reference(("1", "Q11111", "A", 1, 20, 1, 20))))
    signal = {"type": "Signal", "location": {"start": {"value": 1}, "end": {"value": 4}}}
    record = {"primaryAccession": "P12345", "secondaryAccessions": ["Q11111"], "features": [signal]}
    plan = plan_cleaving(structure, CleaveOptions(signal=True), [parse_features(record)])
    assert plan.counts == {Reason.SIGNAL: (4, 8)}


def test_every_kind_of_feature_and_no_guess_where_an_end_is_unknown() -> None:
    protein_entry = entry(
        Signal=(1, None), Transit_peptide=(2, 3), Initiator_methionine=(1, 1), Domain=(10, 12), Propeptide=(19, 20)
    )
    structure = made(Specimen([Polymer("A", protein(TARGET))], reference(("1", "P12345", "A", 1, 20, 1, 20))))
    options = CleaveOptions(signal=True, transit=True, propeptide=True, initiator=True, features=("Domain", "Peptide"))
    result, plan = cleaved(structure, options, protein_entry)
    assert left(result) == [f"A{n}" for n in range(4, 19) if n not in (10, 11, 12)]
    assert {str(reason): count for reason, count in plan.counts.items()} == {
        "transit peptide": (2, 4),
        "propeptide": (2, 4),
        "initiator methionine": (1, 2),
        "feature": (3, 6),
    }
    assert "P12345: Signal 1-? has no known ends, so it stays" in plan.notes
    assert "P12345 has no feature Peptide" in plan.notes


def test_a_feature_can_be_told_by_its_description() -> None:
    record = {
        "primaryAccession": "P12345",
        "features": [
            {"type": "Domain", "description": name, "location": {"start": {"value": n}, "end": {"value": n}}}
            for n, name in [(3, "SH2"), (5, "SH3")]
        ],
    }
    structure = made(Specimen([Polymer("A", protein(TARGET))], reference(("1", "P12345", "A", 1, 20, 1, 20))))
    plan = plan_cleaving(structure, CleaveOptions(features=("Domain:SH3",)), [parse_features(record)])
    assert [one.positions for one in plan.removals] == [(5,)]


def test_without_the_entry_its_features_are_asked_for() -> None:
    with pytest.raises(SelectionError, match=r"Signal is a feature of UniProt; .* names P12345, Q99999"):
        plan_cleaving(three_chains(), CleaveOptions(signal=True))


# --- tags, ranges, chains, selections -------------------------------------------------------------------------------


def test_expression_tags_go_also_where_nothing_was_seen() -> None:
    # GSHHHH and the target; of the tag only the last two residues are seen. Case varies in the archive.
    marks = [("A", n, "HIS", "Expression TAG" if n > 2 else "cloning artifact") for n in range(1, 7)]
    categories = {
        **reference(("1", "P12345", "A", 7, 26, 1, 20)),
        **differences(*marks, ("A", 10, "ALA", "engineered mutation")),
    }
    structure = made(Specimen([Polymer("A", protein("GSHHHH" + TARGET), first=-5, missing=range(1, 5))], categories))
    result, plan = cleaved(structure, CleaveOptions(tags=True))
    assert left(result) == [f"A{n}" for n in range(1, 21)]
    assert plan.counts == {Reason.TAG: (6, 4)}
    assert sequence(result, "1") == TARGET
    kept = category(header_block(result), "_struct_ref_seq_dif.")
    assert [(row["details"], row["seq_num"]) for row in kept] == [("engineered mutation", "4")]
    row = category(header_block(result), "_struct_ref_seq.")[0]
    assert (row["seq_align_beg"], row["seq_align_end"], row["db_align_beg"]) == ("1", "20", "1")


def test_an_initiating_methionine_is_no_tag() -> None:
    structure = made(
        Specimen(
            [Polymer("A", protein("M" + TARGET[4:]), first=0)], differences(("A", 1, "MET", "INITIATING METHIONINE"))
        )
    )
    assert not plan_cleaving(structure, CleaveOptions(tags=True)).removals
    assert plan_cleaving(structure, CleaveOptions(initiator=True)).counts == {Reason.INITIATOR: (1, 2)}


ANTIBODY = ["50", "51", "52", "52A", "52B", "52C", "53", "54"]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("H:52A-52B", ["52A", "52B"]),
        ("H:52-53", ["52", "52A", "52B", "52C", "53"]),
        ("H:51-52", ["51", "52"]),
        ("H:52", ["52"]),
        ("label:A:3-4", ["52", "52A"]),
    ],
)
def test_ranges_know_insertion_codes(text: str, gone: list[str]) -> None:
    structure = made(
        Specimen(
            [Polymer("H", protein("QVQLVESG"), numbers=ANTIBODY), Polymer("L", protein("QVQLVESG"), numbers=ANTIBODY)]
        )
    )
    result, _ = cleaved(structure, CleaveOptions(ranges=(ResidueRange.parse(text),)))
    assert left(result, "H") == [f"H{number}" for number in ANTIBODY if number not in gone]
    assert left(result, "L") == [f"L{number}" for number in ANTIBODY]


def test_ranges_know_negative_numbers() -> None:
    structure = made(Specimen([Polymer("A", protein("GSHMKLLQ"), first=-3)]))
    result, plan = cleaved(structure, CleaveOptions(ranges=(ResidueRange.parse("A:-3--1"),)))
    assert left(result) == ["A0", "A1", "A2", "A3", "A4"]
    assert plan.counts == {Reason.RANGE: (3, 6)} and sequence(result, "1") == "MKLLQ"


@pytest.mark.parametrize("text", ["", "A", "A:", "A:1-", "A:x", "1-5", "A:1-2-3", "label:A:1A-3", "A:5-1", "A:1B-1A"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(SelectionError, match="range|ends before|insertion codes"):
        ResidueRange.parse(text)


@given(
    st.tuples(st.integers(-999, 9999), st.sampled_from(["", "A", "Z"])),
    st.tuples(st.integers(-999, 9999), st.sampled_from(["", "A", "Z"])),
    st.sampled_from(["A", "AA", "7", "a"]),
)
def test_a_range_is_read_as_it_is_written(first: tuple[int, str], last: tuple[int, str], chain: str) -> None:
    wanted = ResidueRange(chain, min(first, last), max(first, last))
    assert ResidueRange.parse(str(wanted)) == wanted


@settings(max_examples=20, deadline=None)
@given(st.integers(-5, 20), st.integers(0, 20), st.integers(-5, 5))
def test_a_range_takes_what_lies_in_it_and_nothing_else(start: int, length: int, first: int) -> None:
    structure = made(Specimen([Polymer("A", protein(TARGET), first=first)]))
    plan = plan_cleaving(structure, CleaveOptions(ranges=(ResidueRange("A", (start, ""), (start + length, "")),)))
    numbers = structure.atoms["residue_number"].to_numpy()
    np.testing.assert_array_equal(plan.goes, (numbers >= start) & (numbers <= start + length))


def test_missing_density_is_cut_from_the_sequence_too() -> None:
    # Places 1-6 and 10-12 were not seen. The authors' number of an unseen residue is told by its neighbours.
    specimen = Specimen([Polymer("A", protein(TARGET), first=101, missing=[*range(1, 7), 10, 11, 12])])
    structure = made(specimen)
    result, plan = cleaved(
        structure, CleaveOptions(ranges=(ResidueRange.parse("A:101-108"), ResidueRange.parse("A:111")))
    )
    assert plan.counts == {Reason.RANGE: (9, 4)}
    assert sequence(result, "1") == TARGET[8:10] + TARGET[11:]
    assert left(result) == ["A109", *(f"A{n}" for n in range(113, 121))]
    assert result.atoms["label_residue_number"].iloc[0] == 1 and result.atoms["label_residue_number"].iloc[-1] == 11


def test_copies_that_lose_different_residues_become_entities_of_their_own() -> None:
    result, _ = cleaved(three_chains(), CleaveOptions(signal=True, only=("A",)), entry(Signal=(1, 4)))
    assert dict(zip(result.atoms["chain"], result.atoms["entity"], strict=True)) == {"A": "1", "B": "3", "C": "2"}
    assert (sequence(result, "1"), sequence(result, "3")) == (TARGET[4:], TARGET)
    block = header_block(result)
    owners = {row["ref_id"]: row["pdbx_strand_id"] for row in category(block, "_struct_ref_seq.")}
    assert {owners[row["id"]]: row["entity_id"] for row in category(block, "_struct_ref.")} == {
        "A": "1",
        "B": "3",
        "C": "2",
    }


def test_whole_chains_and_entities_go_with_all_that_describes_them() -> None:
    structure = three_chains()
    result, plan = cleaved(structure, CleaveOptions(chains=("B",), entities=("2",)))
    assert result.chains == ["A"] and plan.counts == {Reason.CHAIN: (20, 40), Reason.ENTITY: (20, 40)}
    text = result.header
    assert "Q99999" not in text and [row["id"] for row in category(header_block(result), "_struct_asym.")] == ["A"]
    for options in (
        CleaveOptions(chains=("X",)),
        CleaveOptions(entities=("9",)),
        CleaveOptions(only=("X",), waters=True),
    ):
        with pytest.raises(SelectionError, match="TEST has no (chain X|entity 9); its"):
            plan_cleaving(structure, options)


def test_selections_take_atoms_and_leave_the_sequence() -> None:
    structure = three_chains()
    result, plan = cleaved(structure, CleaveOptions(selections=("//A/1-4", "//B/5/CA", "(NOP)")))
    assert left(result, "A") == [f"A{n}" for n in range(5, 21)] and sequence(result, "1") == TARGET
    assert plan.counts == {Reason.SELECTION: (4, 9)}
    assert "selection (NOP) holds no atom" in plan.notes
    with pytest.raises(SelectionError, match="'//A/1-/x/' is not understood"):
        plan_cleaving(structure, CleaveOptions(selections=("//A/1-/x/",)))


def test_what_is_to_be_kept_stays_in_spite_of_every_rule() -> None:
    options = CleaveOptions(signal=True, chains=("C",), keep=("//A/2/CA", "//C/7"))
    result, plan = cleaved(three_chains(), options, entry(Signal=(1, 4)))
    assert left(result, "A") == ["A2", *(f"A{n}" for n in range(5, 21))]
    assert left(result, "C") == ["C7"] and plan.counts[Reason.CHAIN] == (19, 38)


def test_every_model_of_an_ensemble_is_cut() -> None:
    specimen = Specimen([Polymer("A", protein(TARGET))], models=3)
    result, plan = cleaved(made(specimen), CleaveOptions(ranges=(ResidueRange.parse("A:1-4"),)))
    assert plan.counts == {Reason.RANGE: (4, 24)}
    assert result.atoms.groupby("model").size().tolist() == [32, 32, 32]


# --- atoms and small molecules --------------------------------------------------------------------------------------

WATER = gemmi.EntityType.Water
METHYLMERCURY = [("HG", "Hg"), ("C1", "C"), ("H11", "H"), ("1HB", "H"), ("D2", "D")]


def mixed() -> Structure:
    """Chain H with a histidine, a selenomethionine and a phosphoserine; ligands, ions and three waters."""
    parts = [
        Polymer("H", ["GLY", "HIS", "MSE", "SEP"]),
        Loose("H", "MMC", 101, METHYLMERCURY, "2"),
        Loose("H", "HG", 102, [("HG", "Hg")], "3"),
        Loose("H", "MSE", 103, [("N", "N"), ("CA", "C")], "4"),
        Loose("H", "HOH", 201, [("O", "O"), ("H1", "H")], "5", WATER),
        Loose("H", "DOD", 202, [("O", "O"), ("D1", "D")], "6", WATER),
        Loose("H", "WAT", 203, [("O", "O")], "7", WATER),
    ]
    return made(Specimen(parts))


def test_unlike_profet_mercury_is_no_hydrogen_and_hydrogens_need_not_begin_with_h() -> None:
    result, plan = cleaved(mixed(), CleaveOptions(hydrogens=True))
    assert plan.counts == {Reason.HYDROGEN: (0, 5)}
    ligand = result.atoms[result.atoms["residue_name"] == "MMC"]
    assert ligand["atom_name"].tolist() == ["HG", "C1"]
    assert "HG" in result.atoms["residue_name"].tolist()


def test_unlike_profet_neither_histidine_nor_chain_h_is_hydrogen() -> None:
    result, _ = cleaved(mixed(), CleaveOptions(hydrogens=True))
    assert (result.atoms["residue_name"] == "HIS").sum() == 2 and left(result)[:4] == ["H1", "H2", "H3", "H4"]


def test_unlike_profet_every_water_is_water() -> None:
    result, plan = cleaved(mixed(), CleaveOptions(waters=True))
    assert plan.counts == {Reason.WATER: (3, 5)}
    assert not set(result.atoms["residue_name"]) & {"HOH", "DOD", "WAT"}


def test_unlike_profet_modified_residues_are_no_ligands() -> None:
    result, plan = cleaved(mixed(), CleaveOptions(ligands=True, ions=True))
    # Methylmercury and the loose selenomethionine go, those of the chain stay.
    assert plan.counts == {Reason.ION: (1, 1), Reason.LIGAND: (2, 7)}
    assert result.atoms["residue_name"].unique().tolist() == ["GLY", "HIS", "MSE", "SEP", "HOH", "DOD", "WAT"]


def test_modified_residues_stay_where_the_file_has_no_entities() -> None:
    specimen = S["gemmi_specimen"](
        Specimen([Polymer("A", ["GLY", "MSE", "SER"]), Loose("A", "EDO", 9, [("C1", "C"), ("O1", "O")], "2")])
    )
    bare = S["text_of"](specimen, {"_entity.": {}, "_struct_asym.": {}, "_entity_poly.": {}, "_entity_poly_seq.": {}})
    structure = parse_structure(bare.encode(), "bare.cif")
    plan = plan_cleaving(structure, CleaveOptions(ligands=True))
    assert structure.atoms["residue_name"][plan.goes].unique().tolist() == ["EDO"]


def alternatives() -> Structure:
    """Residue 2 in two places, the second better occupied; 3 in two equal ones; at place 4 serine or threonine."""
    specimen = S["gemmi_specimen"](Specimen([Polymer("A", protein("GKES"))]))
    chain = specimen[0]["A"]
    for residue, occupancies in ((chain[1], (0.3, 0.7)), (chain[2], (0.5, 0.5))):
        copies = [atom.clone() for atom in residue]
        for atom in residue:
            atom.altloc, atom.occ = "A", occupancies[0]
        for atom in copies:
            atom.altloc, atom.occ = "B", occupancies[1]
            residue.add_atom(atom)
    twin = chain[3].clone()
    twin.name = "THR"
    for residue, letter, occupancy in ((chain[3], "A", 0.4), (twin, "B", 0.6)):
        for atom in residue:
            atom.altloc, atom.occ = letter, occupancy
    chain.add_residue(twin)
    specimen.entities[0].full_sequence = ["GLY", "LYS", "GLU", "SER,THR"]
    specimen.assign_serial_numbers()
    return parse_structure(S["text_of"](specimen).encode(), "TEST.cif")


def test_of_alternative_places_the_best_occupied_stays() -> None:
    result, plan = cleaved(alternatives(), CleaveOptions(altlocs=True))
    assert result.atoms["residue_name"].tolist() == ["GLY"] * 2 + ["LYS"] * 2 + ["GLU"] * 2 + ["THR"] * 2
    assert result.atoms["occupancy"].tolist() == [1, 1, 0.7, 0.7, 0.5, 0.5, 0.6, 0.6]
    assert (result.atoms["altloc"] == "").all()
    assert plan.counts[Reason.ALTLOC][1] == 6
    # Of the two equal ones the first by letter.
    before = alternatives()
    first = (before.atoms["residue_number"] == 3) & (before.atoms["altloc"] == "A")
    np.testing.assert_array_equal(result.positions[4:6], before.positions[first])
    assert sequence(result, "1") == "GKET"


def test_nucleic_acids_are_polymers_and_no_protein() -> None:
    parts = [
        Polymer("A", protein(TARGET)),
        Polymer("X", ["DA", "DC", "DG", "DT"], entity="2"),
        Loose("X", "MG", 101, [("MG", "Mg")], "3"),
    ]
    structure = made(Specimen(parts, reference(("1", "P12345", "A", 1, 20, 1, 20))))
    options = CleaveOptions(signal=True, ligands=True, ions=True, ranges=(ResidueRange.parse("X:1-1"),))
    result, plan = cleaved(structure, options, entry(Signal=(1, 4)))
    assert left(result, "X") == ["X2", "X3", "X4"]
    assert plan.counts == {Reason.SIGNAL: (4, 8), Reason.RANGE: (1, 2), Reason.ION: (1, 1)}
    row = next(row for row in category(header_block(result), "_entity_poly.") if row["entity_id"] == "2")
    assert row["pdbx_seq_one_letter_code"] == "(DC)(DG)(DT)"


def predicted(confidences: Sequence[float] = tuple(range(1, 101, 5))) -> Structure:
    """A model as AlphaFold DB writes it: numbers of UniProt, B factors are pLDDT."""
    specimen = S["gemmi_specimen"](Specimen([Polymer("A", protein(TARGET))], name="AF-P12345-F1"))
    for residue, confidence in zip(specimen[0]["A"], confidences, strict=True):
        for atom in residue:
            atom.b_iso = confidence
    target = {"target_entity_id": ["1"], "db_name": ["UNP"], "db_accession": ["P12345"]}
    target |= {"seq_db_align_begin": ["1"], "seq_db_align_end": ["20"]}
    text = S["text_of"](specimen, {"_ma_qa_metric.": {"name": ["pLDDT"]}, "_ma_target_ref_db_details.": target})
    return parse_structure(text.encode(), "AF.cif")


def test_a_predicted_model_is_cut_by_uniprot_and_by_confidence() -> None:
    # pLDDT 1, 6, ..., 96: the 15th residue has 71.
    structure = predicted()
    assert uniprot_accessions(structure) == ("P12345",)
    result, plan = cleaved(structure, CleaveOptions(signal=True, plddt=70.0), entry(Signal=(1, 4)))
    assert left(result) == [f"A{n}" for n in range(15, 21)]
    assert plan.counts == {Reason.SIGNAL: (4, 8), Reason.CONFIDENCE: (10, 20)}
    assert sequence(result, "1") == TARGET[4:], "what is not sure is still part of the molecule"


def test_confidence_is_not_asked_of_experiments() -> None:
    with pytest.raises(SelectionError, match=r"TEST is no prediction: its B factors are displacements"):
        plan_cleaving(three_chains(), CleaveOptions(plddt=70.0))
    with pytest.raises(SelectionError, match="pLDDT goes from 0 to 100; 170"):
        plan_cleaving(predicted(), CleaveOptions(plddt=170.0))


# --- the plan -------------------------------------------------------------------------------------------------------


def test_a_plan_changes_nothing_and_counts_everything_once() -> None:
    structure = mixed()
    before = structure.atoms.copy(), structure.header
    options = CleaveOptions(
        hydrogens=True,
        waters=True,
        ions=True,
        ligands=True,
        selections=("//H/101-203",),
        ranges=(ResidueRange.parse("H:1-2"),),
    )
    plan = plan_cleaving(structure, options)
    assert structure.atoms.equals(before[0]) and structure.header == before[1]
    assert sum(one.atoms for one in plan.removals) == plan.goes.sum() == (plan.reason != "").sum()
    assert {Reason(text) for text in plan.reason[plan.goes]} == set(plan.counts)
    assert plan.record()["atoms_removed"] + plan.record()["atoms_left"] == len(structure)
    with pytest.raises(ValueError, match="read-only"):
        plan.goes[0] = True


def test_a_plan_is_for_its_structure_alone() -> None:
    plan = plan_cleaving(mixed(), CleaveOptions(waters=True))
    with pytest.raises(SelectionError, match="not made for TEST"):
        cleave(three_chains(), plan)
    with pytest.raises(SelectionError, match="all its 21 atoms would go"):
        structure = mixed()
        cleave(structure, plan_cleaving(structure, CleaveOptions(chains=("H",))))


def test_cleaving_in_two_steps_is_cleaving_in_one() -> None:
    first, _ = cleaved(three_chains(), CleaveOptions(signal=True), entry(Signal=(1, 4)))
    second, _ = cleaved(first, CleaveOptions(propeptide=True), entry(Propeptide=(5, 7)))
    both, _ = cleaved(
        three_chains(), CleaveOptions(signal=True, propeptide=True), entry(Signal=(1, 4), Propeptide=(5, 7))
    )
    assert second.atoms.equals(both.atoms)
    for name in ("_entity_poly_seq.", "_struct_ref_seq.", "_struct_asym."):
        assert category(header_block(second), name) == category(header_block(both), name)
    reasons = [row["reason"] for row in category(header_block(second), "_napari_profet_cleaved.")]
    assert reasons == ["signal peptide", "signal peptide", "propeptide", "propeptide"]
