"""AlphaFold DB: predicted structures by UniProt accession."""

from __future__ import annotations

import json
import threading

from napari_profet.databases.cache import Remote
from napari_profet.databases.settings import DatabaseSettings
from napari_profet.databases.web import download
from napari_profet.errors import UnknownIdError, UnusableAnswerError

__all__ = ["locate"]


def locate(accession: str, settings: DatabaseSettings, *, stop: threading.Event | None = None) -> Remote:
    """Where the model file of a UniProt entry is, as the database itself says.

    The addresses of the files change with every release of the database, and old ones vanish; so they are taken from
    its answer and never put together here.
    """
    url = f"{settings.alphafold_url.rstrip('/')}/prediction/{accession}"
    answer = download(url, settings, stop=stop)
    try:
        records = json.loads(answer)
    except ValueError as error:
        raise UnusableAnswerError(f"{url}: the answer is not JSON; check the base URL") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UnusableAnswerError(f"{url}: the answer is not a list of predictions; check the base URL")
    record = _record_of(accession, records)
    if record is None:
        raise UnknownIdError(f"AlphaFold DB has no prediction for {accession} ({url}); check the accession")
    address = record.get("cifUrl")
    if not isinstance(address, str) or not address:
        raise UnusableAnswerError(f"{url}: the prediction of {accession} names no mmCIF file (cifUrl)")
    return Remote(address, str(record.get("latestVersion", "")))


def _record_of(accession: str, records: list[dict]) -> dict | None:
    """The prediction of this very sequence: the answer also lists isoforms, fragments and models by others."""
    model = f"AF-{accession}-F1"
    for record in records:
        # The id of a model was called entryId until 2025.
        if record.get("modelEntityId", record.get("entryId")) == model:
            return record
    same = [record for record in records if record.get("uniprotAccession") == accession]
    return same[0] if same else None
