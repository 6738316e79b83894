"""Pictures for people: a micrograph in small beside its power spectrum, as PNG or JPEG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_empiarreader.errors import FormatError
from napari_empiarreader.files import replaced_when_complete
from napari_empiarreader.micrographs.preview import as_grey, power_spectrum, thumbnail

if TYPE_CHECKING:
    from napari_empiarreader.micrographs.image import ImageFile

__all__ = ["first_look", "preview_picture", "save_picture"]

_SUFFIXES = (".png", ".jpg", ".jpeg")


def first_look(image: ImageFile, frames: int = 8) -> np.ndarray:
    """What there is to see in a file ``(y, x)``: its picture, or the float32 sum of the first frames of a movie.

    A single frame of a movie holds about one electron per pixel and shows nothing; of a volume the middle section is
    taken.
    """
    sections = image.info.shape[0]
    if image.info.sections == "volume":
        return image.frame(sections // 2)
    if image.info.sections == "stack" or sections == 1:
        return image.frame(0)
    total = np.zeros(image.info.shape[1:], np.float32)
    for index in range(min(frames, sections)):
        total += image.frame(index)
    return total


def preview_picture(image: np.ndarray, side: int = 768, *, spectrum: bool = True) -> np.ndarray:
    """Image ``(y, x)`` in small as uint8, its power spectrum to its right; row 0 on top."""
    small = thumbnail(image, side)
    if not spectrum:
        return small
    tile = as_grey(power_spectrum(image, max(2, min(512, small.shape[0]))))
    canvas = np.zeros((max(small.shape[0], tile.shape[0]), small.shape[1] + tile.shape[1]), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    canvas[: tile.shape[0], small.shape[1] :] = tile
    return canvas


def save_picture(path: str | os.PathLike[str], picture: np.ndarray, *, overwrite: bool = False) -> Path:
    """Write ``(y, x)`` uint8 as ``.png`` or ``.jpg``.

    Raises
    ------
    FormatError
        Another suffix.
    FileExistsAlreadyError
        The file exists and ``overwrite`` is false.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise FormatError(f"{path}: a picture is written as {', '.join(_SUFFIXES)}; give the file such a name")
    from PIL import Image

    with replaced_when_complete(path, overwrite=overwrite) as temporary:
        Image.fromarray(picture).save(temporary)
    return path
