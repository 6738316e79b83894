"""The EMPIAR browser: from an entry number to a lazy micrograph layer, without waiting for a download."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from napari.settings import get_settings
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_empiarreader.archive import Archive, Entry
from napari_empiarreader.errors import UserError
from napari_empiarreader.widgets._archive_tree import ArchiveTree
from napari_empiarreader.widgets._entry_card import entry_card
from napari_empiarreader.widgets._opening import Opened, location, open_layer
from napari_empiarreader.widgets._tasks import Tasks

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["ArchiveBrowser"]

_LOG = logging.getLogger(__name__)


class ArchiveBrowser(QWidget):
    """Type an entry, look through its folders, open micrographs without downloading them.

    Parameters
    ----------
    napari_viewer
        Where the layers go.
    archive
        The archive to browse; by default EMPIAR, or what the environment variables say.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, archive: Archive | None = None) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.archive = archive or Archive()
        self.entry: Entry | None = None
        self._docked = False
        self._tasks = Tasks(self._show_busy)
        self._build()
        self._connect()

    # ---- the parts of the window --------------------------------------------------------------------------------

    def _build(self) -> None:
        self.entry_edit = QLineEdit()
        self.entry_edit.setPlaceholderText("10017 or EMPIAR-10017")
        self.entry_edit.setToolTip("Number of an EMPIAR entry; press Enter to open it")
        self.open_button = QPushButton("Open")
        self.card = QLabel("Type the number of an entry. Nothing is downloaded until you look at it.")
        self.card.setTextFormat(Qt.TextFormat.RichText)
        self.card.setWordWrap(True)
        self.card.setOpenExternalLinks(True)
        self.card.setAlignment(Qt.AlignmentFlag.AlignTop)
        card_area = QScrollArea()
        card_area.setWidgetResizable(True)
        card_area.setWidget(self.card)
        card_area.setMinimumHeight(150)
        card_area.setMaximumHeight(220)
        self.tree = ArchiveTree()
        self.filter_edit = QLineEdit("*.mrc")
        self.filter_edit.setToolTip("Files to show and to open from a folder: * and ? are wildcards")
        self.pixel_size = QDoubleSpinBox()
        self.pixel_size.setRange(0, 1000)
        self.pixel_size.setDecimals(4)
        self.pixel_size.setSingleStep(0.1)
        self.pixel_size.setSuffix(" Å")
        self.pixel_size.setSpecialValueText("header")
        self.pixel_size.setToolTip("Overrides the header of the files. 0: the header's, or the entry's if it has none")
        self.lazy_button = QPushButton("Open lazily")
        self.lazy_button.setToolTip("One layer of the selected folder or files; each micrograph is read when shown")
        self.lazy_button.setEnabled(False)
        self.background = QCheckBox("Load in the background")
        self.background.setChecked(bool(get_settings().experimental.async_))
        self.background.setToolTip(
            "A micrograph from the archive takes a second or more to arrive. With this, the window stays free "
            "meanwhile; without it, it waits. It is napari's own preference 'Render Images Asynchronously'."
        )
        self.busy = QProgressBar()
        self.busy.setRange(0, 0)
        self.busy.setMaximumHeight(6)
        self.busy.setTextVisible(False)
        self.busy.hide()
        self.status = QLabel()
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.status.setWordWrap(True)

        top = QHBoxLayout()
        top.addWidget(self.entry_edit)
        top.addWidget(self.open_button)
        form = QFormLayout()
        form.addRow("Files", self.filter_edit)
        form.addRow("Pixel size", self.pixel_size)
        self.setMinimumWidth(340)  # narrower, the names in the tree cannot be told apart
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        layout.addWidget(card_area)
        layout.addWidget(self.tree, stretch=1)
        layout.addLayout(form)
        for widget in (self.lazy_button, self.background, self.busy, self.status):
            layout.addWidget(widget)

    def _connect(self) -> None:
        self.entry_edit.returnPressed.connect(self.open_entry)
        self.open_button.clicked.connect(self.open_entry)
        self.filter_edit.textChanged.connect(self.tree.set_filter)
        self.tree.set_filter(self.filter_edit.text())
        self.tree.wanted.connect(self._load_folder)
        self.tree.itemSelectionChanged.connect(self._on_selection)
        self.lazy_button.clicked.connect(self.open_lazily)
        self.background.toggled.connect(self._set_background)
        get_settings().experimental.events.async_.connect(self._on_background_changed)
        # A main window that closes destroys its docks without a ParentChange.
        self.destroyed.connect(self._tasks.close)

    # ---- what the user does -------------------------------------------------------------------------------------

    def open_entry(self) -> None:
        """Show the entry whose number was typed; answers for an earlier one are dropped."""
        text = self.entry_edit.text().strip()
        if not text:
            return
        self._tasks.new_round()
        self.entry = None
        self.tree.clear()
        self.card.clear()
        self._say(f"Asking for {text} …")
        self._tasks.run(self.archive.entry, text, done=self._show_entry, failed=self._report)

    def open_lazily(self) -> None:
        """Open the selected folders and files as one layer."""
        selected = self.tree.selected()
        if self.entry is None or not selected:
            self._report(UserError("nothing is selected; select a folder or some files in the tree"))
            return
        number, pattern = self.entry.number, self.filter_edit.text().strip()
        locations = [location(self.archive, number, item, pattern) for item in selected]
        imageset = self.entry.imageset_for(selected[0].path)
        deposited = imageset.pixel_size if imageset else None
        shown = self._viewer.dims.current_step[0] if self._viewer.layers else 0
        self._say(f"Opening {selected[0].path} …")
        self._tasks.run(
            open_layer,
            self.archive,
            locations,
            f"{self.entry.accession} {selected[0].name}",
            self.pixel_size.value() or None,
            deposited,
            shown,
            done=self._add_layer,
            failed=self._report,
        )

    # ---- answers ------------------------------------------------------------------------------------------------

    def _show_entry(self, entry: Entry) -> None:
        self.entry = entry
        self.card.setText(entry_card(entry))
        self._say("")
        self.tree.restart()

    def _load_folder(self, folder: str) -> None:
        if self.entry is None:
            return

        def failed(error: Exception) -> None:
            self.tree.failed(folder)
            self._report(error)

        self._tasks.run(
            self.archive.list,
            self.entry.number,
            folder,
            done=lambda items: self.tree.fill(folder, items),
            failed=failed,
        )

    def _add_layer(self, opened: Opened) -> None:
        data, settings, kind = opened.layer
        first = not self._viewer.layers
        # napari shows the middle of a first stack, after having read its beginning. Hidden, it reads neither.
        layer = Layer.create(data, {**settings, "visible": False}, kind)
        self._viewer.add_layer(layer)
        if first and layer.ndim > 2:
            self._viewer.dims.set_current_step(0, 0)
        layer.visible = True
        hint = "" if self.background.isChecked() else f" Tick “{self.background.text()}”, or the window waits for each."
        self._say(f"{layer.name}: {opened.summary}.{hint}")
        if opened.warning:
            show_warning(opened.warning)

    def _on_selection(self) -> None:
        selected = self.tree.selected()
        self.lazy_button.setEnabled(bool(selected))
        imageset = self.entry.imageset_for(selected[0].path) if self.entry and selected else None
        known = imageset.pixel_size if imageset else None
        self.pixel_size.setSpecialValueText(f"header, else {known:g} Å" if known else "header")

    def _report(self, error: Exception) -> None:
        """Say what went wrong, in the widget and as napari's notification."""
        if isinstance(error, UserError):
            message = str(error)
        else:  # a defect of ours: the log gets the traceback, the user a sentence
            _LOG.error("unexpected error in the EMPIAR browser", exc_info=error)
            message = f"unexpected {type(error).__name__}: {error}; see Help > Show logs"
        self._say(message)
        show_error(message)

    def _say(self, text: str) -> None:
        self.status.setText(text)

    def _show_busy(self, running: int) -> None:
        self.busy.setVisible(running > 0)

    # ---- background loading: napari's own preference, only ever switched by the user ------------------------------

    def _set_background(self, on: bool) -> None:
        get_settings().experimental.async_ = on

    def _on_background_changed(self, _event: Any = None) -> None:
        if not self._tasks.closed:
            self.background.setChecked(bool(get_settings().experimental.async_))

    # ---- the end ------------------------------------------------------------------------------------------------

    def event(self, event: QEvent | None) -> bool:
        """Stop when the dock is closed: napari only takes the widget out of it, and does not destroy it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
                self._tasks.reopen()
                self._on_background_changed()
            elif self._docked:
                self._docked = False
                self._tasks.close()
        return super().event(event)
