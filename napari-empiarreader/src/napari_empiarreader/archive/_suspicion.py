"""Files that arrived whole and are damaged all the same: the archive holds some, and nothing else would notice.

A deposit may have been cut or filled up with zeros before it reached the archive. Such a file is kept, because it is
what the archive has, and named.
"""

from __future__ import annotations

import logging
from pathlib import Path

from napari_empiarreader.archive._size_text import size_text
from napari_empiarreader.errors import FormatError
from napari_empiarreader.files import LocalFile

__all__ = ["suspicion"]

_logger = logging.getLogger(__name__)

_MANY_ZEROS = 4 << 20
"""Bytes of zeros at the end of a file that are worth a word, whatever its size."""
_FEW_ZEROS = 1 << 16
"""Fewer are worth none, even where they are half of the file."""
_BLOCK = 1 << 20
_STARTS, _LENGTHS = (273, 324), (279, 325)
"""Tags of TIFF for the places and lengths of strips and tiles (TIFF 6.0, sections 8 and 15)."""


def suspicion(path: Path) -> str:
    """What is odd about a file on this disk, in one sentence; empty where nothing is.

    Reads the end of the file back to its last byte that is not zero, and the headers of images.
    """
    size = path.stat().st_size
    if size == 0:
        return "the file is empty"
    zeros = _zeros_at_end(path, size)
    if zeros == size:
        return f"all {size:,} bytes are zeros"
    said = [_said_by_header(path)]
    if zeros >= min(_MANY_ZEROS, max(_FEW_ZEROS, size // 2)):
        said.append(
            f"the last {size_text(zeros)} of {size_text(size)} are zeros (masked maps may end so, micrographs do not)"
        )
    return "; ".join(filter(None, said))


def _zeros_at_end(path: Path, size: int) -> int:
    end = size
    with path.open("rb") as file:
        while end:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            kept = len(file.read(end - begin).rstrip(b"\0"))
            end = begin + kept
            if kept:
                break
    return size - end


def _said_by_header(path: Path) -> str:
    """Where the header of an image and the length of the file contradict each other."""
    from napari_empiarreader.micrographs.formats import COMPRESSED_SUFFIXES, image_format

    kind = None if path.name.lower().endswith(COMPRESSED_SUFFIXES) else image_format(path.name)
    try:
        if kind == "mrc":
            return _said_by_mrc(path)
        if kind in ("tiff", "eer"):
            return _said_by_tiff(path)
    except FormatError as error:
        return str(error).removeprefix(f"{path}: ")
    except Exception:  # the download is complete, whatever a reader of headers makes of it
        _logger.exception("%s could not be looked at", path)
    return ""


def _said_by_mrc(path: Path) -> str:
    from napari_empiarreader.micrographs.mrc_header import HEADER_BYTES, parse_mrc_header

    source = LocalFile(path)
    size = source.size()
    header = parse_mrc_header(source.read(0, HEADER_BYTES, at_most=True), source.uri, size)
    if header.data_end == size:
        return ""
    kind = "too short, it is cut off" if size < header.data_end else "longer than that"
    return f"the header describes {header.data_end:,} bytes, the file has {size:,}: {kind}"


def _said_by_tiff(path: Path) -> str:
    from napari_empiarreader.micrographs._tiff_directory import TiffDirectory

    source = LocalFile(path)
    directory, size, last = TiffDirectory(source), source.size(), 0
    for page in directory.pages:
        for start_tag, length_tag in zip(_STARTS, _LENGTHS, strict=True):
            starts, lengths = directory.values(page, start_tag), directory.values(page, length_tag)
            if starts is None or lengths is None or starts.dtype.kind not in "ui" or lengths.dtype.kind not in "ui":
                continue
            ends = zip(starts.ravel().tolist(), lengths.ravel().tolist(), strict=False)
            last = max(last, *(start + length for start, length in ends if length), 0)
    return f"its pixels reach to byte {last:,}, the file has {size:,}: it is cut off" if last > size else ""
