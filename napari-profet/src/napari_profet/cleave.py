"""Cleaving: what is to go from a structure, as a plan that can be looked at, and the doing of it.

Rules are of two kinds. *Cuts* say that the molecule does not have something: its sequence is shortened too, also where
nothing was seen. The others only leave atoms out: the sequence stays.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_profet.cleave_header import RECORD, rewrite_header
from napari_profet.cleave_left import put_rows, rows_of, what_is_left
from napari_profet.cleave_plan import CleaveOptions, CleavePlan, Reason, Removal
from napari_profet.cleave_rules import Cutter, Rule, by_atoms, by_chains, by_features, by_marks, by_ranges
from napari_profet.errors import SelectionError
from napari_profet.numbering import ChainNumbering, number_chains, referenced_accessions
from napari_profet.residues import Residues, header_block, residues_of

if TYPE_CHECKING:
    from gemmi import cif

    from napari_profet.features import ProteinFeatures
    from napari_profet.structure import Structure

__all__ = ["CleaveOptions", "CleavePlan", "Reason", "Removal", "cleave", "plan_cleaving", "uniprot_accessions"]


def uniprot_accessions(structure: Structure) -> tuple[str, ...]:
    """UniProt entries that a structure names for its chains."""
    return referenced_accessions(residues_of(structure).polymers, header_block(structure))


def plan_cleaving(structure: Structure, options: CleaveOptions, proteins: Iterable[ProteinFeatures] = ()) -> CleavePlan:
    """Say what would go from a structure.

    Parameters
    ----------
    structure
        Stays as it is.
    options
        What shall go.
    proteins
        UniProt entries of the proteins in it, for the rules that go by UniProt's features.

    Raises
    ------
    SelectionError
        A chain or entity is not there, a selection is not understood, pLDDT is asked of an experiment, or UniProt's
        features are asked for without an entry.
    """
    proteins = tuple(proteins)
    residues, header = residues_of(structure), header_block(structure)
    features = [pair for pair in options.of_uniprot if pair[0] is not Reason.INITIATOR or proteins]
    if features and not proteins:
        named = ", ".join(referenced_accessions(residues.polymers, header)) or "none"
        raise SelectionError(
            f"{structure.name}: {features[0][1]} is a feature of UniProt; give the UniProt entry "
            f"(the structure names {named})"
        )
    notes: list[str] = []
    numbering = number_chains(residues.polymers, header, proteins) if features else ()
    cutter = Cutter(structure, residues, options)
    rules = [
        *(by_features(cutter, features, proteins, numbering, notes) if features else ()),
        *by_marks(cutter, header, options, notes),
        *by_chains(cutter, options),
        *by_ranges(cutter, options, notes),
        *by_atoms(cutter, options, notes),
    ]
    return _put_together(cutter, sorted(rules, key=lambda rule: list(Reason).index(rule.reason)), numbering, notes)


def _put_together(
    cutter: Cutter, rules: Sequence[Rule], numbering: Sequence[ChainNumbering], notes: list[str]
) -> CleavePlan:
    """Apply rules one after the other: what an earlier one took, a later one does not count."""
    structure, residues = cutter.structure, cutter.residues
    goes = np.zeros(len(structure), dtype=bool)
    reason = np.full(len(structure), "", dtype=object)
    cuts: defaultdict[str, set[int]] = defaultdict(set)
    removals = []
    for rule in rules:
        label = cutter.chains[rule.chain].label if rule.chain >= 0 else ""
        atoms, positions = rule.atoms & ~goes, sorted(rule.positions - cuts[label])
        if atoms.any() or positions:
            goes |= atoms
            reason[atoms] = str(rule.reason)
            cuts[label].update(positions)
            removals.append(_removal(rule, cutter, atoms, positions, goes))
    cut = {chain.label: frozenset(cuts[chain.label]) for chain in residues.polymers if cuts[chain.label]}
    notes += _breaks(residues, cut)
    return CleavePlan(
        goes=goes,
        reason=reason,
        removals=tuple(removals),
        cuts=cut,
        numbering=tuple(numbering),
        notes=tuple(dict.fromkeys(notes)),
        cleared=_cleared(cutter, goes),
        mark=_mark(structure),
    )


def _removal(rule: Rule, cutter: Cutter, atoms: np.ndarray, positions: Sequence[int], goes: np.ndarray) -> Removal:
    count = int(atoms.sum())
    if rule.chain < 0:
        keys = (
            cutter.structure.atoms["model"].to_numpy() * (cutter.residues.residue.max() + 1) + cutter.residues.residue
        )
        wholly = set(keys[atoms]) - set(keys[~goes])
        names = set(cutter.structure.atoms["chain"][atoms])
        return Removal(
            rule.reason, rule.detail, names.pop() if len(names) == 1 else "", "", "", "", (), len(wholly), count
        )
    chain, chosen = cutter.chains[rule.chain], set(positions)
    cut = [residue for residue in chain.residues if residue.position in chosen]
    first, last = (str(cut[0]), str(cut[-1])) if cut else ("", "")
    return Removal(
        rule.reason,
        rule.detail,
        chain.chain,
        chain.label,
        first,
        last,
        tuple(positions),
        len(cut),
        count,
        rule.numbering,
    )


def _breaks(residues: Residues, cuts: dict[str, frozenset[int]]) -> list[str]:
    """Say where a cut leaves a chain in pieces."""
    notes = []
    for chain in residues.polymers:
        cut = cuts.get(chain.label, frozenset())
        kinds = [residue.position in cut for residue in chain.residues]
        pieces = sum(not gone and (n == 0 or kinds[n - 1]) for n, gone in enumerate(kinds))
        if pieces > 1:
            notes.append(f"chain {chain.chain} is in {pieces} pieces now; nothing joins them but its name")
    return notes


def _cleared(cutter: Cutter, goes: np.ndarray) -> np.ndarray:
    """Atoms that stay with a letter though their residue has no other one any more, where altlocs were to go."""
    atoms = cutter.structure.atoms
    left = (atoms["altloc"] != "").to_numpy() & ~goes
    if not cutter.options.altlocs or not left.any():
        return np.zeros(len(atoms), dtype=bool)
    keys = [atoms["model"], cutter.residues.residue]
    letters = atoms["altloc"].where(left).groupby(keys).transform("nunique").to_numpy()
    return left & (letters == 1) & cutter.allowed


def _mark(structure: Structure) -> int:
    return zlib.crc32(structure.positions.tobytes())


def cleave(structure: Structure, plan: CleavePlan) -> Structure:
    """Return the structure without what a plan takes from it; sequences, references and bonds are changed to match.

    Places in a shortened sequence (``label_residue_number``) are counted anew; authors' numbers stay. What went is
    told in a category of its own, ``_napari_profet_cleaved``, which is added to if the structure was cleaved before.

    Parameters
    ----------
    structure
        The one the plan was made for.
    plan
        From :func:`plan_cleaving`.

    Raises
    ------
    SelectionError
        The plan is of another structure, or takes every atom.
    """
    if len(plan.goes) != len(structure) or plan.mark != _mark(structure):
        raise SelectionError(f"the plan was not made for {structure.name}; plan its cleaving anew")
    if plan.goes.all():
        raise SelectionError(f"{structure.name}: all its {len(structure):,} atoms would go; ask for less")
    residues = residues_of(structure)
    before = structure.atoms.assign(label_chain=residues.label, entity=residues.entity)
    stays = ~plan.goes
    left = what_is_left(residues.polymers, plan.cuts, before, before[stays])
    entity, place = (structure.atoms[name].to_numpy(copy=True) for name in ("entity", "label_residue_number"))
    letter = structure.atoms["altloc"].to_numpy(copy=True)
    letter[plan.cleared] = ""
    for index, chain in enumerate(residues.polymers):
        own = stays & (residues.polymer == index)
        # What the file does not say of its atoms is not made up.
        entity[own & (entity != "")] = left.entity.get(chain.label, "")
        numbered = own & (place > 0)
        place[numbered] = [left.places[chain.label][old] for old in residues.position[numbered].tolist()]
    atoms = structure.atoms.assign(entity=entity, label_residue_number=place, altloc=letter)
    header = header_block(structure)
    rewrite_header(header, left)
    serials = set(atoms["serial"][stays].astype(str))
    displaced = rows_of(header, "_atom_site_anisotrop.")
    put_rows(header, "_atom_site_anisotrop.", [row for row in displaced if row["id"] in serials])
    _record(header, plan)
    text = header.as_string()
    return replace(structure, positions=structure.positions[stays], atoms=atoms[stays], header=text)


def _record(header: cif.Block, plan: CleavePlan) -> None:
    """Add a row for each removal to our own category."""
    rows = rows_of(header, RECORD)
    for number, removal in enumerate(plan.removals, start=len(rows) + 1):
        told = {
            "ordinal": number,
            "reason": removal.reason,
            "details": removal.detail,
            "auth_asym_id": removal.chain,
            "label_asym_id": removal.label,
            "auth_seq_id_beg": removal.first,
            "auth_seq_id_end": removal.last,
            # As they were counted before the cut.
            "label_seq_ids": _spans(removal.positions),
            "residues": removal.residues,
            "atoms": removal.atoms,
            "numbering": removal.numbering,
        }
        rows.append({item: str(value) if value != "" else None for item, value in told.items()})
    put_rows(header, RECORD, rows)


def _spans(numbers: Sequence[int]) -> str:
    """Numbers as 1-24,30."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
