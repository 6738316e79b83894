"""Colours that say why an atom would go."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from napari_profet.cleave_plan import Reason

__all__ = ["REASON_COLOURS", "STAYS", "preview_colours"]

STAYS = "#8c8c8c"
"""Of atoms that stay: none of the others is grey."""

REASON_COLOURS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.SIGNAL: "#e6194b",
        Reason.TRANSIT: "#f58231",
        Reason.PROPEPTIDE: "#ffe119",
        Reason.INITIATOR: "#911eb4",
        Reason.TAG: "#f032e6",
        Reason.FEATURE: "#4363d8",
        Reason.CHAIN: "#46f0f0",
        Reason.ENTITY: "#008080",
        Reason.RANGE: "#bfef45",
        Reason.SELECTION: "#3cb44b",
        Reason.CONFIDENCE: "#9a6324",
        Reason.ALTLOC: "#fabed4",
        Reason.HYDROGEN: "#ffffff",
        Reason.WATER: "#0082c8",
        Reason.ION: "#aaffc3",
        Reason.LIGAND: "#ffd8b1",
    }
)
"""One for each reason, as different from each other as so many can be."""


def preview_colours(reasons: np.ndarray) -> np.ndarray:
    """Colour of each atom of a plan, (n, 4) RGBA from 0 to 1.

    Parameters
    ----------
    reasons
        (n,) :class:`Reason`, or "" for what stays.
    """
    colours = np.tile(_rgba(STAYS), (len(reasons), 1))
    for reason, colour in REASON_COLOURS.items():
        colours[reasons == str(reason)] = _rgba(colour)
    return colours


def _rgba(colour: str) -> np.ndarray:
    return np.array([*(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)), 1.0])
