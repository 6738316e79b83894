"""Where the archive is and how patiently it is asked. A mirror or this machine is only another pair of addresses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from napari_empiarreader.errors import ArchiveError

__all__ = ["API_URL_VARIABLE", "ARCHIVE_URL_VARIABLE", "EMDB_URL_VARIABLE", "ArchiveSettings", "is_loopback"]

API_URL_VARIABLE = "EMPIAR_API_URL"
ARCHIVE_URL_VARIABLE = "EMPIAR_ARCHIVE_URL"
EMDB_URL_VARIABLE = "EMDB_API_URL"


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
        Pause in seconds before the first repeat; it doubles each time.
    connections
        Most connections kept open to the archive at a time.

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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ArchiveSettings:
        """Settings with the addresses of ``EMPIAR_API_URL``, ``EMPIAR_ARCHIVE_URL``, ``EMDB_API_URL``, where set."""
        environment = os.environ if environment is None else environment
        return cls(
            api_url=environment.get(API_URL_VARIABLE) or cls.api_url,
            archive_url=environment.get(ARCHIVE_URL_VARIABLE) or cls.archive_url,
            emdb_url=environment.get(EMDB_URL_VARIABLE) or cls.emdb_url,
        )


def is_loopback(url: str) -> bool:
    """Whether an address leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
