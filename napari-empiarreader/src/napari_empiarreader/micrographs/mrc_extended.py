"""What the extended headers of MRC files tell: the pixel size, and the stage's tilt at each section.

- ``FEI1``, ``FEI2`` (EPU, Velox, Tomography): a record per section. Its first number is its own length; bit 7 of the
  mask says that the tilt is there, bit 14 the pixel size in metres along x (Thermo Fisher, "MRC2014 extended header
  of FEI", as read by ``mrcfile``).
- ``SERI`` (SerialEM), also without letters: short integers, chosen by the bits of a mask; the first is the tilt in
  hundredths of a degree. The mask has to agree with the length of a record (IMOD's ``mrc_format.txt``).
- ``AGAR``, and FEI's older one of 128 bytes a section: floats, the tilt first; FEI's has the pixel size in metres as
  its twelfth.

``CCP4``, ``MRCO``, ``HDF5`` and unknown kinds hold nothing of these and are skipped.
"""

from __future__ import annotations

import math
import struct

from napari_empiarreader.errors import UserError
from napari_empiarreader.files import ByteSource
from napari_empiarreader.micrographs.mrc_header import HEADER_BYTES, MrcHeader

__all__ = ["read_extended_header"]

_FEI_PIXEL_SIZE, _FEI_TILT = 156, 100
_FEI_HAS_TILT, _FEI_HAS_PIXEL_SIZE = 1 << 7, 1 << 14
#: Bytes of each item of SerialEM's records, by the bit that announces it.
_SERIALEM_ITEMS = (2, 6, 4, 2, 2, 4, 2, 4, 2, 4, 2)
_METRE = 1e10
#: No more than this is read, however long the extended header is.
_MOST_BYTES = 1 << 23


def read_extended_header(source: ByteSource, header: MrcHeader) -> tuple[float | None, tuple[float, ...] | None]:
    """Pixel size in Å and the tilt of each section in degrees, each None where nothing is said.

    One read of the part of the extended header that has records of the file's sections; none where its kind holds
    nothing of use. A damaged one says nothing.
    """
    length = header.data_offset - HEADER_BYTES
    kind, step = _layout(header, length)
    if not kind or not 0 < step <= length:
        return None, None
    sections = header.shape[0]
    wanted = min(length, sections * step, _MOST_BYTES)
    try:
        data = source.read(HEADER_BYTES, HEADER_BYTES + wanted, at_most=True)
    except UserError:
        # The pixels are what matters: whatever is wrong with the file shows when they are read.
        return None, None
    order = "<" if header.dtype.newbyteorder("<") == header.dtype else ">"
    if kind == "FEI" and len(data) >= 4:
        step = struct.unpack_from(f"{order}i", data)[0]
        if not _FEI_PIXEL_SIZE + 16 <= step <= length:
            return None, None
        if sections * step > len(data) and len(data) < min(length, _MOST_BYTES):
            data += source.read(HEADER_BYTES + len(data), HEADER_BYTES + min(length, sections * step), at_most=True)
    records = [data[i * step : (i + 1) * step] for i in range(min(sections, len(data) // step))]
    if not records:
        return None, None
    pixel_size = _pixel_size(kind, records[0], order)
    tilts = [_tilt(kind, record, order) for record in records] if len(records) == sections > 1 else []
    known = tuple(tilt for tilt in tilts if tilt is not None and -360 <= tilt <= 360)
    # Programs that know no tilt write zero everywhere.
    return pixel_size, known if len(known) == sections and any(known) else None


def _layout(header: MrcHeader, length: int) -> tuple[str, int]:
    """Kind of the records and the bytes of one; "" for one that is skipped."""
    integers, reals = header.record
    if header.extended_type in ("FEI1", "FEI2"):
        return "FEI", 768 if header.extended_type == "FEI1" else 888
    if header.extended_type not in ("", "SERI", "AGAR"):
        return "", 0
    if _is_serialem(integers, reals) and header.extended_type != "AGAR":
        return "SERI", integers
    if header.extended_type != "SERI" and integers == 0 and reals == 32:
        return "old FEI", 128
    if header.extended_type == "AGAR" and 0 <= integers <= 1024 and 0 < reals <= 1024:
        return f"AGAR{integers}", 4 * (integers + reals)
    return "", 0


def _is_serialem(record_bytes: int, mask: int) -> bool:
    if record_bytes <= 0 or not 0 < mask < 1 << len(_SERIALEM_ITEMS):
        return False
    return record_bytes == sum(length for bit, length in enumerate(_SERIALEM_ITEMS) if mask >> bit & 1) and bool(
        mask & 1
    )


def _pixel_size(kind: str, record: bytes, order: str) -> float | None:
    if kind == "FEI":
        (mask,) = struct.unpack_from(f"{order}I", record, 8)
        (metres,) = struct.unpack_from(f"{order}d", record, _FEI_PIXEL_SIZE)
        if not mask & _FEI_HAS_PIXEL_SIZE:
            return None
    elif kind == "old FEI":
        (metres,) = struct.unpack_from(f"{order}f", record, 44)
    else:
        return None
    size = metres * _METRE
    return round(size, 6) if math.isfinite(size) and 1e-3 < size < 1e4 else None


def _tilt(kind: str, record: bytes, order: str) -> float | None:
    if kind == "FEI":
        (mask,) = struct.unpack_from(f"{order}I", record, 8)
        (tilt,) = struct.unpack_from(f"{order}d", record, _FEI_TILT)
        return tilt if mask & _FEI_HAS_TILT and math.isfinite(tilt) else None
    if kind == "SERI":
        return float(struct.unpack_from(f"{order}h", record)[0] / 100)
    integers = int(kind.removeprefix("AGAR")) if kind.startswith("AGAR") else 0
    (tilt,) = struct.unpack_from(f"{order}f", record, 4 * integers)
    return round(tilt, 4) if math.isfinite(tilt) else None
