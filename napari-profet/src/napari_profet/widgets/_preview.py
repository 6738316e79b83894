"""What would go, painted on the atoms of a layer; nothing but colours is changed, and they come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_profet.palette import REASON_COLOURS, STAYS, preview_colours

if TYPE_CHECKING:
    from napari.layers import Points

    from napari_profet.cleave_plan import CleavePlan

__all__ = ["Preview", "legend_of"]


class Preview:
    """Paints plans of cleaving on one layer at a time."""

    def __init__(self) -> None:
        self._layer: Points | None = None
        self._colours: np.ndarray | None = None

    @property
    def layer(self) -> Points | None:
        """The layer that is painted, or None."""
        return self._layer

    def show(self, layer: Points, plan: CleavePlan, shown: np.ndarray) -> None:
        """Paint a plan.

        Parameters
        ----------
        layer
            The atoms.
        plan
            Of the atoms that were shown.
        shown
            (n,) whether each atom of the layer was.
        """
        if self._layer != layer:
            self.clear()
            self._layer, self._colours = layer, np.array(layer.face_color)
        colours = np.array(self._colours)
        if len(colours) != len(layer.data) or len(shown) != len(layer.data):
            # Atoms were added or deleted since; the plan is of others.
            return
        colours[shown] = preview_colours(plan.reason)
        layer.face_color = colours

    def clear(self) -> None:
        """Give the atoms their own colours again."""
        layer, colours = self._layer, self._colours
        self._layer = self._colours = None
        if layer is not None and colours is not None and len(colours) == len(layer.data):
            layer.face_color = colours


def legend_of(plan: CleavePlan) -> str:
    """Reasons in their colours with counts, in HTML; nothing for a plan that takes nothing."""
    lines = []
    for reason, (residues, atoms) in plan.counts.items():
        counted = f"{residues:,} residues, {atoms:,} atoms" if residues else f"{atoms:,} atoms"
        lines.append(f'<span style="color:{REASON_COLOURS[reason]}">⬤</span> {reason}: {counted}')
    if lines:
        stays = int((~plan.goes).sum())
        lines.append(f'<span style="color:{STAYS}">⬤</span> stays: {stays:,} atoms')
    return "<br>".join(lines)
