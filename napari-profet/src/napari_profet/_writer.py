"""napari's way out: a layer of atoms as mmCIF or PDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["write_atoms"]


def write_atoms(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write what a Points layer shows, in the format that the name's ending says: hidden atoms are not in the file.

    Raises
    ------
    FormatError
        The ending is of no structure file, or the structure does not fit into PDB format.
    """
    from napari_profet.cleave_output import pdb_text
    from napari_profet.files import replaced_when_complete
    from napari_profet.layers import structure_from_layer
    from napari_profet.structure import write_structure

    structure = structure_from_layer(data, attributes)
    # napari's dialog has asked already whether an existing file may be replaced.
    if Path(path).suffix.lower() not in (".pdb", ".ent"):
        return [str(write_structure(path, structure, overwrite=True))]
    content = pdb_text(structure)
    with replaced_when_complete(path, overwrite=True) as temporary:
        temporary.write_text(content)
    return [str(path)]
