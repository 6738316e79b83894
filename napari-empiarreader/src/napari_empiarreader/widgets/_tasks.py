"""Work in threads for one widget: it can be cancelled, it says how far it is, and it ends with the widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from napari.qt.threading import create_worker
from napari.utils.progress import cancelable_progress
from qtpy.QtCore import QThreadPool, QTimer

__all__ = ["Task", "Tasks"]

_LOOK_EVERY = 100
"""Milliseconds between two looks at what the threads report."""

_SHOWN_AFTER = 1.0
"""Seconds that a task may take before it gets a bar in napari's activity dock."""

_LARGEST = 2**31 - 1
"""Qt's bars count in 32 bits."""


class _Cancelled(Exception):
    """Nobody wants the answer any more; raised inside the worker's thread to end it."""


class Task:
    """One function under way.

    Attributes
    ----------
    title
        For people; tasks without one show no bar.
    done, total, message
        What the function reported last; ``total`` 0 means unknown.
    gently
        Set to end the function in its own way, with an answer that says how far it came; None where it has no such
        way, and cancelling drops the answer.
    """

    def __init__(self, title: str, gently: threading.Event | None = None) -> None:
        self.title = title
        self.gently = gently
        self.done, self.total, self.message = 0, 0, ""
        self.started = time.monotonic()
        self.stop = threading.Event()
        self.on_cancel: Callable[[], None] | None = None
        self._bar: _DockBar | None = None

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Take a report from the worker's thread, and end it there once the task has been cancelled."""
        if self.stop.is_set():
            raise _Cancelled
        self.done, self.total, self.message = done, total, message

    @property
    def cancelled(self) -> bool:
        """Whether the answer is no longer wanted."""
        return self.stop.is_set()

    def cancel(self) -> None:
        """End gently where that is possible; else as :meth:`drop`."""
        if self.gently is None:
            self.drop()
        else:
            self.gently.set()

    def drop(self) -> None:
        """Drop the answer now, and let the thread end at its next report."""
        if self.gently is not None:
            self.gently.set()
        if not self.stop.is_set():
            self.stop.set()
            self.close_bar()
            if self.on_cancel is not None:
                self.on_cancel()

    def show_bar(self) -> None:
        """Bring the bar in napari's activity dock up to date, and make it where the task takes long."""
        if not self.title or self.cancelled or time.monotonic() - self.started < _SHOWN_AFTER:
            return
        if self._bar is None:
            self._bar = _DockBar(self)
        self._bar.follow()

    def close_bar(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _DockBar(cancelable_progress):
    """A task's bar in the activity dock; its button cancels the task at once."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._message, self._out_of = "", 0
        super().__init__(desc=task.title, total=0, leave=False)

    def cancel(self) -> None:
        self.is_canceled = True
        # The button that was clicked lives in the bar that this removes.
        QTimer.singleShot(0, self._task.cancel)

    def follow(self) -> None:
        task = self._task
        unit = max(1, -(-task.total // _LARGEST))
        if task.total and self._out_of != task.total // unit:
            self.total = self._out_of = task.total // unit
        if task.done // unit != self.n:
            self.update(task.done // unit - self.n)
        if task.message != self._message:
            self._message = task.message
            self.set_description(f"{task.title}: {task.message}" if task.message else task.title)


class Tasks:
    """Runs plain functions in worker threads and hands the answers to the main thread.

    Parameters
    ----------
    on_change
        Method called in the main thread whenever a task begins, gets on or ends. It is held weakly, so that Qt,
        which holds :meth:`close`, does not keep the widget alive.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = WeakMethod(on_change)
        self._threads = 0
        self.running: list[Task] = []
        self.closed = False
        self._timer = QTimer()
        self._timer.setInterval(_LOOK_EVERY)
        self._timer.timeout.connect(self._look)

    @property
    def threads(self) -> int:
        """Threads that have not ended; one that was cancelled may still wait for an answer of the archive."""
        return self._threads

    def cancel_all(self) -> None:
        """Drop the answers of everything started so far."""
        for task in list(self.running):
            task.drop()
        self.running.clear()
        self._tell()

    def close(self) -> None:
        """Drop every answer from now on, and start nothing; for when the widget goes away."""
        self.closed = True
        self.cancel_all()

    def reopen(self) -> None:
        """Work again after :meth:`close`."""
        self.closed = False

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        title: str = "",
        reports: bool = False,
        gently: threading.Event | None = None,
        **named: Any,
    ) -> Task:
        """Call ``function(*arguments, **named)`` in a thread; then ``done`` or ``failed`` in the main thread.

        Parameters
        ----------
        title
            What the user sees where it takes longer than a second.
        reports
            Give the function ``progress=`` as well, a :class:`~napari_empiarreader.progress.Progress`; through it,
            cancelling ends the thread.
        gently
            See :class:`Task`.
        """
        task = Task(title, gently)
        if self.closed:
            task.stop.set()
            return task
        if reports:
            named["progress"] = task.progress

        def answer(outcome: tuple[Any, Exception | None]) -> None:
            wanted = not task.cancelled
            self._forget(task)
            value, error = outcome
            if wanted and error is None:
                done(value)
            elif wanted and error is not None:
                failed(error)

        self.running.append(task)
        self._threads += 1
        self._timer.start()
        self._tell()
        create_worker(
            _outcome,
            function,
            arguments,
            named,
            _start_thread=True,
            _connect={"returned": answer, "finished": self._one_less},
        )
        return task

    def _one_less(self) -> None:
        self._threads -= 1

    def _forget(self, task: Task) -> None:
        task.close_bar()
        if task in self.running:
            self.running.remove(task)
        self._tell()

    def _look(self) -> None:
        for task in self.running:
            task.show_bar()
        if not self.running:
            self._timer.stop()
        self._tell()

    def _tell(self) -> None:
        on_change = self._on_change()
        if on_change is not None and not self.closed:
            on_change()


def _outcome(
    function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """The answer or the error: raised, an error would be shown by napari as well, and a RuntimeError by nobody."""
    pool = QThreadPool.globalInstance()
    assert pool is not None
    # The work mostly waits for the network; it must not keep other work from the few threads of the pool.
    pool.releaseThread()
    try:
        return function(*arguments, **named), None
    except Exception as error:  # noqa: BLE001  (whoever asked is told)
        return None, error
    finally:
        pool.reserveThread()
