"""Labelling by clicks on the canvas, with undo: what napari's Points layer lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Points

__all__ = ["ClickTool", "Undo"]

_SLOP = 4.0
"""A mouse that moved further than this between press and release, in screen pixels, has dragged and not clicked."""


class Undo:
    """Snapshots of a small Points layer before each of its changes.

    Parameters
    ----------
    layer
        Watched until :meth:`close`.
    depth
        How many changes can be taken back.
    """

    def __init__(self, layer: Points, depth: int = 200) -> None:
        self.layer = layer
        self._depth = depth
        self._past: list[tuple[Any, Any]] = []
        self._future: list[tuple[Any, Any]] = []
        self._restoring = False
        self._now = self._snapshot()
        layer.events.data.connect(self._on_data)

    def close(self) -> None:
        """Stop watching."""
        self.layer.events.data.disconnect(self._on_data)

    def undo(self) -> None:
        """Take the last change back, if there is one."""
        self._go(self._past, self._future)

    def redo(self) -> None:
        """Do it again."""
        self._go(self._future, self._past)

    def _go(self, source: list[tuple[Any, Any]], other: list[tuple[Any, Any]]) -> None:
        if not source:
            return
        other.append(self._now)
        data, features = source.pop()
        self._restoring = True
        try:
            self.layer.selected_data = set()
            self.layer.data = data
            self.layer.features = features
        finally:
            self._restoring = False
        self._now = self._snapshot()

    def _snapshot(self) -> tuple[Any, Any]:
        return np.array(self.layer.data), self.layer.features.copy()

    def _on_data(self, event: Any = None) -> None:
        # napari also announces changes that are about to come ("adding"); those are not done yet.
        if self._restoring or str(getattr(event, "action", "changed")) not in ("added", "removed", "changed"):
            return
        self._past = [*self._past, self._now][-self._depth :]
        self._future.clear()
        self._now = self._snapshot()


class ClickTool:
    """Left click adds a label, a click on a label or a right click removes one, dragging still pans and zooms.

    napari's own "add" mode adds a point for every mouse button and at every drag, so napari stays in its pan mode and
    the clicks are handled here. They count whichever layer is active, unless that layer is being edited itself.

    Parameters
    ----------
    viewer
        Whose canvas.
    layer
        Gets the labels.
    micrographs
        Gives the layer on which they must lie, if there is one.
    """

    def __init__(self, viewer: napari.viewer.Viewer, layer: Points, micrographs: Callable[[], Image | None]) -> None:
        self.viewer, self.layer, self._micrographs = viewer, layer, micrographs
        self._undo = Undo(layer)
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        # Two quick picks must not count as napari's "double click to zoom".
        self._zoomers = list(viewer.mouse_double_click_callbacks)
        viewer.mouse_double_click_callbacks.clear()
        viewer.bind_key("Control-Z", self._on_undo, overwrite=True)
        viewer.bind_key("Control-Shift-Z", self._on_redo, overwrite=True)

    def close(self) -> None:
        """Give mouse and keys back to napari."""
        self._undo.close()
        if self._on_mouse in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._on_mouse)
        self.viewer.mouse_double_click_callbacks.extend(self._zoomers)
        for key in ("Control-Z", "Control-Shift-Z"):
            self.viewer.bind_key(key, None, overwrite=True)

    def undo(self) -> None:
        """Take the last change of the labels back."""
        self._undo.undo()

    def redo(self) -> None:
        """Do it again."""
        self._undo.redo()

    def _on_undo(self, _viewer: Any) -> None:
        self.undo()

    def _on_redo(self, _viewer: Any) -> None:
        self.redo()

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        if event.button not in (1, 2) or event.modifiers or self._busy_elsewhere() or not self.layer.visible:
            return
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.linalg.norm(np.array(event.pos) - start) > _SLOP:
            return
        point = np.array(self.layer.world_to_data(event.position), float)
        if len(point) == 3:
            point[0] = round(point[0])
        hit = self._label_at(point)
        if hit is not None:
            self.layer.selected_data = {hit}
            self.layer.remove_selected()
        elif event.button == 1 and self._on_a_micrograph(event.position):
            self.layer.add(point)
            self.layer.selected_data = set()

    def _busy_elsewhere(self) -> bool:
        active = self.viewer.layers.selection.active
        return active is not None and str(getattr(active, "mode", "pan_zoom")) != "pan_zoom"

    def _label_at(self, point: np.ndarray) -> int | None:
        """The nearest label in whose circle a point lies."""
        data = np.asarray(self.layer.data)
        if not len(data):
            return None
        distance = np.linalg.norm(data[:, -2:] - point[-2:], axis=1)
        distance[(np.rint(data[:, :-2]) != point[:-2]).any(axis=1)] = np.inf
        nearest = int(distance.argmin())
        return nearest if distance[nearest] <= np.broadcast_to(self.layer.size, len(data))[nearest] / 2 else None

    def _on_a_micrograph(self, position: Any) -> bool:
        image = self._micrographs()
        if image is None:
            return True
        yx = np.array(image.world_to_data(position))[-2:]
        shape = (image.data[0] if image.multiscale else image.data).shape[-2:]
        return bool((yx > -0.5).all() and (yx < np.array(shape) - 0.5).all())
