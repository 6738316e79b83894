"""One door for all coordinate formats: files, folders of files of one micrograph each, and RELION's index of such."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_empiarreader.coordinates._many import in_one_table, named_after, of_one
from napari_empiarreader.coordinates.formats import (
    FORMATS,
    INDEX_FORMAT,
    SUFFIXES,
    CoordinateFormat,
    detect_format,
    format_named,
    format_to_write,
    lost_in,
)
from napari_empiarreader.coordinates.names import stem_of
from napari_empiarreader.coordinates.options import CoordinateOptions, Shapes
from napari_empiarreader.coordinates.star_index import INDEX_NAME, listed_files, render_index
from napari_empiarreader.coordinates.table import ParticleTable
from napari_empiarreader.errors import CoordinatesError, FileExistsAlreadyError, FormatError, NothingFoundError
from napari_empiarreader.files import replaced_when_complete

__all__ = ["read_particles", "write_particles"]

_log = logging.getLogger(__name__)


def read_particles(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    micrographs: Sequence[str] | None = None,
    shapes: Shapes | None = None,
    pixel_size: float | None = None,
    box_size: float | None = None,
    columns: Mapping[str, str] | None = None,
    scale: float | None = None,
    y_up: bool | None = None,
) -> ParticleTable:
    """Particles from a coordinate file, or from all such files of a folder.

    Parameters
    ----------
    path
        A file of any format in :data:`.FORMATS`, RELION's index of coordinate files, or a folder.
    format
        Name of the format; without it suffix and content decide.
    micrographs
        Names of the opened micrographs: a micrograph that matches one of them (:func:`.match_names`) is called so.
    shapes
        ``(y, x)`` in pixels of all micrographs, or of each by name; for rows that count from the bottom, and for
        fractions.
    pixel_size, box_size
        Å per pixel, and side of a box in pixels. No format needs them for reading; they are checked.
    columns
        Columns of a CSV file for ``x``, ``y``, ``micrograph`` and ``score``.
    scale
        Pixels of the micrograph per pixel of the file.
    y_up
        Whether rows count from the bottom, where the format's own way is not the file's.

    Returns
    -------
    ParticleTable
        In the array frame; ``metadata["format"]`` says where from.

    Raises
    ------
    NothingFoundError
        No such file, no files in the folder, or an index lists files that are not there.
    FormatError
        No coordinate file, or a damaged one.
    CoordinatesError
        Something must be known that the file does not say; the message says what.
    """
    options = CoordinateOptions(micrographs, shapes, pixel_size, box_size, columns, scale, y_up)
    path = Path(path)
    if path.is_dir():
        table = _read_folder(path, format, options)
    else:
        table = _read_file(path, format_named(format) if format else detect_format(path), options)
    return named_after(table, micrographs) if micrographs else table


def _read_file(path: Path, form: CoordinateFormat, options: CoordinateOptions) -> ParticleTable:
    if form.name == INDEX_FORMAT:
        # One file of an index, named as such, is read as what it is.
        if not path.is_file() or detect_format(path).name == INDEX_FORMAT:
            return _read_index(path, options)
        form = detect_format(path)
    try:
        table = form.read(path, options)
    except OSError as error:
        if isinstance(error, NothingFoundError):
            raise
        raise NothingFoundError(f"{path}: cannot be read ({error.strerror})") from error
    except CoordinatesError as error:
        raise error if str(path) in str(error) else CoordinatesError(f"{path}: {error}") from error
    return replace(table, metadata={**table.metadata, "format": form.name})


def _read_index(path: Path, options: CoordinateOptions) -> ParticleTable:
    tables = []
    for name, file in listed_files(path).items():
        form = detect_format(file)
        if form.name == INDEX_FORMAT:
            raise FormatError(f"{path}: the index lists another index, {file}; open that one")
        table = _read_file(file, form, replace(options, micrographs=[name]))
        if len(table.micrographs) > 1:
            raise FormatError(f"{path}: {file} holds {len(table.micrographs)} micrographs instead of {name} alone")
        tables.append(replace(table, micrographs=(name,)))
    return in_one_table(tables, path, INDEX_FORMAT)


def _read_folder(folder: Path, name: str | None, options: CoordinateOptions) -> ParticleTable:
    suffixes = FORMATS[name].suffixes if name in FORMATS else SUFFIXES if name is None else format_named(name).suffixes
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in suffixes)
    files = [file for file in files if not file.name.startswith(".")]
    if name is None and len(found := sorted({file.suffix.lower() for file in files})) > 1:
        raise FormatError(f"{folder}: files of several formats ({', '.join(found)}); name the one to read (format)")
    if not files:
        raise NothingFoundError(f"{folder}: no coordinate files ({', '.join(suffixes)}) in this folder")
    indices = [file for file in files if file.suffix.lower() == ".star" and detect_format(file).name == INDEX_FORMAT]
    if indices and name in (None, INDEX_FORMAT, "star"):
        if len(indices) > 1:
            names = ", ".join(file.name for file in indices)
            raise FormatError(f"{folder}: several indices of coordinate files ({names}); open one of them")
        return _read_index(indices[0], options)
    tables = [_read_file(file, FORMATS[name] if name else detect_format(file), options) for file in files]
    return in_one_table(tables, folder, str(tables[0].metadata["format"]))


def write_particles(
    path: str | os.PathLike[str],
    table: ParticleTable,
    *,
    format: str | None = None,
    overwrite: bool = False,
    shapes: Shapes | None = None,
    pixel_size: float | None = None,
    box_size: float | None = None,
    columns: Mapping[str, str] | None = None,
    scale: float | None = None,
    y_up: bool | None = None,
) -> list[Path]:
    """Write particles to one coordinate file, or to one for each micrograph where a format holds no more.

    Parameters
    ----------
    path
        File to make. For formats of one micrograph also a folder, or a path with ``{stem}`` for the micrograph's name
        without folder and suffix; particles on several micrographs go to the folder ``picks`` if the path is
        ``picks.box``. Micrographs without particles get no file: an empty one would mean that there are none.
    table
        The particles.
    format
        Name of the format in :data:`.FORMATS`; without it the suffix decides. ``relion-autopick`` makes a folder of
        STAR files with their index ``autopick.star``.
    overwrite
        Replace existing files.
    shapes, pixel_size, box_size, columns, scale, y_up
        As for :func:`read_particles`; ``box_size`` sets the size of every box, ``scale`` divides.

    Returns
    -------
    list of Path
        The files that were made. What a format cannot hold is logged; :func:`.lost_in` tells before.

    Raises
    ------
    FileExistsAlreadyError
        A file exists and ``overwrite`` is false; then nothing is written.
    FormatError
        No format is known by this suffix, or a name cannot stand in this format.
    CoordinatesError
        Something must be known that the particles do not say, or two micrographs would share a file.
    """
    options = CoordinateOptions(None, shapes, pixel_size, box_size, columns, scale, y_up)
    path = Path(path)
    form = format_to_write(path, table, format)
    if path.is_dir() and not form.one_micrograph:
        raise FormatError(f"{path}: a folder; name a file for the format {form.name}, such as picks{form.suffixes[0]}")
    if form.one_micrograph:
        contents = _one_each(path, table, form, options)
    else:
        contents = {path: form.render(table, options, path)}
    _write_all(contents, overwrite)
    if lost := lost_in(table, form.name):
        _log.warning("%s: the format %s cannot hold %s", path, form.name, ", ".join(lost))
    return list(contents)


def _one_each(
    path: Path, table: ParticleTable, form: CoordinateFormat, options: CoordinateOptions
) -> dict[Path, bytes]:
    """Content of the file of each micrograph."""
    used = np.unique(table.micrograph_index).tolist()
    if len(table) == 0:
        used = [0] if table.micrographs else []
    files = _places(path, {i: stem_of(table.micrographs[i]) for i in used}, form)
    contents = {files[i]: form.render(of_one(table, i), options, files[i]) for i in used}
    if form.name == INDEX_FORMAT:
        index = _index_path(path)
        contents[index] = render_index(index, {table.micrographs[i]: files[i] for i in used})
    return contents


def _places(path: Path, stems: dict[int, str], form: CoordinateFormat) -> dict[int, Path]:
    """Where the particles of each micrograph go."""
    for stem in stems.values():
        if stem in ("", ".", "..") or not stem.isprintable() or "\\" in stem:
            raise FormatError(f"{path}: no file can be called after a micrograph {stem!r}; rename it")
    if form.name == INDEX_FORMAT:
        places = {i: _index_path(path).parent / f"{stem}_autopick.star" for i, stem in stems.items()}
    elif "{stem}" in path.name:
        places = {i: path.with_name(path.name.replace("{stem}", stem)) for i, stem in stems.items()}
    elif path.is_dir() or path.suffix.lower() not in form.suffixes:
        places = {i: path / f"{stem}{form.suffixes[0]}" for i, stem in stems.items()}
    elif len(stems) == 1:
        places = dict.fromkeys(stems, path)
    else:
        places = {i: path.with_suffix("") / f"{stem}{path.suffix}" for i, stem in stems.items()}
    if len({str(place).casefold() for place in places.values()}) < len(places):
        raise CoordinatesError(
            f"{path}: the particles of several micrographs would go to one file, because only their folders differ; "
            "rename them, or choose a format that holds several micrographs (.star, .cs, .csv)"
        )
    return places


def _index_path(path: Path) -> Path:
    return path if path.suffix.lower() == ".star" and not path.is_dir() else path / INDEX_NAME


def _write_all(contents: Mapping[Path, bytes], overwrite: bool) -> None:
    """Write all files, or none if one is in the way or the disk is full."""
    there = [path for path in contents if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more exist" if len(there) > 1 else " exists"
        raise FileExistsAlreadyError(f"{there[0]}{more} already; choose another name or allow it to be replaced")
    with ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(replaced_when_complete(path, overwrite=overwrite)).write_bytes(content)
