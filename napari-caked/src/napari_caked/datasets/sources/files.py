"""Files of one image or volume each: what they say without their pixels, and the pixels.

MRC in all its kinds and TIFF are read by napari-empiarreader, ``.npy`` files and grey pictures here. Headers are enough
to know shape and voxel size, and of MRC and ``.npy`` files that no pixels are missing.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING

import numpy as np

from napari_caked.errors import DatasetError
from napari_empiarreader.files import LocalFile

if TYPE_CHECKING:
    from napari_empiarreader.micrographs.image import ImageFile
    from napari_empiarreader.micrographs.mrc import MrcHeader

__all__ = ["SUFFIXES", "ImageHeader", "read_header", "read_image", "read_mask"]

#: Endings of what is taken from a folder. An ``.mrcs`` file is a stack of images, not an item.
SUFFIXES = (".mrc", ".map", ".rec", ".npy", ".tif", ".tiff", ".mrc.gz", ".map.gz", ".png", ".jpg", ".jpeg")

#: What numpy raises for a damaged file: its header is the text of a dictionary, which it parses as Python.
_BROKEN_NPY = (OSError, ValueError, EOFError, SyntaxError, TypeError, TokenError)

_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of its image or volume.

    Attributes
    ----------
    path
        The file.
    shape
        ``(y, x)`` of one section, else ``(z, y, x)``.
    voxel_size
        Å along each axis, or None where the file does not say. 1 Å along all of them is what programs write that do
        not know, and counts as unknown.
    mrc
        Header of an MRC file that is not compressed: its pixels then need no second look at it.
    """

    path: Path
    shape: tuple[int, ...]
    voxel_size: tuple[float, ...] | None
    mrc: MrcHeader | None = field(default=None, repr=False)


def read_header(path: Path) -> ImageHeader:
    """Shape and voxel size of a file, without its pixels.

    Raises
    ------
    DatasetError, FormatError, NothingFoundError
        It is missing or damaged, shorter than its header says, or holds no image or volume of real numbers.
    """
    suffix = path.suffix.lower()
    return _npy_header(path) if suffix == ".npy" else _grey(path)[0] if suffix in _PICTURES else _image_header(path)


def read_image(header: ImageHeader) -> np.ndarray:
    """Pixels of a file as float32, writeable.

    Raises
    ------
    DatasetError, FormatError, NothingFoundError
        It is missing, damaged, or another one than that of the header.
    """
    # Not a view of what was read: a loader's transforms may write.
    return np.array(_stored(header), np.float32)


def read_mask(header: ImageHeader) -> np.ndarray:
    """Pixels of a file as int32.

    Raises
    ------
    DatasetError
        Its values are no whole numbers; or as :func:`read_image`.
    """
    stored = _stored(header)
    mask = stored.astype(np.int32)
    if not np.array_equal(mask, stored):
        raise DatasetError(f"{header.path}: a mask holds whole numbers, and this file has others; threshold it first")
    return mask


def _stored(header: ImageHeader) -> np.ndarray:
    path = header.path
    if header.mrc is not None:
        from napari_empiarreader.micrographs.mrc import read_mrc

        _, pixels = read_mrc(LocalFile(path), header.mrc)
    elif path.suffix.lower() == ".npy":
        try:
            pixels = np.load(path, allow_pickle=False)
        except _BROKEN_NPY as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error
    elif path.suffix.lower() in _PICTURES:
        _, pixels = _grey(path, read=True)
    else:
        pixels = _sections(_opened(path))
    pixels = pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels
    if pixels.shape != header.shape:
        raise DatasetError(f"{path}: it is {pixels.shape} now, and was {header.shape}; build the data set anew")
    return pixels


def _opened(path: Path) -> ImageFile:
    from napari_empiarreader.micrographs.formats import open_image

    image = open_image(LocalFile(path))
    return getattr(image, "image", image)


def _sections(image: ImageFile) -> np.ndarray:
    from napari_empiarreader.micrographs.mrc import MrcFile, read_mrc

    if isinstance(image, MrcFile):
        return read_mrc(image.source, image.header)[1]
    return np.stack([image.frame(index) for index in range(image.info.shape[0])])


def _image_header(path: Path) -> ImageHeader:
    from napari_empiarreader.micrographs.mrc import HEADER_BYTES, MrcFile

    image = _opened(path)
    sections, *plane = image.info.shape
    shape = tuple(plane) if sections == 1 else image.info.shape
    if not isinstance(image, MrcFile):
        size = image.info.pixel_size
        return ImageHeader(path, shape, None if size is None else (size,) * len(shape))
    header = image.header
    if header.dtype.kind == "c":
        raise DatasetError(f"{path}: it holds complex numbers (a transform), not an image; transform it back first")
    if isinstance(image.source, LocalFile) and image.source.size() < header.data_end:
        raise DatasetError(
            f"{path}: {image.source.size()} bytes, and its header promises {header.data_end}; the file is cut off, "
            "copy it again"
        )
    several = next((warning for warning in header.warnings if "several volumes" in warning), None)
    if several:
        raise DatasetError(f"{several}; write one file for each volume")
    size = _mrc_voxel_size(image.source.read(0, HEADER_BYTES), header, len(shape))
    return ImageHeader(path, shape, size, header if isinstance(image.source, LocalFile) else None)


def _mrc_voxel_size(data: bytes, header: MrcHeader, axes: int) -> tuple[float, ...] | None:
    """Å along the stored (z), y and x: words 8 to 13 (MX ... CELLA) and 17 to 19 (MAPC ...) of MRC2014."""
    order = next((o for o in "<>" if struct.unpack_from(f"{o}3i", data)[1:] == header.shape[1::-1]), "<")
    samples, cell = struct.unpack_from(f"{order}3i", data, 28), struct.unpack_from(f"{order}3f", data, 40)
    along = struct.unpack_from(f"{order}3i", data, 64)
    if sorted(along) != [1, 2, 3]:
        along = (1, 2, 3)
    sizes = [
        cell[axis - 1] / samples[axis - 1] if samples[axis - 1] > 0 else math.nan for axis in along[axes - 1 :: -1]
    ]
    if not all(1e-3 < size < 1e4 for size in sizes) or all(size == 1.0 for size in sizes):
        return None
    return tuple(round(size, 6) for size in sizes)


def _npy_header(path: Path) -> ImageHeader:
    from numpy.lib import format as npy

    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
            start = file.tell()
    except _BROKEN_NPY as error:
        raise DatasetError(f"{path}: no readable .npy file ({error})") from error
    if dtype.kind not in "iufb":
        raise DatasetError(f"{path}: it holds {dtype}, not real numbers; write an array of numbers")
    shape = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if len(shape) not in (2, 3) or 0 in shape:
        raise DatasetError(f"{path}: its shape is {shape}; an item is (y, x) or (z, y, x)")
    if path.stat().st_size < start + math.prod(shape) * dtype.itemsize:
        raise DatasetError(f"{path}: fewer bytes than its shape {shape} needs; the file is cut off, copy it again")
    return ImageHeader(path, tuple(shape), None)


def _grey(path: Path, *, read: bool = False) -> tuple[ImageHeader, np.ndarray]:
    """Header of a grey picture, and its pixels if they are to be read."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            mode, (width, height) = picture.mode, picture.size
            pixels = np.asarray(picture) if read else np.empty((0, 0))
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: no readable picture ({error})") from error
    if mode not in ("1", "L", "F", "I", "I;16", "I;16B"):
        raise DatasetError(f"{path}: a picture in colour ({mode}); an item is grey, convert it first")
    return ImageHeader(path, (height, width), None), pixels
