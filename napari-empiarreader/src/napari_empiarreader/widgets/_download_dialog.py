"""Copying what is selected to this computer: how much it is, where it goes, how far it is, and what became of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QTimer
from qtpy.QtGui import QCloseEvent, QGuiApplication
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_empiarreader.archive import Archive, Entry, Item, RemoteFile, format_uri
from napari_empiarreader.archive.download import (
    DownloadPlan,
    DownloadReport,
    DownloadState,
    download,
    plan,
    size_text,
)
from napari_empiarreader.errors import OverBudgetError
from napari_empiarreader.progress import Progress, silent
from napari_empiarreader.widgets._tasks import Task, Tasks
from napari_empiarreader.widgets._telling import WrappedLabel, report
from napari_empiarreader.widgets.progress_bar import CalmProgressBar

__all__ = ["DownloadDialog"]

_SETTLED = 300
"""Milliseconds without a change in the form after which the archive is asked what that means."""

_ASK_EACH = 200
"""Files up to which each is asked for its exact length; of more, the listing's rounded ones must do."""

_LISTED = 50
"""Files named in the report on the screen."""

_GIGABYTE = 10**9


class DownloadDialog(QDialog):
    """Plans and runs one download; a stopped one goes on from where it was.

    Parameters
    ----------
    parent
        The browser.
    archive, entry
        Where the files are.
    selected
        Files and folders of the entry.
    pattern
        Names to take from folders; empty takes every file.
    """

    def __init__(
        self, parent: QWidget, archive: Archive, entry: Entry, selected: Sequence[Item], pattern: str = ""
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Download from {entry.accession}")
        self.setMinimumWidth(480)
        self._archive = archive
        self._chosen = chosen(archive, entry.number, selected, pattern)
        self._tasks = Tasks(self._on_work)
        self._planning: Task | None = None
        self._loading: Task | None = None
        self.plan: DownloadPlan | None = None
        self.outcome: DownloadReport | None = None
        self._state: DownloadState | None = None
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLED)
        self._settled.timeout.connect(self.make_plan)
        self._build(_words(selected, pattern))
        self.destroyed.connect(self._tasks.close)
        self.make_plan()

    # ---- the parts of the window ------------------------------------------------------------------------------------

    def _build(self, selection: str) -> None:
        self.folder = QLineEdit(str(Path.home() / "empiar"))
        self.folder.setToolTip("Files go to FOLDER/ENTRY NUMBER/path in the entry")
        self.choose = QPushButton("…")
        self.choose.setFixedWidth(32)
        self.only_metadata = QCheckBox("Only descriptions, particles and segmentations, no images")
        self.budget = QDoubleSpinBox()
        self.budget.setRange(0, 1_000_000)
        self.budget.setDecimals(3)
        self.budget.setSuffix(" GB")
        self.budget.setSpecialValueText("no limit")
        self.budget.setToolTip("Most bytes to fetch; files that do not fit are left out")
        self.about = WrappedLabel("asking for the sizes …")
        self.bar = CalmProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.hide()
        self.rate = WrappedLabel()
        self.details = QPlainTextEdit()
        self.details.setReadOnly(True)
        self.details.hide()
        self.commands = QPlainTextEdit()
        self.commands.setReadOnly(True)
        self.commands.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.commands.hide()
        self.commands_button = QPushButton("Globus and Aspera…")
        self.commands_button.setCheckable(True)
        self.commands_button.setToolTip("The commands for large amounts, which EMPIAR does not want over HTTPS")
        self.copy_button = QPushButton("Copy commands")
        self.copy_button.hide()
        self.start_button = QPushButton("Download")
        self.start_button.setDefault(True)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setEnabled(False)
        self.close_button = QPushButton("Close")

        place = QHBoxLayout()
        place.addWidget(self.folder)
        place.addWidget(self.choose)
        form = QFormLayout()
        form.addRow("Selected", WrappedLabel(selection))
        form.addRow("To", place)
        form.addRow("At most", self.budget)
        large, buttons = QHBoxLayout(), QHBoxLayout()
        for button in (self.commands_button, self.copy_button):
            large.addWidget(button)
        large.addStretch(1)
        buttons.addStretch(1)
        for button in (self.start_button, self.cancel_button, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for widget in (self.only_metadata, self.about, self.bar, self.rate, self.details):
            layout.addWidget(widget)
        layout.addLayout(large)
        layout.addWidget(self.commands)
        layout.addLayout(buttons)

        self.choose.clicked.connect(self._choose_folder)
        self.folder.textChanged.connect(self._on_changed)
        self.only_metadata.toggled.connect(self._on_changed)
        self.budget.valueChanged.connect(self._on_changed)
        self.commands_button.toggled.connect(self._show_commands)
        self.copy_button.clicked.connect(self._copy_commands)
        self.start_button.clicked.connect(self.start)
        self.cancel_button.clicked.connect(self.cancel)
        self.close_button.clicked.connect(self.close)

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Download to", self.folder.text())
        if folder:
            self.folder.setText(folder)

    # ---- the plan ---------------------------------------------------------------------------------------------------

    def _on_changed(self, _value: object = None) -> None:
        self.start_button.setEnabled(False)
        self._settled.start()

    def make_plan(self) -> None:
        """Ask the archive what the form means, and the disk whether it fits; nothing is written."""
        if self._planning is not None:
            self._planning.cancel()
        self.plan = None
        self.start_button.setEnabled(False)
        self._planning = self._tasks.run(
            _planned,
            self._archive,
            self._chosen,
            self.folder.text().strip() or ".",
            self.only_metadata.isChecked(),
            round(self.budget.value() * _GIGABYTE) or None,
            done=self._show_plan,
            failed=self._on_plan_failed,
            title="Sizes of the selection",
            reports=True,
        )

    def _show_plan(self, outcome: tuple[DownloadPlan, int]) -> None:
        self.plan, free = outcome
        said = [f"{self.plan}.", f"Free there: {size_text(free)}."]
        if self.plan.is_large:
            said.append("That is more than EMPIAR wants to be fetched over HTTPS; Globus or Aspera are for this.")
            self.commands_button.setChecked(True)
        self.about.setText(" ".join(said))
        self.commands.setPlainText(self.plan.commands())
        self.start_button.setEnabled(bool(self.plan.files or self.plan.records) and self._loading is None)

    def _on_plan_failed(self, error: Exception) -> None:
        message = report(error)
        if isinstance(error, OverBudgetError):
            self.commands.setPlainText(error.commands)
            message = message.split(":\n")[0]
        self.about.setText(message)

    def _show_commands(self, on: bool) -> None:
        self.commands.setVisible(on)
        self.copy_button.setVisible(on)

    def _copy_commands(self) -> None:
        clipboard = QGuiApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(self.commands.toPlainText())

    # ---- the download -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Fetch what is missing; what an earlier attempt left is continued."""
        if self.plan is None or self._loading is not None:
            return
        self._state = None
        self.details.hide()
        self.bar.show()
        self._allow(False)
        stop = threading.Event()
        self._loading = self._tasks.run(
            download,
            self.plan,
            stop=stop,
            watch=self._watch,
            done=self._on_done,
            failed=self._on_failed,
            title=f"Downloading {len(self.plan.files)} files",
            reports=True,
            gently=stop,
        )

    def cancel(self) -> None:
        """Stop; what has come is kept, and the next start goes on from there."""
        if self._loading is not None:
            self._loading.cancel()
            self.rate.setText("stopping …")
            self.cancel_button.setEnabled(False)

    def _watch(self, state: DownloadState) -> None:
        self._state = state  # the download's thread tells, the window's looks

    def _on_work(self) -> None:
        state = self._state
        if self._loading is None or state is None:
            return
        self.bar.setValue(1000 * state.bytes_done // state.bytes_total if state.bytes_total else 0)
        if not self.cancel_button.isEnabled():
            return
        left = state.seconds_left
        said = [f"{size_text(state.bytes_done)} of {size_text(state.bytes_total)}", str(state)]
        if left is not None:
            said.append(f"{_time_text(left)} left")
        self.rate.setText(", ".join(said))

    def _on_done(self, outcome: DownloadReport) -> None:
        self.outcome = outcome
        self._loading = None
        self._allow(True)
        self.rate.setText(f"{outcome}." if not outcome.was_stopped else f"Stopped: {outcome}.")
        self.details.setPlainText(_report_text(outcome))
        self.details.setVisible(bool(self.details.toPlainText()))
        self.start_button.setText("Download" if outcome.is_complete else "Resume")
        if outcome.is_complete:
            self.bar.setValue(1000)
        self.make_plan()

    def _on_failed(self, error: Exception) -> None:
        self._loading = None
        self._allow(True)
        self.rate.setText(report(error))
        self.start_button.setText("Resume")
        self.make_plan()

    def _allow(self, on: bool) -> None:
        """Allow changes to the form, or the button that stops."""
        for widget in (self.folder, self.choose, self.only_metadata, self.budget, self.start_button):
            widget.setEnabled(on)
        self.cancel_button.setEnabled(not on)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Stop with the window; what has come is kept."""
        self._settled.stop()
        self._tasks.close()
        super().closeEvent(event)


def chosen(archive: Archive, number: int, selected: Sequence[Item], pattern: str) -> list[str | RemoteFile]:
    """What a plan is made of: files as themselves, folders as addresses of everything below that fits the pattern."""
    found: list[str | RemoteFile] = []
    for item in selected:
        if not item.is_folder:
            found.append(archive.file(number, item.path, item.size_hint_bytes))
        elif pattern:
            found += [format_uri(number, f"{item.path}/**/{each}") for each in pattern.split()]
        else:
            found.append(format_uri(number, item.path))
    return found


def _planned(
    archive: Archive,
    selection: Sequence[str | RemoteFile],
    folder: str,
    only_metadata: bool,
    budget_bytes: int | None,
    progress: Progress = silent,
) -> tuple[DownloadPlan, int]:
    """The plan with exact sizes where they are to be had soon, and the free bytes; for a worker thread."""

    def made(chosen: Sequence[str | RemoteFile], exact: bool) -> DownloadPlan:
        return plan(
            archive,
            chosen,
            folder,
            only="metadata" if only_metadata else None,
            budget_bytes=budget_bytes,
            over_budget="cut",
            exact=exact,
            progress=progress,
        )

    rough = made(selection, False)
    if not rough.is_exact and len(rough.files) <= _ASK_EACH:
        rough = made(selection, True)
    return rough, free_bytes(rough.folder)


def free_bytes(folder: Path) -> int:
    """Free bytes where ``folder`` is or will be."""
    import shutil

    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def _words(selected: Sequence[Item], pattern: str) -> str:
    first = selected[0]
    words = first.path + (f"/ ({pattern or 'everything in it'})" if first.is_folder else "")
    more = len(selected) - 1
    return words + (f" and {more} more" if more else "")


def _report_text(outcome: DownloadReport) -> str:
    lines = [f"FAILED  {error}" for error in outcome.failed.values()]
    lines += [f"LOOKS DAMAGED  {path}: {why}" for path, why in outcome.suspicious.items()]
    lines += [f"left  {uri}" for uri in outcome.left]
    lines += [f"done  {path}" for path in outcome.done]
    more = len(lines) - _LISTED
    return "\n".join(lines[:_LISTED] + ([f"and {more} more"] if more > 0 else []))


def _time_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
