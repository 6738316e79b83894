"""SEQADV records of the PDB format: residues that differ from the sequence database. gemmi does not read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemmi import cif

__all__ = ["add_differences"]

# Columns of wwPDB's format 3.3, "SEQADV", from 0, and the mmCIF item of each.
_COLUMNS = {
    "mon_id": (12, 15),
    "pdbx_pdb_strand_id": (16, 17),
    "pdbx_auth_seq_num": (18, 22),
    "pdbx_pdb_ins_code": (22, 23),
    "pdbx_seq_db_name": (24, 28),
    "pdbx_seq_db_accession_code": (29, 38),
    "db_mon_id": (39, 42),
    "pdbx_seq_db_seq_num": (43, 48),
    "details": (49, 70),
}


def add_differences(block: cif.Block, lines: Iterable[bytes]) -> None:
    """Add the SEQADV records among the lines of a PDB file to a block, as ``_struct_ref_seq_dif``."""
    rows = []
    for line in lines:
        if line.startswith(b"SEQADV"):
            text = line.decode(errors="replace").ljust(80)
            rows.append([text[start:stop].strip() or None for start, stop in _COLUMNS.values()])
    if not rows:
        return
    strands = [str(value) for value in block.find_values("_struct_ref_seq.pdbx_strand_id")]
    ids = [str(value) for value in block.find_values("_struct_ref_seq.align_id")]
    aligned = dict(zip(reversed(strands), reversed(ids), strict=True))
    columns: dict[str, list[str | None]] = {
        "align_id": [aligned.get(row[1] or "") for row in rows],
        **{item: [row[n] for row in rows] for n, item in enumerate(_COLUMNS)},
        "pdbx_ordinal": [str(n) for n in range(1, len(rows) + 1)],
    }
    block.set_mmcif_category("_struct_ref_seq_dif.", columns)
