"""A table of the picks on each micrograph: sortable, and a click goes there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

__all__ = ["MicrographTable"]

_COLUMNS = ("Micrograph", "Kept", "All", "Right")
_TIPS = (
    "Click on a row to see the micrograph",
    "Picks that are kept at the threshold",
    "All candidates",
    "How many of the kept ones are right, estimated from their scores",
)


class _Counts(QAbstractTableModel):
    """Counts per micrograph; numbers stay in arrays, so that thousands of rows cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Sequence[str] = ()
        self.columns: tuple[np.ndarray, ...] = ()
        self.order = np.empty(0, int)
        self._sorted_by, self._descending = -1, False

    def set_counts(self, names: Sequence[str], kept: np.ndarray, total: np.ndarray, right: np.ndarray) -> None:
        """Show other numbers, in the order chosen before."""
        fresh = len(names) != len(self.names)
        if fresh:
            self.beginResetModel()
        self.names, self.columns = names, (np.arange(len(names)), kept, total, right)
        if fresh:
            self.order = np.arange(len(names))
            self.endResetModel()
        self._arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Arrange the rows by a column."""
        self._sorted_by, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self._arrange()

    def _arrange(self) -> None:
        self.layoutAboutToBeChanged.emit()
        if self.columns and self._sorted_by >= 0:
            values = self.columns[self._sorted_by]
            self.order = np.argsort(-values if self._descending else values, kind="stable")
        self.layoutChanged.emit()

    def rowCount(self, _parent: QModelIndex | None = None) -> int:  # noqa: N802
        """How many micrographs there are."""
        return len(self.names)

    def columnCount(self, _parent: QModelIndex | None = None) -> int:  # noqa: N802
        """How many columns there are."""
        return len(_COLUMNS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What stands in a cell."""
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() > 0:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        row = int(self.order[index.row()])
        if index.column() == 0:
            return self.names[row]
        return f"{self.columns[index.column()][row]:.0f}"

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802
        """Names of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.ToolTipRole:
            return _TIPS[section]
        return _COLUMNS[section] if role == Qt.ItemDataRole.DisplayRole else None


class MicrographTable(QTableView):
    """Picks kept, candidates, and how many of the kept are expected to be right, on each micrograph."""

    wanted = Signal(int)
    """Number of the micrograph that was clicked on."""

    def __init__(self) -> None:
        super().__init__()
        self._counts = _Counts()
        self.setModel(self._counts)
        self.setSortingEnabled(True)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setMinimumHeight(140)
        rows, header = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None and header is not None  # a table has both
        rows.hide()
        rows.setDefaultSectionSize(22)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in range(1, len(_COLUMNS)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.clicked.connect(lambda index: self.wanted.emit(int(self._counts.order[index.row()])))

    def show_counts(self, names: Sequence[str], micrograph: np.ndarray, scores: np.ndarray, shown: np.ndarray) -> None:
        """Count picks anew.

        Parameters
        ----------
        names
            Of all micrographs.
        micrograph, scores, shown
            ``(n,)`` of each candidate: number of its micrograph, score, whether it is kept.
        """
        count = len(names)
        kept = np.bincount(micrograph[shown], minlength=count)[:count]
        total = np.bincount(micrograph, minlength=count)[:count]
        right = np.bincount(micrograph[shown], np.nan_to_num(scores[shown], nan=1.0), minlength=count)[:count]
        self._counts.set_counts(names, kept, total, right)

    def row_texts(self, row: int) -> list[str]:
        """What stands in a row, from the top."""
        return [str(self._counts.data(self._counts.index(row, column))) for column in range(len(_COLUMNS))]
