"""cryoSPARC's ``.cs`` files of particles and picks: a structured array, as ``numpy.save`` writes it.

Frame: ``location/center_x_frac`` and ``center_y_frac`` are fractions of the micrograph's width and height, with the
origin in the lower left, and ``location/micrograph_shape`` is (y, x). cryoSPARC turns RELION's rows over when it
imports them (pyem, issues 81 and 101), so

    x = center_x_frac · width        y = (1 - center_y_frac) · height.

Its own Patch Motion turns the images over, other programs' motion correction does not: for coordinates that are
already the right way up, ``y_up=False``.

A field of several numbers (``alignments3D/pose``) becomes as many columns, ``alignments3D/pose[0]`` and so on.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_empiarreader.coordinates.options import CoordinateOptions
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import FormatError, NothingFoundError, TruncatedFileError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_cryosparc", "read_cryosparc_fields", "render_cryosparc"]

_X, _Y = "location/center_x_frac", "location/center_y_frac"
_SHAPE, _PATH, _MICROGRAPH = "location/micrograph_shape", "location/micrograph_path", "location/micrograph_uid"
_PIXEL_SIZE, _SCORE = "location/micrograph_psize_A", "pick_stats/ncc_score"

_MAGIC, _STREAM = b"\x93NUMPY", b"\x95CSDAT"

#: numpy believes 10,000 bytes; cryoSPARC's headers of refined particles are longer.
_LONGEST_HEADER = 1 << 18

#: Fields of picks, in the order and with the types that cryoSPARC gives them.
_PICKS = {
    "uid": "<u8", _MICROGRAPH: "<u8", "location/exp_group_id": "<u4", _PATH: "S", _SHAPE: "<u4", _X: "<f4", _Y: "<f4",
    "location/min_dist_A": "<f4", _PIXEL_SIZE: "<f4", _SCORE: "<f4",
}  # fmt: skip


def read_cryosparc(path: Path, options: CoordinateOptions) -> ParticleTable:
    """Particles of a ``.cs`` file.

    Raises
    ------
    NothingFoundError
        No such file.
    FormatError, TruncatedFileError
        No ``.cs`` file, one in cryoSPARC's compressed form, or one without locations.
    CoordinatesError
        The file has no ``micrograph_shape``, and ``options`` have no size.
    """
    records = _read_records(path)
    names = records.dtype.names or ()
    for field in (_X, _Y):
        if field not in names or records.dtype[field].shape or records.dtype[field].kind != "f":
            held = ", ".join(sorted({name.split("/")[0] for name in names}))
            raise FormatError(
                f"{path}: no particle locations ({field}) in this file, which holds {held}; open the picks of the "
                "job, or its 'passthrough' file"
            )
    micrographs, index = _micrographs(records, path)
    sizes = _sizes(records, path, options, micrographs, index)
    x, y = records[_X].astype(np.float64) * sizes[:, 1], records[_Y].astype(np.float64)
    y = (1 - y if options.y_up is not False else y) * sizes[:, 0]
    upright = CoordinateOptions(scale=options.scale)
    return ParticleTable(
        micrographs,
        upright.to_array_frame(path, x, y, micrographs, index),
        _features(records, path),
        {"source": str(path), "cs_fields": [(name, *_kind(records.dtype[name])) for name in names]},
    )


def read_cryosparc_fields(path: Path) -> pd.DataFrame:
    """Every field of a ``.cs`` file, with or without locations; one of several numbers as so many columns.

    Raises
    ------
    NothingFoundError, FormatError, TruncatedFileError
        As :func:`read_cryosparc`.
    """
    return _columns(_read_records(path), path)


def _read_records(path: Path) -> np.ndarray:
    """The array, after its header has been found to fit the file."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
            if start == _STREAM:
                raise FormatError(
                    f"{path}: cryoSPARC's compressed form is read by cryosparc-tools only; save it with "
                    "Dataset.load(path).save(other_path), or use the job's .cs file"
                )
            if start != _MAGIC:
                raise FormatError(f"{path}: no .cs file (it begins with {start!r} instead of {_MAGIC!r})")
            file.seek(0)
            shape, dtype = _header(file, path)
            if len(shape) != 1 or not dtype.names or dtype.hasobject or not dtype.itemsize:
                raise FormatError(f"{path}: an array of {shape} {str(dtype)[:80]} is no table of particles")
            data = file.read()
    except FileNotFoundError as error:
        raise NothingFoundError(f"{path}: no such file") from error
    except OSError as error:
        raise NothingFoundError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) < shape[0] * dtype.itemsize:
        raise TruncatedFileError(
            f"{path}: {shape[0]:,} particles need {shape[0] * dtype.itemsize:,} bytes, the file has {len(data):,}; "
            "it was not copied whole, fetch it again"
        )
    return np.frombuffer(data, dtype, count=shape[0])


def _header(file: Any, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        begin, counts = file.tell(), file.read(2 if version[0] == 1 else 4)
        # numpy takes the memory for a header before it looks how much of it there is.
        if int.from_bytes(counts, "little") > min(_LONGEST_HEADER, os.fstat(file.fileno()).st_size):
            raise FormatError(f"{path}: no .cs file (its header claims more bytes than there are)")
        file.seek(begin)
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file, max_header_size=_LONGEST_HEADER)
    except (ValueError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError, OverflowError) as error:
        raise FormatError(f"{path}: no .cs file (damaged header: {str(error)[:100]})") from error
    except tokenize.TokenError as error:  # numpy repairs what it takes for a header of Python 2
        raise FormatError(f"{path}: no .cs file (damaged header: {str(error)[:100]})") from error
    if fortran or any(side < 0 for side in shape):
        raise FormatError(f"{path}: no .cs file (its header claims the shape {shape})")
    return shape, dtype


def _micrographs(records: np.ndarray, path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    import pandas as pd

    names = records.dtype.names or ()
    if _PATH in names:
        index, found = pd.factorize(_texts(records[_PATH], path))
    elif _MICROGRAPH in names:
        index, found = pd.factorize(np.array([f"{uid:021d}" for uid in records[_MICROGRAPH].tolist()], object))
    else:
        raise FormatError(f"{path}: neither {_PATH} nor {_MICROGRAPH} says which micrograph a particle is on")
    return tuple(str(name) for name in found), index


def _texts(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: a text in this file is not UTF-8 ({error})") from error
    return values.astype(object)


def _sizes(
    records: np.ndarray, path: Path, options: CoordinateOptions, micrographs: tuple[str, ...], index: np.ndarray
) -> np.ndarray:
    """``(n, 2)`` float of (y, x): the size of each particle's micrograph, the file's own first."""
    if _SHAPE in (records.dtype.names or ()) and records.dtype[_SHAPE].shape == (2,):
        sizes = records[_SHAPE].astype(np.float64)
        if not len(sizes) or (sizes.min() >= 1 and sizes.max() <= 1 << 17):
            return sizes
        raise FormatError(f"{path}: a micrograph_shape from {sizes.min():g} to {sizes.max():g} cannot be true")
    if not len(records):
        return np.empty((0, 2))
    return options.sizes(micrographs, index, path, "places are fractions of the micrograph")[index]


def _features(records: np.ndarray, path: Path) -> pd.DataFrame:
    return _columns(records, path, without=(_X, _Y, _PATH)).rename(columns={_SCORE: "score"})


def _columns(records: np.ndarray, path: Path, without: tuple[str, ...] = ()) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, np.ndarray] = {}
    for name in records.dtype.names or ():
        if name in without:
            continue
        values = records[name]
        values = values.astype(values.dtype.newbyteorder("="))
        flat = values.reshape(len(values), -1) if values.ndim > 1 and len(values) else None
        if values.ndim > 1 and flat is None:
            flat = np.empty((0, int(np.prod(values.shape[1:]))), values.dtype)
        for key, column in [(name, values)] if flat is None else [(f"{name}[{i}]", c) for i, c in enumerate(flat.T)]:
            columns[key] = _texts(column, path) if column.dtype.kind in "SU" else column
    return pd.DataFrame(columns, index=range(len(records)))


def _kind(dtype: np.dtype) -> tuple[str, tuple[int, ...]]:
    return dtype.base.str, dtype.shape


def render_cryosparc(table: ParticleTable, options: CoordinateOptions, path: Path) -> bytes:
    """Content of a ``.cs`` file.

    Fields that came from such a file keep their types; particles that have no ``uid`` get one that follows from
    their place. Features of other formats are left out, but for ``score``.

    Raises
    ------
    CoordinatesError
        The size of a micrograph is neither in the features nor in ``options``.
    """
    sizes = _known_sizes(table, path, options)
    y, x = table.coordinates[:, 1] / (options.scale or 1.0), table.coordinates[:, 2] / (options.scale or 1.0)
    fraction = y / sizes[:, 0]
    kept = _kept_columns(table)
    columns: dict[str, np.ndarray] = {
        **_new_columns(table, sizes, options),
        **kept,
        _X: x / sizes[:, 1],
        _Y: 1 - fraction if options.y_up is not False else fraction,
        _PATH: _bytes([table.micrographs[i] for i in table.micrograph_index]),
        _SHAPE: np.rint(sizes),
    }
    fields = [(str(name), str(kind), tuple(shape)) for name, kind, shape in table.metadata.get("cs_fields", ())]
    fields = [field for field in fields if field[0] in columns]
    known = {name for name, _, _ in fields}
    if known:  # what came from cryoSPARC goes back without fields that it had not
        asked = {_PIXEL_SIZE} if options.pixel_size is not None else set()
        columns = {name: column for name, column in columns.items() if name in {*known, *kept, *asked}}
    fields += [(n, _PICKS.get(n, _array_kind(c)), c.shape[1:]) for n, c in columns.items() if n not in known]
    kinds = [(n, columns[n].dtype.str if kind.lstrip("|<>=")[0] in "SU" else kind, s) for n, kind, s in fields]
    records = np.zeros(len(table), np.dtype(kinds))
    for name, _, _ in kinds:
        records[name] = columns[name].reshape(records[name].shape)
    content = io.BytesIO()
    np.save(content, records, allow_pickle=False)
    return content.getvalue()


def _array_kind(column: np.ndarray) -> str:
    return column.dtype.newbyteorder("<").str


def _known_sizes(table: ParticleTable, path: Path, options: CoordinateOptions) -> np.ndarray:
    keys = [f"{_SHAPE}[0]", f"{_SHAPE}[1]"]
    sizes = np.full((len(table), 2), np.nan)
    if all(key in table.features for key in keys):
        sizes = table.features[keys].to_numpy(np.float64, copy=True)
    unknown = ~(np.isfinite(sizes) & (sizes >= 1)).all(axis=1)
    if unknown.any():
        used = table.micrograph_index[unknown]
        sizes[unknown] = options.sizes(table.micrographs, used, path, "places are fractions of the micrograph")[used]
    return sizes


def _new_columns(table: ParticleTable, sizes: np.ndarray, options: CoordinateOptions) -> dict[str, np.ndarray]:
    """Fields that cryoSPARC wants on every pick, where the features have none."""
    names = [table.micrographs[i] for i in table.micrograph_index]
    numbers = {name: _micrograph_number(name) for name in set(names)}
    columns = {
        "uid": _numbers_of_particles(table),
        _MICROGRAPH: np.array([numbers[name] for name in names], np.uint64),
        "location/exp_group_id": np.ones(len(table), np.uint32),
        _PATH: np.empty(len(table), "S1"),
        _SHAPE: sizes,
        "location/min_dist_A": np.zeros(len(table), np.float32),
    }
    if options.pixel_size is not None:
        columns[_PIXEL_SIZE] = np.full(len(table), options.pixel_size, np.float32)
    return columns


def _numbers_of_particles(table: ParticleTable) -> np.ndarray:
    return np.array(
        [
            _digest(f"{i} {table.micrographs[int(m)]} {y!r} {x!r}")
            for i, (m, y, x) in enumerate(table.coordinates.tolist())
        ],
        np.uint64,
    )


def _micrograph_number(name: str) -> int:
    found = re.match(r"(?:.*/)?>?(\d{21})(?:_|$)", name)
    number = int(found[1]) if found else 0
    return number if 0 < number < 1 << 64 else _digest(name)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _kept_columns(table: ParticleTable) -> dict[str, np.ndarray]:
    """Fields that the features hold, several columns joined to one field again."""
    features, shapes = table.features, {name: tuple(s) for name, _, s in table.metadata.get("cs_fields", ())}
    kinds = {name: kind for name, kind, _ in table.metadata.get("cs_fields", ())}
    columns: dict[str, np.ndarray] = {}
    for name, keys in _fields(features):
        parts = [_plain(features[key], kinds.get(name)) for key in keys]
        column = parts[0] if keys[0] in (name, "score") else np.stack(parts, axis=1)
        if name == "uid":
            fresh = features[keys[0]].isna().to_numpy()
            column = np.where(fresh, _numbers_of_particles(table), column) if fresh.any() else column
        shape = shapes.get(name, column.shape[1:])
        columns[name] = column.reshape(len(column), *shape) if np.prod(shape) == column[:1].size else column
    return columns


def _fields(features: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Name of each field among the features, and its columns in order."""
    grouped: dict[str, list[str]] = {}
    for key in map(str, features.columns):
        found = re.fullmatch(r"(.+/.+)\[(\d+)\]", key)
        if key == "score":
            grouped[_SCORE] = [key]
        elif key == "uid" or (found is None and "/" in key):
            grouped[key] = [key]
        elif found:
            grouped.setdefault(found[1], []).append(key)
    for name, keys in grouped.items():
        yield name, sorted(keys, key=lambda key: int(key.rpartition("[")[2][:-1]) if key.endswith("]") else -1)


def _plain(values: pd.Series, kind: str | None) -> np.ndarray:
    """Values as numbers, or as the bytes that cryoSPARC keeps texts in; what is missing is 0 or empty."""
    if values.dtype.kind in "iufb" and not (values.dtype.kind == "f" and kind and np.dtype(kind).kind in "iu"):
        return values.to_numpy()
    if values.dtype.kind == "f":
        return values.fillna(0).to_numpy()
    return _bytes(["" if missing else str(v) for v, missing in zip(values, values.isna(), strict=True)])


def _bytes(texts: list[str]) -> np.ndarray:
    return np.array([text.encode("utf-8", "replace") for text in texts] or [b""], "S")[: len(texts)]
