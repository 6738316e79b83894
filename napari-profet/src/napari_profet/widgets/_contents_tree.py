"""The tree of what is in a structure, to tick what shall go."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_profet.contents import Contents, Group, Part

__all__ = ["ContentsTree"]

_PART = Qt.ItemDataRole.UserRole
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class ContentsTree(QTreeWidget):
    """Parts of a structure with their counts; ``ticked`` tells that a person has changed what goes."""

    ticked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderLabels(["tick what goes", "residues", "atoms"])
        self.setMinimumHeight(230)
        self.setIndentation(12)
        # napari's dark theme paints an empty box as dark as what is behind it.
        self.setStyleSheet("QTreeView::indicator:unchecked { border: 1px solid gray; width: 11px; height: 11px; }")
        header: Any = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.itemChanged.connect(lambda item, column: self.ticked.emit())

    def show_contents(self, contents: Contents | None, *, keep: bool = False) -> None:
        """List the parts, none of them ticked; or, to ``keep``, those that were ticked before."""
        before = {(part.option, part.value) for part in self.chosen} if keep else set()
        self.blockSignals(True)
        self.clear()
        for group in Group:
            parts = [part for part in (contents.parts if contents else ()) if part.group is group]
            if parts:
                self._add(group, parts, before)
        self.blockSignals(False)

    @property
    def chosen(self) -> list[Part]:
        """The parts that are ticked."""
        return [item.data(0, _PART) for item in self._items() if item.checkState(0) == Qt.CheckState.Checked]

    def untick(self) -> None:
        """Take all ticks away; nobody is told."""
        self.blockSignals(True)
        for item in self._items():
            item.setCheckState(0, Qt.CheckState.Unchecked)
        self.blockSignals(False)

    def item_of(self, label: str) -> QTreeWidgetItem:
        """The line of a part.

        Raises
        ------
        KeyError
            There is none with this label.
        """
        for item in self._items():
            if item.text(0) == label:
                return item
        raise KeyError(label)

    def _add(self, group: Group, parts: list[Part], before: set[tuple[str, str]]) -> None:
        head = QTreeWidgetItem([str(group)])
        head.setFlags(Qt.ItemFlag.ItemIsEnabled)
        self.addTopLevelItem(head)
        head.setFirstColumnSpanned(True)
        for part in parts:
            item = QTreeWidgetItem([part.label, f"{part.residues:,}" if part.residues else "", f"{part.atoms:,}"])
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            ticked = (part.option, part.value) in before
            item.setCheckState(0, Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
            item.setData(0, _PART, part)
            item.setToolTip(0, part.label)
            for column in (1, 2):
                item.setTextAlignment(column, _RIGHT)
            head.addChild(item)
        # Entities repeat what the chains say, and there may be a hundred chains.
        head.setExpanded(group is not Group.ENTITIES and len(parts) <= 12)

    def _items(self) -> list[QTreeWidgetItem]:
        heads: list[Any] = [self.topLevelItem(number) for number in range(self.topLevelItemCount())]
        return [head.child(number) for head in heads for number in range(head.childCount())]
