"""Names of micrographs: how one and the same is called by different programs, and by the files that lie beside it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath, PurePosixPath

__all__ = ["match_names", "micrograph_of_file", "stem_of"]

_IMAGE_SUFFIXES = {
    *(".mrc", ".mrcs", ".map", ".st", ".tif", ".tiff", ".eer", ".dm3", ".dm4", ".png", ".jpg", ".jpeg"),
    *(".gz", ".bz2"),
}

#: What cryoSPARC puts before a name: the exposure's number with 21 digits.
_UID = re.compile(r"\d{21}_(?=.)")

#: What motion correction and import append. Repeated: ``_fractions_patch_aligned_doseweighted``.
_PROCESSED = re.compile(
    r"(?<=.)(_patch_aligned|_rigid_aligned|_aligned_mic|_aligned|_doseweighted|[_-]noDW|[_-]DWS?|_EER|[_.]fractions"
    r"|[_.]frames|[_.]movies?|_frameImage|_sum|_avg|_average|_corrected|_mc2?|-a)$",
    re.IGNORECASE,
)

#: What programs append to the name of a micrograph for the file with its particles.
_PICKED = re.compile(
    r"(?<=.)(_autopick|_manualpick|_automatch|_topazpicks|_extract|_helix_ptcl_coords|_ptcl_coords|_boxes|_info)$"
)


def match_names(wanted: Sequence[str], available: Sequence[str]) -> list[int | None]:
    """Index into ``available`` of each of ``wanted``, or None.

    Programs name one micrograph in many ways. The whole name decides; then the name without folders; then without the
    suffix of an image; then without cryoSPARC's number in front; then without what motion correction appends
    (``_fractions``, ``_EER``, ``_patch_aligned_doseweighted``, ``_DW``, ``-a``). A name that two candidates fit is no
    match, and neither are two names that fit one candidate: their particles must not be merged.
    """
    found: list[int | None] = [None] * len(wanted)
    for key in (str, _file_name, stem_of, _without_uid, _as_recorded):
        candidates, claims = defaultdict(set), defaultdict(set)
        for i, name in enumerate(available):
            candidates[key(name)].add(i)
        for name, match in zip(wanted, found, strict=True):
            if match is None:
                claims[key(name)].add(name)
        taken = set(found)
        for i, name in enumerate(wanted):
            fits = candidates.get(key(name), set())
            if found[i] is None and len(fits) == len(claims[key(name)]) == 1 and not fits & taken:
                (found[i],) = fits
    return found


def stem_of(name: str) -> str:
    """The name without folders and without the suffixes of an image; another dot is part of the name."""
    path = PurePosixPath(_file_name(name))
    while path.suffix.lower() in _IMAGE_SUFFIXES:
        path = path.with_suffix("")
    return path.name


def micrograph_of_file(path: PurePath, micrographs: Sequence[str] | None = None) -> str:
    """The micrograph to which a file of one micrograph's particles belongs, by the file's own name.

    Parameters
    ----------
    path
        The file of particles, such as ``grid_1_autopick.star``.
    micrographs
        Names to choose from; without them, or where none fits, the name with ``.mrc``.
    """
    whole = path.stem
    stem = stem_of(_PICKED.sub("", whole)) or whole
    for candidate in dict.fromkeys((whole, stem)):
        match = match_names([candidate], micrographs or ())[0]
        if micrographs and match is not None:
            return micrographs[match]
    return f"{stem}.mrc"


def _file_name(name: str) -> str:
    # cryoSPARC marks paths that are relative to an exported job with ">".
    return PurePosixPath(name.removeprefix(">")).name


def _without_uid(name: str) -> str:
    return _UID.sub("", stem_of(name), count=1)


def _as_recorded(name: str) -> str:
    """The name that the microscope gave, as far as it can be told."""
    stem, before = _without_uid(name), ""
    while stem != before:
        before, stem = stem, _PROCESSED.sub("", stem)
    return stem
