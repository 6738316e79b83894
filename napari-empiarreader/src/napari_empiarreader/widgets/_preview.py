"""The selected image in small, with its power spectrum: one section of one file, read in the background."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from napari_empiarreader.widgets._picture import Picture
from napari_empiarreader.widgets._previewing import FilePreview
from napari_empiarreader.widgets._telling import WrappedLabel

__all__ = ["PreviewPanel"]


class PreviewPanel(QWidget):
    """Two pictures beside each other and a line about them."""

    def __init__(self) -> None:
        super().__init__()
        self.image = Picture("select a micrograph or a movie")
        self.spectrum = Picture()
        self.caption = WrappedLabel()
        pictures = QHBoxLayout()
        pictures.addWidget(self.image)
        pictures.addWidget(self.spectrum)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(pictures, stretch=1)
        layout.addWidget(self.caption)

    def say(self, text: str) -> None:
        """Show a text and no picture."""
        self.image.show_picture(None, text)
        self.spectrum.show_picture(None)
        self.caption.setText("")

    def show_preview(self, name: str, preview: FilePreview) -> None:
        """Show what was read of a file."""
        self.image.show_picture(preview.thumbnail)
        self.spectrum.show_picture(preview.spectrum)
        self.caption.setText(f"{name}: {preview.words}")
