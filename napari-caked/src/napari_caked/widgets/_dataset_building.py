"""The window's side of a build: begin it, follow it, stop it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_caked.datasets.store import SUFFIX
from napari_caked.errors import DatasetError
from napari_caked.widgets import _dataset_messages as messages
from napari_caked.widgets._dataset_choice import Choice
from napari_caked.widgets._dataset_form import DatasetForm
from napari_caked.widgets._messages import Stop
from napari_caked.widgets._process import Helper
from napari_caked.widgets._progress import Progress
from napari_caked.widgets._saving import describe
from napari_caked.widgets._sim_messages import Advanced
from napari_caked.widgets._work import Work

__all__ = ["STARTING", "Building", "Reading", "Source", "ask_for_place"]

STARTING = "Starting the helper"
Source = messages.OnMicrographs | messages.InFolder | messages.InTable
Reading = Callable[[int], np.ndarray]


class Building:
    """One build after the other, each in a helper process.

    Parameters
    ----------
    form, work, progress
        Of the window.
    say
        Told what happens, in words.
    changed
        Called when a build has begun or is over.

    Attributes
    ----------
    built
        The data set that was built last.
    """

    def __init__(
        self,
        form: DatasetForm,
        work: Work,
        progress: Progress,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._form, self._work, self._progress = form, work, progress
        self._say, self._changed = say, changed
        self._helper: Helper | None = None
        self.built: Path | None = None

    @property
    def running(self) -> bool:
        """Whether a data set is being built."""
        return self._helper is not None

    def start(self, choice: Choice, source: tuple[Source, Reading | None]) -> None:
        """Build what is chosen; what was stopped goes on.

        Raises
        ------
        DatasetError
            The data set has no place, or no items.
        """
        job = self._job(choice, source[0])
        self.built = None
        self._progress.begin((STARTING, messages.LISTING, messages.STORING))
        self._helper = self._work.converse(job, source[1], heard=self._hear, failed=self._fail, ended=self._end)
        self._changed()

    def cancel(self) -> None:
        """Stop; what is stored stays, and the same build goes on from there."""
        if self._helper is not None:
            self._helper.tell(Stop())

    def forget(self) -> None:
        """The helper was ended by somebody else."""
        self._helper = None

    def _job(self, choice: Choice, source: Source) -> messages.BuildJob:
        form, path = self._form, self._form.path.text().strip()
        if not path:
            raise DatasetError(f"the data set has no place; give it a name that ends with {SUFFIX}")
        if not len(choice.taken):
            raise DatasetError("no item is taken; tick a class")
        classes, labels = choice.final()
        return messages.BuildJob(
            source,
            str(Path(path).expanduser().absolute()),
            form.recipe.to_json(),
            choice.taken,
            classes,
            labels,
            form.share.value() / 100,
            form.split_seed.value(),
            form.half.isChecked(),
            form.overwrite.isChecked(),
        )

    def _hear(self, message: Any) -> None:
        match message:
            case Advanced():
                self._progress.enter(message.what, message.total, message.done)
            case messages.Built():
                self.built = Path(message.path)
                took = self._progress.elapsed
                self._progress.end()
                self._say(f"{self.built.name} built in {took}.\n{message.words}")
            case messages.Halted():
                self._progress.end()
                self._say(message.words)

    def _fail(self, error: Exception) -> None:
        self._progress.end()  # else its clock may write over the message until the process has ended
        self._say(describe(error))

    def _end(self) -> None:
        self._helper = None
        self._progress.end()
        self._changed()


def ask_for_place(parent: QWidget, form: DatasetForm) -> None:
    """Ask where the data set shall be; whether it replaces another one is asked by the form."""
    option = QFileDialog.Option.DontConfirmOverwrite
    chosen, _ = QFileDialog.getSaveFileName(parent, "Data set", f"particles{SUFFIX}", f"(*{SUFFIX})", options=option)
    if chosen:
        form.path.setText(chosen if chosen.endswith(SUFFIX) else chosen + SUFFIX)
