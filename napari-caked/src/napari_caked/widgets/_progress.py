"""How far a training is, in words and as a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QProgressBar

from napari_caked.widgets._messages import Memory

__all__ = ["Progress", "in_bytes", "in_minutes"]


class Progress(QObject):
    """Phases of one job after the other, each with a number of things to do.

    Parameters
    ----------
    parent
        Ends it.
    bar
        Shows the phase.
    overall
        Shows how many phases are over.
    say
        Told the phase, the time it took and will take, and where it runs.
    """

    def __init__(
        self,
        parent: QObject,
        bar: QProgressBar,
        overall: QProgressBar,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(parent)
        self._bar, self._overall, self._say = bar, overall, say
        self._phases: tuple[str, ...] = ()
        self.phase, self.device = "", ""
        self.done = self.total = self._done_before = 0
        self._began = self._phase_began = 0.0
        self._paused_since: float | None = None
        self._clock = QTimer(self)
        self._clock.setInterval(500)
        self._clock.timeout.connect(self.show)

    @property
    def elapsed(self) -> str:
        """Time since the beginning."""
        return in_minutes(time.monotonic() - self._began)

    @property
    def paused(self) -> bool:
        """Whether the clock stands still."""
        return self._paused_since is not None

    def begin(self, phases: Sequence[str]) -> None:
        """A job of these phases begins with the first of them."""
        self._phases = tuple(phases)
        self.device, self._paused_since = "", None
        self._began = time.monotonic()
        self.enter(phases[0], 0)
        self._clock.start()

    def end(self) -> None:
        """It is over."""
        self._clock.stop()
        self._bar.hide()
        self._overall.hide()
        self._paused_since = None

    def pause(self, on: bool) -> None:
        """Let no time pass, or go on."""
        if on and self._paused_since is None:
            self._paused_since = time.monotonic()
        elif not on and self._paused_since is not None:
            lost = time.monotonic() - self._paused_since
            self._began, self._phase_began, self._paused_since = self._began + lost, self._phase_began + lost, None
        self.show()

    def enter(self, phase: str, total: int, done: int = 0) -> None:
        """``done`` of ``total`` things of a phase are done."""
        if phase != self.phase or total != self.total or done == 0:
            self.phase, self._phase_began, self._done_before = phase, time.monotonic(), done
        self.done, self.total = done, total
        self.show()

    def show(self) -> None:
        """Say it."""
        now = self._paused_since or time.monotonic()
        _fill(self._bar, self.done, self.total, f"{self.phase}: {self.done} of {self.total}")
        part, parts = self._phases.index(self.phase), len(self._phases)
        within = self.done / self.total if self.total else 0.0
        _fill(self._overall, round(100 * (part + within)), 100 * parts, f"Part {part + 1} of {parts}")
        words = [f"{self.phase} on {self.device}" if self.device else self.phase]
        if self.paused:
            words.append("paused")
        words.append(f"{in_minutes(now - self._began)} elapsed")
        # What was done when the phase was first heard of took a time that nobody knows.
        if self._done_before < self.done < self.total:
            left = (now - self._phase_began) / (self.done - self._done_before) * (self.total - self.done)
            words.append(f"about {in_minutes(left)} left")
        self._say(" · ".join(words))


def _fill(bar: QProgressBar, done: int, total: int, words: str) -> None:
    # Qt repaints the whole window at each new value, unless it may not; then it does so when it has time.
    bar.setUpdatesEnabled(False)
    bar.setRange(0, total)
    bar.setValue(done)
    bar.setFormat(words)
    bar.setUpdatesEnabled(True)
    bar.show()


def in_minutes(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def in_bytes(memory: Memory) -> str:
    """What a training holds, in words."""
    words = f"{memory.resident / 1e6:.0f} MB of memory"
    return words if memory.device is None else f"{words}, {memory.device / 1e6:.0f} MB on the GPU"
