"""What the pruner's window judges: layers as micrographs and picks, and the folder of their patches."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_caked.errors import DiameterError
from napari_caked.layers import series_from_layer, table_from_points
from napari_empiarreader.errors import NothingFoundError, PixelSizeError

if TYPE_CHECKING:
    from napari.layers import Image, Points

    from napari_empiarreader.coordinates import ParticleTable
    from napari_empiarreader.micrographs import MicrographSeries

__all__ = ["Chosen", "PatchFolder", "captions", "chosen", "diameter_of"]


@dataclass(frozen=True)
class Chosen:
    """What is to be judged.

    Attributes
    ----------
    layer
        Identity of the layer of the micrographs.
    series, picks
        The micrographs, and picks counted into them.
    diameter, pixel_size
        Å.
    """

    layer: int
    series: MicrographSeries
    picks: ParticleTable
    diameter: float
    pixel_size: float

    @property
    def described(self) -> tuple[tuple[str, ...], tuple[int, int], np.dtype, float | None, str]:
        """What a job says of its micrographs."""
        series = self.series
        return series.names, series.shape, series.dtype, series.pixel_size, str(series.source)


def chosen(picks: Points | None, micrographs: Image | None, diameter: float, pixel_size: float) -> Chosen:
    """What the window's form says; layers belong to the main thread, what comes of this to any.

    Raises
    ------
    NothingFoundError, DiameterError, PixelSizeError
        Something is not chosen.
    CoordinatesError
        Picks lie outside of the micrographs.
    """
    if picks is None or not len(picks.data):
        raise NothingFoundError("there are no picks to judge; pick some, or open those of another program")
    if micrographs is None:
        raise NothingFoundError("there are no micrographs to look at the picks on; open them first")
    if not diameter:
        raise DiameterError("the particle diameter is unknown; give it in Å")
    if not pixel_size:
        raise PixelSizeError("the pixel size is unknown; give it in Å")
    series = series_from_layer(micrographs, pixel_size)
    table = table_from_points(picks, series.names, micrographs, hidden=True).renamed_to(series.names)
    table.require_inside(series.shape)
    return Chosen(id(micrographs), series, table, diameter, pixel_size)


class PatchFolder:
    """Where patches are kept as long as a window needs them: of the latest picks only."""

    def __init__(self) -> None:
        self._root: tempfile.TemporaryDirectory[str] | None = None

    @property
    def path(self) -> str | None:
        """The folder of all, where there is one."""
        return None if self._root is None else self._root.name

    def of(self, what: Chosen) -> Path:
        """The folder of just these picks on these micrographs; those of others are removed."""
        if self._root is None:
            self._root = tempfile.TemporaryDirectory(prefix="napari-caked-patches-", ignore_cleanup_errors=True)
        said = f"{what.layer} {what.picks.micrographs} {what.diameter} {what.pixel_size}".encode()
        name = hashlib.sha256(said + np.ascontiguousarray(what.picks.coordinates).tobytes()).hexdigest()[:16]
        for other in Path(self._root.name).iterdir():
            if other.name != name:
                shutil.rmtree(other, ignore_errors=True)
        return Path(self._root.name) / name

    def remove(self) -> None:
        """All of it."""
        if self._root is not None:
            self._root.cleanup()
            self._root = None


def diameter_of(layer: Points) -> float:
    """Å that the picks themselves say, or 0."""
    if "diameter" in layer.features and len(layer.features):
        known = pd.to_numeric(layer.features["diameter"], errors="coerce").median()
        return float(known) if np.isfinite(known) else 0.0
    return 0.0


def captions(table: ParticleTable) -> tuple[str, ...]:
    """Of each pick: where it is, and what it seems to be."""
    features = table.features
    rows = zip(table.coordinates, features["kind"], features["probability"], strict=True)
    return tuple(
        f"{table.micrographs[int(i)]}, x {x:.0f}, y {y:.0f}: {kind}, particle with p = {p:.2f}"
        for (i, y, x), kind, p in rows
    )
