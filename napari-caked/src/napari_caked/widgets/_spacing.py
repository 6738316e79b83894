"""Keeping picks apart: of two that are too close to each other only the one with the higher score is shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QWidget

from napari_caked.peaks import suppress_neighbours
from napari_caked.widgets._saving import describe
from napari_caked.widgets._work import Work
from napari_empiarreader.layers import layer_pixel_size

if TYPE_CHECKING:
    from napari.layers import Points

__all__ = ["LeftOut", "MinimumDistance", "too_close"]

_KEY = "minimum_distance"
_FAST = 20_000
"""Picks that are compared in some 15 ms; more of them are compared in a thread."""


def too_close(points: np.ndarray, scores: np.ndarray, distance: float, among: np.ndarray | None = None) -> np.ndarray:
    """Which picks lie closer than ``distance`` to one that stays and has a higher score.

    Parameters
    ----------
    points
        ``(n, 3)`` of (micrograph, y, x) in pixels, or ``(n, 2)`` on one micrograph.
    scores
        ``(n,)``; a pick without one (NaN) was made by hand, so it stays, and others give way to it.
    distance
        In pixels; 0 leaves all.
    among
        ``(n,)`` bool: only these count, the others neither stay nor drive others out.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` bool.
    """
    out = np.zeros(len(points), bool)
    chosen = np.arange(len(points)) if among is None else np.flatnonzero(among)
    if distance <= 0 or len(chosen) < 2:
        return out
    sure = np.isnan(scores[chosen])
    order = chosen[np.argsort(-np.where(sure, np.inf, scores[chosen]), kind="stable")]
    out[order] = ~suppress_neighbours(_side_by_side(points[order], distance), distance)
    return out & ~np.isnan(scores)


def _side_by_side(points: np.ndarray, distance: float) -> np.ndarray:
    """``(n, 2)``: the micrographs on one plane, so far from each other that one comparison serves all of them."""
    if points.shape[1] == 2:
        return points
    number, at = np.unique(np.rint(points[:, 0]), return_inverse=True)
    step = np.ceil(np.ptp(points[:, 1:], axis=0) + 2 * distance)
    return points[:, 1:] + np.column_stack(np.divmod(at, int(np.ceil(np.sqrt(len(number)))))) * step


class MinimumDistance(QWidget):
    """Field for the smallest distance between two picks, and how many it hides.

    Attributes
    ----------
    pixel_size
        Å per pixel of the present layer; None where nobody knows, and then the field is in pixels.
    """

    changed = Signal()
    """The user wants another distance."""

    def __init__(self) -> None:
        super().__init__()
        self.pixel_size: float | None = None
        self.field = QDoubleSpinBox()
        self.field.setRange(0, 100_000)
        self.field.setDecimals(1)
        self.field.setSingleStep(5)
        self.field.setSpecialValueText("as picked")
        self.field.setKeyboardTracking(False)
        self.field.setToolTip(
            "Of two picks that are closer to each other, only the one with the higher score is shown and saved"
        )
        self.hides = QLabel()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.field, 1)
        layout.addWidget(self.hides)
        self.field.valueChanged.connect(lambda _value: self.changed.emit())

    @property
    def value(self) -> float:
        """In Å, or in pixels where their size is unknown; 0 for none."""
        return self.field.value()

    @property
    def pixels(self) -> float:
        """The same in pixels."""
        return self.value / (self.pixel_size or 1.0)

    def set_value(self, value: float) -> None:
        """Take another distance, telling nobody."""
        blocker = QSignalBlocker(self.field)
        self.field.setValue(value)
        blocker.unblock()

    def recall(self, layer: Points) -> None:
        """Take the unit and the distance that a layer was left with."""
        self.pixel_size = layer_pixel_size({"metadata": layer.metadata, "units": layer.units, "scale": layer.scale})
        self.field.setSuffix(" Å" if self.pixel_size else " px")
        self.set_value(float(layer.metadata.get(_KEY, 0.0)))

    def remember(self, layer: Points) -> None:
        """Leave the distance with a layer."""
        layer.metadata[_KEY] = self.value

    def show_hidden(self, count: int) -> None:
        """Say how many picks above the threshold are hidden for being too close."""
        self.hides.setText(f"hides {count:,}" if self.value else "")


class LeftOut:
    """Which picks of a layer no threshold shows: they are no particles, or too close to better ones.

    Parameters
    ----------
    work
        Compares many picks in a thread.
    distance
        The field.
    compared
        Called when it has.
    say
        Told what went wrong.

    Attributes
    ----------
    rejected, close
        ``(n,)`` bool: what is known to be no particle, and what is too close to a better one that is none of those.
    """

    def __init__(
        self, work: Work, distance: MinimumDistance, compared: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self._work, self._distance, self._compared, self._say = work, distance, compared, say
        self.rejected = self.close = np.empty(0, bool)
        self._asked = 0

    @property
    def all(self) -> np.ndarray:
        """``(n,)`` bool."""
        return self.rejected | self.close

    def judge(self, points: np.ndarray, scores: np.ndarray, rejected: np.ndarray) -> None:
        """Look at these picks; parameters as of :func:`too_close`, and which are known to be no particles."""
        self._asked += 1
        before, self.close, self.rejected = self.close, np.zeros(len(points), bool), rejected
        # The scores of added points come a moment after their places.
        if not self._distance.value or len(scores) != len(points):
            return
        compare = partial(too_close, points.copy(), scores.copy(), self._distance.pixels, ~rejected)
        if len(points) <= _FAST:
            self.close = compare()
            return
        # Until the answer is there, what was hidden stays hidden.
        self.close = before & ~rejected if len(before) == len(points) else self.close
        asked = self._asked

        def done(close: np.ndarray) -> None:
            if asked == self._asked:
                self.close = close
                self._compared()

        self._work.run(compare, done=done, failed=lambda error: self._say(describe(error)))
