"""Bars of progress whose end nobody knows: they move, and seldom enough to leave the processor to others."""

from __future__ import annotations

import time

import pytest
from napari.qt import get_stylesheet
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_empiarreader.widgets.progress_bar import CalmProgressBar
from napari_profet.widgets._progress_bar import CalmProgressBar as CalmBarOfStructures

pytestmark = pytest.mark.gui

SOON = 60_000
MOVES = 5


class Painted(QObject):
    """When a widget was painted."""

    def __init__(self, widget):
        super().__init__(widget)
        self.times = []
        widget.installEventFilter(self)

    def eventFilter(self, widget, event):  # noqa: N802  (Qt's name)
        if event.type() == QEvent.Type.Paint:
            self.times.append(time.monotonic())
        return False


@pytest.fixture
def lively(monkeypatch):
    """Let the style animate bars, which it may not in other tests."""
    monkeypatch.setattr(QProgressBar, "event", lambda bar, event: QWidget.event(bar, event))


@pytest.fixture
def window(qtbot):
    """A window in napari's style."""
    window = QWidget()
    qtbot.addWidget(window)
    window.setStyleSheet(get_stylesheet("dark"))
    QVBoxLayout(window)
    return window


@pytest.mark.parametrize("kind", [CalmProgressBar, CalmBarOfStructures])
def test_a_bar_that_knows_no_end_moves_four_times_a_second_at_most(qtbot, window, lively, kind):
    bar = kind()
    window.layout().addWidget(bar)
    bar.setRange(0, 0)
    window.show()
    qtbot.waitUntil(bar.isVisible, timeout=SOON)
    qtbot.wait(500)  # the window takes its shape
    painted = Painted(bar).times
    began = time.monotonic()
    qtbot.waitUntil(lambda: len(painted) >= MOVES, timeout=SOON)
    assert painted[-1] - began >= (MOVES - 1) * 0.25 - 0.05
    # One that is hidden, or knows its end, stands still.
    bar.setRange(0, 10)
    qtbot.wait(100)
    painted.clear()
    qtbot.wait(600)
    assert len(painted) <= 1
