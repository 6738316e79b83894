"""A grey picture in a widget: as large as there is room for, never distorted."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPixmap
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["Picture", "SpectrumPicture", "pixmap"]


def pixmap(picture: np.ndarray) -> QPixmap:
    """Qt's picture of ``(y, x)`` uint8."""
    picture = np.ascontiguousarray(picture, np.uint8)
    height, width = picture.shape
    image = QImage(picture.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(image.copy())  # the copy owns its pixels


class Picture(QWidget):
    """Shows one grey picture, with a line of text in place of none.

    Parameters
    ----------
    text
        Shown while there is no picture.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._pixmap: QPixmap | None = None
        self._text = text
        self.setMinimumSize(80, 120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    @property
    def picture(self) -> QPixmap | None:
        """What is shown, or None."""
        return self._pixmap

    def show_picture(self, picture: np.ndarray | None, text: str = "") -> None:
        """Show ``(y, x)`` uint8, or only a text."""
        self._pixmap = None if picture is None else pixmap(picture)
        self._text = text
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802  (Qt's name)
        """Room for two of them beside each other in a narrow dock."""
        return QSize(150, 150)

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Draw the picture in the middle."""
        painter = QPainter(self)
        if self._pixmap is None:
            painter.setPen(self.palette().color(self.foregroundRole()))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.rect(), int(flags), self._text)
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(self.place(), self._pixmap)

    def place(self) -> QRect:
        """Where in the widget the picture is drawn."""
        if self._pixmap is None:
            return QRect()
        size = self._pixmap.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        corner = self.rect().center() - QRect(0, 0, size.width(), size.height()).center()
        return QRect(corner, size)


class SpectrumPicture(Picture):
    """A power spectrum; the mouse reads resolutions off it, on a ring.

    Parameters
    ----------
    text
        Shown while there is no picture.
    """

    pointed = Signal(float)
    """Emitted with the spatial frequency under the mouse: in the unit of ``step``, negative where there is none."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self._step = 0.0
        self._ring: float | None = None
        self.setMouseTracking(True)
        self.setMinimumSize(150, 280)

    def sizeHint(self) -> QSize:  # noqa: N802  (Qt's name)
        """Room for rings that can be told apart."""
        return QSize(300, 300)

    def show_spectrum(self, picture: np.ndarray, step: float) -> None:
        """Show ``(y, x)`` uint8 with the zero frequency in its middle and ``step`` from pixel to pixel."""
        self._step = step
        self.show_picture(picture)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Draw the ring of this frequency, and tell it."""
        place = self.place()
        if event is None or self._pixmap is None or place.isEmpty():
            return
        away = event.position() - self._middle()
        self._ring = float(np.hypot(away.x(), away.y()))
        self.pointed.emit(self._ring / place.width() * self._pixmap.width() * self._step)
        self.update()

    def leaveEvent(self, event: QEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Take the ring away."""
        self._ring = None
        self.pointed.emit(-1.0)
        self.update()
        super().leaveEvent(event)

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Draw the spectrum, and the ring on it."""
        super().paintEvent(event)
        if self._ring is None or self._pixmap is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setClipRect(self.place())
        painter.setPen(QColor("#ffc83d"))
        painter.drawEllipse(self._middle(), self._ring, self._ring)

    def _middle(self) -> QPointF:
        """Where the zero frequency is drawn: the centre of pixel ``n // 2``."""
        assert self._pixmap is not None
        place, side = self.place(), self._pixmap.width()
        part = (side // 2 + 0.5) / side
        return QPointF(place.left() + part * place.width(), place.top() + part * place.height())
