"""The page of particle images: choose the table that names them, say which of its columns is the class."""

from __future__ import annotations

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_caked.errors import DatasetError
from napari_caked.widgets._dataset_form import DatasetForm
from napari_caked.widgets._dataset_messages import InTable

__all__ = ["TablePage"]

_FILES = "Particle images (*.star *.cs *.mrcs);;All files (*)"


class TablePage(QObject):
    """Says what the page says.

    Parameters
    ----------
    parent, form
        The window, and its parts.
    """

    def __init__(self, parent: QWidget, form: DatasetForm) -> None:
        super().__init__(parent)
        self._window, self._form = parent, form
        form.open_table.clicked.connect(self._choose)

    def require(self) -> InTable:
        """What the page says.

        Raises
        ------
        DatasetError
            It names no file.
        """
        form, path = self._form, self._form.table.text().strip()
        if not path:
            raise DatasetError("there is no table of particle images; choose a STAR or .cs file, or a stack")
        columns = form.class_column.text().strip(), form.group_column.text().strip()
        return InTable(path, *columns, form.image_size.value() or None, form.rows_permissive.isChecked())

    def _choose(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self._window, "Particle images", "", _FILES)
        if chosen:
            self._form.table.setText(chosen)
