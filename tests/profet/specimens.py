"""Structures for the tests, small enough to derive by hand what cleaving must leave. Made with gemmi alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import gemmi

from napari_profet import Structure
from napari_profet.structure import parse_structure

Category = Mapping[str, Sequence[object]]


@dataclass
class Polymer:
    """A polymer chain; each residue seen has the atoms N and CA.

    ``first`` is the authors' number of the first residue; ``numbers`` gives them one by one, such as "52A";
    ``missing`` are the places without atoms; ``entity`` is shared by chains of one sequence.
    """

    chain: str
    names: Sequence[str]
    first: int = 1
    numbers: Sequence[str] = ()
    missing: Iterable[int] = ()
    entity: str = "1"
    label: str = ""

    def author(self, place: int) -> str:
        return self.numbers[place - 1] if self.numbers else str(self.first + place - 1)


@dataclass
class Loose:
    """A molecule outside of polymers: its component, and its atoms as (name, element)."""

    chain: str
    name: str
    number: int
    atoms: Sequence[tuple[str, str]]
    entity: str
    kind: gemmi.EntityType = gemmi.EntityType.NonPolymer


@dataclass
class Specimen:
    """What a structure is made of; ``categories`` are added to the file as they stand."""

    parts: Sequence[Polymer | Loose]
    categories: Mapping[str, Category] = field(default_factory=dict)
    models: int = 1
    name: str = "TEST"


def protein(letters: str) -> list[str]:
    """Components of a sequence in one-letter code."""
    return gemmi.expand_one_letter_sequence(letters, gemmi.ResidueKind.AA)


def gemmi_specimen(specimen: Specimen) -> gemmi.Structure:
    """Build the structure as an object of gemmi; atoms lie on a line, 1.5 Å from one to the next."""
    structure = gemmi.Structure()
    structure.name = specimen.name
    entities: dict[str, gemmi.Entity] = {}
    for number in range(1, specimen.models + 1):
        model = gemmi.Model(number)
        chains: dict[str, gemmi.Chain] = {}
        x = 0.0
        for index, part in enumerate(specimen.parts):
            chain = chains.setdefault(part.chain, gemmi.Chain(part.chain))
            label = (part.label if isinstance(part, Polymer) else "") or "ABCDEFGHIJKLMNOP"[index]
            entity = entities.setdefault(part.entity, gemmi.Entity(part.entity))
            entity.subchains = sorted({*entity.subchains, label})
            for residue in _residues(part, entity):
                residue.subchain, residue.entity_id = label, part.entity
                for atom in residue:
                    atom.pos, x = gemmi.Position(x, 0, 0), x + 1.5
                chain.add_residue(residue)
        for chain in chains.values():
            model.add_chain(chain)
        structure.add_model(model)
    structure.entities = gemmi.EntityList(list(entities.values()))
    structure.assign_serial_numbers()
    return structure


def _residues(part: Polymer | Loose, entity: gemmi.Entity) -> Iterable[gemmi.Residue]:
    if isinstance(part, Loose):
        entity.entity_type = part.kind
        yield _residue(part.name, str(part.number), part.atoms, part.kind, "H")
        return
    entity.entity_type = gemmi.EntityType.Polymer
    entity.polymer_type = gemmi.PolymerType.Dna if part.names[0].startswith("D") else gemmi.PolymerType.PeptideL
    entity.full_sequence = list(part.names)
    for place, name in enumerate(part.names, start=1):
        if place not in part.missing:
            standard = gemmi.find_tabulated_residue(name).is_standard()
            atoms = [("P", "P"), ("C4'", "C")] if name.startswith("D") else [("N", "N"), ("CA", "C")]
            residue = _residue(name, part.author(place), atoms, gemmi.EntityType.Polymer, "A" if standard else "H")
            residue.label_seq = place
            yield residue


def _residue(
    name: str, number: str, atoms: Sequence[tuple[str, str]], kind: gemmi.EntityType, flag: str
) -> gemmi.Residue:
    residue = gemmi.Residue()
    # gemmi.SeqId("52A") would make a small letter of the insertion code.
    code = number[-1] if number[-1].isalpha() else " "
    residue.name, residue.seqid = name, gemmi.SeqId(int(number.rstrip(code)), code)
    residue.entity_type, residue.het_flag = kind, flag
    for atom_name, element in atoms:
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso, atom.occ = atom_name, gemmi.Element(element), 20.0, 1.0
        residue.add_atom(atom)
    return residue


def text_of(structure: gemmi.Structure, categories: Mapping[str, Category] | None = None) -> str:
    """Write the mmCIF text, with categories added or, where they are empty, taken away."""
    document = structure.make_mmcif_document()
    block = document.sole_block()
    for name, columns in (categories or {}).items():
        block.find_mmcif_category(name).erase()
        if columns:
            block.set_mmcif_category(name, {item: list(map(str, values)) for item, values in columns.items()})
    return document.as_string()


def made(specimen: Specimen) -> Structure:
    """Build the structure as this package reads it."""
    text = text_of(gemmi_specimen(specimen), specimen.categories)
    return parse_structure(text.encode(), f"{specimen.name}.cif")


def reference(*rows: tuple[str, str, str, int, int, int, int]) -> dict[str, Category]:
    """Depositors' ranges: (entity, accession, chain, first and last place, first and last number in UniProt)."""
    entities = list(dict.fromkeys((row[0], row[1]) for row in rows))
    ids = {pair: str(n) for n, pair in enumerate(entities, start=1)}
    return {
        "_struct_ref.": {
            "id": list(ids.values()),
            "entity_id": [entity for entity, _ in entities],
            "db_name": ["UNP"] * len(ids),
            "db_code": [f"{accession}_TEST" for _, accession in entities],
            "pdbx_db_accession": [accession for _, accession in entities],
        },
        "_struct_ref_seq.": {
            "align_id": list(range(1, len(rows) + 1)),
            "ref_id": [ids[row[0], row[1]] for row in rows],
            "pdbx_strand_id": [row[2] for row in rows],
            "pdbx_db_accession": [row[1] for row in rows],
            "seq_align_beg": [row[3] for row in rows],
            "seq_align_end": [row[4] for row in rows],
            "db_align_beg": [row[5] for row in rows],
            "db_align_end": [row[6] for row in rows],
        },
    }


def sifts(*rows: tuple[str, str, int, str, int]) -> dict[str, Category]:
    """Residues by SIFTS: (entity, chain of the dictionary, place, accession, number in UniProt)."""
    items = ("entity_id", "asym_id", "seq_id", "unp_acc", "unp_num")
    return {"_pdbx_sifts_xref_db.": {item: [row[n] for row in rows] for n, item in enumerate(items)}}


def differences(*rows: tuple[str, int, str, str]) -> dict[str, Category]:
    """Marked residues: (chain, place, component, what the depositors call it)."""
    return {
        "_struct_ref_seq_dif.": {
            "align_id": ["1"] * len(rows),
            "pdbx_pdb_strand_id": [row[0] for row in rows],
            "seq_num": [row[1] for row in rows],
            "mon_id": [row[2] for row in rows],
            "details": [row[3] for row in rows],
        }
    }
