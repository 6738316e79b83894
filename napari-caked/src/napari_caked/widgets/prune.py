"""The pruner: look at picks as a wall of pictures, mark good and bad ones, and hide what is no particle."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import QEvent, QSignalBlocker
from qtpy.QtWidgets import QWidget

from napari_caked.errors import LabelsError
from napari_caked.layers import pixel_size_of, table_from_points
from napari_caked.widgets._gallery import Mark, Order
from napari_caked.widgets._in_view import go_to_micrograph
from napari_caked.widgets._pick_saving import PickFile, PickSaving, ask_for_pick_file
from napari_caked.widgets._process import Helper
from napari_caked.widgets._progress import Progress
from napari_caked.widgets._prune_data import Chosen, PatchFolder, captions, chosen, diameter_of
from napari_caked.widgets._prune_form import PruneForm
from napari_caked.widgets._prune_junk import JunkLayer
from napari_caked.widgets._prune_marks import Marks
from napari_caked.widgets._prune_messages import (
    ASKING,
    CUTTING,
    JUDGING,
    LEARNING,
    LOOKING,
    MAPPING,
    TRAINING,
    JunkFound,
    JunkJob,
    PruneJob,
    Verdicts,
)
from napari_caked.widgets._prune_pictures import PatchPictures
from napari_caked.widgets._saving import describe
from napari_caked.widgets._sim_messages import Advanced
from napari_caked.widgets._work import Work

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Points

    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["PickPruner"]

_STARTING = "Starting PyTorch"
#: Fewest marks of either kind that can be learned from.
_FEWEST = 2
#: Probability from which on a place is taken for junk.
_IS_JUNK = 0.5


class PickPruner(QWidget):
    """Judge picks of any program, look at them, mark some, learn from the marks, set a threshold, save both sets.

    Parameters
    ----------
    napari_viewer
        Whose layers.

    Attributes
    ----------
    verdicts
        Of each pick of the layer: ``probability``, ``log_odds``, ``class``, ``kind``; None before they are judged.
    junk
        ``(n,)`` how likely each pick lies on junk; None before that is mapped.
    marks
        What somebody said of them.
    pruner
        Content of the file of the present pruner; None means the one that is shipped.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._work = Work()
        self._helper: Helper | None = None
        self._job: PruneJob | JunkJob | None = None
        self._layer: Points | None = None
        self._places = np.zeros((0, 3))
        self._shown = np.zeros(0, bool)
        self._failed = self._docked = self._ours = False
        self._patches = PatchFolder()
        self.verdicts: pd.DataFrame | None = None
        self.junk: np.ndarray | None = None
        self.pruner: bytes | None = None
        self._junk_now = np.zeros(0, np.float32)
        self._junk_layer = JunkLayer(napari_viewer)
        self.form = PruneForm(self, napari_viewer)
        self.marks = Marks(self._on_marks)
        self.progress = Progress(self, self.form.progress, self.form.overall, self._say)
        self._saving = PickSaving(self, self._work, self._say)
        self._connect()
        self._on_micrographs(self.form.micrographs.layer)
        self._on_picks(self.form.picks.layer)
        self.setMinimumWidth(360)

    def _connect(self) -> None:
        form = self.form
        form.picks.chosen.connect(self._on_picks)
        form.micrographs.chosen.connect(self._on_micrographs)
        form.judge.clicked.connect(lambda: self.start())
        form.learn.clicked.connect(lambda: self.start(learn=True))
        form.map_junk.clicked.connect(self.map_junk)
        form.hide_junk.toggled.connect(lambda: self.set_threshold(form.slider.value()))
        form.cancel.clicked.connect(self.cancel)
        form.slider.valueChanged.connect(self.set_threshold)
        form.histogram.threshold_moved.connect(self.set_threshold)
        form.order.currentIndexChanged.connect(lambda index: form.gallery.set_order(Order(index)))
        form.gallery.marked.connect(self.marks.mark)
        form.gallery.pointed.connect(self._show_on_canvas)
        form.undo.clicked.connect(self.marks.undo)
        form.redo.clicked.connect(self.marks.redo)
        form.save.clicked.connect(self.ask_and_save)
        self.destroyed.connect(self._work.close)

    # ---- the data -----------------------------------------------------------------------------------------------

    def _on_micrographs(self, layer: Image | None) -> None:
        self.form.pixel_size.setValue((pixel_size_of(layer) if layer is not None else None) or 0)

    def _on_picks(self, layer: Points | None) -> None:
        if layer is not self._layer and self._layer is not None:
            self._layer.events.data.disconnect(self._on_data)
        self._layer = layer
        if layer is not None:
            layer.events.data.disconnect(self._on_data)
            layer.events.data.connect(self._on_data)
            if not self.form.diameter.value():
                self.form.diameter.setValue(diameter_of(layer))
        self._forget()

    def _on_data(self, _event: object = None) -> None:
        """Picks that were moved, added or removed are not those that were judged."""
        layer = self._layer
        if (self.verdicts is not None or self.junk is not None) and (
            layer is None or not np.array_equal(np.asarray(layer.data), self._places)
        ):
            self._forget()
            self._say("The picks have changed; judge them again.")

    def _forget(self) -> None:
        self.verdicts = self.junk = None
        self.marks.restart(0)
        self.form.gallery.show_pictures(np.zeros((0, 1, 1), np.uint8), np.zeros(0))
        self.form.histogram.set_scores(np.zeros(0))
        self.form.counts.setText("")
        self.form.hide_junk.setEnabled(False)
        self._offer()

    # ---- judging ------------------------------------------------------------------------------------------------

    @property
    def judging(self) -> bool:
        """Whether a job is under way."""
        return self._helper is not None

    def start(self, *, learn: bool = False) -> None:
        """Judge the picks, with ``learn`` after learning from the marks; everything slow happens elsewhere."""
        if self.judging:
            return
        try:
            chosen = self._chosen()
            good, bad = (self.marks.which(mark) if learn else None for mark in (Mark.GOOD, Mark.BAD))
            if good is not None and bad is not None and min(len(good), len(bad)) < _FEWEST:
                raise LabelsError(f"mark at least {_FEWEST} good and {_FEWEST} bad pictures to learn from")
        except Exception as error:
            self._say(describe(error))
            return
        job = PruneJob(
            *chosen.described,
            picks=chosen.picks,
            particle_diameter=chosen.diameter,
            folder=str(self._patches.of(chosen)),
            good=good,
            bad=bad,
            train_picker=self.form.train_picker.isChecked(),
        )
        training = (TRAINING, ASKING) if job.train_picker else ()
        self._begin(job, chosen.series, (_STARTING, *((*training, LEARNING) if learn else (LOOKING, CUTTING)), JUDGING))

    def map_junk(self) -> None:
        """Find ice, carbon, gold and dirt on all micrographs, show them, and flag the picks that lie there."""
        if self.judging:
            return
        try:
            chosen = self._chosen()
        except Exception as error:
            self._say(describe(error))
            return
        self._junk_now = np.full(len(chosen.picks), np.nan, np.float32)
        self._junk_layer.begin()
        job = JunkJob(*chosen.described, picks=chosen.picks, particle_diameter=chosen.diameter, pruner=self.pruner)
        self._begin(job, chosen.series, (_STARTING, MAPPING))

    def _begin(self, job: PruneJob | JunkJob, series: MicrographSeries, phases: tuple[str, ...]) -> None:
        self._job, self._failed = job, False
        self._remember()
        self.progress.begin(phases)
        self._helper = self._work.converse(job, series.read, heard=self._hear, failed=self._fail, ended=self._end)
        self._offer()

    def _remember(self) -> None:
        """What is judged, and the first time which picks were shown before this window hid any."""
        assert self._layer is not None  # else there would be no job
        self._places = np.array(self._layer.data)
        if self.verdicts is None and self.junk is None:
            self._shown = np.array(np.broadcast_to(self._layer.shown, len(self._places)), bool)

    def cancel(self) -> None:
        """End the job; what was judged before stays."""
        if self._helper is not None:
            self._helper.cancel()

    def _chosen(self) -> Chosen:
        form = self.form
        return chosen(self._layer, form.micrographs.layer, form.diameter.value(), form.pixel_size.value())

    def _hear(self, message: Advanced | Verdicts | JunkFound) -> None:
        match message:
            case Advanced():
                self.progress.enter(message.what, message.total, message.done)
            case Verdicts() if isinstance(self._job, PruneJob):
                self._take(message, self._job)
            case JunkFound():
                self.progress.enter(MAPPING, message.total, message.index + 1)
                self._junk_layer.take(message, self.form.micrographs.layer)
                self._junk_now[message.rows] = message.junk
                if message.index + 1 == message.total:
                    self._take_junk()

    def _take(self, verdicts: Verdicts, job: PruneJob) -> None:
        layer = self._layer
        if layer is None or not np.array_equal(np.asarray(layer.data), self._places):
            self._say("The picks have changed meanwhile; judge them again.")
            return
        first = self.verdicts is None
        self.pruner = verdicts.pruner
        self.verdicts = verdicts.table.features[["probability", "log_odds", "class", "kind"]]
        probability = self.verdicts["probability"].to_numpy()
        if first:
            self.marks.restart(len(probability))
            pictures = PatchPictures.of(Path(job.folder))
            self.form.gallery.show_pictures(pictures, probability, captions=captions(verdicts.table))
        else:
            self.form.gallery.set_scores(probability)
        layer.features = layer.features.assign(probability=probability, kind=self.verdicts["kind"].to_numpy())
        self.form.histogram.set_scores(probability)
        self.set_threshold(self.form.slider.value() if not first else 0.5)
        took = self.progress.elapsed
        self.progress.end()  # else its clock writes over what follows
        self._say(f"{'Learned and judged' if job.good is not None else 'Judged'} {len(probability):,} picks in {took}.")

    def _take_junk(self) -> None:
        layer = self._layer
        if layer is None or not np.array_equal(np.asarray(layer.data), self._places):
            self._say("The picks have changed meanwhile; map the junk again to flag them.")
            return
        self.junk = self._junk_now
        layer.features = layer.features.assign(junk=self.junk)
        self.form.hide_junk.setEnabled(True)
        count = int((self.junk >= _IS_JUNK).sum())
        self.progress.end()
        self._say(f"Junk mapped in {self.progress.elapsed}: {count:,} of {len(self.junk):,} picks lie on some.")
        self.set_threshold(self.form.slider.value())

    def _end(self) -> None:
        cancelled = self._helper is not None and self._helper.cancelled
        self._helper = None
        self.progress.end()
        self._offer()
        if cancelled and not self._failed:
            self._say("Cancelled; what was judged before is kept.")

    def _fail(self, error: Exception) -> None:
        self._failed = True
        self.progress.end()  # else its clock may write over the message until the process has ended
        self._say(describe(error))

    # ---- looking and marking ------------------------------------------------------------------------------------

    @property
    def kept(self) -> np.ndarray:
        """``(n,)`` bool: picks that stay: shown before, probable enough, and not on junk where that is wanted."""
        kept = self._shown.copy()
        if self.verdicts is not None:
            kept &= self.verdicts["probability"].to_numpy() >= self.form.slider.value()
        if self.junk is not None and self.form.hide_junk.isChecked():
            kept &= ~(self.junk >= _IS_JUNK)
        return kept

    def set_threshold(self, threshold: float) -> None:
        """Show picks of at least this probability and hide the others."""
        with QSignalBlocker(self.form.slider):
            self.form.slider.setValue(threshold)
        self.form.histogram.set_threshold(threshold)
        self.form.gallery.set_threshold(threshold)
        if (self.verdicts is None and self.junk is None) or self._layer is None:
            return
        kept = self.kept
        self._layer.shown = kept
        removed = int(self._shown.sum() - kept.sum())
        self.form.counts.setText(f"{kept.sum():,} picks stay, {removed:,} are hidden")

    def _on_marks(self) -> None:
        good, bad = (len(self.marks.which(mark)) for mark in (Mark.GOOD, Mark.BAD))
        self.form.marks.setText(f"{good} good, {bad} bad" if good or bad else "")
        if len(self.marks.values) == len(self.form.gallery.order):
            self.form.gallery.set_marks(self.marks.values)
        self._offer()

    def _offer(self) -> None:
        enough = min(len(self.marks.which(mark)) for mark in (Mark.GOOD, Mark.BAD)) >= _FEWEST
        judged = self.verdicts is not None or self.junk is not None
        self.form.set_busy(self.judging, judged=judged, learnable=enough)
        self.form.undo.setEnabled(self.marks.can_undo)
        self.form.redo.setEnabled(self.marks.can_redo)

    def _show_on_canvas(self, index: int) -> None:
        layer = self._layer
        if layer is None or index >= len(layer.data):
            return
        place = np.asarray(layer.data)[index]
        if layer.ndim == 3:
            go_to_micrograph(self._viewer.dims, layer, round(float(place[0])))
        camera = self._viewer.camera
        camera.center = (*camera.center[:-2], *layer.data_to_world(place)[-2:])
        layer.selected_data = {index}

    # ---- keeping ------------------------------------------------------------------------------------------------

    def ask_and_save(self) -> None:
        """Ask for a file and write both sets."""
        if self._layer is None:
            return
        chosen = ask_for_pick_file(self, f"{self._layer.name} pruned.star")
        if chosen is not None:
            self.save(*chosen, ask=True)

    def save(self, path: Path, format: str | None = None, *, overwrite: bool = False, ask: bool = False) -> None:
        """Write the picks that stay, and beside them, with ``_removed`` in the name, those that do not."""
        if self._layer is None or (self.verdicts is None and self.junk is None):
            return
        kept = self.kept
        for mask, target in (
            (kept, path),
            (self._shown & ~kept, path.with_name(f"{path.stem}_removed{path.suffix}")),
        ):
            file = PickFile(self._layer, self._viewer.layers)
            file.table = table_from_points(self._layer, ["micrograph_0000"], hidden=True).where(mask)
            if len(file.table):
                self._saving.save(file, target, format=format, overwrite=overwrite, ask=ask)

    def _say(self, text: str) -> None:
        self.form.status.setText(text)

    # ---- beginning and end --------------------------------------------------------------------------------------

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: napari only takes the widget out of it, and does not destroy it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            docked = self.parent() is not None
            if docked != self._docked:
                self._docked = docked
                with suppress(RuntimeError):  # the window may be half gone
                    self.form.picks.follow(docked)
                    self.form.micrographs.follow(docked)
                    if not docked:
                        self._close()
        return super().event(event)

    def _close(self) -> None:
        self._work.close()
        self._helper = None
        self.progress.end()
        if self._layer is not None:
            self._layer.events.data.disconnect(self._on_data)
        self._layer = None
        self._forget()
        self._patches.remove()
