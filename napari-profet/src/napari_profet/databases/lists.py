"""Ids out of a file: a plain list, a table, or the headers of sequences."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path

from napari_profet.databases.identifiers import parse_identifier
from napari_profet.errors import FormatError, IdentifierError
from napari_profet.files import read_bytes

__all__ = ["identifier_of_header", "read_identifiers", "split_identifiers"]

# In the order in which they are looked for: the more exact name first.
_ID_COLUMNS = (
    "id", "identifier", "pdb_id", "pdbid", "pdb", "entry id", "entry_id", "accession", "uniprot", "uniprot_id",
    "uniprot_accession", "uniprotkb", "entry", "entry name", "entry_name", "emdb", "emdb_id",
)  # fmt: skip
_GENE_COLUMNS = ("gene", "gene name", "gene_name", "gene names")
_ORGANISM_COLUMNS = ("organism", "species", "taxon", "organism_id", "taxon_id", "organism (id)")


def read_identifiers(path: str | os.PathLike[str], column: str | None = None) -> list[str]:
    """Ids listed in a file, in its order, each once.

    Parameters
    ----------
    path
        One of: lines of text (ids separated by spaces or commas, # begins a comment); a table (.csv or .tsv) with
        a column of ids, or one of genes and one of organisms; a FASTA file, whose headers name entries
        (``>sp|P12345|...``, ``>1ABC_1|Chain A|...``, ``>AF-P12345-F1``).
    column
        Name of the table's column; else the usual names are looked for, then a column that is ids only.

    Returns
    -------
    list of str
        As written in the file; :func:`parse_identifier` takes each of them.

    Raises
    ------
    NothingFoundError
        There is no such file.
    FormatError
        It holds no ids, or something between them that is none; the message has the line.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not a text file ({error}); give a list, a CSV table or a FASTA file") from error
    suffix = Path(path).suffix.lower()
    if text.lstrip().startswith(">"):
        found = _from_headers(text, path)
    elif suffix in (".csv", ".tsv") or column:
        found = _from_table(text, path, column)
    else:
        found = _from_lines(text, path)
    if not found:
        raise FormatError(f"{path}: no ids in it; list PDB ids or UniProt accessions")
    return list(dict.fromkeys(found))


def split_identifiers(text: str) -> list[str]:
    """Ids of a text, separated by spaces, commas, semicolons or ends of lines, each once; nobody looks what they are.

    An organism's name may have spaces in it (INS@Homo sapiens): a gene ends at the next comma or line.
    """
    parts = [part.strip() for part in re.split(r"[,;\n\r\u2028\u2029]+", text)]
    found = [word for part in parts for word in ([part] if "@" in part else part.split())]
    return list(dict.fromkeys(filter(None, found)))


def identifier_of_header(header: str) -> str | None:
    """Id of the entry that a FASTA header (without its >) names, or None."""
    first = header.split(maxsplit=1)[0] if header.split() else ""
    parts = first.split("|")
    if parts[0].lower() in ("sp", "tr", "pdb", "afdb") and len(parts) > 1:
        candidates = [parts[1]]
    else:
        # 1ABC_1|Chains, 1abc_A, 1ABC:A: the entity or the chain is not part of the id.
        candidates = [parts[0], re.split(r"[_:.]", parts[0])[0], re.sub(r"_[A-Za-z0-9]{1,4}$", "", parts[0])]
    for candidate in candidates:
        try:
            parse_identifier(candidate)
        except IdentifierError:
            continue
        return candidate
    return None


def _from_headers(text: str, path: object) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(">"):
            identifier = identifier_of_header(line[1:])
            if identifier is None:
                raise FormatError(f"{path}: line {number} names no entry of PDB, UniProt or AlphaFold DB: {line[:60]}")
            found.append(identifier)
    return found


def _from_lines(text: str, path: object) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for word in split_identifiers(line.split("#", 1)[0]):
            found.append(_checked(word, f"{path}: line {number}"))
    return found


def _from_table(text: str, path: object, column: str | None) -> list[str]:
    lines = text.splitlines()
    delimiter = max("\t;,", key=lambda mark: lines[0].count(mark)) if lines else ","
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row)]
    if not rows:
        return []
    names = [name.strip() for name in rows[0]]
    lower = [name.lower() for name in names]
    if column is not None:
        if column not in names:
            raise FormatError(f"{path}: no column {column}; there are {', '.join(names)}")
        return _column(rows, names.index(column), path)
    for wanted in _ID_COLUMNS:
        if wanted in lower:
            return _column(rows, lower.index(wanted), path)
    gene, organism = _place(lower, _GENE_COLUMNS), _place(lower, _ORGANISM_COLUMNS)
    if gene is not None and organism is not None:
        pairs = [(row[gene].strip(), row[organism].strip()) for row in rows[1:] if len(row) > max(gene, organism)]
        return [
            _checked(f"{name}@{species}", f"{path}: row {number}") for number, (name, species) in enumerate(pairs, 2)
        ]
    for index in range(len(names)):
        # A table may have no line of names, or names nobody thought of.
        for begin in (0, 1):
            cells = [row[index].strip() if index < len(row) else "" for row in rows[begin:]]
            if cells and all(_is_id(cell) for cell in cells):
                return cells
    raise FormatError(f"{path}: no column of ids; name it, there are {', '.join(names)}")


def _column(rows: Sequence[Sequence[str]], index: int, path: object) -> list[str]:
    cells = [(number, row[index].strip()) for number, row in enumerate(rows[1:], 2) if index < len(row)]
    return [_checked(cell, f"{path}: row {number}") for number, cell in cells if cell]


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _is_id(text: str) -> bool:
    try:
        parse_identifier(text)
    except IdentifierError:
        return False
    return True


def _checked(text: str, where: str) -> str:
    try:
        parse_identifier(text)
    except IdentifierError as error:
        raise FormatError(f"{where}: {error}") from error
    return text
