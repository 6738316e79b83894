"""What has been picked so far, beside the output: a run that ends before its time is continued, not repeated.

One line of JSON in the beginning says what is picked with what; each further line is a micrograph, its picks, and the
length and date of its file. A line is on the disk before its micrograph counts as done; half a line, or one that is
damaged, is a micrograph that is not done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from napari_caked.errors import PickingError
from napari_caked.jobs import Micrograph, Outcome
from napari_empiarreader.errors import FileExistsAlreadyError, TargetBusyError

__all__ = ["Journal"]

_FORMAT = "napari-caked picks, version 1"


class Journal:
    """Outcomes of one run, kept in a file.

    Parameters
    ----------
    path
        Of the file.
    about
        What the picks depend on: model, settings, pixel size; of values JSON knows.
    resume
        Go on where an earlier run ended. Otherwise an earlier journal is an error, unless ``overwrite``.

    Raises
    ------
    FileExistsAlreadyError
        An earlier run was not finished, and nobody said what to do with it.
    PickingError
        The earlier run was made with something else.
    TargetBusyError
        Another process is writing it.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], *, resume: bool = False, overwrite: bool = False) -> None:
        self.path = path
        if path.exists() and not resume and not overwrite:
            raise FileExistsAlreadyError(
                f"{path}: picks of a run that did not end; add --resume to go on with it, or --overwrite to begin anew"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        _lock(self._file.fileno(), path)
        self._kept: dict[str, tuple[Any, str]] = {}
        if resume:
            self._read(dict(about))
        else:
            self._file.truncate(0)
        if self._file.seek(0, os.SEEK_END) == 0:
            self._append({"format": _FORMAT, "about": dict(about)})

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def finished(self, micrographs: Iterable[Micrograph]) -> dict[str, Outcome]:
        """Outcomes of earlier, by name, of those of the micrographs whose files have not changed since."""
        found = {}
        for micrograph in micrographs:
            state, line = self._kept.get(micrograph.name, (None, ""))
            if line and state == _state(micrograph):
                found[micrograph.name] = Outcome.from_json(line)
        return found

    def add(self, micrograph: Micrograph, outcome: Outcome) -> None:
        """Keep an outcome; one without picks for an error is not kept, so that it is tried again."""
        if not outcome.error:
            self._append({"file": _state(micrograph), "outcome": outcome.as_json()})

    def remove(self) -> None:
        """Nothing is left to continue."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _append(self, value: object) -> None:
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, about: dict[str, Any]) -> None:
        self._file.seek(0)
        good = 0
        for line in self._file:
            try:
                value = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                value = None
            if not isinstance(value, dict):
                break  # what was being written when the run ended
            if good == 0:
                self._check(value, about)
            else:
                with suppress(KeyError, TypeError, ValueError):
                    outcome = Outcome.from_json(value["outcome"])
                    self._kept[outcome.name] = (value["file"], value["outcome"])
            good += len(line)
        self._file.truncate(good)

    def _check(self, head: dict[str, Any], about: dict[str, Any]) -> None:
        if head.get("format") != _FORMAT:
            raise PickingError(f"{self.path}: no journal of picks that this version can read; use --overwrite")
        theirs = head.get("about", {})
        changed = [name for name in about if theirs.get(name) != json.loads(json.dumps(about[name]))]
        if changed:
            was = ", ".join(f"{name} was {theirs.get(name)}" for name in changed)
            raise PickingError(
                f"{self.path}: the earlier run was made otherwise ({was}); repeat it as it was, or use --overwrite to "
                "begin anew"
            )


def _state(micrograph: Micrograph) -> list[Any]:
    """What tells whether a file is still the same: location, and of local files length and date."""
    with suppress(OSError):
        status = Path(micrograph.location).stat()
        return [micrograph.location, micrograph.section, status.st_size, status.st_mtime_ns]
    return [micrograph.location, micrograph.section]


def _lock(file: int, path: Path) -> None:
    """Hold the file for this process alone, until it is closed."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise TargetBusyError(f"{path}: another run is writing these picks at this moment; wait for it") from error
