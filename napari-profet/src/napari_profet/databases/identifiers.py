"""Ids as users write them, and as the databases want them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from napari_profet.errors import IdentifierError

__all__ = ["Database", "Identifier", "parse_identifier"]


class Database(StrEnum):
    """A database; ``AUTO`` is the one whose ids look like the id that is given."""

    AUTO = "auto"
    PDB = "pdb"
    ALPHAFOLD = "alphafold"
    UNIPROT = "uniprot"
    EMDB = "emdb"


@dataclass(frozen=True)
class Identifier:
    """An entry of a database.

    Attributes
    ----------
    database
        Any but AUTO.
    accession
        The id in the one form that is used for addresses and file names: upper case for four-character PDB ids,
        UniProt accessions and entry names; lower case for extended PDB ids; EMD-1234 for maps. A gene of an organism
        is GENE@organism, as it was written.
    fragment
        Predictions of long proteins come in several overlapping pieces, counted from 1.
    """

    database: Database
    accession: str
    fragment: int = 1

    def __str__(self) -> str:
        return self.accession if self.fragment == 1 else f"{self.accession}-F{self.fragment}"

    @property
    def is_name(self) -> bool:
        """Whether this is an entry name or a gene, which UniProt has to translate to an accession."""
        return self.database is Database.UNIPROT and not _UNIPROT.fullmatch(self.accession)

    @property
    def extended(self) -> str:
        """A PDB id in its extended form of twelve characters."""
        return self.accession if len(self.accession) > 4 else f"pdb_0000{self.accession.lower()}"

    @classmethod
    def of_key(cls, database: Database, text: str) -> Identifier:
        """Return the entry that :class:`str` made this text of."""
        accession, dash, number = text.rpartition("-F")
        if database is Database.ALPHAFOLD and dash:
            return cls(database, accession, int(number))
        return cls(database, text)


_PDB = re.compile(r"(?:pdb_0000)?([0-9][a-z0-9]{3})", re.IGNORECASE)
_PDB_EXTENDED = re.compile(r"pdb_[a-z0-9]{8}", re.IGNORECASE)
# https://www.uniprot.org/help/accession_numbers, and the number of an isoform.
_ACCESSION = r"(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(?:-[0-9]+)?"
_UNIPROT = re.compile(_ACCESSION, re.IGNORECASE)
# AF-P12345-F1, with or without the rest of a file name; AF_AFP12345F1 is the form of RCSB.
_MODEL = re.compile(
    rf"(?:AF-|AF_AF|AFDB:AF-)({_ACCESSION})(?:-?F([0-9]+))?(?:-model_v[0-9]+)?(?:\.(?:b?cif|pdb)(?:\.gz)?)?",
    re.IGNORECASE,
)
# https://www.uniprot.org/help/entry_name; half-written ids of other databases look the same.
_ENTRY_NAME = re.compile(r"(?!PDB_|EMD_|AF_)[A-Z0-9]{1,10}_[A-Z0-9]{3,5}", re.IGNORECASE)
_GENE = re.compile(r"[^\s@]+@[^@]*[^\s@]")
_EMDB = re.compile(r"EMD[-_]?([0-9]{4,6})", re.IGNORECASE)

_EXAMPLES = {
    Database.PDB: "a PDB id such as 1abc or pdb_00001abc",
    Database.ALPHAFOLD: "a UniProt accession such as P12345 or a model such as AF-P12345-F1",
    Database.UNIPROT: "a UniProt accession such as P12345, an entry name such as INS_HUMAN, or a gene as INS@human",
    Database.EMDB: "an EMDB id such as EMD-1234",
}


def parse_identifier(text: str, database: Database | str = Database.AUTO) -> Identifier:
    """Tell what an id means. Nothing is asked of any server.

    Parameters
    ----------
    text
        In any case: a PDB id (1abc, pdb_00001abc), a UniProt accession (P12345, P12345-2; AlphaFold DB by default) or
        model (AF-P12345-F1, AF-P12345F1, AF_AFP12345F1, a file name), an entry name (INS_HUMAN), a gene with its
        organism (INS@human, INS@9606, INS@Homo sapiens), an EMDB id (EMD-1234).
    database
        Insist on this database.

    Raises
    ------
    IdentifierError
        The text is no such id.
    """
    text, database = text.strip(), Database(database)
    for candidate in (Database.PDB, Database.ALPHAFOLD, Database.EMDB, Database.UNIPROT):
        # Entry names and genes lead to predictions, so they may be given where those are wanted.
        wanted = database in (Database.AUTO, candidate)
        if (wanted or (database, candidate) == (Database.ALPHAFOLD, Database.UNIPROT)) and (
            found := _READERS[candidate](text)
        ):
            return found
    if database is Database.AUTO:
        raise IdentifierError(
            f"{text!r} is neither a PDB id such as 1abc or pdb_00001abc, nor a UniProt accession such as P12345, an "
            f"entry name such as INS_HUMAN, a gene as INS@human, or an EMDB id such as EMD-1234; check the id"
        )
    raise IdentifierError(f"{text!r} is not {_EXAMPLES[database]}; check the id")


def _pdb(text: str) -> Identifier | None:
    if match := _PDB.fullmatch(text):
        return Identifier(Database.PDB, match[1].upper())
    return Identifier(Database.PDB, text.lower()) if _PDB_EXTENDED.fullmatch(text) else None


def _alphafold(text: str) -> Identifier | None:
    if match := _MODEL.fullmatch(text):
        return Identifier(Database.ALPHAFOLD, match[1].upper(), int(match[2] or 1))
    return Identifier(Database.ALPHAFOLD, text.upper()) if _UNIPROT.fullmatch(text) else None


def _uniprot(text: str) -> Identifier | None:
    if _UNIPROT.fullmatch(text) or _ENTRY_NAME.fullmatch(text):
        return Identifier(Database.UNIPROT, text.upper())
    return Identifier(Database.UNIPROT, text) if _GENE.fullmatch(text) else None


def _emdb(text: str) -> Identifier | None:
    match = _EMDB.fullmatch(text)
    return Identifier(Database.EMDB, f"EMD-{match[1]}") if match else None


_READERS = {
    Database.PDB: _pdb,
    Database.ALPHAFOLD: _alphafold,
    Database.UNIPROT: _uniprot,
    Database.EMDB: _emdb,
}
