"""How the catalogue is fetched. The service has no call that lists all entries, so numbers are walked in ranges."""

from __future__ import annotations

import logging
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from napari_empiarreader.archive import _values
from napari_empiarreader.archive._catalogue_store import Store, StoredState
from napari_empiarreader.archive.settings import ArchiveSettings
from napari_empiarreader.archive.web import get_json, post_json
from napari_empiarreader.errors import ArchiveError, EntryNotFoundError, ServerUnreachableError
from napari_empiarreader.progress import Progress

__all__ = ["CatalogueUpdate", "Walk"]

FIRST = 10_000
"""EMPIAR's first number."""
STEP = 500
"""Numbers asked for at once."""
EMPTY_ENOUGH = 3
"""Empty ranges in a row after which no entries are expected."""
_LAST = 99_999
_BULK_PATIENCE = 5.0
"""Times the usual silence that the service may need to gather a whole range."""

_log = logging.getLogger(__name__)
_Record = dict[str, Any]


@dataclass(frozen=True)
class CatalogueUpdate:
    """What an update did, in numbers of entries.

    Parameters
    ----------
    failed
        Entries that the archive could not give in full; the next update asks for them again.
    """

    added: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    unchanged: int = 0
    failed: tuple[int, ...] = ()


@dataclass
class Walk:
    """One update under way: asks, keeps what comes at once, and counts."""

    store: Store
    settings: ArchiveSettings
    progress: Progress
    full: bool
    added: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    unchanged: int = 0

    def run(self, oldest: float) -> CatalogueUpdate:
        """Ask again for ranges last asked for before ``oldest`` (seconds since 1970), then for new numbers."""
        checked = self.store.checked()
        largest = self.store.largest()
        self._fetch_each(sorted(n for n, state in self.store.states(0, _LAST).items() if not state.complete))
        first = FIRST if largest is None else max(largest + 1, FIRST)
        for start in sorted(start for start, when in checked.items() if self.full or when < oldest):
            self._ask(start, start + STEP - 1)
            if start <= first < start + STEP:
                first = start + STEP
        empty = 0
        while empty < EMPTY_ENOUGH and first <= _LAST:
            last = first - (first - FIRST) % STEP + STEP - 1
            empty = 0 if self._ask(first, last) else empty + 1
            first = last + 1
        if self.store.count() == 0:
            raise ArchiveError(
                f"{self.settings.api_url} knows no entries from {FIRST} on; check that it is the EMPIAR service"
            )
        return CatalogueUpdate(
            tuple(self.added), tuple(self.changed), tuple(self.removed), self.unchanged, tuple(self.failed)
        )

    @property
    def _done(self) -> int:
        return len(self.added) + len(self.changed) + self.unchanged

    def _ask(self, first: int, last: int) -> bool:
        """Fetch the entries ``first`` to ``last``; whether there are any."""
        what = f"EMPIAR-{first} to {last}"
        self.progress(self._done, 0, what)
        answer = self._bulk(first, last, what)
        known = self.store.states(first, last)
        new = {number: record for number, record in answer.items() if number not in known}
        changed = {n: record for n, record in answer.items() if n in known and self._has_changed(known[n], record)}
        self.unchanged += len(answer) - len(new) - len(changed)
        whole = {n: (record, True) for n, record in (new | changed).items() if _is_whole(record)}
        brief = {n: (record, False) for n, record in new.items() if n not in whole}
        self.store.mark_incomplete([n for n in changed if n not in whole])
        # Where only the end of a range was asked for, its beginning is as old as before.
        whole_range = bool(answer) and (first - FIRST) % STEP == 0
        self.store.put({**whole, **brief}, checked=first if whole_range else None)
        self.added += sorted(new)
        self.changed += sorted(n for n in changed if n in whole)
        self.progress(self._done, 0, what)
        missing = sorted(set(known) - set(answer)) if answer else []
        self._fetch_each(sorted(set(new | changed) - set(whole)) + missing)
        return bool(answer)

    def _has_changed(self, known: StoredState, record: _Record) -> bool:
        date = _values.date(record.get("update_date"))
        return self.full or not known.complete or not date or date != known.updated

    def _bulk(self, first: int, last: int, what: str) -> dict[int, _Record]:
        """The service's records for a range, by number; whatever was not asked for is left out."""
        patient = replace(self.settings, timeout=self.settings.timeout * _BULK_PATIENCE)
        try:
            answer = post_json(f"{self.settings.api_url}/entry/", f"{first}-{last}", patient, what)
        except EntryNotFoundError:
            return {}
        if not isinstance(answer, dict):
            raise ArchiveError(f"{what}: the archive's answer lists no entries; try again later")
        wanted = {f"EMPIAR-{number}": number for number in range(first, last + 1)}
        return {wanted[name]: record for name, record in answer.items() if name in wanted and isinstance(record, dict)}

    def _fetch_each(self, numbers: list[int]) -> None:
        """Fetch entries one by one, several at a time; those that the archive has no more are forgotten."""
        waiting = iter(numbers)
        under_way: dict[Future[_Record | None], int] = {}
        done = 0
        with ThreadPoolExecutor(self.settings.connections, thread_name_prefix="catalogue") as pool:
            try:
                while True:
                    # No more than are asked for at a time, and as many again: an end has little to throw away.
                    for number in islice(waiting, 2 * self.settings.connections - len(under_way)):
                        under_way[pool.submit(self._fetch, number)] = number
                    if not under_way:
                        return
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        number = under_way.pop(future)
                        done += 1
                        self._keep(number, future)
                        self.progress(self._done, 0, f"EMPIAR-{number}, {done} of {len(numbers)}")
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                self._keep_the_rest(under_way)

    def _keep_the_rest(self, under_way: dict[Future[_Record | None], int]) -> None:
        """Keep what had been asked for when an update was ended, and has come."""
        if not under_way:
            return
        came = {number: f.result() for f, number in under_way.items() if not f.cancelled() and f.exception() is None}
        self.store.put({number: (record, True) for number, record in came.items() if record is not None})

    def _fetch(self, number: int) -> _Record | None:
        """The service's full record of an entry, or None where it has no such entry."""
        try:
            answer = get_json(f"{self.settings.api_url}/entry/{number}/", self.settings, f"EMPIAR-{number}")
        except EntryNotFoundError:
            return None
        record = answer.get(f"EMPIAR-{number}") if isinstance(answer, dict) else None
        if not isinstance(record, dict):
            raise ArchiveError(f"EMPIAR-{number}: the archive's answer does not describe this entry")
        return record

    def _keep(self, number: int, future: Future[_Record | None]) -> None:
        try:
            record = future.result()
        except ServerUnreachableError:
            raise
        except ArchiveError as error:
            _log.warning("not in the catalogue in full: %s", error)
            self.failed.append(number)
            return
        if record is None:
            self.store.remove(number)
            self.removed.append(number)
            return
        self.store.put({number: (record, True)})
        if number not in self.added:
            self.changed.append(number)


def _is_whole(record: _Record) -> bool:
    """Whether a record of a bulk answer is the full one: there is no entry without image sets."""
    return bool(_values.records(record.get("imagesets")))
