"""Whether items can be stored together, and their arrays as they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from napari_caked.datasets.items import Item, Record
from napari_caked.errors import DatasetError

__all__ = ["as_stored", "likeness", "require_like", "require_one_shape"]

#: Voxel sizes that differ by less are one: a small image can only be rescaled to within 0.3 % of the size asked for.
_SAME_SIZE = 5e-3
_PARTS = ("mask", "partner", "points")


def likeness(item: Item) -> dict[str, Any]:
    """What all items of a store have in common with this one, for its attributes."""
    record = item.record
    return {
        "name": record.name,
        "shape": list(record.shape),
        "voxel_size": None if record.voxel_size is None else [float(size) for size in record.voxel_size],
        "has": [part for part in _PARTS if getattr(item, part) is not None],
    }


def require_like(like: Mapping[str, Any], item: Item, where: str) -> None:
    """Refuse an item of another shape or voxel size, or of other parts, than those stored so far.

    Raises
    ------
    DatasetError
        The message names the item, one it does not go with, and what unites the two.
    """
    _require_geometry(like, item.record, where)
    record, first = item.record, like["name"]
    for part in _PARTS:
        has = getattr(item, part) is not None
        if has != (part in like["has"]):
            one, two = (record.name, first) if has else (first, record.name)
            raise DatasetError(
                f"{where}: {one} has a {part}, and {two} has none; a store needs it of all items, or of none"
            )


def require_one_shape(records: Iterable[Record], where: str) -> None:
    """Refuse items of several shapes or voxel sizes; the error is that of :func:`require_like`."""
    like: dict[str, Any] = {}
    for record in records:
        like = like or {"name": record.name, "shape": list(record.shape), "voxel_size": record.voxel_size}
        _require_geometry(like, record, where)


def _require_geometry(like: Mapping[str, Any], record: Record, where: str) -> None:
    first = like["name"]
    if list(record.shape) != like["shape"]:
        raise DatasetError(
            f"{where}: {record.name} is {_by(record.shape)} pixels, and {first} {_by(like['shape'])}; it holds "
            "one shape: bring them to one voxel size with Rescale, then crop or pad with CropPad"
        )
    if not _same_size(record.voxel_size, like["voxel_size"]):
        raise DatasetError(
            f"{where}: {record.name} has pixels of {_size(record.voxel_size)}, and {first} of "
            f"{_size(like['voxel_size'])}; it holds one voxel size: bring them to it with Rescale, or say the "
            "right one where the data are read"
        )


def as_stored(array: np.ndarray, dtype: np.dtype[Any], item: Item, kind: str) -> np.ndarray:
    """An array of an item as it is stored.

    Raises
    ------
    DatasetError
        It has values that do not fit.
    """
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise DatasetError(
                f"{item.record.name}: its {kind} has values up to {array.max()}; {limits.max} can be stored"
            )
        return array.astype(dtype, copy=False)
    if dtype == np.float16:
        largest = float(np.nanmax(np.abs(array)))
        if largest > float(np.finfo(np.float16).max):
            raise DatasetError(
                f"{item.record.name}: its {kind} has values up to {largest:g}, and float16 ends at 65504; normalise it "
                "(ZScore), or store float32"
            )
    return array.astype(dtype, copy=False)


def _same_size(one: Sequence[float] | None, two: Sequence[float] | None) -> bool:
    if one is None or two is None:
        return one is two
    return bool(np.allclose(one, two, rtol=_SAME_SIZE))


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _size(size: Sequence[float] | None) -> str:
    return "unknown size" if size is None else " x ".join(f"{one:.5g}" for one in size) + " Å"
