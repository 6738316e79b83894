"""Picks into the file of any program: which formats are offered, and what each needs to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_caked.layers import table_from_points
from napari_caked.widgets._saving import describe
from napari_caked.widgets._work import Work
from napari_empiarreader.coordinates import FORMATS, CoordinateFormat, ParticleTable, write_particles
from napari_empiarreader.layers import layer_pixel_size

if TYPE_CHECKING:
    from napari.layers import Layer, Points

__all__ = ["PickFile", "PickSaving", "ask_for_pick_file"]

_OFFERED = ("star", "relion-autopick", "cryosparc", "box", "cbox", "eman2", "csv", "topaz", "epicker", "xmipp")
"""The first is what is meant where nobody chooses; helices, which no picker makes, have a format more."""


class PickFile:
    """What a layer shows, as it is now, ready to be written from any thread.

    Parameters
    ----------
    picks
        The layer.
    others
        Layers beside it, whose micrographs tell their sizes.
    """

    def __init__(self, picks: Points, others: Iterable[Layer]) -> None:
        self.table: ParticleTable = table_from_points(picks, ["micrograph_0000"])
        attributes = {"metadata": picks.metadata, "units": picks.units, "scale": picks.scale}
        self._pixel_size = layer_pixel_size(attributes)
        width = float(np.median(np.atleast_1d(picks.size))) if len(picks.data) else 0.0
        self._box_size = 2 * round(width / 2) or None
        self._shapes: dict[str, tuple[int, int]] = {}
        for layer in others:
            if isinstance(layer, Image) and layer.ndim >= 2:
                shape = (layer.data[0] if layer.multiscale else layer.data).shape[-2:]
                self._shapes |= dict.fromkeys(layer.metadata.get("micrographs") or (), (int(shape[0]), int(shape[1])))

    def write(self, path: Path, *, format: str | None = None, overwrite: bool = False) -> str:
        """Write it, and tell in words how much went where; without a format, the suffix decides."""
        files = write_particles(
            path,
            self.table,
            format=format,
            overwrite=overwrite,
            shapes=self._shapes or None,
            pixel_size=self._pixel_size,
            box_size=self._box_size,
        )
        where = str(path) if files == [path] else f"{len(files)} files in {files[0].parent}"
        return f"{len(self.table):,} picks written to {where}"


def ask_for_pick_file(parent: QWidget, suggestion: str) -> tuple[Path, str] | None:
    """A file to write, with the suffix of its format, and the format; None where the user thought better of it."""
    formats = {_title(FORMATS[name]): FORMATS[name] for name in _OFFERED}
    first = next(iter(formats))
    # Qt would ask about the name as typed; which files there will be, is known only when they are written.
    option = QFileDialog.Option.DontConfirmOverwrite
    chosen, title = QFileDialog.getSaveFileName(
        parent, "Save picks", suggestion, ";;".join(formats), first, options=option
    )
    if not chosen:
        return None
    path = Path(chosen)
    form = formats.get(title, formats[first])
    if path.suffix.lower() in form.suffixes:
        return path, form.name
    # The suggestion keeps its suffix when another format is chosen in the dialog.
    known = path.suffix.lower() in {suffix for other in formats.values() for suffix in other.suffixes}
    name = path.stem if known else path.name
    return path.with_name(name + form.suffixes[0]), form.name


def _title(form: CoordinateFormat) -> str:
    each = ", one file per micrograph" if form.one_micrograph and "micrograph" not in form.title else ""
    return f"{form.title}{each} (*{form.suffixes[0]})"


class PickSaving:
    """Writes picks in the background and says how it went.

    Parameters
    ----------
    parent
        Of the question whether files may be replaced.
    work
        Runs the threads.
    say
        Told the outcome.
    """

    def __init__(self, parent: QWidget, work: Work, say: Callable[[str], None]) -> None:
        self._parent, self._work, self._say = parent, work, say

    def save(self, file: PickFile, path: Path, *, format: str | None, overwrite: bool, ask: bool) -> None:
        """Write; where something is in the way, and ``ask``, the user decides."""

        def failed(error: Exception) -> None:
            if isinstance(error, FileExistsError) and ask and self._may_replace(error):
                self.save(file, path, format=format, overwrite=True, ask=False)
            elif not isinstance(error, FileExistsError) or not ask:
                self._say(describe(error))

        write = partial(file.write, path, format=format, overwrite=overwrite)
        self._work.run(write, done=self._done, failed=failed)

    def _done(self, message: str) -> None:
        self._say(message)
        show_info(message)

    def _may_replace(self, error: Exception) -> bool:
        """Ask whether files that are in the way may go."""
        words = f"{str(error).split('; ')[0]}. Replace?"
        return bool(QMessageBox.question(self._parent, "Save picks", words) == QMessageBox.StandardButton.Yes)
