"""The folders of an entry as a tree; a folder asks for its content when it is first opened."""

from __future__ import annotations

import fnmatch
from collections import deque
from collections.abc import Iterator, Sequence

from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtGui import QIcon, QPixmap, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTreeWidget,
    QTreeWidgetItem,
    QTreeWidgetItemIterator,
    QWidget,
)

from napari_empiarreader.archive import Item
from napari_empiarreader.archive.layout import FileKind
from napari_empiarreader.widgets._kinds import kind_icon, words_for

__all__ = ["ArchiveTree"]

_ITEM = Qt.ItemDataRole.UserRole
_KIND = Qt.ItemDataRole.UserRole + 1
_NAME, _SIZE, _MODIFIED = range(3)

_ROOM_FOR_DATES = 400
"""Pixels of width below which the dates make place for the names."""

_AT_ONCE = 300
"""Rows that are made before the window gets its turn."""

_ICON = 28
"""Side of an icon in pixels; a thumbnail in place of one can just be told from another."""


class ArchiveTree(QTreeWidget):
    """Names, rounded sizes and dates; the listings themselves are fetched by whoever listens to ``wanted``."""

    wanted = Signal(str)
    """Emitted with the path of a folder whose content is needed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderLabels(["Name", "Size", "Modified"])
        self.setUniformRowHeights(True)
        self.setIconSize(QSize(_ICON, _ICON))
        self.setIndentation(14)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names of one session differ at their ends
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header = self.header()
        if header is not None:
            header.setStretchLastSection(False)
            header.setResizeContentsPrecision(50)  # or Qt measures a thousand rows, again and again
            header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
            header.setSectionResizeMode(_SIZE, QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(_MODIFIED, QHeaderView.ResizeMode.ResizeToContents)
        self._nodes: dict[str, QTreeWidgetItem] = {}
        self._asked: set[str] = set()
        self._pattern = ""
        self._kinds: frozenset[FileKind] | None = None
        self._waiting: deque[tuple[QTreeWidgetItem | None, deque[tuple[Item, FileKind | None]]]] = deque()
        self._filler = QTimer(self)
        self._filler.setSingleShot(True)
        self._filler.setInterval(0)
        self._filler.timeout.connect(self._fill_on)
        self.itemExpanded.connect(self._on_expanded)

    def restart(self) -> None:
        """Forget everything and ask for the entry's own folder."""
        self.forget()
        self._asked = {""}
        self.wanted.emit("")

    def forget(self) -> None:
        """Show nothing."""
        self._waiting.clear()
        self.clear()
        self._nodes.clear()
        self._asked.clear()

    def fill(self, folder: str, items: Sequence[tuple[Item, FileKind | None]]) -> None:
        """Show the content of ``folder``; a folder that stands alone in it is opened at once.

        Parameters
        ----------
        items
            With what each seems to be; None for a folder. Of thousands the rows come in parts, between which the
            window stays free.
        """
        node = self._nodes.get(folder)
        if node is not None:
            node.takeChildren()
            if not items:
                node.addChild(_remark("(empty)"))
        folders = [item.path for item, _ in items if item.is_folder]
        self._waiting.append((node, deque(items)))
        self._fill_on()
        if len(folders) == 1 and folders[0] in self._nodes:
            self._nodes[folders[0]].setExpanded(True)

    def _fill_on(self) -> None:
        """Add the next rows."""
        left = _AT_ONCE
        while left > 0 and self._waiting:
            node, items = self._waiting[0]
            part = [items.popleft() for _ in range(min(left, len(items)))]
            left -= len(part)
            rows = [self._row(item, kind) for item, kind in part]
            if node is None:
                self.addTopLevelItems(rows)
            else:
                node.addChildren(rows)
            for (item, _), row in zip(part, rows, strict=True):
                self._nodes[item.path] = row
                self._hide_unless_it_fits(row)
            if not items:
                self._waiting.popleft()
        if self._waiting:
            self._filler.start()

    def failed(self, folder: str) -> None:
        """Close a folder whose content did not come, so that opening it asks again."""
        self._asked.discard(folder)
        node = self._nodes.get(folder)
        if node is not None:
            node.setExpanded(False)

    def set_filter(self, pattern: str) -> None:
        """Show only files whose name fits one of some glob patterns; none at all fits every name. Folders stay."""
        self._pattern = pattern.strip()
        self._filter()

    def set_kinds(self, kinds: frozenset[FileKind] | None) -> None:
        """Show only files that seem to be of these kinds; None shows all. Folders stay."""
        self._kinds = kinds
        self._filter()

    def items(self) -> list[Item]:
        """Every file and folder known so far, shown or not."""
        return [_item(row) for row in self._nodes.values()]

    def selected(self) -> list[Item]:
        """Selected files and folders, from the top down; hidden files do not count."""
        return [_item(row) for row in self._rows() if row.isSelected() and not row.isHidden()]

    def select(self, path: str) -> None:
        """Make ``path`` the one selected item."""
        self.setCurrentItem(self._nodes[path])

    def set_thumbnail(self, path: str, picture: QPixmap) -> None:
        """Show a picture of a file in place of its icon."""
        if path in self._nodes:
            icon = QIcon(picture)
            icon.addPixmap(picture, QIcon.Mode.Selected)  # or Qt tints it
            self._nodes[path].setIcon(_NAME, icon)

    def set_exact_size(self, path: str, size: int) -> None:
        """Show a file's exact size beside the rounded one, in its tooltip."""
        if path in self._nodes:
            self._nodes[path].setToolTip(_SIZE, f"{size:,} bytes")

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Leave the dates out where there is no room for them."""
        super().resizeEvent(event)
        self.setColumnHidden(_MODIFIED, self.width() < _ROOM_FOR_DATES)

    def _rows(self) -> Iterator[QTreeWidgetItem]:
        """Rows of items in the order shown, which a dictionary filled by answers from threads does not keep."""
        every = QTreeWidgetItemIterator(self)
        while (row := every.value()) is not None:
            if _item(row) is not None:
                yield row
            every += 1

    def _row(self, item: Item, kind: FileKind | None) -> QTreeWidgetItem:
        modified = "" if item.modified is None else f"{item.modified:%Y-%m-%d}"
        row = QTreeWidgetItem([item.name, item.rounded_size, modified])
        row.setData(_NAME, _ITEM, item)
        row.setTextAlignment(_SIZE, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.setData(_NAME, _KIND, kind)
        row.setIcon(_NAME, kind_icon(kind))
        about = [item.path, words_for(kind), *filter(None, [modified and f"modified {modified}"])]
        row.setToolTip(_NAME, "\n".join(about))
        if item.is_folder:
            row.addChild(_remark("loading…"))
        return row

    def _filter(self) -> None:
        for row in self._nodes.values():
            self._hide_unless_it_fits(row)

    def _hide_unless_it_fits(self, row: QTreeWidgetItem) -> None:
        item, patterns = _item(row), self._pattern.split()
        named = not patterns or any(fnmatch.fnmatchcase(item.name, pattern) for pattern in patterns)
        kind_fits = self._kinds is None or row.data(_NAME, _KIND) in self._kinds
        row.setHidden(not item.is_folder and not (named and kind_fits))

    def _on_expanded(self, row: QTreeWidgetItem) -> None:
        path = _item(row).path
        if path not in self._asked:
            self._asked.add(path)
            self.wanted.emit(path)


def _item(row: QTreeWidgetItem) -> Item:
    return row.data(_NAME, _ITEM)


def _remark(text: str) -> QTreeWidgetItem:
    row = QTreeWidgetItem([text])
    row.setFlags(Qt.ItemFlag.NoItemFlags)
    return row
