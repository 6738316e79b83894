"""The window's side of a preview: an item before and after each step of the recipe, made by the helper."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_caked.widgets import _dataset_messages as messages
from napari_caked.widgets._dataset_form import DatasetForm
from napari_caked.widgets._process import Helper

__all__ = ["Trying", "ask_for_recipe", "ask_to_keep_recipe"]


class Trying:
    """Asks for previews and shows them; an answer that is older than what is shown is dropped.

    Parameters
    ----------
    form
        Of the window.

    Attributes
    ----------
    latency
        Seconds from the last request to its pictures.
    shown, asked
        Tickets of what is shown, and of what was asked for last.
    """

    def __init__(self, form: DatasetForm) -> None:
        self._form = form
        self._since: dict[int, float] = {}
        self.shown = self.asked = 0
        self.latency = 0.0

    def ask(self, helper: Helper, index: int) -> None:
        """Want this item after each step of the recipe as it is now."""
        self.asked += 1
        self._since = {ticket: since for ticket, since in self._since.items() if ticket > self.shown}
        self._since[self.asked] = time.perf_counter()
        recipe, seed = self._form.recipe.to_json(), self._form.seed.value()
        helper.tell(messages.Try(self.asked, index, recipe, seed))  # type: ignore[arg-type]

    def take(self, answer: messages.Tried | messages.NotTried, names: Any) -> None:
        """Show an answer; ``names`` are those of the items."""
        if isinstance(answer, messages.NotTried):
            if answer.ticket == self.asked:
                self._form.latency.setText(answer.message)
            return
        if answer.ticket <= self.shown or answer.ticket not in self._since:
            return
        self.shown = answer.ticket
        self.latency = time.perf_counter() - self._since[answer.ticket]
        self._form.strip.show_pictures(answer.titles, answer.captions, answer.pictures)
        self._form.latency.setText(f"{names[answer.index]}: made in {1e3 * self.latency:.0f} ms")

    def forget(self) -> None:
        """Expect no answers, and show nothing."""
        self._since.clear()
        self._form.strip.show_pictures((), (), ())


def ask_for_recipe(parent: QWidget, form: DatasetForm) -> None:
    """Open a recipe that somebody saved, or wrote."""
    chosen, _ = QFileDialog.getOpenFileName(parent, "Open a recipe", "", "Recipe (*.json)")
    if chosen:
        form.recipe.take_json(Path(chosen).read_text("utf-8"))


def ask_to_keep_recipe(parent: QWidget, form: DatasetForm) -> None:
    """Save the recipe, for the command line and for Python."""
    chosen, _ = QFileDialog.getSaveFileName(parent, "Save the recipe", "recipe.json", "Recipe (*.json)")
    if chosen:
        Path(chosen).write_text(form.recipe.to_json(), "utf-8")
