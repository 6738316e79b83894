"""The table of a protein's structures, with a bar that shows which part of the protein each of them has."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QModelIndex, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
)

from napari_profet.widgets._finding import FoundTable, Row

__all__ = ["HitsTable"]

_COLUMNS = ("entry", "method", "Å", "residues")
_COVERED = 3
_SPAN = Qt.ItemDataRole.UserRole


class HitsTable(QTableWidget):
    """Structures of a protein; ``opened`` tells which row a person wants."""

    opened = Signal(object)

    def __init__(self) -> None:
        super().__init__(0, len(_COLUMNS))
        self._rows: tuple[Row, ...] = ()
        self.setHorizontalHeaderLabels(_COLUMNS)
        self.setItemDelegateForColumn(_COVERED, _CoverageBar(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        numbers: Any = self.verticalHeader()
        numbers.hide()
        numbers.setDefaultSectionSize(24)
        header: Any = self.horizontalHeader()
        for column in range(_COVERED):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_COVERED, QHeaderView.ResizeMode.Stretch)
        self.setMinimumHeight(180)
        self.setToolTip("Double-click a structure to open it; the bar is the part of the protein that it shows")
        # Double-click, or Enter.
        self.itemActivated.connect(lambda item: self.opened.emit(self._rows[item.row()]))

    @property
    def chosen(self) -> Row | None:
        """The row that is marked."""
        index = self.currentRow()
        return self._rows[index] if 0 <= index < len(self._rows) else None

    def show_table(self, table: FoundTable) -> None:
        """List the structures, and mark the first."""
        self._rows = table.rows
        self.setRowCount(len(table.rows))
        for number, row in enumerate(table.rows):
            about = f"{row.identifier}: {row.method} {row.resolution and row.resolution + ' Å'}".strip()
            for column, text in enumerate((row.name, row.method, row.resolution)):
                item = QTableWidgetItem(text)
                item.setToolTip(about)
                self.setItem(number, column, item)
            covered = QTableWidgetItem()
            covered.setData(_SPAN, (row.first, row.last, table.length))
            known = f"residues {row.first} to {row.last} of {table.length}"
            covered.setToolTip(known if row.first else "residues not known")
            self.setItem(number, _COVERED, covered)
        if table.rows:
            self.setCurrentCell(0, 0)


class _CoverageBar(QStyledItemDelegate):
    """Paints which residues of a protein are there."""

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint a grey bar, filled where residues are; nothing where nobody knows."""
        super().paint(painter, option, index)
        span: Any = index.data(_SPAN)
        if painter is None or not span or not (span[0] and span[2]):
            return
        first, last, length = span
        room = QRectF(option.rect).adjusted(4, 5, -4, -5)
        painter.save()
        painter.fillRect(room, QColor(128, 128, 128, 90))
        left = room.left() + room.width() * (first - 1) / length
        width = max(room.width() * (last - first + 1) / length, 1.0)
        painter.fillRect(QRectF(left, room.top(), width, room.height()), QColor("#56b4e9"))
        painter.restore()
