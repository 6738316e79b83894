"""Ids as users write them, and as the databases want them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from napari_profet.errors import IdentifierError

__all__ = ["Database", "Identifier", "parse_identifier"]


class Database(StrEnum):
    """A database of structures; ``AUTO`` is the one whose ids look like the id that is given."""

    AUTO = "auto"
    PDB = "pdb"
    ALPHAFOLD = "alphafold"


@dataclass(frozen=True)
class Identifier:
    """An entry of a database.

    Attributes
    ----------
    database
        PDB or ALPHAFOLD, never AUTO.
    accession
        The id in the one form that is used for addresses and file names: upper case for four-character PDB ids and
        UniProt accessions, lower case for extended PDB ids.
    """

    database: Database
    accession: str

    def __str__(self) -> str:
        return self.accession


_PDB = re.compile(r"(?:pdb_0000)?([0-9][a-z0-9]{3})", re.IGNORECASE)
_PDB_EXTENDED = re.compile(r"pdb_[a-z0-9]{8}", re.IGNORECASE)
# https://www.uniprot.org/help/accession_numbers, and the number of an isoform; or the id of a model made from it.
_UNIPROT = re.compile(
    r"(?:AF-)?((?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(?:-[0-9]+)?)(?:-F1)?",
    re.IGNORECASE,
)


def parse_identifier(text: str, database: Database | str = Database.AUTO) -> Identifier:
    """Tell what an id means.

    Parameters
    ----------
    text
        A PDB id (1abc or pdb_00001abc) or a UniProt accession (P12345, P12345-2, AF-P12345-F1), in any case.
    database
        Insist on this database.

    Raises
    ------
    IdentifierError
        The text is no such id.
    """
    text, database = text.strip(), Database(database)
    if database is not Database.ALPHAFOLD:
        if match := _PDB.fullmatch(text):
            return Identifier(Database.PDB, match[1].upper())
        if _PDB_EXTENDED.fullmatch(text):
            return Identifier(Database.PDB, text.lower())
    if database is not Database.PDB and (match := _UNIPROT.fullmatch(text)):
        return Identifier(Database.ALPHAFOLD, match[1].upper())
    wanted = {
        Database.PDB: "a PDB id such as 1abc or pdb_00001abc",
        Database.ALPHAFOLD: "a UniProt accession such as P12345",
        Database.AUTO: "neither a PDB id such as 1abc or pdb_00001abc, nor a UniProt accession such as P12345",
    }[database]
    verb = "is" if database is Database.AUTO else "is not"
    raise IdentifierError(f"{text!r} {verb} {wanted}; check the id")
