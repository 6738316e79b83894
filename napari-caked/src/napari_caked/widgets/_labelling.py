"""Labelling by clicks on the canvas: what napari's Points layer lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_caked.widgets._label_set import LabelSet

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["ClickTool"]

_SLOP = 4.0
"""A mouse that moved further than this between press and release, in screen pixels, has dragged and not clicked."""


class ClickTool:
    """Left click adds a label, a click on a label or a right click removes one, dragging still pans and zooms.

    With Shift, or with :attr:`negative` set, a left click says "not this" instead. napari's own "add" mode adds a point
    for every mouse button and at every drag, so napari stays in its pan mode and the clicks are handled here. They
    count whichever layer is active, unless that layer is being edited itself.

    Parameters
    ----------
    viewer
        Whose canvas; its cursor becomes a circle as wide as a particle.
    label_set
        Gets what is said.
    micrographs
        Gives the layer on which it must lie, if there is one.

    Attributes
    ----------
    negative
        Whether a plain click says "not this".
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, label_set: LabelSet, micrographs: Callable[[], Image | None]
    ) -> None:
        self.viewer, self._label_set, self._micrographs = viewer, label_set, micrographs
        self.negative = False
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        # Two quick picks must not count as napari's "double click to zoom".
        self._zoomers = list(viewer.mouse_double_click_callbacks)
        viewer.mouse_double_click_callbacks.clear()
        # Last, because napari sets the cursor of a layer that becomes the active one.
        viewer.layers.selection.events.active.connect(self.show_cursor, position="last")
        self.show_cursor()

    def close(self) -> None:
        """Give mouse and cursor back to napari."""
        self.viewer.layers.selection.events.active.disconnect(self.show_cursor)
        if self._on_mouse in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._on_mouse)
        self.viewer.mouse_double_click_callbacks.extend(self._zoomers)
        active = self.viewer.layers.selection.active
        self.viewer.cursor.style = active.cursor if active is not None else "standard"

    def show_cursor(self, _event: Any = None) -> None:
        """Show a circle as wide as a particle under the mouse."""
        labels = self._label_set.labels
        if labels is not None and not self._busy_elsewhere():
            # The cursor is measured in the world, points in pixels.
            self.viewer.cursor.size = float(np.atleast_1d(labels.current_size)[0] * labels.scale[-1])
            self.viewer.cursor.style = "circle"

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        labels = self._label_set.labels
        modifiers = {str(getattr(modifier, "name", modifier)) for modifier in event.modifiers}
        if labels is None or event.button not in (1, 2) or modifiers - {"Shift"}:
            return
        if self._busy_elsewhere() or not labels.visible:
            return
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.linalg.norm(np.array(event.pos) - start) > _SLOP:
            return
        point = np.array(labels.world_to_data(event.position), float)
        if len(point) == 3:
            point[0] = round(point[0])
        hit = self._label_set.at(point)
        if hit is not None:
            self._label_set.remove(*hit)
        elif event.button == 1 and self._on_a_micrograph(event.position):
            self._label_set.add(point, negative=self.negative != ("Shift" in modifiers))

    def _busy_elsewhere(self) -> bool:
        active = self.viewer.layers.selection.active
        return active is not None and str(getattr(active, "mode", "pan_zoom")) != "pan_zoom"

    def _on_a_micrograph(self, position: Any) -> bool:
        image = self._micrographs()
        if image is None:
            return True
        yx = np.array(image.world_to_data(position))[-2:]
        shape = (image.data[0] if image.multiscale else image.data).shape[-2:]
        return bool((yx > -0.5).all() and (yx < np.array(shape) - 0.5).all())
