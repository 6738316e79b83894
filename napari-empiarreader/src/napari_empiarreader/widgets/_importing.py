"""From a coordinate file to particles in a frame that fits the pictures; for worker threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_empiarreader.coordinates import ParticleTable, read_particles
from napari_empiarreader.coordinates.frames import FrameGuess, guess_frames

__all__ = ["ImportRequest", "Imported", "Pictures", "import_particles", "pictures_of"]


class Pictures:
    """Micrographs of a layer, as far as guessing the frame needs them.

    Parameters
    ----------
    names, shape
        Of the micrographs; ``(y, x)`` in pixels.
    reader
        Function from index to image.
    """

    def __init__(self, names: Sequence[str], shape: tuple[int, int], reader: Callable[[int], np.ndarray]) -> None:
        self.names: Sequence[str] = names
        self.shape: tuple[int, int] = shape
        self.reader: Callable[[int], np.ndarray] = reader


@dataclass(frozen=True)
class ImportRequest:
    """What the user said about a file.

    Attributes
    ----------
    format
        Name of the format, or None to detect it.
    diameter, box_size
        In pixels of the micrographs, or None.
    columns, scale, y_up
        As for :func:`~napari_empiarreader.coordinates.read_particles`.
    """

    path: Path
    format: str | None = None
    diameter: float | None = None
    box_size: float | None = None
    columns: Mapping[str, str] | None = None
    scale: float | None = None
    y_up: bool | None = None


@dataclass(frozen=True)
class Imported:
    """A file's particles.

    Attributes
    ----------
    table
        All of them, as read.
    guesses
        Frames, the likeliest first.
    """

    table: ParticleTable
    guesses: list[FrameGuess]

    @property
    def words(self) -> str:
        """How many particles and micrographs were matched."""
        best = self.guesses[0].table
        there, used = len(best), len(np.unique(best.micrograph_index))
        words = f"{there:,} particles on {used} micrograph{'s' * (used != 1)} of this layer"
        missing = len(self.table) - there
        return words + (f"; {missing:,} lie on micrographs that are not opened." if missing else ".")


def pictures_of(layer: Any) -> Pictures:
    """Micrographs of an Image layer ``(micrograph, y, x)`` or ``(y, x)``; nothing is read yet."""
    data = layer.data[0] if layer.multiscale else layer.data
    names = [str(name) for name in layer.metadata.get("micrographs") or ()] or [layer.name]
    shape = int(data.shape[-2]), int(data.shape[-1])
    if layer.ndim == 2:
        return Pictures(names, shape, lambda _: np.asarray(data))
    return Pictures(names, shape, lambda index: np.asarray(data[index]))


def import_particles(request: ImportRequest, pictures: Pictures) -> Imported:
    """Read a file or folder, and judge every frame by the pictures."""
    table = read_particles(
        request.path,
        format=request.format,
        micrographs=pictures.names,
        shapes=pictures.shape,
        box_size=request.box_size,
        columns=request.columns,
        scale=request.scale,
        y_up=request.y_up,
    )
    return Imported(table, guess_frames(table, pictures, request.diameter, box_size=request.box_size))
