"""A widget that knows whether it is docked: napari only takes a closed one out of its dock, and does not destroy it."""

from __future__ import annotations

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_empiarreader.widgets._tasks import Tasks

__all__ = ["DockedWidget", "scrolling"]


class DockedWidget(QWidget):
    """Base of the widgets that follow a viewer: :meth:`follow` is called when docked, and when taken out.

    Its work in threads ends with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._docked = False
        self._tasks = Tasks(self.show_work)
        # A main window that closes destroys its docks without a ParentChange.
        self.destroyed.connect(self._tasks.close)

    def follow(self, on: bool) -> None:
        """Follow the viewer, or stop doing so."""

    def show_work(self) -> None:
        """Show what is under way."""

    def event(self, event: QEvent | None) -> bool:
        """Notice being docked and being taken out."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None and not self._docked:
                self._docked = True
                self._tasks.reopen()
                self.follow(True)
            elif self.parent() is None and self._docked:
                self._docked = False
                self._tasks.close()
                self.follow(False)
        return super().event(event)


def scrolling(outside: QWidget) -> QVBoxLayout:
    """Layout inside ``outside`` that scrolls up and down where the dock is too low for it."""
    inside = QWidget()
    layout = QVBoxLayout(inside)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(inside)
    around = QVBoxLayout(outside)
    around.setContentsMargins(0, 0, 0, 0)
    around.addWidget(scroll)
    return layout
