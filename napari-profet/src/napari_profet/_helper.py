"""A process of its own for what would hold Python's lock: densities and their surfaces.

``python -m napari_profet._helper`` reads one request in JSON from standard input, and writes one line in JSON for each
step it begins, then one with ``"done"`` or ``"error"``. Arrays go through files, by names in the request.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_profet.density import Density
from napari_profet.errors import UserError
from napari_profet.structure import Structure

__all__ = ["load_density", "load_structure", "main", "save_density", "save_structure"]


def save_structure(path: Path, structure: Structure) -> None:
    """Keep a structure for :func:`load_structure`; text has no pickles in it."""
    columns = {name: structure.atoms[name].to_numpy() for name in structure.atoms}
    arrays: dict[str, Any] = {
        f"atoms.{name}": values.astype(str) if values.dtype == object else values for name, values in columns.items()
    }
    told = np.array([structure.name, structure.header, structure.source])
    np.savez(path, positions=structure.positions, told=told, **arrays)


def load_structure(path: Path) -> Structure:
    """Structure that :func:`save_structure` kept."""
    import pandas as pd

    with np.load(path, allow_pickle=False) as kept:
        atoms = {name.removeprefix("atoms."): kept[name] for name in kept.files if name.startswith("atoms.")}
        name, header, source = kept["told"].tolist()
        return Structure(name, kept["positions"], pd.DataFrame(atoms), header, source)


def save_density(path: Path, density: Density) -> None:
    """Keep a density for :func:`load_density`."""
    told = np.array([density.unit, density.name, density.source])
    place = np.array([density.voxel_size, *density.origin])
    np.savez(path, data=density.data, place=place, told=told)


def load_density(path: Path) -> Density:
    """Density that :func:`save_density` kept."""
    with np.load(path, allow_pickle=False) as kept:
        unit, name, source = kept["told"].tolist()
        size, z, y, x = kept["place"].tolist()
        return Density(kept["data"], size, (z, y, x), unit, name, source)


def main() -> int:
    """Do what is asked; 0 unless it is a defect of ours."""
    request = json.loads(sys.stdin.readline())
    try:
        _TASKS[request["task"]](request)
    except UserError as error:
        _tell({"error": str(error)})
    else:
        _tell({"done": True})
    return 0


def _density(request: Mapping[str, Any]) -> None:
    from napari_profet.potential import DensitySettings, density_from_structure

    _tell({"step": 0, "steps": 3, "message": "atoms"})
    structure = load_structure(Path(request["input"]))
    density = density_from_structure(
        structure,
        DensitySettings(**request["settings"]),
        progress=lambda step, steps, message="": _tell({"step": step, "steps": steps, "message": message}),
    )
    save_density(Path(request["output"]), density)


def _surface(request: Mapping[str, Any]) -> None:
    from napari_profet.mesh import isosurface

    mesh = isosurface(load_density(Path(request["input"])), request["level"])
    np.savez(request["output"], vertices=mesh.vertices, faces=mesh.faces, level=mesh.level)


def _tell(message: Mapping[str, Any]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        # The window has gone; nobody waits for the answer any more.
        os._exit(0)


_TASKS = {"density": _density, "surface": _surface}


if __name__ == "__main__":
    sys.exit(main())
