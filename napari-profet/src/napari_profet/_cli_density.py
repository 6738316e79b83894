"""The command ``napari-profet density``: the electrostatic potential of a structure as an MRC file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_profet import console

if TYPE_CHECKING:
    from napari_profet.structure import Structure

__all__ = ["density"]


def _defaults() -> dict[str, Any]:
    from napari_profet.potential import DensitySettings

    return {field.name: field.default for field in fields(DensitySettings)}


_DEFAULT = _defaults()


def density(
    source: Annotated[str, typer.Argument(metavar="FILE|ID", help="mmCIF or PDB file, or an id to fetch.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MAP.mrc", help="Ends in .mrc, .map or .mrc.gz.")],
    voxel_size: Annotated[float, typer.Option(metavar="Å", help="Voxel size.")] = _DEFAULT["voxel_size"],
    box: Annotated[
        int | None, typer.Option(metavar="VOXELS", help="Voxels along each axis; else as many as needed.")
    ] = _DEFAULT["box"],
    resolution: Annotated[
        float | None, typer.Option(metavar="Å", help="Smooth: to 1/e at this resolution; else not at all.")
    ] = _DEFAULT["resolution"],
    b_factor: Annotated[
        float | None, typer.Option(metavar="Å²", help="One B factor for all atoms; else those of the structure.")
    ] = _DEFAULT["b_factor"],
    solvent: Annotated[bool, typer.Option("--solvent/--no-solvent", help="Subtract the displaced ice.")] = True,
    hydrogens: Annotated[
        bool, typer.Option("--hydrogens/--no-hydrogens", help="Add the hydrogens that the structure does not show.")
    ] = _DEFAULT["hydrogens"],
    waters: Annotated[bool, typer.Option("--waters", help="Keep the structure's waters.")] = _DEFAULT["waters"],
    chains: Annotated[str, typer.Option(metavar="A,B,...", help="Only these chains (author names).")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Write the electrostatic potential of a structure, in volts, as MRC."""
    from napari_profet.density_files import write_density
    from napari_profet.files import refuse_existing
    from napari_profet.potential import DensitySettings, density_from_structure
    from napari_profet.structure import read_structure

    settings = DensitySettings(
        voxel_size=voxel_size,
        box=box,
        b_factor=b_factor,
        resolution=resolution,
        hydrogens=hydrogens,
        waters=waters,
        solvent_potential=_DEFAULT["solvent_potential"] if solvent else 0.0,
    )
    if not overwrite:
        refuse_existing(output)
    structure = read_structure(_file_of(source))
    if chains:
        structure = _of_chains(structure, [name.strip() for name in chains.split(",")])
    made = density_from_structure(structure, settings)
    write_density(output, made, overwrite=overwrite)
    low, high = float(made.data.min()), float(made.data.max())
    print(f"{output}  {made.data.shape[0]}³ voxels of {made.voxel_size:g} Å, {low:.2f} to {high:.2f} V")


def _of_chains(structure: Structure, names: list[str]) -> Structure:
    """Only these chains; all of them must be there."""
    from napari_profet.errors import DensityError

    missing = sorted(set(names) - set(structure.chains))
    if missing:
        raise DensityError(
            f"{structure.name} has no chain {', '.join(missing)}; choose among {', '.join(structure.chains)}"
        )
    return structure.select(structure.atoms["chain"].isin(names).to_numpy())


def _file_of(source: str) -> Path:
    """The file itself, or the file that an id is fetched to."""
    path = Path(source)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    from napari_profet.databases import fetch_structure

    return fetch_structure(source, progress=console.progress_line).path
