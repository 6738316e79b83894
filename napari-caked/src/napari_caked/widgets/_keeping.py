"""The best picker so far, on disk while it learns: what is left of a training whose process or window was killed.

Runs in the helper, which outlives a window that is killed. Knows neither Qt nor PyTorch until it writes.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_caked.widgets._messages import Kept, Warned

if TYPE_CHECKING:
    from napari_caked.checkpoint import PickerModel

__all__ = ["Keeper", "kept_folder", "new_kept_file"]

_LOG = logging.getLogger(__name__)

_EVERY = 30.0
"""Least number of seconds between two writings while the picker learns."""

_MOST = 10
"""Files that stay in the folder, the newest ones."""


def kept_folder() -> Path:
    """Folder of the pickers that were kept: in ``CAKED_STATE``, or in the user's folder for the state of programs."""
    import platformdirs

    return Path(os.environ.get("CAKED_STATE") or platformdirs.user_state_path("napari-caked")) / "pickers"


def new_kept_file() -> Path:
    """A file for the pickers of one trainer, which nobody else uses."""
    return kept_folder() / f"picker_{time.strftime('%Y-%m-%d_%H%M%S')}_{uuid.uuid4().hex[:6]}.safetensors"


class Keeper:
    """Writes the best picker so far to one file, not too often.

    Parameters
    ----------
    path
        The file; older ones beside it are removed when it is first written. None keeps nothing.
    """

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._written: float | None = None
        self._is_best = True

    def validated(self, best: bool) -> None:
        """Say whether the picker as it is now is better than all before; where nobody says so, the last is the best."""
        self._is_best = best

    def offer(self, model: PickerModel, step: int) -> Iterator[Kept | Warned]:
        """Write a picker of ``step`` that learns on, if it is the best and it is time."""
        if self._is_best and (self._written is None or time.monotonic() - self._written >= _EVERY):
            yield from self.write(model, step)

    def write(self, model: PickerModel, step: int | None = None) -> Iterator[Kept | Warned]:
        """Write a picker now; without a step it is the one that the training has come to."""
        from napari_caked.checkpoint import save_model

        if self._path is None:
            return
        first, self._written = self._written is None, time.monotonic()
        try:
            save_model(self._path, model, overwrite=True)
            if first:
                _purge(self._path.parent)
        except OSError as error:  # a full disk, say: no reason to lose the training itself
            yield Warned(
                f"{self._path}: the picker could not be kept there while it learns ({error.strerror or error}); "
                "make room, or set CAKED_STATE to another folder"
            )
            return
        yield Kept(str(self._path), step)


def _purge(folder: Path) -> None:
    """Remove all but the newest files, those that a killed process has left unfinished included."""
    for file in sorted(folder.glob("*.safetensors"), key=_age)[_MOST:]:
        try:
            file.unlink(missing_ok=True)
        except OSError:
            _LOG.warning("%s: an old picker could not be removed", file)


def _age(file: Path) -> float:
    """Seconds since a file was written; one that is gone meanwhile is very old."""
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return float("inf")
