"""Pictures with titles, as many in a row as fit: an item before and after each step of a recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QPalette, QResizeEvent
from qtpy.QtWidgets import QWidget

__all__ = ["Strip"]

_SIDE, _GAP = 104, 8


class Strip(QWidget):
    """Shows a few pictures; those of a step that could not be done stay away.

    Attributes
    ----------
    titles, captions
        Of what is shown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.titles: tuple[str, ...] = ()
        self.captions: tuple[str, ...] = ()
        self._images: list[tuple[bytes, QSize]] = []
        self.setMinimumHeight(_SIDE)

    def show_pictures(self, titles: Sequence[str], captions: Sequence[str], pictures: Sequence[np.ndarray]) -> None:
        """Show other pictures.

        Parameters
        ----------
        titles, captions
            Of each, above and below it.
        pictures
            ``(y, x)`` uint8.
        """
        self.titles, self.captions = tuple(titles), tuple(captions)
        self._images = [(picture.tobytes(), QSize(*picture.shape[::-1])) for picture in pictures]
        self._set_height()
        self.update()

    @property
    def _columns(self) -> int:
        return max((self.width() - _GAP) // (_SIDE + _GAP), 1)

    @property
    def _cell(self) -> int:
        return _SIDE + 3 * self.fontMetrics().height() + _GAP

    def _set_height(self) -> None:
        rows = -(-len(self._images) // self._columns)
        self.setMinimumHeight(max(rows * self._cell + _GAP, _SIDE))

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Lay the rows out anew."""
        super().resizeEvent(event)
        self._set_height()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint all."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        if not self._images:
            words = "an item before and after each step appears here"
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, words)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        line = self.fontMetrics().height()
        for place, (content, size) in enumerate(self._images):
            row, column = divmod(place, self._columns)
            x, y = _GAP + column * (_SIDE + _GAP), _GAP + row * self._cell
            title = self.titles[place] if place == 0 else f"{place} {self.titles[place]}"
            painter.drawText(QRect(x, y, _SIDE, line), Qt.AlignmentFlag.AlignLeft, title)
            image = QImage(content, size.width(), size.height(), size.width(), QImage.Format.Format_Grayscale8)
            fitted = size.scaled(_SIDE, _SIDE, Qt.AspectRatioMode.KeepAspectRatio)
            painter.drawImage(QRect(x, y + line, fitted.width(), fitted.height()), image)
            below = QRect(x, y + line + fitted.height(), _SIDE, 2 * line)
            painter.drawText(below, Qt.AlignmentFlag.AlignLeft, self.captions[place])
        painter.end()
