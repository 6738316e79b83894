"""Particles on micrographs as items: boxes cut out while the micrographs stream by, each read once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_caked.datasets.classes import class_text, numbered, without_items
from napari_caked.datasets.ctf import contrast_of, with_optics_of
from napari_caked.datasets.items import Item, ItemSource, Record
from napari_caked.errors import DatasetError
from napari_empiarreader.coordinates import ParticleTable
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs import MicrographSeries

if TYPE_CHECKING:
    import pandas as pd

    from napari_empiarreader.archive import Archive

__all__ = [
    "ParticleSource",
    "column_of",
    "particle_source",
    "particles_of_files",
    "pixels_of_box",
    "united_tables",
    "weights_of",
]


@dataclass(frozen=True, eq=False)
class ParticleSource(ItemSource):
    """Boxes around particles; made by :func:`particle_source`.

    Attributes
    ----------
    classes, records
        As of every source; the group of a record is its micrograph, its origin has ``micrograph``, ``row`` (of the
        table), ``y`` and ``x`` (pixels of the micrograph), ``box`` (pixels), and the contrast transfer where the
        table says it (:mod:`.ctf`).
    series
        The micrographs.
    table
        The particles in the order of the records.
    box
        Side of an item in pixels.
    left_out
        Particles whose box reaches over the edge of their micrograph.
    unmatched
        Particles on micrographs that are not in the series.
    warnings
        The same in words, and classes without items.
    """

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    series: MicrographSeries
    table: ParticleTable
    box: int
    masks: MicrographSeries | None = field(default=None, repr=False)
    partner: MicrographSeries | None = field(default=None, repr=False)
    neighbours: bool = False
    left_out: int = 0
    unmatched: int = 0
    warnings: tuple[str, ...] = ()

    def items(self, indices: Sequence[int]) -> Iterator[tuple[int, Item]]:
        """Cut items, one micrograph after the other, each read once; see :class:`.ItemSource`."""
        asked = np.asarray(indices, np.intp)
        of = self.table.micrograph_index[asked]
        for micrograph in np.unique(of):
            images = [
                None if series is None else np.asarray(series.read(int(micrograph)))
                for series in (self.series, self.masks, self.partner)
            ]
            points = self.table.on(int(micrograph)) if self.neighbours else None
            for index in asked[of == micrograph]:
                yield int(index), self._cut(int(index), images, points)

    def _cut(self, index: int, images: Sequence[np.ndarray | None], points: np.ndarray | None) -> Item:
        y, x = corner = np.rint(self.table.coordinates[index, 1:]).astype(int) - self.box // 2
        # Copies: a view would keep the micrograph in memory, and a loader's transforms may write.
        image, mask, partner = (
            None if whole is None else whole[y : y + self.box, x : x + self.box].copy() for whole in images
        )
        assert image is not None
        if points is not None:
            points = points - corner
            points = points[((points > -0.5) & (points < self.box - 0.5)).all(axis=1)]
        record = self.records[index]
        return Item(
            record,
            image.astype(np.float32, copy=False),
            None if mask is None else _whole_numbers(mask, record.name),
            points,
            None if partner is None else partner.astype(np.float32, copy=False),
        )


def particle_source(
    series: MicrographSeries,
    table: ParticleTable,
    box: float,
    *,
    unit: Literal["pixel", "Å"] = "pixel",
    classes: str | None = None,
    class_name: str | None = "particle",
    only: Sequence[str] | None = None,
    groups: str | None = None,
    weights: str | None = None,
    masks: MicrographSeries | None = None,
    partner: MicrographSeries | None = None,
    neighbours: bool = False,
    permissive: bool = False,
) -> ParticleSource:
    """Items from particles on micrographs; no micrograph is read before the items are.

    A particle's centre, rounded to a pixel, lies at pixel ``box // 2`` of its item. Pixels come as they are, not
    normalised. Particles whose box reaches over the edge of their micrograph are left out and counted.

    Parameters
    ----------
    series
        Micrographs, local or in the archive.
    table
        Particles, matched to the micrographs by name.
    box
        Side of an item, in ``unit``; of Å, the nearest even number of pixels is taken.
    classes
        Column of the table that holds the class; without it all are of the class ``class_name`` (None for none).
    only
        Classes to take, in the order of their labels.
    groups
        Column that says what a split must not part (a grid, a session); the micrograph by default.
    weights
        Column that says how much an item counts.
    masks, partner
        For each micrograph another one of the same size: whole numbers, or what goes with it (its odd frames). Boxes
        are cut from them at the same places.
    neighbours
        Give each item the places of all particles in its box as points.
    permissive
        Leave out particles that lie on no micrograph of the series, or beyond its pixels, instead of refusing them.

    Raises
    ------
    DatasetError
        No item is left, a column is not there, a class is unknown or without items, or the box cannot be.
    CoordinatesError
        Particles lie on no micrograph, and ``permissive`` is false.
    PixelSizeError
        The box is in Å and the pixel size unknown.

    Examples
    --------
    >>> from napari_empiarreader import open_micrographs, read_particles
    >>> series = open_micrographs("empiar://10017/data", pixel_size=1.77)  # doctest: +SKIP
    >>> source = particle_source(series, read_particles("picks.star"), 200, unit="Å")  # doctest: +SKIP
    """
    side = pixels_of_box(series, box, unit)
    for other, what in ((masks, "masks"), (partner, "partners")):
        if other is not None and (len(other), other.shape) != (len(series), series.shape):
            raise DatasetError(
                f"{len(other)} {what} of {other.shape} pixels for {len(series)} micrographs of {series.shape}; give "
                "one of the same size for each"
            )
    where = str(table.metadata.get("source") or series.source or "particles")
    total = len(table)
    table = replace(table, features=table.features.assign(**{_ROW: np.arange(total)}))
    table = table.only_on(series.names) if permissive else table.renamed_to(series.names).require_inside(series.shape)
    unmatched = total - len(table)
    inside = _fits(table, series.shape, side)
    there = [class_name] * len(table) if classes is None else column_of(table.features, classes, where)
    every, labels, asked = numbered(there, where, only=only)
    left_out = int((asked & ~inside).sum())
    kept = np.flatnonzero(asked & inside)
    if not len(kept):
        raise DatasetError(
            f"{where}: none of {total} particles has a whole box of {side} pixels on its micrograph of {series.shape}; "
            "take a smaller box"
        )
    empty = without_items(every, {every[label] for label in labels[kept] if label >= 0})
    if empty and not permissive:
        raise DatasetError(
            f"{where}: no item of the class {', '.join(empty)} has a whole box of {side} pixels on its micrograph; "
            "take a smaller box, or ask for the other classes only"
        )
    table = table.where(kept)
    records = tuple(_records(series, table, labels[kept], side, groups, weights, where))
    warnings = tuple(_told(left_out, unmatched, empty, side))
    table = replace(table, features=table.features.drop(columns=_ROW))
    return ParticleSource(
        every, records, series, table, side, masks, partner, neighbours, left_out, unmatched, warnings
    )


def particles_of_files(
    micrographs: str | Path | ByteSource | Sequence[str | Path | ByteSource],
    particles: str | os.PathLike[str],
    box: float,
    *,
    pixel_size: float | None = None,
    archive: Archive | None = None,
    **wishes: object,
) -> ParticleSource:
    """Items from micrographs and coordinate files of any format that napari-empiarreader reads.

    Parameters
    ----------
    micrographs
        Files, folders, patterns, ``empiar://`` addresses; see :func:`napari_empiarreader.open_micrographs`.
    particles
        Coordinate file or folder of such; see :func:`napari_empiarreader.read_particles`.
    box, wishes
        As of :func:`particle_source`.
    pixel_size
        Å; overrides the headers.
    archive
        Where ``empiar://`` addresses lead.
    """
    from napari_empiarreader.coordinates import read_particles
    from napari_empiarreader.micrographs import open_micrographs

    series = open_micrographs(micrographs, pixel_size=pixel_size, archive=archive)
    table = read_particles(particles, micrographs=series.names, shapes=series.shape, pixel_size=series.pixel_size)
    return particle_source(series, table, box, **wishes)  # type: ignore[arg-type]


def united_tables(tables: Mapping[str, ParticleTable], micrographs: Sequence[str]) -> ParticleTable:
    """Particles of several classes in one table, so that their micrographs are read once.

    Parameters
    ----------
    tables
        For each class its particles.
    micrographs
        Names that the result counts into.

    Returns
    -------
    ParticleTable
        Its column ``class_name`` holds the class.
    """
    import pandas as pd

    # Without rows a table says nothing of the types of its columns, and must not change those of the others.
    filled = {name: table for name, table in tables.items() if len(table)}
    if not filled:
        return ParticleTable(tuple(micrographs), np.empty((0, 3)), pd.DataFrame({"class_name": []}))
    matched = {name: table.renamed_to(micrographs) for name, table in filled.items()}
    features = [with_optics_of(table).assign(class_name=name) for name, table in matched.items()]
    return ParticleTable(
        tuple(micrographs),
        np.concatenate([table.coordinates for table in matched.values()]),
        pd.concat(features, ignore_index=True),
    )


def column_of(features: pd.DataFrame, column: str, where: str) -> list[str | None]:
    """Names of classes or groups from a column of a table.

    Raises
    ------
    DatasetError
        There is no such column.
    """
    if column not in features:
        there = ", ".join(str(name) for name in features.columns if name != _ROW) or "none"
        raise DatasetError(f"{where}: there is no column '{column}'; there are {there}")
    return [class_text(value) for value in features[column]]


def weights_of(features: pd.DataFrame, column: str | None, where: str) -> np.ndarray:
    """``(n,)`` weights from a column of a table; 1 without a column.

    Raises
    ------
    DatasetError
        There is no such column, or it holds something else than numbers of at least 0.
    """
    import pandas as pd

    if column is None:
        return np.ones(len(features))
    column_of(features, column, where)
    weights = pd.to_numeric(features[column], errors="coerce").to_numpy(np.float64)
    broken = ~((weights >= 0) & np.isfinite(weights))
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise DatasetError(f"{where}: row {row + 1} has the weight {features[column].iloc[row]}; it is a number >= 0")
    return weights


#: Row of the table as it was given, while particles are left out of it.
_ROW = "_row"


def pixels_of_box(series: MicrographSeries, box: float, unit: str) -> int:
    """Side of a box in pixels; see :func:`particle_source`.

    Raises
    ------
    DatasetError
        It is no whole number, or too large.
    """
    if unit not in ("pixel", "Å"):
        raise DatasetError(f"a box in {unit!r} is unknown; give it in 'pixel' or 'Å'")
    pixels = 2 * round(box / series.require_pixel_size() / 2) if unit == "Å" else box
    if pixels != int(pixels) or not 2 <= pixels <= min(series.shape):
        raise DatasetError(
            f"a box of {box:g} {unit}{f' ({pixels:g} pixels)' if unit == 'Å' else ''} cannot be cut from micrographs "
            f"of {series.shape} pixels; give a whole number of pixels between 2 and {min(series.shape)}"
        )
    return int(pixels)


def _fits(table: ParticleTable, shape: tuple[int, int], side: int) -> np.ndarray:
    corners = np.rint(table.coordinates[:, 1:]).astype(int) - side // 2
    inside: np.ndarray = ((corners >= 0) & (corners + side <= np.array(shape))).all(axis=1)
    return inside


def _records(
    series: MicrographSeries,
    table: ParticleTable,
    labels: np.ndarray,
    side: int,
    groups: str | None,
    weights: str | None,
    where: str,
) -> Iterator[Record]:
    size = None if series.pixel_size is None else (series.pixel_size,) * 2
    given: list[str | None] = [None] * len(table) if groups is None else column_of(table.features, groups, where)
    rows = table.features[_ROW].to_numpy(int)
    counts, contrasts = weights_of(table.features, weights, where), contrast_of(with_optics_of(table))
    for (micrograph, y, x), label, group, weight, row, contrast in zip(
        table.coordinates.tolist(), labels.tolist(), given, counts.tolist(), rows.tolist(), contrasts, strict=True
    ):
        name = series.names[int(micrograph)]
        origin = {"micrograph": name, "row": row, "y": y, "x": x, "box": side, **contrast}
        yield Record(f"{name}#{row}", label, group or name, (side, side), size, weight, origin)


def _told(left_out: int, unmatched: int, empty: Sequence[str], side: int) -> Iterator[str]:
    if left_out:
        yield (
            f"{left_out} particle{'s' if left_out > 1 else ''} left out, whose box of {side} pixels reaches over the "
            "edge of the micrograph"
        )
    if unmatched:
        yield f"{unmatched} particle{'s' if unmatched > 1 else ''} left out, whose micrograph is not among those opened"
    yield from (f"the class {name} has no items" for name in empty)


def _whole_numbers(mask: np.ndarray, name: str) -> np.ndarray:
    whole = mask.astype(np.int32)
    if not np.array_equal(whole, mask):
        raise DatasetError(f"{name}: a mask holds whole numbers, and this one has others; threshold it first")
    return whole
