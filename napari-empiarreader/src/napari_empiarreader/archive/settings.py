"""Where the archive is and how patiently it is asked. A mirror or this machine is only another pair of addresses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from napari_empiarreader.errors import ArchiveError

__all__ = [
    "API_URL_VARIABLE",
    "ARCHIVE_URL_VARIABLE",
    "CACHE_BYTES_VARIABLE",
    "CACHE_VARIABLE",
    "CONNECTIONS_VARIABLE",
    "EMDB_URL_VARIABLE",
    "GO_ONLINE",
    "OFFLINE_VARIABLE",
    "SPLIT_VARIABLE",
    "ArchiveSettings",
    "is_loopback",
]

API_URL_VARIABLE = "EMPIAR_API_URL"
ARCHIVE_URL_VARIABLE = "EMPIAR_ARCHIVE_URL"
EMDB_URL_VARIABLE = "EMDB_API_URL"
CONNECTIONS_VARIABLE = "EMPIAR_CONNECTIONS"
CACHE_VARIABLE = "EMPIAR_CACHE"
CACHE_BYTES_VARIABLE = "EMPIAR_CACHE_BYTES"
OFFLINE_VARIABLE = "EMPIAR_OFFLINE"
SPLIT_VARIABLE = "EMPIAR_SPLIT_SLOW_READS"

GO_ONLINE = f"switch the offline mode off ({OFFLINE_VARIABLE}=0) and try again"

_DAY = 86_400.0
_WORDS = {"0": False, "no": False, "false": False, "off": False}
_WORDS |= {"1": True, "yes": True, "true": True, "on": True}


@dataclass(frozen=True)
class ArchiveSettings:
    """Addresses and manners of one archive.

    Parameters
    ----------
    api_url
        Address of the metadata service, without ``/entry/...``.
    archive_url
        Address of the folder that holds one folder per entry number. Plain http is used only where this says so.
    emdb_url
        Address of EMDB's metadata service, without ``/entry/...``; it knows the microscopes.
    timeout
        Longest silence in seconds before a request is given up and repeated. The archive hangs on about 3 % of its
        requests and answers nearly all others within 2 s, so a short time-out with repeats beats a long one.
    retries
        How often a failed request is repeated.
    backoff
        Pause in seconds before the first repeat, half of it by chance; it doubles each time.
    connections
        Most requests to a host that are under way at a time in this process.
    cache_folder
        Where ranges, listings and entries that were read are kept; None: the folder in ``EMPIAR_CACHE``, else the
        user's own cache folder.
    cache_bytes
        Most bytes kept there, by all processes together; 0 keeps nothing.
    file_age
        Seconds after which a file in the cache is asked about again, by one request without bytes: has it changed?
    listing_age
        Seconds for which a listing and an entry's metadata are believed.
    offline
        Answer from the cache only, whatever its age; anything else is an
        :class:`~napari_empiarreader.errors.OfflineError`.
    split_slow_reads
        Bring what is large and comes slowly over several connections, as far as ``connections`` leaves some free.

    Raises
    ------
    ArchiveError
        An address is not http(s), or a number makes no sense.
    """

    api_url: str = "https://www.ebi.ac.uk/empiar/api"
    archive_url: str = "https://ftp.ebi.ac.uk/empiar/world_availability"
    emdb_url: str = "https://www.ebi.ac.uk/emdb/api"
    timeout: float = 12.0
    retries: int = 5
    backoff: float = 0.25
    connections: int = 8
    cache_folder: Path | None = None
    cache_bytes: int = 5 << 30
    file_age: float = 7 * _DAY
    listing_age: float = _DAY
    offline: bool = False
    split_slow_reads: bool = True

    def __post_init__(self) -> None:
        for field in ("api_url", "archive_url", "emdb_url"):
            url = getattr(self, field).strip().rstrip("/")
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
                raise ArchiveError(
                    f"{field} {getattr(self, field)!r} is no web address; give one like https://host/path"
                )
            object.__setattr__(self, field, url)
        if self.timeout <= 0 or self.retries < 0 or self.backoff < 0 or self.connections < 1:
            raise ArchiveError(f"time-out, retries, back-off and connections must be positive: {self}")
        if self.cache_bytes < 0 or not self.file_age >= 0 or not self.listing_age >= 0:
            raise ArchiveError(f"the size of the cache and the ages of what is in it cannot be negative: {self}")
        if self.cache_folder is not None:
            object.__setattr__(self, "cache_folder", Path(self.cache_folder).expanduser().absolute())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ArchiveSettings:
        """Settings with what the environment says, where it says something.

        Addresses come from ``EMPIAR_API_URL``, ``EMPIAR_ARCHIVE_URL`` and ``EMDB_API_URL``, the rest from
        ``EMPIAR_CONNECTIONS``, ``EMPIAR_CACHE`` (a folder), ``EMPIAR_CACHE_BYTES``, and ``EMPIAR_OFFLINE`` and
        ``EMPIAR_SPLIT_SLOW_READS`` (1 or 0).

        Raises
        ------
        ArchiveError
            A variable makes no sense.
        """
        environment = os.environ if environment is None else environment
        folder = environment.get(CACHE_VARIABLE)
        return cls(
            api_url=environment.get(API_URL_VARIABLE) or cls.api_url,
            archive_url=environment.get(ARCHIVE_URL_VARIABLE) or cls.archive_url,
            emdb_url=environment.get(EMDB_URL_VARIABLE) or cls.emdb_url,
            connections=_whole_number(environment, CONNECTIONS_VARIABLE, cls.connections),
            cache_folder=Path(folder) if folder else None,
            cache_bytes=_whole_number(environment, CACHE_BYTES_VARIABLE, cls.cache_bytes),
            offline=_yes_or_no(environment, OFFLINE_VARIABLE, cls.offline),
            split_slow_reads=_yes_or_no(environment, SPLIT_VARIABLE, cls.split_slow_reads),
        )


def _whole_number(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable, "").strip()
    try:
        return int(text) if text else default
    except ValueError as error:
        raise ArchiveError(f"{variable}={text} is no whole number; give one like {default}") from error


def _yes_or_no(environment: Mapping[str, str], variable: str, default: bool) -> bool:
    text = environment.get(variable, "").strip().lower()
    if not text:
        return default
    if text not in _WORDS:
        raise ArchiveError(f"{variable}={text} is neither yes nor no; give 1 or 0")
    return _WORDS[text]


def is_loopback(url: str) -> bool:
    """Whether an address leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
