"""Cleaving as values: what is asked for, what it would take, and why. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from napari_profet.numbering import ChainNumbering
from napari_profet.selecting import ResidueRange

__all__ = ["CleaveOptions", "CleavePlan", "Reason", "Removal"]


class Reason(StrEnum):
    """Why something goes; of several reasons the first in this order counts."""

    SIGNAL = "signal peptide"
    TRANSIT = "transit peptide"
    PROPEPTIDE = "propeptide"
    INITIATOR = "initiator methionine"
    TAG = "expression tag"
    FEATURE = "feature"
    CHAIN = "chain"
    ENTITY = "entity"
    RANGE = "residue range"
    SELECTION = "selection"
    CONFIDENCE = "low pLDDT"
    ALTLOC = "alternative place"
    HYDROGEN = "hydrogen"
    WATER = "water"
    ION = "ion"
    LIGAND = "ligand"


_KINDS = {
    Reason.SIGNAL: "Signal",
    Reason.TRANSIT: "Transit peptide",
    Reason.PROPEPTIDE: "Propeptide",
    Reason.INITIATOR: "Initiator methionine",
}
"""UniProt's words for the reasons that are features of it."""


@dataclass(frozen=True)
class CleaveOptions:
    """What shall go.

    Attributes
    ----------
    signal, transit, propeptide, initiator
        UniProt features "Signal", "Transit peptide", "Propeptide", "Initiator methionine".
    tags
        Expression tags and cloning artefacts, as the depositors marked them.
    features
        Further kinds of UniProt features, such as "Domain", or one of them by its description: "Domain:SH3".
    chains, entities
        Whole chains (authors' names, or ``label:`` and the dictionary's) and entities (ids).
    ranges
        Residues; see :meth:`ResidueRange.parse`.
    selections
        Atoms, in gemmi's selection syntax.
    plddt
        Residues with a lower mean pLDDT go.
    altlocs, hydrogens, waters, ions, ligands
        Alternative places but the best, hydrogens and deuterium, water, single atoms, other small molecules.
    only
        Chains to which all this is limited, but ``chains`` and ``entities``; empty: all chains.
    keep
        Atoms that stay whatever the rules say, in gemmi's selection syntax. A residue with such an atom is not cut.
    """

    signal: bool = False
    transit: bool = False
    propeptide: bool = False
    initiator: bool = False
    tags: bool = False
    features: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    ranges: tuple[ResidueRange, ...] = ()
    selections: tuple[str, ...] = ()
    plddt: float | None = None
    altlocs: bool = False
    hydrogens: bool = False
    waters: bool = False
    ions: bool = False
    ligands: bool = False
    only: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @property
    def of_uniprot(self) -> tuple[tuple[Reason, str], ...]:
        """Reasons that UniProt knows, each with its word for it."""
        flags = (self.signal, self.transit, self.propeptide, self.initiator)
        asked = [pair for pair, flag in zip(_KINDS.items(), flags, strict=True) if flag]
        return (*asked, *((Reason.FEATURE, kind) for kind in self.features))


@dataclass(frozen=True)
class Removal:
    """One thing that goes.

    Attributes
    ----------
    reason, detail
        Why, in a word and in detail.
    chain, label
        The chain in the authors' and in the dictionary's name; empty if in several.
    first, last
        First and last residue cut, in the authors' numbering; empty if the sequence stays.
    positions
        Places in the sequence that are cut; empty if the sequence stays.
    residues
        Residues that go; of cuts also those that have no atoms.
    atoms
        Atoms that go.
    numbering
        How the places of a UniProt feature were found in the chain; empty for other reasons.
    """

    reason: Reason
    detail: str
    chain: str
    label: str
    first: str
    last: str
    positions: tuple[int, ...]
    residues: int
    atoms: int
    numbering: str = ""


@dataclass(frozen=True, eq=False)
class CleavePlan:
    """What goes from one structure. Nothing is changed by making one.

    Attributes
    ----------
    goes
        (n,) whether each atom goes; read-only.
    reason
        (n,) the :class:`Reason` of each atom that goes, "" of the others; read-only.
    removals
        What goes, in the order of reasons and chains. No residue or atom is in two of them.
    cuts
        Places cut from the sequence of each polymer chain, by its name in the dictionary.
    numbering
        UniProt numbers of the chains, for the proteins that were asked for.
    notes
        What a person should know: features without known ends, choices that met nothing.
    cleared
        (n,) atoms that lose their letter of alternatives; read-only.
    mark
        Checksum of the positions the plan was made for.
    """

    goes: np.ndarray
    reason: np.ndarray
    removals: tuple[Removal, ...]
    cuts: Mapping[str, frozenset[int]]
    numbering: tuple[ChainNumbering, ...]
    notes: tuple[str, ...]
    cleared: np.ndarray
    mark: int

    def __post_init__(self) -> None:
        for mask in (self.goes, self.reason, self.cleared):
            mask.setflags(write=False)

    @property
    def counts(self) -> dict[Reason, tuple[int, int]]:
        """Residues and atoms that go, for each reason there is."""
        found: dict[Reason, tuple[int, int]] = {}
        for removal in self.removals:
            residues, atoms = found.get(removal.reason, (0, 0))
            found[removal.reason] = residues + removal.residues, atoms + removal.atoms
        return found

    def record(self) -> dict[str, Any]:
        """Everything that goes, in plain types for JSON."""
        removed = [{**asdict(removal), "reason": str(removal.reason)} for removal in self.removals]
        sources = [
            {"chain": one.chain, "label": one.label, "accession": one.accession, "source": str(one.source)}
            for one in self.numbering
        ]
        atoms, left = int(self.goes.sum()), int((~self.goes).sum())
        return {
            "atoms_removed": atoms,
            "atoms_left": left,
            "removed": removed,
            "numbering": sources,
            "notes": list(self.notes),
        }
