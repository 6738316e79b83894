"""The EMPIAR browser: from a protein's name or a number to a lazy micrograph layer, without waiting for a download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from napari.settings import get_settings
from qtpy.QtCore import QPoint, Qt, QTimer, QUrl
from qtpy.QtGui import QDesktopServices, QGuiApplication
from qtpy.QtWidgets import QMenu

from napari_empiarreader.archive import Archive, Entry, Item, format_uri, parse_number
from napari_empiarreader.archive.catalogue import Catalogue
from napari_empiarreader.archive.emdb import MicroscopeFacts
from napari_empiarreader.archive.layout import FileKind
from napari_empiarreader.errors import ArchiveError, UserError
from napari_empiarreader.widgets._browser_form import BrowserForm
from napari_empiarreader.widgets._docked import DockedWidget
from napari_empiarreader.widgets._download_dialog import DownloadDialog
from napari_empiarreader.widgets._entry_card import ENTRY_LINK, MICROSCOPE_LINK, entry_card
from napari_empiarreader.widgets._kinds import kind_of
from napari_empiarreader.widgets._opening import Opened, first_step, location, open_selection, open_with_particles
from napari_empiarreader.widgets._picture import pixmap
from napari_empiarreader.widgets._previewing import FilePreview, can_be_previewed, preview_file
from napari_empiarreader.widgets._tasks import Task
from napari_empiarreader.widgets._telling import report, warn

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["ArchiveBrowser"]

_SETTLED = 150
"""Milliseconds for which a selection stays before its preview is worth a request."""


class ArchiveBrowser(DockedWidget):
    """Search, look through an entry's folders, open micrographs and particles without downloading them.

    Parameters
    ----------
    napari_viewer
        Where the layers go.
    archive
        The archive to browse; by default EMPIAR, or what the environment variables say.
    catalogue
        The index to search; by default the one of this archive in the user's cache folder.
    """

    def __init__(
        self,
        napari_viewer: napari.viewer.Viewer,
        archive: Archive | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.archive = archive or Archive()
        self.entry: Entry | None = None
        self.dialog: DownloadDialog | None = None
        self._previews: dict[str, FilePreview] = {}
        self._preview: Task | None = None
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLED)
        self.form = BrowserForm(self, self.archive, catalogue or Catalogue.of(self.archive))
        self.setMinimumWidth(320)  # narrower, the names in the tree cannot be told apart
        self._connect()
        self._on_background_changed()
        self.form.search.read_state()

    def _connect(self) -> None:
        form = self.form
        form.entry_edit.textEdited.connect(self._on_typed)
        form.entry_edit.returnPressed.connect(self.open_typed)
        form.open_button.clicked.connect(self.open_typed)
        form.search.chosen.connect(lambda number: self.open_entry(number))
        form.back_button.clicked.connect(form.show_results)
        form.card.linkActivated.connect(self._follow_link)
        form.tree.wanted.connect(self._load_folder)
        form.tree.itemSelectionChanged.connect(self._on_selection)
        form.tree.customContextMenuRequested.connect(self._show_menu)
        form.lazy_button.clicked.connect(self.open_lazily)
        form.particles_button.clicked.connect(self.open_with_particles)
        form.download_button.clicked.connect(self.ask_download)
        form.preview_toggle.toggled.connect(self._on_preview_toggled)
        form.background.toggled.connect(self._set_background)
        form.cancel_button.clicked.connect(self.cancel)
        self._settled.timeout.connect(self._preview_selected)
        get_settings().experimental.events.async_.connect(self._on_background_changed)

    # ---- searching and opening an entry -----------------------------------------------------------------------------

    def _on_typed(self, text: str) -> None:
        self.form.show_results()
        self.form.search.search(text)

    def open_typed(self) -> None:
        """Open the entry whose number was typed, or go to the entries that have the typed words."""
        text = self.form.entry_edit.text().strip()
        if not text:
            return
        try:
            number = parse_number(text)
        except ArchiveError:
            if self.form.search.state is not None and self.form.search.state.entries:
                self.form.show_results()
                self.form.search.enter()
            else:
                self._report(ArchiveError(f"'{text}' is no number; to search by words, build the index first"))
            return
        self.open_entry(number)

    def open_entry(self, number: int) -> None:
        """Show an entry; answers for an earlier one are dropped."""
        form = self.form
        self._tasks.cancel_all()
        self._previews.clear()
        self.entry = None
        form.forget_entry()
        form.show_entry()
        self._say("")
        self._tasks.run(
            self.archive.entry, number, done=self._show_entry, failed=self._report, title=f"Asking for EMPIAR-{number}"
        )

    def _show_entry(self, entry: Entry) -> None:
        self.entry = entry
        self.form.card.setText(entry_card(entry))
        self._say("")
        self.form.tree.restart()

    def _load_folder(self, folder: str, refresh: bool = False) -> None:
        if self.entry is None:
            return

        def failed(error: Exception) -> None:
            self.form.tree.failed(folder)
            self._report(error)

        self._tasks.run(
            _listed,
            self.archive,
            self.entry,
            folder,
            refresh,
            done=lambda items: self.form.tree.fill(folder, items),
            failed=failed,
            title=f"Listing {folder or self.entry.accession}",
        )

    def _follow_link(self, address: str) -> None:
        if address.startswith(ENTRY_LINK):
            self.open_entry(parse_number(address.removeprefix(ENTRY_LINK)))
            return
        if address != MICROSCOPE_LINK:
            QDesktopServices.openUrl(QUrl(address))
            return
        entry = self.entry
        if entry is None:
            return

        def done(facts: MicroscopeFacts | None) -> None:
            self.form.card.setText(entry_card(entry, facts or "EMDB has none of the linked maps yet."))

        self._tasks.run(self.archive.microscope, entry, done=done, failed=self._report, title="Asking EMDB")

    # ---- the selection ----------------------------------------------------------------------------------------------

    def _on_selection(self) -> None:
        selected = self.form.tree.selected()
        self.form.enable_actions(bool(selected))
        imageset = self.entry.imageset_for(selected[0].path) if self.entry and selected else None
        self.form.show_deposited(imageset.pixel_size if imageset else None)
        if self._preview is not None:
            self._preview.cancel()
        if self.form.preview_toggle.isChecked():
            self._settled.start()

    def _on_preview_toggled(self, on: bool) -> None:
        self.form.preview.setVisible(on)
        if on:
            self._preview_selected()
        elif self._preview is not None:
            self._preview.cancel()

    def _preview_selected(self) -> None:
        """Read the first section of the selected file in the background, unless it is known already."""
        selected = [item for item in self.form.tree.selected() if not item.is_folder]
        if self.entry is None or len(selected) != 1 or not self.form.preview_toggle.isChecked():
            return
        (item,) = selected
        if not can_be_previewed(item):
            self.form.preview.say(f"{item.name} is no image that can be shown here")
        elif item.path in self._previews:
            self.form.preview.show_preview(item.name, self._previews[item.path])
        else:
            self.form.preview.say("reading …")
            file = self.archive.file(self.entry.number, item.path, item.size_hint_bytes)
            self._preview = self._tasks.run(
                preview_file,
                file,
                done=lambda preview: self._show_preview(item, preview),
                failed=self._on_preview_failed,
                title=f"Preview of {item.name}",
            )

    def _show_preview(self, item: Item, preview: FilePreview) -> None:
        self._previews[item.path] = preview
        self.form.preview.show_preview(item.name, preview)
        self.form.tree.set_thumbnail(item.path, pixmap(preview.thumbnail))

    def _on_preview_failed(self, error: Exception) -> None:
        self.form.preview.say("no preview")
        self._report(error)

    def _show_menu(self, at: QPoint) -> None:
        """What can be done with the selected files beside opening them."""
        selected = self.form.tree.selected()
        viewport = self.form.tree.viewport()
        if not selected or self.entry is None or viewport is None:
            return
        menu = self.menu_for(selected)
        menu.popup(viewport.mapToGlobal(at))

    def menu_for(self, selected: Sequence[Item]) -> QMenu:
        """The context menu of some items."""
        assert self.entry is not None
        number = self.entry.number
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        addresses = [format_uri(number, item.path) for item in selected]
        web = [self.archive.file(number, item.path).url for item in selected]
        for name, lines in (("Copy address", addresses), ("Copy web address", web)):
            act = menu.addAction(name)
            assert act is not None
            act.triggered.connect(lambda _on=False, text="\n".join(lines): _copy(text))
        files = [item for item in selected if not item.is_folder]
        exact = menu.addAction("Exact size")
        assert exact is not None
        exact.setEnabled(bool(files))
        exact.triggered.connect(lambda: self.ask_sizes(files))
        again = menu.addAction("List again")
        assert again is not None
        again.setEnabled(len(selected) == 1 and not files)
        again.triggered.connect(lambda: self._load_folder(selected[0].path, refresh=True))
        return menu

    def ask_sizes(self, files: Sequence[Item]) -> None:
        """Ask for the exact sizes of some files: a request without a body for each."""
        if self.entry is None:
            return

        def done(sizes: Sequence[int | UserError]) -> None:
            known = [size for size in sizes if isinstance(size, int)]
            for item, size in zip(files, sizes, strict=True):
                if isinstance(size, int):
                    self.form.tree.set_exact_size(item.path, size)
            for error in [size for size in sizes if isinstance(size, UserError)][:1]:
                self._report(error)
                return
            many = f"{len(known)} files have " if len(known) != 1 else f"{files[0].name} has "
            self._say(f"{many}{sum(known):,} bytes.")

        self._tasks.run(
            self.archive.head_sizes, self.entry.number, files, done=done, failed=self._report, title="Exact sizes"
        )

    # ---- layers -----------------------------------------------------------------------------------------------------

    def open_lazily(self) -> None:
        """Open the selected folders and files, a layer per size."""
        self._open(open_selection)

    def open_with_particles(self) -> None:
        """Open the selected folders and files, and the entry's particles that lie on them."""
        self._open(open_with_particles)

    def _open(self, function: Any) -> None:
        selected = self.form.tree.selected()
        if self.entry is None or not selected:
            self._report(UserError("nothing is selected; select a folder or some files in the tree"))
            return
        number = self.entry.number
        pattern = self.form.filter_edit.text().strip()
        self._say("")
        self._tasks.run(
            function,
            self.archive,
            self.entry,
            [location(self.archive, number, item, pattern) for item in selected],
            selected[0],
            self.form.pixel_size.value() or None,
            tuple(self._viewer.dims.current_step) if self._viewer.layers else (),
            done=self._add_layers,
            failed=self._report,
            title=f"Opening {selected[0].name}",
            reports=True,
        )

    def _add_layers(self, opened: Opened) -> None:
        first = not self._viewer.layers
        for data, settings, kind in opened.layers:
            # napari shows the middle of a first stack, after having read its beginning. Hidden, it reads neither.
            layer = Layer.create(data, {**settings, "visible": False}, kind)
            self._viewer.add_layer(layer)
            if first:
                for axis, label in enumerate(layer.axis_labels[:-2]):
                    self._viewer.dims.set_current_step(axis, first_step(label, layer.level_shapes[0][axis]))
            layer.visible = True
            first = False
        toggle = self.form.background
        hint = "" if toggle.isChecked() else f" Tick “{toggle.text()}”, or the window waits for each."
        self._say(f"{opened.summary}{hint}")
        for warning in opened.warnings:
            warn(warning)

    # ---- downloads --------------------------------------------------------------------------------------------------

    def ask_download(self) -> None:
        """Open the dialog that downloads the selected files and folders."""
        selected = self.form.tree.selected()
        if self.entry is None or not selected:
            self._report(UserError("nothing is selected; select a folder or some files in the tree"))
            return
        pattern = self.form.filter_edit.text().strip()
        self.dialog = DownloadDialog(self, self.archive, self.entry, selected, pattern)
        self.dialog.show()

    # ---- what is going on -------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Drop everything that is under way."""
        self._tasks.cancel_all()
        self._say("Cancelled.")

    def show_work(self) -> None:
        """Show what is under way."""
        self.form.show_tasks(self._tasks.running)

    def _report(self, error: Exception) -> None:
        self._say(report(error))

    def _say(self, text: str) -> None:
        self.form.status.setText(text)

    # ---- background loading: napari's own preference, only ever switched by the user --------------------------------

    def _set_background(self, on: bool) -> None:
        get_settings().experimental.async_ = on

    def _on_background_changed(self, _event: Any = None) -> None:
        if not self._tasks.closed:
            self.form.background.setChecked(bool(get_settings().experimental.async_))

    # ---- docked and undocked ----------------------------------------------------------------------------------------

    def follow(self, on: bool) -> None:
        """Begin with napari's preference as it is; end with the dialog and what waits."""
        self.form.search.follow(on)
        if on:
            self._on_background_changed()
            return
        self._settled.stop()
        if self.dialog is not None:
            self.dialog.close()


def _listed(archive: Archive, entry: Entry, folder: str, refresh: bool) -> list[tuple[Item, FileKind | None]]:
    """Content of a folder, and what each file seems to be; for a worker thread."""
    items = archive.list(entry.number, folder, refresh=refresh)
    return [(item, kind_of(item, entry.imageset_for(item.path))) for item in items]


def _copy(text: str) -> None:
    clipboard = QGuiApplication.clipboard()
    assert clipboard is not None
    clipboard.setText(text)
