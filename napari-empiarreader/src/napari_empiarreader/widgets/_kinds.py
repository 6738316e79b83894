"""What a file of an entry probably is, as an icon and in words."""

from __future__ import annotations

from functools import lru_cache

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap

from napari_empiarreader.archive import ImageSet, Item
from napari_empiarreader.archive.layout import FileKind, guess_kind

__all__ = ["IMAGES", "PARTICLES", "kind_icon", "kind_of", "words_for"]

IMAGES = frozenset({
    FileKind.MICROGRAPH, FileKind.MOVIE, FileKind.GAIN, FileKind.PARTICLE_STACK, FileKind.VOLUME, FileKind.TILT_SERIES
})  # fmt: skip
PARTICLES = frozenset({FileKind.PARTICLE_TABLE})

# A letter and a colour that both tell the kind; white on each can be read on a dark and on a light theme.
_FOLDER = ("", "#8a8f98")
_LOOKS = {
    FileKind.MOVIE: ("▶", "#7a4fb5"),
    FileKind.MICROGRAPH: ("µ", "#2f6fb0"),
    FileKind.GAIN: ("G", "#7d6a2d"),
    FileKind.DEFECTS: ("D", "#7d6a2d"),
    FileKind.PARTICLE_TABLE: ("P", "#2e7d4f"),
    FileKind.PARTICLE_STACK: ("S", "#2e7d4f"),
    FileKind.VOLUME: ("V", "#a8503a"),
    FileKind.TILT_SERIES: ("T", "#a8503a"),
    FileKind.SEGMENTATION: ("s", "#a8503a"),
    FileKind.METADATA: ("i", "#6b7280"),
    FileKind.OTHER: ("·", "#6b7280"),
}
_SIDE = 48


def kind_of(item: Item, imageset: ImageSet | None = None) -> FileKind | None:
    """The guessed kind of a file; None for a folder."""
    return None if item.is_folder else guess_kind(item.path, imageset)


def words_for(kind: FileKind | None) -> str:
    """The kind for a tooltip."""
    return "folder" if kind is None else f"probably: {kind.value}" if kind is not FileKind.OTHER else "unknown kind"


@lru_cache(maxsize=32)
def kind_icon(kind: FileKind | None) -> QIcon:
    """A small sign for a kind of file, or for a folder."""
    letter, colour = _FOLDER if kind is None else _LOOKS[kind]
    picture = QPixmap(_SIDE, _SIDE)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(colour))
    painter.setPen(Qt.PenStyle.NoPen)
    if kind is None:
        painter.drawRoundedRect(QRectF(5, 10, 18, 12), 3, 3)
        painter.drawRoundedRect(QRectF(5, 15, 38, 24), 3, 3)
    else:
        painter.drawRoundedRect(QRectF(6, 6, 36, 36), 8, 8)
        font = painter.font()
        font.setPixelSize(26)
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QColor("white"))
        painter.drawText(QRectF(6, 5, 36, 36), int(Qt.AlignmentFlag.AlignCenter), letter)
    painter.end()
    return QIcon(picture)
