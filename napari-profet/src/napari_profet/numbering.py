"""From residues of a structure to residues of UniProt, and how that is known.

Three witnesses, the first that speaks about a chain is believed:

1. SIFTS (Dana et al. 2019, doi:10.1093/nar/gky1114), residue by residue, in the ``_pdbx_sifts_xref_db`` category of
   PDBe's updated files and of wwPDB's NextGen archive;
2. the depositors' ranges in ``_struct_ref_seq`` (DBREF in PDB format), or ``_ma_target_ref_db_details`` of predictions;
3. an alignment of the chain's sequence to that of UniProt.

A witness whose residues are not those of UniProt at the places it names is not believed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from napari_profet.features import ProteinFeatures
from napari_profet.residues import PolymerChain, category

if TYPE_CHECKING:
    from gemmi import cif

__all__ = ["ChainNumbering", "NumberingSource", "number_chains", "referenced_accessions"]

_AGREEMENT = 0.8
"""Share of residues that must be those of UniProt for a witness to be believed; mutants and tags stay far above."""

_COVERAGE = 0.5
"""Share of the shorter sequence that an alignment must explain for the chain to be this protein at all."""

_MATCH, _MISMATCH, _LEAST = 1, -2, 5
"""An aligned stretch counts if its matches less twice its mismatches make 5 or more: chance makes 5 equal residues at
one place once in 20**5."""


class NumberingSource(StrEnum):
    """How the UniProt numbers of a chain are known."""

    SIFTS = "SIFTS"
    REFERENCE = "struct_ref_seq"
    ALIGNMENT = "alignment"
    NONE = "none"


@dataclass(frozen=True)
class ChainNumbering:
    """UniProt numbers of the residues of one chain, for one protein.

    Attributes
    ----------
    label, chain
        The chain, in the dictionary's and in the authors' name.
    accession
        The protein.
    source
        The witness; NONE if the chain is not this protein.
    numbers
        Position in the chain's sequence to position in the protein's.
    notes
        Why a better witness was not believed.
    """

    label: str
    chain: str
    accession: str
    source: NumberingSource
    numbers: Mapping[int, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Said:
    """What a witness says of one chain: positions by accession; and why some of it is of no use."""

    source: NumberingSource
    by_accession: Mapping[str, Mapping[int, int]]
    notes: tuple[str, ...] = ()


def number_chains(
    chains: Sequence[PolymerChain], header: cif.Block, proteins: Iterable[ProteinFeatures]
) -> tuple[ChainNumbering, ...]:
    """UniProt numbers of each chain for each protein.

    Parameters
    ----------
    chains
        Polymer chains, from :func:`napari_profet.residues.residues_of`.
    header
        The other categories of the same file.
    proteins
        UniProt entries that may be in the structure.
    """
    proteins = tuple(proteins)
    sifts = _sifts(header)
    found = []
    for chain in chains:
        witnesses = [said for said in (sifts.get(chain.label), _referenced(chain, header)) if said]
        found += _without_rivals(chain, [(_numbered(chain, protein, witnesses), protein) for protein in proteins])
    return tuple(found)


def _without_rivals(
    chain: PolymerChain, candidates: Sequence[tuple[ChainNumbering, ProteinFeatures]]
) -> list[ChainNumbering]:
    """Of proteins that are alike, only the most alike keeps a residue; stated numbers go before aligned ones."""

    def rank(candidate: tuple[ChainNumbering, ProteinFeatures]) -> tuple[bool, int]:
        one, protein = candidate
        return one.source is NumberingSource.ALIGNMENT, -_equal_residues(chain, protein, one.numbers)[0]

    taken: set[int] = set()
    kept = []
    for one, _ in sorted(candidates, key=rank):
        numbers = {place: number for place, number in one.numbers.items() if place not in taken}
        taken |= set(numbers)
        kept.append(replace(one, numbers=numbers, source=one.source if numbers else NumberingSource.NONE))
    return kept


def referenced_accessions(chains: Sequence[PolymerChain], header: cif.Block) -> tuple[str, ...]:
    """UniProt accessions that a file names for its chains, isoform numbers dropped, in the order of the chains."""
    sifts = _sifts(header)
    found: dict[str, None] = {}
    for chain in chains:
        for said in (sifts.get(chain.label), _referenced(chain, header)):
            found.update((accession.partition("-")[0], None) for accession in (said.by_accession if said else ()))
    return tuple(found)


def _numbered(chain: PolymerChain, protein: ProteinFeatures, witnesses: Sequence[_Said]) -> ChainNumbering:
    notes: list[str] = []
    for said in witnesses:
        notes += said.notes
        own = {accession: numbers for accession, numbers in said.by_accession.items() if protein.answers_to(accession)}
        numbers = {place: number for part in own.values() for place, number in part.items()}
        if numbers and _agrees(chain, protein, numbers):
            return ChainNumbering(chain.label, chain.chain, protein.accession, said.source, numbers, tuple(notes))
        if numbers:
            notes.append(
                f"chain {chain.chain}: its residues are not those of {protein.accession} where {said.source} says"
            )
        elif said.by_accession and not any(_base(name) == protein.accession for name in said.by_accession):
            # The chain is another protein, however similar: nothing to align.
            return ChainNumbering(chain.label, chain.chain, protein.accession, NumberingSource.NONE, {}, tuple(notes))
        elif said.by_accession:
            notes.append(f"chain {chain.chain}: {said.source} counts another isoform of {protein.accession}")
    numbers = _aligned(chain, protein)
    source = NumberingSource.ALIGNMENT if numbers else NumberingSource.NONE
    return ChainNumbering(chain.label, chain.chain, protein.accession, source, numbers, tuple(notes))


def _base(accession: str) -> str:
    return accession.partition("-")[0]


def _agrees(chain: PolymerChain, protein: ProteinFeatures, numbers: Mapping[int, int]) -> bool:
    """Whether the residues are those of the protein; unknown is taken for yes."""
    equal, compared = _equal_residues(chain, protein, numbers)
    return not protein.sequence or equal >= _AGREEMENT * compared


def _equal_residues(chain: PolymerChain, protein: ProteinFeatures, numbers: Mapping[int, int]) -> tuple[int, int]:
    """How many residues are those of the protein, of how many that have a letter."""
    letters = {residue.position: letter for residue, letter in zip(chain.residues, chain.letters, strict=True)}
    pairs = [(letters[place], number) for place, number in numbers.items() if letters.get(place, "X") != "X"]
    length = len(protein.sequence)
    return sum(0 < n <= length and protein.sequence[n - 1] == letter for letter, n in pairs), len(pairs)


def _sifts(header: cif.Block) -> dict[str, _Said]:
    found: dict[str, dict[str, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in category(header, "_pdbx_sifts_xref_db."):
        place, number = row.get("seq_id", ""), row.get("unp_num", "")
        if place.isdigit() and number.isdigit() and row.get("unp_acc"):
            found[row.get("asym_id", "")][row["unp_acc"]].setdefault(int(place), int(number))
    return {label: _Said(NumberingSource.SIFTS, dict(parts)) for label, parts in found.items()}


def _referenced(chain: PolymerChain, header: cif.Block) -> _Said | None:
    """The depositors' ranges for a chain, or None if they give none in UniProt."""
    references = {
        row.get("id", ""): row for row in category(header, "_struct_ref.") if row.get("db_name") in ("UNP", "UNIPROT")
    }
    found: dict[str, dict[int, int]] = defaultdict(dict)
    notes = []
    for row in category(header, "_struct_ref_seq."):
        reference = references.get(row.get("ref_id", ""))
        # Of one entity each chain has rows of its own, told by the authors' chain name.
        if not reference or reference.get("entity_id", chain.entity) != chain.entity:
            continue
        if row.get("pdbx_strand_id", chain.chain) not in ("", chain.chain):
            continue
        ends = [row.get(item, "") for item in ("seq_align_beg", "seq_align_end", "db_align_beg", "db_align_end")]
        accession = (
            reference.get("pdbx_db_isoform") or row.get("pdbx_db_accession") or reference.get("pdbx_db_accession", "")
        )
        found.setdefault(accession, {})
        if not all(re.fullmatch(r"-?\d+", end) for end in ends):
            notes.append(f"chain {chain.chain}: struct_ref_seq does not say where {accession} begins and ends")
            continue
        first, last, start, end = map(int, ends)
        if last - first != end - start:
            notes.append(
                f"chain {chain.chain}: struct_ref_seq sets {last - first + 1} residues against {end - start + 1}"
                f" of {accession}, so their numbers are not told by it"
            )
            continue
        found[accession] |= {place: place - first + start for place in range(first, last + 1)}
    found = found or _predicted(chain, header)
    return _Said(NumberingSource.REFERENCE, dict(found), tuple(notes)) if found else None


def _predicted(chain: PolymerChain, header: cif.Block) -> dict[str, dict[int, int]]:
    """The same of a predicted model."""
    found: dict[str, dict[int, int]] = {}
    for row in category(header, "_ma_target_ref_db_details."):
        start = row.get("seq_db_align_begin", "")
        named = row.get("db_name") in ("UNP", "UNIPROT") and row.get("target_entity_id") == chain.entity
        if named and start.isdigit():
            end = int(row.get("seq_db_align_end") or 10**9)
            numbers = {residue.position: int(start) + residue.position - 1 for residue in chain.residues}
            found[row.get("db_accession", "")] = {place: number for place, number in numbers.items() if number <= end}
    return found


def _aligned(chain: PolymerChain, protein: ProteinFeatures) -> dict[int, int]:
    """Numbers by alignment of the sequences, only where they are sure; nothing if the chain is not this protein."""
    import gemmi

    if not protein.sequence or not chain.residues:
        return {}
    own, theirs = list(chain.letters), list(protein.sequence)
    scoring = gemmi.AlignmentScoring()
    # A long gap costs as much as a short one: domains are deleted, loops are not seen.
    scoring.match, scoring.mismatch, scoring.gapo, scoring.gape = 2, -2, -5, 0
    cigar = gemmi.align_string_sequences(own, theirs, [], scoring).cigar_str()
    numbers: dict[int, int] = {}
    here = there = 0
    for length, move in ((int(count), move) for count, move in re.findall(r"(\d+)([MID])", cigar)):
        if move == "M":
            same = [a == b for a, b in zip(own[here : here + length], theirs[there : there + length], strict=True)]
            for start, stop in _sure_stretches(same):
                numbers |= {chain.residues[here + k].position: there + k + 1 for k in range(start, stop)}
        here += length if move in "MI" else 0
        there += length if move in "MD" else 0
    return numbers if len(numbers) >= _COVERAGE * min(len(own), len(theirs)) else {}


def _sure_stretches(same: Sequence[bool], offset: int = 0) -> list[tuple[int, int]]:
    """Parts of a gap-free stretch that score best, then the best on either side.

    Tags that only happen to lie opposite the protein's start drop out so, single mutations do not.

    Returns
    -------
    list of (start, stop)
    """
    best, best_span, total, start = 0, (0, 0), 0, 0
    for place, equal in enumerate(same):
        if total <= 0:
            total, start = 0, place
        total += _MATCH if equal else _MISMATCH
        if total > best:
            best, best_span = total, (start, place + 1)
    if best < _LEAST:
        return []
    first, last = best_span
    return [
        *_sure_stretches(same[:first], offset),
        (offset + first, offset + last),
        *_sure_stretches(same[last:], offset + last),
    ]
