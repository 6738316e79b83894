"""Given atoms, then their potential is what a direct sum of published form factors says, in volts and in place."""

from __future__ import annotations

from math import erf

import gemmi
import numpy as np
import pandas as pd
import pytest

from napari_profet import Structure, helix_bundle
from napari_profet.errors import DensityError
from napari_profet.fourier import squared_frequencies
from napari_profet.hydrogens import hydrogens_of_residue, riding_hydrogens
from napari_profet.potential import ICE_POTENTIAL, VOLTS, DensitySettings, b_factors_from_plddt, density_from_structure

# Peng et al. (1996), Acta Cryst. A52, 257, table 1: f(s) = sum a exp(-b s² / 4), in Å.
PENG = {
    "H": ((0.0349, 0.1201, 0.1970, 0.0573, 0.1195), (0.5347, 3.5867, 12.3471, 18.9525, 38.6269)),
    "C": ((0.0893, 0.2563, 0.7570, 1.0487, 0.3575), (0.2465, 1.7100, 6.4094, 18.6113, 50.2523)),
    "N": ((0.1022, 0.3219, 0.7982, 0.8197, 0.1715), (0.2451, 1.7481, 6.1925, 17.3894, 48.1431)),
    "O": ((0.0974, 0.2921, 0.6910, 0.6990, 0.2039), (0.2067, 1.3815, 4.6943, 12.7105, 32.4726)),
    "S": ((0.2497, 0.5628, 1.3899, 2.1865, 0.7715), (0.2681, 1.6711, 7.0267, 19.5377, 50.3888)),
}
H_PER_M_E = 6.62607015e-34**2 / (2 * np.pi * 9.1093837015e-31 * 1.602176634e-19) * 1e20
"""h² / (2 pi m e) in V Å²."""

BARE = {"solvent_potential": 0.0, "hydrogens": False}


def atoms_at(positions: np.ndarray, elements: str, b: float | np.ndarray = 20.0, occupancy: float = 1.0) -> Structure:
    """Make a structure of single atoms, as ligands of an unknown kind."""
    table = pd.DataFrame(
        {
            "element": list(elements),
            "atom_name": [f"{element}{index}" for index, element in enumerate(elements)],
            "residue_name": "UNL",
            "residue_number": 1,
            "chain": "A",
            "b_factor": b,
            "occupancy": occupancy,
            "entity_type": "non-polymer",
        }
    )
    return Structure("atoms", positions, table)


def some_atoms(b: float, spread: float) -> Structure:
    """Twelve atoms of five elements around an arbitrary place."""
    random = np.random.default_rng(3)
    return atoms_at(random.normal(0, spread, (12, 3)) + (11, -7, 40), "CCCCNNOOSSHH", b + random.uniform(0, 5, 12))


def direct_transform(structure: Structure, shape: tuple[int, ...], voxel_size: float, zero: np.ndarray) -> np.ndarray:
    """Fourier transform of the potential, (z, y, x // 2 + 1), V Å³, in float64, atom by atom, as seen from ``zero``."""
    z, y = (np.fft.fftfreq(size, voxel_size) for size in shape[:2])
    x = np.fft.rfftfreq(shape[2], voxel_size)
    squared = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    total = np.zeros(squared.shape, dtype=complex)
    rows = zip(structure.positions - zero, structure.atoms.itertuples(), strict=True)
    for (at_z, at_y, at_x), atom in rows:
        form = sum(a * np.exp(-(b + atom.b_factor) * squared / 4) for a, b in zip(*PENG[atom.element], strict=True))
        phase = np.exp(-2j * np.pi * (z * at_z)[:, None, None])
        phase = phase * np.exp(-2j * np.pi * (y * at_y))[:, None] * np.exp(-2j * np.pi * x * at_x)
        total += atom.occupancy * form * phase
    return H_PER_M_E * total


def shells(first: np.ndarray, second: np.ndarray, squared: np.ndarray, nyquist: float) -> list[tuple[float, float]]:
    """Fourier shell correlation, and ratio of amplitudes, of each twentieth of Nyquist up to 0.95."""
    shell = np.ceil(np.sqrt(squared) / nyquist * 20).astype(int)
    found = []
    for number in range(1, 20):
        a, b = first[shell == number], second[shell == number]
        power = np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())
        found.append(
            (float((a * b.conj()).real.sum() / power), float(np.sqrt((abs(a) ** 2).sum() / (abs(b) ** 2).sum())))
        )
    return found


def transform(density) -> np.ndarray:
    return np.fft.rfftn(density.data.astype(float)) * density.voxel_size**3


def test_the_constant_is_that_of_nature() -> None:
    assert pytest.approx(H_PER_M_E, rel=1e-6) == VOLTS


@pytest.mark.parametrize("b", [0.0, 20.0, 90.0])
@pytest.mark.parametrize("voxel_size", [0.7, 1.5, 3.0])
def test_every_shell_agrees_with_the_direct_sum(voxel_size: float, b: float) -> None:
    structure = some_atoms(b, 2 * voxel_size)
    density = density_from_structure(structure, DensitySettings(voxel_size, box=40, b_factor=None, **BARE))
    exact = direct_transform(structure, density.data.shape, voxel_size, np.array(density.origin))
    squared = squared_frequencies(density.data.shape, voxel_size)
    for number, (correlation, amplitude) in enumerate(shells(transform(density), exact, squared, 0.5 / voxel_size), 1):
        assert correlation >= 0.9999, f"shell {number} of 20"
        assert amplitude == pytest.approx(1, abs=2e-3), f"shell {number} of 20"


@pytest.mark.parametrize("box", [32, 33])
def test_a_lone_atom_lies_in_the_middle_voxel_as_high_as_its_gaussians_say(box: int) -> None:
    carbon = atoms_at(np.array([[5.0, -3.0, 8.5]]), "C", 30.0)
    density = density_from_structure(carbon, DensitySettings(0.5, box=box, **BARE))
    assert np.unravel_index(density.data.argmax(), density.data.shape) == (box // 2,) * 3
    assert density.centre == pytest.approx((5.0, -3.0, 8.5))
    # In the real space of equation (1) of the page; at 0.5 Å and B = 30 the band limit takes nothing away.
    radius = np.arange(6) * 0.5
    expected = sum(
        a * (4 * np.pi / (b + 30)) ** 1.5 * np.exp(-4 * np.pi**2 * radius**2 / (b + 30))
        for a, b in zip(*PENG["C"], strict=True)
    )
    along_x = density.data[box // 2, box // 2, box // 2 : box // 2 + 6]
    assert along_x == pytest.approx(H_PER_M_E * expected, abs=2e-3)


def test_the_integral_is_the_forward_scattering() -> None:
    # Ibers' f(0), International Tables C, 4.3.1: by Mott and Bethe from the size of the electron clouds.
    forward = {"C": 2.51, "N": 2.21, "O": 1.98, "S": 5.16, "H": 0.529}
    structure = some_atoms(20, 2)
    density = density_from_structure(structure, DensitySettings(1.0, **BARE))
    expected = H_PER_M_E * sum(forward[element] for element in structure.atoms["element"])
    assert density.integral == pytest.approx(expected, rel=2e-3)
    exact = H_PER_M_E * sum(sum(PENG[element][0]) for element in structure.atoms["element"])
    assert density.integral == pytest.approx(exact, rel=5e-4)


def test_a_shift_of_the_atoms_turns_phases_and_nothing_else() -> None:
    structure = some_atoms(20, 2)
    shift = np.array([0.37, -1.21, 2.05])
    moved = Structure("moved", structure.positions + shift, structure.atoms)
    middle = tuple(structure.positions.mean(axis=0))
    settings = DensitySettings(1.2, box=40, **BARE)
    first, second = (density_from_structure(item, settings, centre=middle) for item in (structure, moved))
    z, y = (np.fft.fftfreq(40, 1.2)[:, None, None] * shift[0], np.fft.fftfreq(40, 1.2)[:, None] * shift[1])
    turned = transform(first) * np.exp(-2j * np.pi * (z + y + np.fft.rfftfreq(40, 1.2) * shift[2]))
    inside = squared_frequencies((40,) * 3, 1.2) < (0.95 * 0.5 / 1.2) ** 2
    assert abs(turned - transform(second))[inside].max() < 1e-3 * abs(turned).max()
    # Without a fixed centre the box goes along.
    along = density_from_structure(moved, settings)
    assert np.subtract(along.origin, first.origin) == pytest.approx(shift)
    assert abs(along.data - first.data).max() < 1e-3 * first.data.max()


def test_b_factor_and_resolution_damp_as_they_say() -> None:
    structure = some_atoms(0, 2)
    squared = squared_frequencies((48,) * 3, 1.0)
    inside = squared < 0.95**2 / 4

    def damping(**changes: float) -> np.ndarray:
        first, second = (
            transform(density_from_structure(structure, DensitySettings(1.0, box=48, **BARE, **setting)))
            for setting in ({"b_factor": 10.0}, {"b_factor": 10.0} | changes)
        )
        strong = inside & (abs(first) > 0.05 * abs(first).max())
        return np.log((second[strong] / first[strong]).real) / squared[strong].clip(1e-9)

    assert np.median(damping(b_factor=60.0)) == pytest.approx(-50 / 4, rel=0.01)
    assert np.median(damping(resolution=6.0)) == pytest.approx(-36, rel=0.01)


def test_half_occupied_places_count_half() -> None:
    place = np.array([[0.0, 0, 0], [0.0, 0, 0]])
    whole = density_from_structure(atoms_at(place[:1], "O"), DensitySettings(1.0, box=24, **BARE))
    halves = density_from_structure(atoms_at(place, "OO", occupancy=0.5), DensitySettings(1.0, box=24, **BARE))
    assert abs(whole.data - halves.data).max() < 1e-4 * whole.data.max()


def test_the_displaced_ice_leaves_a_soft_hole_of_the_right_size() -> None:
    carbon = atoms_at(np.zeros((1, 3)), "C")
    vacuum, ice = (
        density_from_structure(carbon, DensitySettings(0.8, box=40, hydrogens=False, solvent_potential=potential))
        for potential in (0.0, 3.6)
    )
    # A carbon of 2.0 Å (with its hydrogens), its surface moved out by the probe's 1.0 Å and back by 0.8 Å.
    volume = 4 / 3 * np.pi * (2.0 + 1.0 - 0.8) ** 3
    assert vacuum.integral - ice.integral == pytest.approx(3.6 * volume, rel=0.15)
    hole = vacuum.data - ice.data
    # A ball of radius R, blurred by a Gaussian of the variance B / 8 pi², has this left in its middle.
    deviation, radius = np.sqrt(46 / (8 * np.pi**2)), (volume * 0.75 / np.pi) ** (1 / 3)
    ratio = radius / deviation
    left = erf(ratio / np.sqrt(2)) - np.sqrt(2 / np.pi) * ratio * np.exp(-(ratio**2) / 2)
    assert hole[20, 20, 20] / 3.6 == pytest.approx(left, abs=0.03)
    assert abs(hole[0]).max() < 0.01


@pytest.mark.parametrize("voxel_size", [1.0, 3.0])
def test_a_protein_displaces_the_ice_of_its_own_volume(voxel_size: float) -> None:
    # Three helices packed closely: poly-alanine of the partial specific volume 0.73 cm³/g, 1.21 Å³/Da.
    bundle = helix_bundle(20, distance=8.0)
    vacuum, ice = (
        density_from_structure(bundle, DensitySettings(voxel_size, b_factor=20.0, solvent_potential=potential))
        for potential in (0.0, ICE_POTENTIAL)
    )
    volume = (vacuum.integral - ice.integral) / ICE_POTENTIAL
    assert volume == pytest.approx(3 * 20 * 71.08 * 1.21, rel=0.05)


def test_the_ice_is_water_at_its_density() -> None:
    molecules = 0.93 / 18.015 * 0.602214  # per Å³
    forward = sum(PENG["O"][0]) + 2 * sum(PENG["H"][0])
    assert pytest.approx(H_PER_M_E * forward * molecules, rel=2e-3) == ICE_POTENTIAL


def test_ice_inside_a_protein_is_gone_altogether() -> None:
    bundle = helix_bundle(16)
    settings = {"voxel_size": 1.0, "b_factor": 20.0}
    vacuum, ice = (
        density_from_structure(bundle, DensitySettings(solvent_potential=potential, **settings))
        for potential in (0.0, 3.6)
    )
    assert np.percentile((vacuum.data - ice.data), 99.9) == pytest.approx(3.6, rel=0.05)


# Hydrogens of each residue within a chain at pH 7, from their formulae.
HYDROGENS = {
    "ALA": 5, "ARG": 13, "ASN": 6, "ASP": 4, "CYS": 5, "GLN": 8, "GLU": 6, "GLY": 3, "HIS": 7, "ILE": 11, "LEU": 11,
    "LYS": 13, "MET": 9, "MSE": 9, "PHE": 9, "PRO": 7, "SER": 5, "THR": 7, "TRP": 10, "TYR": 9, "VAL": 9,
    "A": 11, "C": 11, "G": 11, "U": 10, "DA": 11, "DC": 11, "DG": 11, "DT": 12, "HOH": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", HYDROGENS)
def test_each_residue_bears_the_hydrogens_of_its_formula(name: str) -> None:
    table = hydrogens_of_residue(name)
    assert table is not None
    assert sum(table.values()) == HYDROGENS[name]
    # gemmi counts those of the free molecule: a water more, and three more of the free phosphate; acids with theirs.
    chain_bonds = 0 if name == "HOH" else 3 if len(name) < 3 else 2
    ionised = {"ASP": 1, "GLU": 1, "HIS": 1}.get(name, 0)
    assert gemmi.find_tabulated_residue(name).hydrogen_count - chain_bonds - ionised == HYDROGENS[name]


def test_hydrogens_ride_where_they_are() -> None:
    bundle = helix_bundle(6, helices=1)
    riding = riding_hydrogens(bundle)
    assert riding.counts.sum() == 6 * 5
    names = bundle.atoms["atom_name"].to_numpy()[riding.parents]
    distance = np.linalg.norm(riding.positions - bundle.positions[riding.parents], axis=1)
    assert distance[names == "CA"] == pytest.approx(1.09, abs=0.02)
    assert distance[names == "CB"] == pytest.approx(1.09 / 3, abs=0.01)
    # The amide hydrogen of residue 5 points at the oxygen of residue 1: the helix' hydrogen bond, about 2.0 Å.
    atoms = bundle.atoms
    oxygen = bundle.positions[(atoms["atom_name"] == "O") & (atoms["residue_number"] == 1)][0]
    amide = (names == "N") & (atoms["residue_number"].to_numpy()[riding.parents] == 5)
    assert np.linalg.norm(riding.positions[amide][0] - oxygen) == pytest.approx(2.0, abs=0.25)
    assert riding.spread[names == "CA"] == pytest.approx(0, abs=1.5)
    assert riding.spread[names == "CB"] == pytest.approx(8 * np.pi**2 * 1.09**2 * (8 / 9) / 3, rel=0.03)


def test_hydrogens_that_are_there_are_not_added_again() -> None:
    bundle = helix_bundle(4, helices=1)
    first = (bundle.atoms["residue_number"] == 1).to_numpy()
    shown = bundle.atoms.assign(
        element=np.where(first & (bundle.atoms["atom_name"] == "CB"), "H", bundle.atoms["element"])
    )
    assert riding_hydrogens(Structure("shown", bundle.positions, shown)).counts.sum() == 3 * 5


def test_disulphides_and_ligands_bear_what_they_should() -> None:
    table = pd.DataFrame(
        {
            "element": list("CSSCZ"), "atom_name": ["CB", "SG", "SG", "CB", "ZN"], "chain": "A",
            "residue_name": ["CYS", "CYS", "CYS", "CYS", "ZN"], "residue_number": [1, 1, 2, 2, 3],
        }
    )  # fmt: skip
    table.loc[4, "element"] = "ZN"
    places = np.array([[0, 0, 0], [0, 0, 1.81], [0, 1.99, 2.3], [0, 2.2, 4.1], [0, 9, 9]])
    riding = riding_hydrogens(Structure("bridge", places, table))
    assert dict(zip(riding.parents.tolist(), riding.counts.tolist(), strict=True)) == {0: 2, 3: 2}


def test_a_density_weighs_the_hydrogens_too() -> None:
    bundle = helix_bundle(8)
    without, with_them = (
        density_from_structure(bundle, DensitySettings(1.0, b_factor=20.0, hydrogens=wanted, solvent_potential=0))
        for wanted in (False, True)
    )
    added = (with_them.integral - without.integral) / H_PER_M_E
    assert added == pytest.approx(3 * 8 * 5 * sum(PENG["H"][0]), rel=2e-3)


def test_confidence_becomes_b_factors() -> None:
    assert b_factors_from_plddt(np.array([70.0, 95.0, 10.0])) == pytest.approx([59.22, 8.01, 300], rel=1e-3)
    header = "data_x\n_entry.id x\n_struct.title 'AlphaFold monomer'\n"
    sure = atoms_at(np.zeros((1, 3)), "C", 95.0)
    predicted = Structure("x", sure.positions, sure.atoms, header=header)
    measured = atoms_at(np.zeros((1, 3)), "C", float(b_factors_from_plddt(np.array([95.0]))[0]))
    settings = DensitySettings(1.0, box=24, **BARE)
    first, second = (density_from_structure(item, settings).data for item in (predicted, measured))
    assert np.array_equal(first, second)


def test_only_the_first_model_and_no_waters() -> None:
    one = atoms_at(np.zeros((1, 3)), "C")
    three = atoms_at(np.zeros((3, 3)), "COC")
    three.atoms["model"] = [1, 1, 2]
    three.atoms["entity_type"] = ["polymer", "water", "polymer"]
    settings = DensitySettings(1.0, box=24, **BARE)
    first, second = (density_from_structure(item, settings).data for item in (one, three))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"voxel_size": 1.0, "box": 20}, "cuts the structure; give at least 24"),
        ({"voxel_size": 0.2, "box": None}, "too many"),
    ],
)
def test_a_box_that_does_not_fit_is_refused(settings: dict, message: str) -> None:
    long = atoms_at(np.array([[0, 0, 10.2], [0, 0, -10.2]]) * (5.0 if settings["box"] is None else 1.0), "CC")
    with pytest.raises(DensityError, match=message):
        density_from_structure(long, DensitySettings(**settings))


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(DensityError, match="no electron form factors for the element X"):
        density_from_structure(atoms_at(np.zeros((1, 3)), "X"))
    with pytest.raises(DensityError, match="no atom"):
        density_from_structure(atoms_at(np.zeros((1, 3)), "C").select([False]))
    with pytest.raises(DensityError, match="needs voxels of at most 1.0"):
        DensitySettings(1.5, resolution=2.0)
    for wrong in ({"voxel_size": 0.0}, {"box": 4}, {"b_factor": -1.0}, {"solvent_potential": 36.0}):
        with pytest.raises(DensityError, match=str(next(iter(wrong.values())))):
            DensitySettings(**wrong)
