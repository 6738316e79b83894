"""Between structures and napari: a Points layer with one point per atom, and back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_profet.errors import LayerError
from napari_profet.structure import Structure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ColourBy", "structure_from_layer", "structure_layer"]

# Balls of 0.3 of the van der Waals size leave the bonds between them visible.
_BALL = 0.3

# Jmol's colours of the elements that proteins, nucleic acids and their ligands are made of; others are pink.
_ELEMENT_COLOURS = {
    "H": "#ffffff", "D": "#ffffc0", "C": "#909090", "N": "#3050f8", "O": "#ff0d0d", "S": "#ffff30", "P": "#ff8000",
    "SE": "#ffa100", "F": "#90e050", "CL": "#1ff01f", "BR": "#a62929", "I": "#940094", "NA": "#ab5cf2",
    "MG": "#8aff00", "K": "#8f40d4", "CA": "#3dff00", "MN": "#9c7ac7", "FE": "#e06633", "CO": "#f090a0",
    "NI": "#50d050", "CU": "#c88033", "ZN": "#7d80b0",
}  # fmt: skip
_OTHER_ELEMENT = "#ff80c0"
# Okabe & Ito's palette, for readers who do not see every colour; chains beyond the seventh start again.
_CHAIN_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
# Bands of confidence as AlphaFold DB paints them: pLDDT below 50, 70, 90, and above.
_CONFIDENCE_BANDS, _CONFIDENCE_COLOURS = (50.0, 70.0, 90.0), ("#ff7d45", "#ffdb13", "#65cbf3", "#0053d6")


class ColourBy(StrEnum):
    """What the colour of an atom says."""

    ELEMENT = "element"
    CHAIN = "chain"
    B_FACTOR = "b_factor"


def structure_layer(
    structure: Structure, colour_by: ColourBy | str = ColourBy.ELEMENT
) -> tuple[np.ndarray, dict[str, Any], str]:
    """Points layer of a structure, as napari's tuple of data, attributes and type.

    Parameters
    ----------
    structure
        The structure; each atom is one point, each column of its atom table one feature.
    colour_by
        Element, chain, or B factor (in a predicted structure: confidence).

    Returns
    -------
    tuple
        Data (n, 3), z, y, x in Å; scale 1, units "angstrom". ``metadata["structure"]`` holds the name, title, method
        and source, what ``b_factor`` means, where the origin of the layer lies, and the rest of the file for writing.
    """
    atoms = structure.atoms
    attributes = {
        "name": structure.name,
        "features": atoms.copy(),
        "size": 2 * _BALL * _radii(atoms["element"]),
        "face_color": _colours(structure, ColourBy(colour_by)),
        "border_width": 0,
        "shading": "spherical",
        "scale": (1.0, 1.0, 1.0),
        "units": ("angstrom",) * 3,
        "axis_labels": ("z", "y", "x"),
        "metadata": {
            "structure": {
                "id": structure.name,
                "title": structure.title,
                "method": structure.method,
                "source": structure.source,
                "b_factor": "pLDDT" if structure.predicted else "B factor (Å²)",
                # Position of the layer's zero in the coordinates of the file, z, y, x in Å.
                "origin": (0.0, 0.0, 0.0),
                "header": structure.header,
            }
        },
    }
    # A copy, because positions are read-only and the points of a layer can be moved.
    return structure.positions.copy(), attributes, "points"


def structure_from_layer(data: np.ndarray, attributes: Mapping[str, Any], *, only_shown: bool = True) -> Structure:
    """Structure of the atoms in a Points layer; the inverse of :func:`structure_layer`.

    Parameters
    ----------
    data
        (n, 3) points of the layer.
    attributes
        The layer's attributes, as in napari's layer tuple. Where the layer was moved, turned or scaled, the atoms are.
    only_shown
        Leave out the atoms that ``shown`` hides.

    Raises
    ------
    LayerError
        The points have no features of atoms, are not in three dimensions, or none of them is shown.
    """
    import pandas as pd

    name = str(attributes.get("name") or "structure")
    points = np.asarray(data, dtype=float)
    if points.ndim != 2 or points.shape[1] != 3:
        raise LayerError(f"layer {name!r}: the points of a structure have 3 coordinates, these {points.shape[-1]}")
    features = pd.DataFrame(attributes.get("features")).reset_index(drop=True)
    shown = np.broadcast_to(np.asarray(attributes.get("shown", True), dtype=bool), len(points))
    if only_shown and not shown.any():
        raise LayerError(f"layer {name!r} shows no atom, so there is nothing to write; show or add some")
    if len(features) != len(points):
        raise LayerError(f"layer {name!r} has no features of atoms; choose a layer that was opened as a structure")
    told = (attributes.get("metadata") or {}).get("structure", {})
    try:
        structure = Structure(
            name=told.get("id") or name,
            positions=_in_world(points, attributes, name),
            atoms=features,
            header=told.get("header", ""),
            source=told.get("source", ""),
        )
    except ValueError as error:
        if isinstance(error, LayerError):
            raise
        raise LayerError(
            f"layer {name!r} does not hold a structure: {error}; choose a layer that was opened as a structure"
        ) from error
    return structure.select(shown) if only_shown and not shown.all() else structure


def _in_world(points: np.ndarray, attributes: Mapping[str, Any], name: str) -> np.ndarray:
    """Points where the viewer shows them, (n, 3) in Å."""
    from napari.utils.transforms import Affine

    parts = {key: attributes[key] for key in ("scale", "translate", "rotate", "shear") if key in attributes}
    moved = Affine(ndim=3, **parts)(points) if parts else points
    if attributes.get("affine") is not None:
        moved = Affine(affine_matrix=np.asarray(attributes["affine"]), ndim=3)(moved)
    return np.asarray(moved, dtype=float) * _angstroms(attributes.get("units"), name)


def _angstroms(units: Any, name: str) -> np.ndarray:
    """Å per unit of each axis, (3,). A layer without units (napari calls them pixels) is in Å."""
    import pint

    registry = pint.get_application_registry()
    units = [units] * 3 if units is None or isinstance(units, str | pint.Unit) else units
    factors = []
    for unit in units:
        if unit is None or str(unit) == "pixel":
            factors.append(1.0)
            continue
        try:
            factors.append(registry.Quantity(1.0, str(unit)).to("angstrom").magnitude)
        except pint.errors.PintError as error:
            raise LayerError(f"layer {name!r}: its unit {unit} is no length; set it to angstrom") from error
    return np.array(factors)


def _radii(elements: pd.Series) -> np.ndarray:
    """Van der Waals radius of each atom, (n,) in Å."""
    import gemmi

    different, index = np.unique(elements.to_numpy(dtype=str), return_inverse=True)
    return np.array([gemmi.Element(element).vdw_r for element in different])[index]


def _colours(structure: Structure, colour_by: ColourBy) -> np.ndarray:
    """Colour of each atom, (n, 4) RGBA from 0 to 1."""
    atoms = structure.atoms
    if colour_by is ColourBy.ELEMENT:
        different, index = np.unique(np.char.upper(atoms["element"].to_numpy(dtype=str)), return_inverse=True)
        return _rgba([_ELEMENT_COLOURS.get(element, _OTHER_ELEMENT) for element in different])[index]
    if colour_by is ColourBy.CHAIN:
        order = {chain: number for number, chain in enumerate(structure.chains)}
        return _rgba(_CHAIN_COLOURS)[atoms["chain"].map(order).to_numpy() % len(_CHAIN_COLOURS)]
    values = atoms["b_factor"].to_numpy()
    if structure.predicted:
        return _rgba(_CONFIDENCE_COLOURS)[np.digitize(values, _CONFIDENCE_BANDS)]
    # Blue, white, red between the robust ends: single wild values would leave the rest in one colour.
    low, high = np.percentile(values, (5, 95))
    share = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    blue_white_red = _rgba(("#3050f8", "#ffffff", "#ff0d0d"))
    return np.column_stack([np.interp(share, (0, 0.5, 1), blue_white_red[:, channel]) for channel in range(4)])


def _rgba(colours: tuple[str, ...] | list[str]) -> np.ndarray:
    """(n, 4) from "#rrggbb"."""
    return np.array([[*(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)), 1.0] for colour in colours])
