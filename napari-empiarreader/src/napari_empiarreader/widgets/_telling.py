"""What a widget tells its user: the sentence for its own line, and napari's notification with it."""

from __future__ import annotations

import logging

from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_empiarreader.errors import UserError

__all__ = ["WrappedLabel", "report", "warn"]

_LOG = logging.getLogger(__name__)


def report(error: Exception) -> str:
    """Notify of what went wrong, and return the sentence; what nobody foresaw goes to the log as well."""
    if isinstance(error, UserError):
        message = str(error)
    elif isinstance(error, OSError):
        message = f"{error.filename or 'file'}: {error.strerror or error}; choose another place"
    else:  # a defect of ours: the log gets the traceback, the user a sentence
        _LOG.error("unexpected error in a widget of napari-empiarreader", exc_info=error)
        message = f"unexpected {type(error).__name__}: {error}; see Help > Show logs"
    show_error(message)
    return message


def warn(message: str) -> None:
    """Notify of something that was accepted and may be wrong."""
    show_warning(message)


class WrappedLabel(QLabel):
    """Plain text that wraps, also within a long file name, and never makes its dock wider."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setText(text)

    def setText(self, text: str | None) -> None:  # noqa: N802  (Qt's name)
        """Show ``text``; an empty one takes no room."""
        plain = text or ""
        # Lines break at spaces only; a path has none, so it is given places of no width.
        super().setText(plain.replace("/", "/\u200b").replace("_", "_\u200b"))
        self.setVisible(bool(plain))

    def text(self) -> str:
        """The text as it was given."""
        return super().text().replace("\u200b", "")
