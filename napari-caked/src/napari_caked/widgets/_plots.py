"""Small plots: curves that grow, a histogram with a threshold to drag, precision over recall.

Painted with QPainter in the colours of the theme, so that they cost milliseconds and need no plotting package.
"""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFontMetrics, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_caked.calibration import expected_precision

__all__ = ["Histogram", "LinePlot", "PrecisionRecallPlot", "ProgressPlot"]

_WRONG, _DOUBTFUL, _RIGHT = QColor("#d1495b"), QColor("#e8a33d"), QColor("#2fb5c9")
"""Colours of an estimated precision of 0, 1/2 and 1; apart for the colour-blind too."""

_CURVE = QColor("#2fb5c9")
_LINE = QColor("#ff9d2f")


class _Plot(QWidget):
    """A frame with numbers on its axes; subclasses paint into :meth:`frame`."""

    def __init__(self, height: int) -> None:
        super().__init__()
        self.setMinimumSize(QSize(160, height))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def frame(self) -> QRectF:
        """Where the data are, in pixels of the widget."""
        metrics = QFontMetrics(self.font())
        left, below = metrics.horizontalAdvance("0.000") + 8, metrics.height() + 4
        return QRectF(left, 6, max(self.width() - left - 10, 1), max(self.height() - below - 8, 1))

    def _start(self) -> tuple[QPainter, QColor]:
        """Painter with the background and the frame done, and the colour of text."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        ground = QColor(ink)
        ground.setAlphaF(0.06)
        painter.fillRect(self.frame(), ground)
        return painter, ink

    def _label(self, painter: QPainter, at: QPointF, text: str, align: Qt.AlignmentFlag) -> None:
        """Text whose left, right or middle is at a point, just below or beside the frame."""
        metrics = QFontMetrics(self.font())
        width, height = metrics.horizontalAdvance(text) + 2, metrics.height()
        left = {
            Qt.AlignmentFlag.AlignLeft: at.x(),
            Qt.AlignmentFlag.AlignRight: at.x() - width,
            Qt.AlignmentFlag.AlignHCenter: at.x() - width / 2,
        }[align]
        left = min(max(left, 0), self.width() - width)
        painter.drawText(QRectF(left, at.y(), width, height), Qt.AlignmentFlag.AlignCenter, text)


class LinePlot(_Plot):
    """A curve of values over steps, such as a loss; it keeps every value and paints no more than there are pixels.

    Parameters
    ----------
    name
        Of the values.
    """

    def __init__(self, name: str) -> None:
        super().__init__(height=110)
        self.name = name
        self.values: list[float] = []
        self.step, self.steps = 0, 1

    def restart(self) -> None:
        """Forget all values."""
        self.values, self.step, self.steps = [], 0, 1
        self.update()

    def extend(self, values: tuple[float, ...], step: int, steps: int) -> None:
        """Add values up to ``step`` of ``steps``; there may be fewer of them than steps."""
        self.values.extend(values)
        self.step, self.steps = step, max(steps, step, 1)
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Paint the curve, a smoothed one over it, and the numbers."""
        painter, ink = self._start()
        frame, values = self.frame(), np.asarray(self.values, float)
        painter.setPen(ink)
        if not len(values):
            painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, f"the {self.name} appears here")
            painter.end()
            return
        low, high = float(values.min()), float(values.max())
        high = high if high > low else low + 1
        middle = frame.left() - 5
        metrics = QFontMetrics(self.font())
        self._label(painter, QPointF(middle, frame.top() - 3), f"{high:.3g}", Qt.AlignmentFlag.AlignRight)
        bottom = QPointF(middle, frame.bottom() - metrics.height() + 3)
        self._label(painter, bottom, f"{low:.3g}", Qt.AlignmentFlag.AlignRight)
        below = frame.bottom() + 3
        self._label(painter, QPointF(frame.left(), below), "1", Qt.AlignmentFlag.AlignHCenter)
        self._label(painter, QPointF(frame.right(), below), f"{self.steps}", Qt.AlignmentFlag.AlignRight)
        caption = f"{self.name} {values[-1]:.3g} at step {self.step}"
        self._label(painter, QPointF(frame.center().x(), below), caption, Qt.AlignmentFlag.AlignHCenter)

        def line(y: np.ndarray) -> QPolygonF:
            chosen = np.unique(np.linspace(0, len(y) - 1, min(len(y), int(frame.width()) + 2)).astype(int))
            x = frame.left() + chosen / max(len(y) - 1, 1) * self.step / self.steps * frame.width()
            height = frame.bottom() - (y[chosen] - low) / (high - low) * (frame.height() - 4) - 2
            return QPolygonF([QPointF(a, b) for a, b in zip(x, height, strict=True)])

        pale = QColor(_CURVE)
        pale.setAlphaF(0.35)
        painter.setPen(QPen(pale, 1.2))
        painter.drawPolyline(line(values))
        painter.setPen(QPen(_CURVE, 2.0))
        painter.drawPolyline(line(_smoothed(values)))
        painter.end()


class ProgressPlot(_Plot):
    """Values between 0 and 1 at some steps of a training, the best one marked.

    Parameters
    ----------
    name
        Of the values.
    """

    def __init__(self, name: str) -> None:
        super().__init__(height=90)
        self.name = name
        self.points: list[tuple[int, float]] = []
        self.best: tuple[int, float] | None = None
        self.steps = 1

    def restart(self) -> None:
        """Forget all values."""
        self.points, self.best, self.steps = [], None, 1
        self.update()

    def add(self, step: int, value: float, best: bool) -> None:
        """Add the value of a step; ``best``: this is the one to keep."""
        self.points.append((step, value))
        self.steps = max(self.steps, step)
        if best:
            self.best = (step, value)
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint the values, a line through them, and the best one."""
        painter, ink = self._start()
        frame = self.frame()
        painter.setPen(ink)
        values = [value for _, value in self.points if np.isfinite(value)]
        if not values:
            painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, f"the {self.name} appears here")
            painter.end()
            return
        low = min(0.5, float(np.floor(min(values) * 10) / 10))
        self._label(painter, QPointF(frame.left() - 5, frame.top() - 3), "1", Qt.AlignmentFlag.AlignRight)
        bottom = QPointF(frame.left() - 5, frame.bottom() - QFontMetrics(self.font()).height() + 3)
        self._label(painter, bottom, f"{low:.3g}", Qt.AlignmentFlag.AlignRight)

        def place(point: tuple[int, float]) -> QPointF:
            height = (point[1] - low) / (1 - low) * (frame.height() - 8)
            return QPointF(frame.left() + point[0] / self.steps * frame.width(), frame.bottom() - 4 - height)

        painter.setPen(QPen(_CURVE, 2.0))
        places = [place(point) for point in self.points if np.isfinite(point[1])]
        painter.drawPolyline(QPolygonF(places))
        painter.setBrush(_CURVE)
        for at in places:
            painter.drawEllipse(at, 2.0, 2.0)
        caption = f"{self.name} {self.points[-1][1]:.3f}"
        if self.best is not None:
            caption += f", best {self.best[1]:.3f} at step {self.best[0]}"
            painter.setPen(QPen(_LINE, 2.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(place(self.best), 5.0, 5.0)
        painter.setPen(ink)
        below = QPointF(frame.center().x(), frame.bottom() + 3)
        self._label(painter, below, caption, Qt.AlignmentFlag.AlignHCenter)
        painter.end()


class PrecisionRecallPlot(_Plot):
    """Precision over recall of picks against labels; the present threshold and the best F1 are marked."""

    def __init__(self) -> None:
        super().__init__(height=140)
        self.curve = np.empty((0, 3))
        self.threshold = 0.5
        self.best_threshold = float("nan")

    def show_curve(self, curve: np.ndarray, best_threshold: float) -> None:
        """Show ``(n, 3)`` of score, recall, precision, from the highest score down."""
        self.curve, self.best_threshold = np.asarray(curve, float), best_threshold
        self.update()

    def set_threshold(self, threshold: float) -> None:
        """Mark another threshold."""
        self.threshold = threshold
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint the curve and the marks."""
        painter, ink = self._start()
        frame, height = self.frame(), QFontMetrics(self.font()).height()
        painter.setPen(ink)
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        self._label(painter, QPointF(frame.left() - 5, frame.top() - 3), "1", right)
        self._label(painter, QPointF(frame.left() - 5, frame.bottom() - height + 3), "0", right)
        self._label(painter, QPointF(frame.left() + 4, frame.top() + 2), "precision", left)
        self._label(painter, QPointF(frame.right(), frame.bottom() + 3), "recall 1", right)

        def place(row: np.ndarray) -> QPointF:
            return QPointF(frame.left() + row[1] * frame.width(), frame.bottom() - row[2] * frame.height())

        if len(self.curve):
            chosen = np.unique(np.linspace(0, len(self.curve) - 1, min(len(self.curve), 400)).astype(int))
            painter.setPen(QPen(_CURVE, 2.0))
            painter.drawPolyline(QPolygonF([place(row) for row in self.curve[chosen]]))
            for threshold, color in ((self.best_threshold, _RIGHT), (self.threshold, _LINE)):
                reached = self.curve[self.curve[:, 0] >= threshold]
                if len(reached):
                    painter.setPen(QPen(color, 2.0))
                    painter.drawEllipse(place(reached[-1]), 5.0, 5.0)
        painter.end()


class Histogram(_Plot):
    """Scores between 0 and 1, and a threshold that can be dragged or clicked to.

    A bar has the colour of the precision to expect with the threshold there: red for none, blue for all right.
    """

    threshold_moved = Signal(float)

    def __init__(self, bins: int = 50) -> None:
        super().__init__(height=100)
        self.counts = np.zeros(bins, int)
        self.precision = np.full(bins, np.nan)
        self.threshold = 0.5
        self.setCursor(Qt.CursorShape.SplitHCursor)
        self.setToolTip(
            "Drag the line, or click, to set the threshold. The colour of a bar tells what share of the picks would be "
            "right with the threshold there: red none, amber half, blue all"
        )

    def set_scores(self, scores: np.ndarray) -> None:
        """Count scores anew; those that are not finite are left out."""
        scores = np.asarray(scores, float)
        scores = scores[np.isfinite(scores)]
        self.counts, edges = np.histogram(scores, bins=len(self.counts), range=(0, 1))
        self.precision = expected_precision(scores, edges[:-1])
        self.update()

    def set_threshold(self, threshold: float) -> None:
        """Move the line, telling nobody."""
        self.threshold = float(np.clip(threshold, 0, 1))
        self.update()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Take the line to the mouse."""
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Let the line follow the mouse while the left button is held."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            frame = self.frame()
            self.set_threshold((event.position().x() - frame.left()) / frame.width())
            self.threshold_moved.emit(self.threshold)

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint the bars, the line and the numbers."""
        painter, ink = self._start()
        frame, bins = self.frame(), len(self.counts)
        # Among candidates chance is many and particles are few; on a scale of roots both can be seen.
        heights = np.sqrt(self.counts / max(self.counts.max(), 1)) * (frame.height() - 4)
        width = frame.width() / bins
        for i, height in enumerate(heights):
            if not self.counts[i]:
                continue
            color = _of_precision(float(self.precision[i]))
            if (i + 0.5) / bins < self.threshold:
                color.setAlphaF(0.35)
            bar = QRectF(frame.left() + i * width, frame.bottom() - height, max(width - 1, 1), height)
            painter.fillRect(bar, color)
        painter.setPen(ink)
        metrics = QFontMetrics(self.font())
        for value in (0.0, 0.25, 0.5, 0.75, 1.0):
            at = QPointF(frame.left() + value * frame.width(), frame.bottom() + 3)
            self._label(painter, at, f"{value:g}", Qt.AlignmentFlag.AlignHCenter)
        left = frame.left() - 5
        most = QPointF(left, frame.top() - 3)
        self._label(painter, most, f"{int(self.counts.max())}", Qt.AlignmentFlag.AlignRight)
        none = QPointF(left, frame.bottom() - metrics.height() + 3)
        self._label(painter, none, "0", Qt.AlignmentFlag.AlignRight)
        painter.setPen(QPen(_LINE, 2.0))
        x = frame.left() + self.threshold * frame.width()
        painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))
        painter.end()


def _of_precision(precision: float) -> QColor:
    """Colour of a precision between 0 and 1."""
    low, high, share = (_WRONG, _DOUBTFUL, 2 * precision) if precision < 0.5 else (_DOUBTFUL, _RIGHT, 2 * precision - 1)
    mixed = [round(a + (b - a) * share) for a, b in zip(low.getRgb()[:3], high.getRgb()[:3], strict=True)]
    return QColor(*mixed)


def _smoothed(values: np.ndarray, weight: float = 0.85) -> np.ndarray:
    """Exponential average from the start, without a pull towards zero."""
    average, total, result = 0.0, 0.0, np.empty(len(values))
    for i, value in enumerate(values):
        average, total = weight * average + value, weight * total + 1
        result[i] = average / total
    return result
