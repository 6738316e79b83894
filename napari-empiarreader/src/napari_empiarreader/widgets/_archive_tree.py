"""The folders of an entry as a tree; a folder asks for its content when it is first opened."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTreeWidget,
    QTreeWidgetItem,
    QTreeWidgetItemIterator,
    QWidget,
)

from napari_empiarreader.archive import Item

__all__ = ["ArchiveTree"]

_ITEM = Qt.ItemDataRole.UserRole


class ArchiveTree(QTreeWidget):
    """Names, rounded sizes and dates; the listings themselves are fetched by whoever listens to ``wanted``."""

    wanted = Signal(str)
    """Emitted with the path of a folder whose content is needed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderLabels(["Name", "Size", "Modified"])
        self.setUniformRowHeights(True)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names of one session differ at their ends
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        header = self.header()
        if header is not None:
            header.setStretchLastSection(False)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        self._nodes: dict[str, QTreeWidgetItem] = {}
        self._asked: set[str] = set()
        self._pattern = ""
        self.itemExpanded.connect(self._on_expanded)

    def restart(self) -> None:
        """Forget everything and ask for the entry's own folder."""
        self.clear()
        self._nodes.clear()
        self._asked = {""}
        self.wanted.emit("")

    def fill(self, folder: str, items: list[Item]) -> None:
        """Show the content of ``folder``; a folder that stands alone in it is opened at once."""
        rows = [self._row(item) for item in items]
        node = self._nodes.get(folder)
        if node is None:
            self.addTopLevelItems(rows)
        else:
            node.takeChildren()
            node.addChildren(rows)
        for item, row in zip(items, rows, strict=True):
            self._nodes[item.path] = row
            self._hide_unless_it_fits(row)
        folders = [row for item, row in zip(items, rows, strict=True) if item.is_folder]
        if len(folders) == 1:
            folders[0].setExpanded(True)
        elif node is not None and not items:
            node.addChild(_remark("(empty)"))

    def failed(self, folder: str) -> None:
        """Close a folder whose content did not come, so that opening it asks again."""
        self._asked.discard(folder)
        node = self._nodes.get(folder)
        if node is not None:
            node.setExpanded(False)

    def set_filter(self, pattern: str) -> None:
        """Show only files whose name fits a glob pattern; an empty one fits all. Folders stay."""
        self._pattern = pattern.strip()
        for row in self._nodes.values():
            self._hide_unless_it_fits(row)

    def selected(self) -> list[Item]:
        """Selected files and folders, from the top down; hidden files do not count."""
        return [_item(row) for row in self._rows() if row.isSelected() and not row.isHidden()]

    def select(self, path: str) -> None:
        """Make ``path`` the one selected item."""
        self.setCurrentItem(self._nodes[path])

    def _rows(self) -> Iterator[QTreeWidgetItem]:
        """Rows of items in the order shown, which a dictionary filled by answers from threads does not keep."""
        every = QTreeWidgetItemIterator(self)
        while (row := every.value()) is not None:
            if _item(row) is not None:
                yield row
            every += 1

    def _row(self, item: Item) -> QTreeWidgetItem:
        modified = "" if item.modified is None else f"{item.modified:%Y-%m-%d}"
        row = QTreeWidgetItem([item.name, item.rounded_size, modified])
        row.setData(0, _ITEM, item)
        row.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.setToolTip(0, item.path)
        if item.is_folder:
            row.addChild(_remark("loading…"))
        return row

    def _hide_unless_it_fits(self, row: QTreeWidgetItem) -> None:
        item = _item(row)
        row.setHidden(bool(self._pattern) and not item.is_folder and not fnmatch.fnmatchcase(item.name, self._pattern))

    def _on_expanded(self, row: QTreeWidgetItem) -> None:
        path = _item(row).path
        if path not in self._asked:
            self._asked.add(path)
            self.wanted.emit(path)


def _item(row: QTreeWidgetItem) -> Item:
    return row.data(0, _ITEM)


def _remark(text: str) -> QTreeWidgetItem:
    row = QTreeWidgetItem([text])
    row.setFlags(Qt.ItemFlag.NoItemFlags)
    return row
