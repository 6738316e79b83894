"""What the archive says about an entry, as typed values.

The service is not strict with itself: numbers come as strings, lists as single values, folders with and without a
leading slash, and most things may be null. All of that ends here.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

from napari_empiarreader.errors import ArchiveError

__all__ = ["Entry", "ImageSet", "parse_entry"]


@dataclass(frozen=True)
class ImageSet:
    """One set of images of an entry; what the depositor wrote, so a hint and no measurement.

    Parameters
    ----------
    name
        As deposited; two image sets of an entry may share it.
    directory
        Folder inside the entry, without slashes at its ends (``data/micrographs``).
    category
        For example ``micrographs - single frame``.
    data_format
        For example ``MRC``; now and then wrong.
    num_images
        Number of images or tilt series, often rounded by hand; not the number of files.
    frames_per_image
        Frames of a movie, tilts of a tilt series.
    pixel_size
        Å per pixel.
    image_width, image_height
        Pixels.
    details
        Free text: dose, defocus, gain, binning.
    micrographs_file_pattern, picked_particles_file_pattern, picked_particles_directory
        Paths inside the entry, with wildcards, where the depositor gave them.
    """

    name: str = ""
    directory: str = ""
    category: str = ""
    data_format: str = ""
    voxel_type: str = ""
    num_images: int | None = None
    frames_per_image: int | None = None
    pixel_size: float | None = None
    image_width: int | None = None
    image_height: int | None = None
    details: str = ""
    micrographs_file_pattern: str = ""
    picked_particles_file_pattern: str = ""
    picked_particles_directory: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry of the archive.

    Parameters
    ----------
    number
        The accession number, 10017 for EMPIAR-10017.
    dataset_size
        As the archive words it, ``1.9 TB``; empty when unknown.
    release_date
        ``YYYY-MM-DD``, or empty.
    cross_references
        Related EMDB entries, ``EMD-2824``.
    """

    number: int
    title: str = ""
    release_date: str = ""
    dataset_size: str = ""
    authors: tuple[str, ...] = ()
    citation_title: str = ""
    citation_journal: str = ""
    citation_year: str = ""
    citation_doi: str = ""
    entry_doi: str = ""
    cross_references: tuple[str, ...] = ()
    imagesets: tuple[ImageSet, ...] = ()

    @property
    def accession(self) -> str:
        """The name of the entry in full, ``EMPIAR-10017``."""
        return f"EMPIAR-{self.number}"

    def imageset_for(self, path: str) -> ImageSet | None:
        """The image set whose folder holds ``path``, or None; the deepest folder wins."""
        path = path.strip("/")
        holding = [
            imageset
            for imageset in self.imagesets
            if not imageset.directory or path == imageset.directory or path.startswith(imageset.directory + "/")
        ]
        return max(holding, key=lambda imageset: len(imageset.directory), default=None)


def parse_entry(answer: object, number: int) -> Entry:
    """Entry ``number`` out of the service's answer ``{"EMPIAR-<number>": {...}}``.

    Raises
    ------
    ArchiveError
        The answer holds no such entry.
    """
    facts = answer.get(f"EMPIAR-{number}", answer.get(str(number))) if isinstance(answer, dict) else None
    if not isinstance(facts, dict):
        raise ArchiveError(f"EMPIAR-{number}: the archive's answer does not describe this entry; try again later")
    citation = next(iter(_records(facts.get("citation"))), {})
    return Entry(
        number=number,
        title=_text(facts.get("title")),
        release_date=_text(facts.get("release_date")),
        dataset_size=_text(facts.get("dataset_size")),
        authors=_names(facts.get("authors")),
        citation_title=_text(citation.get("title")),
        citation_journal=_text(citation.get("journal")) or _text(citation.get("journal_abbreviation")),
        citation_year=_text(citation.get("year")),
        citation_doi=_text(citation.get("doi")),
        entry_doi=_text(facts.get("entry_doi")),
        cross_references=_names(facts.get("cross_references")),
        imagesets=tuple(_parse_imageset(record) for record in _records(facts.get("imagesets"))),
    )


def _parse_imageset(facts: dict[str, Any]) -> ImageSet:
    return ImageSet(
        name=_text(facts.get("name")),
        directory=_path(facts.get("directory")),
        category=_text(facts.get("category")),
        data_format=_text(facts.get("data_format")) or _text(facts.get("header_format")),
        voxel_type=_text(facts.get("voxel_type")),
        num_images=_count(facts.get("num_images_or_tilt_series")),
        frames_per_image=_count(facts.get("frames_per_image")),
        pixel_size=_length(facts.get("pixel_width")) or _length(facts.get("pixel_height")),
        image_width=_count(facts.get("image_width")),
        image_height=_count(facts.get("image_height")),
        details=_text(facts.get("details")),
        micrographs_file_pattern=_path(facts.get("micrographs_file_pattern")),
        picked_particles_file_pattern=_path(facts.get("picked_particles_file_pattern")),
        picked_particles_directory=_path(facts.get("picked_particles_directory")),
    )


def _text(value: object) -> str:
    """Text of a value; some of it was escaped for the web once, or twice."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    return html.unescape(html.unescape(str(value))).strip()


def _path(value: object) -> str:
    return _text(value).strip("/")


def _length(value: object) -> float | None:
    """A positive, finite number; the archive also says "variable", 0 and null."""
    try:
        number = float(_text(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def _count(value: object) -> int | None:
    number = _length(value)
    return None if number is None else round(number)


def _records(value: object) -> list[dict[str, Any]]:
    """The dictionaries of a list, or of a single value that should have been one."""
    listed = value if isinstance(value, list) else [value]
    return [item for item in listed if isinstance(item, dict) and item]


def _names(value: object) -> tuple[str, ...]:
    """Names out of ``["A"]``, ``[{"name": "A"}]`` and ``[{"author": {"name": "A"}}]`` alike."""
    names = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and isinstance(item.get("author"), dict | str):
            item = item["author"]
        names.append(_text(item.get("name")) if isinstance(item, dict) else _text(item))
    return tuple(name for name in names if name)
