"""The sample is good chemistry: lengths, angles and hand are measured with gemmi and textbook values."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from napari_profet import Structure, helix_bundle


def atoms_of(structure: Structure, name: str, chain: str) -> np.ndarray:
    """(residues, 3), x, y, z in Å."""
    rows = (structure.atoms["atom_name"] == name) & (structure.atoms["chain"] == chain)
    return structure.positions[rows.to_numpy()][:, ::-1]


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=1)


@pytest.mark.parametrize("chain", ["A", "B", "C"])
def test_bonds_and_torsions_are_those_of_an_alpha_helix(chain: str) -> None:
    bundle = helix_bundle()
    n, ca, c, o, cb = (atoms_of(bundle, name, chain) for name in ("N", "CA", "C", "O", "CB"))
    for lengths, ideal in [
        (distances(n, ca), 1.46),
        (distances(ca, c), 1.52),
        (distances(c[:-1], n[1:]), 1.33),
        (distances(c, o), 1.23),
        (distances(ca, cb), 1.53),
        (distances(ca[:-1], ca[1:]), 3.80),
    ]:
        assert np.allclose(lengths, ideal, atol=0.02)
    # The hydrogen bond of the alpha helix, from O to the N four residues on.
    assert np.all((distances(o[:-4], n[4:]) > 2.7) & (distances(o[:-4], n[4:]) < 3.2))

    def torsion(*places: np.ndarray) -> float:
        return np.degrees(gemmi.calculate_dihedral(*(gemmi.Position(*place) for place in places)))

    assert torsion(c[3], n[4], ca[4], c[4]) == pytest.approx(-62, abs=0.1)
    assert torsion(n[4], ca[4], c[4], n[5]) == pytest.approx(-43, abs=0.1)
    assert abs(torsion(ca[4], c[4], n[5], ca[5])) == pytest.approx(180, abs=0.1)
    # L amino acids: the place of CB by the constants of Dauparas et al. (2022); in D it is 2.5 Å away.
    to_ca, to_c = ca - n, c - ca
    expected = -0.58273431 * np.cross(to_ca, to_c) + 0.56802827 * to_ca - 0.54067466 * to_c + ca
    assert distances(cb, expected).max() < 0.15
    # 1.5 Å per residue along the axis.
    assert abs(ca[-1, 1] - ca[0, 1]) / (len(ca) - 1) == pytest.approx(1.5, abs=0.06)


def test_helices_do_not_collide_and_alternate() -> None:
    bundle = helix_bundle(20)
    chains = bundle.atoms["chain"].to_numpy()
    for one, other in [("A", "B"), ("B", "C"), ("A", "C")]:
        gaps = bundle.positions[chains == one][:, None] - bundle.positions[chains == other][None]
        assert 3.0 < np.linalg.norm(gaps, axis=-1).min() < 6.5
    directions = [np.sign(np.diff(atoms_of(bundle, "CA", chain)[[0, -1], 1]))[0] for chain in "ABC"]
    assert directions == [1, -1, 1]


def test_a_bundle_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        helix_bundle(0)
