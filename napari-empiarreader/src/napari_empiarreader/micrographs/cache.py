"""Decoded micrographs kept in memory, bounded in bytes, shared by the viewer, the trainer and the picker."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future

import numpy as np

__all__ = ["ImageCache", "shared_cache"]


class ImageCache:
    """Least recently used images, at most ``limit`` bytes of them.

    Two threads that ask for the same image wait for one read; different images are read at the same time.

    Parameters
    ----------
    limit
        Bytes to keep. An image larger than that is returned and not kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._images: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._running: dict[Hashable, Future[np.ndarray]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes_held(self) -> int:
        """Bytes of all images kept now."""
        return self._bytes

    def get(self, key: Hashable, read: Callable[[], np.ndarray]) -> np.ndarray:
        """The image under ``key``, from memory, or by calling ``read`` (once, however many threads ask).

        The array is shared and therefore read-only.
        """
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
            running = self._running.get(key)
            if running is None:
                mine: Future[np.ndarray] = Future()
                self._running[key] = mine
        if running is not None:
            return running.result()
        try:
            image = read()
            image.flags.writeable = False
        except BaseException as error:
            with self._lock:
                del self._running[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._running[key]
            self._keep(key, image)
        mine.set_result(image)
        return image

    def peek(self, key: Hashable) -> np.ndarray | None:
        """The image under ``key`` if it is in memory."""
        with self._lock:
            return self._images.get(key)

    def forget(self) -> None:
        """Drop every image."""
        with self._lock:
            self._images.clear()
            self._bytes = 0

    def _keep(self, key: Hashable, image: np.ndarray) -> None:
        if image.nbytes > self.limit:
            return
        self._images[key] = image
        self._bytes += image.nbytes
        while self._bytes > self.limit:
            _, oldest = self._images.popitem(last=False)
            self._bytes -= oldest.nbytes


_SHARED = ImageCache(limit=512 * 2**20)


def shared_cache() -> ImageCache:
    """The one cache of this process."""
    return _SHARED
