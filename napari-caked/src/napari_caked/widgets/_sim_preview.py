"""The live preview: one micrograph, simulated anew by a helper process whenever something is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer, Points

from napari_caked.simulate.settings import SimulationSettings
from napari_caked.widgets import _sim_messages as messages
from napari_caked.widgets._label_set import add_quietly
from napari_caked.widgets._process import Helper
from napari_caked.widgets._sim_layers import bring_into_view, frame_beside, preview_layers, preview_marks
from napari_caked.widgets._work import Work

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["LivePreview"]

_REMEMBERED = 50
"""Requests whose answers would still be shown."""


class LivePreview:
    """Asks for previews and shows them as two layers.

    Only the newest request counts: the helper forgets those before it, and an answer that is older than what is shown
    is dropped.

    Parameters
    ----------
    viewer
        Gets the layers.
    work
        Runs the helper.
    measured
        Told the diameter of the particle (Å) once the density is read.
    said
        Told what is under way, what went wrong, and how long a preview took.
    ended
        Told why there are no more previews: an error, or None where a layer was removed.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        work: Work,
        *,
        measured: Callable[[float], None],
        said: Callable[[str], None],
        ended: Callable[[Exception | None], None],
    ) -> None:
        self._viewer, self._work = viewer, work
        self._measured, self._said, self._ended = measured, said, ended
        self._helper: Helper | None = None
        self._asked: dict[int, tuple[float, SimulationSettings]] = {}
        self._ticket = self._shown = 0
        self._stop_quietly = False
        self.real: Image | None = None
        self.beside = True
        self.image: Image | None = None
        self.points: Points | None = None
        self.latency = 0.0
        self.diameter: float | None = None
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def running(self) -> bool:
        """Whether there is a helper that makes previews."""
        return self._helper is not None

    def start(self, specimen: messages.Specimen) -> None:
        """Make previews of this specimen from now on."""
        self.stop()
        self._stop_quietly = False
        helper = self._work.converse(
            messages.PreviewJob(specimen),  # type: ignore[arg-type]
            heard=lambda message: self._hear(message) if helper is self._helper else None,
            failed=lambda error: self._fail(error) if helper is self._helper else None,
            ended=lambda: None,
        )
        self._helper = helper
        self._said("Starting PyTorch")

    def stop(self) -> None:
        """Make no more; what is shown stays."""
        if self._helper is not None:
            self._helper.cancel()
        self._helper = None
        self._asked.clear()

    def close(self) -> None:
        """Let go of the viewer."""
        self.stop()
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def ask(self, settings: SimulationSettings, index: int) -> None:
        """Want this micrograph, and none that was wanted before."""
        if self._helper is None:
            return
        self._ticket += 1
        self._asked = {
            ticket: asked
            for ticket, asked in self._asked.items()
            if ticket > self._shown and ticket > self._ticket - 50
        }
        self._asked[self._ticket] = time.perf_counter(), settings
        self._helper.tell(messages.Preview(self._ticket, settings, index))  # type: ignore[arg-type]

    # ---- what comes -------------------------------------------------------------------------------------------------

    def _hear(self, message: Any) -> None:
        match message:
            case messages.Measured():
                self.diameter = message.diameter
                self._measured(message.diameter)
            case messages.Advanced():
                self._said(f"{message.what}…")
            case messages.Refused():
                if message.ticket == self._ticket:
                    self._said(message.message)
            case messages.Seen() if message.ticket > self._shown and message.ticket in self._asked:
                began, settings = self._asked[message.ticket]
                self._shown = message.ticket
                self._show(message, settings)
                self.latency = time.perf_counter() - began
                self._said(
                    f"{len(message.particles)} particles, {message.defocus:.2f} µm under focus; "
                    f"made in {1e3 * self.latency:.0f} ms"
                )

    def _fail(self, error: Exception) -> None:
        self._helper = None
        self._ended(error)

    def _show(self, seen: messages.Seen, settings: SimulationSettings) -> None:
        real = self.real if self.real in self._viewer.layers else None
        frame = frame_beside(real, settings.pixel_size, beside=self.beside)
        if real is not None and settings.noise is not None:  # whose grey values it has
            low, high = real.contrast_limits
            seen = replace(seen, limits=(low, high))
        if self.image is None or self.points is None:
            self._add(seen, settings, frame)
            return
        self.image.data = seen.image
        if not np.allclose(self.image.contrast_limits, seen.limits):
            self.image.contrast_limits = seen.limits
        self._mark(self.points, *preview_marks(seen, settings))
        for layer in (self.image, self.points):
            layer.metadata["pixel_size"] = settings.pixel_size
            # Each costs a painting, and they seldom change.
            for name in ("scale", "translate"):
                if not np.allclose(getattr(layer, name), frame[name]):
                    setattr(layer, name, frame[name])

    @staticmethod
    def _mark(layer: Points, places: np.ndarray, look: dict[str, Any], features: Any) -> None:
        if not np.array_equal(layer.data, places):  # most sliders move no particle, and each of these paints
            layer.selected_data = set()
            layer.data = places
            if len(places):
                layer.border_color = look["border_color"]
        if len(places) and not np.array_equal(layer.size, look["size"]):
            layer.size = look["size"]
        layer.features = features

    def _add(self, seen: messages.Seen, settings: SimulationSettings, frame: dict[str, Any]) -> None:
        self._viewer.dims.ndisplay = 2
        image, points = (Layer.create(*layer) for layer in preview_layers(seen, settings, frame))
        for old in (self.image, self.points):
            if old is not None:
                self._forget(old)
        add_quietly(self._viewer, image, below=None)
        add_quietly(self._viewer, points, below=None)
        self.image, self.points = image, points
        if self.real is not None and self.real in self._viewer.layers:
            bring_into_view(self._viewer, self.real)
        self._viewer.reset_view()

    def _forget(self, layer: Layer) -> None:
        """Remove one of the two layers, without taking it for the user's wish."""
        self._stop_quietly = True
        self._viewer.layers.remove(layer)
        self._stop_quietly = False

    def _on_removed(self, event: Any) -> None:
        if event.value not in (self.image, self.points):
            return
        self.image = None if event.value is self.image else self.image
        self.points = None if event.value is self.points else self.points
        if self.running and not self._stop_quietly:
            self.stop()
            self._ended(None)
