"""Where the databases are, how long to wait for them, and where fetched files are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DatabaseSettings"]

RCSB_URL = "https://files.rcsb.org/download"
ALPHAFOLD_URL = "https://alphafold.ebi.ac.uk/api"


def _default_cache() -> Path:
    import platformdirs

    return Path(os.environ.get("PROFET_CACHE") or platformdirs.user_cache_path("napari-profet"))


@dataclass(frozen=True)
class DatabaseSettings:
    """Settings of all databases; a local server, a mirror and the real thing are the same code.

    Attributes
    ----------
    rcsb_url
        Folder of structure files by PDB id; environment variable PROFET_RCSB_URL.
    alphafold_url
        The interface of AlphaFold DB; environment variable PROFET_ALPHAFOLD_URL.
    cache_folder
        Where fetched files are kept; environment variable PROFET_CACHE, else the user's cache folder.
    timeout
        Seconds to wait for a connection, and for each further piece of an answer.
    retries
        How often a request is repeated when the server is overloaded or does not answer.
    backoff
        Seconds before the second repetition; doubled for each one after it.
    """

    rcsb_url: str = field(default_factory=lambda: os.environ.get("PROFET_RCSB_URL") or RCSB_URL)
    alphafold_url: str = field(default_factory=lambda: os.environ.get("PROFET_ALPHAFOLD_URL") or ALPHAFOLD_URL)
    cache_folder: Path = field(default_factory=_default_cache)
    timeout: float = 20.0
    retries: int = 3
    backoff: float = 0.5
