"""Hydrogens that a structure does not show: where they are on average, and how far they spread.

Most deposited structures lack hydrogens, which carry about a sixth of a protein's scattering. Their number on each
atom is known for the residues of proteins and nucleic acids in a chain at pH 7; for other tabulated residues the number
in the residue is. ``gemmi``'s ``hydrogen_count`` is that of the free molecule, so it counts in the water that a bond of
the chain sets free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_profet.structure import Structure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RidingHydrogens", "hydrogens_of_residue", "riding_hydrogens"]

# Allen & Bruno (2010), Acta Cryst. B66, 380: bond lengths from neutron diffraction, Å.
_BOND = {"C": 1.09, "N": 1.02, "O": 0.98, "S": 1.34}
_OTHER_BOND = 1.1

_BACKBONE = "N:1 CA:1"
# Hydrogens on each atom within a chain. Carboxylates are bare, lysine and arginine charged, histidine neutral with its
# hydrogen on NE2.
_SIDE_CHAINS = {
    "ALA": "CB:3", "ARG": "CB:2 CG:2 CD:2 NE:1 NH1:2 NH2:2", "ASN": "CB:2 ND2:2", "ASP": "CB:2", "CYS": "CB:2 SG:1",
    "GLN": "CB:2 CG:2 NE2:2", "GLU": "CB:2 CG:2", "HIS": "CB:2 CD2:1 CE1:1 NE2:1", "ILE": "CB:1 CG1:2 CG2:3 CD1:3",
    "LEU": "CB:2 CG:1 CD1:3 CD2:3", "LYS": "CB:2 CG:2 CD:2 CE:2 NZ:3", "MET": "CB:2 CG:2 CE:3",
    "MSE": "CB:2 CG:2 CE:3", "PHE": "CB:2 CD1:1 CD2:1 CE1:1 CE2:1 CZ:1", "SER": "CB:2 OG:1",
    "THR": "CB:1 OG1:1 CG2:3", "TRP": "CB:2 CD1:1 NE1:1 CE3:1 CZ2:1 CZ3:1 CH2:1",
    "TYR": "CB:2 CD1:1 CD2:1 CE1:1 CE2:1 OH:1", "VAL": "CB:1 CG1:3 CG2:3",
}  # fmt: skip
_SUGAR = "C1':1 C3':1 C4':1 C5':2"
_BASES = {
    "A": "C2:1 C8:1 N6:2", "C": "N4:2 C5:1 C6:1", "G": "C8:1 N1:1 N2:2", "U": "N3:1 C5:1 C6:1", "T": "N3:1 C7:3 C6:1",
}  # fmt: skip
_WHOLE = {
    "GLY": "N:1 CA:2", "PRO": "CA:1 CB:2 CG:2 CD:2", **dict.fromkeys(("HOH", "DOD", "WAT"), "O:2"),
    **{name: f"{_BACKBONE} {side_chain}" for name, side_chain in _SIDE_CHAINS.items()},
    **{name: f"{_SUGAR} C2':1 O2':1 {base}" for name, base in _BASES.items()},
    **{f"D{name}": f"{_SUGAR} C2':2 {base}" for name, base in _BASES.items()},
}  # fmt: skip


@dataclass(frozen=True)
class RidingHydrogens:
    """Hydrogens as they are seen from afar: those of one atom in one place, with their spread as a B factor.

    Attributes
    ----------
    positions
        (n, 3), z, y, x in Å: the centre of the hydrogens of one atom.
    parents
        (n,) index of the atom they ride on.
    counts
        (n,) how many there are.
    spread
        (n,) B factor in Å² that stands for their distance from that centre; the parent's comes on top.
    """

    positions: np.ndarray
    parents: np.ndarray
    counts: np.ndarray
    spread: np.ndarray


def riding_hydrogens(structure: Structure) -> RidingHydrogens:
    """Hydrogens of all residues that show none, one entry per atom that bears some.

    The unit vectors of the four bonds of a tetrahedral atom, or the three of a planar one, sum to zero. So the centre
    of k hydrogens at the distance d lies at -d/k times the sum of the unit vectors to the bonded atoms; that of a
    hydroxyl, which turns freely around a bond, at -d/3. What is left of d² is spread evenly:
    B = 8 pi² (d² - |shift|²) / 3.

    Parameters
    ----------
    structure
        One model. Residues unknown to gemmi's table get no hydrogens; of other residues outside the chains' usual ones
        the number is spread evenly over their atoms.
    """
    elements = _elements(structure.atoms)
    towards, neighbours = _bonded(structure, elements)
    # The sulphurs of a disulphide have two neighbours and no place for a hydrogen.
    counts = np.where((elements == "S") & (neighbours > 1), 0, _counts(structure.atoms))
    parents = np.flatnonzero(counts)
    bond = np.array([_BOND.get(element, _OTHER_BOND) for element in elements])[parents]
    turning = np.isin(elements, ("O", "S"))[parents]
    shares = np.where(turning, 3.0, np.maximum(counts[parents], 1.0))
    shift = -towards[parents] * (bond / shares)[:, None]
    # Hydrogens spread evenly over a ligand, and those of a lone water, have no direction.
    shift[(counts[parents] % 1 != 0) | (neighbours[parents] == 0)] = 0
    length = np.linalg.norm(shift, axis=1)
    shift *= np.minimum(1, bond / np.maximum(length, 1e-9))[:, None]
    left = bond**2 - (shift**2).sum(axis=1)
    return RidingHydrogens(
        positions=structure.positions[parents] + shift,
        parents=parents,
        counts=counts[parents],
        spread=8 * np.pi**2 * np.maximum(left, 0) / 3,
    )


def hydrogens_of_residue(name: str) -> dict[str, int] | None:
    """Hydrogens on each atom of a residue within a chain, by atom name; None for a residue outside the table."""
    if name not in _WHOLE:
        return None
    return {atom: int(count) for atom, _, count in (item.partition(":") for item in _WHOLE[name].split())}


def _counts(atoms: pd.DataFrame) -> np.ndarray:
    """Hydrogens missing on each atom, (n,); fractions where only the residue's number is known."""
    hydrogen = np.isin(_elements(atoms), ("H", "D"))
    residue = atoms.groupby(["chain", "residue_number", "insertion_code", "residue_name"], sort=False).ngroup()
    shows = np.isin(residue, np.unique(residue[hydrogen]))
    names, atom_names = atoms["residue_name"].to_numpy(str), atoms["atom_name"].to_numpy(str)
    counts = np.zeros(len(atoms))
    for name in np.unique(names[~shows]):
        here = (names == name) & ~shows
        table = hydrogens_of_residue(name)
        if table is None:
            counts[here] = _average(name, atoms[here])
        else:
            counts[here] = [table.get(atom, 0) for atom in atom_names[here]]
    return counts


def _average(name: str, atoms: pd.DataFrame) -> np.ndarray:
    """Hydrogens per atom of a residue of which only the number is known, (n,)."""
    import gemmi

    info = gemmi.find_tabulated_residue(name)
    free = info.hydrogen_count if info.found() else 0
    # A residue in a chain has lost a water.
    count = np.where(atoms["entity_type"] == "polymer", max(free - 2, 0), free)
    return count / atoms["atom_name"].nunique()


def _elements(atoms: pd.DataFrame) -> np.ndarray:
    return np.char.upper(atoms["element"].to_numpy(dtype=str))


def _bonded(structure: Structure, elements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the unit vectors from each atom to the atoms bonded to it, (n, 3), and their number, (n,)."""
    import gemmi
    from scipy.spatial import cKDTree

    different, index = np.unique(elements, return_inverse=True)
    kinds = [gemmi.Element(element) for element in different]
    # Contacts of metals are no bonds that take the place of a hydrogen.
    radii = np.array([0.0 if kind.is_metal or kind.is_hydrogen else kind.covalent_r for kind in kinds])[index]
    first, second = cKDTree(structure.positions).query_pairs(2.6, output_type="ndarray").T
    difference = structure.positions[second] - structure.positions[first]
    length = np.linalg.norm(difference, axis=1)
    altloc = structure.atoms["altloc"].to_numpy(str)
    together = (altloc[first] == altloc[second]) | (altloc[first] == "") | (altloc[second] == "")
    heavy = (radii[first] > 0) & (radii[second] > 0)
    bonded = together & heavy & (length > 0.8) & (length < radii[first] + radii[second] + 0.3)
    first, second = first[bonded], second[bonded]
    unit = difference[bonded] / length[bonded, None]
    towards, neighbours = np.zeros((len(structure), 3)), np.zeros(len(structure), dtype=int)
    np.add.at(towards, first, unit)
    np.add.at(towards, second, -unit)
    np.add.at(neighbours, np.concatenate([first, second]), 1)
    return towards, neighbours
