"""A structure nobody has to fetch: helices of poly-alanine, built from ideal backbone geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_profet.structure import Structure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["helix_bundle"]

# Engh & Huber (1991), Acta Cryst. A47, 392: bond lengths in Å, angles in degrees.
_N_CA, _CA_C, _C_N, _C_O, _CA_CB = 1.458, 1.525, 1.329, 1.231, 1.521
_N_CA_C, _CA_C_N, _C_N_CA, _CA_C_O = 111.0, 116.2, 121.7, 120.8
# Of a right-handed alpha helix, degrees.
_PHI, _PSI, _OMEGA = -62.0, -43.0, 180.0

_ATOMS = ("N", "CA", "C", "O", "CB")


def helix_bundle(residues: int = 24, *, helices: int = 3, distance: float = 9.8) -> Structure:
    """Helices of poly-alanine side by side around the y axis, neighbours pointing up and down in turn.

    Parameters
    ----------
    residues
        Length of each helix.
    helices
        How many; each is a chain.
    distance
        Between the axes of neighbouring helices, Å.

    Returns
    -------
    Structure
        Its centre is at the origin.
    """
    if residues < 4 or helices < 1:
        raise ValueError(f"a bundle needs at least 1 helix of 4 residues, not {helices} of {residues}")
    import pandas as pd

    helix = _along_z(_ideal_helix(residues))
    radius = distance / (2 * np.sin(np.pi / helices)) if helices > 1 else 0.0
    positions, tables = [], []
    for index in range(helices):
        angle = 2 * np.pi * index / helices
        # Half a turn about x reverses the direction and keeps the hand.
        turned = helix * (1, -1, -1) if index % 2 else helix
        positions.append(turned + (radius * np.cos(angle), radius * np.sin(angle), 0))
        tables.append(_table(residues, chain=chr(ord("A") + index)))
    atoms = pd.concat(tables, ignore_index=True)
    atoms["serial"] = np.arange(1, len(atoms) + 1)
    return Structure(
        name="helix-bundle",
        # Upright in napari's first view, which looks along z: the axis z of the making becomes y, in a proper rotation.
        positions=np.concatenate(positions)[:, [0, 2, 1]],
        atoms=atoms,
        header=_header(residues, helices),
        source="made by napari-profet",
    )


def _ideal_helix(residues: int) -> np.ndarray:
    """Atoms of one helix, (residues * 5, 3), x, y, z in Å, in the order of ``_ATOMS``."""
    n = np.zeros(3)
    ca = np.array([_N_CA, 0, 0])
    angle = np.radians(_N_CA_C)
    c = ca + _CA_C * np.array([-np.cos(angle), np.sin(angle), 0])
    atoms = []
    for _ in range(residues):
        next_n = _placed(n, ca, c, _C_N, _CA_C_N, _PSI)
        o = _placed(n, ca, c, _C_O, _CA_C_O, _PSI + 180)
        atoms += [n, ca, c, o, _beta_carbon(n, ca, c)]
        next_ca = _placed(ca, c, next_n, _N_CA, _C_N_CA, _OMEGA)
        n, ca, c = next_n, next_ca, _placed(c, next_n, next_ca, _CA_C, _N_CA_C, _PHI)
    return np.array(atoms)


def _placed(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: float) -> np.ndarray:
    """Atom d at ``length`` Å from c, with the angle b-c-d and the torsion a-b-c-d in degrees."""
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, along)
    bend, turn = np.radians(angle), np.radians(torsion)
    step = -np.cos(bend) * along + np.sin(bend) * (np.cos(turn) * across + np.sin(turn) * normal)
    return c + length * step


def _beta_carbon(n: np.ndarray, ca: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The side chain's first atom of an L amino acid: it completes the tetrahedron around the alpha carbon."""
    to_n, to_c = (n - ca) / np.linalg.norm(n - ca), (c - ca) / np.linalg.norm(c - ca)
    away = -(to_n + to_c) / np.linalg.norm(to_n + to_c)
    side = np.cross(to_n, to_c)
    side /= np.linalg.norm(side)
    half = np.radians(109.47 / 2)
    return ca + _CA_CB * (np.cos(half) * away + np.sin(half) * side)


def _along_z(atoms: np.ndarray) -> np.ndarray:
    """Turn a helix so that its axis is the z axis; its centre goes to the origin."""
    centred = atoms - atoms.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    x, z = axes[1], axes[0]
    if z @ (centred[-1] - centred[0]) < 0:
        z = -z
    # Made of two axes and their cross product, so that it turns and never mirrors.
    return centred @ np.column_stack([x, np.cross(z, x), z])


def _table(residues: int, chain: str) -> pd.DataFrame:
    import pandas as pd

    numbers = np.repeat(np.arange(1, residues + 1), len(_ATOMS))
    return pd.DataFrame(
        {
            "element": [name[0] for name in _ATOMS] * residues,
            "atom_name": list(_ATOMS) * residues,
            "residue_name": "ALA",
            "label_chain": chain,
            "chain": chain,
            "entity": "1",
            "entity_type": "polymer",
            "label_residue_number": numbers,
            "residue_number": numbers,
        }
    )


def _header(residues: int, helices: int) -> str:
    chains = [chr(ord("A") + index) for index in range(helices)]
    lines = [
        "data_helix-bundle",
        "_entry.id helix-bundle",
        f"_struct.title 'Ideal bundle of {helices} poly-alanine helices'",
        "_entity.id 1",
        "_entity.type polymer",
        "_entity_poly.entity_id 1",
        "_entity_poly.type polypeptide(L)",
        f"_entity_poly.pdbx_strand_id {','.join(chains)}",
        "loop_\n_entity_poly_seq.entity_id\n_entity_poly_seq.num\n_entity_poly_seq.mon_id",
        *(f"1 {number} ALA" for number in range(1, residues + 1)),
        "loop_\n_struct_asym.id\n_struct_asym.entity_id",
        *(f"{chain} 1" for chain in chains),
    ]
    return "\n".join(lines) + "\n"
