"""The columns of an atom table: their names, their items in mmCIF, their types. The one place that lists them.

The reader, the writer and the napari layer all go by :data:`COLUMNS`. Positions are not among them: they are an array.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "POSITION_TAGS", "Column", "checked_atoms"]

POSITION_TAGS = ("_atom_site.Cartn_z", "_atom_site.Cartn_y", "_atom_site.Cartn_x")
"""mmCIF items of a position, in the order of the house: z, y, x."""


@dataclass(frozen=True)
class Column:
    """One column of the atom table.

    Attributes
    ----------
    name
        The column in the table, and the feature of the layer.
    tag
        The mmCIF item it is read from and written to.
    kind
        Type of its values.
    default
        What stands for "not given" in the table; None if the column cannot be missing.
    null
        What stands for "not given" in a file, or "" where the default is written out.
    """

    name: str
    tag: str
    kind: Literal["text", "integer", "number"]
    default: str | float | None = None
    null: str = ""


COLUMNS = (
    Column("record", "_atom_site.group_PDB", "text", "ATOM"),
    Column("serial", "_atom_site.id", "integer", 0),
    Column("element", "_atom_site.type_symbol", "text"),
    Column("atom_name", "_atom_site.label_atom_id", "text"),
    Column("altloc", "_atom_site.label_alt_id", "text", "", "."),
    Column("residue_name", "_atom_site.label_comp_id", "text"),
    Column("label_chain", "_atom_site.label_asym_id", "text", "", "."),
    Column("entity", "_atom_site.label_entity_id", "text", "", "."),
    # Positions in the sequence count from 1; ligands and waters have none, which is 0 here.
    Column("label_residue_number", "_atom_site.label_seq_id", "integer", 0, "."),
    Column("insertion_code", "_atom_site.pdbx_PDB_ins_code", "text", "", "?"),
    Column("occupancy", "_atom_site.occupancy", "number", 1.0),
    Column("b_factor", "_atom_site.B_iso_or_equiv", "number", 0.0),
    Column("charge", "_atom_site.pdbx_formal_charge", "integer", 0, "?"),
    Column("residue_number", "_atom_site.auth_seq_id", "integer"),
    Column("chain", "_atom_site.auth_asym_id", "text"),
    Column("model", "_atom_site.pdbx_PDB_model_num", "integer", 1),
)
"""All columns that come from, and go to, the atom table of a file. ``entity_type`` comes from another table."""


def checked_atoms(atoms: pd.DataFrame) -> pd.DataFrame:
    """Return the atom table with the columns, types and order of :data:`COLUMNS`; then ``entity_type`` and any others.

    Columns with a default may be missing; entries of text may not be None.

    Raises
    ------
    ValueError
        A column without a default is missing, or holds what its type cannot.
    """
    import pandas as pd

    missing = [column.name for column in COLUMNS if column.default is None and column.name not in atoms]
    if missing:
        raise ValueError(f"the atom table lacks the columns {', '.join(missing)}")
    tidy = {}
    for column in COLUMNS:
        values = atoms.get(column.name, pd.Series(column.default, index=atoms.index))
        tidy[column.name] = _typed(values, column)
    tidy["entity_type"] = atoms.get("entity_type", pd.Series("", index=atoms.index)).fillna("").astype(str)
    rest = _others(atoms, tidy)
    return pd.DataFrame({**tidy, **{name: atoms[name] for name in rest}}).reset_index(drop=True)


def _others(atoms: pd.DataFrame, known: Iterable[str]) -> list[str]:
    """Columns that somebody added, a score for instance: kept, though a structure file has no place for them."""
    return [str(name) for name in atoms if name not in set(known)]


def _typed(values: pd.Series, column: Column) -> pd.Series:
    empty = values.isna()
    if empty.any():
        if column.default is None:
            raise ValueError(f"the atom table has rows without {column.name} (the first is row {int(empty.argmax())})")
        values = values.where(~empty, column.default)
    if column.kind == "text":
        return values.astype(str)
    try:
        return values.astype(int if column.kind == "integer" else float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column.name} of the atom table must hold {column.kind}s: {error}") from error
