"""Between densities, traces, aligned errors and napari: Image, Surface and Vectors layers, as tuples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_profet.density import Density
from napari_profet.errors import LayerError
from napari_profet.layers import ColourBy, structure_layer
from napari_profet.mesh import Mesh, isosurface
from napari_profet.pae import AlignedError
from napari_profet.structure import Structure

__all__ = ["aligned_error_layer", "density_from_layer", "density_layer", "surface_layer", "trace_layer"]

LayerTuple = tuple[Any, dict[str, Any], str]

# The atom that stands for a residue, its element (CA is also calcium), and how far the next one in the chain may be, Å.
_TRACED = {"CA": ("C", 4.5), "P": ("P", 8.0)}
# Dark green is sure, white is anybody's guess: the colours of AlphaFold DB.
_ERROR_COLOURS = ((0.0, 0.27, 0.11, 1.0), (0.45, 0.77, 0.46, 1.0), (1.0, 1.0, 1.0, 1.0))


def density_layer(density: Density) -> LayerTuple:
    """Image layer of a density, which lies where its structure does.

    Returns
    -------
    tuple
        Data (z, y, x); scale and translation in Å, units "angstrom". ``metadata["density"]`` holds the voxel size
        and origin (Å), the unit of the data and the source.
    """
    data = density.data
    low, high = float(data.min()), float(data.max())
    attributes = _place(density) | {
        "name": density.name,
        "rendering": "attenuated_mip",
        "colormap": "gray",
        # The hole of the ice around a molecule is no detail to look at.
        "contrast_limits": (min(0.0, low) if high <= 0 else 0.0, high if high > low else low + 1.0),
        "metadata": {"density": _told(density), "pixel_size": density.voxel_size},
    }
    return data, attributes, "image"


def density_from_layer(data: Any, attributes: Mapping[str, Any]) -> Density:
    """Density in an Image layer; the inverse of :func:`density_layer`.

    Parameters
    ----------
    data
        (z, y, x).
    attributes
        The layer's attributes, as in napari's layer tuple. Its scale is the voxel size in Å.

    Raises
    ------
    LayerError
        The layer is no volume, or its voxels are no cubes.
    """
    name = str(attributes.get("name") or "density")
    volume = np.asarray(data)
    if volume.ndim != 3:
        raise LayerError(f"layer {name!r}: a density has 3 dimensions, this has {volume.ndim}; choose another layer")
    scale = np.abs(np.asarray(attributes.get("scale", (1.0,) * 3), dtype=float))
    if np.ptp(scale) > 1e-3 * scale.mean():
        raise LayerError(f"layer {name!r}: its voxels are no cubes ({scale.tolist()} Å); set one scale for all axes")
    told = (attributes.get("metadata") or {}).get("density", {})
    z, y, x = np.asarray(attributes.get("translate", (0.0,) * 3), dtype=float)
    return Density(volume, float(scale.mean()), (z, y, x), told.get("unit", ""), name, told.get("source", ""))


def surface_layer(density: Density, level: float | None = None, *, mesh: Mesh | None = None) -> LayerTuple:
    """Surface layer of a density.

    Parameters
    ----------
    density
        The volume.
    level
        Where the surface lies, in the unit of the data; 2.5 standard deviations above the mean unless given.
    mesh
        From :func:`napari_profet.mesh.isosurface`, if it has been made already.

    Raises
    ------
    DensityError
        The level is not between the smallest and the largest value.
    """
    mesh = isosurface(density, level) if mesh is None else mesh
    colours = np.broadcast_to(np.array([0.55, 0.7, 0.9, 1.0], dtype=np.float32), (len(mesh.vertices), 4))
    attributes = _place(density) | {
        "name": f"{density.name} at {mesh.level:.3g}{' V' if density.unit else ''}",
        "shading": "smooth",
        # What lies within stays to be seen.
        "blending": "translucent_no_depth",
        "opacity": 0.5,
        "vertex_colors": colours,
        "metadata": {"density": _told(density) | {"level": mesh.level}},
    }
    return (mesh.vertices, mesh.faces), attributes, "surface"


def trace_layer(structure: Structure, colour_by: ColourBy | str = ColourBy.CHAIN) -> LayerTuple:
    """Vectors layer of the chains: a line from each alpha carbon, or phosphorus, to the next of its chain.

    Parameters
    ----------
    structure
        Of several models the first is shown, of alternative places the first. No line bridges missing residues.
    colour_by
        Chain, or B factor (in a predicted structure: confidence).

    Returns
    -------
    tuple
        Data (n, 2, 3): where a line begins, z, y, x in Å, and its direction and length. Features: those of the atom
        it begins at.

    Raises
    ------
    LayerError
        There are not two atoms next to each other to draw a line between.
    """
    traced = structure.select(_stands_for_residue(structure))
    atoms, places = traced.atoms, traced.positions
    steps = np.diff(places, axis=0)
    reach = np.array([_TRACED[name][1] for name in atoms["atom_name"]])
    chain, name = (atoms[column].to_numpy(dtype=str) for column in ("chain", "atom_name"))
    joined = (chain[1:] == chain[:-1]) & (name[1:] == name[:-1])
    starts = np.flatnonzero(joined & (np.linalg.norm(steps, axis=1) <= reach[:-1])) if len(traced) else np.array([])
    if not len(starts):
        raise LayerError(f"{structure.name}: no two residues in a row have an alpha carbon or phosphorus to join")
    _, shown, _ = structure_layer(traced, colour_by)
    attributes = {
        "name": f"{structure.name} trace",
        "features": shown["features"].iloc[starts].reset_index(drop=True),
        "edge_color": shown["face_color"][starts],
        "edge_width": 0.8,
        "vector_style": "line",
        "scale": (1.0, 1.0, 1.0),
        "units": ("angstrom",) * 3,
        "axis_labels": ("z", "y", "x"),
        "metadata": {"trace": {"id": structure.name, "source": structure.source}},
    }
    return np.stack([places[starts], steps[starts]], axis=1), attributes, "vectors"


def aligned_error_layer(errors: AlignedError, structure: Structure | None = None) -> LayerTuple:
    """Image layer of predicted aligned errors, whose world coordinates are residue numbers.

    Parameters
    ----------
    errors
        The matrix.
    structure
        Its prediction. Then ``metadata["residues"]`` has the chain, number and name of the residue at each index.

    Raises
    ------
    LayerError
        The structure has another number of residues.
    """
    told: dict[str, Any] = {"source": errors.source, "maximum": errors.maximum, "unit": "Å"}
    metadata: dict[str, Any] = {"aligned_error": told}
    if structure is not None:
        metadata["residues"] = _residues(structure, len(errors))
    attributes = {
        "name": errors.name,
        "scale": (1.0, 1.0),
        "translate": (1.0, 1.0),
        "axis_labels": ("aligned residue", "scored residue"),
        # In three dimensions napari paints nothing where a value is at the lower limit, and on the diagonal it is 0.
        "contrast_limits": (-1e-3, errors.maximum),
        "colormap": {"name": "aligned error", "colors": np.array(_ERROR_COLOURS)},
        "interpolation2d": "nearest",
        "interpolation3d": "nearest",
        "metadata": metadata,
    }
    return errors.errors, attributes, "image"


def _place(density: Density) -> dict[str, Any]:
    return {
        "scale": (density.voxel_size,) * 3,
        "translate": density.origin,
        "units": ("angstrom",) * 3,
        "axis_labels": ("z", "y", "x"),
    }


def _told(density: Density) -> dict[str, Any]:
    return {
        "voxel_size": density.voxel_size,
        "origin": density.origin,
        "unit": density.unit,
        "source": density.source,
    }


def _stands_for_residue(structure: Structure) -> np.ndarray:
    """Whether each atom is the one its residue is drawn by, (n,)."""
    atoms = structure.atoms
    wanted = {(name, element) for name, (element, _) in _TRACED.items()}
    pairs = zip(atoms["atom_name"], atoms["element"].str.upper(), strict=True)
    chosen = np.array([pair in wanted for pair in pairs], dtype=bool)
    chosen &= (atoms["entity_type"].isin(["polymer", ""]) & (atoms["model"] == atoms["model"].min())).to_numpy()
    residue = ["chain", "residue_number", "insertion_code", "label_residue_number"]
    # The other places of an atom that has several come after its first.
    chosen[np.flatnonzero(chosen)[atoms.loc[chosen, residue].duplicated().to_numpy()]] = False
    return chosen


def _residues(structure: Structure, count: int) -> list[dict[str, Any]]:
    """Chain, number and name of each residue of the first model, in order."""
    atoms = structure.atoms
    columns = ["chain", "residue_number", "residue_name"]
    rows = atoms.loc[(atoms["model"] == atoms["model"].min()) & (atoms["entity_type"] != "water")]
    rows = rows.drop_duplicates(["chain", "residue_number", "insertion_code"])[columns]
    if len(rows) != count:
        raise LayerError(
            f"{structure.name} has {len(rows)} residues, its aligned errors are of {count}; give the prediction they "
            f"came with"
        )
    return rows.rename(columns={"residue_number": "number", "residue_name": "name"}).to_dict("records")
