"""The electrostatic potential of a structure, in volts: what an electron microscope takes pictures of.

An atom's potential is the Fourier transform of its electron form factor (Peng et al. 1996, Acta Cryst. A52, 257):
V(r) = 47.8776 V Å² sum_i a_i (4 pi / b_i)^1.5 exp(-4 pi² r² / b_i), with b_i + B for an atom of the B factor B.
The constant is h² / (2 pi m e). Atoms are taken as neutral and unbonded. From their sum goes the
potential of the ice that the molecule displaces. ``docs/explanation/density.md`` has more, and the measured accuracy.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_profet.density import Density
from napari_profet.errors import DensityError
from napari_profet.fourier import filtered, resampled
from napari_profet.hydrogens import riding_hydrogens
from napari_profet.progress import Progress, silent
from napari_profet.structure import Structure

if TYPE_CHECKING:
    import gemmi

__all__ = ["VOLTS", "DensitySettings", "density_from_structure"]

_log = logging.getLogger(__name__)

VOLTS = 47.877647
"""h² / (2 pi m e) in V Å²: from an electron form factor in Å to a potential in volts."""

ICE_POTENTIAL = 4.53
"""Potential of vitreous ice, V: water's form factors at 0.93 g/cm³ (Rullgård et al. 2011, J. Microsc. 243, 234).

Real ice has about 3.6 V, since bonds draw electrons closer. They do so in a protein too, which is made of
unbonded atoms here; so it is the difference to unbonded ice that comes out right.
"""

# Fokine & Urzhumtsev (2002), Acta Cryst. D58, 1387: the usual smoothness of the solvent's edge in crystals, Å².
_SOLVENT_B = 46.0
# Volumes of the mask depend on its grid: on one of 1 Å they are up to half again too large, on this one to 2 % right.
_MASK_SPACING = 0.4
_MASK_POINTS = 720
# Å around the outermost atom: radius, probe, and room for the softening of the mask's grid.
_MASK_RIM = 6.0
# Å around the outermost atom: the widest Gaussian of carbon falls to 1e-6 of its height there.
_RIM = 6.0
_LARGEST_BOX = 512
# Larger B factors say that an atom was not seen; its potential would only fill the box.
_LARGEST_B = 300.0


@dataclass(frozen=True)
class DensitySettings:
    """How a density is made from a structure.

    Attributes
    ----------
    voxel_size
        Å.
    box
        Voxels along each axis; None: an even number that the structure fits in, however it is turned.
    b_factor
        One for all atoms, Å². None: those of the structure; where those are confidences pLDDT, B factors by
        :func:`b_factors_from_plddt`.
    resolution
        Smooth the map so that its Fourier transform falls to 1/e at 1 / resolution (Å); None: not at all.
    hydrogens
        Add the hydrogens that the structure does not show.
    waters
        Keep the structure's waters.
    solvent_potential
        Mean potential of the ice that the molecule displaces, V; 0 for a molecule in vacuum.
    """

    voxel_size: float = 1.5
    box: int | None = None
    b_factor: float | None = None
    resolution: float | None = None
    hydrogens: bool = True
    waters: bool = False
    solvent_potential: float = ICE_POTENTIAL

    def __post_init__(self) -> None:
        if not 0.2 <= self.voxel_size <= 20:
            raise DensityError(f"a voxel size of {self.voxel_size} Å is not between 0.2 and 20; give it in Å")
        if self.box is not None and not 8 <= self.box <= _LARGEST_BOX:
            raise DensityError(f"a box of {self.box} voxels is not between 8 and {_LARGEST_BOX}")
        if self.b_factor is not None and not 0 <= self.b_factor <= 1000:
            raise DensityError(f"a B factor of {self.b_factor} Å² is not between 0 and 1000")
        if self.resolution is not None and not self.resolution >= 2 * self.voxel_size:
            raise DensityError(
                f"voxels of {self.voxel_size} Å hold nothing finer than {2 * self.voxel_size} Å, so a resolution of "
                f"{self.resolution} Å needs voxels of at most {self.resolution / 2} Å"
            )
        if not 0 <= self.solvent_potential <= 10:
            raise DensityError(
                f"a solvent of {self.solvent_potential} V is not between 0 and 10; ice has {ICE_POTENTIAL}"
            )


@dataclass(frozen=True)
class _Scatterers:
    """What scatters: positions (n, 3) z, y, x in Å, elements (n,), weights (n,), B factors (n,) in Å²."""

    positions: np.ndarray
    elements: np.ndarray
    weights: np.ndarray
    b_factors: np.ndarray


def density_from_structure(
    structure: Structure,
    settings: DensitySettings | None = None,
    *,
    centre: tuple[float, float, float] | None = None,
    progress: Progress = silent,
) -> Density:
    """Electrostatic potential of a structure, less that of the ice it displaces.

    Parameters
    ----------
    structure
        Of several models the first is taken. Alternative places of an atom count by their occupancies.
    settings
        Voxel size, box, smoothness; see :class:`DensitySettings`.
    centre
        The point, z, y, x in Å, that comes to lie at voxel n // 2; the mean of the atoms' positions unless given.
    progress
        Told which of three steps begins.

    Returns
    -------
    Density
        Cubic, in volts.

    Raises
    ------
    DensityError
        There is no atom, one of an element without form factor, or the structure does not fit the box.
    """
    settings = settings or DensitySettings()
    structure = _one_model(structure, settings.waters)
    middle = np.array(centre, dtype=float) if centre is not None else structure.positions.mean(axis=0)
    progress(0, 3, "hydrogens")
    atoms = _visible(structure, settings.b_factor)
    scatterers = _with_hydrogens(structure, atoms) if settings.hydrogens else atoms
    box = _box(scatterers, middle, settings, structure.name)
    size = settings.voxel_size
    corner = middle - box // 2 * size
    progress(1, 3, "potential of the atoms")
    data = _atomic_potential(scatterers, corner, box, settings)
    if settings.solvent_potential:
        progress(2, 3, "displaced ice")
        data -= np.float32(settings.solvent_potential) * _displaced(atoms, corner, box, settings)
    z, y, x = corner
    return Density(data, size, (z, y, x), "V", structure.name, structure.source or structure.name)


def b_factors_from_plddt(plddt: np.ndarray) -> np.ndarray:
    """B factors in Å² that stand for the errors of a predicted structure.

    rmsd = 1.5 exp(4 (0.7 - pLDDT / 100)) Å (Hiranuma et al. 2021, Nat. Commun. 12, 1340, as used by Oeffner et al.
    2022, Acta Cryst. D78, 1303) and B = 8 pi² rmsd² / 3, at most 300.
    """
    rmsd = 1.5 * np.exp(4 * (0.7 - np.asarray(plddt, dtype=float) / 100))
    return np.minimum(8 * np.pi**2 * rmsd**2 / 3, _LARGEST_B)


def _one_model(structure: Structure, waters: bool) -> Structure:
    atoms = structure.atoms
    if not len(structure):
        raise DensityError(f"{structure.name}: there is no atom to make a density of")
    chosen = (atoms["model"] == atoms["model"].iloc[0]).to_numpy()
    if not waters:
        chosen = chosen & (atoms["entity_type"] != "water").to_numpy()
    if not chosen.any():
        raise DensityError(f"{structure.name}: nothing but water in it; keep the waters or choose another structure")
    return structure.select(chosen)


def _visible(structure: Structure, b_factor: float | None) -> _Scatterers:
    """The atoms of a structure, with the B factors they are to have."""
    values = structure.atoms["b_factor"].to_numpy(dtype=float)
    if b_factor is not None:
        values = np.full(len(structure), float(b_factor))
    elif structure.predicted:
        values = b_factors_from_plddt(values)
    elif values.min() < 0 or values.max() > _LARGEST_B:
        wild = int(((values < 0) | (values > _LARGEST_B)).sum())
        _log.warning("%s: %d B factors outside 0 to %g Å² are taken as those", structure.name, wild, _LARGEST_B)
        values = np.clip(values, 0, _LARGEST_B)
    return _Scatterers(
        structure.positions,
        _known_elements(structure),
        structure.atoms["occupancy"].to_numpy(dtype=float),
        values,
    )


def _known_elements(structure: Structure) -> np.ndarray:
    """Elements that have electron form factors, (n,)."""
    import gemmi

    elements = structure.atoms["element"].to_numpy(dtype=str)
    # Deuterium has the electrons of hydrogen.
    elements = np.where(np.char.upper(elements) == "D", "H", elements)
    known = {name: gemmi.Element(name) for name in np.unique(elements)}
    # gemmi gives the unknown element the form factor of oxygen.
    unknown = [name for name, kind in known.items() if not kind.atomic_number or kind.c4322 is None]
    if unknown:
        names = ", ".join(name or "(none)" for name in unknown)
        raise DensityError(f"{structure.name}: no electron form factors for the element {names}; leave these atoms out")
    return elements


def _with_hydrogens(structure: Structure, atoms: _Scatterers) -> _Scatterers:
    riding = riding_hydrogens(structure)
    return _Scatterers(
        np.concatenate([atoms.positions, riding.positions]),
        np.concatenate([atoms.elements, np.full(len(riding.parents), "H")]),
        np.concatenate([atoms.weights, atoms.weights[riding.parents] * riding.counts]),
        np.concatenate([atoms.b_factors, atoms.b_factors[riding.parents] + riding.spread]),
    )


def _box(scatterers: _Scatterers, middle: np.ndarray, settings: DensitySettings, name: str) -> int:
    """Voxels along each axis."""
    from scipy import fft

    size = settings.voxel_size
    offset = np.abs(scatterers.positions - middle)
    if settings.box is not None:
        # Only what the box cuts is refused: a tight box is the user's choice.
        least = 2 * (int(np.ceil(offset.max() / size)) + 1)
        if settings.box < least:
            raise DensityError(
                f"{name}: a box of {settings.box} voxels of {size} Å cuts the structure; give at least {least}"
            )
        return settings.box
    smoothing = np.percentile(scatterers.b_factors, 95) + 4 * (settings.resolution or 0) ** 2
    rim = _RIM + 3 * np.sqrt(smoothing / (8 * np.pi**2))
    radius = float(np.sqrt((offset**2).sum(axis=1).max())) + rim
    box = int(np.ceil(2 * radius / size))
    while box % 2 or fft.next_fast_len(box, real=True) != box:
        box += 1
    if box > _LARGEST_BOX:
        raise DensityError(
            f"{name}: {box} voxels of {size} Å along each axis are too many ({_LARGEST_BOX}); "
            f"take voxels of {2 * radius / _LARGEST_BOX:.2g} Å or more"
        )
    return box


def _atomic_potential(scatterers: _Scatterers, corner: np.ndarray, box: int, settings: DensitySettings) -> np.ndarray:
    """Potential of the atoms alone, (box, box, box) float32, V.

    Sampled at half the voxel size, then cropped in Fourier space. Atoms are blurred by an extra B factor for the
    sampling, so that nothing beyond the fine grid's reach folds back into the map; the blur is undone at the end.
    """
    import gemmi

    size = settings.voxel_size
    # Folded frequencies lie above 1.5 / size; this B keeps them below 0.7 % of what they fold onto.
    blur = max(np.pi**2 * size**2 - float(scatterers.b_factors.min()), 0.0)
    cell = gemmi.UnitCell(*(box * size,) * 3, 90, 90, 90)
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min, calculator.rate, calculator.blur = size, 1.0, blur
    calculator.cutoff = 1e-7
    calculator.grid.set_size(2 * box, 2 * box, 2 * box)
    calculator.grid.set_unit_cell(cell)
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.add_model_density_to_grid(_model(scatterers, corner))
    # gemmi's arrays are (x, y, z).
    fine = np.asarray(calculator.grid.array).transpose(2, 1, 0)
    data = resampled(fine, (box,) * 3)
    del fine, calculator
    sharpen = (blur - 4 * (settings.resolution or 0) ** 2) / 4
    return filtered(data, size, lambda squared: VOLTS * np.exp(squared * sharpen))


def _displaced(atoms: _Scatterers, corner: np.ndarray, box: int, settings: DensitySettings) -> np.ndarray:
    """Share of each voxel that ice cannot enter, (box, box, box) float32, with the soft edge of ``_SOLVENT_B``."""
    import gemmi

    edge = box * settings.voxel_size
    points = min(4 * int(np.ceil(edge / _MASK_SPACING / 4)), _MASK_POINTS)
    spacing = edge / points
    # The mask is made around the molecule only: most of a box that it can turn in is empty.
    low, high = (end(atoms.positions - corner, axis=0) / spacing for end in (np.min, np.max))
    first = 2 * np.floor((low - _MASK_RIM / spacing) / 2).astype(int)
    last = 2 * np.ceil((high + _MASK_RIM / spacing) / 2).astype(int)
    if first.min() < 0 or last.max() > points:
        first, last = np.zeros(3, dtype=int), np.full(3, points)
    sizes = last - first
    grid = gemmi.Int8Grid(*sizes[::-1].tolist())
    z, y, x = (sizes * spacing).tolist()
    grid.set_unit_cell(gemmi.UnitCell(x, y, z, 90, 90, 90))
    grid.spacegroup = gemmi.SpaceGroup("P 1")
    masker = gemmi.SolventMasker(gemmi.AtomicRadiiSet.Refmac)
    masker.put_mask_on_int8_grid(grid, _model(atoms, corner + first * spacing))
    inside = np.zeros((points // 2,) * 3, dtype=np.float32)
    inside[tuple(map(slice, first // 2, last // 2))] = 1 - _halved(np.asarray(grid.array).transpose(2, 1, 0))
    # The edge of the hole is never sharper than the atoms that make it. Halving has blurred it already.
    softness = max(_SOLVENT_B, float(np.median(atoms.b_factors))) - 4 * np.pi**2 * spacing**2
    softness = max(softness, 0.0) / 4 + (settings.resolution or 0) ** 2
    soft = filtered(inside, 2 * spacing, lambda squared: np.exp(-squared * softness))
    return resampled(soft, (box,) * 3)


def _halved(mask: np.ndarray) -> np.ndarray:
    """Every other voxel of a periodic mask, float32, averaged with its neighbours by 1/4, 1/2, 1/4 along each axis.

    The variance of these weights is half a squared voxel: a B factor of 4 pi² squared voxels.
    """
    for axis in range(3):
        lines = np.moveaxis(mask, axis, 0)
        odd = lines[1::2].astype(np.float32)
        averaged = lines[::2].astype(np.float32)
        averaged *= 0.5
        averaged += 0.25 * odd
        averaged += 0.25 * np.roll(odd, 1, axis=0)
        mask = np.moveaxis(averaged, 0, axis)
    return mask


def _model(scatterers: _Scatterers, corner: np.ndarray) -> gemmi.Model:
    """Scatterers for gemmi, isotropic, with ``corner`` moved to its zero."""
    import gemmi

    residue = gemmi.Residue()
    residue.name, residue.seqid = "ALL", gemmi.SeqId("1")
    elements = {name: gemmi.Element(name) for name in np.unique(scatterers.elements)}
    rows = zip(
        (scatterers.positions - corner)[:, ::-1].tolist(),
        scatterers.elements.tolist(),
        scatterers.weights.tolist(),
        scatterers.b_factors.tolist(),
        strict=True,
    )
    for position, element, weight, b_factor in rows:
        atom = gemmi.Atom()
        atom.pos, atom.element, atom.occ, atom.b_iso = gemmi.Position(*position), elements[element], weight, b_factor
        residue.add_atom(atom)
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    return model
