"""A wall of small pictures in the order of their scores, to mark as good or bad.

Only pictures in view are read and painted, so that a hundred thousand of them in a memory-mapped file cost no more than
a hundred.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QRect, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QContextMenuEvent,
    QFontMetrics,
    QHelpEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import QAbstractScrollArea, QScrollBar, QToolTip, QWidget

__all__ = ["Gallery", "Mark", "Order", "Pictures"]

_COLOURS = {1: QColor("#2fb5c9"), 2: QColor("#d1495b")}  # those of right and wrong in the plots
_CURRENT = QColor("#ff9d2f")
_GAP = 4
_SMALLEST, _LARGEST = 32, 256
#: How much of a picture below the threshold is seen.
_FADED = 0.35


class Pictures(Protocol):
    """``(n, y, x)`` uint8: an array, or whatever makes a picture when it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, y, x)``."""

    @property
    def dtype(self) -> np.dtype:
        """Of the elements."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """One picture ``(y, x)``."""


class Mark(IntEnum):
    """What somebody said of a picture."""

    NONE = 0
    GOOD = 1
    BAD = 2


class Order(IntEnum):
    """Which pictures come first."""

    BEST = 0
    WORST = 1
    DOUBTFUL = 2


class Gallery(QAbstractScrollArea):
    """Shows pictures and says what somebody wants to mark; the marks themselves are kept by whoever listens.

    A left click asks for *good*, a right click for *bad*, the same again for none. With Shift all pictures since the
    last click get what the clicked one gets. Arrows move, G and B mark, Ctrl and the wheel change the size.

    Attributes
    ----------
    marked
        Emitted with the indices ``(k,)`` and the :class:`Mark` that they should have.
    pointed
        Emitted with the index of the picture that became the current one.
    """

    marked = Signal(object, int)
    pointed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pictures: Pictures = np.zeros((0, 1, 1), np.uint8)
        self._scores = np.zeros(0)
        self._marks = np.zeros(0, np.uint8)
        self._captions: tuple[str, ...] = ()
        self._order = np.zeros(0, int)
        self._by = Order.BEST
        self._threshold = 0.0
        self._side = 64
        self._current = -1
        self._anchor = -1
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumSize(QSize(180, 160))

    # ---- what is shown ---------------------------------------------------------------------------------------

    def show_pictures(
        self, pictures: Pictures, scores: np.ndarray, marks: np.ndarray | None = None, captions: tuple[str, ...] = ()
    ) -> None:
        """Show other pictures.

        Parameters
        ----------
        pictures
            Only what is in view is read.
        scores
            ``(n,)``.
        marks
            ``(n,)`` of :class:`Mark`; none by default.
        captions
            Of each, for the tool tip; or none at all.
        """
        count = pictures.shape[0]
        if len(pictures.shape) != 3 or pictures.dtype != np.uint8:
            raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}, not uint8 (n, y, x)")
        if len(scores) != count or (marks is not None and len(marks) != count) or len(captions) not in (0, count):
            raise ValueError(f"{count} pictures need as many scores, marks and captions")
        self._pictures, self._captions = pictures, captions
        self._marks = np.zeros(count, np.uint8) if marks is None else np.asarray(marks, np.uint8)
        self._current = self._anchor = -1
        self._scores = np.asarray(scores, float)
        self._sort()
        self._bar.setValue(0)

    def set_scores(self, scores: np.ndarray) -> None:
        """Change all scores, and with them the order."""
        if len(scores) != len(self._scores):
            raise ValueError(f"{len(self._scores)} pictures need as many scores, not {len(scores)}")
        self._scores = np.asarray(scores, float)
        self._sort()

    def set_marks(self, marks: np.ndarray) -> None:
        """Change all marks; the order stays."""
        if len(marks) != len(self._scores):
            raise ValueError(f"{len(self._scores)} pictures need as many marks, not {len(marks)}")
        self._marks = np.asarray(marks, np.uint8)
        self._view.update()

    def set_threshold(self, threshold: float) -> None:
        """Fade pictures with a lower score."""
        self._threshold = threshold
        if self._by is Order.DOUBTFUL:
            self._sort()
        self._view.update()

    def set_order(self, order: Order) -> None:
        """Choose which pictures come first."""
        self._by = order
        self._sort()
        self._bar.setValue(0)

    def set_side(self, side: int) -> None:
        """Choose how large pictures are, in pixels of the screen."""
        at = self._first_in_view()
        self._side = int(np.clip(side, _SMALLEST, _LARGEST))
        self._set_range()
        self._bar.setValue(at // self.columns * self._cell)
        self._view.update()

    def scroll_to(self, index: int) -> None:
        """Bring a picture into view and make it the current one."""
        self._go_to(int(self._places()[index]))

    @property
    def order(self) -> np.ndarray:
        """``(n,)`` indices in the order in which they are shown."""
        return self._order

    @property
    def columns(self) -> int:
        """Pictures in a row."""
        return max((self._view.width() - _GAP) // self._cell, 1)

    @property
    def current(self) -> int | None:
        """Index of the picture that keys act on."""
        return None if self._current < 0 else int(self._order[self._current])

    def rect_of(self, index: int) -> QRect:
        """Where a picture is, in pixels of the viewport, in view or not."""
        return self._rect(int(self._places()[index]))

    # ---- where it is -----------------------------------------------------------------------------------------

    @property
    def _bar(self) -> QScrollBar:
        bar = self.verticalScrollBar()
        assert bar is not None
        return bar

    @property
    def _view(self) -> QWidget:
        view = self.viewport()
        assert view is not None
        return view

    @property
    def _cell(self) -> int:
        return self._side + _GAP

    def _sort(self) -> None:
        known = np.nan_to_num(self._scores, nan=-np.inf)
        key = {
            Order.BEST: -known,
            Order.WORST: known,
            Order.DOUBTFUL: np.abs(known - self._threshold),
        }[self._by]
        index = self.current
        self._order = np.argsort(key, kind="stable")
        if index is not None:
            self._current = int(self._places()[index])
        self._anchor = -1
        self._set_range()
        self._view.update()

    def _places(self) -> np.ndarray:
        """``(n,)``: the place of each index in the order."""
        places = np.empty(len(self._order), int)
        places[self._order] = np.arange(len(self._order))
        return places

    def _rect(self, place: int) -> QRect:
        row, column = divmod(place, self.columns)
        y = _GAP + row * self._cell - self._bar.value()
        return QRect(_GAP + column * self._cell, y, self._side, self._side)

    def _place_at(self, position: QPoint) -> int | None:
        column, row = position.x() // self._cell, (position.y() + self._bar.value()) // self._cell
        place = row * self.columns + column
        inside = 0 <= column < self.columns and 0 <= place < len(self._order)
        return int(place) if inside and self._rect(int(place)).contains(position) else None

    def _first_in_view(self) -> int:
        return self._bar.value() // self._cell * self.columns

    def _set_range(self) -> None:
        rows = -(-len(self._order) // self.columns)
        bar, height = self._bar, self._view.height()
        bar.setRange(0, max(rows * self._cell + _GAP - height, 0))
        bar.setPageStep(height)
        bar.setSingleStep(self._cell)

    # ---- painting --------------------------------------------------------------------------------------------

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Paint what is in view."""
        painter = QPainter(self._view)
        if not len(self._order):
            painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
            painter.drawText(self._view.rect(), Qt.AlignmentFlag.AlignCenter, "pictures of picks appear here")
            painter.end()
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        first = self._first_in_view()
        rows = self._view.height() // self._cell + 2
        for place in range(first, min(first + rows * self.columns, len(self._order))):
            self._paint_one(painter, place, int(self._order[place]))
        painter.end()

    def _paint_one(self, painter: QPainter, place: int, index: int) -> None:
        rect = self._rect(place)
        picture = self._pictures[index]
        height, width = picture.shape
        content = picture.tobytes()  # the image only refers to it
        image = QImage(content, width, height, width, QImage.Format.Format_Grayscale8)
        score = self._scores[index]
        painter.setOpacity(1.0 if score >= self._threshold else _FADED)
        painter.drawImage(rect, image)
        painter.setOpacity(1.0)
        if np.isfinite(score) and self._side >= 48:
            self._paint_score(painter, rect, f"{score:.2f}")
        if colour := _COLOURS.get(int(self._marks[index])):
            painter.setPen(QPen(colour, 3))
            painter.drawRect(QRectF(rect).adjusted(1.5, 1.5, -1.5, -1.5))
        if place == self._current:
            painter.setPen(QPen(_CURRENT, 1))
            painter.drawRect(rect.adjusted(-2, -2, 1, 1))

    def _paint_score(self, painter: QPainter, rect: QRect, text: str) -> None:
        metrics = QFontMetrics(self.font())
        box = QRect(0, 0, metrics.horizontalAdvance(text) + 4, metrics.height())
        box.moveBottomRight(rect.bottomRight())
        painter.fillRect(box, QColor(0, 0, 0, 140))
        painter.setPen(QColor("white"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Lay the rows out anew, the first one staying in view."""
        super().resizeEvent(event)
        self._set_range()

    # ---- mouse and keys --------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Ask for a mark."""
        marks = {Qt.MouseButton.LeftButton: Mark.GOOD, Qt.MouseButton.RightButton: Mark.BAD}
        place = None if event is None else self._place_at(event.position().toPoint())
        if event is None or place is None or event.button() not in marks:
            return
        ranged = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier) and self._anchor >= 0
        self._ask(marks[event.button()], place, since=self._anchor if ranged else place)
        self._anchor = place
        self._go_to(place)

    def contextMenuEvent(self, event: QContextMenuEvent | None) -> None:  # noqa: N802
        """Show none: the right button marks."""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Move, or ask for a mark of the current picture."""
        steps = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: -self.columns,
            Qt.Key.Key_Down: self.columns,
        }
        marks = {Qt.Key.Key_G: Mark.GOOD, Qt.Key.Key_B: Mark.BAD}
        key = None if event is None else Qt.Key(event.key())
        if key in steps and len(self._order):
            self._go_to(int(np.clip(self._current + steps[key], 0, len(self._order) - 1)))
        elif key in marks and self._current >= 0:
            self._ask(marks[key], self._current, since=self._current)
            self._anchor = self._current
        else:
            super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        """Scroll, or with Ctrl change the size."""
        if event is not None and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.set_side(round(self._side * (1.15 if event.angleDelta().y() > 0 else 1 / 1.15)))
            event.accept()
        else:
            super().wheelEvent(event)

    def viewportEvent(self, event: QEvent | None) -> bool:  # noqa: N802
        """Tell what a picture is."""
        if isinstance(event, QHelpEvent) and self._captions:
            place = self._place_at(event.pos())
            if place is not None:
                QToolTip.showText(event.globalPos(), self._captions[int(self._order[place])], self)
                return True
        return bool(super().viewportEvent(event))

    def _ask(self, mark: Mark, place: int, *, since: int) -> None:
        """Ask for a mark of all from ``since`` to ``place``; none, where the one at ``place`` has it already."""
        low, high = sorted((since, place))
        wanted = Mark.NONE if self._marks[self._order[place]] == mark else mark
        self.marked.emit(self._order[low : high + 1].copy(), int(wanted))

    def _go_to(self, place: int) -> None:
        if place != self._current:
            self._current = place
            self.pointed.emit(int(self._order[place]))
        bar, top = self._bar, place // self.columns * self._cell
        if top < bar.value():
            bar.setValue(top)
        elif top + self._cell + _GAP > bar.value() + self._view.height():
            bar.setValue(top + self._cell + _GAP - self._view.height())
        self._view.update()
