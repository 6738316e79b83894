"""Atoms grouped to residues, and residues to polymer chains with their whole sequence, seen or not.

A residue of a polymer is known by its *position*: its place in the sequence from 1 (``label_seq_id``), or, in files
that do not say, its place among the residues of its chain.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from napari_profet import mmcif

if TYPE_CHECKING:
    import gemmi
    from gemmi import cif

    from napari_profet.structure import Structure

__all__ = ["PolymerChain", "PolymerResidue", "Residues", "category", "gemmi_structure", "header_block", "residues_of"]

_ENTITIES = ("_entry.", "_entity.", "_entity_poly.", "_entity_poly_seq.", "_struct_asym.")
_KEYS = ["label_chain", "chain", "label_residue_number", "residue_number", "insertion_code"]


@dataclass(frozen=True)
class PolymerResidue:
    """A place in a polymer's sequence.

    Attributes
    ----------
    position
        Place in the sequence, from 1.
    name
        Component, such as ALA; the first one where two share the place.
    number, insertion_code
        The authors' numbering; ``number`` is None where nothing tells it.
    observed
        Whether it has atoms.
    """

    position: int
    name: str
    number: int | None
    insertion_code: str
    observed: bool

    def __str__(self) -> str:
        return f"{'?' if self.number is None else self.number}{self.insertion_code}"


@dataclass(frozen=True)
class PolymerChain:
    """A polymer chain with all residues of its sequence.

    Attributes
    ----------
    label, chain
        Its name in the dictionary (``label_asym_id``) and the authors'.
    entity
        Id of its entity.
    residues
        By position.
    complete
        Whether the file gives the whole sequence, so that residues without atoms are among ``residues``.
    """

    label: str
    chain: str
    entity: str
    residues: tuple[PolymerResidue, ...]
    complete: bool

    @cached_property
    def letters(self) -> tuple[str, ...]:
        """One-letter codes, capital, one for each residue; X for what has none."""
        import gemmi

        def letter(name: str) -> str:
            code = gemmi.find_tabulated_residue(name).one_letter_code.strip().upper()
            return code or "X"

        return tuple(letter(residue.name) for residue in self.residues)


@dataclass(frozen=True, eq=False)
class Residues:
    """The residues of a structure.

    Attributes
    ----------
    polymers
        All polymer chains, in the order of the file; those without a single atom are not among them.
    residue
        (n,) integers: the residue of each atom, counted from 0; those of different models share one number.
    polymer, position
        (n,) integers: index into ``polymers`` and position for each atom; -1 and 0 outside of polymers.
    label, entity
        (n,) text: chain in the dictionary's name and entity of each atom; made up where the file has none.
    kind
        (n,) text: polymer, non-polymer, branched or water for each atom.
    """

    polymers: tuple[PolymerChain, ...]
    residue: np.ndarray
    polymer: np.ndarray
    position: np.ndarray
    label: np.ndarray
    entity: np.ndarray
    kind: np.ndarray


def header_block(structure: Structure) -> cif.Block:
    """All categories of a structure but its atoms; a fresh block, free to be changed."""
    from gemmi import cif

    text = structure.header or f"data_structure\n_entry.id {cif.quote(structure.name or 'structure')}\n"
    return cif.read_string(text).sole_block()


def category(block: cif.Block, name: str) -> list[dict[str, str]]:
    """Rows of a category such as ``_struct_ref.``, by item; "" for what is not given."""
    columns = block.get_mmcif_category(name)
    items = [[value if isinstance(value, str) else "" for value in column] for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*items, strict=True)]


def gemmi_structure(structure: Structure, *, counted: bool = True) -> gemmi.Structure:
    """Return the same structure as an object of gemmi.

    Parameters
    ----------
    structure
        The structure.
    counted
        Give its atoms the serials 1, 2, ... in our order; then nothing but atoms and entities goes along.
    """
    import gemmi

    atoms = structure.atoms
    header = structure.header
    if counted:
        atoms = atoms.assign(serial=np.arange(1, len(structure) + 1))
        block = header_block(structure)
        for name in block.get_mmcif_category_names():
            if name not in _ENTITIES:
                block.find_mmcif_category(name).erase()
        header = block.as_string()
    text = mmcif.compose(structure.name, structure.positions, atoms, header)
    model = gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
    model.setup_entities()
    return model


def residues_of(structure: Structure) -> Residues:
    """Group the atoms of a structure; see :class:`Residues`."""
    atoms = structure.atoms
    block = header_block(structure)
    labels, entities, kinds = (atoms[name].to_numpy(object) for name in ("label_chain", "entity", "entity_type"))
    if not len(block.find_values("_entity.type")) or (atoms["label_chain"] == "").any():
        # Without entities nobody says whether a HETATM is a ligand or a modified residue of a chain: gemmi judges.
        labels, entities, kinds = _judged(structure)
    atoms = atoms[[*_KEYS, "residue_name", "entity"]].assign(label_chain=labels, entity=entities)
    residue = atoms.groupby(_KEYS, sort=False).ngroup().to_numpy()
    polymer, position = np.full(len(atoms), -1), np.zeros(len(atoms), dtype=int)
    chains: list[PolymerChain] = []
    for label in dict.fromkeys(labels[kinds == "polymer"]):
        own_rows = np.flatnonzero((labels == label) & (kinds == "polymer"))
        places = atoms["label_residue_number"].to_numpy()[own_rows]
        if not places.all():
            _, first, inverse = np.unique(residue[own_rows], return_index=True, return_inverse=True)
            places = (np.argsort(np.argsort(first)) + 1)[inverse]
        polymer[own_rows], position[own_rows] = len(chains), places
        own = atoms.iloc[own_rows].assign(position=places).drop_duplicates("position")
        columns = (own[name].tolist() for name in ("position", "residue_name", "residue_number", "insertion_code"))
        rows = zip(*columns, strict=True)
        seen = {place: PolymerResidue(place, name, number, code, True) for place, name, number, code in rows}
        entity = str(own["entity"].iloc[0])
        chains.append(_polymer_chain(block, str(label), str(own["chain"].iloc[0]), entity, seen))
    return Residues(tuple(chains), residue, polymer, position, labels, entities, kinds)


def _judged(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chain in the dictionary's sense, entity and kind of each atom, (n,) text each, as gemmi tells them."""
    labels, entities, kinds = (np.full(len(structure), "", dtype=object) for _ in range(3))
    for model in gemmi_structure(structure):
        for chain in model:
            for residue in chain:
                rows = [atom.serial - 1 for atom in residue]
                labels[rows], entities[rows] = residue.subchain, residue.entity_id
                kinds[rows] = {"Polymer": "polymer", "Water": "water", "Branched": "branched"}.get(
                    residue.entity_type.name, "non-polymer"
                )
    return labels, entities, kinds


def _polymer_chain(
    block: cif.Block, label: str, chain: str, entity: str, seen: dict[int, PolymerResidue]
) -> PolymerChain:
    """Fill up a chain with the residues that have no atoms, as far as the file tells them."""
    names: dict[int, str] = {}
    for row in category(block, "_entity_poly_seq."):
        if row.get("entity_id") == entity and row.get("num", "").isdigit():
            names.setdefault(int(row["num"]), row.get("mon_id", ""))
    if not names or not set(seen) <= set(names):
        return PolymerChain(label, chain, entity, tuple(seen[place] for place in sorted(seen)), complete=False)
    told = {
        int(row["seq_id"]): (int(row["pdb_seq_num"]), row.get("pdb_ins_code", ""))
        for row in category(block, "_pdbx_poly_seq_scheme.")
        if row.get("asym_id") == label and row.get("pdb_seq_num") and row.get("seq_id", "").isdigit()
    }
    counted = _counted_on(sorted(names), seen)
    residues = []
    for place in sorted(names):
        number, code = told.get(place, (counted.get(place), ""))
        residues.append(seen.get(place) or PolymerResidue(place, names[place], number, code, observed=False))
    return PolymerChain(label, chain, entity, tuple(residues), complete=True)


def _counted_on(places: list[int], seen: dict[int, PolymerResidue]) -> dict[int, int]:
    """Author numbers of unseen residues where no table gives them: counted on from the seen neighbour.

    A number that the next seen residue contradicts is not given at all.
    """
    observed = sorted(seen)
    taken = {residue.number for residue in seen.values()}
    numbers: dict[int, int] = {}
    for place in places:
        if place in seen:
            continue
        later = bisect(observed, place)
        anchor = observed[max(later - 1, 0)]
        number = (seen[anchor].number or 0) + place - anchor
        if number not in taken:
            numbers[place] = number
    return numbers
