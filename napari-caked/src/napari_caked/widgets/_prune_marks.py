"""What somebody said of the pictures of picks, with undo and redo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_caked.widgets._gallery import Mark

__all__ = ["Marks"]


class Marks:
    """One :class:`._gallery.Mark` for each of ``n`` pictures.

    Parameters
    ----------
    changed
        Called after each change.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.values = np.zeros(0, np.uint8)
        self._past: list[tuple[np.ndarray, np.ndarray]] = []
        self._future: list[tuple[np.ndarray, np.ndarray]] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a mark to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is one to make again."""
        return bool(self._future)

    def restart(self, count: int) -> None:
        """No marks, of so many pictures."""
        self.values = np.zeros(count, np.uint8)
        self._past.clear()
        self._future.clear()
        self._changed()

    def mark(self, indices: np.ndarray, mark: int) -> None:
        """Mark pictures ``(k,)``; one step for undo."""
        indices = np.asarray(indices, int)
        self._past.append((indices, self.values[indices]))
        self._future.clear()
        self._put(indices, np.full(len(indices), mark, np.uint8))

    def which(self, mark: Mark) -> np.ndarray:
        """``(k,)`` int: pictures with this mark."""
        return np.flatnonzero(self.values == mark)

    def undo(self) -> None:
        """Take the last step back."""
        self._go(self._past, self._future)

    def redo(self) -> None:
        """Make it again."""
        self._go(self._future, self._past)

    def _go(self, source: list[tuple[np.ndarray, np.ndarray]], other: list[tuple[np.ndarray, np.ndarray]]) -> None:
        if source:
            indices, before = source.pop()
            other.append((indices, self.values[indices]))
            self._put(indices, before)

    def _put(self, indices: np.ndarray, marks: np.ndarray) -> None:
        self.values = self.values.copy()
        self.values[indices] = marks
        self._changed()
