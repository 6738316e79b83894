"""Asking for the name of a file to open or to make, and for leave to replace one."""

from __future__ import annotations

import logging
from pathlib import Path

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_empiarreader.errors import UserError

__all__ = ["ask_for_file", "ask_to_open", "describe"]

_LOG = logging.getLogger(__name__)


def ask_for_file(parent: QWidget, title: str, suggestion: str, kind: str) -> Path | None:
    """A file to write, with its suffix; None where the user thought better of it.

    Parameters
    ----------
    parent, title
        Of the dialog.
    suggestion
        File name with the suffix that all names get.
    kind
        Of file, for people.
    """
    suffix = Path(suggestion).suffix
    # Qt would ask about the name as typed; what counts is the name with its suffix.
    option = QFileDialog.Option.DontConfirmOverwrite
    chosen, _ = QFileDialog.getSaveFileName(parent, title, suggestion, f"{kind} (*{suffix})", options=option)
    if not chosen:
        return None
    path = Path(chosen)
    if path.suffix.lower() != suffix:
        path = path.with_name(path.name + suffix)
    if path.exists():
        answer = QMessageBox.question(parent, title, f"{path.name} exists already. Replace it?")
        if answer != QMessageBox.StandardButton.Yes:
            return None
    return path


def ask_to_open(parent: QWidget, title: str, folder: Path | None, kind: str, suffix: str) -> Path | None:
    """A file to read; None where the user thought better of it. Without a ``folder`` the dialog chooses one."""
    chosen, _ = QFileDialog.getOpenFileName(parent, title, str(folder or ""), f"{kind} (*{suffix});;All files (*)")
    return Path(chosen) if chosen else None


def describe(error: Exception, besides: str = "") -> str:
    """Tell napari's notifications what went wrong, and return it; what nobody foresaw goes to the log as well.

    ``besides`` is told along: what is left in spite of it.
    """
    if isinstance(error, UserError):
        message = str(error)
    elif isinstance(error, OSError):
        message = f"{error.filename or 'file'}: {error.strerror or error}; choose another place"
    else:
        _LOG.error("unexpected error in a widget of napari-caked", exc_info=error)
        message = f"unexpected {type(error).__name__}: {error}; see Help > Show logs"
    message = f"{message}. {besides}" if besides else message
    show_error(message)
    return message
