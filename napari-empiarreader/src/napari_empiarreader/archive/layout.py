"""What the files of an entry are, guessed from their names: the archive prescribes neither folders nor names.

What decides, in this order: names that mean one thing everywhere (``_gain``, ``.mdoc``), the folders of the programs
that wrote them (RELION's ``MotionCorr``, EPU's ``GridSquare_``), the suffix, and only then what the depositor said of
the image set, because a category covers whatever else lies in its folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol, TypeVar

from napari_empiarreader.archive.entry import Entry, ImageSet

__all__ = ["FileKind", "best_imageset", "guess_kind", "kind_of_imageset", "only_metadata"]


class FileKind(StrEnum):
    """What a file is for."""

    MOVIE = "movie"
    MICROGRAPH = "micrograph"
    GAIN = "gain"
    DEFECTS = "defects"
    PARTICLE_TABLE = "particle table"
    PARTICLE_STACK = "particle stack"
    VOLUME = "volume"
    TILT_SERIES = "tilt series"
    SEGMENTATION = "segmentation"
    METADATA = "metadata"
    OTHER = "other"


class _Listed(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def is_folder(self) -> bool: ...


_Item = TypeVar("_Item", bound=_Listed)

_PACKED = re.compile(r"\.(?:bz2|gz|xz|zst|zip)$")
_IMAGES = frozenset({
    "mrc", "mrcs", "map", "ccp4", "rec", "st", "ali", "stk", "tif", "tiff", "eer", "dm3", "dm4", "gain", "raw",
    "hdf", "hdf5", "h5", "img", "hed", "em", "spi", "png", "jpg", "jpeg", "ser"
})  # fmt: skip
_TABLES = frozenset({
    "cs", "box", "cbox", "thi", "pos", "coord", "coords", "plt", "parx"
})  # fmt: skip
_SEGMENTATIONS = frozenset({
    "am", "mod", "sff", "hff", "seg", "surf", "stl", "obj"
})  # fmt: skip
_TEXTS = frozenset({
    "xml", "mdoc", "tlt", "rawtlt", "xf", "xtilt", "tltxf", "prexf", "prexg", "fid", "aln", "com", "pcm", "log",
    "out", "err", "txt", "csv", "tsv", "json", "yaml", "yml", "toml", "cfg", "ini", "md", "pdf", "html", "htm",
    "par", "param", "def", "star", "doc", "dat", "xlsx", "sh", "py", "idoc", "adoc", "job", "settings", "edf",
    "cif", "pdb", "sqlite", "db"
})  # fmt: skip

_GAIN = re.compile(
    r"(?<!a)gain(?!st|[-_ ]?(?:corr|norm|applied))|superref|countref|gainref|(?:^|[-_ .])norm(?:[-_ .]|$)"
)
_REFERENCE = re.compile(r"(?:^|[-_ ])ref(?:erence)?(?:[-_ .]|$)")
_DEFECTS = re.compile(r"defect|bad[-_ ]?pix|hot[-_ ]?pix|(?:^|[-_ .])dark(?:[-_ .]|ref|$)")
_SPECTRUM = re.compile(r"(?:_ps|_ctf|_powerspec\w*|_power|_fft|_thumb\w*|_diag\w*)$|\.ctf$")
_PICKS = re.compile(
    r"partic|pick|coord|(?:^|_)data$|(?:^|_)manual|box(?:es|file)|extract|topaz|cryolo|_info$|subtomo|passthrough"
)
_NO_PICKS = re.compile(
    r"micrograph|_model$|_optimi[sz]er|_sampling|pipeline|^job|postprocess|_fsc|exposure|corrected_|class_averages|"
    r"^note|^run_(?:out|err|submit)|\.log|tomograms?$|tilt_?series|settings"
)
_VOLUME_FOLDERS = re.compile(
    r"/(?:tomogram\w*|tomos?|reconstruction\w*|recons?|volumes?|maps?|class3d|refine3d|initialmodel|maskcreate|"
    r"postprocess|ctfrefine3d|localres|multibody|half[-_]?maps?|denoised\w*|subtomo\w*)/"
)
_VOLUME_NAMES = re.compile(r"_half[12]|class\d{3}$|postprocess|(?:^|_)mask(?:_|$)|tomogram|_vol(?:ume)?$|_rec$")
_TILT_FOLDERS = re.compile(r"/(?:tilt[-_ ]?series|tilts|stacks?|tiltstacks?|ts_stacks?)/")
_TILT_NAMES = re.compile(r"(?:^|_)(?:ts|tilt[-_ ]?series|tiltstack)[-_]?\d|(?:^|_)tilt[-_ ]?series|_tilts?$")
_MOVIE_FOLDERS = re.compile(
    r"/(?:raw[-_ ]?)?(?:movies?|frames|fractions|multi[-_ ]?frames?|raw[-_ ]?data|"
    r"unaligned|raw[-_ ]?frames?)(?:[-_ ]\w*)?/"
)
_MOVIE_NAMES = re.compile(r"fractions?(?:$|_)|(?:^|_)movies?(?:$|_|\d)|frames?(?:$|_\d)|_raw$|-gain-?uncorr")
_AVERAGE_FOLDERS = re.compile(
    r"/(?:motioncorr?\w*|motion[-_ ]?corr\w*|(?:dose[-_ ]?weighted|aligned|averaged?|average[sd]?|sums?|"
    r"corrected)(?:[-_ ]\w*)?|"
    r"micrographs?(?:[-_ ]\w*)?|patch[-_ ]?motion\w*)/"
)
_AVERAGE_NAMES = re.compile(
    r"_(?:no)?dw(?:$|_)|dose[-_ ]?weighted|_aligned|(?:^|_)aligned|_sum(?:med)?(?:$|_)|_avg|_average|motion[-_ ]?corr|"
    r"_mc2?(?:$|_)|_corrected$"
)
_STACK_FOLDERS = re.compile(r"/(?:extract|class2d|particles?(?:[-_ ]\w*)?|particle[-_ ]?stacks?|classes)/")
_STACK_NAMES = re.compile(r"partic|_classes$|class[-_ ]?averages|_stack$|boxed")


def guess_kind(path: str, imageset: ImageSet | None = None) -> FileKind:
    """What the file at ``path`` inside an entry is.

    Parameters
    ----------
    path
        With folders, ``data/movies/FoilHole_1_fractions.tiff.bz2``.
    imageset
        The image set whose folder holds it, asked last.
    """
    whole = "/" + path.strip("/").lower()
    folders, _, name = whole.rpartition("/")
    folders += "/"
    name = _PACKED.sub("", name)
    stem, _, suffix = name.rpartition(".") if "." in name else (name, "", "")
    if suffix in _IMAGES:
        return _kind_of_image(folders, stem, suffix, imageset)
    if _DEFECTS.search(stem):
        return FileKind.DEFECTS
    if suffix in _SEGMENTATIONS:
        return FileKind.SEGMENTATION
    if suffix in _TABLES:
        return FileKind.METADATA if suffix == "cs" and _NO_PICKS.search(stem) else FileKind.PARTICLE_TABLE
    if suffix in _TEXTS:
        is_table = suffix in ("star", "csv", "tsv", "txt", "json", "par") and _tells_particles(folders, stem, suffix)
        return FileKind.PARTICLE_TABLE if is_table else FileKind.METADATA
    return FileKind.OTHER


def _tells_particles(folders: str, stem: str, suffix: str) -> bool:
    if suffix == "json":
        return stem.endswith("_info") or "particle" in stem
    if _NO_PICKS.search(stem):
        return False
    there = bool(
        re.search(
            r"/(?:\w*partic\w*|\w*pick\w*|\w*coord\w*|particle_lists?|star|extract|class2d|class3d|refine3d|select)/",
            folders,
        )
    )
    return bool(_PICKS.search(stem)) or (there and suffix == "star")


def _kind_of_image(folders: str, stem: str, suffix: str, imageset: ImageSet | None) -> FileKind:
    """The kind of a file that holds pixels: its name first, then its folders, its suffix, its image set."""
    if _DEFECTS.search(stem):
        return FileKind.DEFECTS
    if (
        suffix == "gain"
        or (_GAIN.search(stem) and not _STACK_NAMES.search(stem))
        or _GAIN.search(folders.split("/")[-2])
    ):
        return FileKind.GAIN
    if suffix in ("dm4", "dm3") and _REFERENCE.search(stem):
        return FileKind.GAIN
    if _SPECTRUM.search(stem) or suffix in ("png", "jpg", "jpeg"):
        return FileKind.OTHER
    named = _by_name(folders, stem, suffix)
    if named is not None:
        return named
    said = kind_of_imageset(imageset) if imageset is not None else FileKind.OTHER
    if suffix == "mrcs":
        return said if said in (FileKind.MOVIE, FileKind.TILT_SERIES) else FileKind.PARTICLE_STACK
    if said is not FileKind.OTHER:
        return said
    return FileKind.MICROGRAPH if suffix in ("mrc", "tif", "tiff", "dm3", "dm4", "ser") else FileKind.OTHER


def _by_name(folders: str, stem: str, suffix: str) -> FileKind | None:
    """The kind that names alone settle, or None."""
    if suffix == "eer":
        return FileKind.MOVIE
    if _AVERAGE_NAMES.search(stem) or re.search(r"/motion[-_ ]?cor\w*/", folders):
        return FileKind.MICROGRAPH if suffix not in ("st", "ali", "rec", "mrcs") else _by_suffix(suffix)
    if _MOVIE_NAMES.search(stem) and suffix not in ("st", "ali", "rec"):
        return FileKind.MOVIE
    if suffix in ("rec", "map", "ccp4", "st", "ali"):
        return _by_suffix(suffix)
    for pattern, text, kind in (
        (_STACK_FOLDERS, folders, FileKind.PARTICLE_STACK if suffix in ("mrcs", "hdf", "img", "hed", "stk") else None),
        (_STACK_NAMES, stem, FileKind.PARTICLE_STACK),
        (_VOLUME_FOLDERS, folders, FileKind.VOLUME if suffix != "mrcs" else None),
        (_VOLUME_NAMES, stem, FileKind.VOLUME if suffix not in ("mrcs", "tif", "tiff") else None),
        (_MOVIE_FOLDERS, folders, FileKind.MOVIE),
        (_TILT_FOLDERS, folders, FileKind.TILT_SERIES),
        (_TILT_NAMES, stem, FileKind.TILT_SERIES),
        (_AVERAGE_FOLDERS, folders, FileKind.MICROGRAPH if suffix != "mrcs" else None),
    ):
        if kind is not None and pattern.search(text):
            return kind
    return None


def _by_suffix(suffix: str) -> FileKind | None:
    return {
        "st": FileKind.TILT_SERIES,
        "ali": FileKind.TILT_SERIES,
        "rec": FileKind.VOLUME,
        "map": FileKind.VOLUME,
        "ccp4": FileKind.VOLUME,
    }.get(suffix)


def kind_of_imageset(imageset: ImageSet) -> FileKind:
    """What most images of a set are, by its category, else by its number of frames."""
    category = imageset.category.lower()
    for words, kind in (
        (r"picked|particle|class average", FileKind.PARTICLE_STACK),
        (r"tilt", FileKind.TILT_SERIES),
        (r"volume|tomogram|stitched|map", FileKind.VOLUME),
        (r"diffraction", FileKind.OTHER),
        (r"single[ -]?frame", FileKind.MICROGRAPH),
        (r"multi[ -]?frame|movie", FileKind.MOVIE),
    ):
        if re.search(words, category):
            return kind
    if (imageset.frames_per_image or 1) > 1:
        return FileKind.MOVIE
    return FileKind.MICROGRAPH if "micrograph" in category or "focal" in category else FileKind.OTHER


# For a first look: what shows most of the specimen for the fewest bytes comes first.
_PREVIEW = (
    FileKind.MICROGRAPH, FileKind.MOVIE, FileKind.TILT_SERIES, FileKind.VOLUME, FileKind.OTHER, FileKind.PARTICLE_STACK
)  # fmt: skip
_SMALL_SIDE = 800
"""Pixels; an image set of smaller images shows boxes around particles, whatever its category says."""
_OPENABLE = re.compile(r"\.(?:mrcs?|st|rec|map|tiff?|eer|dm[34])(?:\.(?:gz|bz2))?$")


def best_imageset(entry: Entry) -> ImageSet | None:
    """The image set to look at first: by category, then image area, then a suffix that can be opened."""

    def merit(imageset: ImageSet) -> tuple[bool, int, int, bool]:
        kind = kind_of_imageset(imageset)
        sides = (imageset.image_width or 0, imageset.image_height or 0)
        boxes = 0 < max(sides) < _SMALL_SIDE and kind in (FileKind.MICROGRAPH, FileKind.MOVIE, FileKind.OTHER)
        area = sides[0] * (sides[1] or sides[0])
        return not boxes, -_PREVIEW.index(kind), area, bool(_OPENABLE.search(imageset.suffix))

    return max(entry.imagesets, key=merit, default=None)


_SMALL_KINDS = (FileKind.METADATA, FileKind.PARTICLE_TABLE, FileKind.SEGMENTATION)


def only_metadata(items: Iterable[_Item], entry: Entry | None = None) -> list[_Item]:
    """The files among ``items`` that tell about images without being any: descriptions, coordinates, segmentations.

    Parameters
    ----------
    items
        Of a listing; folders are left out.
    entry
        Where given, the files that its image sets name as picked particles are in, whatever they are called.
    """
    named = {} if entry is None else {each.picked_particles_file_pattern for each in entry.imagesets}
    patterns = [_pattern(pattern) for pattern in named if pattern]
    return [
        item
        for item in items
        if not item.is_folder
        and (
            guess_kind(item.path) in _SMALL_KINDS
            or (any(pattern.fullmatch(item.path) for pattern in patterns) and not _is_image(item.path))
        )
    ]


def _pattern(glob: str) -> re.Pattern[str]:
    """A deposited pattern; ``*`` and ``?`` stay inside a folder."""
    return re.compile(re.escape(glob).replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))


def _is_image(path: str) -> bool:
    return _PACKED.sub("", path.lower()).rpartition(".")[2] in _IMAGES
