"""What a coordinate file does not say itself, and the steps that several formats' frames share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_empiarreader.coordinates.names import match_names
from napari_empiarreader.errors import CoordinatesError, FormatError, PixelSizeError

__all__ = ["CoordinateOptions", "Shapes"]

#: ``(y, x)`` of all micrographs, or of each by name.
Shapes = tuple[int, int] | Mapping[str, tuple[int, int]]

_LARGEST_SIDE = 1 << 17


@dataclass(frozen=True)
class CoordinateOptions:
    """What the user knows about a coordinate file.

    Attributes
    ----------
    micrographs
        Names of the opened micrographs; names in the file that match become these.
    shapes
        Size ``(y, x)`` in pixels of all micrographs, or of each by name. Needed where a format counts rows from the
        bottom or holds fractions of the micrograph.
    pixel_size
        Å per pixel of the micrographs, for formats that hold it.
    box_size
        Side in pixels of the box around a particle, for formats that hold corners. Without it each particle's own
        ``box_width`` and ``box_height`` count.
    columns
        Column of a CSV file for ``x``, ``y``, ``micrograph``, ``score``; others keep their names.
    scale
        Pixels of the micrograph per pixel of the file: 4 for coordinates in four-fold binned pixels.
    y_up
        Whether the file counts rows from the bottom; None for what the format says.

    Raises
    ------
    CoordinatesError, PixelSizeError
        A number that is not positive, a size that no detector has.
    """

    micrographs: Sequence[str] | None = None
    shapes: Shapes | None = None
    pixel_size: float | None = None
    box_size: float | None = None
    columns: Mapping[str, str] | None = None
    scale: float | None = None
    y_up: bool | None = None

    def __post_init__(self) -> None:
        for name, value in (("box size", self.box_size), ("scale", self.scale)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise CoordinatesError(f"a {name} of {value} is impossible; give a positive number")
        if self.pixel_size is not None and not (math.isfinite(self.pixel_size) and self.pixel_size > 0):
            raise PixelSizeError(f"a pixel size of {self.pixel_size} Å is impossible; give a positive number")
        shapes = self.shapes.values() if isinstance(self.shapes, Mapping) else [self.shapes] if self.shapes else []
        for shape in shapes:
            if len(shape) != 2 or not all(1 <= side <= _LARGEST_SIDE for side in shape):
                raise CoordinatesError(f"a micrograph of (y, x) = {tuple(shape)} pixels is impossible")

    def sizes(self, micrographs: Sequence[str], used: np.ndarray, path: Path, why: str) -> np.ndarray:
        """``(m, 2)`` float of (y, x): the size of each of ``micrographs``, NaN where no particle needs it.

        Parameters
        ----------
        micrographs
            Names, matched with those of ``shapes``.
        used
            Numbers of the micrographs that must have a size.
        path, why
            The file, and what the size is needed for, for the message.

        Raises
        ------
        CoordinatesError
            A micrograph with particles has no size.
        """
        sizes = np.full((len(micrographs), 2), np.nan)
        if isinstance(self.shapes, Mapping):
            names = list(self.shapes)
            for i, match in enumerate(match_names(micrographs, names)):
                if match is not None:
                    sizes[i] = self.shapes[names[match]]
        elif self.shapes is not None:
            sizes[:] = self.shapes
        missing = [i for i in np.unique(used) if np.isnan(sizes[i]).any()]
        if missing:
            raise CoordinatesError(
                f"{path}: {why}, and the size of {len(missing)} micrographs is unknown (first: "
                f"{micrographs[missing[0]]}); open the micrographs with it, or give their size (shapes, --micrographs)"
            )
        return sizes

    def to_array_frame(
        self,
        path: Path,
        x: np.ndarray,
        y: np.ndarray,
        micrographs: Sequence[str],
        index: np.ndarray,
        *,
        y_up: bool = False,
    ) -> np.ndarray:
        """``(n, 3)`` of (micrograph, y, x) from the centres in a file's pixels; ``y_up`` is the format's own way.

        A row counted from the bottom of a micrograph of H pixels is H - y: formats with that origin place it at the
        outer edge, as RELION does at the top.
        """
        x, y = (np.asarray(values, np.float64) * (self.scale or 1.0) for values in (x, y))
        broken = ~(np.isfinite(x) & np.isfinite(y))
        if broken.any():
            row = int(np.flatnonzero(broken)[0])
            raise FormatError(f"{path}: row {row + 1} has no numbers as coordinates; the file is damaged")
        return np.column_stack([index, self._flipped(path, y, micrographs, index, y_up), x])

    def to_file_frame(
        self, path: Path, coordinates: np.ndarray, micrographs: Sequence[str], *, y_up: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Centres ``x, y`` in a file's pixels: the inverse of :meth:`to_array_frame`."""
        y = self._flipped(path, coordinates[:, 1], micrographs, coordinates[:, 0].astype(np.intp), y_up)
        return coordinates[:, 2] / (self.scale or 1.0), y / (self.scale or 1.0)

    def _flipped(
        self, path: Path, y: np.ndarray, micrographs: Sequence[str], index: np.ndarray, y_up: bool
    ) -> np.ndarray:
        if not (y_up if self.y_up is None else self.y_up) or not len(y):
            return y
        index = np.asarray(index, np.intp)
        heights: np.ndarray = self.sizes(micrographs, index, path, "rows are counted from the bottom")[:, 0]
        return heights[index] - y
