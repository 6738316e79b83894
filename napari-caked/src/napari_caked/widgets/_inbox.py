"""The helper's ear: what the window says is heard at once, also while the helper learns."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from napari_caked.widgets._messages import Look, Pause, Read, Resume, Stop
from napari_caked.widgets._wire import receive

__all__ = ["Inbox"]


class Inbox:
    """Reads the window's messages in a thread: commands set states, everything else waits to be asked for.

    Parameters
    ----------
    stream
        From the window.
    say
        Sends a message to it.

    Attributes
    ----------
    look
        What the window wants to see of the learning.
    """

    def __init__(self, stream: IO[bytes], say: Callable[[object], None]) -> None:
        self._stream, self._say = stream, say
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._heard, self._reading = threading.Condition(), threading.Lock()
        self._paused = self._stopped = self._alone = False
        self.look = Look(None)
        self._on_stop: Callable[[], None] = lambda: None
        threading.Thread(target=self._listen, name="napari_caked inbox", daemon=True).start()

    @property
    def paused(self) -> bool:
        """Whether the window wants nothing to be learned for now."""
        return self._paused and not self._stopped

    @property
    def stopped(self) -> bool:
        """Whether the window wants no more to be learned."""
        return self._stopped

    @property
    def alone(self) -> bool:
        """Whether the window is gone."""
        return self._alone

    def when_stopped(self, act: Callable[[], None]) -> None:
        """Call ``act``, in the reading thread, when the window asks to learn no more or is gone; at once if it has."""
        with self._heard:
            self._on_stop = act
            if self._stopped:
                act()

    def request(self) -> Any:
        """The next message that is no command.

        Raises
        ------
        EOFError
            The window is gone.
        """
        answer = self._answers.get()
        if answer is None:
            raise EOFError("the window is gone")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self, index: int) -> np.ndarray:
        """A micrograph, from the window; from any thread, one after the other."""
        with self._reading:
            self._say(Read(index))
            return np.asarray(self.request())

    @property
    def waiting(self) -> bool:
        """Whether there is a message that :meth:`request` would return at once."""
        return not self._answers.empty()

    def say(self, message: object) -> None:
        """Send a message to the window, from any thread."""
        self._say(message)

    def wait(self, seconds: float) -> None:
        """Sleep until a command comes, but no longer than this."""
        with self._heard:
            self._heard.wait(seconds)

    def _listen(self) -> None:
        try:
            while True:
                message = receive(self._stream)
                if isinstance(message, Look | Pause | Resume | Stop):
                    self._obey(message)
                else:
                    self._answers.put(message)
        except EOFError:
            self._answers.put(None)
        except Exception as error:
            self._answers.put(error)
        self._alone = True
        self._obey(Stop())

    def _obey(self, command: Look | Pause | Resume | Stop) -> None:
        with self._heard:
            match command:
                case Look():
                    self.look = command
                case Pause():
                    self._paused = True
                case Resume():
                    self._paused = False
                case Stop():
                    self._stopped = True
                    self._on_stop()
            self._heard.notify_all()
