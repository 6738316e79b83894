"""What EMDB knows of the microscope behind an entry; EMPIAR itself keeps voltage, Cs and dose in free text only.

The entry service of EMDB answers with its own XML schema (version 3) written as JSON: lists are wrapped
(``microscopy_list.microscopy``), and a value with a unit is ``{"valueOf_": "300", "units": "kV"}``. Older entries and
single values deviate, so both are read in every shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_empiarreader.archive import _values
from napari_empiarreader.errors import ArchiveError, EntryNotFoundError

__all__ = ["MicroscopeFacts", "first_known", "parse_emdb_entry"]

_MOST_MAPS = 20
"""Linked maps that are looked for, where EMDB does not have the first."""


@dataclass(frozen=True)
class MicroscopeFacts:
    """A microscope and what it was set to, as deposited with a map; None and empty where not said.

    Parameters
    ----------
    emdb_id
        The map, ``EMD-12602``.
    method
        EMDB's word, ``singleParticle`` or ``tomography``.
    microscope
        Its model.
    voltage
        kV.
    spherical_aberration
        Nominal Cs in mm.
    dose
        Of a whole image (all frames), in e⁻/Å².
    detector, detector_mode
        For example ``GATAN K3 BIOQUANTUM (6k x 4k)``, ``COUNTING``.
    defocus_min, defocus_max
        Nominal range in µm, underfocus positive as EMDB has it, the smaller first.
    magnification
        Nominal.
    resolution
        Of the map, in Å.
    """

    emdb_id: str
    title: str = ""
    sample: str = ""
    method: str = ""
    microscope: str = ""
    voltage: float | None = None
    spherical_aberration: float | None = None
    dose: float | None = None
    detector: str = ""
    detector_mode: str = ""
    defocus_min: float | None = None
    defocus_max: float | None = None
    magnification: float | None = None
    resolution: float | None = None


def first_known(references: Iterable[str], ask: Callable[[str], MicroscopeFacts]) -> MicroscopeFacts | None:
    """What ``ask`` says of the first of the named EMDB entries that EMDB has released; None where there is none."""
    for emdb_id in _ids(references)[:_MOST_MAPS]:
        try:
            return ask(emdb_id)
        except EntryNotFoundError:  # a map may be linked long before it is released
            continue
    return None


def parse_emdb_entry(answer: object, emdb_id: str) -> MicroscopeFacts:
    """Facts out of EMDB's answer for one entry; of several microscopes, the first that tells its voltage.

    Raises
    ------
    ArchiveError
        The answer describes no EMDB entry.
    """
    if not isinstance(answer, Mapping) or not any(name in answer for name in ("admin", "sample", _DETERMINATIONS)):
        raise ArchiveError(f"{emdb_id}: EMDB's answer does not describe an entry; try again later")
    determination = _first(_inside(answer, _DETERMINATIONS, "structure_determination"))
    microscopes = _inside(determination, "microscopy_list", "microscopy")
    microscope = next((one for one in microscopes if _values.length(one.get("acceleration_voltage"))), None)
    microscope = microscope if microscope is not None else _first(microscopes)
    recording = _first(_inside(microscope, "image_recording_list", "image_recording"))
    defocus = [_quantity(microscope.get(f"nominal_defocus_{end}"), _MICROMETRES) for end in ("min", "max")]
    low, high = sorted(defocus) if None not in defocus else defocus  # type: ignore[type-var]
    return MicroscopeFacts(
        emdb_id=emdb_id,
        title=_words(_mapping(answer.get("admin")).get("title")),
        sample=_words(_mapping(answer.get("sample")).get("name")),
        method=_words(determination.get("method")),
        microscope=_words(microscope.get("microscope")),
        voltage=_positive(_quantity(microscope.get("acceleration_voltage"), _KILOVOLTS)),
        spherical_aberration=_positive(_quantity(microscope.get("nominal_cs"), _MILLIMETRES)),
        dose=_positive(_quantity(recording.get("average_electron_dose_per_image"), _DOSES)),
        detector=_words(recording.get("film_or_detector_model")),
        detector_mode=_words(recording.get("detector_mode")),
        defocus_min=low,
        defocus_max=high,
        magnification=_values.length(microscope.get("nominal_magnification")),
        resolution=_resolution(determination),
    )


_DETERMINATIONS = "structure_determination_list"

# What a unit is worth in ours. A value without a unit is in the unit of EMDB's schema, which is the first one.
_KILOVOLTS = {"kv": 1.0, "v": 1e-3}
_MILLIMETRES = {"mm": 1.0, "µm": 1e-3, "um": 1e-3}
_MICROMETRES = {"µm": 1.0, "um": 1.0, "microns": 1.0, "nm": 1e-3, "å": 1e-4, "mm": 1e3}
_DOSES = {"e/å^2": 1.0, "e/å**2": 1.0, "e/a^2": 1.0, "e-/å^2": 1.0, "e/å2": 1.0, "e/nm^2": 1e-2}
_ANGSTROMS = {"å": 1.0, "a": 1.0, "angstrom": 1.0, "nm": 10.0}


def _quantity(value: object, units: Mapping[str, float]) -> float | None:
    """A number in our unit; None for a unit nobody told us of, which is better than a wrong number."""
    found = _values.number(value)
    unit = _values.text(value.get("units")).lower() if isinstance(value, Mapping) else ""
    unit = unit.replace("μ", "µ").replace("\u212b", "å")
    worth = units.get(unit) if unit else 1.0
    return None if found is None or worth is None else found * worth


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _resolution(determination: Mapping[str, Any]) -> float | None:
    """Resolution of the final map in Å."""
    for processing in _inside(determination, "image_processing"):
        final = _first(_inside(processing, "final_reconstruction"))
        if (found := _positive(_quantity(final.get("resolution"), _ANGSTROMS))) is not None:
            return found
    return None


def _ids(references: Iterable[str]) -> list[str]:
    """EMDB ids, each once, as EMDB writes them; whatever is none is left out."""
    found = (re.fullmatch(r"(?:EMD[-_ ]?)?(\d{4,9})", text.strip(), re.IGNORECASE | re.ASCII) for text in references)
    return list(dict.fromkeys(f"EMD-{match[1]}" for match in found if match))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(found: list[dict[str, Any]]) -> Mapping[str, Any]:
    return found[0] if found else {}


def _inside(record: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    """Records at the end of a path of names; a wrapping list may be missing, or name its children by their kind."""
    found: list[dict[str, Any]] = _values.records(record.get(names[0]))
    for name in names[1:]:
        unwrapped = []
        for wrapper in found:
            kinds = [value for key, value in wrapper.items() if str(key).endswith(name)]
            unwrapped += [record for value in kinds for record in _values.records(value)] if kinds else [wrapper]
        found = unwrapped
    return found


def _words(value: object) -> str:
    """Text of a value, wrapped or plain."""
    return _values.text(value.get("valueOf_")) if isinstance(value, Mapping) else _values.text(value)
