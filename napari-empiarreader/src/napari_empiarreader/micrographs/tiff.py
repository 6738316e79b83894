"""TIFF and BigTIFF: images and movies, one page at a time.

The array is as stored: row 0 is the first row of the file, whatever the orientation tag says. RELION, MotionCor2 and
IMOD turn TIFF images upside down when they read them, so that they look as MRC files do there; what that means for a
gain reference is in :mod:`napari_empiarreader.micrographs.gain`.
"""

from __future__ import annotations

import math
import re
import threading
from dataclasses import replace

import numpy as np

from napari_empiarreader.errors import FormatError
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs._tiff_directory import TagList, TiffDirectory
from napari_empiarreader.micrographs._tiff_pages import (
    EER_COMPRESSIONS,
    PageLayout,
    decode_page,
    page_layout,
    page_segments,
)
from napari_empiarreader.micrographs._tiff_scale import tiff_pixel_size
from napari_empiarreader.micrographs.image import ImageFile, ImageInfo

__all__ = ["TiffImage", "open_tiff"]

_IMAGEJ_COUNT = re.compile(r"^images=([0-9]{1,9})$", re.MULTILINE)


class TiffImage:
    """A TIFF file that is open for reading; an :class:`~napari_empiarreader.micrographs.image.ImageFile`."""

    def __init__(
        self, directory: TiffDirectory, pages: tuple[TagList, ...], layout: PageLayout, info: ImageInfo
    ) -> None:
        self._directory = directory
        self._pages = pages
        self._layout = layout
        self._info = info
        self._segments: dict[int, tuple[list[int], list[int]]] = {}
        self._lock = threading.Lock()

    @property
    def source(self) -> ByteSource:
        """Where its bytes come from."""
        return self._directory.source

    @property
    def info(self) -> ImageInfo:
        """What the file says about itself."""
        return self._info

    def frame(self, index: int) -> np.ndarray:
        """One page ``(y, x)``, read with one range where its strips lie together.

        Raises
        ------
        FormatError, TruncatedFileError
            The pixels are damaged or missing.
        IndexError
            There is no such page.
        """
        if not 0 <= index < self._info.shape[0]:
            raise IndexError(f"{self.source.uri}: section {index} of {self._info.shape[0]}")
        return decode_page(self.source, self._layout, *self._places(index))

    def _places(self, index: int) -> tuple[list[int], list[int]]:
        with self._lock:
            if index not in self._segments:
                # More sections than pages: ImageJ lists the first and lets the others follow it.
                page = self._pages[index] if len(self._pages) > 1 else self._pages[0]
                starts, lengths = page_segments(self._directory, page, self._layout)
                if len(self._pages) == 1:
                    starts = [start + index * self._layout.frame_bytes for start in starts]
                self._segments[index] = starts, lengths
            return self._segments[index]


def open_tiff(source: ByteSource) -> ImageFile:
    """Open a TIFF or BigTIFF file of greyscale pages; its directory is read, and no pixel.

    Uncompressed, LZW, deflate, zstd, LZMA, packbits and greyscale JPEG, in strips or tiles, of 1 to 64 bits. Several
    pages are the frames of a movie, one page is a stack of one. Pages of other sizes (thumbnails) are left out with a
    warning. An EER movie under a TIFF name is opened as what it is.

    Parameters
    ----------
    source
        The file.

    Raises
    ------
    FormatError, TruncatedFileError
        Not a TIFF file, colours, something this reader does not know, or sizes that cannot be true.
    """
    directory = TiffDirectory(source)
    if any(directory.number(page, 259, 1) in EER_COMPRESSIONS for page in directory.pages[:2]):
        from napari_empiarreader.micrographs.eer import open_eer

        return open_eer(source)
    pages, layout, warnings = _frames(directory)
    # The first page shows whether sizes and bytes agree, before anybody asks for memory of that size.
    starts, lengths = page_segments(directory, pages[0], layout)
    count = len(pages)
    if count == 1 and layout.compression == 1:
        count = _contiguous_count(directory, pages[0], layout, starts, lengths)
    if directory.number(pages[0], 262, 1) == 0 and layout.bits > 1:
        warnings.append("the file asks for inverted grey values; they are shown as stored")
    info = ImageInfo(
        shape=(count, *layout.shape),
        dtype=layout.dtype,
        pixel_size=tiff_pixel_size(directory, pages[0]),
        sections="frames" if count > 1 else "stack",
        warnings=tuple(warnings),
    )
    image = TiffImage(directory, pages, layout, info)
    image._segments[0] = starts, lengths
    return image


def _frames(directory: TiffDirectory) -> tuple[tuple[TagList, ...], PageLayout, list[str]]:
    """The pages that belong together, their layout, and what was left out."""
    groups: dict[PageLayout, list[TagList]] = {}
    strip_rows: dict[PageLayout, PageLayout] = {}
    errors: list[FormatError] = []
    for i, page in enumerate(directory.pages):
        try:
            layout = page_layout(directory, page, i)
        except FormatError as error:
            errors.append(error)
            continue
        # Writers may say "all rows" in two ways; everything else has to be equal.
        key = replace(layout, segment=layout.segment if layout.is_tiled else (0, 0))
        strip_rows.setdefault(key, layout)
        if strip_rows[key] == layout:
            groups.setdefault(key, []).append(page)
        else:
            groups.setdefault(layout, []).append(page)
            strip_rows[layout] = layout
    if not groups:
        raise errors[0]
    reduced = {key: directory.number(pages[0], 254, 0) & 1 for key, pages in groups.items()}
    best = max(groups, key=lambda key: (not reduced[key], len(groups[key]) * math.prod(key.shape)))
    left_out = len(directory.pages) - len(groups[best])
    warnings = []
    if left_out:
        warnings.append(
            f"{left_out} of {len(directory.pages)} pages are left out: they differ in size or type from the others "
            f"({best.shape[1]} x {best.shape[0]}, {best.dtype.name})"
        )
    return tuple(groups[best]), strip_rows[best], warnings


def _contiguous_count(
    directory: TiffDirectory, page: TagList, layout: PageLayout, starts: list[int], lengths: list[int]
) -> int:
    """Number of images of an ImageJ file, which lists the first one only when all lie behind each other."""
    description = directory.text(page, 270)
    found = _IMAGEJ_COUNT.search(description) if description.startswith("ImageJ=") else None
    count = int(found.group(1)) if found else 1
    in_one_piece = starts == [starts[0] + sum(lengths[:i]) for i in range(len(starts))]
    room = directory.source.size() - starts[0]
    fits = in_one_piece and sum(lengths) == layout.frame_bytes and count * layout.frame_bytes <= room
    return count if count > 1 and fits else 1
