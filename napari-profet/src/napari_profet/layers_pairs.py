"""Predicted aligned errors beside their structure: pointing at a pair of residues marks both in the structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = [
    "PAIR_COLOURS",
    "PairLink",
    "is_aligned_error",
    "is_structure",
    "link_pairs",
    "place_beside",
    "residue_rows",
]

PAIR_COLOURS = ((1.0, 0.0, 1.0, 1.0), (0.0, 1.0, 1.0, 1.0))
"""Of the residue that is aligned on, and of the one whose error is told."""
_LARGER = 1.8


def is_structure(layer: Layer) -> bool:
    """Whether a layer holds the atoms of a structure."""
    return isinstance(layer, Points) and "structure" in layer.metadata


def is_aligned_error(layer: Layer) -> bool:
    """Whether a layer holds predicted aligned errors."""
    return isinstance(layer, Image) and "aligned_error" in layer.metadata


def residue_rows(layer: Points) -> list[np.ndarray]:
    """Rows of the atoms of each residue of a layer's first model, water left out, in order."""
    atoms = layer.features
    chosen = (atoms["model"] == atoms["model"].min()) & (atoms["entity_type"] != "water")
    keys = ["chain", "residue_number", "insertion_code"]
    return [np.asarray(rows) for rows in atoms[chosen].groupby(keys, sort=False).indices.values()]


def place_beside(structure: Points, count: int) -> dict[str, Any]:
    """Attributes that put a square of ``count`` residues right of a structure, as high as it is: both are seen then."""
    low, high = np.asarray(structure.extent.world)
    side = max(float(high[-2] - low[-2]), 10.0)
    return {
        "scale": (side / count,) * 2,
        "translate": (float(low[-2]), float(high[-1]) + 0.15 * side),
        "units": ("angstrom",) * 2,
    }


class _Marked:
    """Atoms of two residues, larger and in colours of their own, until they are taken back."""

    def __init__(self, layer: Points, residues: tuple[np.ndarray, np.ndarray]) -> None:
        self.layer = layer
        self._rows = np.unique(np.concatenate(residues))
        self._colours, self._sizes = layer.face_color[self._rows].copy(), layer.size[self._rows].copy()
        colours = layer.face_color.copy()
        for rows, colour in zip(residues, PAIR_COLOURS, strict=True):
            colours[rows] = colour
        self._painted = colours[self._rows]
        self._put(colours, _LARGER * self._sizes)

    def take_back(self) -> None:
        """Give the atoms their colours and sizes again; colours that somebody gave them meanwhile stay."""
        if self._rows.max() >= len(self.layer.data):
            return
        colours = self.layer.face_color.copy()
        if np.allclose(colours[self._rows], self._painted):
            colours[self._rows] = self._colours
        self._put(colours, self._sizes)

    def _put(self, colours: np.ndarray, sizes: np.ndarray) -> None:
        every = self.layer.size.copy()
        every[self._rows] = sizes
        self.layer.face_color = colours
        self.layer.size = every


def link_pairs(viewer: Viewer) -> PairLink:
    """The one link of a viewer, made when it is first asked for; it lives as long as the viewer."""
    # Its callbacks are where it is kept: a viewer may come in another wrapper each time.
    links = (getattr(callback, "__self__", None) for callback in viewer.mouse_move_callbacks)
    found = next((link for link in links if isinstance(link, PairLink)), None)
    return found or PairLink(viewer)


class PairLink:
    """Marks in a structure the two residues that the mouse points at in its aligned errors.

    A click keeps the marks where they are until the next click. Made by :func:`link_pairs`.

    Parameters
    ----------
    viewer
        Whose layers and mouse.

    Attributes
    ----------
    tell
        Told which residues these are; where nobody is, it stands in the viewer's text overlay.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.tell: Callable[[str], None] | None = None
        self._rows: dict[Any, list[np.ndarray]] = {}
        self._pair: tuple[int, int] | None = None
        self._marked: _Marked | None = None
        self._kept = False
        self._overlaid: tuple[bool, str] | None = None
        viewer.mouse_move_callbacks.append(self._moved)
        viewer.mouse_drag_callbacks.append(self._clicked)

    def _say(self, words: str) -> None:
        if self.tell is not None:
            self.tell(words)
            return
        # Not the status bar: there napari writes its own at each move of the mouse.
        overlay = _text_overlay(self._viewer)
        if self._overlaid is None:
            self._overlaid = bool(overlay.visible), str(overlay.text)
        overlay.text, overlay.visible = words, True

    def _clear(self) -> None:
        """Give the overlay back as it was."""
        if self._overlaid is not None:
            overlay = _text_overlay(self._viewer)
            overlay.visible, overlay.text = self._overlaid
            self._overlaid = None

    def _moved(self, viewer: Viewer, event: Any) -> None:
        if not self._kept:
            self._mark(self._found(event))

    def _clicked(self, viewer: Viewer, event: Any) -> Iterator[None]:
        yield
        moved = False
        while event.type == "mouse_move":
            moved = True
            yield
        if moved:
            return
        found = self._found(event)
        self._kept = found is not None and not self._kept
        self._mark(found)

    def _found(self, event: Any) -> tuple[Image, int, int] | None:
        """Errors and indices of the two residues under the mouse."""
        for layer in reversed(self._viewer.layers):
            if layer.visible and is_aligned_error(layer):
                place = np.rint(np.asarray(layer.world_to_data(_in_plane(event))[-2:])).astype(int)
                if (place >= 0).all() and (place < layer.data.shape).all():
                    return layer, int(place[0]), int(place[1])
        return None

    def structure(self, count: int) -> tuple[Points, list[np.ndarray]] | None:
        """The newest structure of so many residues that can be seen, and the atoms of each."""
        for layer in reversed(self._viewer.layers):
            if not (is_structure(layer) and layer.visible):
                continue
            key = (layer.unique_id, len(layer.data))
            if key not in self._rows:
                self._rows[key] = residue_rows(layer)
            if len(self._rows[key]) == count:
                return layer, self._rows[key]
        return None

    def _mark(self, found: tuple[Image, int, int] | None) -> None:
        pair = found and found[1:]
        if pair == self._pair:
            return
        self._pair = pair
        if self._marked is not None and self._marked.layer in self._viewer.layers:
            self._marked.take_back()
        self._marked = None
        if found is None:
            self._clear()
            return
        errors, first, second = found
        there = self.structure(len(errors.data))
        value = float(errors.data[first, second])
        if there is None:
            said = f"residues {first + 1} and {second + 1}: {value:.1f} Å"
            self._say(f"{said}; no structure that is seen has {len(errors.data)} residues")
            return
        layer, rows = there
        self._marked = _Marked(layer, (rows[first], rows[second]))
        names = [_name(layer, rows[index]) for index in (first, second)]
        self._say(f"seen from {names[0]}, {names[1]} may be {value:.1f} Å off")


def _text_overlay(viewer: Viewer) -> Any:
    """Text over a viewer's canvas, which napari 0.9 has moved."""
    return viewer.canvas.overlays.text if hasattr(viewer, "canvas") else viewer.text_overlay


def _in_plane(event: Any) -> np.ndarray:
    """World coordinates of the mouse in the plane that images of two dimensions lie in: where z is 0."""
    place = np.asarray(event.position, dtype=float)
    direction = event.view_direction
    if direction is None or len(place) < 3 or not direction[-3]:
        return place
    return place - np.asarray(direction) * (place[-3] / direction[-3])


def _name(layer: Points, rows: np.ndarray) -> str:
    atom = layer.features.iloc[rows[0]]
    return f"{atom['residue_name']} {atom['chain']} {atom['residue_number']}{atom['insertion_code']}"
