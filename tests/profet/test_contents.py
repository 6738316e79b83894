"""Given a structure, then what it holds is listed with counts, and ticking a part takes just that."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from napari_profet import Structure
from napari_profet.cleave import CleaveOptions, plan_cleaving
from napari_profet.contents import Contents, Group, contents_of, options_of
from napari_profet.errors import SelectionError
from napari_profet.features import ProteinFeatures, parse_features
from napari_profet.selecting import ResidueRange

S: Any = runpy.run_path(str(Path(__file__).with_name("specimens.py")))
TARGET = "MKLLQRSADEFGHIKNPTVW"
OTHER = "GGWYCCHMNPQEERRTTLLA"


def target() -> ProteinFeatures:
    """A protein with a signal peptide, a propeptide of unknown length, and two domains of one name."""
    listed = [
        {"type": "Signal", "location": {"start": {"value": 1}, "end": {"value": 4}}},
        {"type": "Propeptide", "location": {"start": {"value": 5}, "end": {"value": None, "modifier": "UNKNOWN"}}},
        {"type": "Domain", "location": {"start": {"value": 8}, "end": {"value": 10}}, "description": "SH3"},
        {"type": "Domain", "location": {"start": {"value": 15}, "end": {"value": 18}}, "description": "SH3"},
        {"type": "Helix", "location": {"start": {"value": 8}, "end": {"value": 10}}},
    ]
    return parse_features({"primaryAccession": "P12345", "features": listed, "sequence": {"value": TARGET}})


def specimen() -> Structure:
    """Chain A: the protein with a tag of 3, whose residues 1 and 2 were not seen; chain B: another, heme and water."""
    names = S["protein"](TARGET + "HHH")
    parts = [
        S["Polymer"]("A", names, missing=(1, 2)),
        S["Polymer"]("B", S["protein"](OTHER), entity="2"),
        S["Loose"]("B", "HEM", 101, [("FE", "Fe"), ("NA", "N")], "3"),
        S["Loose"]("A", "MG", 201, [("MG", "Mg")], "4"),
        S["Loose"]("B", "HOH", 301, [("O", "O"), ("H1", "H")], "5", S["gemmi"].EntityType.Water),
    ]
    tags = S["differences"](*(("A", place, "HIS", "Expression Tag") for place in (21, 22, 23)))
    return S["made"](S["Specimen"](parts, S["reference"](("1", "P12345", "A", 1, 20, 1, 20)) | tags))


def listed(contents: Contents, group: Group) -> dict[str, tuple[int, int]]:
    return {part.label: (part.residues, part.atoms) for part in contents.parts if part.group is group}


def test_everything_is_listed_with_its_counts() -> None:
    contents = contents_of(specimen(), [target()])
    assert listed(contents, Group.FEATURES) == {
        "Signal peptide": (4, 4),
        "Domain: SH3": (7, 14),
        "Expression tag": (3, 6),
    }
    assert listed(contents, Group.CHAINS) == {"A: polymer": (24, 43), "B: polymer": (22, 44)}
    assert listed(contents, Group.ENTITIES) == {
        "1: LEU, GLN, ARG, SER …": (23, 42),
        "2: GLY, TRP, TYR, CYS …": (20, 40),
        "3: HEM": (1, 2),
        "4: MG": (1, 1),
        "5: HOH": (1, 2),
    }
    assert listed(contents, Group.ATOMS) == {
        "Waters": (1, 2),
        "Ions: MG": (1, 1),
        "Ligands and glycans: HEM": (1, 2),
        "Hydrogens": (0, 1),
    }
    assert contents.accessions == ("P12345",)
    assert [note for note in contents.notes if "Propeptide 5-?" in note and "stays" in note]


def test_each_part_takes_what_it_says() -> None:
    structure = specimen()
    contents = contents_of(structure, [target()])
    assert len(contents.parts) == 14
    for part in contents.parts:
        plan = plan_cleaving(structure, options_of([part]), [target()])
        assert int(plan.goes.sum()) == part.atoms, part
        if part.residues:
            assert sum(removal.residues for removal in plan.removals) == part.residues, part


def test_without_uniprot_only_what_the_file_tells() -> None:
    contents = contents_of(specimen())
    assert listed(contents, Group.FEATURES) == {"Expression tag": (3, 6)}
    assert contents.accessions == ("P12345",) and not contents.notes


def test_ticks_and_words_become_options() -> None:
    parts = contents_of(specimen(), [target()]).parts
    chosen = [part for part in parts if part.label in ("Signal peptide", "Domain: SH3", "B: polymer", "Waters")]
    ranges = (ResidueRange.parse("A:1-2"), ResidueRange.parse("B:7"))
    assert options_of(chosen, ranges=" A:1-2, B:7 ,", selection=" (HIS) ", plddt=70.0) == CleaveOptions(
        signal=True,
        features=("Domain:SH3",),
        chains=("B",),
        waters=True,
        ranges=ranges,
        selections=("(HIS)",),
        plddt=70.0,
    )
    assert options_of([]) == CleaveOptions()
    with pytest.raises(SelectionError, match="'A1' is no residue range"):
        options_of([], ranges="A1")
