"""A bar of progress that costs little while nobody knows how much there is to do."""

from __future__ import annotations

import time

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QProgressBar

__all__ = ["CalmProgressBar"]

#: ``QEvent::StyleAnimationUpdate``, which not every binding names.
_ANIMATION = 213
#: Seconds between two pictures.
_PAUSE = 0.25


class CalmProgressBar(QProgressBar):
    """A bar that moves four times a second, where its range is (0, 0).

    Styles paint such a bar anew 30 times a second, and with it the whole window is composed anew: without a graphics
    card that takes about one processor core for as long as somebody waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._painted = 0.0

    def event(self, event: QEvent | None) -> bool:
        """Leave out most pictures of the animation; each shows where it is at its time."""
        if event is None or _number(event) != _ANIMATION:
            return super().event(event)
        now = time.monotonic()
        if now - self._painted < _PAUSE:
            event.accept()  # else the style takes the bar for hidden, and begins anew with the next picture
            return True
        self._painted = now
        return super().event(event)


def _number(event: QEvent) -> int:
    """Number of an event's type, which is an enumeration in some bindings."""
    kind = event.type()
    return int(getattr(kind, "value", kind))
