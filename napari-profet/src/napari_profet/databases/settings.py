"""Where the databases are, how long to wait for them, and where fetched files are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from napari_profet.errors import UserError

__all__ = ["MIRRORS", "DatabaseSettings", "SettingsError"]

MIRRORS = ("rcsb", "pdbe", "pdbj", "wwpdb")
"""Servers of the Protein Data Bank, in the order in which they are asked unless the settings say otherwise."""

_GB = 1024**3


class SettingsError(UserError, ValueError):
    """A setting has a value that means nothing."""


def _address(variable: str, default: str) -> str:
    """Field of a base URL: an environment variable, else the public address."""
    return field(default_factory=lambda: os.environ.get(variable) or default)


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    try:
        return float(text) if text else default
    except ValueError:
        raise SettingsError(f"{variable}={text} is not a number; unset it or give one, such as {default:g}") from None


def _default_cache() -> Path:
    import platformdirs

    return Path(os.environ.get("PROFET_CACHE") or platformdirs.user_cache_path("napari-profet"))


def _default_mirrors() -> tuple[str, ...]:
    text = os.environ.get("PROFET_MIRRORS", "")
    return tuple(name.strip().lower() for name in text.split(",") if name.strip()) or MIRRORS


@dataclass(frozen=True)
class DatabaseSettings:
    """Settings of all databases; a local server, a mirror and the real thing are the same code.

    Every address is also an environment variable: ``rcsb_url`` is PROFET_RCSB_URL, and so on.

    Attributes
    ----------
    rcsb_url
        RCSB's folder of structure files by PDB id.
    rcsb_fasta_url
        RCSB's folder of sequences by PDB id.
    rcsb_models_url
        RCSB's folder of BinaryCIF files by PDB id.
    rcsb_search_url
        RCSB's search by attribute.
    rcsb_data_url
        RCSB's GraphQL interface to what is known of an entry.
    pdbe_url
        PDBe's site: files, assemblies and the ranking of structures by UniProt accession.
    pdbj_url
        PDBj's copy of the archive's tree ``data``.
    wwpdb_url
        The archive by extended ids, one folder per entry.
    nextgen_url
        The archive of mmCIF files enriched with SIFTS, one folder per entry.
    alphafold_url
        The interface of AlphaFold DB.
    uniprot_url
        The interface of UniProt.
    emdb_urls
        Copies of EMDB's tree ``structures``, in the order in which they are asked; environment variable
        PROFET_EMDB_URL, separated by spaces.
    mirrors
        Servers of the PDB in the order in which they are asked: a choice of :data:`MIRRORS`; environment variable
        PROFET_MIRRORS, separated by commas.
    cache_folder
        Where fetched files are kept; environment variable PROFET_CACHE, else the user's cache folder.
    cache_limit
        Bytes of kept files; beyond it those go that were not used for longest. Environment variable
        PROFET_CACHE_GB, in units of 1024³ bytes.
    offline
        Never ask a server; environment variable PROFET_OFFLINE, anything but 0 or nothing.
    answer_days
        Days for which an answer that changes with the databases (a search, a list of predictions) is taken from the
        kept files. Structures, sequences and maps are kept until a refresh.
    timeout
        Seconds to wait for a connection, and for each further piece of an answer.
    retries
        How often a request is repeated when the server is overloaded or does not answer.
    backoff
        Seconds before the second repetition; doubled for each one after it.
    """

    rcsb_url: str = _address("PROFET_RCSB_URL", "https://files.rcsb.org/download")
    rcsb_fasta_url: str = _address("PROFET_RCSB_FASTA_URL", "https://www.rcsb.org/fasta/entry")
    rcsb_models_url: str = _address("PROFET_RCSB_MODELS_URL", "https://models.rcsb.org")
    rcsb_search_url: str = _address("PROFET_RCSB_SEARCH_URL", "https://search.rcsb.org/rcsbsearch/v2/query")
    rcsb_data_url: str = _address("PROFET_RCSB_DATA_URL", "https://data.rcsb.org/graphql")
    pdbe_url: str = _address("PROFET_PDBE_URL", "https://www.ebi.ac.uk/pdbe")
    pdbj_url: str = _address("PROFET_PDBJ_URL", "https://data.pdbj.org/pub/pdb/data")
    wwpdb_url: str = _address("PROFET_WWPDB_URL", "https://files-beta.wwpdb.org/pub/wwpdb/pdb/data/entries")
    nextgen_url: str = _address(
        "PROFET_NEXTGEN_URL", "https://files-nextgen.wwpdb.org/pdb_nextgen/data/entries/divided"
    )
    alphafold_url: str = _address("PROFET_ALPHAFOLD_URL", "https://alphafold.ebi.ac.uk/api")
    uniprot_url: str = _address("PROFET_UNIPROT_URL", "https://rest.uniprot.org")
    emdb_urls: tuple[str, ...] = field(
        default_factory=lambda: (
            tuple(os.environ.get("PROFET_EMDB_URL", "").split())
            or (
                "https://ftp.ebi.ac.uk/pub/databases/emdb/structures",
                "https://files.wwpdb.org/pub/emdb/structures",
            )
        )
    )
    mirrors: tuple[str, ...] = field(default_factory=_default_mirrors)
    cache_folder: Path = field(default_factory=_default_cache)
    cache_limit: int = field(default_factory=lambda: int(_number("PROFET_CACHE_GB", 20) * _GB))
    offline: bool = field(default_factory=lambda: os.environ.get("PROFET_OFFLINE", "") not in ("", "0"))
    answer_days: float = 7.0
    timeout: float = 20.0
    retries: int = 3
    backoff: float = 0.5

    def __post_init__(self) -> None:
        unknown = [name for name in self.mirrors if name not in MIRRORS]
        if unknown or not self.mirrors:
            raise SettingsError(f"mirrors={','.join(self.mirrors)}: choose from {', '.join(MIRRORS)}")
