"""The rules of cleaving: each yields what it would take from a structure, were it the only one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_profet import selecting
from napari_profet.cleave_plan import CleaveOptions, Reason
from napari_profet.errors import SelectionError
from napari_profet.numbering import ChainNumbering
from napari_profet.residues import PolymerChain, Residues, category

if TYPE_CHECKING:
    from gemmi import cif

    from napari_profet.features import ProteinFeatures
    from napari_profet.structure import Structure

__all__ = ["Cutter", "Rule", "by_atoms", "by_chains", "by_features", "by_marks", "by_ranges"]

_TAG_WORDS = ("expression tag", "cloning artifact", "leader sequence", "purification tag", "his tag", "his-tag")
_INITIATOR_WORDS = ("initiating methionine", "initiator methionine", "initiating met")
"""What ``_struct_ref_seq_dif.details`` says, in whatever case."""


@dataclass(frozen=True)
class Rule:
    """A rule applied: what it would take, were it alone."""

    reason: Reason
    detail: str
    atoms: np.ndarray
    chain: int = -1
    positions: frozenset[int] = frozenset()
    numbering: str = ""


class Cutter:
    """Turns places in a sequence, or a mask, into a rule, within the limits that were set."""

    def __init__(self, structure: Structure, residues: Residues, options: CleaveOptions) -> None:
        self.structure, self.residues, self.options = structure, residues, options
        self.kept = np.zeros(len(structure), dtype=bool)
        for mask in selecting.selected(structure, options.keep):
            self.kept |= mask
        self.allowed = np.ones(len(structure), dtype=bool)
        if options.only:
            self.allowed = selecting.chain_atoms(structure, residues, options.only)

    def cut(
        self,
        reason: Reason,
        detail: str,
        chain: int,
        positions: Iterable[int],
        source: str = "",
        *,
        limited: bool = True,
    ) -> Rule:
        """Rule that cuts places out of a polymer chain."""
        own = self.residues.polymer == chain
        if limited and not self.allowed[own].all():
            return Rule(reason, detail, np.zeros(len(own), dtype=bool), chain)
        held = set(self.residues.position[own & self.kept].tolist())
        places = frozenset(positions) - held
        atoms = own & np.isin(self.residues.position, list(places))
        return Rule(reason, detail, atoms, chain, places, source)

    def leave_out(self, reason: Reason, detail: str, atoms: np.ndarray, *, limited: bool = True) -> Rule:
        """Rule that takes atoms."""
        return Rule(reason, detail, atoms & ~self.kept & (self.allowed if limited else True))

    @property
    def chains(self) -> Sequence[PolymerChain]:
        """Polymer chains, which rules name by their index."""
        return self.residues.polymers


def by_features(
    cutter: Cutter,
    wanted: Sequence[tuple[Reason, str]],
    proteins: Sequence[ProteinFeatures],
    numbering: Sequence[ChainNumbering],
    notes: list[str],
) -> Iterable[Rule]:
    """Rules of UniProt's features, on the chains that are these proteins."""
    notes += dict.fromkeys(note for one in numbering for note in one.notes)
    places = {chain.label: index for index, chain in enumerate(cutter.chains)}
    for protein in proteins:
        own = [one for one in numbering if one.accession == protein.accession and one.numbers]
        if not own:
            notes.append(f"no chain of {cutter.structure.name} is {protein.accession}")
        for reason, kind in wanted:
            word, _, description = kind.partition(":")
            found = [one for one in protein.of_kind(word) if not description or one.description == description]
            if not found:
                notes.append(f"{protein.accession} has no feature {kind}")
            for feature in found:
                if not feature.located:
                    notes.append(f"{protein.accession}: {feature} has no known ends, so it stays")
                    continue
                for one in own:
                    cut = [place for place, number in one.numbers.items() if number in feature]
                    yield cutter.cut(reason, f"{protein.accession} {feature}", places[one.label], cut, str(one.source))


def by_marks(cutter: Cutter, header: cif.Block, options: CleaveOptions, notes: list[str]) -> Iterable[Rule]:
    """Rules of residues that the depositors marked: ``_struct_ref_seq_dif``, SEQADV in PDB format."""
    marks = category(header, "_struct_ref_seq_dif.")
    strands = {row.get("align_id", ""): row.get("pdbx_strand_id", "") for row in category(header, "_struct_ref_seq.")}
    asked = [(Reason.TAG, _TAG_WORDS)] * options.tags + [(Reason.INITIATOR, _INITIATOR_WORDS)] * options.initiator
    for reason, words in asked:
        met = False
        for index, chain in enumerate(cutter.chains):
            by_word: dict[str, set[int]] = {}
            for row in marks:
                said = row.get("details", "").strip().lower()
                strand = row.get("pdbx_pdb_strand_id") or strands.get(row.get("align_id", ""), "")
                if said in words and strand == chain.chain:
                    by_word.setdefault(said, set()).update(_marked(row, chain))
            met = met or any(by_word.values())
            for word, positions in by_word.items():
                yield cutter.cut(reason, f"{word} (struct_ref_seq_dif)", index, positions)
        if not met and reason is Reason.TAG:
            notes.append(f"{cutter.structure.name} marks no residue as {_TAG_WORDS[0]}")


def _marked(row: Mapping[str, str], chain: PolymerChain) -> Iterable[int]:
    """Position of a marked residue, by the sequence where the row says it, else by the authors' number."""
    if row.get("seq_num", "").isdigit():
        return [int(row["seq_num"])]
    number, code = row.get("pdbx_auth_seq_num", ""), row.get("pdbx_pdb_ins_code", "")
    return [one.position for one in chain.residues if (str(one.number), one.insertion_code) == (number, code)]


def by_chains(cutter: Cutter, options: CleaveOptions) -> Iterable[Rule]:
    """Rules of whole chains and entities, with all that goes by the chain's name."""
    for name in options.chains:
        chosen = selecting.chain_atoms(cutter.structure, cutter.residues, [name])
        yield from _wholly(cutter, Reason.CHAIN, f"chain {name}", chosen)
    for entity in options.entities:
        chosen = cutter.residues.entity == entity
        if not chosen.any():
            there = ", ".join(dict.fromkeys(cutter.residues.entity))
            raise SelectionError(f"{cutter.structure.name} has no entity {entity}; its entities are {there}")
        yield from _wholly(cutter, Reason.ENTITY, f"entity {entity}", chosen)


def _wholly(cutter: Cutter, reason: Reason, detail: str, chosen: np.ndarray) -> Iterable[Rule]:
    for index in dict.fromkeys(cutter.residues.polymer[chosen & (cutter.residues.polymer >= 0)].tolist()):
        positions = [residue.position for residue in cutter.chains[index].residues]
        yield cutter.cut(reason, detail, index, positions, limited=False)
    yield cutter.leave_out(reason, detail, chosen & (cutter.residues.polymer < 0), limited=False)


def by_ranges(cutter: Cutter, options: CleaveOptions, notes: list[str]) -> Iterable[Rule]:
    """Rules of residue ranges."""
    for wanted in options.ranges:
        met = False
        for index, chain in enumerate(cutter.chains):
            positions = [residue.position for residue in chain.residues if wanted.holds(chain, residue)]
            met = met or bool(positions)
            yield cutter.cut(Reason.RANGE, str(wanted), index, positions)
        if not met:
            notes.append(f"{wanted} holds no residue of a polymer chain")


def by_atoms(cutter: Cutter, options: CleaveOptions, notes: list[str]) -> Iterable[Rule]:
    """Rules that leave atoms out and the sequence as it is."""
    structure, residues, atoms = cutter.structure, cutter.residues, cutter.structure.atoms
    for text, mask in zip(options.selections, selecting.selected(structure, options.selections), strict=True):
        if not mask.any():
            notes.append(f"selection {text} holds no atom")
        yield cutter.leave_out(Reason.SELECTION, text, mask)
    if options.plddt is not None:
        mask = selecting.low_confidence(structure, residues, options.plddt)
        yield cutter.leave_out(Reason.CONFIDENCE, f"below {options.plddt:g}", mask)
    if options.altlocs:
        yield cutter.leave_out(Reason.ALTLOC, "", selecting.alternative(atoms, residues)[0])
    if options.hydrogens:
        yield cutter.leave_out(Reason.HYDROGEN, "", selecting.hydrogens(atoms))
    for asked, reason, choose in (
        (options.waters, Reason.WATER, selecting.waters),
        (options.ions, Reason.ION, selecting.ions),
        (options.ligands, Reason.LIGAND, selecting.ligands),
    ):
        if asked:
            yield cutter.leave_out(reason, "", choose(atoms, residues))
