"""The parts of the browser and where they stand; what they do is the browser's."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_empiarreader.archive import Archive
from napari_empiarreader.archive.catalogue import Catalogue
from napari_empiarreader.widgets._archive_tree import ArchiveTree
from napari_empiarreader.widgets._kinds import IMAGES, PARTICLES
from napari_empiarreader.widgets._preview import PreviewPanel
from napari_empiarreader.widgets._search import SearchPanel
from napari_empiarreader.widgets._tasks import Task
from napari_empiarreader.widgets._telling import WrappedLabel
from napari_empiarreader.widgets.progress_bar import CalmProgressBar

__all__ = ["BrowserForm"]

_SHOWN = {"Images": IMAGES, "Images and particles": IMAGES | PARTICLES, "Particles": PARTICLES, "All files": None}


class BrowserForm:
    """Everything there is to see of the browser, laid out in ``window``."""

    def __init__(self, window: QWidget, archive: Archive, catalogue: Catalogue) -> None:
        self.entry_edit = QLineEdit()
        self.entry_edit.setPlaceholderText("10017, or words: protein, author, title")
        self.entry_edit.setToolTip("Number of an EMPIAR entry, or words of its title, authors or sample; Enter opens")
        self.entry_edit.setClearButtonEnabled(True)
        self.open_button = QPushButton("Open")
        self.search = SearchPanel(archive, catalogue)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.search)
        self.entry_page = self._entry_page()
        self.pages.addWidget(self.entry_page)
        self.busy = CalmProgressBar()
        self.busy.setMaximumHeight(6)
        self.busy.setTextVisible(False)
        self.busy.hide()
        self.doing = WrappedLabel()
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.hide()
        self.status = WrappedLabel()

        top = QHBoxLayout()
        top.addWidget(self.entry_edit)
        top.addWidget(self.open_button)
        work = QHBoxLayout()
        work.addWidget(self.doing, stretch=1)
        work.addWidget(self.cancel_button)
        layout = QVBoxLayout(window)
        layout.addLayout(top)
        layout.addWidget(self.pages, stretch=1)
        layout.addWidget(self.busy)
        layout.addLayout(work)
        layout.addWidget(self.status)

    # ---- the page of an entry ---------------------------------------------------------------------------------------

    def _entry_page(self) -> QWidget:
        self.back_button = QPushButton("‹ Results")
        self.back_button.setFlat(True)
        self.card = QLabel()
        self.card.setTextFormat(Qt.TextFormat.RichText)
        self.card.setWordWrap(True)
        self.card.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.card.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.card.setMargin(4)
        card_area = QScrollArea()
        card_area.setWidgetResizable(True)
        card_area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        card_area.setWidget(self.card)
        self.tree = ArchiveTree()
        self.preview = PreviewPanel()
        self.preview.hide()
        parts = QSplitter(Qt.Orientation.Vertical)
        for part, share in ((card_area, 2), (self.tree, 4), (self.preview, 2)):
            parts.addWidget(part)
            parts.setStretchFactor(parts.count() - 1, share)
            parts.setCollapsible(parts.count() - 1, False)
        card_area.setMinimumHeight(90)
        self.tree.setMinimumHeight(110)
        parts.setSizes([220, 400, 200])

        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.back_button, alignment=Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(parts, stretch=1)
        layout.addLayout(self._settings())
        layout.addLayout(self._actions())
        return page

    def _settings(self) -> QFormLayout:
        self.kinds = QComboBox()
        self.kinds.addItems(list(_SHOWN))
        self.kinds.setToolTip("Files to show in the tree")
        self.filter_edit = QLineEdit()
        self.filter_edit.setPlaceholderText("all, or a pattern such as *_DW.mrc")
        self.filter_edit.setToolTip("Names to show and to open from a folder: * and ? are wildcards; empty for all")
        self.pixel_size = QDoubleSpinBox()
        self.pixel_size.setRange(0, 1000)
        self.pixel_size.setDecimals(4)
        self.pixel_size.setSingleStep(0.1)
        self.pixel_size.setSuffix(" Å")
        self.pixel_size.setToolTip("Overrides the header of the files. 0: the header's, or the entry's if it has none")
        self.show_deposited(None)
        form = QFormLayout()
        form.addRow("Show", self.kinds)
        form.addRow("Names", self.filter_edit)
        form.addRow("Pixel size", self.pixel_size)
        self.filter_edit.textChanged.connect(self.tree.set_filter)
        self.kinds.currentTextChanged.connect(lambda name: self.tree.set_kinds(_SHOWN[name]))
        self.tree.set_kinds(_SHOWN[self.kinds.currentText()])
        return form

    def _actions(self) -> QVBoxLayout:
        self.lazy_button = QPushButton("Open lazily")
        self.lazy_button.setToolTip("One layer per image size of what is selected; each image is read when shown")
        self.particles_button = QPushButton("With particles")
        self.particles_button.setToolTip("Open lazily, with the entry's deposited particles on the micrographs")
        self.download_button = QPushButton("Download…")
        self.download_button.setToolTip("Copy what is selected to this computer")
        self.preview_toggle = QCheckBox("Preview")
        self.preview_toggle.setToolTip("Show the selected image in small: reads one image, of a movie one frame")
        self.background = QCheckBox("Load in the background")
        self.background.setToolTip(
            "A micrograph from the archive takes a second or more to arrive. With this, the window stays free "
            "meanwhile; without it, it waits. It is napari's own preference 'Render Images Asynchronously'."
        )
        buttons, toggles = QHBoxLayout(), QHBoxLayout()
        for button in (self.lazy_button, self.particles_button, self.download_button):
            buttons.addWidget(button)
        for toggle in (self.preview_toggle, self.background):
            toggles.addWidget(toggle)
        toggles.addStretch(1)
        self.enable_actions(False)
        layout = QVBoxLayout()
        layout.addLayout(toggles)
        layout.addLayout(buttons)
        return layout

    # ---- what is shown ----------------------------------------------------------------------------------------------

    def show_results(self) -> None:
        """Show the found entries."""
        self.pages.setCurrentWidget(self.search)

    def show_entry(self) -> None:
        """Show the page of the entry."""
        self.pages.setCurrentWidget(self.entry_page)

    def forget_entry(self) -> None:
        """Empty the page of the entry."""
        self.tree.forget()
        self.card.clear()
        self.preview.say("select a micrograph or a movie")

    def enable_actions(self, on: bool) -> None:
        """Allow or forbid what needs a selection."""
        for button in (self.lazy_button, self.particles_button, self.download_button):
            button.setEnabled(on)

    def show_deposited(self, pixel_size: float | None) -> None:
        """Say which pixel size (Å) stands in where a header says nothing."""
        self.pixel_size.setSpecialValueText(f"header, else {pixel_size:g} Å" if pixel_size else "header")

    def show_tasks(self, tasks: Sequence[Task]) -> None:
        """Show that something is under way, how far it is, and the button that ends it."""
        self.busy.setVisible(bool(tasks))
        named = [task for task in tasks if task.title]
        task = named[0] if named else None
        if task is not None and task.total:
            self.busy.setRange(0, 1000)
            self.busy.setValue(1000 * task.done // task.total)
        else:
            self.busy.setRange(0, 0)
        part = f" ({task.done} of {task.total})" if task is not None and task.total > 1 else ""
        self.doing.setText("" if task is None else f"{task.title} …{part}")
        self.cancel_button.setVisible(task is not None)
