"""Picks compared with labels that somebody has: average precision, best F1, and the curve between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_caked.errors import LabelsError
from napari_caked.layers import is_negatives, is_ours, table_from_points
from napari_caked.widgets._plots import PrecisionRecallPlot
from napari_caked.widgets._saving import describe
from napari_caked.widgets._work import Work
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.widgets.layer_choice import LayerChoice

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from napari_caked.evaluation import Evaluation

__all__ = ["Comparison"]


class Comparison(QWidget):
    """Scores picks against a layer of labels, in a thread.

    Parameters
    ----------
    viewer
        Whose layers are offered.
    work
        Runs the thread.
    picks
        Gives the layer of picks, or None.
    left_out
        Gives ``(n,)`` bool: those of them that are none, whatever the threshold.
    go_to
        Called with the threshold of the best F1, when its button is pressed.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        work: Work,
        picks: Callable[[], Points | None],
        left_out: Callable[[], np.ndarray],
        go_to: Callable[[float], None],
    ) -> None:
        super().__init__()
        self._work, self._picks, self._left_out = work, picks, left_out
        self.result: Evaluation | None = None
        self._threshold = 0.5
        self.labels = LayerChoice(viewer, self._may_be_truth, "a Points layer of labels")
        self.labels.setToolTip("All particles of the micrographs on which it has any; others are not scored")
        self.compare = QPushButton("Compare")
        self.best = QPushButton("Take the best threshold")
        self.best.setEnabled(False)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.plot = PrecisionRecallPlot()
        self.plot.hide()
        row = QHBoxLayout()
        row.addWidget(self.labels, 1)
        row.addWidget(self.compare)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.text)
        layout.addWidget(self.plot)
        layout.addWidget(self.best)
        self.compare.clicked.connect(self.start)
        self.best.clicked.connect(lambda: go_to(self.result.best_threshold) if self.result is not None else None)

    def _may_be_truth(self, layer: Layer) -> bool:
        points = isinstance(layer, Points) and "logit" not in layer.features and layer is not self._picks()
        return points and not is_negatives(layer) and not is_ours(layer)

    def forget(self) -> None:
        """The picks are others now."""
        self.labels.refresh()
        self.result = None
        self.text.clear()
        self.plot.hide()
        self.best.setEnabled(False)

    def set_threshold(self, threshold: float) -> None:
        """Say how good the picks at this threshold are."""
        self._threshold = threshold
        self.plot.set_threshold(threshold)
        if self.result is not None:
            self.text.setText(self._in_words(self.result))

    def start(self) -> None:
        """Compare."""
        try:
            picks, truth, radius = self._tables()
        except Exception as error:
            self.text.setText(describe(error))
            return
        self.text.setText("comparing…")
        self.compare.setEnabled(False)
        self._work.run(_evaluated, picks, truth, radius, done=self._done, failed=self._failed)

    def _tables(self) -> tuple[ParticleTable, ParticleTable, float]:
        """Candidates, labels and the match radius in pixels; layers belong to this thread."""
        layer, labels = self._picks(), self.labels.layer
        if layer is None or not len(layer.data):
            raise LabelsError("there are no picks to compare; train a picker or open some")
        if labels is None:
            raise LabelsError("there are no labels to compare with; open or click some")
        names = layer.metadata.get("micrographs") or ["micrograph_0000"]
        truth = table_from_points(labels, names, layer)
        # All candidates, whatever the threshold: the curve needs them.
        picks = ParticleTable(tuple(names), np.array(layer.data, float), layer.features.copy())
        picks = picks.where(~self._left_out())
        return picks, truth, float(np.median(np.atleast_1d(layer.size))) / 2

    def _done(self, result: Evaluation) -> None:
        self.compare.setEnabled(True)
        self.result = result
        self.text.setText(self._in_words(result))
        self.plot.show_curve(result.curve, result.best_threshold)
        self.plot.show()
        self.best.setEnabled(bool(np.isfinite(result.best_threshold)))

    def _in_words(self, result: Evaluation) -> str:
        reached = result.curve[result.curve[:, 0] >= self._threshold]
        _, recall, precision = reached[-1] if len(reached) else (0.0, 0.0, 0.0)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return (
            f"average precision <b>{result.average_precision:.3f}</b>, best F1 <b>{result.best_f1:.3f}</b> at "
            f"{result.best_threshold:.2f}; here precision <b>{precision:.3f}</b>, recall <b>{recall:.3f}</b>, "
            f"F1 <b>{f1:.3f}</b>, of {result.labels:,} labels"
        )

    def _failed(self, error: Exception) -> None:
        self.compare.setEnabled(True)
        self.text.setText(describe(error))


def _evaluated(picks: ParticleTable, truth: ParticleTable, radius: float) -> Any:
    """What a person compares with is all there is on the micrographs that it names."""
    from napari_caked.evaluation import evaluate

    return evaluate(picks, truth, radius=radius)
