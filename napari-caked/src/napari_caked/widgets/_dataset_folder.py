"""The page of a folder: choose it, say how classes are known, see what that makes of the first names."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_caked.errors import DatasetError
from napari_caked.widgets._dataset_form import DatasetForm
from napari_caked.widgets._dataset_messages import InFolder
from napari_caked.widgets._dataset_sources import example_of
from napari_caked.widgets._work import Work

__all__ = ["FolderPage"]

_SOON = 150
"""Milliseconds after which somebody who types has paused."""


class FolderPage(QObject):
    """Keeps the example of the page true.

    Parameters
    ----------
    parent, form, work
        The window, and its parts.
    failed
        Told of an error.
    """

    def __init__(self, parent: QWidget, form: DatasetForm, work: Work, failed: Callable[[Exception], None]) -> None:
        super().__init__(parent)
        self._window, self._form, self._work, self._failed = parent, form, work, failed
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON)
        self._soon.timeout.connect(self._show_example)
        form.open_folder.clicked.connect(self._choose_folder)
        form.open_csv.clicked.connect(self._choose_csv)
        for line in (form.folder, form.said):
            line.textChanged.connect(self._soon.start)
        form.rule.currentIndexChanged.connect(self._soon.start)

    def said(self) -> InFolder:
        """What the page says."""
        form = self._form
        return InFolder(
            form.folder.text().strip(),
            form.rule.currentData(),
            form.said.text().strip(),
            form.groups.text().strip(),
            form.voxel_size.value() or None,
            form.permissive.isChecked(),
        )

    def require(self) -> InFolder:
        """What the page says.

        Raises
        ------
        DatasetError
            It names no folder.
        """
        said = self.said()
        if not said.path:
            raise DatasetError("there is no folder to look into; choose one")
        return said

    def _choose_folder(self) -> None:
        if chosen := QFileDialog.getExistingDirectory(self._window, "Folder of images or volumes"):
            self._form.folder.setText(chosen)

    def _choose_csv(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self._window, "Classes of the files", "", "CSV (*.csv);;All files (*)")
        if chosen:
            self._form.said.setText(chosen)

    def _show_example(self) -> None:
        said = self.said()

        def show(words: str) -> None:
            if said == self.said():  # else another one is on its way
                self._form.show_example(words)

        self._work.run(example_of, said, done=show, failed=self._failed)
