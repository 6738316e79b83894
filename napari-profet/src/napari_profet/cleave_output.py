"""What cleaving leaves on disk: mmCIF or PDB, with a record in JSON."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_profet.errors import FormatError
from napari_profet.files import refuse_existing, replaced_when_complete
from napari_profet.residues import gemmi_structure
from napari_profet.structure import write_structure

if TYPE_CHECKING:
    from napari_profet.cleave_plan import CleavePlan
    from napari_profet.structure import Structure

__all__ = ["pdb_text", "record_path", "write_cleaved"]

_PDB_ATOMS = 99_999


def pdb_text(structure: Structure) -> str:
    """Structure in PDB format, with SEQRES, DBREF, SSBOND, LINK, HELIX, SHEET and ANISOU as its header says.

    Raises
    ------
    FormatError
        It does not fit: more than 99 999 atoms, chain names of more than one letter, components of more than three,
        or numbers beyond four digits.
    """
    atoms = structure.atoms
    numbers = atoms["residue_number"]
    for misfit, problem in (
        (len(atoms) > _PDB_ATOMS, f"{len(atoms):,} atoms, and PDB format ends at {_PDB_ATOMS:,}"),
        ((atoms["chain"].str.len() > 1).any(), "chain names of more than one letter"),
        ((atoms["residue_name"].str.len() > 3).any(), "components whose names are longer than three letters"),
        (((numbers > 9999) | (numbers < -999)).any(), "residue numbers of more than four places"),
    ):
        if misfit:
            raise FormatError(f"{structure.name} has {problem}; write it as mmCIF (.cif)")
    try:
        return str(gemmi_structure(structure, counted=False).make_pdb_string())
    except (IndexError, ValueError, RuntimeError) as error:
        # gemmi takes some categories for complete that need not be.
        raise FormatError(f"{structure.name} cannot be written as PDB ({error}); write it as mmCIF (.cif)") from error


def record_path(path: str | os.PathLike[str]) -> Path:
    """Where the record of a cleaved file goes: beside it, ``1abc.cif.gz`` has ``1abc.cleaved.json``."""
    target = Path(path)
    return target.with_name(f"{_stem(target)[0]}.cleaved.json")


def _stem(path: Path) -> tuple[str, str, bool]:
    """Name without suffixes, the suffix that tells the format, and whether .gz follows it."""
    name, packed = path.name, path.name.lower().endswith(".gz")
    name = name[:-3] if packed else name
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix.lower(), packed) if dot else (name, "", packed)


def write_cleaved(
    path: str | os.PathLike[str], cleaved: Structure, plan: CleavePlan, *, overwrite: bool = False
) -> tuple[Path, Path]:
    """Write a cleaved structure, and the record of what was removed beside it.

    Parameters
    ----------
    path
        Ends in .cif, .mmcif or .pdb, or one of these and .gz.
    cleaved
        From :func:`napari_profet.cleave.cleave`.
    plan
        The plan it was cleaved by.

    Returns
    -------
    structure, record
        The two files.

    Raises
    ------
    FormatError
        The name does not end as it should, or the structure does not fit into PDB format.
    FileExistsAlreadyError
        One of the files exists and ``overwrite`` is false.
    """
    target, beside = Path(path), record_path(path)
    _, suffix, packed = _stem(target)
    if suffix not in (".cif", ".mmcif", ".pdb"):
        raise FormatError(f"{target}: let the name end in .cif, .mmcif or .pdb, or one of these and .gz")
    if not overwrite:
        refuse_existing(target)
        refuse_existing(beside)
    if suffix == ".pdb":
        content = pdb_text(cleaved).encode()
        with replaced_when_complete(target, overwrite=overwrite) as temporary:
            temporary.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    else:
        write_structure(target, cleaved, overwrite=overwrite)
    record = {"structure": cleaved.name, "source": cleaved.source, **plan.record()}
    with replaced_when_complete(beside, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
    return target, beside
