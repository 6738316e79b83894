"""The widget that opens a structure file, or fetches a structure by its id."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Points
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_profet.databases import Database, fetch_structure
from napari_profet.errors import CancelledError, UserError
from napari_profet.layers import ColourBy, structure_layer
from napari_profet.structure import read_structure

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["StructureFetcher"]

_DATABASES = {"Told by the id": Database.AUTO, "PDB": Database.PDB, "AlphaFold DB": Database.ALPHAFOLD}
_COLOURS = {"Element": ColourBy.ELEMENT, "Chain": ColourBy.CHAIN, "B factor or confidence": ColourBy.B_FACTOR}
_FILES = "Structures (*.cif *.mmcif *.pdb *.ent *.cif.gz *.mmcif.gz *.pdb.gz *.ent.gz);;All files (*)"

LayerTuple = tuple[Any, dict[str, Any], str]


class _Job:
    """One structure on its way: what the worker thread and the window both look at."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.stop = threading.Event()
        self.done = 0
        self.total = 0

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Remember how far it is; called by the worker, which must not touch the window."""
        self.done, self.total = done, total


class StructureFetcher(QWidget):
    """Opens structures as layers of atoms, from a file or from a database.

    Parameters
    ----------
    napari_viewer
        Where the layers go.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._running: list[_Job] = []
        self._docked = False
        # The worker only leaves two numbers behind; the window fetches them when it has time.
        self._clock = QTimer(self)
        self._clock.setInterval(100)
        self._clock.timeout.connect(self._show_progress)
        self._build()
        self._show_idle("Give an id, or open a file.")
        # When napari itself is closed, nothing of this widget may be touched any more but this list.
        running = self._running
        self.destroyed.connect(lambda: _orphan(running))

    @property
    def _job(self) -> _Job | None:
        """The one job under way."""
        return self._running[0] if self._running else None

    def _build(self) -> None:
        self.identifier = QLineEdit()
        self.identifier.setPlaceholderText("1abc, pdb_00001abc or P12345")
        self.identifier.setToolTip("PDB id, or UniProt accession for its prediction in AlphaFold DB")
        self.database = QComboBox()
        self.database.addItems(list(_DATABASES))
        self.colour_by = QComboBox()
        self.colour_by.addItems(list(_COLOURS))
        self.fetch_button = QPushButton("Fetch")
        self.cancel_button = QPushButton("Cancel")
        self.open_button = QPushButton("Open file…")
        self.bar = QProgressBar()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

        form = QFormLayout()
        form.addRow("Id", self.identifier)
        form.addRow("Database", self.database)
        form.addRow("Colour by", self.colour_by)
        buttons = QHBoxLayout()
        for button in (self.fetch_button, self.cancel_button, self.open_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addStretch()

        self.identifier.returnPressed.connect(self.fetch)
        self.fetch_button.clicked.connect(self.fetch)
        self.cancel_button.clicked.connect(self.cancel)
        self.open_button.clicked.connect(self._choose_file)

    # ---- what the user can do --------------------------------------------------------------------------------

    def fetch(self) -> None:
        """Fetch the structure whose id is typed in."""
        identifier = self.identifier.text().strip()
        if not identifier:
            self._fail("Type an id first, such as 1abc or P12345.")
            return
        database, colour_by = _DATABASES[self.database.currentText()], _COLOURS[self.colour_by.currentText()]

        def work(job: _Job) -> LayerTuple:
            download = fetch_structure(identifier, database, progress=job.progress, stop=job.stop)
            return structure_layer(read_structure(download.path), colour_by)

        self._start(f"Fetching {identifier}", work)

    def open_file(self, path: str | Path) -> None:
        """Open a structure file."""
        colour_by = _COLOURS[self.colour_by.currentText()]
        self._start(f"Opening {Path(path).name}", lambda job: structure_layer(read_structure(path), colour_by))

    def cancel(self) -> None:
        """Stop what is under way."""
        if self._job:
            self._job.stop.set()
            self.cancel_button.setEnabled(False)
            self.status.setText("Cancelling…")

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a structure", "", _FILES)
        if path:
            self.open_file(path)

    # ---- one job at a time -----------------------------------------------------------------------------------

    def _start(self, label: str, work: Callable[[_Job], LayerTuple]) -> None:
        if self._job:
            return
        job = _Job(label)
        self._running.append(job)
        # A function, not a generator: from a generator a RuntimeError would vanish without a signal.
        create_worker(
            work,
            job,
            _connect={
                "returned": lambda layer: self._finish(job, layer),
                "errored": lambda error: self._report(job, error),
            },
        )
        self.identifier.setEnabled(False)
        self.fetch_button.setEnabled(False)
        self.open_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self.status.setText(f"{label}…")
        self.bar.setRange(0, 0)
        self.bar.show()
        self._clock.start()

    def _show_progress(self) -> None:
        job = self._job
        if job is None or job.stop.is_set() or not job.done:
            return
        if job.total:
            # In kB, because a bar counts with 32 bits.
            self.bar.setRange(0, max(job.total // 1000, 1))
            self.bar.setValue(job.done // 1000)
        self.status.setText(f"{job.label}… {job.done / 1e6:.1f} MB")

    def _finish(self, job: _Job, layer: LayerTuple) -> None:
        if job is not self._job:
            return
        if job.stop.is_set():
            self._show_idle("Cancelled.")
            return
        data, attributes, _ = layer
        first = not self._viewer.layers
        points = self._viewer.add_layer(Points(data, **attributes))
        if first:
            # A slice through a molecule shows next to nothing.
            self._viewer.dims.ndisplay = 3
            self._viewer.reset_view()
        about = attributes["metadata"]["structure"]
        title = about["title"] or about["id"]
        self._show_idle(f"{points.name}: {title} ({len(data):,} atoms)")

    def _report(self, job: _Job, error: Exception) -> None:
        if job is not self._job:
            return
        if isinstance(error, CancelledError):
            self._show_idle("Cancelled.")
        elif isinstance(error, UserError):
            self._fail(str(error))
        else:
            # A defect of ours: napari notifies, and shows the traceback on demand.
            self._show_idle(f"{type(error).__name__}: {error}")
            raise error

    def _fail(self, message: str) -> None:
        self._show_idle(message)
        show_error(message)

    def _show_idle(self, message: str) -> None:
        self._running.clear()
        self._clock.stop()
        self.bar.hide()
        self.identifier.setEnabled(True)
        self.fetch_button.setEnabled(True)
        self.open_button.setEnabled(True)
        self.cancel_button.setEnabled(False)
        self.status.setText(message)

    # ---- the end ---------------------------------------------------------------------------------------------

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: napari then only takes this widget out of it, and tells nobody."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                self._docked = False
                self._abandon()
        return bool(super().event(event))

    def _abandon(self) -> None:
        if self._job:
            _orphan(self._running)
            self._show_idle("Cancelled.")


def _orphan(running: list[_Job]) -> None:
    """Stop all jobs; whatever still comes from them belongs to no one."""
    for job in running:
        job.stop.set()
    running.clear()
