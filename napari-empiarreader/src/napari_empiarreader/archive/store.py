"""The connections to the files of an archive: one obstore store, with its pool, for each address."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from napari_empiarreader.archive.settings import ArchiveSettings, is_loopback
from napari_empiarreader.archive.web import USER_AGENT

if TYPE_CHECKING:
    from obstore.store import ClientConfig, HTTPStore

__all__ = ["store_for"]


@lru_cache(maxsize=16)
def store_for(settings: ArchiveSettings) -> HTTPStore:
    """The one store, with its pool of connections, for an archive."""
    from obstore.store import HTTPStore

    options: ClientConfig = {
        "allow_http": settings.archive_url.startswith("http://"),
        # Silence is limited, not the whole transfer: a large file on a slow line may take as long as it needs.
        "read_timeout": timedelta(seconds=settings.timeout),
        "connect_timeout": timedelta(seconds=settings.timeout),
        "timeout": timedelta(days=1),
        "pool_max_idle_per_host": str(settings.connections),
        "user_agent": USER_AGENT,
    }
    if is_loopback(settings.archive_url):
        # A proxy of the environment cannot reach this machine's own servers. Naming another one, and this host as
        # its exception, is the only way to make the client pass it by.
        options["proxy_url"] = "http://127.0.0.1:9"
        options["proxy_excludes"] = urlsplit(settings.archive_url).hostname or ""
    return HTTPStore.from_url(
        settings.archive_url,
        client_options=options,
        retry_config={
            "max_retries": settings.retries,
            "retry_timeout": timedelta(seconds=settings.timeout * (settings.retries + 1) + 60),
            "backoff": {
                "init_backoff": timedelta(seconds=max(settings.backoff, 0.001)),
                "max_backoff": timedelta(seconds=max(8 * settings.backoff, 0.001)),
                "base": 2,
            },
        },
    )
