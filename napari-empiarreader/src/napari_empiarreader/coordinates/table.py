"""The particle table: what labels and picks are, in scripts and between the packages.

Frame: ``(micrograph, y, x)`` in pixels of the micrograph; pixel centres are at integers; row 0 is the first row of
the array. Every file format is converted to and from this frame by its own reader and writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_empiarreader.coordinates.names import match_names
from napari_empiarreader.errors import CoordinatesError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ParticleTable", "match_names"]


def _no_features() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame()


@dataclass(frozen=True)
class ParticleTable:
    """Particles on micrographs.

    Attributes
    ----------
    micrographs
        Names that the first column of ``coordinates`` counts into.
    coordinates
        ``(n, 3)`` float64 of (micrograph, y, x), in pixels.
    features
        ``n`` rows: ``score`` (probability, 0 to 1), ``logit``, ``class``, ``diameter`` (Å), and whatever columns a
        file brought along.
    metadata
        What belongs to the table as a whole: ``provenance``, further blocks of the file it came from.

    Raises
    ------
    CoordinatesError
        Lengths that disagree, coordinates that are not finite, a micrograph number without a name.
    """

    micrographs: tuple[str, ...]
    coordinates: np.ndarray
    features: pd.DataFrame = field(default_factory=_no_features)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        coordinates = np.asarray(self.coordinates, np.float64)
        if coordinates.size and (coordinates.ndim != 2 or coordinates.shape[1] != 3):
            raise CoordinatesError(f"particles are rows of (micrograph, y, x), not an array of {coordinates.shape}")
        coordinates = coordinates.reshape(-1, 3)
        object.__setattr__(self, "coordinates", coordinates)
        object.__setattr__(self, "micrographs", tuple(self.micrographs))
        features = self.features
        if len(features.columns) == 0:
            features = features.reindex(range(len(coordinates)))
        object.__setattr__(self, "features", features.reset_index(drop=True))
        if len(self.features) != len(coordinates):
            raise CoordinatesError(f"{len(coordinates)} particles but {len(self.features)} rows of features")
        if not np.isfinite(coordinates).all():
            row = int(np.flatnonzero(~np.isfinite(coordinates).all(axis=1))[0])
            raise CoordinatesError(f"particle {row} has the coordinates {coordinates[row]}, which are not finite")
        numbers = coordinates[:, 0]
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(self.micrographs) or (numbers % 1).any()):
            raise CoordinatesError(
                f"micrograph numbers run from {numbers.min():g} to {numbers.max():g}, but there are "
                f"{len(self.micrographs)} micrographs"
            )

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def micrograph_index(self) -> np.ndarray:
        """``(n,)`` int: the micrograph of each particle."""
        return self.coordinates[:, 0].astype(np.intp)

    def on(self, index: int) -> np.ndarray:
        """``(m, 2)`` float of (y, x): the particles of one micrograph."""
        return self.coordinates[self.micrograph_index == index, 1:]

    def where(self, keep: np.ndarray) -> ParticleTable:
        """The particles for which ``keep`` (``(n,)`` bool, or indices) holds, with the same micrographs."""
        return replace(
            self, coordinates=self.coordinates[keep], features=self.features.iloc[np.arange(len(self))[keep]]
        )

    def renamed_to(self, names: Sequence[str]) -> ParticleTable:
        """The same particles counted into ``names``, matched as :func:`match_names` does.

        Parameters
        ----------
        names
            Names of the micrographs, for example of a :class:`~napari_empiarreader.MicrographSeries`.

        Raises
        ------
        CoordinatesError
            Particles lie on a micrograph that has no match.
        """
        numbers = match_names(self.micrographs, names)
        used = np.unique(self.micrograph_index)
        lost = [self.micrographs[i] for i in used if numbers[i] is None]
        if lost:
            raise CoordinatesError(
                f"{len(lost)} of {len(used)} micrographs in the particle file are not among the {len(names)} opened "
                f"(first: {lost[0]}; the opened ones are called like {names[0] if names else '-'}); open the "
                "micrographs that the file belongs to"
            )
        lookup = np.array([-1 if number is None else number for number in numbers], np.float64)
        coordinates = self.coordinates.copy()
        if len(coordinates):
            coordinates[:, 0] = lookup[self.micrograph_index]
        return replace(self, micrographs=tuple(names), coordinates=coordinates)

    def only_on(self, names: Sequence[str]) -> ParticleTable:
        """The particles whose micrograph is among ``names``, counted into ``names``; the others are left out."""
        numbers = match_names(self.micrographs, names)
        known = np.array([numbers[i] is not None for i in self.micrograph_index], bool)
        return self.where(known).renamed_to(names)

    def require_inside(self, shape: tuple[int, int]) -> ParticleTable:
        """The table itself, if every particle lies on its micrograph.

        Parameters
        ----------
        shape
            ``(y, x)`` of the micrographs.

        Raises
        ------
        CoordinatesError
            Some lie outside; the message says how many, and which frame error that looks like.
        """
        y, x = self.coordinates[:, 1], self.coordinates[:, 2]
        outside = (y < -0.5) | (x < -0.5) | (y > shape[0] - 0.5) | (x > shape[1] - 0.5)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            raise CoordinatesError(
                f"{int(outside.sum())} of {len(self)} particles lie outside their micrograph of {shape[1]} x "
                f"{shape[0]} pixels (first: x {x[row]:.1f}, y {y[row]:.1f} on "
                f"{self.micrographs[self.micrograph_index[row]]}); are the coordinates in binned pixels, or of "
                "other micrographs?"
            )
        return self
