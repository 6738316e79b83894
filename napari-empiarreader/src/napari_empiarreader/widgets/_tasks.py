"""Work in threads for one widget: answers that nobody waits for any more are dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from napari.qt.threading import create_worker

__all__ = ["Tasks"]


class Tasks:
    """Runs plain functions in worker threads and hands the answers to the main thread.

    Parameters
    ----------
    on_busy
        Method called in the main thread with the number of functions still under way. It is held weakly, so that
        Qt, which holds :meth:`close`, does not keep the widget alive.
    """

    def __init__(self, on_busy: Callable[[int], None]) -> None:
        self._on_busy = WeakMethod(on_busy)
        self._round = 0
        self._running = 0
        self.closed = False

    def new_round(self) -> None:
        """Drop the answers of everything started so far."""
        self._round += 1

    def close(self) -> None:
        """Drop every answer from now on, and start nothing; for when the widget goes away."""
        self.closed = True
        self.new_round()

    def reopen(self) -> None:
        """Work again after :meth:`close`."""
        self.closed = False

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Call ``function(*arguments)`` in a thread; then ``done`` or ``failed`` in the main thread."""
        if self.closed:
            return
        started_in = self._round

        def if_still_wanted(act: Callable[[Any], None]) -> Callable[[Any], None]:
            return lambda answer: act(answer) if started_in == self._round else None

        self._running += 1
        self._tell()
        create_worker(
            function,
            *arguments,
            _start_thread=True,
            _connect={
                "returned": if_still_wanted(done),
                "errored": if_still_wanted(failed),
                "finished": self._one_less,
            },
        )

    def _one_less(self) -> None:
        self._running -= 1
        self._tell()

    def _tell(self) -> None:
        on_busy = self._on_busy()
        if on_busy is not None and not self.closed:
            on_busy(self._running)
