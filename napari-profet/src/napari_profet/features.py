"""What UniProt says about stretches of a protein: signal peptides, propeptides, domains. Parsed, never fetched here.

Positions count residues of the canonical sequence from 1, both ends included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from napari_profet.errors import FormatError
from napari_profet.files import read_bytes

__all__ = ["Certainty", "Feature", "Position", "ProteinFeatures", "mature_sequences", "parse_features", "read_features"]


class Certainty(Enum):
    """How sure UniProt is of a position: the modifiers of its JSON."""

    EXACT = "EXACT"
    OUTSIDE = "OUTSIDE"
    """The feature goes on beyond this position, where the sequence ends (``<1`` or ``>87``)."""
    UNSURE = "UNSURE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Position:
    """One end of a feature; ``value`` is None where nobody knows."""

    value: int | None
    certainty: Certainty = Certainty.EXACT

    def __str__(self) -> str:
        mark = {Certainty.OUTSIDE: "<>", Certainty.UNSURE: "?"}.get(self.certainty, "")
        return "?" if self.value is None else f"{mark}{self.value}"


@dataclass(frozen=True)
class Feature:
    """A stretch of the sequence with a meaning.

    Attributes
    ----------
    kind
        UniProt's word for it: "Signal", "Transit peptide", "Propeptide", "Initiator methionine", "Domain", ...
    start, end
        First and last residue.
    description
        UniProt's remark, such as "Mitochondrion" or "C peptide"; often empty.
    identifier
        Such as PRO_0000015821; often empty.
    """

    kind: str
    start: Position
    end: Position
    description: str = ""
    identifier: str = ""

    @property
    def located(self) -> bool:
        """Whether both ends are known."""
        return self.start.value is not None and self.end.value is not None

    def __contains__(self, number: object) -> bool:
        first, last = self.start.value, self.end.value
        return isinstance(number, int) and first is not None and last is not None and first <= number <= last

    def __str__(self) -> str:
        return f"{self.kind} {self.start}-{self.end}" + (f" ({self.description})" if self.description else "")


@dataclass(frozen=True)
class ProteinFeatures:
    """The features of one UniProt entry.

    Attributes
    ----------
    accession
        Primary accession, such as P01308.
    features
        In the order of the entry.
    sequence
        Canonical sequence in one-letter code; empty if not given.
    name
        Entry name, such as INS_HUMAN.
    secondary
        Accessions that this entry took over: old structures still name them.
    """

    accession: str
    features: tuple[Feature, ...]
    sequence: str = ""
    name: str = ""
    secondary: tuple[str, ...] = ()

    def answers_to(self, accession: str) -> bool:
        """Whether a reference to ``accession`` means the canonical sequence of this entry.

        A reference to an isoform (P01308-2) does not: its residues are counted differently.
        """
        return accession in (self.accession, *self.secondary)

    def of_kind(self, kind: str) -> tuple[Feature, ...]:
        """Return the features of a kind, whatever the case of its letters."""
        return tuple(feature for feature in self.features if feature.kind.lower() == kind.lower())


def parse_features(entry: Mapping[str, Any], source: str = "") -> ProteinFeatures:
    """Features out of a UniProt entry in JSON (``rest.uniprot.org/uniprotkb/P01308.json``), already decoded.

    Parameters
    ----------
    entry
        The entry. A position that is missing, or marked UNKNOWN, is kept as unknown.
    source
        File or address, for messages.

    Raises
    ------
    FormatError
        It is not a UniProt entry, or a position in it is not a number.
    """
    where = source or "the UniProt entry"
    accession = entry.get("primaryAccession") if isinstance(entry, Mapping) else None
    if not isinstance(accession, str):
        raise FormatError(f"{where}: no primaryAccession; give an entry of UniProtKB in JSON")
    if entry.get("entryType") == "Inactive":
        raise FormatError(f"{where}: {accession} is no longer an entry of UniProt; look up what replaced it")
    found = entry.get("features", [])
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise FormatError(f"{where}: the features of {accession} are not a list; fetch the entry again")
    sequence = entry.get("sequence", {})
    return ProteinFeatures(
        accession=accession,
        features=tuple(_feature(item, f"{where}, {accession}") for item in found),
        sequence=str(sequence.get("value", "")) if isinstance(sequence, Mapping) else "",
        name=str(entry.get("uniProtkbId", "")),
        secondary=tuple(map(str, entry.get("secondaryAccessions", ()))),
    )


def read_features(path: str | os.PathLike[str]) -> ProteinFeatures:
    """Features out of a file with a UniProt entry in JSON; see :func:`parse_features`.

    Raises
    ------
    NothingFoundError
        There is no such file.
    FormatError
        It is not a UniProt entry in JSON.
    """
    try:
        entry = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON ({error}); give an entry of UniProtKB in JSON") from error
    return parse_features(entry, str(path))


def mature_sequences(protein: ProteinFeatures, kinds: Iterable[str]) -> tuple[str, ...]:
    """Sequences of what is left of a protein without the features of some kinds; one for each piece.

    Features without known ends take nothing away, which :attr:`Feature.located` tells beforehand.

    Parameters
    ----------
    protein
        With its sequence.
    kinds
        UniProt's words, such as "Signal" and "Propeptide".
    """
    gone = [feature for kind in kinds for feature in protein.of_kind(kind) if feature.located]
    kept = (
        " " if any(number in feature for feature in gone) else letter for number, letter in _numbered(protein.sequence)
    )
    return tuple("".join(kept).split())


def _numbered(sequence: str) -> Iterable[tuple[int, str]]:
    return enumerate(sequence, start=1)


def _feature(item: Mapping[str, Any], where: str) -> Feature:
    kind, location = item.get("type"), item.get("location")
    if not isinstance(kind, str) or not isinstance(location, Mapping):
        raise FormatError(f"{where}: a feature has no type or no location; fetch the entry again")
    start, end = (_position(location.get(side), f"{where}: {side} of {kind}") for side in ("start", "end"))
    if start.value is not None and end.value is not None and start.value > end.value:
        raise FormatError(f"{where}: {kind} starts at {start.value} and ends at {end.value}; fetch the entry again")
    return Feature(kind, start, end, str(item.get("description", "")), str(item.get("featureId", "")))


def _position(position: Any, where: str) -> Position:
    if not isinstance(position, Mapping):
        return Position(None, Certainty.UNKNOWN)
    value, said = position.get("value"), position.get("modifier", "EXACT")
    if said not in Certainty.__members__:
        raise FormatError(f"{where} has the modifier {said!r}, which is none of {', '.join(Certainty.__members__)}")
    if value is None or said == "UNKNOWN":
        # An UNKNOWN position sometimes carries a number all the same; it means nothing.
        return Position(None, Certainty.UNKNOWN)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(f"{where} is {value!r}, not a whole number; fetch the entry again")
    return Position(value, Certainty[said])
