"""What cleaving leaves of chains and entities, and the rows of a category: what all that rewrite a header need."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from napari_profet.residues import PolymerChain, PolymerResidue

if TYPE_CHECKING:
    import pandas as pd
    from gemmi import cif

__all__ = ["Left", "Row", "by_entity", "cut_by_author", "put_rows", "rows_of", "what_is_left"]

Row = dict[str, Any]
"""Values of one row by item: text, None for "?", False for "."."""


@dataclass(frozen=True)
class Left:
    """What is left of the chains and entities.

    Attributes
    ----------
    chains
        The polymer chains as they were, by the dictionary's name.
    places
        For each of them the new place of every residue that stays, by its old one.
    gone
        Chains, of any kind, that are no more.
    entity
        Entity of each polymer chain that stays.
    entities
        What became of each entity that had atoms: the ids of its parts, none if it is gone.
    seen
        Author chain, number, insertion code and name of the residues that still have atoms.
    """

    chains: Mapping[str, PolymerChain]
    places: Mapping[str, Mapping[int, int]]
    gone: frozenset[str]
    entity: Mapping[str, str]
    entities: Mapping[str, tuple[str, ...]]
    seen: frozenset[tuple[str, str, str, str]]

    def residue(self, label: str, place: int) -> PolymerResidue:
        """Residue of a polymer chain at an old place."""
        return next(one for one in self.chains[label].residues if one.position == place)

    def runs(self, label: str, first: int, last: int) -> list[tuple[int, int]]:
        """Unbroken runs, by old places, of what stays between two old places."""
        found: list[tuple[int, int]] = []
        for place in range(first, last + 1):
            if place in self.places[label]:
                if found and found[-1][1] == place - 1:
                    found[-1] = found[-1][0], place
                else:
                    found.append((place, place))
        return found


def what_is_left(
    chains: Iterable[PolymerChain], cuts: Mapping[str, frozenset[int]], before: pd.DataFrame, after: pd.DataFrame
) -> Left:
    """Work out what cuts leave; ``before`` and ``after`` are the atom tables."""
    by_label = {chain.label: chain for chain in chains}
    places: dict[str, dict[int, int]] = {}
    parts: dict[str, dict[frozenset[int], str]] = {}
    entity: dict[str, str] = {}
    taken = set(before["entity"])
    for label, chain in by_label.items():
        cut = cuts.get(label, frozenset())
        staying = [residue.position for residue in chain.residues if residue.position not in cut]
        # Files without the whole sequence have gaps in their numbers, which stay.
        below = sorted(cut)
        places[label] = {place: place - bisect(below, place) for place in staying}
        if staying:
            part = parts.setdefault(chain.entity, {})
            key = frozenset(cut)
            if key not in part:
                part[key] = chain.entity if not part else _fresh(taken)
            entity[label] = part[key]
    left = set(after["label_chain"])
    gone = {label for label in dict.fromkeys(before["label_chain"]) if label not in left and label not in by_label}
    gone |= {label for label in by_label if not places[label]}
    entities = {name: tuple(part.values()) for name, part in parts.items()}
    for name in dict.fromkeys(before["entity"]):
        if name not in entities:
            entities[name] = (name,) if (after["entity"] == name).any() else ()
    names = after[["chain", "residue_number", "insertion_code", "residue_name"]].drop_duplicates()
    columns = (names[name].astype(str) for name in names)
    seen = frozenset(zip(*columns, strict=True))
    return Left(by_label, places, frozenset(gone), entity, entities, seen)


def _fresh(taken: set[str]) -> str:
    """Return an entity id that is not taken yet, and take it."""
    name = next(str(number) for number in count(1) if str(number) not in taken)
    taken.add(name)
    return name


def rows_of(block: cif.Block, name: str) -> list[Row]:
    """Rows of a category."""
    columns = block.get_mmcif_category(name)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def put_rows(block: cif.Block, name: str, rows: list[Row]) -> None:
    """Replace the rows of a category; without rows there is no category."""
    block.find_mmcif_category(name).erase()
    if rows:
        block.set_mmcif_category(name, {item: [row[item] for row in rows] for item in rows[0]})


def by_entity(rows: list[Row], left: Left, item: str) -> list[Row]:
    """Rows of entities that are gone go; those of divided ones are repeated for each part."""
    return [{**row, item: name} for row in rows for name in left.entities.get(row.get(item, ""), (row.get(item),))]


def cut_by_author(row: Row, item: str, left: Left) -> bool:
    """Whether a row that knows only authors' numbers is about a residue that was cut."""
    number = row.get(item.replace("auth_asym_id", "auth_seq_id"))
    codes = [row[other] for other in row if "ins_code" in other.lower() and _same_end(other, item)]
    code = next((code for code in codes if code), "")
    for label, chain in left.chains.items():
        if chain.chain == row[item]:
            for residue in chain.residues:
                if (str(residue.number), residue.insertion_code) == (number, code):
                    return residue.position not in left.places[label]
    return False


def _same_end(one: str, other: str) -> bool:
    """Whether two items speak of the same of several residues: both end in _1, or in _2, or in neither."""
    ends = ("_1", "_2", "_3")
    return [one.endswith(end) for end in ends] == [other.endswith(end) for end in ends]
