"""What every image format offers: what the file says of itself, and one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from napari_empiarreader.files import ByteSource

__all__ = ["ImageFile", "ImageInfo", "Sections"]

Sections = Literal["frames", "stack", "volume"]
"""What the first axis of a file counts: frames of one exposure, images that stand beside each other (particles,
tilts, micrographs), or slices of a volume. A file of one section is a "stack" of one."""


@dataclass(frozen=True)
class ImageInfo:
    """What a file says about its images before a pixel is read.

    Attributes
    ----------
    shape
        ``(sections, y, x)``.
    dtype
        Type of a pixel as :meth:`ImageFile.frame` returns it, in the byte order of this machine.
    pixel_size
        Å per pixel along x, or None where the file does not say.
    sections
        What the first axis counts, as far as the format or the header tells.
    tilts
        Stage tilt of each section in degrees, where an extended header holds it.
    warnings
        Sentences about what is odd and was accepted.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    pixel_size: float | None = None
    sections: Sections = "stack"
    tilts: tuple[float, ...] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def frame_bytes(self) -> int:
        """Bytes of one decoded section."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize


class ImageFile(Protocol):
    """An image file that is open for reading, wherever its bytes are; safe under threads.

    Opening it reads its header and directory, never its pixels, and refuses sizes that cannot be true before memory
    is asked for.
    """

    @property
    def source(self) -> ByteSource:
        """Where its bytes come from."""
        ...

    @property
    def info(self) -> ImageInfo:
        """What the file says about itself."""
        ...

    def frame(self, index: int) -> np.ndarray:
        """One section ``(y, x)``, writeable, in the byte order of this machine.

        Raises
        ------
        FormatError, TruncatedFileError
            The pixels are damaged or missing.
        IndexError
            There is no such section.
        """
        ...
