"""The layers that training fills: picks of all micrographs, and the score map of the one in view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer

from napari_caked.layers import picks_layer, score_layer, series_from_layer
from napari_caked.widgets._label_set import add_quietly
from napari_caked.widgets._messages import ScorePlane
from napari_caked.widgets._work import Work
from napari_empiarreader.coordinates import ParticleTable

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Points

    from napari_caked.widgets._pick_panel import PickPanel

__all__ = ["LiveLayers", "resize"]

_PAINT_AFTER = 300
"""Milliseconds from a new layer for picks to its first painting."""


class LiveLayers:
    """Fills layers with what a training says, and puts back what was there if it comes to nothing.

    Parameters
    ----------
    viewer
        Gets the layers; its selection and its view stay as they are.
    panel
        Shows the scores of the picks.
    work
        For what is done a moment later.
    """

    def __init__(self, viewer: napari.viewer.Viewer, panel: PickPanel, work: Work) -> None:
        self._viewer, self._panel, self._work = viewer, panel, work
        self.picks: Points | None = None
        self._on: Image | None = None
        self._scores: Image | None = None
        self._parts: list[ParticleTable] = []
        self._previews: dict[int, ParticleTable] = {}
        self._before: ParticleTable | None = None
        self._width, self._learning = 0.0, True
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def make_room(self, image: Image, below: Layer | None) -> None:
        """Have a layer for picks that lies on ``image``.

        A new layer costs napari 0.2 s: half for its controls, half for its first painting, when vispy builds its
        shaders. Made early and empty, and painted a moment later, it does not make the window stick while training.
        """
        if image not in self._viewer.layers or (self.picks is not None and self._on is image):
            return
        import pandas as pd

        columns = pd.DataFrame({"score": [], "logit": [], "diameter": []}, dtype=float)
        nothing = ParticleTable(series_from_layer(image).names, np.empty((0, 3)), columns)
        layer = Layer.create(*picks_layer(nothing, image))
        layer.visible = False
        add_quietly(self._viewer, layer, below)
        self.picks, self._on = layer, image
        self._work.soon(_PAINT_AFTER, self._first_painting)

    def _first_painting(self) -> None:
        if self.picks is not None:
            self.picks.visible = True

    # ---- one training -------------------------------------------------------------------------------------------

    def begin(self, width: float, pixel_size: float, *, learning: bool = True) -> None:
        """A training of particles ``width`` pixels wide begins; what is shown now is remembered.

        Where nothing is learned, previews are picks of the final picker, and stay until their micrograph's turn.
        """
        self._width, self._learning = width, learning
        self._parts, self._previews, self._before = [], {}, None
        if self.picks is not None:
            self.picks.metadata["pixel_size"] = pixel_size

    def preview(self, index: int, picks: ParticleTable) -> None:
        """Show what the learning picker makes of one micrograph; earlier previews of others stay."""
        if self.picks is None:
            return
        if self._before is None:
            self._before = self._shown_now(self.picks, picks.micrographs)
        self._previews[index] = picks
        self._show()

    def add(self, picks: ParticleTable) -> None:
        """Show final picks of some micrographs, with those that have come before."""
        self._parts.append(picks)
        if self._learning:
            self._previews = {}
        if self.picks is None:  # removed by the user meanwhile
            return
        self.picks.metadata.update(picks.metadata)
        self._show()

    def _show(self) -> None:
        """Show final picks, and the previews of micrographs that have none yet."""
        final = {int(index) for part in self._parts for index in np.unique(part.coordinates[:, 0])}
        self._replace([*self._parts, *(part for index, part in self._previews.items() if index not in final)])

    def end(self) -> None:
        """The training is over. If it brought no final picks, show those that were there before it."""
        final = self._parts or (self._previews and not self._learning)
        if self.picks is not None and not final and self._before is not None:
            self._replace([self._before])
        self._before, self._previews = None, {}

    @staticmethod
    def _shown_now(layer: Points, names: Sequence[str]) -> ParticleTable:
        return ParticleTable(tuple(names), np.array(layer.data, np.float64), layer.features.copy())

    def _replace(self, parts: list[ParticleTable]) -> None:
        import pandas as pd

        assert self.picks is not None
        # Tables without rows have columns without types, which pandas warns of.
        filled = [part for part in parts if len(part)] or parts[-1:]
        table = replace(
            filled[-1],
            coordinates=np.concatenate([part.coordinates for part in filled]),
            features=pd.concat([part.features for part in filled], ignore_index=True),
        )
        if not len(self.picks.data) or float(np.atleast_1d(self.picks.current_size)[0]) != self._width:
            resize(self.picks, self._width)
        self._panel.replace_picks(self.picks, table)

    # ---- the score map ------------------------------------------------------------------------------------------

    def show_scores(self, on: bool, image: Image | None) -> None:
        """Have a layer for the score map, or none."""
        if not on and self._scores is not None:
            self._viewer.layers.remove(self._scores)
        elif on and self._scores is None and image is not None:
            self._scores = Layer.create(*score_layer(image, 0, np.zeros((2, 2)), (1.0, 1.0)))
            add_quietly(self._viewer, self._scores, below=self._lowest_points(image))

    def scores(self, index: int, plane: ScorePlane) -> None:
        """Show the score map of one micrograph."""
        if self._scores is None or self._on is None:
            return
        data, attributes, _ = score_layer(self._on, index, plane.scores, plane.spacing)
        self._scores.data = data
        # Each of the two costs as much as the scores themselves, and they seldom change.
        for name in ("scale", "translate"):
            if not np.array_equal(getattr(self._scores, name), attributes[name]):
                setattr(self._scores, name, attributes[name])
        self._scores.metadata.update(attributes["metadata"])

    def _lowest_points(self, image: Image) -> Layer | None:
        """The first layer of points above the micrographs: marks must stay visible on the map."""
        above = list(self._viewer.layers)[self._viewer.layers.index(image) + 1 :]
        return next((layer for layer in above if layer._type_string == "points"), None)

    def _on_removed(self, event: Any) -> None:
        if event.value is self.picks:
            self.picks = self._on = None
            self._panel.set_layer(None)
        if event.value is self._scores:
            self._scores = None


def resize(layer: Points, pixels: float) -> None:
    """Draw circles of this width, also for points to come."""
    # napari gives a new size to what is selected, and trips over selected points that are gone.
    layer.selected_data = set()
    layer.current_size = pixels
    if len(layer.data):
        layer.size = pixels
