"""The other categories of an mmCIF file after cleaving: sequences, entities, references, secondary structure.

Places in a sequence are counted anew from 1 where something was cut; authors' numbers never change. Where chains of
one entity lose different residues they become entities of their own. Rows about what is gone go with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_profet.cleave_left import Left, Row, by_entity, cut_by_author, put_rows, rows_of
from napari_profet.cleave_references import cut_segments, rewrite_references
from napari_profet.errors import FormatError
from napari_profet.residues import PolymerChain

if TYPE_CHECKING:
    from gemmi import cif

__all__ = ["RECORD", "rewrite_header"]

RECORD = "_napari_profet_cleaved."
"""Category that says what was removed: one row for each :class:`napari_profet.cleave_plan.Removal`."""


def rewrite_header(block: cif.Block, left: Left) -> None:
    """Make all categories of a block, but the atoms, agree with what is left."""
    special: dict[str, Callable[[list[Row], Left], list[Row]]] = {
        "_entity.": _entities,
        "_entity_poly.": _entity_poly,
        "_entity_poly_seq.": _entity_poly_seq,
        "_struct_asym.": _struct_asym,
        "_struct_conf.": _stretches,
        "_struct_sheet_range.": _stretches,
        "_pdbx_struct_assembly_gen.": _assemblies,
        "_pdbx_nonpoly_scheme.": _loose,
        "_pdbx_sifts_unp_segments.": cut_segments,
    }
    try:
        rewrite_references(block, left)
    except KeyError as error:
        raise FormatError(
            f"the _struct_ref categories lack the item {error}, which mmCIF wants; repair them"
        ) from error
    done = {"_struct_ref.", "_struct_ref_seq.", "_struct_ref_seq_dif.", RECORD}
    for name in block.get_mmcif_category_names():
        if name not in done:
            rows = rows_of(block, name)
            change = special.get(name, _any)
            try:
                changed = change([dict(row) for row in rows], left)
            except KeyError as error:
                raise FormatError(
                    f"the category {name} lacks the item {error}, which mmCIF wants; repair it"
                ) from error
            if changed != rows:
                put_rows(block, name, changed)
    if rows := rows_of(block, "_entity."):
        _count_molecules(block, rows)


def _any(rows: list[Row], left: Left) -> list[Row]:
    """A category nobody knows better: rows about residues, chains or entities that are gone go; places are moved."""
    if not rows:
        return rows
    labels = [item for item in rows[0] if "asym_id" in item and "auth_" not in item and not item.endswith("_list")]
    if not labels:
        if "entity_id" in rows[0]:
            return by_entity(rows, left, "entity_id")
        authors = [item for item in rows[0] if "auth_asym_id" in item]
        return [row for row in rows if not any(cut_by_author(row, item, left) for item in authors)]
    return [row for row in rows if all(_moved(row, item, left) for item in labels)]


def _moved(row: Row, item: str, left: Left) -> bool:
    """Move the place that a row names; whether what it names is still there."""
    label = row[item]
    if label in left.gone:
        return False
    if label not in left.places:
        return True
    place = row.get(item.replace("asym_id", "seq_id"))
    if isinstance(place, str) and place.isdigit():
        if int(place) not in left.places[label]:
            return False
        for other in {item.replace("asym_id", "seq_id"), "ndb_seq_num"} & set(row):
            row[other] = str(left.places[label][int(place)])
    for other in {item.replace("asym_id", "entity_id"), "entity_id"} & set(row):
        row[other] = left.entity[label]
    mixed = row.get("hetero") in ("y", "yes") and "mon_id" in row
    return not mixed or _still_there(row, left)


def _still_there(row: Row, left: Left) -> bool:
    """Whether a residue that shares its place with another kind still has atoms; with none of either, it stays."""
    key = (row.get("pdb_strand_id"), row.get("pdb_seq_num"), row.get("pdb_ins_code") or "")
    there = {one[3] for one in left.seen if one[:3] == key}
    return not there or row["mon_id"] in there


def _entities(rows: list[Row], left: Left) -> list[Row]:
    kept = by_entity(rows, left, "id")
    cut = {
        left.chains[label].entity for label, new in left.places.items() if len(new) < len(left.chains[label].residues)
    }
    cut |= {part for name in cut for part in left.entities.get(name, ())}
    for row in kept:
        if row["id"] in cut and "formula_weight" in row:
            row["formula_weight"] = None
    return kept


def _count_molecules(block: cif.Block, rows: list[Row]) -> None:
    """Count anew the molecules of each entity that has chains; waters are counted by the residue, so left to others."""
    if "pdbx_number_of_molecules" not in rows[0]:
        return
    chains = [row["entity_id"] for row in rows_of(block, "_struct_asym.")]
    for row in rows:
        if row.get("type") != "water" and row["id"] in chains:
            row["pdbx_number_of_molecules"] = str(chains.count(row["id"]))
    put_rows(block, "_entity.", rows)


def _chains_of(entity: str, left: Left) -> list[PolymerChain]:
    return [left.chains[label] for label, name in left.entity.items() if name == entity]


def _entity_poly(rows: list[Row], left: Left) -> list[Row]:
    kept = by_entity(rows, left, "entity_id")
    for row in kept:
        chains = _chains_of(row["entity_id"], left)
        if not chains:
            continue
        if "pdbx_strand_id" in row:
            row["pdbx_strand_id"] = ",".join(dict.fromkeys(chain.chain for chain in chains))
        chain, places = chains[0], left.places[chains[0].label]
        if chain.complete and len(places) < len(chain.residues):
            staying = [n for n, residue in enumerate(chain.residues) if residue.position in places]
            names = [chain.residues[n].name for n in staying]
            if "pdbx_seq_one_letter_code" in row:
                row["pdbx_seq_one_letter_code"] = _one_letter_code(names)
            if "pdbx_seq_one_letter_code_can" in row:
                row["pdbx_seq_one_letter_code_can"] = "".join(chain.letters[n] for n in staying)
    return kept


def _one_letter_code(names: list[str]) -> str:
    """Sequence as mmCIF writes it: (MSE) for what is no standard residue."""
    import gemmi

    known = [(name, gemmi.find_tabulated_residue(name)) for name in names]
    return "".join(one.one_letter_code if one.is_standard() and len(name) != 2 else f"({name})" for name, one in known)


def _entity_poly_seq(rows: list[Row], left: Left) -> list[Row]:
    shared = Counter((row["entity_id"], row["num"]) for row in by_entity(rows, left, "entity_id"))
    kept = []
    for row in by_entity(rows, left, "entity_id"):
        chains = _chains_of(row["entity_id"], left)
        if chains and chains[0].complete:
            new = left.places[chains[0].label].get(int(row["num"]))
            if new is None:
                continue
            twins = shared[row["entity_id"], row["num"]] > 1
            if twins and not _kind_stays(chains, int(row["num"]), row["mon_id"], left):
                continue
            row["num"] = str(new)
        kept.append(row)
    for row in kept:
        if row.get("hetero") in ("y", "yes"):
            alone = sum((one["entity_id"], one["num"]) == (row["entity_id"], row["num"]) for one in kept) == 1
            row["hetero"] = "n" if alone else row["hetero"]
    return kept


def _kind_stays(chains: list[PolymerChain], place: int, name: str, left: Left) -> bool:
    """Whether one of two residues at a place still has atoms in some chain; with none of either, both stay."""
    there: set[str] = set()
    for chain in chains:
        residue = left.residue(chain.label, place)
        key = (chain.chain, str(residue.number), residue.insertion_code)
        there |= {one[3] for one in left.seen if one[:3] == key}
    return not there or name in there


def _struct_asym(rows: list[Row], left: Left) -> list[Row]:
    kept = [row for row in rows if row["id"] not in left.gone]
    return [{**row, "entity_id": left.entity.get(row["id"], row["entity_id"])} for row in kept]


def _stretches(rows: list[Row], left: Left) -> list[Row]:
    """Helices and strands: shortened to their longest unbroken run of residues."""
    kept = []
    for row in rows:
        label = str(row.get("beg_label_asym_id"))
        first, last = (str(row.get(f"{end}_label_seq_id")) for end in ("beg", "end"))
        if label in left.places and first.isdigit() and last.isdigit():
            runs = left.runs(label, int(first), int(last))
            if not runs:
                continue
            longest = max(runs, key=_length)
            for end, place in zip(("beg", "end"), longest, strict=True):
                row = _placed(row, end, label, place, left)
        elif label in left.gone:
            continue
        kept.append(row)
    return kept


def _length(run: tuple[int, int]) -> int:
    return run[1] - run[0]


def _placed(row: Row, end: str, label: str, place: int, left: Left) -> Row:
    residue = left.residue(label, place)
    new = {
        f"{end}_label_seq_id": str(left.places[label][place]),
        f"{end}_auth_seq_id": None if residue.number is None else str(residue.number),
        f"{end}_label_comp_id": residue.name,
        f"{end}_auth_comp_id": residue.name,
        f"pdbx_{end}_PDB_ins_code": residue.insertion_code or None,
    }
    return row | {item: value for item, value in new.items() if item in row}


def _assemblies(rows: list[Row], left: Left) -> list[Row]:
    for row in rows:
        names = str(row.get("asym_id_list") or "").split(",")
        row["asym_id_list"] = ",".join(name for name in names if name not in left.gone) or None
    return [row for row in rows if row["asym_id_list"]]


def _loose(rows: list[Row], left: Left) -> list[Row]:
    """Ligands and waters one by one, by the authors' numbers: those that have no atom any more go."""
    if not rows or not {"pdb_strand_id", "pdb_seq_num"} <= set(rows[0]):
        return _any(rows, left)
    there = {one[:3] for one in left.seen}
    return [r for r in rows if (r["pdb_strand_id"], r["pdb_seq_num"], r.get("pdb_ins_code") or "") in there]
