"""Work in threads for one widget, which ends with it."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QThreadPool, QTimer

from napari_caked.widgets._process import Helper

__all__ = ["Work"]

_EVERY: weakref.WeakSet[Work] = weakref.WeakSet()
#: Milliseconds that threads get to end when the program does.
_PATIENCE = 10_000


class Work:
    """Runs functions and helper processes in worker threads and hands the answers to the main thread.

    Answers that come after :meth:`close` are dropped, and helpers are ended by it. Qt may hold :meth:`close`, for it
    knows nothing of the widget but what was asked for last.
    """

    def __init__(self) -> None:
        self._helpers: set[Helper] = set()
        self._round = 0
        _EVERY.add(self)

    def close(self) -> None:
        """End all helpers and drop all answers; new work may be started afterwards."""
        self._round += 1
        for helper in self._helpers:
            helper.cancel()

    def converse(
        self,
        request: Any,
        read: Callable[[int], Any] | None = None,
        *,
        heard: Callable[[Any], None],
        failed: Callable[[Exception], None],
        ended: Callable[[], None],
        after: int = 0,
    ) -> Helper:
        """Start a helper with ``request``; ``heard`` gets each of its messages, in the main thread.

        The helper starts ``after`` ms; it can be cancelled from now on.
        """
        helper = Helper()
        self._helpers.add(helper)
        if_wanted = self._if_wanted()
        worker = create_worker(
            helper.messages,
            request,
            read,
            _start_thread=False,
            # Connected here, because napari raises the errors that nobody has asked for at creation.
            _connect={"yielded": if_wanted(heard), "errored": if_wanted(failed), "finished": if_wanted(ended)},
        )
        worker.finished.connect(lambda: self._helpers.discard(helper))
        QTimer.singleShot(after, worker.start)
        return helper

    def soon(self, after: int, act: Callable[[], None]) -> None:
        """Call ``act`` in the main thread after some ms."""
        QTimer.singleShot(after, self._if_wanted()(act))

    def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Call ``function(*arguments)`` in a thread; then ``done`` or ``failed`` in the main thread."""
        if_wanted = self._if_wanted()
        create_worker(
            function,
            *arguments,
            _start_thread=True,
            _connect={"returned": if_wanted(done), "errored": if_wanted(failed)},
        )

    def _if_wanted(self) -> Callable[[Callable[..., None]], Callable[..., None]]:
        started_in = self._round

        def guard(act: Callable[..., None]) -> Callable[..., None]:
            return lambda *answer: act(*answer) if started_in == self._round else None

        return guard


@atexit.register
def _close_all() -> None:
    """End all work before Qt ends: a thread whose signals are gone takes the program down with it.

    napari waits for its threads when its event loop ends; a script may close the viewer without ever running one.
    """
    for work in list(_EVERY):
        work.close()
    if pool := QThreadPool.globalInstance():
        pool.waitForDone(_PATIENCE)
