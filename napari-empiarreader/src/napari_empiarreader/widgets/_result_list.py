"""Found entries, one below the other: the title, and beneath it what decides whether to look at it."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QModelIndex, QRect, QSize, Qt, Signal
from qtpy.QtGui import QFont, QFontMetrics, QKeyEvent, QPainter, QPalette, QTextLayout, QTextOption
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)

from napari_empiarreader.archive.catalogue import CatalogueEntry

__all__ = ["ResultList", "facts_of"]

_ENTRY = Qt.ItemDataRole.UserRole
_PADDING = 5
_TITLE_LINES = 2


def facts_of(entry: CatalogueEntry) -> str:
    """Method, size, pixel sizes and formats in one line."""
    sizes = entry.pixel_sizes
    pixels = "" if not sizes else f"{sizes[0]:g} Å/px" if len(sizes) == 1 else f"{sizes[0]:g}–{sizes[-1]:g} Å/px"
    facts = (entry.method, entry.dataset_size, pixels, ", ".join(entry.data_formats))
    return " · ".join(filter(None, facts))


class ResultList(QListWidget):
    """Entries out of the catalogue; a click or Enter opens one."""

    chosen = Signal(int)
    """Emitted with the number of the entry to open."""

    def __init__(self) -> None:
        super().__init__()
        self.setItemDelegate(_Lines(self))
        self.setUniformItemSizes(True)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemClicked.connect(self._choose)

    def show_entries(self, entries: Sequence[CatalogueEntry]) -> None:
        """Show these instead of what was there."""
        self.clear()
        for entry in entries:
            item = QListWidgetItem(f"{entry.accession}  {entry.title}")
            item.setData(_ENTRY, entry)
            about = (entry.title, ", ".join(entry.authors[:6]), entry.citation, *entry.cross_references[:6])
            item.setToolTip("\n".join(filter(None, about)))
            self.addItem(item)

    def entries(self) -> list[CatalogueEntry]:
        """What is shown, from the top down."""
        return [self.item(row).data(_ENTRY) for row in range(self.count())]  # type: ignore[union-attr]

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Open the current entry by Enter."""
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            current = self.currentItem()
            if current is not None:
                self._choose(current)
            return
        super().keyPressEvent(event)

    def _choose(self, item: QListWidgetItem) -> None:
        self.chosen.emit(item.data(_ENTRY).number)


class _Lines(QStyledItemDelegate):
    """Draws number and title on two lines, and the facts on a third."""

    def sizeHint(self, option: QStyleOptionViewItem, _index: QModelIndex) -> QSize:  # noqa: N802  (Qt's name)
        return QSize(100, (_TITLE_LINES + 1) * option.fontMetrics.lineSpacing() + 2 * _PADDING)

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        entry = index.data(_ENTRY)
        if painter is None or entry is None:
            return
        style = option.widget.style() if option.widget is not None else QApplication.style()
        if style is not None:
            style.drawPrimitive(QStyle.PrimitiveElement.PE_PanelItemViewItem, option, painter, option.widget)
        painter.save()
        painter.setPen(option.palette.color(QPalette.ColorRole.Text))
        box = option.rect.adjusted(_PADDING, _PADDING, -_PADDING, -_PADDING)
        spacing = option.fontMetrics.lineSpacing()
        bold = QFont(option.font)
        bold.setBold(True)
        number, metrics = f"{entry.number}  ", QFontMetrics(bold)
        indent = metrics.horizontalAdvance(number)
        painter.setFont(bold)
        painter.drawText(QRect(box.left(), box.top(), indent, spacing), 0, number)
        painter.setFont(option.font)
        _draw_title(painter, entry.title, box, indent, option.fontMetrics)
        painter.setOpacity(0.75)
        facts = option.fontMetrics.elidedText(facts_of(entry), Qt.TextElideMode.ElideRight, box.width())
        painter.drawText(QRect(box.left(), box.top() + _TITLE_LINES * spacing, box.width(), spacing), 0, facts)
        painter.restore()


def _draw_title(painter: QPainter, title: str, box: QRect, indent: int, metrics: QFontMetrics) -> None:
    """The title beside the number; what does not fit two lines ends in an ellipsis, and stands in the tooltip."""
    layout = QTextLayout(title, painter.font())
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    layout.setTextOption(option)
    layout.beginLayout()
    for number in range(_TITLE_LINES):
        line = layout.createLine()
        if not line.isValid():
            break
        left = box.left() + (indent if number == 0 else 0)
        width = max(box.right() - left, 1)
        line.setLineWidth(width)
        text = title[line.textStart() : line.textStart() + line.textLength()]
        if number == _TITLE_LINES - 1:
            text = metrics.elidedText(title[line.textStart() :], Qt.TextElideMode.ElideRight, width)
        painter.drawText(QRect(left, box.top() + number * metrics.lineSpacing(), width, metrics.lineSpacing()), 0, text)
    layout.endLayout()
