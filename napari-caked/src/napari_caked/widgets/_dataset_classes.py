"""The table of classes: name, colour, number of items, and whether they are taken."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem

from napari_caked.widgets._dataset_choice import Choice
from napari_caked.widgets._dataset_sheet import colour_of

__all__ = ["ClassTable"]

_ROLE = Qt.ItemDataRole.UserRole


class ClassTable(QTableWidget):
    """Shows the classes of a choice and says which one somebody ticks.

    Attributes
    ----------
    ticked
        Emitted with the label of a class and whether its items shall be taken.
    """

    ticked = Signal(int, bool)

    def __init__(self) -> None:
        super().__init__(0, 2)
        self.setHorizontalHeaderLabels(["Class", "Items"])
        self.setToolTip("Take the items of the classes that are ticked")
        self.setMaximumHeight(130)
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        header, side = self.horizontalHeader(), self.verticalHeader()
        if header is not None and side is not None:
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            side.hide()
        self.itemChanged.connect(self._on_item)

    def show_choice(self, choice: Choice | None) -> None:
        """Show these classes, or none."""
        blocked = self.blockSignals(True)
        names, counts = (choice.names, choice.counts()) if choice is not None else ({}, {})
        self.setRowCount(len(names))
        for row, (label, name) in enumerate(names.items()):
            entry, count = QTableWidgetItem(name), QTableWidgetItem(f"{counts[label]:,}")
            off = choice is not None and label in choice.off
            entry.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            entry.setCheckState(Qt.CheckState.Unchecked if off else Qt.CheckState.Checked)
            entry.setForeground(colour_of(label))
            entry.setData(_ROLE, label)
            count.setFlags(Qt.ItemFlag.ItemIsEnabled)
            self.setItem(row, 0, entry)
            self.setItem(row, 1, count)
        self.blockSignals(blocked)

    def _on_item(self, entry: QTableWidgetItem) -> None:
        if entry.column() == 0:
            self.ticked.emit(int(entry.data(_ROLE)), entry.checkState() == Qt.CheckState.Checked)
