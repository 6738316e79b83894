"""What is in a structure that cleaving could take: chains, entities, features, waters ..., each with its counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_profet import selecting
from napari_profet.cleave_plan import CleaveOptions, Reason
from napari_profet.cleave_rules import Cutter, Rule, by_features, by_marks
from napari_profet.numbering import number_chains, referenced_accessions
from napari_profet.residues import Residues, category, header_block, residues_of

if TYPE_CHECKING:
    from gemmi import cif

    from napari_profet.features import ProteinFeatures
    from napari_profet.structure import Structure

__all__ = ["Contents", "Group", "Part", "contents_of", "options_of"]

_REGIONS = (
    "Chain", "Peptide", "Domain", "Region", "Repeat", "Motif", "Zinc finger", "DNA binding", "Coiled coil",
    "Transmembrane", "Intramembrane", "Topological domain", "Compositional bias",
)  # fmt: skip
"""UniProt's words for stretches that somebody may want to cut; helices, variants, bonds and single sites are not."""

_FLAGS = {
    Reason.SIGNAL: "signal",
    Reason.TRANSIT: "transit",
    Reason.PROPEPTIDE: "propeptide",
    Reason.INITIATOR: "initiator",
    Reason.TAG: "tags",
}
_MANY_NAMES = 4


class Group(StrEnum):
    """Kinds of parts, in the order in which they are listed."""

    FEATURES = "Features of the sequence"
    CHAINS = "Chains"
    ENTITIES = "Entities"
    ATOMS = "Atoms"


@dataclass(frozen=True)
class Part:
    """Something that can go, and what it would take were it the only one.

    Attributes
    ----------
    group
        Where it is listed.
    option
        The field of :class:`CleaveOptions` that takes it.
    value
        What to put into that field; empty for a flag.
    label
        For people.
    residues, atoms
        How much there is of it. Residues of a sequence count also where they have no atoms.
    """

    group: Group
    option: str
    value: str
    label: str
    residues: int
    atoms: int


@dataclass(frozen=True)
class Contents:
    """All parts of a structure.

    Attributes
    ----------
    parts
        In the order of their groups.
    accessions
        UniProt entries that the structure names for its chains.
    notes
        What a person should know: features without known ends, proteins that no chain is.
    """

    parts: tuple[Part, ...]
    accessions: tuple[str, ...]
    notes: tuple[str, ...] = ()


def contents_of(structure: Structure, proteins: Iterable[ProteinFeatures] = ()) -> Contents:
    """List what cleaving could take from a structure.

    Parameters
    ----------
    structure
        Stays as it is.
    proteins
        UniProt entries of the proteins in it; without them it has no features but those the depositors marked.
    """
    proteins = tuple(proteins)
    residues, header = residues_of(structure), header_block(structure)
    notes: list[str] = []
    parts = [
        *_features(structure, residues, header, proteins, notes),
        *_chains(structure, residues, header),
        *_entities(structure, residues, header),
        *_atoms(structure, residues),
    ]
    accessions = referenced_accessions(residues.polymers, header)
    return Contents(tuple(parts), tuple(accessions), tuple(dict.fromkeys(notes)))


def options_of(
    parts: Iterable[Part], *, ranges: str = "", selection: str = "", plddt: float | None = None
) -> CleaveOptions:
    """Options that take these parts, and what is typed in.

    Parameters
    ----------
    parts
        Of :func:`contents_of`.
    ranges
        Residue ranges with commas between them; see :meth:`ResidueRange.parse`.
    selection
        Atoms in gemmi's syntax.
    plddt
        Residues of a prediction with a lower mean pLDDT go.

    Raises
    ------
    SelectionError
        A range is not understood.
    """
    flags: dict[str, Any] = {part.option: True for part in parts if not part.value}
    lists: dict[str, tuple[str, ...]] = {}
    for part in parts:
        if part.value:
            lists[part.option] = (*lists.get(part.option, ()), part.value)
    chosen = tuple(selecting.ResidueRange.parse(text) for text in ranges.split(",") if text.strip())
    typed = (selection.strip(),) if selection.strip() else ()
    return CleaveOptions(
        **flags,
        features=lists.get("features", ()),
        chains=lists.get("chains", ()),
        entities=lists.get("entities", ()),
        ranges=chosen,
        selections=typed,
        plddt=plddt,
    )


def _features(
    structure: Structure,
    residues: Residues,
    header: cif.Block,
    proteins: tuple[ProteinFeatures, ...],
    notes: list[str],
) -> Iterable[Part]:
    """Parts of UniProt's features and of the depositors' marks."""
    everything = CleaveOptions(signal=True, transit=True, propeptide=True, initiator=True, tags=True)
    cutter = Cutter(structure, residues, everything)
    found: dict[tuple[Reason, str], list[Rule]] = {}
    if proteins:
        numbering = number_chains(residues.polymers, header, proteins)
        notes += dict.fromkeys(note for one in numbering for note in one.notes)
        for reason, kind in (*everything.of_uniprot, *_regions(proteins)):
            # What a protein lacks, or has twice, is no news before anybody asks for it.
            said: list[str] = []
            found.setdefault((reason, kind), []).extend(
                by_features(cutter, [(reason, kind)], proteins, numbering, said)
            )
            notes += [note for note in said if "no known ends" in note]
    for rule in by_marks(cutter, header, everything, []):
        key = next((key for key in found if key[0] is rule.reason), (rule.reason, ""))
        found.setdefault(key, []).append(rule)
    for (reason, kind), rules in found.items():
        count = _counted(rules)
        if any(count):
            flag = _FLAGS.get(reason)
            label = str(reason).capitalize() if flag else ": ".join(kind.split(":", 1))
            yield Part(Group.FEATURES, flag or "features", "" if flag else kind, label, *count)


def _regions(proteins: Iterable[ProteinFeatures]) -> list[tuple[Reason, str]]:
    """Regions of the proteins, by kind and description, each once."""
    kinds = [
        f"{feature.kind}:{feature.description}" if feature.description else feature.kind
        for protein in proteins
        for word in _REGIONS
        for feature in protein.of_kind(word)
    ]
    return [(Reason.FEATURE, kind) for kind in dict.fromkeys(kinds)]


def _counted(rules: Iterable[Rule]) -> tuple[int, int]:
    """Residues and atoms of rules that may overlap."""
    places: set[tuple[int, int]] = set()
    atoms: np.ndarray | None = None
    for rule in rules:
        places |= {(rule.chain, position) for position in rule.positions}
        atoms = rule.atoms if atoms is None else atoms | rule.atoms
    return len(places), 0 if atoms is None else int(atoms.sum())


def _chains(structure: Structure, residues: Residues, header: cif.Block) -> Iterable[Part]:
    names = _entity_names(header)
    for name in structure.chains:
        atoms = structure.atoms["chain"].to_numpy(object) == name
        polymers = [chain for chain in residues.polymers if chain.chain == name]
        about = ", ".join(dict.fromkeys(filter(None, (names.get(chain.entity, "") for chain in polymers))))
        about = about or ("polymer" if polymers else _names(structure, atoms))
        yield Part(Group.CHAINS, "chains", name, f"{name}: {about}", _residues(residues, atoms), int(atoms.sum()))


def _entities(structure: Structure, residues: Residues, header: cif.Block) -> Iterable[Part]:
    names = _entity_names(header)
    for entity in dict.fromkeys(residues.entity.tolist()):
        if not entity:
            continue
        atoms = residues.entity == entity
        about = names.get(entity) or _names(structure, atoms)
        yield Part(
            Group.ENTITIES, "entities", entity, f"{entity}: {about}", _residues(residues, atoms), int(atoms.sum())
        )


def _atoms(structure: Structure, residues: Residues) -> Iterable[Part]:
    """Parts that leave the sequence as it is."""
    atoms = structure.atoms
    for option, label, mask in (
        ("waters", "Waters", selecting.waters(atoms, residues)),
        ("ions", "Ions", selecting.ions(atoms, residues)),
        ("ligands", "Ligands and glycans", selecting.ligands(atoms, residues)),
        ("hydrogens", "Hydrogens", selecting.hydrogens(atoms)),
        ("altlocs", "Alternative places but the best", selecting.alternative(atoms, residues)[0]),
    ):
        if mask.any():
            named = f"{label}: {_names(structure, mask)}" if option in ("ions", "ligands") else label
            # The residues of single atoms stay.
            count = _residues(residues, mask) if option in ("waters", "ions", "ligands") else 0
            yield Part(Group.ATOMS, option, "", named, count, int(mask.sum()))


def _residues(residues: Residues, atoms: np.ndarray) -> int:
    """Residues among atoms, those of polymers also where they were not seen; copies in other models not counted."""
    loose = np.unique(residues.residue[atoms & (residues.polymer < 0)]).size
    wholly = np.unique(residues.polymer[atoms & (residues.polymer >= 0)])
    return int(loose) + sum(len(residues.polymers[index].residues) for index in wholly)


def _entity_names(header: cif.Block) -> dict[str, str]:
    rows = category(header, "_entity.")
    return {row["id"]: " ".join(row.get("pdbx_description", "").split()) for row in rows if "id" in row}


def _names(structure: Structure, atoms: np.ndarray) -> str:
    """Components among atoms, such as "HEM, SO4"."""
    names = list(dict.fromkeys(structure.atoms["residue_name"][atoms]))
    return ", ".join(names[:_MANY_NAMES]) + (" …" if len(names) > _MANY_NAMES else "")
