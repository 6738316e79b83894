"""Micrographs out as OME-Zarr 0.5: the picture and its coarser levels in chunks, as large viewers want them.

What is written follows https://ngff.openmicroscopy.org/0.5 ("axes", "multiscales", "coordinateTransformations") on
Zarr 3. One image ``(y, x)`` of each level is one shard, so that a series has as many files per level as images, and
a viewer reads chunks of at most 1,024 pixels a side within them. Needs the extra ``zarr``.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_empiarreader.errors import DiskSpaceError, FileExistsAlreadyError, FormatError, MissingLibraryError
from napari_empiarreader.micrographs.series import check_pixel_size
from napari_empiarreader.progress import Progress, silent

if TYPE_CHECKING:
    import dask.array
    import zarr

__all__ = ["ATTRIBUTES_KEY", "write_ome_zarr"]

#: Where names, source and pixel size stand among the attributes of the group.
ATTRIBUTES_KEY = "napari_empiarreader"

_VERSION = "0.5"
#: A level whose longer side is below this many pixels needs no coarser one.
_SMALL = 1024
#: Most pixels along a side of a chunk.
_CHUNK = 1024
#: What Zarr, of version 2 or 3, keeps at the root of a store.
_ZARR_ROOTS = ("zarr.json", ".zgroup", ".zarray")

_SPACE, _TIME, _CHANNEL = "space", "time", "channel"
#: Sections of a stack (a tilt series) are taken one after the other, as frames are; the specification has room for
#: one axis of time and one of another kind.
_KINDS = {
    **dict.fromkeys(("z", "y", "x"), _SPACE),
    **dict.fromkeys(("frame", "section", "time", "t"), _TIME),
    **dict.fromkeys(("channel", "c"), _CHANNEL),
}


def write_ome_zarr(
    path: str | os.PathLike[str],
    data: np.ndarray | dask.array.Array | Sequence[Any],
    *,
    pixel_size: float | None = None,
    axis_labels: Sequence[str] = ("micrograph", "y", "x"),
    names: Sequence[str] | None = None,
    source: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> None:
    """Write images as an OME-Zarr 0.5 folder with coarser levels, reading one image ``(y, x)`` at a time.

    Parameters
    ----------
    path
        Folder to make. It appears when it is complete.
    data
        ``(..., y, x)`` values, lazy or not; of a list of levels the first, full one. Yes and no become 0 and 1.
    pixel_size
        Å per pixel along y, x and z; None leaves it unknown.
    axis_labels
        One for each axis of ``data``, the last two ``"y", "x"``. ``"z"`` is a length, ``"frame"`` and ``"section"``
        are times, others (``"micrograph"``, ``"volume"``) their own kind. The specification wants time first, then
        other kinds, then lengths; axes are sorted so, and ``(micrograph, frame, y, x)`` is stored as ``(frame,
        micrograph, y, x)``.
    names
        Of the micrographs or volumes, for the attributes.
    source
        Where they came from, for the attributes.
    overwrite
        Replace an existing Zarr folder; anything else of that name is never replaced.
    progress
        Told before each image; what it raises cancels, and nothing is left behind.

    Notes
    -----
    A pixel of level k is the mean of 2 × 2 pixels of level k - 1 (before that was rounded to integers), a row or
    column left over is dropped, until the longer side is below 1,024 pixels. Its centre lies at ``2**k * i +
    (2**k - 1) / 2`` pixels of the full image: the "scale" and the "translation" that are written.

    Raises
    ------
    FormatError
        The values are no real numbers, the axes fit neither the data nor the specification, or the names do not fit.
    PixelSizeError
        The pixel size is not a positive number.
    FileExistsAlreadyError
        There is something of that name already.
    DiskSpaceError
        The disk is full.
    MissingLibraryError
        Zarr 3 is not installed.
    """
    target = Path(path).resolve()
    if isinstance(data, Sequence):
        data = _full_level(data, target)
    dtype = _stored_type(data, target)
    axes = _Axes.of(axis_labels, data.shape, target)
    names = _checked_names(names, axes, target)
    check_pixel_size(pixel_size)
    _require_zarr()
    with _appears_when_complete(target, overwrite=overwrite) as folder:
        attributes = {
            "ome": {"version": _VERSION, "multiscales": [_multiscale(target.stem, axes, pixel_size)]},
            ATTRIBUTES_KEY: {"pixel_size": pixel_size, "source": source, axes.names_key: names},
        }
        _write_levels(_empty_levels(folder, axes, dtype, attributes), data, axes, target, progress)


@dataclass(frozen=True)
class _Axes:
    """Axes of the data, and the order in which they are stored.

    Attributes
    ----------
    labels, shape
        As they are stored.
    order
        Axis of the data for each axis that is stored.
    """

    labels: tuple[str, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, labels: Sequence[str], shape: Sequence[int], target: Path) -> _Axes:
        """Axes in the order of the specification, or an error that says which rule they break."""
        labels = tuple(str(label) for label in labels)
        if len(labels) != len(shape) or labels[-2:] != ("y", "x") or len(set(labels)) < len(labels):
            raise FormatError(
                f"{target}: the axes {labels} do not fit values of shape {tuple(shape)}; "
                "name each axis once, the last two 'y' and 'x'"
            )
        if not all(isinstance(length, int | np.integer) and length > 0 for length in shape):
            raise FormatError(f"{target}: the shape {tuple(shape)} holds no pixels, or is not known")
        kinds = [_kind(label) for label in labels]
        others = [label for label, kind in zip(labels, kinds, strict=True) if kind not in (_SPACE, _TIME)]
        if len(others) > 1 or kinds.count(_TIME) > 1:
            raise FormatError(
                f"{target}: OME-Zarr takes one axis of time ('frame') and one of another kind beside z, y and x, "
                f"not {labels}; write the parts one by one"
            )
        ranks = [{_TIME: 0, _SPACE: 2}.get(kind, 1) for kind in kinds]
        order = tuple(sorted(range(len(labels)), key=ranks.__getitem__))
        return cls(tuple(labels[i] for i in order), tuple(int(shape[i]) for i in order), order)

    @property
    def members(self) -> int:
        """How many micrographs, volumes or other things with a name there are."""
        lengths = zip(self.labels, self.shape, strict=True)
        return next((length for label, length in lengths if _kind(label) not in (_SPACE, _TIME, _CHANNEL)), 1)

    @property
    def names_key(self) -> str:
        """What the names are called; the same word that a layer's metadata have."""
        return "volumes" if "z" in self.labels else "micrographs"

    @property
    def levels(self) -> list[tuple[int, ...]]:
        """Shape of each level."""
        *leading, height, width = self.shape
        shapes = [self.shape]
        while max(height, width) >= _SMALL and min(height, width) > 1:
            height, width = height // 2, width // 2
            shapes.append((*leading, height, width))
        return shapes

    def stored_index(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Index of an image where it is stored, from its index in the data."""
        return tuple(index[axis] for axis in self.order[:-2])


def _kind(label: str) -> str:
    return _KINDS.get(label, label)


def _full_level(levels: Sequence[Any], target: Path) -> Any:
    if not len(levels) or not hasattr(levels[0], "dtype"):
        raise FormatError(f"{target}: a list must hold arrays, the levels of one picture from fine to coarse")
    return levels[0]


def _stored_type(data: Any, target: Path) -> np.dtype:
    dtype = np.dtype(data.dtype)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    # Types wider than 8 bytes (longdouble) differ between machines.
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise FormatError(
            f"{target}: images of OME-Zarr are integers or real numbers of up to 64 bits, not {dtype}; convert them "
            "first (complex values to their amplitude)"
        )
    return dtype.newbyteorder("=")


def _checked_names(names: Sequence[str] | None, axes: _Axes, target: Path) -> list[str] | None:
    if names is None:
        return None
    if len(names) != axes.members:
        raise FormatError(f"{target}: {len(names)} names for {axes.members} {axes.names_key}; give one name each")
    return [str(name) for name in names]


def _require_zarr() -> None:
    how = 'pip install "napari-empiarreader[zarr]"'
    try:
        import zarr
    except ImportError as error:
        raise MissingLibraryError(f"to write OME-Zarr the library zarr is missing; {how}") from error
    if int(zarr.__version__.partition(".")[0]) < 3:
        raise MissingLibraryError(f"OME-Zarr {_VERSION} needs zarr 3, there is zarr {zarr.__version__}; {how}")


# ---- what is said of the images --------------------------------------------------------------------------------


def _multiscale(name: str, axes: _Axes, pixel_size: float | None) -> dict[str, Any]:
    """One entry of "multiscales"."""
    return {
        "name": name,
        "axes": [_axis(label, pixel_size) for label in axes.labels],
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transformations(axes.labels, level, pixel_size)}
            for level in range(len(axes.levels))
        ],
        "type": "mean",
    }


def _axis(label: str, pixel_size: float | None) -> dict[str, str]:
    axis = {"name": label, "type": _kind(label)}
    return axis | {"unit": "angstrom"} if axis["type"] == _SPACE and pixel_size is not None else axis


def _transformations(labels: Sequence[str], level: int, pixel_size: float | None) -> list[dict[str, Any]]:
    """Scale, then translation, from the pixels of a level to Å (to pixels of the full image where none is known)."""
    size, factor = 1.0 if pixel_size is None else float(pixel_size), 2**level
    scale = [size if _kind(label) == _SPACE else 1.0 for label in labels]
    scale[-2:] = [size * factor] * 2
    scaled = {"type": "scale", "scale": scale}
    if level == 0:
        return [scaled]
    shift = [0.0] * (len(labels) - 2) + [size * (factor - 1) / 2] * 2
    return [scaled, {"type": "translation", "translation": shift}]


# ---- the images ------------------------------------------------------------------------------------------------


def _empty_levels(folder: Path, axes: _Axes, dtype: np.dtype, attributes: dict[str, Any]) -> list[zarr.Array]:
    import zarr
    from zarr.codecs import BloscCodec

    group = zarr.create_group(folder, zarr_format=3, attributes=attributes)
    arrays = []
    for level, shape in enumerate(axes.levels):
        sides = [-(-length // _CHUNK) for length in shape[-2:]]
        # Equal parts: chunks of at most _CHUNK pixels that waste less than one pixel each at the edge.
        chunk = [-(-length // count) for length, count in zip(shape[-2:], sides, strict=True)]
        ones = (1,) * (len(shape) - 2)
        arrays.append(
            group.create_array(
                str(level),
                shape=shape,
                dtype=dtype,
                chunks=(*ones, *chunk),
                shards=(*ones, *(side * count for side, count in zip(chunk, sides, strict=True))),
                # Counts and noise have idle bits rather than repeated bytes.
                compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=dtype.itemsize),
                fill_value=0,
                dimension_names=axes.labels,
                # A black image is a file too: what is missing was lost.
                config={"write_empty_chunks": True},
            )
        )
    return arrays


def _write_levels(levels: Sequence[zarr.Array], data: Any, axes: _Axes, target: Path, progress: Progress) -> None:
    indices = list(np.ndindex(*data.shape[:-2]))
    for done, index in enumerate(indices):
        progress(done, len(indices), f"writing {target.name}")
        image = np.asarray(data[index])
        if image.shape != data.shape[-2:]:
            raise FormatError(f"{target}: image {index} has shape {image.shape}, the others {tuple(data.shape[-2:])}")
        for level, array in enumerate(levels):
            image = _halved(image) if level else image
            array[axes.stored_index(index)] = _typed(image, array.dtype)
    progress(len(indices), len(indices), f"wrote {target.name}")


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 × 2 pixels, in floating point; NaN where one of them is."""
    rows, columns = (length // 2 for length in image.shape)
    precise = np.result_type(image.dtype, np.float32)
    small = np.zeros((rows, columns), precise)
    # A quarter is exact in binary, and the sum of quarters never too large where the values are not.
    with np.errstate(invalid="ignore"):
        for row in (0, 1):
            for column in (0, 1):
                small += np.multiply(image[row : 2 * rows : 2, column : 2 * columns : 2], 0.25, dtype=precise)
    return small


def _typed(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "iu" and image.dtype.kind == "f":
        image = np.rint(image)
        if dtype.itemsize == 8:
            # The largest 64-bit integer rounds up as a float, to one that is no such integer.
            image = np.minimum(image, np.nextafter(np.float64(np.iinfo(dtype).max), 0))
    return image.astype(dtype, copy=False)


# ---- the folder ------------------------------------------------------------------------------------------------


@contextmanager
def _appears_when_complete(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write to, beside the target; rename it into place, or remove it, whatever happens."""
    _refuse_existing(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # All that is temporary lies in one private folder; what is made in it has the permissions of any new file.
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.stem}-"))
        try:
            yield work / "new"
            _refuse_existing(target, overwrite)
            _put_in_place(work / "new", target, work / "old")
        finally:
            # The former folder stays in there if it could not come back.
            if target.exists() or not (work / "old").exists():
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskSpaceError(
            f"{target}: the disk is full, nothing was kept; make room, or write to another disk"
        ) from error


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsAlreadyError(f"{target} exists already; choose another name or allow it to be replaced")
    if not any((target / root).is_file() for root in _ZARR_ROOTS):
        raise FileExistsAlreadyError(f"{target} exists already and is no Zarr folder; it stays, choose another name")


def _put_in_place(new: Path, target: Path, old: Path) -> None:
    """Rename; a folder cannot replace another in one step, so the former one steps aside and comes back on failure."""
    replaced = target.exists()
    if replaced:
        target.replace(old)
    try:
        new.replace(target)
    except BaseException:
        if replaced:
            with suppress(OSError):
                old.replace(target)
        raise
