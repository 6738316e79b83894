"""All that a person has said about the particles: labels, "not this", and micrographs without any; with undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Layer

from napari_caked.layers import is_negatives, negatives_layer, table_from_points
from napari_caked.widgets._history import History
from napari_empiarreader.coordinates import ParticleTable

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Points

__all__ = ["LabelSet", "add_quietly"]

_EMPTY = "empty_micrographs"


class LabelSet:
    """The labels layer, the layer of what is no particle, and the names of empty micrographs.

    Parameters
    ----------
    viewer
        Where the layers are.
    micrographs
        Gives the layer that they lie on.
    changed
        Called after each change.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, micrographs: Callable[[], Image | None], changed: Callable[[], None]
    ) -> None:
        self._viewer, self._micrographs, self._changed = viewer, micrographs, changed
        self.labels: Points | None = None
        self.negatives: Points | None = None
        self.history = History(more=lambda: self.empty, restore=self._set_empty, changed=changed)

    def choose(self, labels: Points | None) -> None:
        """Work on this layer of labels, and the negatives that lie beside it."""
        self.labels = labels
        self.negatives = next((layer for layer in self._viewer.layers if is_negatives(layer)), None)
        self.history.watch(self.labels, self.negatives)
        self._changed()

    def require_negatives(self) -> Points | None:
        """The layer of what is no particle, made if there is none; None where there are no labels either."""
        image = self._micrographs()
        if self.negatives is None and self.labels is not None and image is not None:
            layer = Layer.create(*negatives_layer(image))
            sizes = np.atleast_1d(self.labels.current_size)
            layer.current_size = float(sizes[0])
            add_quietly(self._viewer, layer, below=self.labels)
            self.choose(self.labels)
        return self.negatives

    # ---- what is said -------------------------------------------------------------------------------------------

    @property
    def empty(self) -> tuple[str, ...]:
        """Names of the micrographs that are declared empty."""
        return tuple(self.labels.metadata.get(_EMPTY, ())) if self.labels is not None else ()

    def _set_empty(self, names: Sequence[str]) -> None:
        if self.labels is not None:
            self.labels.metadata[_EMPTY] = list(names)

    def set_empty(self, name: str, empty: bool) -> None:
        """Declare a micrograph empty, or not."""
        others = [other for other in self.empty if other != name]
        self._set_empty([*others, name] if empty else others)
        self.history.note()

    def add(self, point: np.ndarray, *, negative: bool = False) -> None:
        """Add a label, or what is no particle, at ``(micrograph, y, x)`` in pixels of the labels layer."""
        layer = self.require_negatives() if negative else self.labels
        if layer is not None:
            layer.add(point[-layer.ndim :])
            layer.selected_data = set()

    def add_all(self, points: np.ndarray) -> None:
        """Add labels at ``(n, 3)``, as one change."""
        if self.labels is not None and len(points):
            self.labels.add(points)
            self.labels.selected_data = set()

    def remove(self, layer: Points, index: int) -> None:
        """Remove one point of either layer."""
        layer.selected_data = {index}
        layer.remove_selected()

    def at(self, point: np.ndarray) -> tuple[Points, int] | None:
        """The nearest label or negative in whose circle a point ``(micrograph, y, x)`` lies."""
        found: list[tuple[float, Points, int]] = []
        for layer in (self.labels, self.negatives):
            if layer is None or not layer.visible or not len(layer.data):
                continue
            data, here = np.asarray(layer.data), point[-layer.ndim :]
            distance = np.linalg.norm(data[:, -2:] - here[-2:], axis=1)
            distance[(np.rint(data[:, :-2]) != here[:-2]).any(axis=1)] = np.inf
            nearest = int(distance.argmin())
            if distance[nearest] <= np.broadcast_to(layer.size, len(data))[nearest] / 2:
                found.append((float(distance[nearest]), layer, nearest))
        return min(found, key=lambda entry: entry[0])[1:] if found else None

    # ---- what it comes to ---------------------------------------------------------------------------------------

    def tables(self, names: Sequence[str], image: Image) -> tuple[ParticleTable, ParticleTable | None]:
        """Labels and negatives on ``image``, for training; only where they are, features are of no use there.

        The negatives name the empty micrographs in ``metadata["empty_micrographs"]``; None where nothing is said.
        """
        nothing = ParticleTable(tuple(names), np.empty((0, 3)))
        labels = table_from_points(self.labels, names, image) if self.labels is not None else nothing
        negatives = table_from_points(self.negatives, names, image) if self.negatives is not None else nothing
        empty = [name for name in self.empty if name in names]
        labels = ParticleTable(labels.micrographs, labels.coordinates)
        negatives = ParticleTable(negatives.micrographs, negatives.coordinates, metadata={_EMPTY: empty})
        return labels, negatives if len(negatives) or empty else None

    def rejects(self, points: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """``(n,)`` bool: which of ``points`` ``(n, 3)`` are said to be no particles."""
        said = np.isin(np.rint(points[:, 0]), [i for i, name in enumerate(names) if name in self.empty])
        if self.negatives is None or not len(self.negatives.data):
            return said
        negatives = np.asarray(self.negatives.data)
        radius = float(np.atleast_1d(self.negatives.current_size)[0]) / 4
        for i in np.unique(np.rint(negatives[:, 0])):
            here = np.flatnonzero(np.rint(points[:, 0]) == i)
            for place in negatives[np.rint(negatives[:, 0]) == i, 1:]:
                said[here[np.linalg.norm(points[here, 1:] - place, axis=1) <= radius]] = True
        return said

    def in_words(self) -> str:
        """How many particles are labelled on how many micrographs, and what else is said."""
        if self.labels is None:
            return "no labels yet"
        data = np.asarray(self.labels.data)[np.broadcast_to(self.labels.shown, len(self.labels.data))]
        on = len(np.unique(np.rint(data[:, 0]))) if data.shape[1] == 3 else min(len(data), 1)
        particles, micrographs = "particle" + "s" * (len(data) != 1), "micrograph" + "s" * (on != 1)
        words = [f"<b>{len(data)}</b> {particles} on <b>{on}</b> {micrographs}"]
        if self.negatives is not None and len(self.negatives.data):
            words.append(f"<b>{len(self.negatives.data)}</b> not")
        if self.empty:
            words.append(f"<b>{len(self.empty)}</b> empty")
        return " · ".join(words)


def add_quietly(viewer: napari.viewer.Viewer, layer: Layer, below: Layer | None = None) -> None:
    """Add a layer, on top or just below another one; neither the selection nor the view changes."""
    layers = viewer.layers
    selected, active = set(layers.selection), layers.selection.active
    layers.insert(layers.index(below) if below is not None and below in layers else len(layers), layer)
    layers.selection = selected
    layers.selection.active = active
