"""What the archive says about an entry, as typed values.

The service is not strict with itself: numbers come as strings, lists as single values, folders with and without a
leading slash, and most things may be null. All of that ends here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

from napari_empiarreader.archive import _values
from napari_empiarreader.archive._entry_parts import Citation, Grant, Person, Segmentation, Version, Workflow
from napari_empiarreader.archive._values import records, text
from napari_empiarreader.errors import ArchiveError

__all__ = [
    "Citation",
    "Entry",
    "Grant",
    "ImageSet",
    "Person",
    "Segmentation",
    "Version",
    "Workflow",
    "parse_entry",
    "parse_size",
]

_Record = TypeVar("_Record", Citation, Grant)


@dataclass(frozen=True)
class ImageSet:
    """One set of images of an entry; what the depositor wrote, so a hint and no measurement.

    Parameters
    ----------
    name
        As deposited; two image sets of an entry may share it (see :attr:`Entry.imageset_labels`).
    directory
        Folder inside the entry, without slashes at its ends (``data/micrographs``).
    category
        For example ``micrographs - single frame``.
    data_format, header_format
        For example ``MRC``; now and then wrong, so trust :attr:`suffix` and the files more.
    num_images
        Number of images or tilt series, often rounded by hand; not the number of files.
    frames_per_image
        Frames of a movie, tilts of a tilt series.
    frame_range_min, frame_range_max
        First and last frame used by the depositor, where given.
    pixel_size
        Å per pixel along x, or along y where only that is known.
    pixel_height
        Å per pixel along y.
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
    header_format: str = ""
    voxel_type: str = ""
    num_images: int | None = None
    frames_per_image: int | None = None
    frame_range_min: int | None = None
    frame_range_max: int | None = None
    pixel_size: float | None = None
    pixel_height: float | None = None
    image_width: int | None = None
    image_height: int | None = None
    details: str = ""
    micrographs_file_pattern: str = ""
    picked_particles_file_pattern: str = ""
    picked_particles_directory: str = ""
    segmentations: tuple[Segmentation, ...] = ()

    @property
    def suffix(self) -> str:
        """Suffix that the images should have, ``.mrc`` or ``.tiff.bz2``: by their pattern, else by their format."""
        pattern = self.micrographs_file_pattern
        match = re.search(r"(\.[a-z]\w*(?:\.(?:bz2|gz|xz|zip|zst))?)$", pattern, re.IGNORECASE | re.ASCII)
        return match[1].lower() if match else _SUFFIXES.get(self.data_format.upper(), "")


_SUFFIXES = {
    "MRC": ".mrc", "MRCS": ".mrcs", "TIFF": ".tif", "IMAGIC": ".img", "DM3": ".dm3", "DM4": ".dm4", "EER": ".eer",
    "SPIDER": ".spi", "BIG DATA VIEWER HDF5": ".h5", "PNG": ".png", "JPEG": ".jpg", "SMV": ".img", "TPX3": ".tpx3",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One entry of the archive.

    Parameters
    ----------
    number
        The accession number, 10017 for EMPIAR-10017.
    status
        ``REL`` for released; see EMPIAR's own list for the rest.
    release_date, deposition_date, update_date, obsolete_date
        ``YYYY-MM-DD``, or empty.
    dataset_size
        As the archive words it, ``1.9 TB``; empty when unknown.
    experiment_type
        ``EMDB`` for what led to a map in EMDB, else a method such as ``FIB-SEM``.
    scale
        ``molecule``, ``virus``, ``cell``, ``tissue`` or ``organism``.
    cross_references
        Related EMDB entries, ``EMD-2824``.
    pdb_references, empiar_references, biostudies_references, idr_references
        Related entries of other archives.
    """

    number: int
    title: str = ""
    status: str = ""
    release_date: str = ""
    deposition_date: str = ""
    update_date: str = ""
    obsolete_date: str = ""
    dataset_size: str = ""
    experiment_type: str = ""
    scale: str = ""
    authors: tuple[str, ...] = ()
    corresponding_author: Person | None = None
    principal_investigators: tuple[Person, ...] = ()
    citations: tuple[Citation, ...] = ()
    entry_doi: str = ""
    cross_references: tuple[str, ...] = ()
    pdb_references: tuple[str, ...] = ()
    empiar_references: tuple[str, ...] = ()
    biostudies_references: tuple[str, ...] = ()
    idr_references: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    workflows: tuple[Workflow, ...] = ()
    versions: tuple[Version, ...] = ()
    imagesets: tuple[ImageSet, ...] = ()

    @property
    def accession(self) -> str:
        """The name of the entry in full, ``EMPIAR-10017``."""
        return f"EMPIAR-{self.number}"

    @property
    def citation(self) -> Citation:
        """The first publication; empty where there is none."""
        return self.citations[0] if self.citations else Citation()

    @property
    def citation_title(self) -> str:
        """Title of the first publication."""
        return self.citation.title

    @property
    def citation_journal(self) -> str:
        """Journal of the first publication, in full where the archive has that."""
        return self.citation.journal or self.citation.journal_abbreviation

    @property
    def citation_year(self) -> str:
        """Year of the first publication."""
        return self.citation.year

    @property
    def citation_doi(self) -> str:
        """DOI of the first publication."""
        return self.citation.doi

    @property
    def size_bytes(self) -> int | None:
        """:attr:`dataset_size` in bytes, as exact as it is worded; None when unknown."""
        return parse_size(self.dataset_size)

    @property
    def imageset_labels(self) -> tuple[str, ...]:
        """One name per image set, no two alike: its own, then with its folder, then with its place in the list."""
        plain = [imageset.name or imageset.directory or "image set" for imageset in self.imagesets]
        labels = [
            f"{name} ({imageset.directory})" if plain.count(name) > 1 and imageset.directory else name
            for name, imageset in zip(plain, self.imagesets, strict=True)
        ]
        repeated = {label for label in labels if labels.count(label) > 1}
        for place, label in enumerate(labels):
            if label in repeated:
                labels[place] = f"{label} #{place + 1}"
                while labels[place] in labels[:place] or labels[place] in labels[place + 1 :]:
                    labels[place] += "'"
        return tuple(labels)

    def imageset_for(self, path: str) -> ImageSet | None:
        """The image set whose folder holds ``path``, or None; the deepest folder wins."""
        path = path.strip("/")
        holding = [
            imageset
            for imageset in self.imagesets
            if not imageset.directory or path == imageset.directory or path.startswith(imageset.directory + "/")
        ]
        return max(holding, key=lambda imageset: len(imageset.directory), default=None)


def parse_size(words: str) -> int | None:
    """Bytes in the archive's words for a size, ``1.9 TB``; None where no size can be made out."""
    return _values.size(words)


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
    return Entry(
        number=number,
        title=text(facts.get("title")),
        status=text(facts.get("status")),
        release_date=_values.date(facts.get("release_date")),
        deposition_date=_values.date(facts.get("deposition_date")),
        update_date=_values.date(facts.get("update_date")),
        obsolete_date=_values.date(facts.get("obsolete_date")),
        dataset_size=text(facts.get("dataset_size")),
        experiment_type=text(facts.get("experiment_type")),
        scale=text(facts.get("scale")),
        authors=_values.names(facts.get("authors")),
        corresponding_author=next(iter(_people(facts.get("corresponding_author"))), None),
        principal_investigators=_people(facts.get("principal_investigator")),
        citations=tuple(_citation(record) for record in records(facts.get("citation"))),
        entry_doi=text(facts.get("entry_doi")),
        cross_references=_values.names(facts.get("cross_references")),
        pdb_references=_values.names(facts.get("related_pdb_entries")),
        empiar_references=_values.names(facts.get("empiar_references")),
        biostudies_references=_values.names(facts.get("biostudies_references")),
        idr_references=_values.names(facts.get("idr_references")),
        grants=tuple(_of_text(Grant, record, {}) for record in records(facts.get("grant_references"))),
        workflows=_workflows(facts),
        versions=tuple(_version(record) for record in records(facts.get("version_history"))),
        imagesets=tuple(_imageset(record) for record in records(facts.get("imagesets"))),
    )


def _imageset(facts: dict[str, Any]) -> ImageSet:
    data_format, header_format = text(facts.get("data_format")), text(facts.get("header_format"))
    if data_format.lower() in ("", "other"):
        data_format = header_format or data_format
    across, down = _values.length(facts.get("pixel_width")), _values.length(facts.get("pixel_height"))
    return ImageSet(
        name=text(facts.get("name")),
        directory=_values.path(facts.get("directory")),
        category=text(facts.get("category")),
        data_format=data_format,
        header_format=header_format,
        voxel_type=text(facts.get("voxel_type")),
        num_images=_values.count(facts.get("num_images_or_tilt_series")),
        frames_per_image=_values.count(facts.get("frames_per_image")),
        frame_range_min=_values.index(facts.get("frame_range_min")),
        frame_range_max=_values.index(facts.get("frame_range_max")),
        pixel_size=across or down,
        pixel_height=down,
        image_width=_values.count(facts.get("image_width")),
        image_height=_values.count(facts.get("image_height")),
        details=text(facts.get("details")),
        micrographs_file_pattern=_values.path(facts.get("micrographs_file_pattern")),
        picked_particles_file_pattern=_values.path(facts.get("picked_particles_file_pattern")),
        picked_particles_directory=_values.path(facts.get("picked_particles_directory")),
        segmentations=tuple(_segmentation(record) for record in records(facts.get("segmentations"))),
    )


def _segmentation(facts: dict[str, Any]) -> Segmentation:
    return Segmentation(
        name=text(facts.get("name")) or text(facts.get("id")),
        file=_values.path(facts.get("file")),
        description=text(facts.get("description")) or text(facts.get("details")),
        original_files=text(facts.get("original_files") or facts.get("originalFiles")),
        original_format=text(facts.get("original_format") or facts.get("originalFormat")),
    )


def _people(value: object) -> tuple[Person, ...]:
    """People out of ``{"author": {...}}``, ``[{...}]`` and whatever lies between."""
    people = []
    for record in records(value):
        facts = record["author"] if isinstance(record.get("author"), dict) else record
        name = " ".join(filter(None, (text(facts.get(f"{part}_name")) for part in ("first", "middle", "last"))))
        person = Person(
            name=name or text(facts.get("name")),
            orcid=text(facts.get("author_orcid")),
            organization=text(facts.get("organization")),
            town=text(facts.get("town_or_city")),
            country=text(facts.get("country")),
        )
        if person != Person():
            people.append(person)
    return tuple(people)


def _citation(facts: dict[str, Any]) -> Citation:
    lists = {name: _values.names(facts.get(name)) for name in ("authors", "editors")}
    flags = {name: _values.flag(facts.get(name)) for name in ("published", "preprint")}
    given: dict[str, Any] = {**lists, **flags, "is_journal": _values.flag(facts.get("j_or_nj_citation"))}
    return _of_text(Citation, {**facts, "pubmed_id": facts.get("pubmedid", facts.get("pubmed_id"))}, given)


def _version(facts: dict[str, Any]) -> Version:
    return Version(
        number=text(facts.get("version_number")),
        date=_values.date(facts.get("date")),
        status=text(facts.get("status_code")),
        details=text(facts.get("details")),
    )


def _workflows(facts: dict[str, Any]) -> tuple[Workflow, ...]:
    """Addresses in ``workflows``, and the one file in ``workflow_file``: ``{"path": ...}`` or ``"path=..."``."""
    found = [Workflow(text(item.get("url")), text(item.get("type"))) for item in records(facts.get("workflows"))]
    for item in _values.listed(facts.get("workflow_file")):
        file = text(item.get("path")) if isinstance(item, dict) else text(item).removeprefix("path=")
        found.append(Workflow(_values.path(file), "file"))
    return tuple(workflow for workflow in found if workflow.location)


def _of_text(kind: type[_Record], facts: dict[str, Any], given: dict[str, Any]) -> _Record:
    """A value object of texts, each under its own name in ``facts``, but for what is ``given``."""
    texts: dict[str, Any] = {name: text(facts.get(name)) for name in kind.__annotations__ if name not in given}
    return kind(**given, **texts)
