"""Data sets as files of other programs: HDF5, a stack with a STAR file, one MRC file for each item."""

from __future__ import annotations

import csv
import importlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_caked.datasets._fitting import as_stored, require_one_shape
from napari_caked.datasets.ctf import CTF_WORDS, RELION
from napari_caked.datasets.items import UNLABELLED, ItemSource, Record
from napari_caked.errors import DatasetError
from napari_empiarreader.errors import FileExistsAlreadyError, MissingLibraryError
from napari_empiarreader.files import replaced_when_complete
from napari_empiarreader.progress import Progress, silent

__all__ = ["export_folder", "export_hdf5", "export_stack"]

#: Contrast transfer that RELION wants of each particle, and of each microscope.
_OF_PARTICLES = ("defocus_u", "defocus_v", "defocus_angle", "phase_plate")
_OF_OPTICS = ("voltage", "spherical_aberration", "amplitude_contrast")
_KINDS = {"image": np.float32, "mask": np.int32, "partner": np.float32}


def export_hdf5(
    source: ItemSource,
    path: str | Path,
    *,
    overwrite: bool = False,
    compress: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write an HDF5 file: the arrays of a store, one item in a chunk, and its columns.

    Needs h5py (``pip install 'napari-caked[hdf5]'``).

    Parameters
    ----------
    source
        A store, or any other source of items of one shape.
    path
        The file.
    overwrite
        Replace it if it exists.
    compress
        Compress the arrays by gzip.
    progress
        Told after each item.

    Raises
    ------
    MissingLibraryError
        There is no h5py.
    DatasetError
        There are no items, or they do not go together.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise MissingLibraryError(f"{path}: HDF5 needs h5py; install it: pip install 'napari-caked[hdf5]'") from error
    records = _alike(source, path)
    with replaced_when_complete(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w") as file:
        _hdf5_columns(file, source)
        file.attrs["classes"] = list(source.classes)
        points: list[np.ndarray] = [np.empty((0, len(records[0].shape)), np.float32)] * len(records)
        for done, (index, item) in enumerate(source.items(range(len(records))), 1):
            for kind, dtype in _KINDS.items():
                array = getattr(item, kind)
                if array is None:
                    continue
                if kind not in file:
                    shape, packing = records[0].shape, {"compression": "gzip"} if compress else {}
                    file.create_dataset(kind, (len(records), *shape), dtype, chunks=(1, *shape), **packing)
                file[kind][index] = array
            if item.points is not None:
                points[index] = item.points
            progress(done, len(records), item.record.name)
        if any(map(len, points)):
            file["points"] = np.concatenate(points).astype(np.float32)
            file["points_start"] = np.concatenate([[0], np.cumsum([len(places) for places in points])])
    return Path(path)


def export_stack(
    source: ItemSource, path: str | Path, *, overwrite: bool = False, progress: Progress = silent
) -> tuple[Path, Path]:
    """Write images as a stack (``.mrcs``), and a STAR file beside it with a row for each.

    The class is in the column ``rlnClassNumber``, from 1 on, 0 for items without one, and by name in ``class``; the
    group is ``rlnMicrographName``. Contrast transfer that the items know is written as RELION wants it, with an optics
    group for each microscope; ``nan`` where an item does not know its own.

    Parameters
    ----------
    source
        Images of one shape and pixel size.
    path
        The stack, or the STAR file; the other has the same name.
    overwrite
        Replace both if they exist.
    progress
        Told after each image.

    Returns
    -------
    stack, star
        The files.

    Raises
    ------
    DatasetError
        There are no items, they are volumes, or they do not go together.
    """
    import mrcfile

    stack, star = Path(path).with_suffix(".mrcs"), Path(path).with_suffix(".star")
    records = _alike(source, path)
    if len(records[0].shape) != 2:
        raise DatasetError(f"{path}: a stack holds images, and these are volumes; write a folder of MRC files instead")
    if star.exists() and not overwrite:
        raise FileExistsAlreadyError(f"{star} exists already; choose another name or allow it to be replaced")
    size = records[0].voxel_size
    with replaced_when_complete(stack, overwrite=overwrite) as temporary:
        shape = (len(records), *records[0].shape)
        with mrcfile.new_mmap(temporary, shape, mrc_mode=2, overwrite=True) as file:
            for done, (index, item) in enumerate(source.items(range(len(records))), 1):
                file.data[index] = item.image
                progress(done, len(records), item.record.name)
            file.set_image_stack()
            if size is not None:
                file.voxel_size = (size[1], size[0], 0)
            file.update_header_stats()
    _write_star(star, stack, source)
    return stack, star


def export_folder(
    source: ItemSource, folder: str | Path, *, overwrite: bool = False, progress: Progress = silent
) -> list[Path]:
    """Write one MRC file for each item, ``<class>_<number>.mrc`` as CAKED names them, and ``items.csv``.

    Masks and partners are written as ``<class>_<number>_mask.mrc`` and ``…_partner.mrc``; the table says name, class,
    group and weight of each file, and the contrast transfer that the items know, so that :func:`.folder_source` reads
    it again by :class:`.ByCsv`.

    Parameters
    ----------
    source
        The items; their shapes may differ.
    folder
        Where to; made if need be.
    overwrite
        Replace files that exist.
    progress
        Told after each item.
    """
    import mrcfile

    target, records = Path(folder), source.records
    if not len(records):
        raise DatasetError(f"{target}: there are no items to write")
    target.mkdir(parents=True, exist_ok=True)
    table = target / "items.csv"
    if table.exists() and not overwrite:
        raise FileExistsAlreadyError(f"{table} exists already; choose another folder or allow it to be replaced")
    digits = max(4, len(str(len(records))))
    stems = [f"{_file_name(_class_of(source, record))}_{i:0{digits}d}" for i, record in enumerate(records)]
    files = [target / f"{stem}.mrc" for stem in stems]
    for done, (index, item) in enumerate(source.items(range(len(records))), 1):
        for kind, ending in (("image", ""), ("mask", "_mask"), ("partner", "_partner")):
            array = getattr(item, kind)
            if array is None:
                continue
            file = target / f"{stems[index]}{ending}.mrc"
            with (
                replaced_when_complete(file, overwrite=overwrite) as temporary,
                mrcfile.new(temporary, overwrite=True) as mrc,
            ):
                mrc.set_data(as_stored(array, np.dtype(np.int16 if kind == "mask" else np.float32), item, kind))
                if item.record.voxel_size is not None:
                    sizes = item.record.voxel_size[::-1]
                    mrc.voxel_size = sizes if len(sizes) == 3 else (*sizes, 0)
        progress(done, len(records), item.record.name)
    with (
        replaced_when_complete(table, overwrite=True) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as out,
    ):
        writer = csv.writer(out)
        known = [word for word in CTF_WORDS if any(word in record.origin for record in records)]
        writer.writerow(["name", "class", "group", "weight", "item", *known])
        for file, record in zip(files, records, strict=True):
            name = "" if record.label == UNLABELLED else source.classes[record.label]
            contrast = [record.origin.get(word, "") for word in known]
            writer.writerow([file.name, name, record.group, record.weight, record.name, *contrast])
    return [*files, table]


def _alike(source: ItemSource, path: str | Path) -> list[Record]:
    records = list(source.records)
    if not records:
        raise DatasetError(f"{path}: there are no items to write")
    require_one_shape(records, str(path))
    return records


def _hdf5_columns(file: Any, source: ItemSource) -> None:
    records, axes = list(source.records), len(source.records[0].shape)
    file["label"] = np.array([record.label for record in records], np.int32)
    file["weight"] = np.array([record.weight for record in records])
    file["voxel_size"] = np.array([record.voxel_size or (np.nan,) * axes for record in records])
    for name in ("name", "group"):
        file[name] = [getattr(record, name) for record in records]
    file["origin"] = [json.dumps(dict(record.origin), ensure_ascii=False) for record in records]


def _write_star(star: Path, stack: Path, source: ItemSource) -> None:
    import pandas as pd
    import starfile

    records = list(source.records)
    size = records[0].voxel_size
    columns: dict[str, list[object]] = {
        "rlnImageName": [f"{i:06d}@{stack.name}" for i in range(1, len(records) + 1)],
        "rlnMicrographName": [_star_text(record.group) for record in records],
        "rlnClassNumber": [record.label + 1 for record in records],
        "class": [_star_text(_class_of(source, record)) for record in records],
        "weight": [record.weight for record in records],
        "item": [_star_text(record.name) for record in records],
    }
    microscopes, columns["rlnOpticsGroup"] = _microscopes(records)
    columns |= _contrast(records, _OF_PARTICLES)
    count = range(1, len(microscopes) + 1)
    optics: dict[str, list[object]] = {
        "rlnOpticsGroup": list(count),
        "rlnOpticsGroupName": [f"opticsGroup{i}" for i in count],
    }
    optics |= _contrast(microscopes, _OF_OPTICS)
    optics |= {"rlnImagePixelSize": [size[-1]] * len(count)} if size is not None else {}
    optics |= {"rlnImageSize": [records[0].shape[-1]] * len(count), "rlnImageDimensionality": [2] * len(count)}
    with replaced_when_complete(star, overwrite=True) as temporary:
        blocks = {"optics": pd.DataFrame(optics), "particles": pd.DataFrame(columns)}
        starfile.write(blocks, temporary, overwrite=True, na_rep="nan")


def _microscopes(records: Sequence[Record]) -> tuple[list[Record], list[object]]:
    """One record for each optics group, and the group of each item, from 1 on."""
    groups: dict[tuple[object, ...], int] = {}
    first, of = [], []
    for record in records:
        key = tuple(record.origin.get(word) for word in _OF_OPTICS)
        if key not in groups:
            groups[key] = len(groups) + 1
            first.append(record)
        of.append(groups[key])
    return first, list(of)


def _contrast(records: Sequence[Record], words: Sequence[str]) -> dict[str, list[object]]:
    """RELION's columns for what at least one of the items knows."""
    known = [word for word in words if any(word in record.origin for record in records)]
    return {RELION[word]: [record.origin.get(word, math.nan) for record in records] for word in known}


def _class_of(source: ItemSource, record: Record) -> str:
    return "none" if record.label == UNLABELLED else source.classes[record.label]


def _star_text(text: str) -> str:
    """Without blanks, which end a value in a STAR file."""
    return re.sub(r"\s+", "_", text) or "-"


def _file_name(text: str) -> str:
    """What may stand in the name of a file, before the first ``_``."""
    return re.sub(r"[^\w.+-]|_", "-", text)
