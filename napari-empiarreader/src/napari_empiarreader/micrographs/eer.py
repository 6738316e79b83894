"""EER: Falcon cameras' lists of electron events, rendered a group of raw frames at a time.

Specification: "EER file format documentation" of Thermo Fisher's EerReaderLib. The container is BigTIFF; each page is
one raw frame of the detector (some 250 a second), in which every electron is a number of empty pixels to skip
(7 bits; 8 in early files) and its quarter of the pixel (2 bits each along x and y; compression 65002 names the
numbers of bits in tags 65007 to 65009). imagecodecs decodes. The first page may be a final image, which is passed
over. What is shown is the sum of the electrons of a group of raw frames, row 0 being the first row of the detector.

As in RELION, raw frames at the end that do not fill a group are left out, so that all shown frames have one dose.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_empiarreader.errors import FormatError, UserError
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs._tiff_directory import TagList, TiffDirectory
from napari_empiarreader.micrographs._tiff_pages import EER_COMPRESSIONS, PageLayout, page_layout, page_segments
from napari_empiarreader.micrographs._window import read_segments
from napari_empiarreader.micrographs.image import ImageInfo

__all__ = ["SHOWN_FRAMES", "EerImage", "EerMetadata", "open_eer"]

#: Shown frames a movie has by default: about as many as other cameras' movies.
SHOWN_FRAMES = 40

#: Raw frames per shown frame at most; 16 bits hold the sum.
_LARGEST_GROUP = 65535

_ITEM = re.compile(r'<item\s+name="([^"<>]{1,100})"(?:\s+unit="([^"<>]{0,40})")?[^<>]*>([^<]{0,1000})</item>')


@dataclass(frozen=True)
class EerMetadata:
    """What the camera wrote about an exposure; None where it did not.

    Attributes
    ----------
    total_dose
        Electrons per detector pixel in the whole exposure.
    pixel_size
        Å per detector pixel.
    raw_frames
        Number of raw frames as written, which is not always the number of pages.
    """

    total_dose: float | None = None
    pixel_size: float | None = None
    raw_frames: int | None = None

    @property
    def dose(self) -> float | None:
        """Electrons per Å² in the whole exposure."""
        if self.total_dose is None or self.pixel_size is None:
            return None
        return self.total_dose / self.pixel_size**2


class EerImage:
    """An EER movie that is open for reading; an :class:`~napari_empiarreader.micrographs.image.ImageFile`.

    Attributes
    ----------
    group
        Raw frames summed into each shown frame.
    raw_frames
        Raw frames in the file.
    metadata
        What the camera wrote.
    """

    def __init__(
        self,
        directory: TiffDirectory,
        pages: tuple[TagList, ...],
        layout: PageLayout,
        info: ImageInfo,
        metadata: EerMetadata,
        group: int,
        bits: tuple[int, int, int],
        upsampling: int,
    ) -> None:
        self._directory = directory
        self._pages = pages
        self._layout = layout
        self._info = info
        self._bits = bits
        self._upsampling = upsampling
        self.metadata = metadata
        self.group = group
        self.raw_frames = len(pages)

    @property
    def source(self) -> ByteSource:
        """Where its bytes come from."""
        return self._directory.source

    @property
    def info(self) -> ImageInfo:
        """What the file says about itself."""
        return self._info

    def frame(self, index: int) -> np.ndarray:
        """Electrons ``(y, x)`` of one group of raw frames, read with one range where the group lies together.

        Raises
        ------
        FormatError, TruncatedFileError
            A raw frame is damaged or missing.
        IndexError
            There is no such group.
        """
        if not 0 <= index < self._info.shape[0]:
            raise IndexError(f"{self.source.uri}: frame {index} of {self._info.shape[0]}")
        first = index * self.group
        pages = self._pages[first : first + self.group]
        places = [page_segments(self._directory, page, self._layout) for page in pages]
        starts = [start for page in places for start in page[0]]
        lengths = [length for page in places for length in page[1]]
        pieces = read_segments(self.source, starts, lengths)
        image = np.zeros(self._info.shape[1:], self._info.dtype)
        at = 0
        for i, (strips, _) in enumerate(places):
            # Strips only cut the one stream of a raw frame into pieces.
            data = b"".join(pieces[at : at + len(strips)])
            at += len(strips)
            self._add(data, image, first + i)
        return image

    def _add(self, data: bytes, image: np.ndarray, raw_frame: int) -> None:
        import imagecodecs

        skip, across, down = self._bits
        _check_events(self.source, raw_frame, math.prod(self._layout.shape), len(data), skip)
        if skip == 8 and _add_fixed(data, image, self._layout.shape, self._upsampling):
            return
        try:
            imagecodecs.eer_decode(
                data + bytes(-len(data) % 4),  # the decoder takes whole 32 bit words
                image.shape,
                skip,
                across,
                down,
                superres=self._upsampling - 1,
                out=image,
            )
        except (RuntimeError, ValueError, TypeError) as error:
            raise FormatError(
                f"{self.source.uri}: raw frame {raw_frame + 1} cannot be decoded ({error}); the file is damaged, "
                "fetch it again"
            ) from error


def open_eer(
    source: ByteSource,
    *,
    group: int | None = None,
    dose_per_frame: float | None = None,
    upsampling: Literal[1, 2] = 1,
) -> EerImage:
    """Open an EER movie; its directory is read, and no event.

    Parameters
    ----------
    source
        The file.
    group
        Raw frames summed into each shown frame. By default, as many as make :data:`SHOWN_FRAMES` shown frames of the
        movie, or one more.
    dose_per_frame
        e⁻/Å² that each shown frame should have, in place of ``group``; needs the dose and the pixel size in the file.
    upsampling
        1 for the detector's pixels, 2 to render the electrons on a grid of half its pixels.

    Raises
    ------
    FormatError, TruncatedFileError
        No EER file, sizes that cannot be true, or a dose that the file does not hold.
    ValueError
        Both or impossible wishes.
    """
    if group is not None and dose_per_frame is not None:
        raise ValueError("give the raw frames of a group, or its dose, not both")
    if upsampling not in (1, 2):
        raise ValueError(f"an upsampling of {upsampling} is not possible; give 1 or 2")
    directory = TiffDirectory(source)
    pages, layout, warnings = _raw_frames(directory)
    metadata = _metadata(directory)
    group = _group(source, len(pages), metadata, group, dose_per_frame)
    shown = len(pages) // group
    rest = len(pages) % group
    if rest:
        warnings.append(f"the last {rest} of {len(pages)} raw frames do not fill a group and are left out")
    bits = _bits(directory, pages[0])
    _check_events(source, 0, math.prod(layout.shape), sum(page_segments(directory, pages[0], layout)[1]), bits[0])
    pixel_size = metadata.pixel_size
    info = ImageInfo(
        shape=(shown, layout.shape[0] * upsampling, layout.shape[1] * upsampling),
        # A raw frame adds one electron to a pixel at most.
        dtype=np.dtype(np.uint8 if group <= 255 else np.uint16),
        pixel_size=None if pixel_size is None else round(pixel_size / upsampling, 6),
        sections="frames" if shown > 1 else "stack",
        warnings=tuple(warnings),
    )
    return EerImage(directory, pages, layout, info, metadata, group, bits, upsampling)


def _add_fixed(data: bytes, image: np.ndarray, shape: tuple[int, int], upsampling: int) -> bool:
    """Add a raw frame of an early file, whose events are units of 12 bits each; False where it is not made of them.

    A unit that only skips (255 pixels) has place bits there, as RELION reads it. imagecodecs takes them for the next
    unit's. The units of a whole frame end at its last pixel, which tells the two apart.
    """
    triples = np.frombuffer(data, np.uint8, count=len(data) // 3 * 3).reshape(-1, 3).astype(np.int64)
    pairs = triples[:, 0] | triples[:, 1] << 8 | triples[:, 2] << 16
    units = np.stack((pairs & 4095, pairs >> 12), axis=1).ravel()
    skipped, place = units & 255, units >> 8
    after = np.cumsum(skipped + (skipped < 255))
    pixels = shape[0] * shape[1]
    reached = after - (skipped < 255)  # the pixel of the unit's electron
    end = int(np.searchsorted(reached, pixels))
    if not (end < reached.size and reached[end] == pixels) and not (end and after[end - 1] == pixels):
        return False
    is_event = skipped[:end] < 255
    y, x = np.divmod(reached[:end][is_event], shape[1])
    if upsampling == 2:
        # Places count from the middle of the pixel: the upper bit is inverted.
        quarter = place[:end][is_event] ^ 0b1010
        y, x = 2 * y + (quarter >> 3 & 1), 2 * x + (quarter >> 1 & 1)
    image[y, x] += 1
    return True


def _raw_frames(directory: TiffDirectory) -> tuple[tuple[TagList, ...], PageLayout, list[str]]:
    uri = directory.source.uri
    pages = [page for page in directory.pages if directory.number(page, 259, 1) in EER_COMPRESSIONS]
    if not pages:
        raise FormatError(f"{uri}: no page of electron events in this file; open it as TIFF")
    layout = page_layout(directory, pages[0], directory.pages.index(pages[0]))
    described = {tuple(directory.number(page, tag, 0) for tag in (256, 257, 259, 278)) for page in pages}
    if len(described) > 1:
        raise FormatError(f"{uri}: raw frames differ in size or compression; the file is damaged")
    left_out = len(directory.pages) - len(pages)
    # The last raw frame is often still open when the camera stops: a page without bytes.
    while len(pages) > 1 and _is_empty(directory, pages[-1]):
        pages.pop()
    empty = len(directory.pages) - left_out - len(pages)
    return tuple(pages), layout, [f"{empty} raw frames at the end are empty and are left out"] if empty else []


def _check_events(source: ByteSource, raw_frame: int, pixels: int, stored: int, skip: int) -> None:
    """Refuse a raw frame whose events cannot reach its last pixel, whatever they are."""
    if pixels > stored * 8 // skip * 2**skip:
        raise FormatError(
            f"{source.uri}: {stored:,} bytes of events for the {pixels:,} pixels of raw frame {raw_frame + 1}; the "
            "file is damaged, fetch it again"
        )


def _is_empty(directory: TiffDirectory, page: TagList) -> bool:
    lengths = directory.values(page, 279)
    return lengths is not None and lengths.size > 0 and int(lengths.max()) == 0


def _bits(directory: TiffDirectory, page: TagList) -> tuple[int, int, int]:
    """Bits of the number of skipped pixels, and of the place in the pixel along x and y."""
    compression = directory.number(page, 259, 1)
    if compression != 65002:
        return (8 if compression == 65000 else 7), 2, 2
    bits = directory.number(page, 65007, 7), directory.number(page, 65008, 2), directory.number(page, 65009, 2)
    if not (1 <= bits[0] <= 16 and 0 <= bits[1] <= 8 and 0 <= bits[2] <= 8):
        raise FormatError(f"{directory.source.uri}: events of {bits} bits, which cannot be true; the file is damaged")
    return bits


def _group(
    source: ByteSource, raw_frames: int, metadata: EerMetadata, group: int | None, dose_per_frame: float | None
) -> int:
    if dose_per_frame is not None:
        if not (math.isfinite(dose_per_frame) and dose_per_frame > 0):
            raise ValueError(f"a dose of {dose_per_frame} e-/Å² per frame is impossible; give a positive number")
        if metadata.dose is None:
            raise FormatError(
                f"{source.uri}: the file does not say its dose and pixel size; give the number of raw frames per group"
            )
        wanted = dose_per_frame * raw_frames / metadata.dose
        group = max(1, round(min(wanted, raw_frames)))
    if group is None:
        group = max(1, raw_frames // SHOWN_FRAMES)
    if not 1 <= group <= min(raw_frames, _LARGEST_GROUP):
        raise ValueError(f"{source.uri}: a group of {group} raw frames of {raw_frames} is impossible")
    return group


def _metadata(directory: TiffDirectory) -> EerMetadata:
    """Items of the first page's description, read as text: no XML parser, so nothing can be expanded."""
    try:
        text = directory.text(directory.pages[0], 65001)
    except UserError:
        return EerMetadata()
    items = {name: (value.strip(), unit) for name, unit, value in _ITEM.findall(text)}
    pixel_size = _positive(items, "sensorPixelSize.width")
    if pixel_size is not None:
        unit = items["sensorPixelSize.width"][1]
        pixel_size *= {"nm": 10.0, "Å": 1.0, "A": 1.0, "pm": 0.01}.get(unit, 1e10)
        pixel_size = round(pixel_size, 6) if 1e-2 < pixel_size < 1e4 else None
    raw_frames = _positive(items, "numberOfFrames")
    return EerMetadata(_positive(items, "totalDose"), pixel_size, None if raw_frames is None else int(raw_frames))


def _positive(items: Mapping[str, tuple[str, str]], name: str) -> float | None:
    try:
        value = float(items[name][0])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None
