"""The trainer's picker and its files: opened, saved, kept while it learns. The window itself never loads PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info
from qtpy.QtWidgets import QWidget

from napari_caked.errors import LabelsError
from napari_caked.settings import PreprocessSettings, TrainingSettings
from napari_caked.widgets import _messages as messages
from napari_caked.widgets._keeping import new_kept_file
from napari_caked.widgets._saving import ask_for_file, ask_to_open, describe
from napari_caked.widgets._train_form import TrainForm
from napari_caked.widgets._work import Work
from napari_empiarreader.files import replaced_when_complete

if TYPE_CHECKING:
    from napari_caked.widgets._process import Helper

__all__ = ["ModelFiles", "Picker"]

_KIND, _SUFFIX = "Picker model", ".safetensors"


@dataclass(frozen=True)
class Picker:
    """A trained picker, as the window knows it.

    Attributes
    ----------
    model
        Content of a model file.
    particle_diameter
        Å.
    network, preprocess
        What a training must have in common with it to improve it, besides the diameter.
    origin
        Where it comes from, for people.
    """

    model: bytes
    particle_diameter: float
    network: str
    preprocess: PreprocessSettings
    origin: str

    def improving(self, settings: TrainingSettings) -> TrainingSettings:
        """These settings, with the network and the preparation that the picker has."""
        return replace(settings, network=self.network, preprocess=self.preprocess)


class ModelFiles:
    """Opens and saves the picker of a trainer.

    Parameters
    ----------
    parent
        Of the dialogs.
    form, work
        Of the trainer.
    say
        Shows words in the window.

    Attributes
    ----------
    picker
        The present one; None before the first.
    kept
        File of the best picker of the training that is under way or was the last, once it is there.
    """

    def __init__(self, parent: QWidget, form: TrainForm, work: Work, say: Callable[[str], None]) -> None:
        self._parent, self._form, self._work, self._say = parent, form, work, say
        self._opening: Helper | None = None
        self._session = new_kept_file()
        self.picker: Picker | None = None
        self.kept: Path | None = None
        form.open_model.clicked.connect(self.ask_and_open)
        form.save_model.clicked.connect(self.ask_and_save)

    # ---- opening ------------------------------------------------------------------------------------------------

    def open(self, path: Path) -> None:
        """Take the picker in a file, in place of the present one; it is read and checked in a helper process."""
        if self._opening is not None:
            return
        self._say(f"Opening {path}…")
        self._form.set_opening(True, has_model=self.picker is not None)
        self._opening = self._work.converse(
            messages.OpenPicker(str(path)),
            heard=lambda message: self._take(path, message),
            failed=lambda error: self._say(describe(error)),
            ended=self.release,
        )

    def take(self, picker: Picker) -> None:
        """Make this the present picker."""
        self.picker = picker
        self._form.show_picker(picker.origin)

    def release(self) -> None:
        """Offer again what opening a file has barred."""
        if self._opening is not None:
            self._opening = None
            self._form.set_opening(False, has_model=self.picker is not None)

    def _take(self, path: Path, message: messages.Message) -> None:
        if not isinstance(message, messages.Opened):
            return
        self.take(
            Picker(message.model, message.particle_diameter, message.network, message.preprocess, f"from {path.name}")
        )
        self._form.diameter.setValue(message.particle_diameter)
        self._say(
            f"{path.name} is open, a picker for particles of {message.particle_diameter:g} Å: 'Pick' picks on all "
            "micrographs, 'Improve' trains it on from your labels."
        )

    def ask_and_open(self) -> None:
        """Ask for a file, and open it."""
        folder = self.kept.parent if self.kept is not None else None
        path = ask_to_open(self._parent, "Open model", folder, _KIND, _SUFFIX)
        if path is not None:
            self.open(path)

    # ---- keeping ------------------------------------------------------------------------------------------------

    def to_keep_in(self) -> str:
        """File for the best picker of a training that begins now."""
        self.kept = None
        return str(self._session)

    def what_is_left(self) -> str:
        """Where the best picker of a training is that came to a bad end; nothing if there is none."""
        if self.kept is None:
            return ""
        return f"Its best picker so far is kept in {self.kept}: 'Open model…' takes it from there"

    def put_back(self) -> None:
        """After a training that was cancelled: keep the present picker, where there is one, and not what it learned."""
        if self.kept is None or self.picker is None:
            return
        kept, content = self.kept, self.picker.model

        def write() -> None:
            with replaced_when_complete(kept, overwrite=True) as temporary:
                temporary.write_bytes(content)

        self._work.run(write, done=lambda _: None, failed=lambda error: self._say(describe(error)))

    # ---- saving -------------------------------------------------------------------------------------------------

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the picker as ``.safetensors``."""
        try:
            if self.picker is None:
                raise LabelsError("there is no model yet; train one, or open one, first")
            with replaced_when_complete(path, overwrite=overwrite) as temporary:
                temporary.write_bytes(self.picker.model)
        except Exception as error:
            self._say(describe(error))
            return
        self._say(f"Model written to {path}")
        show_info(f"Model written to {path}")

    def ask_and_save(self) -> None:
        """Ask for a name, and write the picker there."""
        path = ask_for_file(self._parent, "Save model", f"picker{_SUFFIX}", _KIND)
        if path is not None:
            self.save(path, overwrite=True)
