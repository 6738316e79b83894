"""Structures: atoms with positions, read from and written to files.

Frame: positions are (z, y, x) in Å, the order of napari and of density arrays. They are the Cartesian coordinates
of the file in reverse order and nothing else: no shift, no scale, the same hand. A napari layer of them has scale 1
and units "angstrom", so it lies on a map whose layer has its pixel size as scale and its origin as translation.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_profet import mmcif
from napari_profet.atoms import checked_atoms
from napari_profet.errors import FormatError
from napari_profet.files import read_bytes, refuse_existing, replaced_when_complete

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Structure", "parse_structure", "read_structure", "write_structure"]


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms of a molecule, with what their file said about the molecule.

    Attributes
    ----------
    name
        Short name: the entry id of the file.
    positions
        (n, 3) float64, z, y, x in Å; read-only.
    atoms
        One row per atom. Columns: ``record`` (ATOM or HETATM), ``serial``, ``element``, ``atom_name``, ``altloc``,
        ``residue_name``, ``label_chain`` and ``chain``, ``label_residue_number`` and ``residue_number`` (those of the
        dictionary and those of the authors; 0 where a residue has no place in the sequence), ``insertion_code``,
        ``entity``, ``entity_type`` (polymer, non-polymer, branched, water), ``occupancy``, ``b_factor`` (Å², or
        pLDDT from 0 to 100 in a predicted structure), ``charge``, ``model``.
    header
        mmCIF text of everything else in the file; written back with the atoms.
    source
        Path or address it came from.
    """

    name: str
    positions: np.ndarray
    atoms: pd.DataFrame
    header: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        positions = np.array(self.positions, dtype=float)
        if positions.ndim != 2 or positions.shape[1] != 3 or not np.isfinite(positions).all():
            raise ValueError(f"positions must be finite numbers of shape (atoms, 3), not {positions.shape}")
        if len(positions) != len(self.atoms):
            raise ValueError(f"{len(positions)} positions for {len(self.atoms)} atoms; give one for each")
        positions.setflags(write=False)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "atoms", checked_atoms(self.atoms))

    def __len__(self) -> int:
        return len(self.positions)

    def __repr__(self) -> str:
        return f"<Structure {self.name}: {len(self):,} atoms, chains {', '.join(self.chains)}>"

    @property
    def chains(self) -> list[str]:
        """Author names of the chains, in the order of the file."""
        return list(dict.fromkeys(self.atoms["chain"]))

    @cached_property
    def title(self) -> str:
        """Title of the entry, or nothing."""
        return " ".join(self._header_values("_struct.title"))

    @cached_property
    def method(self) -> str:
        """How the structure was determined, as the file says, or nothing."""
        return "predicted" if self.predicted else ", ".join(self._header_values("_exptl.method")).lower()

    @cached_property
    def predicted(self) -> bool:
        """Whether this is a model by prediction, whose ``b_factor`` is the confidence pLDDT."""
        metrics = " ".join(self._header_values("_ma_qa_metric.name"))
        # Predictions in PDB format have nothing but their title to tell.
        return "plddt" in metrics.lower() or self.title.lower().startswith("alphafold")

    def _header_values(self, tag: str) -> list[str]:
        from gemmi import cif

        if not self.header:
            return []
        return [cif.as_string(value).strip() for value in cif.read_string(self.header).sole_block().find_values(tag)]

    def select(self, chosen: Sequence[bool] | np.ndarray) -> Structure:
        """Return a structure of the chosen atoms only.

        Parameters
        ----------
        chosen
            (n,) booleans.
        """
        mask = np.asarray(chosen, dtype=bool)
        if mask.shape != (len(self),):
            raise ValueError(f"the selection has shape {mask.shape}, the structure has {len(self)} atoms")
        return replace(self, positions=self.positions[mask], atoms=self.atoms[mask])


def parse_structure(content: bytes, source: str) -> Structure:
    """Structure from the content of a file; see :func:`read_structure`."""
    positions, atoms, header = mmcif.parse(content, source)
    from gemmi import cif

    block = cif.read_string(header).sole_block()
    name = cif.as_string(block.find_value("_entry.id") or "?") or block.name or Path(source).stem
    return Structure(name=name, positions=positions, atoms=atoms, header=header, source=source)


def read_structure(path: str | os.PathLike[str]) -> Structure:
    """Structure from a file in mmCIF, BinaryCIF or PDB format, plain or compressed by gzip.

    Parameters
    ----------
    path
        The file; its content decides what it is, not its name.

    Raises
    ------
    NothingFoundError
        There is no such file.
    FormatError
        It is not a structure, or a damaged one.
    """
    return parse_structure(read_bytes(path), str(path))


def write_structure(path: str | os.PathLike[str], structure: Structure, *, overwrite: bool = False) -> Path:
    """Write a structure as mmCIF; return the path.

    Parameters
    ----------
    path
        File to make, ending in .cif or .mmcif, or one of these and .gz for a compressed one.
    structure
        What to write; all its atoms, with the header it was read with.
    overwrite
        Replace an existing file.

    Raises
    ------
    FormatError
        The name does not end as it should, or there is no atom to write.
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    """
    target = Path(path)
    suffixes = [suffix.lower() for suffix in target.suffixes]
    packed = suffixes[-1:] == [".gz"]
    if (suffixes[-2:-1] if packed else suffixes[-1:]) not in ([".cif"], [".mmcif"]):
        raise FormatError(f"{target}: structures are written as mmCIF; let the name end in .cif, .mmcif or .cif.gz")
    if not len(structure):
        raise FormatError(f"{target}: there is no atom to write; show or select some first")
    if not overwrite:
        # Before the work, not only after it.
        refuse_existing(target)
    content = mmcif.compose(structure.name, structure.positions, structure.atoms, structure.header).encode()
    with replaced_when_complete(target, overwrite=overwrite) as temporary:
        # Without a time stamp the same structure always makes the same bytes.
        temporary.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return target
