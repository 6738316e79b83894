"""Every image format by one function: the name says which reader, the first bytes have the last word.

A reader is imported when a file of its kind is opened. Compressed files (``.gz``, ``.bz2``, ``.xz``) are unwrapped on
the way and then opened by the name without that ending.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import Literal

import numpy as np

from napari_empiarreader.errors import FormatError
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs.image import ImageFile, ImageInfo

__all__ = ["COMPRESSED_SUFFIXES", "IMAGE_SUFFIXES", "EerSettings", "image_format", "open_image"]

_PACKAGE = "napari_empiarreader.micrographs"

#: Reader of each format, ``module:function``.
_READERS = {
    "mrc": f"{_PACKAGE}.mrc:open_mrc",
    "tiff": f"{_PACKAGE}.tiff:open_tiff",
    "eer": f"{_PACKAGE}.eer:open_eer",
    "dm": f"{_PACKAGE}.dm:open_dm",
}
_FORMATS = {
    ".mrc": "mrc",
    ".mrcs": "mrc",
    ".map": "mrc",
    ".st": "mrc",
    ".rec": "mrc",
    ".ali": "mrc",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gain": "tiff",
    ".eer": "eer",
    ".dm3": "dm",
    ".dm4": "dm",
}
#: Endings of compressed files.
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz")
#: Endings of every image that can be opened.
IMAGE_SUFFIXES = (*_FORMATS, *(suffix + ending for suffix in _FORMATS for ending in COMPRESSED_SUFFIXES))


@dataclass(frozen=True)
class EerSettings:
    """How the electrons of EER movies are made into frames; see :func:`~.eer.open_eer`.

    Attributes
    ----------
    group
        Raw frames summed into each shown frame; None for as many as make about forty.
    dose_per_frame
        e⁻/Å² that each shown frame should have, in place of ``group``.
    upsampling
        1 for the detector's pixels, 2 for a grid of half its pixels.
    """

    group: int | None = None
    dose_per_frame: float | None = None
    upsampling: Literal[1, 2] = 1


def open_image(source: ByteSource, like: ImageFile | None = None, *, eer: EerSettings | None = None) -> ImageFile:
    """Open an image of any format.

    Parameters
    ----------
    source
        The file.
    like
        A file that this one probably resembles; see :func:`~.mrc.open_mrc`, which needs one request less then.
    eer
        How EER movies are made into frames.

    Raises
    ------
    FormatError
        No reader knows the file, or it is damaged.
    """
    ending = _ending(source.name, COMPRESSED_SUFFIXES)
    kind = image_format(source.name)
    try:
        return _open(_unwrapped(source, ending) if ending else source, kind, like, eer)
    except FormatError:
        # The name may lie; only then are the first bytes asked for.
        start = source.read(0, 1024, at_most=True)
        compression, found = _compression(start), _format_of(start)
        if compression and not ending:
            source = _unwrapped(source, compression)
            found = kind
            what = f"compressed ({compression})"
        elif (kind, found) == ("eer", "tiff") and eer is not None and not ending:
            raise  # the first bytes of an EER movie: what was asked of it cannot be had
        elif found is not None and (found != kind or ending):
            what = f"of another kind ({found})"
        else:
            raise
    image = _open(source, found, like, eer)
    warning = f"{source.uri}: the file is {what}, whatever its name says; opened as what it is"
    return _Renamed(image, replace(image.info, warnings=(*image.info.warnings, warning)))


def image_format(name: str) -> str | None:
    """Format that a file's name stands for ("mrc", "tiff", "eer" or "dm"), or None."""
    name = name.lower()
    ending = _ending(name, COMPRESSED_SUFFIXES)
    suffix = _ending(name.removesuffix(ending), tuple(_FORMATS))
    return _FORMATS.get(suffix)


def _open(source: ByteSource, kind: str | None, like: ImageFile | None, eer: EerSettings | None) -> ImageFile:
    if kind is None:
        raise FormatError(f"{source.uri}: no image of a known kind; known are {', '.join(_FORMATS)}")
    module, function = _READERS[kind].split(":")
    reader = getattr(import_module(module), function)
    image: ImageFile
    if eer is not None and kind == "eer":
        try:
            image = reader(source, **asdict(eer))
        except FormatError:
            raise
        except ValueError as error:
            raise FormatError(f"{source.uri}: {error}") from error  # wishes that this movie cannot fulfil
    else:
        image = reader(source, _bare(like)) if kind == "mrc" else reader(source)
    return image


def _unwrapped(source: ByteSource, ending: str) -> ByteSource:
    from napari_empiarreader.micrographs.compressed import decompressed

    return decompressed(source, ending)


def _ending(name: str, endings: tuple[str, ...]) -> str:
    name = name.lower()
    return next((ending for ending in endings if name.endswith(ending)), "")


def _compression(start: bytes) -> str:
    magic = {b"\x1f\x8b\x08": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}
    return next((ending for letters, ending in magic.items() if start.startswith(letters)), "")


def _format_of(start: bytes) -> str | None:
    """Format by the first bytes: TIFF and BigTIFF in both byte orders, DM3 and DM4, an MRC header's letters."""
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if start[208:211] == b"MAP":
        return "mrc"
    # Version 3 or 4, then (behind the file's length, of 4 or 8 bytes) the byte order of the data, 0 or 1.
    if start[:4] == b"\0\0\0\3" and start[8:11] == b"\0\0\0" or start[:4] == b"\0\0\0\4" and start[12:15] == b"\0\0\0":
        return "dm"
    return None


def _bare(image: ImageFile | None) -> ImageFile | None:
    return image.image if isinstance(image, _Renamed) else image


class _Renamed:
    """An image with one more thing to say about it."""

    def __init__(self, image: ImageFile, info: ImageInfo) -> None:
        self.image = image
        self._info = info

    @property
    def source(self) -> ByteSource:
        return self.image.source

    @property
    def info(self) -> ImageInfo:
        return self._info

    def frame(self, index: int) -> np.ndarray:
        return self.image.frame(index)
