"""Undo and redo for Points layers, which napari lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Points

__all__ = ["History"]

_MOST_POINTS = 2_000_000
"""Held in all snapshots together: some 100 MB."""

_Snapshot = tuple[dict[Any, tuple[np.ndarray, Any]], Any]


class History:
    """Snapshots of some Points layers before each of their changes.

    Parameters
    ----------
    depth
        How many changes can be taken back; fewer where the layers hold very many points.
    more
        Gives something else that changes can concern, as a value.
    restore
        Sets it.
    changed
        Called after each change, also one that is undone.
    """

    def __init__(
        self,
        depth: int = 200,
        more: Callable[[], Any] = lambda: None,
        restore: Callable[[Any], None] = lambda value: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._layers: list[Points] = []
        self._depth, self._more, self._restore, self._changed = depth, more, restore, changed
        self._past: list[_Snapshot] = []
        self._future: list[_Snapshot] = []
        self._silent = False
        self._now = self._snapshot()

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is one to do again."""
        return bool(self._future)

    def watch(self, *layers: Points | None) -> None:
        """Watch these layers from now on, and no others; what happened before is forgotten if they are others."""
        wanted = [layer for layer in layers if layer is not None]
        if wanted == self._layers:
            return
        for layer in self._layers:
            layer.events.data.disconnect(self._on_data)
        # A further layer leaves the past as it was: it was empty then.
        if not set(map(id, self._layers)) <= set(map(id, wanted)):
            self._past.clear()
        self._future.clear()
        self._layers = wanted
        for layer in wanted:
            layer.events.data.connect(self._on_data)
        self._now = self._snapshot()
        self._changed()

    def note(self) -> None:
        """Remember that something may have changed."""
        now = None if self._silent else self._snapshot()
        if now is None or (now[1] == self._now[1] and all(now[0][key] is self._now[0].get(key) for key in now[0])):
            return
        self._past = [*self._past, self._now][-self._depth :]
        self._future.clear()
        self._now = now
        while len(self._past) > 1 and sum(map(_points, self._past)) > _MOST_POINTS:
            del self._past[0]
        self._changed()

    def forget(self) -> None:
        """Begin anew: what is there now is nothing that can be taken back."""
        self._past.clear()
        self._future.clear()
        self._now = self._snapshot()
        self._changed()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Count all changes in this block as one."""
        silent, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = silent
            self.note()

    @contextmanager
    def unnoticed(self) -> Iterator[None]:
        """Let changes in this block be nothing that can be taken back; what was before is forgotten."""
        silent, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = silent
            self.forget()

    def undo(self) -> bool:
        """Take the last change back; tells whether there was one."""
        return self._go(self._past, self._future)

    def redo(self) -> bool:
        """Do it again; tells whether there was something to do."""
        return self._go(self._future, self._past)

    def _go(self, source: list[_Snapshot], other: list[_Snapshot]) -> bool:
        if not source:
            return False
        other.append(self._now)
        before, more = source.pop()
        self._silent = True
        try:
            for layer in self._layers:
                data, features = before.get(layer, (np.empty((0, layer.ndim)), layer.features.iloc[:0]))
                if data is not self._now[0][layer][0]:
                    layer.selected_data = set()
                    layer.data = data
                    layer.features = features
            self._restore(more)
        finally:
            self._silent = False
        self._now = before, more
        self._now = self._snapshot()
        self._changed()
        return True

    def _snapshot(self) -> _Snapshot:
        """The layers as they are; of one that is as it was in the last snapshot, the same arrays."""
        last = self._now[0] if hasattr(self, "_now") else {}
        parts = {}
        for layer in self._layers:
            data, known = np.asarray(layer.data), last.get(layer)
            same = known is not None and known[0].shape == data.shape and np.array_equal(known[0], data)
            parts[layer] = known if known is not None and same else (data.copy(), layer.features.copy())
        return parts, self._more()

    def _on_data(self, event: Any = None) -> None:
        # napari also announces changes that are about to come ("adding"); those are not done yet.
        if str(getattr(event, "action", "changed")) in ("added", "removed", "changed"):
            self.note()


def _points(snapshot: _Snapshot) -> int:
    return sum(len(data) for data, _ in snapshot[0].values())
