"""The contact sheet: some items of each class as a wall of pictures, to leave out or to give another class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QRect, Qt, Signal
from qtpy.QtGui import QColor, QContextMenuEvent, QFontMetrics, QMouseEvent, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import QMenu, QWidget

from napari_caked.widgets._gallery import Gallery, Mark

__all__ = ["ContactSheet", "colour_of"]

#: Of classes, told apart by people who see few colours as well (Okabe & Ito 2008), without black.
_PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00")
_NO_CLASS = "#9a9a9a"
_STRIP = 5


def colour_of(label: int) -> QColor:
    """Of a class; grey for none."""
    return QColor(_PALETTE[label % len(_PALETTE)] if label >= 0 else _NO_CLASS)


class ContactSheet(Gallery):
    """Pictures with the colour and the name of their class.

    A left click asks to leave an item out, or to take it again; a right click asks for another class. B does what the
    left button does.

    Attributes
    ----------
    renamed
        Emitted with the index of a picture and the class that it should have.
    """

    renamed = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._labels = np.zeros(0, int)
        self._classes: tuple[str, ...] = ()
        self._off = np.zeros(0, bool)
        self.set_side(80)
        self.setToolTip(
            "Click: leave out, or take again · right click: another class · Ctrl and wheel: size · the item clicked "
            "last is the one of the preview"
        )

    def show_items(
        self, pictures: np.ndarray, names: Sequence[str], classes: Sequence[str], labels: np.ndarray
    ) -> None:
        """Show other items, in the order in which they come.

        Parameters
        ----------
        pictures
            ``(n, y, x)`` uint8.
        names
            Of the items.
        classes, labels
            Names of the classes, and ``(n,)`` which of them each item is of.
        """
        self._classes, self._labels = tuple(classes), np.asarray(labels, int)
        self._off = np.zeros(len(names), bool)
        # A score of infinity is not painted, lies above each threshold and changes no order.
        self.show_pictures(pictures, np.full(len(names), np.inf), captions=tuple(names))

    def set_classes(self, labels: np.ndarray, off: np.ndarray) -> None:
        """Change classes ``(n,)``, and which items are not taken because their class is not."""
        self._labels, self._off = np.asarray(labels, int), np.asarray(off, bool)
        self._view.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Paint what is in view."""
        if len(self.order):
            super().paintEvent(event)
            return
        painter = QPainter(self._view)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        painter.drawText(self._view.rect(), Qt.AlignmentFlag.AlignCenter, "some items of each class appear here")
        painter.end()

    def _paint_one(self, painter: QPainter, place: int, index: int) -> None:
        super()._paint_one(painter, place, index)
        rect = self._rect(place)
        if self._off[index] or self._marks[index]:
            painter.fillRect(rect, QColor(30, 30, 34, 190))
        label = int(self._labels[index])
        painter.fillRect(QRect(rect.left(), rect.top(), rect.width(), _STRIP), colour_of(label))
        name = self._classes[label] if label >= 0 else "no class"
        metrics = QFontMetrics(self.font())
        text = metrics.elidedText(name, Qt.TextElideMode.ElideRight, rect.width() - 4)
        box = QRect(0, 0, metrics.horizontalAdvance(text) + 4, metrics.height())
        box.moveBottomLeft(rect.bottomLeft())
        painter.fillRect(box, QColor(0, 0, 0, 150))
        painter.setPen(QColor("white"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Leave out; the right button has a menu."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            super().mousePressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent | None) -> None:  # noqa: N802
        """Offer the other classes."""
        place = None if event is None else self._place_at(event.pos())
        if event is None or place is None:
            return
        index = int(self.order[place])
        self.menu_of(index).exec(event.globalPos())

    def menu_of(self, index: int) -> QMenu:
        """The classes that a picture may be given."""
        menu = QMenu(self)
        for label, name in enumerate(self._classes):
            action = menu.addAction(name)
            assert action is not None
            action.setCheckable(True)
            action.setChecked(bool(label == self._labels[index]))
            action.triggered.connect(lambda _on, label=label: self.renamed.emit(index, label))
        return menu

    def _ask(self, mark: Mark, place: int, *, since: int) -> None:  # noqa: ARG002  (there is one kind of mark)
        super()._ask(Mark.BAD, place, since=since)
