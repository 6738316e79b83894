"""References to sequence databases after cleaving: the depositors' and SIFTS'."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from napari_profet.cleave_left import Left, Row, by_entity, cut_by_author, put_rows, rows_of

if TYPE_CHECKING:
    from gemmi import cif

__all__ = ["cut_segments", "rewrite_references"]


def rewrite_references(block: cif.Block, left: Left) -> None:
    """``_struct_ref`` by entity, ``_struct_ref_seq`` by chain, ``_struct_ref_seq_dif`` by residue."""
    references, renamed = _by_part(rows_of(block, "_struct_ref."), left)
    strands = {chain.chain: label for label, chain in left.chains.items()}
    before = rows_of(block, "_struct_ref_seq.")
    rows: list[Row] = []
    aligned: dict[str, str] = {}
    for row in before:
        label = strands.get(str(row.get("pdbx_strand_id")))
        if label in left.gone:
            continue
        for part in [row] if label is None else _aligned(row, label, left):
            entity = left.entity[label] if label else ""
            number = str(len(rows) + 1)
            rows.append(part | {"ref_id": renamed.get((row["ref_id"], entity), row["ref_id"]), "align_id": number})
            aligned.setdefault(row["align_id"], number)
    marks = rows_of(block, "_struct_ref_seq_dif.")
    put_rows(block, "_struct_ref_seq_dif.", _differences(marks, strands, aligned, left))
    if before:
        used = {row["ref_id"] for row in rows}
        put_rows(block, "_struct_ref.", [row for row in references if row["id"] in used])
        put_rows(block, "_struct_ref_seq.", rows)
    elif references:
        put_rows(block, "_struct_ref.", references)


def _by_part(rows: list[Row], left: Left) -> tuple[list[Row], dict[tuple[str, str], str]]:
    """References for each part of an entity; and the id of each by its old id and the part."""
    references = by_entity(rows, left, "entity_id")
    fresh = count(1 + max([int(row["id"]) for row in rows if row["id"].isdigit()], default=0))
    ids: set[str] = set()
    renamed = {}
    for row in references:
        old = row["id"]
        if old in ids:
            row["id"] = str(next(fresh))
        ids.add(row["id"])
        renamed[old, row["entity_id"]] = row["id"]
    return references, renamed


def _differences(marks: list[Row], strands: dict[str, str], aligned: dict[str, str], left: Left) -> list[Row]:
    """Marked residues that are still in a sequence, at their new places."""
    kept = []
    for row in marks:
        label, place = strands.get(str(row.get("pdbx_pdb_strand_id"))), str(row.get("seq_num"))
        if label in left.gone:
            continue
        if label and place.isdigit():
            if int(place) not in left.places[label]:
                continue
            row["seq_num"] = str(left.places[label][int(place)])
        elif label:
            number, code = row.get("pdbx_auth_seq_num"), row.get("pdbx_pdb_ins_code")
            where = {"auth_asym_id": row["pdbx_pdb_strand_id"], "auth_seq_id": number, "ins_code": code}
            if cut_by_author(where, "auth_asym_id", left):
                continue
        if "align_id" in row:
            row["align_id"] = aligned.get(row["align_id"])
        kept.append(row)
    return kept


def _aligned(row: Row, label: str, left: Left) -> list[Row]:
    """Rows of one alignment with a database after cutting: one for each unbroken run."""
    try:
        first, last = int(row["seq_align_beg"]), int(row["seq_align_end"])
        start, end = int(row["db_align_beg"]), int(row["db_align_end"])
    except (TypeError, ValueError):
        return [dict(row)]
    runs = left.runs(label, first, last)
    if runs == [(first, last)]:
        spans = [(first, last, start, end)]
    elif last - first == end - start:
        spans = [(a, b, start + a - first, start + b - first) for a, b in runs]
    else:
        # Which residue of the database lies opposite a place within is not told.
        return []
    parts = []
    for a, b, c, d in spans:
        new: Row = {"seq_align_beg": str(left.places[label][a]), "seq_align_end": str(left.places[label][b])}
        new |= {"db_align_beg": str(c), "db_align_end": str(d)}
        for side, place in (("beg", a), ("end", b)):
            residue = left.residue(label, place)
            new[f"pdbx_auth_seq_align_{side}"] = None if residue.number is None else str(residue.number)
            new[f"pdbx_seq_align_{side}_ins_code"] = residue.insertion_code or None
        parts.append(row | {item: value for item, value in new.items() if item in row})
    return parts


def cut_segments(rows: list[Row], left: Left) -> list[Row]:
    """SIFTS' ranges: cut to what stays, divided where something within was cut."""
    kept = []
    for row in rows:
        label = row["asym_id"]
        if label in left.gone:
            continue
        if label not in left.places or not str(row.get("seq_id_start")).isdigit():
            kept.append(row)
            continue
        first, start = int(row["seq_id_start"]), int(row["unp_start"])
        for begin, end in left.runs(label, first, int(row["seq_id_end"])):
            moved = {"seq_id_start": left.places[label][begin], "seq_id_end": left.places[label][end]}
            moved |= {"unp_start": start + begin - first, "unp_end": start + end - first}
            told = {item: str(value) for item, value in moved.items()}
            kept.append(row | told | ({"entity_id": left.entity[label]} if "entity_id" in row else {}))
    return kept
