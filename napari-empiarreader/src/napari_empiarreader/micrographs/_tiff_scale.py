"""The pixel size that a TIFF file gives away, where it can be believed.

Nobody agreed on a place for it. Looked at, in this order: OME-XML and ImageJ descriptions, the microscope's own tags
and lines of text, and the resolution tags, which IMOD and SerialEM fill with pixels per centimetre. Most other programs
leave 72 or 300 dots per inch there, which no electron microscope has.
"""

from __future__ import annotations

import math
import re

from napari_empiarreader.micrographs._tiff_directory import TagList, TiffDirectory

__all__ = ["tiff_pixel_size"]

#: Å per unit.
_UNITS = {
    "a": 1.0,
    "å": 1.0,
    "angstrom": 1.0,
    "angstroms": 1.0,
    "pm": 0.01,
    "nm": 10.0,
    "nanometer": 10.0,
    "um": 1e4,
    "µm": 1e4,
    "μm": 1e4,
    "micron": 1e4,
    "microns": 1e4,
    "micrometer": 1e4,
    "m": 1e10,
}
#: Å per pixel of an electron micrograph, from super-resolution to a survey of a section.
_SMALLEST, _LARGEST = 0.05, 5000.0

_NUMBER = r"([0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?)"
_OME_SIZE = re.compile(r'PhysicalSizeX\s*=\s*"' + _NUMBER + '"')
_OME_UNIT = re.compile(r'PhysicalSizeXUnit\s*=\s*"([^"]{1,20})"')
_IMAGEJ_UNIT = re.compile(r"^unit=(.{1,20})$", re.MULTILINE)
#: SerialEM's PixelSpacing is in Å; any other wording must name its unit.
_SPACING = re.compile(r"PixelSpacing\s*[=:]\s*" + _NUMBER)
_WORDED = re.compile(r"pixel[ _]?(?:size|spacing)\s*[=:]?\s*" + _NUMBER + r"\s*(nm|pm|um|µm|Å|A|angstroms?)\b", re.I)
#: Thermo Fisher's scanning and dual-beam microscopes write metres.
_FEI = re.compile(r"^PixelWidth\s*=\s*" + _NUMBER, re.MULTILINE)


def tiff_pixel_size(directory: TiffDirectory, page: TagList) -> float | None:
    """Å per pixel along x, or None where the file does not say, or nothing that can be believed."""
    description = directory.text(page, 270)
    resolution = directory.values(page, 282)
    per_unit = float(resolution[0]) if resolution is not None and resolution.size else 0.0
    for candidate in (
        _from_ome(description),
        _from_imagej(description, per_unit),
        _from_words(description),
        _from_words(directory.text(page, 34682), _FEI, 1e10),
        _from_resolution(description, directory.number(page, 296, 2), per_unit),
    ):
        if candidate is not None and math.isfinite(candidate) and _SMALLEST <= candidate <= _LARGEST:
            return round(candidate, 6)
    return None


def _from_ome(description: str) -> float | None:
    found = _OME_SIZE.search(description)
    if found is None or "<OME" not in description:
        return None
    unit = _OME_UNIT.search(description)
    scale = _UNITS.get(unit.group(1).lower() if unit else "µm")  # the schema's own default is the micrometre
    return float(found.group(1)) * scale if scale else None


def _from_imagej(description: str, per_unit: float) -> float | None:
    unit = _IMAGEJ_UNIT.search(description)
    if not description.startswith("ImageJ=") or unit is None or not per_unit > 0:
        return None
    name = unit.group(1).strip().replace("\\u00B5", "µ").replace("\\u00C5", "Å").lower()
    return _UNITS[name] / per_unit if name in _UNITS else None


def _from_words(text: str, pattern: re.Pattern[str] = _SPACING, scale: float = 1.0) -> float | None:
    found = pattern.search(text)
    if found:
        return float(found.group(1)) * scale
    worded = _WORDED.search(text)
    return float(worded.group(1)) * _UNITS[worded.group(2).lower()] if worded else None


def _from_resolution(description: str, unit: int, per_unit: float) -> float | None:
    length = {2: 2.54e8, 3: 1e8}.get(unit)
    if length is None or not per_unit > 0 or description.startswith("ImageJ="):
        return None
    return length / per_unit
