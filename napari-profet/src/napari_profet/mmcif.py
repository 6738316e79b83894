"""Between the content of a structure file and arrays: mmCIF both ways, BinaryCIF and PDB one way.

A structure is kept as an atom table and a *header*: the mmCIF text of everything else (sequences, entities, cell,
citation). So nothing is lost between reading and writing, whether this package understands it or not.
The old PDB format is turned into mmCIF first, by gemmi; there is one path for both.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from napari_profet import binarycif
from napari_profet.atoms import COLUMNS, POSITION_TAGS, Column
from napari_profet.errors import FormatError
from napari_profet.seqadv import add_differences

if TYPE_CHECKING:
    import pandas as pd
    from gemmi import cif

__all__ = ["compose", "parse"]

_OTHER_TAGS = {
    # Each of a pair may be missing in files that are not from the archive; the other one then serves.
    "_atom_site.auth_asym_id": "_atom_site.label_asym_id",
    "_atom_site.auth_seq_id": "_atom_site.label_seq_id",
    "_atom_site.label_atom_id": "_atom_site.auth_atom_id",
    "_atom_site.label_comp_id": "_atom_site.auth_comp_id",
}
_WATERS = {"HOH", "DOD", "WAT"}


def parse(content: bytes, source: str) -> tuple[np.ndarray, pd.DataFrame, str]:
    """Take a structure file apart.

    Parameters
    ----------
    content
        The whole file: mmCIF, BinaryCIF or PDB, plain or compressed by gzip. What it is, is decided by the content.
    source
        The file's name or address, for messages.

    Returns
    -------
    positions
        (n, 3) float64, z, y, x in Å.
    atoms
        The n atoms, with the columns of :data:`napari_profet.atoms.COLUMNS` and ``entity_type``.
    header
        mmCIF text of everything that is not about single positions.

    Raises
    ------
    FormatError
        The content is not a structure, or a damaged one.
    """
    from gemmi import cif

    content = _unpacked(content, source)
    beginning = content[:2000].lstrip().lower()
    if not beginning:
        raise FormatError(f"{source}: the file is empty; fetch or copy it again")
    if beginning.startswith((b"<!doctype", b"<html", b"<?xml", b"<error")):
        raise FormatError(f"{source}: this is a web page or XML, not a structure in mmCIF or PDB format")
    # gemmi reports damage by several kinds of exceptions, from Python's and from C++'s.
    try:
        if binarycif.is_binary_cif(content):
            block = _structure_block(binarycif.read_binary_cif(content, source), source)
        elif beginning.startswith((b"data_", b"#")):
            block = _structure_block(cif.read_string(content), source)
        else:
            block = _block_from_pdb(content, source)
        return _taken_apart(block, source)
    except FormatError:
        raise
    except (ValueError, RuntimeError, IndexError, OverflowError) as error:
        raise FormatError(f"{source}: not a readable mmCIF or PDB file ({error}); fetch or export it again") from error


def compose(name: str, positions: np.ndarray, atoms: pd.DataFrame, header: str) -> str:
    """Put a structure together again, as mmCIF text.

    Parameters
    ----------
    name
        Name of the structure, for a header that is empty.
    positions
        (n, 3), z, y, x in Å.
    atoms
        The n atoms, checked by :func:`napari_profet.atoms.checked_atoms`.
    header
        Text from :func:`parse`, or nothing. Its bonds and anisotropic displacements of atoms that are not in
        ``atoms`` are left out.
    """
    from gemmi import cif

    label = "".join(letter if letter.isprintable() and not letter.isspace() else "_" for letter in name) or "structure"
    document = cif.read_string(header or f"data_{label}\n_entry.id {cif.quote(label)}\n")
    block = document.sole_block()
    serials = atoms["serial"].to_numpy()
    kept_by_id = set(map(str, serials))
    if len(kept_by_id) < len(serials):
        # Two atoms with one id are no valid mmCIF, and which of them the displacements belong to is unknown.
        atoms, kept_by_id = atoms.assign(serial=np.arange(1, len(atoms) + 1)), set()
    _keep_rows(block, "_atom_site_anisotrop.", lambda rows: [serial in kept_by_id for serial in rows["id"]])
    _keep_rows(block, "_struct_conn.", lambda rows: _bonds_between(rows, atoms))
    texts = {column.tag: _written(atoms[column.name], column) for column in COLUMNS}
    for axis, tag in enumerate(POSITION_TAGS):
        texts[tag] = [repr(value) for value in positions[:, axis].tolist()]
    # The customary order has x, y, z after the insertion code; some programs count columns.
    order = [column.tag for column in COLUMNS]
    after = order.index("_atom_site.pdbx_PDB_ins_code") + 1
    order[after:after] = reversed(POSITION_TAGS)
    loop = block.init_loop("_atom_site.", [tag.removeprefix("_atom_site.") for tag in order])
    loop.set_all_values([texts[tag] for tag in order])
    return document.as_string()


def _unpacked(content: bytes, source: str) -> bytes:
    """Plain bytes, of text in UTF-8 without the mark that some editors put first."""
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        if binarycif.is_binary_cif(content):
            return content
        content.decode()
    except UnicodeDecodeError:
        # Old programs wrote names and titles in Latin-1, which is no reason not to show the atoms.
        content = content.decode("latin-1").encode()
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{source}: the compressed file is damaged ({error}); fetch or copy it again") from error
    return content.removeprefix(b"\xef\xbb\xbf")


def _structure_block(document: cif.Document, source: str) -> cif.Block:
    """The first block of an mmCIF file that holds atoms with Cartesian positions."""
    for block in document:
        if len(block.find_values("_atom_site.Cartn_x")):
            return block
    categories = {name for block in document for name in block.get_mmcif_category_names()}
    if "_refln." in categories:
        found = "diffraction data"
    elif "_chem_comp_atom." in categories:
        found = "the description of one chemical component"
    else:
        found = f"the blocks {', '.join(block.name for block in document)}" if len(document) else "no block"
    raise FormatError(
        f"{source}: no atom positions (_atom_site.Cartn_x) in it, only {found}; give a structure in mmCIF"
    )


def _block_from_pdb(content: bytes, source: str) -> cif.Block:
    """Turn a file in PDB format into an mmCIF block."""
    import gemmi

    lines = content.splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith((b"ATOM  ", b"HETATM"))]
    if not places:
        raise FormatError(f"{source}: neither mmCIF (no 'data_' at its start) nor PDB (no ATOM records)")
    for number in places:
        # gemmi reads an unreadable coordinate as 0.
        for first in (30, 38, 46):
            try:
                float(lines[number][first : first + 8])
            except ValueError:
                text = lines[number].decode(errors="replace")
                raise FormatError(f"{source}: line {number + 1} has no coordinates in columns 31-54: {text}") from None
    structure = gemmi.read_structure_string(content, format=gemmi.CoorFormat.Pdb)
    structure.name = structure.info["_entry.id"] if "_entry.id" in structure.info else _stem(source)
    structure.setup_entities()
    structure.assign_label_seq_id()
    serials = [atom.serial for model in structure for chain in model for residue in chain for atom in residue]
    if len(set(serials)) < len(serials):
        structure.assign_serial_numbers()
    block = structure.make_mmcif_block()
    add_differences(block, lines)
    return block


def _stem(source: str) -> str:
    """File name without folders and suffixes."""
    return PurePath(source).name.split(".")[0] or "structure"


def _taken_apart(block: cif.Block, source: str) -> tuple[np.ndarray, pd.DataFrame, str]:
    import pandas as pd

    for tag in POSITION_TAGS:
        if not len(block.find_values(tag)):
            raise FormatError(f"{source}: the atom table has no {tag}; give a complete mmCIF or PDB file")
    columns = [_numbers(block, tag, source) for tag in POSITION_TAGS]
    positions = np.column_stack(columns)
    bad = ~np.isfinite(positions).all(axis=1)
    if bad.any():
        raise FormatError(f"{source}: atom {int(bad.argmax()) + 1} of the file has no position; remove or repair it")
    atoms = pd.DataFrame({column.name: _column(block, column, len(positions), source) for column in COLUMNS})
    atoms["entity_type"] = _entity_types(block, atoms)
    block.find_mmcif_category("_atom_site.").erase()
    return positions, atoms, block.as_string()


def _column(block: cif.Block, column: Column, rows: int, source: str) -> np.ndarray:
    """One column of the atom table, (rows,)."""
    tag = column.tag
    if not len(block.find_values(tag)):
        tag = _OTHER_TAGS.get(tag, tag)
    if not len(block.find_values(tag)):
        if column.default is None:
            raise FormatError(f"{source}: the atom table has no {column.tag}; give a complete mmCIF or PDB file")
        return np.full(rows, column.default, dtype=object if column.kind == "text" else None)
    if column.kind == "text":
        return _texts(block, tag)
    values = _numbers(block, tag, source)
    if column.default is not None:
        values = np.where(np.isnan(values), column.default, values)
    elif column.name == "residue_number":
        # Files without author numbers for waters and ligands have nothing else to count by.
        values = np.nan_to_num(values)
    return values.astype(int) if column.kind == "integer" else values


def _texts(block: cif.Block, tag: str) -> np.ndarray:
    """Unquoted values of an item, (rows,); "." and "?" become ""."""
    from gemmi import cif

    raw = list(block.find_values(tag))
    # A column repeats few different values many times.
    plain = {value: cif.as_string(value) for value in set(raw)}
    return np.array([plain[value] for value in raw], dtype=object)


def _numbers(block: cif.Block, tag: str, source: str) -> np.ndarray:
    """Values of an item as float64, (rows,); "." and "?" become NaN, a standard uncertainty is dropped."""
    from gemmi import cif

    raw = list(block.find_values(tag))
    try:
        return np.array(raw, dtype=float)
    except ValueError:
        values = np.array([cif.as_number(value) for value in raw], dtype=float)
    for row in np.flatnonzero(np.isnan(values)):
        if raw[row] not in (".", "?"):
            raise FormatError(
                f"{source}: {tag} of atom {row + 1} is {raw[row]}, not a number; repair or fetch it again"
            )
    return values


def _entity_types(block: cif.Block, atoms: pd.DataFrame) -> np.ndarray:
    """polymer, non-polymer, branched or water for each atom, (n,); guessed where the file does not say."""
    types = dict(zip(_texts(block, "_entity.id"), _texts(block, "_entity.type"), strict=False))
    water = atoms["residue_name"].isin(_WATERS)
    guess = np.where(water, "water", np.where(atoms["record"] == "HETATM", "non-polymer", "polymer"))
    said = np.array([types.get(entity, "") for entity in atoms["entity"]], dtype=object)
    return np.where(said != "", said, guess).astype(object)


def _written(values: pd.Series, column: Column) -> list[str]:
    """One column as mmCIF values."""
    from gemmi import cif

    if column.kind == "number":
        return [repr(value) for value in values.tolist()]
    if column.kind == "integer":
        empty = column.default if column.null else None
        return [column.null if value == empty else str(value) for value in values.tolist()]
    quoted = {value: cif.quote(value) if value else column.null or "." for value in set(values)}
    return [quoted[value] for value in values]


def _keep_rows(
    block: cif.Block, category: str, choose: Callable[[dict[str, list[str]]], Iterable[bool] | None]
) -> None:
    """Keep the rows of a category that ``choose`` says; all of them where it cannot say."""
    rows = block.get_mmcif_category(category, raw=True)
    if not rows:
        return
    try:
        chosen = choose(rows)
    except KeyError:
        return
    kept = list(chosen) if chosen is not None else []
    if all(kept):
        return
    block.find_mmcif_category(category).erase()
    if any(kept):
        block.set_mmcif_category(category, {item: list(compress(column, kept)) for item, column in rows.items()}, True)


def _bonds_between(rows: Mapping[str, Sequence[str]], atoms: pd.DataFrame) -> list[bool]:
    """Whether both ends of each bond are among the atoms."""
    from gemmi import cif

    names = atoms[["chain", "residue_number", "atom_name"]].astype(str)
    there = set(zip(*(names[name] for name in names), strict=True))

    def ends(partner: int) -> list[tuple[str, ...]]:
        items = ("auth_asym_id", "auth_seq_id", "label_atom_id")
        columns = [map(cif.as_string, rows[f"ptnr{partner}_{item}"]) for item in items]
        return list(zip(*columns, strict=True))

    return [first in there and second in there for first, second in zip(ends(1), ends(2), strict=True)]
