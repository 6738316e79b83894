"""Which frame imported coordinates are in: turned over, transposed, scaled, or corners taken for centres.

Wrong frames look right: the points lie on the picture, only not on the particles. Each candidate frame is judged by
the picture. Where the particles are, the mean of a disc of the particle's diameter differs from the ring around it,
darker or brighter but the same way for all; in a wrong frame the points see what random places see, and their
contrast averages to nothing. It is given in units of the spread of all places, and its standard error is that of the
mean of as many random places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from napari_empiarreader.coordinates._evidence import Evidence, evidence_of
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import CoordinatesError

__all__ = ["AS_IS", "FRAME_NAMES", "FrameGuess", "Micrographs", "apply_frame", "guess_frames", "verdict"]

AS_IS = "as is"

_FLIPS = ("", "y flipped", "x flipped", "turned by 180°")
_TURNS = (*_FLIPS, *(", ".join(filter(None, ("transposed", flip))) for flip in _FLIPS))

#: Pixels of the micrograph per pixel of the file.
_SCALES = {
    "": 1.0, "scaled 2": 2.0, "scaled 3": 3.0, "scaled 4": 4.0, "scaled 8": 8.0,
    "scaled 1/2": 1 / 2, "scaled 1/3": 1 / 3, "scaled 1/4": 1 / 4, "scaled 1/8": 1 / 8,
}  # fmt: skip

_CORNERS = {"": 0.0, "corner to centre": 0.5, "centre to corner": -0.5}

#: Standard errors by which the best must stand out of random places, and lead over the next.
_CLEAR, _LEAD = 6.0, 3.0


def _names() -> list[str]:
    return [
        ", ".join(filter(None, (scale, corner, turn))) or AS_IS
        for scale in _SCALES
        for corner in _CORNERS
        for turn in _TURNS
    ]


#: Every frame that :func:`apply_frame` knows; those of corners need a box size.
FRAME_NAMES: tuple[str, ...] = tuple(_names())


class Micrographs(Protocol):
    """What :func:`guess_frames` needs to know; a :class:`.MicrographSeries` has it."""

    names: Sequence[str]
    shape: tuple[int, int]
    reader: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class FrameGuess:
    """A candidate frame, and what the pictures say about it.

    Attributes
    ----------
    name
        One of :data:`FRAME_NAMES`.
    outside_share, border_share
        Shares (0 to 1) of the points that lie outside the picture, and on blank borders.
    contrast
        Mean difference between disc and ring at the points, in standard deviations of all places; points without
        picture count as 0. Negative: darker than around.
    deviations
        ``contrast`` in standard errors of the mean of as many random places: below 3 is chance.
    agreement
        Share of the points inside whose difference has the sign of ``contrast``; 0.5 is chance.
    table
        The particles in this frame, counted into the micrographs.
    """

    name: str
    outside_share: float
    border_share: float
    contrast: float
    deviations: float
    agreement: float
    table: ParticleTable


def guess_frames(
    table: ParticleTable,
    micrographs: Micrographs,
    diameter: float | None = None,
    *,
    box_size: float | None = None,
    most: int = 6,
) -> list[FrameGuess]:
    """Every candidate frame, the likeliest first.

    Parameters
    ----------
    table
        The particles as they were read.
    micrographs
        Pictures with names; the particles on others do not count.
    diameter
        Of a particle, in pixels of the micrographs. Without it several are tried, and the one that speaks the
        clearest decides.
    box_size
        Side of the boxes in pixels of the micrographs, to try whether corners were taken for centres; without it the
        particles' own ``box_width``, if they have one.
    most
        Micrographs that are read: those with the most particles.

    Raises
    ------
    CoordinatesError
        No particle is on any of the micrographs, or a size is not positive.
    """
    for name, value in (("diameter", diameter), ("box size", box_size)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise CoordinatesError(f"a {name} of {value} pixels is impossible; give a positive number")
    here = table.only_on(micrographs.names)
    counts = np.bincount(here.micrograph_index, minlength=len(micrographs.names))
    chosen = [int(i) for i in np.argsort(-counts, kind="stable")[: max(1, most)] if counts[i]]
    if not chosen:
        raise CoordinatesError(
            f"none of {len(table)} particles is on the {len(micrographs.names)} opened micrographs; open those that "
            "the file belongs to"
        )
    images = {i: np.asarray(micrographs.reader(i)) for i in chosen}
    side = min(micrographs.shape)
    diameters = [diameter] if diameter else [side / 64, side / 32, side / 16, side / 8]
    box = box_size or _own_box(here)
    trials = [
        _judged(here, {i: evidence_of(image, size) for i, image in images.items()}, micrographs.shape, box)
        for size in diameters
    ]
    return max(trials, key=lambda guesses: abs(guesses[0].deviations))


def _own_box(table: ParticleTable) -> float | None:
    if "box_width" not in table.features or not len(table):
        return None
    box = float(np.nanmedian(np.asarray(table.features["box_width"], np.float64)))
    return box if math.isfinite(box) and box > 0 else None


def _judged(
    table: ParticleTable, evidence: dict[int, Evidence], shape: tuple[int, int], box: float | None
) -> list[FrameGuess]:
    names = [name for name in FRAME_NAMES if box or " to " not in name]
    guesses = [_guess(name, apply_frame(table, name, shape, box_size=box), evidence) for name in names]
    # Equal evidence (a square grid of points, no picture at all): the simpler frame, which comes first.
    return sorted(guesses, key=lambda guess: -round(abs(guess.deviations), 6))


def _guess(name: str, table: ParticleTable, evidence: dict[int, Evidence]) -> FrameGuess:
    parts = [found.at(table.on(i)) for i, found in evidence.items()]
    outside, blank, deviations = (np.concatenate(part) for part in zip(*parts, strict=True))
    places = [_places(table.on(i), found, *part) for (i, found), part in zip(evidence.items(), parts, strict=True)]
    independent = np.concatenate(places)
    contrast = float(independent.mean())
    spread = math.sqrt(np.mean([float(np.mean(found.contrast**2)) for found in evidence.values()])) or 1.0
    seen = ~(outside | blank)
    same = np.sign(deviations[seen]) == np.sign(contrast)
    return FrameGuess(
        name=name,
        outside_share=float(outside.mean()),
        border_share=float(blank.mean()),
        contrast=contrast,
        deviations=contrast / spread * math.sqrt(len(independent)),
        agreement=float(same.mean()) if seen.any() else 0.0,
        table=table,
    )


def _places(
    points: np.ndarray, evidence: Evidence, outside: np.ndarray, blank: np.ndarray, deviations: np.ndarray
) -> np.ndarray:
    """One value for each place as wide as a particle: points that crowd see the same thing once.

    Coordinates that are read too small lie close together, and would otherwise count one dark spot many times.
    """
    seen = ~(outside | blank)
    cells = np.floor(points[seen] / evidence.diameter).astype(np.int64)
    _, cell, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    means = np.bincount(cell.ravel(), deviations[seen], len(counts)) / counts
    return np.concatenate([means, np.zeros(int((~seen).sum()))])


def verdict(guesses: Sequence[FrameGuess]) -> tuple[bool, str]:
    """Whether the first of the guesses is clear, and a sentence that says so to the user."""
    best = guesses[0]
    rival = guesses[1] if len(guesses) > 1 else None
    lead = abs(best.deviations) - (abs(rival.deviations) if rival else 0.0)
    facts = (
        f"contrast {abs(best.deviations):.1f} standard errors above chance, {best.agreement:.0%} of the points "
        f"{'darker' if best.contrast < 0 else 'brighter'} than around, {best.outside_share:.0%} outside, "
        f"{best.border_share:.0%} on blank borders"
    )
    if abs(best.deviations) < _CLEAR:
        return False, f"The pictures do not tell the frame; the likeliest is '{best.name}' ({facts})."
    if rival and lead < _LEAD:
        return False, f"Probably '{best.name}' ({facts}); '{rival.name}' fits nearly as well."
    return True, f"The particles fit the pictures '{best.name}' ({facts})."


def apply_frame(
    table: ParticleTable, name: str, shape: tuple[int, int], *, box_size: float | None = None
) -> ParticleTable:
    """The particles read in another frame.

    Parameters
    ----------
    table
        The particles as they were read.
    name
        One of :data:`FRAME_NAMES`: scaled first, then moved from corner to centre, then transposed, then turned.
    shape
        ``(y, x)`` of the micrographs in pixels. A flipped row y is shape[0] - 1 - y: pixel centres are at integers.
    box_size
        Side of the boxes in pixels of the micrographs; for frames of corners.

    Raises
    ------
    CoordinatesError
        No such frame, or one of corners without a box size.
    """
    if name not in FRAME_NAMES:
        raise CoordinatesError(f"no frame is called '{name}'; there are {', '.join(FRAME_NAMES[:8])} and others")
    steps = [] if name == AS_IS else name.split(", ")
    y, x = table.coordinates[:, 1], table.coordinates[:, 2]
    for step in steps:
        if step in _SCALES:
            y, x = y * _SCALES[step], x * _SCALES[step]
        elif step in _CORNERS:
            box = box_size or _own_box(table)
            if not box:
                raise CoordinatesError(f"the frame '{name}' needs the box size; give it in pixels")
            y, x = y + _CORNERS[step] * box, x + _CORNERS[step] * box
        elif step == "transposed":
            y, x = x, y
        if step in ("y flipped", "turned by 180°"):
            y = shape[0] - 1 - y
        if step in ("x flipped", "turned by 180°"):
            x = shape[1] - 1 - x
    return replace(table, coordinates=np.column_stack([table.coordinates[:, 0], y, x]))
