"""What lies beside the file of an item: its mask, its partner, its points.

Names are relative to the folder of the data set, with ``/``; so are the folders of masks and partners.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from napari_caked.datasets.items import Record
from napari_caked.datasets.sources.files import SUFFIXES
from napari_caked.errors import DatasetError

__all__ = ["Beside", "Pair", "PointsBeside", "read_points"]


@dataclass(frozen=True)
class Beside:
    """A file that belongs to each item: its mask, or the map of its model.

    Attributes
    ----------
    pattern
        Its name; ``{stem}`` stands for the item's name without ending, ``{suffix}`` for the ending. Where that file
        is not there, other endings are tried.
    folder
        Where it lies: relative to the folder of the data set, or absolute. Beside the item by default.

    Examples
    --------
    >>> Beside("{stem}_mask{suffix}").name_for("ribosome_1.mrc")
    'ribosome_1_mask.mrc'
    """

    pattern: str = "{stem}{suffix}"
    folder: str | Path | None = None

    def __post_init__(self) -> None:
        if self.folder is None and self.name_for("a.mrc") == "a.mrc":
            raise DatasetError(f"the pattern {self.pattern!r} names the item itself; give another pattern, or a folder")

    def name_for(self, item: str) -> str:
        """Name of the file that belongs to an item, without its folder."""
        stem, suffix = _parts(PurePosixPath(item).name)
        try:
            return self.pattern.format(stem=stem, suffix=suffix)
        except (KeyError, IndexError, ValueError) as error:
            raise DatasetError(f"the pattern {self.pattern!r} may hold {{stem}} and {{suffix}} only") from error

    def path_for(self, root: Path, item: str) -> Path:
        """The file that belongs to an item.

        Raises
        ------
        DatasetError
            It is not there.
        """
        parent = PurePosixPath(item).parent
        # A folder of masks may repeat the folders of the classes, or not.
        homes = [root / parent] if self.folder is None else [root / self.folder / parent, root / self.folder]
        name = self.name_for(item)
        stem, suffix = _parts(name)
        for home in homes:
            for candidate in (name, *(stem + other for other in SUFFIXES if other != suffix)):
                if (home / candidate).is_file():
                    return home / candidate
        raise DatasetError(
            f"{item}: what belongs to it, {homes[0] / name}, is not there; add it, or take the item away"
        )

    def is_for_another(self, name: str) -> bool:
        """Whether a file is, by its name, what belongs to an item beside it."""
        before, _, after = self.pattern.replace("{suffix}", "").partition("{stem}")
        stem, _ = _parts(name)
        return len(stem) > len(before + after) and stem.startswith(before) and stem.endswith(after)

    def owns(self, root: Path, file: Path) -> bool:
        """Whether a file lies in the folder of what belongs to items."""
        return self.folder is not None and (root / self.folder).resolve() in file.resolve().parents


@dataclass(frozen=True)
class Pair:
    """Two files that are one item: half maps, or the even and the odd frames.

    Attributes
    ----------
    first, second
        What their names hold: the first file is the image, the second its partner. The item is called as both without
        it.
    """

    first: str = "_half1"
    second: str = "_half2"

    def item_of(self, file: str) -> str | None:
        """Name of the item whose image a file is; None for a partner.

        Raises
        ------
        DatasetError
            The file is neither.
        """
        path = PurePosixPath(file)
        for tag, is_image in ((self.first, True), (self.second, False)):
            before, found, after = path.name.rpartition(tag)
            if found:
                return str(path.with_name(before + after)) if is_image else None
        raise DatasetError(f"{file}: its name holds neither {self.first!r} nor {self.second!r}; it belongs to no pair")

    def image_of(self, partner: str) -> str:
        """Name of the image of a partner."""
        return Pair(self.second, self.first).partner_of(partner)

    def partner_of(self, file: str) -> str:
        """Name of the partner of an image."""
        path = PurePosixPath(file)
        before, _, after = path.name.rpartition(self.first)
        return str(path.with_name(before + self.second + after))


@dataclass(frozen=True)
class PointsBeside:
    """Points of items, by name.

    Attributes
    ----------
    places
        For each item ``(n, 2)`` (y, x) or ``(n, 3)`` (z, y, x), measured from the centre of the first pixel. Names are
        those of files, with or without ending.
    unit
        Of the places; Å need an item with a voxel size.
    """

    places: Mapping[str, np.ndarray]
    unit: Literal["pixel", "Å"] = "pixel"

    def of(self, record: Record) -> np.ndarray:
        """Points of an item ``(n, axes)`` in pixels; none where nobody named any.

        Raises
        ------
        DatasetError
            They lie outside the item, have another number of axes, or are in Å where the voxel size is unknown.
        """
        path = PurePosixPath(record.name)
        names = (record.name, path.name, str(path.with_suffix("")), path.stem)
        found = next((self.places[name] for name in names if name in self.places), None)
        axes = len(record.shape)
        points = np.asarray(np.empty((0, axes)) if found is None else found, np.float64)
        if points.shape[1:] != (axes,):
            raise DatasetError(f"{record.name}: its points are {points.shape}, and it has {axes} axes")
        if self.unit == "Å":
            if record.voxel_size is None:
                raise DatasetError(f"{record.name}: its points are in Å, and its voxel size is unknown; say it")
            points = points / np.array(record.voxel_size)
        outside = ((points < -0.5) | (points > np.array(record.shape) - 0.5)).any(axis=1)
        if outside.any():
            raise DatasetError(
                f"{record.name}: {int(outside.sum())} of its {len(points)} points lie outside its {record.shape} "
                f"pixels (first: {np.round(points[outside][0], 1).tolist()}); another unit, or another item?"
            )
        return points


def read_points(path: str | Path, unit: Literal["pixel", "Å"] = "pixel") -> PointsBeside:
    """Points of items from a CSV file with the columns ``name``, ``y``, ``x``, and ``z`` for volumes.

    Raises
    ------
    DatasetError
        The file cannot be read, lacks a column, or holds what is no number.
    """
    path = Path(path)
    try:
        table = csv.DictReader(path.read_text("utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: the points cannot be read ({error})") from error
    columns = table.fieldnames or ()
    axes = [axis for axis in ("z", "y", "x") if axis in columns]
    if "name" not in columns or axes[-2:] != ["y", "x"]:
        raise DatasetError(
            f"{path}: its columns are {', '.join(columns) or 'none'}; it needs name, y, x, and z for volumes"
        )
    places: dict[str, list[list[float]]] = {}
    for line, row in enumerate(table, 2):
        try:
            place = [float(row[axis]) for axis in axes]
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{path}, line {line}: no numbers as a place; mend the line") from error
        places.setdefault(row["name"].strip(), []).append(place)
    return PointsBeside({name: np.array(rows) for name, rows in places.items()}, unit)


def _parts(name: str) -> tuple[str, str]:
    """A file's name without its ending, and the ending; ``.map.gz`` is one."""
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    suffix = suffix or PurePosixPath(name).suffix
    return (name[: -len(suffix)], name[-len(suffix) :]) if suffix else (name, "")
