"""Searching the catalogue while typing; the network is used only to fetch the catalogue, when the user asks for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, NamedTuple

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.catalogue import Catalogue, CatalogueEntry, CatalogueUpdate
from napari_empiarreader.widgets._result_list import ResultList
from napari_empiarreader.widgets._tasks import Task, Tasks
from napari_empiarreader.widgets._telling import WrappedLabel, report

__all__ = ["SearchPanel"]

_WAIT = 150
"""Milliseconds without another key after which a search begins."""

_MOST = 100
"""Entries shown at a time; whoever sees more than that types another word."""

_WHAT_IT_TAKES = (
    "To search by words (protein, author, title), the list of all entries is needed. It is fetched once, by about ten "
    "requests (and one more for each entry that the archive's answers leave incomplete), and kept on this computer; "
    "searching then needs no network. A number opens its entry without it."
)


_FILTERED: tuple[Literal["method", "category", "data_format"], ...] = ("method", "category", "data_format")


class _State(NamedTuple):
    """What the catalogue holds, read in a thread."""

    entries: int
    age: timedelta | None
    choices: dict[str, list[str]]


class SearchPanel(QWidget):
    """Filters, found entries, and what the catalogue is worth.

    Parameters
    ----------
    archive
        Where the catalogue is fetched from.
    catalogue
        Where it is kept.
    """

    chosen = Signal(int)
    """Emitted with the number of the entry to open."""

    def __init__(self, archive: Archive, catalogue: Catalogue) -> None:
        super().__init__()
        self._archive, self.catalogue = archive, catalogue
        # Of its own: opening an entry ends what was asked about another one, and not the fetching of the index.
        self._tasks = Tasks(self.show_progress)
        self.destroyed.connect(self._tasks.close)
        self.state: _State | None = None
        self._text = ""
        self._search: Task | None = None
        self._update: Task | None = None
        self._first_when_found = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_WAIT)
        self._timer.timeout.connect(self._start)
        self._build()

    def _build(self) -> None:
        self.filters_button = QToolButton()
        self.filters_button.setText("Filters")
        self.filters_button.setCheckable(True)
        self.filters_button.setArrowType(Qt.ArrowType.RightArrow)
        self.filters_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.found = QLabel()
        self.method, self.category, self.format = (_choice() for _ in range(3))
        self.least_pixel, self.most_pixel = (_angstroms() for _ in range(2))
        pixels = QHBoxLayout()
        pixels.addWidget(self.least_pixel)
        pixels.addWidget(QLabel("to"))
        pixels.addWidget(self.most_pixel)
        self.filters = QWidget()
        form = QFormLayout(self.filters)
        form.setContentsMargins(12, 0, 0, 0)
        for name, widget in (("Method", self.method), ("Category", self.category), ("Format", self.format)):
            form.addRow(name, widget)
        form.addRow("Pixel size", pixels)
        self.filters.hide()
        self.results = ResultList()
        self.index_label = WrappedLabel()
        self.index_button = QPushButton("Build index")

        top = QHBoxLayout()
        top.addWidget(self.filters_button)
        top.addWidget(self.found, stretch=1)
        self._index = index = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        index.addWidget(self.index_label, stretch=1)
        index.addWidget(self.index_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self.filters)
        layout.addWidget(self.results, stretch=1)
        layout.addLayout(index)

        self.filters_button.toggled.connect(self._show_filters)
        self.results.chosen.connect(self.chosen)
        self.index_button.clicked.connect(self._on_index_button)
        for box in (self.method, self.category, self.format):
            box.currentIndexChanged.connect(self._begin)
        for spin in (self.least_pixel, self.most_pixel):
            spin.valueChanged.connect(self._begin)

    def follow(self, on: bool) -> None:
        """Work, or stop working because the browser is closed."""
        if on:
            self._tasks.reopen()
        else:
            self._timer.stop()
            self._tasks.close()

    # ---- searching --------------------------------------------------------------------------------------------------

    def search(self, text: str) -> None:
        """Search for ``text`` once no other has come for a moment."""
        self._text = text
        self._first_when_found = False
        self._begin()

    def enter(self) -> None:
        """Go to the results: a single one opens, of several the first is made current."""
        if self._timer.isActive() or (self._search is not None and self._search in self._tasks.running):
            self._first_when_found = True
        else:
            self._go_to_first()

    def read_state(self) -> None:
        """Look what the catalogue holds, without any network."""
        self._tasks.run(_state_of, self.catalogue, done=self._show_state, failed=self._report)

    def _begin(self, _value: Any = None) -> None:
        self._timer.start()

    def _start(self) -> None:
        if self._search is not None:
            self._search.cancel()
        if self.state is None or self.state.age is None and not self.state.entries:
            self._show([])
            return
        self._search = self._tasks.run(
            self.catalogue.search, self._text, limit=_MOST, done=self._show, failed=self._report, **self._filters()
        )

    def _filters(self) -> dict[str, Any]:
        return {
            "method": self.method.currentData(),
            "category": self.category.currentData(),
            "data_format": self.format.currentData(),
            "least_pixel_size": self.least_pixel.value() or None,
            "most_pixel_size": self.most_pixel.value() or None,
        }

    def _show(self, entries: list[CatalogueEntry]) -> None:
        self.results.show_entries(entries)
        filtered = self._text.strip() or any(value is not None for value in self._filters().values())
        if self.state is None or not self.state.entries:
            self.found.clear()
        elif not filtered:
            self.found.setText("the newest entries")
        elif not entries:
            self.found.setText("nothing fits")
        else:
            many = f"the best {_MOST} that fit" if len(entries) == _MOST else f"{len(entries)} fit"
            self.found.setText("1 fits" if len(entries) == 1 else many)
        if self._first_when_found:
            self._go_to_first()

    def _go_to_first(self) -> None:
        self._first_when_found = False
        entries = self.results.entries()
        if len(entries) == 1:
            self.chosen.emit(entries[0].number)
        elif entries:
            self.results.setCurrentRow(0)
            self.results.setFocus()

    def _show_filters(self, on: bool) -> None:
        self.filters.setVisible(on)
        self.filters_button.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)

    # ---- the catalogue itself ---------------------------------------------------------------------------------------

    @property
    def updating(self) -> bool:
        """Whether the catalogue is being fetched."""
        return self._update is not None and not self._update.cancelled and self._update in self._tasks.running

    def _on_index_button(self) -> None:
        if self._update is not None and self.updating:
            self._update.cancel()
            return
        self._update = self._tasks.run(
            self.catalogue.update,
            self._archive,
            done=self._on_updated,
            failed=self._on_failed,
            title="EMPIAR index",
            reports=True,
        )
        self._update.on_cancel = self._on_cancelled
        self.index_button.setText("Cancel")

    def show_progress(self) -> None:
        """Say how far the fetching is; called while anything is under way."""
        if self._update is not None and self.updating:
            self.index_label.setText(f"Fetching the index: {self._update.done:,} entries. {self._update.message}")

    def _on_updated(self, outcome: CatalogueUpdate) -> None:
        self.read_state()
        if outcome.failed:
            some = ", ".join(map(str, outcome.failed[:5]))
            self.index_label.setText(f"{len(outcome.failed)} entries did not come in full ({some}); refresh later.")

    def _on_failed(self, error: Exception) -> None:
        self._report(error)
        self.read_state()

    def _on_cancelled(self) -> None:
        self.index_label.setText("Cancelled; what had come is kept.")
        self.index_button.setText("Build index")
        # Another look once the thread has written what it had.
        QTimer.singleShot(500, self.read_state)

    def _show_state(self, state: _State) -> None:
        self.state = state
        if self.updating:
            return
        beside, below = QBoxLayout.Direction.LeftToRight, QBoxLayout.Direction.TopToBottom
        self._index.setDirection(beside if state.entries else below)
        if not state.entries:
            self.index_label.setText(_WHAT_IT_TAKES)
            self.index_button.setText("Build index")
        else:
            whole = "fetched in part" if state.age is None else f"fetched {_ago(state.age)}"
            self.index_label.setText(f"{state.entries:,} {'entry' if state.entries == 1 else 'entries'}, {whole}.")
            self.index_button.setText("Complete" if state.age is None else "Refresh")
        self.index_button.setToolTip(_WHAT_IT_TAKES if not state.entries else "Fetch what is new since then")
        for box, name in ((self.method, "method"), (self.category, "category"), (self.format, "data_format")):
            _offer(box, state.choices.get(name, []))
        self._start()

    def _report(self, error: Exception) -> None:
        self.index_label.setText(report(error))


def _state_of(catalogue: Catalogue) -> _State:
    count = len(catalogue)
    return _State(count, catalogue.age, {name: list(catalogue.choices(name)) for name in _FILTERED} if count else {})


def _ago(age: timedelta) -> str:
    if age.days >= 1:
        return f"{age.days} day{'s' if age.days > 1 else ''} ago"
    hours = age.seconds // 3600
    return f"{hours} hour{'s' if hours > 1 else ''} ago" if hours else "just now"


def _choice() -> QComboBox:
    box = QComboBox()
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(12)
    _offer(box, [])
    return box


def _offer(box: QComboBox, values: list[str]) -> None:
    chosen = box.currentData()
    blocked = box.blockSignals(True)
    box.clear()
    box.addItem("any", None)
    for value in values:
        box.addItem(value, value)
    box.setCurrentIndex(max(box.findData(chosen), 0))
    box.blockSignals(blocked)


def _angstroms() -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(0, 10_000)
    spin.setDecimals(2)
    spin.setSingleStep(0.1)
    spin.setSuffix(" Å")
    spin.setSpecialValueText("any")
    return spin
