"""Walking through suggested places: each comes to the middle of the view and is answered by a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer

from napari_caked.layers import suggestions_layer
from napari_caked.widgets._correcting import Corrector
from napari_caked.widgets._keys import Keys
from napari_caked.widgets._label_set import LabelSet, add_quietly
from napari_empiarreader.coordinates import ParticleTable

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Points

__all__ = ["SuggestionWalk"]

_LEAST_WIDTH = 60.0
"""Of a particle on the screen, in pixels: one comes nearer to what looks smaller."""


class SuggestionWalk:
    """Shows suggested places one after the other.

    Parameters
    ----------
    viewer, label_set, corrector
        Where to show them, and who is told the answers.
    say
        Told what to do next.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, label_set: LabelSet, corrector: Corrector, say: Callable[[str], None]
    ) -> None:
        self._viewer, self._label_set, self._corrector, self._say = viewer, label_set, corrector, say
        self._layer: Points | None = None
        self._at = 0
        self._keys = Keys(viewer, {"Space": self.next, "Escape": self.stop})

    @property
    def under_way(self) -> bool:
        """Whether a place is waiting for an answer."""
        return self._layer is not None

    @property
    def layer(self) -> Points | None:
        """The layer of the places, while they are walked through."""
        return self._layer

    def start(self, places: ParticleTable, image: Image, diameter: float, pixels: float) -> None:
        """Walk through ``places``, of particles ``diameter`` Å and ``pixels`` pixels wide."""
        self.stop()
        self._layer = Layer.create(*suggestions_layer(places, image, diameter))
        self._layer.size = self._layer.current_size = 1.6 * pixels
        add_quietly(self._viewer, self._layer)
        self._keys.hold(True)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._at = 0
        self._show()

    def answer(self, *, negative: bool) -> None:
        """Say of the place in the middle what it is, and go to the next."""
        if self._layer is None:
            return
        place = np.array(self._layer.data_to_world(self._layer.data[self._at]))
        with self._label_set.history.together():
            self._corrector.say(place, negative=negative)
        self.next()

    def next(self) -> None:
        """Go to the next place; after the last the walk is over."""
        if self._layer is None:
            return
        self._at += 1
        if self._at >= len(self._layer.data):
            self.stop()
            self._say("All suggestions are looked at: press 'Improve' to learn from the answers.")
        else:
            self._show()

    def stop(self) -> None:
        """Show no more places."""
        layer, self._layer = self._layer, None
        if layer is None:
            return
        self._keys.hold(False)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        self._say("")

    def _show(self) -> None:
        assert self._layer is not None
        place = np.array(self._layer.data_to_world(self._layer.data[self._at]))
        if self._viewer.dims.ndim >= 3:
            self._viewer.dims.set_point(self._viewer.dims.ndim - 3, float(place[0]))
        camera = camera_of(self._viewer)
        camera.center = (*camera.center[:-2], *place[-2:])
        width = float(np.atleast_1d(self._layer.size)[0]) / 1.6 * float(self._layer.scale[-1])
        camera.zoom = max(camera.zoom, _LEAST_WIDTH / width)
        self._say(
            f"Suggestion {self._at + 1} of {len(self._layer.data)}: <b>A</b> a particle, <b>X</b> not this, "
            "<b>Space</b> next, <b>Esc</b> stop"
        )

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self.stop()


def camera_of(viewer: Any) -> Any:
    """The camera, which has moved in napari 0.9."""
    return getattr(viewer, "scene", viewer).camera
