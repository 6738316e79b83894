"""Work in threads for one widget: one job at a time, shown in a bar; and questions whose last answer counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_profet.errors import CancelledError, UserError
from napari_profet.widgets._progress_bar import CalmProgressBar

__all__ = ["Job", "JobBar", "Latest"]


class Job:
    """Something under way: what the worker thread and the window both look at."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.stop = threading.Event()
        self.done = 0
        self.total = 0
        self.message = ""
        self._enders: list[Callable[[], object]] = []

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Remember how far it is; called by the worker, which must not touch the window."""
        self.done, self.total, self.message = done, total, message

    def when_cancelled(self, end: Callable[[], object]) -> None:
        """Call ``end`` when the job is cancelled; at once, if it has been."""
        self._enders.append(end)
        if self.stop.is_set():
            end()

    def cancel(self) -> None:
        """Ask the worker to stop."""
        self.stop.set()
        for end in self._enders:
            end()

    def check(self) -> None:
        """Raise :class:`CancelledError` if it was cancelled."""
        if self.stop.is_set():
            raise CancelledError("Cancelled.")


class JobBar(QWidget):
    """Progress, a button to cancel, and what there is to say; at most one job runs.

    ``busy`` tells when one begins and ends.
    """

    busy = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._running: list[Job] = []
        self._in_bytes = True
        self.bar = CalmProgressBar()
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop what is under way; nothing is changed by it")
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.status)
        # The worker only leaves numbers behind; the window fetches them when it has time.
        self._clock = QTimer(self)
        self._clock.setInterval(100)
        self._clock.timeout.connect(self._show_progress)
        self.cancel_button.clicked.connect(self.cancel)
        self.say("")
        # When napari itself is closed, nothing of this widget may be touched any more but this list.
        running = self._running
        self.destroyed.connect(lambda: _orphan(running))

    @property
    def job(self) -> Job | None:
        """The one job under way."""
        return self._running[0] if self._running else None

    def start(
        self, label: str, work: Callable[[Job], Any], done: Callable[[Any], None], *, in_bytes: bool = False
    ) -> None:
        """Do ``work`` in a thread, then ``done`` with its result in the main one; nothing while a job runs.

        Parameters
        ----------
        label
            What it does, as "Fetching 1abc".
        work
            Gets the job, for its progress and to see whether it was cancelled.
        done
            Says itself how it went.
        in_bytes
            The job's progress counts bytes.
        """
        if self.job:
            return
        job = Job(label)
        self._running.append(job)
        self._in_bytes = in_bytes
        # A function, not a generator: from a generator a RuntimeError would vanish without a signal.
        create_worker(
            work,
            job,
            _connect={
                "returned": lambda result: self._finish(job, result, done),
                "errored": lambda error: self._report(job, error),
            },
        )
        self.status.setText(f"{label}…")
        self.bar.setRange(0, 0)
        self._show_busy(True)

    def cancel(self) -> None:
        """Stop what is under way."""
        if self.job:
            self.cancel_button.setEnabled(False)
            self.status.setText("Cancelling…")
            self.job.cancel()

    def abandon(self) -> None:
        """Stop what is under way and forget it."""
        if self.job:
            _orphan(self._running)
            self.say("Cancelled.")

    def say(self, message: str) -> None:
        """Show a message; what was under way has ended."""
        self._running.clear()
        self._show_busy(False)
        self.status.setText(message)

    def fail(self, message: str) -> None:
        """Show a message, and notify of it."""
        self.say(message)
        show_error(message)

    def _show_busy(self, busy: bool) -> None:
        if busy:
            self._clock.start()
        else:
            self._clock.stop()
        self.bar.setVisible(busy)
        self.cancel_button.setVisible(busy)
        self.cancel_button.setEnabled(busy)
        self.busy.emit(busy)

    def _show_progress(self) -> None:
        job = self.job
        if job is None or job.stop.is_set() or not (job.done or job.message):
            return
        unit = 1000 if self._in_bytes else 1
        if job.total:
            # In kB, because a bar counts with 32 bits.
            self.bar.setRange(0, max(job.total // unit, 1))
            self.bar.setValue(job.done // unit)
        told = f"{job.done / 1e6:.1f} MB" if self._in_bytes else job.message
        self.status.setText(f"{job.label}… {told}")

    def _finish(self, job: Job, result: Any, done: Callable[[Any], None]) -> None:
        if job is not self.job:
            return
        if job.stop.is_set():
            self.say("Cancelled.")
            return
        self.say("")
        done(result)

    def _report(self, job: Job, error: Exception) -> None:
        if job is not self.job:
            return
        if job.stop.is_set() or isinstance(error, CancelledError):
            self.say("Cancelled.")
        elif isinstance(error, UserError):
            self.fail(str(error))
        else:
            # A defect of ours: napari notifies, and shows the traceback on demand.
            self.say(f"{type(error).__name__}: {error}")
            raise error


class Latest:
    """Asks questions in threads a moment after they were put; only the answer to the last one is heard.

    Parameters
    ----------
    failed
        Gets what a question raised.
    delay
        Milliseconds, in which another question may take the place of one.
    """

    def __init__(self, failed: Callable[[Exception], None], delay: int = 150) -> None:
        self._failed, self._delay, self._round = failed, delay, 0

    @property
    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        return self._round % 2 == 1

    def ask(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Call ``work`` in a thread, then ``done`` with its result; earlier questions are dropped."""
        # Odd while an answer is awaited.
        self._round += 2 if self.waiting else 1
        asked = self._round

        def heard(act: Callable[[Any], None], answer: Any) -> None:
            if asked == self._round:
                self._round += 1
                act(answer)

        def begin() -> None:
            if asked == self._round:
                create_worker(
                    work,
                    _connect={
                        "returned": lambda answer: heard(done, answer),
                        "errored": lambda error: heard(self._failed, error),
                    },
                )

        QTimer.singleShot(self._delay, begin)

    def drop(self) -> None:
        """Hear no answer to what was asked so far."""
        self._round += 1 if self.waiting else 2


def _orphan(running: list[Job]) -> None:
    """Stop all jobs; whatever still comes from them belongs to no one."""
    for job in running:
        job.cancel()
    running.clear()
