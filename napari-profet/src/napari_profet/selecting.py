"""Choosing atoms: what each rule of cleaving means, as a mask over the atoms of a structure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_profet.errors import SelectionError
from napari_profet.residues import PolymerChain, PolymerResidue, Residues, gemmi_structure

if TYPE_CHECKING:
    import gemmi
    import pandas as pd

    from napari_profet.structure import Structure

__all__ = [
    "ResidueRange",
    "alternative",
    "chain_atoms",
    "hydrogens",
    "ions",
    "ligands",
    "low_confidence",
    "selected",
    "waters",
]

_WATERS = ("HOH", "DOD", "WAT", "H2O")
_RESIDUE = r"-?\d+[A-Za-z]?"
_RANGE = re.compile(rf"(?P<label>label:)?(?P<chain>[^:]+):(?P<start>{_RESIDUE})(?:-(?P<end>{_RESIDUE}))?")


@dataclass(frozen=True)
class ResidueRange:
    """Residues of one polymer chain, both ends included.

    Attributes
    ----------
    chain
        Name of the chain.
    start, end
        Residue number and insertion code, "" for none. Residues are ordered by both: 52, 52A, 52B, 53.
    label
        Chain and numbers are those of the dictionary (``label_asym_id``, ``label_seq_id``), not the authors'.
    """

    chain: str
    start: tuple[int, str]
    end: tuple[int, str]
    label: bool = False

    @classmethod
    def parse(cls, text: str) -> ResidueRange:
        """Range from text: ``A:1-25``, ``A:-5--1``, ``H:52A-52C``, ``A:30``, ``label:A:1-25``.

        Raises
        ------
        SelectionError
            The text is nothing like that, or the range ends before it starts.
        """
        match = _RANGE.fullmatch(text.strip())
        if not match:
            raise SelectionError(f"{text!r} is no residue range; write A:1-25, A:-5--1, H:52A-52C or label:A:1-25")
        start = _numbered(match["start"])
        end = _numbered(match["end"] or match["start"])
        label = match["label"] is not None
        if label and (start[1] or end[1]):
            raise SelectionError(f"{text!r}: the numbers of the dictionary (label:) have no insertion codes")
        if start > end:
            raise SelectionError(f"{text!r} ends before it starts; residues are ordered 52, 52A, 52B, 53")
        return cls(match["chain"], start, end, label)

    def holds(self, chain: PolymerChain, residue: PolymerResidue) -> bool:
        """Whether a residue of a chain is in the range."""
        if self.label:
            return chain.label == self.chain and self.start[0] <= residue.position <= self.end[0]
        if chain.chain != self.chain or residue.number is None:
            return False
        return self.start <= (residue.number, residue.insertion_code) <= self.end

    def __str__(self) -> str:
        ends = "-".join(f"{number}{code}" for number, code in dict.fromkeys((self.start, self.end)))
        return f"{'label:' if self.label else ''}{self.chain}:{ends}"


def _numbered(text: str) -> tuple[int, str]:
    code = text[-1] if text[-1].isalpha() else ""
    return int(text.removesuffix(code)), code


def chain_atoms(structure: Structure, residues: Residues, names: Iterable[str]) -> np.ndarray:
    """(n,) whether each atom is in one of some chains: authors' names, or the dictionary's after ``label:``.

    Raises
    ------
    SelectionError
        There is no such chain.
    """
    mask = np.zeros(len(structure), dtype=bool)
    for name in names:
        label = name.removeprefix("label:")
        names_there = residues.label if label != name else structure.atoms["chain"].to_numpy(object)
        chosen = names_there == label
        if not chosen.any():
            there = ", ".join(dict.fromkeys(names_there))
            raise SelectionError(f"{structure.name} has no chain {name}; its chains are {there}")
        mask |= chosen
    return mask


def selected(structure: Structure, selections: Iterable[str]) -> list[np.ndarray]:
    """(n,) mask for each text in gemmi's selection syntax, such as ``/1/A/10-20/CA`` or ``(HIS,ASP)``.

    See https://gemmi.readthedocs.io/en/latest/analysis.html#selections; chains and numbers are the authors'.

    Raises
    ------
    SelectionError
        gemmi does not understand the text.
    """
    import gemmi

    parsed: list[gemmi.Selection] = []
    for text in selections:
        try:
            parsed.append(gemmi.Selection(text))
        except (ValueError, RuntimeError) as error:
            raise SelectionError(
                f"selection {text!r} is not understood ({error}); write for instance //A/10-20 or (HIS,ASP)"
            ) from error
    if not parsed:
        return []
    model = gemmi_structure(structure)
    return [_chosen(model, selection, len(structure)) for selection in parsed]


def _chosen(structure: gemmi.Structure, selection: gemmi.Selection, count: int) -> np.ndarray:
    mask = np.zeros(count, dtype=bool)
    for model in selection.models(structure):
        for chain in selection.chains(model):
            for residue in selection.residues(chain):
                mask[[atom.serial - 1 for atom in selection.atoms(residue)]] = True
    return mask


def hydrogens(atoms: pd.DataFrame) -> np.ndarray:
    """(n,) hydrogen and deuterium, by element and never by name: HG is mercury in one column and not in another."""
    return atoms["element"].str.upper().isin(("H", "D", "T")).to_numpy()


def waters(atoms: pd.DataFrame, residues: Residues) -> np.ndarray:
    """(n,) water, light or heavy."""
    return atoms["residue_name"].isin(_WATERS).to_numpy() | (residues.kind == "water")


def ions(atoms: pd.DataFrame, residues: Residues) -> np.ndarray:
    """(n,) residues outside of polymers that are one atom, hydrogens not counted, and no water."""
    loose = (residues.kind == "non-polymer") & ~waters(atoms, residues)
    heavy = loose & ~hydrogens(atoms)
    keys = [atoms["model"], residues.residue, atoms["residue_name"]]
    # Two alternative places of one ion are one atom.
    names = atoms["atom_name"].where(heavy).groupby(keys).transform("nunique").to_numpy()
    return loose & (names == 1)


def ligands(atoms: pd.DataFrame, residues: Residues) -> np.ndarray:
    """(n,) what is neither polymer nor water nor ion, glycans too. Modified residues of a polymer are no ligands."""
    loose = np.isin(residues.kind, ("non-polymer", "branched"))
    return loose & ~waters(atoms, residues) & ~ions(atoms, residues)


def alternative(atoms: pd.DataFrame, residues: Residues) -> tuple[np.ndarray, np.ndarray]:
    """Alternative places of atoms but the best occupied of each residue, the first by letter where they are equal.

    Residues of different kind that share a place in the sequence are alternatives of each other.

    Returns
    -------
    goes, lettered
        (n,) each: the atoms of the other places; all atoms that have a letter.
    """
    lettered = (atoms["altloc"] != "").to_numpy()
    if not lettered.any():
        return lettered, lettered
    table = atoms.loc[lettered, ["model", "altloc", "occupancy"]].assign(residue=residues.residue[lettered])
    mean = table.groupby(["model", "residue", "altloc"])["occupancy"].mean().reset_index()
    mean = mean.sort_values(["occupancy", "altloc"], ascending=[False, True], kind="stable")
    best = mean.drop_duplicates(["model", "residue"]).set_index(["model", "residue"])["altloc"]
    chosen = best.reindex(list(zip(table["model"], table["residue"], strict=True))).to_numpy()
    goes = lettered.copy()
    goes[lettered] = table["altloc"].to_numpy() != chosen
    return goes, lettered


def low_confidence(structure: Structure, residues: Residues, least: float) -> np.ndarray:
    """(n,) residues of a predicted structure with a mean pLDDT below ``least``, from 0 to 100.

    Raises
    ------
    SelectionError
        The structure is no prediction, so that its B factors are no pLDDT; or ``least`` is no pLDDT.
    """
    if not structure.predicted:
        raise SelectionError(f"{structure.name} is no prediction: its B factors are displacements in Å², not pLDDT")
    if not 0 <= least <= 100:
        raise SelectionError(f"pLDDT goes from 0 to 100; {least:g} is outside of that")
    atoms = structure.atoms
    mean = atoms["b_factor"].groupby([atoms["model"], residues.residue]).transform("mean")
    return (mean < least).to_numpy()
