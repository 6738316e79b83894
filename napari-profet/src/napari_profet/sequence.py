"""Sequences of proteins and nucleic acids, read from and written to FASTA files."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_profet.errors import FormatError
from napari_profet.files import read_bytes, refuse_existing, replaced_when_complete

if TYPE_CHECKING:
    from gemmi import cif

    from napari_profet.structure import Structure

__all__ = ["SequenceRecord", "format_fasta", "parse_fasta", "read_fasta", "sequences_of", "write_fasta"]

_SUFFIXES = (".fasta", ".fa", ".faa", ".fas")
# One-letter codes of the IUPAC with the ambiguous ones, a stop and a gap.
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ*-")


@dataclass(frozen=True)
class SequenceRecord:
    """A sequence with its name.

    Attributes
    ----------
    name
        First word of the header: ``sp|P12345|AATM_RABIT``, ``1ABC_1|Chain``.
    residues
        One-letter codes, upper case. Position 1 is the first letter.
    description
        The rest of the header.
    """

    name: str
    residues: str
    description: str = ""

    def __post_init__(self) -> None:
        if not self.name or any(letter.isspace() for letter in self.name) or self.name.startswith(">"):
            raise ValueError(f"{self.name!r} cannot name a sequence; give one word")
        if "\n" in self.description or "\r" in self.description:
            raise ValueError(f"the description of {self.name} has several lines; give one")
        wrong = sorted(set(self.residues) - _LETTERS)
        if wrong:
            raise ValueError(f"{self.name}: {' '.join(map(repr, wrong))} are no one-letter codes in upper case")

    def __len__(self) -> int:
        return len(self.residues)

    @property
    def header(self) -> str:
        """Name and description, without the > before them."""
        return f"{self.name} {self.description}".rstrip()


def parse_fasta(content: bytes, source: str) -> list[SequenceRecord]:
    """Sequences from the content of a FASTA file.

    Parameters
    ----------
    content
        The whole file, plain or compressed by gzip. Small letters become capitals; an alignment in A3M loses the
        difference between the two.
    source
        The file's name or address, for messages.

    Raises
    ------
    FormatError
        The content is not FASTA, or holds no sequence.
    """
    try:
        text = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{source}: the compressed file is damaged ({error}); fetch or copy it again") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: not a text file ({error}); give a FASTA file") from error
    records = [_record(header, letters, line, source) for line, header, letters in _split(text, source)]
    if not records:
        raise FormatError(f"{source}: no sequence in it; a FASTA file has lines that begin with >")
    return records


def read_fasta(path: str | os.PathLike[str]) -> list[SequenceRecord]:
    """Sequences of a FASTA file, plain or compressed by gzip.

    Raises
    ------
    NothingFoundError
        There is no such file.
    FormatError
        It is not FASTA, or holds no sequence.
    """
    return parse_fasta(read_bytes(path), str(path))


def format_fasta(records: Iterable[SequenceRecord], *, width: int = 60) -> str:
    """FASTA text of sequences.

    Parameters
    ----------
    records
        The sequences.
    width
        Letters in a line.
    """
    lines = []
    for record in records:
        lines.append(f">{record.header}")
        lines += [record.residues[start : start + width] for start in range(0, len(record), width)]
    return "\n".join(lines) + "\n" if lines else ""


def write_fasta(
    path: str | os.PathLike[str], records: Iterable[SequenceRecord], *, overwrite: bool = False, width: int = 60
) -> Path:
    """Write sequences as FASTA; return the path.

    Parameters
    ----------
    path
        File to make, ending in .fasta, .fa, .faa or .fas, or one of these and .gz.
    records
        What to write; at least one, none of them empty.
    overwrite
        Replace an existing file.
    width
        Letters in a line.

    Raises
    ------
    FormatError
        The name does not end as it should, or there is nothing to write.
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    """
    target, chosen = Path(path), list(records)
    packed = target.suffix.lower() == ".gz"
    if not target.name.lower().removesuffix(".gz").endswith(_SUFFIXES):
        raise FormatError(f"{target}: sequences are written as FASTA; let the name end in .fasta or .fasta.gz")
    empty = [record.name for record in chosen if not len(record)]
    if not chosen or empty:
        raise FormatError(f"{target}: nothing to write{' of ' + ', '.join(empty) if empty else ''}")
    if not overwrite:
        refuse_existing(target)
    content = format_fasta(chosen, width=width).encode()
    with replaced_when_complete(target, overwrite=overwrite) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return target


def sequences_of(structure: Structure) -> list[SequenceRecord]:
    """Sequences of the polymers of a structure, as its file gives them: also residues without atoms.

    Modified residues have the letter of their parent; X is what has none.

    Raises
    ------
    FormatError
        The file gives no sequences.
    """
    from gemmi import cif

    block = cif.read_string(structure.header).sole_block() if structure.header else cif.Block("empty")
    names = {row.str(0): row.str(1) for row in block.find("_entity.", ["id", "?pdbx_description"]) if row.has(1)}
    items = ["entity_id", "?pdbx_seq_one_letter_code_can", "?pdbx_strand_id"]
    records = []
    for row in block.find("_entity_poly.", items):
        entity = row.str(0)
        letters = "".join(row.str(1).split()).upper() if row.has(1) else ""
        letters = letters or _letters_of_names(block, entity)
        if letters:
            chains = row.str(2).replace(",", ", ") if row.has(2) else ""
            about = " ".join(f"Chain {chains}|{names.get(entity, '')}".split())
            records.append(SequenceRecord(f"{structure.name}_{entity}".replace(" ", "_"), letters, about))
    if not records:
        source = structure.source or structure.name
        raise FormatError(f"{source}: no sequences in it (_entity_poly); take them from UniProt")
    return records


def _letters_of_names(block: cif.Block, entity: str) -> str:
    """One-letter codes of an entity whose residues are given by name; of several at one place, the first counts."""
    import gemmi

    places: dict[int, str] = {}
    for row in block.find("_entity_poly_seq.", ["entity_id", "num", "mon_id"]):
        if row.str(0) == entity:
            places.setdefault(int(row.str(1)), row.str(2))
    known = [gemmi.find_tabulated_residue(places[number]) for number in sorted(places)]
    # A code that is no letter means that nobody gave it one.
    return "".join(found.one_letter_code.upper() if found.one_letter_code.isalpha() else "X" for found in known)


def _split(text: str, source: str) -> Iterator[tuple[int, str, str]]:
    """Line, header and letters of each sequence."""
    begin = 0
    header: str | None = None
    letters: list[str] = []
    # Other marks that Python takes for the end of a line may stand in a description.
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line.startswith(">"):
            if header is not None:
                yield begin, header, "".join(letters)
            begin, header, letters = number, line[1:].strip(), []
        elif line.strip() and not line.startswith(";"):
            if header is None:
                raise FormatError(f"{source}: line {number} comes before any header (>): {line[:60]}")
            letters.append("".join(line.split()))
    if header is not None:
        yield begin, header, "".join(letters)


def _record(header: str, letters: str, line: int, source: str) -> SequenceRecord:
    name, _, description = header.partition(" ")
    if not letters:
        raise FormatError(f"{source}: the sequence that begins in line {line} is empty: {header[:60]}")
    try:
        return SequenceRecord(name, letters.upper(), description.strip())
    except ValueError as error:
        raise FormatError(f"{source}: the sequence that begins in line {line}: {error}; repair the file") from error
