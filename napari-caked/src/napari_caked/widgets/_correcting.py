"""Correcting picks by key: an accepted pick becomes a label, a rejected one a "not this"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.widgets._label_set import LabelSet

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Points

__all__ = ["Corrector"]


class Corrector:
    """Accepts and rejects picks: the selected ones, else the one under the mouse.

    Parameters
    ----------
    viewer
        Tells where the mouse is.
    label_set
        Gets what is said.
    picks
        Gives the layer of picks, or None.
    """

    def __init__(self, viewer: napari.viewer.Viewer, label_set: LabelSet, picks: Callable[[], Points | None]) -> None:
        self._viewer, self._label_set, self._picks = viewer, label_set, picks

    def accept(self) -> int:
        """Make picks labels; tells how many."""
        return self._decide(negative=False)

    def reject(self) -> int:
        """Say of picks that they are no particles; tells how many."""
        return self._decide(negative=True)

    def accept_shown(self, micrograph: int) -> int:
        """Make labels of all picks that are shown on one micrograph; tells how many were none yet."""
        picks, labels = self._picks(), self._label_set.labels
        if picks is None or labels is None or not picks.visible:
            return 0
        data = np.asarray(picks.data)
        here = np.broadcast_to(picks.shown, len(data)) & (np.rint(data[:, 0]) == micrograph)
        frames = [(np.asarray(layer.scale)[-2:], np.asarray(layer.translate)[-2:]) for layer in (picks, labels)]
        (scale, origin), (theirs, start) = frames
        places = (data[here, 1:] * scale + origin - start) / theirs
        points = np.column_stack([np.full(len(places), float(micrograph)), places])[:, -labels.ndim :]
        new = points[[self._label_set.at(point) is None for point in points]]
        self._label_set.add_all(new)
        return len(new)

    def say(self, world: np.ndarray, *, negative: bool) -> None:
        """Say what is at a place in the world, whatever was said of it before."""
        labels = self._label_set.labels
        if labels is None:
            return
        wanted = self._label_set.require_negatives() if negative else labels
        point = np.array(labels.world_to_data(world[-labels.ndim :]), float)
        if len(point) == 3:
            point[0] = round(point[0])
        hit = self._label_set.at(point)
        if hit is not None and hit[0] is wanted:
            return
        if hit is not None:
            self._label_set.remove(*hit)
        self._label_set.add(point, negative=negative)

    def _decide(self, *, negative: bool) -> int:
        picks = self._picks()
        if picks is None or self._label_set.labels is None or not picks.visible:
            return 0
        if negative:
            self._label_set.require_negatives()
        chosen = self._chosen(picks)
        places = [np.array(picks.data_to_world(picks.data[i])) for i in chosen]
        with self._label_set.history.together():
            for place in places:
                self.say(place, negative=negative)
        picks.selected_data = set()
        return len(chosen)

    def _chosen(self, picks: Points) -> list[int]:
        shown = np.broadcast_to(picks.shown, len(picks.data))
        if self._viewer.layers.selection.active is picks and picks.selected_data:
            return [int(i) for i in picks.selected_data if shown[i]]
        if not len(picks.data):
            return []
        mouse = np.array(picks.world_to_data(self._viewer.cursor.position), float)
        data = np.asarray(picks.data)
        distance = np.linalg.norm(data[:, -2:] - mouse[-2:], axis=1)
        distance[~shown | (np.rint(data[:, :-2]) != np.rint(mouse[:-2])).any(axis=1)] = np.inf
        nearest = int(distance.argmin())
        within = distance[nearest] <= np.broadcast_to(picks.size, len(data))[nearest] / 2
        return [nearest] if within else []
