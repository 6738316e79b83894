"""Protein structures from PDB and AlphaFold DB as napari layers of atoms, and back to files.

Importing this package is cheap: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AlignedError": "pae",
    "Cache": "databases",
    "CleaveOptions": "cleave",
    "CleavePlan": "cleave",
    "ColourBy": "layers",
    "Database": "databases",
    "DatabaseSettings": "databases",
    "Density": "density",
    "DensitySettings": "potential",
    "Download": "databases",
    "Entry": "databases",
    "Format": "databases",
    "Prediction": "databases",
    "Protein": "databases",
    "ProteinFeatures": "features",
    "ResidueRange": "selecting",
    "SequenceRecord": "sequence",
    "Structure": "structure",
    "StructureHit": "databases",
    "StructureTable": "databases",
    "What": "databases",
    "aligned_error_layer": "layers_density",
    "density_from_layer": "layers_density",
    "density_from_structure": "potential",
    "density_layer": "layers_density",
    "describe_entry": "databases",
    "fetch": "databases",
    "fetch_file": "databases",
    "fetch_pae": "databases",
    "fetch_plddt": "databases",
    "fetch_protein": "databases",
    "fetch_sequence": "databases",
    "fetch_structure": "databases",
    "find_predictions": "databases",
    "find_structures": "databases",
    "helix_bundle": "helix",
    "parse_identifier": "databases",
    "plan_cleaving": "cleave",
    "read_aligned_error": "pae",
    "read_density": "density_files",
    "read_fasta": "sequence",
    "read_features": "features",
    "read_identifiers": "databases",
    "read_structure": "structure",
    "structure_from_layer": "layers",
    "structure_layer": "layers",
    "surface_layer": "layers_density",
    "trace_layer": "layers_density",
    "write_cleaved": "cleave_output",
    "write_density": "density_files",
    "write_fasta": "sequence",
    "write_structure": "structure",
}

__all__ = [
    "AlignedError",
    "Cache",
    "CleaveOptions",
    "CleavePlan",
    "ColourBy",
    "Database",
    "DatabaseSettings",
    "Density",
    "DensitySettings",
    "Download",
    "Entry",
    "Format",
    "Prediction",
    "Protein",
    "ProteinFeatures",
    "ResidueRange",
    "SequenceRecord",
    "Structure",
    "StructureHit",
    "StructureTable",
    "What",
    "aligned_error_layer",
    "density_from_layer",
    "density_from_structure",
    "density_layer",
    "describe_entry",
    "fetch",
    "fetch_file",
    "fetch_pae",
    "fetch_plddt",
    "fetch_protein",
    "fetch_sequence",
    "fetch_structure",
    "find_predictions",
    "find_structures",
    "helix_bundle",
    "parse_identifier",
    "plan_cleaving",
    "read_aligned_error",
    "read_density",
    "read_fasta",
    "read_features",
    "read_identifiers",
    "read_structure",
    "structure_from_layer",
    "structure_layer",
    "surface_layer",
    "trace_layer",
    "write_cleaved",
    "write_density",
    "write_fasta",
    "write_structure",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
