"""Sequences of chains, cleaved likewise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_profet.residues import residues_of
from napari_profet.sequence import SequenceRecord

if TYPE_CHECKING:
    from napari_profet.cleave_plan import CleavePlan
    from napari_profet.structure import Structure

__all__ = ["chain_sequences"]


def chain_sequences(structure: Structure, plan: CleavePlan | None = None) -> list[SequenceRecord]:
    """Sequences of the polymer chains, whole as far as the file tells them, and cleaved if there is a plan.

    Parameters
    ----------
    structure
        As it was read, not yet cleaved.
    plan
        From :func:`napari_profet.cleave.plan_cleaving`; without one nothing is cut.

    Returns
    -------
    list of SequenceRecord
        One for each chain ("1ABC|A"), or for each piece ("1ABC|A.1", "1ABC|A.2") where something within was cut.
    """
    records = []
    for chain in residues_of(structure).polymers:
        cut = plan.cuts.get(chain.label, frozenset()) if plan else frozenset()
        pieces: list[list[int]] = [[]]
        for n, residue in enumerate(chain.residues):
            if residue.position not in cut:
                pieces[-1].append(n)
            elif pieces[-1]:
                pieces.append([])
        pieces = [piece for piece in pieces if piece]
        for number, piece in enumerate(pieces, start=1):
            ends = f"{chain.residues[piece[0]]}-{chain.residues[piece[-1]]}"
            name = f"{'_'.join(structure.name.split())}|{chain.chain}" + (f".{number}" if len(pieces) > 1 else "")
            seen = "" if chain.complete else ", without what was not seen"
            records.append(SequenceRecord(name, "".join(chain.letters[n] for n in piece), f"residues {ends}{seen}"))
    return records
