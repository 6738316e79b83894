"""A stack of micrographs that a helper process simulates, one at a time, whenever somebody looks at one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from napari_caked.errors import TrainingError
from napari_caked.widgets._process import Helper
from napari_caked.widgets._sim_messages import Advanced, Laid, Render, Rendered, StackJob

__all__ = ["Stack"]


class Stack:
    """The images and the truth of one stack.

    Any thread may ask; one question is answered at a time. The layer of the stack outlives the widget, and so does
    this.

    Parameters
    ----------
    job
        What to simulate.
    """

    def __init__(self, job: StackJob) -> None:
        self._job = job
        self._asking = threading.Lock()
        self._helper: Helper | None = None
        self._conversation: Iterator[Any] = iter(())

    @property
    def awake(self) -> bool:
        """Whether there is a helper."""
        return self._helper is not None

    def truth(self, heard: Callable[[Advanced], None]) -> Laid:
        """Start, and wait for the truth about all micrographs; ``heard`` is told how far it is, in this thread.

        Raises
        ------
        TrainingError
            It was cancelled, or cannot be simulated.
        """
        with self._asking:
            return self._begin(heard)

    def image(self, index: int) -> np.ndarray:
        """Micrograph number ``index``, ``(y, x)`` float32; waits until it is simulated.

        Raises
        ------
        TrainingError
            It cannot be simulated, or the helper was ended meanwhile.
        """
        with self._asking:
            if self._helper is None:
                self._begin(lambda message: None)
            if (helper := self._helper) is not None:  # ended meanwhile, it says so below
                helper.tell(Render(index))  # type: ignore[arg-type]
            message = self._next()
            if not isinstance(message, Rendered) or message.index != index:
                raise TypeError(f"micrograph {index} was asked for, and a {type(message).__name__} came")
        return message.image

    def rest(self) -> None:
        """End the helper; whoever waits for it gets an error, and the next question starts another. Never waits."""
        helper = self._helper
        if helper is not None:
            helper.cancel()
            self._helper = None

    def _begin(self, heard: Callable[[Advanced], None]) -> Laid:
        self._helper = Helper()
        self._conversation = iter(self._helper.messages(self._job))  # type: ignore[arg-type]
        message = self._next()
        while isinstance(message, Advanced):
            heard(message)
            message = self._next()
        return message

    def _next(self) -> Any:
        try:
            return next(self._conversation)
        except StopIteration:
            self._helper = None
            raise TrainingError("the simulation was cancelled") from None
        except Exception:
            self._helper = None
            raise
