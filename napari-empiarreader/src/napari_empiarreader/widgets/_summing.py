"""How a movie's frames are summed: with which gain reference, and how that lies over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QGroupBox, QHBoxLayout, QLineEdit, QPushButton

from napari_empiarreader.errors import UserError
from napari_empiarreader.files import LocalFile
from napari_empiarreader.micrographs.gain import Flip, GainReference, OrientationGuess, guess_orientation, open_gain

if TYPE_CHECKING:
    from napari_empiarreader.files import ByteSource

__all__ = ["GainRequest", "SumForm", "best_orientations"]

_FRAMES = 20
"""Frames summed to find the orientation: enough electrons to see the detector's pattern in."""


@dataclass(frozen=True)
class GainRequest:
    """What the user asked for; opened in a worker thread.

    Attributes
    ----------
    location
        A file, or an ``empiar://`` address; empty for no gain reference.
    movie
        Name of the movie, which decides whether frames are multiplied or divided.
    """

    location: str
    flip: Flip
    rotate: Any
    movie: str = ""

    def open(self) -> GainReference | None:
        """The reference, or None where none is wanted."""
        if not self.location:
            return None
        return open_gain(_source(self.location), flip=self.flip, rotate=self.rotate, movie=self.movie or None)


class SumForm(QGroupBox):
    """Gain reference, its orientation, and the button that sums."""

    def __init__(self) -> None:
        super().__init__("Movie")
        self.gain = QLineEdit()
        self.gain.setPlaceholderText("none")
        self.gain.setToolTip("Gain reference of the movie: a file, or an address like empiar://10017/data/gain.mrc")
        self.choose = QPushButton("…")
        self.choose.setToolTip("Choose a file")
        self.choose.setFixedWidth(32)
        self.rotate = QComboBox()
        for degrees in (0, 90, 180, 270):
            self.rotate.addItem(f"{degrees}°" + (" clockwise" if degrees else ""), degrees)
        self.flip = QComboBox()
        for flip in get_args(Flip):
            self.flip.addItem(flip, flip)
        self.flip.setToolTip("Done after the rotation")
        self.propose = QPushButton("Propose")
        self.propose.setToolTip("Compare all eight orientations with the frames of this movie (reads up to 20 of them)")
        self.button = QPushButton("Sum frames")
        self.button.setToolTip("The sum of each movie's frames in the place of the movie; computed when it is shown")

        file = QHBoxLayout()
        file.addWidget(self.gain)
        file.addWidget(self.choose)
        form = QFormLayout(self)
        form.addRow("Gain", file)
        form.addRow("Rotation", self.rotate)
        form.addRow("Flip", self.flip)
        buttons = QHBoxLayout()
        buttons.addWidget(self.propose)
        buttons.addWidget(self.button)
        form.addRow(buttons)
        self.choose.clicked.connect(self._choose_file)

    def request(self, movie: str, *, gain_needed: bool = False) -> GainRequest:
        """What is asked for now, for a movie of this name.

        Raises
        ------
        UserError
            A gain reference is needed and none was named.
        """
        location = self.gain.text().strip()
        if gain_needed and not location:
            raise UserError("choose the gain reference first; its orientation is what can be proposed")
        return GainRequest(location, self.flip.currentData(), self.rotate.currentData(), movie)

    def show_proposal(self, guesses: list[OrientationGuess]) -> str:
        """Choose the likeliest orientation, and say how much likelier it is than the next."""
        best = guesses[0]
        self.flip.setCurrentIndex(self.flip.findData(best.flip))
        self.rotate.setCurrentIndex(self.rotate.findData(best.rotate))
        words = f"rotated by {best.rotate}°, flip {best.flip}: correlation {best.score:.2f}"
        if len(guesses) == 1:
            return f"Only one orientation fits the size: {words}."
        return f"Likeliest: {words}; the next has {guesses[1].score:.2f}."

    def _choose_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Gain reference", "", "Images (*.mrc *.tif *.tiff *.gain *.dm3 *.dm4);;All files (*)"
        )
        if chosen:
            self.gain.setText(chosen)


def best_orientations(movie: Any, request: GainRequest) -> list[OrientationGuess]:
    """Orientations of the reference, the likeliest first, by some frames of ``movie`` ``(frame, y, x)``, lazy or not.

    For a worker thread.
    """
    import numpy as np

    gain = request.open()
    assert gain is not None
    total = np.zeros(movie.shape[1:], np.float32)
    for index in range(min(_FRAMES, movie.shape[0])):
        total += np.asarray(movie[index])
    return guess_orientation(total, gain)


def _source(location: str) -> ByteSource:
    if location.startswith("empiar:"):
        from napari_empiarreader.archive import Archive, parse_uri

        return Archive().file(*parse_uri(location))
    return LocalFile(Path(location).expanduser())
